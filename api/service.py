"""What every route works with: the settings, the catalog, the store and the files behind uploads and datasets.

Knows nothing of HTTP but how to find itself from a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request

from api.allowances import Allowances
from api.fetching import Fetcher
from api.inspection import Bounds
from api.intake import Intake, readable_folders
from api.issuer import Issuer, issuer_of
from api.limits import Buckets
from api.neighbours import RayDoor
from api.outbox import Outbox
from api.projections import Projections
from api.rehearsal import Rehearsals
from api.stocktaking import Stocktaking
from api.traffic import Traffic
from api.upload_files import UploadFiles
from curator.catalog import Catalog
from curator.client.cache import default_cache_dir
from curator.sealing import Seal
from curator.settings import Settings
from curator.shards import ShardReader
from curator.storage import Store

__all__ = ["Service", "service_of"]


@dataclass(frozen=True)
class Service:
    """One process's counter. `runner_alive` says whether the runner beside it lives; None: there is none to know of."""

    settings: Settings
    catalog: Catalog
    store: Store
    local_access: bool
    uploads: UploadFiles
    fetcher: Fetcher
    intake: Intake
    reader: ShardReader
    projections: Projections
    rehearsals: Rehearsals
    outbox: Outbox
    ray: RayDoor
    stocktaking: Stocktaking
    allowances: Allowances
    issuer: Issuer | None = None
    runner_alive: Callable[[], bool] | None = None
    requests: Buckets = field(default_factory=lambda: Buckets(per_s=200, burst=2000))
    wrong_keys: Buckets = field(default_factory=lambda: Buckets(per_s=0.2, burst=20))
    traffic: Traffic = field(default_factory=Traffic)

    @classmethod
    def open(cls, settings: Settings, *, local_access: bool, runner_alive: Callable[[], bool] | None = None) -> Service:
        """Opens catalog and store. Raises RequestError or TransportError when they cannot be."""
        catalog, store = Catalog.open(settings.database_url), Store.open(settings.root)
        if settings.webhook_roots:
            catalog.webhooks.sealed_with(Seal.of(settings))
        allowances = Allowances(catalog, settings)
        uploads = UploadFiles(catalog, store, settings, allowances)
        fetcher = Fetcher(catalog, uploads, settings)
        return cls(
            settings=settings,
            catalog=catalog,
            store=store,
            local_access=local_access,
            uploads=uploads,
            fetcher=fetcher,
            intake=Intake(catalog, Bounds.of(settings), readable_folders(settings), fetcher=fetcher),
            reader=ShardReader(store),
            issuer=issuer_of(settings),
            projections=Projections(_projections(settings, store), settings.projection_cache_bytes),
            rehearsals=Rehearsals(settings),
            outbox=Outbox(catalog),
            ray=RayDoor(settings.ray_address),
            stocktaking=Stocktaking(catalog, store),
            allowances=allowances,
            runner_alive=runner_alive,
        )

    def close(self) -> None:
        self.intake.close()
        self.rehearsals.close()
        self.catalog.close()


def service_of(request: Request) -> Service:
    """The service of the application that serves this request."""
    return request.app.state.service


def _projections(settings: Settings, store: Store) -> str:
    """Beside the shards where they lie on this disk, else in the cache folder."""
    return (
        store.path("projections") if store.is_local else str(Path(settings.cache or default_cache_dir(), "projections"))
    )
