"""The first signal asks, the second does what it did before."""

from __future__ import annotations

import os
import signal
import threading

from pipelines.training.interrupt import until_signalled


def test_a_signal_asks_once() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with until_signalled() as should_stop:
            assert not should_stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert should_stop() and not heard
            os.kill(os.getpid(), signal.SIGTERM)
            assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_no_signal_is_touched() -> None:
    seen: list[bool] = []

    def work() -> None:
        with until_signalled() as should_stop:
            seen.append(should_stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
