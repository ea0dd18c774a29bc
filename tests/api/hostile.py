"""Bad input by the thousand: bodies, recipes, ids, headers and files, each drawn from a seed and sent to a house.

Knows the routes by the application's own list; nothing of what they should answer but that it is never a fault.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import sqlalchemy as sa

from curator.catalog.schema import metadata

NASTY: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, -(2**63) - 1, 1e308, 0.1, "", " ", "\x00", "a\x00b", "é\u202e", "\ud800",
    "𝕏" * 500,
    "../../etc/passwd", "file:///etc/passwd", "http://169.254.169.254/", "' OR 1=1 --", "${jndi:ldap://x}", "{{7*7}}",
    "A" * 70_000, [], {}, [[]], [None] * 2000, {"": ""}, {"__proto__": {}}, {"kind": "python", "code": "import os"},
    "NaN", "Infinity", "1e999", "run_" + "0" * 32, "man_" + "0" * 64, "0" * 32,
    "%00", "%2e%2e%2f", "a:b", "a/b", "\r\nX: y",
)  # fmt: skip
HEADERS: Final = (
    "Authorization", "X-API-Key", "If-Match", "If-None-Match", "Range", "If-Range", "Idempotency-Key", "Last-Event-ID",
    "Accept", "Content-Type", "Host", "Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Content-Length",
    "Transfer-Encoding", "Content-Encoding", "Expect", "Cookie", "X-HTTP-Method-Override", "traceparent",
)  # fmt: skip
HEADER_VALUES: Final = (
    "", " ", "*", '"', '""', 'W/"x"', "Bearer", "Bearer ", "Bearer " + "x" * 9000, "Basic eDp5", "bytes=",
    "bytes=-", "bytes=0-", "bytes=5-2", "bytes=-0", "bytes=99999999999999999999-", "bytes=0-0,2-3", "9" * 40, "-1",
    "application/vnd.apache.arrow.stream", "application/json; charset=utf-16", "text/plain",
    "multipart/form-data; boundary=x",
    "gzip", "chunked", "100-continue", "a" * 300, "é".encode().decode("latin-1"), "\t", "evil.example",
    "cross-site", "00-zz-yy-01", "0x10",
)  # fmt: skip


@dataclass
class Told:
    """What came of it."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass
class Hostile:
    """A caller who means no good. `routes`: (method, path template); `owned`: real ids by parameter name; `bodies`:
    good bodies by route, to be spoilt; `files`: good files by name, to be damaged; `upload`: sends one."""

    house: Any
    routes: list[tuple[str, str]]
    owned: dict[str, str]
    bodies: dict[tuple[str, str], Any]
    files: dict[str, bytes]
    upload: Callable[[httpx.Client, bytes, str], str]
    rng: random.Random
    told: Told = field(default_factory=Told)

    def attack(self, times: int) -> Told:
        """`times` requests, a fifth of each kind."""
        kinds = (self._body, self._recipe, self._id, self._header, self._file)
        before = self._traces()
        for number in range(times):
            asked, answer = kinds[number % len(kinds)]()
            self.told.sent += 1
            self.told.statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                self.told.faults.append(f"{answer.status_code} {asked}: {answer.text[:300]}")
            after = self._traces()
            if answer.status_code >= 400 and after != before:
                changed = {name for name in before if after[name] != before[name]}
                self.told.faults.append(f"{answer.status_code} {asked} left something in {changed}")
            before = after
        return self.told

    def _traces(self) -> dict[str, Any]:
        """Rows of every table, and files, but for what says when a key was used."""
        with self.house.service.catalog.database.read() as connection:
            counts = {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in metadata.sorted_tables
            }
        return {**counts, "files": sum(len(files) for _, _, files in os.walk(self.house.service.store.base))}

    def _send(self, method: str, path: str, **kw: Any) -> tuple[str, httpx.Response]:
        shown = f"{method} {path[:120]} {str(kw)[:300]}"
        request = self.house.one.build_request(method, self.house.url, **kw)
        request.url = request.url.copy_with(raw_path=path.encode("utf-8", "surrogatepass"))
        with self.house.one.stream(method, request.url, **kw) as answer:
            chunks = []
            for chunk in answer.iter_raw():
                chunks.append(chunk)
                if sum(map(len, chunks)) > 2**20 or "event-stream" in answer.headers.get("content-type", ""):
                    break
            return shown, httpx.Response(answer.status_code, content=b"".join(chunks)[: 2**16])

    def _address(self, path: str, *, spoil: bool) -> str:
        values: dict[str, Any] = {**self.owned, "digest": self.owned["shard"]}
        if spoil:
            values[self.rng.choice(list(values))] = self._text()
            values = {name: (self._text() if self.rng.random() < 0.5 else value) for name, value in values.items()}
        return path.format(**values)

    def _text(self) -> str:
        """A string that a URL's path can carry."""
        value = str(self.rng.choice(NASTY))[:3000]
        return (
            "".join(
                char if (char.isalnum() and char.isascii()) or char in ":%.-_" else f"%{ord(char) % 256:02X}"
                for char in value
            )
            or "%20"
        )

    def _body(self) -> tuple[str, httpx.Response]:
        method, path = self.rng.choice([pair for pair in self.routes if pair[0] in ("POST", "PUT")])
        good = self.bodies.get((method, path), {"name": "a"})
        how = self.rng.random()
        kw: dict[str, Any] = {"headers": {"Content-Type": "application/json"}}
        if how < 0.15:
            kw["content"] = self.rng.randbytes(self.rng.randrange(200))
        elif how < 0.25:
            kw["content"] = (b"[" * 20_000) if self.rng.random() < 0.5 else json.dumps(good).encode()[:-1]
        else:
            kw["content"] = _json(self._spoilt(good))
        return self._send(method, self._address(path, spoil=False), **kw)

    def _spoilt(self, value: Any) -> Any:
        """The value with one or two places in it exchanged for something nasty."""
        if isinstance(value, dict) and value and self.rng.random() < 0.85:
            key = self.rng.choice(list(value))
            spoilt = {**value, key: self._spoilt(value[key])}
            if self.rng.random() < 0.15:
                spoilt[str(self.rng.choice(NASTY))[:50]] = self.rng.choice(NASTY)
            if self.rng.random() < 0.1:
                del spoilt[key]
            return spoilt
        if isinstance(value, list) and value and self.rng.random() < 0.85:
            place = self.rng.randrange(len(value))
            return [*value[:place], self._spoilt(value[place]), *value[place + 1 :]]
        return self.rng.choice(NASTY)

    def _recipe(self) -> tuple[str, httpx.Response]:
        recipe = self._spoilt(self._spoilt(self.bodies["recipe"]))
        if self.rng.random() < 0.7:
            return self._send("POST", "/v1/recipes:validate", content=_json({"recipe": recipe}))
        return self._send("POST", "/v1/runs", content=_json({"dataset": self.owned["dataset_id"], "recipe": recipe}))

    def _id(self) -> tuple[str, httpx.Response]:
        method, path = self.rng.choice([pair for pair in self.routes if "{" in pair[1]])
        query = f"?{self._text()}={self._text()}" if self.rng.random() < 0.2 else ""
        body = self.bodies.get((method, path))
        kw = {} if body is None else {"content": _json(body)}
        return self._send(method, self._address(path, spoil=True) + query, **kw)

    def _header(self) -> tuple[str, httpx.Response]:
        safe = [pair for pair in self.routes if pair[0] != "DELETE" and not pair[1].endswith("}:cancel")]
        method, path = self.rng.choice(safe)
        chosen = self.rng.sample(HEADERS, self.rng.randrange(1, 4))
        headers = {name: self.rng.choice(HEADER_VALUES).strip() for name in chosen}
        for name in ("Content-Length", "Transfer-Encoding", "Expect"):  # these end a connection, they are no input
            headers.pop(name, None)
        body = self.bodies.get((method, path))
        raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        kw: dict[str, Any] = {} if body is None else {"content": _json(body)}
        return self._send(method, self._address(path, spoil=False), headers=raw, **kw)

    def _file(self) -> tuple[str, httpx.Response]:
        name = self.rng.choice(list(self.files))
        data = bytearray(self.files[name])
        for _ in range(self.rng.choice((1, 1, 2, 8, 64))):
            place = self.rng.randrange(len(data))
            how = self.rng.random()
            if how < 0.6:
                data[place] = self.rng.randrange(256)
            elif how < 0.8:
                del data[place : place + self.rng.randrange(1, 40)]
            else:
                data[place:place] = self.rng.randbytes(self.rng.randrange(1, 40))
            if len(data) < 8:
                break
        upload = self.upload(self.house.one, bytes(data) or b"x", name)
        answer = self.house.one.post("/v1/datasets", json={"upload_ids": [upload]})
        shown = f"file {name}"
        if answer.status_code == 202:
            told = answer.json()
            if told["state"] == "validating":
                told = self._settled(told["id"])
            if told["state"] == "ready":
                rows = self.house.one.get(f"/v1/datasets/{told['id']}/versions/1/rows?limit=5")
                if rows.status_code >= 500:
                    return f"{shown} rows", rows
        return shown, answer

    def _settled(self, dataset: str) -> dict[str, Any]:
        while (told := self.house.one.get(f"/v1/datasets/{dataset}").json())["state"] == "validating":
            time.sleep(0.01)
        return dict(told)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")
