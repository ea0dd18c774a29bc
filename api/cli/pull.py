"""`winnow pull` and `winnow export`: rows of a manifest, in an epoch's order or once each, into files.

Knows formats and options; the order is the epoch plan's.
"""

from __future__ import annotations

import itertools
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import ApiKey, Root, Url, place_of

__all__ = ["export", "pull"]

ManifestArgument = Annotated[
    str, typer.Argument(metavar="MANIFEST", help="A manifest's id, man_…, or an alias such as latest.")
]


class CurriculumName(StrEnum):
    STAGED = "staged"
    CONSTANT = "constant"
    LINEAR = "linear"


class TailName(StrEnum):
    DROP = "drop"
    SHORT = "short"


class ExportFormat(StrEnum):
    PARQUET = "parquet"
    MDS = "mds"
    WEBDATASET = "webdataset"
    JSONL = "jsonl"


@exit_codes
def pull(
    manifest: ManifestArgument,
    epoch: Annotated[int, typer.Option(min=0, help="The epoch, from 0.")],
    out: Annotated[str, typer.Option(metavar="FILE", help="A .parquet, .arrow or .arrows file.")],
    num_epochs: Annotated[int, typer.Option(min=1, help="Epochs the plan covers.")] = 10,
    curriculum: Annotated[CurriculumName, typer.Option(help="How easy turns to hard.")] = CurriculumName.STAGED,
    global_batch_size: Annotated[int, typer.Option(min=1, help="Rows of one step over all ranks.")] = 64,
    rank: Annotated[int, typer.Option(min=0, help="Whose share of every global batch.")] = 0,
    world_size: Annotated[int, typer.Option(min=1, help="Ranks that share a global batch.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another order.")] = 0,
    epoch_size: Annotated[int | None, typer.Option(min=1, help="Rows an epoch; default: all that repeat none.")] = None,
    tail: Annotated[TailName, typer.Option(help="Rows that fill no last global batch.")] = TailName.DROP,
    start: Annotated[int, typer.Option("--from", metavar="POSITION", min=0, help="Leave out rows before it.")] = 0,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Pull an epoch, in order, into a file."""
    from api.cli.tables import table_writer, writable
    from curator.client.shard_stream import pull as rows_of

    writable(out, (".parquet", ".arrow", ".arrows"))
    num_rows = 0
    with place_of(root, url, api_key) as place:
        epoch_from = partial(
            rows_of,
            place.source,
            place.manifest_id(manifest),
            epoch,
            num_epochs=num_epochs,
            curriculum=curriculum.value,
            seed=seed,
            global_batch_size=global_batch_size,
            epoch_size=epoch_size,
            tail=tail.value,
            rank=rank,
            world_size=world_size,
        )
        rows = epoch_from(from_position=start)
        first = next(rows, None)
        schema = (first if first is not None else next(epoch_from())).schema.remove_metadata()
        with table_writer(out, schema) as writer:
            for batch in itertools.chain([] if first is None else [first], rows):
                writer.write_batch(batch.replace_schema_metadata(None))
                num_rows += batch.num_rows
    typer.echo(f"{num_rows} rows of epoch {epoch} in {out}")


@exit_codes
def export(
    manifest: ManifestArgument,
    out: Annotated[str, typer.Option(metavar="DIR", help="A folder that is not there yet, or is empty.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.")],
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Write every kept row once, in stored order, in a format other tools read."""
    from api.cli.outputs import output_folder, written_to
    from curator.exports import write_export
    from curator.shards.reader import ShardReader

    store = output_folder(out)
    with place_of(root, url, api_key) as place:
        content = place.source.manifest(place.manifest_id(manifest))
        with written_to(out):
            files = write_export(ShardReader(place.source), content, form.value, store)
    typer.echo(f"{content.num_live} rows in {len(files)} files under {out}")
