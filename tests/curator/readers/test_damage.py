"""Damaged files of every format: read whole, or refused with an InputError; never a crash, never another error.

Runs in a process of its own with capped memory, since what this looks for would end the test run with it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NUM_FILES = 50
"""Damaged copies of each format and seed."""

FORMS = ["parquet", "arrow", "arrows", "csv", "jsonl", "jsonl.gz", "tar"]

PROGRAM = """
import gzip, io, json, resource, sys, tarfile
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
sys.path.insert(0, sys.argv[1])
import numpy as np, pyarrow as pa, pyarrow.csv as pcsv, pyarrow.parquet as pq
from curator.errors import InputError
from curator.readers import Limits, discover, plan_inputs, read

folder, num_files, seed = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
table = pa.table({
    "id": list(range(50)), "t": [f"x{n} é" for n in range(50)], "l": [[{"a": 1, "b": "q"}] * 3, None] * 25,
    "n": [float("nan"), None] * 25, "d": pa.array(["u", "v"] * 25).dictionary_encode(),
})
flat = table.select(["id", "t", "n"])


def healthy(form):
    sink = io.BytesIO()
    if form == "parquet":
        packing = "zstd" if seed % 2 else "snappy"
        pq.write_table(table, sink, row_group_size=20, compression=packing, use_dictionary=not seed % 2)
    elif form in ("arrow", "arrows"):
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        options = pa.ipc.IpcWriteOptions(compression="zstd" if seed % 2 else None)
        with make(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=20)
    elif form == "csv":
        pcsv.write_csv(flat, sink)
    elif form == "tar":
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for row in flat.to_pylist():
                info = tarfile.TarInfo(f"{row['id']}.txt")
                info.size = len(row["t"].encode())
                archive.addfile(info, io.BytesIO(row["t"].encode()))
    else:
        lines = "".join(json.dumps(row) + "\\n" for row in table.to_pylist()).encode()
        sink.write(gzip.compress(lines) if form.endswith("gz") else lines)
    return sink.getvalue()


def damaged(whole, rng):
    data = bytearray(whole)
    for _ in range(rng.integers(1, 6)):
        place, kind = int(rng.integers(0, len(data))), rng.random()
        if kind < 0.5:
            data[place] = rng.integers(0, 256)
        elif kind < 0.7:
            data[place : place + 8] = int(rng.integers(-(2**62), 2**62)).to_bytes(8, "little", signed=True)
        elif kind < 0.9:
            data[place : place + 4] = b"\\xff\\xff\\xff\\x7f"
        else:
            del data[place : place + int(rng.integers(1, 40))]
    return bytes(data)


def outcome(path):
    try:
        plan = plan_inputs(discover([path]), unit_rows=7)
        for unit in plan.units:
            for _, batch in read(unit, schema=plan.schema):
                batch.to_pylist()
        return "whole"
    except InputError as error:
        assert error.file == path, error
        return "refused"


for form in sys.argv[5:]:
    whole, rng, path = healthy(form), np.random.default_rng(seed), f"{folder}/f.{form}"
    outcomes = []
    for _ in range(num_files):
        open(path, "wb").write(damaged(whole, rng))
        outcomes.append(outcome(path))
    print(form, outcomes.count("whole"), outcomes.count("refused"), flush=True)
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, seed: int) -> None:
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", PROGRAM, root, str(tmp_path), str(NUM_FILES), str(seed), *FORMS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    for form, line in zip(FORMS, done.stdout.splitlines(), strict=True):
        name, whole, refused = line.split()
        assert name == form
        assert int(whole) + int(refused) == NUM_FILES
        assert int(refused) > 0
