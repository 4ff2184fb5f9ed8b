"""FD: the Fréchet distance of a run's images from a reference, on CLIP's image embeddings.

Not FID, whose features are Inception's and whose name stays with it: numbers of different networks cannot be compared, so
the network stands in the protocol.
"""

from __future__ import annotations

from pathlib import Path

from drawbench.errors import UserError
from drawbench.metrics.clip import load_clip
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.reference import find_reference, read_reference
from drawbench.shapes.shipped import SHAPES, shipped


def fd(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    reference: str | None = None,
    model: str = SHAPES,
    tag: str | None = None,
    weights: Path | None = None,
) -> FrechetDistance:
    """The Fréchet distance from a reference set, on CLIP's unit-length image embeddings.

    ``reference`` is a folder of images, a run, a statistics file, or ``shapes``: 5,000 pictures of the shapes world with
    held-out captions, which ship and are the default for the model ``shapes``. ``model``, ``tag`` and ``weights`` as of
    clip_score.

    Raises:
        UserError: no reference, or statistics of another network.
    """
    if reference is None and model != SHAPES:
        raise UserError(f"fd.model={model} needs a reference: --reference DIR|RUN|STATS.npz")
    clip = load_clip("fd", model, tag, weights, device, dtype)
    fields = {**clip.fields, "layer": "image embedding, unit length"}
    if (reference or SHAPES) == SHAPES:
        found = read_reference(shipped("reference") / "shapes.npz", clip.key, "fd")
    else:
        found = find_reference(str(reference), clip, "fd")
    return FrechetDistance("fd", clip, fields, found)
