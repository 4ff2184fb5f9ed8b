"""What the three networks are made of: presets from the paper's listings, and what the paper leaves open, named as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from drawbench.generators.imagen.schedule import ScheduleName

TextConditioning = Literal["sequence", "attention_pool", "mean_pool", "none"]
"""How the network sees the text (section 4.4, figure A.8): the paper's choice is the sequence, with the pooled text as well."""


@dataclass(frozen=True)
class UNetConfig:
    """The 64×64 network (appendix F.1; Dhariwal & Nichol 2021)."""

    image_size: int
    channels: int
    channel_mult: tuple[int, ...]
    res_blocks: int
    """Residual blocks per resolution; one more on the way up."""
    attention_resolutions: tuple[int, ...]
    """Where self-attention stands, and with it the text."""
    head_channels: int
    text_dim: int
    text_conditioning: TextConditioning = "sequence"

    @property
    def embedding_dim(self) -> int:
        """Of time and pooled text together: 4 × channels, as in Dhariwal & Nichol (not in the paper)."""
        return 4 * self.channels


@dataclass(frozen=True)
class Block:
    """One resolution of the efficient network: a DBlock on the way down and a UBlock on the way up."""

    channels: int
    res_blocks: int
    self_attention: bool = False
    """With the text among its keys and values."""
    cross_attention: bool = False
    """On the text alone; for networks without self-attention (appendix D.3.1)."""


@dataclass(frozen=True)
class EfficientUNetConfig:
    """A super-resolution network (appendices B.1, F.2, F.3). Every block halves the resolution."""

    image_size: int
    low_res_size: int
    blocks: tuple[Block, ...]
    heads: int
    text_dim: int
    text_conditioning: TextConditioning = "sequence"

    @property
    def embedding_dim(self) -> int:
        """Of time, aug level and pooled text together: 4 × the first block's channels (not in the paper)."""
        return 4 * self.blocks[0].channels


T5_XXL_DIM = 4096
"""Of T5-XXL's embeddings: v1.1, whose encoder's 4.63 B parameters are the paper's 4.6 B."""

PAPER_BASE = UNetConfig(64, 512, (1, 2, 3, 4), 3, (32, 16, 8), 64, T5_XXL_DIM)
PAPER_SR256 = EfficientUNetConfig(
    256, 64, (Block(128, 2), Block(256, 4), Block(512, 8), Block(1024, 8, self_attention=True)), 8, T5_XXL_DIM
)
PAPER_SR1024 = EfficientUNetConfig(
    1024, 256, (Block(128, 2), Block(256, 4), Block(512, 8), Block(1024, 8, cross_attention=True)), 8, T5_XXL_DIM
)


@dataclass(frozen=True)
class StageConfig:
    """One stage of a cascade: its network and the schedule that it was trained with."""

    name: str
    network: UNetConfig | EfficientUNetConfig
    schedule: ScheduleName
    """Cosine for base and 64→256, linear for 256→1024 (appendix F)."""


PAPER = (
    StageConfig("base", PAPER_BASE, "cosine"),
    StageConfig("sr256", PAPER_SR256, "cosine"),
    StageConfig("sr1024", PAPER_SR1024, "linear"),
)
"""The full size: 2.40 B, 0.49 B and 0.48 B parameters as counted from appendix F's listings (section 4.1: 2B, 600M, 400M)."""
