"""Keys open what they should, for as long as they should, and their secret is nowhere in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from curator.catalog import LOCAL_TENANT, Catalog, Scope
from curator.catalog.schema import api_keys
from curator.errors import NotFoundError


def test_a_key_opens_its_tenant(catalog: Catalog) -> None:
    tenant = catalog.keys.tenant("lab")
    key, secret = catalog.keys.create(tenant.id, "laptop", [Scope.READ, Scope.WRITE])
    found = catalog.keys.authenticate(secret)
    assert found is not None
    assert found.model_copy(update={"last_used_at": None}) == key
    assert key.tenant == tenant.id and secret.startswith(key.prefix) and len(key.prefix) == 12
    assert key.allows(Scope.READ) and not key.allows(Scope.PROMOTE) and not key.allows(Scope.ADMIN)


@pytest.mark.parametrize("wrong", ["", "wnw_", "wnw_nonsense", "' OR 1=1 --"])
def test_a_wrong_secret_opens_nothing(catalog: Catalog, wrong: str) -> None:
    catalog.keys.create(LOCAL_TENANT, "k", [Scope.READ])
    assert catalog.keys.authenticate(wrong) is None


def test_the_shown_prefix_opens_nothing(catalog: Catalog) -> None:
    key, secret = catalog.keys.create(LOCAL_TENANT, "k", [Scope.READ])
    assert catalog.keys.authenticate(key.prefix) is None
    assert catalog.keys.authenticate(secret[:-1]) is None


def test_the_secret_is_not_stored(sqlite: Catalog, tmp_path: Path) -> None:
    _, secret = sqlite.keys.create(LOCAL_TENANT, "k", [Scope.ADMIN])
    sqlite.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("winnow.db*"))
    assert secret.encode() not in stored and secret[:12].encode() in stored


def test_expired_and_revoked_keys_open_nothing(catalog: Catalog) -> None:
    expired, secret_1 = catalog.keys.create(LOCAL_TENANT, "old", [Scope.READ], ttl_s=-1.0)
    revoked, secret_2 = catalog.keys.create(LOCAL_TENANT, "lost", [Scope.READ])
    _, secret_3 = catalog.keys.create(LOCAL_TENANT, "good", [Scope.READ], ttl_s=60.0)
    catalog.keys.revoke(LOCAL_TENANT, revoked.id)
    assert [catalog.keys.authenticate(secret) is None for secret in (secret_1, secret_2, secret_3)] == [
        True,
        True,
        False,
    ]
    assert [key.id for key in catalog.keys.of_tenant(LOCAL_TENANT)][:2] == [expired.id, revoked.id]


def test_only_its_own_tenant_revokes_a_key(catalog: Catalog) -> None:
    other = catalog.keys.tenant("other").id
    key, secret = catalog.keys.create(LOCAL_TENANT, "k", [Scope.READ])
    with pytest.raises(NotFoundError):
        catalog.keys.revoke(other, key.id)
    assert catalog.keys.of_tenant(other) == []
    assert catalog.keys.authenticate(secret) is not None
    catalog.keys.revoke(LOCAL_TENANT, key.id)
    first = catalog.keys.of_tenant(LOCAL_TENANT)[0].revoked_at
    catalog.keys.revoke(LOCAL_TENANT, key.id)
    assert catalog.keys.of_tenant(LOCAL_TENANT)[0].revoked_at == first


def test_the_first_admin_key_is_made_once(catalog: Catalog) -> None:
    secret = catalog.keys.bootstrap()
    assert secret is not None and catalog.keys.bootstrap() is None
    key = catalog.keys.authenticate(secret)
    assert key is not None and all(key.allows(scope) for scope in Scope)
    catalog.keys.revoke(LOCAL_TENANT, key.id)
    assert catalog.keys.bootstrap() is None


def test_use_is_written_at_most_once_a_minute(catalog: Catalog) -> None:
    key, secret = catalog.keys.create(LOCAL_TENANT, "k", [Scope.READ])
    catalog.keys.authenticate(secret)
    first = catalog.keys.of_tenant(LOCAL_TENANT)[0].last_used_at
    catalog.keys.authenticate(secret)
    assert first is not None and catalog.keys.of_tenant(LOCAL_TENANT)[0].last_used_at == first
    with catalog.database.write() as connection:
        connection.execute(sa.update(api_keys).where(api_keys.c.id == key.id).values(last_used_at=0.0))
    catalog.keys.authenticate(secret)
    last = catalog.keys.of_tenant(LOCAL_TENANT)[0].last_used_at
    assert last is not None and last >= first


def test_a_tenants_name_is_one_tenant(catalog: Catalog) -> None:
    assert catalog.keys.tenant("lab") == catalog.keys.tenant("lab")
    assert catalog.keys.tenant("local").id == LOCAL_TENANT


def test_which_keys_still_open(catalog: Catalog) -> None:
    made = [catalog.keys.create("local", name, [Scope.READ])[0].id for name in ("a", "b")]
    late = catalog.keys.create("local", "late", [Scope.READ], ttl_s=-1.0)[0].id
    assert catalog.keys.still_open([*made, late, "key_nobody"]) == set(made)
    catalog.keys.revoke("local", made[0])
    assert catalog.keys.still_open(made) == {made[1]}


def test_a_key_made_again_under_its_id_has_another_secret(catalog: Catalog) -> None:
    """As after a server that died between making a key and answering."""
    (key, lost), (same, told) = (catalog.keys.create(LOCAL_TENANT, "k", [Scope.READ], key_id="key_1") for _ in "12")
    assert key.id == same.id == "key_1" and key.created_at == same.created_at
    assert catalog.keys.authenticate(lost) is None and catalog.keys.authenticate(told) is not None
