"""`winnow decisions` and `winnow what-if`: what became of every row, and what would have under other thresholds.

Knows the ledger and the side files of a run; decides nothing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.exits import exit_codes
from api.cli.options import ApiKey, AsJson, Place, Root, Url, place_of
from api.cli.report import visible
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
    with place_of(root, url, api_key) as place, _ledger(place, run, action, reason, signals) as (schema, batches):
        if signals and not any(name.startswith("signal.") for name in schema.names):
            typer.echo(
                f"NOTE: run {run} recorded no signals, as no operator of its recipe reads any; "
                f"{out} has the decisions alone",
                err=True,
            )
        with table_writer(out, plain_schema(schema)) as writer:
            for batch in batches:
                writer.write_batch(decoded(batch))
                rows += batch.num_rows
    typer.echo(f"{rows} decisions in {out}")


@contextmanager
def _ledger(
    place: Place, run: str, action: str | None, reason: str | None, signals: bool
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """The schema and the batches asked for. Raises NotFoundError, RequestError for a reason nobody gave."""
    if place.root is None:
        with place.client.decision_stream(run, signals=signals, action=action, reason=reason) as reader:
            batches = iter(reader)
            first = next(batches, None)
            if first is None and reason is not None:
                _given(run, reason, place.client.metrics(run)["reasons"])
            yield reader.schema, itertools.chain([] if first is None else [first], batches)
        return
    from curator.ledger import Ledger

    ledger = Ledger(place.store(), place.run(run))
    if reason is not None:
        _given(ledger.run, reason, ledger.counts()["reason"])
    if not signals:
        yield ledger.schema, ledger.scan(action=action, reason=reason)
        return
    from pipelines.signal_rows import signal_rows

    yield signal_rows(place.root, ledger.run, action=action, reason=reason)


def _given(run: str, reason: str, reasons: Mapping[str, int]) -> None:
    """Raises RequestError for a reason no row has."""
    if reason not in reasons:
        raise RequestError(f"no row of {run} has the reason {reason!r}; there are: {', '.join(reasons) or 'none'}")


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
    lines += [f"{kind}: {', '.join(map(str, ids))}" for kind, ids in answer["examples"].items() if ids]
    return "\n".join(map(visible, lines))
