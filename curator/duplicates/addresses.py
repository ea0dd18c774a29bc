"""Addresses of web pages, written the one way that all spellings of an address share.

RFC 3986, section 6.2: scheme and host in lower case, no default port, no dot segments, `/` for an empty path, letters
that need no percent sign without one, the digits after one in capitals. Beyond it, what does not tell pages apart in a
data set: the fragment is dropped, and so are parameters that only say where a visitor came from (`TRACKING`); the
others are sorted by name, equal names in their order. http and https, `www.` and none, a slash at the end and none
stay different, for servers may answer them differently. Knows strings; nothing of rows or duplicates.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import pyarrow as pa

__all__ = ["TRACKING", "canonical_url", "canonical_urls"]

TRACKING: Final = frozenset(
    {"_ga", "_gl", "_hsenc", "_hsmi", "dclid", "fbclid", "gbraid", "gclid", "gclsrc", "igshid", "li_fat_id", "mc_cid"}
    | {"mc_eid", "mkt_tok", "msclkid", "ttclid", "twclid", "vero_id", "wbraid", "yclid"}
)
"""Names of parameters, besides those that begin with `utm_`, in any case."""

_PORTS: Final = {"http": "80", "https": "443", "ftp": "21", "ws": "80", "wss": "443"}
_SPLIT: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.S)
_AUTHORITY: Final = re.compile(r"((?:.*@)?)(\[[^\]]*\]|[^:@]*)(?::([0-9]*))?", re.S)
_PLAIN: Final = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)+/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*+/?+)*+")
"""What most addresses look like, and nothing is to be changed of. It never goes back: a long one takes no longer."""
_ESCAPED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_BARE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_WRITTEN: Final = re.compile(r"[^!-~]+|[\"<>\\^`{|}]+")
"""What an address cannot hold but percent-encoded."""
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def canonical_urls(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """string[n]: `canonical_url` of each; null for null."""
    return pa.array([None if url is None else canonical_url(url) for url in column.to_pylist()], pa.string())


def canonical_url(url: str) -> str | None:
    """The address as every spelling of it is written; None for what is no address of the form scheme://host."""
    url = url.strip()
    if _PLAIN.fullmatch(url):
        return url
    parts = _SPLIT.fullmatch(url)
    authority = parts and _AUTHORITY.fullmatch(parts[2])
    if not parts or not authority or not authority[2]:
        return None
    scheme, (user, host, port) = parts[1].lower(), authority.groups()
    host = _escaped(host).lower() if host.startswith("[") else _upper_escapes(_escaped(host).lower())
    port = f":{port}" if port and port != _PORTS.get(scheme) else ""
    return f"{scheme}://{_escaped(user)}{host}{port}{_path(parts[3])}{_query(parts[4] or '')}"


def _escaped(text: str) -> str:
    """Percent signs where they are needed, and nowhere else."""
    text = _BARE.sub("%25", text)  # or decoding what follows could make an escape of it
    text = _NOT_WRITTEN.sub(lambda found: quote(found[0], safe="", errors="surrogatepass"), text)
    return _ESCAPED.sub(_needed, text)


def _needed(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if char in _UNRESERVED else found[0].upper()


def _upper_escapes(host: str) -> str:
    return _ESCAPED.sub(lambda found: found[0].upper(), host)


def _path(path: str) -> str:
    """Without dot segments (section 5.2.4)."""
    kept: list[str] = []
    segments = _escaped(path).split("/")[1:]
    for place, segment in enumerate(segments):
        if segment == ".." and kept:
            kept.pop()
        if segment not in {".", ".."}:
            kept.append(segment)
        elif place == len(segments) - 1:
            kept.append("")
    return "/" + "/".join(kept)


def _query(query: str) -> str:
    """Sorted by name, without what only tracks; empty where nothing is left."""
    pairs = [_escaped(pair) for pair in query.split("&") if pair]
    kept = [pair for pair in pairs if not _tracks(pair.partition("=")[0].lower())]
    return "?" + "&".join(sorted(kept, key=lambda pair: pair.partition("=")[0])) if kept else ""


def _tracks(name: str) -> bool:
    return name in TRACKING or name.startswith("utm_")
