"""A verdict: keep, drop or relabel a row, with the reason; and the one function that acts on verdicts.

Judging is not acting: policies and rules fill columns, `apply` alone splits rows. Knows nothing of how a verdict
was reached or where rows go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ACTIONS", "DROP", "KEEP", "POLICY_REASONS", "RELABEL", "Applied", "apply"]

KEEP: Final = 0
DROP: Final = 1
RELABEL: Final = 2
ACTIONS: Final = ("keep", "drop", "relabel")
"""Names by code; a ledger stores them as a dictionary column."""

POLICY_REASONS: Final = {
    "label_error": "the learned policy finds the given label wrong",
    "low_quality": "the learned policy finds the row worth less than nothing to training",
    "trusted_label": "the trusted sample gives another label",
    "trusted_drop": "the trusted sample marks the row as bad",
    "trusted_keep": "the trusted sample marks the row as good, whatever the rules say of its content",
    "missing_label": "the label is null or empty and the recipe's task needs one",
    "missing_content": "the text or image is null or empty",
    "undecodable_image": "the image bytes cannot be decoded",
    "personal_data_masked": "kept, with placeholders in place of personal data and keys",
    "override": "a person decided",
}
"""Reasons given outside the operators of a recipe; each operator lists its own."""


class Applied(NamedTuple):
    """Rows split by their verdicts, input order kept in both parts."""

    kept: pa.RecordBatch
    dropped: pa.RecordBatch


def apply(
    batch: pa.RecordBatch,
    actions: np.ndarray,
    *,
    label: str | None = None,
    new_labels: pa.Array | None = None,
    new_texts: Mapping[str, pa.Array] | None = None,
) -> Applied:
    """Splits a batch into kept (keep and relabel) and dropped rows; the only code that drops or relabels.

    batch: n rows. actions: uint8[n] of KEEP, DROP, RELABEL. label: the column that relabelling rewrites.
    new_labels: n values of that column's type, null where there is none; read only where the action is RELABEL.
    new_texts: n values each for columns of text that a relabel rewrites instead, where the task has no label; what
    they held before is kept nowhere among the kept.
    With `label` given, both parts gain a column `label_before`: the given label of relabelled rows, null elsewhere.
    Raises ValueError on lengths that differ or on a relabel without a label.
    """
    if len(actions) != batch.num_rows:
        raise ValueError(f"{len(actions)} verdicts for {batch.num_rows} rows")
    relabel = actions == RELABEL
    if label is not None:
        batch = _relabelled(batch, relabel, label, new_labels)
    elif relabel.any():
        if not new_texts:
            raise ValueError("a relabel verdict without a label column")
        for name, values in new_texts.items():
            place, given = batch.schema.get_field_index(name), batch.column(name)
            column = pc.if_else(pa.array(relabel), values, given)
            batch = batch.set_column(place, batch.schema.field(place), column)
    dropped = pa.array(actions == DROP)
    return Applied(batch.filter(pc.invert(dropped)), batch.filter(dropped))


def _relabelled(batch: pa.RecordBatch, relabel: np.ndarray, label: str, new_labels: pa.Array | None) -> pa.RecordBatch:
    position = batch.schema.get_field_index(label)
    given = batch.column(position)
    before = pa.nulls(batch.num_rows, given.type)
    if relabel.any():
        if new_labels is None or new_labels.filter(pa.array(relabel)).null_count:
            raise ValueError("a relabel verdict without a new label")
        mask = pa.array(relabel)
        before = pc.if_else(mask, given, before)
        batch = batch.set_column(position, batch.schema.field(position), pc.if_else(mask, new_labels, given))
    return batch.append_column(pa.field("label_before", given.type), before)
