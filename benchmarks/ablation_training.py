"""The trainings of `ablation.py`: a small base for each variant and seed, and the frozen encoders that they read."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from drawbench.generators.imagen.checkpoint import save_config
from drawbench.generators.imagen.config import Recipe, StageConfig, TextConditioning, UNetConfig
from drawbench.generators.imagen.data import Function, Samples
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.text_stream import TextStream
from drawbench.generators.imagen.training import Trainer
from drawbench.generators.imagen.training_log import seconds_of
from drawbench.generators.imagen.training_run import Work
from drawbench.generators.imagen.training_run import train as train_stage
from drawbench.plugins import find
from drawbench.shapes.shipped import shipped

HERE = Path(__file__).resolve().parent
ABLATED = HERE / "ablated.py"
TEXT_ENCODER = HERE.parent / "weights" / "text_encoder.py"


@dataclass(frozen=True)
class Variant:
    """One base: how it sees the text, and whose text."""

    name: str
    conditioning: TextConditioning
    encoder: str
    """shipped, small or random."""

    def folder(self, seed: int) -> str:
        """Returns the name of what one training made, the same in both studies."""
        return f"{self.conditioning}-{self.encoder}-{seed}"


def network(text_dim: int, conditioning: TextConditioning) -> UNetConfig:
    """Returns the base that all variants have: about a million parameters."""
    return UNetConfig(16, 32, (1, 2), 1, (8,), 32, text_dim, conditioning)


def recipe(arguments: argparse.Namespace, seed: int) -> Recipe:
    """Returns how those of one seed are trained."""
    steps = arguments.steps
    warmup = min(100, steps // 2)
    return Recipe(
        steps, arguments.batch_size, "adam", 2e-3, warmup, steps, ema=0.995, loss="v", dtype="bf16", seed=seed
    )


def train(variant: Variant, seed: int, bases: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains a variant's base into a folder of ``bases``, or goes on, and returns how far it is and what it took."""
    encoder = TextEncoder(TextEncoderConfig(encoder_folder(variant.encoder, seed, arguments)))
    stage = StageConfig("base", network(encoder.dim, variant.conditioning), "cosine", "v")
    how = recipe(arguments, seed)
    source = Function(find("datasets", f"{ABLATED}:few"), stage.network.image_size)
    samples = Samples(source, stage.network.image_size, None, None, how.seed, captioned=True)
    checkpoint = save_config(bases / variant.folder(seed), (stage,), encoder.config, encoder.digest)
    identity = {"stage": asdict(stage), **asdict(how), "text encoder": encoder.digest, "data": source.digest()}
    trainer = Trainer(stage, how, "cpu")
    todo = Work(samples, TextStream(encoder), identity, how.steps, max_minutes=arguments.max_minutes)
    outcome = train_stage(checkpoint, trainer, todo)
    if outcome.interrupted:
        raise KeyboardInterrupt
    log = checkpoint.folder / "training" / "base" / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        "variant": variant.name,
        "seed": seed,
        "network": asdict(stage.network),
        "conditioning": variant.conditioning,
        "encoder": variant.encoder,
        "encoder_parameters": encoder_parameters(encoder),
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "steps": outcome.step,
        "seconds": seconds_of(rows),
        "loss": rows[-1]["loss"] if rows else None,
    }


def encoder_parameters(encoder: TextEncoder) -> int:
    """Returns how many parameters an encoder has, from its file."""
    from safetensors import safe_open

    total = 0
    with safe_open(encoder.folder / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  a file of tensors is no mapping
            total += torch.Size(file.get_slice(name).get_shape()).numel()
    return total


def encoder_folder(kind: str, seed: int, arguments: argparse.Namespace) -> str:
    """Returns the folder of an encoder, made where it is not there yet: of this kind, seed and number of steps."""
    if kind == "shipped":
        return str(shipped("text"))
    steps = 0 if kind == "random" else arguments.encoder_steps
    folder: Path = arguments.work / f"encoder-{kind}-{steps}-{seed}"
    if (folder / "model.safetensors").is_file():
        return str(folder)
    if kind == "random":
        save_random(folder, seed)
        return str(folder)
    where = [
        "--out",
        str(folder),
        "--state",
        str(folder.with_suffix(".pt")),
        "--max-minutes",
        str(arguments.max_minutes),
    ]
    how = ["--layers", "2", "--width", "64", "--steps", str(steps), "--seed", str(seed)]
    done = subprocess.run([sys.executable, str(TEXT_ENCODER), *how, *where], check=False)
    if done.returncode:
        sys.exit(f"{TEXT_ENCODER.name} ended with {done.returncode} before the {kind} encoder was whole")
    return str(folder)


def save_random(folder: Path, seed: int) -> None:
    """Writes an untrained encoder of the shipped one's shape, drawn as what its training began from was, and not as T5's own start.

    Embeddings as large as T5's drown what attention adds; an encoder that starts with them is a bag of bytes.
    """
    script = importlib.util.spec_from_file_location("text_encoder", TEXT_ENCODER)
    if script is None or script.loader is None:
        sys.exit(f"{TEXT_ENCODER} is not there; run this in a checkout")
    sys.path.insert(0, str(TEXT_ENCODER.parent))
    text_encoder = importlib.util.module_from_spec(script)
    script.loader.exec_module(text_encoder)
    with torch.random.fork_rng(devices=[]):
        text_encoder.save(text_encoder.new_model(seed), folder)
