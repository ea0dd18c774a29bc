"""Which rows of a finished run a person should look at: those whose truth is worth most, and a random audit.

Knows ledgers; nothing of who looks, or of what they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from curator.ledger import Ledger
from curator.verdict import ACTIONS
from curator.worth import verdict_worth

__all__ = ["Asked", "Order", "ReviewSettings", "Why", "choose"]

Why = Literal["uncertain", "audit"]
Order = Literal["worth", "confidence"]
_COLUMNS: Final = ["sample_id", "action", "label_score", "confidence"]


class ReviewSettings(BaseModel):
    """How many rows a review asks about, and of whom.

    budget: rows. audit_share: of them drawn at random from all rows, so that errors the policy is sure of are found
    too. overlap: share of them asked of two reviewers, whose agreement can then be told. order: the others by what
    their truth is worth (`curator.worth`), or by the policy's confidence in what it did, lowest first. min_worth: where
    a look stops paying: no row worth less is asked about, and no more are drawn at random than their share of the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(ge=1, le=10_000)
    audit_share: float = Field(default=0.2, ge=0, le=1)
    overlap: float = Field(default=0.0, ge=0, le=1)
    order: Order = "worth"
    min_worth: float = Field(default=0.0, ge=0, le=3)
    seed: int = Field(default=0, ge=0, lt=2**63)


class Asked(NamedTuple):
    """rows: ledger rows in the order to look at them. why, num_reviewers: of each."""

    rows: pa.Table
    why: tuple[Why, ...]
    num_reviewers: tuple[int, ...]


def choose(ledger: Ledger, settings: ReviewSettings, known: pa.Array | None = None) -> Asked:
    """The rows to ask about; the same for the same ledger and settings, however it is cut into files.

    known: binary(16) ids of rows whose truth is known, which are not asked about. Uncertain are rows with a confidence
    below 1, those first that come first by `order`, equal ones in random order; where there are too few the audit takes
    their place, unless it was `min_worth` that left few. Audit rows are spread evenly among the others, so that a
    review left early is not blind to them. Reads four columns of the ledger and holds 2 × budget rows.
    """
    num_audit = round(settings.audit_share * settings.budget)
    uncertain = _least(_unsure(ledger, settings, known), settings.budget - num_audit)
    if settings.min_worth == 0:
        num_audit = settings.budget - len(uncertain) if settings.audit_share else 0
    elif settings.audit_share < 1:
        num_audit = min(num_audit, round(len(uncertain) * settings.audit_share / (1 - settings.audit_share)))
    taken = pa.array([bytes(row) for row in uncertain], pa.binary(16))
    drawn = _least(_drawn(ledger, settings.seed, known), 2 * settings.budget)
    free = ~np.asarray(pc.is_in(pa.array([bytes(row) for row in drawn], pa.binary(16)), value_set=taken))
    audit = drawn[free][:num_audit]
    ids = np.concatenate([uncertain, audit])
    order = np.argsort(np.concatenate([_spread(len(uncertain)), _spread(len(audit))]), kind="stable")
    why: list[Why] = [*["uncertain"] * len(uncertain), *["audit"] * len(audit)]  # type: ignore[list-item]
    twice = _draw(ids, settings.seed, "overlap") < settings.overlap
    return Asked(
        rows=_rows(ledger, ids[order]),
        why=tuple(why[i] for i in order),
        num_reviewers=tuple(1 + int(twice[i]) for i in order),
    )


_Keyed = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(first key float64[n], second key float64[n], ids uint8[n, 16]) by batch."""


def _unsure(ledger: Ledger, settings: ReviewSettings, known: pa.Array | None) -> _Keyed:
    labelled = not pa.types.is_null(ledger.schema.field("predicted_label").type)
    for batch in _scan(ledger, known):
        ids, confidence = _matrix(batch.column("sample_id")), _numbers(batch, "confidence")
        worth = _worth(batch, labelled)
        unsure = (confidence < 1.0) & (worth >= settings.min_worth)  # false for a null, which is no judgement
        key = confidence if settings.order == "confidence" else -worth
        yield key[unsure], _draw(ids[unsure], settings.seed, "review"), ids[unsure]


def _worth(batch: pa.RecordBatch, labelled: bool) -> np.ndarray:
    """What the truth of each row is worth by what the ledger tells, float64[n]; NaN where nothing was judged."""
    actions = pc.index_in(batch.column("action").dictionary_decode(), value_set=pa.array(ACTIONS)).to_numpy()
    bad, wrong = 1.0 - _numbers(batch, "label_score"), 1.0 - _numbers(batch, "confidence")
    return verdict_worth(actions, bad, wrong, labelled=labelled)


def _drawn(ledger: Ledger, seed: int, known: pa.Array | None) -> _Keyed:
    for batch in _scan(ledger, known):
        ids = _matrix(batch.column("sample_id"))
        draw = _draw(ids, seed, "audit")
        yield draw, draw, ids


def _scan(ledger: Ledger, known: pa.Array | None) -> Iterator[pa.RecordBatch]:
    for batch in ledger.scan(columns=_COLUMNS):
        if known is not None and len(known):
            batch = batch.filter(pc.invert(pc.is_in(batch.column("sample_id"), value_set=known)))
        yield batch


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """float64[n], NaN for null."""
    return batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64)


def _least(keyed: _Keyed, most: int) -> np.ndarray:
    """The ids with the smallest keys, in their order: uint8[≤ most, 16]."""
    first, second, ids = np.zeros(0), np.zeros(0), np.zeros((0, 16), np.uint8)
    for some_first, some_second, some_ids in keyed:
        first, second = np.concatenate([first, some_first]), np.concatenate([second, some_second])
        ids = np.concatenate([ids, some_ids])
        best = np.lexsort((second, first))[:most]
        first, second, ids = first[best], second[best], ids[best]
    return ids


def _matrix(sample_ids: pa.Array) -> np.ndarray:
    """uint8[n, 16]."""
    data = sample_ids.buffers()[1]
    whole = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    start = sample_ids.offset * 16
    return whole[start : start + 16 * len(sample_ids)].reshape(-1, 16)


def _spread(count: int) -> np.ndarray:
    """Evenly spaced places in (0, 1), float64[count]."""
    return (np.arange(count) + 0.5) / max(count, 1)


def _draw(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """A number in [0, 1) per id, float64[n]; independent between purposes and seeds. splitmix64 (Steele, Lea & Flood
    2014) over both halves of the id."""
    halves = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    salt = np.frombuffer(purpose.encode().ljust(8, b"\0")[:8], "<u8")[0] ^ np.uint64(seed)
    mixed = _splitmix64(_splitmix64(halves[:, 0] ^ salt) ^ halves[:, 1])
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _rows(ledger: Ledger, ids: np.ndarray) -> pa.Table:
    """The ledger's whole rows of these samples, in this order."""
    wanted = pa.array([bytes(row) for row in ids], pa.binary(16))
    found = [batch.filter(pc.is_in(batch.column("sample_id"), value_set=wanted)) for batch in ledger.scan()]
    table = pa.Table.from_batches([batch for batch in found if batch.num_rows], ledger.schema)
    return table.take(pc.index_in(wanted, value_set=table["sample_id"].combine_chunks()))
