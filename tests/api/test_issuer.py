"""Tokens of an OpenID issuer of the test's own, over real sockets: whom they let in, and every way they do not hold."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from api.app import create_app
from api.issuer import issuer_of
from curator.catalog import Scope
from curator.errors import RequestError
from curator.settings import Settings


class Idp(ThreadingHTTPServer):
    """Publishes its keys; `keys` may be turned over."""

    daemon_threads = True

    def __init__(self) -> None:
        self.keys = [RSAKey.generate_key(2048, {"kid": "first"})]
        self.asked = 0
        self.down = False
        super().__init__(("127.0.0.1", 0), IdpHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def token(self, *, key: Any = None, alg: str = "RS256", **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "winnow",
            "sub": "ada",
            "tenant": "one",
            "scope": "openid winnow:read winnow:write",
            "exp": now + 300,
        }
        claims = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        signer = key or self.keys[0]
        return jwt.encode({"alg": alg, "kid": signer.kid}, claims, signer, algorithms=[alg])


class IdpHandler(BaseHTTPRequestHandler):
    server: Idp

    def do_GET(self) -> None:
        self.server.asked += 1
        told: dict[str, Any] = {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/keys"}
        if self.path == "/keys":
            told = KeySet(self.server.keys).as_dict(private=False)
        body = json.dumps(told).encode()
        self.send_response(503 if self.server.down else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def idp() -> Iterator[Idp]:
    server = Idp()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(idp: Idp, tmp_path_factory: pytest.TempPathFactory, serve: Any) -> Iterator[tuple[httpx.Client, Any]]:
    settings = Settings(root=str(tmp_path_factory.mktemp("oidc")), oidc_issuer=idp.url)
    app = create_app(settings, require_key=True)
    app.state.service.catalog.keys.tenant("one")
    app.state.service.catalog.keys.tenant("two")
    for url in serve(app):
        with httpx.Client(base_url=url) as client:
            yield client, app.state.service


@pytest.fixture(autouse=True)
def unhurried(served: tuple[httpx.Client, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served[1].wrong_keys, "_burst", 1e9)


def status(served: tuple[httpx.Client, Any], token: str, path: str = "/v1/runs") -> int:
    return served[0].get(path, headers={"Authorization": f"Bearer {token}"}).status_code


UPLOAD = {"name": "a.csv", "size": 1, "sha256": "0" * 64}


def test_a_token_lets_its_tenant_in_with_its_scopes(served: tuple[httpx.Client, Any], idp: Idp) -> None:
    one, two = ({"Authorization": f"Bearer {idp.token(tenant=name)}"} for name in ("one", "two"))
    made = served[0].post("/v1/uploads", json=UPLOAD, headers=one)
    assert made.status_code == 201
    assert served[0].get(f"/v1/uploads/{made.json()['id']}", headers=two).status_code == 404
    assert served[0].get("/v1/audit", headers=one).status_code == 403, "not an administrator"
    admin = {"Authorization": f"Bearer {idp.token(scope=['winnow:admin', 7])}"}
    assert served[0].get("/v1/audit", headers=admin).json()["items"][0]["actor"] == "oidc:ada"
    assert status(served, idp.token(scope="read admin")) == 403, "scopes of others are not ours"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://127.0.0.1:1"},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 99999999999},
        {"sub": None},
        {"tenant": None},
        {"tenant": "nobody"},
        {"tenant": ["one"]},
    ],
)
def test_a_token_that_does_not_hold(served: tuple[httpx.Client, Any], idp: Idp, changes: dict[str, Any]) -> None:
    assert status(served, idp.token(**changes)) == 401


def test_signatures_that_prove_nothing(served: tuple[httpx.Client, Any], idp: Idp) -> None:
    assert status(served, idp.token()) == 200
    public = json.dumps(idp.keys[0].as_dict(private=False)).encode()
    shared = OctKey.import_key(public, {"kid": "first"})
    assert status(served, idp.token(key=shared, alg="HS256")) == 401, "a public key is no shared secret"
    assert status(served, idp.token(key=RSAKey.generate_key(2048, {"kid": "first"}))) == 401, "another's key"
    head, body, signature = idp.token().split(".")
    assert status(served, f"{head}.{body}.") == 401
    assert status(served, f"eyJhbGciOiJub25lIn0.{body}.") == 401
    assert status(served, f"{head}.{body[:-4]}AAAA.{signature}") == 401
    for junk in ("..", "a.b.c", "e30.e30.e30"):
        assert status(served, junk) == 401


def test_keys_are_turned_over_without_a_restart(
    served: tuple[httpx.Client, Any], idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(served, idp.token()) == 200
    asked = idp.asked
    assert status(served, idp.token()) == 200
    assert idp.asked == asked, "keys at hand are not asked for again"
    monkeypatch.setattr("api.issuer._ASKED_AGAIN_S", 0.2)
    time.sleep(0.3)
    idp.keys.append(ECKey.generate_key("P-256", {"kid": "second"}))
    assert status(served, idp.token(key=idp.keys[-1], alg="ES256")) == 200


def test_keys_at_hand_go_on_while_the_issuer_is_down_and_it_is_asked_once(
    served: tuple[httpx.Client, Any], idp: Idp, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status(served, idp.token()) == 200
    monkeypatch.setattr("api.issuer._RENEWED_S", 0.0)
    monkeypatch.setattr(idp, "down", True)
    asked = idp.asked
    assert [status(served, idp.token()) for _ in range(3)] == [200, 200, 200]
    assert idp.asked == asked + 1
    monkeypatch.setattr("api.issuer._KEPT_S", 0.0)
    assert status(served, idp.token()) == 503, "but not for ever"
    assert idp.asked == asked + 1


def test_the_issuer_is_asked_about_no_token_that_could_not_hold(tmp_path: Path, idp: Idp, serve: Any) -> None:
    asked = idp.asked
    settings = Settings(root=str(tmp_path), oidc_issuer=idp.url)
    deep = base64.urlsafe_b64encode(b"[" * 9000).decode()
    head = idp.token().partition(".")[0]
    expired, elsewhere = idp.token(exp=1), idp.token(iss="http://127.0.0.1:1")
    for url in serve(create_app(settings, require_key=True)):
        for token in ("a.b.c", "e30.e30.e30", f"{head}.Nw.AAAA", f"{head}.{deep}.AAAA", expired, elsewhere):
            answer = httpx.get(f"{url}/v1/runs", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401, token[:100]
    assert idp.asked == asked


def test_many_tokens_at_a_silent_issuer_stall_nobody_else(
    tmp_path: Path, idp: Idp, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.issuer._TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        issuer = f"http://127.0.0.1:{silent.getsockname()[1]}"
        app = create_app(Settings(root=str(tmp_path), oidc_issuer=issuer), require_key=True)
        keys = app.state.service.catalog.keys
        with_key = {"X-API-Key": keys.create(keys.tenant("one").id, "reader", [Scope.READ])[1]}
        shown = {"Authorization": f"Bearer {idp.token(iss=issuer)}"}  # well made, and signed by nobody we know
        for url in serve(app):
            with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(50) as pool:
                tokens = [pool.submit(client.get, path, headers=shown) for path in PATHS * 25]
                while not any(token.done() for token in tokens):
                    time.sleep(0.01)
                began = time.monotonic()
                for path in PATHS:
                    assert client.get(path, headers=with_key).status_code == 200
                assert time.monotonic() - began < 2.0, "none of them waits as long as one that asks the issuer"
                answers = [token.result().status_code for token in tokens]
        assert set(answers) == {503, 429}, "whoever shows many is slowed down like one with wrong keys"
        silent.settimeout(0.0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()  # asked once, whoever came


PATHS = ["/v1/runs", "/v1/uploads"]
"""One that is polled, one that is not."""


def test_an_issuer_elsewhere_speaks_https() -> None:
    with pytest.raises(RequestError, match="https"):
        issuer_of(Settings(oidc_issuer="http://idp.example.com"))
    assert issuer_of(Settings()) is None
