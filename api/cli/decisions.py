"""`winnow decisions` and `winnow what-if`: what became of every row, and what would have under other thresholds.

Knows the ledger and the side files of a run; decides nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.exits import exit_codes
from api.cli.options import ApiKey, AsJson, Place, Root, Url, place_of
from curator.errors import RequestError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["decisions", "what_if"]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or `last`.")]


@exit_codes
def decisions(
    run: RunArgument,
    out: Annotated[str, typer.Option(metavar="FILE.parquet", help="Where the decisions go.")],
    action: Annotated[str | None, typer.Option(help="Only keep, drop or relabel.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only rows with this decisive reason.")] = None,
    signals: Annotated[bool, typer.Option("--signals", help="Every signal of the run too, as signal.NAME.")] = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Write the ledger, joined with the data's own ids, to a Parquet file."""
    from api.cli.tables import decoded, plain_schema, table_writer, writable
    from curator.verdict import ACTIONS

    if action is not None and action not in ACTIONS:
        raise RequestError(f"--action {action!r} is none of {', '.join(ACTIONS)}")
    writable(out, (".parquet",))
    rows = 0
    with place_of(root, url, api_key) as place:
        schema, batches = _ledger(place, run, action, reason, signals)
        with table_writer(out, plain_schema(schema)) as writer:
            for batch in batches:
                writer.write_batch(decoded(batch))
                rows += batch.num_rows
    typer.echo(f"{rows} decisions in {out}")


def _ledger(
    place: Place, run: str, action: str | None, reason: str | None, signals: bool
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the batches asked for. Raises NotFoundError, RequestError for a reason nobody gave."""
    from curator.ledger import Ledger

    if place.root is None:
        if signals:
            raise RequestError("signals lie beside the run's files: --signals needs --root")
        return _streamed(place.client.decision_batches(run, action=action, reason=reason))
    store, run = place.store(), place.run(run)
    ledger = Ledger(store, run)
    if reason is not None:
        given = ledger.counts()["reason"]
        if reason not in given:
            raise RequestError(f"no row of {run} has the reason {reason!r}; there are: {', '.join(given) or 'none'}")
    if not signals:
        return ledger.schema, ledger.scan(action=action, reason=reason)
    return _with_signals(ledger, place.root, run, action, reason)


def _streamed(batches: Iterator[pa.RecordBatch]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema of batches that carry it only themselves. Raises RequestError if there is none."""
    first = next(batches, None)
    if first is None:
        raise RequestError("the run has no such decision; nothing was written")
    return first.schema, itertools.chain([first], batches)


def _with_signals(
    ledger: object, root: str, run: str, action: str | None, reason: str | None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Ledger rows beside their signals: both lie in input order, unit by unit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from curator.errors import IntegrityError
    from curator.ledger import Ledger
    from pipelines.job import Job

    assert isinstance(ledger, Ledger)
    job = Job(root, run)
    units = range(len(job.plan.units))
    side = job.read_side(0, "signals").schema
    names = [name for name in side.names if name.startswith("signal.")]
    schema = pa.schema([*ledger.schema, *(side.field(name) for name in names)], metadata=ledger.schema.metadata)

    def rows() -> Iterator[pa.RecordBatch]:
        parts = (part for unit in units for part in job.read_side(unit, "signals", ["sample_id", *names]).to_batches())
        held = next(parts, None)
        for batch in ledger.scan():
            done = 0
            while done < batch.num_rows:
                if held is None:
                    raise IntegrityError(
                        f"run {run} has fewer signal rows than ledger rows; its side files are damaged"
                    )
                take = min(batch.num_rows - done, held.num_rows)
                both = batch.slice(done, take)
                if not both.column("sample_id").equals(held.column("sample_id").slice(0, take)):
                    raise IntegrityError(f"run {run}: signals and ledger do not line up; its side files are damaged")
                for name in names:
                    both = both.append_column(side.field(name), held.column(name).slice(0, take))
                for column, wanted in (("action", action), ("reason", reason)):
                    if wanted is not None:
                        both = both.filter(pc.equal(both.column(column).dictionary_decode(), wanted))
                if both.num_rows:
                    yield both
                done += take
                held = held.slice(take) if take < held.num_rows else next(parts, None)

    return schema, rows()


@exit_codes
def what_if(
    run: RunArgument,
    settings: Annotated[
        list[str],
        typer.Option("--set", metavar="OPERATOR.PARAMETER=VALUE", help="As in near_duplicates.threshold=0.9."),
    ],
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Count what other thresholds would keep and drop; nothing is computed again or written."""
    wanted = settings_of(settings)
    with place_of(root, url, api_key) as place:
        if place.root is None:
            answer = place.client.what_if(run, wanted)
        else:
            from pipelines.what_if import what_if as decide_again

            place.store()
            answer = decide_again(place.root, place.run(run), wanted).model_dump(mode="json")
    typer.echo(json.dumps(answer) if as_json else _told(answer))


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """`operator.parameter=value` texts as a mapping; a value is read as JSON where it is JSON. Raises RequestError."""
    wanted: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or name.count(".") != 1 or not all(name.split(".")):
            raise RequestError(f"--set {pair!r} is not operator.parameter=value, as in near_duplicates.threshold=0.9")
        if name in wanted:
            raise RequestError(f"--set gives {name} twice")
        try:
            wanted[name] = json.loads(value)
        except json.JSONDecodeError:
            wanted[name] = value
    return wanted


def _told(answer: Mapping[str, Any]) -> str:
    before, after = answer["reasons_before"], answer["reasons"]
    lines = [
        f"rows   {answer['rows']}",
        f"kept   {answer['kept_before']} -> {answer['kept']} ({answer['newly_kept']} newly kept, of which "
        f"{answer['not_judged']} were never judged; {answer['newly_dropped']} newly dropped)",
    ]
    for reason in sorted({*before, *after}):
        lines.append(f"  {before.get(reason, 0):>10} -> {after.get(reason, 0):<10} {reason}")
    lines += [f"{kind}: {', '.join(ids)}" for kind, ids in answer["examples"].items() if ids]
    return "\n".join(lines)
