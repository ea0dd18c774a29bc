"""The REST client: submit a dataset, watch the run, ask why, pull what was kept, report what training learnt.

Knows the resources and their addresses; imports nothing of the server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa

from curator.client.admin import Keys, Webhooks
from curator.client.datasets import Datasets
from curator.client.manifests import Manifests
from curator.client.operations import Exports, Operations
from curator.client.pieces import PieceReader, measured, piece
from curator.client.plans import Plans
from curator.client.policies import Policies
from curator.client.problems import kind_of
from curator.client.recipes import Recipes
from curator.client.reviews import Reviews
from curator.client.sources import HttpSource
from curator.client.training import TrainingJobs
from curator.client.wire import ARROW, Wire, id_of
from curator.errors import InputError, RequestError, RunFailedError, TransportError
from curator.run import Progress, RunSummary

__all__ = ["Client", "RunResult"]

_ENDED: Final = ("succeeded", "failed", "cancelled")

Recipe = str | Mapping[str, Any]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class RunResult:
    """A run that has succeeded."""

    run: str
    manifest: str
    summary: RunSummary


class Client:
    """Speaks to one server. Threads may share it. The way from a file to a curated manifest is methods of its own;
    other resources are nouns: datasets, recipes, manifests, plans, jobs, reviews, policies, exports, operations, keys,
    webhooks.

    base_url: without `/v1`. api_key: not needed on the machine of a server that listens on loopback. timeout_s: of one
    answer. retries: tries after the first when a connection breaks or the server is busy, each after a longer wait.

    Raises the classes of `curator.errors`, as the server named them; TransportError when it stays silent.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8700",
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 4,
        backoff_s: float = 0.25,
        transport: httpx.BaseTransport | None = None,
    ):
        self._wire = Wire(
            base_url, api_key, timeout_s=timeout_s, retries=retries, backoff_s=backoff_s, transport=transport
        )
        self.base_url = self._wire.base_url
        self.datasets, self.manifests, self.plans = Datasets(self._wire), Manifests(self._wire), Plans(self._wire)
        self.jobs, self.reviews, self.policies = TrainingJobs(self._wire), Reviews(self._wire), Policies(self._wire)
        self.exports, self.operations = Exports(self._wire), Operations(self._wire)
        self.keys, self.webhooks, self.recipes = Keys(self._wire), Webhooks(self._wire), Recipes(self._wire)

    def close(self) -> None:
        """Closes the connections."""
        self._wire.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # --- data in -----------------------------------------------------------------------------------------------------

    def upload(self, path: PathLike, *, resume: str | None = None, part_bytes: int | None = None) -> str:
        """Sends a file in parts and returns the upload's id; a part whose connection breaks is sent again.

        resume: an upload of the same file that was left unfinished; only missing parts are sent. Raises InputError for
        a missing or empty file.
        """
        file = Path(path)
        size, sha256 = measured(file)
        if resume is None:
            body = {"name": file.name, "size": size, "sha256": sha256, "part_bytes": part_bytes}
            upload = self._wire.create("/v1/uploads", body)
        else:
            upload = self._wire.get(f"/v1/uploads/{resume}")
            if (upload["size"], upload["sha256"]) != (size, sha256):
                raise InputError(
                    f"is not the file that upload {resume} was opened for; start a new one", file=str(file)
                )
        if upload["state"] == "open":
            for part in upload["parts"]:
                if not part["received"]:
                    self._send_part(file, part, upload["part_bytes"])
            self._wire.call("POST", f"/v1/uploads/{upload['id']}:complete", timeout=None)
        return str(upload["id"])

    def create_dataset(
        self,
        uploads: str | Sequence[str] = (),
        *,
        uri: str | None = None,
        name: str = "",
        task: str = "text",
        columns: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> dict[str, Any]:
        """Registers uploads, or a place the server may read; waits until its bytes are validated.

        columns: role → the data's own name, for recipes that do not say. Raises InputError when they are rejected.
        """
        ids = [uploads] if isinstance(uploads, str) else list(uploads)
        body = {"upload_ids": ids, "uri": uri, "name": name, "task": task, "columns": dict(columns or {})}
        dataset = self._wire.create("/v1/datasets", body)
        while wait and dataset["state"] == "validating":
            time.sleep(dataset["poll_after_ms"] / 1000)
            dataset = self._wire.get(f"/v1/datasets/{dataset['id']}")
        if wait and dataset["state"] == "rejected":
            raise InputError(f"dataset {dataset['id']} was rejected: {dataset['error']['message']}")
        return dataset

    # --- runs --------------------------------------------------------------------------------------------------------

    def submit(
        self,
        dataset: str | Mapping[str, Any],
        recipe: Recipe,
        *,
        trusted: str | None = None,
        engine: str = "inline",
        seed: int | None = None,
        feedback: Sequence[str] = (),
        dataset_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Queues a run of a dataset (its id or its resource) and returns the run. feedback: training jobs whose losses
        a learned policy reads. dataset_version: by default the newest that is ready."""
        body = {"dataset": id_of(dataset), "recipe": _plain(recipe), "trusted": trusted, "engine": engine, "seed": seed}
        body |= {"feedback": list(feedback), "dataset_version": dataset_version}
        return self._wire.create("/v1/runs", body, key=idempotency_key)

    def check_recipe(self, recipe: Recipe, *, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The recipe as the server would run it, defaults filled in, with its digest; nothing is stored. Raises
        RecipeError saying what to correct."""
        return self._wire.post("/v1/recipes:validate", {"recipe": _plain(recipe), "columns": dict(columns or {})})

    def wait(
        self,
        run: str | Mapping[str, Any],
        on_progress: Callable[[Progress], None] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """Waits until a run has ended and returns it. `on_progress` is called with every change seen; the last time
        its phase is the state in which the run ended. Raises TransportError after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        address, etag, found = f"/v1/runs/{id_of(run)}", "", {}
        while True:
            response = self._wire.call("GET", address, headers={"If-None-Match": etag} if etag else {})
            if response.status_code != 304:
                etag, found = response.headers["etag"], response.json()
                ended = found["state"] in _ENDED
                if on_progress is not None:
                    progress = Progress.model_validate(found["progress"])
                    on_progress(progress.model_copy(update={"phase": found["state"]}) if ended else progress)
                if ended:
                    return found
            if deadline is not None and time.monotonic() > deadline:
                raise TransportError(
                    f"run {id_of(run)} is still {found['state']} after {timeout_s:g} s; ask again later"
                )
            time.sleep(found["poll_after_ms"] / 1000)

    def curate(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        recipe: Recipe,
        trusted: PathLike | None = None,
        feedback: Sequence[str] = (),
        engine: str = "inline",
        seed: int | None = None,
        columns: Mapping[str, str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> RunResult:
        """Checks the recipe, uploads files, runs the recipe on them and waits. Raises as `result` does."""
        self.check_recipe(recipe, columns=columns)
        paths = [path] if isinstance(path, str | os.PathLike) else list(path)
        dataset = self.create_dataset([self.upload(one) for one in paths], columns=columns)
        sample = None if trusted is None else self.upload(trusted)
        run = self.submit(dataset, recipe, trusted=sample, engine=engine, seed=seed, feedback=feedback)
        return self.result(self.wait(run, on_progress))

    def result(self, run: str | Mapping[str, Any]) -> RunResult:
        """What a run that succeeded made. For one that did not it raises what stopped it there: a RequestError of the
        fitting kind for a wrong request, RunFailedError for what can be gone on with."""
        found = self.run(run) if isinstance(run, str) else run
        if found["state"] != "succeeded":
            fault = found.get("error") or {}
            told = fault.get("message", "it has not finished, or was cancelled")
            kind = (
                RunFailedError if fault.get("resumable", True) else kind_of(str(fault.get("code", "")), RunFailedError)
            )
            raise kind(f"run {found['id']} is {found['state']}: {told}")
        summary = RunSummary.model_validate(found["summary"])
        return RunResult(run=str(found["id"]), manifest=summary.manifest, summary=summary)

    def runs(self, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """All runs, newest first (at most `limit`)."""
        return self._wire.items("/v1/runs", {}, limit)

    def run(self, run: str) -> dict[str, Any]:
        """One run."""
        return self._wire.get(f"/v1/runs/{run}")

    def metrics(self, run: str) -> dict[str, Any]:
        """A run's counts, seconds by phase and scorecard."""
        return self._wire.get(f"/v1/runs/{run}/metrics")

    def stop(self, run: str, how: str = "cancel") -> dict[str, Any]:
        """`cancel` or `pause`."""
        return self._wire.post(f"/v1/runs/{run}:{_one_of(how, ('cancel', 'pause'))}")

    def go_on(self, run: str, how: str = "resume") -> dict[str, Any]:
        """`resume` a paused or failed run, or `retry` a failed one from nothing."""
        return self._wire.post(f"/v1/runs/{run}:{_one_of(how, ('resume', 'retry'))}")

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decisions(
        self,
        run: str,
        *,
        action: str | None = None,
        reason: str | None = None,
        difficulty: str | None = None,
        min_confidence: float | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Ledger rows in input order, sample ids in hex. One request, read as it comes."""
        left = limit
        filters = {"action": action, "reason": reason, "difficulty": difficulty, "min_confidence": min_confidence}
        for batch in self.decision_batches(run, **filters):
            for row in batch.slice(0, batch.num_rows if left is None else left).to_pylist():
                yield {name: _readable(value) for name, value in row.items()}
            if left is not None:
                left -= batch.num_rows
                if left <= 0:
                    return

    def decision_page(self, run: str, *, rows: bool = False, limit: int = 100, **filters: Any) -> dict[str, Any]:
        """The first of the same rows as the service tells them ({items, content, next_cursor}); rows: with their
        data."""
        chosen = {name: value for name, value in filters.items() if value is not None}
        params = {**chosen, "rows": rows, "limit": limit}
        return self._wire.call("GET", f"/v1/runs/{run}/decisions", params=params).json()

    def decision_batches(self, run: str, **filters: Any) -> Iterator[pa.RecordBatch]:
        """The same rows as Arrow record batches."""
        with self.decision_stream(run, **filters) as reader:
            yield from reader

    @contextmanager
    def decision_stream(
        self, run: str, *, signals: bool = False, **filters: Any
    ) -> Iterator[pa.ipc.RecordBatchStreamReader]:
        """The same rows while they come: a reader that knows their schema before the first. signals: every signal of
        the run too, as signal.NAME."""
        params = {name: value for name, value in filters.items() if value is not None}
        params |= {"signals": "true"} if signals else {}
        address = f"/v1/runs/{run}/decisions"
        with self._wire.stream(address, params, ARROW) as pieces, pa.ipc.open_stream(PieceReader(pieces)) as reader:
            yield reader

    def override(
        self,
        run: str,
        changes: Sequence[Mapping[str, Any]],
        *,
        manifest: str | None = None,
        note: str = "",
    ) -> dict[str, Any]:
        """Overturns verdicts ({sample_id, action, [label]}): returns the new manifest's id and counts."""
        body = {"changes": [dict(change) for change in changes], "manifest": manifest, "note": note}
        return self._wire.create(f"/v1/runs/{run}/decisions:override", body)

    def what_if(self, run: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Counts and examples under other thresholds (`{"near_duplicates.threshold": 0.9}`)."""
        return self._wire.post(f"/v1/runs/{run}:what-if", {"set": dict(settings)})

    def history(self, sample_id: str, *, run: str | None = None) -> Iterator[dict[str, Any]]:
        """What every run said of a sample, newest first."""
        return self._wire.items(f"/v1/samples/{sample_id}/history", {"run": run} if run else {}, None)

    # --- what was made, and training on it ---------------------------------------------------------------------------

    def manifest(self, manifest: str) -> dict[str, Any]:
        """A manifest as JSON, by its id or an alias."""
        return self.manifests.get(manifest)

    def shard_source(self, cache_dir: PathLike | None = None, cache_limit_bytes: int | None = None) -> HttpSource:
        """Where a ShardStream gets this server's shards from."""
        return HttpSource(
            self.base_url,
            self._wire.api_key,
            cache_dir,
            cache_limit_bytes=cache_limit_bytes,
            timeout_s=self._wire.timeout_s,
            retries=self._wire.retries + 4,  # training waits some 50 s for a server that starts again
            transport=self._wire.transport,
        )

    def feedback(self, job: str | Mapping[str, Any], table: pa.Table) -> int:
        """`jobs.feedback`: losses by sample; returns how many rows count."""
        return self.jobs.feedback(job, table)

    def _send_part(self, file: Path, part: Mapping[str, Any], part_bytes: int) -> None:
        start, size = (int(part["number"]) - 1) * part_bytes, int(part["size"])
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._wire.call("PUT", str(part["url"]), body=lambda: piece(file, start, size), headers=headers)


def _plain(recipe: Recipe) -> Any:
    return recipe if isinstance(recipe, str) else dict(recipe)


def _readable(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _one_of(word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise RequestError(f"{word!r} is not one of {', '.join(known)}")
    return word
