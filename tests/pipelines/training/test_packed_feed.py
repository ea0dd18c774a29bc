"""Texts to packed batches: every target once, prompts not learned, long texts in pieces, state that round-trips."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import torch

from pipelines.training.feed import TensorBatch, feed_for
from pipelines.training.kinds import LanguageColumns, LanguageModel
from pipelines.training.loss import IGNORE
from pipelines.training.packed_feed import FeedState, PackedFeed
from pipelines.training.packing import state_from_arrays
from pipelines.training.sequences import Packed
from pipelines.training.tokens import BEGIN, END

PROMPTED = LanguageColumns(text="text", prompt=("prompt",))


def _recipe(context: int = 16, *, long_texts: str = "split", **changes: object) -> LanguageModel:
    layout = Packed(tokens_per_step=48, open_sequences=3, long_texts=long_texts)  # type: ignore[arg-type]
    return LanguageModel(width=16, depth=1, heads=2, context=context, layout=layout, **changes)  # type: ignore[arg-type]


def _rows(texts: list[str], prompts: list[str | None] | None = None) -> pa.RecordBatch:
    names = pa.array([number.to_bytes(16, "big") for number in range(len(texts))], pa.binary(16))
    columns = {"text": texts, "sample_id": names} | ({} if prompts is None else {"prompt": prompts})
    [batch] = pa.table(columns).combine_chunks().to_batches()
    return batch


def _all(feed: PackedFeed, batch: pa.RecordBatch) -> list[TensorBatch]:
    feed.add(batch)
    return [*feed.ready(), *feed.finish()]


def _targets(batches: list[TensorBatch]) -> dict[int, list[int]]:
    """The targets of each row, in the order of its pieces."""
    found: dict[int, list[int]] = {}
    for batch in batches:
        assert batch.document_BT is not None and batch.rows is not None
        for piece, row in enumerate(batch.rows[:, 0].tolist()):
            mine = (batch.document_BT == piece) & (batch.targets != IGNORE)
            assert int(mine.sum()) == batch.rows[piece, 2]
            found[row] = found.get(row, []) + batch.targets[mine].tolist()
    return found


TEXTS = ["ab", "a much longer text that takes three pieces", "", "exactly fifteen", "x" * 40, "é"]


def test_every_target_comes_once() -> None:
    batches = _all(PackedFeed(_recipe(), "mask"), _rows(TEXTS))
    assert _targets(batches) == {row: [*text.encode(), END] for row, text in enumerate(TEXTS)}
    assert all(batch.inputs.shape == batch.targets.shape == (3, 16) for batch in batches)
    assert sum(batch.num_tokens for batch in batches) == sum(len(text.encode()) + 1 for text in TEXTS)
    assert not sum(batch.num_truncated for batch in batches)


def test_inputs_are_the_tokens_before_the_targets_and_pieces_see_themselves_alone() -> None:
    for batch in _all(PackedFeed(_recipe(), "mask"), _rows(TEXTS)):
        assert batch.spans is not None and batch.document_BT is not None
        first = batch.spans.first_BT.long()
        for row, place in (batch.targets != IGNORE).nonzero().tolist():
            begin = int(first[row, place])
            assert batch.document_BT[row, begin] == batch.document_BT[row, place]
            assert begin == 0 or batch.document_BT[row, begin - 1] != batch.document_BT[row, place]
            if place > begin:
                assert batch.inputs[row, place] == batch.targets[row, place - 1]
        starts = {int(batch.inputs[row, int(p)]) for row in range(3) for p in first[row].unique()}
        assert BEGIN in starts


def test_prompts_are_read_and_not_learned_and_pieces_of_prompt_alone_are_left_out() -> None:
    feed = PackedFeed(_recipe(columns=PROMPTED), "mask")
    batches = _all(feed, _rows(["abc", "abc", "abc", ""], [None, "why", "p" * 30, "p" * 60]))
    learned = _targets(batches)
    assert learned == {row: [*(b"abc" if row < 3 else b""), END] for row in range(4)}
    tokens = sum(batch.num_tokens for batch in batches)
    assert tokens == 4 + 9 + (1 + 32 + 3 - 32) + (1 + 62 - 48), "the first two or three pieces hold no target"


def test_cut_texts_are_counted_and_learned_as_padded_ones_are() -> None:
    recipe = _recipe(long_texts="cut", columns=PROMPTED)
    batches = _all(PackedFeed(recipe, "mask"), _rows(TEXTS, [None] * 5 + ["p" * 40]))
    learned = _targets(batches)
    assert learned[1] == list(TEXTS[1].encode()[:16]) and learned[0] == [*b"ab", END]
    assert 5 not in learned and sum(batch.num_without_target for batch in batches) == 1
    assert sum(batch.num_truncated for batch in batches) == 3
    assert sum(batch.bytes_truncated for batch in batches) == (len(TEXTS[1]) - 16) + 24 + (42 + 2 - 16)


def test_state_round_trips_twice_between_any_two_batches() -> None:
    recipe, rows = _recipe(), _rows(TEXTS * 4)
    whole = _all(PackedFeed(recipe, "mask"), rows)
    feed, parts = PackedFeed(recipe, "mask"), []
    for first in range(0, rows.num_rows, 5):
        feed.add(rows.slice(first, 5))
        for batch in feed.ready():
            parts.append(batch)
        for _ in range(2):
            state = feed.state()
            arrays = state_from_arrays(state.packer.to_arrays())
            header = json.loads(json.dumps([state.num_rows, state.context, state.counts]))
            feed = PackedFeed(recipe, "mask")
            feed.load(FeedState(arrays, *header))
    parts += list(feed.finish())
    assert len(parts) == len(whole)
    for ours, theirs in zip(parts, whole, strict=True):
        assert torch.equal(ours.inputs, theirs.inputs) and torch.equal(ours.targets, theirs.targets)
        assert ours.rows is not None and theirs.rows is not None
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        assert ours.sample_ids == theirs.sample_ids


def test_a_context_that_changes_finishes_what_was_read() -> None:
    feed = PackedFeed(_recipe(), "mask")
    feed.add(_rows(TEXTS))
    before = [*feed.ready(), *feed.change_context(24)]
    assert _targets(before).keys() == set(range(len(TEXTS))) and {b.context for b in before} == {16}
    feed.add(_rows(["after"]))
    assert not list(feed.change_context(24)), "it already is"
    [after] = feed.finish()
    assert after.context == 24 and after.inputs.shape == (2, 24)


def test_the_padded_feed_of_a_packed_recipe_scores_rows_one_by_one() -> None:
    made = feed_for(_recipe(), None)(_rows(["abc", "abcdef"]), None)
    assert made.spans is None and made.rows is None and len(made) == 2
