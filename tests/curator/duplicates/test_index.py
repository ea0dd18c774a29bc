"""The index: what it finds is what comparing everything finds, whatever the order of feeding."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates import DuplicateIndex, Edges, content_hash, minhash
from curator.duplicates.edges import ALMOST_ONE
from curator.duplicates.index import BLOCK_BYTES, SMALL_BUCKET
from curator.errors import IntegrityError


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


def columns(texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
    column = pa.array(texts, pa.string())
    return content_hash(column), minhash(column, num_perm=112, ngram=5, seed=1)


def found(folder: Path, units: list[tuple[int, np.ndarray, np.ndarray | None]], floor: float = 0.5) -> Edges:
    folder.mkdir()
    index = DuplicateIndex(folder)
    for unit in units:
        index.add(*unit)
    return index.edges(floor)


def as_dict(edges: Edges) -> dict[tuple[int, int], float]:
    return {(a, b): s for a, b, s in zip(edges.a.tolist(), edges.b.tolist(), edges.similarity.tolist(), strict=True)}


def test_every_pair_above_the_candidates_reach(tmp_path: Path) -> None:
    """Brute force over all pairs: every similarity right, nothing missing where banding is all but certain."""
    hashes, signatures = columns(list(spoiled_texts(300, 3)))
    edges = as_dict(found(tmp_path / "index", [(0, hashes, signatures)]))
    agreement = (signatures[:, None] == signatures[None]).mean(axis=2)
    alike = (hashes[:, None] == hashes[None]).all(axis=2)
    near = {(a, b) for a, b in zip(*np.nonzero(np.triu((agreement >= 0.9) & ~alike, 1)), strict=True)}
    assert len(near) > 60
    assert near - edges.keys() == set()
    for (a, b), similarity in edges.items():
        assert a < b
        assert similarity == (1 if alike[a, b] else pytest.approx(min(agreement[a, b], ALMOST_ONE), abs=1e-6))
        assert similarity >= 0.5
        assert (similarity == 1) == alike[a, b] == (alike[a, b] and alike[b].argmax() == a)
    assert sum(similarity == 1 for similarity in edges.values()) == 300 - len(np.unique(hashes, axis=0))


def test_agrees_with_true_jaccard_on_real_documents(tmp_path: Path, data: Path) -> None:
    texts = pq.read_table(data / "tech_docs.parquet", columns=["text"])["text"].to_pylist()[:400]
    words = [text.split()[:300] for text in texts]
    clean = [
        " ".join("".join(char for char in word.lower() if "a" <= char <= "z") or "x" for word in row) for row in words
    ]
    shingles = [{tuple(row.split()[k : k + 5]) for k in range(max(len(row.split()) - 4, 1))} for row in clean]
    edges = as_dict(found(tmp_path / "index", [(0, *columns(list(clean)))]))
    truth = {}
    for a in range(len(clean)):
        for b in range(a + 1, len(clean)):
            if shingles[a] & shingles[b]:
                truth[a, b] = len(shingles[a] & shingles[b]) / len(shingles[a] | shingles[b])
    near = {(a, b) for (a, b), value in truth.items() if value >= 0.9 and clean[a] != clean[b]}
    assert near <= edges.keys()
    for pair, similarity in edges.items():
        assert similarity == pytest.approx(truth[pair], abs=0.2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 100), st.permutations(range(6)))
def test_the_order_of_feeding_is_free(tmp_path_factory: pytest.TempPathFactory, seed: int, order: list[int]) -> None:
    folder = tmp_path_factory.mktemp("index")
    hashes, signatures = columns([*spoiled_texts(60, seed), None, "", "same", "same", None, "  "])
    cuts = np.linspace(0, len(hashes), 7).astype(int)
    units = [(1000 + int(a), hashes[a:b], signatures[a:b]) for a, b in pairwise(cuts)]
    whole = found(folder / "whole", [(1000, hashes, signatures)])
    parts = found(folder / "parts", [units[k] for k in order])
    for mine, theirs in zip(whole, parts, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert (np.diff(whole.a * 10_000 + whole.b) > 0).all()


@pytest.mark.parametrize("block_bytes", [1, 5 * 2 * 4 * 112])
def test_blocks_of_signatures_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    hashes, signatures = columns([*spoiled_texts(200, 8), None, "same", "same"])
    units = [
        (120, hashes[120:], signatures[120:]),
        (0, hashes[:50], signatures[:50]),
        (50, hashes[50:120], signatures[50:120]),
    ]
    whole = found(tmp_path / "whole", units)
    assert 0 < 2 * 4 * 112 * len(whole.a) < BLOCK_BYTES
    monkeypatch.setattr("curator.duplicates.index.BLOCK_BYTES", block_bytes)
    for mine, theirs in zip(whole, found(tmp_path / "blocks", units), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_asking_twice_and_adding_between(tmp_path: Path) -> None:
    hashes, signatures = columns(spoiled_texts(90, 4))
    index = DuplicateIndex(tmp_path)
    index.add(40, hashes[40:], signatures[40:])
    first, again = index.edges(0.5), index.edges(0.5)
    assert as_dict(first) == as_dict(again)
    index.add(0, hashes[:40], signatures[:40])
    assert as_dict(index.edges(0.5)) == as_dict(found(tmp_path / "one", [(0, hashes, signatures)]))


def test_a_scratch_file_cut_off_is_named(tmp_path: Path) -> None:
    index = DuplicateIndex(tmp_path)
    index.add(0, *columns(["one two three four five", "one, two, three, four, five!"]))
    (tmp_path / "signatures").write_bytes((tmp_path / "signatures").read_bytes()[:-4])
    with pytest.raises(IntegrityError, match="signatures ends 4 bytes early"):
        index.edges(0.0)


def test_a_huge_bucket_costs_two_pairs_a_row(tmp_path: Path) -> None:
    words = " ".join(f"word{k}" for k in range(200))
    texts = [f"{words} and the very last number alone differs: {k}" for k in range(500)]
    edges = found(tmp_path / "index", [(0, *columns(list(texts)))])
    assert SMALL_BUCKET < 500
    assert 499 <= len(edges.a) < 14 * 2 * 500
    assert {(0, row) for row in range(1, 500)} | {(row, row + 1) for row in range(499)} <= as_dict(edges).keys()


def test_nothing_but_content(tmp_path: Path) -> None:
    hashes = content_hash(pa.array(["a", "b", "a ", None, None, "", "a"]))
    edges = found(tmp_path / "index", [(5, hashes[4:], None), (1, hashes[:4], None)][::-1])
    assert as_dict(edges) == {(1, 3): 1.0, (1, 7): 1.0}


def test_no_rows(tmp_path: Path) -> None:
    assert len(found(tmp_path / "none", []).a) == 0
    assert len(found(tmp_path / "empty", [(0, np.zeros((0, 2), np.uint64), None)]).a) == 0
    nothing = found(tmp_path / "nulls", [(0, *columns([None, None, "", "--"]))])
    assert [part.dtype for part in nothing] == [np.int64, np.int64, np.float32]
    assert len(nothing.a) == 0


def test_wrong_units_are_refused(tmp_path: Path) -> None:
    hashes, signatures = columns(["a b", "c d"])
    index = DuplicateIndex(tmp_path)
    index.add(10, hashes, signatures)
    with pytest.raises(ValueError, match="rows 11 to 12 overlap"):
        index.add(11, hashes, signatures)
    with pytest.raises(ValueError, match="signatures of 0 numbers"):
        index.add(0, hashes)
    with pytest.raises(ValueError, match="1 signatures for 2"):
        index.add(0, hashes, signatures[:1])
    with pytest.raises(ValueError, match="is not empty"):
        DuplicateIndex(tmp_path)


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
    hashes, signatures = columns(list(texts))
    kinds = np.random.default_rng(2).integers(0, 3, 150)
    numbers = np.array([0x9E3779B97F4A7C15, 0, 0xC2B2AE3D27D4EB4F], np.uint64)[kinds]
    (tmp_path / "all").mkdir()
    index = DuplicateIndex(tmp_path / "all")
    index.add(0, hashes[:70], signatures[:70], apart=numbers[:70])
    index.add(70, hashes[70:], signatures[70:], apart=numbers[70:])
    wanted: dict[tuple[int, int], float] = {}
    for kind in range(3):
        rows = np.flatnonzero(kinds == kind)
        alone = as_dict(found(tmp_path / str(kind), [(0, hashes[rows], signatures[rows])]))
        wanted |= {(int(rows[a]), int(rows[b])): similarity for (a, b), similarity in alone.items()}
    assert as_dict(index.edges(0.5)) == wanted and len(wanted) >= 30


def test_numbers_to_tell_rows_apart_are_one_a_row(tmp_path: Path) -> None:
    hashes, _ = columns(["one", "two"])
    with pytest.raises(ValueError, match="1 numbers to tell rows apart for 2"):
        DuplicateIndex(tmp_path).add(0, hashes, apart=np.ones(1, np.uint64))


def test_nothing_stays_nothing_whatever_the_kind(tmp_path: Path) -> None:
    hashes, signatures = columns(["", None, "  ", "!"])
    index = DuplicateIndex(tmp_path)
    index.add(0, hashes, signatures, apart=np.full(4, 77, np.uint64))
    assert len(index.edges(0.5).a) == 0
