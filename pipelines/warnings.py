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


def warnings_of(
    recipe: Recipe, outputs: Mapping[str, Any], *, versions: Mapping[str, int] | None = None
) -> tuple[str, ...]:
    """outputs: of the steps validate, resolve, learn, decide and write (both by unit). versions: of the software, and
    how much of the run each did."""
    rows = outputs["validate"]["rows"]
    decided = outputs["decide"].values()
    reasons: Counter[str] = Counter()
    for item in decided:
        reasons.update(item["reasons"])
    found = []
    if not any(item["kept"] for item in decided):
        found.append(f"not one of {rows:,} rows was kept; the ledger says why for each, the manifest is empty")
    found += _sweeping(recipe, reasons, rows)
    found += _unheard(outputs, rows)
    found += _bridged(recipe, outputs)
    found += _mixed(versions or {})
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


def _bridged(recipe: Recipe, outputs: Mapping[str, Any]) -> Iterator[str]:
    """A line where an earlier run, all rows known, would have kept fewer."""
    bridged = outputs["resolve"]["bridged"]
    if bridged:
        yield (
            f"{bridged:,} row(s) that runs up to {recipe.against} kept turn out to be copies of others they kept, tied "
            "to them by rows of this run; they stay in those runs' manifests"
        )


def _unheard(outputs: Mapping[str, Any], rows: int) -> Iterator[str]:
    """Feedback was given and is about none of the rows."""
    matched = [item["reported"] for item in outputs.get("write", {}).values() if item.get("reported") is not None]
    if matched and not sum(matched):
        yield (
            f"0 of {rows:,} rows have a reported loss, so the feedback taught the policy nothing: the training jobs "
            f"named saw other rows. Name jobs that trained on this data, with the same id column"
        )


def _mixed(versions: Mapping[str, int]) -> Iterator[str]:
    """A run that one version of the software began and another went on with."""
    if len(versions) > 1:
        shares = ", ".join(f"{count:,} step(s) by {name}" for name, count in sorted(versions.items()))
        yield (
            f"the run was made by {len(versions)} versions of Winnow ({shares}), which may judge alike rows "
            f"differently; start a new run to have one version judge all rows"
        )


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%} of all rows ({count:,} of {rows:,})"
