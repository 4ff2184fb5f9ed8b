"""The published weights of FID's Inception: found in anyone's cache, checked key by key, and loaded in either of their forms."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.metrics.inception import FidInception, folded
from drawbench.weights import cache_folder, given_file, missing

STATE_DICT = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""sha256 of pytorch-fid's file, which torch-fidelity publishes under another name."""
TORCHSCRIPT = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""sha256 of the TorchScript that StyleGAN2-ADA published and clean-fid fetches."""

TORCHSCRIPT_NAME = "inception-2015-12-05.pt"
_STATE_DICT_NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
_CLEAN_FID_FOLDER = Path("/tmp")  # noqa: S108  written in clean-fid's code; what lies there is used by its sha256 only
_COUNTER = ".num_batches_tracked"
"""Of batch normalisation: older files do not have it, and it moves nothing."""


class Weights(NamedTuple):
    """Inception with its weights, ready to run."""

    network: Callable[[Tensor], Tensor]
    """Maps ``(N, 3, 299, 299)`` images in [-1, 1] to ``(N, 2048)`` features."""
    file: Path
    sha256: str
    form: str
    """What runs: our network, or the published TorchScript."""


def load_inception(owner: str, given: Path | None, device: str, dtype: torch.dtype) -> Weights:
    """Returns Inception with the weights of a given file, else of the published one, looked for in every cache that may have it.

    Raises:
        AssetMissing: no file is given, and the published one is nowhere.
        UserError: the file is not these weights: which key is missing, one too many or of another shape, or whose sha256 is not
            the published one where that is asked for: found by its name, or a TorchScript, which is a program.
    """
    file = given_file(given, f"{owner}.weights") if given is not None else _find(owner)
    sha256 = sha256_file(file)
    if given is None and sha256 not in (STATE_DICT, TORCHSCRIPT):
        raise UserError(
            f"{file} has the name of the published weights of Inception and is another file (sha256 {sha256[:16]}…, published "
            f"are {STATE_DICT[:16]}… and {TORCHSCRIPT[:16]}…); remove it, or take it on purpose: --set {owner}.weights={file}"
        )
    if _is_torchscript(file):
        return Weights(_scripted(file, sha256, device, dtype), file, sha256, "the published TorchScript, as it is")
    network = FidInception()
    network.load_state_dict(
        read_state_dict(file, network.state_dict()), strict=False
    )  # What may be missing was checked.
    # Batch normalisation folded and channels last: the same features within 1e-5, in half to two thirds of the time.
    folded(network).requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Weights(network, file, sha256, "drawbench's, parameters by name")


def _find(owner: str) -> Path:
    """Returns the first of the published files in our cache, torch hub's (pytorch-fid, torch-fidelity) and clean-fid's."""
    ours, names = cache_folder() / "weights", (*_STATE_DICT_NAMES, TORCHSCRIPT_NAME)
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    places = [folder / name for folder in (ours, hub) for name in names]
    if os.name == "posix":
        places.append(_CLEAN_FID_FOLDER / TORCHSCRIPT_NAME)
    for place in places:
        if place.is_file():
            return place
    raise missing(
        f"Inception weights {_STATE_DICT_NAMES[0]}",
        size="96 MB",
        place=ours / _STATE_DICT_NAMES[0],
        instead=f"give pytorch-fid's, torch-fidelity's or clean-fid's file of them: --set {owner}.weights=FILE",
    )


def _is_torchscript(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _scripted(file: Path, sha256: str, device: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Loads the TorchScript as clean-fid runs it: its part ``layers``, which neither resizes nor scales."""
    if sha256 != TORCHSCRIPT:
        raise UserError(
            f"{file} is a TorchScript, which is a program, and not the published one (sha256 {sha256[:16]}…, published is "
            f"{TORCHSCRIPT[:16]}…); give that, or the weights as a state dict ({_STATE_DICT_NAMES[0]})"
        )
    layers: Any = torch.jit.load(str(file), map_location=device).eval().to(dtype).layers

    def features(images: Tensor) -> Tensor:
        found: Tensor = layers(images)
        return found.reshape(len(images), -1)

    return features


def read_state_dict(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reads a state dict of these keys and shapes.

    Raises:
        UserError: it is none, or a key is missing, one too many, of another shape or not finite; the message names them.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{file} is no file of weights ({first}); give one of {', '.join(_STATE_DICT_NAMES)}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(part, Tensor) for part in found.values()):
        raise UserError(f"{file} is no state dict (names and tensors); give one of {', '.join(_STATE_DICT_NAMES)}")
    shapes = {key: tuple(part.shape) for key, part in expected.items()}
    absent = [key for key in shapes if key not in found and not key.endswith(_COUNTER)]
    extra = [key for key in found if key not in shapes]
    misshapen = [
        f"{key} {tuple(part.shape)}, needed {shapes[key]}"
        for key, part in found.items()
        if key in shapes and tuple(part.shape) != shapes[key]
    ]
    infinite = [key for key, part in found.items() if part.is_floating_point() and not part.isfinite().all()]
    wrong = {"missing": absent, "too many": extra, "of another shape": misshapen, "not finite": infinite}
    if any(wrong.values()):
        said = "; ".join(f"{what}: {_some(keys)}" for what, keys in wrong.items() if keys)
        raise UserError(f"{file} does not hold the weights of FID's Inception: {said}; give {_STATE_DICT_NAMES[0]}")
    return found


def _some(keys: list[str]) -> str:
    return ", ".join(map(str, keys[:3])) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
