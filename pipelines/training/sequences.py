"""How a language model's texts become sequences: padded or packed, how far a position looks, how the context grows.

Typed values and their checks; knows no tokens, no tensors and no model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Growth", "Layout", "Packed", "Padded", "Rotary", "stages", "wrong_with"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Padded(_Frozen):
    """A row of the batch is a text, padded to the longest; a step is a global batch of rows."""

    kind: Literal["padded"] = "padded"


class Packed(_Frozen):
    """A row of the batch holds as many texts as fit into `context` tokens, and none of them sees another.

    A step is `tokens_per_step` tokens, whatever the texts' lengths: one shape, and next to nothing is padding.
    """

    kind: Literal["packed"] = "packed"
    tokens_per_step: int = Field(default=32_768, ge=16, description="tokens of a step; a multiple of the context")
    open_sequences: int = Field(
        default=64, ge=1, le=65_536, description="sequences being filled at a time: more pad less and reorder more"
    )
    long_texts: Literal["split", "cut"] = Field(
        default="split", description="texts over the context: in pieces, nothing lost; or their beginning, counted"
    )


def _named(value: Any) -> Any:
    """`packed` is short for `{kind: packed}`."""
    return {"kind": value} if isinstance(value, str) else value


Layout = Annotated[Annotated[Padded | Packed, Field(discriminator="kind")], BeforeValidator(_named)]


class Growth(_Frozen):
    """A shorter context at the beginning of a job."""

    context: int = Field(ge=8, le=131_072)
    until: float = Field(gt=0, lt=1, description="share of the job after which the next context begins")


class Rotary(_Frozen):
    """Rotary positions, and what becomes of their frequencies when the context grows beyond its first length."""

    base: float = Field(default=10_000.0, gt=1)
    scaling: Literal["none", "ntk", "yarn"] = Field(
        default="none",
        description="none: new distances as they come; ntk: a larger base; yarn: slow frequencies stretched",
    )


def stages(context: int, growth: tuple[Growth, ...]) -> tuple[tuple[float, int], ...]:
    """(share of the job at which it begins, context) of each stage; the last is `context`."""
    begins = (0.0, *(step.until for step in growth))
    return tuple(zip(begins, (*(step.context for step in growth), context), strict=True))


def wrong_with(context: int, growth: tuple[Growth, ...], layout: Padded | Packed, window: int | None) -> str | None:
    """What does not fit together, in the user's words; None where all does."""
    contexts = [length for _, length in stages(context, growth)]
    if contexts != sorted(set(contexts)):
        return f"a growing context grows: {contexts} (growth, then context) must rise"
    shares = [step.until for step in growth]
    if shares != sorted(set(shares)):
        return f"growth.until {shares} must rise"
    if isinstance(layout, Packed):
        for length in contexts:
            if layout.tokens_per_step % length:
                return (
                    f"layout.tokens_per_step {layout.tokens_per_step} is not a multiple of the context {length}; "
                    f"take {-(-layout.tokens_per_step // length) * length}"
                )
    if window is not None and window > context:
        return f"a window of {window} tokens is longer than the context of {context}; leave it out"
    return None
