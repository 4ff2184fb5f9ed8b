"""The parts that both networks are made of: residual blocks, attention with text, pooling, embeddings.

Text comes as ``Text``: embeddings ``(B, L, D)`` and a mask ``(B, L)``, true where there is a token. Null text is one
all-zero token whose mask is true.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class Text(NamedTuple):
    """What the text encoder says of a batch of prompts."""

    embeddings: Tensor
    """``(B, L, D)``."""
    mask: Tensor
    """``(B, L)`` bool: true where there is a token."""


class KeysValues(NamedTuple):
    """A text as one attention layer sees it: ``(B, heads, L, width of a head)`` each."""

    keys: Tensor
    values: Tensor


class TextMemory(NamedTuple):
    """A text as one network sees it. It does not depend on the image, so sampling makes it once and not at every step."""

    mask: Tensor
    """``(B, L)`` bool."""
    pooled: Tensor | None
    """``(B, dim)``: added to the embedding of time; None where nothing pools."""
    layers: tuple[KeysValues | None, ...]
    """By part of the network, from the first to the last; None where no attention stands."""


def null_text(batch: int, dim: int, device: torch.device | str, dtype: torch.dtype) -> Text:
    """Returns the text of no text: the paper zeroes the embeddings (section 4.1).

    One token, with a true mask: a mask that is false everywhere makes attention NaN, and the prompt's own mask would
    tell its length.
    """
    return Text(
        torch.zeros(batch, 1, dim, device=device, dtype=dtype), torch.ones(batch, 1, device=device, dtype=torch.bool)
    )


def zeroed(module: nn.Module) -> nn.Module:
    """Returns a module whose parameters are zero: the last one of a residual branch, so that it starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class VectorLinear(nn.Linear):
    """A linear layer on ``(B, C)`` in which, when sampling, a row's result does not depend on its place in the batch.

    On a CPU, BLAS sums the last rows of a small batch in another order (measured with MKL at 5 to 7 and 9 to 11 rows), so
    batches are filled to a multiple of 16 rows. Convolutions and longer sequences were not seen to do this.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.device.type != "cpu":
            return super().forward(x)
        return super().forward(functional.pad(x, (0, 0, 0, -len(x) % 16)))[: len(x)]


def norm(channels: int) -> nn.GroupNorm:
    """Returns group normalisation in 32 groups, or as many as divide a small number of channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


class SinusoidalEmbedding(nn.Module):
    """Maps numbers in [0, 1] (a time, an aug level), ``(B,)``, to ``(B, dim)`` by sines of 1000·t and two linear layers.

    As Dhariwal & Nichol 2021 embed their 1000 steps; what the paper embeds of its continuous time is not in it.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.features = features
        self.first, self.second = VectorLinear(features, dim), VectorLinear(dim, dim)

    def forward(self, value: Tensor) -> Tensor:
        half = self.features // 2
        frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, device=value.device, dtype=torch.float32))
        angles = 1000 * value.float()[:, None] * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], 1)
        return self.second(functional.silu(self.first(waves.to(self.first.weight.dtype))))


class MeanPool(nn.Module):
    """Maps text to ``(B, dim)`` by the mean of its tokens."""

    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.norm, self.out = nn.LayerNorm(text_dim), VectorLinear(text_dim, dim)

    def forward(self, text: Text) -> Tensor:
        weights = text.mask[..., None].to(text.embeddings.dtype)
        return self.out((self.norm(text.embeddings) * weights).sum(1) / weights.sum(1))


class AttentionPool(nn.Module):
    """Maps text to ``(B, dim)`` by attention over its tokens (``feature_pooling_type``, F.1).

    One learned query and 8 heads: not in the paper.
    """

    def __init__(self, text_dim: int, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(text_dim)
        self.query = nn.Parameter(torch.randn(dim) / math.sqrt(dim))
        self.text_kv = nn.Linear(text_dim, 2 * dim)
        self.out = VectorLinear(dim, dim)

    def forward(self, text: Text) -> Tensor:
        keys, values = keys_values(self.text_kv(self.norm(text.embeddings)), self.heads)
        # Written out, for one query is a matrix-vector product, whose rounding depends on where in memory it lies.
        query = self.query.unflatten(0, (self.heads, 1, -1))
        scores = (query * keys).sum(-1) / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(~text.mask[:, None], -math.inf).softmax(-1)
        return self.out((weights[..., None] * values).sum(2).flatten(1))


def keys_values(both: Tensor, heads: int) -> KeysValues:
    """Returns keys and values of ``(B, L, 2·C)``, split into heads."""
    keys, values = both.chunk(2, -1)
    return KeysValues(split_heads(keys, heads), split_heads(values, heads))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``(B, L, C)`` → ``(B, heads, L, C / heads)``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class SelfAttention(nn.Module):
    """Self-attention over pixels with the text's keys and values beside their own (appendix D.3.1).

    ``hidden`` is the width of all heads together.
    """

    def __init__(self, channels: int, hidden: int, heads: int, text_dim: int | None) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = nn.Linear(channels, 3 * hidden)
        self.text_norm = nn.LayerNorm(text_dim) if text_dim else None
        self.text_kv = nn.Linear(text_dim, 2 * hidden) if text_dim else None
        self.out = zeroed(nn.Linear(hidden, channels))

    def read(self, text: Text) -> KeysValues | None:
        """Returns the text's keys and values, or None where this layer takes no text."""
        if self.text_kv is None or self.text_norm is None:
            return None
        return keys_values(self.text_kv(self.text_norm(text.embeddings)), self.heads)

    def forward(self, x: Tensor, text: KeysValues | None, text_mask: Tensor | None) -> Tensor:
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        query, keys, values = (split_heads(part, self.heads) for part in self.qkv(pixels).chunk(3, -1))
        mask = None
        if text is not None and text_mask is not None:
            keys, values = torch.cat([text.keys, keys], 2), torch.cat([text.values, values], 2)
            mask = functional.pad(text_mask, (0, pixels.shape[1]), value=True)[:, None, None]
        seen = functional.scaled_dot_product_attention(query, keys, values, mask)
        return x + self.out(seen.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class CrossAttention(nn.Module):
    """Attention of pixels to the text alone, where there is no self-attention to join (256→1024, appendix D.3.1)."""

    def __init__(self, channels: int, hidden: int, heads: int, text_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.text_norm = norm(channels), nn.LayerNorm(text_dim)
        self.query, self.text_kv = nn.Linear(channels, hidden), nn.Linear(text_dim, 2 * hidden)
        self.out = zeroed(nn.Linear(hidden, channels))

    def read(self, text: Text) -> KeysValues:
        """Returns the text's keys and values."""
        return keys_values(self.text_kv(self.text_norm(text.embeddings)), self.heads)

    def forward(self, x: Tensor, text: KeysValues, text_mask: Tensor) -> Tensor:
        query = split_heads(self.query(self.norm(x).flatten(2).transpose(1, 2)), self.heads)
        seen = functional.scaled_dot_product_attention(query, text.keys, text.values, text_mask[:, None, None])
        return x + self.out(seen.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class ResBlock(nn.Module):
    """Norm, swish, 3×3 convolution, twice; the embedding scales and shifts the second norm (``use_scale_shift_norm``).

    In the efficient network too every block takes the embedding so, where its figures combine it once per resolution.

    ``resample`` changes the resolution between first norm and first convolution, and on the shortcut, as in BigGAN.
    """

    def __init__(self, channels: int, out_channels: int, embedding_dim: int, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, out_channels, 3, padding=1)
        self.scale_shift = VectorLinear(embedding_dim, 2 * out_channels)
        self.norm2, self.conv2 = norm(out_channels), zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(self.resample(functional.silu(self.norm1(x))))
        scale, shift = self.scale_shift(functional.silu(embedding))[..., None, None].chunk(2, 1)
        h = self.norm2(h) * (1 + scale) + shift
        return self.shortcut(self.resample(x)) + self.conv2(functional.silu(h))


class Conditioning(nn.Module):
    """Makes one embedding of time, pooled text and, for super-resolution, the aug level (section 2.5)."""

    def __init__(self, features: int, dim: int, pool: nn.Module | None, aug_level: bool) -> None:
        super().__init__()
        self.time = SinusoidalEmbedding(features, dim)
        self.aug_level = SinusoidalEmbedding(features, dim) if aug_level else None
        self.pool = pool

    def read(self, text: Text) -> Tensor | None:
        """Returns the pooled text, or None where nothing pools."""
        return None if self.pool is None else self.pool(text)

    def forward(self, t: Tensor, pooled: Tensor | None, aug_level: Tensor | None) -> Tensor:
        embedding: Tensor = self.time(t)
        if self.aug_level is not None and aug_level is not None:
            embedding = embedding + self.aug_level(aug_level)
        return embedding if pooled is None else embedding + pooled


def run(layer: nn.Module, recompute: bool, *given: Tensor | KeysValues | None) -> Tensor:
    """Calls a part of a network; with ``recompute`` its activations are not kept for the backward pass but made again."""
    if recompute and torch.is_grad_enabled():
        made: Tensor = checkpoint(layer, *given, use_reentrant=False)
        return made
    return layer(*given)


def text_pool(kind: str, text_dim: int, dim: int) -> nn.Module | None:
    """Returns what pools the text: attention also beside the whole sequence, the mean, or nothing."""
    if kind == "none":
        return None
    return MeanPool(text_dim, dim) if kind == "mean_pool" else AttentionPool(text_dim, dim)
