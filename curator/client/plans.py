"""Epoch plans at a server: their places, their leases, the losses that move them.

Knows addresses; what a plan says is `curator.epochs`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from curator.client.wire import Wire
from curator.epochs.adaptive import Losses

__all__ = ["Plans"]


class Plans:
    """`client.plans`. A plan is named by its id or by its digest, which is the `id` of an EpochPlan."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(self, manifest: str, **settings: Any) -> dict[str, Any]:
        """A plan of a manifest: curriculum, num_epochs, seed, global_batch_size, epoch_size, shuffle, tail."""
        return self._wire.create("/v1/epoch-plans", {"manifest": manifest, **settings})

    def get(self, plan: str) -> dict[str, Any]:
        """One plan, with the ratios decided so far."""
        return self._wire.get(f"/v1/epoch-plans/{plan}")

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All plans, newest first."""
        return self._wire.items("/v1/epoch-plans", {}, limit)

    def delete(self, plan: str) -> None:
        """Forgets a plan and who read it. Raises ConflictError naming the jobs that need it."""
        self._wire.call("DELETE", f"/v1/epoch-plans/{plan}")

    def epoch(self, plan: str, epoch: int) -> dict[str, Any]:
        """An epoch's mix and length."""
        return self._wire.get(f"/v1/epoch-plans/{plan}/epochs/{epoch}")

    def blocks(self, plan: str, epoch: int, *, rank: int = 0, world_size: int = 1, start: int = 0) -> dict[str, Any]:
        """Where a rank's next rows lie, some thousands; `next_from` is where to go on."""
        params = {"rank": rank, "world_size": world_size, "from": start}
        return self._wire.call("GET", f"/v1/epoch-plans/{plan}/epochs/{epoch}/blocks", params=params).json()

    def simulate(self, plan: str, **trial: Any) -> dict[str, Any]:
        """What an epoch will fetch and where it waits: bytes_per_s, rows_per_s, [epoch, cache_limit_bytes, rank,
        world_size]."""
        return self._wire.post(f"/v1/epoch-plans/{plan}:simulate", trial)

    def pack(self, plan: str, epoch: int) -> dict[str, Any]:
        """Queues the writing of an epoch in the order it is consumed; `client.operations.wait` for it, then read with
        `ShardStream(…, packed=True)`."""
        return self._wire.create(f"/v1/epoch-plans/{plan}/epochs/{epoch}:pack", {})

    # --- adaptive plans ----------------------------------------------------------------------------------------------

    def journal(self, plan: str) -> dict[str, Any]:
        """An adaptive plan's decided epochs and the reports they follow from."""
        return self._wire.get(f"/v1/epoch-plans/{plan}/journal")

    def report(self, plan: str, epoch: int, losses: Losses | Mapping[str, float | None]) -> dict[str, Any]:
        """Tells what an epoch came to by difficulty; the next epoch's ratios follow. Returns the journal. Raises
        ConflictError when the next epoch followed from another report."""
        told = losses.model_dump() if isinstance(losses, Losses) else dict(losses)
        return self._wire.post(f"/v1/epoch-plans/{plan}/epochs/{epoch}/losses", told)

    # --- leases ------------------------------------------------------------------------------------------------------

    def lease(
        self,
        plan: str,
        epoch: int,
        *,
        group: str,
        consumer: str = "",
        positions: int = 16_384,
        lease_s: float = 60.0,
        done: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """{lease, lost, reading}: the next block nobody holds, null when there is none to give. done: leases to
        acknowledge with it; lost: the ids of those that are others' since."""
        body = {"group": group, "consumer": consumer, "positions": positions, "lease_s": lease_s}
        body |= {"done": [{"id": lease["id"], "fence": lease["fence"]} for lease in done]}
        return self._wire.create(self._leases(plan, epoch), body)

    def reading(self, plan: str, epoch: int, *, group: str = "default") -> dict[str, Any]:
        """How far a group is."""
        return self._wire.call("GET", self._leases(plan, epoch), params={"group": group}).json()

    def heartbeat(
        self, plan: str, epoch: int, lease: Mapping[str, Any], *, group: str, lease_s: float = 60.0
    ) -> dict[str, Any]:
        """Keeps a block. Raises LeaseLostError when it is another consumer's."""
        return self._under(plan, epoch, lease, group, "heartbeat", {"lease_s": lease_s})

    def ack(self, plan: str, epoch: int, lease: Mapping[str, Any], *, group: str) -> dict[str, Any]:
        """The block is consumed. Raises LeaseLostError when it was leased anew since."""
        return self._under(plan, epoch, lease, group, "ack", {})

    def release(self, plan: str, epoch: int, lease: Mapping[str, Any], *, group: str) -> dict[str, Any]:
        """Gives a block back. Raises LeaseLostError."""
        return self._under(plan, epoch, lease, group, "release", {})

    def _leases(self, plan: str, epoch: int) -> str:
        return f"/v1/epoch-plans/{plan}/epochs/{epoch}/leases"

    def _under(
        self, plan: str, epoch: int, lease: Mapping[str, Any], group: str, act: str, more: Mapping[str, Any]
    ) -> dict[str, Any]:
        address, body = f"{self._leases(plan, epoch)}/{lease['id']}:{act}", {"fence": lease["fence"], **more}
        return self._wire.call("POST", address, json=body, params={"group": group}).json()
