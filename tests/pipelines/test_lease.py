"""Owners' names, the dead, and the heartbeat beside the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from curator.errors import LeaseLostError, TransportError
from pipelines.lease import beating, is_dead, owner_name


def test_names_differ_and_the_living_are_not_dead() -> None:
    first, second = owner_name(), owner_name()
    assert first != second
    assert not is_dead(first) and not is_dead(second)


def test_a_process_that_ended_is_dead() -> None:
    command = [sys.executable, "-c", "from pipelines.lease import owner_name; print(owner_name())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert is_dead(done.stdout.strip())


def test_a_pid_used_again_is_another_process() -> None:
    host, boot, pid, start, count = owner_name().split("/")
    if start == "-":
        pytest.skip("this system does not tell when a process started")
    assert is_dead("/".join([host, boot, pid, str(int(start) + 1), count]))


@pytest.mark.parametrize("place", [0, 1])
def test_an_owner_elsewhere_is_never_called_dead(place: int) -> None:
    parts = owner_name().split("/")
    parts[2] = "999999999"
    assert is_dead("/".join(parts))
    parts[place] = "elsewhere"
    assert not is_dead("/".join(parts))


@pytest.mark.parametrize("name", ["", "me", "a/b/c", "a/b/c/d/e", "////"])
def test_a_name_of_another_form_is_never_called_dead(name: str) -> None:
    assert not is_dead(name)


def test_a_zombie_process_is_dead() -> None:
    if not os.path.exists("/proc/self/stat"):
        pytest.skip("this system has no /proc")
    child = subprocess.Popen(
        [sys.executable, "-c", "from pipelines.lease import owner_name; print(owner_name(), flush=True)"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, nobody has collected it
    assert is_dead(name)
    child.stdout.close()
    child.wait()


class Journal:
    """Counts heartbeats; raises what it is told to."""

    def __init__(self, *faults: Exception | None):
        self.faults, self.beats, self.enough = list(faults), 0, threading.Event()
        self.run = type("Run", (), {"id": "run_1"})

    def heartbeat(self) -> None:
        self.beats += 1
        fault = self.faults.pop(0) if self.faults else None
        if not self.faults:
            self.enough.set()
        if fault is not None:
            raise fault


def test_a_passing_fault_does_not_stop_the_heart() -> None:
    journal = Journal(TransportError("away"), TransportError("away"), None)
    with beating(journal, 0.005):  # type: ignore[arg-type]
        assert journal.enough.wait(20)
    assert journal.beats >= 3


def test_a_lost_lease_stops_it() -> None:
    journal = Journal(LeaseLostError("gone"))
    with beating(journal, 0.005):  # type: ignore[arg-type]
        assert journal.enough.wait(20)
        for thread in [thread for thread in threading.enumerate() if thread.name == "heartbeat"]:
            thread.join(20)
            assert not thread.is_alive()
    assert journal.beats == 1


def test_it_ends_with_the_block_even_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), beating(Journal(), 60.0):  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert [thread for thread in threading.enumerate() if thread.name == "heartbeat"] == []
