"""Sanity of images: their size, and whether they are black, of one colour, or grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt, Scored
from drawbench.metrics.guard import check_images

if TYPE_CHECKING:
    from torch import Tensor


def image_stats(*, tolerance: int = 2) -> ImageStats:
    """Looks for images that show nothing. ``tolerance`` is in steps of 255: what JPEG does to a flat area."""
    if not 0 <= tolerance <= 255:
        raise UserError(f"image_stats.tolerance={tolerance}: give a number of grey steps from 0 to 255")
    return ImageStats(tolerance)


class ImageStats:
    """``constant``: no channel spans more than the tolerance. ``black``: no value is over it. ``greyscale``: R = G = B."""

    outputs: Mapping[str, Output] = {
        "constant": Output(higher_is_better=False, kind="rate", main=True),
        "black": Output(higher_is_better=False, kind="rate"),
        "greyscale": Output(higher_is_better=None, kind="rate"),
        "width": Output(higher_is_better=None, kind="mean"),
        "height": Output(higher_is_better=None, kind="mean"),
    }
    network: Network | None = None
    insensitive_to = ("channel order", "inversion", "noise", "blur")
    """It looks for images that show nothing, and these still show something."""

    def __init__(self, tolerance: int) -> None:
        self.tolerance = tolerance

    def protocol(self) -> Mapping[str, str]:
        return {"tolerance": f"{self.tolerance} of 255"}

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        check_images("image_stats", images)
        # The higher minus the lower never wraps around, so that bytes are enough.
        low, high = images.amin((2, 3)), images.amax((2, 3))
        constant = ((high - low) <= self.tolerance).all(1).numpy()
        black = (high <= self.tolerance).all(1).numpy()
        grey = ((images.amax(1) - images.amin(1)) <= self.tolerance).flatten(1).all(1).numpy()
        count, _, height, width = images.shape
        values = {
            "constant": constant.astype(np.float64),
            "black": black.astype(np.float64),
            "greyscale": grey.astype(np.float64),
            "width": np.full(count, float(width)),
            "height": np.full(count, float(height)),
        }
        problems = ["black image" if b else "constant image" if c else "" for b, c in zip(black, constant, strict=True)]
        return Scored(values, {"problem": problems})
