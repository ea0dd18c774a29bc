"""Small real-looking inputs and a journal in memory, for tests of the road."""

from __future__ import annotations

import io
import json
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator.log_lines import _Json
from curator.run import Progress, StopRequest

TOPICS = {
    "sport": "match goal league coach season team player stadium cup final score win defeat referee",
    "trade": "market shares profit bank price investor quarter revenue stock merger rate dollar loss",
    "science": "study planet cell galaxy experiment theory particle researcher telescope species energy data",
}


def sentence(rng: random.Random, topic: str) -> str:
    words = TOPICS[topic].split()
    filler = ["the", "of", "and", "to", "in", "a", "is", "that", "for", "on", "with", "was", "as", "by", "at", "from"]
    text = " ".join(rng.choice(words if rng.random() < 0.45 else filler) for _ in range(rng.randint(12, 40)))
    return text.capitalize() + "."


@pytest.fixture
def labelled(tmp_path: Path) -> dict[str, Path]:
    """600 labelled texts in two files, a fifth of the labels wrong, and a trusted sample of 150."""
    rng = random.Random(5)
    names = list(TOPICS)
    rows = []
    for number in range(600):
        truth = names[number % 3]
        wrong = rng.random() < 0.2
        given = rng.choice([name for name in names if name != truth]) if wrong else truth
        rows.append(
            {
                "id": f"row-{number}",
                "text": " ".join(sentence(rng, truth) for _ in range(2)),
                "label": given,
                "truth": truth,
            }
        )
    table = pa.Table.from_pylist(rows)
    files = {"a": tmp_path / "a.parquet", "b": tmp_path / "b.parquet", "trusted": tmp_path / "trusted.parquet"}
    data = table.select(["id", "text", "label"])
    pq.write_table(data.slice(0, 350), files["a"], row_group_size=100)
    pq.write_table(data.slice(350), files["b"], row_group_size=100)
    trusted = table.take(sorted(rng.sample(range(600), 150)))
    pq.write_table(pa.table({"id": trusted["id"], "label": trusted["truth"]}), files["trusted"])
    files["truth"] = tmp_path / "truth.parquet"
    pq.write_table(table.select(["id", "label", "truth"]), files["truth"])
    return files


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """400 texts as JSON lines: prose, exact and near copies, junk, an empty one and a null."""
    rng = random.Random(7)
    lines: list[dict[str, Any]] = []
    for number in range(300):
        lines.append(
            {
                "id": number,
                "text": " ".join(sentence(rng, rng.choice(list(TOPICS))) for _ in range(6)),
                "tag": number % 4,
            }
        )
    lines += [{**lines[number], "id": 1000 + number} for number in range(0, 300, 6)]
    for number in range(0, 300, 10):
        words = lines[number]["text"].split()
        words[len(words) // 2] = "changed"
        lines.append({"id": 2000 + number, "text": " ".join(words), "tag": 0})
    lines += [{"id": 3000 + number, "text": "buy now " * 80, "tag": 1} for number in range(18)]
    lines += [{"id": 4000, "text": "", "tag": 2}, {"id": 4001, "text": None, "tag": 2}]
    import json

    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class MemoryJournal:
    """Keeps what is committed in a dictionary; `stop_after` commits it asks the run to stop."""

    def __init__(self, stop_after: int | None = None):
        self.outputs: dict[str, dict[int, dict[str, Any]]] = {}
        self.seen: list[Progress] = []
        self.commits, self.stop_after = 0, stop_after

    def done(self, step: str) -> dict[int, dict[str, Any]]:
        return dict(self.outputs.get(step, {}))

    def commit(self, step: str, unit: int, outputs: dict[str, Any]) -> None:
        assert unit not in self.outputs.setdefault(step, {}), "a unit is committed once"
        self.outputs[step][unit] = outputs
        self.commits += 1

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def stop_requested(self) -> StopRequest | None:
        return "shutdown" if self.stop_after is not None and self.commits >= self.stop_after else None


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the pipelines have logged so far, as JSON lines read again."""
    written, logger = io.StringIO(), logging.getLogger("pipelines")
    handler, level = logging.StreamHandler(written), logger.level
    handler.setFormatter(_Json())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)
