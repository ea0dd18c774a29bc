"""WebDataset tar: consecutive members that share a key are one row, their extensions its columns; one unit a file.

Knows nothing of other files of the set and unpacks nothing to disk. Columns are `__key__` (path and name up to the
first dot of the name) and one for each extension met: `txt` is text, `cls` an integer, anything else bytes; of `json`
members the keys are columns (`json_members`), as img2dataset and DataComp write captions, sizes and hashes there. What
a row lacks is null. Source: "The WebDataset Format", github.com/webdataset/webdataset.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from curator.errors import InputError
from curator.readers.columns import columns_within
from curator.readers.json_members import JsonColumns, as_column, json_object
from curator.readers.limits import Limits
from curator.readers.opening import damaged, open_file
from curator.readers.unit import Source, WorkUnit

__all__ = ["read_webdataset", "scan_webdataset"]

KEY: Final = "__key__"
JSON: Final = "json"
TYPES: Final = {"txt": pa.string(), "cls": pa.int64()}


def scan_webdataset(
    source: Source, digest: str, unit_rows: int, limits: Limits
) -> tuple[pa.Schema, int, tuple[WorkUnit, ...]]:
    """Schema, rows and the one unit; only headers and `.json` members are read. Raises InputError naming the row."""
    columns: dict[str, None] = {}
    keys = JsonColumns(source)
    rows, size, last = 0, 0, None
    here: set[str] = set()
    with _members(source, limits) as members:
        for key, extension, member in members:
            if key != last:
                rows, last, here = rows + 1, key, set()
            if extension in here:
                raise InputError(
                    f"sample {key!r} has two members .{extension}; give every sample its own key",
                    file=source.uri,
                    row=rows - 1,
                )
            here.add(extension)
            if extension == JSON:
                keys.add(json_object(members.read(member), member.name, source, rows - 1), rows - 1)
            else:
                columns[extension] = None
            columns_within(len(columns) + len(keys) + 1, source.uri, limits)
            size += member.size
    if not rows:
        raise InputError("has no files in it; leave it out", file=source.uri)
    fields = [(KEY, pa.string()), *((name, TYPES.get(name, pa.binary())) for name in sorted(columns))]
    fields += keys.fields([KEY, *columns])
    unit = WorkUnit(index=0, source=source, start=0, stop=1, first_row=0, rows=rows, bytes=size, content_digest=digest)
    return pa.schema(fields), rows, (unit,)


def read_webdataset(unit: WorkUnit, schema: pa.Schema, batch_rows: int, limits: Limits) -> Iterator[pa.RecordBatch]:
    """The file's rows with the schema's columns; only members asked for are read. Raises InputError naming the row."""
    rows: list[dict[str, Any]] = []
    keys = {field.name for field in schema if field.name != KEY and not pa.types.is_binary(field.type)}
    held_bytes, row = 0, -1
    last = None
    with _members(unit.source, limits) as members:
        for key, extension, member in members:
            if key != last:
                if len(rows) >= batch_rows or held_bytes >= limits.batch_bytes:
                    yield _batch(rows, schema, unit.source, row + 1)
                    rows, held_bytes = [], 0
                rows.append({KEY: key})
                row, last = row + 1, key
            if extension == JSON:
                if keys:
                    found = json_object(members.read(member), member.name, unit.source, row)
                    rows[-1] |= {name: found[name] for name in keys & found.keys()}
                    held_bytes += member.size
            elif extension in schema.names:
                rows[-1][extension] = _value(members.read(member), extension, unit.source, row)
                held_bytes += member.size
    if rows:
        yield _batch(rows, schema, unit.source, row + 1)


def _batch(rows: list[dict[str, Any]], schema: pa.Schema, source: Source, next_row: int) -> pa.RecordBatch:
    if not len(schema):
        return pa.RecordBatch.from_pylist(rows, schema=pa.schema([(KEY, pa.string())])).select([])
    columns = [
        as_column([row.get(field.name) for row in rows], field, source, next_row - len(rows)) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, names=schema.names)


def _value(data: bytes, extension: str, source: Source, row: int) -> Any:
    if extension not in TYPES:
        return data
    try:
        text = data.decode()
        return int(text) if extension == "cls" else text
    except UnicodeDecodeError as error:
        told = "text that is not valid UTF-8; repair or remove the sample"
        raise InputError(told, file=source.uri, row=row, column=extension) from error
    except ValueError as error:
        told = f"{text[:40]!r} is not a whole number, which .cls holds; repair it, or give it another extension"
        raise InputError(told, file=source.uri, row=row, column=extension) from error


class _Members:
    """The regular files of an archive in order, as (key, extension, member)."""

    def __init__(self, archive: tarfile.TarFile, source: Source, limits: Limits):
        self._archive, self._source, self._limits = archive, source, limits

    def __iter__(self) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
        while (member := self._archive.next()) is not None:
            self._archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen; millions of them would fill memory
            if member.isdir():
                continue
            folder, name = posixpath.split(member.name)
            stem, dot, extension = name.partition(".")
            if not member.isreg():
                raise InputError(f"member {member.name!r} is no plain file; pack files only", file=self._source.uri)
            if not (stem and dot and extension):
                raise InputError(
                    f"member {member.name!r} is not named KEY.EXTENSION; pack it as the WebDataset format says",
                    file=self._source.uri,
                )
            if member.size > self._limits.cell_bytes:
                raise InputError(
                    f"member {member.name!r} has {member.size} bytes, more than the cap of {self._limits.cell_bytes}",
                    file=self._source.uri,
                )
            yield posixpath.join(folder, stem), extension.lower(), member

    def read(self, member: tarfile.TarInfo) -> bytes:
        """The member's bytes."""
        file = self._archive.extractfile(member)
        data = file.read() if file is not None else b""
        if len(data) != member.size:
            raise tarfile.ReadError(f"member {member.name!r} ends too early")
        return data


@contextmanager
def _members(source: Source, limits: Limits) -> Iterator[_Members]:
    with open_file(source.uri) as handle:
        try:
            with tarfile.open(fileobj=_Guarded(handle, limits), mode="r:") as archive:
                yield _Members(archive, source, limits)
                handle.seek(archive.offset)
                if handle.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    # tarfile takes a missing or damaged header between members for the end; the end is a block of zeros
                    raise tarfile.ReadError(f"no member and no end mark at byte {archive.offset}")
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
            raise damaged(source, error) from error


class _Guarded(io.RawIOBase):
    """A file that refuses to give more at once than a cell may hold: a header may claim any length."""

    def __init__(self, handle: Any, limits: Limits):
        super().__init__()
        self._handle, self._cap = handle, limits.cell_bytes

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        size = self._handle.size()
        if whence == 0 and offset > size:
            raise tarfile.ReadError(f"a member reaches to byte {offset} of a file of {size}")
        return int(self._handle.seek(offset, whence))

    def tell(self) -> int:
        return int(self._handle.tell())

    def read(self, size: int = -1) -> bytes:
        if size > self._cap:
            raise tarfile.ReadError(f"a header asks for {size} bytes at once, more than the cap of {self._cap}")
        return bytes(self._handle.read(size if size >= 0 else self._cap))
