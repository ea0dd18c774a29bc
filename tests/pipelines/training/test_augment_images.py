"""Images changed at random: each operator does its own thing and nothing else, alike in any batch and on all frames."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pipelines.training.augment import Colour, Crop, Cutout, Flip, ImageOperator, Shift
from pipelines.training.augment_images import augmented_images
from tests.pipelines.training.test_draws import ids

OPERATORS = st.lists(
    st.one_of(
        st.builds(Shift, reach=st.floats(0.05, 0.5)),
        st.builds(Flip, share=st.floats(0, 1)),
        st.builds(Crop, min_area=st.floats(0.1, 1)),
        st.builds(Colour, brightness=st.floats(0, 1), contrast=st.floats(0, 1), saturation=st.floats(0, 1)),
        st.builds(Cutout, side=st.floats(0.1, 1)),
    ),
    max_size=4,
)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8))


def changed(pixels: torch.Tensor, *operators: ImageOperator, step: int = 0) -> torch.Tensor:
    return augmented_images(pixels, operators, ids(len(pixels)), seed=0, step=step)


@settings(max_examples=40, deadline=None)
@given(OPERATORS, st.sampled_from([1, 3]), st.integers(8, 20), st.permutations(range(5)), st.integers(1, 4))
def test_images_are_changed_alike_in_any_batch(
    operators: list[ImageOperator], colours: int, side: int, order: list[int], cut: int
) -> None:
    pixels, rows = noise(5, colours, side, side), ids(5)
    whole = augmented_images(pixels, operators, rows, seed=7, step=3)
    assert whole.dtype == torch.uint8 and whole.shape == pixels.shape
    for part in (order[:cut], order[cut:]):
        taken = augmented_images(pixels[part], operators, rows.take(pa.array(part)), seed=7, step=3)
        assert torch.equal(taken, whole[part])


@settings(max_examples=20, deadline=None)
@given(OPERATORS)
def test_all_frames_of_a_clip_are_changed_alike(operators: list[ImageOperator]) -> None:
    """But for contrast, whose mean is the clip's; here all frames are one."""
    frame = noise(4, 1, 3, 12, 12)
    found = changed(frame.expand(4, 3, 3, 12, 12).contiguous(), *operators)
    assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])


def _window(block: torch.Tensor, top: int, left: int, mirror: bool) -> torch.Tensor:
    window = block[:, top : top + 16, left : left + 16]
    return window.flip(2) if mirror else window


def test_a_shift_and_a_flip_and_nothing_else() -> None:
    block = noise(60, 2, 16, 16)
    moved = changed(block, Shift(), Flip())
    padded = F.pad(block.float(), (2, 2, 2, 2), mode="replicate").byte()
    seen = set()
    for before, after in zip(padded, moved, strict=True):
        ways = [(dy, dx, mirror) for dy in range(5) for dx in range(5) for mirror in (False, True)]
        fits = [way for way in ways if torch.equal(_window(before, *way), after)]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len({mirror for *_, mirror in seen}) == 2 and len(seen) > 25


def test_a_crop_is_a_part_of_the_image_enlarged() -> None:
    """Of an image that grows to the right and down, a part keeps its slopes, times the root of its area."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 64, 64)
    images = torch.stack([ramp, ramp.transpose(1, 2)]).repeat(20, 1, 1, 1)
    found = changed(images, Crop(min_area=0.25)).float()
    slope = (found[::2, 0, 32, 40] - found[::2, 0, 32, 24]) / 16 / 4
    assert slope.min() >= 0.47 and slope.max() <= 1.03 and slope.std() > 0.05
    assert torch.equal(changed(images, Crop(min_area=1.0)), images)


def test_colours_keep_what_they_are_about() -> None:
    block = noise(30, 3, 16, 16) // 4 + 96  # far from black and white, so that nothing is cut off
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    before = (block * weights).sum(1)
    paler = changed(block, Colour(brightness=0, contrast=0, saturation=0.9))
    assert ((paler * weights).sum(1) - before).abs().max() <= 1.0 and not torch.equal(paler, block)
    flatter = changed(block, Colour(brightness=0, contrast=0.9, saturation=0)).float()
    grey = (flatter * weights).sum(1)
    assert torch.allclose(grey.mean((1, 2)), before.mean((1, 2)), atol=0.5) and grey.std() != before.std()
    brighter = changed(block, Colour(brightness=0.3, contrast=0, saturation=0)).float()
    factors = brighter.mean((1, 2, 3)) / block.float().mean((1, 2, 3))
    assert 0.69 < factors.min() < 0.85 and 1.15 < factors.max() < 1.31
    assert torch.equal(changed(block, Colour(brightness=0, contrast=0, saturation=0)), block)
    grey_block = block[:, :1].contiguous()
    assert torch.equal(changed(grey_block, Colour(brightness=0, contrast=0)), grey_block)


@pytest.mark.parametrize("side", [0.25, 0.5])
def test_cutout_covers_one_square(side: float) -> None:
    found = changed(torch.zeros(200, 1, 16, 16, dtype=torch.uint8), Cutout(side=side))[:, 0] == 128
    areas, length = found.sum((1, 2)), round(16 * side)
    for image in found:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "one rectangle"
        assert len(rows) <= length and len(columns) <= length
    assert areas.max() == length**2 and areas.min() < length**2, "also over the edge"


def test_every_step_is_another_one() -> None:
    block, all_of_them = noise(16, 3, 16, 16), (Shift(), Flip(), Crop(), Colour(), Cutout())
    once, again, later = (changed(block, *all_of_them, step=step) for step in (3, 3, 4))
    assert torch.equal(once, again) and not torch.equal(once, later)
    assert torch.equal(changed(block), block)
