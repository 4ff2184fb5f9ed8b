"""FID with clean-fid beside it: its own code reads, resizes, runs and compares the same files with the same weights."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt
from drawbench.metrics.frechet import Moments, factored, frechet
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.inception import FidInception
from drawbench.metrics.inception_weights import TORCHSCRIPT_NAME, Weights, read_state_dict
from drawbench.metrics.reference import Reference
from drawbench.torchvision_ops import declare_missing_ops

if TYPE_CHECKING:
    from torch import Tensor

Mode = Literal["clean", "legacy_pytorch", "legacy_tensorflow"]
"""Clean-fid's names for them, and ours."""

EXACT, PRINTED = "clean_fid", "clean_fid_printed"


class CheckedByCleanFid(FrechetDistance):
    """``fid`` with two more outputs: the exact distance of clean-fid's own features, and the number that clean-fid prints."""

    def __init__(
        self,
        network: Network,
        fields: Mapping[str, str],
        reference: Reference,
        weights: Weights,
        device: str,
        mode: Mode = "clean",
        *,
        with_interval: bool = True,
    ) -> None:
        super().__init__("fid", network, fields, reference, with_interval=with_interval)
        if mode == (other := "legacy_tensorflow" if isinstance(weights.network, FidInception) else "legacy_pytorch"):
            form = (
                f"the TorchScript {TORCHSCRIPT_NAME}" if mode == "legacy_tensorflow" else "the weights as a state dict"
            )
            raise UserError(
                f"fid.check=clean-fid with fid.protocol={other}: clean-fid runs this mode on {form} only, and fid.weights is "
                "the other form of them; give that file, or leave the check out"
            )
        self._mode: Mode = mode
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
        return clean_fid_model(self._weights, self._device, self._mode)

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
            batch_size=1 if self._mode == "legacy_tensorflow" else 16,  # There the network resizes: sizes may differ.
            device=torch.device(self._device),
            mode=self._mode,
            verbose=False,
        )
        return found


def clean_fid_model(weights: Weights, device: str, mode: Mode = "clean") -> Callable[[Tensor], Tensor]:
    """Returns clean-fid's feature extractor of what its mode feeds it, images in [0, 255], with these weights.

    Of the TorchScript it is what clean-fid runs in ``clean`` and, with the resize inside, in ``legacy_tensorflow``. Of a state
    dict it is clean-fid's class for such weights: as it is in ``legacy_pytorch``, and in ``clean`` with the scaling of the
    TorchScript, for the class's own belongs to the other.
    """
    if not isinstance(weights.network, FidInception):
        from cleanfid.inception_torchscript import InceptionV3W

        with tempfile.TemporaryDirectory() as folder:  # It takes a folder; the name of the file is fixed.
            (Path(folder) / TORCHSCRIPT_NAME).symlink_to(weights.file.resolve())
            inside = mode == "legacy_tensorflow"
            scripted: Callable[[Tensor], Tensor] = InceptionV3W(folder, download=False, resize_inside=inside)
        return scripted.to(device).eval()  # type: ignore[attr-defined,no-any-return]
    inception = _own_class(weights, normalize_input=mode == "legacy_pytorch").to(device).eval()

    def features(images: Tensor) -> Tensor:
        found: Tensor = inception(images / 255 if mode == "legacy_pytorch" else (images - 128) / 128)[0]
        return found.flatten(1)

    return features


def _own_class(weights: Weights, *, normalize_input: bool) -> Any:
    """Returns clean-fid's class for state dicts. It fetches them itself, so what fetches is exchanged meanwhile."""
    from cleanfid import inception_pytorch

    state = read_state_dict(weights.file, FidInception().state_dict())
    before = inception_pytorch.load_state_dict_from_url
    inception_pytorch.load_state_dict_from_url = lambda *_, **__: state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of torchvision, which clean-fid calls in an old way.
            return inception_pytorch.InceptionV3(resize_input=False, normalize_input=normalize_input)
    finally:
        inception_pytorch.load_state_dict_from_url = before


def _mean_and_covariance(of: NDArray[np.float32] | Moments) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns what clean-fid makes of features: NumPy's mean and covariance."""
    if isinstance(of, Moments):
        return of.mean, of.covariance
    return np.mean(of, axis=0), np.cov(of, rowvar=False)
