"""How well a CLIP tells a caption's own picture of the shapes world from others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawbench.interfaces import Prompt
from drawbench.metrics.clip_score import ClipScore, clip_score
from drawbench.prompts import DRAWBENCH_COUNTS
from drawbench.shapes.altering import altered
from drawbench.shapes.data import is_held_out_caption
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.layout import arrange
from drawbench.shapes.renderer import render
from drawbench.shapes.sampling import Captioned

SIZE = 64


def figures(folder: Path, count: int = 200) -> list[str]:
    """Returns a table of how often the true pair scores higher, on ``count`` held-out captions of each category."""
    metric = clip_score(model=str(folder))
    intro = (
        f"How often a true pair scores higher than a false one; {count} captions of each category, none of them shown "
        "in training. The last row weighs the categories as DrawBench does; `rough` pictures are blurred and noisy."
    )
    rows = [
        intro,
        "",
        "| category | than with one attribute altered | rough | than with another caption | rough |",
        "|---|---|---|---|---|",
    ]
    rates = {category: np.array(_rates(metric, category, count)) for category in CATEGORIES}
    rows += [f"| {category} | {' | '.join(f'{rate:.3f}' for rate in of)} |" for category, of in rates.items()]
    overall = sum(rates[category] * number for category, number in DRAWBENCH_COUNTS.items()) / 200
    return [*rows, f"| **all** | {' | '.join(f'**{rate:.3f}**' for rate in np.atleast_1d(overall))} |"]


def _rates(metric: ClipScore, category: str, count: int) -> list[float]:
    """Returns the share of captions whose true picture scores higher than an altered one, and than another caption with it."""
    rng = Random(f"clip probes/{category}")
    chosen = _held_out(category, count, rng)
    true = [arrange(captioned.scene, rng) for captioned in chosen]
    false = [arrange(altered(captioned.scene, rng), rng) for captioned in chosen]
    others = [_other(captioned, rng) for captioned in chosen]
    images, near = (_images([render(picture, SIZE) for picture in drawn]) for drawn in (true, false))
    rates = []
    for change in (_smooth, _rough):
        own = _cosines(metric, change(images), chosen)
        rates += [own > _cosines(metric, change(near), chosen), own > _cosines(metric, change(images), others)]
    return [float(rates[at].mean()) for at in (0, 2, 1, 3)]


def _held_out(category: str, count: int, rng: Random) -> list[Captioned]:
    found: list[Captioned] = []
    while len(found) < count:
        captioned = CATEGORIES[category](rng)
        if is_held_out_caption(captioned.caption):
            found.append(captioned)
    return found


def _other(captioned: Captioned, rng: Random) -> Captioned:
    """Returns a held-out caption of another scene, of any category in DrawBench's proportions."""
    categories, counts = zip(*DRAWBENCH_COUNTS.items(), strict=True)
    while True:
        (other,) = _held_out(rng.choices(categories, counts)[0], 1, rng)
        if other.scene != captioned.scene:
            return other


def _images(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _smooth(images: Tensor) -> Tensor:
    return images


def _rough(images: Tensor) -> Tensor:
    """Returns pictures as a weak generator draws them: blurred over two pixels, with noise of a standard deviation of 0.05."""
    blurred = torch.nn.functional.avg_pool2d(images.float() / 255, 3, stride=1, padding=1, count_include_pad=False)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return ((blurred + 0.05 * noise).clamp(0, 1) * 255).round().byte()


def _cosines(metric: ClipScore, images: Tensor, captions: Sequence[Captioned]) -> NDArray[np.float64]:
    prompts = [Prompt(str(number), captioned.caption, "", {}) for number, captioned in enumerate(captions)]
    return metric.score(images, metric.network(images), prompts).values["cosine"]
