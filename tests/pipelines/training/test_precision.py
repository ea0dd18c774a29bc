"""The precision policy: auto takes the best there is, a wish that cannot be met is refused."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RecipeError
from pipelines.training.kinds import Device, LanguageModel, Precision, Regions
from pipelines.training.model import build
from pipelines.training.precision import Capabilities, cpu_threads, place, present
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import texts

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


@pytest.mark.parametrize(
    ("precision", "regions", "expected"),
    [
        ("bf16", {}, (torch.bfloat16, None, None, None)),
        ("fp16", {}, (torch.float32, None, None, None)),
        ("fp32", {}, (torch.float32, None, None, None)),
        ("bf16", {"residual": "fp32", "loss": "fp32"}, (torch.float32, None, None, torch.float32)),
        ("bf16", {"attention": "bf16", "feed_forward": "fp16"}, (torch.bfloat16, None, torch.float16, None)),
    ],
)
def test_regions_say_what_differs(precision: Precision, regions: dict[str, str], expected: tuple[object, ...]) -> None:
    placement = place("cpu", precision, regions=Regions.model_validate(regions))
    assert tuple(placement.arithmetic) == expected
    assert placement.scales_loss == (precision == "fp16" or "fp16" in regions.values())


def test_a_region_of_bf16_needs_its_units() -> None:
    with pytest.raises(RecipeError, match="no bf16 units"):
        place("cuda", "fp16", OLD_GPU, regions=Regions(attention="bf16"))


@pytest.mark.parametrize("part", ["attention", "feed_forward", "residual"])
def test_each_region_computes_in_its_own_dtype(part: str) -> None:
    """Seen by the inputs of the layers that are in it, and by the stream that leaves the block."""
    recipe = LanguageModel(width=16, depth=1, heads=2, context=16, regions={part: "fp32"})  # type: ignore[arg-type]
    placement = place("cpu", "bf16", regions=recipe.regions)
    model = build(recipe, 0, torch.device("cpu"))
    seen: dict[str, torch.dtype] = {}
    block = model.blocks[0]
    for name, layer in (("attention", block.out), ("feed_forward", block.mixer.down), ("residual", block)):  # type: ignore[union-attr]
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output.dtype}))
    with placement.autocast:
        model(torch.zeros(1, 8, dtype=torch.int64), arithmetic=placement.arithmetic)
    wanted = {"attention": torch.bfloat16, "feed_forward": torch.bfloat16, "residual": torch.bfloat16}
    assert seen == wanted | {part: torch.float32}


@pytest.mark.parametrize(
    "regions", [{"loss": "fp32"}, {"residual": "fp32", "feed_forward": "fp16"}, {"attention": "fp32"}]
)
def test_mixed_regions_learn(regions: dict[str, str]) -> None:
    recipe = LanguageModel(
        width=16, depth=2, heads=2, context=48, precision="bf16", regions=regions, epochs=4, global_batch_size=16
    )  # type: ignore[arg-type]
    report = Trainer(TableRows(texts(96), seed=0, global_batch_size=16), recipe).run()
    exact = Trainer(
        TableRows(texts(96), seed=0, global_batch_size=16), recipe.model_copy(update={"precision": "fp32"})
    ).run()
    assert report.losses[-1] < report.losses[0] and report.losses[-1] == pytest.approx(exact.losses[-1], rel=0.02)
