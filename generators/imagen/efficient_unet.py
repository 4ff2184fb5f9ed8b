"""The super-resolution networks, 64→256 and 256→1024 (section 2.5, appendices B.1, F.2 and F.3): the Efficient U-Net.

Three changes make it fast: most blocks stand at low resolution; skips are scaled by 1/√2; and the resolution changes
before the convolutions on the way down, and after them on the way up.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from drawbench.generators.imagen.config import Block, EfficientUNetConfig
from drawbench.generators.imagen.layers import (
    Conditioning,
    CrossAttention,
    KeysValues,
    ResBlock,
    SelfAttention,
    Text,
    TextMemory,
    norm,
    run,
    text_pool,
    zeroed,
)


class Blocks(nn.Module):
    """Residual blocks at one resolution, then attention where the block has it (figures A.28 and A.29).

    Attention is twice as wide inside as its channels, as the figures print; that this holds of the attention to text alone
    too is not in the paper.
    """

    def __init__(self, channels: int, block: Block, config: EfficientUNetConfig) -> None:
        super().__init__()
        widths = [channels, *[block.channels] * (block.res_blocks - 1)]
        self.blocks = nn.ModuleList(ResBlock(width, block.channels, config.embedding_dim) for width in widths)
        sequence = config.text_conditioning == "sequence"
        text_dim = config.text_dim if sequence else None
        width, hidden = block.channels, 2 * block.channels
        self.attention = SelfAttention(width, hidden, config.heads, text_dim) if block.self_attention else None
        crosses = block.cross_attention and sequence
        self.cross_attention = CrossAttention(width, hidden, config.heads, config.text_dim) if crosses else None

    def read(self, text: Text) -> KeysValues | None:
        """Returns the text as the attention here sees it."""
        attends = self.attention or self.cross_attention
        return None if attends is None else attends.read(text)

    def forward(self, x: Tensor, embedding: Tensor, text: KeysValues | None, text_mask: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        if self.attention is not None:
            x = self.attention(x, text, text_mask)
        if self.cross_attention is not None and text is not None:
            x = self.cross_attention(x, text, text_mask)
        return x


class EfficientUNet(nn.Module):
    """Predicts ε of a large image from z, time, the text, and the augmented low-resolution image with its aug level.

    Not in the paper, or not legible in its figures: the low-resolution image ``(B, 3, h, w)`` is noised at its own size,
    then enlarged bilinearly and joined to z's channels; skips are joined, not added; resolution grows by nearest neighbours
    and a convolution; and the first convolution's output skips to the last, since the noise to be predicted has the full
    resolution, which nothing else carries there.
    """

    def __init__(self, config: EfficientUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        """Gradient checkpointing: True spends time to save memory in training."""
        widths = [block.channels for block in config.blocks]
        pool = text_pool(config.text_conditioning, config.text_dim, config.embedding_dim)
        self.conditioning = Conditioning(widths[0], config.embedding_dim, pool, aug_level=True)
        self.first = nn.Conv2d(6, widths[0], 3, padding=1)
        shallower = [widths[0], *widths[:-1]]
        self.halve = nn.ModuleList(
            nn.Conv2d(before, own, 3, stride=2, padding=1) for before, own in zip(shallower, widths, strict=True)
        )
        self.down = nn.ModuleList(Blocks(block.channels, block, config) for block in config.blocks)
        joined = [2 * width for width in widths[:-1]] + widths[-1:]  # The deepest has no skip: it would be its own.
        self.up = nn.ModuleList(
            Blocks(width, block, config) for width, block in zip(joined, config.blocks, strict=True)
        )
        self.enlarge = nn.ModuleList(
            nn.Conv2d(own, before, 3, padding=1) for before, own in zip(shallower, widths, strict=True)
        )
        self.last = nn.Sequential(norm(2 * widths[0]), nn.SiLU(), zeroed(nn.Conv2d(2 * widths[0], 3, 3, padding=1)))

    def read(self, text: Text) -> TextMemory:
        """Returns the text as this network sees it, for `forward`."""
        pooled = self.conditioning.read(text)
        return TextMemory(text.mask, pooled, tuple(part.read(text) for part in (*self.down, *self.up)))

    def forward(
        self, z: Tensor, t: Tensor, text: Text | TextMemory | None, low_res: Tensor, aug_level: Tensor
    ) -> Tensor:
        memory = self.read(text) if isinstance(text, Text) else text
        embedding = self.conditioning(t, memory.pooled if memory else None, aug_level)
        mask, depth = memory.mask if memory else None, len(self.down)
        seen = memory.layers if memory else [None] * (2 * depth)
        enlarged = functional.interpolate(low_res, z.shape[-2:], mode="bilinear", align_corners=False)
        x = first = self.first(torch.cat([z, enlarged.to(z.dtype)], 1))
        skips = []
        for number in range(depth):
            x = run(self.down[number], self.recompute, self.halve[number](x), embedding, seen[number], mask)
            skips.append(x)
        skips.pop()
        for number in reversed(range(depth)):
            if number < depth - 1:
                x = torch.cat([x, skips.pop() / math.sqrt(2)], 1)
            x = run(self.up[number], self.recompute, x, embedding, seen[depth + number], mask)
            x = self.enlarge[number](functional.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(torch.cat([x, first / math.sqrt(2)], 1))
