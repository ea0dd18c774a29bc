"""Trying a recipe out: a process that does on some rows what a run would do on all, and leaves nothing behind.

The process (`rehearsing.py`) may load torch, which this one may not; it holds no key and no connection, gets so much
memory, time and disk, and ends with its answer. Knows processes; nothing of recipes.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import Any, Final

from api.inspection import confined_environment
from api.intake import first_units, without_folders
from api.limits import Places
from curator.catalog import DatasetVersion
from curator.errors import InputError, RecipeError, RequestError, RetryableError
from curator.recipe import Recipe
from curator.settings import Settings

__all__ = ["MOST_ROWS", "Rehearsals"]

MOST_ROWS: Final = 10_000
AT_ONCE: Final = 2
ROWS_BYTES: Final = 256 * 2**20
"""Rows are read until they take this much; then there are fewer of them."""
DISK_BYTES: Final = 2**31
_KINDS: Final = {kind.code: kind for kind in (RequestError, RecipeError, InputError)}


class Rehearsals:
    """Two processes at a time, one for a tenant. Threads share it."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._places = Places(AT_ONCE, "too_many_dry_runs", "a dry run")
        self._children: set[subprocess.Popen[bytes]] = set()

    def tried(self, tenant: str, version: DatasetVersion, recipe: Recipe, rows: int) -> dict[str, Any]:
        """What the rows come to. Raises RecipeError, InputError, RequestError for what takes too long or too much;
        Refusal 429 when others are at it; RetryableError when no process could be started."""
        schema, units = first_units(version)
        asked = {"recipe": recipe.model_dump(mode="json"), "rows": rows, "rows_bytes": ROWS_BYTES}
        asked["schema"] = base64.b64encode(schema.serialize().to_pybytes()).decode()
        asked["units"] = [unit.model_dump(mode="json") for unit in units]
        asked |= {"memory_bytes": self._settings.inspection_memory_bytes, "disk_bytes": DISK_BYTES}
        asked |= {"cpu_s": int(self._settings.dry_run_s) * 4}
        with self._places.one(tenant), tempfile.TemporaryDirectory(prefix="winnow-dry-") as folder:
            told = self._answer({**asked, "folder": folder})
        if "refused" in told:
            kind, message = _KINDS.get(told["refused"]["code"], RequestError), str(told["refused"]["message"])
            raise kind(without_folders(message, version.inputs))
        answer: dict[str, Any] = told["found"]
        return answer

    def close(self) -> None:
        """Ends what is under way."""
        for child in list(self._children):
            _end(child)

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            child = subprocess.Popen(
                (sys.executable, "-P", "-m", "api.rehearsing"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=asked["folder"],
                start_new_session=True,
                env={**confined_environment(), "OMP_NUM_THREADS": "1", "TMPDIR": asked["folder"]},
            )
        except OSError as error:
            raise RetryableError(f"no process could be started to try it: {error}; ask again") from error
        self._children.add(child)
        try:
            said, _ = child.communicate(json.dumps(asked).encode(), timeout=self._settings.dry_run_s)
        except subprocess.TimeoutExpired as error:
            raise RequestError(
                f"the dry run took longer than {self._settings.dry_run_s:g} s (WINNOW_DRY_RUN_S); try fewer rows"
            ) from error
        finally:
            with child:  # closes its pipes
                _end(child)
            self._children.discard(child)
        try:
            told: dict[str, Any] = json.loads(said)
        except ValueError as error:
            raise RequestError(
                "the dry run broke off: it needs more memory (WINNOW_INSPECTION_MEMORY_BYTES) or processor time than "
                "one may take; try fewer rows"
            ) from error
        return told


def _end(child: subprocess.Popen[bytes]) -> None:
    """The process and whatever it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
