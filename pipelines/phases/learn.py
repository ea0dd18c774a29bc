"""Learn: the encoder before scoring, the policy after resolving, the difficulty model after deciding.

Each is fitted once, on a bounded sample chosen by sample id, in one process; workers only apply what is saved here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.verdict import DROP
from pipelines.job import Job
from pipelines.judging import load_rows, truth_of
from pipelines.rows import content, used_rows

if TYPE_CHECKING:
    from agents.types import Rows

__all__ = ["ENCODER_ROWS", "POLICY_ROWS", "fit_encoder", "learn", "sample_mask"]

ENCODER_ROWS = 20_000
POLICY_ROWS = 50_000
_ENCODER_UNITS = 16


def fit_encoder(job: Job, _: dict[str, Any]) -> dict[str, Any]:
    """Fits the builtin encoder on the first rows of up to 16 evenly spaced units; saves it. Returns {encoder, rows}."""
    if not job.recipe.needs_vectors:
        return {"encoder": None, "rows": 0}
    from agents.encoders import make_encoder, save_encoder

    encoder = make_encoder(job.recipe.modality, job.recipe.encoder_name)
    sample = _spread_sample(job)
    encoder.fit(sample, seed=job.recipe.seed)
    save_encoder(encoder, job.store, job.name("encoder"))
    return {"encoder": encoder.name, "rows": len(sample)}


def _spread_sample(job: Job) -> pa.Array:
    units = np.unique(np.linspace(0, len(job.plan.units) - 1, _ENCODER_UNITS).astype(int))
    share = ENCODER_ROWS // len(units)
    parts: list[pa.Array] = []
    for unit in units:
        left = share
        for _, batch in used_rows(job.plan, int(unit), columns=job.recipe.content_columns):
            parts.append(content(batch, job.recipe).slice(0, left))
            left -= len(parts[-1])
            if left <= 0:
                break
    return pa.chunked_array(parts).combine_chunks() if parts else pa.array([], pa.string())


def learn(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Fits and saves the policy under judge/. Returns {policy, scorecard}; a rules policy has nothing to fit."""
    if job.recipe.policy.kind == "rules":
        return {"policy": f"pol_rules_{job.recipe.digest[:16]}", "scorecard": {"kind": "rules"}}
    from agents.learner import learn as learn_policy  # torch: only where something is learned

    rows, truth = _learning_rows(job, outputs)
    judge = learn_policy(
        rows,
        truth,
        classes=len(outputs["validate"]["classes"]) or 2,
        task="classification" if job.recipe.task == "classification" else "text",
        config=job.recipe.policy,
        seed=job.recipe.seed,
    )
    with job.publish("judge") as folder:
        judge.save(folder)
    job.store.write_bytes(
        job.name("judge", "report.json"), json.dumps(judge.scorecard, indent=1, sort_keys=True).encode()
    )
    return {"policy": judge.version, "scorecard": judge.scorecard}


def _learning_rows(job: Job, outputs: dict[str, Any]) -> tuple[Rows, np.ndarray]:
    """All trusted rows and the lowest sample ids up to POLICY_ROWS, among rows no rule or duplicate drops."""
    parts, truths = [], []
    survivors = _count_survivors(job, outputs)
    share = min(1.0, POLICY_ROWS / max(survivors, 1))
    for unit in range(len(job.plan.units)):
        rows, alive = load_rows(job, unit, outputs)
        truth = truth_of(job, rows.ids)
        chosen = alive & (sample_mask(rows.ids, share) | (truth >= 0))
        parts.append(rows.take(np.flatnonzero(chosen)))
        truths.append(truth[chosen])
    return _joined(parts), np.concatenate(truths)


def _joined(parts: list[Rows]) -> Rows:
    from agents.types import Rows

    vectors = [part.embeddings for part in parts if part.embeddings is not None]
    return Rows(
        ids=np.concatenate([part.ids for part in parts]),
        embeddings=np.concatenate(vectors) if vectors else None,
        valid=np.concatenate([part.valid for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        signals=np.concatenate([part.signals for part in parts]),
    )


def _count_survivors(job: Job, outputs: dict[str, Any]) -> int:
    return sum(output["rows"] for output in outputs["score"].values()) - outputs["resolve"]["duplicates"]


def sample_mask(ids: np.ndarray, share: float) -> np.ndarray:
    """bool[n]: a fixed share of rows by their ids (uint8[n, 16], uniform hashes); the same rows wherever they lie."""
    lead = ids[:, :8].copy().view(">u8").reshape(-1).astype(np.float64) / 2.0**64
    return lead < share


def kept_mask(job: Job, unit: int) -> np.ndarray:
    """bool[n]: rows the decision keeps."""
    actions = job.read_side(unit, "verdicts", ["action"])["action"]
    return np.asarray(pc.not_equal(actions, DROP).combine_chunks())
