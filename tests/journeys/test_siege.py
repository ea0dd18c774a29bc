"""kill -9 over a served house: its runs end as if nothing had been, and it is back within seconds.

`TEST_KILLS` sets how many (default 4); `tests/benchmarks/kill_soak.py` does it by the hundred, Ray included.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks._siege import Siege, stopped
from tests.benchmarks.kill_soak import Soak, free_port

KILLS = int(os.environ.get("TEST_KILLS", "4"))


@pytest.mark.timeout(900)
def test_a_service_under_siege_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with stopped(Siege(tmp_path, free_port())) as siege:
        siege.keep_served()
        soak = Soak(siege, ("api", "runner"), ("text",), seed=5)
        soak.undisturbed()
        soak.go_on(KILLS, minutes=10)
        assert soak.num_kills >= KILLS
        assert siege.num_runs() == soak.state["submitted"] == soak.state["ended"]
    assert siege.left == []
