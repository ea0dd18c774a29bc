"""A web server on loopback that answers as a test wants, badly too."""

from __future__ import annotations

import hashlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROWS = b"".join(b'{"text": "number %d of the rows that lie elsewhere"}\n' % number for number in range(50))


class Elsewhere(ThreadingHTTPServer):
    """Serves `files` by path: bytes, or a function of the handler. `asked` are the paths with their Host headers."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/sets"


class Handler(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Host"]))
        found = self.server.files.get(self.path)
        if callable(found):
            found(self)
            return
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Length", str(len(found or b"")))
        self.send_header("ETag", '"' + hashlib.md5(found or b"").hexdigest() + '"')
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def to(place: str) -> Any:
    """Redirects there."""

    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def dripping(handler: Handler) -> None:
    """A line now and then, for much longer than anybody waits."""
    handler.send_response(200)
    handler.end_headers()
    _drip(handler, b'{"text": "slow"}\n')


def dripping_headers(handler: Handler) -> None:
    """A byte of a header now and then: never silent, never there."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(handler, b"x")


def _drip(handler: Handler, piece: bytes) -> None:
    for _ in range(600):
        try:
            handler.wfile.write(piece)
            time.sleep(0.05)
        except OSError:
            return


def short(handler: Handler) -> None:
    """Promises more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(10 * len(ROWS)))
    handler.end_headers()
    handler.wfile.write(ROWS)
    handler.close_connection = True


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        try:
            handler.wfile.write(b"x" * 2**20)
        except OSError:
            return
