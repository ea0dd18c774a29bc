"""Streaming DiLoCo: ranks learn by themselves; fragments of how far they moved are averaged while they learn on.

Douillard et al. 2025 (arXiv 2501.18512), algorithm 2, with int8 blocks and error feedback where the paper sends 4 bits.
At first every step is taken together (Lin et al. 2020, arXiv 1808.07217: local steps after a start of averaged ones).
Knows parameters and a board; nothing of rows, recipes or files.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from curator.errors import IntegrityError
from curator.storage import Store
from pipelines.training.int8_blocks import BLOCK, dequantised_sum, quantise
from pipelines.training.parallel.board import NOTHING, Board
from pipelines.training.parallel.fragments import fragments_of, merged_at, sent_at
from pipelines.training.parallel.kinds import LocalSteps
from pipelines.training.parallel.parts import read_rank, write_rank
from pipelines.training.parallel.spread import Whole

__all__ = ["Workers"]

_What = Literal["gradient", "settled", "moved"]
_WIRES: Final = 4
"""exchanges at a time"""
_PARTS: Final = 3
"""times 8 bits are float32's 24"""


@dataclass
class _Fragment:
    """Some parameters, and where the ranks together have brought them."""

    parameters: list[nn.Parameter]
    shared: Tensor
    """float32[N]: the same on every rank"""
    outer: torch.optim.SGD
    error: Tensor | None = None

    def local(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.parameters]).float()

    def put(self, values: Tensor) -> None:
        for parameter, part in zip(self.parameters, self._split(values), strict=True):
            parameter.detach().copy_(part.view_as(parameter))

    def gradient(self) -> Tensor:
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters]
        return torch.cat([one.flatten() for one in found]).float()

    def put_gradient(self, values: Tensor) -> None:
        for parameter, part in zip(self.parameters, self._split(values), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def _split(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split([parameter.numel() for parameter in self.parameters])


class Workers(Whole):
    """A `Spread`. What was sent after step t is merged after step t + delay, in every case: staleness is bounded by
    waiting."""

    def __init__(self, kind: LocalSteps, board: Board, together: int = 0):
        """`together`: steps at the beginning of which all ranks average every gradient, and wait for it."""
        super().__init__()
        self.board, self._kind, self._together, self._step = board, kind, together, 0
        self._fragments: list[_Fragment] = []
        self._under_way: dict[tuple[int, int], Future[dict[int, bytes]]] = {}
        self._wire = ThreadPoolExecutor(_WIRES, "exchange")

    def lay(self, objective: nn.Module, model: nn.Module) -> nn.Module:
        parameters = list(model.parameters())
        for numbers in fragments_of([parameter.numel() for parameter in parameters], self._kind.fragments):
            some = [parameters[number] for number in numbers]
            shared = torch.cat([parameter.detach().flatten() for parameter in some]).float()
            self._fragments.append(_Fragment(some, shared, self._outer(shared)))
        return objective

    def average(self) -> None:
        """At the beginning: this rank's gradients become the mean of all ranks', 8 bits a number, errors carried on."""
        if self._step >= self._together:
            return
        step = self._step + 1
        for number, fragment in enumerate(self._fragments):
            self._send("gradient", step, number, fragment.gradient())
        for number, fragment in enumerate(self._fragments):
            fragment.put_gradient(self._mean(step, number))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """Where all ranks together ended: what is under way is merged, then comes the mean of all, whole. No outer step
        is taken to it: that would be a step of momentum for nothing learned."""
        if self._step < self._together:
            return model.state_dict()
        for sent, number in sorted(self._under_way):
            self._merge(sent, number)
        for number, fragment in enumerate(self._fragments):
            self._send("moved", -1, number, fragment.shared - fragment.local())
        for number, fragment in enumerate(self._fragments):
            fragment.put(fragment.shared.sub_(self._mean(-1, number)))
        return model.state_dict()

    def stepped(self, step: int) -> None:
        self._step = step
        if step <= self._together:
            if step == self._together:
                self._settle()
            return
        due = merged_at(step, self._kind) if self._kind.delay else None
        if due in self._under_way:
            self._merge(*due)
        number = sent_at(step, self._kind)
        if number is not None and number < len(self._fragments):
            fragment = self._fragments[number]
            self._send("moved", step, number, fragment.shared - fragment.local())
            if not self._kind.delay:
                self._merge(step, number)
            if self.board.leads:
                self.board.answer("join", lambda: self._snapshot(step))

    def state(self) -> dict[str, Tensor]:
        """Of this rank: what it shares, and what is on its way, which is waited for."""
        found = {"step": torch.tensor(self._step)}
        if self._step < self._together:
            for fragment in self._fragments:
                fragment.shared.copy_(fragment.local())
        for number, fragment in enumerate(self._fragments):
            found[f"shared/{number}"] = fragment.shared.clone()
            found[f"momentum/{number}"] = self._momentum(fragment).clone()
            if fragment.error is not None:
                found[f"error/{number}"] = fragment.error.clone()
        for (sent, number), future in self._under_way.items():
            for rank, raw in future.result().items():
                found[f"sent/{sent}/{number}/{rank}"] = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
        return found

    def load(self, state: dict[str, Tensor]) -> None:
        arrived: dict[tuple[int, int], dict[int, bytes]] = {}
        if "step" not in state:
            raise IntegrityError(
                "the checkpoint was written by a version whose ranks did not start together; resume with the version "
                "that wrote it, or start again with resume off"
            )
        self._step = int(state["step"])
        for name, tensor in state.items():
            if name == "step":
                continue
            kind, *numbers = name.split("/")
            places = [int(number) for number in numbers]
            if kind == "sent":
                arrived.setdefault((places[0], places[1]), {})[places[2]] = tensor.numpy().tobytes()
                continue
            fragment = self._fragments[places[0]]
            if kind == "shared":
                fragment.shared.copy_(tensor)
            elif kind == "momentum":
                fragment.outer.state[fragment.shared]["momentum_buffer"] = tensor.to(fragment.shared.device, copy=True)
            else:
                fragment.error = tensor.to(fragment.shared.device, copy=True)
        for key, parts in arrived.items():
            self._under_way[key] = Future()
            self._under_way[key].set_result(parts)

    def write(self, store: Store, step: int, tensors: dict[str, Tensor]) -> tuple[str | None, dict[str, Tensor]]:
        """All of this rank's; the rank that leads waits for the others'."""
        name = write_rank(store, step, self.board.rank, tensors)
        self.board.put(f"saved/{step}/{self.board.rank}", b"1")
        if self.board.leads:
            self.board.await_all(f"saved/{step}")
        return name, {}

    def read(self, store: Store, parts: str, tensors: dict[str, Tensor]) -> None:
        """This rank's own; one that has none starts where all together were, its optimiser afresh."""
        found, own = read_rank(store, parts, self.board.rank)
        self.load({name.removeprefix("spread/"): t for name, t in found.items() if name.startswith("spread/")})
        for name, tensor in tensors.items() if own else ():
            if not name.startswith("spread/"):
                tensor.detach().copy_(found[name])
        if not own:
            for fragment in self._fragments:
                fragment.error = None
                fragment.put(fragment.shared)

    def begin(self) -> int | None:
        """A rank that comes back goes on from what another has put up, its optimiser afresh; counted on from here."""
        if not self.board.returned:
            self.board.begin()
            return None
        state = load(self.board.ask("join"))
        self.load(state)
        self.board.put(f"saved/{self._step}/{self.board.rank}", b"1")  # no checkpoint of it waits for this rank
        self.board.begin()
        step = self._step
        for fragment in self._fragments:
            fragment.put(fragment.shared)
        for sent in range(max(step - self._kind.delay, self._together) + 1, step + 1):
            number = sent_at(sent, self._kind)
            if number is not None and number < len(self._fragments):
                self._under_way[sent, number] = self._wire.submit(
                    self.board.exchange, _name("moved", sent, number), NOTHING
                )
        return step

    def _snapshot(self, step: int) -> bytes:
        """What a rank needs that joins after this step; it collects what is on its way by itself."""
        state = {f"shared/{number}": one.shared.cpu() for number, one in enumerate(self._fragments)}
        state |= {f"momentum/{number}": self._momentum(one).cpu() for number, one in enumerate(self._fragments)}
        return save({"step": torch.tensor(step), **state})

    def close(self) -> None:
        self._wire.shutdown(wait=False, cancel_futures=True)

    def _outer(self, shared: Tensor) -> torch.optim.SGD:
        kind = self._kind
        return torch.optim.SGD(
            [shared], lr=kind.learning_rate, momentum=kind.momentum, nesterov=kind.momentum > 0, foreach=False
        )

    def _momentum(self, fragment: _Fragment) -> Tensor:
        found = fragment.outer.state[fragment.shared].get("momentum_buffer")
        return torch.zeros_like(fragment.shared) if found is None else found

    def _settle(self) -> None:
        """The start is over: the mean of where all ranks are becomes what they share. Sent whole, from 0: the same bits
        on every rank, whatever it computes on and however it came here."""
        for fragment in self._fragments:
            fragment.shared.zero_()
        for part in range(_PARTS):
            for number, fragment in enumerate(self._fragments):
                fragment.error = None  # what a part loses, the next one sends
                self._send("settled", part, number, fragment.shared - fragment.local())
            for number, fragment in enumerate(self._fragments):
                fragment.shared.sub_(self._mean(part, number))
        for fragment in self._fragments:
            fragment.error = None
            fragment.put(fragment.shared)

    def _send(self, what: _What, step: int, number: int, vector: Tensor) -> None:
        """A fragment's vector, in 8 bits, on its way; what that loses is sent the next time."""
        fragment = self._fragments[number]
        values, scales, fragment.error = quantise(vector, error=fragment.error)
        raw = torch.cat([values.view(torch.uint8), scales.view(torch.uint8)]).to("cpu", non_blocking=True)
        copied = torch.cuda.Event() if values.is_cuda else None
        if copied is not None:
            copied.record()
        self.traffic.bytes_sent += len(raw)
        self._under_way[step, number] = self._wire.submit(self._exchanged, what, step, number, raw, copied)

    def _exchanged(
        self, what: _What, step: int, number: int, raw: Tensor, copied: torch.cuda.Event | None
    ) -> dict[int, bytes]:
        began = time.monotonic()
        if copied is not None:
            copied.synchronize()
        parts = self.board.exchange(_name(what, step, number), raw.numpy().tobytes())
        if self.board.rank == min(parts):
            self.board.clear(self._superseded(what, step, number))
        if what == "moved":
            self.traffic.exchange_s += time.monotonic() - began
        return parts

    def _superseded(self, what: _What, step: int, number: int) -> str:
        """What every rank has taken in by the time that it sends this."""
        if what == "settled" and not step:
            return _name("gradient", self._together, number)
        before = step - (self._kind.local_steps if what == "moved" else 1)
        if what == "moved" and before <= self._together:
            return _name("settled", _PARTS - 1, number)
        return _name(what, before, number)

    def _mean(self, step: int, number: int) -> Tensor:
        """float32[N]: the mean of what the ranks sent, once it is there."""
        began = time.monotonic()
        parts = self._under_way.pop((step, number)).result()
        if self._step > self._together:
            self.traffic.waited_s += time.monotonic() - began
        fragment, device = self._fragments[number], self._fragments[number].shared.device
        raw_WB = torch.stack([torch.frombuffer(bytearray(parts[rank]), dtype=torch.uint8) for rank in sorted(parts)])
        raw_WB, size = raw_WB.to(device), len(fragment.shared)
        values_WN, scales_WM = raw_WB[:, :size].clone().view(torch.int8), raw_WB[:, size:].clone().view(torch.float32)
        assert scales_WM.shape[1] == -(-size // BLOCK), "a fragment is the same on every rank"
        return dequantised_sum(values_WN, scales_WM).div_(len(parts))

    def _merge(self, step: int, number: int) -> None:
        """The mean movement becomes an outer step, and this rank's fragment is drawn towards what is shared."""
        fragment, own = self._fragments[number], self._kind.mixing
        fragment.shared.grad = self._mean(step, number)
        fragment.outer.step()
        fragment.put(fragment.shared if not own else torch.lerp(fragment.shared, fragment.local(), own))


def _name(what: _What, step: int, number: int) -> str:
    return f"{what}/{step}/{number}"
