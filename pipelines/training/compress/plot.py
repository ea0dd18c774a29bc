"""Pictures of a compression: its steps, bytes against accuracy; and how sensitive each matrix is. SVGs without scripts
or fonts of their own.

Knows figures; draws nothing that is not among them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.report import Step

__all__ = ["curves", "svg"]

_WIDTH: Final = 720
_HEIGHT: Final = 400
_MARGIN: Final = 60
_LINE: Final = 18
_NAMES: Final = 260
_COLOURS: Final[dict[Precision, str]] = {"fp16": "#1a7f37", "int8": "#0969da", "int4": "#b42318"}
_LEAST: Final = 1e-12
"""nats; what costs nothing, or less by rounding, is drawn here"""


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


def curves(costs: Mapping[tuple[str, Precision], float]) -> str:
    """A line for each matrix, the least sensitive on top: the nats that it costs in fp16, int8 and int4, on one
    logarithmic axis."""
    matrices = {name for name, precision in costs if precision != "fp16"}
    order = sorted(matrices, key=lambda name: (costs[name, "int8"], name))
    places = {key: math.log10(max(cost, _LEAST)) for key, cost in costs.items() if key[0] in matrices}
    width, height = _NAMES + _WIDTH, 3 * _LINE + _LINE * len(order)
    rows = [_curve(name, _LINE * (2 + row), places, costs) for row, name in enumerate(order)]
    keys = " ".join(f'<tspan fill="{colour}">{precision}</tspan>' for precision, colour in _COLOURS.items())
    low, high = (10 ** end(places.values(), default=0.0) for end in (min, max))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><text x="{_NAMES}" y="14">KL of the scores when one matrix alone is narrow, {low:.1e} to '
        f"{high:.1e} nats, logarithmic: {keys}</text>{''.join(rows)}</svg>\n"
    )


def _curve(
    name: str, y: int, places: Mapping[tuple[str, Precision], float], costs: Mapping[tuple[str, Precision], float]
) -> str:
    own = [key for key in places if key[0] == name]
    xs = [_NAMES - _MARGIN + _place(places[key], list(places.values()), _WIDTH) for key in own]
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{_COLOURS[precision]}"><title>{escape(name)} in {precision}: '
        f"{costs[name, precision]:.2e} nats</title></circle>"
        for x, (_, precision) in zip(xs, own, strict=True)
    )
    line = f'<path d="M{min(xs):.1f} {y}H{max(xs):.1f}" stroke="#ccc"/>'
    return f'<g><text x="{_NAMES - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>{line}{marks}</g>'


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
