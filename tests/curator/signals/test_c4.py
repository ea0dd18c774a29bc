"""C4's page rules: published numbers, and what counts as a sentence in a good line."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curator.signals import score_text
from curator.signals.c4 import C4Quality

GOOD = "This is a line. And one more."


def reasons(operator: C4Quality, text: str) -> set[str]:
    columns = score_text(pa.array([text]), operator.signals)
    return {reason for reason, mask in operator.fired(columns).items() if mask[0]}


def test_thresholds_are_those_of_section_22() -> None:
    assert C4Quality().model_dump(exclude={"kind"}) == {
        "min_sentences": 5,
        "max_lorem_ipsum": 0,
        "max_curly_bracket": 0,
        "require_terminal_punctuation": True,
    }


@pytest.mark.parametrize(
    ("line", "adds"),
    [
        ("Three words here.", 1),
        ("Two words.", 0),
        ("no mark at the end", 0),
        ("trails off at the end...", 0),
        ('She said: "I will." And she did!', 2),
        ("Please enable JavaScript to read this. Thank you very much.", 0),
        ("Read our Privacy Policy before you go. It is long.", 0),
        ("我们在这里。你们在那里！ 他们走了。 end of it.", 3),
        ("Version 3.5 costs 2.50 dollars.", 1),
        ("One word of " + "x" * 1001 + " is too long. So is this.", 0),
    ],
)
def test_sentences_in_good_lines(line: str, adds: int) -> None:
    assert score_text(pa.array([line]), ["c4_sentences_terminal"])["c4_sentences_terminal"][0] == adds


def test_each_rule() -> None:
    page = "\n".join([GOOD] * 3)
    assert reasons(C4Quality(), page) == set()
    assert reasons(C4Quality(), "\n".join([GOOD] * 2)) == {"c4_too_few_sentences"}
    assert reasons(C4Quality(), page + "\nAnd then Lorem Ipsum dolor.") == {"c4_lorem_ipsum"}
    assert reasons(C4Quality(), page + "\nint main () { return 0; }.") == {"c4_curly_bracket"}
    assert reasons(C4Quality(max_curly_bracket=1), page + "\nint main () { return 0; }.") == set()


def test_lines_without_terminal_punctuation_count_only_when_asked() -> None:
    page = "\n".join(["a line without an end"] * 5 + ["a loop { of code"])
    assert reasons(C4Quality(), page) == {"c4_too_few_sentences"}
    assert reasons(C4Quality(require_terminal_punctuation=False), page) == {"c4_curly_bracket"}
