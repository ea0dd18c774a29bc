"""Finish lists what is there: a shard that went while the run stood still is no part of a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from curator.errors import IntegrityError, StoppedError
from curator.run import RunRequest
from curator.storage import Store
from tests.pipelines.conftest import MemoryJournal
from tests.pipelines.test_execute import go, text_recipe


@pytest.mark.parametrize("lost", [True, False])
def test_a_shard_that_went_while_the_run_stood_still_stops_it(tmp_path: Path, texts: Path, lost: bool) -> None:
    request, whole = RunRequest(inputs=(str(texts),), recipe=text_recipe()), MemoryJournal()
    undisturbed = go(tmp_path / "whole", request, whole)
    journal, store = MemoryJournal(), Store.open(tmp_path / "root")
    journal.stop_after = whole.commits - 1
    with pytest.raises(StoppedError):
        go(tmp_path / "root", request, journal)
    assert "write" in journal.outputs and "finish" not in journal.outputs
    journal.stop_after = None
    if lost:
        store.delete(store.list("shards")[0])
        with pytest.raises(IntegrityError, match=r"is not in .+ any more.+Start a new run"):
            go(tmp_path / "root", request, journal)
        assert not store.list("manifests")
    else:
        assert go(tmp_path / "root", request, journal).manifest == undisturbed.manifest
