"""What takes a while at a server: one list of it to poll, and exports, which end in files.

Knows addresses, states and hashes; nothing of what is being done.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.client.wire import Wire, id_of
from curator.errors import IntegrityError, TransportError

__all__ = ["Exports", "Operations"]


class Operations:
    """`client.operations`: runs, training jobs, exports and rewrites in one form."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def list(self, *, kind: str | None = None, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All of them (or of one kind), newest first."""
        return self._wire.items("/v1/operations", {"kind": kind} if kind else {}, limit)

    def get(self, operation: str | Mapping[str, Any]) -> dict[str, Any]:
        """One by its id."""
        return self._wire.get(f"/v1/operations/{id_of(operation)}")

    def wait(self, operation: str | Mapping[str, Any], *, timeout_s: float | None = None) -> dict[str, Any]:
        """Waits until it is done and returns the resource itself, whatever its state. Raises TransportError after
        `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (found := self.get(operation))["done"]:
            if deadline is not None and time.monotonic() > deadline:
                raise TransportError(f"{found['id']} is still {found['state']} after {timeout_s:g} s; ask again later")
            time.sleep(found["poll_after_ms"] / 1000)
        return self._wire.get(found["resource"])

    def rewrite(self, rewrite: str) -> dict[str, Any]:
        """A compaction or a pack."""
        return self._wire.get(f"/v1/rewrites/{rewrite}")

    def cancel(self, operation: str | Mapping[str, Any]) -> dict[str, Any]:
        """Stops it for good."""
        return self._wire.post(f"{self.get(operation)['resource']}:cancel")


class Exports:
    """`client.exports`: a manifest's kept rows as files for other tools."""

    def __init__(self, wire: Wire):
        self._wire = wire

    def create(self, manifest: str, form: str) -> dict[str, Any]:
        """Queues an export as parquet, mds, webdataset or jsonl; `client.operations.wait` for it."""
        return self._wire.create("/v1/exports", {"manifest": manifest, "format": form})

    def get(self, export: str | Mapping[str, Any]) -> dict[str, Any]:
        """One export; `files` are there once it has succeeded."""
        return self._wire.get(f"/v1/exports/{id_of(export)}")

    def list(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All exports, newest first."""
        return self._wire.items("/v1/exports", {}, limit)

    def delete(self, export: str | Mapping[str, Any]) -> None:
        """Removes an export that has ended, with its files."""
        self._wire.call("DELETE", f"/v1/exports/{id_of(export)}")

    def download(self, export: str | Mapping[str, Any], folder: str | Path) -> Sequence[Path]:
        """Fetches an export's files into a folder. Raises IntegrityError when one arrives with another hash."""
        made = []
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in self.get(export)["files"]:
            path, digest = Path(folder) / file["name"], hashlib.sha256()
            with self._wire.stream(file["url"], {}, "*/*") as pieces, path.open("wb") as sink:
                for piece in pieces:
                    digest.update(piece)
                    sink.write(piece)
            if digest.hexdigest() != file["sha256"]:
                path.unlink()
                raise IntegrityError(f"{file['name']} of {id_of(export)} arrived with another hash; fetch it again")
            made.append(path)
        return made
