"""Score: a unit is read once; what later steps need of it goes to side files in the same row order.

Knows signals, signatures and what samples want; encodes nothing, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.duplicates import DuplicateIndex, canonical_urls, content_hash, minhash
from curator.recipe import Recipe
from curator.signals import score_text
from curator.signals.benchmarks import BENCHMARK_SIGNALS, Decontaminate
from curator.signals.word_list import LIST_SIGNALS, WordList
from pipelines.job import Job
from pipelines.lineage import Lineage
from pipelines.rows import content, label_values, sample_ids
from pipelines.sample import ASIDE_SCHEMA, set_aside, share_set_aside
from pipelines.side import bytes_matrix

__all__ = ["label_numbers", "score", "signals_schema"]


def signals_schema(job: Job) -> pa.Schema:
    """sample_id · id · label · present (content is there) · content_bytes · content_hash · signal.<name> float32."""
    plan = job.plan
    fields = [pa.field("sample_id", pa.binary(16))]
    if plan.id_type is not None:
        fields.append(pa.field("id", plan.id_type))
    if plan.label_type is not None:
        fields.append(pa.field("label", plan.label_type))
    fields += [
        pa.field("present", pa.bool_()),
        pa.field("content_bytes", pa.int64()),
        pa.field("content_hash", pa.binary(16)),
    ]
    fields += [pa.field(f"signal.{name}", pa.float32()) for name in plan.recipe.signal_names]
    return pa.schema(fields)


def score(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's side files. Returns {rows, content_bytes, aside: whether rows were set aside for samples}."""
    schema = signals_schema(job)
    share = share_set_aside(job, outputs["validate"]["rows"])
    rows = total = 0
    with ExitStack() as files:
        signals = files.enter_context(job.side_writer(unit, "signals", schema))
        index = _index_writer(job, unit, outputs, files)
        aside = _aside_writer(job, unit, files) if share else None
        for numbers, batch in job.used_rows(unit, columns=_columns(job.recipe)):
            values = content(batch, job.recipe)
            scored = _signals(job, unit, numbers, batch, values, schema)
            signals.write_batch(scored)
            if index is not None:
                index(scored, values, batch)
            if aside is not None:
                aside(bytes_matrix(scored.column("sample_id"), np.uint8), values, rows, share)
            rows += batch.num_rows
            total += pc.sum(scored.column("content_bytes")).as_py() or 0
    return {"rows": rows, "content_bytes": total, "aside": bool(share)}


def _columns(recipe: Recipe) -> list[str]:
    extra = [recipe.columns.id, recipe.columns.label if recipe.task == "classification" else None, recipe.url_column]
    return list(dict.fromkeys([*recipe.content_columns, *(name for name in extra if name)]))


def _signals(
    job: Job, unit: int, numbers: np.ndarray, batch: pa.RecordBatch, values: pa.Array, schema: pa.Schema
) -> pa.RecordBatch:
    recipe = job.recipe
    length = pc.fill_null(pc.binary_length(values).cast(pa.int64()), 0)
    columns: dict[str, Any] = {"sample_id": sample_ids(job.plan, unit, numbers, batch).cast(pa.binary(16))}
    if recipe.columns.id:
        columns["id"] = batch.column(recipe.columns.id)
    if recipe.task == "classification":
        columns["label"] = label_values(batch, recipe)
    columns |= {"present": pc.greater(length, 0), "content_bytes": length, "content_hash": _hash(values)}
    if recipe.signal_names:
        scored = score_text(values, [name for name in recipe.signal_names if name not in _OF_A_RECIPE])
        scored |= _against_benchmarks(recipe, values) | _against_words(recipe, values)
        columns |= {f"signal.{name}": _nullable(scored[name]) for name in recipe.signal_names}
    return pa.record_batch([columns[field.name] for field in schema], schema=schema)


_OF_A_RECIPE: Final = (*BENCHMARK_SIGNALS, *LIST_SIGNALS)
"""Signals that need what the recipe brings."""


def _against_words(recipe: Recipe, values: pa.Array) -> dict[str, np.ndarray]:
    operator = next((op for op in recipe.process if isinstance(op, WordList)), None)
    if operator is None:
        return {}
    from curator.signals.text.word_list import listed_word_share, load_words  # numba: only where it is asked for

    [name] = LIST_SIGNALS
    return {name: listed_word_share(values, load_words(operator.words, operator.files))}


def _against_benchmarks(recipe: Recipe, values: pa.Array) -> dict[str, np.ndarray]:
    operator = next((op for op in recipe.process if isinstance(op, Decontaminate)), None)
    if operator is None:
        return {}
    from curator.signals.text.benchmarks import benchmark_signals, load_benchmarks  # numba: only where it is asked for

    return benchmark_signals(values, load_benchmarks(operator.files, operator.column, operator.ngram))


def _hash(values: pa.Array) -> pa.Array:
    raw = np.ascontiguousarray(content_hash(values), dtype=np.uint64)
    return pa.Array.from_buffers(pa.binary(16), len(raw), [None, pa.py_buffer(raw.tobytes())])


def _nullable(values: np.ndarray) -> pa.Array:
    """NaN, a signal's "cannot say", is null in files."""
    return pa.array(values, pa.float32(), mask=np.isnan(values))


def _index_writer(
    job: Job, unit: int, outputs: dict[str, Any], files: ExitStack
) -> Callable[[pa.RecordBatch, pa.Array, pa.RecordBatch], None] | None:
    """Adds rows, scored and as they read, to the indexes of duplicates, where the recipe looks for any."""
    if not job.recipe.set_operators:
        return None
    every = Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).indexes
    indexes = {by: index for by, index in every.items() if isinstance(index, DuplicateIndex)}
    adding = {by: files.enter_context(index.adding(unit)) for by, index in indexes.items()}

    def write(scored: pa.RecordBatch, values: pa.Array, batch: pa.RecordBatch) -> None:
        for by, add in adding.items():
            shape = indexes[by].shape
            apart = label_numbers(scored.column("label")) if shape.labelled else None
            if by == "url":
                add(content_hash(canonical_urls(batch.column(job.recipe.url_column))), None, apart)
                continue
            signed = None
            if shape.num_perm:
                signed = minhash(values, num_perm=shape.num_perm, ngram=shape.ngram, seed=shape.seed)
            add(bytes_matrix(scored.column("content_hash"), np.uint64), signed, apart)

    return write


def label_numbers(labels: pa.Array) -> np.ndarray:
    """uint64[n]: a hash of each label's value, the same in every unit; 0 for none."""
    coded = labels.dictionary_encode()
    hashes = content_hash(coded.dictionary.cast(pa.string()).cast(pa.binary()))[:, 0]
    return np.append(hashes, np.uint64(0))[pc.fill_null(coded.indices, -1).to_numpy()]


def _aside_writer(job: Job, unit: int, files: ExitStack) -> Callable[[np.ndarray, pa.Array, int, float], None]:
    """Writes the contents of the rows that samples may want."""
    schema = ASIDE_SCHEMA[job.recipe.modality]
    writer = files.enter_context(job.side_writer(unit, "sample", schema))

    def write(ids: np.ndarray, values: pa.Array, first: int, share: float) -> None:
        writer.write_batch(set_aside(ids, values, first, share, schema))

    return write
