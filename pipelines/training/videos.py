"""Videos to one block of pixels: lists of encoded frames, or animated files, decoded with Pillow.

Knows video bytes; nothing of models, labels or devices. One frame at a time: decoding is per file by nature.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from curator.errors import InputError
from pipelines.training.images import MODES, encoded, opened

__all__ = ["Clips", "decode_videos", "evenly"]


class Clips(NamedTuple):
    """B decoded clips."""

    pixels: np.ndarray
    """uint8[B, frames, channels, size, size]; 0 after the end of a shorter clip"""
    lengths: np.ndarray
    """real frames of each, int64[B]"""
    num_thinned: int
    """clips that had more frames"""
    num_resized: int
    """clips with a frame of another size"""


def decode_videos(
    videos: pa.Array,
    sample_ids: pa.Array,
    *,
    frames: int,
    size: int,
    colours: Literal["grey", "rgb"],
    column: str,
) -> Clips:
    """Of a clip with more frames as many as `frames`, evenly spaced; frames of other sizes are resized bilinearly.

    `videos`: lists of binary, or of structs with a binary field `bytes`, a frame each; or binary, one animated file
    each. Raises InputError naming the sample for a null, a clip without frames, or a frame that is no image.
    """
    channels, clip = 1 if colours == "grey" else 3, _clips(videos, MODES[colours], column)
    pixels = np.zeros((len(videos), frames, size, size, channels), dtype=np.uint8)
    lengths, num_thinned, num_resized = np.zeros(len(videos), dtype=np.int64), 0, 0
    for row in range(len(videos)):
        try:
            number, frame = clip(row)
            images = [frame(place) for place in evenly(number, frames)]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(
                f"sample {sample_ids[row].as_py().hex()} holds no video that can be read: {error}; drop the row, or "
                "give a list of PNG or JPEG frames, or one GIF, WebP or APNG",
                row=row,
                column=column,
            ) from error
        for place, image in enumerate(images):
            sized = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
            pixels[row, place] = np.asarray(sized, dtype=np.uint8).reshape(size, size, channels)
        lengths[row] = len(images)
        num_thinned += number > frames
        num_resized += any(image.size != (size, size) for image in images)
    return Clips(np.ascontiguousarray(pixels.transpose(0, 1, 4, 2, 3)), lengths, num_thinned, num_resized)


def evenly(number: int, wanted: int) -> list[int]:
    """Which frames of `number` are taken: all, or the middles of `wanted` equal parts."""
    if number <= wanted:
        return list(range(number))
    return [(2 * part + 1) * number // (2 * wanted) for part in range(wanted)]


_Frame = Callable[[int], Image.Image]


def _lists(videos: pa.Array, cells: pa.Array, mode: str) -> Callable[[int], tuple[int, _Frame]]:
    ends = np.cumsum([0, *(number or 0 for number in pc.list_value_length(videos).to_pylist())])

    def clip(row: int) -> tuple[int, _Frame]:
        first, number = int(ends[row]), int(ends[row + 1] - ends[row])
        if not number:
            raise ValueError("it has no frames" if videos[row].is_valid else "the cell is null")
        return number, lambda place: opened(cells[first + place].as_py(), mode)

    return clip


def _files(cells: pa.Array, mode: str) -> Callable[[int], tuple[int, _Frame]]:
    def clip(row: int) -> tuple[int, _Frame]:
        file = opened(cells[row].as_py(), None)

        def frame(place: int) -> Image.Image:
            file.seek(place)
            return file.convert(mode)

        return getattr(file, "n_frames", 1), frame

    return clip


def _clips(videos: pa.Array, mode: str, column: str) -> Callable[[int], tuple[int, _Frame]]:
    """From a row to (how many frames it has, what gives one of them)."""
    kind = videos.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    cells = encoded(videos.flatten() if lists else videos)
    if cells is None:
        raise InputError(
            f"videos are {kind}; give lists of encoded frames (PNG, JPEG …), or animated files (GIF, WebP, APNG) as "
            "binary",
            column=column,
        )
    return _lists(videos, cells, mode) if lists else _files(cells, mode)
