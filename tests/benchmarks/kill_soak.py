"""kill -9 at random moments over the service, its runner, Ray's workers and Ray's head, while runs go on.

    python tests/benchmarks/kill_soak.py --kills 200 --folder /tmp/soak [--minutes 60] [--targets api,runner]

Each kill has a phase it is meant for, the one that was hit least so far, and falls at a random moment of it: the run's
journal says where it is, which progress, told once a second, cannot for phases that are shorter.

Unattended: state lies in the folder (`soak.json`, one line a kill in `kills.jsonl`), and the same command goes on where
it stopped. Every run must end with the manifest and the decisions of an undisturbed one, whatever was killed; the
restart of the service until it accepts requests is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks._siege import KINDS, Siege, active, stopped

TARGETS: Final = ("api", "runner", "worker", "head")
_OF_RAY: Final = ("worker", "head")
_PHASES: Final = ("score", "resolve", "learn", "decide", "write")
_TEXTS: Final = 120_000
_VIEW_EVERY_S: Final = 0.25
_PATIENCE_S: Final = 900.0
"""A run that has not ended after so long is stuck."""


class Soak:
    """What was killed, what ended, and what an undisturbed run gives; kept in the folder after every change."""

    def __init__(self, siege: Siege, targets: tuple[str, ...], kinds: tuple[str, ...], seed: int):
        self.siege, self.targets, self.kinds = siege, targets, kinds
        self._path = siege.folder / "soak.json"
        fresh: dict[str, Any] = {
            **{key: {} for key in ("kills", "phases", "expected", "seconds")},
            **dict.fromkeys(("ended", "submitted", "attempts"), 0),
            "restarts_s": [],
            "run": None,
        }
        self.state = json.loads(self._path.read_text()) if self._path.exists() else fresh
        self.state |= {name: Counter(self.state[name]) for name in ("kills", "phases")}
        self.rng = random.Random(seed + self.num_kills)

    @property
    def num_kills(self) -> int:
        return sum(self.state["kills"].values())

    def save(self) -> None:
        self.state["restarts_s"] += self.siege.restarts_s
        self.siege.restarts_s.clear()
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.state))
        os.replace(temporary, self._path)

    def undisturbed(self) -> None:
        """What each kind of run gives when nobody is killed; `text` and `ray` give one manifest."""
        if not self.state["expected"]:
            self.siege.prepare()
            for kind in dict.fromkeys("text" if kind == "ray" else kind for kind in self.kinds):
                view = self._ended(kind, None)
                self.state["expected"][kind] = [view["summary"]["manifest"], self.siege.verdicts(view["id"], kind)]
                self.state["seconds"][kind] = view["summary"]["seconds_by_phase"]
            self.save()

    def go_on(self, kills: int, minutes: float) -> None:
        """Kills until `kills` have been, or the minutes are over; then lets the last run end."""
        deadline = time.monotonic() + 60 * minutes
        while self.num_kills < kills and time.monotonic() < deadline:
            target = self.rng.choice([name for name in self.targets if self._fewest(name)])
            kind = "ray" if target in _OF_RAY else self.rng.choice(self.kinds)
            self._ended(kind, target, kills)

    def _fewest(self, target: str) -> bool:
        return self.state["kills"][target] <= min(self.state["kills"][name] for name in self.targets) + 2

    def _ended(self, kind: str, target: str | None, kills: int = 0) -> dict[str, Any]:
        """One run to its end, two kills in it at most."""
        run = self.state["run"] or {"kind": kind, "key": f"run {self.state['submitted']}"}
        if self.state["run"] is None:
            self.state["submitted"] += 1
            self.state["run"] = run
            self.save()
        kind, run_id = run["kind"], self.siege.submit(run["kind"], run["key"])
        deadline = time.monotonic() + _PATIENCE_S
        for _ in range(2):
            if target is None or self.num_kills >= kills:
                break
            if not self._wait_and_kill(kind, run_id, target, self._aim(run_id), deadline):
                break
            target = self._next(kind)
        while (view := self.siege.run(run_id))["state"] != "succeeded":
            if time.monotonic() > deadline:
                raise AssertionError(f"run {run_id} is stuck: {view}")
            time.sleep(_VIEW_EVERY_S)
        self._check(kind, view)
        self.state["run"], self.state["ended"] = None, self.state["ended"] + 1
        self.state["attempts"] += view["attempt"]
        self.save()
        return view

    def _aim(self, run_id: str) -> str:
        """The phase hit least of those still to come."""
        now = self.siege.phase(run_id)
        left = _PHASES[_PHASES.index(now) :] if now in _PHASES else _PHASES
        return min(left, key=lambda phase: (self.state["phases"][phase], self.rng.random()))

    def _wait_and_kill(self, kind: str, run_id: str, target: str, aim: str, deadline: float) -> bool:
        """Waits for the phase, and a random part of what it takes undisturbed; kills then. False: the run ended before
        (a phase may be too short to be seen) or there was nobody to kill."""
        takes = self.state["seconds"].get("text" if kind == "ray" else kind, {}).get(aim, 0.0)
        moment, looked, view = None, 0.0, self.siege.run(run_id)
        while view["state"] != "succeeded" and (now := time.monotonic()) < deadline:
            if now - looked > _VIEW_EVERY_S:
                looked, view = now, self.siege.run(run_id)
            phase = self.siege.phase(run_id)
            if moment is None and phase in _PHASES and _PHASES.index(phase) >= _PHASES.index(aim):
                moment = now + self.rng.random() * takes
            if moment is not None and now >= moment and active(view) and (pids := self.siege.pids(target)):
                self._kill(target, self.rng.choice(pids), view, self.siege.phase(run_id))
                return True
            time.sleep(0.005)
        return False

    def _next(self, kind: str) -> str:
        return self.rng.choice([name for name in self.targets if kind == "ray" or name not in _OF_RAY])

    def _kill(self, target: str, pid: int, view: dict[str, Any], phase: str) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.state["kills"][target] += 1
            self.state["phases"][phase] += 1
        line = {"kill": self.num_kills, "target": target, "run": view["id"], "state": view["state"],
                "phase": phase, "attempt": view["attempt"], "at": time.time()}  # fmt: skip
        with (self.siege.folder / "kills.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        self.save()

    def _check(self, kind: str, view: dict[str, Any]) -> None:
        verdicts = self.siege.verdicts(view["id"], kind)
        expected = self.state["expected"].get("text" if kind == "ray" else kind)
        if expected is not None and expected != [view["summary"]["manifest"], verdicts]:
            raise AssertionError(f"run {view['id']} ended otherwise than an undisturbed one: {view['summary']}")

    def report(self) -> str:
        restarts = sorted(self.state["restarts_s"])
        middle = statistics.median(restarts)
        told = ", ".join(f"{name} {self.state['kills'][name]}" for name in self.targets)
        phases = ", ".join(f"{name} {count}" for name, count in self.state["phases"].items())
        return (
            f"{self.num_kills} kills ({told}; in {phases}); {self.state['ended']} runs ended alike in "
            f"{self.state['attempts']} attempts, {self.siege.num_runs()} in the catalog; {len(restarts)} starts of the "
            f"service, accepting requests after {middle:.2f} s (median), {restarts[-1]:.2f} s (most)"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--texts", type=int, default=_TEXTS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="winnow-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    targets = tuple(options.targets.split(","))
    kinds = tuple(kind for kind in KINDS if kind != "ray" or set(targets) & set(_OF_RAY))
    with stopped(Siege(folder, free_port(), options.texts)) as siege:
        siege.keep_served()
        soak = Soak(siege, targets, kinds, options.seed)
        soak.undisturbed()
        soak.go_on(options.kills, options.minutes)
        print(soak.report(), flush=True)
    return 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
