"""Tensors into a safetensors file, one after the other: no copy of the whole, and other threads run meanwhile.

The library's own `save` makes the file in memory first, twice, and holds the interpreter for as long. It reads what
is written here. Knows tensors and sinks; nothing of what they are for.
"""

from __future__ import annotations

import json
from typing import Any, Final

import torch
from torch import Tensor

from curator.storage import Store

__all__ = ["on_host", "write_tensors"]

_NAMES: Final = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_tensors(store: Store, name: str, tensors: dict[str, Tensor], header: str) -> None:
    """Replaces the file: CPU tensors by name, and a text that its header holds as `winnow`."""
    plain = {key: tensor.detach().contiguous() for key, tensor in tensors.items()}
    ordered = sorted(plain, key=lambda key: (-plain[key].element_size(), key))  # every tensor begins where it may
    layout: dict[str, Any] = {"__metadata__": {"winnow": header}}
    end = 0
    for key in ordered:
        begin, end = end, end + plain[key].nbytes
        layout[key] = {
            "dtype": _NAMES[plain[key].dtype], "shape": list(plain[key].shape), "data_offsets": [begin, end]
        }  # fmt: skip
    head = json.dumps(layout, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with store.writer(name) as sink:
        sink.write(len(head).to_bytes(8, "little") + head)
        for key in ordered:
            if plain[key].numel():
                sink.write(plain[key].reshape(-1).view(torch.uint8).numpy().data)


def on_host(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], torch.cuda.Event | None]:
    """(the tensors on the CPU, when they are there). From a GPU they are copied into page-locked memory in the present
    stream: steps launched later come after, and nobody waits here. What is on the CPU is given as it is."""
    if not any(tensor.is_cuda for tensor in tensors.values()):
        return tensors, None
    copied = {name: _fetched(tensor.detach()) if tensor.is_cuda else tensor for name, tensor in tensors.items()}
    event = torch.cuda.Event()
    event.record()
    return copied, event


def _fetched(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
