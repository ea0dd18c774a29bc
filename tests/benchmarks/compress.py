"""Classifiers of curated shards made smaller: accuracy, bytes and latency after each step, over several seeds.

    python tests/benchmarks/compress.py --data news --seeds 3
    python tests/benchmarks/compress.py --data images --seeds 3

Everything a user does: `winnow curate` with 400 trusted rows, a training job on the manifest's shards, `winnow
compress`; curated once, trained and compressed under each seed. Half of the test split judges the steps; the other
half, which no step has seen, says what the trained model and the compressed one are worth in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.training.checkpoint import load_model
from pipelines.training.compress.command import compress_command
from pipelines.training.compress.compact import load_compact
from pipelines.training.compress.recipe import Adaptive, CompressRecipe, Distil, HeldOutRows, Prune, Quantise
from pipelines.training.compress.report import CompressReport, table
from pipelines.training.evaluate import evaluate
from pipelines.training.kinds import ImageClassifier, ImageColumns, Optimiser, TextClassifier, TextColumns
from pipelines.training.precision import place
from pipelines.training.trainer import train

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
NUM_TRUSTED = 400
FILES = {"news": "noisyag_news.parquet", "images": "cifar10n.parquet"}
GIVEN = {"news": "label_given", "images": "label_aggre"}
CURATE = {
    "news": "task: classification\ncolumns: {id: id, text: text, label: label_given}\nprocess: [exact_duplicates]\n",
    "images": "task: classification\ncolumns: {id: id, image: image, label: label_aggre}\n",
}
TRAIN = {
    "news": TextClassifier(columns=TextColumns(label="label_given"), epochs=5),
    "images": ImageClassifier(columns=ImageColumns(label="label_aggre"), epochs=10, augment="shift-flip"),
}
COMPRESS = {
    "news": CompressRecipe(
        held_out=HeldOutRows(label="label_true"),
        distil=Distil(width=0.5, ngram_buckets=0.5, epochs=6),
        prune=Prune(heads=0.5, feed_forward=0.25, epochs=1),
        quantise=Quantise(adaptive=Adaptive(budget=0.85, calibration_rows=128)),
        export=("torch-export", "onnx", "onnx-dynamic"),
    ),
    "images": CompressRecipe(
        held_out=HeldOutRows(label="label_true"),
        distil=Distil(width=0.75, epochs=14),
        prune=Prune(channels=0.25, epochs=3, optimiser=Optimiser(learning_rate=1e-3)),
        quantise=Quantise(),
        export=("torch-export", "onnx", "onnx-dynamic"),
    ),
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", choices=sorted(FILES), default="news")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--work", help="a folder that keeps what was curated and trained, for a second run")
    chosen = options.parse_args()
    if not (DATA / FILES[chosen.data]).exists():
        print(f"no data in {DATA}; set WINNOW_DATA")
        return 0
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(chosen.work or scratch)
        manifest = _curated(chosen.data, folder / chosen.data)
        seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
        rows = [_one(chosen.data, seed, folder / chosen.data, manifest, Path(scratch)) for seed in seeds]
    if not rows:
        return 0
    print(f"\n{chosen.data}, {len(rows)} seeds:{'':26}{'mean':>9}{'worst':>9}")
    for name, worst in {
        "times smaller": min,
        "accuracy, trained": min,
        "accuracy, compressed": min,
        "kept": min,
    }.items():
        values = [row[name] for row in rows]
        print(f"  {name:40}{np.mean(values):9.4f}{worst(values):9.4f}")
    return 0


def _one(data: str, seed: int, root: Path, manifest: str, scratch: Path) -> dict[str, float]:
    rows = pq.read_table(DATA / FILES[data])
    job = root / f"job-{seed}"
    trained = train(root, manifest, TRAIN[data].model_copy(update={"seed": seed}), checkpoint_dir=job)
    print(f"\n{data}, seed {seed}: {trained.num_samples // trained.epochs} rows, {trained.seconds:.0f} s of training")
    test = rows.filter(pc.equal(rows["split"], "test"))
    order = np.random.default_rng(seed).permutation(test.num_rows)
    judging, final = test.take(order[: len(order) // 2]), test.take(order[len(order) // 2 :])
    pq.write_table(judging, scratch / "judging.parquet")
    chosen = COMPRESS[data].model_copy(update={"seed": seed})
    out = scratch / f"compressed-{seed}"
    report = compress_command(str(job), chosen, [str(scratch / "judging.parquet")], root=str(root), out=out)
    for line in table(report):
        print(line)
    return _final(report, final, str(job), str(out), TRAIN[data].columns.label)


def _curated(data: str, root: Path) -> str:
    """The manifest of one curation, with the trusted rows of seed 0; the one made before, if the folder holds it."""
    told = root / "summary.json"
    if not told.exists():
        rows = pq.read_table(DATA / FILES[data])
        rows = rows.filter(pc.equal(rows["split"], "train"))
        sample = rows.take(np.sort(np.random.default_rng(0).choice(rows.num_rows, NUM_TRUSTED, replace=False)))
        root.mkdir(parents=True)
        pq.write_table(pa.table({"id": sample["id"], GIVEN[data]: sample["label_true"]}), root / "trusted.parquet")
        (root / "recipe.yaml").write_text(CURATE[data] + "where: {split: train}\npolicy: {kind: learned}\nseed: 0\n")
        words = ["--recipe", root / "recipe.yaml", "--trusted", root / "trusted.parquet", "--out", root, "--json"]
        command = [sys.executable, "-m", "api.cli", "curate", DATA / FILES[data], *words]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        told.write_text(done.stdout)
    return str(json.loads(told.read_text())["manifest"])


def _final(report: CompressReport, rows: pa.Table, job: str, out: str, label: str) -> dict[str, float]:
    """On the half of the test rows that judged nothing."""
    cpu = place("cpu", "fp32")
    named = rows.drop_columns([label]).rename_columns({"label_true": label})
    found = [
        evaluate(one.model, one.recipe, one.class_table, named, placement=cpu).accuracy or 0.0
        for one in (load_model(job), load_compact(out))
    ]
    kept = found[1] / found[0]
    print(f"on the other half: {found[1]:.4f} after {found[0]:.4f}, {kept:.2%} kept")
    return {
        "times smaller": report.times_smaller, "accuracy, trained": found[0], "accuracy, compressed": found[1],
        "kept": kept,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
