"""Several ranks of a job on this machine, as a launcher would start them. For tests of training on many devices.

One server process imports what ranks need once; each rank is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Launched", "free_port", "launched", "run"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.pipelines.training.parallel.jobs"])
PATIENCE_S = 120.0


class Launched:
    """Ranks under way. `results()` waits for them."""

    def __init__(self, target: Callable[..., Any], environments: list[dict[str, str]], arguments: tuple[Any, ...]):
        self._folder = Path(tempfile.mkdtemp(prefix="ranks"))
        files = [self._folder / str(number) for number in range(len(environments))]
        self._files = files
        self.processes = [
            _CONTEXT.Process(target=_rank, args=(target, environment, str(file), arguments), daemon=True)
            for environment, file in zip(environments, files, strict=True)
        ]
        for process in self.processes:
            process.start()

    def kill(self, number: int) -> None:
        pid = self.processes[number].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.processes[number].join()

    def results(self, *, failing: bool = False, patience_s: float = PATIENCE_S) -> list[Any]:
        """What each rank returned. Raises what a rank raised; if `failing`, that is its result, and None of one that
        was killed."""
        until = time.monotonic() + patience_s
        for process in self.processes:
            process.join(max(until - time.monotonic(), 0.1))
        hanging = [number for number, process in enumerate(self.processes) if process.is_alive()]
        for number in hanging:
            self.kill(number)
        assert not hanging, f"ranks {hanging} hang"
        try:
            return [_result(file, failing) for file in self._files]
        finally:
            shutil.rmtree(self._folder)


def launched(
    target: Callable[..., Any], world_size: int, *arguments: Any, only: int | None = None, **more: str
) -> Launched:
    """`target(*arguments)` on each of `world_size` ranks, or `only` one of them, with torchrun's environment and `more`
    of it."""
    shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), **more}
    ranks = range(world_size) if only is None else [only]
    environments = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in ranks]
    return Launched(target, environments, arguments)


def run(target: Callable[..., Any], world_size: int, *arguments: Any) -> list[Any]:
    """The results of `target(*arguments)` on each rank."""
    return launched(target, world_size, *arguments).results()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rank(target: Callable[..., Any], environment: dict[str, str], file: str, arguments: tuple[Any, ...]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        result: Any = target(*arguments)
    except BaseException as error:
        error.add_note(traceback.format_exc())
        result = error
    Path(file).write_bytes(pickle.dumps(result))


def _result(file: Path, failing: bool) -> Any:
    if failing and not file.exists():
        return None
    assert file.exists(), "a rank died without a word"
    result = pickle.loads(file.read_bytes())
    if isinstance(result, BaseException) and not failing:
        raise result
    return result
