"""How a job lies on several devices: the `parallel` section of a training recipe.

Typed values and their checks; knows no processes, no tensors and no model. How many devices there are is the
launcher's to say: the same recipe runs on any number that divides its global batch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = ["Alone", "DataParallel", "LocalSteps", "Parallel", "ShardedParallel"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Alone(_Frozen):
    """One process, one device."""

    kind: Literal["none"] = "none"


class DataParallel(_Frozen):
    """Every rank holds the whole model and learns from its rows of every global batch; gradients are averaged."""

    kind: Literal["ddp"] = "ddp"
    compress: Literal["none", "bf16", "int8", "powersgd"] = Field(
        default="none",
        description="gradients on their way: int8: blocks with scales and error feedback, a quarter of float32's "
        "bytes; powersgd: low rank, for slow networks",
    )
    powersgd_rank: int = Field(default=4, ge=1, le=256)


class ShardedParallel(_Frozen):
    """ZeRO-3: parameters, gradients and moments lie in slices, one a rank; a block is put together when it computes."""

    kind: Literal["fsdp"] = "fsdp"
    compress: Literal["none", "int8"] = Field(
        default="none", description="gradients on their way; int8 keeps a whole float32 error on every rank"
    )
    offload: bool = Field(default=False, description="slices and optimiser in the CPU's memory")


class LocalSteps(_Frozen):
    """Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512): after a start together every rank learns by itself
    and now and then sends how far a fragment of the model has moved, 8 bits a number, while it learns on. A lost rank
    is survived."""

    kind: Literal["diloco"] = "diloco"
    start: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="share of all steps that ranks take together at first, as with `ddp`: a model that knows nothing "
        "yet loses by its ranks' small batches; DiLoCo's paper too goes on from a trained one",
    )
    local_steps: int = Field(default=32, ge=1, le=10_000, description="steps between two exchanges of a fragment")
    fragments: int = Field(default=4, ge=1, le=256, description="parts of the model that are exchanged in turn")
    delay: int = Field(
        default=4, ge=0, le=1000, description="steps between sending and merging: how stale a merged mean is"
    )
    mixing: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of its own that a rank keeps when a mean is merged; the paper's 0.5 cost 3% where measured",
    )
    learning_rate: float = Field(default=0.7, gt=0, le=2, description="of the outer Nesterov step")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of the outer step")
    patience_s: float = Field(
        default=30.0, gt=0, le=3600, description="seconds without a sign of life after which a rank counts as lost"
    )

    @model_validator(mode="after")
    def _fits(self) -> LocalSteps:
        if self.fragments > self.local_steps:
            raise ValueError(
                f"fragments {self.fragments} is more than local_steps {self.local_steps}: there is one exchange a step"
            )
        if self.delay >= self.local_steps:
            raise ValueError(
                f"delay {self.delay} is not below local_steps {self.local_steps}: a fragment would be sent again "
                "before it is merged"
            )
        return self


def _named(value: Any) -> Any:
    """`ddp` is short for `{kind: ddp}`."""
    return {"kind": value} if isinstance(value, str) else value


Parallel = Annotated[
    Annotated[Alone | DataParallel | ShardedParallel | LocalSteps, Field(discriminator="kind")],
    BeforeValidator(_named),
]
