"""On real documents with scripted copies: every exact copy and every near copy of a document at hand is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from curator.duplicates import clusters, content_hash, minhash
from tests.curator.duplicates.test_index import edges_of, index_of


def jaccard(one: str, two: str) -> float:
    """Similarity of the sets of five-word sequences."""
    a, b = (
        {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
        for words in (one.lower().split(), two.lower().split())
    )
    return len(a & b) / len(a | b)


def test_scripted_copies_are_found(tmp_path: Path, data: Path) -> None:
    table = pq.read_table(data / "tech_docs.parquet")
    ids, texts = table["id"].to_pylist(), table["text"].combine_chunks()
    base = {int(name.split("-")[0]): row for row, name in enumerate(ids) if name[0] not in "xnj"}
    copies = [(row, base.get(int(name.split("-of-")[1])), name[0]) for row, name in enumerate(ids) if name[0] in "xn"]
    copies = [(row, original, kind) for row, original, kind in copies if original is not None]
    assert len(copies) >= 20

    units = [texts.slice(start, 1000) for start in range(0, len(texts), 1000)]
    index = index_of(tmp_path, [(content_hash(unit), minhash(unit, num_perm=112, ngram=5, seed=0)) for unit in units])
    edges = edges_of(index)
    exact, _ = clusters(len(ids), edges.where(np.ones(len(ids), bool), exact_only=True), 1.0)
    near, similarity = clusters(len(ids), edges, 0.75)

    def cluster(of: np.ndarray, row: int) -> int:
        return int(of[row]) if of[row] >= 0 else row

    found = 0
    for row, original, kind in copies:
        if kind == "x":
            assert cluster(exact, row) == cluster(exact, original)
        if jaccard(texts[row].as_py(), texts[original].as_py()) > 0.88:
            assert cluster(near, row) == cluster(near, original)
            found += 1
    assert found > 15
    assert (similarity[(exact >= 0) & (exact == near)] == 1).all()
    assert (near >= 0).mean() < 0.15
