"""Caps on what an input may ask of the machine that reads it.

Knows nothing of formats. Every cap is a plain number checked before, or as soon as, the bytes it speaks of are held;
whoever passes one gets an InputError that names the file and the cap.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LIMITS", "Limits"]

MIB: Final = 1 << 20


class Limits(BaseModel):
    """The caps, with defaults that no honest dataset meets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    footer_bytes: int = Field(default=64 * MIB, gt=0, description="metadata at the end of a Parquet or Arrow file")
    num_row_groups: int = Field(default=100_000, gt=0, description="row groups or record batches of one file")
    num_columns: int = Field(default=10_000, gt=0, description="leaf columns of one file, nested fields counted")
    nesting_depth: int = Field(default=32, gt=0, description="levels of lists and structs in one column")
    expansion: int = Field(default=1_000, gt=0, description="uncompressed bytes per compressed byte")
    expansion_free_bytes: int = Field(default=256 * MIB, gt=0, description="below this size the ratio is not asked")
    uncompressed_bytes: int = Field(default=4 << 40, gt=0, description="what one compressed file may unfold to")
    line_bytes: int = Field(default=16 * MIB, gt=0, description="one JSONL line or one CSV row")
    cell_bytes: int = Field(default=64 * MIB, gt=0, description="one string or binary value")
    batch_bytes: int = Field(default=64 * MIB, gt=0, description="aim for the memory of one batch")


LIMITS: Final = Limits()
