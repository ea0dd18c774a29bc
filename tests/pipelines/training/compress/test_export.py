"""Exports: each file alone computes what the model does, for any number and length of rows; a wrong one is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curator.errors import IntegrityError, RequestError
from pipelines.training.compress import export as exports
from pipelines.training.compress.candidate import Candidate, planned, quantised
from pipelines.training.compress.export import FILES, compared, export, loaded
from pipelines.training.compress.narrow import scorer
from pipelines.training.compress.scoring import run_of
from pipelines.training.compress.weights import plan_of, widened
from pipelines.training.pull import columns_of
from pipelines.training.serving.backends import OnCpu
from pipelines.training.serving.serve import Serving
from tests.pipelines.training.compress.conftest import Trained


def test_loaded_again_they_compute_the_same(either: Trained, tmp_path: Path) -> None:
    """On a text model with tables of 4 bits, so that every way to store a weight is exported."""
    whole, rows = Candidate.of(either.model), either.rows
    plan = plan_of(widened(whole.weights), "int8")
    made = planned(whole, {name: "int4" if "embedding" in name else kind for name, kind in plan.items()})
    expected = rows.scores(run_of(made.trained.model))
    for kind, data in export(made, ("torch-export", "onnx", "onnx-dynamic")).items():
        (tmp_path / FILES[kind]).write_bytes(data)
        run = loaded(kind, tmp_path / FILES[kind])
        if kind == "onnx-dynamic":
            assert rows.measure(rows.scores(run)).accuracy > 0.9
            continue
        assert compared(kind, expected, rows.scores(run)) < 1e-5
        for inputs, keys in _odd_sizes(made):
            with torch.no_grad():
                assert compared(kind, run_of(made.trained.model)(inputs, keys), run(inputs, keys)) < 1e-5
        content = either.table.column(columns_of(either.model.recipe)[0]).combine_chunks()
        with Serving(made.trained, [OnCpu(run)], rows=(8, 64)) as served, Serving(made.trained, rows=(64,)) as plain:
            answers = served.answer(content).probabilities, plain.answer(content).probabilities
            assert np.allclose(*answers, atol=1e-5)
        assert data.count(b"/pipelines/training/") == 0  # no path of the machine it was made on


def _odd_sizes(made: Candidate):  # type: ignore[no-untyped-def]
    if made.context is None:
        return [(torch.zeros(7, 1, 8, 8), None)]
    ids = torch.randint(0, 256, (7, made.context), generator=torch.Generator().manual_seed(0))
    return [(ids, None), (ids[:1, :9], torch.ones(1, 9, dtype=torch.bool))]


def test_narrow_weights_stay_narrow_in_the_graph(either: Trained) -> None:
    made = quantised(Candidate.of(either.model), "int8")
    narrow = scorer(made.trained.model, made.weights, made.context)
    sizes = [t.numel() * t.element_size() for t in narrow.state_dict().values()]
    assert sum(sizes) < 0.35 * sum(4 * t.numel() for t in made.trained.model.state_dict().values())
    assert either.rows.scores(_as_run(narrow)).equal(either.rows.scores(run_of(made.trained.model)))


def _as_run(module):  # type: ignore[no-untyped-def]
    def run(inputs, keys):  # type: ignore[no-untyped-def]
        return module(*exports._fed(inputs, keys))

    return run


def test_a_mismatch_is_an_error_with_its_figure() -> None:
    expected = torch.tensor([[1.0, -4.0]])
    assert compared("x", expected, expected + 1e-6) < 1e-5
    with pytest.raises(IntegrityError, match=r"differs from the model by 2.50e-02 of the largest score over 1"):
        compared("model.onnx", expected, expected + 0.1)
    with pytest.raises(IntegrityError, match="differs"):
        compared("model.onnx", expected, expected * torch.nan)
    with pytest.raises(IntegrityError, match="shape"):
        compared("model.onnx", expected, expected[:, :1])


def test_a_missing_runtime_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports.importlib.util, "find_spec", lambda name: None)
    exports.require_runtimes(("torch-export",))
    with pytest.raises(
        RequestError, match=r"needs onnx, onnxscript, onnxruntime: pip install 'winnow-curation\[compress\]'"
    ):
        exports.require_runtimes(("onnx",))
