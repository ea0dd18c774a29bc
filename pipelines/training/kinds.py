"""The kinds of training recipe: which model learns what from which columns, and how. Frozen, content-addressed.

Knows no data, no device and no files; where a job runs is not part of what it learns, but for `device` and
`precision`, which default to the best the machine has.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from curator.digest import canonical_json, sha256_hex
from curator.epochs.curriculum import Curriculum, Staged
from pipelines.training.augment import Flip, ImageOperator, Shift, TextOperator
from pipelines.training.parallel.kinds import Alone, LocalSteps, Parallel
from pipelines.training.sequences import Growth, Layout, Packed, Padded, Rotary, wrong_with

__all__ = [
    "Device",
    "Precision",
    "Regions",
    "ImageClassifier",
    "ImageColumns",
    "LanguageColumns",
    "LanguageModel",
    "Optimiser",
    "TextClassifier",
    "TextColumns",
    "TrainingRecipe",
    "VideoClassifier",
    "VideoColumns",
]


Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


Region = Literal["same", "fp32", "bf16", "fp16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Regions(_Frozen):
    """The arithmetic of a transformer's parts where it differs from `precision`. Weights, their gradients' sums and
    AdamW are float32 in all of them, and so are norms, soft-max and the loss itself."""

    residual: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="the stream between blocks; auto: bf16 beside bf16 products, else fp32"
    )
    attention: Region = Field(default="same", description="query, key, value and output products, and attention")
    feed_forward: Region = "same"
    loss: Region = Field(default="same", description="the products of a language model's output layer")


_NAMED: dict[Any, tuple[ImageOperator, ...]] = {"none": (), "shift": (Shift(),), "shift-flip": (Shift(), Flip())}


def _operators(value: Any) -> Any:
    """`shift-flip` is short for `[shift, flip]`, `none` for nothing."""
    return _NAMED.get(value, value) if isinstance(value, str) else value


ImageOperators = Annotated[tuple[ImageOperator, ...], BeforeValidator(_operators)]


class TextColumns(_Frozen):
    """The data's own names of what a text classifier reads."""

    text: str = "text"
    label: str = "label"


class ImageColumns(_Frozen):
    """The data's own names of what an image classifier reads; images are encoded bytes (PNG, JPEG …)."""

    image: str = "image"
    label: str = "label"


class VideoColumns(_Frozen):
    """The data's own names of what a video classifier reads; a video is a list of encoded frames (PNG, JPEG …), or
    one animated file (GIF, WebP, APNG)."""

    video: str = "video"
    label: str = "label"


class LanguageColumns(_Frozen):
    """The data's own names of what a language model reads.

    `prompt` columns are read before the text and not learned from; nulls among them are skipped.
    """

    text: str = "text"
    prompt: tuple[str, ...] = ()


class Optimiser(_Frozen):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) with linear warm-up and cosine decay to a tenth."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="on matrices alone, not on gains or embeddings")
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.95, ge=0, lt=1)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps over which the rate rises from 0")
    clip_norm: float = Field(
        default=1.0, gt=0, description="the gradient is scaled down to this norm where it is longer"
    )


class _Training(_Frozen):
    epochs: int = Field(default=10, ge=1, le=10_000)
    global_batch_size: int = Field(default=64, ge=1, le=65_536)
    optimiser: Optimiser = Optimiser()
    curriculum: Curriculum = Staged()
    seed: int = Field(default=0, ge=0, lt=2**63)
    precision: Precision = "auto"
    device: Device = "auto"
    compile: bool = Field(
        default=False, description="fuse each block with torch.compile: faster steps on a GPU after a minute's start"
    )
    cpu_threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="threads of a job on the CPU; sums are split by it, so it decides the bytes",
    )
    parallel: Parallel = Alone()
    checkpoint_every: int = Field(default=200, ge=1, description="steps between checkpoints; one more ends each epoch")

    @field_validator("curriculum", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """`staged` is short for `{kind: staged}`."""
        return {"kind": value} if isinstance(value, str) else value

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: equal recipes, equal digests, whatever file they came from."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))


class _Transformer(_Training):
    width: int = Field(default=128, ge=8, le=16_384)
    depth: int = Field(default=2, ge=1, le=256)
    heads: int = Field(default=4, ge=1, le=256)
    feed_forward: Literal["swiglu", "gelu"] = "swiglu"
    context: int = Field(
        default=256, ge=8, le=131_072, description="tokens of a row, two marks included; longer is cut"
    )
    regions: Regions = Regions()

    @model_validator(mode="after")
    def _heads_fit(self) -> _Transformer:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} does not split into {self.heads} heads of even width; "
                f"make width a multiple of {2 * self.heads}"
            )
        return self


class TextClassifier(_Transformer):
    """A byte-level transformer encoder with hashed n-gram embeddings and a class for every row."""

    kind: Literal["text-classifier"] = "text-classifier"
    columns: TextColumns = TextColumns()
    ngrams: tuple[int, ...] = Field(
        default=(3, 4, 5, 6), description="lengths of byte n-grams that get a hashed vector"
    )
    ngram_buckets: int = Field(default=16_384, ge=64, le=2**22)
    augment: tuple[TextOperator, ...] = Field(default=(), description="what is changed at random, in order")

    @model_validator(mode="after")
    def _ngrams_sane(self) -> TextClassifier:
        if any(not 2 <= n <= 16 for n in self.ngrams) or len(set(self.ngrams)) != len(self.ngrams):
            raise ValueError(f"ngrams are distinct lengths from 2 to 16, got {list(self.ngrams)}")
        return self


class LanguageModel(_Transformer):
    """A byte-level causal transformer that predicts the next byte of every text."""

    kind: Literal["language-model"] = "language-model"
    columns: LanguageColumns = LanguageColumns()
    optimiser: Optimiser = Optimiser(weight_decay=0.1)
    layout: Layout = Padded()
    window: int | None = Field(
        default=None, ge=1, description="positions a position looks back over, itself included; default: all"
    )
    growth: tuple[Growth, ...] = Field(default=(), description="shorter contexts to begin with")
    rotary: Rotary = Rotary()

    @model_validator(mode="after")
    def _sequences_fit(self) -> LanguageModel:
        wrong = wrong_with(self.context, self.growth, self.layout, self.window)
        if wrong is not None:
            raise ValueError(wrong)
        if isinstance(self.layout, Packed) and isinstance(self.parallel, LocalSteps):
            raise ValueError(
                "layout packed fills sequences from all rows of a step, and ranks of `parallel: diloco` take steps of "
                "their own; take `layout: padded`, or `parallel: ddp` or `fsdp`"
            )
        return self


class ImageClassifier(_Training):
    """A small residual convolutional network and a class for every image."""

    kind: Literal["image-classifier"] = "image-classifier"
    columns: ImageColumns = ImageColumns()
    optimiser: Optimiser = Optimiser(learning_rate=3e-3)
    image_size: int = Field(default=32, ge=8, le=256, description="pixels a side; other sizes are resized, and counted")
    colours: Literal["grey", "rgb"] = "rgb"
    width: int = Field(default=32, ge=8, le=1024, description="channels of the first stage; each stage doubles them")
    depth: int = Field(default=1, ge=1, le=16, description="residual blocks a stage")
    augment: ImageOperators = Field(default=(), description="what is changed at random, in order")

    @model_validator(mode="after")
    def _width_groups(self) -> ImageClassifier:
        if self.width % 8:
            raise ValueError(f"width {self.width} is normalised in groups of 8 channels; make it a multiple of 8")
        return self


class VideoClassifier(_Training):
    """A transformer over patches of frames, in space and in time, and a class for every clip."""

    kind: Literal["video-classifier"] = "video-classifier"
    columns: VideoColumns = VideoColumns()
    optimiser: Optimiser = Optimiser(weight_decay=0.05)
    frames: int = Field(
        default=16, ge=1, le=128, description="of a clip; of longer ones, as many evenly spaced, and counted"
    )
    image_size: int = Field(default=64, ge=8, le=256, description="pixels a side; other sizes are resized, and counted")
    colours: Literal["grey", "rgb"] = "rgb"
    patch: int = Field(default=8, ge=2, le=64, description="pixels a side of what becomes one vector")
    width: int = Field(default=128, ge=16, le=4096)
    depth: int = Field(default=4, ge=1, le=64)
    heads: int = Field(default=4, ge=1, le=64)
    temporal: Literal["attention-convolution", "attention", "none"] = Field(
        default="attention-convolution", description="how frames meet; none: only in the mean of all, without order"
    )
    augment: ImageOperators = Field(
        default=(), description="what is changed at random, in order; of a clip, all frames alike"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> VideoClassifier:
        if self.image_size % self.patch:
            raise ValueError(
                f"patches of {self.patch} do not tile {self.image_size} pixels; make image_size a multiple of patch"
            )
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} does not split into {self.heads} heads; make it a multiple of {self.heads}"
            )
        return self

    @property
    def num_places(self) -> int:
        """Patches of a frame."""
        return (self.image_size // self.patch) ** 2


TrainingRecipe = Annotated[
    TextClassifier | ImageClassifier | LanguageModel | VideoClassifier, Field(discriminator="kind")
]
"""What a training job does. The union is the registry: a new kind of model is one more class here."""
