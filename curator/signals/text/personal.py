"""What tells who somebody is or lets somebody in: addresses, numbers and keys in a text, as exact spans.

A kernel looks for what they cannot do without (an @, ten digits in a row of digits and marks, the first letters of a
kind of key); only there is a pattern tried, so that text without any costs a walk over its bytes. What is found is
meant to be right rather than complete: numbers of versions, dates, sections and hashes are none. Not looked for:
names, postal addresses, IPv6, numbers of passports and accounts. Knows nothing of what becomes of a span.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from curator.signals.buffers import RowBytes, row_bytes
from curator.signals.personal import KINDS
from curator.signals.text.bytescan import kernel
from curator.signals.text.family import Family

__all__ = ["PERSONAL", "Span", "masked", "personal_spans"]

SIGNALS: Final = {
    "num_secrets": "keys and tokens in the forms of their issuers, and private keys",
    "num_emails": "e-mail addresses",
    "num_ips": "public IPv4 addresses",
    "num_cards": "numbers of payment cards: an issuer's length and first digits, and a right check digit (Luhn)",
    "num_phones": "telephone numbers, international with + or North American",
}

_OCTET = rb"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_FILES = rb"(?:png|jpe?g|gif|svg|webp|css|js|html?|py|md)"
_PATTERNS: Final = {
    "secret": re.compile(
        rb"(?<![A-Za-z0-9_-])(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}"
        rb"|glpat-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10,250}|AIza[A-Za-z0-9_-]{35}|hf_[A-Za-z0-9]{34}"
        rb"|sk_live_[A-Za-z0-9]{24,99}|sk-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,200}"
        rb"|eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000})(?![A-Za-z0-9_])"
        rb"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{0,8000}?-----END [A-Z ]{0,20}PRIVATE KEY-----"
    ),
    "email": re.compile(
        rb"(?<![A-Za-z0-9._%+@-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_])?@"
        rb"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}(?!" + _FILES + rb"\b)[A-Za-z]{2,24}"
        rb"(?![A-Za-z0-9@-]|\.[A-Za-z0-9]|:[\w~/])"
    ),
    "ip": re.compile(rb"(?<![\w.+-])" + _OCTET + rb"(?:\." + _OCTET + rb"){3}(?![\w-]|\.\d)"),
    "card": re.compile(
        rb"(?<![\w.,+-])(?<!\d )(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}"
        rb"|3[47]\d\d([ -])\d{6}\2\d{5}|\d{13,19})(?![\w-]|[ .,]\d)"
    ),
    "phone": re.compile(
        rb"(?<![\w.+-])(?<!\d )(?:\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
        rb"|(?:1[-. ])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4})(?![\w-]|\.\d)"
    ),
}
_OF_A_VERSION: Final = re.compile(rb"(?i)(?:version|ver\.?|release|build|section|chapter)s?\s*[:=]?\s*$")
_NOT_PUBLIC: Final = (0, 10, 127, *range(224, 256))
_FIRST_FOUR: Final = np.sort(
    np.frombuffer(b"AKIAASIAghp_gho_ghu_ghs_ghr_githglpaxoxaxoxbxoxpxoxrxoxsAIzask_l", np.dtype("<u4")).astype(
        np.uint32
    )
)
_FIRST_THREE: Final = np.sort(np.frombuffer(b"hf_\0sk-\0eyJ\0", np.dtype("<u4")).astype(np.uint32))

_OTHER, _DIGIT, _LETTER, _MARK = 0, 1, 2, 3
_CLASSES = np.zeros(256, np.uint8)
_CLASSES[[byte for byte in range(128) if chr(byte).isalnum()]] = _LETTER
_CLASSES[0x30:0x3A] = _DIGIT
_CLASSES[[ord(mark) for mark in " .-()"]] = _MARK
_TRIGGERS = np.zeros(256, np.bool_)
"""Bytes at which to look closer: of numbers, of addresses, and the first of a key's letters."""
_TRIGGERS[[*range(0x30, 0x3A), *b"@+(-Agxshe"]] = True
_SECONDS = np.zeros(256, np.bool_)
_SECONDS[[*b"KSIhilokfy"]] = True


class Span(NamedTuple):
    """Bytes begin..end of a row; kind: place in KINDS."""

    row: int
    begin: int
    end: int
    kind: int


def personal_spans(rows: RowBytes) -> list[Span]:
    """Of all rows in order; no two overlap: of those that would, the first stays, and of equal beginnings the first
    kind. Offsets count from the row's first byte."""
    places = np.empty((1024, 3), np.int64)
    count = _places(rows.data, rows.offsets, rows.valid, _FIRST_FOUR, _FIRST_THREE, places)
    if count > len(places):
        places = np.empty((count, 3), np.int64)
        _places(rows.data, rows.offsets, rows.valid, _FIRST_FOUR, _FIRST_THREE, places)
    places = places[:count]
    cuts = np.append(np.flatnonzero(np.diff(places[:, 0], prepend=-1)), count)
    found: list[Span] = []
    for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        row = int(places[low, 0])
        text = bytes(rows.data[rows.offsets[row] : rows.offsets[row + 1]])
        spans = {_span(text, row, begin, kind) for _, begin, kind in places[low:high].tolist()}
        found += apart([span for span in spans if span is not None])
    return found


def apart(spans: Sequence[Span]) -> list[Span]:
    """Those of one row that stay where some overlap, in order."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.begin, span.kind)):
        if not kept or span.begin >= kept[-1].end:
            kept.append(span)
    return kept


def masked(texts: pa.Array, kinds: Collection[str]) -> pa.Array:
    """The texts with <EMAIL>, <PHONE> and so on in place of every span of these kinds; all else as it was."""
    rows = row_bytes(texts)
    wanted = [KINDS.index(kind) for kind in kinds]
    values = texts.to_pylist()
    done: dict[int, list[Span]] = {}
    for span in personal_spans(rows):
        if span.kind in wanted:
            done.setdefault(span.row, []).append(span)
    for row, spans in done.items():
        raw, parts, at = values[row].encode(), [], 0
        for span in spans:
            parts += [raw[at : span.begin], f"<{KINDS[span.kind].upper()}>".encode()]
            at = span.end
        values[row] = b"".join([*parts, raw[at:]]).decode()
    return pa.array(values, texts.type)


def _span(text: bytes, row: int, begin: int, kind: int) -> Span | None:
    match = _PATTERNS[KINDS[kind]].match(text, begin)
    return None if match is None or not holds(KINDS[kind], match) else Span(row, begin, match.end(), kind)


def holds(kind: str, match: re.Match[bytes]) -> bool:
    """What a pattern cannot say: check digits, public addresses, numbers of digits."""
    if kind == "ip":
        return _public(match)
    digits = [byte - 48 for byte in match.group() if 48 <= byte < 58]
    if kind == "card":
        return _is_card(digits)
    return kind != "phone" or not match.group().startswith(b"+") or 8 <= len(digits) <= 15


def _public(match: re.Match[bytes]) -> bool:
    """An address of the open Internet; small numbers are a section's or a version's."""
    a, b, c, d = (int(part) for part in match.group().split(b"."))
    private = a in _NOT_PUBLIC or (a, b) in ((192, 168), (169, 254)) or (a == 172 and 16 <= b < 32)
    told = _OF_A_VERSION.search(match.string[max(match.start() - 16, 0) : match.start()])
    small = max(a, b, c, d) < 100 and sum(part < 10 for part in (a, b, c, d)) > 1
    return not private and not small and told is None


def _is_card(digits: list[int]) -> bool:
    """Visa, Mastercard, American Express, Discover by length and first digits, and the check digit (ISO/IEC 7812)."""
    two, four, size = 10 * digits[0] + digits[1], int("".join(map(str, digits[:4]))), len(digits)
    issued = (
        (digits[0] == 4 and size in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and size == 16)
        or (two in (34, 37) and size == 15)
        or ((four == 6011 or two in (64, 65)) and size == 16)
    )
    doubled = [2 * digit - 9 * (digit > 4) if place % 2 else digit for place, digit in enumerate(reversed(digits))]
    return issued and len(set(digits)) > 1 and sum(doubled) % 10 == 0


@kernel
def _places(data, offsets, valid, first_four, first_three, places):
    """Fills (row, byte of the row, kind) where a pattern is worth trying; returns how many there are."""
    count = 0
    for row in range(offsets.size - 1):
        if not valid[row]:
            continue
        start, stop = offsets[row], offsets[row + 1]
        text = data[start:stop]
        run_end = 0  # a row of digits and marks is looked at once
        for at in range(text.size):
            byte = text[at]
            if not _TRIGGERS[byte]:
                continue
            kind = -1
            begin = at
            if byte == 64:
                if (
                    at > 0
                    and at + 1 < text.size
                    and _of_a_name(text[at - 1])
                    and _CLASSES[text[at + 1]] in (_DIGIT, _LETTER)
                ):
                    kind = 1
                    while begin > 0 and at - begin < 65 and _of_a_name(text[begin - 1]):
                        begin -= 1
            elif (_CLASSES[byte] == _DIGIT or byte == 43 or byte == 40) and at >= run_end:
                run_end, digits, dots, plus = _row_of_digits(text, at)
                if dots >= 3:
                    count = _noted(places, count, row, at, run_end, text, 2)
                if digits >= 10 or (plus and digits >= 8):
                    count = _noted(places, count, row, at, run_end, text, 3)
                    count = _noted(places, count, row, at, run_end, text, 4)
            elif byte == 45:
                if at + 5 < text.size and text[at + 5] == 66 and text[at + 1] == 45 and text[at + 4] == 45:
                    kind = 0  # -----B
            elif byte >= 65 and at + 4 <= text.size and (at == 0 or not _is_alnum(text[at - 1])):
                if not _SECONDS[text[at + 1]]:
                    continue
                four = np.uint32(text[at]) | np.uint32(text[at + 1]) << np.uint32(8)
                four |= np.uint32(text[at + 2]) << np.uint32(16)
                three = four
                four |= np.uint32(text[at + 3]) << np.uint32(24)
                if _among(first_four, four) or _among(first_three, three):
                    kind = 0
            if kind >= 0:
                if count < places.shape[0]:
                    places[count, 0], places[count, 1], places[count, 2] = row, begin, kind
                count += 1
    return count


@kernel
def _of_a_name(byte):
    return _is_alnum(byte) or byte in (46, 95, 37, 43, 45)


@kernel
def _is_alnum(byte):
    return _CLASSES[byte] == _DIGIT or _CLASSES[byte] == _LETTER


@kernel
def _row_of_digits(text, at):
    """(end, digits, dots, whether there is a +) of a row of digits with at most two marks between, of 200 bytes at
    most; what is longer has ten digits."""
    digits = dots = marks = 0
    plus = False
    end = at
    while end < text.size and end - at < 200 and marks < 3:
        kind = _CLASSES[text[end]]
        if kind != _DIGIT and kind != _MARK and text[end] != 43:
            break
        marks = 0 if kind == _DIGIT else marks + 1
        digits += kind == _DIGIT
        dots += text[end] == 46
        plus |= text[end] == 43
        end += 1
    return end, digits, dots, plus


@kernel
def _noted(places, count, row, begin, end, text, kind):
    """Every place in a row of digits where a number may begin."""
    for at in range(begin, end):
        first = at == 0 or not _is_alnum(text[at - 1])
        if first and _may_begin(text, at, kind):
            if count < places.shape[0]:
                places[count, 0], places[count, 1], places[count, 2] = row, at, kind
            count += 1
    return count


@kernel
def _may_begin(text, at, kind):
    """Whether the first bytes are those of an address (2), a card (3) or a telephone number (4)."""
    digits = 0
    while digits < 4 and at + digits < text.size and _CLASSES[text[at + digits]] == _DIGIT:
        digits += 1
    following = np.int64(text[at + digits]) if at + digits < text.size else 0
    if kind == 2:
        return 0 < digits < 4 and following == 46
    if kind == 3:
        return digits == 4
    if text[at] == 43:
        return at + 1 < text.size and 49 <= text[at + 1] <= 57
    if text[at] == 40:
        return at + 4 < text.size and text[at + 4] == 41
    return (digits == 3 or (digits == 1 and text[at] == 49)) and following in (45, 46, 32)


@kernel
def _among(values, value):
    at = np.searchsorted(values, value)
    return at < values.size and values[at] == value


def _score(rows: RowBytes, names: Collection[str]) -> np.ndarray:
    out = np.zeros((len(rows), len(KINDS)), np.float32)
    for span in personal_spans(rows):
        out[span.row, span.kind] += 1
    return out


PERSONAL: Final = Family(SIGNALS, _score)
