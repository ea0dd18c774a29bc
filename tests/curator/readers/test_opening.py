"""Bytes under caps: digests, damaged and bomb-like compression, files that change."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
import zstandard

from curator.errors import InputError
from curator.readers import Limits, discover, plan_inputs, read, scan
from curator.readers.opening import CHUNK_BYTES, address_of, content_digest

Write = Callable[[str, bytes], str]
LINES = b"".join(b'{"a": %d}\n' % number for number in range(500))


def test_the_digest_is_of_the_bytes_as_stored(write: Write) -> None:
    data = bytes(range(256)) * (CHUNK_BYTES // 256 + 7)
    [source] = discover([write("a.jsonl", data)])
    assert content_digest(source) == xxhash.xxh3_128(data).hexdigest()


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_lines_of_one_or_several_members_are_read(
    write: Write, rows_of: Any, pack: Callable[[bytes], bytes]
) -> None:
    extension = "gz" if pack is gzip.compress else "zst"
    path = write(f"a.jsonl.{extension}", pack(LINES) + pack(LINES))
    assert rows_of(path) == [{"a": number} for number in range(500)] * 2


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)])
@pytest.mark.parametrize("kept", [0.3, 0.98])
def test_a_packed_file_cut_short_is_named(write: Write, name: str, pack: Callable[[bytes], bytes], kept: float) -> None:
    data = pack(LINES)
    path = write(name, data[: int(len(data) * kept)])
    with pytest.raises(InputError, match="cut short") as caught:
        scan(discover([path])[0], unit_rows=10)
    assert caught.value.file == path


def test_a_file_that_is_not_packed_at_all_is_named(write: Write) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        scan(discover([write("a.jsonl.gz", LINES)])[0], unit_rows=10)


@pytest.mark.parametrize(("name", "head"), [("bomb.jsonl.gz", b'{"a": "'), ("bomb.csv.gz", b'a\n"')])
def test_a_decompression_bomb_is_stopped_at_the_cap(write: Write, name: str, head: bytes) -> None:
    path = write(name, gzip.compress(head + b" " * (8 << 20)))
    limits = Limits(expansion=20, expansion_free_bytes=1 << 20)
    with pytest.raises(InputError, match="decompression bomb") as caught:
        scan(discover([path])[0], unit_rows=10, limits=limits)
    assert caught.value.file == path


def test_a_ratio_is_not_asked_of_small_files(write: Write, rows_of: Any) -> None:
    data = gzip.compress(b'{"a": 1}\n' * 1000)
    assert len(rows_of(write("a.jsonl.gz", data), limits=Limits(expansion=2, expansion_free_bytes=1 << 20))) == 1000


def test_a_file_that_grew_since_the_plan_is_refused(write: Write) -> None:
    path = write("a.jsonl", LINES)
    plan = plan_inputs(discover([path]), unit_rows=100)
    with Path(path).open("ab") as file:
        file.write(b'{"a": 1}\n')
    with pytest.raises(InputError, match="changed in between"):
        list(read(plan.units[0], schema=plan.schema))


def test_a_file_of_the_same_length_with_other_rows_is_refused(write: Write) -> None:
    path = write("a.jsonl", b'{"a": 11}\n{"a": 22}\n')
    plan = plan_inputs(discover([path]), unit_rows=100)
    written = os.stat(path).st_mtime_ns
    Path(path).write_bytes(b'{"a": 111111111111}\n')
    os.utime(path, ns=(written, written))  # as a copy that keeps times
    with pytest.raises(InputError, match="1 rows read where 2 were counted"):
        list(read(plan.units[0], schema=plan.schema))


def test_a_file_rewritten_at_the_same_size_is_refused_and_one_only_touched_is_read(write: Write) -> None:
    path = write("a.jsonl", LINES)
    plan = plan_inputs(discover([path]), unit_rows=100)
    os.utime(path, ns=(1, 1))
    assert sum(batch.num_rows for _, batch in read(plan.units[0], schema=plan.schema)) > 0
    Path(path).write_bytes(b"".join(LINES.splitlines(keepends=True)[::-1]))
    with pytest.raises(InputError, match="changed in between"):
        list(read(plan.units[0], schema=plan.schema))


def test_a_file_gone_since_the_plan_is_named(write: Write) -> None:
    path = write("a.jsonl", LINES)
    plan = plan_inputs(discover([path]), unit_rows=100)
    Path(path).unlink()
    with pytest.raises(InputError, match="gone"):
        list(read(plan.units[0], schema=plan.schema))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="address space is read from /proc")
def test_refusing_damaged_files_again_and_again_keeps_no_memory(write: Write) -> None:
    data = bytearray(gzip.compress(LINES))
    data[len(data) // 2] ^= 0xFF
    [source] = discover([write("a.jsonl.gz", bytes(data))])

    def refuse(times: int) -> int:
        """Address space afterwards, in bytes; what a failed read kept would be 4 MiB each time."""
        for _ in range(times):
            with pytest.raises(InputError, match="cannot be read"):
                scan(source, unit_rows=10)
        return int(Path("/proc/self/statm").read_text().split()[0]) * 4096

    before = refuse(20)
    assert refuse(100) - before < 100 << 20


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://b/k.csv", ("s3://b/k.csv", "")),
        ("s3://b/k.csv?region=x&scheme=http", ("s3://b/k.csv", "?region=x&scheme=http")),
        ("s3://b/d?/*.csv?endpoint_override=h:9000", ("s3://b/d?/*.csv", "?endpoint_override=h:9000")),
        ("s3://b/part-?.csv", ("s3://b/part-?.csv", "")),
        ("s3://b/label?x=1/part.csv", ("s3://b/label?x=1/part.csv", "")),
    ],
)
def test_connection_settings_are_told_from_globs(uri: str, parts: tuple[str, str]) -> None:
    assert address_of(uri) == parts
