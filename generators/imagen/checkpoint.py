"""A cascade on disk: a folder with ``config.json`` and one safetensors file per stage (its EMA weights)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.generators.imagen.config import Block, EfficientUNetConfig, StageConfig, UNetConfig
from drawbench.generators.imagen.efficient_unet import EfficientUNet
from drawbench.generators.imagen.text_encoder import TextEncoderConfig
from drawbench.generators.imagen.unet import UNet

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What the folder's ``config.json`` says."""

    folder: Path
    stages: tuple[StageConfig, ...]
    """From the base to the largest."""
    text_encoder: TextEncoderConfig | None
    """None: the cascade is unconditional."""
    text_encoder_digest: str | None
    """Of the encoder that it was trained with; embeddings of another are refused."""

    def file(self, stage: StageConfig) -> Path:
        """Returns where a stage's weights lie."""
        return self.folder / f"{stage.name}.safetensors"

    def fingerprint(self) -> dict[str, str]:
        """Returns the sha256 of ``config.json`` and of each stage's file."""
        files = [self.folder / "config.json", *map(self.file, self.stages)]
        return {f"sha256 {file.name}": sha256_file(file) for file in files}


def build_network(stage: StageConfig) -> UNet | EfficientUNet:
    """Returns a stage's network with fresh weights."""
    return UNet(stage.network) if isinstance(stage.network, UNetConfig) else EfficientUNet(stage.network)


def save_config(
    folder: Path, stages: Sequence[StageConfig], encoder: TextEncoderConfig | None, encoder_digest: str | None
) -> Checkpoint:
    """Writes ``config.json``."""
    content = {
        "format": FORMAT,
        "text_encoder": None if encoder is None else {**asdict(encoder), "digest": encoder_digest},
        "stages": [
            {
                "name": stage.name,
                "schedule": stage.schedule,
                "network": _KINDS[type(stage.network)],
                **asdict(stage.network),
            }
            for stage in stages
        ],
    }
    write_atomic(folder / "config.json", (json.dumps(content, indent=1) + "\n").encode())
    return Checkpoint(folder, tuple(stages), encoder, encoder_digest)


def save_stage(checkpoint: Checkpoint, stage: StageConfig, weights: Mapping[str, Tensor]) -> None:
    """Writes a stage's weights."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_atomic(checkpoint.file(stage), save(tensors))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads a folder's ``config.json`` and finds its files.

    Raises:
        UserError: not a checkpoint of this suite, or one of its files is missing.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(
            f"{folder} is not an Imagen checkpoint: it has no config.json beside one safetensors file per stage"
        )
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.get("format") != FORMAT:
            raise UserError(
                f"{file} is not the config of an Imagen checkpoint of format {FORMAT} (format: {content.get('format')!r})"
            )
        stages = tuple(_stage(row) for row in content["stages"])
        encoder = content["text_encoder"]
        digest = None if encoder is None else str(encoder.pop("digest"))
        checkpoint = Checkpoint(folder, stages, None if encoder is None else TextEncoderConfig(**encoder), digest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}: {error}); save the checkpoint again"
        ) from error
    for stage in checkpoint.stages:
        if not checkpoint.file(stage).is_file():
            raise UserError(f"{folder} lacks {checkpoint.file(stage).name}, the weights of its stage {stage.name!r}")
    return checkpoint


def load_network(checkpoint: Checkpoint, stage: StageConfig, device: str, dtype: torch.dtype) -> nn.Module:
    """Returns a stage's network with its weights, in memory once: it is built without storage and takes the file's.

    Raises:
        UserError: a tensor is missing, has another shape, or belongs to something else; it is named.
    """
    file = checkpoint.file(stage)
    with torch.device("meta"):
        network = build_network(stage)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    try:
        with safe_open(file, framework="pt") as weights:
            names = set(weights.keys())
            _compare(file, stage, expected, {name: torch.Size(weights.get_slice(name).get_shape()) for name in names})
            state = {name: weights.get_tensor(name).to(device, dtype) for name in expected}
    except SafetensorError as error:
        raise UserError(f"{file} is not a safetensors file, or is cut short ({error}); copy it again") from error
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def _compare(
    file: Path, stage: StageConfig, expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]
) -> None:
    for what, names in (
        ("lacks", sorted(expected.keys() - found.keys())),
        ("has foreign", sorted(found.keys() - expected.keys())),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{file} does not fit the stage {stage.name!r} of config.json: it {what} {names[0]}{more}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(
                f"{file} does not fit the stage {stage.name!r} of config.json: {name} is {tuple(found[name])}, not {tuple(shape)}"
            )


_KINDS: Mapping[type, str] = {UNetConfig: "unet", EfficientUNetConfig: "efficient_unet"}


def _stage(row: dict[str, Any]) -> StageConfig:
    name, schedule, kind = row.pop("name"), row.pop("schedule"), row.pop("network")
    if schedule not in ("cosine", "linear"):
        raise ValueError(f"stage {name!r} has the schedule {schedule!r}; allowed are cosine and linear")
    made = {kind: made for made, kind in _KINDS.items()}.get(kind)
    if made is None:
        raise ValueError(f"stage {name!r} has the network {kind!r}; allowed are {', '.join(_KINDS.values())}")
    unknown = row.keys() ^ {field.name for field in fields(made)}
    if unknown:
        raise ValueError(f"stage {name!r} has missing or unknown fields: {', '.join(sorted(unknown))}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    if made is EfficientUNetConfig:
        values["blocks"] = tuple(Block(**block) for block in values["blocks"])
    return StageConfig(name, made(**values), schedule)
