"""/v1/datasets: registered rows, from uploads or from a place the server may read.

Parses and answers; `api/intake.py` reads the bytes.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, Self

from fastapi import Query, Request
from pydantic import Field, model_validator
from starlette.responses import Response

from api.auth import Caller, Reader, Writer
from api.bodies import Body, View, routes_under
from api.cells import Rows, shown_rows
from api.fetching import is_web, name_of
from api.intake import allowed, preview
from api.once import create_once
from api.replies import reply, unchanged
from api.service import Service, service_of
from api.upload_files import extension_of
from curator.catalog import Dataset, DatasetVersion
from curator.errors import ConflictError

routes = routes_under("/v1/datasets", "datasets")

SMALL_WAIT_S = 2.0
Role = Literal["id", "text", "image", "label", "instruction", "input", "output"]


class NewDatasetVersion(Body):
    """Either `upload_ids` or `uri`: all rows of the version, not those that came since the last one."""

    upload_ids: tuple[str, ...] = Field(default=(), max_length=1000)
    uri: str | None = Field(default=None, max_length=2000)

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.upload_ids) == (self.uri is not None):
            raise ValueError("give either upload_ids or uri")
        return self


class NewDataset(NewDatasetVersion):
    """Either `upload_ids` or `uri`. `columns`: role → the data's own name, used by recipes that do not name it."""

    name: str = Field(default="", max_length=255)
    task: Literal["text", "classification", "instruction"] = "text"
    columns: dict[Role, str] = Field(default_factory=dict)


class Origin(View):
    """Where a dataset was fetched from and what it was then: all but `url` is null until it is here."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    fetched_at: dt.datetime | None = None


class OriginNow(View):
    """`changed`: whether the place holds something else by now; null when it tells neither ETag nor date."""

    url: str
    changed: bool | None
    etag: str | None
    last_modified: str | None


class DatasetView(View):
    """`state`: validating, ready or rejected (`error` says why). Rows, bytes and schema are known once ready. `origin`:
    of one fetched from the web; its copy here is what runs read."""

    id: str
    name: str
    task: str
    columns: dict[str, str]
    version: int
    state: str
    digest: str | None
    rows: int | None
    bytes: int | None
    error: dict[str, Any] | None
    origin: Origin | None
    created_at: dt.datetime
    poll_after_ms: int | None


class DatasetVersionView(View):
    """One immutable set of rows of a dataset; state, error and origin as of a dataset."""

    dataset: str
    version: int
    state: str
    digest: str | None
    rows: int | None
    bytes: int | None
    error: dict[str, Any] | None
    origin: Origin | None
    created_at: dt.datetime
    poll_after_ms: int | None


class DatasetVersionList(View):
    items: tuple[DatasetVersionView, ...]
    next_cursor: str | None


class DatasetList(View):
    items: tuple[DatasetView, ...]
    next_cursor: str | None


class SchemaView(View):
    """Arrow's name of each column's type, in order."""

    dataset: str
    version: int
    rows: int | None
    columns: dict[str, Any]


class ColumnView(View):
    """`distinct` and `values` (the commonest, with counts) up to 1,000 values, null and empty beyond. `min`, `max` and
    `mean` are `of` the values, or of the lengths of texts and lists."""

    name: str
    type: str
    nulls: int
    distinct: int | None
    values: tuple[tuple[bool | int | str, int], ...]
    of: Literal["value", "length"]
    min: float | None
    max: float | None
    mean: float | None


class StatisticsView(View):
    """`rows_read`: the rows the columns were summed up over, at most a million."""

    dataset: str
    version: int
    rows: int | None
    rows_read: int
    columns: tuple[ColumnView, ...]


@routes.post("", status_code=202, response_model=DatasetView)
def create_dataset(request: Request, caller: Writer, body: NewDataset) -> Response:
    """Registers a dataset; its bytes are read in the background, small ones before the answer."""
    service = service_of(request)

    def make(dataset_id: str) -> tuple[int, str, DatasetView]:
        _require_room_for(service, caller, body)
        dataset, version = service.catalog.datasets.create(
            caller.tenant,
            body.name or _name(service, caller, body),
            body.task,
            {str(role): name for role, name in body.columns.items()},
            _inputs(service, caller, body),
            dataset_id=dataset_id,
            origin=_origin(body),
            quota=service.allowances.of(caller.tenant),
        )
        service.intake.validate(caller.tenant, version, wait_s=SMALL_WAIT_S)
        version = service.catalog.datasets.version(caller.tenant, dataset.id, version.number)
        return 202, f"/v1/datasets/{dataset.id}", dataset_view(dataset, version)

    return create_once(request, caller, body, "ds", make)


@routes.get("", response_model=DatasetList)
def list_datasets(
    request: Request, caller: Reader, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The tenant's datasets, newest first."""
    datasets = service_of(request).catalog.datasets
    page = datasets.page(caller.tenant, cursor=cursor, limit=limit)
    items = tuple(dataset_view(dataset, datasets.version(caller.tenant, dataset.id)) for dataset in page.items)
    return reply(request, DatasetList(items=items, next_cursor=page.next_cursor))


@routes.get("/{dataset_id}", response_model=DatasetView)
def get_dataset(request: Request, caller: Reader, dataset_id: str) -> Response:
    """The dataset and the state of its newest version."""
    dataset = service_of(request).catalog.datasets.get(caller.tenant, dataset_id)
    return reply(request, dataset_view(dataset, _version(request, caller, dataset_id, None)))


@routes.post("/{dataset_id}:check-origin", response_model=OriginNow)
def check_origin(request: Request, caller: Writer, dataset_id: str) -> Response:
    """Asks the place a dataset was fetched from whether it holds something else by now. The dataset stays as it is:
    whoever wants what is there now registers it again."""
    service = service_of(request)
    version = service.catalog.datasets.version(caller.tenant, dataset_id)
    if version.origin is None or version.origin.get("sha256") is None:
        raise ConflictError(f"dataset {dataset_id} was not fetched from the web, or is not here yet")
    changed, etag, last_modified = service.fetcher.changed(caller.tenant, version)
    url = str(version.origin["url"])
    return reply(request, OriginNow(url=url, changed=changed, etag=etag, last_modified=last_modified))


@routes.delete("/{dataset_id}", status_code=204)
def delete_dataset(request: Request, caller: Writer, dataset_id: str) -> Response:
    """Hides a dataset; runs and manifests made from it stay."""
    datasets, asked = service_of(request).catalog.datasets, (caller.tenant, dataset_id)
    unchanged(request, lambda: dataset_view(datasets.get(*asked), datasets.version(*asked)))
    datasets.delete(caller.tenant, dataset_id)
    return Response(status_code=204)


@routes.post("/{dataset_id}/versions", status_code=202, response_model=DatasetVersionView)
def add_dataset_version(request: Request, caller: Writer, dataset_id: str, body: NewDatasetVersion) -> Response:
    """Other rows for a dataset; they are read as a new dataset's are. Earlier versions stay; runs that name none take
    the newest that is ready."""
    service = service_of(request)

    def make(_: str) -> tuple[int, str, DatasetVersionView]:
        datasets = service.catalog.datasets
        datasets.get(caller.tenant, dataset_id)
        _require_room_for(service, caller, body)
        inputs = _inputs(service, caller, body)
        version = datasets.add_version(caller.tenant, dataset_id, inputs, origin=_origin(body))
        service.intake.validate(caller.tenant, version, wait_s=SMALL_WAIT_S)
        version = datasets.version(caller.tenant, dataset_id, version.number)
        return 202, f"/v1/datasets/{dataset_id}/versions/{version.number}", version_view(version)

    return create_once(request, caller, body, "dsv", make)


@routes.get("/{dataset_id}/versions", response_model=DatasetVersionList)
def list_dataset_versions(
    request: Request,
    caller: Reader,
    dataset_id: str,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """The versions of a dataset, newest first."""
    page = service_of(request).catalog.datasets.versions(caller.tenant, dataset_id, cursor=cursor, limit=limit)
    items = tuple(version_view(version) for version in page.items)
    return reply(request, DatasetVersionList(items=items, next_cursor=page.next_cursor))


@routes.get("/{dataset_id}/versions/{number}", response_model=DatasetVersionView)
def get_dataset_version(request: Request, caller: Reader, dataset_id: str, number: int) -> Response:
    """A version and its state."""
    return reply(request, version_view(_version(request, caller, dataset_id, number)))


@routes.get("/{dataset_id}/versions/{number}/schema", response_model=SchemaView)
def get_schema(request: Request, caller: Reader, dataset_id: str, number: int) -> Response:
    """The columns of a version."""
    version = _version(request, caller, dataset_id, number)
    view = SchemaView(dataset=dataset_id, version=number, rows=version.rows, columns=version.columns or {})
    return reply(request, view)


@routes.get("/{dataset_id}/versions/{number}/statistics", response_model=StatisticsView)
def get_statistics(request: Request, caller: Reader, dataset_id: str, number: int) -> Response:
    """What the columns of a version hold. Empty until it is ready."""
    version = _version(request, caller, dataset_id, number)
    found = version.statistics or {}
    columns = tuple(ColumnView(**column) for column in found.get("columns", ()))
    rows_read = found.get("rows_read", 0)
    view = StatisticsView(dataset=dataset_id, version=number, rows=version.rows, rows_read=rows_read, columns=columns)
    return reply(request, view)


@routes.get("/{dataset_id}/versions/{number}/rows", response_model=Rows)
def get_rows(
    request: Request,
    caller: Reader,
    dataset_id: str,
    number: int,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The first rows; long texts are cut, and the row says so."""
    return reply(request, shown_rows(preview(_version(request, caller, dataset_id, number), limit)))


def dataset_view(dataset: Dataset, version: DatasetVersion) -> DatasetView:
    return DatasetView(
        id=dataset.id,
        name=dataset.name,
        task=dataset.task,
        columns=dataset.columns,
        created_at=dataset.created_at,
        **_found_out(version),
    )


def version_view(version: DatasetVersion) -> DatasetVersionView:
    return DatasetVersionView(
        dataset=version.dataset,
        created_at=version.created_at,
        **_found_out(version),
    )


def _found_out(version: DatasetVersion) -> dict[str, Any]:
    """What a dataset's view and its version's tell alike."""
    return {
        "version": version.number,
        "state": version.state,
        "digest": version.digest,
        "rows": version.rows,
        "bytes": version.bytes,
        "error": version.error,
        "origin": None if version.origin is None else Origin(**version.origin),
        "poll_after_ms": 500 if version.state == "validating" else None,
    }


def _version(request: Request, caller: Caller, dataset_id: str, number: int | None) -> DatasetVersion:
    """The version; one still to be validated is validated from now on, should a restart have stopped that."""
    service = service_of(request)
    version = service.catalog.datasets.version(caller.tenant, dataset_id, number)
    if version.state == "validating":
        service.intake.validate(caller.tenant, version)
    return version


def _require_room_for(service: Service, caller: Caller, body: NewDatasetVersion) -> None:
    """What lies on the web is fetched into the tenant's uploads. Raises SpaceQuotaError."""
    if body.uri and is_web(body.uri):
        service.allowances.require_some_room(caller.tenant, uploads=True)


def _origin(body: NewDatasetVersion) -> dict[str, str] | None:
    return {"url": body.uri} if body.uri and is_web(body.uri) else None


def _inputs(service: Service, caller: Caller, body: NewDatasetVersion) -> list[str]:
    if body.uri is not None:
        place = allowed(body.uri, service.settings.input_roots)
        if is_web(place):
            extension_of(name_of(place))  # said now rather than after it was fetched
        return [place]
    return [service.uploads.path(caller.tenant, upload_id) for upload_id in body.upload_ids]


def _name(service: Service, caller: Caller, body: NewDataset) -> str:
    if body.uri is not None:
        return body.uri.rstrip("/").rpartition("/")[2]
    first = service.catalog.uploads.get(caller.tenant, body.upload_ids[0]).name
    return first if len(body.upload_ids) == 1 else f"{first} and {len(body.upload_ids) - 1} more"
