"""Signals beside the ledger's rows: the same rows as the ledger alone, whatever the batches, or an error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from curator.errors import IntegrityError, NotFoundError
from curator.ledger import Ledger
from curator.run import RunRequest
from curator.storage import Store
from pipelines.job import Job
from pipelines.signal_rows import signal_rows
from tests.pipelines.test_execute import go, text_recipe


@pytest.fixture
def done(tmp_path: Path, texts: Path) -> tuple[str, str]:
    root = tmp_path / "root"
    return str(root), go(root, RunRequest(inputs=(str(texts),), recipe=text_recipe())).run


def table_of(root: str, run: str, **chosen: object) -> pa.Table:
    schema, batches = signal_rows(root, run, **chosen)  # type: ignore[arg-type]
    return pa.Table.from_batches(batches, schema)


def rewritten(job: Job, unit: int, table: pa.Table, rows: int) -> None:
    with job.side_writer(unit, "signals", table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_the_ledgers_rows_with_their_signals(done: tuple[str, str], rows: int) -> None:
    """Batches of the side files may end anywhere; every signal is the one scored for that row."""
    root, run = done
    job, ledger = Job(root, run), pa.Table.from_batches(Ledger(Store.open(root), run).scan())
    sides = [job.read_side(unit, "signals") for unit in range(len(job.plan.units))]
    for unit, side in enumerate(sides):
        rewritten(job, unit, side, rows)
    found = table_of(root, run)
    names = [name for name in found.column_names if name.startswith("signal.")]
    assert names == [f"signal.{name}" for name in job.recipe.signal_names] and names
    assert found.drop_columns(names).equals(ledger)
    assert found.select(names).equals(pa.concat_tables(sides).select(names))
    assert table_of(root, run, units=[1]).num_rows == sides[1].num_rows


@pytest.mark.parametrize("chosen", [{"action": "drop"}, {"reason": "exact_duplicate"}, {"difficulty": "hard"}])
def test_filters_are_the_ledgers(done: tuple[str, str], chosen: dict[str, str]) -> None:
    root, run = done
    ledger = pa.Table.from_batches(Ledger(Store.open(root), run).scan(**chosen))  # type: ignore[arg-type]
    assert table_of(root, run, **chosen)["sample_id"].equals(ledger["sample_id"]) and ledger.num_rows


def test_files_that_do_not_line_up(done: tuple[str, str]) -> None:
    root, run = done
    job = Job(root, run)
    side = job.read_side(0, "signals")
    for wrong, told in (
        (side.slice(1), "line up"),
        (side.slice(0, side.num_rows - 1), "fewer signal rows"),
        (pa.concat_tables([side, side.slice(0, 1)]), "more signal rows"),
    ):
        rewritten(job, 0, wrong, 16)
        with pytest.raises(IntegrityError, match=told):
            table_of(root, run)
    job.store.delete(job.side_name(0, "signals"))
    with pytest.raises(NotFoundError, match="are gone"):
        signal_rows(root, run)
