"""Conditional answers and byte ranges, against RFC 9110 in plain Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Refusal
from api.replies import _range, named
from tests.api.test_tenancy import address, routes


def naive(first: int | None, last: int | None, size: int) -> list[int]:
    """The byte positions a range names (RFC 9110, section 14.1.2)."""
    if first is None:
        return list(range(size))[-last:] if last else []
    return [place for place in range(size) if place >= first and (last is None or place <= last)]


@given(st.integers(1, 40), st.none() | st.integers(0, 50), st.none() | st.integers(0, 50))
def test_a_range_names_the_bytes_the_standard_says(size: int, first: int | None, last: int | None) -> None:
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    wanted = naive(first, last, size)
    if (first is None and last is None) or (first is not None and last is not None and first > last):
        assert _range(header, size) is None
    elif not wanted:
        with pytest.raises(Refusal):
            _range(header, size)
    else:
        assert _range(header, size) == (wanted[0], wanted[-1] + 1)


@given(st.text(max_size=30))
def test_any_header_is_survived(header: str) -> None:
    try:
        found = _range(header, 100)
    except Refusal as refusal:
        assert refusal.status == 416
    else:
        assert found is None or 0 <= found[0] < found[1] <= 100


@pytest.mark.parametrize(
    ("header", "weak", "found"),
    [
        ('"a"', True, True), ('W/"a"', True, True), ('W/"a"', False, False), ('"b", "a"', False, True),
        ("*", True, True), ('"b"', True, False), ("a", True, False), ("", True, False), (None, True, False),
    ],
)  # fmt: skip
def test_tags_are_compared_as_told(header: str | None, weak: bool, found: bool) -> None:
    assert named(header, '"a"', weak=weak) is found


DELETED = sorted(path for method, path in routes() if method == "DELETE")


@pytest.mark.parametrize("path", DELETED)
def test_what_changed_meanwhile_is_not_deleted(house: Any, owned: dict[str, str], path: str) -> None:
    place = address(path, owned)
    present = house.one.get(place).headers["etag"]
    for other in ('"another"', f"W/{present}"):
        refused = house.one.delete(place, headers={"If-Match": other})
        assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed"), refused.text
        assert present.strip('"') in refused.json()["detail"]
    assert house.one.get(place).headers["etag"] == present


@pytest.mark.parametrize("key", [None, "a-creation"])
def test_the_etag_of_a_creation_is_what_the_next_request_names(
    house: Any, owned: dict[str, str], key: str | None
) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    asked = {"manifest": owned["manifest_id"], "mode": "external"}
    made = [house.one.post("/v1/training-jobs", json=asked, headers=headers) for _ in range(2 if key else 1)]
    assert {answer.headers["etag"] for answer in made} == {'"1"'}
    place = made[0].headers["location"]
    assert house.one.get(place).headers["etag"] == '"1"'
    cancelled = house.one.post(f"{place}:cancel", headers={"If-Match": made[-1].headers["etag"]})
    assert (cancelled.status_code, cancelled.headers["etag"]) == (202, '"2"')
    assert house.one.delete(place, headers={"If-Match": '"1"'}).status_code == 412
    assert house.one.delete(place, headers={"If-Match": '"2"'}).status_code == 204
