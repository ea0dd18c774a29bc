"""DCLM-Baseline's published thresholds, pinned, and a text on either side of each."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curator.recipe import load, parse
from curator.signals import score_text
from curator.signals.dclm import DclmQuality

LINE = "The words of line {} have something to say that nobody else can tell."  # 14 words, 6 of them stop words
PROSE = [LINE.format(k) for k in range(10)]  # 140 words

LONG = "to of" + " tenletters" * 58 + f" {'x' * 18} "  # with 18 letters more: ten letters a word


def fired(text: str, operator: DclmQuality | None = None) -> set[str]:
    operator = operator or DclmQuality()
    columns = score_text(pa.array([text]), operator.signals)
    return {reason for reason, mask in operator.fired(columns).items() if mask[0]}


def lines(*parts: str) -> str:
    return "\n".join([*PROSE, *parts])


def marked(count: int, before: str, after: str) -> str:
    """Ten lines, so many of them with something before and after."""
    return "\n\n".join([*(before + line + after for line in PROSE[:count]), *PROSE[count:]])


def words(count: int, word: str = "words") -> str:
    return " ".join(["of", "to", *[word] * (count - 2)])


def test_thresholds_are_those_of_the_published_configuration() -> None:
    expected = [50, 100_000, 3, 10, 0.1, 0.9, 0.3, 0.8, 2, 0.05]
    assert list(DclmQuality().model_dump(exclude={"kind"}).values()) == expected


@pytest.mark.parametrize(
    ("inside", "beyond", "reason"),
    [
        (words(50), words(49), "dclm_word_count"),
        (words(100_000), words(100_001), "dclm_word_count"),
        ("of to abcd wxyz" + " two" * 50, "of to abcd wxyz" + " two" * 50 + " a", "dclm_word_length"),
        (LONG + "x" * 18, LONG + "x" * 19, "dclm_word_length"),
        (words(60) + " #" * 4 + "# ..." , words(60) + " #" * 5 + "# ...", "dclm_symbols"),
        (marked(9, "* ", ""), marked(10, "● ", ""), "dclm_bullet_lines"),
        (marked(3, "", " . . ."), marked(4, "", " …"), "dclm_ellipsis_lines"),
        (words(80) + " 12" * 20, words(80) + " 12" * 21, "dclm_alphabetic_words"),
        ("THE tale: the " + "tale " * 60, "the " + "tale " * 60, "dclm_stop_words"),
        (lines(*["Contact"] * 7), lines(*["Contact"] * 8), "dclm_removed_words"),
    ],
)  # fmt: skip
def test_each_rule_at_its_limit(inside: str, beyond: str, reason: str) -> None:
    assert reason not in fired(inside)
    assert reason in fired(beyond)


@pytest.mark.parametrize(
    ("line", "goes"),
    [
        ("Home", 1),
        ("SHOUTED AT EVERYBODY", 3),
        ("ABc de", 0),  # a third of its characters
        ("ABCd ef", 0),  # three of seven
        ("ABC d", 2),  # three of five
        ("3.1k Likes", 2),
        ("(12 comments)", 1),  # a word counts that begins with a letter or a digit
        ("12 comments today", 0),
        ("There are 2 items in cart now", 3),
        ("one two three four five six seven eight items in cart", 0),
        ("one two three four five six seven items in cart", 3),
        ("We tell you why. Read more...", 2),
        ("Read more... of it", 0),
        ("Sign-in to say so", 1),
        ("To sign-in say so", 0),
        ("2024", 1),
    ],
)
def test_what_the_line_rules_take_away(line: str, goes: int) -> None:
    text = f"{LINE}\n{line}\n"
    [share] = score_text(pa.array([text]), ["dclm_removed_word_share"])["dclm_removed_word_share"]
    counted = sum(word[0].isalnum() for word in text.split())
    assert round(float(share) * counted, 3) == goes


def test_a_plain_page_stays() -> None:
    assert fired(lines()) == set()


def test_the_preset_stands_alone_and_inside_a_recipe() -> None:
    recipe = parse({"task": "text", "columns": {"text": "text"}, "process": [{"preset": "dclm"}]})
    assert [op.kind for op in recipe.process] == [
        "language", "dclm_quality", "gopher_repetition", "exact_duplicates", "near_duplicates",
    ]  # fmt: skip
    assert load("dclm").process == recipe.process
