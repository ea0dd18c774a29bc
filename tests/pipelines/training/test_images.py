"""Decoding images: what is refused, what is counted, what stays the same."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from curator.errors import InputError
from pipelines.training import images
from pipelines.training.images import decode_images, normalised
from tests.pipelines.training.examples import png

IDS = pa.array([b"a" * 16, b"b" * 16], pa.binary(16))


def _noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


CUT = png(_noise(9, 64, 64))[:1000]


def test_pixels_come_back_exactly() -> None:
    grey, colour = _noise(0, 8, 8), _noise(1, 8, 8, 3)
    pixels, resized = decode_images(pa.array([png(grey)]), IDS, size=8, colours="grey", column="x")
    assert resized == 0 and pixels.dtype == np.uint8 and np.array_equal(pixels, grey[None, None])
    pixels, _ = decode_images(pa.array([png(colour)]), IDS, size=8, colours="rgb", column="x")
    assert np.array_equal(pixels[0], colour.transpose(2, 0, 1))


def test_structs_of_bytes_and_other_modes_are_read() -> None:
    cells = pa.array([{"bytes": png(_noise(2, 8, 8)), "path": "a.png"}])
    assert decode_images(cells, IDS, size=8, colours="rgb", column="x")[0].shape == (1, 3, 8, 8)
    palette = io.BytesIO()
    Image.fromarray(_noise(3, 8, 8, 3)).convert("P").save(palette, "GIF")
    assert decode_images(pa.array([palette.getvalue()]), IDS, size=8, colours="grey", column="x")[0].shape == (
        1,
        1,
        8,
        8,
    )


def test_other_sizes_are_resized_and_counted() -> None:
    cells = pa.array([png(np.full((8, 8), 9, np.uint8)), png(np.full((20, 11), 7, np.uint8))])
    pixels, resized = decode_images(cells, IDS, size=8, colours="grey", column="x")
    assert resized == 1 and (pixels[0] == 9).all() and (pixels[1] == 7).all()


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        (b"not an image", "cannot identify"),
        (None, "cell is null"),
        (CUT, "sample 6262"),
    ],
)
def test_what_is_no_image_is_named(cell: bytes | None, complaint: str) -> None:
    good = png(np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=complaint) as caught:
        decode_images(pa.array([good, cell], pa.binary()), IDS, size=8, colours="grey", column="x")
    assert caught.value.row == 1 and caught.value.column == "x" and "6262" in str(caught.value)


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 63)
    with pytest.raises(InputError, match="8×8 pixels, more than the 63 allowed"):
        decode_images(pa.array([png(np.zeros((8, 8), np.uint8))]), IDS, size=8, colours="grey", column="x")


def test_text_is_not_an_image() -> None:
    with pytest.raises(InputError, match="images are string"):
        decode_images(pa.array(["x"]), IDS, size=8, colours="grey", column="x")


def test_normalised_range() -> None:
    values = normalised(torch.tensor([0, 255], dtype=torch.uint8))
    assert values.tolist() == [-2.0, 2.0]
