"""Fused attention against its plain twin, and the law of rotary embeddings."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.attention import attend, attend_reference, rotary_table
from pipelines.training.attention import rotate as turn


def _qkv(seed: int, length: int = 13, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, length, 8, generator=draws, dtype=dtype).requires_grad_() for _ in range(3)]


def rotate(x: torch.Tensor, first: int = 0) -> torch.Tensor:
    precise = torch.float64 if x.dtype == torch.float64 else torch.float32
    return turn(x, *rotary_table(x.shape[-2], x.shape[-1], first=first, dtype=precise))


def _keys(length: int = 13) -> torch.Tensor:
    return torch.arange(length) < torch.tensor([[length], [5]])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_fused_equals_reference_with_gradients(causal: bool, masked: bool) -> None:
    keys = _keys() if masked else None
    fused, plain = _qkv(0), _qkv(0)
    weights = torch.randn(2, 3, 13, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = attend(*fused, causal=causal, keys_BT=keys), attend_reference(*plain, causal=causal, keys_BT=keys)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-12)


def test_masked_keys_change_nothing() -> None:
    q, k, v = (tensor.detach() for tensor in _qkv(2))
    before = attend(q, k, v, causal=False, keys_BT=_keys())
    k[1, :, 5:], v[1, :, 5:] = 99.0, -99.0
    torch.testing.assert_close(attend(q, k, v, causal=False, keys_BT=_keys()), before, rtol=0, atol=0)


def test_causal_rows_ignore_what_follows() -> None:
    q, k, v = (tensor.detach() for tensor in _qkv(3))
    before = attend(q, k, v, causal=True)[:, :, :6]
    k[:, :, 6:], v[:, :, 6:] = 7.0, 7.0
    torch.testing.assert_close(attend(q, k, v, causal=True)[:, :, :6], before, rtol=0, atol=0)


def test_half_precision_is_near_the_reference() -> None:
    q, k, v = (tensor.detach() for tensor in _qkv(4))
    exact = attend_reference(q, k, v, causal=True)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), causal=True).double()
    assert 0 < float((half - exact).norm() / exact.norm()) < 2e-2


def test_rotation_depends_on_distance_alone() -> None:
    draws = torch.Generator().manual_seed(5)
    q, k = (torch.randn(1, 1, 1, 16, generator=draws, dtype=torch.float64) for _ in range(2))

    def product(at: int, distance: int) -> float:
        return float((rotate(q, first=at + distance) * rotate(k, first=at)).sum())

    for distance in (0, 1, 7, 100):
        assert product(0, distance) == pytest.approx(product(531, distance), abs=1e-10)
    assert abs(product(0, 1) - product(0, 7)) > 1e-3


def test_rotation_keeps_lengths_and_starts_at_the_identity() -> None:
    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(6))
    turned = rotate(x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0], rtol=0, atol=0)
    torch.testing.assert_close(turned[:, :, 4:], rotate(x[:, :, 4:], first=4))
    assert rotate(x.bfloat16()).dtype == torch.bfloat16


def test_rotation_matches_complex_multiplication() -> None:
    x = torch.randn(1, 1, 5, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    pairs = torch.complex(x[..., :3], x[..., 3:])
    angles = torch.arange(5.0, dtype=torch.float64)[:, None] * 10_000.0 ** (-torch.arange(3.0, dtype=torch.float64) / 3)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(rotate(x), torch.cat((turned.real, turned.imag), dim=-1))


def test_odd_head_width_is_refused() -> None:
    with pytest.raises(ValueError, match="head width 7 is odd"):
        rotate(torch.zeros(1, 1, 2, 7))
