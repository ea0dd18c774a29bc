"""What every test may ask for: the evaluation data, or a clear word why it is not here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.postgresql import postgresql_server, postgresql_url

__all__ = ["data", "postgresql_server", "postgresql_url"]

DATA = Path(os.environ.get("WINNOW_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of evaluation datasets; the test is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no evaluation data at {DATA}; set WINNOW_DATA to its folder")
    return DATA
