"""Features of a run's images: computed once per network and set of images, for all metrics, and kept in the cache."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.interfaces import Network
from drawbench.progress import say
from drawbench.weights import cache_folder

if TYPE_CHECKING:
    from torch import Tensor


class Features:
    """One network's features of a run, float32 ``(N, D)``, kept by (network, images): computed once for all metrics."""

    def __init__(self, key: str, images: str, count: int) -> None:
        self.path = cache_folder() / "features" / key[:16] / f"{images[:32]}.npy"
        self.count = count
        self.array: NDArray[np.float32] = np.empty((0, 0), np.float32)
        try:
            self.array = np.load(self.path, mmap_mode="r")
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            say(f"{self.path} cannot be read ({error}): the features are computed anew")
        self.whole = len(self.array) == count

    def of(self, at: Sequence[int], images: Tensor, network: Network) -> Tensor:
        """Returns the features of the images at some positions, kept or computed now."""
        import torch

        if self.whole:
            return torch.from_numpy(self.array[list(at)])
        features = network(images).detach().float().cpu()
        if not torch.isfinite(features).all():
            raise UserError(
                f"the network {network.key[:16]} gave features that are not finite; nothing was scored with them"
            )
        if not self.array.size:
            self.array = np.empty((self.count, features.shape[1]), np.float32)
        self.array[list(at)] = features.numpy()
        return features

    def close(self) -> None:
        """Keeps what was computed; a cache that cannot be written costs time, not scores."""
        if self.whole or not self.array.size:
            return
        stream = io.BytesIO()
        np.save(stream, self.array)
        try:
            write_atomic(self.path, stream.getvalue())
        except OSError as error:
            say(
                f"the features could not be kept in {self.path} ({error.strerror}); the next metric computes them again"
            )
