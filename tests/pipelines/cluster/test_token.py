"""No Ray runs for us without a token that only we know."""

from __future__ import annotations

import pytest

from curator.errors import RequestError
from pipelines.cluster.token import check_address, prepare


def test_a_ray_of_our_own_gets_a_fresh_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    one: dict[str, str] = {}
    two: dict[str, str] = {}
    prepare(one)
    prepare(two)
    assert one["RAY_AUTH_MODE"] == "token" and len(one["RAY_AUTH_TOKEN"]) == 64
    assert one["RAY_AUTH_TOKEN"] != two["RAY_AUTH_TOKEN"]


def test_what_the_user_set_stays() -> None:
    mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "mine"}
    prepare(mine)
    assert mine["RAY_AUTH_TOKEN"] == "mine"
    joined = {"RAY_ADDRESS": "10.0.0.1:6379"}
    prepare(joined)
    assert "RAY_AUTH_TOKEN" not in joined


def test_the_token_is_not_turned_off_for_a_ray_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(RequestError, match="RAY_AUTH_MODE=disabled would let everyone"):
        prepare({"RAY_AUTH_MODE": "disabled"})
    for said in ("", "TOKEN"):
        ours = {"RAY_AUTH_MODE": said}
        prepare(ours)
        assert ours["RAY_AUTH_MODE"] == "token" and len(ours["RAY_AUTH_TOKEN"]) == 64
    joined = {"RAY_ADDRESS": "127.0.0.1:6379", "RAY_AUTH_MODE": "disabled"}
    prepare(joined)  # what that cluster asks for is its owner's affair; `check_address` says where it may stand
    assert joined["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "ray://head.example:10001", "head"])
def test_a_cluster_elsewhere_needs_a_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(RequestError, match="no token is set"):
        check_address(address, {})
    check_address(address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t"})


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "ray://localhost:10001", "[::1]:6379"])
def test_loopback_is_ours(address: str) -> None:
    check_address(address, {})
