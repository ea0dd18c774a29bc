"""The road of a run: its steps in order, each a function of (job, earlier outputs).

`validate` comes before the road: it needs no engine and writes nothing. A unit step works on one work unit anywhere,
a shard step on one range of the duplicate index; a set step needs the whole set and runs in one process. All return
small JSON values for the journal and put everything large into files. Knows no engine.

Verdicts follow from the rows, their sample ids, the trusted sample and the recipe: how rows lie in row groups, where
units end and who works on them changes none. A unit writes shards of its own, so equal rows cut into equal units make
the same manifest, and cut into others the same verdicts under another manifest id. Without an id column a sample id is
a place in a file's content: the same rows in another file are other samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, Literal, NamedTuple

__all__ = ["ROAD", "SET_UNIT", "Step", "num_parts", "part_bytes", "run_set_step", "run_unit_step"]

SET_UNIT: Final = -1
"""The journal's unit number of a set step."""


Over = Literal["units", "shards", "set"]
"""A step runs for each work unit, for each shard of the duplicate index, or once for the whole set."""


class Step(NamedTuple):
    """name in the journal, phase shown to people, where it lives, over what it runs part by part, whose outputs it
    reads."""

    name: str
    phase: str
    target: str
    over: Over
    reads: tuple[str, ...] = ()


ROAD: Final = (
    Step("score", "score", "pipelines.phases.score:score", "units", ("validate",)),
    Step("encoder", "resolve", "pipelines.phases.embed:fit_encoder", "set", ("validate", "score")),
    Step("embed", "resolve", "pipelines.phases.embed:embed", "units", ("validate",)),
    Step("seek", "resolve", "pipelines.phases.seek:seek", "shards", ("validate",)),
    Step("match", "resolve", "pipelines.phases.match:match", "units", ("validate",)),
    Step("resolve", "resolve", "pipelines.phases.resolve:resolve", "set", ("validate",)),
    Step("learn", "learn", "pipelines.phases.learn:learn", "set", ("validate", "score", "resolve")),
    Step("decide", "decide", "pipelines.phases.decide:decide", "units", ("validate", "resolve", "learn")),
    Step("rank", "learn", "pipelines.phases.rank:rank", "set", ("validate", "score", "resolve", "decide")),
    Step("write", "write", "pipelines.phases.write:write", "units", ("validate", "resolve")),
    Step("finish", "write", "pipelines.phases.finish:finish", "set", ("validate", "learn", "write")),
)


def num_parts(step: Step, job: Any, outputs: Mapping[str, Any]) -> int:
    """Into how many parts a step over units or shards falls."""
    if step.over == "shards":
        from pipelines.phases.seek import num_shards

        return num_shards(job, dict(outputs))
    return len(job.plan.units)


def part_bytes(step: Step, job: Any, part: int) -> int:
    """An estimate of the memory that a part takes."""
    if step.over == "shards":
        from curator.duplicates.index import SHARD_BYTES

        return 4 * SHARD_BYTES
    return int(job.unit(part).bytes)


def run_unit_step(step: Step, job: Any, unit: int, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """One part of a step: of a unit, or of a shard."""
    function = _function(step)
    return function(job, unit, dict(outputs)) if step.reads else function(job, unit)


def run_set_step(step: Step, job: Any, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """A whole-set step."""
    return _function(step)(job, dict(outputs))


def _function(step: Step) -> Callable[..., dict[str, Any]]:
    """Imported on use: a worker that scores text never loads what training needs."""
    module, name = step.target.split(":")
    return getattr(import_module(module), name)
