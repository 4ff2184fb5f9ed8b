"""Features of a reference, for metrics that compare image with image: its mean and covariance do not tell them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Network
from drawbench.metrics.frechet import Moments
from drawbench.metrics.reference import Reference, find_reference


def find_full_reference(
    given: str | None, network: Network, owner: str, d: int | None = None, least: int = 2
) -> tuple[Reference, NDArray[np.float32]]:
    """Returns what ``--reference`` names, and its features ``(N, D)``, N at least ``least``.

    Raises:
        UserError: no reference, one of moments only, or of too few images.
    """
    if given is None:
        raise UserError(f"{owner} needs a reference: --reference DIR|RUN|STATS.npz, images or features to compare with")
    found = find_reference(given, network, owner, d)
    if isinstance(found.given, Moments):
        raise UserError(
            f"--reference {given} has a mean and a covariance only, and {owner} compares image with image: give a folder of "
            "images, a run, or statistics that keep the features (drawbench reference make DIR -o STATS --features)"
        )
    if len(found.given) < least:
        raise UserError(f"--reference {given} has {len(found.given)} images, and {owner} needs {least} at least")
    return found, found.given


def reference_fields(reference: Reference) -> dict[str, str]:
    """Returns what a protocol says of a reference: its images, not their names nor whether a run has them."""
    return {"reference n": str(reference.n or "not said"), "reference sha256": reference.sha256}
