"""FID with clean-fid beside it: its own code reads, resizes, runs and compares the same files with the same weights."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.frechet import Moments, factored, frechet
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.inception import FidInception
from drawbench.metrics.inception_weights import TORCHSCRIPT_NAME, Weights
from drawbench.metrics.reference import Reference
from drawbench.torchvision_ops import declare_missing_ops

if TYPE_CHECKING:
    from torch import Tensor

EXACT, PRINTED = "clean_fid", "clean_fid_printed"


class CheckedByCleanFid(FrechetDistance):
    """``fid`` with two more outputs: the exact distance of clean-fid's own features, and the number that clean-fid prints."""

    def __init__(
        self, network: Network, fields: Mapping[str, str], reference: Reference, weights: Weights, device: str
    ) -> None:
        super().__init__("fid", network, fields, reference)
        self.outputs = {**self.outputs, **dict.fromkeys((EXACT, PRINTED), Output(higher_is_better=False, kind="set"))}
        self._weights, self._device = weights, device

    def from_files(self, files: Sequence[Path]) -> Mapping[str, tuple[float | None, str]]:
        """Returns clean-fid's numbers for the images in these files."""
        features, given = self._features(files), self._reference
        from cleanfid.fid import frechet_distance

        no_interval = "clean-fid's number has no interval"
        found: dict[str, tuple[float | None, str]] = {EXACT: (frechet(features, factored(given)), no_interval)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scipy's, of its own root.
                printed = frechet_distance(*_mean_and_covariance(features), *_mean_and_covariance(given))
            found[PRINTED] = (float(printed), no_interval)
        except ValueError as error:
            found[PRINTED] = (None, f"clean-fid gives none: {error}")
        return found

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Adds what the two further numbers are."""
        both = (
            f"{EXACT} is the exact distance of clean-fid's own features; {PRINTED} is what clean-fid says, whose square root "
            f"of a matrix product loses digits where there are fewer images than {self.reference.d} features"
        )
        return [*super().remarks(prompts), both]

    @cached_property
    def _reference(self) -> NDArray[np.float32] | Moments:
        """Clean-fid's features of the reference; of a statistics file, its moments."""
        if self.reference.files is None:
            return self.reference.given
        return self._features(self.reference.files)

    @cached_property
    def _model(self) -> Callable[[Tensor], Tensor]:
        declare_missing_ops()
        return clean_fid_model(self._weights, self._device)

    def _features(self, files: Sequence[Path]) -> NDArray[np.float32]:
        if tar := next((file for file in files if file.suffix == ".tar"), None):
            raise UserError(
                f"fid.check=clean-fid reads image files, and {tar} is a tar of images; lay them out first with drawbench "
                "export RUN --layout flat, and score that folder as a run of its own"
            )
        import torch

        model = self._model
        from cleanfid.fid import get_files_features

        found: NDArray[np.float32] = get_files_features(
            [str(file) for file in files],
            model,
            num_workers=0,
            batch_size=16,
            device=torch.device(self._device),
            mode="clean",
            verbose=False,
        )
        return found


def clean_fid_model(weights: Weights, device: str) -> Callable[[Tensor], Tensor]:
    """Returns clean-fid's feature extractor of ``(N, 3, 299, 299)`` images in [0, 255], with these weights.

    Of the TorchScript it is what clean-fid runs by default; of a state dict, clean-fid's class for such weights with the
    scaling of the TorchScript, for the class's own belongs to another protocol.
    """
    if not isinstance(weights.network, FidInception):
        from cleanfid.inception_torchscript import InceptionV3W

        with tempfile.TemporaryDirectory() as folder:  # It takes a folder; the name of the file is fixed.
            (Path(folder) / TORCHSCRIPT_NAME).symlink_to(weights.file.resolve())
            scripted: Callable[[Tensor], Tensor] = InceptionV3W(folder, download=False).to(device).eval()
        return scripted
    inception = _own_class(weights.network).to(device).eval()

    def features(images: Tensor) -> Tensor:
        found: Tensor = inception((images - 128) / 128)[0]
        return found.flatten(1)

    return features


def _own_class(network: FidInception) -> Any:
    """Returns clean-fid's class for state dicts. It fetches them itself, so what fetches is exchanged meanwhile."""
    from cleanfid import inception_pytorch

    before = inception_pytorch.load_state_dict_from_url
    inception_pytorch.load_state_dict_from_url = lambda *_, **__: network.state_dict()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torchvision, which clean-fid calls in an old way.
            return inception_pytorch.InceptionV3(resize_input=False, normalize_input=False)
    finally:
        inception_pytorch.load_state_dict_from_url = before


def _mean_and_covariance(of: NDArray[np.float32] | Moments) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns what clean-fid makes of features: NumPy's mean and covariance."""
    if isinstance(of, Moments):
        return of.mean, of.covariance
    return np.mean(of, axis=0), np.cov(of, rowvar=False)
