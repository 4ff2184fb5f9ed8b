"""The example among the instructions: two drawn pictures, one as its caption says and one with faults that are named."""

from __future__ import annotations

import base64
import io
from functools import cache
from random import Random

import numpy as np
import PIL.Image
from markupsafe import Markup

from drawbench.human_eval.design import Design
from drawbench.shapes.layout import arrange
from drawbench.shapes.renderer import render
from drawbench.shapes.scene import Relation, Scene, Thing

CAPTION = "A red circle left of a blue square."
_SAID = Scene((Thing("circle", "red"), Thing("square", "blue")), (Relation("left of", 0, 1),), "light")
_SWAPPED = Scene((Thing("circle", "blue"), Thing("square", "red")), (Relation("left of", 0, 1),), "light")
SIDE = 176


def example(design: Design) -> str:
    """Returns the example as HTML. It tells how to look, and not which answer to give: the questions may be anybody's."""
    with_caption = [screen.shows_caption for screen in design.screens]
    says = (
        "The left picture shows what the caption says. In the right one the colours are swapped: it does not show what the "
        "caption says, however good it looks. It also has a fault as an image, whatever the caption: it is blotched."
        if any(with_caption)
        else "The left picture is clean. The right one is blotched, which is a fault."
    )
    if not all(with_caption) and any(with_caption):
        says += " Some questions come without a caption: then only the images themselves count."
    caption = Markup("<p><strong>{}</strong></p>").format(CAPTION) if any(with_caption) else ""
    pictures = Markup("").join(
        Markup(
            '<img width="{0}" height="{0}" alt="{1}" src="data:image/png;base64,{2}" style="margin-right: 22px">'
        ).format(SIDE, alt, picture)
        for alt, picture in zip(("Example, left", "Example, right"), _pictures(any(with_caption)), strict=True)
    )
    return str(Markup("{}<div>{}</div><p>{}</p>").format(caption, pictures, says))


@cache
def _pictures(swapped: bool) -> tuple[str, str]:
    good = render(arrange(_SAID, Random(3)), SIDE)
    bad = render(arrange(_SWAPPED if swapped else _SAID, Random(3)), SIDE).astype(np.float64)
    blotches = np.random.default_rng(0).normal(0, 38, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1)
    return _encoded(good), _encoded(np.clip(bad + blotches, 0, 255).astype(np.uint8))


def _encoded(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
