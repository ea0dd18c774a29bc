"""All spellings of an address become one, and different addresses stay different."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.duplicates.addresses import TRACKING, canonical_url, canonical_urls


@pytest.mark.timeout(20)
def test_long_and_hostile_addresses_take_no_longer_than_their_length() -> None:
    for segment in ("a" * 5000, "a-" * 5000, "a/" * 5000):
        assert canonical_url(f"http://a.bc/{segment}?x=1") == f"http://a.bc/{segment}?x=1"
    assert canonical_url("http://" + "@" * 50_000 + ":x") is None
    assert canonical_url("http://" + "@" * 50_000 + "a.bc") is not None


@pytest.mark.parametrize(
    ("spelled", "wanted"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:80/a", "https://example.com:80/a"),
        ("http://example.com:/a", "http://example.com/a"),
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/../../a/..", "http://example.com/"),
        ("http://example.com/a//b/", "http://example.com/a//b/"),
        ("http://example.com/%7Euser/%2e%2E/caf%c3%a9", "http://example.com/caf%C3%A9"),
        ("http://example.com/café b", "http://example.com/caf%C3%A9%20b"),
        ("http://example.com/a%2Fb", "http://example.com/a%2Fb"),
        ("http://example.com/100%", "http://example.com/100%25"),
        ("http://example.com/%%61A", "http://example.com/%25aA"),
        ("http://example.com/a#part", "http://example.com/a"),
        ("http://example.com?b=2&a=1#x?y", "http://example.com/?a=1&b=2"),
        ("http://example.com/?", "http://example.com/"),
        ("http://example.com/?&a&&", "http://example.com/?a"),
        ("http://example.com/?b=1&a=2&b=0", "http://example.com/?a=2&b=1&b=0"),
        ("http://example.com/?utm_source=x&UTM_Medium=y&id=7&fbclid=z", "http://example.com/?id=7"),
        ("http://example.com/?gclid=1", "http://example.com/"),
        ("http://example.com/?q=utm_source", "http://example.com/?q=utm_source"),
        ("http://Me:Secret@Example.com/", "http://Me:Secret@example.com/"),
        ("http://[2001:DB8::1]:80/a", "http://[2001:db8::1]/a"),
        ("  https://example.com/a\n", "https://example.com/a"),
        ("ftp://example.com:21/f", "ftp://example.com/f"),
        ("http://ex%41mple.com/%zz", "http://example.com/%25zz"),
    ],
)
def test_spellings(spelled: str, wanted: str) -> None:
    assert canonical_url(spelled) == wanted


@pytest.mark.parametrize(
    "text", ["", " ", "example.com/a", "/a/b", "mailto:me@example.com", "http://", "http:///a", "::"]
)
def test_what_is_no_address_says_nothing(text: str) -> None:
    assert canonical_url(text) is None


def test_what_servers_may_answer_differently_stays_different() -> None:
    urls = ["http://a.org/x", "https://a.org/x", "http://www.a.org/x", "http://a.org/x/", "http://a.org/X"]
    urls += ["http://a.org/x?p=1", "http://a.org/x?P=1", "http://a.org/x?p=2", "http://a.org:8080/x"]
    assert len({canonical_url(url) for url in urls}) == len(urls)


PIECES = st.sampled_from(
    [*"abZ09-._~/?#&=:@%[]+é ", "..", "/./", "/../", "%2e", "%41", "%C3%a9", "utm_x=1", "&b=2", "gclid"]
)
ADDRESSES = st.builds(
    lambda scheme, host, rest: f"{scheme}://{host}{rest}",
    st.sampled_from(["http", "HTTPS", "ftp", "x-y"]),
    st.sampled_from(["a.org", "A.org:80", "u@b.de:443", "[::A]", "é.fr", "c:"]),
    st.sampled_from(["", "/", "?", "#"]).flatmap(
        lambda lead: st.lists(PIECES, max_size=9).map(lambda p: lead + "".join(p))
    ),
)


@settings(max_examples=500, deadline=None)
@given(ADDRESSES | st.text(max_size=12).map(lambda text: f"http://{text}"))
def test_the_one_way_is_its_own(url: str) -> None:
    once = canonical_url(url)
    if once is None:
        return
    assert canonical_url(once) == once
    assert once.isascii() and "#" not in once
    scheme, rest = once.split("://", 1)
    assert scheme == scheme.lower() and "/" in rest
    path, _, query = rest[rest.index("/") :].partition("?")
    assert not {".", ".."} & set(path.split("/"))
    names = [pair.split("=")[0] for pair in query.split("&") if query]
    assert names == sorted(names) and not {name.lower() for name in names} & TRACKING


SEGMENTS = st.lists(st.sampled_from(["a", "b", ".", "..", "", "c.d"]), max_size=6)


@settings(max_examples=300, deadline=None)
@given(SEGMENTS)
def test_dot_segments_as_the_standard_library_joins_them(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    if "//" not in path:  # urljoin drops empty segments, which RFC 3986 keeps
        joined = urljoin("http://a.org/", path)
        assert canonical_url(f"http://a.org{path}") == re.sub("org$", "org/", joined)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a=1", "b=2", "c", "d=x%20y"]), unique=True).flatmap(st.permutations),
    st.lists(st.sampled_from(["utm_a=1", "fbclid=9", "_ga=3"]), max_size=2),
    st.sampled_from(["http://a.org/p", "HTTP://A.ORG:80/q/../p", "http://a.org/%70#there"]),
)
def test_neither_order_nor_tracks_nor_spelling_matter(pairs: list[str], tracks: list[str], base: str) -> None:
    base, _, fragment = base.partition("#")
    query = "&".join([*tracks, *pairs])
    wanted = "http://a.org/p" + ("?" + "&".join(sorted(pairs)) if pairs else "")
    assert canonical_url(f"{base}?{query}#{fragment}") == wanted


def test_a_column() -> None:
    told = canonical_urls(pa.chunked_array([["http://A.org", None], ["nothing"]], pa.large_string()))
    assert told.to_pylist() == ["http://a.org/", None, None] and told.type == pa.string()
