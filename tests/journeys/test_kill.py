"""kill -9 at random moments, resume, and the same manifest as a run nobody disturbed; no row lost or doubled.

`TEST_KILLS` sets how many moments (default 4).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from curator.ledger import Ledger
from curator.storage import Store

KILLS = int(os.environ.get("TEST_KILLS", "4"))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.cli", "curate", *arguments, "--json"]


def corpus(path: Path) -> Path:
    rng = random.Random(3)
    vocabulary = [f"word{number}" for number in range(400)]
    with path.open("w", encoding="utf-8") as sink:
        for number in range(3000):
            text = " ".join(rng.choice(vocabulary) for _ in range(60)) + "."
            sink.write(json.dumps({"id": number, "text": text if number % 7 else "same again. " * 20}) + "\n")
    return path


@pytest.mark.timeout(900)
def test_a_killed_and_resumed_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data.jsonl")
    recipe = tmp_path / "recipe.yaml"
    process = "process: [gopher_repetition, exact_duplicates, near_duplicates]"
    recipe.write_text(f"task: text\ncolumns: {{text: text}}\n{process}\nunit_rows: 256\n")
    whole = subprocess.run(
        command(str(data), "--recipe", str(recipe), "--out", str(tmp_path / "whole")),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(whole.stdout)
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import pipelines.execute"], check=True)
    load_s = time.monotonic() - started

    root, rng, kills = tmp_path / "killed", random.Random(11), 0
    arguments = [str(data), "--recipe", str(recipe), "--out", str(root)]
    summary = None
    for _ in range(4 * KILLS):
        process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait = load_s + rng.random() * expected["seconds"] if kills < KILLS else None
            output, errors = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            if list(root.glob("runs/*")):
                arguments = ["--resume", "last", "--out", str(root)]
            continue
        assert process.returncode == 0, errors
        summary = json.loads(output)
        if kills >= KILLS:
            break
        root = tmp_path / f"killed-{kills}"  # finished before the moment came: begin anew
        arguments = [str(data), "--recipe", str(recipe), "--out", str(root)]
    assert summary is not None and kills >= KILLS
    assert summary["manifest"] == expected["manifest"]
    assert (summary["rows_in"], summary["kept"], summary["dropped"]) == (3000, expected["kept"], expected["dropped"])
    ids = pa.Table.from_batches(Ledger(Store.open(root), summary["run"]).scan(columns=["id"]))["id"].to_pylist()
    assert ids == list(range(3000))
