"""Settings: where a process runs and how long it waits, from the environment; what to do with data is a recipe's part.

Knows nothing of runs or recipes. No value of it ever changes a manifest.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from curator.errors import RequestError
from curator.log_lines import LogFormat

__all__ = ["Settings"]

PREFIX: Final = "WINNOW_"
_FOREIGN: Final = {"RAY_ADDRESS": "ray_address", "OTEL_EXPORTER_OTLP_ENDPOINT": "otlp_endpoint"}
"""Variables with a name of their own, because other programs read them too."""


class Settings(BaseModel):
    """One process's settings. `from_environment` reads `WINNOW_<FIELD>` for each field; lists are comma-separated."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    root: str = Field("./winnow-data", description="where runs, shards and manifests lie: a directory or s3://…")
    database_url: str = Field(
        "",
        repr=False,
        description="the catalog: sqlite:///FILE or postgresql+psycopg://…; default: SQLite in `<root>/winnow.db`",
    )
    url: str | None = Field(None, description="the server the client commands talk to")
    api_key: SecretStr | None = Field(None, description="the key they show it")
    host: str = Field("127.0.0.1", description="address the server listens on")
    port: int = Field(8700, ge=0, le=65535, description="port the server listens on; 0 takes a free one")
    allowed_hosts: tuple[str, ...] = Field((), description="Host headers served besides localhost and `host`")
    input_roots: tuple[str, ...] = Field((), description="directories and URL prefixes a dataset may name by reference")
    oidc_issuer: str = Field("", description="https://… of the OpenID issuer whose tokens are taken beside API keys")
    oidc_audience: str = Field("winnow", description="what its tokens must be meant for (claim `aud`)")
    oidc_tenant_claim: str = Field("tenant", description="the claim that names the tenant, which must exist")
    oidc_scope_claim: str = Field("scope", description="the claim with scopes such as `winnow:read`")
    webhook_roots: tuple[str, ...] = Field((), description="URL prefixes a webhook may lie below; none: no webhooks")
    secret_key_file: str | None = Field(
        None, description="key (mode 600) that hides webhooks' secrets in the catalog; none: `<root>/server.key`"
    )
    max_upload_bytes: int = Field(50 * 2**30, gt=0, description="largest single upload")
    upload_quota_bytes: int = Field(500 * 2**30, gt=0, description="all uploads of one tenant together")
    inspection_memory_bytes: int = Field(
        4 * 2**30, gt=0, description="memory a process may take that reads a dataset for the first time (Linux)"
    )
    inspection_cpu_s: int = Field(86_400, gt=0, description="processor time it may take; terabytes need hours")
    inspection_wall_s: float = Field(86_400.0, gt=0, description="how long it may take; then the dataset is rejected")
    fetch_s: float = Field(3600.0, gt=0, description="how long a dataset behind an https address may take to come")
    encoders: tuple[str, ...] = Field(
        (), description="names and paths of encoders a recipe sent to the server may name besides `builtin`"
    )
    dry_run_s: float = Field(60.0, gt=0, description="how long the dry run of a recipe may take")
    projection_cache_bytes: int = Field(
        4 * 2**30, ge=0, description="disk a server may use for shards it serves with some of their columns"
    )
    shard_redirects: bool = Field(
        False, description="whether shards under an s3:// root are answered with a redirect to a presigned URL"
    )
    data: str | None = Field(None, description="folder of the evaluation datasets (tests and benchmarks)")
    cache: str | None = Field(None, description="folder for pulled shards; none: `winnow` in the user's cache folder")
    ray_address: str | None = Field(None, description="the Ray cluster (variable RAY_ADDRESS); none: a local one")
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="http(s)://… of the collector traces are sent to (variable OTEL_EXPORTER_OTLP_ENDPOINT); none: off",
    )
    log_format: LogFormat = Field("text", description="log lines as text, or as one JSON object each")
    log_requests: bool = Field(False, description="a log line for every request, not only for what went wrong")
    upload_days: float = Field(7.0, gt=0, description="how long an upload stays open that nothing comes for")
    retention_run_days: float | None = Field(
        None,
        gt=0,
        description="runs that ended longer ago and that nothing needs (nor `latest` names) are deleted; none: never",
    )
    retention_export_days: float | None = Field(
        None, gt=0, description="exports that ended longer ago are deleted with their files; none: never"
    )
    retention_job_days: float | None = Field(
        None,
        gt=0,
        description="training jobs that ended longer ago are deleted with checkpoints and feedback; none: never",
    )
    retention_upload_days: float | None = Field(
        None, gt=0, description="uploads complete for longer that no dataset or run names are deleted; none: never"
    )
    retention_deleted_days: float = Field(
        7.0, ge=0, description="how long after its deletion a run or dataset is purged with its bytes"
    )
    retention_event_days: float = Field(7.0, gt=0, description="how long events and settled deliveries are kept")
    retention_orphan_days: float = Field(
        7.0, ge=2, description="how long shards are kept that no manifest lists; a run must write its manifest within"
    )
    audit_days: float = Field(365.0, gt=0, description="how long the audit log is kept")
    lease_s: float = Field(30.0, gt=0, description="how long a silent runner keeps its run")
    heartbeat_s: float = Field(10.0, gt=0, description="how often a runner renews its lease")
    poll_s: float = Field(1.0, gt=0, description="how often an idle runner looks for work")
    grace_s: float = Field(30.0, ge=0, description="how long a runner that was told to end may finish its work unit")
    tenant_runs: int = Field(4, ge=1, description="how many runs of one tenant are worked on at once")
    outage_s: float = Field(600.0, ge=0, description="how long a run waits for a catalog that does not answer")
    max_attempts: int = Field(3, ge=1, description="how often a run is begun before it counts as failed")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Settings from the environment; `given` values that are not None (a command's options) win.

        Raises RequestError for a `WINNOW_*` variable that is none of them, or a value that does not fit.
        """
        environ = os.environ if environ is None else environ
        known = _variables()
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
        if unknown:
            raise RequestError(_unknown(unknown[0], sorted(name for name in known if name.startswith(PREFIX))))
        values: dict[str, Any] = {field: environ[name] for name, field in known.items() if environ.get(name)}
        values |= {field: value for field, value in given.items() if value is not None}
        try:
            return cls(**values)
        except ValidationError as error:
            raise RequestError(_bad_value(error)) from error

    @model_validator(mode="before")
    @classmethod
    def _catalog_beside_the_runs(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("database_url"):
            return values
        root = str(values.get("root") or cls.model_fields["root"].default)
        if "://" in root:
            raise ValueError(f"root {root} is an object store and cannot hold SQLite; set WINNOW_DATABASE_URL")
        return {**values, "database_url": f"sqlite:///{os.path.join(os.path.abspath(root), 'winnow.db')}"}

    @field_validator("allowed_hosts", "input_roots", "webhook_roots", "encoders", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError(
                f"heartbeat_s {self.heartbeat_s:g} must be at most half of lease_s {self.lease_s:g}, "
                "or one late heartbeat loses the run"
            )
        return self


def _variables() -> dict[str, str]:
    own = {field: name for name, field in _FOREIGN.items()}
    return {own.get(field, PREFIX + field.upper()): field for field in Settings.model_fields}


def _unknown(name: str, known: list[str]) -> str:
    endings = [variable.removeprefix(PREFIX) for variable in known]
    near = difflib.get_close_matches(name.removeprefix(PREFIX), endings, n=1)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else f"known are {', '.join(known)}."
    return f"the environment sets {name}, which is not a setting and would have no effect; {hint} Unset or correct it."


def _bad_value(error: ValidationError) -> str:
    variables = {field: name for name, field in _variables().items()}
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    place = f"{variables.get(field, field)}={first['input']!r}: " if field and field != "api_key" else ""
    return f"the settings cannot be used: {place}{first['msg']}; correct it and start again"
