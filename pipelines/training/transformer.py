"""The text models: a pre-norm transformer body, an encoder that classifies rows, a causal model of the next token.

Knows ids and masks; nothing of text, recipes, losses or devices. Parameters are given their first values elsewhere.

Legend: B batch, T positions, D width, H heads, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.attention import attend, rotary_table, rotate

__all__ = ["CausalTransformer", "EncoderClassifier", "FeedForward", "keys_from_lengths", "ngram_buckets"]

FeedForward = Literal["swiglu", "gelu"]
Table = tuple[Tensor, Tensor]
"""cos and sin of the rotary angles, [T, head width / 2] each"""


class _Mixer(nn.Module):
    """GELU (4·D wide) or SwiGLU (8/3·D wide: the same parameters; Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, kind: FeedForward):
        super().__init__()
        self.kind = kind
        inner = 4 * width if kind == "gelu" else -(-8 * width // 3 // 16) * 16
        self.up = nn.Linear(width, inner if kind == "gelu" else 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        raised = self.up(x_BTD)
        if self.kind == "gelu":
            return self.down(F.gelu(raised))
        gate, value = raised.chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class _Block(nn.Module):
    """x + attention(norm x), then x + feed-forward(norm x); positions are turned into queries and keys (RoPE)."""

    def __init__(self, width: int, heads: int, kind: FeedForward):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mixer = _Mixer(width, kind)

    def forward(self, x_BTD: Tensor, causal: bool, keys_BT: Tensor | None, table: Table) -> Tensor:
        x_BTD = x_BTD + self._attention(self.norm_1(x_BTD), causal, keys_BT, table)
        return x_BTD + self.mixer(self.norm_2(x_BTD))

    def _attention(self, x_BTD: Tensor, causal: bool, keys_BT: Tensor | None, table: Table) -> Tensor:
        batch, length, width = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed_BHTD = attend(rotate(q, *table), rotate(k, *table), v, causal=causal, keys_BT=keys_BT)
        return self.out(mixed_BHTD.transpose(1, 2).reshape(batch, length, width))


class EncoderClassifier(nn.Module):
    """Ids [B, T] to class scores [B, C].

    Each position carries the vector of its byte plus hashed vectors of the byte n-grams that end there (Pagnoni et al.
    2024, arXiv 2412.09871, section 3.2.1), averaged; positions look both ways; the row is the mean of its positions.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        depth: int,
        heads: int,
        feed_forward: FeedForward,
        num_classes: int,
        ngrams: tuple[int, ...] = (),
        num_buckets: int = 16_384,
    ):
        super().__init__()
        self.ngrams, self.num_buckets, self.heads = ngrams, num_buckets, heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.ngram_embedding = nn.Embedding(num_buckets, width) if ngrams else None
        self.blocks = nn.ModuleList(_Block(width, heads, feed_forward) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, ids_BT: Tensor, keys_BT: Tensor | None) -> Tensor:
        x_BTD = self._embed(ids_BT)
        table = _table(x_BTD, self.heads)
        for block in self.blocks:
            x_BTD = block(x_BTD, False, keys_BT, table)
        x_BTD = self.norm(x_BTD)
        if keys_BT is None:
            return self.head(x_BTD.mean(dim=1))
        weights_BT1 = keys_BT[:, :, None].to(x_BTD.dtype)
        return self.head((x_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1))

    def _embed(self, ids_BT: Tensor) -> Tensor:
        x_BTD = self.embedding(ids_BT)
        if self.ngram_embedding is None:
            return x_BTD
        for bucket_BT in ngram_buckets(ids_BT, self.ngrams, self.num_buckets):
            x_BTD = x_BTD + self.ngram_embedding(bucket_BT)
        return x_BTD / (1 + len(self.ngrams))


class CausalTransformer(nn.Module):
    """Ids [B, T] to hidden states [B, T, D]; `head.weight` [V, D] turns those into scores of the next id."""

    def __init__(self, *, vocabulary: int, width: int, depth: int, heads: int, feed_forward: FeedForward):
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(_Block(width, heads, feed_forward) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Rows are right-padded; what a padded position holds is never looked at by a real one."""
        x_BTD = self.embedding(ids_BT)
        table = _table(x_BTD, self.heads)
        for block in self.blocks:
            x_BTD = block(x_BTD, True, None, table)
        return self.norm(x_BTD)


def _table(x_BTD: Tensor, heads: int) -> Table:
    return rotary_table(x_BTD.shape[1], x_BTD.shape[2] // heads, device=x_BTD.device)


def ngram_buckets(ids_BT: Tensor, ngrams: tuple[int, ...], num_buckets: int) -> list[Tensor]:
    """For each n, the bucket int64[B, T] of the n ids that end at each position; before the row begins there are zeros.

    A polynomial hash modulo 2⁶⁴ with the multiplier of splitmix64, its high bits folded down.
    """
    factor = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
    values = ids_BT + 1
    rolling, wanted = values, {}
    for length in range(2, max(ngrams, default=1) + 1):
        before = F.pad(rolling[:, :-1], (1, 0))
        rolling = before * factor + values
        if length in ngrams:
            mixed = (rolling + length) * factor
            wanted[length] = ((mixed >> 32) & 0x7FFFFFFF) % num_buckets
    return [wanted[length] for length in ngrams]


def keys_from_lengths(lengths_B: Tensor, length: int) -> Tensor:
    """bool[B, T], true at the real positions of right-padded rows."""
    return torch.arange(length, device=lengths_B.device) < lengths_B[:, None]
