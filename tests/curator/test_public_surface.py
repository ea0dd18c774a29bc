"""What other programs may import from `curator`, by name."""

from __future__ import annotations

import pytest

import curator


def test_the_public_names() -> None:
    names = ["Client", "EpochPlan", "LeasedStream", "Manifest", "ShardReader", "ShardStream", "WinnowError"]
    assert curator.__all__ == names
    assert sorted(curator.__all__) == dir(curator)
    for name in curator.__all__:
        assert getattr(curator, name).__name__ == name


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="ShardStream"):
        _ = curator.Shardstream  # type: ignore[attr-defined]
