"""Rank: a difficulty model is fitted on kept rows, so that what was dropped does not shape the curriculum.

Labelled tasks: out-of-fold loss of heads fitted on curated labels. Text: mean surprisal in bits per byte under a
small byte model of the kept text. Either sample is chosen by sample id among kept rows alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from curator.signals.surprisal import SurprisalModel
from curator.verdict import RELABEL
from pipelines.job import Job
from pipelines.judging import load_rows
from pipelines.phases.learn import POLICY_ROWS, kept_mask, sample_mask
from pipelines.sample import Lowest, contents
from pipelines.side import bytes_matrix

if TYPE_CHECKING:
    from agents.proxy.difficulty import DifficultyModel

__all__ = ["final_labels", "load_heads", "load_surprisal", "rank"]

TEXT_BYTES: Final = 32 << 20
"""Kept text the byte model is fitted on, or one text if it is longer; more adds cost and little else."""
ENOUGH: Final = 0.9
"""Share of it from which on a model of an earlier run is as good as one of this run's own."""
_ANY_ROWS: Final = 1 << 62


def rank(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Fits and saves the difficulty model. Returns {rows} it was fitted on: none where it is an earlier run's."""
    kept = sum(output["kept"] for output in outputs["decide"].values())
    if kept == 0:
        return {"rows": 0}
    labelled = job.recipe.task == "classification"
    return _rank_labelled(job, outputs, kept) if labelled else _rank_text(job, outputs)


def final_labels(job: Job, unit: int, labels: np.ndarray) -> np.ndarray:
    """int64[n]: the label each row carries after the decision."""
    table = job.read_side(unit, "verdicts", ["action", "predicted"])
    relabeled = table["action"].to_numpy() == RELABEL
    return np.where(relabeled, table["predicted"].to_numpy(), labels)


def _rank_labelled(job: Job, outputs: dict[str, Any], kept: int) -> dict[str, Any]:
    from agents.proxy.difficulty import DifficultyModel  # torch: only where labels are learned

    share = min(1.0, POLICY_ROWS / kept)
    vectors, labels, ids = [], [], []
    for unit in range(len(job.plan.units)):
        rows, _ = load_rows(job, unit, outputs)
        chosen = kept_mask(job, unit) & sample_mask(rows.ids, share)
        assert rows.embeddings is not None
        vectors.append(rows.embeddings[chosen])
        labels.append(final_labels(job, unit, rows.labels)[chosen])
        ids.append(rows.ids[chosen])
    sample = np.concatenate(vectors)
    model = DifficultyModel.fit(
        sample,
        np.concatenate(labels),
        np.concatenate(ids),
        classes=len(outputs["validate"]["classes"]),
        seed=job.recipe.seed,
    )
    with job.publish("difficulty") as folder:
        model.save(folder / "heads.safetensors")
    return {"rows": len(sample)}


def _rank_text(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    earlier = _of_earlier_run(job)
    if earlier is not None:
        _save_surprisal(job, earlier)
        return {"rows": 0}
    lowest = Lowest(_ANY_ROWS, TEXT_BYTES)
    for unit in range(len(job.plan.units)):
        table = job.read_side(unit, "signals", ["sample_id", "content_bytes"])
        rows = np.flatnonzero(kept_mask(job, unit))
        ids = bytes_matrix(table["sample_id"], np.uint8)
        lowest.add(unit, rows, ids[rows], table["content_bytes"].to_numpy()[rows])
    places = lowest.places()
    model = SurprisalModel.fit(contents(job, places, outputs["score"]), seed=job.recipe.seed)
    _save_surprisal(job, model)
    return {"rows": len(places)}


def _of_earlier_run(job: Job) -> SurprisalModel | None:
    """The byte model of the run that this one goes on from, where it saw about as much text as any does: rows that come
    later are measured as those before them were, and a small run does not fit a model as large as that of a big one."""
    earlier = None if job.recipe.against is None else Job(job.root, job.recipe.against)
    if earlier is None or not earlier.store.exists(_surprisal_name(earlier)):
        return None
    model = load_surprisal(earlier)
    return model if model.num_bytes >= ENOUGH * TEXT_BYTES else None


def load_surprisal(job: Job) -> SurprisalModel:
    """The byte model that `rank` saved for text."""
    return SurprisalModel.from_bytes(job.store.read_bytes(_surprisal_name(job)))


def _save_surprisal(job: Job, model: SurprisalModel) -> None:
    job.store.write_bytes(_surprisal_name(job), model.to_bytes())


def _surprisal_name(job: Job) -> str:
    return job.name("difficulty", "surprisal.bin")


def load_heads(job: Job) -> DifficultyModel:
    """The cross-fitted heads that `rank` saved for labelled rows."""
    from agents.proxy.difficulty import DifficultyModel

    with job.files("difficulty") as folder:
        return DifficultyModel.load(folder / "heads.safetensors")
