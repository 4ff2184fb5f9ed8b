"""The cascade: text to 64×64, to 256×256, to 1024×1024, each stage conditioned on the text and on the stage before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from drawbench.errors import UserError
from drawbench.generators.imagen.augmentation import augment
from drawbench.generators.imagen.checkpoint import Network
from drawbench.generators.imagen.config import StageConfig
from drawbench.generators.imagen.diffusion import x0_from_eps, x0_from_v
from drawbench.generators.imagen.guidance import guide
from drawbench.generators.imagen.layers import Text, null_text
from drawbench.generators.imagen.residual import guess
from drawbench.generators.imagen.sampler import SamplerName, Step, sample
from drawbench.generators.imagen.thresholding import ThresholdingName, threshold


@dataclass(frozen=True)
class Sampling:
    """How one stage is sampled."""

    steps: int
    guidance_weight: float
    """Eq. 2: 1 is no guidance."""
    thresholding: ThresholdingName = "dynamic"
    percentile: float = 0.995
    """Of dynamic thresholding, as a fraction (figure A.10)."""
    sampler: SamplerName = "ddim"
    gamma: float = 0.3
    """Of the ancestral sampler; the paper gives no value."""
    aug_level: float = 0.0
    """Of super-resolution: how much noise the low-resolution image gets (0 is best for FID, 0.1 to 0.3 for looks; D.2)."""


class Output(NamedTuple):
    """What one stage made."""

    stage: str
    images: Tensor
    """``(B, 3, H, W)`` in [-1, 1], float32 on the CPU."""


class NoiseOf:
    """Fresh noise for a batch, each image's from its own CPU generator: the same for any batch, device or order."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, shape: tuple[int, ...], device: str) -> Tensor:
        """Returns standard normal noise ``(B, *shape)``, float32."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators]).to(device)


def run(
    stages: Sequence[StageConfig],
    networks: Callable[[StageConfig], Network],
    sampling: Mapping[str, Sampling],
    text: Text | None,
    noise: NoiseOf,
    device: str,
) -> Iterator[Output]:
    """Yields the output of each stage in turn. ``networks`` is asked for a stage's network when its turn comes.

    ``text`` is on the CPU; without it the networks are unconditional, and not guided.
    """
    before: Tensor | None = None
    for stage in stages:
        options = sampling[stage.name]
        with torch.no_grad():
            low_res = None
            if before is not None:
                level = torch.full((len(before),), options.aug_level)
                low_res = augment(before, noise(tuple(before.shape[1:]), "cpu"), level).to(device)
            # The network goes in by no name of ours: when the next is asked for, nothing here holds this one.
            before = sample_stage(stage, networks(stage), options, text, low_res, noise, device).cpu()
            if not torch.isfinite(before).all():
                raise UserError(
                    f"the stage {stage.name!r} gave values that are not finite: give --dtype bf16 or fp32, or another checkpoint"
                )
            before = before.clamp(-1, 1)
        yield Output(stage.name, before)


def sample_stage(
    stage: StageConfig,
    network: Network,
    options: Sampling,
    text: Text | None,
    low_res: Tensor | None,
    noise: NoiseOf,
    device: str,
    size: tuple[int, ...] | None = None,
) -> Tensor:
    """Returns what one stage makes, ``(B, 3, H, W)`` on the device, not clipped; ``size`` is its own where it is not given."""
    shape = (3, *(size or (stage.network.image_size, stage.network.image_size)))
    predict = guided(network, options.guidance_weight, text, low_res, options.aug_level, device)

    def denoise(z: Tensor, step: Step) -> Tensor:
        log_snr = torch.tensor(step.log_snr_t, dtype=torch.float64)
        # Guidance weights sum to 1, so that guiding v, or the residual, is guiding ε.
        predicted = predict(z, step.t)
        if stage.output == "residual" and low_res is not None:
            known = guess(z, log_snr, low_res.float(), torch.tensor(options.aug_level))
            x0 = known.mean + known.std * predicted
        else:
            x0 = (x0_from_eps if stage.output == "eps" else x0_from_v)(z, predicted, log_snr)
        return threshold(x0, options.thresholding, options.percentile)

    return sample(
        options.sampler,
        denoise,
        noise(shape, device),
        stage.schedule,
        options.steps,
        lambda: noise(shape, device),
        options.gamma,
    )


def guided(
    network: Network, weight: float, text: Text | None, low_res: Tensor | None, aug_level: float, device: str
) -> Callable[[Tensor, float], Tensor]:
    """Returns ε̂(z, t), or v̂, in float32, with both branches of the guidance in one pass; at weight 1 the conditional one alone.

    What the network makes of the text it makes here, once for all steps.
    """
    dtype = next(network.parameters()).dtype
    both = text is not None and weight != 1
    given = text if text is None else Text(text.embeddings.to(device, dtype), text.mask.to(device))
    if both and given is not None:
        given = with_null(given)
    with torch.no_grad():
        memory = None if given is None else network.read(given)
    copies = 2 if both else 1
    upscales = low_res is not None
    wide = low_res.to(dtype).repeat(copies, 1, 1, 1) if low_res is not None else None

    def predict(z: Tensor, t: float) -> Tensor:
        doubled = z.to(dtype).repeat(copies, 1, 1, 1)
        times = torch.full((len(doubled),), t, device=device)
        if upscales:
            levels = torch.full((len(doubled),), aug_level, device=device)
            eps = network(doubled, times, memory, wide, levels)
        else:
            eps = network(doubled, times, memory)
        if not both:
            return eps.float()
        conditional, unconditional = eps.float().chunk(2)
        return guide(conditional, unconditional, weight)

    return predict


def with_null(text: Text) -> Text:
    """Returns texts followed by as many null texts, padded to their length."""
    batch, length, dim = text.embeddings.shape
    null = null_text(batch, dim, text.embeddings.device, text.embeddings.dtype)
    embeddings = functional.pad(null.embeddings, (0, 0, 0, length - 1))
    return Text(
        torch.cat([text.embeddings, embeddings]), torch.cat([text.mask, functional.pad(null.mask, (0, length - 1))])
    )
