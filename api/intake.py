"""Registering a dataset: where its bytes may come from, and reading them once to see that they are what they claim.

Knows the catalog's dataset versions; nothing of HTTP, nor of how bytes are read (`inspection.py`).
"""

from __future__ import annotations

import base64
import logging
import os
import posixpath
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final

import pyarrow as pa

from api.fetching import ROOTS, Fetcher, is_web
from api.inspection import Bounds, Nursery
from api.turns import Turns
from curator.catalog import Catalog, DatasetVersion
from curator.errors import ConflictError, InputError, NotFoundError, RequestError, WinnowError
from curator.outbound import allowed_url, below
from curator.readers import WorkUnit, read
from curator.readers.discovery import belongs
from curator.readers.opening import address_of
from curator.settings import Settings

__all__ = ["Intake", "allowed", "first_units", "here", "preview", "readable_folders", "without_folders"]

FETCHES: Final = 4
log: Final = logging.getLogger(__name__)


class Intake:
    """Validates versions in the background, two at a time, fetched ones beside them, one of a tenant; small ones are
    done before the answer goes out. `within`: the folders that their local files must lie in, links followed."""

    def __init__(self, catalog: Catalog, bounds: Bounds, within: Sequence[str] | None = None, *, fetcher: Fetcher):
        self._catalog, self._nursery, self._within, self._fetcher = catalog, Nursery(bounds), within, fetcher
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="intake")
        self._web_pool = Turns(FETCHES, "fetch")  # what comes slowly holds nothing else up, nor other tenants'
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[None]] = {}

    def validate(self, tenant: str, version: DatasetVersion, *, wait_s: float = 0.0) -> None:
        """Begins to validate a version unless that is under way (again after a restart: any look at it does this),
        and waits up to `wait_s` seconds for the end."""
        key = (version.dataset, version.number)
        with self._lock:
            future = self._under_way.get(key)
            if future is None:
                settle = partial(self._settle, tenant, version)
                future = self._web_pool.submit(tenant, settle) if _is_away(version) else self._pool.submit(settle)
                self._under_way[key] = future
        if wait_s:
            with suppress(TimeoutError):
                future.result(timeout=wait_s)

    def _settle(self, tenant: str, version: DatasetVersion) -> None:
        try:
            self._judge(tenant, version)
        except (ConflictError, NotFoundError):
            log.info("version %d of %s was settled or deleted meanwhile", version.number, version.dataset)
        except WinnowError as error:
            log.warning("dataset %s: %s; the next look at it tries again", version.dataset, error)
        except Exception:
            log.exception("dataset %s could not be settled; the next look at it tries again", version.dataset)
        finally:
            with self._lock:
                self._under_way.pop((version.dataset, version.number), None)

    def _judge(self, tenant: str, version: DatasetVersion) -> None:
        """Accepts or rejects. Raises a WinnowError that is no fault of the bytes."""
        try:
            if _is_away(version):
                version = self._fetcher.fetched(tenant, version)
            found = self._nursery.inspected(version.inputs, self._within)
            self._catalog.datasets.accept(tenant, version.dataset, version.number, **found)
            return
        except (ConflictError, NotFoundError):
            raise
        except RequestError as error:
            code, message = error.code, without_folders(str(error), version.inputs)
        except WinnowError:
            raise
        except Exception:
            log.exception("version %d of %s broke its validation", version.number, version.dataset)
            code, message = InputError.code, "it could not be validated, for a reason the server's log tells"
        self._catalog.datasets.reject(tenant, version.dataset, version.number, code=code, message=message)

    def close(self) -> None:
        """Ends what is under way; the next look at it, by a later server, begins it again."""
        self._fetcher.close()
        for pool in (self._pool, self._web_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._nursery.close()
        for pool in (self._pool, self._web_pool):
            pool.shutdown(wait=True)


def _is_away(version: DatasetVersion) -> bool:
    """Whether its bytes are still to be fetched."""
    return bool(version.inputs) and is_web(version.inputs[0])


def here(version: DatasetVersion) -> tuple[str, ...]:
    """A version's files, for whoever reads them. Raises ConflictError while they are still elsewhere."""
    if _is_away(version):
        raise ConflictError(f"dataset {version.dataset} is still being fetched; ask again once it is ready")
    return version.inputs


def preview(version: DatasetVersion, limit: int) -> list[pa.RecordBatch]:
    """The first `limit` rows. Raises ConflictError for a version that is not ready, InputError if its file changed or
    is gone; the server's folders are not told."""
    schema, units = first_units(version)
    try:
        return _first(schema, units, limit)
    except RequestError as error:
        told = without_folders(str(error), version.inputs)
        raise InputError(
            f"{told}. The file changed or was deleted after the dataset was read; upload and register it again"
        ) from None


def _first(schema: pa.Schema, units: Sequence[WorkUnit], limit: int) -> list[pa.RecordBatch]:
    batches, left = [], limit
    for unit in units:
        for rows in islice(read(unit, schema=schema, batch_rows=limit), limit):
            batches.append(rows.batch.slice(0, left))
            left -= batches[-1].num_rows
            if not left:
                break
    return batches


def first_units(version: DatasetVersion) -> tuple[pa.Schema, list[WorkUnit]]:
    """Where the first rows lie. Raises ConflictError for a version that is not ready, InputError if they lie
    elsewhere: it was told by the process that read it, which the file may own."""
    if version.statistics is None:
        raise ConflictError(f"version {version.number} of {version.dataset} is {version.state}; it has no rows to show")
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(version.statistics["schema"])))
    units = [WorkUnit.model_validate(raw) for raw in version.statistics["first_units"]]
    if not all(belongs(unit.source.uri, version.inputs) for unit in units):
        raise InputError("its first rows lie in a file that is none of its own; register it again")
    return schema, units


def readable_folders(settings: Settings) -> tuple[str, ...]:
    """Where local files of datasets may lie, links followed: the roots of references, and this root's uploads."""
    folders = [os.path.realpath(root) for root in settings.input_roots if "://" not in root]
    uploads = () if "://" in settings.root else (os.path.realpath(os.path.join(settings.root, "uploads")),)
    return (*folders, *uploads)


def allowed(uri: str, roots: Sequence[str]) -> str:
    """The input a caller may name by reference: below one of the allowed roots, after links are followed.

    Raises InputError otherwise; the default allows nothing. A prefix may say how its store is reached
    (`s3://data?region=x`), a caller may not. A URL's root ends at a slash, so that `s3://data` does
    not open `s3://data-private`.
    """
    if not roots:
        raise InputError("datasets by reference are off; upload the file, or set WINNOW_INPUT_ROOTS on the server")
    if "://" in uri:
        for root, connection in map(address_of, roots):
            if below(uri, [root]) and not set(uri) & set("?#"):  # where a store is reached is not the caller's to say
                return allowed_url(uri, [root], ROOTS) if is_web(uri) else uri + connection
    elif os.path.isabs(uri):
        real = os.path.realpath(uri)
        folders = [os.path.realpath(root) for root in roots if "://" not in root]
        if any(os.path.commonpath([real, folder]) == folder for folder in folders):
            return real
    raise InputError(f"{uri!r} is not below a folder or prefix this server may read (WINNOW_INPUT_ROOTS)")


def without_folders(text: str, inputs: Sequence[str]) -> str:
    """A message with the server's own folders left out."""
    for place in inputs:
        text = text.replace(place, posixpath.basename(place))
    return text.replace("\0", "\ufffd")
