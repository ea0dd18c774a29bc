"""Process names: the dead are told from the living and from those elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from curator.process import has_ended, process_name

PRINT = [sys.executable, "-c", "from curator.process import process_name; print(process_name())"]


def test_a_process_has_one_name_and_has_not_ended_while_it_asks() -> None:
    assert process_name() == process_name() and not has_ended(process_name())


def test_a_process_that_ended_has_ended() -> None:
    name = subprocess.run(PRINT, capture_output=True, text=True, check=True).stdout.strip()
    assert name != process_name() and has_ended(name)


@pytest.mark.parametrize("name", ["", "me", "a/b/c", "a/b/c/d", "///", "a/b/c/d/e"])
def test_nothing_is_told_of_processes_elsewhere(name: str) -> None:
    assert not has_ended(name)
