"""Every signal of text in plain Python: what the kernels must agree with, and where to read what a signal means.

Slow on purpose; used by tests and readers, never on the road. Knows one text at a time. A share whose whole is empty
is NaN: it cannot say.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Hashable, Sequence

from curator.signals.text.characters import CP1252_HIGH
from curator.signals.text.compression import MIN_BYTES, PREFIX_BYTES
from curator.signals.text.dclm import COUNTED, MAX_PHRASE_LINE_WORDS, MAX_UPPER_SHARE
from curator.signals.text.dclm import MIN_LINE_WORDS as MIN_DCLM_LINE_WORDS
from curator.signals.text.lines import SHORT_LINE_CHARS
from curator.signals.text.phrases import (
    BOILERPLATE_PHRASES,
    CLOSERS,
    LICENCE_PHRASES,
    MAX_WORD_CHARS,
    MIN_LINE_WORDS,
    POLICY_PHRASES,
)
from curator.signals.text.repetition import DUPLICATE_N, TOP_N
from curator.signals.text.unicode import TERMINAL_PUNCTUATION
from curator.signals.text.words import STOP_WORDS

__all__ = ["score_one"]

_NAN = float("nan")
_MOJIBAKE = re.compile(f"[ÂÃ][\x80-\xbf{CP1252_HIGH}]|â[€\x80]|ï[»¿]")
_COUNTER = re.compile(rf"\W*\d[\d,.]*[kmb]?\s+(?:{'|'.join(COUNTED)})\W*", re.ASCII | re.IGNORECASE)
_C4_ENDS = (".", "?", "!", '"', "'")
_OTHER_TERMINALS = re.compile(f"[{''.join(mark for mark in TERMINAL_PUNCTUATION if mark > chr(127))}]+")


def score_one(text: str) -> dict[str, float]:
    """Every signal of one text but its language (py3langid is that one's reference)."""
    families = (characters, words, lines, repetition, phrases, compression, dclm)
    return {name: value for family in families for name, value in family(text).items()}


def characters(text: str) -> dict[str, float]:
    kinds = [unicodedata.category(char) for char in text]
    damage = [kind == "Co" or (kind == "Cc" and not char.isspace()) for char, kind in zip(text, kinds, strict=True)]
    letters = sum(char.isalpha() for char in text)
    counts = {
        "alphabetic_share": letters,
        "digit_share": sum(char.isdecimal() for char in text),
        "whitespace_share": sum(char.isspace() for char in text),
        "symbol_share": sum(kind[0] in "PS" for kind in kinds),
        "replacement_share": text.count("\ufffd"),
        "control_share": sum(damage),
        "mojibake_share": len(_MOJIBAKE.findall(text)),
    }
    shares = {name: _share(count, len(text)) for name, count in counts.items()}
    return {"num_chars": len(text), "uppercase_share": _share(sum(map(str.isupper, text)), letters), **shares}


def words(text: str) -> dict[str, float]:
    found = text.split()
    proper = [word for word in found if not all(map(_is_mark, word))]
    urls = [word for word in found if "://" in word or word.lower().startswith("www.")]
    return {
        "num_words": len(found),
        "num_proper_words": len(proper),
        "mean_word_length": _share(sum(map(len, proper)), len(proper)),
        "alphabetic_word_share": _share(sum(any(map(str.isalpha, word)) for word in found), len(found)),
        "num_stop_words": len(set(found) & set(STOP_WORDS)),
        "hash_per_word": _share(text.count("#"), len(found)),
        "ellipsis_per_word": _share(text.count("...") + text.count("…"), len(found)),
        "newline_per_word": _share(text.count("\n"), len(found)),
        "url_char_share": _share(sum(map(len, urls)), len(text)),
    }


def lines(text: str) -> dict[str, float]:
    """Gopher's lines lie between runs of newlines, FineWeb's are stripped and not blank."""
    pieces = text.split("\n")
    stripped = [piece.strip() for piece in pieces if piece.strip()]
    num_pieces = len(pieces) - (text[-1:] == "\n")
    names = [f"duplicate_{unit}_{part}" for unit in ("line", "paragraph") for part in ("share", "char_share")]
    gopher_lines, gopher_paragraphs = re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())
    repeats = (*_repeats(gopher_lines), *_repeats(gopher_paragraphs))
    wholes = (len(gopher_lines), len(text), len(gopher_paragraphs), len(text))
    shares = {name: _share(part, whole) for name, part, whole in zip(names, repeats, wholes, strict=True)}
    return {
        "num_lines": len(stripped),
        **(shares if text else dict.fromkeys(names, _NAN)),
        "bullet_line_share": _share(sum(line.startswith(("•", "-")) for line in stripped), num_pieces if text else 0),
        "ellipsis_line_share": _share(sum(line.endswith(("...", "…")) for line in stripped), num_pieces if text else 0),
        "terminal_line_share": _share(sum(line[-1] in TERMINAL_PUNCTUATION for line in stripped), len(stripped)),
        "short_line_share": _share(sum(len(line) <= SHORT_LINE_CHARS for line in stripped), len(stripped)),
        "duplicate_stripped_char_share": _share(_repeats(stripped)[1], sum(map(len, stripped))),
    }


def repetition(text: str) -> dict[str, float]:
    found = text.split()
    top = {f"top_{n}_gram_char_share": _share(_top(found, n), len(text)) for n in TOP_N}
    return top | {f"duplicate_{n}_gram_char_share": _share(_duplicate(found, n), len(text)) for n in DUPLICATE_N}


def phrases(text: str) -> dict[str, float]:
    stripped = [line.strip() for line in text.split("\n") if line.strip()]
    counts: Counter[str] = Counter()
    for line in stripped:
        found = line.split()
        low = _ascii_lower(line)
        counts["boilerplate"] += any(phrase in low for phrase in BOILERPLATE_PHRASES)
        counts["licence"] += any(phrase in low for phrase in LICENCE_PHRASES)
        if any(len(word) > MAX_WORD_CHARS for word in found) or len(found) < MIN_LINE_WORDS:
            continue
        terminal = line.endswith(_C4_ENDS) and not line.endswith("...")
        counts["c4_lorem_ipsum"] += "lorem ipsum" in low
        if "javascript" in low:
            continue
        if "{" in line:
            counts["c4_curly_bracket"] += 1
            counts["c4_curly_bracket_terminal"] += terminal
        elif not any(phrase in low for phrase in POLICY_PHRASES):
            counts["c4_sentences"] += _sentences(found)
            counts["c4_sentences_terminal"] += _sentences(found) if terminal else 0
    c4 = ("lorem_ipsum", "curly_bracket", "curly_bracket_terminal", "sentences", "sentences_terminal")
    return {
        **{f"c4_{name}": counts[f"c4_{name}"] for name in c4},
        "boilerplate_line_share": _share(counts["boilerplate"], len(stripped)),
        "licence_line_share": _share(counts["licence"], len(stripped)),
    }


def compression(text: str) -> dict[str, float]:
    head = text.encode()[:PREFIX_BYTES]
    return {"compression_ratio": len(head) / len(zlib.compress(head, 1)) if len(head) >= MIN_BYTES else _NAN}


def dclm(text: str) -> dict[str, float]:
    found = text.split()
    stripped = [line.strip() for line in text.split("\n") if line.strip()]
    ellipses = ("...", ". . .", "…")
    symbols = sum(text.count(mark) for mark in ("#", *ellipses))
    removed = sum(_removed_words(line) for line in text.split("\n"))
    return {
        "dclm_mean_word_length": _share(sum(map(len, found)), len(found)),
        "dclm_symbol_per_word": _share(symbols, len(found)),
        "dclm_num_stop_words": sum(_ascii_lower(word) in STOP_WORDS for word in found),
        "dclm_bullet_line_share": _share(
            sum(line.startswith(("●", "•", "*", "-")) for line in stripped), len(stripped)
        ),
        "dclm_ellipsis_line_share": _share(sum(line.endswith(ellipses) for line in stripped), len(stripped)),
        "dclm_removed_word_share": _share(removed, _dclm_words(text)),
    }


def _removed_words(line: str) -> int:
    found = line.split()
    if len(found) < MIN_DCLM_LINE_WORDS or _COUNTER.fullmatch(line):
        return _dclm_words(line)
    if sum(map(str.isupper, line)) / len(line) > MAX_UPPER_SHARE:
        return _dclm_words(line)
    if len(found) > MAX_PHRASE_LINE_WORDS:
        return 0
    low = _ascii_lower(line)
    gone = 3 * low.count("items in cart") + 2 * low.endswith("read more...") + low.startswith("sign-in")
    return min(gone, _dclm_words(line))


def _dclm_words(text: str) -> int:
    return sum(word[0].isalpha() or word[0].isdecimal() for word in text.split())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else _NAN


def _is_mark(char: str) -> bool:
    """Punctuation, symbol, control or private use."""
    category = unicodedata.category(char)
    return category[0] in "PS" or category in ("Co", "Cc")


def _ascii_lower(text: str) -> str:
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text)


def _repeats(items: Sequence[str]) -> tuple[int, int]:
    """(items seen before, their characters)."""
    seen: set[Hashable] = set()
    again = [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]
    return len(again), sum(map(len, again))


def _top(found: Sequence[str], n: int) -> int:
    grams = Counter(" ".join(found[at : at + n]) for at in range(len(found) - n + 1))
    gram, count = grams.most_common(1)[0] if grams else ("", 0)
    return len(gram) * count if count > 1 else 0


def _duplicate(found: Sequence[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    chars = at = 0
    while at <= len(found) - n:
        gram = tuple(found[at : at + n])
        if gram in seen:
            chars += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return chars


def _sentences(found: Sequence[str]) -> int:
    """Sentence ends in a line, and one more for what follows the last."""
    ends = 0
    for word in found:
        ascii_end = word.rstrip(CLOSERS).endswith((".", "!", "?", "…"))
        ends += len(_OTHER_TERMINALS.findall(word)) + ascii_end
    last = found[-1]
    closed = last.rstrip(CLOSERS).endswith((".", "!", "?", "…")) or bool(_OTHER_TERMINALS.fullmatch(last[-1]))
    return ends + (not closed)
