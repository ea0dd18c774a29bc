"""`winnow report`: the report card of a run, as text or as one HTML file.

Knows how a card is told; what it holds is `report_card`'s.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import ApiKey, AsJson, Root, Url, place_of

if TYPE_CHECKING:
    from api.cli.report_card import ReportCard

__all__ = ["report", "told"]


@exit_codes
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or `last`.")],
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write the card to a self-contained page.")] = None,
    as_json: AsJson = False,
    root: Root = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show what a run did: rows, reasons with examples, difficulty, scorecard, seconds."""
    from api.cli.outputs import output_file, written_to
    from api.cli.report_card import gather, gather_from_server

    page_file = None if html is None else output_file(html, "--html")
    with place_of(root, url, api_key) as place:
        card = gather_from_server(place.client, run) if place.root is None else gather(place.store(), place.run(run))
    if html is not None and page_file is not None:
        from api.cli.report_html import page

        store, name = page_file
        with written_to(html, "--html"):
            store.write_bytes(name, page(card).encode())
    if as_json:
        typer.echo(json.dumps(card.model_dump(mode="json")))
    elif html is not None:
        typer.echo(f"the report card of {card.summary['run']} is in {html}")
    else:
        typer.echo(told(card))


def told(card: ReportCard) -> str:
    """The card as plain text. Control characters of sample text are shown, not obeyed."""
    summary = card.summary
    share = summary["kept"] / summary["rows_in"] if summary["rows_in"] else 0.0
    lines = [
        f"run {summary['run']}",
        f"manifest {summary['manifest']}   policy {summary['policy']}",
        *(f"WARNING: {warning}" for warning in summary["warnings"]),
        "",
        f"rows in     {summary['rows_in']:>10}",
        f"kept        {summary['kept']:>10}  {share:.1%}, of which {summary['relabeled']} relabeled",
        f"dropped     {summary['dropped']:>10}",
        "",
        "reasons",
    ]
    for reason in card.reasons:
        lines.append(f"{reason.rows:>10}  {reason.name}{': ' + reason.meaning if reason.meaning else ''}")
        for example in reason.examples:
            content = f": {example.content}" if example.content else ""
            labels = f" [{_label(example.given_label)} -> {example.predicted_label}]" if example.predicted_label else ""
            lines.append(f"            {example.id} {example.action}{labels}{content}")
    if not card.reasons:
        lines.append("            none: every row was kept as it was")
    if card.moves:
        lines += ["", "labels changed"]
        lines += [f"{move.rows:>10}  {_label(move.given)} -> {move.predicted}" for move in card.moves]
    lines += ["", "difficulty of kept rows"]
    lines += [f"{count:>10}  {name}" for name, count in summary["difficulty"].items()]
    lines += ["", "policy scorecard", *(f"  {name}: {text}" for name, text in card.scorecard)]
    lines += ["", "seconds by phase"]
    lines += [f"{seconds:>10.1f}  {name}" for name, seconds in summary["seconds_by_phase"].items()]
    lines.append(
        f"{summary['seconds']:>10.1f}  in all, {summary['peak_rss_bytes'] / 2**20:.0f} MiB of memory at the most"
    )
    return "\n".join(map(visible, lines))


def _label(given: str | None) -> str:
    """The label a row came with; none at all is not the class called `None`."""
    return "(no label)" if given is None else given


def visible(text: str) -> str:
    """One line in which nothing can steer a terminal: control characters as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
