"""Images changed at random: moved, mirrored, cropped, coloured, covered; of a clip all frames alike.

Knows pixels and draws; nothing of files, labels or models. Whole batches at once.

Legend: B images or clips, F frames (1 of an image), C colours, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.augment import Colour, Crop, Cutout, Flip, ImageOperator, Shift
from pipelines.training.draws import Draws

__all__ = ["augmented_images"]

_GREY = (0.299, 0.587, 0.114)
"""ITU-R BT.601: the grey of a colour, as Pillow has it"""
_HALF_GREY = 128


def augmented_images(
    pixels: Tensor, operators: Sequence[ImageOperator], sample_ids: pa.Array, *, seed: int, step: int
) -> Tensor:
    """uint8, of the shape of `pixels`: uint8[B, C, S, S], or clips uint8[B, F, C, S, S]. Each operator in turn, on
    every row by the draws that are its own at this step."""
    clips_BFCSS = pixels if pixels.ndim == 5 else pixels[:, None]
    for number, operator in enumerate(operators):
        clips_BFCSS = _changed(clips_BFCSS, operator, Draws(seed, step, f"{number} {operator.kind}", sample_ids))
    return clips_BFCSS.view(pixels.shape)


def _changed(clips: Tensor, operator: ImageOperator, draws: Draws) -> Tensor:
    if isinstance(operator, Shift):
        return _shifted(clips, operator, draws)
    if isinstance(operator, Flip):
        flipped_B = torch.from_numpy(draws.rows("flip") < operator.share)
        return torch.where(flipped_B.view(-1, 1, 1, 1, 1), clips.flip(-1), clips)
    if isinstance(operator, Crop):
        return _cropped(clips, operator, draws)
    return _coloured(clips, operator, draws) if isinstance(operator, Colour) else _cut_out(clips, operator, draws)


def _shifted(clips: Tensor, operator: Shift, draws: Draws) -> Tensor:
    side = clips.shape[-1]
    reach = max(round(side * operator.reach), 1)
    down_B, right_B = (_whole(draws.rows(name), 2 * reach + 1) - reach for name in ("down", "right"))
    rows_BS, columns_BS = ((torch.arange(side) + move[:, None]).clamp(0, side - 1) for move in (down_B, right_B))
    taken = clips.take_along_dim(rows_BS[:, None, None, :, None], dim=3)
    return taken.take_along_dim(columns_BS[:, None, None, None, :], dim=4)


def _cropped(clips: Tensor, operator: Crop, draws: Draws) -> Tensor:
    """Bilinear, by `grid_sample`: of coordinates between -1 and 1 a part of share s reaches s about its middle."""
    scale_B = np.sqrt(operator.min_area + (1 - operator.min_area) * draws.rows("area"))
    right_B, down_B = ((2 * draws.rows(name) - 1) * (1 - scale_B) for name in ("right", "down"))
    zero_B = np.zeros_like(scale_B)
    turns = np.stack([scale_B, zero_B, right_B, zero_B, scale_B, down_B], axis=1).reshape(-1, 2, 3)
    flat = clips.flatten(1, 2).float()
    grid = F.affine_grid(torch.from_numpy(turns).float(), list(flat.shape), align_corners=False)
    return _bytes(F.grid_sample(flat, grid, padding_mode="border", align_corners=False)).view(clips.shape)


def _coloured(clips: Tensor, operator: Colour, draws: Draws) -> Tensor:
    values = clips.float() * _about_1(draws, "bright", operator.brightness)
    mean = _grey(values).mean(dim=(1, 2, 3, 4), keepdim=True)
    values = mean + (values - mean) * _about_1(draws, "contrast", operator.contrast)
    grey = _grey(values)
    return _bytes(grey + (values - grey) * _about_1(draws, "saturate", operator.saturation))


def _cut_out(clips: Tensor, operator: Cutout, draws: Draws) -> Tensor:
    size = clips.shape[-1]
    side = max(round(size * operator.side), 1)
    inside = []
    for name in ("down", "right"):
        first_B1 = (_whole(draws.rows(name), size) - side // 2)[:, None]
        places_S = torch.arange(size)
        inside.append((places_S >= first_B1) & (places_S < first_B1 + side))
    square_BSS = inside[0][:, :, None] & inside[1][:, None, :]
    return clips.masked_fill(square_BSS[:, None, None], _HALF_GREY)


def _grey(values: Tensor) -> Tensor:
    if values.shape[2] == 1:
        return values
    return (values * torch.tensor(_GREY).view(3, 1, 1)).sum(dim=2, keepdim=True)


def _about_1(draws: Draws, name: str, strength: float) -> Tensor:
    return torch.from_numpy(1 + strength * (2 * draws.rows(name) - 1)).float().view(-1, 1, 1, 1, 1)


def _whole(draws_B: np.ndarray, number: int) -> Tensor:
    """int64[B] in 0…number - 1"""
    return torch.from_numpy((draws_B * number).astype(np.int64))


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
