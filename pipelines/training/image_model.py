"""The image model: a small pre-activation residual network for anything from 8×8 grey digits up.

Knows pixels; nothing of files, recipes, losses or devices. Parameters are given their first values elsewhere.

Pre-activation residual blocks: He et al. 2016, arXiv 1603.05027. Channels are normalised in groups of 8 (Wu & He 2018,
arXiv 1803.08494) and not over the batch, so that the loss of a sample does not depend on which others came with it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GROUP", "ResidualNet", "num_stages"]

GROUP = 8


def num_stages(image_size: int) -> int:
    """Stages of a network for images of that many pixels a side: 2 for 8 and 16, 3 for 32, 4 for 64, 5 from 128."""
    return min(max(image_size.bit_length() - 3, 2), 5)


class _Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))); the first block of a later stage halves the side."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm_1 = nn.GroupNorm(inputs // GROUP, inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm_2 = nn.GroupNorm(outputs // GROUP, outputs)
        self.out = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        active = F.relu(self.norm_1(x_BCHW))
        kept = x_BCHW if self.shortcut is None else self.shortcut(active)
        return kept + self.out(F.relu(self.norm_2(self.conv(active))))


class ResidualNet(nn.Module):
    """Pixels [B, channels, S, S] to class scores [B, C]; `width` channels in the first stage, doubled in each next."""

    def __init__(self, *, channels: int, image_size: int, width: int, depth: int, num_classes: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks, inputs = [], width
        for stage in range(num_stages(image_size)):
            for index in range(depth):
                outputs = width * 2**stage
                blocks.append(_Residual(inputs, outputs, 2 if stage and not index else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.GroupNorm(inputs // GROUP, inputs)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        x_BCHW = self.stem(pixels_BCHW)
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return self.head(F.relu(self.norm(x_BCHW)).mean(dim=(2, 3)))
