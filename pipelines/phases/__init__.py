"""The road of a run: its steps in order, each a function of (job, earlier outputs).

`validate` comes before the road: it needs no engine and writes nothing. A unit step works on one work unit anywhere; a
set step needs the whole set and runs in one process. Both return small JSON values for the journal and put everything
large into files. Knows no engine.

Verdicts follow from the rows, their sample ids, the trusted sample and the recipe: how rows lie in row groups, where
units end and who works on them changes none. A unit writes shards of its own, so equal rows cut into equal units make
the same manifest, and cut into others the same verdicts under another manifest id. Without an id column a sample id is
a place in a file's content: the same rows in another file are other samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

__all__ = ["ROAD", "SET_UNIT", "Step", "run_set_step", "run_unit_step"]

SET_UNIT: Final = -1
"""The journal's unit number of a set step."""


class Step(NamedTuple):
    """name in the journal, phase shown to people, where it lives, whether it runs per unit, whose outputs it reads."""

    name: str
    phase: str
    target: str
    per_unit: bool
    reads: tuple[str, ...] = ()


ROAD: Final = (
    Step("score", "score", "pipelines.phases.score:score", True, ("validate",)),
    Step("encoder", "resolve", "pipelines.phases.embed:fit_encoder", False, ("score",)),
    Step("embed", "resolve", "pipelines.phases.embed:embed", True),
    Step("resolve", "resolve", "pipelines.phases.resolve:resolve", False, ("score",)),
    Step("learn", "learn", "pipelines.phases.learn:learn", False, ("validate", "score", "resolve")),
    Step("decide", "decide", "pipelines.phases.decide:decide", True, ("validate", "resolve", "learn")),
    Step("rank", "learn", "pipelines.phases.rank:rank", False, ("validate", "score", "resolve", "decide")),
    Step("write", "write", "pipelines.phases.write:write", True, ("validate", "resolve")),
    Step("finish", "write", "pipelines.phases.finish:finish", False, ("validate", "learn", "write")),
)


def run_unit_step(step: Step, job: Any, unit: int, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """One unit's part of a step."""
    function = _function(step)
    return function(job, unit, dict(outputs)) if step.reads else function(job, unit)


def run_set_step(step: Step, job: Any, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A whole-set step."""
    return _function(step)(job, dict(outputs))


def _function(step: Step) -> Callable[..., dict[str, Any]]:
    """Imported on use: a worker that scores text never loads what training needs."""
    module, name = step.target.split(":")
    return getattr(import_module(module), name)
