"""The text models: a pre-norm transformer body, an encoder that classifies rows, a causal model of the next token.

Knows ids and masks; nothing of text, recipes, losses or devices. Parameters are given their first values elsewhere.

Legend: B batch, T positions, D width, H heads, V vocabulary, C classes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.training.attention import attend
from pipelines.training.precision import PLAIN, Arithmetic, region
from pipelines.training.rotary import Table, rotate, table_for
from pipelines.training.sequences import Rotary
from pipelines.training.spans import Spans

__all__ = [
    "CausalTransformer",
    "EncoderClassifier",
    "FeedForward",
    "Looks",
    "Mixer",
    "RmsNorm",
    "keys_from_lengths",
    "ngram_buckets",
]

FeedForward = Literal["swiglu", "gelu"]


class RmsNorm(nn.RMSNorm):
    """RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467) in float32 whatever comes in; what comes out has its dtype."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        return F.rms_norm(x_BTD.float(), self.normalized_shape, self.weight.float(), self.eps).to(x_BTD.dtype)


class Mixer(nn.Module):
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
            return self.down(_gelu(raised))
        gate, value = raised.chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Looks(NamedTuple):
    """Which positions a position looks at: all or those up to itself, but padding; or one span."""

    causal: bool
    keys_BT: Tensor | None = None
    spans: Spans | None = None


def _gelu(x: Tensor) -> Tensor:
    """GELU in its tanh form (Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2), GPT-2's.

    Compiled, as x·σ(2u): the same number for one exponential, where tanh takes longer than reading and writing x.
    """
    if not torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    wide = x.float()
    return (wide * torch.sigmoid(1.5957691216057308 * (wide + 0.044715 * wide.pow(3)))).to(x.dtype)


class _Block(nn.Module):
    """x + attention(norm x), then x + feed-forward(norm x); positions are turned into queries and keys (RoPE).

    The stream x keeps its dtype; each branch computes in its region's.
    """

    def __init__(self, width: int, heads: int, kind: FeedForward):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = RmsNorm(width), RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mixer = Mixer(width, kind)

    def forward(self, x_BTD: Tensor, looks: Looks, table: Table, arithmetic: Arithmetic) -> Tensor:
        device = x_BTD.device.type
        with region(device, arithmetic.attention):
            mixed = self._attention(_entering(self.norm_1(x_BTD), arithmetic.attention), looks, table)
        x_BTD = x_BTD + mixed.to(x_BTD.dtype)
        with region(device, arithmetic.feed_forward):
            mixed = self.mixer(_entering(self.norm_2(x_BTD), arithmetic.feed_forward))
        return x_BTD + mixed.to(x_BTD.dtype)

    def _attention(self, x_BTD: Tensor, looks: Looks, table: Table) -> Tensor:
        batch, length, _ = x_BTD.shape
        q, k, v = self.qkv(x_BTD).view(batch, length, 3, self.heads, -1).unbind(2)
        turned = (rotate(q, *table).transpose(1, 2), rotate(k, *table).transpose(1, 2), v.transpose(1, 2))
        mixed_BHTD = attend(*turned, causal=looks.causal, keys_BT=looks.keys_BT, spans=looks.spans)
        return self.out(mixed_BHTD.transpose(1, 2).flatten(2))


def _entering(x_BTD: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Autocast lowers its inputs by itself and raises none."""
    return x_BTD.float() if dtype == torch.float32 else x_BTD


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
        self.norm = RmsNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(
        self, ids_BT: Tensor, keys_BT: Tensor | None, arithmetic: Arithmetic = PLAIN, *, table: Table | None = None
    ) -> Tensor:
        """`table`: the rotary positions of T, where they cannot be looked up: in a graph of any T."""
        x_BTD = _stream(self._embed(ids_BT), arithmetic)
        if table is None:
            length, width = x_BTD.shape[1], x_BTD.shape[2] // self.heads
            table = _cut(table_for(_room(length), width, Rotary(), 1.0, length, x_BTD.device), length)
        for block in self.blocks:
            x_BTD = block(x_BTD, Looks(False, keys_BT), table, arithmetic)
        x_BTD = self.norm(x_BTD).float()
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
    """Ids [B, T] to hidden states [B, T, D]; `head.weight` [V, D] turns those into scores of the next id.

    `first_context`: the length that `rotary` was trained at first; longer ones are stretched by its scaling.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        depth: int,
        heads: int,
        feed_forward: FeedForward,
        rotary: Rotary = Rotary(),  # noqa: B008  (frozen)
        first_context: int = 1024,
    ):
        super().__init__()
        self.heads, self.rotary, self.first_context = heads, rotary, first_context
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(_Block(width, heads, feed_forward) for _ in range(depth))
        self.norm = RmsNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(
        self,
        ids_BT: Tensor,
        spans: Spans | None = None,
        *,
        context: int | None = None,
        arithmetic: Arithmetic = PLAIN,
    ) -> Tensor:
        """Without spans rows are right-padded; what a padded position holds is never looked at by a real one.

        `context`: the present one (default: the first), which decides how far the rotary frequencies are stretched.
        """
        x_BTD = _stream(self.embedding(ids_BT), arithmetic)
        table = self._table(ids_BT.shape[1], context or self.first_context, x_BTD.device)
        for block in self.blocks:
            x_BTD = block(x_BTD, Looks(True, None, spans), table, arithmetic)
        return self.norm(x_BTD)

    def _table(self, length: int, context: int, device: torch.device) -> Table:
        width, growth = self.embedding.embedding_dim // self.heads, max(context / self.first_context, 1.0)
        return _cut(table_for(_room(length), width, self.rotary, growth, self.first_context, device), length)


def _stream(x_BTD: Tensor, arithmetic: Arithmetic) -> Tensor:
    return x_BTD if arithmetic.residual is None else x_BTD.to(arithmetic.residual)


def _room(length: int) -> int:
    """A table's length: few distinct ones, so that few are kept."""
    return max(64, 1 << (length - 1).bit_length())


def _cut(table: Table, length: int) -> Table:
    return table[0][:length], table[1][:length]


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
