"""Length, encoding damage, boilerplate, composition: each reason fires on what it is about and on nothing ordinary."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from curator.signals import score_text
from curator.signals.boilerplate import Boilerplate
from curator.signals.composition import Composition
from curator.signals.damage import EncodingDamage
from curator.signals.length import Length
from curator.signals.types import RowRule

PROSE = (
    "The café on the corner opens early, and by seven the first guests are reading. Nobody hurries them; “a cup is a "
    "cup,” says the owner, who has seen worse mornings. It rained until noon, then the street dried within the hour.\n"
) * 3
NOISE = "".join(random.Random(3).choices([chr(code) for code in range(33, 0x7F)], k=2000))


def reasons(operator: RowRule, text: str | None) -> set[str]:
    columns = score_text(pa.array([text], pa.string()), operator.signals)
    return {reason for reason, mask in operator.fired(columns).items() if mask[0]}


@pytest.mark.parametrize("operator", [Length(), EncodingDamage(), Boilerplate(), Composition()], ids=lambda op: op.kind)
def test_prose_and_nulls_fire_nothing(operator: RowRule) -> None:
    assert reasons(operator, PROSE) == set()
    assert reasons(operator, None) == set()


@pytest.mark.parametrize(
    ("operator", "text", "reason"),
    [
        (Length(), "", "too_short"),
        (Length(), " \n ", "too_short"),
        (Length(min_words=3), "two words", "too_short"),
        (Length(min_chars=10), "two words", "too_short"),
        (Length(max_words=1), "two words", "too_long"),
        (Length(max_chars=8), "two words", "too_long"),
        (EncodingDamage(), PROSE.encode().decode("cp1252", "replace"), "mojibake"),
        (EncodingDamage(), PROSE.encode().decode("latin-1"), "mojibake"),
        (
            EncodingDamage(),
            PROSE.encode("latin-1", "ignore").decode("utf-8", "replace") + "\ufffd" * 3,
            "replacement_characters",
        ),
        (EncodingDamage(), PROSE.replace(",", "\x00").replace(".", "\x1b"), "control_characters"),
        (Boilerplate(), "Home\nSign in\nSubscribe to our newsletter\nThis site uses cookies", "boilerplate"),
        (Boilerplate(), "Copyright (c) 1999\nAll rights reserved.\nPermission is hereby granted", "licence_text"),
        (Composition(), "||--++--||" * 20 + PROSE[:40], "too_many_symbols"),
        (Composition(), "1234 5678 " * 20 + PROSE[:40], "too_many_digits"),
        (Composition(), "a    b    " * 20, "too_much_whitespace"),
        (Composition(), "see https://example.org/a/very/long/address/indeed and more", "too_many_urls"),
        (Composition(), PROSE.upper(), "too_many_capitals"),
        (Composition(), NOISE, "incompressible"),
        (Composition(), "buy now " * 200, "too_compressible"),
    ],
)
def test_each_reason(operator: RowRule, text: str, reason: str) -> None:
    assert reason in reasons(operator, text)
