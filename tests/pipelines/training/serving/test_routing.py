"""Light batches go where there is time, heavy ones where they are quick."""

from __future__ import annotations

from pipelines.training.serving.buckets import Bucket
from pipelines.training.serving.routing import Routing

LIGHT, HEAVY = Bucket(1, 32), Bucket(256, 128)
COSTS = {"cpu": {LIGHT: 0.002, HEAVY: 2.0}, "gpu": {LIGHT: 0.001, HEAVY: 0.010}}


def test_the_quickest_when_nothing_is_owed() -> None:
    assert Routing(COSTS).chosen(LIGHT) == "gpu" and Routing(COSTS).chosen(HEAVY) == "gpu"


def test_a_light_batch_goes_to_the_cpu_while_the_gpu_is_at_a_heavy_one() -> None:
    routing = Routing(COSTS)
    assert [routing.chosen(HEAVY), routing.chosen(LIGHT), routing.chosen(HEAVY)] == ["gpu", "cpu", "gpu"]
    routing.done("gpu", HEAVY)
    routing.done("gpu", HEAVY)
    assert routing.chosen(LIGHT) == "gpu", "what is done is owed no more"


def test_what_a_backend_owes_is_shared_by_its_workers() -> None:
    routing = Routing(COSTS, {"gpu": 20})
    assert [routing.chosen(HEAVY), routing.chosen(LIGHT)] == ["gpu", "gpu"]
