"""FineWeb's published thresholds, pinned, and texts that each rule is about."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curator.signals import score_text
from curator.signals.fineweb import FinewebQuality

PROSE = [f"Sentence {k} of this document says something about {k * k} things it has seen." for k in range(20)]


def test_thresholds_are_those_of_section_36() -> None:
    assert list(FinewebQuality().model_dump(exclude={"kind"}).values()) == [0.12, 0.67, 0.01, 0.3, True]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (PROSE, None),
        ([line.rstrip(".") for line in PROSE], "fineweb_line_punctuation"),
        ([*PROSE[:4], *(f"A short line {k}." for k in range(30))], "fineweb_short_lines"),
        ([*PROSE, PROSE[0]], "fineweb_duplicate_chars"),
        ([f"one two a{k}" for k in range(40)], "fineweb_newlines"),
    ],
)
def test_each_rule(lines: list[str], reason: str | None) -> None:
    operator = FinewebQuality()
    columns = score_text(pa.array(["\n".join(lines)]), operator.signals)
    fired = {name for name, mask in operator.fired(columns).items() if mask[0]}
    assert (reason in fired) if reason else not fired


def test_lines_that_c4_removes_count_only_when_asked() -> None:
    columns = score_text(pa.array(["\n".join([*PROSE, *["One two."] * 30])]), FinewebQuality().signals)
    fired = [{name for name, mask in FinewebQuality(after_c4=cut).fired(columns).items() if mask[0]} for cut in (1, 0)]
    assert fired == [set(), {"fineweb_duplicate_chars"}]
