"""Columns as the catalog's tables spell them, and the one collection all tables are in.

Knows types and the naming of keys; nothing of what the tables hold.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from curator.catalog.database import Instant

__all__ = ["SERIAL", "id_column", "json_column", "metadata", "number", "tenant_column", "text", "when"]

metadata: Final = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

SERIAL: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER counts up by itself there
_JSON: Final = sa.JSON(none_as_null=True)


def id_column() -> sa.Column[str]:
    return sa.Column("id", sa.Text, primary_key=True)


def tenant_column(**kw: Any) -> sa.Column[str]:
    return sa.Column("tenant", sa.Text, sa.ForeignKey("tenants.id"), nullable=False, **kw)


def text(name: str, *args: Any, null: bool = False, **kw: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *args, nullable=null, **kw)


def number(name: str, *, null: bool = False, **kw: Any) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null, **kw)


def when(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Instant, nullable=null)


def json_column(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, _JSON, nullable=null)
