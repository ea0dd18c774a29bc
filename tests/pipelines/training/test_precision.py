"""The precision policy: auto takes the best there is, a wish that cannot be met is refused."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RecipeError
from pipelines.training.kinds import Device, Precision
from pipelines.training.precision import Capabilities, cpu_threads, place, present

NOTHING, OLD_GPU, NEW_GPU = Capabilities(False, False), Capabilities(True, False), Capabilities(True, True)


@pytest.mark.parametrize(
    ("device", "precision", "has", "expected"),
    [
        ("auto", "auto", NOTHING, ("cpu", "fp32")),
        ("auto", "auto", OLD_GPU, ("cuda", "fp16")),
        ("auto", "auto", NEW_GPU, ("cuda", "bf16")),
        ("cpu", "auto", NEW_GPU, ("cpu", "fp32")),
        ("cpu", "bf16", NOTHING, ("cpu", "bf16")),
        ("cpu", "fp16", NOTHING, ("cpu", "fp16")),
        ("cuda", "fp32", NEW_GPU, ("cuda", "fp32")),
        ("auto", "fp16", NEW_GPU, ("cuda", "fp16")),
    ],
)
def test_policy(device: Device, precision: Precision, has: Capabilities, expected: tuple[str, str]) -> None:
    placement = place(device, precision, has)
    assert (placement.device.type, placement.precision) == expected
    assert placement.scales_loss == (expected[1] == "fp16")


def test_absent_hardware_is_refused_by_name() -> None:
    with pytest.raises(RecipeError, match="device: cuda was asked for and this machine has none"):
        place("cuda", "auto", NOTHING)
    with pytest.raises(RecipeError, match="no bf16 units"):
        place("cuda", "bf16", OLD_GPU)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_run_in_the_named_dtype(precision: Precision, dtype: torch.dtype) -> None:
    with place("cpu", precision).autocast:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_present_says_what_torch_says() -> None:
    assert present().cuda == torch.cuda.is_available()


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
