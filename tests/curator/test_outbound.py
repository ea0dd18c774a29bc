"""Where a server may be sent: nowhere by default, below a prefix, and never to an address inside."""

from __future__ import annotations

from typing import Any

import pytest

from curator.errors import RequestError, TransportError
from curator.outbound import address_of, allowed_url, below

ROOTS = ("https://hooks.example.com/team/",)


def answers(*addresses: str) -> Any:
    return lambda host, port: [(0, 0, 0, "", (address, port)) for address in addresses]


def test_by_default_nobody_is_called() -> None:
    with pytest.raises(RequestError, match="WINNOW_X"):
        allowed_url("https://hooks.example.com/", (), "WINNOW_X")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/other",
        "https://hooks.example.com.evil.example/team/x",
        "https://hooks.example.com@evil.example/team/",
        "https://user:pass@hooks.example.com/team/x",
        "http://hooks.example.com/team/x",
        "https://hooks.example.com/team/../other",
        "https://hooks.example.com/team/%2e%2e/other",
        "https://hooks.example.com/team\\..\\x",
        "https://hooks.example.com:99999/team/x",
        "https://hooks.example.com/team/x#frag",
        "https://hooks.example.com/team/ x",
        "https://hooks.example.com/team/x\r\nHost: y",
        "file:///etc/passwd",
        "gopher://hooks.example.com/team/",
        "",
    ],
)
def test_what_is_not_plainly_below_a_prefix_is_refused(url: str) -> None:
    with pytest.raises(RequestError):
        allowed_url(url, ROOTS, "WINNOW_X")


def test_what_lies_below_is_taken() -> None:
    for url in ("https://hooks.example.com/team/x?y=1", "https://hooks.example.com/team"):
        assert allowed_url(url, ROOTS, "WINNOW_X") == url
    assert not below("https://hooks.example.com/teammate", ROOTS)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
        "fe80::1%eth0", "fd00::1",
        "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "::7f00:1", "::a9fe:a9fe", "fec0::1",
    ],
)  # fmt: skip
def test_a_name_that_leads_inside_is_not_called(address: str) -> None:
    for found in ((address,), ("93.184.216.34", address)):
        with pytest.raises(RequestError, match="inside"):
            address_of("https://hooks.example.com/team/x", ROOTS, answers(*found))


def test_the_address_looked_at_is_the_one_called() -> None:
    assert address_of("https://hooks.example.com/team/x", ROOTS, answers("93.184.216.34")) == ("93.184.216.34", 443)
    assert address_of("https://hooks.example.com/team/x", ROOTS, answers("64:ff9b::808:808"))[0] == "64:ff9b::808:808"
    assert address_of("https://hooks.example.com:8443/team/x", ROOTS, answers("93.184.216.34"))[1] == 8443


def test_an_address_inside_has_to_be_spelt_out_by_whoever_runs_the_server() -> None:
    assert address_of("http://127.0.0.1:9/x", ("http://127.0.0.1:9/",), answers("127.0.0.1")) == ("127.0.0.1", 9)
    with pytest.raises(RequestError):
        address_of("http://10.0.0.1/x", ("http://127.0.0.1:9/",), answers("10.0.0.1"))


def test_a_name_nobody_knows() -> None:
    def unknown(host: str, port: int) -> list[Any]:
        raise OSError("no such name")

    with pytest.raises(TransportError):
        address_of("https://hooks.example.com/team/x", ROOTS, unknown)
