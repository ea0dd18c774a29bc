"""`winnow submit`, `watch`, `runs` and `shards`: work at a server.

Knows the client and how its answers are told; nothing of what the server does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.curate import EngineName, follow_up, told, warn
from api.cli.exits import exit_codes
from api.cli.options import RECIPE, ApiKey, AsJson, Root, Url, client_of, place_of
from api.cli.progress import progress_shown
from curator.errors import RequestError, RunFailedError

if TYPE_CHECKING:
    from curator.readers import Source
    from curator.shards.manifest import ShardInfo

__all__ = ["runs", "shards", "submit", "watch"]


@exit_codes
def submit(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Files, globs or folders here, or one URL.")],
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE", help=RECIPE)],
    trusted: Annotated[str | None, typer.Option(metavar="FILE", help="The trusted sample.")] = None,
    engine: Annotated[
        EngineName, typer.Option(help="The server's own process, or its Ray cluster.")
    ] = EngineName.INLINE,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the recipe's.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the run to its end.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Upload data to a server and queue a run."""
    from curator.client.pieces import measured
    from curator.client.rest import Client
    from curator.recipe import load, preset_names

    read = load(recipe)
    chosen: Any = recipe if recipe in preset_names() else read.model_dump(mode="json")
    sources = _sources(inputs)
    if trusted is not None:
        measured(Path(trusted))
    with client_of(url, api_key) as client:
        assert isinstance(client, Client)
        client.check_recipe(chosen)
        dataset = _dataset(client, inputs, sources)
        sample = None if trusted is None else client.upload(trusted)
        run = client.submit(dataset, chosen, trusted=sample, engine=engine.value, seed=seed)
        if wait:
            _watch(client, run["id"], as_json)
        elif as_json:
            typer.echo(json.dumps({"run": run["id"], "dataset": dataset["id"]}))
        else:
            typer.echo(f"run {run['id']} is queued; follow it: {follow_up('watch', run['id'], url=client.base_url)}")


def _sources(inputs: list[str]) -> list[Source] | None:
    """The files of this machine to send; None for one URL, which is named where it lies. Raises RequestError."""
    from curator.readers import discover

    if any("://" in text for text in inputs):
        if len(inputs) > 1:
            raise RequestError("one URL makes a dataset by reference; give it alone, or files of this machine")
        return None
    return list(discover(inputs))


def _dataset(client: Any, inputs: list[str], sources: list[Source] | None) -> dict[str, Any]:
    """The inputs at the server: uploaded from here, or named where they lie."""
    if sources is None:
        return client.create_dataset(uri=inputs[0])
    uploads = []
    for source in sources:
        print(f"sending {source.uri} ({source.size_bytes} bytes)", file=sys.stderr)
        uploads.append(client.upload(source.uri))
    return client.create_dataset(uploads)


@exit_codes
def watch(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Follow a run at a server until it ends."""
    with client_of(url, api_key) as client:
        _watch(client, run, as_json)


def _watch(client: Any, run: str, as_json: bool) -> None:
    """Exits like `winnow curate`: an error for a run that failed or was cancelled, with a note of how to go on with one
    that can be."""
    with progress_shown() as on_progress:
        ended = client.wait(run, on_progress)
    try:
        summary = client.result(ended).summary
    except RunFailedError as error:
        if (ended["error"] or {}).get("resumable"):
            resume = f"curl -X POST {client.base_url}/v1/runs/{ended['id']}:resume"
            error.add_note(f"what was committed stays; resume the run on the dashboard or with `{resume}`")
        raise
    warn(summary)
    typer.echo(json.dumps(summary.model_dump(mode="json")) if as_json else told(summary, url=client.base_url))


@exit_codes
def runs(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List the runs of a server, newest first."""
    with client_of(url, api_key) as client:
        found = list(client.runs(limit=limit))
    if as_json:
        typer.echo(json.dumps({"runs": found}))
        return
    for run in found:
        progress, summary = run["progress"], run["summary"]
        rows = f"{progress['rows_done']}/{progress['rows_total']} rows" if summary is None else _outcome(summary)
        typer.echo(f"{run['id']}  {run['state']:<10}  {run['created_at'][:19]}Z  {rows}")
    if not found:
        typer.echo("no runs yet")


def _outcome(summary: dict[str, Any]) -> str:
    return f"{summary['kept']} kept of {summary['rows_in']}, {summary['relabeled']} relabeled  {summary['manifest']}"


@exit_codes
def shards(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="A manifest's id, man_….")],
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List the shards of a manifest."""
    with place_of(root, url, api_key) as place:
        content = place.source.manifest(place.manifest_id(manifest))
    if as_json:
        listed = [_facts(info) for info in content.shards]
        typer.echo(
            json.dumps({"manifest": content.id, "live": dict(zip(LEVELS, content.live, strict=True)), "shards": listed})
        )
        return
    for info in content.shards:
        kind = "quarantine" if info.quarantine else "kept"
        typer.echo(f"{info.digest}  {kind:<10}  {info.rows:>9} rows  {sum(info.live):>9} live  {info.bytes:>12} bytes")
    live = ", ".join(f"{count} {name}" for name, count in zip(LEVELS, content.live, strict=True))
    typer.echo(f"{len(content.shards)} shards, {content.num_live} live rows: {live}")


LEVELS = ("easy", "medium", "hard")


def _facts(info: ShardInfo) -> dict[str, Any]:
    return {
        "digest": info.digest,
        "quarantine": info.quarantine,
        "rows": info.rows,
        "live": dict(zip(LEVELS, info.live, strict=True)),
        "bytes": info.bytes,
    }
