"""The video model: a transformer over the patches of frames that looks in space and in time in turn.

Knows pixels; nothing of files, recipes, losses or devices. Parameters are given their first values elsewhere.

Divided attention as in Bertasius et al. 2021 (arXiv 2102.05095, section 3), here in space first; in time with a
convolution of the values over neighbouring frames, channel by channel, after Tran et al. 2018's (2+1)D
(arXiv 1711.11248).

Legend: B clips, T frames, N places (patches of a frame), D width, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pipelines.training.attention import attend
from pipelines.training.temporal import TAPS, attend_over_time
from pipelines.training.transformer import Mixer, RmsNorm

__all__ = ["Taps", "Temporal", "VideoEncoder"]

Temporal = Literal["attention-convolution", "attention", "none"]


class Taps(nn.Module):
    """What the frame before, this one and the one after add to a value, channel by channel: weights [3, D]."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(TAPS, width))


class _InSpace(nn.Module):
    """Each place looks at all places of its frame."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTND: Tensor) -> Tensor:
        batch, frames, places, width = x_BTND.shape
        split = self.qkv(self.norm(x_BTND)).view(batch * frames, places, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, causal=False)
        return self.out(mixed.transpose(1, 2).reshape(batch, frames, places, width))


class _InTime(nn.Module):
    """Each place looks at itself in all frames, and at its values in the frames beside where there are taps."""

    def __init__(self, width: int, heads: int, convolves: bool):
        super().__init__()
        self.heads = heads
        self.norm = RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.taps = Taps(width) if convolves else None
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTND: Tensor, lengths_B: Tensor | None) -> Tensor:
        width = x_BTND.shape[3]
        taps = x_BTND.new_zeros((TAPS, width)) if self.taps is None else self.taps.weight
        return self.out(attend_over_time(self.qkv(self.norm(x_BTND)), taps, self.heads, lengths_B))


class _Block(nn.Module):
    """x + space(x), then x + time(x), then x + feed-forward(x)."""

    def __init__(self, width: int, heads: int, temporal: Temporal):
        super().__init__()
        self.space = _InSpace(width, heads)
        self.time = None if temporal == "none" else _InTime(width, heads, temporal == "attention-convolution")
        self.norm = RmsNorm(width)
        self.mixer = Mixer(width, "gelu")

    def forward(self, x_BTND: Tensor, lengths_B: Tensor | None) -> Tensor:
        x_BTND = x_BTND + self.space(x_BTND)
        if self.time is not None:
            x_BTND = x_BTND + self.time(x_BTND, lengths_B)
        return x_BTND + self.mixer(self.norm(x_BTND))


class VideoEncoder(nn.Module):
    """Pixels [B, T, channels, S, S] to class scores [B, C]: the mean over real frames and places, without order."""

    def __init__(
        self,
        *,
        channels: int,
        frames: int,
        num_places: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        temporal: Temporal,
        num_classes: int,
    ):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch, bias=False)
        self.places = nn.Embedding(num_places, width)
        self.frames = None if temporal == "none" else nn.Embedding(frames, width)
        self.blocks = nn.ModuleList(_Block(width, heads, temporal) for _ in range(depth))
        self.norm = RmsNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, pixels_BTCHW: Tensor, keys_BT: Tensor | None = None) -> Tensor:
        """`keys_BT` bool: the real frames, the first ones of each clip; what the others hold changes nothing."""
        batch, frames = pixels_BTCHW.shape[:2]
        x_BTND = self.patches(pixels_BTCHW.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (batch, frames))
        x_BTND = x_BTND + self.places.weight
        if self.frames is not None:
            x_BTND = x_BTND + self.frames.weight[:frames, None]
        lengths_B = None if keys_BT is None else keys_BT.sum(dim=1, dtype=torch.int32)
        for block in self.blocks:
            x_BTND = block(x_BTND, lengths_B)
        means_BTD = self.norm(x_BTND).float().mean(dim=2)
        if keys_BT is None:
            return self.head(means_BTD.mean(dim=1))
        real_BT1 = keys_BT[:, :, None].to(means_BTD.dtype)
        return self.head((means_BTD * real_BT1).sum(dim=1) / real_BT1.sum(dim=1))
