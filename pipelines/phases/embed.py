"""Embed: an encoder is fitted once, on a bounded sample chosen by sample id; then every row gets its vector.

Knows encoders and side files; nothing of labels, rules or what vectors are for. Where a recipe needs no vectors
neither step does anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.job import Job
from pipelines.rows import content, used_rows
from pipelines.sample import Lowest, contents
from pipelines.side import bytes_matrix

__all__ = ["embed", "fit_encoder"]


def fit_encoder(job: Job, outputs: dict[str, Any]) -> dict[str, Any]:
    """Fits the encoder on rows with content of the lowest sample ids, as many as it wants; saves it under encoder/.

    Returns {encoder: its name or None, rows: it was fitted on}.
    """
    if not job.recipe.needs_vectors:
        return {"encoder": None, "rows": 0}
    from agents.encoders import make_encoder, save_encoder  # torch: only where vectors are needed

    encoder = make_encoder(job.recipe.modality, job.recipe.encoder_name)
    places = np.empty(0)
    if encoder.fit_rows:
        places = _chosen(job, encoder.fit_rows, encoder.fit_bytes)
        encoder.fit(contents(job, places, outputs["score"]), seed=job.recipe.seed)
    save_encoder(encoder, job.store, job.name("encoder"))
    return {"encoder": encoder.name, "rows": len(places)}


def _chosen(job: Job, max_rows: int, max_bytes: int) -> np.ndarray:
    lowest = Lowest(max_rows, max_bytes)
    for unit in range(len(job.plan.units)):
        table = job.read_side(unit, "signals", ["sample_id", "present", "content_bytes"])
        rows = np.flatnonzero(table["present"].to_numpy())
        ids = bytes_matrix(table["sample_id"], np.uint8)
        lowest.add(unit, rows, ids[rows], table["content_bytes"].to_numpy()[rows])
    return lowest.places()


def embed(job: Job, unit: int) -> dict[str, Any]:
    """Writes the unit's vectors: (valid bool, embedding float16[dim]), one for every row used. Returns {rows}."""
    if not job.recipe.needs_vectors:
        return {"rows": 0}
    from agents.encoders import load_encoder  # torch: only where vectors are needed

    encoder = load_encoder(job.store, job.name("encoder"))
    schema = pa.schema([("valid", pa.bool_()), ("embedding", pa.list_(pa.float16(), encoder.dim))])
    rows = 0
    with job.side_writer(unit, "embeddings", schema) as writer:
        for _, batch in used_rows(job.plan, unit, columns=job.recipe.content_columns):
            vectors, valid = encoder.encode(content(batch, job.recipe))
            flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float16).reshape(-1))
            columns = [pa.array(valid), pa.FixedSizeListArray.from_arrays(flat, encoder.dim)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += batch.num_rows
    return {"rows": rows}
