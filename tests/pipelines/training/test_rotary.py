"""The law of rotary embeddings, and what becomes of them when the context grows."""

from __future__ import annotations

import math

import pytest
import torch

from pipelines.training.rotary import rotary_table, table_for
from pipelines.training.rotary import rotate as turn
from pipelines.training.sequences import Rotary

DOUBLE = torch.float64


def rotate(x_BTHD: torch.Tensor, first: int = 0) -> torch.Tensor:
    precise = DOUBLE if x_BTHD.dtype == DOUBLE else torch.float32
    return turn(x_BTHD, *rotary_table(x_BTHD.shape[1], x_BTHD.shape[-1], first=first, dtype=precise))


def test_rotation_depends_on_distance_alone() -> None:
    draws = torch.Generator().manual_seed(5)
    q, k = (torch.randn(1, 1, 1, 16, generator=draws, dtype=torch.float64) for _ in range(2))

    def product(at: int, distance: int) -> float:
        return float((rotate(q, first=at + distance) * rotate(k, first=at)).sum())

    for distance in (0, 1, 7, 100):
        assert product(0, distance) == pytest.approx(product(531, distance), abs=1e-10)
    assert abs(product(0, 1) - product(0, 7)) > 1e-3


def test_rotation_keeps_lengths_and_starts_at_the_identity() -> None:
    x = torch.randn(2, 9, 3, 8, generator=torch.Generator().manual_seed(6))
    turned = rotate(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, 0], x[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(turned[:, 4:], rotate(x[:, 4:], first=4))
    assert rotate(x.bfloat16()).dtype == torch.bfloat16


def test_rotation_matches_complex_multiplication() -> None:
    x = torch.randn(1, 5, 1, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    pairs = torch.complex(x[..., :3], x[..., 3:])
    angles = torch.arange(5.0, dtype=torch.float64)[:, None, None] * 10_000.0 ** (
        -torch.arange(3.0, dtype=torch.float64) / 3
    )
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(rotate(x), torch.cat((turned.real, turned.imag), dim=-1))


def test_odd_head_width_is_refused() -> None:
    with pytest.raises(ValueError, match="head width 7 is odd"):
        rotate(torch.zeros(1, 1, 2, 7))


def _angles(rotary: Rotary, growth: float, length: int = 64, trained: int = 16) -> torch.Tensor:
    """The angle of each pair at position 1, and the loudness, found from the table."""
    cos, sin = rotary_table(length, 16, rotary, growth=growth, trained=trained, dtype=DOUBLE)
    return torch.atan2(sin[1], cos[1])


def test_without_growth_every_scaling_is_the_same() -> None:
    for scaling in ("none", "ntk", "yarn"):
        cos, sin = rotary_table(9, 16, Rotary(scaling=scaling), growth=1.0, trained=9)
        plain = rotary_table(9, 16)
        torch.testing.assert_close((cos, sin), plain, rtol=0, atol=0)


def test_ntk_turns_the_slowest_pair_as_far_over_the_new_context_and_keeps_the_fastest() -> None:
    plain, scaled = _angles(Rotary(), 4.0), _angles(Rotary(scaling="ntk"), 4.0)
    torch.testing.assert_close(scaled[-1] * 4, plain[-1])
    torch.testing.assert_close(scaled[0], plain[0])
    assert bool((scaled[1:] < plain[1:]).all())


def test_yarn_stretches_slow_pairs_alone_and_raises_the_logits() -> None:
    rotary = Rotary(scaling="yarn", base=10_000.0)
    plain, scaled = _angles(Rotary(), 4.0, trained=512), _angles(rotary, 4.0, trained=512)
    turns = 512 * plain / (2 * math.pi)
    torch.testing.assert_close(scaled[turns > 32], plain[turns > 32])
    torch.testing.assert_close(scaled[turns < 1], plain[turns < 1] / 4)
    between = (turns > 1) & (turns < 32)
    assert between.any() and bool(((scaled < plain) & (scaled > plain / 4))[between].all())
    cos, sin = rotary_table(8, 16, rotary, growth=4.0, trained=512, dtype=DOUBLE)
    loudness = torch.full((8, 8), 0.1 * math.log(4) + 1, dtype=DOUBLE)
    torch.testing.assert_close((cos**2 + sin**2).sqrt(), loudness)


def test_a_table_is_made_once() -> None:
    device = torch.device("cpu")
    first = table_for(64, 16, Rotary(), 1.0, 64, device)
    assert table_for(64, 16, Rotary(), 1.0, 64, device)[0] is first[0]
    assert table_for(64, 16, Rotary(scaling="ntk"), 2.0, 64, device)[0] is not first[0]
