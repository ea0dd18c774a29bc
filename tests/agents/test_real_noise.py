"""Real human label errors: the judge beats cleanlab on the same vectors, and its promise holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from agents.encoders import make_encoder
from agents.gate import average_precision
from agents.learner import learn
from agents.types import Rows
from curator.recipe.policy import PolicySpec
from curator.verdict import DROP


@pytest.mark.data
def test_beats_cleanlab_on_human_errors(data: Path) -> None:
    table = pq.read_table(data / "noisyag_news.parquet").slice(0, 3_000)
    given, truth = (table[name].to_numpy().astype(np.int64) for name in ("label_given", "label_true"))
    texts = table["text"].combine_chunks()
    encoder = make_encoder("text", "builtin")
    encoder.fit(texts, seed=0)
    vectors, valid = encoder.encode(texts)
    ids = np.random.default_rng(0).integers(0, 256, (3_000, 16)).astype(np.uint8)
    trusted = np.random.default_rng(1).random(3_000) < 400 / 3_000
    rows = Rows(ids, vectors, valid, given, np.zeros((3_000, 0), np.float32))
    judge = learn(rows, np.where(trusted, truth, -1), classes=4, task="classification", config=PolicySpec(rounds=0))
    probabilities = cross_val_predict(
        LogisticRegression(C=3.0, max_iter=300), vectors, given, cv=5, method="predict_proba"
    )
    quality = [
        get_label_quality_scores(given, probabilities, method=method, adjust_pred_probs=adjust)
        for method, adjust in (("self_confidence", False), ("normalized_margin", False), ("normalized_margin", True))
    ]
    fresh, bad = ~trusted, given != truth
    peer = max(average_precision(-score[fresh], bad[fresh]) for score in quality)
    decided = judge.decide(rows)
    assert average_precision(1 - decided.label_score[fresh], bad[fresh]) > peer + 0.05
    dropped = decided.actions == DROP
    assert dropped[fresh & ~bad].mean() < 0.1 and dropped[fresh & bad].mean() > 0.2


@pytest.mark.data
def test_web_lines_are_told_apart_by_vectors_and_length(data: Path) -> None:
    table = pq.read_table(data / "web_lines_human.parquet")
    table = table.filter(pc.equal(table["lang"], "en")) if "lang" in table.column_names else table
    table = table.slice(0, 2_500)
    texts = table["text"].combine_chunks()
    keep = np.asarray(table["keep"].to_numpy(zero_copy_only=False)).astype(bool)
    encoder = make_encoder("text", "builtin")
    encoder.fit(texts, seed=0)
    vectors, valid = encoder.encode(texts)
    length = np.log1p(np.array([len(text or "") for text in texts.to_pylist()], np.float32))[:, None]
    ids = np.random.default_rng(0).integers(0, 256, (len(keep), 16)).astype(np.uint8)
    trusted = np.random.default_rng(1).random(len(keep)) < 0.25
    rows = Rows(ids, vectors, valid, np.zeros(len(keep), np.int64), length)
    judge = learn(rows, np.where(trusted, keep, -1).astype(np.int64), classes=2, task="text")
    fresh = ~trusted
    score = judge.decide(rows).label_score[fresh]
    assert average_precision(1 - score, ~keep[fresh]) > average_precision(-length[fresh, 0], ~keep[fresh]) + 0.03
