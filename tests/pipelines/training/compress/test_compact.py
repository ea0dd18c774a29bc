"""The compact file: the same model again, and clear words for a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from curator.errors import IntegrityError, NotFoundError
from pipelines.training.compress.candidate import Candidate, quantised
from pipelines.training.compress.compact import COMPACT, load_compact
from pipelines.training.compress.recipe import Precision
from pipelines.training.compress.structure import kept_only, layers
from pipelines.training.evaluate import evaluate
from tests.pipelines.training.compress.conftest import Trained


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_written_and_read_it_is_the_same_model(either: Trained, tmp_path: Path, precision: Precision) -> None:
    trained = either.model
    first = next(iter(layers(trained.model)))
    kept_only(trained.model, {first.name: torch.tensor([first.num_units - 1])})
    made = quantised(Candidate.of(trained), precision)
    (tmp_path / COMPACT).write_bytes(made.file)
    again = load_compact(str(tmp_path))
    assert again.recipe == trained.recipe and again.classes == trained.classes
    for name, tensor in made.trained.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
    scores = [evaluate(one.model, one.recipe, one.class_table, either.table) for one in (made.trained, again)]
    assert scores[0] == scores[1]
    assert Candidate(again, made.weights).file == made.file


@pytest.mark.parametrize("broken", ["format", "missing", "shape", "bytes"])
def test_a_file_of_another_version_is_refused(text: Trained, tmp_path: Path, broken: str) -> None:
    data = quantised(Candidate.of(text.model), "int8").file
    tensors, header = load(data), Candidate.of(text.model).header
    if broken == "format":
        data = save(tensors, metadata={"winnow": header.model_dump_json().replace('"format":1', '"format":2')})
    elif broken == "missing":
        del tensors["values/head.weight"]
        data = save(tensors, metadata={"winnow": header.model_dump_json()})
    elif broken == "shape":
        tensors["values/head.weight"] = torch.zeros(3, 31)
        data = save(tensors, metadata={"winnow": header.model_dump_json()})
    else:
        data = data[:-5]
    (tmp_path / COMPACT).write_bytes(data)
    with pytest.raises(IntegrityError, match="no compressed model of this version"):
        load_compact(str(tmp_path))


def test_a_folder_without_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no compact\.safetensors"):
        load_compact(str(tmp_path))
