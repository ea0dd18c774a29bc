"""A text corpus found on any machine: the documentation, docstrings and licence texts of installed Python packages.

Real duplicates (one licence in a hundred packages), real boilerplate, real junk. Knows no service.
"""

from __future__ import annotations

import ast
import json
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["write_corpus"]

MAX_DOCUMENTS = 12_000
MAX_MODULES = 1_500
MAX_FILE_BYTES = 400_000
MIN_DOCSTRING_CHARS = 200
_PROSE = {".md", ".rst", ".txt", ".py"}
_LEGAL = ("LICENSE", "LICENCE", "NOTICE", "COPYING", "AUTHORS", "METADATA")


def write_corpus(path: Path) -> int:
    """Writes JSON lines {id, source, text} and returns how many; the same installation gives the same file."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as sink:
        for name, source, text in _documents(Path(sysconfig.get_paths()["purelib"])):
            sink.write(json.dumps({"id": name, "source": source, "text": text}, ensure_ascii=False) + "\n")
            count += 1
            if count == MAX_DOCUMENTS:
                break
    return count


def _documents(root: Path) -> Iterator[tuple[str, str, str]]:
    """(id, kind, text): prose and legal files, then the docstrings of evenly chosen modules, each in path order."""
    files = sorted(path for path in root.rglob("*") if _is_document(path) and path.stat().st_size <= MAX_FILE_BYTES)
    for path in files:
        if path.suffix != ".py":
            kind = "legal" if path.name.startswith(_LEGAL) else "prose"
            yield str(path.relative_to(root)), kind, _read(path)
    modules = [path for path in files if path.suffix == ".py"]
    for path in modules[:: max(len(modules) // MAX_MODULES, 1)]:
        yield from _docstrings(path, str(path.relative_to(root)))


def _is_document(path: Path) -> bool:
    return (path.suffix in _PROSE or path.name.startswith(_LEGAL)) and path.is_file()


def _docstrings(path: Path, name: str) -> Iterator[tuple[str, str, str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escapes in other people's code
            tree = ast.parse(_read(path))
    except (SyntaxError, ValueError, RecursionError):  # test data of other Pythons; not ours to mend
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=True) or ""
            if len(text) >= MIN_DOCSTRING_CHARS:
                line = getattr(node, "lineno", 0)
                yield f"{name}:{line}:{getattr(node, 'name', 'module')}", "docstring", text


def _read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace").replace("\x00", "")
