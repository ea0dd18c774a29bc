"""`winnow compress`: what it prints and how it ends; the compressing itself is tested where it lives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from api.cli.compress import COMPRESS_PRESETS
from pipelines.training.compress.recipe import PRESETS
from tests.pipelines.training.compress.conftest import Trained, trained


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("text-classifier", tmp_path_factory.mktemp("job"))


def test_a_table_and_lines_on_the_way(winnow: Callable[..., Result], job: Trained, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("preset: quantise\nexport: [torch-export]\n")
    words = (
        "compress",
        job.folder,
        "--held-out",
        job.held_out,
        "--root",
        job.root,
        "--recipe",
        tmp_path / "recipe.yaml",
    )
    done = winnow(*words, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.stderr
    names = ["trained", "fp16", "int8", "torch-export"]
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == names
    assert [line.split(":")[0] for line in done.stderr.splitlines() if ": " in line] == names
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "compact.safetensors", "model.pt2", "report.json", "report.svg",
    ]  # fmt: skip
    (tmp_path / "recipe.yaml").write_text("preset: quantise\nexport: []\n")
    told = winnow(*words, "--out", tmp_path / "b", "--json")
    assert [step["name"] for step in json.loads(told.stdout)["steps"]] == names[:3]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "--held-out", "x.parquet"), "no model.safetensors in nowhere"),
        (("nowhere", "--held-out", "x.parquet", "--recipe", "quantize"), "did you mean 'quantise'"),
        (("nowhere",), "--held-out"),
    ],
)
def test_wrong_requests_end_with_2(
    winnow: Callable[..., Result], here: Path, words: tuple[str, ...], told: str
) -> None:
    done = winnow("compress", *words)
    assert done.exit_code == 2 and told in done.stderr
    assert list(here.iterdir()) == []


def test_help_lists_the_shipped_recipes(winnow: Callable[..., Result]) -> None:
    assert tuple(sorted(PRESETS)) == COMPRESS_PRESETS
    told = winnow("compress", "--help").stdout
    assert [name for name in COMPRESS_PRESETS if f"    {name}" not in told.splitlines()] == []
