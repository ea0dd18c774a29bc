"""A pretrained encoder behind the sentence-transformers library, by name or by path.

Knows the library; learns nothing. Offline: with HF_HUB_OFFLINE=1 or a local path nothing is fetched.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from agents.determinism import one_thread
from curator.errors import RecipeError

__all__ = ["SentenceEncoder"]

_BATCH: Final = 64


class SentenceEncoder:
    """Vectors of unit length. Rounding may differ in the last bits with the batch a row falls in."""

    fit_rows = fit_bytes = 0

    def __init__(self, modality: str, name: str):
        self.modality, self.name = modality, name
        self.model = _load(name)
        dimension = getattr(self.model, "get_embedding_dimension", None) or self.model.get_sentence_embedding_dimension
        self.dim = int(dimension())

    def fit(self, sample: pa.Array, seed: int) -> None:
        """Nothing to learn: the model is pretrained."""

    def encode(self, column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """float32[n, dim] and valid bool[n]: neither null nor empty, and decodable."""
        values: list[Any] = column.to_pylist()
        if self.modality == "image":
            from agents.encoders.image import decode

            values = [decode(value) for value in values]
            valid = np.array([value is not None for value in values], bool)
        else:
            valid = np.asarray(pc.fill_null(pc.greater(pc.binary_length(column), 0), False)).astype(bool)
        vectors = np.zeros((len(values), self.dim), np.float32)
        chosen = [value for value, good in zip(values, valid, strict=True) if good]
        if chosen:
            with one_thread():
                vectors[valid] = self.model.encode(
                    chosen, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
                )
        return vectors, valid

    def to_tensors(self) -> dict[str, torch.Tensor]:
        return {"dim": torch.tensor([self.dim])}

    def from_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        if int(tensors["dim"]) != self.dim:
            raise RecipeError(
                f"encoder {self.name!r} gave {int(tensors['dim'])} numbers when fitted and {self.dim} now"
            )


def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise RecipeError(
            f"encoder {name!r} needs sentence-transformers: pip install 'winnow-curation[encoders]', or use `builtin`"
        ) from error
    try:
        # Weights are data: no pickle is read, and no code that comes with a model is run.
        data_only = {"use_safetensors": True}
        return SentenceTransformer(name, device="cpu", trust_remote_code=False, model_kwargs=data_only)
    except Exception as error:
        raise RecipeError(
            f"encoder {name!r} cannot be loaded: {error}. Give a model's name or its folder, or use `builtin`"
        ) from error
