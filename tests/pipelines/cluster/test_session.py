"""A Ray of our own whose head dies: whoever waits for it hears of it, and the next run has another."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from curator.errors import RequestError, TransportError
from tests.pipelines.runner.work import until

session = pytest.importorskip("pipelines.cluster.session")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


@pytest.fixture
def connected() -> Iterator[None]:
    session.connect(None)
    yield
    session.ray.shutdown()


def test_a_dead_head_is_noticed_and_replaced(connected: None) -> None:
    session.require_head()
    (head,) = [pid for pid in session._head if session._name(pid).startswith("gcs_server")]
    os.kill(head, signal.SIGKILL)
    until(lambda: not session._name(head))
    with pytest.raises(TransportError, match="starts another"):
        session.require_head()
    session.connect(None)
    session.require_head()
    assert head not in session._head
    assert session.ray.get(session.ray.remote(lambda: 5).remote(), timeout=120) == 5


def test_a_cluster_that_is_not_there_can_be_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody")))
    session.ray.shutdown()
    with pytest.raises(TransportError, match="does not answer: nobody"):
        session.connect("127.0.0.1:1")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(RequestError, match="no token"):
        session.connect("10.0.0.1:6379")


def test_a_cluster_elsewhere_without_a_token_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "init", lambda **_: pytest.fail("joined"))
    with pytest.raises(RequestError, match="no token is set"):
        session.connect("10.1.2.3:6379")
