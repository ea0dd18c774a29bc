"""Ten thousand bad inputs, of which a few hundred here: no fault, no crash, nothing half-written.

On SQLite and on PostgreSQL. WINNOW_HOSTILE_INPUTS says how many (400 and 120 here; 10,000 take some minutes).
"""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from api.app import RESOURCES
from api.limits import Buckets
from curator.catalog import Quota
from tests.api.conftest import RECIPE, documents
from tests.api.hostile import Hostile
from tests.api.test_tenancy import BODIES, routes

INPUTS = int(os.environ.get("WINNOW_HOSTILE_INPUTS", "400"))


def files(parquet: bytes) -> dict[str, bytes]:
    """A good file of every format."""
    table = documents(40)
    lines = "".join(f'{{"id": "{row["id"]}", "text": "{row["text"]}"}}\n' for row in table.to_pylist()).encode()
    arrow, tar = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_file(arrow, table.schema) as sink:
        sink.write_table(table)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for row in table.slice(0, 5).to_pylist():
            member = tarfile.TarInfo(f"{row['id']}.txt")
            member.size = len(row["text"].encode())
            archive.addfile(member, io.BytesIO(row["text"].encode()))
    return {
        "a.parquet": parquet,
        "a.jsonl": lines,
        "a.jsonl.gz": gzip.compress(lines),
        "a.jsonl.zst": zstandard.compress(lines),
        "a.csv": b"id,text\n" + b"".join(b'%d,"word %d, said"\n' % (n, n) for n in range(40)),
        "a.arrow": arrow.getvalue(),
        "a.tar": tar.getvalue(),
    }


@pytest.mark.timeout(3600)
def test_bad_input_by_the_hundred(on_either: tuple[Any, dict[str, str]], parquet: bytes, send: Any) -> None:
    house, owned = on_either
    inputs = INPUTS if "WINNOW_HOSTILE_INPUTS" in os.environ or "sqlite" in house.service.settings.database_url else 120
    for name in ("requests", "wrong_keys"):
        object.__setattr__(house.service, name, Buckets(per_s=1e9, burst=1e9))
    for tenant in (house.tenant, house.other):
        house.service.catalog.quotas.set(tenant, Quota(upload_bytes=2**40))
    good = {
        **BODIES,
        "recipe": {
            **RECIPE,
            "policy": {"kind": "learned", "max_false_drop": 0.02},
            "curriculum": {"kind": "staged"},
            "seed": 1,
        },
        ("POST", "/v1/runs"): {"dataset": owned["dataset_id"], "recipe": "text", "engine": "inline", "seed": 3},
        ("POST", "/v1/datasets"): {"upload_ids": [owned["upload_id"]], "name": "n", "columns": {"text": "text"}},
        ("POST", "/v1/recipes"): {"recipe": RECIPE, "name": "n", "columns": {"id": "id"}},
        ("POST", "/v1/recipes:dry-run"): {"dataset": owned["dataset_id"], "recipe": RECIPE, "rows": 5, "seed": 1},
        ("POST", "/v1/uploads"): {"name": "a.csv", "size": 10, "sha256": "0" * 64},
        ("POST", "/v1/epoch-plans"): {"manifest": owned["manifest_id"], "num_epochs": 2, "global_batch_size": 8},
        ("POST", "/v1/training-jobs"): {"manifest": owned["manifest_id"], "mode": "external", "name": "n"},
        ("POST", "/v1/exports"): {"manifest": owned["manifest_id"], "format": "jsonl"},
        ("POST", "/v1/review/queues"): {"run": owned["run_id"], "budget": 3, "seed": 5},
    }
    owned = {**owned, "preset": "text"}
    known = [pair for pair in routes() if pair[0] != "HEAD"]
    hostile = Hostile(house, known, owned, good, files(parquet), send, random.Random(11))
    told = hostile.attack(inputs)
    print(f"{told.sent} sent over {len(RESOURCES)} resources; answers by status: {dict(sorted(told.statuses.items()))}")
    assert not told.faults, "\n".join(told.faults[:20])
    assert house.nobody.get("/healthz/live").status_code == 200
    refused = sum(count for status, count in told.statuses.items() if status >= 400)
    assert refused > inputs / 3, "most of this was meant to be refused"
