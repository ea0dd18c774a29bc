"""Plain values from a YAML or JSON file; a file that cannot be parsed is told as a place and a remedy.

Knows what the two parsers complain of; nothing of what a recipe may hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from yaml.reader import ReaderError

from curator.errors import RecipeError

__all__ = ["read_plain"]


class _Remedy(NamedTuple):
    """What a YAML parser says, what it means, what to do; `opened`: the place to show is where it began."""

    words: str
    meaning: str
    remedy: str
    opened: bool = False


_REMEDIES: Final = (
    _Remedy("'\\t' that cannot start", "a tab where only spaces may stand", "indent with spaces"),
    _Remedy("that cannot start any token", "this character begins no value", "put the value in quotes"),
    _Remedy(
        "mapping values are not allowed",
        "a second colon on the line, or a line indented deeper than the one before it",
        "put a value that holds a colon in quotes, or take the indentation back",
    ),
    _Remedy(
        "could not find expected ':'", "a name without its colon", "write `name: value`, a space after the colon", True
    ),
    _Remedy("expected <block end>", "the line is indented or begun unlike those beside it", "line it up with them"),
    _Remedy("expected ',' or", "the bracket opened here is not closed, or a comma is missing in it", "close it", True),
    _Remedy("found unexpected end of stream", "the quote opened here is never closed", "close the quote", True),
    _Remedy(
        "undefined alias", "`*` at the start of a value names something that is not there", "put the value in quotes"
    ),
    _Remedy("for the tag", "`!` at the start of a value names a type that is not there", "put the value in quotes"),
)


class _Fault(NamedTuple):
    line: int
    column: int
    meaning: str
    remedy: str
    shown: str


def read_plain(path: Path) -> Any:
    """What a .json, .yaml or .yml file holds.

    Raises RecipeError with file, line (1-based), column (1-based), what is wrong there and what to do; OSError and
    UnicodeDecodeError as they are.
    """
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        fault = _fault(text, error)
        raise RecipeError(
            f"{path}, line {fault.line}, column {fault.column}: {fault.meaning}; {fault.remedy}, and try again"
            + (f"\n{fault.shown}" if fault.shown else "")
        ) from error


def _fault(text: str, error: json.JSONDecodeError | yaml.YAMLError) -> _Fault:
    if isinstance(error, json.JSONDecodeError):
        shown = _pointed(text, error.lineno - 1, error.colno - 1)
        return _Fault(error.lineno, error.colno, f"this is not JSON ({error.msg})", "correct it here", shown)
    if isinstance(error, ReaderError):
        before = text[: error.position]
        column = error.position - (before.rfind("\n") + 1)
        meaning = f"the character {error.character!a} may not stand in YAML"
        return _Fault(before.count("\n") + 1, column + 1, meaning, "delete it", "")
    if not isinstance(error, yaml.MarkedYAMLError):
        return _Fault(1, 1, f"this is not YAML ({error})", "correct it", "")
    said = " ".join(filter(None, (error.context, error.problem)))
    fitting = next((remedy for remedy in _REMEDIES if remedy.words in said), _unknown(said))
    marks = (error.context_mark, error.problem_mark)
    mark: Any = next(filter(None, marks if fitting.opened else reversed(marks)))
    return _Fault(
        mark.line + 1, mark.column + 1, fitting.meaning, fitting.remedy, _pointed(text, mark.line, mark.column)
    )


def _unknown(said: str) -> _Remedy:
    return _Remedy(
        "", f"this is not YAML ({said})", "look at this line and the one above for indentation, colons and quotes"
    )


def _pointed(text: str, line: int, column: int) -> str:
    """The line with a caret under the place; empty at the end of the file."""
    lines = text.split("\n")
    if line >= len(lines):
        return ""
    start = max(column - 60, 0)
    piece = lines[line][start : start + 80].replace("\t", " ")
    return f"    {piece}\n    {' ' * (column - start)}^"
