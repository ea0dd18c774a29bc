"""The OpenAPI document is kept, and nothing sent to it is answered by a fault: schemathesis with all its checks, on
SQLite and on PostgreSQL.

WINNOW_CONTRACT_EXAMPLES says how many generated requests an operation gets (2 here, some hundreds overnight).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from api.limits import Buckets

EXAMPLES = int(os.environ.get("WINNOW_CONTRACT_EXAMPLES", "2"))
ACCEPTED = ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "413", "416", "422", "428", "429"]
"""What well-formed data may meet: a schema does not know ids, cursors, quotas, or a preset's operators."""
BODY = {"dataset": "dataset_id", "manifest": "manifest_id", "run": "run_id", "plan": "plan_id", "recipe": "preset"}
BODY |= {"upload_ids[*]": "upload_id", "changes[*].sample_id": "sample_id", "rows[*].sample_id": "sample_id"}


HOOKS = """
import hypothesis.strategies
import pyarrow as pa
import schemathesis

ARROW = "application/vnd.apache.arrow.stream"
sink = pa.BufferOutputStream()
table = pa.table({"sample_id": [b"0" * 16], "epoch": [0], "step": [1], "loss": [0.5]})
with pa.ipc.new_stream(sink, table.schema) as stream:
    stream.write_table(table)


@schemathesis.serializer(ARROW)
def as_it_is(ctx, value):
    return value.encode() if isinstance(value, str) else bytes(value)


schemathesis.openapi.media_type(ARROW, hypothesis.strategies.sampled_from([sink.getvalue().to_pybytes(), b"", b"no"]))
"""


def configuration(owned: dict[str, str], secret: str) -> str:
    """schemathesis.toml: real ids among the made-up ones, so that most requests reach a resource."""
    values = {**owned, "digest": owned["shard"], "preset": "text"}
    lines = [
        'hooks = "hooks.py"',
        f'headers = {{ "Authorization" = "{secret}" }}',
        "request-timeout = 20",
        "max-stream-events = 3",
    ]
    lines += ["[phases.stateful.generation]", f"max-examples = {15 * EXAMPLES}"]
    lines += ["[phases.stateful.inference]", "algorithms = []"]  # the document's own links are walked, no guessed ones
    lines += ["[phases.coverage]", 'unexpected-methods = ["PUT", "DELETE", "TRACE"]']
    lines += ["[checks]", f"positive_data_acceptance.expected-statuses = {ACCEPTED}"]
    lines += [f"missing_required_header.expected-statuses = {ACCEPTED[2:]}"]
    lines += [f"negative_data_rejection.expected-statuses = {ACCEPTED[2:]}"]
    for name, value in values.items():
        shown = value if value.isdecimal() and name != "digest" else f'"{value}"'
        lines += [f"[dictionaries.{name}]", f"values = [{shown}]"]
    lines += ["[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in values]
    lines += [f'"body.{name}" = {{ dictionary = "{value}", probability = 0.7 }}' for name, value in BODY.items()]
    lines += ['"query.run" = { dictionary = "run_id" }', '"query.base" = { dictionary = "manifest_id" }']
    return "\n".join(lines)


@pytest.mark.timeout(7200)
def test_the_document_is_kept(on_either: tuple[Any, dict[str, str]], tmp_path: Path) -> None:
    house, owned = on_either
    few = "WINNOW_CONTRACT_EXAMPLES" not in os.environ and "sqlite" not in house.service.settings.database_url
    for name in ("requests", "wrong_keys"):
        object.__setattr__(house.service, name, Buckets(per_s=1e9, burst=1e9))
    (tmp_path / "schemathesis.toml").write_text(configuration(owned, house.one.headers["authorization"]))
    (tmp_path / "hooks.py").write_text(HOOKS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "--no-color", "run"]
    asked = ["--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "7", "--generation-database", "none"]
    asked += ["--phases", "fuzzing"] if few else []  # the document is the same, what may differ are the answers
    done = subprocess.run(
        [*command, *asked, "--continue-on-failure", f"{house.url}/openapi.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
