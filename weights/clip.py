"""Makes the shapes world's CLIP: a small ResNet and a small text transformer, trained on pictures and their captions.

Radford et al. 2021, with a second picture for each caption that shows the scene with one attribute altered: a negative
that stands beside the other pictures of the batch (Yuksekgonul et al. 2023 do so with captions). In open_clip's format.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from clip_probes import figures
from model_card import Card, size_of
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, normalize
from training import options, train

from drawbench.files import atomic, write_atomic
from drawbench.shapes.altering import altered
from drawbench.shapes.data import training_example
from drawbench.shapes.layout import arrange
from drawbench.shapes.renderer import render
from drawbench.torchvision_ops import declare_missing_ops

OUT = Path(__file__).parents[1] / "drawbench" / "shapes" / "weights" / "clip"
SIZE = 64
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 2, 2, 1], "width": 12, "head_width": 64},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 40, "heads": 4, "layers": 4},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"},
}
"""The vocabulary is open_clip's own, which needs no file; its rows decide the size, hence the width of 40."""


class Batch(NamedTuple):
    """B captions, their pictures, and as many altered ones."""

    images: Tensor
    """``(2B, 3, 64, 64)`` in [-1, 1]."""
    tokens: Tensor
    """``(B, 77)``."""
    alike: Tensor
    """``(B, 2B)`` bool: pictures of the caption's own scene, of which only one is its pair."""


def batches(seed: int, size: int, tokenizer: Any, first_step: int) -> Iterator[Batch]:
    """Yields the batches from a step on."""
    step = first_step
    while True:
        rng, generator = Random(f"{seed}/{step}"), torch.Generator().manual_seed(seed * 2**32 + step)
        examples = [training_example(step * size + number) for number in range(size)]
        wrong = [altered(example.captioned.scene, rng) for example in examples]
        pictures = [example.picture for example in examples] + [arrange(scene, rng) for scene in wrong]
        scenes = [example.captioned.scene for example in examples]
        images = np.stack([render(picture, SIZE) for picture in pictures])
        yield Batch(
            augmented(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1, generator),
            tokenizer([example.captioned.caption for example in examples]),
            torch.tensor([[scene == other for other in (*scenes, *wrong)] for scene in scenes]),
        )
        step += 1


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Returns pictures of which some are blurred, noisy, paler or stronger, as a generator's pictures are."""

    def share(of: float) -> Tensor:
        return (torch.rand(len(images), 1, 1, 1, generator=generator) < of).float()

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(images), 1, 1, 1, generator=generator)

    coarse = interpolate(avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    images = images + share(0.3) * between(0.3, 1.0) * (coarse - images)
    images = images * between(0.85, 1.1) + between(-0.08, 0.08)
    noise = torch.randn(images.shape, generator=generator)
    return (images + share(0.4) * between(0.0, 0.2) * noise).clamp(-1, 1)


def loss_of(model: Any, batch: Batch) -> Tensor:
    """Returns the contrastive loss: each caption among all pictures, each true picture among the captions."""
    size = len(batch.tokens)
    with torch.autocast("cpu", torch.bfloat16):
        images = model.encode_image(batch.images.contiguous(memory_format=torch.channels_last))
    logits = model.logit_scale.clamp(max=4.6).exp() * text_embeddings(model, batch.tokens) @ normalize(images.float()).T
    own = torch.eye(size, 2 * size, dtype=torch.bool)
    logits = logits.masked_fill(batch.alike & ~own, -torch.inf)
    target = torch.arange(size)
    return (cross_entropy(logits, target) + cross_entropy(logits[:, :size].T, target)) / 2


def text_embeddings(model: Any, tokens: Tensor, together: int = 32) -> Tensor:
    """Returns what ``model.encode_text`` returns, at unit length, without the padding behind short texts.

    The mask is causal and the last token is read, so padding is work without effect.
    """
    lengths = tokens.argmax(-1) + 1
    order = lengths.argsort()
    parts = []
    for rows in order.split(together):
        length = int(lengths[rows].max())
        hidden = model.token_embedding(tokens[rows, :length]) + model.positional_embedding[:length]
        hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
        parts.append(hidden[torch.arange(len(rows)), lengths[rows] - 1] @ model.text_projection)
    return normalize(torch.cat(parts)[order.argsort()])


def main() -> None:
    """Trains, or goes on, and writes weights and card."""
    arguments = options("clip", OUT, steps=1250, batch_size=128, learning_rate=2e-3).parse_args()
    declare_missing_ops()
    import open_clip

    model = new_model(arguments.seed)
    tokenizer = open_clip.SimpleTokenizer()
    seconds = train(
        model.train(),
        lambda step: batches(arguments.seed, arguments.batch_size, tokenizer, step),
        lambda batch: loss_of(model, batch),
        arguments,
        weight_decay=0.0,
    )
    _export(model, arguments, seconds)


def new_model(seed: int) -> Any:
    """Returns an untrained CLIP."""
    import open_clip

    torch.manual_seed(seed)
    model: Any = open_clip.CLIP(**CONFIG["model_cfg"])
    model.visual = model.visual.to(memory_format=torch.channels_last)  # Convolutions in bf16 take half the time so.
    return model


def _export(model: Any, arguments: argparse.Namespace, seconds: float) -> None:
    """Writes config, weights in fp16, and the card with the figures of what was written."""
    rows = model.token_embedding.weight.data
    never_read = (rows == new_model(arguments.seed).token_embedding.weight).all(-1)
    rows[never_read] = 0  # As good as their first random values, and small when packed.
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out / "open_clip_config.json", (json.dumps(CONFIG, indent=2) + "\n").encode())
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    weights = arguments.out / "open_clip_model.safetensors"
    with atomic(weights) as beside:
        save_file(tensors, beside)
    read = int((~never_read).sum())
    Card(
        title="CLIP of the shapes world",
        what=f"A small ResNet at {SIZE} x {SIZE} and a text transformer of four layers, in open_clip's format and with its "
        f"own tokenizer: {size_of(tensors)}, of which {rows.numel() / 1e6:.2f} M are the vocabulary's rows; "
        f"{read:,} of {len(rows):,} rows were read in training, the others are zero.",
        data="`drawbench.shapes.data.pair` at 64 pixels, endless and rendered anew: no held-out caption, combination or "
        "word. For each caption a second picture that is not its own, of the scene with one attribute altered; some of those "
        "show a held-out combination or word, which no caption names.",
        recipe="Contrastive loss (CLIP); each caption is told from all pictures of the batch and their altered ones. "
        f"AdamW, rate {arguments.learning_rate:g}, falling along a line over the last fifth, {arguments.steps:,} steps of "
        f"{arguments.batch_size} captions and {2 * arguments.batch_size} pictures; pictures in bf16 autocast; blur, "
        "noise, contrast and brightness of some are changed a little. Kept in fp16.",
        seed=arguments.seed,
        command="python weights/clip.py",
        seconds=seconds,
        figures=figures(arguments.out),
        weights=[weights],
    ).write(arguments.out / "CARD.md")
    print(f"{arguments.out}: {size_of(tensors)}", flush=True)


if __name__ == "__main__":
    main()
