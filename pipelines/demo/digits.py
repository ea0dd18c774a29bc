"""Scikit-learn's bundled handwritten digits as a labelled image set with corrupted labels and a known truth.

1,797 8×8 grey images (E. Alpaydin, C. Kaynak, 1998, UCI Optical Recognition of Handwritten Digits). Knows no service.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["CORRUPTED_SHARE", "Digits", "make_digits"]

CORRUPTED_SHARE = 0.2
NUM_TEST = 497
NUM_TRUSTED = 200


@dataclass(frozen=True)
class Digits:
    """Files for the service, and the truth that it never sees except for the trusted rows.

    train, trusted: Parquet files {id, image (PNG bytes), label}; only the trusted file's labels are all true.
    raw, clean, test: tables {id, image, label}; clean holds the true labels of the same rows as raw.
    """

    train: Path
    trusted: Path
    raw: pa.Table
    clean: pa.Table
    test: pa.Table

    @property
    def bad(self) -> dict[str, bool]:
        """id -> whether the given label is wrong."""
        given, true = self.raw["label"].to_numpy(), self.clean["label"].to_numpy()
        return dict(zip(self.raw["id"].to_pylist(), (given != true).tolist(), strict=True))


def make_digits(folder: Path, *, seed: int) -> Digits:
    """Writes the files; `seed` draws the split, the corrupted fifth of the labels and the trusted rows."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(bunch.target))
    images = [_png(image) for image in bunch.images[order]]
    labels = bunch.target[order].astype(np.int64)
    ids = [f"digit-{row:04d}" for row in order]
    whole = pa.table({"id": ids, "image": pa.array(images, pa.binary()), "label": labels})
    test, clean = whole.slice(0, NUM_TEST), whole.slice(NUM_TEST)
    raw = clean.set_column(2, "label", pa.array(_corrupted(clean["label"].to_numpy(), rng)))
    trusted = clean.take(np.sort(rng.choice(clean.num_rows, NUM_TRUSTED, replace=False)))
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "digits.parquet", folder / "digits-trusted.parquet"
    pq.write_table(raw, paths[0])
    pq.write_table(trusted.select(["id", "label"]), paths[1])
    return Digits(*paths, raw=raw, clean=clean, test=test)


def _corrupted(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exactly a fifth of the labels moved to another class, uniformly."""
    out = labels.copy()
    rows = rng.choice(len(labels), round(CORRUPTED_SHARE * len(labels)), replace=False)
    out[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
    return out


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray((image * 15.9).astype(np.uint8), mode=None).save(sink, "PNG")
    return sink.getvalue()
