"""What overrules what: nothing brings back a row without content, and no policy keeps an image that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pipelines.phases.test_resolve import TEXT, curated, prose


@pytest.mark.parametrize("process", [[], ["exact_duplicates", {"length": {"min_words": 4}}]])
def test_a_trusted_row_without_content_stays_dropped(tmp_path: Path, process: list[Any]) -> None:
    texts = [None, "", "too short", *prose(3), None]
    rows = [{"id": place, "text": text} for place, text in enumerate(texts)]
    trusted = [{"id": place, "keep": place != 4} for place in range(5)]
    _, ledger = curated(tmp_path, rows, {**TEXT, "process": process}, trusted)
    reasons = [ledger[place]["reason"] for place in range(7)]
    missing = "missing_content"
    assert reasons == [missing, missing, "trusted_keep", "trusted_keep", "trusted_drop", None, missing]
    assert [row["action"] for row in ledger.values()].count("keep") == 3


def picture(seed: int) -> bytes:
    rng, out = np.random.default_rng(seed), io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("policy", ["rules", "learned"])
def test_an_image_that_cannot_be_decoded_is_dropped(tmp_path: Path, policy: str) -> None:
    """Broken files fall one by one: none is kept as another's copy, none by a trusted label; a null is no content."""
    images: list[bytes | None] = [picture(seed) for seed in range(90)]
    images[4] = images[5] = images[9] = b"\x89PNG of no kind"
    images[7], images[8] = None, images[6]
    rows = [{"id": place, "image": image, "label": place % 2} for place, image in enumerate(images)]
    recipe = {
        "task": "classification",
        "columns": {"image": "image", "label": "label"},
        "process": ["exact_duplicates"],
        "policy": {"kind": policy},
        "unit_rows": 64,
    }
    rows[8]["label"] = rows[6]["label"]
    trusted = [{"id": place, "label": place % 2} for place in (5, *range(10, 60))]
    summary, ledger = curated(tmp_path, rows, recipe, trusted)
    told = {place: ledger[place]["reason"] for place in range(10) if ledger[place]["action"] == "drop"}
    wanted = {place: "undecodable_image" for place in (4, 5, 9)} | {7: "missing_content", 8: "exact_duplicate"}
    assert {place: told.get(place) for place in wanted} == wanted
    assert ledger[4]["duplicate_of"] is ledger[9]["duplicate_of"] is None
    assert summary.reasons["undecodable_image"] == 3 and ledger[4]["difficulty"] is None
