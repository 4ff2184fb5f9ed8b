"""Does an image of the shapes world show what its prompt says? It is read back and held against the prompt's scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from drawbench.interfaces import Network, Output, Prompt, Scored
from drawbench.metrics.guard import check_images
from drawbench.shapes.checker import ATTRIBUTES, check, checker_protocol
from drawbench.shapes.prompts import scene_of

if TYPE_CHECKING:
    from torch import Tensor


def shapes_accuracy() -> ShapesAccuracy:
    """Returns the metric; it needs no weights. It applies to the prompts of ``--prompts shapes``."""
    return ShapesAccuracy()


class ShapesAccuracy:
    """``correct``: the image shows all that its prompt promises and nothing besides. The others: one attribute each."""

    outputs: Mapping[str, Output] = {
        "correct": Output(higher_is_better=True, kind="rate", main=True),
        **{name: Output(higher_is_better=True, kind="rate") for name in ATTRIBUTES},
    }
    network: Network | None = None

    def protocol(self) -> Mapping[str, str]:
        return checker_protocol()

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        check_images("shapes_accuracy", images)
        values = {name: np.full(len(prompts), np.nan) for name in self.outputs}
        wrong = [""] * len(prompts)
        for number, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
            scene = scene_of(prompt)
            if scene is None:
                continue
            verdict = check(image.permute(1, 2, 0).numpy(), scene)
            values["correct"][number] = verdict.correct
            for name, right in verdict.attributes.items():
                if right is not None:
                    values[name][number] = right
            wrong[number] = verdict.reason
        return Scored(values, {"wrong": wrong})

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says how many prompts are not of the shapes world, and so have no value."""
        foreign = sum(scene_of(prompt) is None for prompt in prompts)
        return [f"{foreign} of {len(prompts)} prompts are not of the shapes world and have no value"] if foreign else []
