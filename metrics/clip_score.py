"""CLIP score: the cosine between CLIP's embeddings of an image and of its text (Radford et al. 2021; Hessel et al. 2021)."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drawbench.errors import UserError, did_you_mean
from drawbench.files import sha256_file
from drawbench.interfaces import Output, Prompt, Scored
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, given_file, hub_within_reach, missing

if TYPE_CHECKING:
    from torch import Tensor

_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")

_SIZES = {"ViT-B-32": "0.6 GB", "ViT-B-16": "0.6 GB", "ViT-L-14": "1.7 GB", "ViT-H-14": "3.9 GB"}
"""Of published weights in fp32, by architecture: parameters times four bytes, rounded."""


def clip_score(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "ViT-B-32",
    tag: str | None = None,
    weights: Path | None = None,
    prefix: str = "",
) -> ClipScore:
    """Scores with any CLIP of open_clip.

    ``model`` is an architecture (``ViT-L-14``) or a folder with ``open_clip_config.json`` and weights. ``tag`` names
    published weights (``openai`` where neither tag nor file is given; ``laion2b_s34b_b79k`` …); they are looked for in
    the cache as ``weights/<model>-<tag>.safetensors``, then by open_clip. ``weights`` is a file given by hand; ``tag``
    then says whose it is (``own``: of one's own training), since activation and preprocessing follow from that.
    ``prefix`` goes before every text (Hessel et al. 2021: ``"A photo depicts "``).

    Raises:
        AssetMissing: the weights are not on this machine and cannot be fetched.
        UserError: no such model or tag, or a file that does not fit the architecture.
    """
    return ClipScore(_Clip(model, tag, weights, device, dtype), prefix)


class ClipScore:
    """``cosine``; ``x100`` = 100·cosine, not clipped (Nichol et al. 2021); ``clipscore`` = 2.5·max(cosine, 0) (Hessel et al.)."""

    outputs: Mapping[str, Output] = {
        "cosine": Output(higher_is_better=True, kind="mean", main=True),
        "x100": Output(higher_is_better=True, kind="mean"),
        "clipscore": Output(higher_is_better=True, kind="mean"),
    }

    def __init__(self, clip: _Clip, prefix: str) -> None:
        self.network, self.prefix = clip, prefix
        self._texts: dict[str, Tensor] = {}

    def protocol(self) -> Mapping[str, str]:
        return {
            **self.network.fields,
            "prefix": self.prefix,
            "long texts": f"cut at {self.network.context_length} tokens",
        }

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        import torch

        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        texts = [self.prefix + prompt.text for prompt in prompts]
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts |= dict(zip(new, self.network.encode_text(new), strict=True))
        embeddings = torch.stack([self._texts[text] for text in texts])
        cosine = (features.double() * embeddings.double()).sum(-1).numpy()
        return Scored({"cosine": cosine, "x100": 100 * cosine, "clipscore": 2.5 * np.maximum(cosine, 0)})

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says which prompts were cut because they have more tokens than the text encoder takes."""
        limit = self.network.context_length
        cut = [prompt.id for prompt in prompts if self.network.tokens(self.prefix + prompt.text) > limit]
        if not cut:
            return []
        named = ", ".join(cut[:5]) + (", …" if len(cut) > 5 else "")
        return [f"{len(cut)} of {len(prompts)} prompts have over {limit} tokens and were cut for CLIP: {named}"]


class _Clip:
    """An open_clip model with its own preprocessing: a `Network` of unit-length image embeddings, and texts likewise."""

    def __init__(self, model: str, tag: str | None, weights: Path | None, device: str, dtype: str) -> None:
        declare_missing_ops()
        with _quiet():
            import open_clip

        folder = Path(model).expanduser()
        if folder.is_dir():
            tag_settings: Mapping[str, Any] = {}
            name, path = f"local-dir:{folder}", _weights_in(folder)
            if tag is not None or weights is not None:
                raise UserError(
                    f"clip_score.model={model} is a folder with its own weights; give no tag and no weights with it"
                )
        else:
            known = open_clip.list_models()
            name = model.replace("/", "-")
            if name not in known:
                raise UserError(
                    f"open_clip has no model {model!r}{did_you_mean(name, known)} (all: open_clip.list_models())"
                )
            if weights is not None:
                path = given_file(weights, "clip_score.weights")
                tag = tag or _published_tag(open_clip, name, path)
                tag = None if tag == "own" else tag
            else:
                tag = tag or "openai"
                path = _find(open_clip, name, tag)
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


def _weights_in(folder: Path) -> Path:
    names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_pytorch_model.safetensors")
    found = [
        path for path in (*(folder / name for name in names), *sorted(folder.glob("*.safetensors"))) if path.is_file()
    ]
    if not (folder / "open_clip_config.json").is_file() or not found:
        raise UserError(
            f"clip_score.model={folder} needs open_clip_config.json and {names[0]}, as open_clip saves them"
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


def _published_tag(open_clip: Any, name: str, path: Path) -> str | None:
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
            f"--set clip_score.tag=TAG ({', '.join(tags[:8])}{' …' if len(tags) > 8 else ''}; own: of your own training)"
        )
    return tags[0] if tags else None


def _find(open_clip: Any, name: str, tag: str) -> Path:
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
            instead="give a file: --set clip_score.weights=FILE (and clip_score.model=NAME)",
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
