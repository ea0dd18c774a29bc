"""Equal content, equal name; unequal content, another name."""

from __future__ import annotations

import pytest

from curator.digest import canonical_json, content_id, sha256_hex


def test_order_of_keys_does_not_matter_and_content_does() -> None:
    assert content_id("x", {"a": 1, "b": [1, "ü"]}) == content_id("x", {"b": [1, "ü"], "a": 1})
    assert content_id("x", {"a": 1}) != content_id("x", {"a": 2}) != content_id("y", {"a": 2})
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()


def test_known_value() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_nan_has_no_canonical_form() -> None:
    with pytest.raises(ValueError):
        canonical_json(float("nan"))
