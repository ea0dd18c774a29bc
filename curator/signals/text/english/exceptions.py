"""Words and signs that rules would cut wrongly: contractions, abbreviations, emoticons, and how each is cut.

Generated from patterns of English, not listed one by one. Knows words; nothing of how a text is walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

__all__ = ["UNITS", "exceptions"]


def _each(words: str) -> tuple[str, ...]:
    return tuple(words.split())


UNITS: Final = _each(
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K %"
)
"""Units of measure that are cut off a number before them."""

_I, _PLURAL, _SINGULAR = ("i",), ("you", "we", "they"), ("he", "she", "it")
_QUESTIONS = ("who", "what", "when", "where", "why", "how", "there", "that", "this", "these", "those")
_NEGATED = ("ca", "could", "do", "does", "did", "had", "may", "might", "must", "need", "ought", "sha", "should", "wo",
            "would")  # fmt: skip
_NEGATED_ONLY = ("ai", "are", "is", "was", "were", "has", "have", "dare")
_OTHER_WORDS = frozenset(_each("ill Ill well Well hell Hell shell Shell its Its were Were shed Shed whore Whore"))
"""Contractions without their apostrophe that are words of their own."""
_CLIPPED = ("doin", "goin", "nothin", "nuthin", "ol", "somethin", "havin", "lovin")
_LEFT = ("em", "ll", "nuff")
_SHORTENED = ("'bout", "'cause", "'cos", "'coz", "'cuz", "'em", "'ll", "'nuff", "'d", "'re", "'s")
_CAPITALISED = ("'Cause", "'Cos", "'Coz", "'Cuz", "'S")
_ABBREVIATIONS = _each(
    "Adm. Bros. Co. Corp. D.C. Dr. E.G. E.g. Gen. Gov. I.E. I.e. Inc. Jr. Ltd. Messrs. Md. Mo. Mont. Mr. Mrs. Ms. Mt. "
    "Ph.D. Prof. Rep. Rev. Sen. St. a.m. p.m. e.g. i.e. vs. v.s. co. Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sep. Sept. "
    "Oct. Nov. Dec. Ak. Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. Kans. Ky. La. Mass. "
    "Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Okla. Ore. Pa. S.C. Tenn. Va. Wash. Wis. ä. ö. "
    "ü."
)
_WHOLE = _each("C++ and/or w/o <space> '' \\\") \\n \\t ma'am Ma'am o'clock O'clock ' ’ — ’’ ‘S ‘s")
_EMOTICONS = _each(
    ":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( :(( "
    ":-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 "
    ":() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< "
    "._. ;_; -_- -__- v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 "
    "(^_^) (-_-) (._.) (>_<) (*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>"
)


def exceptions() -> dict[str, tuple[str, ...]]:
    """Each exception and the tokens it is cut into; joined, they are the exception."""
    found: dict[str, tuple[str, ...]] = {}
    for parts in chain(_contractions(), _odd_words()):
        for cased in (parts, (parts[0].capitalize(), *parts[1:])):
            for written in _spellings(cased):
                found["".join(written)] = written
    found |= {
        word: (word,) for word in chain(_signs(), _ABBREVIATIONS, map("{}.".format, "abcdefghijklmnopqrstuvwxyz"))
    }
    for hour in range(1, 13):
        found |= {f"{hour}{half}": (str(hour), half) for half in ("a.m.", "am", "p.m.", "pm")}
    found |= {f"y{mark}all": (f"y{mark}", "all") for mark in ("'", "’", "")}
    return found | {f"°{scale}.": ("°", scale, ".") for scale in "CFKcfk"}


def _contractions() -> Iterator[tuple[str, ...]]:
    """Lower case, with the straight apostrophe."""
    will, would = (("'ll",), ("'ll", "'ve")), (("'d",), ("'d", "'ve"))
    for words, endings in (
        (_I, (("'m",), ("'m", "a"), ("'ve",), *will, *would)),
        (_PLURAL, (("'re",), ("'ve",), *will, *would)),
        (_SINGULAR, (("'s",), *will, *would)),
        (_QUESTIONS, (*will, *would)),
        (("who", "what", "when", "where", "why", "how", "there", "that", "this"), (("'s",),)),
        (("who", "what", "when", "where", "why", "how", "there", "these", "those"), (("'re",), ("'ve",))),
        (_NEGATED, (("n't",), ("n't", "'ve"))),
        (_NEGATED_ONLY, (("n't",),)),
        (("could", "might", "must", "should", "would", "not"), (("'ve",),)),
    ):
        for word in words:
            for ending in endings:
                yield word, *ending


def _odd_words() -> Iterator[tuple[str, ...]]:
    yield from (("how", "'d", "'y"), ("let", "'s"), ("c'm", "on"))
    yield from (("can", "not"), ("gon", "na"), ("got", "ta"))


def _spellings(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """With ' or ’, and without an apostrophe where that is no other word."""
    yield parts
    yield tuple(part.replace("'", "’") for part in parts)
    bare = tuple(part.replace("'", "") for part in parts)
    if "".join(bare) not in _OTHER_WORDS and parts[0] not in ("let", "c'm", "Let", "C'm") and parts[-1] != "'y":
        yield bare


def _signs() -> Iterator[str]:
    yield from (*_EMOTICONS, *_WHOLE, *(sign.replace("'", "’") for sign in _EMOTICONS if "'" in sign))
    yield from (word.replace("'", "’") for word in _WHOLE if len(word) > 3 and "'" in word)
    for word in (*_SHORTENED, *_CAPITALISED):
        yield from (word, word.replace("'", "’"))
    yield from _LEFT
    for word in _CLIPPED:
        for cased in (word, word.capitalize()):
            yield from (cased, f"{cased}'", f"{cased}’")
