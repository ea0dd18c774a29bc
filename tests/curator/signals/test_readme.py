"""The README tables are the code: every operator, reason, threshold, signal. `python test_readme.py` rewrites them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from curator.duplicates import ExactDuplicates, NearDuplicates, SemanticDuplicates, UrlDuplicates
from curator.signals.operators import ROW_OPERATORS
from curator.signals.text import FAMILIES

README = Path(__file__).parents[3] / "curator" / "signals" / "README.md"


def operators_table() -> str:
    rows = ["| operator | threshold and default | reason | says |", "|---|---|---|---|"]
    for operator in (*ROW_OPERATORS, ExactDuplicates, NearDuplicates, SemanticDuplicates, UrlDuplicates):
        kind = operator.model_fields["kind"].default
        defaults = ", ".join(
            f"{name} {_plain(field.default)}" for name, field in operator.model_fields.items() if name != "kind"
        )
        for reason, text in operator.reasons.items():
            rows.append(f"| {f'`{kind}`' if kind else ''} | {defaults} | `{reason}` | {text} |")
            kind = defaults = ""
    return "\n".join(rows)


def signals_table() -> str:
    rows = ["| family | signal | says |", "|---|---|---|"]
    for family, members in FAMILIES.items():
        for name, text in members.signals.items():
            rows.append(f"| {family} | `{name}` | {text} |")
            family = ""
    return "\n".join(rows)


def _plain(value: object) -> str:
    if value is None:
        return "off"
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


TABLES = {"operators": operators_table, "signals": signals_table}


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str) -> None:
    found = re.search(f"<!-- {name} -->\n(.*)\n<!-- /{name} -->", README.read_text(encoding="utf-8"), re.S)
    assert found is not None
    assert found.group(1) == TABLES[name]()


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        parts = re.split(f"(<!-- {name} -->\n)(?:.*\n)?(<!-- /{name} -->)", text, flags=re.S)
        text = f"{parts[0]}{parts[1]}{table()}\n{parts[2]}{parts[3]}"
    README.write_text(text, encoding="utf-8")
