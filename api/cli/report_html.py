"""The report card as one HTML page: no script, no other file, every word of the data escaped.

Knows HTML and a card, nothing of runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from api.cli.report_card import Example, Reason, ReportCard

__all__ = ["page"]

STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{background:#8883;height:.7rem;min-width:8rem}.bar i{display:block;height:100%;background:#3a7d44}
.drop i{background:#b3541e}.warning{border-left:4px solid #b3541e;padding:.5rem 1rem;background:#b3541e22}
.example{margin:.25rem 0;white-space:pre-wrap;overflow-wrap:anywhere}.example b{font-weight:600}
.example img{display:block;max-height:8rem}
code{font-size:.9em;overflow-wrap:anywhere}small{opacity:.75}
@media(max-width:40rem){
.reasons tr{display:block;border-bottom:1px solid #8884;padding:.25rem 0}.reasons td{display:inline-block;border:0}
.reasons td:first-child,.reasons td:last-child{display:block}}
"""


def page(card: ReportCard) -> str:
    """The whole page as text."""
    summary = card.summary
    parts = [
        f"<h1>Run <code>{escape(summary['run'])}</code></h1>",
        f"<p><small>manifest <code>{escape(summary['manifest'])}</code> · "
        f"policy {escape(summary['policy'])}</small></p>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in summary["warnings"]),
        _section("Rows", _counts(summary)),
        _section("Why rows were dropped or relabelled", _reasons(card.reasons, summary["rows_in"])),
        _section("Labels changed", _moves(card)) if card.moves else "",
        _section("Difficulty of kept rows", _bars(summary["difficulty"], max(summary["kept"], 1))),
        _section("Policy scorecard", _pairs(card.scorecard)),
        _section("Seconds by phase", _seconds(summary)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Winnow report {escape(summary['run'])}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{body}"


def _counts(summary: Mapping[str, int]) -> str:
    rows = max(summary["rows_in"], 1)
    lines = [
        _row("in", summary["rows_in"], 1.0, ""),
        _row("kept", summary["kept"], summary["kept"] / rows, ""),
        _row("of which relabeled", summary["relabeled"], summary["relabeled"] / rows, ""),
        _row("dropped", summary["dropped"], summary["dropped"] / rows, "drop"),
    ]
    return _table(lines)


def _reasons(reasons: Iterable[Reason], rows_in: int) -> str:
    lines = []
    for reason in reasons:
        told = "".join(_example(example) for example in reason.examples)
        lines.append(
            f"<tr><td><code>{escape(reason.name)}</code><br><small>{escape(reason.meaning)}</small></td>"
            f'<td class="n">{reason.rows}</td><td class="n">{reason.rows / max(rows_in, 1):.1%}</td>'
            f"<td>{told}</td></tr>"
        )
    return _table(lines, "reasons") if lines else "<p>None: every row was kept as it was.</p>"


def _example(example: Example) -> str:
    labels = ""
    if example.predicted_label is not None:
        labels = f" <small>{_label(example.given_label)} → {escape(example.predicted_label)}</small>"
    picture = f'<img src="{escape(example.picture)}" alt="">' if example.picture else ""
    return f'<p class="example"><b>{escape(example.id)}</b>{labels} {escape(example.content)}{picture}</p>'


def _moves(card: ReportCard) -> str:
    return _table(
        f'<tr><td>{_label(move.given)} → {escape(move.predicted)}</td><td class="n">{move.rows}</td></tr>'
        for move in card.moves
    )


def _label(given: str | None) -> str:
    return "<i>no label</i>" if given is None else escape(given)


def _bars(counts: Mapping[str, int], total: int) -> str:
    return _table(_row(name, count, count / total, "") for name, count in counts.items())


def _seconds(summary: Mapping[str, dict[str, float]]) -> str:
    phases = summary["seconds_by_phase"]
    whole = max(sum(phases.values()), 1e-9)
    return _table(
        f'<tr><td>{escape(name)}</td><td class="n">{seconds:.1f}</td><td>{_bar(seconds / whole, "")}</td></tr>'
        for name, seconds in phases.items()
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return _table(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in pairs)


def _row(name: str, count: int, share: float, kind: str) -> str:
    return (
        f'<tr><td>{escape(name)}</td><td class="n">{count}</td><td class="n">{share:.1%}</td>'
        f"<td>{_bar(share, kind)}</td></tr>"
    )


def _bar(share: float, kind: str) -> str:
    return f'<div class="bar {kind}"><i style="width:{100 * min(share, 1.0):.1f}%"></i></div>'


def _table(rows: Iterable[str], kind: str = "") -> str:
    return f'<table class="{kind}">{"".join(rows)}</table>'
