"""CLIP as a network for metrics: one of open_clip's, found, loaded with its own activation and preprocessing, named in full."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from drawbench.errors import UserError, did_you_mean
from drawbench.files import sha256_file
from drawbench.metrics.clip_input import Input, prepare
from drawbench.protocol import digest
from drawbench.shapes.shipped import SHAPES, shipped
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, given_file, hub_within_reach, missing

if TYPE_CHECKING:
    from torch import Tensor

TOKENIZER_FILES = (
    "merges.txt",
    "sentencepiece.model",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)
"""What a folder's tokenizer may be made of."""
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")

_SIZES = {"ViT-B-32": "0.6 GB", "ViT-B-16": "0.6 GB", "ViT-L-14": "1.7 GB", "ViT-H-14": "3.9 GB"}
"""Of published weights in fp32, by architecture: parameters times four bytes, rounded."""


TEXTS_AT_ONCE = 32


class ClipNetwork(Protocol):
    """What a metric asks of a CLIP, whichever library it comes from. It is a `drawbench.interfaces.Network`."""

    key: str
    shipped: bool
    """True: these very weights were tried here."""
    context_length: int
    """Tokens that a text may have, start and end included."""
    fields: Mapping[str, str]
    """All that can move an embedding."""

    def __call__(self, images: Tensor) -> Tensor:
        """Maps ``(N, 3, H, W) uint8`` images to unit-length embeddings ``(N, D)``, float32 on the CPU."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings ``(N, D)``; texts over `context_length` tokens are cut."""
        ...

    def tokens(self, text: str) -> int:
        """Returns how many tokens a text has, start and end included."""
        ...

    def token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Returns what is read of each text: texts with the same tokens, after cutting, are one text to this CLIP."""
        ...


def load_clip(owner: str, model: str, tag: str | None, weights: Path | None, device: str, dtype: str) -> ClipNetwork:
    """Returns the CLIP that a metric's options name; ``owner`` is the metric.

    ``hf:NAME`` is a CLIP of transformers, by its name on the model hub or by a folder; a folder with ``config.json`` and
    no ``open_clip_config.json`` is one too. All else is open_clip's.
    """
    from drawbench.metrics.hf_clip import HF, HfClip

    folder = Path(model.removeprefix(HF)).expanduser()
    theirs = (folder / "config.json").is_file() and not (folder / "open_clip_config.json").is_file()
    if not model.startswith(HF) and not (theirs and model != SHAPES):
        return Clip(owner, model, tag, weights, device, dtype)
    if tag is not None or weights is not None:
        raise UserError(
            f"{owner}.model={model} is a model of transformers with its own weights; give no tag, no weights"
        )
    return HfClip(owner, model, device, dtype)


class Clip:
    """An open_clip model with its own preprocessing: a `Network` of unit-length image embeddings, and texts likewise.

    For the arguments see `drawbench.metrics.clip_score.clip_score`; ``owner`` is the metric that they are options of.
    """

    def __init__(self, owner: str, model: str, tag: str | None, weights: Path | None, device: str, dtype: str) -> None:
        declare_missing_ops()
        import torch

        with quiet():
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
            with quiet():
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
        *geometry, to_tensor, normalise = open_clip.transform.image_transform_v2(settings, is_train=False).transforms
        if type(to_tensor).__name__ != "MaybeToTensor" or type(normalise).__name__ != "Normalize":
            raise RuntimeError(f"open_clip {open_clip.__version__} ends its preprocessing in another way than 3.3 does")
        self._input = Input(_in_turn(geometry), tuple(settings.mean), tuple(settings.std))
        self._device = device
        # Not that of the first parameter: in mixed precision class embeddings and norms stay in fp32.
        self._dtype = open_clip.model.get_input_dtype(dtype) or torch.float32
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
        if read := {name: sha256_file(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}:
            self.fields = {**self.fields, "tokenizer": digest(read)[:16]}  # It moves texts, and no image.

    def __call__(self, images: Tensor) -> Tensor:
        import torch

        inputs = prepare(images, self._input, self._device).to(self._dtype)
        # TensorFloat-32, which cuDNN takes by default, has 10 bits: features would depend on the device.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            embeddings: Tensor = self._model.encode_image(inputs, normalize=True)
        return embeddings.float().cpu()

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings ``(N, D)``; texts over `context_length` tokens are cut.

        Texts of like length go together, and no further than the longest of them: a token sees only those before it, so
        what follows the end of a text costs time and moves nothing.
        """
        import torch

        tokens = self._tokenizer(list(texts))
        reads_on = _reads_to_the_end(self._model)
        lengths = tokens.argmax(-1) + 1 if not reads_on else torch.full((len(texts),), tokens.shape[1])
        order = lengths.argsort(stable=True)
        embeddings: list[Tensor] = [torch.empty(0)] * len(texts)
        for part in order.split(TEXTS_AT_ONCE):
            batch = tokens[part, : int(lengths[part].max())].to(self._device)
            with torch.no_grad():
                found = (
                    self._model.encode_text(batch, normalize=True) if reads_on else _encode_short(self._model, batch)
                )
            for index, embedding in zip(part.tolist(), found.float().cpu(), strict=True):
                embeddings[index] = embedding
        return torch.stack(embeddings)

    def tokens(self, text: str) -> int:
        """Returns how many tokens a text has, start and end included."""
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2
        return len(self._tokenizer.tokenizer(text)["input_ids"])

    def token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Returns what is read of each text: texts with the same tokens, after cutting, are one text to this CLIP."""
        return [tuple(row) for row in self._tokenizer(list(texts)).tolist()]


def _in_turn(steps: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def geometry(image: Any) -> Any:
        for step in steps:
            image = step(image)
        return image

    return geometry


def _reads_to_the_end(model: Any) -> bool:
    """Says whether a text encoder looks past a text's end: true of all but open_clip's own causal one."""
    import torch

    mask = getattr(model, "attn_mask", None)
    if type(model).__name__ != "CLIP" or mask is None or getattr(model, "text_pool_type", "") != "argmax":
        return True
    causal = torch.full_like(mask, float("-inf")).triu(1)
    return not torch.equal(mask, causal)


def _encode_short(model: Any, tokens: Tensor) -> Tensor:
    """Returns what ``model.encode_text`` does, for ``(N, L)`` tokens of fewer than its full length."""
    import torch

    length, dtype = tokens.shape[1], model.transformer.get_cast_dtype()
    hidden = model.token_embedding(tokens).to(dtype) + model.positional_embedding[:length].to(dtype)
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    ends = hidden[torch.arange(len(tokens), device=tokens.device), tokens.argmax(-1)]
    projection = model.text_projection
    if projection is not None:
        ends = projection(ends) if isinstance(projection, torch.nn.Linear) else ends @ projection
    return torch.nn.functional.normalize(ends, dim=-1)


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
        with quiet(), hub_within_reach():
            return Path(open_clip.pretrained.download_pretrained(dict(settings)))
    except Exception as error:
        raise missing(
            f"CLIP weights {name} {tag!r}",
            size=f"about {_SIZES.get(name, 'a few GB')}",
            place=folder / f"{name}-{tag}.safetensors",
            instead=f"give a file: --set {owner}.weights=FILE (and {owner}.model=NAME)",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back what open_clip and its parts log and warn: what matters is an error here."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
