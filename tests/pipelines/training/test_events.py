"""The TensorBoard file: read back record by record, checksums checked, and by TensorBoard itself where it is there."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest

from pipelines.training.events import EventFile, crc32c
from pipelines.training.rows import TableRows
from pipelines.training.trainer import Trainer
from tests.pipelines.training.examples import SMALL, texts


def _fields(message: bytes) -> list[tuple[int, Any]]:
    """(number, value) of each field of a protocol buffer."""
    out: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(message):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            out.append((number, varint()))
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        raw = message[at : at + size]
        at += size
        out.append((number, struct.unpack("<d" if kind == 1 else "<f", raw)[0] if kind != 2 else raw))
    return out


def _records(path: Path) -> list[bytes]:
    data, out = path.read_bytes(), []

    def checked(part: bytes, at: int) -> None:
        plain = crc32c(part)
        assert struct.unpack("<I", data[at : at + 4])[0] == ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF

    at = 0
    while at < len(data):
        size = struct.unpack("<Q", data[at : at + 8])[0]
        checked(data[at : at + 8], at + 8)
        out.append(data[at + 12 : at + 12 + size])
        checked(out[-1], at + 12 + size)
        at += 16 + size
    return out


def _scalars(folder: Path) -> dict[int, dict[str, float]]:
    [path] = folder.iterdir()
    first, *rest = (dict(_fields(record)) for record in _records(path))
    assert first[3] == b"brain.Event:2"
    found: dict[int, dict[str, float]] = {}
    for event in rest:
        values = [dict(_fields(value)) for _, value in _fields(event[5])]
        found[event[2]] = {value[1].decode(): value[2] for value in values}
    return found


@pytest.mark.parametrize(("data", "known"), [(b"123456789", 0xE3069283), (b"", 0), (bytes(32), 0x8A9136AA)])
def test_checksums_are_the_published_ones(data: bytes, known: int) -> None:
    assert crc32c(data) == known


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = EventFile(tmp_path / "logs")
    file.scalars(1, {"loss": 2.5, "pace/mfu": 0.5})
    file.scalars(70_000, {"loss": -1.0})
    file.close()
    assert _scalars(tmp_path / "logs") == {1: {"loss": 2.5, "pace/mfu": 0.5}, 70_000: {"loss": -1.0}}


def test_a_job_logs_every_step(tmp_path: Path) -> None:
    losses: dict[int, float] = {}
    Trainer(
        TableRows(texts(48), seed=0, global_batch_size=16),
        SMALL["text-classifier"],
        on_step=lambda record: losses.update({record.step: record.loss}),
        log_dir=tmp_path,
    ).run()
    found = _scalars(tmp_path)
    assert {step: values["loss"] for step, values in found.items()} == pytest.approx(losses, rel=1e-6)
    assert {"learning_rate", "gradient_norm", "pace/mfu", "pace/waited", "pace/tokens_per_s"} <= set(found[9])


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs TensorBoard to read with")
def test_tensorboard_reads_it(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    file = EventFile(tmp_path)
    file.scalars(3, {"loss": 1.5})
    file.close()
    seen = EventAccumulator(str(tmp_path)).Reload()
    assert [(item.step, item.value) for item in seen.Scalars("loss")] == [(3, 1.5)]
