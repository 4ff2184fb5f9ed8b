"""A Fréchet distance of features in less than fp32, with what that moves beside it: measured on some of the run's own images."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drawbench.images import decode_rgb, read_unrotated
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.frechet import frechet, frechet_features
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.reference import Reference

DRIFT = "precision_drift"
SAMPLE = 128
"""Images of the run, and as many of the reference, that go through the network in both precisions."""


class FrechetWithDrift(FrechetDistance):
    """A Fréchet distance with one more output: by how much of itself the distance of a few images moves with the precision.

    ``in_fp32`` gives the networks of the images and of the reference in fp32, when they are needed.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        fields: Mapping[str, str],
        reference: Reference,
        of_reference: Network,
        in_fp32: Callable[[], Sequence[Network]],
        dtype: str,
        *,
        with_interval: bool = True,
    ) -> None:
        super().__init__(name, network, fields, reference, with_interval=with_interval)
        self.outputs = {**self.outputs, DRIFT: Output(higher_is_better=False, kind="set")}
        self._of_reference, self._in_fp32, self._dtype = of_reference, in_fp32, dtype

    def from_files(self, files: Sequence[Path]) -> Mapping[str, tuple[float | None, str]]:
        """Returns the drift on up to 128 images among these files, and on how many, and how far their features are off."""
        exact, exact_of_reference = self._in_fp32()
        images = list(_pictures(files))
        fast, slow = features(self.network, images), features(exact, images)
        whole = float(np.linalg.norm(slow))
        moved = float(np.linalg.norm(fast - slow)) / whole if whole else 0.0
        if self.reference.files is None:
            given = self.reference.factored
            values = [frechet(rows, given) for rows in (fast, slow)]
            beside = "the reference's statistics"
        else:
            photographs = list(_pictures(self.reference.files))
            given_fast, given_slow = (features(n, photographs) for n in (self._of_reference, exact_of_reference))
            values = [frechet_features(fast, given_fast), frechet_features(slow, given_slow)]
            beside = f"{len(photographs)} of the reference"
        said = f"measured on {len(images)} of the images and {beside}; features are {moved:.2%} off (root mean square)"
        if values[1] <= 0:
            return {DRIFT: (None, f"the distance in fp32 is {values[1]:.3g}: nothing to be relative to; {said}")}
        return {DRIFT: (abs(values[0] / values[1] - 1), said)}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Adds what the further number is."""
        both = (
            f"{DRIFT} is how far {self._dtype} moves the distance of up to {SAMPLE} of the images, as a part of it; of so few it "
            "is mostly bias, and moves more than that of all"
        )
        return [
            *super().remarks(prompts),
            both,
        ]


def features(network: Network, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Returns the ``(N, D)`` features of images ``(3, H, W)`` of any sizes."""
    import torch

    return np.concatenate([network(torch.from_numpy(image)[None]).numpy() for image in images])


def _pictures(files: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """Gives pictures ``(3, H, W)`` spread evenly over the files; of tars, their first."""
    places = list(dict.fromkeys(files))
    if tars := [file for file in places if file.suffix == ".tar"]:
        return islice(chain.from_iterable(map(_in_tar, tars)), SAMPLE)
    picked = np.unique(np.linspace(0, len(places) - 1, SAMPLE).round().astype(int))
    return (np.ascontiguousarray(np.asarray(read_unrotated(places[at])).transpose(2, 0, 1)) for at in picked)


def _in_tar(file: Path) -> Iterator[NDArray[np.uint8]]:
    with tarfile.open(file) as tar:
        for member in tar:
            if member.name.endswith(".png") and (data := tar.extractfile(member)) is not None:
                yield decode_rgb(data.read())
