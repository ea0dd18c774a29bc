"""What is changed at random about a row before it is learned from: typed operators, in the order a recipe lists them.

No torch: a server can check a recipe. What they do lies in `augment_images.py` and `augment_texts.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Colour", "Crop", "Cutout", "Flip", "ImageOperator", "Shift", "TextOperator", "WordDropout", "WordSwap"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shift(_Frozen):
    """Moved along both axes by whole pixels, edges repeated."""

    kind: Literal["shift"] = "shift"
    reach: float = Field(default=0.125, gt=0, le=0.5, description="the farthest move, as a share of the side")


class Flip(_Frozen):
    """Mirrored, left for right."""

    kind: Literal["flip"] = "flip"
    share: float = Field(default=0.5, ge=0, le=1, description="of the images")


class Crop(_Frozen):
    """A square part, enlarged to the whole (Szegedy et al. 2015, arXiv 1409.4842, section 6; its aspect is kept)."""

    kind: Literal["crop"] = "crop"
    min_area: float = Field(default=0.5, gt=0, le=1, description="the smallest part, as a share of the image")


class Colour(_Frozen):
    """Brightness, contrast and saturation times a number between 1 - strength and 1 + strength, each its own."""

    kind: Literal["colour"] = "colour"
    brightness: float = Field(default=0.2, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, le=1, description="about the image's own mean")
    saturation: float = Field(default=0.2, ge=0, le=1, description="about each pixel's grey; of no effect on grey")


class Cutout(_Frozen):
    """A square of half-grey somewhere, also over the edge (DeVries & Taylor 2017, arXiv 1708.04552)."""

    kind: Literal["cutout"] = "cutout"
    side: float = Field(default=0.25, gt=0, le=1, description="of the square, as a share of the image's")


class WordDropout(_Frozen):
    """Words are left out, each by its own chance (Wei & Zou 2019, arXiv 1901.11196); one is always left."""

    kind: Literal["word-dropout"] = "word-dropout"
    share: float = Field(default=0.1, ge=0, lt=1, description="of the words")


class WordSwap(_Frozen):
    """Words change places with the next one, pair by pair, each by its own chance."""

    kind: Literal["word-swap"] = "word-swap"
    share: float = Field(default=0.1, ge=0, le=1, description="of the pairs: the first and second word, the third …")


def _named(value: Any) -> Any:
    """`flip` is short for `{kind: flip}`."""
    return {"kind": value} if isinstance(value, str) else value


ImageOperator = Annotated[
    Annotated[Shift | Flip | Crop | Colour | Cutout, Field(discriminator="kind")], BeforeValidator(_named)
]
TextOperator = Annotated[Annotated[WordDropout | WordSwap, Field(discriminator="kind")], BeforeValidator(_named)]
