"""Rotary positions: queries and keys are turned by their place, and the turns are stretched when the context grows.

Knows tensors and lengths; nothing of models, tokens or of when a context grows.

Legend: B batch, T positions, H heads, D head width.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from pipelines.training.sequences import Rotary

__all__ = ["Table", "rotary_table", "rotate", "table_for"]

Table = tuple[Tensor, Tensor]
"""cos and sin of the angles, [T, D/2] each"""

_FAST, _SLOW = 32.0, 1.0
"""YaRN's β and α for LLaMA: a pair that turns over 32 times in the first context is left alone, one that turns less
than once is interpolated (Peng et al. 2023, arXiv 2309.00071, section 3.2)."""


@lru_cache(maxsize=16)
def table_for(length: int, width: int, rotary: Rotary, growth: float, first: int, device: torch.device) -> Table:
    """`rotary_table` in float32, kept: all layers and all steps of a stage share one."""
    return rotary_table(length, width, rotary, growth=growth, trained=first, device=device)


def rotary_table(
    length: int,
    width: int,
    rotary: Rotary | None = None,
    *,
    growth: float = 1.0,
    trained: int | None = None,
    first: int = 0,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Table:
    """(cos, sin) by which `rotate` turns a head of `width` D: position first + t turns pair d by (first + t)·f(d), and
    f(d) = base^(-2d/D) (Su et al. 2021, arXiv 2104.09864, eq. 15).

    `growth` is the present context over the `trained` one, the first of the job (default: `length`). ntk: the base is
    multiplied by growth^(D/(D-2)), so that the slowest pair turns as far over the new context as it did over the old.
    yarn: "NTK-by-parts", and cos and sin times 0.1·ln(growth) + 1, which is the soft-max temperature of eq. 22, on
    both sides of the product (arXiv 2309.00071, sections 3.2 and 3.4). Raises ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"rotary embedding turns pairs: head width {width} is odd; choose an even one")
    rotary = rotary or Rotary()
    base = rotary.base
    if rotary.scaling == "ntk" and width > 2:
        base *= growth ** (width / (width - 2))
    places = torch.arange(width // 2, device=device, dtype=dtype)
    frequencies = torch.pow(base, places * (-2.0 / width))
    loudness = 1.0
    if rotary.scaling == "yarn" and growth > 1:
        kept = _kept(frequencies, trained or length)
        frequencies = frequencies * (kept + (1 - kept) / growth)
        loudness = 0.1 * math.log(growth) + 1
    positions = torch.arange(first, first + length, device=device, dtype=dtype)
    angles_TD = positions[:, None] * frequencies
    return angles_TD.cos() * loudness, angles_TD.sin() * loudness


def rotate(x_BTHD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864, eq. 34) of the pairs (d, d + D/2), in the precision of the table.

    The product of a turned query and a turned key depends on the distance between them alone, so packed documents
    need no positions of their own. Keeps the dtype.
    """
    cos_T1D, sin_T1D = cos_TD[:, None], sin_TD[:, None]
    left, right = x_BTHD.chunk(2, dim=-1)
    turned = torch.cat((left * cos_T1D - right * sin_T1D, right * cos_T1D + left * sin_T1D), dim=-1)
    return turned.to(x_BTHD.dtype)


def _kept(frequencies: Tensor, trained: int) -> Tensor:
    """YaRN's ramp γ: 1 where a frequency is kept, 0 where it is interpolated."""
    turns = trained * frequencies / (2 * math.pi)
    return ((turns - _SLOW) / (_FAST - _SLOW)).clamp(0, 1)
