"""Decide: a verdict for every row of a unit, from side files alone. Judging is not acting: nothing is dropped here.

Order of authority: content missing or broken, trusted truth, the recipe's operators in their order, the policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from curator.verdict import DROP, RELABEL
from pipelines.copies import read_copies
from pipelines.draft import VERDICTS, Draft
from pipelines.job import Job
from pipelines.judging import load_judge, load_rows, truth_of
from pipelines.phases.reasons import reason_names
from pipelines.rules import badness, readable, said, to_mask

__all__ = ["decide", "judged", "tally"]


def decide(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's verdicts. Returns {rows, kept, dropped, relabeled, reasons: {name: rows}}."""
    verdicts = judged(job, unit, outputs)
    with job.side_writer(unit, "verdicts", VERDICTS) as writer:
        writer.write_batch(verdicts)
    return tally(verdicts, reason_names(job.recipe))


def tally(verdicts: pa.RecordBatch, names: tuple[str, ...]) -> dict[str, Any]:
    """Rows by action and by decisive reason."""
    actions = verdicts.column("action").to_numpy()
    reasons = verdicts.column("reason").to_numpy()
    counts = np.bincount(reasons[reasons >= 0], minlength=len(names))
    return {
        "rows": len(actions),
        "kept": int((actions != DROP).sum()),
        "dropped": int((actions == DROP).sum()),
        "relabeled": int((actions == RELABEL).sum()),
        "reasons": {names[code]: int(count) for code, count in enumerate(counts) if count},
    }


def judged(job: Job, unit: int, outputs: dict[str, Any]) -> pa.RecordBatch:
    """The unit's verdicts as a value of schema VERDICTS."""
    recipe = job.recipe
    table = job.read_side(unit, "signals")
    copies = read_copies(job, unit, table.num_rows)
    rows, _ = load_rows(job, unit, outputs)
    found = said(recipe, table, readable(job, unit, table), copies.operator)
    draft = Draft(reason_names(recipe), found, badness(recipe, table))
    if outputs["learn"]["judge"]:
        no_content = "undecodable_image" if recipe.modality == "image" else "missing_content"
        draft.judge(load_judge(job.root, job.run, outputs["learn"]["policy"]), rows, no_content=no_content)
    draft.settle(truth_of(job, rows.ids), rows.labels, labelled=recipe.task == "classification")
    draft.mask(to_mask(recipe, table))
    return draft.batch(copies, rows.labels)
