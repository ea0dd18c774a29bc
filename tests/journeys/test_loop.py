"""Training teaches the policy: curate, train on the shards, curate again with what training reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.app import app
from curator.catalog import LOCAL_TENANT, Catalog
from curator.settings import Settings

pytestmark = pytest.mark.timeout(300)


def winnow(*words: object) -> dict[str, object]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_losses_flow_back_into_the_next_decision(tmp_path: Path, labelled: dict[str, Path]) -> None:
    recipe, root = tmp_path / "recipe.yaml", tmp_path / "root"
    policy = "policy: {kind: learned, max_false_drop: 0.1}"
    recipe.write_text(f"task: classification\ncolumns: {{text: text, label: label}}\n{policy}\n")
    training = tmp_path / "training.yaml"
    shape = "width: 32\ndepth: 1\nheads: 2\ncontext: 64\nepochs: 2\nglobal_batch_size: 32\n"
    training.write_text(f"preset: small-text-classifier\n{shape}columns: {{text: text, label: label}}\n")
    wanted = (labelled["a"], labelled["b"], "--recipe", recipe, "--trusted", labelled["trusted"], "--out", root)

    first = winnow("curate", *wanted)
    job = winnow("train", first["manifest"], "--recipe", training, "--root", root)["training_job"]
    with Catalog.open(Settings(root=str(root)).database_url) as catalog:
        assert sum(counts.sum() for _, counts in catalog.feedback.counted(LOCAL_TENANT, [str(job)])) > 300
    taught = winnow("curate", *wanted, "--feedback", job)
    assert taught["rows_in"] == first["rows_in"] == 600
    assert taught["policy"] != first["policy"], "the policy has one more thing to look at"
    assert winnow("curate", *wanted, "--feedback", job)["manifest"] == taught["manifest"]


def test_rules_learn_nothing_and_unknown_jobs_are_named(tmp_path: Path, labelled: dict[str, Path]) -> None:
    recipe, root = tmp_path / "recipe.yaml", tmp_path / "root"
    recipe.write_text("task: text\ncolumns: {text: text}\nprocess: [exact_duplicates]\n")
    words = ["curate", str(labelled["a"]), "--recipe", str(recipe), "--out", str(root)]
    refused = CliRunner().invoke(app, [*words, "--feedback", "trn_absent"])
    assert refused.exit_code == 2 and "policy.kind is 'rules'" in refused.stderr
    assert CliRunner().invoke(app, words).exit_code == 0
    recipe.write_text("task: text\ncolumns: {text: text}\npolicy: {kind: learned}\n")
    unknown = CliRunner().invoke(app, [*words, "--feedback", "trn_absent"])
    assert unknown.exit_code == 2 and "trn_absent" in unknown.stderr
