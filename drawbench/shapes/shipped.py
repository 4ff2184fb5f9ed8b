"""The shapes world's trained weights, which ship with the package and go by one name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

SHAPES = "shapes"
"""Their name wherever weights are asked for: a checkpoint, a text encoder, a CLIP. A folder of that name is ``./shapes``."""


def shipped(what: Literal["text", "clip", "imagen", "reference", "silhouette"]) -> Path:
    """Returns the folder of some of them."""
    return Path(__file__).parent / "weights" / what
