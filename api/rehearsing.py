"""The process of a dry run: reads the first rows, walks a run's whole road with them in a folder that is thrown away,
and tells what the ledger says.

Started by `rehearsal.py` with one JSON object on its input; answers with one on its output. Holds no key.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from api.cells import shown_row
from api.inspection import confine
from curator.errors import RequestError, WinnowError
from curator.ledger import Ledger
from curator.readers import WorkUnit, matches, read
from curator.recipe import Recipe, fitted, parse
from curator.run import Progress, RunRequest, RunSummary
from curator.settings import Settings
from curator.storage import Store
from pipelines.execute import execute

__all__ = ["rehearsed"]

RUN: Final = "run_dry"
NUM_EXAMPLES: Final = 3
_BATCH_ROWS: Final = 1000


class _Claimed:
    """A run that nobody else knows of."""

    id = RUN

    def __init__(self, request: RunRequest):
        self.request = request


class _Memory:
    """A journal that ends with the process."""

    def done(self, step: str) -> dict[int, dict[str, Any]]:
        return {}

    def commit(self, step: str, unit: int, outputs: dict[str, Any]) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass

    def stop_requested(self) -> None:
        return None


def rehearsed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a `DryRun`. Raises RequestError of the fitting kind."""
    folder, schema = str(asked["folder"]), pa.ipc.read_schema(pa.py_buffer(base64.b64decode(asked["schema"])))
    recipe = fitted(parse(asked["recipe"]), schema.names)
    units = [WorkUnit.model_validate(raw) for raw in asked["units"]]
    path = os.path.join(folder, "rows.arrow")
    numbers: list[int] = []
    rows_read = 0
    with pa.ipc.new_file(path, schema) as sink:
        for picked, batch, looked_at in _first_rows(units, schema, recipe, asked["rows"], asked["rows_bytes"]):
            sink.write_batch(batch)
            numbers, rows_read = numbers + picked, looked_at
    if not numbers:
        raise RequestError(f"none of the first {rows_read} rows is one that `where` {recipe.where!r} picks")
    root = os.path.join(folder, "root")
    request = RunRequest(inputs=(path,), recipe=recipe.model_dump(mode="json"))
    summary = execute(_Claimed(request), _Memory(), Settings(root=root))
    return {**_told(summary), "rows_read": rows_read, "verdicts": _verdicts(root, path, numbers, recipe)}


def _first_rows(
    units: list[WorkUnit], schema: pa.Schema, recipe: Recipe, most: int, most_bytes: int
) -> Iterator[tuple[list[int], pa.RecordBatch, int]]:
    """(row numbers, the rows that are used, how many were looked at so far), until there are enough."""
    looked_at = taken = size = 0
    for unit in units:
        for rows in read(unit, schema=schema, batch_rows=_BATCH_ROWS):
            picked = matches(rows.batch, recipe.where).to_numpy(zero_copy_only=False).nonzero()[0][: most - taken]
            batch = rows.batch.take(pa.array(picked))
            taken, size = taken + batch.num_rows, size + batch.nbytes
            enough = taken == most or size >= most_bytes
            yield [looked_at + int(row) for row in picked], batch, looked_at + rows.batch.num_rows
            looked_at += rows.batch.num_rows
            if enough:
                return


def _told(summary: RunSummary) -> dict[str, Any]:
    kept = ("kept", "dropped", "relabeled", "difficulty", "policy", "warnings", "seconds")
    return {"rows": summary.rows_in, **{name: getattr(summary, name) for name in kept}}


def _verdicts(root: str, path: str, numbers: list[int], recipe: Recipe) -> list[dict[str, Any]]:
    """Rows by action and reason, the commonest first, with examples; read off the ledger as anybody would."""
    with pa.ipc.open_file(path) as source:
        table = source.read_all()
    shown = [name for name in (recipe.columns.id, *recipe.content_columns, recipe.columns.label) if name]
    table, meanings = (
        table.select([name for name in dict.fromkeys(shown) if name in table.column_names]),
        recipe.reasons,
    )
    groups: dict[tuple[str, str | None], dict[str, Any]] = {}
    place = 0
    for batch in Ledger(Store.open(root), RUN).scan():
        for row in batch.to_pylist():
            key = (row["action"], row["reason"])
            kind = {
                "action": key[0],
                "reason": key[1],
                "meaning": meanings.get(key[1] or ""),
                "rows": 0,
                "examples": [],
            }
            group = groups.setdefault(key, kind)
            group["rows"] += 1
            if len(group["examples"]) < NUM_EXAMPLES:
                group["examples"].append(_example(row, numbers[place], table.slice(place, 1)))
            place += 1
    return sorted(groups.values(), key=lambda group: (-group["rows"], group["action"], group["reason"] or ""))


def _example(verdict: Mapping[str, Any], number: int, row: pa.Table) -> dict[str, Any]:
    values, cut = shown_row(row.to_pylist()[0])
    told = ("given_label", "predicted_label", "confidence", "difficulty")
    reasons = verdict["reasons"] or []
    return {"row": number, "reasons": reasons, **{name: verdict[name] for name in told}, "values": values, "cut": cut}


def main() -> None:
    asked = json.load(sys.stdin)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    os.nice(10)
    confine(memory_bytes=asked["memory_bytes"], cpu_s=asked["cpu_s"], file_bytes=asked["disk_bytes"])
    try:
        told: dict[str, Any] = {"found": rehearsed(asked)}
    except WinnowError as error:
        code = error.code if isinstance(error, RequestError) else RequestError.code
        told = {"refused": {"code": code, "message": str(error).replace(str(asked["folder"]) + os.sep, "")}}
    with answer:
        json.dump(told, answer, allow_nan=False)


if __name__ == "__main__":
    main()
