"""A tenant's epoch plans as formulas: parsed once, with the ratios an adaptive one has been given so far.

Knows the catalog's plans and `curator.epochs`; nothing of HTTP. An adaptive epoch's ratios are in the catalog before
anything of the epoch is told.
"""

from __future__ import annotations

import json
from functools import lru_cache

from api.service import Service
from curator.catalog import PlanRow
from curator.epochs.adaptive import Adaptive, Losses
from curator.epochs.curriculum import Mix
from curator.epochs.journal import Journal
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, IntegrityError, RequestError

__all__ = ["begin", "journal_of", "known_plan", "report"]


def begin(service: Service, tenant: str, manifest: str, plan: EpochPlan) -> PlanRow:
    """Enters a plan; the first epoch of an adaptive one is decided with it. An equal plan is the same row."""
    row = service.catalog.plans.create(tenant, manifest, plan.model_dump(mode="json"), digest=plan.id)
    if isinstance(plan.curriculum, Adaptive):
        service.catalog.plans.decide(tenant, row.id, 0, plan.recorded[0].model_dump(), None)
    return row


def known_plan(service: Service, tenant: str, plan_id: str) -> tuple[PlanRow, EpochPlan]:
    """A plan by its id or digest, with the ratios decided so far. Raises NotFoundError, for another tenant's too."""
    row = service.catalog.plans.get(tenant, plan_id)
    plan = _parsed(row.digest, json.dumps(row.plan))
    if not isinstance(plan.curriculum, Adaptive):
        return row, plan
    journal = _journal(service, row, plan)
    return row, _decided(journal, plan)


def journal_of(service: Service, tenant: str, plan_id: str) -> Journal:
    """What an adaptive plan's epochs were decided from. Raises NotFoundError, RequestError for another curriculum."""
    row, plan = known_plan(service, tenant, plan_id)
    _adaptive(plan)
    return _journal(service, row, plan)


def report(service: Service, tenant: str, plan_id: str, epoch: int, losses: Losses) -> Journal:
    """Tells an adaptive plan what an epoch's training reported; the next epoch's ratios follow and are written down.

    The same report again changes nothing. After the last epoch there is nothing to decide. Raises RequestError for
    another curriculum or an epoch the plan does not have, ConflictError for an epoch that is not decided yet, or whose
    successor followed from another report.
    """
    row, plan = known_plan(service, tenant, plan_id)
    _adaptive(plan)
    plan.ratios(epoch)
    journal = _journal(service, row, plan)
    if epoch + 1 == plan.num_epochs:
        return journal
    if epoch + 1 == len(journal.entries):
        following = journal.after(plan, losses).entries[-1]
        service.catalog.plans.decide(tenant, row.id, epoch + 1, following.ratios.model_dump(), losses.model_dump())
        journal = _journal(service, row, plan)  # another report may have been first
    if journal.entries[epoch + 1].losses != losses:
        raise ConflictError(
            f"epoch {epoch + 1} of {row.id} was decided from another report of epoch {epoch}; the first one holds"
        )
    return journal


def _adaptive(plan: EpochPlan) -> None:
    if not isinstance(plan.curriculum, Adaptive):
        raise RequestError(
            f"a {plan.curriculum.kind} curriculum is not moved by losses; make a plan with curriculum 'adaptive'"
        )


def _journal(service: Service, row: PlanRow, plan: EpochPlan) -> Journal:
    epochs = service.catalog.plans.epochs(row.tenant, row.id)
    told = tuple(Losses() if epoch.losses is None else Losses(**epoch.losses) for epoch in epochs[1:])
    return _replayed(plan, told, tuple(Mix(**epoch.ratios) for epoch in epochs))


@lru_cache(maxsize=64)
def _replayed(plan: EpochPlan, told: tuple[Losses, ...], ratios: tuple[Mix, ...]) -> Journal:
    """The journal worked out from its reports. Raises IntegrityError where the catalog says otherwise."""
    journal = Journal.begin(plan)
    for losses in told:
        journal = journal.after(plan, losses)
    if tuple(entry.ratios for entry in journal.entries) != ratios:
        raise IntegrityError(f"the ratios of {plan.id} in the catalog do not follow from its reports; restore them")
    return journal


@lru_cache(maxsize=64)
def _decided(journal: Journal, plan: EpochPlan) -> EpochPlan:
    return journal.on(plan)


@lru_cache(maxsize=64)
def _parsed(digest: str, text: str) -> EpochPlan:
    """Laying out every epoch takes a while; a puller asks for the same plan again and again."""
    return EpochPlan.model_validate_json(text)
