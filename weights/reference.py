"""Makes the statistics that ``fd`` compares with: CLIP's features of pictures with held-out captions, as moments."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from drawbench.files import write_atomic
from drawbench.metrics.clip import Clip
from drawbench.metrics.frechet import moments
from drawbench.metrics.reference import write_reference
from drawbench.progress import progress
from drawbench.shapes.data import held_out_pair
from drawbench.shapes.shipped import SHAPES, shipped

SIZE = 64
"""Pixels, as the shipped cascade draws."""


def main() -> None:
    """Renders, runs CLIP, and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, default=shipped("reference") / "shapes.npz")
    parser.add_argument("--images", type=int, default=5000)
    arguments = parser.parse_args()
    clip = Clip("fd", SHAPES, None, None, "cpu", "fp32")
    features = []
    with progress(arguments.images, unit=" images", label="reference") as bar:
        for first in range(0, arguments.images, 50):
            some = range(first, min(first + 50, arguments.images))
            pictures = np.stack([np.asarray(held_out_pair(index, SIZE)[0]) for index in some])
            features.append(clip(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy())
            bar.update(len(some))
    images = (
        f"the first {arguments.images} pictures of drawbench.shapes.data.held_out_pair, {SIZE} x {SIZE}: captions, "
        "combinations and words that training never shows, in DrawBench's proportions of categories"
    )
    write_reference(arguments.out, moments(np.concatenate(features)), clip.key, images)
    card = (
        "# Reference of the shapes world for fd\n\n"
        f"Mean and covariance of CLIP's unit-length image embeddings (the network in `../clip`) of {images}.\n\n"
        "Made by `python weights/reference.py`. Licence: Apache-2.0, as the project.\n"
    )
    write_atomic(arguments.out.with_name("CARD.md"), card.encode())
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
