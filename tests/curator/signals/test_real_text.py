"""On real documents: scripted junk is caught, prose mostly is not, and neither slices nor threads change a number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.signals import score_text, signal_names
from curator.signals.operators import ROW_OPERATORS


@pytest.fixture(scope="module")
def documents(data: Path) -> pa.Table:
    return pq.read_table(data / "tech_docs.parquet").slice(0, 1500).combine_chunks()


def fired_by_kind(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of every operator that needs no list of a user's own."""
    known = [op for op in (made() for made in ROW_OPERATORS) if {bound.signal for bound in op.bounds()} <= set(columns)]
    return {op.kind: np.logical_or.reduce(list(op.fired(columns).values())) for op in known}  # type: ignore[attr-defined]


def test_junk_is_caught_and_documents_survive(documents: pa.Table) -> None:
    columns = score_text(documents["text"].combine_chunks(), signal_names())
    fired = fired_by_kind(columns)
    junk = np.array([name.startswith("j") for name in documents["id"].to_pylist()])
    assert junk.sum() > 20
    assert (fired["gopher_quality"] | fired["gopher_repetition"])[junk].all()
    assert fired["dclm_quality"][~junk].mean() < 0.4  # Gopher's share of alphabetic tokens finds markup everywhere
    assert fired["gopher_repetition"][~junk].mean() < 0.3
    assert fired["language"][~junk].mean() < 0.15
    assert fired["encoding_damage"].mean() < 0.01
    text = documents["text"].to_pylist()
    cookies = np.array(["more about our cookies policy" in row[:60] for row in text])
    assert cookies.any()
    assert fired["boilerplate"][cookies].all()
    assert not np.isnan(columns["num_words"]).any()


def test_slices_in_threads_give_what_the_whole_gives(documents: pa.Table) -> None:
    texts = documents["text"].combine_chunks().slice(0, 400)
    names = list(signal_names())
    whole = score_text(texts, names)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: score_text(texts.slice(start, 50), names), range(0, 400, 50)))
    for name in names:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])


def test_mojibake_made_of_real_german_lines_is_found(data: Path) -> None:
    lines = pq.read_table(data / "web_lines_human.parquet", columns=["text", "lang"])
    umlauts = [text for text in lines["text"].to_pylist() if text and set(text) & set("äöüß") and "Ã" not in text][:200]
    assert len(umlauts) > 50
    broken = pa.array([text.encode().decode("latin-1") for text in umlauts])
    assert (score_text(pa.array(umlauts), ["mojibake_share"])["mojibake_share"] == 0).all()
    assert (score_text(broken, ["mojibake_share"])["mojibake_share"] > 0).all()
