"""The index: what it finds is what comparing everything finds, whatever the order of feeding."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import DuplicateIndex, Edges, Shape, clusters, content_hash, minhash
from curator.duplicates.buckets import SMALL_BUCKET
from curator.duplicates.edges import ALMOST_ONE
from curator.duplicates.signatures import Signed
from curator.errors import ConflictError, IntegrityError, NotFoundError
from curator.storage import Store
from tests.curator.duplicates.test_signatures import jaccard, slow_shingles


def spoiled_texts(count: int, seed: int) -> list[str]:
    """Families of near-copies: three words in a thousand to a third of all words changed."""
    rng = np.random.Generator(np.random.PCG64(seed))
    vocabulary = [f"w{k}" for k in range(5000)]
    texts: list[str] = []
    while len(texts) < count:
        words = rng.choice(vocabulary, int(rng.integers(30, 150)))
        for _ in range(int(rng.integers(1, 9))):
            change = rng.random(len(words)) < rng.choice([0.0, 0.003, 0.01, 0.3])
            texts.append(" ".join(np.where(change, rng.choice(vocabulary, len(words)), words)))
    order = rng.permutation(count)
    return [texts[k] for k in order]


def columns(texts: list[str | None]) -> tuple[np.ndarray, Signed]:
    column = pa.array(texts, pa.string())
    return content_hash(column), minhash(column, num_perm=112, ngram=5, seed=1)


def part_of(column: Any, rows: Any) -> Any:
    """Rows of a column that an index is fed."""
    if isinstance(column, Signed):
        places = pa.array(np.arange(len(column.sets))[rows])
        return Signed(column.signatures[rows], column.sets.take(places))
    return None if column is None else column[rows]


def index_of(
    folder: Path, units: list[tuple[Any, ...]], order: Iterable[int] | None = None, **more: Any
) -> DuplicateIndex:
    """An index of units (content hashes, what was signed or none, kinds or none), whole; fed in the order given."""
    near = len(units[0]) > 1 and units[0][1] is not None if units else False
    shape = Shape(rows=tuple(len(unit[0]) for unit in units), **({"num_perm": 112, "bands": 14} if near else {}))
    index = DuplicateIndex(Store.open(folder), "index", shape, **more)
    for unit in range(len(units)) if order is None else order:
        with index.adding(unit) as add:
            half = len(units[unit][0]) // 2
            for rows in (slice(None, half), slice(half, None)):
                add(*(part_of(column, rows) for column in units[unit]))
    for shard in range(index.num_shards):
        index.seek(shard)
    index.seal()
    return index


def edges_of(index: DuplicateIndex, floor: float = 0.5) -> Edges:
    """Of every unit, sorted."""
    parts = [index.match(unit, floor) for unit in range(len(index.shape.rows))]
    a, b, similarity = (
        (np.concatenate(column) for column in zip(*parts, strict=True))
        if parts
        else (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    )
    order = np.lexsort((b, a))
    return Edges(a[order], b[order], similarity[order])


def found(folder: Path, units: list[tuple[Any, ...]], floor: float = 0.5) -> Edges:
    return edges_of(index_of(folder, units), floor)


def as_dict(edges: Edges) -> dict[tuple[int, int], float]:
    return {(a, b): s for a, b, s in zip(edges.a.tolist(), edges.b.tolist(), edges.similarity.tolist(), strict=True)}


def test_every_pair_above_the_candidates_reach(tmp_path: Path) -> None:
    """Brute force over all pairs: every similarity right, nothing missing where banding is all but certain."""
    texts = spoiled_texts(300, 3)
    hashes, signed = columns(list(texts))
    edges = as_dict(found(tmp_path, [(hashes, signed)]))
    agreement = (signed.signatures[:, None] == signed.signatures[None]).mean(axis=2)
    alike = (hashes[:, None] == hashes[None]).all(axis=2)
    near = {(a, b) for a, b in zip(*np.nonzero(np.triu((agreement >= 0.9) & ~alike, 1)), strict=True)}
    assert len(near) > 60
    assert near - edges.keys() == set()
    sets = [slow_shingles(text, 5) for text in texts]
    exactly = 0
    for (a, b), similarity in edges.items():
        assert a < b
        wanted = 1.0 if alike[a, b] else min(jaccard(sets[a], sets[b]), float(ALMOST_ONE))
        assert similarity == pytest.approx(wanted, abs=2 / len(sets[a] | sets[b]))  # a shingle that passes for another
        exactly += similarity == pytest.approx(wanted, abs=1e-6)
        assert similarity >= 0.5
        assert (similarity == 1) == alike[a, b] == (alike[a, b] and alike[b].argmax() == a)
    assert exactly > 0.98 * len(edges)
    assert sum(similarity == 1 for similarity in edges.values()) == 300 - len(np.unique(hashes, axis=0))


def test_agrees_with_true_jaccard_on_real_documents(tmp_path: Path, data: Path) -> None:
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].to_pylist()[:400]
    words = [text.split()[:300] for text in texts]
    clean = [
        " ".join("".join(char for char in word.lower() if "a" <= char <= "z") or "x" for word in row) for row in words
    ]
    shingles = [{tuple(row.split()[k : k + 5]) for k in range(max(len(row.split()) - 4, 1))} for row in clean]
    edges = as_dict(found(tmp_path, [columns(list(clean))]))
    truth = {}
    for a in range(len(clean)):
        for b in range(a + 1, len(clean)):
            if shingles[a] & shingles[b]:
                truth[a, b] = len(shingles[a] & shingles[b]) / len(shingles[a] | shingles[b])
    near = {(a, b) for (a, b), value in truth.items() if value >= 0.9 and clean[a] != clean[b]}
    assert near <= edges.keys()
    for pair, similarity in edges.items():
        assert similarity == pytest.approx(truth[pair], abs=2e-3)


def same(one: Edges, two: Edges) -> None:
    for mine, theirs in zip(one, two, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.permutations(range(6)), st.sampled_from([1, 2000, 1 << 20]))
def test_neither_units_nor_their_order_nor_shards_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[int], shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("index")
    hashes, signed = columns([*spoiled_texts(60, seed), None, "", "same", "same", None, "  "])
    cuts = np.linspace(0, len(hashes), 7).astype(int)
    units = [(hashes[a:b], part_of(signed, slice(a, b))) for a, b in pairwise(cuts)]
    whole = found(folder / "whole", [(hashes, signed)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curator.duplicates.index.SHARD_BYTES", max(shard_bytes, 120))
        patch.setattr("curator.duplicates.fingerprints._APART", 40)
        index = index_of(folder / "parts", units, order)
        assert (index.num_shards > 5) == (shard_bytes < 10_000)
        same(whole, edges_of(index))
    assert (np.diff(whole.a * 10_000 + whole.b) > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.lists(st.integers(1, 119), max_size=3, unique=True), st.sampled_from([0.5, 0.8]))
def test_what_comes_later_makes_the_clusters_of_a_whole(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cuts: list[int], threshold: float
) -> None:
    """Index after index, each going on from the one before: together the pairs, so the clusters, of one over all."""
    folder = tmp_path_factory.mktemp("index")
    crowd = [f"{'the same words all over ' * 9}{k % 30}" for k in range(30)]
    texts: list[Any] = [*spoiled_texts(86, seed), *crowd, None, "", "same", "same"]
    order = np.random.default_rng(seed).permutation(len(texts))
    hashes, signed = columns([texts[row] for row in order])
    whole = found(folder / "whole", [(hashes, signed)])
    index, parts = None, []
    for low, high in pairwise([0, *sorted(cuts), 120]):
        middle = (low + high) // 2
        units = [(hashes[a:b], part_of(signed, slice(a, b))) for a, b in ((low, middle), (middle, high))]
        index = index_of(folder / str(low), units, earlier=index)
        assert (index.first_row, index.end_row) == (low, high)
        parts.append(edges_of(index))
    a, b, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    ordered = np.lexsort((b, a))
    same(Edges(a[ordered], b[ordered], similarity[ordered]), whole)
    shuffled = np.random.default_rng(seed).permutation(len(a))
    for keep in (None, np.array([len(text or "") for text in texts])[order]):
        once = clusters(120, whole, threshold, weights=keep)
        again = clusters(120, Edges(a[shuffled], b[shuffled], similarity[shuffled]), threshold, weights=keep)
        np.testing.assert_array_equal(once[0], again[0])
        np.testing.assert_array_equal(once[1], again[1])


def test_an_index_is_opened_where_it_is_whole(tmp_path: Path) -> None:
    hashes, signed = columns(list(spoiled_texts(90, 4)))
    store = Store.open(tmp_path)
    with pytest.raises(NotFoundError):
        DuplicateIndex.open(store, "index")
    first = index_of(tmp_path, [(hashes[:40], part_of(signed, slice(40)))])
    again = DuplicateIndex.open(store, "index")
    assert again.shape == first.shape
    same(edges_of(again), edges_of(first))


def test_equal_content_is_found_against_an_index_with_signatures(tmp_path: Path) -> None:
    hashes, signed = columns(["one two three", "four five", "six"])
    earlier = index_of(tmp_path / "near", [(hashes, signed)])
    later = index_of(tmp_path / "exact", [(hashes[[1, 1, 0]],)], earlier=earlier)
    assert as_dict(edges_of(later)) == {(1, 3): 1.0, (1, 4): 1.0, (0, 5): 1.0}


def test_a_file_cut_off_is_named(tmp_path: Path) -> None:
    index = index_of(tmp_path, [columns(["one two three four five", "one, two, three, four, five!"])])
    path = tmp_path / "index/units/00000.fingerprints"
    whole = path.read_bytes()
    for part in (whole[:-4], whole[:-8], whole[:20], b"", whole + bytes(8)):
        path.write_bytes(part)
        with pytest.raises(IntegrityError, match=r"fingerprints does not hold 2 rows.*cut off or exchanged"):
            index.match(0, 0.0)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    index_of(tmp_path, [columns(["one two"])])
    path = tmp_path / "index/index.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    with pytest.raises(ConflictError, match=r"index version 1, this one reads 2.*curate its data again"):
        DuplicateIndex.open(Store.open(tmp_path), "index")


def test_a_huge_bucket_costs_two_pairs_a_row(tmp_path: Path) -> None:
    words = " ".join(f"word{k}" for k in range(200))
    texts = [f"{words} and the very last number alone differs: {k}" for k in range(500)]
    edges = found(tmp_path, [columns(list(texts))])
    assert SMALL_BUCKET < 500
    assert 499 <= len(edges.a) < 14 * (2 * 500 + SMALL_BUCKET**2)
    late = range(SMALL_BUCKET, 500)
    assert {(0, row) for row in range(1, 500)} | {(row - 1, row) for row in late} <= as_dict(edges).keys()


def test_nothing_but_content(tmp_path: Path) -> None:
    hashes = content_hash(pa.array(["a", "b", "a ", None, None, "", "a"]))
    assert as_dict(found(tmp_path, [(hashes[:4],), (hashes[4:],)])) == {(0, 2): 1.0, (0, 6): 1.0}


def test_no_rows(tmp_path: Path) -> None:
    assert len(found(tmp_path / "none", []).a) == 0
    assert len(found(tmp_path / "empty", [(np.zeros((0, 2), np.uint64),)]).a) == 0
    nothing = found(tmp_path / "nulls", [columns([None, None, "", "--"])])
    assert [part.dtype for part in nothing] == [np.int64, np.int64, np.float32]
    assert len(nothing.a) == 0


def test_wrong_rows_are_refused(tmp_path: Path) -> None:
    hashes, signed = columns(["a b", "c d"])
    for rows, given_columns, words in (
        (2, (hashes, None), "signatures of 0 numbers for an index of 112"),
        (2, (hashes, part_of(signed, slice(1))), "1 signatures for 2 content hashes"),
        (2, (hashes, signed, np.ones(1, np.uint64)), "1 numbers to tell rows apart for 2"),
        (3, (hashes, signed), "2 rows were added to unit 0, which has 3"),
    ):
        index = DuplicateIndex(Store.open(tmp_path), "index", Shape(rows=(rows,), num_perm=112, bands=14))
        with pytest.raises(ValueError, match=words), index.adding(0) as add:
            add(*given_columns)
    assert not list(tmp_path.rglob("*.keys.arrow"))


def test_a_dropped_first_copy_does_not_hide_the_others() -> None:
    edges = Edges(np.array([0, 0, 0, 3]), np.array([2, 4, 5, 6]), np.array([1, 1, 0.9, 0.8], np.float32))
    usable = np.array([False, True, True, True, True, True, True])
    assert as_dict(edges.where(usable)) == {(2, 4): 1.0, (3, 6): pytest.approx(0.8)}
    assert as_dict(edges.where(usable, exact_only=True)) == {(2, 4): 1.0}
    assert as_dict(edges.where(np.ones(7, bool))) == as_dict(edges)


@pytest.mark.parametrize("families", [1, 12])
def test_rows_told_apart_meet_only_their_own_kind(tmp_path: Path, families: int) -> None:
    """What is found within a kind is what an index finds that holds this kind alone, also in crowded buckets."""
    texts = spoiled_texts(150, 4) if families > 1 else [f"{'the same words all over ' * 9}{k % 5}" for k in range(150)]
    hashes, signed = columns(list(texts))
    kinds = np.random.default_rng(2).integers(0, 3, 150)
    numbers = np.array([0x9E3779B97F4A7C15, 0, 0xC2B2AE3D27D4EB4F], np.uint64)[kinds]
    units = [(hashes[rows], part_of(signed, rows), numbers[rows]) for rows in (slice(70), slice(70, None))]
    wanted: dict[tuple[int, int], float] = {}
    for kind in range(3):
        rows = np.flatnonzero(kinds == kind)
        alone = as_dict(found(tmp_path / str(kind), [(hashes[rows], part_of(signed, rows))]))
        wanted |= {(int(rows[a]), int(rows[b])): similarity for (a, b), similarity in alone.items()}
    assert as_dict(found(tmp_path / "all", units)) == wanted and len(wanted) >= 30


def test_nothing_stays_nothing_whatever_the_kind(tmp_path: Path) -> None:
    hashes, signed = columns(["", None, "  ", "!"])
    assert len(found(tmp_path, [(hashes, signed, np.full(4, 77, np.uint64))]).a) == 0
