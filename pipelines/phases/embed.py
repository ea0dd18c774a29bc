"""Embed: an encoder is fitted once, on a bounded sample chosen by sample id; then every row gets its vector.

Knows encoders and side files; nothing of labels, rules or what vectors are for. Where a recipe needs no vectors
neither step does anything.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
import pyarrow as pa

from curator.duplicates import VectorIndex
from pipelines.job import Job
from pipelines.lineage import Lineage
from pipelines.phases.score import label_numbers
from pipelines.rows import content
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
    index = _meanings(job, outputs)
    if index is not None:
        sample = _chosen(job, min(_ROWS_A_CLUSTER * index.shape.clusters, _MOST_ROWS), _MOST_BYTES)
        vectors, valid = encoder.encode(contents(job, sample, outputs["score"]))
        index.begin(vectors[valid])
    return {"encoder": encoder.name, "rows": len(places)}


_ROWS_A_CLUSTER: Final = 64
_MOST_ROWS: Final = 20_000
_MOST_BYTES: Final = 64 << 20
"""Of the sample in which clusters of meaning are found."""


def _meanings(job: Job, outputs: dict[str, Any]) -> VectorIndex | None:
    """The index of the rows' vectors, where the recipe compares meanings."""
    if "meaning" not in job.recipe.compared_by:
        return None
    index = Lineage.beginning(job, outputs["validate"]["rows_by_unit"]).indexes["meaning"]
    assert isinstance(index, VectorIndex)
    return index


def _chosen(job: Job, max_rows: int, max_bytes: int) -> np.ndarray:
    lowest = Lowest(max_rows, max_bytes)
    for unit in range(len(job.plan.units)):
        table = job.read_side(unit, "signals", ["sample_id", "present", "content_bytes"])
        rows = np.flatnonzero(table["present"].to_numpy())
        ids = bytes_matrix(table["sample_id"], np.uint8)
        lowest.add(unit, rows, ids[rows], table["content_bytes"].to_numpy()[rows])
    return lowest.places()


def embed(job: Job, unit: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Writes the unit's vectors: (valid bool, embedding float16[dim]), one for every row used. Returns {rows}."""
    if not job.recipe.needs_vectors:
        return {"rows": 0}
    from agents.encoders import load_encoder  # torch: only where vectors are needed

    encoder = load_encoder(job.store, job.name("encoder"))
    schema = pa.schema([("valid", pa.bool_()), ("embedding", pa.list_(pa.float16(), encoder.dim))])
    rows = 0
    with ExitStack() as files:
        writer = files.enter_context(job.side_writer(unit, "embeddings", schema))
        add = _meaning_writer(job, unit, outputs, files)
        for _, batch in job.used_rows(unit, columns=job.recipe.content_columns):
            encoded, valid = encoder.encode(content(batch, job.recipe))
            vectors = np.ascontiguousarray(encoded, dtype=np.float16)
            add(vectors, valid, rows)
            columns = [pa.array(valid), pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), encoder.dim)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            rows += batch.num_rows
    return {"rows": rows}


def _meaning_writer(
    job: Job, unit: int, outputs: dict[str, Any], files: ExitStack
) -> Callable[[np.ndarray, np.ndarray, int], None]:
    """(vectors, valid, number of the first row) -> adds them to the index of meanings, where there is one."""
    index = _meanings(job, outputs)
    if index is None:
        return lambda vectors, valid, first: None
    add = files.enter_context(index.adding(unit))
    apart = None
    if job.plan.label_type is not None:
        apart = label_numbers(job.read_side(unit, "signals", ["label"])["label"].combine_chunks())
    return lambda vectors, valid, first: add(
        vectors, valid, None if apart is None else apart[first : first + len(vectors)]
    )
