"""What the user must hear of a run that went well: warnings, from its outputs and loudest first.

Knows the steps' outputs and the recipe's operators; nothing of who shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from curator.recipe import Recipe

__all__ = ["NEARLY_ALL", "warnings_of"]

NEARLY_ALL: Final = 0.9
"""Share of rows from which on one rule's drops are more likely a wrong setting than bad data."""

_MISSING: Final = {
    "missing_content": "had no content: is it the right column in columns?",
    "missing_label": "had no label: is it the right column in columns.label?",
    "undecodable_image": "held no readable image: is it the right column in columns.image?",
}


def warnings_of(recipe: Recipe, outputs: Mapping[str, Any]) -> tuple[str, ...]:
    """outputs: of the steps validate, learn and decide (by unit)."""
    rows = outputs["validate"]["rows"]
    decided = outputs["decide"].values()
    reasons: Counter[str] = Counter()
    for item in decided:
        reasons.update(item["reasons"])
    found = []
    if not any(item["kept"] for item in decided):
        found.append(f"not one of {rows:,} rows was kept; the ledger says why for each, the manifest is empty")
    found += _sweeping(recipe, reasons, rows)
    return (*dict.fromkeys(found), *outputs["validate"]["warnings"], *outputs["learn"]["scorecard"].get("warnings", ()))


def _sweeping(recipe: Recipe, reasons: Mapping[str, int], rows: int) -> Iterator[str]:
    """A line for each rule that alone decided the drop of nearly all rows."""
    for operator in recipe.process:
        mine = {name: reasons[name] for name in operator.reasons if reasons[name]}
        dropped = sum(mine.values())
        if dropped and dropped >= NEARLY_ALL * rows:
            yield (
                f"the rule {operator.kind} dropped {_share(dropped, rows)} ({', '.join(mine)}): unless the data is "
                f"that bad, its setting does not fit; try others with winnow what-if"
            )
    for name, words in _MISSING.items():
        if reasons[name] and reasons[name] >= NEARLY_ALL * rows:
            yield f"{_share(reasons[name], rows)} {words}"


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%} of all rows ({count:,} of {rows:,})"
