"""Attention over time: what the plain twin means, and the Triton kernels against it in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.training.attention import attend_reference
from pipelines.training.temporal import attend_over_time, has_kernel
from tests.pipelines.training.triton_interpreter import interpreted, run

INTERPRETED = """
import torch
from pipelines.training.temporal import attend_over_time_plain
from pipelines.training.temporal_kernel import Tiling, backward, forward, temporal_attention

draws = torch.Generator().manual_seed(0)

def near(ours, exact, dtype):
    assert ours.isfinite().all()
    assert float((ours.double() - exact).norm() / exact.norm()) < {torch.float32: 1e-6, torch.float16: 2e-3}[dtype]

def check(frames, places, dtype, tiling, clips=2, heads=2, width=16, masked=False):
    qkv = torch.randn(clips, frames, places, 3 * heads * width, generator=draws).to(dtype)
    weights = torch.randn(3, heads * width, generator=draws)
    slope = torch.randn(clips, frames, places, heads * width, generator=draws).to(dtype)
    lengths = torch.tensor([frames, max(frames // 2, 1)], dtype=torch.int32)[:clips] if masked else None
    exact = [x.double().requires_grad_() for x in (qkv, weights)]
    whole = attend_over_time_plain(*exact, heads, lengths)
    whole.backward(slope.double())
    near(forward(qkv, weights, lengths, heads, tiling), whole.detach(), dtype)
    for ours, theirs in zip(backward(slope, qkv, weights, lengths, heads, tiling), exact):
        near(ours, theirs.grad, dtype)

for frames in (1, 13, 16, 32, 64):
    check(frames, 3, torch.float32, Tiling(1, 1, 1), masked=frames != 16)
    check(frames, 3, torch.float16, Tiling(4, 1, 2), masked=frames != 32)
check(5, 7, torch.float32, None, masked=True)
check(100, 1, torch.float32, None, clips=1, heads=1)

qkv = torch.randn(2, 4, 2, 96, generator=draws).requires_grad_()
weights = torch.randn(3, 32, generator=draws).requires_grad_()
lengths = torch.tensor([4, 2], dtype=torch.int32)
torch.library.opcheck(temporal_attention, (qkv, weights, lengths, 2))
torch.library.opcheck(temporal_attention, (qkv, weights, None, 2))
compiled = torch.compile(lambda q, w: temporal_attention(q * 2, w, lengths, 2).sin(), backend="aot_eager")
ours = torch.autograd.grad(compiled(qkv, weights).sum(), (qkv, weights))
theirs = torch.autograd.grad(attend_over_time_plain(qkv * 2, weights, 2, lengths).sin().sum(), (qkv, weights))
for a, b in zip(ours, theirs):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
print("equal")
"""


@interpreted
def test_the_kernels_equal_their_twin_in_the_interpreter() -> None:
    """Frames of all sizes, clips cut short, several places a program; the registered operator under torch.compile."""
    assert run(INTERPRETED) == "equal"


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_attention_over_frames_and_a_depthwise_convolution() -> None:
    qkv, weights = _noise(2, 6, 3, 24), _noise(3, 8, seed=1)
    q, k, v = (x.reshape(6, 6, 2, 4).transpose(1, 2) for x in qkv.transpose(1, 2).chunk(3, dim=-1))
    attention = attend_reference(q, k, v, causal=False).transpose(1, 2).reshape(2, 3, 6, 8)
    values = v.transpose(1, 2).reshape(6, 6, 8)
    convolved = F.conv1d(values.transpose(1, 2), weights.T[:, None], padding=1, groups=8).transpose(1, 2)
    expected = (attention + convolved.reshape(2, 3, 6, 8)).transpose(1, 2)
    torch.testing.assert_close(attend_over_time(qkv, weights, 2), expected)


def test_a_clip_cut_short_is_the_clip_alone() -> None:
    qkv, weights = _noise(2, 6, 3, 24), _noise(3, 8, seed=1)
    lengths = torch.tensor([6, 4], dtype=torch.int32)
    both = attend_over_time(qkv, weights, 2, lengths)
    torch.testing.assert_close(both[1:, :4], attend_over_time(qkv[1:, :4], weights, 2))
    torch.testing.assert_close(both[:1], attend_over_time(qkv[:1], weights, 2))
    assert not both[1, 4:].any()


def test_frames_that_are_not_there_get_no_gradient() -> None:
    qkv, weights = _noise(2, 6, 3, 24).requires_grad_(), _noise(3, 8, seed=1)
    attend_over_time(qkv, weights, 2, torch.tensor([6, 4], dtype=torch.int32)).sin().sum().backward()
    assert qkv.grad is not None and not qkv.grad[1, 4:].any() and qkv.grad[1, :4].all()


@pytest.mark.parametrize(
    ("frames", "width", "expected"), [(1, 16, True), (64, 64, True), (129, 64, False), (8, 24, False), (8, 256, False)]
)
def test_what_the_kernels_take(frames: int, width: int, expected: bool) -> None:
    assert has_kernel(frames, width) is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qkv_BTN3C": torch.zeros(2, 6, 24)}, r"got \(2, 6, 24\)"),
        ({"weights_KC": torch.zeros(5, 8)}, r"the weights are \[3, C\]"),
        ({"weights_KC": torch.zeros(3, 9)}, r"\(2, 6, 3, 24\) and \(3, 9\)"),
        ({"heads": 3}, "8 channels do not split into 3 heads"),
        ({"lengths_B": torch.ones(2)}, "got torch.float32"),
        ({"lengths_B": torch.ones(3, dtype=torch.int32)}, "one for each of 2 clips"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"qkv_BTN3C": torch.zeros(2, 6, 3, 24), "weights_KC": torch.zeros(3, 8), "heads": 2}
    with pytest.raises(ValueError, match=message):
        attend_over_time(**{**arguments, **changes})  # type: ignore[arg-type]
