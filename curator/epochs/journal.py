"""The journal of an adaptive plan: each epoch's ratios, written down before its first row is served.

Knows plans and losses; nothing of rows, streams or servers. With its journal a plan can be replayed exactly; without,
the epochs after the first do not exist yet.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from curator.epochs.adaptive import Adaptive, Belief, Losses
from curator.epochs.curriculum import Mix
from curator.epochs.plan import EpochPlan
from curator.errors import ConflictError, IntegrityError, NotFoundError, RequestError
from curator.storage import Store

__all__ = ["Entry", "Journal"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Frozen):
    """One epoch: the report it follows from (null for the first), the belief after it, the ratios."""

    losses: Losses | None = None
    belief: Belief
    ratios: Mix


class Journal(_Frozen):
    """Entries of epochs 0, 1, … of one plan; frozen: a new report makes a longer journal."""

    version: Literal[1] = 1
    plan: str
    entries: tuple[Entry, ...]

    @classmethod
    def begin(cls, plan: EpochPlan) -> Journal:
        """The journal of an adaptive plan before any report: epoch 0 has the rule's `start`.

        Raises RequestError when the plan's curriculum is not adaptive.
        """
        _rule(plan)
        return cls(plan=plan.id, entries=(Entry(belief=Belief(), ratios=plan.recorded[0]),))

    def after(self, plan: EpochPlan, losses: Losses) -> Journal:
        """One entry more: what the next epoch is to be, given what the last recorded one reported.

        Raises ConflictError for another plan, RequestError when the plan has no further epoch.
        """
        self._check(plan)
        if len(self.entries) >= plan.num_epochs:
            raise RequestError(f"all {plan.num_epochs} epochs of {plan.id} are recorded; there is no next one")
        rule = _rule(plan)
        belief = rule.learned(self.entries[-1].belief, losses)
        entry = Entry(losses=losses, belief=belief, ratios=rule.mix(belief))
        return Journal(plan=self.plan, entries=(*self.entries, entry))

    def replay(self, plan: EpochPlan) -> Journal:
        """The journal worked out again from its reports. Raises IntegrityError where it says otherwise, ConflictError
        for another plan."""
        self._check(plan)
        again = Journal.begin(plan)
        for epoch, entry in enumerate(self.entries):
            if epoch:
                if entry.losses is None:
                    raise IntegrityError(f"epoch {epoch} of the journal of {plan.id} follows from no report")
                again = again.after(plan, entry.losses)
            if again.entries[epoch].ratios != entry.ratios:
                raise IntegrityError(
                    f"epoch {epoch} of the journal of {plan.id} has the ratios {entry.ratios}, its reports give "
                    f"{again.entries[epoch].ratios}: it was changed. Restore it from a copy."
                )
        return again

    def on(self, plan: EpochPlan) -> EpochPlan:
        """The plan with these epochs' ratios; its id stays. Raises ConflictError for another plan."""
        self._check(plan)
        return plan.model_copy(update={"recorded": tuple(entry.ratios for entry in self.entries)})

    def save(self, store: Store) -> None:
        """Writes what is new, an epoch a file, and never rewrites an epoch.

        Raises ConflictError when an epoch was recorded otherwise before: the first writer fixed it.
        """
        for epoch, entry in enumerate(self.entries):
            name, text = _name(self.plan, epoch), entry.model_dump_json().encode()
            if not store.exists(name):
                store.write_bytes(name, text)
            elif store.read_bytes(name) != text:
                raise ConflictError(
                    f"epoch {epoch} of {self.plan} is recorded with other reports in {store.uri}; load that "
                    "journal and go on from it"
                )

    @classmethod
    def load(cls, store: Store, plan: EpochPlan) -> Journal:
        """The journal that lies under a root, or one begun. Raises IntegrityError when it does not add up."""
        entries: list[Entry] = []
        while len(entries) < plan.num_epochs:
            try:
                text = store.read_bytes(_name(plan.id, len(entries)))
            except NotFoundError:
                break
            try:
                entries.append(Entry.model_validate_json(text))
            except ValidationError as error:
                raise IntegrityError(
                    f"{_name(plan.id, len(entries))} in {store.uri} is not readable: {error}"
                ) from error
        if not entries:
            return cls.begin(plan)
        return cls(plan=plan.id, entries=tuple(entries)).replay(plan)

    def _check(self, plan: EpochPlan) -> None:
        if self.plan != plan.id:
            raise ConflictError(f"the journal is {self.plan}'s, this plan is {plan.id}; begin another journal")


def _rule(plan: EpochPlan) -> Adaptive:
    if not isinstance(plan.curriculum, Adaptive):
        raise RequestError(f"{plan.id} has a {plan.curriculum.kind} curriculum, which needs no journal")
    return plan.curriculum


def _name(plan: str, epoch: int) -> str:
    return f"journals/{plan}/{epoch:06d}.json"
