"""Personal data found by trying every pattern at every place: the slow twin of the kernel that says where to try."""

from __future__ import annotations

from curator.signals.personal import KINDS
from curator.signals.text.personal import _PATTERNS, Span, apart, holds

__all__ = ["personal", "slow_spans"]


def slow_spans(text: str) -> list[Span]:
    raw = text.encode()
    found = []
    for kind, name in enumerate(KINDS):
        for begin in range(len(raw)):
            match = _PATTERNS[name].match(raw, begin)
            if match is not None and holds(name, match):
                found.append(Span(0, begin, match.end(), kind))
    return apart(found)


def personal(text: str) -> dict[str, float]:
    kinds = [span.kind for span in slow_spans(text)]
    return {f"num_{name}s": float(kinds.count(kind)) for kind, name in enumerate(KINDS)}
