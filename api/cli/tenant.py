"""`winnow tenant` and `winnow purge`: tenants of this root, what they may take, and their end; what is too old.

Knows options; the catalog keeps tenants. It is for whoever runs the server: it needs the database, not a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.exits import exit_codes
from api.cli.options import Root

if TYPE_CHECKING:
    from curator.catalog import Catalog, Quota
    from curator.settings import Settings

__all__ = ["purge", "tenant"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")]


@exit_codes
def tenant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, as an issuer's tokens spell it.")],
    root: Root = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT=N",
            help="Set what it may take (none: no limit of its own): stored_bytes, upload_bytes, datasets, "
            "running_runs, requests_per_s, event_streams. May be given again.",
        ),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--purge", help="Remove the tenant with everything it has, for good.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Make a tenant, or another administrator's key for one; the key is shown once. Or set its quota, or remove it."""
    from curator.catalog import Catalog, Scope
    from curator.errors import RequestError
    from curator.settings import Settings

    if dry_run and not delete:
        raise RequestError("--dry-run goes with --purge; without it nothing would go")
    settings = Settings.from_environment(root=root)
    with Catalog.open(settings.database_url) as catalog:
        if delete:
            return _purged(catalog, settings, name, dry_run)
        if quota:
            found = catalog.keys.tenant_named(name).id
            changed = _changed(catalog.quotas.get(found), quota)
            catalog.quotas.set(found, changed)
            _note(catalog, found, "set quota", f"{name} {found} {' '.join(quota)}")
            print(f"Tenant {name}: {changed.model_dump(exclude_none=True) or 'no limits of its own'}")
            return None
        made = catalog.keys.tenant(name)
        key, secret = catalog.keys.create(made.id, "administrator, from the command line", [Scope.ADMIN])
        _note(catalog, made.id, "create admin key", f"{name} {made.id} {key.id}")
    print(f"Tenant {made.name} ({made.id}). Admin key, shown this once: {secret}")


@exit_codes
def purge(root: Root = None, dry_run: DryRun = False) -> None:
    """Delete what the WINNOW_RETENTION settings call too old, and purge what was deleted long enough ago; a runner does
    it by itself."""
    from curator.catalog import Catalog
    from curator.settings import Settings
    from pipelines.purging import purge_due, would_go

    settings = Settings.from_environment(root=root)
    with Catalog.open(settings.database_url, create=False) as catalog:
        told = list(would_go(catalog, settings))
        for owner, name, why in told:
            print(f"{name}  ({owner})  {why}")
        if not told:
            print("Nothing is due.")
        if not dry_run:
            purge_due(catalog, settings)


def _purged(catalog: Catalog, settings: Settings, name: str, dry_run: bool) -> None:
    from curator.catalog import LOCAL_TENANT
    from curator.errors import RequestError
    from pipelines.purging import purge_tenant

    found = catalog.keys.tenant_named(name).id
    if found == LOCAL_TENANT:
        raise RequestError("the tenant 'local' belongs to this machine and is not removed; delete its runs instead")
    if dry_run:
        counts = {kind: len(ids) for kind, ids in catalog.purging.everything_of(found).items()}
    else:
        counts = purge_tenant(catalog, settings, found)
        _note(catalog, LOCAL_TENANT, "purge tenant", f"{name} {found}")
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"Tenant {name} ({found}) {'would go' if dry_run else 'is gone'}: {told}.")


def _note(catalog: Catalog, tenant: str, action: str, subject: str) -> None:
    """A line in the operator's audit log, and in that of the tenant it concerns."""
    from curator.catalog import LOCAL_TENANT

    for reader in dict.fromkeys((LOCAL_TENANT, tenant)):
        catalog.audit.record(reader, actor="operator", action=action, subject=subject[:500], status=200, request_id="")


def _changed(present: Quota, words: list[str]) -> Quota:
    """`LIMIT=N` or `LIMIT=none` over what is set. Raises RequestError."""
    from pydantic import ValidationError

    from curator.catalog import Quota
    from curator.errors import RequestError

    given = dict(word.partition("=")[::2] for word in words)
    values = {name: None if value == "none" else value for name, value in given.items()}
    try:
        return Quota.model_validate({**present.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestError(
            f"quota {first['loc'][0]}={first['input']!r}: {first['msg']}; limits are {', '.join(Quota.model_fields)}"
        ) from error
