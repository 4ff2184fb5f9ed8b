"""What the three networks are made of: presets from the paper's listings, and what the paper leaves open, named as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from drawbench.generators.imagen.schedule import ScheduleName

OutputName = Literal["eps", "v", "residual"]

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
    output: OutputName = "eps"
    """What the network's output is taken for: ε as in the paper; or v (`diffusion.eps_from_v`), from which ε̂ follows: with it a
    small network need not learn to copy the noise, which at low SNR is nearly all that it sees; or, of super-resolution, the
    `residual`, with which it need not learn to copy the small image either. The latter two are not in the paper."""


PAPER = (
    StageConfig("base", PAPER_BASE, "cosine"),
    StageConfig("sr256", PAPER_SR256, "cosine"),
    StageConfig("sr1024", PAPER_SR1024, "linear"),
)
"""The full size: 2.40 B, 0.49 B and 0.48 B parameters as counted from appendix F's listings (section 4.1: 2B, 600M, 400M)."""

SMALL = (
    StageConfig("base", UNetConfig(64, 192, (1, 2, 3, 4), 2, (32, 16, 8), 64, 1024), "cosine"),
    StageConfig(
        "sr256",
        EfficientUNetConfig(
            256, 64, (Block(64, 2), Block(128, 2), Block(256, 4), Block(512, 4, self_attention=True)), 8, 1024
        ),
        "cosine",
    ),
    StageConfig(
        "sr1024",
        EfficientUNetConfig(
            1024, 256, (Block(64, 2), Block(128, 2), Block(256, 4), Block(512, 4, cross_attention=True)), 8, 1024
        ),
        "linear",
    ),
)
"""The paper's shapes at a size that one GPU trains: 250 M, 66 M and 63 M parameters, with text from T5-v1.1-large."""

TINY = (
    StageConfig("base", UNetConfig(16, 32, (1, 2), 1, (8,), 16, 64), "cosine", "v"),
    StageConfig(
        "sr256", EfficientUNetConfig(32, 16, (Block(16, 1), Block(32, 2, self_attention=True)), 4, 64), "cosine", "v"
    ),
    StageConfig(
        "sr1024", EfficientUNetConfig(64, 32, (Block(16, 1), Block(32, 2, cross_attention=True)), 4, 64), "linear", "v"
    ),
)
"""For tests and trials on a CPU: 16→32→64 pixels. They predict v: after 400 steps of 8 images a super-resolution stage that
predicts ε still had four times the squared error of one that predicts v (.39 to .09), and made its own colours."""

SHAPES = (
    StageConfig("base", UNetConfig(16, 32, (1, 2, 4), 1, (8, 4), 32, 128), "cosine", "v"),
    StageConfig(
        "sr256",
        EfficientUNetConfig(32, 16, (Block(32, 1), Block(64, 2, self_attention=True)), 4, 128),
        "cosine",
        "residual",
    ),
    StageConfig(
        "sr1024",
        EfficientUNetConfig(64, 32, (Block(16, 1), Block(32, 1), Block(64, 2, cross_attention=True)), 4, 128),
        "cosine",
        "residual",
    ),
)
"""The cascade of the shapes world, which ships: 16→32→64 pixels, 3.5 M, 0.7 M and 0.6 M parameters. The base predicts v, the
super-resolution stages the residual: with v, after 128,000 and 80,000 images, they still had squared errors of .023 and .077 on
true small images, with which the checker found a fifth of the pictures right."""


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained (section 4.1, appendix F): all that moves its weights, but for the data."""

    steps: int = 2_500_000
    """Training ends here."""
    batch_size: int = 2048
    """Of all processes together."""
    optimizer: Literal["adafactor", "adam"] = "adam"
    """The paper's base has Adafactor, its super-resolution stages Adam, with which they did better."""
    learning_rate: float = 1e-4
    warmup: int = 10_000
    """Steps in which the learning rate rises linearly from 0."""
    decay_steps: int = 2_500_000
    """Where a cosine has taken the learning rate to 0; 0: it stays. The listings print ``end_value=2500000``, which is no
    learning rate; that 0 was meant is not in the paper."""
    ema: float = 0.9999
    """Of the weights that are sampled from. Not in the paper, which does not speak of averaging; 0.9999 as in unCLIP."""
    loss: OutputName = "eps"
    """The squared error in ε, unweighted (appendix A), or in v or the residual, for stages whose output that is. Not in the
    paper: in v the weight is 1/α², so that noisy times, where colours and places are decided, count more."""
    text_drop: float = 0.1
    """How often a text is replaced by null text, for classifier-free guidance."""
    crop: int | None = None
    """Train on square crops of this side; the low-resolution image is cropped at the same place."""
    dtype: Literal["fp32", "bf16"] = "bf16"
    """Of the arithmetic (autocast); weights, optimizer and EMA are fp32. Not in the paper."""
    seed: int = 0


@dataclass(frozen=True)
class TrainingPreset:
    """A cascade, how each of its stages is trained, and the text encoder that goes with it."""

    stages: tuple[StageConfig, ...]
    recipes: Mapping[str, Recipe]
    """By stage."""
    text_encoder: str | None
    """A name on the model hub; None: it must be given."""


_SMALL = Recipe(steps=500_000, batch_size=256, warmup=2_000, decay_steps=500_000)
_TINY = Recipe(1_500, 16, "adam", 2e-3, warmup=100, decay_steps=1_500, ema=0.99, loss="v", dtype="fp32")
_SHAPES = Recipe(21_000, 32, "adam", 1e-3, warmup=200, decay_steps=21_000, ema=0.999, loss="v")

PRESETS: Mapping[str, TrainingPreset] = {
    "PAPER": TrainingPreset(
        PAPER,
        {"base": Recipe(optimizer="adafactor"), "sr256": Recipe(), "sr1024": Recipe(crop=256)},
        "google/t5-v1_1-xxl",
    ),
    "SMALL": TrainingPreset(
        SMALL, {"base": _SMALL, "sr256": _SMALL, "sr1024": replace(_SMALL, crop=256)}, "google/t5-v1_1-large"
    ),
    "SHAPES": TrainingPreset(
        SHAPES,
        {
            "base": _SHAPES,
            "sr256": replace(_SHAPES, steps=12_500, decay_steps=12_500, loss="residual"),
            "sr1024": replace(_SHAPES, steps=2_000, decay_steps=2_000, loss="residual", crop=32),
        },
        None,
    ),
    "TINY": TrainingPreset(TINY, {"base": _TINY, "sr256": _TINY, "sr1024": replace(_TINY, crop=32)}, None),
}
"""``PAPER`` is section 4.1 and appendix F. The small ones train with Adam: Adafactor scales its step by the parameters' own
size, so a learning rate of 1e-4 hardly moves a network that has few steps. Their numbers are ours."""
