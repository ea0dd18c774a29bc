"""What a compression did: a row for each step, which of them nothing beats, as values and as a table of text.

Knows figures; nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

__all__ = ["CompressReport", "Step", "marked", "table"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(_Frozen):
    """A model after a step, as it was measured; a step that was rolled back did not become part of the chain."""

    name: str
    kept: bool
    why: str
    accuracy: float
    mean_loss: float
    num_parameters: int
    num_bytes: int
    """of its file"""
    latency_ms: float
    """one row, one CPU thread, median"""
    pareto: bool = False
    """kept, and none kept is at least as good in accuracy, bytes and latency and better in one"""
    file: str | None = None
    """where it was written, in the output folder"""


class CompressReport(_Frozen):
    """Of one `winnow compress`."""

    checkpoint: str
    recipe: str
    """its digest"""
    kind: str
    out: str
    num_held_out: int
    num_trained_on: int
    """rows of the held-out set left out because the model had been trained on them"""
    steps: tuple[Step, ...]
    """the first is the trained model"""
    times_smaller: float
    """bytes of the trained model's file over those of the compact one"""
    accuracy_kept: float
    """of the trained model's accuracy"""
    seconds: float

    @property
    def rolled_back(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.kept)


def marked(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with `pareto` set."""
    kept = [step for step in steps if step.kept]
    return tuple(
        step.model_copy(update={"pareto": step.kept and not any(_beats(other, step) for other in kept)})
        for step in steps
    )


def table(report: CompressReport) -> list[str]:
    """Lines for a person."""
    lines = [f"{'step':22}{'accuracy':>9}{'bytes':>12}{'ms':>9}{'pareto':>8}  what became of it"]
    for step in report.steps:
        figures = f"{step.accuracy:9.4f}{step.num_bytes:12,}{step.latency_ms:9.3f}{'*' if step.pareto else '':>8}"
        lines.append(f"{step.name:22}{figures}  {step.why}")
    lines.append(
        f"{report.times_smaller:.1f} times smaller with {report.accuracy_kept:.2%} of the accuracy, on "
        f"{report.num_held_out} held-out rows; written to {report.out}"
    )
    if report.num_trained_on:
        lines.append(f"left out: {report.num_trained_on} rows of the held-out set that the model was trained on")
    return lines


def _beats(one: Step, other: Step) -> bool:
    ours = (-one.accuracy, one.num_bytes, one.latency_ms)
    theirs = (-other.accuracy, other.num_bytes, other.latency_ms)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))
