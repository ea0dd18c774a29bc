"""Rates and streams, with the clock in the test's hand."""

from __future__ import annotations

import pytest

from api.errors import Refusal
from api.limits import Buckets, Places, Streams


def test_a_burst_then_a_rate() -> None:
    time = [0.0]
    buckets = Buckets(per_s=2, burst=3, clock=lambda: time[0])
    for _ in range(3):
        buckets.spend("a")
    with pytest.raises(Refusal) as refused:
        buckets.spend("a")
    assert refused.value.status == 429 and int(refused.value.headers["Retry-After"]) >= 1
    buckets.spend("b")  # another caller has a bucket of its own
    time[0] = 0.5
    buckets.spend("a")
    with pytest.raises(Refusal):
        buckets.spend("a")
    time[0] = 1000.0
    for _ in range(3):
        buckets.spend("a")
    with pytest.raises(Refusal):
        buckets.spend("a")  # what is not spent is not saved up beyond the burst


def test_a_tenant_has_one_place_and_all_have_a_few() -> None:
    places = Places(2, "too_many", "a look")
    with places.one("a"):
        with pytest.raises(Refusal, match="a look of this tenant"):
            places.one("a").__enter__()
        with places.one("b"), pytest.raises(Refusal) as refused:
            places.one("c").__enter__()
        assert (refused.value.status, refused.value.code) == (429, "too_many")
        with pytest.raises(KeyError), places.one("c"):
            raise KeyError
        with places.one("c"):
            pass


def test_streams_are_counted_by_tenant_and_freed_by_errors() -> None:
    streams = Streams(most=1)
    with streams.one_more("a"), streams.one_more("b"):
        assert streams.num_open == 2
        with pytest.raises(Refusal, match="stream"):
            streams.one_more("a").__enter__()
        assert streams.num_open == 2
    with pytest.raises(KeyError), streams.one_more("a"):
        raise KeyError
    assert streams.num_open == 0
