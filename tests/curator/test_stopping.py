"""A stop is heard where somebody listens, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curator.duplicates import DuplicateIndex, Shape
from curator.duplicates.signatures import minhash
from curator.errors import LeaseLostError, StoppedError, TransportError
from curator.run import StopRequest
from curator.stopping import hear, listening
from curator.storage import Store


def test_nobody_listens() -> None:
    hear()


def test_a_stop_is_heard_in_the_midst_of_work() -> None:
    asked: list[StopRequest] = []
    turns = 0
    with pytest.raises(StoppedError, match="cancel"), listening(lambda: asked[0] if asked else None):
        for turn in range(10):
            turns = turn
            hear()
            if turn == 3:
                asked.append("cancel")
    assert turns == 4
    hear()  # the work is over


def test_work_that_was_to_stop_does_not_begin() -> None:
    with pytest.raises(StoppedError), listening(lambda: "pause"):
        raise AssertionError("it began")


def test_a_question_that_does_not_get_through_is_put_again_and_a_lost_lease_is_told() -> None:
    answers: list[Exception] = [TransportError("silence"), TransportError("silence"), LeaseLostError("gone")]

    def ask() -> StopRequest | None:
        raise answers.pop(0)

    with pytest.raises(LeaseLostError), listening(ask):
        hear()
        hear()
    assert not answers


def test_long_work_hears_it(tmp_path: Path) -> None:
    """Looking for pairs among many rows: each range of keys, and the pairs some at a time."""
    asked: list[StopRequest | None] = [None, None, "cancel"]
    index = DuplicateIndex(Store.open(tmp_path), "index", Shape(rows=(50,), num_perm=16, bands=4))
    rng = np.random.default_rng(0)
    with index.adding(0) as add:
        texts = pa.array([" ".join(rng.choice(["a", "b"], 20)) for _ in range(50)])
        add(rng.integers(0, 9, (50, 2)).astype(np.uint64), minhash(texts, num_perm=16, ngram=2, seed=0))
    with pytest.raises(StoppedError), listening(lambda: asked.pop(0)):
        assert index.seek(0) > 0
        index.match(0, 0.5)
    assert not asked
