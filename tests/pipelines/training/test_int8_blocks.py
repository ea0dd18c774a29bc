"""Blocks of int8: how far from the numbers, what the error carries, what cannot be sent."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.int8_blocks import SMALLEST, dequantise, dequantised_sum, quantise
from tests.pipelines.training.triton_interpreter import interpreted, run

INTERPRETED = """
import torch
from pipelines.training.int8_blocks import quantise_plain, sum_plain
from pipelines.training.int8_kernel import quantise_blocks, sum_blocks

draws = torch.Generator().manual_seed(0)
for size, block, numbers in ((1, 16, 64), (64, 16, 32), (1000, 64, 256), (3000, 1024, 4096), (2048, 1024, 1024)):
    x, error = (torch.randn(size, generator=draws) * 10.0 ** power for power in (-3, -5))
    x[: size // 3] *= 1e-6
    for given in (None, error):
        for ours, theirs in zip(
            quantise_blocks(x, given, block, numbers=numbers), quantise_plain(x, given, block)
        ):
            assert torch.equal(ours, theirs), (size, block, given is None)
for size, block, numbers, vectors in ((1, 16, 64, 1), (1000, 64, 256, 3), (2048, 1024, 4096, 4)):
    values = torch.randint(-127, 128, (vectors, size), generator=draws, dtype=torch.int8)
    scales = torch.rand(vectors, -(-size // block), generator=draws)
    assert torch.equal(sum_blocks(values, scales, block, numbers=numbers), sum_plain(values, scales, block))
hard = torch.randn(16 * 7, generator=draws).view(7, 16)
hard[0] = 0.0
hard[1] = 1e-42
hard[2, 3], hard[3, 0], hard[4, 15] = float("inf"), float("nan"), -float("inf")
hard[5] = torch.arange(16) + 0.5
hard[5, 0] = 127.0
hard[6] = 3e38
x, error = hard.flatten(), torch.randn(16 * 7, generator=draws) * 1e-3
error[16:32] = 0.0
for given in (None, error):
    for ours, theirs in zip(quantise_blocks(x, given, 16), quantise_plain(x, given, 16)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
print("equal")
"""


def _noise(size: int, seed: int = 0, scale: float = 1e-3) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


@interpreted
def test_the_kernels_give_the_bits_of_their_twins_in_the_interpreter() -> None:
    assert run(INTERPRETED) == "equal"


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 5000])
def test_no_number_is_off_by_more_than_half_a_step(size: int) -> None:
    x = _noise(size)
    values, scales, error = quantise(x)
    assert values.dtype == torch.int8 and scales.shape == (-(-size // 1024),) and int(values.abs().sum()) >= 0
    back = dequantise(values, scales)
    assert back.dtype == torch.float32 and torch.equal(x - back, error)
    steps = scales.repeat_interleave(1024)[:size]
    assert (error.abs() <= steps * 0.5001).all()
    assert not size or int(values.abs().max()) == 127


def test_gaussian_numbers_lose_under_a_hundredth_and_a_fourth_of_the_bytes_remains() -> None:
    x = _noise(1 << 20)
    values, scales, error = quantise(x)
    assert 0.005 < float(error.norm() / x.norm()) < 0.01
    assert (values.nbytes + scales.nbytes) / x.nbytes == 0.25 + 1 / 1024


def test_one_large_number_spoils_its_own_block_alone() -> None:
    x = _noise(4096)
    x[100] = 1e3
    _, scales, error = quantise(x)
    assert (scales[1:] < 1e-4).all() and scales[0] > 1
    assert float(error[1024:].norm() / x[1024:].norm()) < 0.01


def test_with_the_error_carried_on_sums_of_many_steps_are_exact_to_one_rounding() -> None:
    """Without it the small numbers of a block are lost every time."""
    draws = [_noise(2048, seed) + 2e-6 for seed in range(50)]
    error, sent, forgetful = None, torch.zeros(2048), torch.zeros(2048)
    for x in draws:
        values, scales, error = quantise(x, error=error)
        sent += dequantise(values, scales)
        forgetful += dequantise(*quantise(x)[:2])
    exact = torch.stack(draws).double().sum(0)
    assert error is not None
    torch.testing.assert_close(sent.double() + error.double(), exact, rtol=0, atol=1e-7)
    assert (sent - exact).norm() < 0.4 * (forgetful - exact).norm()


def test_inputs_stay_as_they_were() -> None:
    x, error = _noise(3000), _noise(3000, 1)
    before = x.clone(), error.clone()
    _, _, kept = quantise(x, error=error)
    assert torch.equal(x, before[0]) and torch.equal(error, before[1]) and kept is not error


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_a_block_that_overflowed_comes_back_as_nan_and_keeps_its_error(bad: float) -> None:
    x, error = _noise(3000), _noise(3000, 1, 1e-5)
    x[1500] = bad
    values, scales, kept = quantise(x, error=error)
    back = dequantise(values, scales)
    assert back[1024:2048].isnan().all() and back[:1024].isfinite().all() and back[2048:].isfinite().all()
    assert torch.equal(kept[1024:2048], error[1024:2048]) and kept.isfinite().all()


def test_a_block_too_small_for_a_scale_is_kept_in_the_error() -> None:
    x = torch.full((16,), SMALLEST)
    values, scales, error = quantise(x, block=16)
    assert not values.any() and scales.tolist() == [1.0] and torch.equal(error, x)
    values, scales, error = quantise(torch.zeros(16), block=16)
    assert not values.any() and scales.tolist() == [1.0] and not error.any()


def test_ties_round_to_even() -> None:
    x = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5])
    assert quantise(x, block=8)[0].tolist() == [127, 0, 2, 2, 0, -2]


def test_a_sum_of_vectors_is_the_sum_of_each() -> None:
    parts = [quantise(_noise(2500, seed), block=1024)[:2] for seed in range(4)]
    total = dequantised_sum(torch.stack([values for values, _ in parts]), torch.stack([scales for _, scales in parts]))
    assert torch.equal(total, sum((dequantise(*part) for part in parts[1:]), dequantise(*parts[0])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x_N": torch.zeros(4, dtype=torch.float16)}, "x_N is torch.float16"),
        ({"x_N": torch.zeros(2, 2)}, r"x_N is torch.float32 \(2, 2\)"),
        ({"x_N": torch.zeros(8)[::2]}, "not contiguous"),
        ({"x_N": torch.zeros(4), "error": torch.zeros(5)}, "the error has 5 numbers and x_N 4"),
        ({"x_N": torch.zeros(4), "error": torch.zeros(4, dtype=torch.float64)}, "error is torch.float64"),
        ({"x_N": torch.zeros(4), "block": 0}, "at least one number, got 0"),
    ],
)
def test_what_cannot_be_quantised_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantise(**arguments)  # type: ignore[arg-type]


def test_scales_of_other_blocks_are_refused() -> None:
    values, scales, _ = quantise(_noise(3000))
    with pytest.raises(ValueError, match="blocks of 512 have 6 scales each"):
        dequantise(values, scales, block=512)
    with pytest.raises(ValueError, match=r"got values of torch.float32"):
        dequantise(values.float(), scales)
