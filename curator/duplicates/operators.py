"""The operators that need the whole set: duplicates by content, address and meaning. Knows thresholds, not how pairs
are found."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "SIGNATURE",
    "SIMILARITY_FLOOR",
    "By",
    "ExactDuplicates",
    "Keep",
    "NearDuplicates",
    "SemanticDuplicates",
    "UrlDuplicates",
]

SIMILARITY_FLOOR: Final = 0.5
"""Pairs less similar are not looked for: 14 bands of 8 find one in twenty of those at 0.5, and hardly any below."""

Keep = Literal["first", "longest", "best"]
"""Which row of a cluster stays: the first in input order, the longest, or the one that lies furthest within the limits
of the recipe's rules (of equals the first)."""

Against = Annotated[str, Field(pattern=r"^run_[0-9a-f]{32}$")]
"""An earlier run: rows that say the same as one of its rows fall too, and name that one."""

By = Literal["content", "url", "meaning"]
"""What of a row is compared; a run has an index of each that its operators ask for."""

SIGNATURE: Final = ("num_perm", "bands", "ngram")
"""Parameters of near duplicates that shape the signatures, of which a run computes one set."""


class ExactDuplicates(BaseModel):
    """Drops rows that say the same as the row they name: text up to whitespace (`content_hash`), images by bytes.

    In labelled tasks a row says its content and its label: copies that disagree about the label are no duplicates.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exact_duplicates"] = "exact_duplicates"
    keep: Keep = "first"
    against: Against | None = None

    by: ClassVar[By] = "content"
    signals: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[dict[str, str]] = {
        "exact_duplicate": "the same content as the row it names; in labelled tasks its label too"
    }


class NearDuplicates(BaseModel):
    """Drops rows whose word sequences overlap with those of the row they name (MinHash, Broder 1997); in labelled
    tasks only rows of the same label.

    14 bands of 8 of 112 permutations over 5-word shingles are FineWeb's numbers (Penedo et al. 2024, section 3.5): a
    pair of Jaccard similarity 0.75 becomes a candidate with probability 0.77, one of 0.8 with 0.92, one of 0.5 with
    0.05. Unlike there, every candidate is then checked: `threshold` bounds the Jaccard similarity of the sets of
    shingles, counted from hashes of all of them (`shingles`); it cannot lie below SIMILARITY_FLOOR.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["near_duplicates"] = "near_duplicates"
    threshold: float = Field(
        default=0.8,
        ge=SIMILARITY_FLOOR,
        le=1,
        description=f"similarity from which a pair is a duplicate; none below {SIMILARITY_FLOOR} is looked for",
    )
    num_perm: int = Field(default=112, ge=8, le=1024)
    bands: int = Field(default=14, ge=1, le=256)
    ngram: int = Field(default=5, ge=1, le=32, description="words per shingle")
    keep: Keep = "first"
    against: Against | None = None

    by: ClassVar[By] = "content"
    signals: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[dict[str, str]] = {
        "near_duplicate": "nearly the same words in the same order as the row it names; in labelled tasks its label too"
    }

    @model_validator(mode="after")
    def _whole_bands(self) -> NearDuplicates:
        if self.num_perm % self.bands:
            raise ValueError(
                f"num_perm {self.num_perm} does not divide into {self.bands} bands; use a multiple such as 112 and 14"
            )
        return self


class SemanticDuplicates(BaseModel):
    """Drops rows whose vectors, by the recipe's encoder, point where that of the row they name does; in labelled tasks
    only rows of the same label.

    SemDeDup (Abbas et al. 2023, arXiv:2303.09540, section 3): k-means sorts the vectors into clusters, of about 1,000
    rows here, and rows are compared within their cluster, so that pairs across clusters are not found. Unlike there,
    the row that stays is chosen by `keep`, not by its distance from the cluster's centre. A threshold of 1 - epsilon
    fits one encoder alone: look at what it drops. Rows of earlier runs are not compared, for a built-in encoder is
    fitted in each run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["semantic_duplicates"] = "semantic_duplicates"
    threshold: float = Field(
        default=0.95,
        ge=SIMILARITY_FLOOR,
        lt=1,
        description=f"cosine from which a pair is a duplicate; none below {SIMILARITY_FLOOR} is looked for",
    )
    keep: Keep = "first"

    by: ClassVar[By] = "meaning"
    against: ClassVar[None] = None
    signals: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[dict[str, str]] = {
        "semantic_duplicate": "nearly the same meaning as the row it names; in labelled tasks its label too"
    }


class UrlDuplicates(BaseModel):
    """Drops rows that come from the same address as the row they name, in whatever spelling (`addresses`): capitals in
    the host, a default port, dot segments, a fragment, parameters that only track and the order of the others do not
    tell addresses apart. A row without an address of the form scheme://host takes no part.

    In labelled tasks only rows of the same label are compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["url_duplicates"] = "url_duplicates"
    column: str = Field(default="url", description="the data's column of addresses")
    keep: Keep = "first"
    against: Against | None = None

    by: ClassVar[By] = "url"
    signals: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[dict[str, str]] = {
        "url_duplicate": "the same web address as the row it names; in labelled tasks its label too"
    }
