"""A TensorBoard event file, written without TensorBoard: scalars by step, one record for each step.

Knows bytes and numbers; nothing of what they mean. A file is a chain of TFRecords (length, its checksum, an Event
message, its checksum); checksums are CRC-32C, rotated and shifted as TensorFlow's `crc32c.h` does ("masked").
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["EventFile", "crc32c"]

_POLYNOMIAL: Final = 0x82F63B78
_VERSION: Final = b"brain.Event:2"


def _table() -> tuple[int, ...]:
    out = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        out.append(byte)
    return tuple(out)


_TABLE: Final = _table()


class EventFile:
    """One file of a folder that `tensorboard --logdir` reads. A resumed job writes another one beside it."""

    def __init__(self, folder: str | os.PathLike[str]):
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.uname().nodename}.{os.getpid()}"
        number = len(list(Path(folder).glob(f"{name}.*")))  # jobs of one process within one second
        self._file = open(Path(folder) / f"{name}.{number}", "xb")  # noqa: SIM115  (closed by close)
        self._write(_field(3, _VERSION))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """The values at a step, under their names; a name may hold slashes to group it."""
        summary = b"".join(
            _field(1, _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in values.items()
        )
        self._write(b"\x10" + _varint(step) + _field(5, summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked(length) + event + _masked(event))


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720, appendix B.4)."""
    state = 0xFFFFFFFF
    for byte in data:
        state = state >> 8 ^ _TABLE[(state ^ byte) & 0xFF]
    return state ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    plain = crc32c(data)
    return struct.pack("<I", ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
