"""DINOv2 by transformers, as a network for metrics (Oquab et al. 2023), and FD on it as Stein et al. 2023 take it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.guard import check_images
from drawbench.metrics.reference import find_reference
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, hub_within_reach, missing

if TYPE_CHECKING:
    from torch import Tensor

MODEL = "facebook/dinov2-large"
"""ViT-L/14, 1024 features."""
SIZE = 224
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's."""
_FILES = ("config.json", "model.safetensors")


def fd_dinov2(
    *, device: str = "cpu", dtype: str = "fp32", reference: str | None = None, model: str = MODEL
) -> FrechetDistance:
    """The Fréchet distance from a reference set on DINOv2's features: FD-DINOv2 of Stein et al. 2023.

    ``reference`` as of fid. ``model`` is a hub's name, or a folder with ``config.json`` and ``model.safetensors`` as transformers
    saves them; the default is the paper's network. Images are squeezed to 224 x 224, whatever their shape.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, a folder that holds no DINOv2, statistics of another network.
    """
    if reference is None:
        raise UserError(
            "fd_dinov2 needs a reference: --reference DIR|RUN|STATS.npz, images or statistics to compare with"
        )
    network = Dinov2("fd_dinov2", model, device, dtype)
    return FrechetDistance("fd_dinov2", network, network.fields, find_reference(reference, network, "fd_dinov2"))


class Dinov2:
    """A `Network` of the class token after the last layer's normalisation."""

    def __init__(self, owner: str, model: str, device: str, dtype: str) -> None:
        import torch

        folder = _find(owner, model)
        self._device = device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        self._model = _load(owner, folder).eval().requires_grad_(False).to(device, self._dtype)
        config = self._model.config
        self.fields: Mapping[str, str] = {
            "network": f"DINOv2 by transformers, {config.num_hidden_layers} layers, {config.hidden_size} features, "
            f"configuration {sha256_file(folder / _FILES[0])[:16]}",
            "weights sha256": sha256_file(folder / _FILES[1]),
            "layer": "class token, normalised by the last layer",
            "resize": f"squeezed to {SIZE}x{SIZE}, bicubic with antialiasing, Pillow, uint8",
            "mean, std": f"{_MEAN} {_STD}",
            "dtype": dtype,
        }
        self.key = digest(self.fields)

    def __call__(self, images: Tensor) -> Tensor:
        check_images("DINOv2", images)
        import torch
        from PIL import Image

        pictures = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]
        resized = np.stack([np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for picture in pictures])
        inputs = torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255
        inputs = (inputs - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found: Tensor = self._model(pixel_values=inputs.to(self._device, self._dtype)).pooler_output
        return found.float().cpu()


def _find(owner: str, model: str) -> Path:
    """Returns the folder of a model: as given, of our cache, or of the hub's client."""
    given = Path(model).expanduser()
    if given.is_dir():
        absent = [name for name in _FILES if not (given / name).is_file()]
        if absent:
            raise UserError(
                f"{owner}.model={model} has no {' and no '.join(absent)}; give a folder as transformers saves it"
            )
        return given
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise UserError(f"{owner}.model={model} is not a folder here, nor a hub's name (such as {MODEL})")
    ours = cache_folder() / "weights" / model.split("/")[1]
    if all((ours / name).is_file() for name in _FILES):
        return ours
    try:
        with hub_within_reach():
            from huggingface_hub import hf_hub_download

            places = [Path(hf_hub_download(model, name)) for name in _FILES]
            return places[0].parent
    except Exception as error:
        raise missing(
            f"DINOv2 weights {model}",
            size="1.2 GB" if model == MODEL else "size unknown",
            place=ours / _FILES[1],
            instead=f"give the folder of them, with {_FILES[0]}: --set {owner}.model=DIR",
        ) from error


def _load(owner: str, folder: Path) -> Any:
    """Loads a DINOv2 and says which weights are missing or too many: transformers only logs it."""
    declare_missing_ops()
    import transformers

    library: Any = transformers
    level = library.logging.get_verbosity()
    library.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network, report = library.Dinov2Model.from_pretrained(
                str(folder), local_files_only=True, output_loading_info=True
            )
    except Exception as error:
        raise UserError(
            f"{owner}.model={folder} is no DINOv2: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        library.logging.set_verbosity(level)
    wrong = {what: sorted(map(str, report[what])) for what in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if network.config.model_type != "dinov2" or any(wrong.values()):
        said = "; ".join(f"{what.replace('_', ' ')}: {', '.join(keys[:3])}" for what, keys in wrong.items() if keys)
        raise UserError(
            f"{owner}.model={folder} is no DINOv2 ({said or network.config.model_type}); give such a folder"
        )
    return network
