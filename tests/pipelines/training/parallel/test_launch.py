"""Which process of a launcher this is, and what is said to one that makes no sense."""

from __future__ import annotations

import pytest

from curator.errors import RecipeError, RequestError
from pipelines.training.parallel.launch import Launch, launch, meeting_place
from pipelines.training.parallel.ranks import ALONE, joined
from tests.pipelines.training.examples import SMALL, fast

RECIPE = SMALL["text-classifier"]


def _set(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_nobody_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch)
    assert launch() == Launch(0, 1, 0)
    with joined(RECIPE) as ranks:
        assert ranks == ALONE and ranks.leads and ranks.total(2, 3) == [2, 3] and ranks.same("a") == "a"


def test_torchrun_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", MASTER_ADDR="host", MASTER_PORT="29500")
    assert launch() == Launch(5, 8, 1) and meeting_place() == ("host", 29500)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK is 4 and WORLD_SIZE 4"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE 0"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', not a number"),
    ],
)
def test_an_environment_without_sense(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], told: str) -> None:
    _set(monkeypatch, **values)
    with pytest.raises(RequestError, match=told):
        launch()


def test_several_ranks_and_a_recipe_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, RANK="1", WORLD_SIZE="4")
    with pytest.raises(RequestError, match=r"WORLD_SIZE is 4.*`parallel: none`"), joined(RECIPE):
        pass


@pytest.mark.parametrize("kind", ["ddp", "fsdp", "diloco"])
def test_ranks_that_do_not_divide_the_batch(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _set(monkeypatch, RANK="1", WORLD_SIZE="5", MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    told = "5 ranks do not divide global_batch_size 16.*Start 4 ranks, or make global_batch_size 20"
    with pytest.raises(RecipeError, match=told), joined(fast(RECIPE, parallel=kind)):
        pass


@pytest.mark.parametrize("kind", ["ddp", "diloco"])
def test_ranks_that_cannot_find_each_other(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _set(monkeypatch, RANK="1", WORLD_SIZE="2")
    with pytest.raises(RequestError, match="MASTER_ADDR is not set"), joined(fast(RECIPE, parallel=kind)):
        pass
