"""The steps of a compression as a picture: bytes against accuracy, one SVG without scripts or fonts of its own.

Knows the report; draws nothing that is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from pipelines.training.compress.report import Step

__all__ = ["svg"]

_WIDTH: Final = 720
_HEIGHT: Final = 400
_MARGIN: Final = 60


def svg(steps: Sequence[Step]) -> str:
    """Bytes on a logarithmic axis, accuracy upwards; filled: nothing kept beats it; crossed: rolled back."""
    sizes = [math.log10(step.num_bytes) for step in steps]
    scores = [step.accuracy for step in steps]
    marks = [
        _mark(step, _place(size, sizes, _WIDTH), _HEIGHT - _place(step.accuracy, scores, _HEIGHT))
        for step, size in zip(steps, sizes, strict=True)
    ]
    axes = (
        f'<path d="M{_MARGIN} {_MARGIN / 2}V{_HEIGHT - _MARGIN}H{_WIDTH - _MARGIN / 2}" fill="none" stroke="#888"/>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">bytes, {min(s.num_bytes for s in steps):,} to '
        f"{max(s.num_bytes for s in steps):,}, logarithmic</text>"
        f'<text x="16" y="{_HEIGHT / 2}" transform="rotate(-90 16 {_HEIGHT / 2})" text-anchor="middle">accuracy, '
        f"{min(scores):.4f} to {max(scores):.4f}</text>"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12">{axes}{"".join(marks)}</svg>\n'
    )


def _place(value: float, values: Sequence[float], length: int) -> float:
    """Along an axis, margins left free."""
    low, high = min(values), max(values)
    share = (value - low) / (high - low) if high > low else 0.5
    return 1.5 * _MARGIN + share * (length - 3 * _MARGIN)


def _mark(step: Step, x: float, y: float) -> str:
    told = f"{step.name}: accuracy {step.accuracy:.4f}, {step.num_bytes:,} bytes, {step.latency_ms:.3f} ms; {step.why}"
    colour = "#1a7f37" if step.kept else "#b42318"
    shape = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" stroke="{colour}" fill="{colour if step.pareto else "none"}"/>'
        if step.kept
        else f'<path d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10" stroke="{colour}" fill="none"/>'
    )
    label = f'<text x="{x + 8:.1f}" y="{y - 6:.1f}" fill="{colour}">{escape(step.name)}</text>'
    return f"<g><title>{escape(told)}</title>{shape}{label}</g>"
