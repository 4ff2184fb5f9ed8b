"""Draws what a prompt of the shapes world says, or, at a given rate, something else: the upper anchor, and a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from drawbench.errors import UserError
from drawbench.interfaces import Drawn, Item, Refused
from drawbench.shapes.altering import altered
from drawbench.shapes.layout import arrange
from drawbench.shapes.prompts import scene_of
from drawbench.shapes.renderer import VERSION, render
from drawbench.shapes.scene import to_json


def shapes_truth(*, size: int = 64, wrong_rate: float = 0.0) -> ShapesTruth:
    """Draws each prompt's scene at ``size`` x ``size``; at ``wrong_rate`` one with one promised attribute changed."""
    if not 16 <= size <= 4096:
        raise UserError(f"shapes_truth.size={size}: give a number of pixels from 16 to 4096")
    if not 0 <= wrong_rate <= 1:
        raise UserError(f"shapes_truth.wrong_rate={wrong_rate}: give a number from 0 to 1")
    return ShapesTruth(size, wrong_rate)


class ShapesTruth:
    """Renders scenes; the image's seed decides whether it is a wrong one, and every detail that the prompt leaves open."""

    pads = False

    def __init__(self, size: int, wrong_rate: float) -> None:
        self.size, self.wrong_rate = size, wrong_rate

    def fingerprint(self) -> Mapping[str, str]:
        return {"renderer": VERSION}

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        return [self._draw(item) for item in items]

    def _draw(self, item: Item) -> Drawn:
        import PIL.Image

        scene = scene_of(item.prompt)
        if scene is None:
            raise UserError(
                f"shapes_truth knows no scene for prompt {item.prompt.id}; it draws only the prompts of --prompts shapes"
            )
        rng = Random(item.seed)
        is_wrong = rng.random() < self.wrong_rate
        if is_wrong:
            scene = altered(scene, rng)
        image = PIL.Image.fromarray(render(arrange(scene, rng), self.size))
        return Drawn(image, facts={"altered": int(is_wrong), "drawn_scene": to_json(scene)})
