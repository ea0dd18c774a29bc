"""Running a script under Triton's interpreter, on a CPU. For tests of kernels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version


def _works() -> bool:
    """Triton before 3.7 interprets no kernel under NumPy 2.3 and later."""
    return importlib.util.find_spec("triton") is not None and Version(version("triton")) >= Version("3.7")


interpreted = pytest.mark.skipif(not _works(), reason="needs Triton 3.7 or later (pip install 'triton>=3.7')")


def run(script: str) -> str:
    """What the script prints, in a process of its own: the interpreter is chosen before Triton is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()
