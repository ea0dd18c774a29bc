"""What one rank of the benchmark of training on many devices runs. Knows recipes; nothing of tables or comparisons."""

from __future__ import annotations

import time
from typing import Any

from pipelines.training.parallel.board import Board
from pipelines.training.presets import parse_recipe
from pipelines.training.report import StepRecord, TrainingReport
from pipelines.training.trainer import train

__all__ = ["over_shards"]


def over_shards(
    root: str, manifest: str, recipe: dict[str, Any], folder: str, delay_s: float
) -> tuple[TrainingReport, list[float], float]:
    """(report, the loss of every step, wall seconds) of a job; exchanges take `delay_s` longer on their way."""
    exchange, losses = Board.exchange, list[float]()

    def slow(self: Board, name: str, value: bytes) -> dict[int, bytes]:
        time.sleep(delay_s)
        return exchange(self, name, value)

    if delay_s:
        Board.exchange = slow  # type: ignore[method-assign]

    def on_step(record: StepRecord) -> None:
        losses.append(record.loss)

    began = time.monotonic()
    report = train(root, manifest, parse_recipe(recipe), checkpoint_dir=folder, on_step=on_step)
    return report, losses, time.monotonic() - began
