"""Detectors asked for things by name: OWLv2 (Minderer et al. 2023) and Grounding DINO (Liu et al. 2023), by transformers.

Each image is looked at alone, so that no image's boxes depend on another's. The boxes come back in pixels of the image
itself: OWLv2 pads an image below or to the right to a square and tells its boxes in shares of that; Grounding DINO in shares
of the image.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.metrics.detector_rules import Found
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, hub_within_reach, missing

if TYPE_CHECKING:
    from torch import Tensor

THRESHOLDS: Mapping[str, float] = {"owlv2": 0.2, "grounding-dino": 0.3}
"""By model type: scores below say little. Grounding DINO's authors show boxes over 0.3 to 0.35, OWLv2's over 0.1 to 0.2."""

_SIZES = {
    "google/owlv2-base-patch16-ensemble": "0.6 GB",
    "google/owlv2-large-patch14-ensemble": "1.8 GB",
    "IDEA-Research/grounding-dino-tiny": "0.7 GB",
    "IDEA-Research/grounding-dino-base": "0.9 GB",
}
_SETTINGS = ("*.json", "*.txt")
"""Configurations, vocabularies, merges."""


class Detector(Protocol):
    """What finds things by name."""

    def fields(self) -> Mapping[str, str]:
        """Returns all that moves its boxes: network, digest of the weights, preprocessing, dtype."""
        ...

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Sequence[Found]:
        """Returns everything in an ``(H, W, 3) uint8`` image that may be one of the names, however uncertain."""
        ...


class TransformersDetector:
    """A zero-shot detector in a folder as transformers saves it; ``owner`` is the metric whose option names it."""

    def __init__(self, owner: str, model: str, device: str, dtype: str) -> None:
        declare_missing_ops()
        import torch

        transformers: Any = importlib.import_module("transformers")  # Some of it is without types.
        folder = _find(owner, model)
        self.kind = _kind(owner, folder)
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise UserError(f"{owner}.model={folder} has no model.safetensors; save it there by save_pretrained")
        try:
            with _quiet(transformers.utils.logging):
                self._network, told = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
                    folder,
                    dtype={"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype],
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
                self._processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            first = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{owner}.model={folder} cannot be loaded: {first}; fetch or save it again") from error
        if lost := sorted({*told["missing_keys"], *(str(key) for key in told["mismatched_keys"])}):
            raise UserError(
                f"{owner}.model={folder}: the weights do not fit config.json: {len(lost)} are missing or of another shape, "
                f"first {lost[0]}; fetch or save it again"
            )
        self._network = self._network.to(device).eval()
        self._device, self._dtype = device, self._network.dtype
        self._fields = {
            "network": f"transformers {self.kind}, settings {_settings(folder)[:16]}",
            "weights sha256": ", ".join(sha256_file(path) for path in weights),
            "resize": f"{type(self._processor.image_processor).__name__}, as set in its folder",
            "asked for": "a photo of a NAME" if self.kind == "owlv2" else "name. name.",
            "dtype": dtype,
            "library": f"transformers {version('transformers')}",
        }

    def fields(self) -> Mapping[str, str]:
        return self._fields

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Sequence[Found]:
        import torch
        from PIL import Image

        names = list(dict.fromkeys(names))
        texts = [[f"a photo of a {name}" for name in names]] if self.kind == "owlv2" else _dotted(names)
        inputs = self._processor(images=Image.fromarray(image), text=texts, return_tensors="pt").to(self._device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            told = self._network(**inputs)
        logits = told.logits[0].double().cpu()  # (boxes, names), or (boxes, tokens).
        if logits.isnan().any():
            raise UserError(f"the detector gives no numbers in {self._fields['dtype']}; give --dtype fp32")
        if self.kind == "owlv2":
            best, which = logits[:, : len(names)].max(1)
        else:
            of = self._name_of_token(inputs["input_ids"][0].tolist(), len(names))
            by_name = [logits[:, [at for at, name in enumerate(of) if name == number]] for number in range(len(names))]
            best, which = torch.stack([part.max(1).values for part in by_name], 1).max(1)
        boxes = to_pixels(told.pred_boxes[0].double().cpu(), image.shape[:2], padded=self._is_padded)
        return [
            Found(names[int(number)], float(score), tuple(box))
            for number, score, box in zip(which, torch.sigmoid(best), boxes.tolist(), strict=True)
            if box[2] > box[0] and box[3] > box[1]
        ]

    @property
    def _is_padded(self) -> bool:
        return self.kind == "owlv2" and bool(getattr(self._processor.image_processor, "do_pad", True))

    def _name_of_token(self, tokens: Sequence[int], names: int) -> list[int | None]:
        """Returns which name each token belongs to: a full stop ends a name, and what is special belongs to none."""
        tokenizer = self._processor.tokenizer
        stop, special = tokenizer.convert_tokens_to_ids("."), set(tokenizer.all_special_ids)
        of: list[int | None] = []
        name = 0
        for token in tokens:
            of.append(None if token == stop or (token in special and token != tokenizer.unk_token_id) else name)
            name += token == stop
        if name != names:
            raise RuntimeError(f"the tokenizer made {name} names of {names}")
        return of


def to_pixels(boxes: Tensor, size: tuple[int, ...], *, padded: bool) -> Tensor:
    """Returns ``(N, 4)`` boxes as left, top, right, bottom in pixels, cut at the edges of an image of ``(height, width)``.

    Given are middle, width and height in shares of the image or, ``padded``, of the square that it was padded to.
    """
    import torch

    height, width = size
    across, down = (max(size), max(size)) if padded else (width, height)
    middle, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = torch.cat([middle - half, middle + half], 1) * torch.tensor(
        [across, down, across, down], dtype=boxes.dtype
    )
    return torch.minimum(corners.clamp(min=0), torch.tensor([width, height, width, height], dtype=boxes.dtype))


def _dotted(names: Sequence[str]) -> str:
    return " ".join(f"{name}." for name in names)


def _find(owner: str, model: str) -> Path:
    """Returns a folder given by hand, else the one in the cache, else what the hub's client has or fetches."""
    if (folder := Path(model).expanduser()).is_dir():
        return folder
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", model):
        raise UserError(f"{owner}.model={model}: there is no such folder; give one, or a name on the hub")
    place = cache_folder() / "weights" / model
    if place.is_dir():
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with hub_within_reach():
            return Path(snapshot_download(model, allow_patterns=[*_SETTINGS, "*.safetensors"]))
    except RepositoryNotFoundError as error:
        raise UserError(f"{owner}.model={model}: the hub has no such model, or does not show it") from error
    except Exception as error:
        raise missing(
            f"the detector {model}",
            size=_SIZES.get(model, "of unknown size"),
            place=place,
            instead=f"give a folder with config.json, model.safetensors and the processor's files: "
            f"--set {owner}.model=FOLDER",
        ) from error


def _kind(owner: str, folder: Path) -> str:
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except FileNotFoundError as error:
        raise UserError(f"{owner}.model={folder} has no config.json; save a model there by save_pretrained") from error
    except (ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}); fetch it again") from error
    if kind not in THRESHOLDS:
        raise UserError(f"{owner}.model={folder} is of the type {kind!r}; allowed are {' and '.join(THRESHOLDS)}")
    return str(kind)


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Holds back transformers' bars and reports of loading: what matters is an error here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _settings(folder: Path) -> str:
    """Returns the digest of all configuration and vocabulary, but for where and by what it was saved."""
    files = sorted({path for pattern in _SETTINGS for path in folder.glob(pattern)})
    return digest({path.name: _content(path) for path in files})


def _content(path: Path) -> Any:
    if path.name != "config.json":
        return sha256_file(path)
    settings = json.loads(path.read_text("utf-8"))
    return {key: value for key, value in settings.items() if key not in ("_name_or_path", "transformers_version")}
