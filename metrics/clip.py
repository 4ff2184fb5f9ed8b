"""CLIP by open_clip, as a network for metrics: found, loaded with its own activation and preprocessing, and named in full."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbench.errors import UserError, did_you_mean
from drawbench.files import sha256_file
from drawbench.protocol import digest
from drawbench.shapes.shipped import SHAPES, shipped
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, given_file, hub_within_reach, missing

if TYPE_CHECKING:
    from torch import Tensor

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")

_SIZES = {"ViT-B-32": "0.6 GB", "ViT-B-16": "0.6 GB", "ViT-L-14": "1.7 GB", "ViT-H-14": "3.9 GB"}
"""Of published weights in fp32, by architecture: parameters times four bytes, rounded."""


class Clip:
    """An open_clip model with its own preprocessing: a `Network` of unit-length image embeddings, and texts likewise.

    For the arguments see `drawbench.metrics.clip_score.clip_score`; ``owner`` is the metric that they are options of.
    """

    def __init__(self, owner: str, model: str, tag: str | None, weights: Path | None, device: str, dtype: str) -> None:
        declare_missing_ops()
        with _quiet():
            import open_clip

        folder = shipped("clip") if model == SHAPES else Path(model).expanduser()
        if folder.is_dir():
            tag_settings: Mapping[str, Any] = {}
            name, path = f"local-dir:{folder}", _weights_in(folder, owner)
            if tag is not None or weights is not None:
                raise UserError(
                    f"{owner}.model={model} is a folder with its own weights; give no tag and no weights with it"
                )
        else:
            known = open_clip.list_models()
            name = model.replace("/", "-")
            if name not in known:
                raise UserError(
                    f"open_clip has no model {model!r}{did_you_mean(name, known)} (all: open_clip.list_models())"
                )
            if weights is not None:
                path = given_file(weights, f"{owner}.weights")
                tag = tag or _published_tag(open_clip, name, path, owner)
                tag = None if tag == "own" else tag
            else:
                tag = tag or "openai"
                path = _find(open_clip, name, tag, owner)
            tag_settings = _tag_settings(open_clip, name, tag) if tag else {}
        quick_gelu = _quick_gelu(open_clip, name, tag, tag_settings)
        preprocess = {key: tag_settings[key] for key in _PREPROCESSING if key in tag_settings}
        try:
            with _quiet():
                self._model = open_clip.create_model(
                    name,
                    pretrained=None if folder.is_dir() else str(path),
                    precision=dtype,
                    device=device,
                    force_quick_gelu=quick_gelu,
                    force_preprocess_cfg=preprocess,
                    pretrained_text=False,
                    weights_only=True,
                ).eval()
                self._tokenizer = open_clip.get_tokenizer(name)
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            first = "it is no file of weights" if "weights_only" in str(error) else " ".join(lines[:2])
            raise UserError(
                f"{path} does not fit {model}: {first}; give the architecture that it was saved from"
            ) from error
        settings = open_clip.transform.PreprocessCfg(**self._model.visual.preprocess_cfg)
        self._preprocess = open_clip.transform.image_transform_v2(settings, is_train=False)
        self._device = device
        self.shipped = model == SHAPES
        """True: these very weights were tried here."""
        self.context_length: int = self._model.context_length
        self.fields: Mapping[str, str] = {
            "network": f"open_clip {_architecture(open_clip, folder if folder.is_dir() else name)}",
            "weights sha256": sha256_file(path),
            "activation": "QuickGELU" if quick_gelu else "of the architecture",
            "resize": f"{settings.resize_mode} to {settings.size}, {settings.interpolation}, Pillow, uint8; centre crop",
            "mean, std": f"{tuple(settings.mean)} {tuple(settings.std)}",
            "dtype": dtype,
        }
        self.key = digest({**self.fields, "layer": "image embedding, unit length"})

    def __call__(self, images: Tensor) -> Tensor:
        import torch
        from PIL import Image

        from drawbench.metrics.guard import check_images

        check_images("CLIP", images)
        pictures = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]
        inputs = torch.stack([self._preprocess(picture) for picture in pictures]).to(self._device, self._dtype)
        with torch.no_grad():
            embeddings: Tensor = self._model.encode_image(inputs, normalize=True)
        return embeddings.float().cpu()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings ``(N, D)``; texts over `context_length` tokens are cut."""
        import torch

        parts = []
        with torch.no_grad():
            for first in range(0, len(texts), 64):
                tokens = self._tokenizer(list(texts[first : first + 64])).to(self._device)
                parts.append(self._model.encode_text(tokens, normalize=True).float().cpu())
        return torch.cat(parts)

    def tokens(self, text: str) -> int:
        """Returns how many tokens a text has, start and end included."""
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2
        return len(self._tokenizer.tokenizer(text)["input_ids"])

    @property
    def _dtype(self) -> Any:
        return next(self._model.visual.parameters()).dtype


def _architecture(open_clip: Any, of: Path | str) -> str:
    """Returns a name for all that a configuration says; a folder's own name says nothing."""
    if isinstance(of, str):
        return f"{of}, configuration {digest(open_clip.get_model_config(of))[:16]}"
    return f"configuration {digest(json.loads((of / 'open_clip_config.json').read_text('utf-8')))[:16]}"


def _weights_in(folder: Path, owner: str) -> Path:
    """Returns the one file of weights in a folder: of two it could not be said which one open_clip reads."""
    found = sorted(path for kind in ("*.safetensors", "*.bin", "*.pt", "*.pth") for path in folder.glob(kind))
    if not (folder / "open_clip_config.json").is_file() or not found:
        raise UserError(
            f"{owner}.model={folder} needs open_clip_config.json and open_clip_model.safetensors, as open_clip saves them"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(
            f"{owner}.model={folder} has {len(found)} files of weights ({names}); leave the one that counts"
        )
    return found[0]


def _tag_settings(open_clip: Any, name: str, tag: str) -> Mapping[str, Any]:
    settings: Mapping[str, Any] | None = open_clip.get_pretrained_cfg(name, tag)
    if not settings:
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise UserError(
            f"{name} has no weights with the tag {tag!r}{did_you_mean(tag, tags)} (it has: {', '.join(tags) or 'none'})"
        )
    return settings


def _quick_gelu(open_clip: Any, name: str, tag: str | None, settings: Mapping[str, Any]) -> bool:
    """Says whether the weights were trained with QuickGELU; with the wrong activation the score is wrong in silence."""
    trained = bool(settings.get("quick_gelu", False))
    if settings and not trained and (open_clip.get_model_config(name) or {}).get("quick_gelu", False):
        raise UserError(f"{tag} of {name} was not trained with QuickGELU; give model={name.removesuffix('-quickgelu')}")
    return trained


def _published_tag(open_clip: Any, name: str, path: Path, owner: str) -> str | None:
    """Returns the tag of a file whose digest stands in its public address (OpenAI's); any tag where all tags are made alike.

    Raises:
        UserError: the architecture has published weights of several kinds, and whose this file is must be said.
    """
    sha256 = sha256_file(path)
    tags: list[str] = open_clip.list_pretrained_tags_by_model(name)
    settings = {tag: dict(open_clip.get_pretrained_cfg(name, tag)) for tag in tags}
    for tag in tags:
        if sha256 in str(settings[tag].get("url", "")):
            return tag
    kinds = {repr([settings[tag].get(key) for key in ("quick_gelu", *_PREPROCESSING)]) for tag in tags}
    if len(kinds) > 1:
        raise UserError(
            f"{path}: {name} has published weights with different activation or preprocessing; say whose these are: "
            f"--set {owner}.tag=TAG ({', '.join(tags[:8])}{' …' if len(tags) > 8 else ''}; own: of your own training)"
        )
    return tags[0] if tags else None


def _find(open_clip: Any, name: str, tag: str, owner: str) -> Path:
    settings = _tag_settings(open_clip, name, tag)
    folder = cache_folder() / "weights"
    for suffix in (".safetensors", ".bin", ".pt"):
        if (path := folder / f"{name}-{tag}{suffix}").is_file():
            return path
    try:
        with _quiet(), hub_within_reach():
            return Path(open_clip.pretrained.download_pretrained(dict(settings)))
    except Exception as error:
        raise missing(
            f"CLIP weights {name} {tag!r}",
            size=f"about {_SIZES.get(name, 'a few GB')}",
            place=folder / f"{name}-{tag}.safetensors",
            instead=f"give a file: --set {owner}.weights=FILE (and {owner}.model=NAME)",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what open_clip and its parts log and warn: what matters is an error here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
