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

from curator.signals.text.c4_lines import MAX_WORD_CHARS, MIN_LINE_WORDS, POLICY_PHRASES
from curator.signals.text.characters import CP1252_HIGH
from curator.signals.text.compression import MIN_BYTES, PREFIX_BYTES
from curator.signals.text.dclm import COUNTED, MAX_PHRASE_LINE_WORDS, MAX_UPPER_SHARE
from curator.signals.text.dclm import MIN_LINE_WORDS as MIN_DCLM_LINE_WORDS
from curator.signals.text.english.classes import MARKS
from curator.signals.text.english.lexicon import STOP_WORDS
from curator.signals.text.lines import SHORT_LINE_CHARS
from curator.signals.text.phrases import BOILERPLATE_PHRASES, LICENCE_PHRASES
from curator.signals.text.repetition import CHANT, DUPLICATE_N, TOP_N
from curator.signals.text.unicode import TERMINAL_PUNCTUATION
from tests.curator.signals.text.english_reference import sentences, tokens
from tests.curator.signals.text.personal_reference import personal

__all__ = ["score_one"]

_NAN = float("nan")
_MOJIBAKE = re.compile(f"[ÂÃ][\x80-\xbf{CP1252_HIGH}]|â[€\x80]|ï[»¿]")
_COUNTER = re.compile(rf"\W*\d[\d,.]*[kmb]?\s+(?:{'|'.join(COUNTED)})\W*", re.ASCII | re.IGNORECASE)
_C4_ENDS = (".", "?", "!", '"', "'")
_CITATION = re.compile(r"\[[0-9]*]|\[edit]|\[citation needed]")


def score_one(text: str) -> dict[str, float]:
    """Every signal of one text but its language (py3langid is that one's reference)."""
    families = (characters, words, lines, quality, repetition, c4, phrases, compression, dclm, personal)
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
        "alphabetic_word_share": _share(sum(any(map(str.isalpha, word)) for word in found), len(found)),
        "url_char_share": _share(sum(map(len, urls)), len(text)),
    }


def quality(text: str) -> dict[str, float]:
    found = tokens(text)
    proper = [token for token in found if not all(_is_sign(char) for char in token)]
    return {
        "num_proper_tokens": len(proper),
        "mean_token_length": _share(sum(map(len, proper)), len(proper)),
        "alphabetic_token_share": _share(sum(any(map(str.isalpha, token)) for token in found), len(found)),
        "num_stop_words": len(set(found) & set(STOP_WORDS)),
        "hash_per_token": _share(text.count("#"), len(found)),
        "ellipsis_per_token": _share(text.count("...") + text.count("…"), len(found)),
        "newline_per_token": _share(text.count("\n"), len(found)),
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
    found = tokens(text)
    shares = {}
    for n in TOP_N:
        chars, count = _top(found, n)
        shares[f"top_{n}_gram_char_share"] = _share(chars, len(text))
        shares[f"repeated_{n}_gram_char_share"] = _share(chars if count >= CHANT else 0, len(text))
    return shares | {f"duplicate_{n}_gram_char_share": _share(_duplicate(found, n), len(text)) for n in DUPLICATE_N}


def c4(text: str) -> dict[str, float]:
    """The page as C4 leaves it, line after line, and what FineWeb counts in it."""
    counts: Counter[str] = Counter()
    kept = []
    for line in map(str.strip, text.split("\n")):
        found = line.split()
        if any(len(word) > MAX_WORD_CHARS for word in found) or len(found) < MIN_LINE_WORDS:
            continue
        line = _CITATION.sub("", line)
        low = _ascii_lower(line)
        terminal = line.endswith(_C4_ENDS) and not line.endswith("...")
        counts["lorem_ipsum"] += "lorem ipsum" in low
        if "javascript" in low:
            continue
        counts["curly_bracket"] += "{" in line
        counts["curly_bracket_terminal"] += "{" in line and terminal
        if any(phrase in low for phrase in POLICY_PHRASES):
            continue
        counts["sentences"] += sentences(line)
        counts["sentences_terminal"] += sentences(line) if terminal else 0
        kept.append(line)
    filled = [line for line in kept if line]
    names = ("lorem_ipsum", "curly_bracket", "curly_bracket_terminal", "sentences", "sentences_terminal")
    return {
        **{f"c4_{name}": counts[name] for name in names},
        "c4_terminal_line_share": _share(sum(line[-1] in TERMINAL_PUNCTUATION for line in filled), len(filled)),
        "c4_short_line_share": _share(sum(len(line) <= SHORT_LINE_CHARS for line in filled), len(filled)),
        "c4_duplicate_char_share": _share(_repeats(filled)[1], sum(map(len, filled))),
        "c4_newline_per_token": _share(len(kept) - 1, sum(len(tokens(line)) for line in kept)),
    }


def phrases(text: str) -> dict[str, float]:
    lines = [_ascii_lower(line) for line in text.split("\n") if line.strip()]
    boilerplate = sum(any(phrase in line for phrase in BOILERPLATE_PHRASES) for line in lines)
    licence = sum(any(phrase in line for phrase in LICENCE_PHRASES) for line in lines)
    return {
        "boilerplate_line_share": _share(boilerplate, len(lines)),
        "licence_line_share": _share(licence, len(lines)),
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


def _is_sign(char: str) -> bool:
    """One of the marks that alone make no word, or a control character."""
    return char in MARKS or unicodedata.category(char) == "Cc"


def _ascii_lower(text: str) -> str:
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text)


def _repeats(items: Sequence[str]) -> tuple[int, int]:
    """(items seen before, their characters)."""
    seen: set[Hashable] = set()
    again = [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]
    return len(again), sum(map(len, again))


def _top(found: Sequence[str], n: int) -> tuple[int, int]:
    """(characters of all occurrences, occurrences) of the most frequent n-gram."""
    grams = Counter(" ".join(found[at : at + n]) for at in range(len(found) - n + 1))
    gram, count = grams.most_common(1)[0] if grams else ("", 0)
    return len(gram) * count, count


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
