"""English tokens in plain Python: the rules as regular expressions, what the kernels of `english/` must agree with."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from curator.signals.text.english import classes
from curator.signals.text.english.exceptions import UNITS, exceptions

__all__ = ["is_address", "sentences", "tokens"]


def _of(flag: int) -> str:
    """A regular expression's set of the characters with a flag, ranges joined."""
    table = classes.token_classes()
    codes = [code for code in range(0x20000) if table[code] & flag]
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


_ALPHA, _LOWER, _UPPER, _ICON = map(_of, (classes.ALPHA, classes.LOWER, classes.UPPER, classes.ICON))
_SIGNS, _QUOTES, _CURRENCY = map(re.escape, (classes.SIGNS, classes.QUOTES, classes.CURRENCY_SIGNS))
_UNITS = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))

_PREFIX = re.compile(rf"[§%=—–]|\+(?![0-9])|[{_SIGNS}]|\.\.+|[{_QUOTES}]|[{_CURRENCY}]|US\$|C\$|A\$|[{_ICON}]")
_SUFFIX = re.compile(
    rf"(?:……|[{_SIGNS}]|\.\.+|[{_QUOTES}]|[{_ICON}]|['’][sS]|[—–]|(?<=[0-9])\+|(?<=°[FfCcKk])\.|(?<=[0-9])[{_CURRENCY}]"
    rf"|(?<=[0-9])(?:{_UNITS})|(?<=[0-9{_LOWER}%²\-+|{_SIGNS}{_QUOTES}])\.|(?<=[{_UPPER}][{_UPPER}])\.)\Z"
)
_INFIX = re.compile(
    rf"\.\.+|…|[{_ICON}]|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[{_LOWER}{_QUOTES}])\.(?=[{_UPPER}{_QUOTES}])"
    rf"|(?<=[{_ALPHA}]),(?=[{_ALPHA}])|(?<=[{_ALPHA}0-9])(?:-|–|—|--|---|——|~)(?=[{_ALPHA}])"
    rf"|(?<=[{_ALPHA}0-9])[:<>=/](?=[{_ALPHA}])"
)
_LABEL = "[A-Za-z0-9\u00a1-\uffff](?:[A-Za-z0-9\u00a1-\uffff_-]{0,62}[A-Za-z0-9\u00a1-\uffff])?"
_PRIVATE = re.compile(r"(?:10|127)\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.")
_HOST = rf"(?:(?P<ip>[0-9]+(?:\.[0-9]+)+)|(?:{_LABEL}\.)+[{_LOWER}]{{2,63}})"
_REST = r"(?::[0-9]{2,5})?(?:[/?#]\S*)?"
_ADDRESS = re.compile(rf"(?:[\w+\-.]{{2,}}://)?(?:\S+@)?{_HOST}{_REST}")
_EXCEPTIONS = exceptions()


def tokens(text: str) -> list[str]:
    return [token for run in text.split() for token in _run(run)]


def sentences(text: str) -> int:
    """Sentences of a text without line breaks."""
    count, ended = 0, True
    for token in tokens(text):
        mark = len(token) == 1 and token in classes.TERMINAL_PUNCTUATION
        punctuation = all(unicodedata.category(char)[0] == "P" for char in token)
        if count == 0:
            count, ended = 1, False
        elif ended and not mark and not punctuation:
            count, ended = count + 1, False
        ended = ended or mark
    return count


@lru_cache(maxsize=100_000)
def _run(run: str) -> tuple[str, ...]:
    heads: list[str] = []
    tails: list[str] = []
    size = -1
    while run and len(run) != size and run not in _EXCEPTIONS:
        size = len(run)
        prefix = _prefix(run)
        if prefix and run[len(prefix) :] in _EXCEPTIONS:
            heads, run = [*heads, prefix], run[len(prefix) :]
            break
        suffix = _suffix(run[len(prefix) :])
        if suffix and run[: -len(suffix)] in _EXCEPTIONS:
            tails, run = [suffix, *tails], run[: -len(suffix)]
            break
        if prefix:
            heads, run = [*heads, prefix], run[len(prefix) :]
        if suffix:
            tails, run = [suffix, *tails], run[: -len(suffix)]
    return _joined([*heads, *_middle(run), *tails])


def _prefix(run: str) -> str:
    found = _PREFIX.match(run)
    return found[0] if found else ""


def _suffix(run: str) -> str:
    found = _SUFFIX.search(run)
    return found[0] if found else ""


def _middle(run: str) -> list[str]:
    if not run:
        return []
    if run in _EXCEPTIONS:
        return list(_EXCEPTIONS[run])
    if is_address(run):
        return [run]
    parts, begun = [], 0
    for found in _INFIX.finditer(run):
        if found.start() == 0:
            continue
        if found.start() != begun:
            parts.append(run[begun : found.start()])
        parts.append(found[0])
        begun = found.end()
    return [*parts, run[begun:]] if run[begun:] else parts


def is_address(run: str) -> bool:
    starts = [0, *(at + 1 for at, char in enumerate(run[:-1]) if char == "@" and at)]
    scheme = re.match(r"[\w+\-.]{2,}?://", run)
    if scheme:
        starts.append(scheme.end())
    return any(_is_host(run[start:]) for start in starts)


def _is_host(run: str) -> bool:
    found = re.fullmatch(rf"{_HOST}{_REST}", run)
    if not found:
        return False
    if not found["ip"]:
        return True
    octets = found["ip"].split(".")
    if len(octets) != 4 or any(len(octet) > 3 or int(octet) > 255 for octet in octets) or _PRIVATE.match(run):
        return False
    return 1 <= int(octets[0]) <= 223 and 1 <= int(octets[3]) <= 254


def _joined(parts: list[str]) -> tuple[str, ...]:
    """Neighbours that together are an exception, the longest first from the left."""
    out: list[str] = []
    at = 0
    while at < len(parts):
        for stop in range(min(len(parts), at + 5), at + 1, -1):
            whole = "".join(parts[at:stop])
            if whole in _EXCEPTIONS:
                out += _EXCEPTIONS[whole]
                at = stop
                break
        else:
            out.append(parts[at])
            at += 1
    return tuple(out)
