"""The builtin text encoder: latent semantic analysis of hashed words, word pairs and character n-grams. No download.

Knows token counts; nothing of labels. TF-IDF with log counts (Salton & Buckley 1988) and a truncated SVD (Deerwester et
al. 1990) by randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4).
"""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from agents.determinism import one_thread
from curator.signals.tokens import NUM_BUCKETS, HashedTokens, hash_tokens

__all__ = ["TextEncoder"]

NUM_TERMS: Final = 32_768
"""Most frequent buckets that get a direction."""
MIN_DOCUMENTS: Final = 2
MAX_SHARE: Final = 0.5
"""A bucket in more than this share of the sample tells nothing apart."""
_OVERSAMPLING: Final = 32
_ITERATIONS: Final = 4


class TextEncoder:
    """terms: int64[V], buckets in use, ascending. idf: float32[V]. directions: float16[V, 256]."""

    name = "builtin"
    modality = "text"
    dim = 256
    fit_rows = 20_000
    fit_bytes = 64 << 20  # fitting takes about 20 bytes of memory and 1 µs for each byte of text

    def __init__(self) -> None:
        self.terms = torch.zeros(0, dtype=torch.int64)
        self.idf = torch.zeros(0)
        self.directions = torch.zeros(0, self.dim, dtype=torch.float16)

    def fit(self, sample: pa.Array, seed: int) -> None:
        """Chooses terms and directions. A sample without a repeated term leaves all vectors zero."""
        tokens = hash_tokens(sample)
        num_documents = len(sample) - sample.null_count
        document_counts = np.bincount(tokens.buckets, minlength=NUM_BUCKETS)
        most = max(MAX_SHARE * num_documents, MIN_DOCUMENTS)
        usable = np.flatnonzero((document_counts >= MIN_DOCUMENTS) & (document_counts <= most))
        frequent = usable[np.argsort(-document_counts[usable], kind="stable")[:NUM_TERMS]]
        terms = np.sort(frequent)
        self.terms = torch.from_numpy(terms)
        self.idf = torch.from_numpy(np.log((1 + num_documents) / (1 + document_counts[terms])) + 1).float()
        with one_thread():
            self.directions = _directions(*self._weighted(tokens), len(terms), self.dim, seed).half()

    def encode(self, column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """float32[n, 256], unit length (zero where no term is known), and valid bool[n]: neither null nor empty."""
        valid = np.asarray(pc.fill_null(pc.greater(pc.binary_length(column), 0), False)).astype(bool)
        if not len(self.terms):
            return np.zeros((len(column), self.dim), np.float32), valid
        with one_thread():
            offsets, terms, weights = self._weighted(hash_tokens(column))
            vectors = torch.nn.functional.embedding_bag(
                terms,
                self.directions.float(),
                offsets,
                mode="sum",
                per_sample_weights=weights,
                include_last_offset=True,
            )
            vectors /= vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return vectors.numpy(), valid

    def _weighted(self, tokens: HashedTokens) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Offsets int64[n + 1], positions int64[m] among the terms, weights float32[m] of unit length per row."""
        terms = self.terms.numpy()
        at = np.searchsorted(terms, tokens.buckets).clip(0, max(len(terms) - 1, 0))
        known = terms[at] == tokens.buckets if len(terms) else np.zeros(len(at), bool)
        row = np.repeat(np.arange(len(tokens.offsets) - 1), np.diff(tokens.offsets))[known]
        at = at[known]
        weights = (1 + np.log(tokens.counts[known])) * self.idf.numpy()[at]
        length = np.sqrt(np.bincount(row, weights.astype(np.float64) ** 2, minlength=len(tokens.offsets) - 1))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(tokens.offsets) - 1))])
        unit = (weights / length[row]).astype(np.float32)
        return torch.from_numpy(offsets), torch.from_numpy(at), torch.from_numpy(unit)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        return {"terms": self.terms, "idf": self.idf, "directions": self.directions}

    def from_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        self.terms, self.idf, self.directions = tensors["terms"], tensors["idf"], tensors["directions"]


def _directions(
    offsets: torch.Tensor, terms: torch.Tensor, weights: torch.Tensor, num_terms: int, dim: int, seed: int
) -> torch.Tensor:
    """The leading right singular vectors of the documents-by-terms matrix, float32[num_terms, dim], zero-padded."""
    num_documents = len(offsets) - 1
    rank = min(dim + _OVERSAMPLING, num_documents, num_terms)
    out = torch.zeros(num_terms, dim)
    if rank == 0:
        return out
    by_document = _csr(offsets, terms, weights, num_documents, num_terms)
    by_term = _transposed(offsets, terms, weights, num_terms)
    basis = torch.randn(num_terms, rank, generator=torch.Generator().manual_seed(seed % 2**63))
    for _ in range(_ITERATIONS):
        documents = torch.linalg.qr(by_document @ basis).Q
        basis = torch.linalg.qr(by_term @ documents).Q
    small = torch.linalg.svd(by_document @ basis, full_matrices=False).Vh
    leading = (basis @ small.T)[:, :dim]
    out[:, : leading.shape[1]] = leading
    return out


def _transposed(offsets: torch.Tensor, terms: torch.Tensor, weights: torch.Tensor, num_terms: int) -> torch.Tensor:
    """The terms-by-documents matrix in CSR."""
    document = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
    order = terms.argsort(stable=True)
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), terms.bincount(minlength=num_terms).cumsum(0)])
    return _csr(starts, document[order], weights[order], num_terms, len(offsets) - 1)


def _csr(starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, rows: int, width: int) -> torch.Tensor:
    """A sparse matrix, its invariants checked; without torch's notice that the layout is young."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, (rows, width), check_invariants=True)
