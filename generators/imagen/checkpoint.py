"""A cascade on disk: a folder with ``config.json`` and one safetensors file per stage (its EMA weights)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from drawbench.errors import UserError
from drawbench.files import atomic, sha256_file, write_atomic
from drawbench.generators.imagen.config import Block, EfficientUNetConfig, OutputName, StageConfig, UNetConfig
from drawbench.generators.imagen.efficient_unet import EfficientUNet
from drawbench.generators.imagen.text_encoder import TextEncoderConfig
from drawbench.generators.imagen.unet import UNet
from drawbench.protocol import digest
from drawbench.shapes.shipped import SHAPES, shipped

FORMAT = 1

Network = UNet | EfficientUNet


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

    def fingerprint(self, stages: Sequence[StageConfig]) -> dict[str, str]:
        """Returns what identifies some of the stages: the sha256 of their configuration and files, and the encoder's digest."""
        encoder = {"text encoder": self.text_encoder_digest} if self.text_encoder_digest else {}
        config = {"config": digest([{"schedule": s.schedule, "output": s.output, **asdict(s.network)} for s in stages])}
        return {**{f"sha256 {self.file(s).name}": sha256_file(self.file(s)) for s in stages}, **config, **encoder}


def build_network(stage: StageConfig) -> Network:
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
                "output": stage.output,
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
    with atomic(checkpoint.file(stage)) as file:
        save_file(tensors, file)


def find_checkpoint(name: str) -> Path:
    """Returns the folder of a checkpoint: ``shapes`` is the cascade of the shapes world, which ships."""
    return shipped("imagen") if name == SHAPES else Path(name).expanduser()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Reads and checks a folder's ``config.json``; its stages' files are checked by `check_weights`.

    Raises:
        UserError: not a checkpoint of this suite, or one whose stages do not fit each other.
    """
    file = folder / "config.json"
    if not file.is_file():
        lacks = "it has no config.json beside one safetensors file per stage"
        if not folder.exists():
            lacks = f"there is no such folder (the small cascade that ships goes by the name {SHAPES})"
        raise UserError(f"{folder} is not an Imagen checkpoint: {lacks}")
    try:
        content = json.loads(file.read_text("utf-8"))
        if content.get("format") != FORMAT:
            raise UserError(
                f"{file} is not the config of an Imagen checkpoint of format {FORMAT} (format: {content.get('format')!r})"
            )
        stages = tuple(_stage(row) for row in content["stages"])
        encoder = content["text_encoder"]
        encoder_digest = None if encoder is None else str(encoder.pop("digest"))
        config = None if encoder is None else TextEncoderConfig(**_typed(TextEncoderConfig, encoder))
        checkpoint = Checkpoint(folder, stages, config, encoder_digest)
        _check_stages(stages, conditional=encoder is not None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}: {error}); save the checkpoint again"
        ) from error
    return checkpoint


def check_weights(checkpoint: Checkpoint, stage: StageConfig) -> None:
    """Holds the names and shapes in a stage's file against its network, without reading the weights.

    Raises:
        UserError: the file is missing or cut short, or a tensor is missing, has another shape, or is foreign; it is named.
    """
    file = checkpoint.file(stage)
    if not file.is_file():
        raise UserError(
            f"{checkpoint.folder} lacks {file.name}, the weights of its stage {stage.name!r}: train it, or stop before it "
            "(--set imagen.stop_after=base)"
        )
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build_network(stage).state_dict().items()}
    try:
        with safe_open(file, framework="pt") as weights:
            names = list(weights.keys())
            found = {name: torch.Size(weights.get_slice(name).get_shape()) for name in names}
    except SafetensorError as error:
        raise UserError(f"{file} is not a safetensors file, or is cut short ({error}); copy it again") from error
    _compare(file, stage, expected, found)


def load_network(checkpoint: Checkpoint, stage: StageConfig, device: str, dtype: torch.dtype) -> Network:
    """Returns a stage's network with its weights, in memory once: it is built without storage and takes the file's.

    Raises:
        UserError: see `check_weights`.
    """
    check_weights(checkpoint, stage)
    with torch.device("meta"):
        network = build_network(stage)
    with safe_open(checkpoint.file(stage), framework="pt") as weights:
        state = {name: weights.get_tensor(name).to(device, dtype) for name in network.state_dict()}
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
    name, schedule, kind, output = row.pop("name"), row.pop("schedule"), row.pop("network"), row.pop("output", "eps")
    if output not in get_args(OutputName) or (output == "residual" and kind == "unet"):
        raise ValueError(
            f"stage {name!r} has the output {output!r}; allowed are eps and v, and residual for super-resolution"
        )
    if schedule not in ("cosine", "linear"):
        raise ValueError(f"stage {name!r} has the schedule {schedule!r}; allowed are cosine and linear")
    made = {kind: made for made, kind in _KINDS.items()}.get(kind)
    if made is None:
        raise ValueError(f"stage {name!r} has the network {kind!r}; allowed are {', '.join(_KINDS.values())}")
    unknown = row.keys() ^ {field.name for field in fields(made)}
    if unknown:
        raise ValueError(f"stage {name!r} has missing or unknown fields: {', '.join(sorted(unknown))}")
    if made is EfficientUNetConfig:
        row["blocks"] = [Block(**_typed(Block, block)) for block in row["blocks"]]
    values = _typed(made, row)
    return StageConfig(name, made(**values), schedule, output)


def _typed(made: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a dataclass's fields from JSON: whole numbers over 0, lists as tuples, and nothing taken for something else."""
    hints, right = get_type_hints(made), {}
    for name, value in values.items():
        hint = hints[name]
        members = list(value) if isinstance(value, list) and get_origin(hint) is tuple else [value]
        of = get_args(hint)[0] if get_origin(hint) is tuple else hint
        for member in members:
            choices = get_args(of) if get_origin(of) is Literal else None
            if (choices and member not in choices) or (not choices and type(member) is not of):
                raise ValueError(f"{name} is {member!r}")
            if of is int and member < 1:
                raise ValueError(f"{name} is {member}; allowed is 1 or more")
        right[name] = tuple(members) if get_origin(hint) is tuple else value
    return right


def _check_stages(stages: Sequence[StageConfig], conditional: bool) -> None:
    """Raises a ValueError where stages do not make a cascade."""
    if not stages or len({stage.name for stage in stages}) < len(stages):
        raise ValueError("a cascade has at least one stage, each with a name of its own")
    for number, stage in enumerate(stages):
        network, name = stage.network, stage.name
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise ValueError(f"the stage {name!r} needs a name of A-Z a-z 0-9 _ and -")
        if isinstance(network, UNetConfig) != (number == 0):
            raise ValueError(f"stage {name!r}: the first network is a unet, the others are efficient_unet")
        if (network.text_conditioning != "none") != conditional:
            raise ValueError(
                f"stage {name!r} has text_conditioning {network.text_conditioning!r}, the text encoder says otherwise"
            )
        if isinstance(network, UNetConfig):
            halvings = len(network.channel_mult) - 1
            sizes = {network.image_size // 2**n for n in range(halvings + 1)}
            widths = [network.channels * mult for mult in network.channel_mult]
            if not set(network.attention_resolutions) <= sizes or any(
                width % network.head_channels for width in widths
            ):
                raise ValueError(
                    f"stage {name!r}: attention at a size that it does not have, or heads that do not divide a width"
                )
        else:
            halvings = len(network.blocks)
            if not network.blocks or any(block.channels % network.heads for block in network.blocks):
                raise ValueError(f"stage {name!r} needs blocks whose channels are a multiple of its heads")
            if any(block.self_attention and block.cross_attention for block in network.blocks):
                raise ValueError(
                    f"stage {name!r}: a block has self-attention, with the text in it, or cross-attention, not both"
                )
            if network.low_res_size != stages[number - 1].network.image_size:
                raise ValueError(
                    f"stage {name!r} enlarges {network.low_res_size}, the stage before it makes another size"
                )
        if network.image_size % 2**halvings:
            raise ValueError(f"stage {name!r}: image_size {network.image_size} cannot be halved {halvings} times")
