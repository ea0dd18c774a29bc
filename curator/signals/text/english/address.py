"""Whether a run is an address of the web or of mail, which stays one token: [scheme://][user@]host[:port][/?#rest].

A host is an IPv4 address outside private networks, or labels parted by dots whose last is two small letters or more.
Knows characters; nothing of tokens.
"""

# mypy: allow-untyped-defs, no-check-untyped-defs
from __future__ import annotations

from curator.signals.text.bytescan import inner
from curator.signals.text.english.classes import DIGIT, KIND_SHIFT, LETTER, LOWER

__all__ = ["is_address"]

_DOT, _COLON, _SLASH, _AT, _DASH, _LOW_LINE = 46, 58, 47, 64, 45, 95
_MOST_LABEL, _MOST_TOP = 64, 63
_CHAR = (1 << KIND_SHIFT) - 1


@inner
def _char(signs, at):
    return signs[at] & _CHAR


@inner
def _is(signs, at, flags):
    return ((signs[at] >> KIND_SHIFT) & flags) != 0


@inner
def _in_label(signs, at):
    char = _char(signs, at)
    small = 97 <= char <= 122 or 65 <= char <= 90 or char in (_DASH, _LOW_LINE)
    return small or 48 <= char <= 57 or 0xA1 <= char <= 0xFFFF


@inner
def _number(signs, first, last):
    """The number written at first..last, at most 999; -1 for no digits or too many."""
    if not 0 < last - first <= 3:
        return -1
    value = 0
    for k in range(first, last):
        value = 10 * value + _char(signs, k) - 48
    return value


@inner
def _is_public(signs, first, last):
    """Whether the digits and dots first..last are an IPv4 address outside private, loopback and reserved networks."""
    first_octet = second_octet = value = count = 0
    begun = first
    for k in range(first, last + 1):
        if k == last or _char(signs, k) == _DOT:
            value = _number(signs, begun, k)
            if count == 4 or value < 0 or value > 255:
                return False
            if count == 0:
                first_octet = value
            elif count == 1:
                second_octet = value
            count, begun = count + 1, k + 1
    if count != 4 or not 1 <= first_octet <= 223 or not 1 <= value <= 254:
        return False
    private = first_octet == 10 or first_octet == 127 or (first_octet == 169 and second_octet == 254)
    private |= (first_octet == 192 and second_octet == 168) or (first_octet == 172 and 16 <= second_octet <= 31)
    return not private


@inner
def _host_end(signs, first, last):
    """Where the host that begins at `first` ends; -1 if there is none."""
    at = label = first
    dots = 0
    numeric = True
    while at < last and (_char(signs, at) == _DOT or _in_label(signs, at)):
        if _char(signs, at) == _DOT:
            edge = _char(signs, label) == _DASH or _char(signs, label) == _LOW_LINE
            edge |= _char(signs, at - 1) == _DASH or _char(signs, at - 1) == _LOW_LINE
            if not 1 <= at - label <= _MOST_LABEL or edge:
                return -1
            dots, label = dots + 1, at + 1
        else:
            numeric &= _is(signs, at, DIGIT)
        at += 1
    if dots == 0:
        return -1
    if numeric:
        return at if _is_public(signs, first, at) else -1
    if not 2 <= at - label <= _MOST_TOP:
        return -1
    for k in range(label, at):
        if not _is(signs, k, LOWER):
            return -1
    return at


@inner
def _ends_well(signs, at, last):
    """Whether what follows the host is nothing, or a port and a path."""
    if at < last and _char(signs, at) == _COLON:
        port = at + 1
        while port < last and _is(signs, port, DIGIT):
            port += 1
        if not 2 <= port - at - 1 <= 5:
            return False
        at = port
    return at == last or _char(signs, at) == _SLASH or _char(signs, at) == 63 or _char(signs, at) == 35


@inner
def _scheme_end(signs, first, last):
    """Where what follows scheme:// begins; -1 where there is none."""
    for at in range(first, last - 2):
        if _char(signs, at) == _COLON:
            return (
                at + 3 if at - first > 1 and _char(signs, at + 1) == _SLASH and _char(signs, at + 2) == _SLASH else -1
            )
        char = _char(signs, at)
        if not (_is(signs, at, LETTER | DIGIT) or char in (43, _DASH, _DOT, _LOW_LINE)):
            return -1
    return -1


@inner
def is_address(signs, first, last):
    """Whether characters first..last are one address."""
    end = _host_end(signs, first, last)
    if end >= 0 and _ends_well(signs, end, last):
        return True
    begin = _scheme_end(signs, first, last)
    if begin >= 0:
        end = _host_end(signs, begin, last)
        if end >= 0 and _ends_well(signs, end, last):
            return True
    for k in range(first + 1, last - 1):
        if _char(signs, k) == _AT:
            end = _host_end(signs, k + 1, last)
            if end >= 0 and _ends_well(signs, end, last):
                return True
    return False
