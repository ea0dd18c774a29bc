"""Personal data: what is found, what only looks like it, spans to the byte, and the kernel beside its slow twin."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.signals.buffers import row_bytes
from curator.signals.personal import KINDS
from curator.signals.text.personal import masked, personal_spans
from tests.curator.signals.text.personal_reference import slow_spans

FOUND = [
    ("Write to jane.doe+lists@mail.example.co.uk.", "Write to <EMAIL>."),
    ("<a_b@example.org>, x@y.io;", "<<EMAIL>>, <EMAIL>;"),
    ("gruss@example.de、日本a@b.jp", "<EMAIL>、日本<EMAIL>"),
    ("from 93.184.216.34 port 22", "from <IP> port 22"),
    ("http://93.184.216.34:8080/x", "http://<IP>:8080/x"),
    ("paid with 4111 1111 1111 1111 today", "paid with <CARD> today"),
    ("4111111111111111, 5555-5555-5555-4444, 378282246310005.", "<CARD>, <CARD>, <CARD>."),
    ("call +49 30 901820 or +1 (415) 555-2671", "call <PHONE> or <PHONE>"),
    ("(415) 555-2671; 415-555-2671; 415.555.2671; 1-800-555-2671", "<PHONE>; <PHONE>; <PHONE>; <PHONE>"),
    ("key=AKIA" + "IOSFODNN7EXAMPLE;", "key=<SECRET>;"),
    ("token ghp_" + "a1B2" * 9, "token <SECRET>"),
    ("sk-" + "proj-a1b2c3d4e5f6g7h8i9", "<SECRET>"),
    ("-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nend", "<SECRET>\nend"),
    ("eyJ" + "hbGciOiJI.eyJ" + "zdWIiOiIx.SflKxwRJ_-", "<SECRET>"),
]
NONE = [
    *(
        "version 93.184.216.34",
        "v1.22.33.44",
        "1.2.3.4",
        "14.3.2.2",
        "2.5.4.10",
        "10.0.0.1",
        "192.168.1.20",
        "127.0.0.1",
        "1.2.3.44.5",
        "300.1.2.3",
    ),
    *("2024-01-02 10:20:30", "2024-01-02T10:20:30.123456789Z", "20240102103040", "1700000000", "1,700,000,000,000,000"),
    *(
        "4111 1111 1111 1112",
        "1234567890123456",
        "0000000000000000",
        "ISBN 978-3-16-148410-0",
        "4111111111111111111111",
    ),
    *(
        "d41d8cd98f00b204e9800998ecf8427e",
        "550e8400-e29b-41d4-a716-446655440000",
        "0x4111111111111111",
        "+1",
        "-415-555-2671",
    ),
    *(
        "icon@2x.png",
        "pkg@1.2.3",
        "@decorator",
        "git@github.com:user/repo",
        "a@b",
        "user@host",
        "foo@bar..com",
        "name@example.c",
    ),
    *(
        "115-555-2671",
        "3.14159265358979",
        "12345-6789",
        "task-based-systems-need-20-workers",
        "ghp_short",
        "sk-learn-is-a-library",
    ),
    *(
        "__eyJ not a token",
        "-----BEGIN CERTIFICATE-----",
        "555-2671",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
        "100-200-3000",
    ),
]


@pytest.mark.parametrize(("text", "wanted"), FOUND)
def test_what_is_personal_is_masked_to_the_byte(text: str, wanted: str) -> None:
    assert masked(pa.array([text]), KINDS).to_pylist() == [wanted]


@pytest.mark.parametrize("text", NONE)
def test_what_only_looks_like_it_stays(text: str) -> None:
    for told in (text, f"({text})", f"see {text} there", f"{text}\n{text}"):
        assert masked(pa.array([told]), KINDS).to_pylist() == [told]


PIECES = st.sampled_from(
    [piece for pair in FOUND for piece in pair[0].split(" ")]
    + [*NONE, " ", "\n", "+", "-", ".", "@", "(", ") ", "é", "日", "1", "4111", "0" * 9, " " * 3, "x", "-----B", "sk-"]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(alphabet="0123456789 .-+()@ab_", max_size=60))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=4), st.integers(0, 2))
def test_spans_are_those_of_the_slow_twin(texts: list[str | None], cut: int) -> None:
    column = pa.array(texts, pa.string())[cut:]
    found = personal_spans(row_bytes(column))
    for row, text in enumerate(texts[cut:]):
        mine = [span._replace(row=0) for span in found if span.row == row]
        assert mine == slow_spans(text or "")


def test_only_the_kinds_asked_for_are_masked_and_masking_again_changes_nothing() -> None:
    column = pa.array(["a@b.de 93.184.216.34", None, "", "plain"], pa.large_string())
    once = masked(column, ["email"])
    assert once.to_pylist() == ["<EMAIL> 93.184.216.34", None, "", "plain"] and once.type == column.type
    assert masked(once, ["email"]).equals(once)


def test_many_places_and_huge_lines_are_all_found() -> None:
    text = "a@b.de " * 5_000
    assert masked(pa.array([text, "x" * 1_000_000 + " c@d.org"]), ["email"]).to_pylist() == [
        "<EMAIL> " * 5_000,
        "x" * 1_000_000 + " <EMAIL>",
    ]
