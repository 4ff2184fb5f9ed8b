"""Pictures of how far a training is: drawn from the averaged weights, with seeds that stay the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from drawbench.generators.imagen.cascade import NoiseOf, Sampling, sample_stage
from drawbench.generators.imagen.data import Batch, Samples, join, take
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.training import Trainer

SAMPLING = Sampling(steps=32, guidance_weight=3.0, sampler="dpm++2m")
COLUMNS = 8
MARGIN = 2


def first_samples(samples: Samples, count: int = COLUMNS) -> Batch | None:
    """Returns the first good samples of the data, of captions that differ, looking at no more than a hundred."""
    good: list[Batch] = []
    for position in range(100):
        found = samples[position]
        if isinstance(found, Batch) and not (samples.captioned and found.captions in {one.captions for one in good}):
            good.append(found)
        if len(good) == count:
            break
    return take(join(good), 0, count) if good else None


@torch.no_grad()
def draw_grid(trainer: Trainer, batch: Batch, text: Text | None) -> Tensor:
    """Returns rows of pictures, ``(3, H, W)`` in [-1, 1] on the CPU: what was drawn; under it the true images.

    Of super-resolution the low-resolution images, enlarged, come first.
    """
    stage, network = trainer.stage, trainer.network
    noise = NoiseOf(list(range(len(batch.positions))))
    with trainer.ema.applied(network), torch.compiler.set_stance("force_eager"):
        network.eval()
        low_res = None if batch.low_res is None else batch.low_res.to(trainer.device)
        size = tuple(batch.images.shape[-2:])
        drawn = sample_stage(stage, network, SAMPLING, text, low_res, noise, trainer.device, size).cpu()
        network.train()
    rows = [drawn.clamp(-1, 1), batch.images]
    if batch.low_res is not None:
        rows.insert(0, functional.interpolate(batch.low_res, batch.images.shape[-2:], mode="nearest"))
    return torch.cat([_row(images) for images in rows], 1)


def _row(images: Tensor) -> Tensor:
    framed = functional.pad(images, (MARGIN, MARGIN, MARGIN, MARGIN), value=1.0)
    return torch.cat(list(framed), 2)
