"""Packed training from shards: the same learning as row by row, and a job that can be stopped anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from curator.client.shard_stream import ShardStream
from curator.errors import RequestError
from curator.storage import Store
from pipelines.training.checkpoint import MODEL
from pipelines.training.compare import compare
from pipelines.training.feed import feed_for
from pipelines.training.kinds import LanguageModel
from pipelines.training.model import build
from pipelines.training.packed_feed import PackedFeed
from pipelines.training.precision import place
from pipelines.training.report import StepRecord, TrainingReport
from pipelines.training.rows import TableRows
from pipelines.training.sequences import Growth, Packed, Rotary
from pipelines.training.step import losses
from pipelines.training.trainer import Trainer, train
from tests.pipelines.training.examples import texts, write_curated

RECIPE = LanguageModel(
    width=16,
    depth=1,
    heads=2,
    context=16,
    layout=Packed(tokens_per_step=64, open_sequences=3),
    epochs=3,
    global_batch_size=4,
    checkpoint_every=5,
)
"""Texts of about 30 bytes: every row is two or three pieces, and they are learned in different steps."""

GROWING = RECIPE.model_copy(
    update={
        "context": 32,
        "growth": (Growth(context=8, until=0.2), Growth(context=16, until=0.55)),
        "rotary": Rotary(scaling="yarn"),
    }
)


class Witness:
    def __init__(self, stop_at: int | None):
        self.losses: dict[int, float] = {}
        self.records: list[StepRecord] = []
        self.tables: list[pa.Table] = []
        self.stop_at = stop_at

    def on_step(self, record: StepRecord) -> None:
        self.records.append(record)
        self.losses[record.step] = record.loss

    def rows(self) -> list[dict[str, Any]]:
        return [row for table in self.tables for row in table.to_pylist()]


def _job(
    root: Path, manifest: str, folder: Path, recipe: LanguageModel, stop_at: int | None = None
) -> tuple[TrainingReport, Witness]:
    witness = Witness(stop_at)
    report = train(
        str(root),
        manifest,
        recipe,
        checkpoint_dir=folder,
        feedback=witness.tables.append,
        on_step=witness.on_step,
        should_stop=lambda: len(witness.records) > 0 and witness.records[-1].step == stop_at,
    )
    return report, witness


@pytest.mark.parametrize("recipe", [RECIPE, GROWING], ids=["packed", "growing"])
def test_stopped_after_every_step_it_ends_with_the_bytes_of_one_that_was_not(
    recipe: LanguageModel, tmp_path: Path
) -> None:
    manifest = write_curated(Store.open(tmp_path / "root"), texts(30), rows_a_shard=10).id
    whole, seen = _job(tmp_path / "root", manifest, tmp_path / "whole", recipe)
    assert whole.finished and whole.steps == whole.total_steps == len(seen.losses) > 20
    losses: dict[int, float] = {}
    rows: list[dict[str, Any]] = []
    for stop in range(1, whole.steps + 1):
        part, witness = _job(tmp_path / "root", manifest, tmp_path / "parts", recipe, stop)
        assert part.steps == stop and part.resumed_from == (stop - 1 or None)
        losses |= witness.losses
        rows += witness.rows()
    last, _ = _job(tmp_path / "root", manifest, tmp_path / "parts", recipe)
    assert last.finished and losses == seen.losses and rows == seen.rows()
    assert (last.losses, last.num_samples, last.num_tokens) == (whole.losses, whole.num_samples, whole.num_tokens)
    assert (tmp_path / "whole" / MODEL).read_bytes() == (tmp_path / "parts" / MODEL).read_bytes()


def test_every_row_is_told_of_once_an_epoch(tmp_path: Path) -> None:
    manifest = write_curated(Store.open(tmp_path / "root"), texts(30), rows_a_shard=10)
    report, witness = _job(tmp_path / "root", manifest.id, tmp_path / "out", RECIPE)
    rows = witness.rows()
    assert len({(row["epoch"], row["sample_id"]) for row in rows}) == len(rows) == report.num_samples
    stream = ShardStream(str(tmp_path / "root"), manifest.id, num_epochs=3, seed=0, global_batch_size=4)
    served = set()
    for epoch in range(3):
        stream.set_epoch(epoch)
        served |= {(epoch, name) for batch in stream.iter_batches() for name in batch.column("sample_id").to_pylist()}
    assert {(row["epoch"], row["sample_id"]) for row in rows} == served
    for epoch, mean in enumerate(report.losses):
        mine = [row["loss"] for row in rows if row["epoch"] == epoch]
        assert sum(mine) / len(mine) == pytest.approx(mean, rel=1e-6)
    assert report.losses[-1] < report.losses[0]


def test_a_packed_row_has_the_loss_it_has_alone() -> None:
    """Long context, so that every text is one piece: the padded layout must say the same of each."""
    recipe = RECIPE.model_copy(update={"context": 64})
    [batch] = texts(9).combine_chunks().to_batches()
    model = build(recipe, 0, torch.device("cpu"))
    draws = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=draws)
    feed = PackedFeed(recipe, "mask")
    feed.add(batch)
    found: dict[bytes, float] = {}
    total, tokens = 0.0, 0
    with torch.no_grad():
        for packed in [*feed.ready(), *feed.finish()]:
            result = losses(model, packed, place("cpu", "fp32"))
            found |= dict(zip(packed.sample_ids.to_pylist(), result.per_sample_B.tolist(), strict=True))
            total, tokens = total + float(result.mean) * packed.num_tokens, tokens + packed.num_tokens
        alone = losses(model, feed_for(recipe, None)(batch, None), place("cpu", "fp32"))
    wanted = dict(zip(batch.column("sample_id").to_pylist(), alone.per_sample_B.tolist(), strict=True))
    assert found == pytest.approx(wanted, rel=1e-5)
    assert total / tokens == pytest.approx(float(alone.mean), rel=1e-5)


def test_gradients_are_those_of_the_rows_one_by_one() -> None:
    recipe = RECIPE.model_copy(update={"context": 64, "layout": Packed(tokens_per_step=256)})
    [batch] = texts(6).combine_chunks().to_batches()
    models = [build(recipe, 0, torch.device("cpu")) for _ in range(2)]
    for model in models:
        draws = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=draws)
    feed = PackedFeed(recipe, "mask")
    feed.add(batch)
    [packed] = feed.finish()
    for model, tensors in zip(models, (packed, feed_for(recipe, None)(batch, None)), strict=True):
        losses(model, tensors, place("cpu", "fp32")).mean.backward()
    for ours, theirs in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_a_limit_of_steps_ends_the_job_there() -> None:
    rows = TableRows(texts(40), seed=0, global_batch_size=4)
    trainer = Trainer(rows, GROWING, total_steps=7)
    report = trainer.run()
    assert (report.steps, report.total_steps, report.finished) == (7, 7, True)
    assert trainer.place.num_read == 0 or report.epochs >= 1


def test_the_estimate_of_steps_ends_exact() -> None:
    seen: list[StepRecord] = []
    rows = TableRows(texts(40), seed=0, global_batch_size=4)
    report = Trainer(rows, RECIPE, on_step=seen.append).run()
    assert report.total_steps == report.steps == len(seen)
    assert [record.step for record in seen] == list(range(1, len(seen) + 1))
    late = seen[len(seen) // 2 :]
    assert all(record.total_steps == pytest.approx(report.steps, rel=0.1) for record in late)
    assert report.pace is not None and 0 <= report.pace.padding < 0.25 and report.pace.mfu > 0


def test_packed_recipes_are_not_compared_by_rows() -> None:
    with pytest.raises(RequestError, match="compare with `layout: padded`"):
        compare(texts(30), texts(30), None, texts(9), seeds=[0, 1, 2], recipe=RECIPE)
