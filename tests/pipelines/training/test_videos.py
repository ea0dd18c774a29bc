"""Videos to pixels: lists of frames and animated files, long and short clips, and what is no video."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curator.errors import InputError
from pipelines.training.videos import Clips, decode_videos, evenly
from tests.pipelines.training.examples import png

FRAMES = [np.full((8, 8), 20 * number, dtype=np.uint8) for number in range(6)]
IDS = pa.array([bytes([number]) * 16 for number in range(4)], pa.binary(16))


def _decoded(cells: pa.Array, frames: int = 4, **changes: object) -> Clips:
    return decode_videos(
        cells,
        IDS,
        **{"frames": frames, "size": 8, "colours": "grey", "column": "clip", **changes},  # type: ignore[arg-type]
    )


def _animated(frames: list[np.ndarray], kind: str) -> bytes:
    out = io.BytesIO()
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(out, kind, save_all=True, append_images=rest, lossless=True)
    return out.getvalue()


def test_frames_in_order_and_how_many_are_real() -> None:
    clips = _decoded(pa.array([[png(frame) for frame in FRAMES[:4]], [png(frame) for frame in FRAMES[1:3]]]))
    assert clips.pixels.shape == (2, 4, 1, 8, 8) and clips.lengths.tolist() == [4, 2]
    assert clips.pixels[:, :, 0, 0, 0].tolist() == [[0, 20, 40, 60], [20, 40, 0, 0]]
    assert (clips.num_thinned, clips.num_resized) == (0, 0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_file_is_its_frames(kind: str) -> None:
    clips = _decoded(pa.array([_animated(FRAMES[:3], kind)]))
    assert clips.lengths.tolist() == [3]
    assert clips.pixels[0, :, 0, 3, 3].tolist() == pytest.approx([0, 20, 40, 0], abs=2)


def test_of_a_long_clip_evenly_spaced_frames_are_taken_and_it_is_counted() -> None:
    clips = _decoded(pa.array([[png(frame) for frame in FRAMES], [png(FRAMES[0])]]), frames=3)
    assert clips.pixels[0, :, 0, 0, 0].tolist() == [20, 60, 100]
    assert clips.num_thinned == 1 and clips.lengths.tolist() == [3, 1]
    assert evenly(5, 5) == [0, 1, 2, 3, 4] and evenly(2, 5) == [0, 1] and evenly(100, 1) == [50]


def test_frames_of_another_size_are_resized_and_the_clip_is_counted_once() -> None:
    clips = _decoded(pa.array([[png(np.full((6, 9), 7, dtype=np.uint8))] * 2, [png(FRAMES[1])]]), colours="rgb")
    assert clips.num_resized == 1 and clips.pixels.shape == (2, 4, 3, 8, 8)
    assert (clips.pixels[0, :2] == 7).all()


def test_frames_may_be_structs_and_lists_of_fixed_size() -> None:
    frames = [{"bytes": png(frame), "path": None} for frame in FRAMES[:2]]
    plain = _decoded(pa.array([[png(frame) for frame in FRAMES[:2]]]))
    assert (_decoded(pa.array([frames])).pixels == plain.pixels).all()
    fixed = pa.array([[png(frame) for frame in FRAMES[:2]]], pa.list_(pa.binary(), 2))
    assert (_decoded(fixed).pixels == plain.pixels).all()


def test_a_slice_of_a_column_is_read_from_where_it_begins() -> None:
    cells = pa.array([[png(FRAMES[0])], None, [png(FRAMES[2]), png(FRAMES[3])]])
    assert _decoded(cells[2:]).pixels[0, :2, 0, 0, 0].tolist() == [40, 60]


@pytest.mark.parametrize(
    ("cell", "why"),
    [(None, "the cell is null"), ([], "it has no frames"), ([b"no image"], "cannot identify"), ([None], "is null")],
)
def test_what_is_no_video_names_its_sample(cell: object, why: str) -> None:
    cells = pa.array([[png(FRAMES[0])], cell], pa.list_(pa.binary()))
    with pytest.raises(InputError, match=f"sample {'01' * 16} holds no video that can be read: .*{why}"):
        _decoded(cells)


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(InputError, match=r"videos are list<item: string>"):
        _decoded(pa.array([["frame.png"]]))
    with pytest.raises(InputError, match="videos are int64"):
        _decoded(pa.array([1]))
