"""FD: the Fréchet distance of a run's images from a reference, on CLIP's image embeddings.

Not FID, whose features are Inception's and whose name stays with it: numbers of different networks cannot be compared, so
the network stands in the protocol.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.interfaces import Output, Prompt
from drawbench.metrics.clip import Clip
from drawbench.metrics.frechet import Moments, frechet, without_groups
from drawbench.shapes.shipped import SHAPES, shipped


class Reference(NamedTuple):
    """A statistics file: what images the moments are of, and of which network's features."""

    moments: Moments
    network: str
    """The network's key."""
    images: str
    """What they are, in words."""
    sha256: str


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

    ``reference`` is a statistics file, or ``shapes``: 5,000 pictures of the shapes world with held-out captions, which
    ship and are the default for the model ``shapes``. ``model``, ``tag`` and ``weights`` as of clip_score.

    Raises:
        UserError: no reference, or statistics of another network.
    """
    if reference is None and model != SHAPES:
        raise UserError(f"fd.model={model} needs a reference: --reference STATS.npz, statistics of this network")
    clip = Clip("fd", model, tag, weights, device, dtype)
    name = reference or SHAPES
    file = shipped("reference") / "shapes.npz" if name == SHAPES else Path(name).expanduser()
    return FrechetDistance(clip, read_reference(file, clip.key))


class FrechetDistance:
    """``fd``, 0 for equal moments. It is biased upwards at small n, so values of different n are not compared."""

    least = 2
    """One image has no covariance."""
    outputs: Mapping[str, Output] = {"fd": Output(higher_is_better=False, kind="set", main=True)}

    def __init__(self, network: Clip, reference: Reference) -> None:
        self.network, self.reference = network, reference

    def protocol(self) -> Mapping[str, str]:
        """Returns what can move the number."""
        return {
            **self.network.fields,
            "layer": "image embedding, unit length",
            "reference": self.reference.images,
            "reference n": str(self.reference.moments.n),
            "reference sha256": self.reference.sha256,
        }

    def compute(self, features: NDArray[np.float32]) -> Mapping[str, float]:
        """Returns the distance of ``(N, D)`` features, N at least 2."""
        return {"fd": frechet(features, self.reference.moments)}

    def leave_out(self, features: NDArray[np.float32], groups: NDArray[np.int64]) -> Mapping[str, NDArray[np.float64]]:
        """Returns the distances without each of the groups in turn."""
        return {"fd": without_groups(features, groups, self.reference.moments)}

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says that few images make a large distance."""
        d = len(self.reference.moments.mean)
        if len(prompts) >= 20 * d:
            return []
        return [
            f"of few images ({len(prompts)} prompts, {d} features) a Fréchet distance is too large: compare equal n only"
        ]


def read_reference(file: Path, network: str) -> Reference:
    """Reads statistics as `write_reference` writes them.

    Raises:
        UserError: no such file, not statistics, or those of another network.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            about: Mapping[str, Any] = json.loads(str(content["about"]))
            moments = Moments(content["mean"], content["covariance"], int(about["n"]))
        found = Reference(moments, str(about["network"]), str(about["images"]), sha256_file(file))
    except OSError as error:
        raise UserError(f"--reference {file}: {error.strerror or error}; give a statistics file, or shapes") from error
    except (ValueError, KeyError, TypeError, BadZipFile) as error:
        raise UserError(
            f"--reference {file} is not a statistics file of fd ({type(error).__name__}: {error})"
        ) from error
    d = moments.mean.size
    finite = all(np.isfinite(part).all() for part in moments[:2])
    if moments.mean.shape != (d,) or moments.covariance.shape != (d, d) or moments.n < 2 or not finite:
        raise UserError(
            f"--reference {file}: its moments are not a finite mean (D,) and covariance (D, D) of 2 images or more"
        )
    if found.network != network:
        raise UserError(
            f"--reference {file} has statistics of another network, or of another dtype or preprocessing of it "
            f"({found.network[:16]}, fd has {network[:16]}); distances are taken within one network only"
        )
    return found


def write_reference(file: Path, moments: Moments, network: str, images: str) -> None:
    """Writes a statistics file: ``mean``, ``covariance`` in float64, and ``about`` as JSON."""
    about = json.dumps({"network": network, "images": images, "n": moments.n})
    stream = io.BytesIO()
    np.savez(stream, mean=moments.mean, covariance=moments.covariance, about=np.array(about))
    write_atomic(file, stream.getvalue())
