"""Whether Ray can be reached, asked without Ray and not too often."""

from __future__ import annotations

import socket

import pytest

from api.neighbours import RayDoor


@pytest.mark.parametrize("address", [None, "auto", "local"])
def test_a_ray_of_its_own_is_never_away(address: str | None) -> None:
    assert RayDoor(address).state() == "own"


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_is_there_or_away(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as cluster:
        door = RayDoor(form.format(cluster.getsockname()[1]))
        assert door.state() == "ok"
    assert door.state() == "ok"  # it was asked a moment ago
    monkeypatch.setattr("api.neighbours._ASKED_EVERY_S", 0.0)
    assert door.state() == "away"
