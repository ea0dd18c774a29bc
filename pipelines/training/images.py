"""Encoded images to one block of pixels, decoded with Pillow.

Knows image bytes; nothing of models, labels or devices. One image at a time: decoding is per file by nature.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image
from torch import Tensor

from curator.errors import InputError

__all__ = ["MAX_PIXELS", "MODES", "decode_images", "encoded", "normalised", "opened"]

MAX_PIXELS = 64 * 1024 * 1024
"""A header may promise any size; above this an image is refused before it is unpacked."""

MODES: dict[str, Literal["L", "RGB"]] = {"grey": "L", "rgb": "RGB"}


def decode_images(
    images: pa.Array, sample_ids: pa.Array, *, size: int, colours: Literal["grey", "rgb"], column: str
) -> tuple[np.ndarray, int]:
    """(pixels uint8[B, channels, size, size], how many had to be resized).

    `images` is binary, or a struct with a binary field `bytes`. Other sizes are resized bilinearly without keeping the
    aspect. Raises InputError naming the sample for a null, a file that is no image, or one above MAX_PIXELS.
    """
    cells = encoded(images)
    if cells is None:
        raise InputError(f"images are {images.type}; give encoded bytes (PNG, JPEG …) as binary", column=column)
    channels = 1 if colours == "grey" else 3
    out = np.empty((len(cells), size, size, channels), dtype=np.uint8)
    num_resized = 0
    for row, cell in enumerate(cells):
        try:
            image = opened(cell.as_py(), MODES[colours])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(
                f"sample {sample_ids[row].as_py().hex()} holds no image that can be read: {error}; "
                "drop the row or give PNG or JPEG bytes",
                row=row,
                column=column,
            ) from error
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
            num_resized += 1
        out[row] = np.asarray(image, dtype=np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(out.transpose(0, 3, 1, 2)), num_resized


def encoded(cells: pa.Array) -> pa.Array | None:
    """The bytes of cells that are binary or structs with a binary field `bytes`; None of any other type."""
    if pa.types.is_struct(cells.type) and cells.type.get_field_index("bytes") >= 0:
        cells = cells.field("bytes")
    return cells if pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type) else None


def normalised(pixels_BCHW: Tensor) -> Tensor:
    """uint8 pixels to float32 in [-2, 2]: half-grey is 0, a quarter of the range is 1."""
    return pixels_BCHW.float() / 63.75 - 2.0


def opened(data: bytes | None, mode: str | None) -> Image.Image:
    """The decoded image in that mode, or as it is. Raises ValueError, or what Pillow raises, for what is no image."""
    if data is None:
        raise ValueError("the cell is null")
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}×{image.height} pixels, more than the {MAX_PIXELS:,} allowed")
    image.load()  # decodes now, where a broken file is caught
    return image if mode is None or image.mode == mode else image.convert(mode)
