"""Files over a plain line, against a real socket; faults of the line are in test_faults.py."""

import hashlib
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from curator.client.arriving import Arriving
from curator.client.line import Line
from curator.errors import TransportError

DATA = bytes(range(256)) * 9000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, int]]] = []

    def do_GET(self):
        self.seen.append((self.path, self.client_address[1]))
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if self.path.endswith("/moved"):
            self.send_response(307)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"gone")
            return
        start = 0 if self.path.endswith("/whole") else start
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        self.wfile.write(DATA[start:-100] if self.path.endswith("/cut") else DATA[start:])
        self.close_connection = self.path.endswith("/cut")

    def log_message(self, *args):
        """Nobody reads it."""


@pytest.fixture
def url():
    Handler.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/under"
    server.shutdown()
    server.server_close()


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "file").open("w+b") as opened:
        yield Arriving(opened)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def test_files_come_over_one_connection_whole_or_from_where_it_broke_off(url, file):
    line = Line.to(url, 5.0)
    assert line.fetch("/a", {}, file) and file.digest() == digest(DATA)
    file.restart()
    file.write(DATA[:1000])
    assert line.fetch("/a", {"Range": "bytes=1000-"}, file) and file.digest() == digest(DATA)
    assert line.fetch("/whole", {"Range": "bytes=99-"}, file) and file.digest() == digest(DATA), "ranges are ignored"
    assert {path for path, _ in Handler.seen} == {"/under/a", "/under/whole"}
    assert len({port for _, port in Handler.seen}) == 1
    again = pickle.loads(pickle.dumps(line))
    file.restart()
    assert again.fetch("/a", {}, file) and file.digest() == digest(DATA)


def test_other_answers_are_not_its_affair(url, file):
    assert not Line.to(url, 5.0).fetch("/moved", {}, file)
    assert file.tell() == 0


def test_what_breaks_off_is_kept_and_told(url, file):
    with pytest.raises(TransportError, match="IncompleteRead"):
        Line.to(url, 5.0).fetch("/cut", {}, file)
    assert file.digest() == digest(DATA[:-100])
    with pytest.raises(TransportError, match="ConnectionRefused"):
        Line.to("http://127.0.0.1:1", 5.0).fetch("/a", {}, file)


def test_tls_and_proxies_are_not_its_affair(monkeypatch):
    assert Line.to("https://example.org", 5.0) is None
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    assert Line.to("http://example.org", 5.0) is None
    monkeypatch.setenv("no_proxy", "example.org")
    assert Line.to("http://example.org", 5.0) is not None
