"""Fused attention against its plain twin, over whole rows, padded rows and spans."""

from __future__ import annotations

import warnings

import pytest
import torch

from pipelines.training import attention
from pipelines.training.attention import attend, attend_reference
from pipelines.training.spans import Kernel, spans, window_spans


def _qkv(seed: int, length: int = 13, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(2, 3, length, 8, generator=draws, dtype=dtype).requires_grad_() for _ in range(3)]


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


PACKED = [[5, 4, 3], [13]]
"""documents of two sequences of 13; the first ends with one position of padding"""


@pytest.mark.parametrize("window", [None, 1, 3, 13])
@pytest.mark.parametrize("kernel", ["mask", "flex"])
def test_spans_equal_the_reference_with_gradients(kernel: Kernel, window: int | None) -> None:
    """FlexAttention has no backward on a CPU: there its forward is compared."""
    where = spans(PACKED, 13, kernel=kernel, window=window)
    fused, plain = _qkv(6), _qkv(6)
    if kernel == "flex":
        with torch.no_grad():
            ours = _flex_eagerly(*[tensor.detach() for tensor in fused], where)
            torch.testing.assert_close(ours, attend_reference(*plain, causal=True, spans=where), rtol=1e-6, atol=1e-7)
        return
    weights = torch.randn(2, 3, 13, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours, theirs = (
        attend(*fused, causal=True, spans=where),
        attend_reference(*plain, causal=True, spans=where),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-11, atol=1e-12)


def _flex_eagerly(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, where: object) -> torch.Tensor:
    """The same kernel definition without a compiler: `attend` compiles it, which takes half a minute on a CPU."""
    from unittest import mock

    from torch.nn.attention.flex_attention import flex_attention

    from pipelines.training import attention

    with mock.patch.object(attention, "_flex", lambda: flex_attention), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: it would rather be compiled
        return attend(q, k, v, causal=True, spans=where)  # type: ignore[arg-type]


def test_packed_documents_are_what_they_are_alone() -> None:
    q, k, v = (tensor.detach() for tensor in _qkv(7))
    together = attend(q, k, v, causal=True, spans=spans(PACKED, 13, kernel="mask"))
    for row, (first, end) in ((0, (0, 5)), (0, (5, 9)), (0, (9, 12)), (1, (0, 13))):
        part = (slice(row, row + 1), slice(None), slice(first, end))
        torch.testing.assert_close(together[part], attend(q[part], k[part], v[part], causal=True))


def test_a_window_sees_no_further() -> None:
    q, k, v = (tensor.detach() for tensor in _qkv(8))
    before = attend(q, k, v, causal=True, spans=window_spans(2, 13, 4, kernel="mask"))
    k[:, :, :6], v[:, :, :6] = 9.0, 9.0
    after = attend(q, k, v, causal=True, spans=window_spans(2, 13, 4, kernel="mask"))
    torch.testing.assert_close(after[:, :, 9:], before[:, :, 9:], rtol=0, atol=0)
    assert not torch.allclose(after[:, :, 8], before[:, :, 8])
    whole = attend(q, k, v, causal=True, spans=window_spans(2, 13, 13, kernel="mask"))
    torch.testing.assert_close(whole, attend(q, k, v, causal=True))


@pytest.mark.parametrize(
    ("length", "dtype", "fixed"),
    [
        (256, torch.bfloat16, True),
        (64, torch.bfloat16, False),
        (200, torch.float16, False),
        (256, torch.float32, False),
    ],
)
def test_flex_has_tiles_of_our_own_for_whole_blocks_in_16_bits(
    length: int, dtype: torch.dtype, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fixed tiles a sequence shorter than a tile comes out wrong."""
    given: list[dict[str, object]] = []

    def flex(q: torch.Tensor, *_: torch.Tensor, kernel_options: dict[str, object], **__: object) -> torch.Tensor:
        given.append(kernel_options)
        return q

    monkeypatch.setattr(attention, "_flex", lambda: flex)
    noise = _qkv(0, length, dtype)
    attend(*noise, causal=True, spans=spans([[length]] * 2, length, kernel="flex"))
    assert bool(given[0]) is fixed
