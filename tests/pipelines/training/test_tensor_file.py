"""What is written tensor by tensor is a safetensors file: the library reads the same tensors and header."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from curator.storage import Store
from pipelines.training.tensor_file import on_host, write_tensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).view(2, 3),
    "a": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 16, dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "turned": torch.arange(6, dtype=torch.int64).view(2, 3).T,
    "half": torch.ones(3, dtype=torch.float16),
}


def test_the_library_reads_what_was_written(tmp_path: Path) -> None:
    write_tensors(Store.open(tmp_path), "t.safetensors", TENSORS, '{"step": "é"}')
    found = load_file(tmp_path / "t.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)
    with safe_open(tmp_path / "t.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["winnow"]) == {"step": "é"}


def test_the_tensors_lie_as_the_library_lays_them(tmp_path: Path) -> None:
    write_tensors(Store.open(tmp_path), "t.safetensors", TENSORS, "x")
    ours, theirs = (tmp_path / "t.safetensors").read_bytes(), save({k: t.contiguous() for k, t in TENSORS.items()})
    assert _data(ours) == _data(theirs)


def _data(file: bytes) -> bytes:
    return file[8 + int.from_bytes(file[:8], "little") :]


def test_tensors_of_the_cpu_are_given_as_they_are() -> None:
    found, there = on_host(TENSORS)
    assert found is TENSORS and there is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_launched_after_the_copy_does_not_change_it() -> None:
    big = torch.zeros(1 << 26, device="cuda")
    found, there = on_host({"big": big})
    big.add_(1)
    assert there is not None
    there.synchronize()
    assert found["big"].is_pinned() and not found["big"].any()
