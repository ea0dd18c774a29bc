"""Batches filled up to few shapes."""

from __future__ import annotations

import pytest
import torch

from curator.errors import RequestError
from pipelines.training.serving.buckets import Bucket, Buckets

BUCKETS = Buckets((1, 4, 8), (16, 48))


def test_the_least_shape_that_holds_a_batch() -> None:
    ids = torch.zeros(3, 17, dtype=torch.int64)
    assert BUCKETS.of(ids) == Bucket(4, 48) and BUCKETS.of(ids[:1, :16]) == Bucket(1, 16)
    assert BUCKETS.of(torch.zeros(5, 1, 8, 8)) == Bucket(8, None)
    assert len(BUCKETS.all()) == 6 and Buckets((2, 4)).all() == [Bucket(2, None), Bucket(4, None)]


def test_what_is_filled_up_is_not_real_but_one_position_of_a_row() -> None:
    ids = torch.ones(3, 5, dtype=torch.int64)
    filled, keys = BUCKETS.filled(ids, None)
    assert filled.shape == (4, 16) and torch.equal(filled[:3, :5], ids)
    assert keys is not None and keys[:3].sum() == 15 and keys[3].tolist() == [True] + 15 * [False]


def test_a_batch_that_fits_is_given_as_it_is() -> None:
    ids = torch.ones(4, 16, dtype=torch.int64)
    assert BUCKETS.filled(ids, None) == (ids, None)
    filled, keys = BUCKETS.filled(ids, torch.ones(4, 16, dtype=torch.bool))
    assert torch.equal(filled, ids) and keys is None


def test_pixels_are_filled_up_with_rows() -> None:
    pixels = torch.ones(2, 3, 8, 8)
    filled, keys = Buckets((4,)).filled(pixels, None)
    assert filled.shape == (4, 3, 8, 8) and keys is None and filled[2:].sum() == 0


@pytest.mark.parametrize("sizes", [(), (0, 1), (4, 2), (2, 2)])
def test_sizes_rise_from_one(sizes: tuple[int, ...]) -> None:
    with pytest.raises(RequestError, match="must rise"):
        Buckets(sizes)


def test_texts_longer_than_every_bucket() -> None:
    with pytest.raises(RequestError, match="49 positions are longer than the longest bucket of 48"):
        BUCKETS.of(torch.zeros(1, 49, dtype=torch.int64))
