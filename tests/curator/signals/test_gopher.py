"""MassiveText's published thresholds, pinned, and texts that each rule is about."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curator.signals import score_text
from curator.signals.gopher import GopherQuality, GopherRepetition


def reasons(operator: GopherQuality | GopherRepetition, text: str) -> set[str]:
    columns = score_text(pa.array([text]), operator.signals)
    return {reason for reason, mask in operator.fired(columns).items() if mask[0]}


def test_quality_thresholds_are_those_of_section_a11() -> None:
    assert GopherQuality().model_dump(exclude={"kind"}) == {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3,
        "max_mean_word_length": 10,
        "max_hash_per_word": 0.1,
        "max_ellipsis_per_word": 0.1,
        "max_bullet_line_share": 0.9,
        "max_ellipsis_line_share": 0.3,
        "min_alphabetic_word_share": 0.8,
        "min_stop_words": 2,
    }


def test_repetition_thresholds_are_those_of_table_a1() -> None:
    assert list(GopherRepetition().model_dump(exclude={"kind", "top_from"}).values()) == [
        *(0.30, 0.30, 0.20, 0.20),  # duplicate lines, paragraphs, their characters
        *(0.20, 0.18, 0.16),  # top 2-, 3-, 4-gram
        *(0.15, 0.14, 0.13, 0.12, 0.11, 0.10),  # duplicate 5- to 10-grams
    ]


PROSE = " ".join(
    f"the {noun} of that house stood with {noun}s and rain" for noun in ("door", "roof", "wall", "step", "lamp", "well")
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PROSE, None),
        ("the end of that", "gopher_word_count"),
        (PROSE.replace(" ", " a "), "gopher_word_length"),
        (PROSE.replace(" ", "aaaaaaaaaa "), "gopher_word_length"),
        (PROSE.replace("of", "#"), "gopher_hashes"),
        (PROSE.replace("of", "of..."), "gopher_ellipses"),
        ("\n".join(f"- {PROSE}" for _ in range(3)), "gopher_bullet_lines"),
        ("\n".join(f"{PROSE}…" for _ in range(3)), "gopher_ellipsis_lines"),
        (PROSE.replace("of that", "12 34").replace("with", "56"), "gopher_alphabetic_words"),
        (
            PROSE.replace("the", "die").replace("that", "den").replace("and", "und").replace("of", "auf"),
            "gopher_stop_words",
        ),
    ],
)
def test_each_quality_rule(text: str, reason: str | None) -> None:
    found = reasons(GopherQuality(), text)
    assert (reason in found) if reason else not found


def test_each_repetition_rule() -> None:
    numbered = [" ".join(f"word{k * factor}" for factor in (101, 211, 307, 401, 503, 601, 701)) for k in range(1, 41)]
    assert reasons(GopherRepetition(), "\n\n".join(numbered)) == set()
    half = "\n".join(numbered[:20] + numbered[:20])
    assert {"gopher_duplicate_lines", "gopher_duplicate_line_chars", "gopher_duplicate_5_gram"} <= reasons(
        GopherRepetition(), half
    )
    paragraphs = "\n\n".join(numbered[:20] + numbered[:20])
    assert {"gopher_duplicate_paragraphs", "gopher_duplicate_paragraph_chars"} <= reasons(
        GopherRepetition(), paragraphs
    )
    chant = "again and again " * 40
    assert {f"gopher_top_{n}_gram" for n in (2, 3)} <= reasons(GopherRepetition(), chant)
    assert {f"gopher_duplicate_{n}_gram" for n in (5, 6, 7, 8, 9, 10)} <= reasons(GopherRepetition(), chant)


@pytest.mark.parametrize(
    ("text", "from_one", "from_three"),
    [
        ("hello there friend", True, False),
        ("Clough of Forest dies . Manager Clough of Forest has died aged 69.", True, False),
        ("cheap watches here, cheap watches now, cheap watches soon", True, True),
    ],
)
def test_a_sequence_counts_from_as_many_occurrences_as_asked(text: str, from_one: bool, from_three: bool) -> None:
    for top_from, fires in ((1, from_one), (3, from_three)):
        found = reasons(GopherRepetition(top_from=top_from), text)
        assert any(reason.startswith("gopher_top_") for reason in found) is fires
