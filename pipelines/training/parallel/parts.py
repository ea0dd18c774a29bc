"""A checkpoint of which every rank writes its part: slices that any number of ranks can read, or a file for each rank.

Slices by PyTorch's distributed checkpoint, as safetensors files: no pickle is written or read. Knows folders and
tensors; which parts count is the checkpoint's to say.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from curator.errors import IntegrityError, RequestError
from curator.storage import Store

__all__ = ["read_rank", "read_slices", "remove_other_parts", "write_rank", "write_slices"]

_PREFIX = "parts-"


def write_slices(store: Store, step: int, tensors: dict[str, Tensor]) -> str:
    """Every rank's slices, in the step's folder; its name. Raises RequestError in an object store."""
    name = _folder(store, step)
    dcp.save(dict(tensors), storage_writer=HuggingFaceStorageWriter(store.path(name), save_distributed=True))
    return name


def read_slices(store: Store, name: str, tensors: dict[str, Tensor]) -> None:
    """Fills the tensors, each rank its slices. Raises IntegrityError for parts that are not there or do not fit."""
    try:
        dcp.load(tensors, storage_reader=HuggingFaceStorageReader(store.path(name)))
    except dcp.api.CheckpointException as error:
        raise _damaged(store, name, error) from error


def write_rank(store: Store, step: int, rank: int, tensors: dict[str, Tensor]) -> str:
    """All of one rank's tensors, in the step's folder; its name. Raises RequestError in an object store."""
    name = _folder(store, step)
    plain = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    store.write_bytes(f"{name}/{_file(rank)}", save(plain))
    return name


def read_rank(store: Store, name: str, rank: int) -> tuple[dict[str, Tensor], bool]:
    """(that rank's tensors, true), or those of the first rank that has some, and false. Raises IntegrityError."""
    files = sorted(Path(store.path(name)).glob("rank-*.safetensors"))
    own = Path(store.path(name)) / _file(rank)
    try:
        return load((own if own in files else files[0]).read_bytes()), own in files
    except (IndexError, OSError, SafetensorError) as error:
        raise _damaged(store, name, error) from error


def remove_other_parts(store: Store, keep: str) -> None:
    """The folders of earlier checkpoints, and of ones that were never finished."""
    for folder in Path(store.path(keep)).parent.glob(f"{_PREFIX}*"):
        if folder.name != keep:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(store: Store, step: int) -> str:
    if not store.is_local:
        raise RequestError(
            f"a checkpoint in parts is written to a file system that the ranks share, and {store.uri} is an object "
            "store; give a folder"
        )
    return f"{_PREFIX}{step}"


def _file(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def _damaged(store: Store, name: str, error: BaseException) -> IntegrityError:
    return IntegrityError(
        f"{name} in {store.uri} does not hold this model: {error}; restore it from a copy, or start again with resume "
        "off"
    )
