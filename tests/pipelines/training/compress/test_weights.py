"""Narrow weights: how far they are from wide ones, and what they weigh."""

from __future__ import annotations

import pytest
import torch

from pipelines.training.compress.weights import halves, num_bytes, plan_of, stored, unpacked


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_int8_is_the_nearest_of_its_row(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 1, shape[0]).view(
        -1, *(1,) * (len(shape) - 1)
    )
    weight = stored(tensor, "int8")
    assert weight.scale is not None and weight.values.dtype == torch.int8
    step = weight.scale.float().view(-1, *(1,) * (len(shape) - 1))
    assert (
        (weight.wide() - tensor).abs() <= 0.56 * step
    ).all()  # half a step, and the largest where its scale is rounded down
    again = stored(weight.wide(), "int8")
    assert torch.equal(again.values, weight.values)


def test_empty_rows_stay_empty_and_overflow_is_seen() -> None:
    tensor = torch.zeros(3, 4)
    tensor[1] = 2.0
    assert torch.equal(
        stored(tensor, "int8").wide(),
        torch.tensor([[0.0] * 4, [2.0] * 4, [0.0] * 4]).mul(stored(tensor, "int8").wide()[1, 0] / 2),
    )
    assert not stored(torch.full((2, 2), 1e6), "fp16").wide().isfinite().all()
    assert not stored(torch.full((2, 2), 1e9), "int8").wide().isfinite().all()


def test_vectors_keep_16_bits_and_bytes_are_counted() -> None:
    tensors = {"matrix": torch.ones(8, 16), "gain": torch.ones(16)}
    assert plan_of(tensors, "int8") == {"matrix": "int8", "gain": "fp16"}
    for precision, expected in {"fp32": 4 * 144, "fp16": 2 * 144, "int8": 128 + 2 * 8 + 2 * 16}.items():
        plan = plan_of(tensors, precision)  # type: ignore[arg-type]
        assert num_bytes({name: stored(t, plan[name]) for name, t in tensors.items()}) == expected


def test_four_bits_are_two_numbers_to_a_byte() -> None:
    tensor = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    weight = stored(tensor, "int4")
    assert weight.scale is not None and weight.values.shape == (6, 5) and weight.values.dtype == torch.uint8
    assert ((weight.wide() - tensor).abs() <= 0.51 * weight.scale.float()[:, None]).all()
    assert torch.equal(stored(weight.wide(), "int4").values, weight.values)
    assert set(unpacked(weight.values).flatten().tolist()) <= set(range(-7, 8))
    assert num_bytes({"": weight}) == 30 + 12
    assert halves(tensor) and not halves(torch.ones(4, 3)) and not halves(torch.ones(4, 2, 2, 2))
