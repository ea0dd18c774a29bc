"""From a recipe's `parallel` section to the way its model lies on the ranks.

Knows the kinds; each is loaded when it is used.
"""

from __future__ import annotations

from pipelines.training.kinds import TrainingRecipe
from pipelines.training.parallel.kinds import DataParallel, LocalSteps, ShardedParallel
from pipelines.training.parallel.ranks import Ranks
from pipelines.training.parallel.spread import Spread, Whole
from pipelines.training.precision import Placement

__all__ = ["spread_for"]


def spread_for(recipe: TrainingRecipe, ranks: Ranks, placement: Placement, num_steps: int = 0) -> Spread:
    """The whole model here, where there is one rank. `num_steps`: of the job, which `diloco` starts a share of
    together."""
    parallel = recipe.parallel
    if isinstance(parallel, DataParallel) and ranks.world_size > 1:
        from pipelines.training.parallel.replicas import Replicas

        return Replicas(parallel, placement.device)
    if isinstance(parallel, ShardedParallel):
        from pipelines.training.parallel.shards import OneSlice, Shards

        away = parallel.offload and placement.device.type != "cpu"
        return Shards(parallel, placement) if ranks.world_size > 1 or away else OneSlice()
    if isinstance(parallel, LocalSteps) and ranks.board is not None:
        from pipelines.training.parallel.workers import Workers

        return Workers(parallel, ranks.board, round(parallel.start * num_steps))
    return Whole()
