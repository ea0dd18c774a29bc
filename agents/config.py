"""What the user may ask of a learned policy: promises and budgets, never a threshold on a score.

The recipe embeds exactly this shape. Knows nothing of how the promises are kept.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PolicyConfig"]


class PolicyConfig(BaseModel):
    """Defaults run.

    max_false_drop: share of good rows the policy may drop (alpha of conformal risk control). relabel_fdr: share of
    wrong labels among automatic relabels; 0 never relabels. review_budget: rows a person is ready to look at. rounds:
    rounds of policy improvement on top of the audited prior; 0 ships the prior.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rules", "learned"] = "learned"
    max_false_drop: float = Field(default=0.05, gt=0, lt=0.5)
    relabel_fdr: float = Field(default=0.1, ge=0, lt=0.5)
    review_budget: int = Field(default=0, ge=0)
    rounds: int = Field(default=3, ge=0, le=20)
