"""`winnow compress` as a whole: the chain on both kinds of model, the same twice; and everything it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save

from curator.errors import RecipeError, RequestError
from pipelines.training.checkpoint import CHECKPOINT, MODEL
from pipelines.training.compress.command import REPORT, SENSITIVITY, compress_command
from pipelines.training.compress.compact import COMPACT, load_compact
from pipelines.training.compress.recipe import Adaptive, CompressRecipe, Distil, Prune, Quantise
from pipelines.training.compress.report import CompressReport
from pipelines.training.evaluate import evaluate
from pipelines.training.kinds import Optimiser
from pipelines.training.precision import place
from tests.pipelines.training.compress.conftest import Trained, trained

FAST = Optimiser(learning_rate=1e-2)
WHOLE = {
    "text-classifier": CompressRecipe(
        distil=Distil(width=0.5, depth=0.5, ngram_buckets=0.5, epochs=4),
        prune=Prune(heads=0.5, feed_forward=0.25, optimiser=FAST),
        quantise=Quantise(adaptive=Adaptive(budget=0.85, calibration_rows=64)),
        export=(),
    ),
    "image-classifier": CompressRecipe(
        distil=Distil(width=0.5, epochs=8, optimiser=FAST, max_loss=0.1),
        prune=Prune(channels=0.3, optimiser=FAST, max_loss=0.1),
        quantise=Quantise(),
        export=(),
    ),
}


def test_the_whole_chain_twice(either: Trained, tmp_path: Path) -> None:
    recipe, told = WHOLE[either.model.recipe.kind], []
    reports = [
        compress_command(
            either.folder, recipe, [either.held_out], out=tmp_path / name, root=either.root, on_step=told.append
        )
        for name in ("one", "two")
    ]
    first = reports[0]
    assert [step.name for step in first.steps] == ["trained", "distilled", "pruned", "fp16", "int8", "adaptive"][
        : len(first.steps)
    ]
    assert (len(first.steps) == 6) == (either.model.recipe.kind == "text-classifier")
    assert first.rolled_back == () and first.times_smaller > 5 and first.accuracy_kept > 0.9
    assert [step.name for step in told] == 2 * [step.name for step in first.steps]
    assert (tmp_path / "one" / COMPACT).read_bytes() == (tmp_path / "two" / COMPACT).read_bytes()
    assert first.steps[-1].num_bytes == (tmp_path / "one" / COMPACT).stat().st_size
    assert (tmp_path / "one" / SENSITIVITY).exists() == (len(first.steps) == 6)
    assert CompressReport.model_validate_json((tmp_path / "one" / REPORT).read_text()) == first
    again = load_compact(str(tmp_path / "one"))
    rows = either.table.slice(0, 120)
    if not first.num_trained_on:
        assert evaluate(again.model, again.recipe, again.class_table, rows).accuracy == first.steps[-1].accuracy


@pytest.mark.filterwarnings("ignore")  # the profiler's own
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_the_whole_chain_on_a_gpu(kind: str, tmp_path: Path) -> None:
    """Kernels sum in any order there, so bytes differ from run to run; the gate and the file hold what they promise."""
    here, out = trained(kind, tmp_path, "cuda"), tmp_path / "out"
    report = compress_command(here.folder, WHOLE[kind], [here.held_out], out=out, root=here.root)
    assert report.rolled_back == () and report.times_smaller > 5 and report.accuracy_kept > 0.9
    again, measured = load_compact(str(out)), report.steps[-1]
    assert measured.num_bytes == (out / COMPACT).stat().st_size
    if not report.num_trained_on:
        exact = place("cpu", "fp32")
        found = evaluate(again.model, again.recipe, again.class_table, here.table, placement=exact)
        assert found.accuracy == measured.accuracy


def test_a_job_by_its_name_and_its_default_folder(text: Trained, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(text.root, root)
    shutil.copytree(text.folder, root / "training" / "trn_1")
    report = compress_command("trn_1", CompressRecipe(quantise=Quantise(), export=()), [text.held_out], root=str(root))
    assert report.num_held_out + report.num_trained_on == 120 and report.num_trained_on > 0
    assert (root / "training" / "trn_1" / "compressed" / COMPACT).exists()
    with pytest.raises(RequestError, match="not empty"):
        compress_command("trn_1", "quantise", [text.held_out], root=str(root))


def _tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / MODEL).read_bytes()
        import json

        length = int.from_bytes(data[:8], "little")
        header, tensors = json.loads(data[8 : 8 + length])["__metadata__"], load(data)
        change(tensors)
        (folder / MODEL).write_bytes(save(tensors, metadata=header))

    return spoil


def _header(old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        import json

        data = (folder / MODEL).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])["__metadata__"]["winnow"]
        assert old in header
        (folder / MODEL).write_bytes(save(load(data), metadata={"winnow": header.replace(old, new)}))

    return spoil


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another version": (_header('"format": 1', '"format": 7'), "has format 7, this version reads 1"),
    "an unknown kind": (_header("text-classifier", "song-classifier"), "cannot be compressed"),
    "a language model": (_header('"kind": "text-classifier"', '"kind": "language-model"'), "cannot be compressed"),
    "a missing layer": (_tensors(lambda t: t.pop("model/blocks.0.qkv.weight")), r"Missing key.*blocks.0.qkv.weight"),
    "a wrong shape": (_tensors(lambda t: t.update({"model/head.bias": torch.zeros(4)})), "size mismatch for head.bias"),
    "no number": (_tensors(lambda t: t["model/norm.weight"].fill_(torch.nan)), "norm.weight.*not numbers"),
    "no weights": (lambda folder: (folder / MODEL).unlink(), "the job has not finished"),
    "other bytes": (lambda folder: (folder / MODEL).write_bytes(b"weights"), "cannot be compressed"),
}  # fmt: skip


@pytest.mark.parametrize("broken", sorted(BROKEN))
def test_a_checkpoint_that_cannot_be_compressed(text: Trained, tmp_path: Path, broken: str) -> None:
    spoil, told = BROKEN[broken]
    folder = tmp_path / "job"
    shutil.copytree(text.folder, folder)
    spoil(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=f"(?s){told}"):
        compress_command(str(folder), "quantise", [text.held_out], root=text.root)
    assert sorted(tmp_path.rglob("*")) == before


def test_requests_that_cannot_be_met(text: Trained, image: Trained, tmp_path: Path) -> None:
    def refused(told: str, error: type[Exception], folder: str, recipe: Any, *held_out: str, **named: Any) -> None:
        with pytest.raises(error, match=told):
            compress_command(folder, recipe, held_out, out=tmp_path / "out", root=text.root, **named)

    refused("no column 'text'", RequestError, text.folder, "quantise", image.held_out)
    refused("no heads", RecipeError, image.folder, CompressRecipe(prune=Prune(heads=0.5)), image.held_out)
    refused("depth of 1 is 0.5", RecipeError, image.folder, "half-width-half-depth", image.held_out)
    refused("the model was trained on", RequestError, text.folder, "quantise", text.manifest)
    refused("not both", RequestError, text.folder, "quantise", text.held_out, url="http://127.0.0.1:1")
    seen = tmp_path / "seen.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": ["sport"]}), seen)
    bare = tmp_path / "bare"
    shutil.copytree(text.folder, bare)
    (bare / CHECKPOINT).unlink()
    refused("give --manifest", RequestError, str(bare), CompressRecipe(distil=Distil(width=0.5)), str(seen))
    assert not (tmp_path / "out").exists()


def test_a_held_out_set_that_was_learned_by_heart(text: Trained, tmp_path: Path) -> None:
    from curator.shards import Manifest, ShardReader
    from curator.storage import Store

    store = Store.open(text.root)
    rows = pa.Table.from_batches(ShardReader(store).iter_batches(Manifest.load(store, text.manifest)))
    pq.write_table(rows.select(["text", "label"]), tmp_path / "same.parquet")
    with pytest.raises(RequestError, match="all 300 held-out rows are among those that the model was trained on"):
        compress_command(text.folder, "quantise", [str(tmp_path / "same.parquet")], root=text.root)
