"""What a recipe says of the policy: who decides, and what it may cost. Knows nothing of how a policy learns."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PolicySpec"]


class PolicySpec(BaseModel):
    """Defaults run; every number is a promise or a budget, never a threshold on a score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["rules", "learned"] = "rules"
    max_false_drop: float = Field(default=0.05, gt=0, lt=0.5, description="share of good rows the policy may drop")
    confidence: float = Field(
        default=0.9, ge=0, le=0.999, description="share of audits in which max_false_drop must hold; 0: on average"
    )
    per_class: bool = Field(default=False, description="whether max_false_drop must hold within every given label")
    relabel_fdr: float = Field(
        default=0.1, ge=0, lt=0.5, description="share of wrong labels among automatic relabels; 0 never relabels"
    )
    review_budget: int = Field(default=0, ge=0, description="rows a person is ready to look at")
    rounds: int = Field(default=3, ge=0, le=20, description="rounds of policy improvement on top of the audited prior")
