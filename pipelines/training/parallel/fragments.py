"""Which fragment of a model is sent when, and when what came back is merged: a pure function of the step.

Knows numbers; nothing of tensors, networks or clocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.training.parallel.kinds import LocalSteps

__all__ = ["fragments_of", "merged_at", "sent_at"]


def fragments_of(sizes: Sequence[int], fragments: int) -> list[list[int]]:
    """Parameters, by their sizes, in up to that many runs of about equal size; none is empty."""
    total, before = sum(sizes), 0
    runs: dict[int, list[int]] = {}
    for number, size in enumerate(sizes):
        middle = before + size / 2
        runs.setdefault(min(int(fragments * middle / total), fragments - 1), []).append(number)
        before += size
    return list(runs.values())


def sent_at(step: int, kind: LocalSteps) -> int | None:
    """The fragment that is sent after a step (1-based): each once in `local_steps`, evenly apart."""
    places = [number * kind.local_steps // kind.fragments for number in range(kind.fragments)]
    place = step % kind.local_steps
    return places.index(place) if place in places else None


def merged_at(step: int, kind: LocalSteps) -> tuple[int, int] | None:
    """(the step it was sent at, fragment) of what is merged after a step: sent exactly `delay` steps before."""
    sent = step - kind.delay
    fragment = sent_at(sent, kind) if sent > 0 else None
    return None if fragment is None else (sent, fragment)
