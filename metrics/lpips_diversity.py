"""LPIPS diversity: how far a prompt's images lie from one another by a network's inner layers (Zhang et al. 2018)."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.interfaces import Output, Prompt
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, given_file, missing

if TYPE_CHECKING:
    from torch import Tensor

Net = Literal["alex", "vgg", "squeeze"]


class Backbone(NamedTuple):
    """ImageNet weights of torchvision that LPIPS' heads were made for; the name holds the start of the sha256."""

    file: str
    size: str


BACKBONES: Mapping[str, Backbone] = {
    "alex": Backbone("alexnet-owt-7be5be79.pth", "233 MB"),
    "vgg": Backbone("vgg16-397923af.pth", "528 MB"),
    "squeeze": Backbone("squeezenet1_1-b8a52dc0.pth", "4.7 MB"),
}


def lpips_diversity(
    *,
    device: str = "cpu",
    net: Net = "alex",
    backbone: Path | None = None,
    size: int | None = 256,
) -> LpipsDiversity:
    """The mean LPIPS distance over all pairs of a prompt's images, by the package lpips with its heads of version 0.1.

    ``backbone`` is a file with torchvision's weights of the network, looked for in the cache, then in torchvision's, when it
    is not given. Images are resized to ``size`` pixels a side (Pillow, bicubic, squeezed), for the distance depends on it;
    ``none`` leaves them as they are.

    Raises:
        AssetMissing: the backbone's weights are not on this machine.
        UserError: the package is not installed, or the file is not of this network.
    """
    if size is not None and size < 32:
        raise UserError(f"lpips_diversity.size={size}: give at least 32, or none (images as they are)")
    declare_missing_ops()
    try:
        import lpips
    except ImportError as error:
        raise UserError(f"lpips_diversity needs the package lpips: pip install 'drawbench[lpips]' ({error})") from error
    path = _backbone_file(net, backbone)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision's, on how lpips asks it for a network without weights.
        model = lpips.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False)
    _load_backbone(model.net, path, net)
    fields = {
        "network": f"lpips {metadata.version('lpips')}, {net}, heads 0.1 sha256 {_heads(lpips, net)[:16]}",
        "backbone sha256": sha256_file(path),
        "resize": "none" if size is None else f"squash to {size}x{size}, bicubic, Pillow, uint8",
        "distance": "LPIPS, mean over pairs",
        "dtype": "fp32",
    }
    return LpipsDiversity(model.eval().requires_grad_(False).to(device), fields, device, size)


class LpipsDiversity:
    """``lpips_diversity``, at least 0; NaN for a prompt with a single image."""

    outputs: Mapping[str, Output] = {"lpips_diversity": Output(higher_is_better=True, kind="mean", main=True)}
    network = None

    def __init__(self, model: Any, fields: Mapping[str, str], device: str, size: int | None) -> None:
        self._model, self._fields, self._device, self._size = model, fields, device, size

    def protocol(self) -> Mapping[str, str]:
        return self._fields

    def score_prompt(
        self, images: Sequence[NDArray[np.uint8]], features: NDArray[np.float32] | None, prompt: Prompt
    ) -> Mapping[str, float]:
        if len(images) < 2:
            return {"lpips_diversity": float("nan")}
        import torch

        prepared = [self._prepare(image) for image in images]
        sizes = {picture.shape for picture in prepared}
        if len(sizes) > 1:
            raise UserError(
                f"lpips_diversity: the images of prompt {prompt.id} have different sizes, and size=none leaves them as they "
                "are; give a size: --set lpips_diversity.size=256"
            )
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            layers = [self._layers(picture) for picture in prepared]
            distances = [self._distance(a, b) for a, b in combinations(layers, 2)]
        return {"lpips_diversity": float(np.mean(distances))}

    def _prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        if self._size is not None:
            picture = picture.resize((self._size, self._size), Image.Resampling.BICUBIC)
        return np.asarray(picture)

    def _layers(self, picture: NDArray[np.uint8]) -> list[Tensor]:
        """Returns an image's features at each layer, of unit length over channels: once per image, not once per pair."""
        import lpips
        import torch

        values = torch.from_numpy(np.array(picture)).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1
        return [lpips.normalize_tensor(layer) for layer in self._model.net(self._model.scaling_layer(values))]

    def _distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
        """Returns the distance of two images: squared differences, weighted over channels, averaged over places, summed."""
        parts = [head((x - y) ** 2).mean() for head, x, y in zip(self._model.lins, a, b, strict=True)]
        return float(sum(part.double() for part in parts))


def _backbone_file(net: Net, given: Path | None) -> Path:
    if given is not None:
        return given_file(given, "lpips_diversity.backbone")
    import torch

    row = BACKBONES[net]
    start = Path(row.file).stem.rpartition("-")[2]
    places = [cache_folder() / "weights" / row.file, Path(torch.hub.get_dir()) / "checkpoints" / row.file]
    for path in places:
        if path.is_file():
            if not sha256_file(path).startswith(start):
                raise UserError(f"{path} is not the published file, whose sha256 begins with {start}; fetch it again")
            return path
    raise missing(
        f"torchvision's ImageNet weights {row.file}",
        size=row.size,
        place=places[0],
        instead="give a file: --set lpips_diversity.backbone=FILE",
    )


def _load_backbone(into: Any, path: Path, net: Net) -> None:
    """Puts torchvision's ``features.N.…`` into lpips' slices of the same layers, all of them; the classifier is not used."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UserError(f"{path} is no file of weights: it cannot be read without running code") from error
    have = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    needed = {key.partition(".")[2]: (key, tuple(value.shape)) for key, value in into.state_dict().items()}
    wrong = sorted(key for key, (_, shape) in needed.items() if key not in have or tuple(have[key].shape) != shape)
    if wrong or have.keys() - needed.keys():
        first = wrong[0] if wrong else min(have.keys() - needed.keys())
        raise UserError(f"{path} does not fit net={net}: features.{first} is missing, of another shape, or too much")
    into.load_state_dict({name: have[key] for key, (name, _) in needed.items()})


def _heads(lpips: Any, net: Net) -> str:
    return sha256_file(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth")
