"""Score: a unit is read once; what later steps need of it goes to side files in the same row order.

Knows signals, signatures and encoders; decides nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.duplicates import content_hash, minhash
from curator.recipe import Recipe
from curator.signals import score_text
from pipelines.job import Job
from pipelines.rows import content, label_values, sample_ids, used_rows

if TYPE_CHECKING:
    from agents.encoders import Encoder

__all__ = ["score", "signals_schema"]


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


def score(job: Job, unit: int) -> dict[str, Any]:
    """Writes the unit's side files. Returns {rows, content_bytes}."""
    encoder = _encoder(job) if job.recipe.needs_vectors else None
    schema = signals_schema(job)
    rows = total = 0
    with ExitStack() as files:
        signals = files.enter_context(job.side_writer(unit, "signals", schema))
        sides = _extra_writers(job, unit, encoder, files)
        for numbers, batch in used_rows(job.plan, unit, columns=_columns(job.recipe)):
            values = content(batch, job.recipe)
            scored = _signals(job, unit, numbers, batch, values, schema)
            signals.write_batch(scored)
            for writer, make in sides:
                writer.write_batch(make(values))
            rows += batch.num_rows
            total += pc.sum(scored.column("content_bytes")).as_py() or 0
    return {"rows": rows, "content_bytes": total}


def _encoder(job: Job) -> Encoder:
    from agents.encoders import load_encoder  # torch: only where vectors are needed

    return load_encoder(job.store, job.name("encoder"))


def _columns(recipe: Recipe) -> list[str]:
    extra = [recipe.columns.id, recipe.columns.label if recipe.task == "classification" else None]
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
        scored = score_text(values, recipe.signal_names)
        columns |= {f"signal.{name}": _nullable(scored[name]) for name in recipe.signal_names}
    return pa.record_batch([columns[field.name] for field in schema], schema=schema)


def _hash(values: pa.Array) -> pa.Array:
    raw = np.ascontiguousarray(content_hash(values), dtype=np.uint64)
    return pa.Array.from_buffers(pa.binary(16), len(raw), [None, pa.py_buffer(raw.tobytes())])


def _nullable(values: np.ndarray) -> pa.Array:
    """NaN, a signal's "cannot say", is null in files."""
    return pa.array(values, pa.float32(), mask=np.isnan(values))


def _extra_writers(job: Job, unit: int, encoder: Encoder | None, files: ExitStack) -> list[tuple[Any, Any]]:
    """(writer, values -> batch) for each further side file this recipe needs."""
    made: list[tuple[Any, Any]] = []
    near = next((op for op in job.recipe.set_operators if op.kind == "near_duplicates"), None)
    if near is not None and job.recipe.modality == "text":
        schema = pa.schema([("signature", pa.binary(4 * near.num_perm))])

        def signatures(values: pa.Array) -> pa.RecordBatch:
            raw = np.ascontiguousarray(minhash(values, num_perm=near.num_perm, ngram=near.ngram, seed=job.recipe.seed))
            column = pa.Array.from_buffers(schema.field(0).type, len(raw), [None, pa.py_buffer(raw.tobytes())])
            return pa.record_batch([column], schema=schema)

        made.append((files.enter_context(job.side_writer(unit, "minhash", schema)), signatures))
    if encoder is not None:
        made.append(
            (
                files.enter_context(job.side_writer(unit, "embeddings", _embedding_schema(encoder.dim))),
                _embedder(encoder),
            )
        )
    return made


def _embedding_schema(dim: int) -> pa.Schema:
    return pa.schema([("valid", pa.bool_()), ("embedding", pa.list_(pa.float16(), dim))])


def _embedder(encoder: Encoder) -> Any:
    schema = _embedding_schema(encoder.dim)

    def embed(values: pa.Array) -> pa.RecordBatch:
        vectors, valid = encoder.encode(values)
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float16).reshape(-1))
        return pa.record_batch([pa.array(valid), pa.FixedSizeListArray.from_arrays(flat, encoder.dim)], schema=schema)

    return embed
