"""Where this server may be sent by what a caller wrote: nowhere, unless a prefix was allowed, and never inside.

Knows URLs and addresses; nothing of what is sent. A name is resolved once, and the address that was looked at is the
one that is connected to: a name that changes its mind in between leads nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from curator.errors import RequestError, TransportError

__all__ = ["address_of", "allowed_url", "below", "followed", "sent"]

Resolve = Callable[[str, int], list[Any]]
MOST_REDIRECTS: Final = 5
_DEFAULT_PORT: Final = {"https": 443, "http": 80}
_ENDS_IN_IPV4: Final = [ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::/96")]
"""What a translator (RFC 6052) or an old tunnel (RFC 4291, 2.5.5.1) passes on to the IPv4 address at the end."""
_INSIDE: Final = [ipaddress.IPv6Network(text) for text in ("fec0::/10", "64:ff9b:1::/48")]
"""Site-local (RFC 3879) and local translation (RFC 8215), which `is_global` does not know everywhere."""


def below(url: str, roots: Sequence[str]) -> bool:
    """Whether a URL lies below one of the allowed prefixes. A prefix ends at a slash, so that `https://a.example` does
    not open `https://a.example.evil`; a path that climbs is below nothing."""
    prefixes = [root.rstrip("/") + "/" for root in roots if "://" in root]
    climbs = {".", ".."} & set(re.split(r"[/\\]", unquote(unquote(url)))) or "%2e" in url.lower() or "\\" in url
    return not climbs and f"{url.rstrip('/')}/".startswith(tuple(prefixes))


def allowed_url(url: str, roots: Sequence[str], setting: str) -> str:
    """The URL itself. Raises RequestError unless it is plain http(s) below one of `roots`; `setting` names them."""
    if not roots:
        raise RequestError(f"this server calls nobody; set {setting} on the server to the prefixes it may call")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.scheme in _DEFAULT_PORT and parts.hostname and not parts.username and not parts.fragment
    if not plain or port == 0 or not url.isascii() or not url.isprintable() or " " in url or not below(url, roots):
        raise RequestError(f"the URL is not below a prefix this server may call ({setting})")
    return url


def address_of(url: str, roots: Sequence[str], resolve: Resolve = socket.getaddrinfo) -> tuple[str, int]:
    """(IP address, port) to connect to. Raises RequestError if the host's name leads to an address that is not public:
    loopback, private, link-local, a cloud's metadata. Only an address (or `localhost`) that a prefix spells out itself
    may be one. Raises TransportError for a name nobody knows."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or _DEFAULT_PORT[parts.scheme]
    try:
        found = [entry[4][0] for entry in resolve(host, port)]
    except OSError as error:
        raise TransportError(f"the name {host} cannot be resolved: {error}") from error
    if not found:
        raise TransportError(f"the name {host} has no address")
    spelt_out = _is_literal(host) and any(urlsplit(root).hostname == host for root in roots)
    if not spelt_out and not all(_is_public(address) for address in found):
        raise RequestError(f"the name {host} leads to an address inside; it is not called")
    return str(found[0]), port


@contextmanager
def sent(
    client: httpx.Client, method: str, url: str, roots: Sequence[str], setting: str, **request: Any
) -> Iterator[httpx.Response]:
    """One request to an allowed URL, its answer still to be read; redirects are answers like others. The address that
    was looked at is connected to, under the name that was asked for. Raises as `allowed_url` and `address_of` do, and
    httpx.HTTPError."""
    parts = urlsplit(allowed_url(url, roots, setting))  # what was allowed once may not be now
    address, port = address_of(url, roots)
    shown = f"[{address}]" if ":" in address else address
    target = httpx.URL(url).copy_with(host=shown.strip("[]"), port=port)
    headers = {"Host": parts.netloc, **request.pop("headers", {})}
    extensions = {"sni_hostname": str(parts.hostname), **request.pop("extensions", {})}
    with client.stream(
        method,
        target,
        headers=headers,
        extensions=extensions,
        follow_redirects=False,
        **request,
    ) as answer:
        yield answer


@contextmanager
def followed(
    client: httpx.Client, url: str, roots: Sequence[str], setting: str, **request: Any
) -> Iterator[httpx.Response]:
    """As `sent` with GET, where redirects lead: each is judged as if it had been asked for. Raises RequestError too for
    one that leads out of what is allowed, or round in circles."""
    place = url
    for _ in range(MOST_REDIRECTS + 1):
        with sent(client, "GET", place, roots, setting, **request) as answer:
            if not answer.has_redirect_location:
                yield answer
                return
            place = _led_to(place, answer.headers["location"])
    raise RequestError(f"{url} was redirected more than {MOST_REDIRECTS} times; name the place it leads to")


def _led_to(place: str, location: str) -> str:
    try:
        return urljoin(place, location)
    except ValueError as error:
        raise RequestError(f"{place} redirects to what is no URL") from error


def _is_literal(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed.is_global and not parsed.is_multicast
    within = parsed.ipv4_mapped or parsed.sixtofour
    if any(parsed in network for network in _ENDS_IN_IPV4):
        within = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    outside = parsed.is_global and not parsed.is_multicast and not any(parsed in network for network in _INSIDE)
    return outside and (within is None or (within.is_global and not within.is_multicast))
