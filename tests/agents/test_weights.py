"""Weights are data: a pickle under the name of a safetensors file runs nothing, whoever loads it."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.encoders import make_encoder
from agents.judge import JUDGE_VERSION, Judge
from agents.observation import STATE_VERSION
from agents.proxy.difficulty import DifficultyModel
from curator.errors import RecipeError
from pipelines.training.checkpoint import load_model
from pipelines.training.compress.compact import load_compact


class Evil:
    def __init__(self, marker: Path):
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)


def judge(folder: Path, data: bytes) -> Callable[[], Any]:
    (folder / "judge.safetensors").write_bytes(data)
    card = {"judge": JUDGE_VERSION, "state": STATE_VERSION, "version": "v", "task": "text", "scorecard": {}}
    (folder / "judge.json").write_text(json.dumps(card))
    return lambda: Judge.load(folder)


def difficulty(folder: Path, data: bytes) -> Callable[[], Any]:
    (folder / "difficulty.safetensors").write_bytes(data)
    return lambda: DifficultyModel.load(folder / "difficulty.safetensors")


def checkpoint(folder: Path, data: bytes) -> Callable[[], Any]:
    (folder / "model.safetensors").write_bytes(data)
    (folder / "checkpoint.safetensors").write_bytes(data)
    return lambda: load_model(str(folder))


def compact(folder: Path, data: bytes) -> Callable[[], Any]:
    (folder / "compact.safetensors").write_bytes(data)
    return lambda: load_compact(str(folder))


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("place", [judge, difficulty, checkpoint, compact])
def test_a_pickle_in_the_place_of_weights_runs_nothing(
    tmp_path: Path, place: Callable[[Path, bytes], Callable[[], Any]], form: str
) -> None:
    marker = tmp_path / "ran"
    if form == "torch":
        torch.save(Evil(marker), tmp_path / "evil.pt")
        data = (tmp_path / "evil.pt").read_bytes()
    else:
        data = pickle.dumps(Evil(marker))
    load = place(tmp_path, data)
    with pytest.raises(Exception):  # noqa: B017 - which one is each loader's own affair
        load()
    assert not marker.exists()


def test_an_encoders_folder_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(8, 8)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"no file named model\.safetensors"):
        make_encoder("text", f"sentence-transformers:{tmp_path}")
