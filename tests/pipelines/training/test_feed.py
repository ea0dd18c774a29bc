"""Rows to tensors: targets where they belong, counts of what was cut, refusals that name the row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from curator.errors import InputError
from pipelines.training.classes import ClassTable
from pipelines.training.feed import feed_for
from pipelines.training.kinds import LanguageColumns, LanguageModel, TextClassifier
from pipelines.training.loss import IGNORE
from pipelines.training.tokens import BEGIN, END, PAD
from tests.pipelines.training.examples import SMALL, images, texts


def _batch(**columns: object) -> pa.RecordBatch:
    [batch] = pa.table(columns).combine_chunks().to_batches()
    return batch.append_column("sample_id", pa.array([bytes([n]) * 16 for n in range(batch.num_rows)], pa.binary(16)))


def test_text_rows() -> None:
    feed = feed_for(TextClassifier(context=8), ClassTable(("x", "y")))
    made = feed(_batch(text=["abc", "abcdefgh"], label=["y", "x"]), 0)
    assert made.inputs.tolist()[0] == [BEGIN, *b"abc", END, PAD, PAD, PAD]
    assert made.targets.tolist() == [1, 0]
    assert made.keys_BT is not None and made.keys_BT.sum(dim=1).tolist() == [5, 8]
    assert (made.num_tokens, made.num_truncated, made.bytes_truncated, len(made)) == (13, 1, 2, 2)


def test_full_rows_need_no_mask() -> None:
    feed = feed_for(TextClassifier(context=8), ClassTable(("x", "y")))
    assert feed(_batch(text=["abcdef", "ghijkl"], label=["y", "x"]), 0).keys_BT is None


def test_language_targets_are_the_next_ids() -> None:
    made = feed_for(LanguageModel(context=8), None)(_batch(text=["abc", "abcdefgh", ""]), 0)
    assert made.inputs.shape == made.targets.shape == (3, 7)
    assert made.targets.tolist()[0] == [*b"abc", END, IGNORE, IGNORE, IGNORE]
    assert made.targets.tolist()[1] == [*b"abcdef", IGNORE]  # the end of a text that was cut is not its end
    assert made.targets.tolist()[2] == [END, *[IGNORE] * 6]
    real = made.targets != IGNORE
    assert torch.equal(made.inputs[:, 1:][real[:, :-1]], made.targets[:, :-1][real[:, :-1]])


def test_prompts_are_read_and_not_learned() -> None:
    recipe = LanguageModel(context=64, columns=LanguageColumns(text="text", prompt=("a", "b")))
    made = feed_for(recipe, None)(_batch(text=["T", "T"], a=["x", "x"], b=["yy", None]), 0)
    assert bytes(made.inputs[0, 1:9].tolist()) == b"x\n\nyy\n\nT"
    assert made.targets[0, :9].tolist() == [*[IGNORE] * 7, ord("T"), END]
    assert made.targets[1, :5].tolist() == [*[IGNORE] * 3, ord("T"), END]


def test_a_prompt_that_fills_the_context_leaves_no_target() -> None:
    recipe = LanguageModel(context=16, columns=LanguageColumns(prompt=("a",)))
    made = feed_for(recipe, None)(_batch(text=["T", "T"], a=["p" * 50, "p"]), 0)
    assert (made.targets[0] == IGNORE).all() and (made.targets[1] != IGNORE).sum() == 2
    with pytest.raises(InputError, match="raise `context`"):
        feed_for(recipe, None)(_batch(text=["T"], a=["p" * 50]), 0)


def test_images_are_augmented_by_step_and_never_in_evaluation() -> None:
    [batch] = images(6).combine_chunks().to_batches()
    feed = feed_for(SMALL["image-classifier"], ClassTable((0, 1)))
    once, again, later, plain = (feed(batch, step).inputs for step in (3, 3, 4, None))
    assert torch.equal(once, again) and not torch.equal(once, later) and not torch.equal(once, plain)
    assert torch.equal(plain, feed(batch, None).inputs)
    assert plain.shape == (6, 1, 8, 8) and plain.dtype == torch.float32 and float(plain.max()) == 2.0


def test_refusals_name_the_row_and_the_columns() -> None:
    feed = feed_for(SMALL["text-classifier"], ClassTable(("sport", "trade")))
    with pytest.raises(InputError, match=r"text of sample 0101.* is null"):
        feed(_batch(text=["a", None], label=["sport", "sport"]), 0)
    with pytest.raises(InputError, match="no such column; they have body, label, sample_id"):
        feed(_batch(body=["a"], label=["sport"]), 0)
    with pytest.raises(InputError, match="text is int64"):
        feed(_batch(text=[1], label=["sport"]), 0)
    with pytest.raises(InputError, match="label 'chess'"):
        feed(_batch(text=["a"], label=["chess"]), 0)


def test_dictionary_and_large_text_read_alike() -> None:
    feed = feed_for(SMALL["text-classifier"], ClassTable(("sport", "science", "trade")))
    [batch] = texts(5).combine_chunks().to_batches()
    expected = feed(batch, 0).inputs
    for kind in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        other = batch.set_column(1, "text", batch.column("text").cast(kind))
        np.testing.assert_array_equal(feed(other, 0).inputs.numpy(), expected.numpy())
