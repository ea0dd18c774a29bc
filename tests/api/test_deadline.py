"""A host that never falls silent is hung up on, in its headers as in its body."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from api.deadline import Deadline


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a host that sends a byte of a header now and then."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    talk, _ = server.accept()
                    threading.Thread(target=drip, args=(talk,), daemon=True).start()

        def drip(talk: socket.socket) -> None:
            with talk, suppress(OSError):
                talk.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                for _ in range(400):
                    talk.sendall(b"x")
                    time.sleep(0.05)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def asked(url: str, deadline: Deadline) -> float:
    """Seconds until it failed."""
    started = time.monotonic()
    with httpx.Client(timeout=30, trust_env=False) as client, pytest.raises(httpx.HTTPError):
        client.get(url, extensions={"trace": deadline.trace})
    return time.monotonic() - started


def test_it_ends_by_itself_and_for_whatever_is_asked_later(dripping: str) -> None:
    with Deadline(0.3) as deadline:
        assert not deadline.over
        assert asked(dripping, deadline) < 10
        assert deadline.over
        assert asked(dripping, deadline) < 10


def test_another_thread_ends_it(dripping: str) -> None:
    with Deadline(3600) as deadline:
        threading.Timer(0.2, deadline.end).start()
        assert asked(dripping, deadline) < 10
        assert deadline.over


def test_what_is_done_in_time_is_let_alone() -> None:
    before = threading.active_count()
    with Deadline(3600) as deadline:
        pass
    deadline._timer.join(10)
    assert not deadline.over and threading.active_count() <= before
