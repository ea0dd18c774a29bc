"""The demo's data: the same each time, with exactly the faults it says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.demo import corpus
from pipelines.demo.digits import CORRUPTED_SHARE, make_digits

pytest.importorskip("sklearn")


def test_exactly_a_fifth_of_the_labels_is_wrong_and_the_trusted_are_right(tmp_path: Path) -> None:
    digits = make_digits(tmp_path / "a", seed=1)
    bad = digits.bad
    assert sum(bad.values()) == round(CORRUPTED_SHARE * len(bad)) == 260
    truth = dict(zip(digits.clean["id"].to_pylist(), digits.clean["label"].to_pylist(), strict=True))
    trusted = pq.read_table(digits.trusted).to_pylist()
    assert len(trusted) == 200 and all(row["label"] == truth[row["id"]] for row in trusted)
    assert not set(digits.test["id"].to_pylist()) & set(truth)


def test_images_decode_to_the_digits(tmp_path: Path) -> None:
    from PIL import Image

    digits = make_digits(tmp_path, seed=1)
    image = np.asarray(Image.open(io.BytesIO(digits.raw["image"][0].as_py())))
    assert image.shape == (8, 8) and image.max() > 200 and image.min() == 0


def test_the_seed_is_all_that_matters(tmp_path: Path) -> None:
    one, two, other = (make_digits(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.raw.equals(two.raw) and one.train.read_bytes() == two.train.read_bytes()
    assert not one.raw.equals(other.raw)


def test_a_corpus_of_a_folder_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    (site / "pkg").mkdir(parents=True)
    (site / "pkg" / "README.md").write_text("# Pkg\nWhat it is.")
    (site / "pkg" / "LICENSE").write_text("Permission is granted.")
    (site / "pkg" / "code.py").write_text(f'"""{"Long words. " * 30}"""\n\n\ndef f():\n    """Short."""\n')
    (site / "pkg" / "broken.py").write_text("def (:")
    monkeypatch.setattr(corpus.sysconfig, "get_paths", lambda: {"purelib": str(site)})
    assert corpus.write_corpus(tmp_path / "out.jsonl") == 3
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["source"]) for row in rows] == [
        ("pkg/LICENSE", "legal"),
        ("pkg/README.md", "prose"),
        ("pkg/code.py:0:module", "docstring"),
    ]
