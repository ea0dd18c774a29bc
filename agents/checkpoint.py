"""Fitted values to safetensors and back: a dataclass of tensors, numbers and other such dataclasses, nothing else.

Knows no class by name; the reader says what it expects, so a file cannot make it build anything else.
"""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from curator.errors import IntegrityError

__all__ = ["from_tensors", "to_tensors"]


def to_tensors(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Every tensor, array and number under its dotted path; None leaves no trace."""
    if value is None:
        return {}
    if is_dataclass(value):
        parts = (to_tensors(getattr(value, f.name), f"{prefix}{f.name}.") for f in fields(value))
        return {name: tensor for part in parts for name, tensor in part.items()}
    name = prefix.removesuffix(".")
    if isinstance(value, torch.Tensor):
        return {name: value.contiguous()}
    if isinstance(value, np.ndarray):
        return {name: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, bool):
        return {name: torch.tensor([value])}
    if isinstance(value, int):
        return {name: torch.tensor([value], dtype=torch.int64)}
    if isinstance(value, float):
        return {name: torch.tensor([value], dtype=torch.float64)}
    raise TypeError(f"{name} is a {type(value).__name__}; a checkpoint holds tensors and numbers")


def from_tensors(kind: Any, tensors: dict[str, torch.Tensor], prefix: str = "") -> Any:
    """The value of type `kind` from its tensors. Raises IntegrityError on a missing one."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and not any(name.startswith(prefix) for name in tensors):
        return None
    kind = next(option for option in options if option is not type(None))
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        build: Any = kind
        return build(**{f.name: from_tensors(hints[f.name], tensors, f"{prefix}{f.name}.") for f in fields(kind)})
    name = prefix.removesuffix(".")
    if name not in tensors:
        raise IntegrityError(f"the checkpoint lacks {name!r}; it is cut off or of another version: learn it again")
    tensor = tensors[name]
    if kind is torch.Tensor:
        return tensor
    if kind is np.ndarray:
        return tensor.numpy()
    return kind(tensor.item())
