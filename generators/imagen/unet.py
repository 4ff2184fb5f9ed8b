"""The base network, 64×64 (section 2.5, appendix F.1): the U-Net of Dhariwal & Nichol 2021 with text in its attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drawbench.generators.imagen.config import UNetConfig
from drawbench.generators.imagen.layers import (
    Conditioning,
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


class Level(nn.Module):
    """A residual block and, where the resolution has it, attention."""

    def __init__(self, block: ResBlock, attention: SelfAttention | None = None) -> None:
        super().__init__()
        self.block, self.attention = block, attention
        self.enlarges = isinstance(block.resample, nn.Upsample)

    def read(self, text: Text) -> KeysValues | None:
        """Returns the text as the attention here sees it."""
        return None if self.attention is None else self.attention.read(text)

    def forward(
        self, x: Tensor, embedding: Tensor, text: KeysValues | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        x = self.block(x, embedding)
        return x if self.attention is None else self.attention(x, text, text_mask)


class UNet(nn.Module):
    """Predicts ε of a 64×64 image from z ``(B, 3, H, W)``, time ``(B,)`` in [0, 1] and the text."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        """Gradient checkpointing: True spends time to save memory in training."""
        width, dim = config.channels, config.embedding_dim
        sequence_dim = config.text_dim if config.text_conditioning == "sequence" else None

        def level(channels: int, out: int, size: int) -> Level:
            attends = size in config.attention_resolutions
            attention = SelfAttention(out, out, out // config.head_channels, sequence_dim) if attends else None
            return Level(ResBlock(channels, out, dim), attention)

        pool = text_pool(config.text_conditioning, config.text_dim, dim)
        self.conditioning = Conditioning(width, dim, pool, aug_level=False)
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()

        channels, size, skips = width, config.image_size, [width]
        for number, mult in enumerate(config.channel_mult):
            for _ in range(config.res_blocks):
                self.down.append(level(channels, width * mult, size))
                channels = width * mult
                skips.append(channels)
            if number < len(config.channel_mult) - 1:
                self.down.append(Level(ResBlock(channels, channels, dim, nn.AvgPool2d(2))))
                size //= 2
                skips.append(channels)
        middle = SelfAttention(channels, channels, channels // config.head_channels, sequence_dim)
        self.middle = nn.ModuleList(
            [Level(ResBlock(channels, channels, dim), middle), Level(ResBlock(channels, channels, dim))]
        )
        for number, mult in reversed(list(enumerate(config.channel_mult))):
            for _ in range(config.res_blocks + 1):
                self.up.append(level(channels + skips.pop(), width * mult, size))
                channels = width * mult
            if number:
                self.up.append(Level(ResBlock(channels, channels, dim, nn.Upsample(scale_factor=2, mode="nearest"))))
                size *= 2
        self.last = nn.Sequential(norm(channels), nn.SiLU(), zeroed(nn.Conv2d(channels, 3, 3, padding=1)))

    def read(self, text: Text) -> TextMemory:
        """Returns the text as this network sees it, for `forward`."""
        levels = (*self.down, *self.middle, *self.up)
        return TextMemory(text.mask, self.conditioning.read(text), tuple(level.read(text) for level in levels))

    def forward(self, z: Tensor, t: Tensor, text: Text | TextMemory | None = None) -> Tensor:
        memory = self.read(text) if isinstance(text, Text) else text
        embedding = self.conditioning(t, memory.pooled if memory else None, None)
        mask = memory.mask if memory else None
        seen = iter(memory.layers if memory else [None] * (len(self.down) + len(self.middle) + len(self.up)))
        x = self.first(z)
        skips = [x]
        for level in self.down:
            x = run(level, self.recompute, x, embedding, next(seen), mask)
            skips.append(x)
        for level in self.middle:
            x = run(level, self.recompute, x, embedding, next(seen), mask)
        for level in self.up:
            x = x if level.enlarges else torch.cat([x, skips.pop()], 1)
            x = run(level, self.recompute, x, embedding, next(seen), mask)
        return self.last(x)
