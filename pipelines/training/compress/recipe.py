"""The recipe of a compression: which steps, how far each may go, what each may cost. Frozen, content-addressed.

Knows values and files of recipes; no checkpoint, no data and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curator.digest import canonical_json, sha256_hex
from curator.errors import RecipeError
from curator.recipe.syntax import read_plain
from pipelines.training.kinds import Optimiser
from pipelines.training.presets import meant

__all__ = [
    "PRESETS",
    "Adaptive",
    "CompressRecipe",
    "Distil",
    "ExportFormat",
    "HeldOutRows",
    "Precision",
    "Prune",
    "Quantise",
    "Retrain",
    "load_compress_recipe",
    "parse_compress_recipe",
]

Precision = Literal["fp32", "fp16", "int8", "int4"]
"""How a tensor of weights is stored, from wide to narrow."""

ExportFormat = Literal["torch-export", "onnx", "onnx-dynamic"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HeldOutRows(_Frozen):
    """Which rows of the held-out set count, and what its columns are called there.

    Every row that matches `where` and whose content was not trained on. The columns default to the training recipe's.
    """

    where: dict[str, Any] = {}
    content: str | None = Field(default=None, description="the column of the text or image")
    label: str | None = Field(default=None, description="the column of the true label")


class _Learned(_Frozen):
    epochs: int = Field(ge=1, le=10_000)
    optimiser: Optimiser | None = Field(default=None, description="default: the training recipe's")
    temperature: float = Field(default=2.0, gt=0, le=100, description="of both soft-maxes in the logit loss")
    logits: float = Field(default=0.7, ge=0, le=1, description="weight of the teacher's scores; the label has the rest")


class Distil(_Learned):
    """A smaller student learns from the trained model.

    The three sizes are shares of the teacher's; heads keep their width, so fewer of them go with a narrower student.
    """

    width: float = Field(default=1.0, gt=0, le=1)
    depth: float = Field(default=1.0, gt=0, le=1)
    ngram_buckets: float = Field(default=1.0, gt=0, le=1, description="of a text classifier's table of n-gram vectors")
    epochs: int = Field(default=10, ge=1, le=10_000)
    hidden: float = Field(default=1.0, ge=0, le=100, description="weight of the loss between mapped layers")
    max_loss: float = Field(default=0.04, ge=0, lt=1, description="share of the accuracy that the step may cost")

    @model_validator(mode="after")
    def _smaller(self) -> Distil:
        if self.width == self.depth == self.ngram_buckets == 1.0:
            raise ValueError(
                "a student as wide and as deep as its teacher is no smaller; set width, depth or ngram_buckets below 1"
            )
        return self


class Prune(_Learned):
    """Units that the loss hardly feels are taken out: attention heads and feed-forward units of a transformer, groups
    of inner channels of an image network. What is left is trained again, shortly, with the model before as teacher."""

    heads: float = Field(default=0.0, ge=0, lt=1, description="share of all attention heads to take out")
    feed_forward: float = Field(default=0.0, ge=0, lt=1, description="share of all feed-forward units to take out")
    channels: float = Field(default=0.0, ge=0, lt=1, description="share of all groups of inner channels to take out")
    calibration_rows: int = Field(default=512, ge=1, le=1_000_000, description="training rows that importance is of")
    epochs: int = Field(default=2, ge=1, le=10_000)
    max_loss: float = Field(default=0.01, ge=0, lt=1, description="share of the accuracy that the step may cost")

    @model_validator(mode="after")
    def _takes(self) -> Prune:
        if not self.heads and not self.feed_forward and not self.channels:
            raise ValueError("nothing is to be taken out; set heads and feed_forward, or channels, above 0")
        return self


class Adaptive(_Frozen):
    """Each matrix in the precision (fp16, int8, int4) that its sensitivity asks for, under a budget of bytes."""

    budget: float = Field(gt=0, le=2, description="bytes of all weights, as a share of those in uniform int8")
    calibration_rows: int = Field(default=512, ge=1, le=1_000_000, description="training rows that sensitivity is of")
    max_loss: float = Field(default=0.01, ge=0, lt=1, description="share of the accuracy that the plan may cost")


class Retrain(_Learned):
    """A stage that costs too much is tried once more, after training that rounds weights as it stores them, with the
    model before as teacher."""

    epochs: int = Field(default=2, ge=1, le=10_000)


class Quantise(_Frozen):
    """Weights in fewer bits, in stages; after each the model must still be good, or the stage is taken back."""

    stages: tuple[Literal["fp16", "int8"], ...] = Field(default=("fp16", "int8"), min_length=1)
    max_loss_fp16: float = Field(default=0.001, ge=0, lt=1, description="share of the accuracy that fp16 may cost")
    max_loss_int8: float = Field(default=0.01, ge=0, lt=1, description="share of the accuracy that int8 may cost")

    @model_validator(mode="after")
    def _narrower(self) -> Quantise:
        if self.stages not in (("fp16",), ("int8",), ("fp16", "int8")):
            raise ValueError(f"stages go from wide to narrow, fp16 before int8, each once; got {list(self.stages)}")
        return self

    retrain: Retrain | None = Field(default=None, description="what is tried when a stage is taken back")
    adaptive: Adaptive | None = Field(default=None, description="a last stage, from the weights before the first")

    def max_loss(self, stage: Literal["fp16", "int8"]) -> float:
        return self.max_loss_fp16 if stage == "fp16" else self.max_loss_int8


class CompressRecipe(_Frozen):
    """Steps run in this order; one that is left out is not done."""

    held_out: HeldOutRows = HeldOutRows()
    distil: Distil | None = None
    prune: Prune | None = None
    quantise: Quantise | None = None
    export: tuple[ExportFormat, ...] = ("torch-export", "onnx")
    max_export_loss: float = Field(
        default=0.01, ge=0, lt=1, description="share of the accuracy that int8 activations may cost (onnx-dynamic)"
    )
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _does_something(self) -> CompressRecipe:
        if len(set(self.export)) != len(self.export):
            raise ValueError(f"export names a format twice: {list(self.export)}")
        if "onnx-dynamic" in self.export[:-1]:
            raise ValueError("onnx-dynamic is kept where it is faster than the other exports: name it last")
        if not (self.distil or self.prune or self.quantise or self.export):
            raise ValueError("the recipe does nothing; give distil, prune, quantise or export")
        return self

    @property
    def learns(self) -> bool:
        """Whether training rows are needed."""
        quantise = self.quantise
        calibrated = quantise is not None and (quantise.adaptive is not None or quantise.retrain is not None)
        return self.distil is not None or self.prune is not None or calibrated

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes, equal digests, whatever file they came from."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))


PRESETS: Final[Mapping[str, CompressRecipe]] = {
    "quantise": CompressRecipe(quantise=Quantise()),
    "half-width": CompressRecipe(distil=Distil(width=0.5), quantise=Quantise()),
    "half-width-half-depth": CompressRecipe(distil=Distil(width=0.5, depth=0.5), quantise=Quantise()),
    "small-text": CompressRecipe(
        distil=Distil(width=0.5, ngram_buckets=0.5), prune=Prune(heads=0.4, feed_forward=0.25), quantise=Quantise()
    ),
    "small-image": CompressRecipe(distil=Distil(width=0.75), prune=Prune(channels=0.25), quantise=Quantise()),
}
"""Shipped recipes. A file may start from one: `preset: small-text` and then only what differs."""


def load_compress_recipe(name_or_path: str | Path) -> CompressRecipe:
    """A recipe by preset name or by file (.yaml, .yml, .json). Raises RecipeError naming what to fix."""
    text = str(name_or_path)
    if text in PRESETS:
        return PRESETS[text]
    path, known = Path(text), ", ".join(sorted(PRESETS))
    if path.suffix not in {".yaml", ".yml", ".json"}:
        raise RecipeError(
            f"no compression recipe {text!r}{meant(text, PRESETS)}. Presets: {known}; or give a .yaml or .json file."
        )
    try:
        return parse_compress_recipe(read_plain(path), source=text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read the compression recipe {text!r}: {error}. Presets: {known}.") from error


def parse_compress_recipe(value: Any, *, source: str = "compression recipe") -> CompressRecipe:
    """A recipe from plain values; `preset: NAME` fills in what is not said. Raises RecipeError."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{source} holds {type(value).__name__}, not a mapping; start with `preset: quantise`")
    try:
        return CompressRecipe.model_validate(_filled(value, source))
    except ValidationError as error:
        raise RecipeError(f"{source}: " + "; ".join(_complaint(item) for item in error.errors())) from error


def _filled(value: Mapping[str, Any], source: str) -> dict[str, Any]:
    given = dict(value)
    name = given.pop("preset", None)
    if name is None:
        return given
    if name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise RecipeError(f"{source}: no preset {name!r}{meant(str(name), PRESETS)}. Presets: {known}.")
    base = PRESETS[name].model_dump(mode="json")
    for key, own in base.items():
        if isinstance(own, Mapping) and isinstance(given.get(key), Mapping):
            given[key] = {**own, **given[key]}
    return {**base, **given}


def _complaint(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "recipe"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"unknown key {place!r}{meant(str(item['loc'][-1]), _known_keys())}"
    if item["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message} (got {item['input']!r})"


def _known_keys() -> list[str]:
    kinds = (CompressRecipe, HeldOutRows, Distil, Prune, Quantise, Retrain, Adaptive, Optimiser)
    return [name for kind in kinds for name in kind.model_fields]
