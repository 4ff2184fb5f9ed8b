"""CLIP by transformers, as a network for metrics: found, loaded whole, preprocessed as its checkpoint says, named in full."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.metrics.clip import TEXTS_AT_ONCE, quiet
from drawbench.metrics.clip_input import Input, prepare
from drawbench.protocol import digest
from drawbench.torchvision_ops import declare_missing_ops
from drawbench.weights import cache_folder, hub_within_reach, missing

if TYPE_CHECKING:
    import PIL.Image
    from torch import Tensor

HF = "hf:"
"""Goes before a model of transformers, whose names could else be taken for open_clip's."""

_SIZES = {"vit-base-patch": "0.6 GB", "vit-large-patch": "1.7 GB", "ViT-H-14": "3.9 GB", "PickScore": "3.9 GB"}
"""Of published weights in fp32, by a part of the name: parameters times four bytes, rounded."""

_WEIGHTS = (("model.safetensors", "model-*.safetensors"), ("pytorch_model.bin", "pytorch_model-*.bin"))
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
_INPUT = ("preprocessor_config.json", "processor_config.json")


class HfClip:
    """A CLIPModel with its checkpoint's own preprocessing and tokenizer; see `drawbench.metrics.clip.ClipNetwork`.

    ``model`` is a name on the model hub or a folder, with or without ``hf:``; ``owner`` the metric whose option it is.

    Raises:
        AssetMissing: it is neither here nor to be fetched.
        UserError: the folder is not that of a CLIP, or not whole.
    """

    shipped = False

    def __init__(self, owner: str, model: str, device: str, dtype: str) -> None:
        declare_missing_ops()
        import torch
        import transformers

        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        what = f"{owner}.model={model}"
        folder = _find(model.removeprefix(HF), what, owner)
        config, weights = _read(folder, "config.json", what), _weights(folder, what)
        if config.get("model_type") != "clip":
            raise UserError(
                f"{what}: {folder} holds a model of the type {config.get('model_type')!r}; needed is a clip"
            )
        try:
            with quiet(), _no_bars():
                loaded: Any = transformers.CLIPModel.from_pretrained(
                    folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
                )
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                settings = transformers.CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{what}: {folder} could not be loaded: {first}") from error
        network, report = loaded
        wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
        if wrong:
            raise UserError(
                f"{what}: the weights in {folder} lack {len(wrong)} tensors of its config.json, first {wrong[0]}; "
                "they are not of this network, or not whole"
            )
        self.scale: float = float(network.logit_scale.detach().double().exp())
        """What training multiplied cosines by: the exponential of the learned logit scale, which bf16 would round by 1 %."""
        self._model: Any = network.eval().requires_grad_(False).to(device, dtypes[dtype])
        self.context_length: int = self._model.config.text_config.max_position_embeddings
        self._check_tokenizer(folder, what)
        self._input, said = _input(settings, what)
        self._device, self._dtype = device, dtypes[dtype]
        self.fields: Mapping[str, str] = {
            "network": f"transformers CLIPModel, configuration {_shape_of(config)[:16]}",
            **{f"{path.name} sha256": sha256_file(path) for path in weights},
            "tokenizer": digest({name: sha256_file(folder / name) for name in _TOKENIZER if (folder / name).is_file()})[
                :16
            ],
            **said,
            "dtype": dtype,
        }
        self.key = digest({**self.fields, "layer": "image embedding, unit length"})

    def __call__(self, images: Tensor) -> Tensor:
        import torch

        inputs = prepare(images, self._input, self._device).to(self._dtype)
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return _unit(self._model.get_image_features(pixel_values=inputs))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Returns unit-length embeddings ``(N, D)``; texts over `context_length` tokens are cut.

        Texts of like length go together. They are filled up with the token 0 and without a mask: the encoder is causal and
        read at a text's first end token, so that what follows moves nothing.
        """
        import torch

        rows = [torch.tensor(ids) for ids in self.token_ids(texts)]
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]), index))
        embeddings: list[Tensor] = [torch.empty(0)] * len(rows)
        for first in range(0, len(order), TEXTS_AT_ONCE):
            part = order[first : first + TEXTS_AT_ONCE]
            ids = torch.nn.utils.rnn.pad_sequence([rows[index] for index in part], batch_first=True)
            with torch.no_grad():
                found = _unit(self._model.get_text_features(input_ids=ids.to(self._device)))
            for index, embedding in zip(part, found, strict=True):
                embeddings[index] = embedding
        return torch.stack(embeddings)

    def tokens(self, text: str) -> int:
        """Returns how many tokens a text has, start and end included."""
        return len(self._tokenizer(text, verbose=False)["input_ids"])

    def token_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Returns what is read of each text, cut before its end token."""
        read = self._tokenizer(list(texts), truncation=True, max_length=self.context_length)["input_ids"]
        return [tuple(ids) for ids in read]

    def _check_tokenizer(self, folder: Path, what: str) -> None:
        """Refuses a tokenizer whose end token the network does not look for: all texts would have one embedding."""
        ids, rows = self.token_ids(["a"])[0], self._model.config.text_config.vocab_size
        text = self._model.config.text_config
        end = (
            max(ids) if text.eos_token_id == 2 else text.eos_token_id
        )  # 2: the old files' error, which means the largest.
        if ids[-1] != end or len(self._tokenizer) > rows:
            raise UserError(
                f"{what}: the tokenizer in {folder} ({len(self._tokenizer)} tokens, end {ids[-1]}) and the network ({rows} "
                f"tokens, end {end}) are not of one model"
            )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Holds back transformers' bars, which count tensors."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _unit(features: Any) -> Tensor:
    """Returns embeddings at unit length; transformers 5 hands over an object that holds them, older ones a tensor."""
    import torch

    embeddings = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(embeddings.float(), dim=-1).cpu()


def _find(name: str, what: str, owner: str) -> Path:
    """Returns a folder named by hand, else the one in the cache, else what the model hub's client has or fetches."""
    if (folder := Path(name).expanduser()).is_dir():
        return folder
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise UserError(
            f"{what}: there is no such folder; give one, or a name on the hub: hf:openai/clip-vit-base-patch32"
        )
    place = cache_folder() / "weights" / name
    if place.is_dir():
        return place
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with quiet(), hub_within_reach():
            for kind in _WEIGHTS:
                found = Path(
                    snapshot_download(
                        name, allow_patterns=["config.json", *_TOKENIZER, *_INPUT, *kind, f"{kind[0]}.index.json"]
                    )
                )
                if any(path for pattern in kind for path in found.glob(pattern)):
                    return found
        raise FileNotFoundError(f"{name} has neither model.safetensors nor pytorch_model.bin")
    except RepositoryNotFoundError as error:
        raise UserError(f"{what}: the hub has no such model, or does not show it; see its name there") from error
    except Exception as error:
        size = next((f"about {size}" for part, size in _SIZES.items() if part in name), "of unknown size")
        raise missing(
            f"CLIP weights {name}",
            size=size,
            place=place,
            instead=f"give a folder with config.json, weights, tokenizer and preprocessor: --set {owner}.model=hf:FOLDER",
        ) from error


def _read(folder: Path, name: str, what: str) -> Mapping[str, Any]:
    try:
        content: Mapping[str, Any] = json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{what}: {folder} has no {name}; give a folder as transformers saves a CLIPModel") from error
    except ValueError as error:
        raise UserError(f"{what}: {folder / name} is not JSON: {error}; fetch it again") from error
    return content


def _weights(folder: Path, what: str) -> list[Path]:
    """Returns the files that transformers will read, and looks whether the rest that belongs to a CLIP is there."""
    if not any((folder / name).is_file() for name in _INPUT):
        raise UserError(f"{what}: {folder} lacks preprocessor_config.json: how images are resized and scaled; fetch it")
    if not any((folder / name).is_file() for name in _TOKENIZER[:2]):
        raise UserError(f"{what}: {folder} has no tokenizer (tokenizer.json, or vocab.json and merges.txt); fetch it")
    for patterns in _WEIGHTS:
        for pattern in patterns:
            if found := sorted(folder.glob(pattern)):
                return found
    raise UserError(f"{what}: {folder} has no weights (model.safetensors or pytorch_model.bin, whole or in parts)")


def _shape_of(config: Mapping[str, Any]) -> str:
    """Returns the digest of a configuration without what says nothing of the numbers: its place, its versions."""
    silent = ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype", "_commit_hash")

    def bare(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: bare(part) for key, part in value.items() if key not in silent}
        return value

    return digest(bare(config))


def _input(settings: Any, what: str) -> tuple[Input, Mapping[str, str]]:
    """Returns the preprocessing that a checkpoint's settings ask for, and its fields of the protocol."""
    from PIL import Image

    kind = str(getattr(settings, "image_processor_type", None) or "CLIPImageProcessor")
    size, crop = dict(settings.size), dict(settings.crop_size or {})
    whole = settings.do_resize and settings.do_rescale and settings.do_normalize
    if not kind.startswith("CLIP") or not whole or abs(settings.rescale_factor * 255 - 1) > 1e-6:
        raise UserError(
            f"{what}: its images are prepared by {kind} in a way of its own; known is CLIP's: resize, crop, 1/255, mean and std"
        )
    if size.keys() not in ({"shortest_edge"}, {"height", "width"}):
        raise UserError(f"{what}: its images are resized to {size}; known are shortest_edge, and height with width")
    resample = Image.Resampling(int(settings.resample))
    window = (crop["width"], crop["height"]) if settings.do_center_crop else None
    edges = ", ".join(f"{key.replace('_', ' ')} to {value}" for key, value in sorted(size.items()))
    crops = f"centre crop {window[0]}x{window[1]}" if window else "no crop"
    said = {
        "resize": f"{edges}, {resample.name.lower()}, Pillow, uint8; {crops}",
        "mean, std": f"{tuple(settings.image_mean)} {tuple(settings.image_std)}",
    }
    return Input(_geometry(size, resample, window), tuple(settings.image_mean), tuple(settings.image_std)), said


def _geometry(
    size: Mapping[str, int], resample: Any, window: tuple[int, int] | None
) -> Callable[[PIL.Image.Image], PIL.Image.Image]:
    def geometry(image: PIL.Image.Image) -> PIL.Image.Image:
        if "shortest_edge" in size:
            edge, short = size["shortest_edge"], min(image.size)
            width, height = (edge if side == short else int(edge * side / short) for side in image.size)
        else:
            width, height = size["width"], size["height"]
        small = image.resize((width, height), resample)
        if window is None:
            return small
        left, top = ((side - part) // 2 for side, part in zip(small.size, window, strict=True))
        if left < 0 or top < 0:
            raise UserError(f"an image of {small.size} after its resize is smaller than CLIP's crop {window}")
        return small.crop((left, top, left + window[0], top + window[1]))

    return geometry
