"""From what was asked for to a training that can begin: network, data, texts and processes, checked before the first step."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import distributed

from drawbench.devices import fastest_dtype
from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.generators.imagen.captions import read_folder
from drawbench.generators.imagen.checkpoint import (
    Checkpoint,
    check_weights,
    find_checkpoint,
    load_network,
    open_checkpoint,
    save_config,
)
from drawbench.generators.imagen.config import PRESETS, EfficientUNetConfig, Recipe, StageConfig
from drawbench.generators.imagen.data import Folder, Function, Samples, Source
from drawbench.generators.imagen.text_cache import TextEmbeddings, lasting_name
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.text_stream import TextStream
from drawbench.generators.imagen.training import Trainer
from drawbench.generators.imagen.training_run import Outcome, Texts, Work
from drawbench.generators.imagen.training_samples import first_samples
from drawbench.generators.imagen.training_state import Process, read_identity, training_folder
from drawbench.plugins import available, find
from drawbench.progress import progress, say


class Given(NamedTuple):
    """What is to be trained, on what."""

    stage: str
    preset: str
    data: str
    captions: Path | None
    encoder: str | None
    encoder_dtype: str | None
    max_tokens: int | None
    init: str | None
    """A checkpoint whose stage of this name the training starts from."""
    recipe: Mapping[str, Any]
    """Fields of `Recipe` that differ from the preset's; a ``dtype`` of "auto" is resolved."""


class Way(NamedTuple):
    """How it is run: nothing here moves the weights, but for the last digits."""

    device: str
    micro_batch: int | None = None
    recompute: bool = False
    compiled: bool = False
    workers: int | None = None
    max_minutes: float | None = None
    save_minutes: float = 10.0


@dataclass(frozen=True)
class Made:
    """A training that can begin."""

    checkpoint: Checkpoint
    trainer: Trainer
    work: Work
    process: Process


class _Conditioning(NamedTuple):
    config: TextEncoderConfig | None
    digest: str | None
    dim: int
    embeddings: TextEmbeddings | None
    encoder: TextEncoder | None


@contextmanager
def set_up(given: Given, way: Way, folder: Path) -> Iterator[Made]:
    """Gives a training; processes that torchrun started meet here, and part at the end.

    Raises:
        UserError: an encoder, data or a checkpoint that do not fit or are not there; a recipe that cannot be.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"-o {folder} is a file; give a folder, which is made where there is none")
    with _processes(way.device) as (process, device):
        preset = PRESETS[given.preset]
        text = _conditioning(given.encoder or preset.text_encoder, given, device)
        stages = tuple(_fitted(stage, text) for stage in preset.stages)
        stage = next(stage for stage in stages if stage.name == given.stage)
        recipe = _recipe(preset.recipes[given.stage], given, folder, stage, device)
        _check(recipe, stage, way, process)
        source = _source(given, stage, recipe, text, speaks=process.rank == 0)
        low_res_size = stage.network.low_res_size if isinstance(stage.network, EfficientUNetConfig) else None
        samples = Samples(
            source, stage.network.image_size, low_res_size, recipe.crop, recipe.seed, captioned=text.config is not None
        )
        if given.init is not None and not _begun(folder, stage):
            _same(open_checkpoint(find_checkpoint(given.init)), text, stage)
        texts = _texts(text, source, process)
        checkpoint = _checkpoint(folder, stages, text, process)
        begun = _begun(folder, stage)  # What it was started from is of no more account then.
        first = None if given.init is None or begun else open_checkpoint(find_checkpoint(given.init))
        identity = {
            "preset": given.preset,
            "stage": asdict(stage),
            **{name: value for name, value in asdict(recipe).items() if name != "steps"},
            "text encoder": text.digest,
            "data": source.digest(),
            "init": begun["init"] if begun else None if first is None else sha256_file(first.file(stage)),
        }
        trainer = Trainer(
            stage,
            recipe,
            device,
            micro_batch=way.micro_batch,
            recompute=way.recompute,
            compiled=way.compiled,
            processes=process.processes,
        )
        try:
            if first is not None:
                trainer.begin_from(load_network(first, stage, "cpu", torch.float32).state_dict())
            workers = way.workers if way.workers is not None else 4 if device.startswith("cuda") else 0
            grid = first_samples(samples) if process.rank == 0 else None
            work = Work(samples, texts, identity, recipe.steps, workers, way.max_minutes, way.save_minutes, grid)
            if process.rank == 0:
                millions = sum(parameter.numel() for parameter in trainer.network.parameters()) / 1e6
                amount = f"{source.size} captioned images" if source.size else "an endless stream"
                say(
                    f"{stage.name} of {given.preset}: {millions:.1f} M parameters, {amount}, batches of {recipe.batch_size} to "
                    f"step {recipe.steps}, {recipe.optimizer}, {recipe.dtype} on {process.processes} x {device}"
                )
            yield Made(checkpoint, trainer, work, process)
        finally:
            trainer.part()


def describe(made: Made, outcome: Outcome) -> str:
    """Returns a training's end in one line, and a second one where data was bad."""
    recipe, stage = made.trainer.recipe, made.trainer.stage
    rate = outcome.images / outcome.seconds if outcome.seconds else 0.0
    loss = "" if outcome.loss is None else f", loss {outcome.loss:.4f}"
    line = (
        f"{stage.name}: step {outcome.step} of {recipe.steps}, {outcome.images} images in {outcome.seconds:.0f} s "
        f"({rate:.1f} images/s){loss}; {made.checkpoint.file(stage)}"
    )
    if outcome.step < recipe.steps:
        line += "; the same command goes on"
    if not outcome.images:
        line = f"{stage.name}: it is at step {outcome.step} of {recipe.steps}: nothing to do; {made.checkpoint.file(stage)}"
    if isinstance(made.work.texts, TextStream) and made.work.texts.cut:
        line += f"\n{made.work.texts.cut} captions were longer than the text encoder takes and were cut"
    if outcome.bad:
        total, (reason, count) = sum(outcome.bad.values()), outcome.bad.most_common(1)[0]
        file = training_folder(made.checkpoint.folder, stage) / "bad_data.jsonl"
        line += f"\nnot trained on: {total} bad samples, most often ({count}): {reason}; all are in {file}"
    return line


def _conditioning(name: str | None, given: Given, device: str) -> _Conditioning:
    if name is None:
        raise UserError(f"the preset {given.preset} has no text encoder of its own: --encoder NAME|FOLDER, or none")
    is_embeddings = Path(name).expanduser().joinpath("encoder.json").is_file()
    if (name == "none" or is_embeddings) and (given.encoder_dtype or given.max_tokens):
        raise UserError(f"--encoder-dtype and --max-tokens are for a text encoder; --encoder {name} is none")
    if name == "none":
        return _Conditioning(None, None, 0, None, None)
    dtype = cast("Literal['fp32', 'bf16']", given.encoder_dtype or "bf16")
    limit = {} if given.max_tokens is None else {"max_tokens": given.max_tokens}
    if is_embeddings:
        embeddings = TextEmbeddings(Path(name).expanduser())
        by = embeddings.made_by
        config = TextEncoderConfig(by["name"], by["dtype"], by["max_tokens"])
        return _Conditioning(config, embeddings.digest, embeddings.dim(), embeddings, None)
    config = TextEncoderConfig(name, dtype, **limit)
    encoder = TextEncoder(config, device=device)
    config = replace(config, name=lasting_name(encoder))  # Who samples may stand elsewhere.
    return _Conditioning(config, encoder.digest, encoder.dim, None, encoder)


def _fitted(stage: StageConfig, text: _Conditioning) -> StageConfig:
    """Returns a preset's stage for this text encoder: as wide as its embeddings, or without text."""
    if text.config is None:
        return replace(stage, network=replace(stage.network, text_conditioning="none"))
    return replace(stage, network=replace(stage.network, text_dim=text.dim))


def _checkpoint(folder: Path, stages: Sequence[StageConfig], text: _Conditioning, process: Process) -> Checkpoint:
    """Returns the folder's checkpoint, which may have other stages already; it must be of the same cascade."""
    if not (folder / "config.json").is_file():
        if process.rank:
            return Checkpoint(folder, tuple(stages), text.config, text.digest)
        return save_config(folder, stages, text.config, text.digest)
    there = open_checkpoint(folder)
    if there.text_encoder_digest != text.digest:
        names = [config.name if config else "none" for config in (there.text_encoder, text.config)]
        raise UserError(
            f"{folder} is a cascade with the text encoder {names[0]}, not {names[1]} (or not with the same files, dtype and "
            "--max-tokens); stages of one cascade share it"
        )
    if there.stages != tuple(stages):
        raise UserError(f"{folder} is a cascade with other networks than this preset's; give another -o")
    return there


def _begun(folder: Path, stage: StageConfig) -> dict[str, Any] | None:
    """Returns the identity of a training that has a state to go on from."""
    training = training_folder(folder, stage)
    return read_identity(training) if (training / "state.pt").is_file() else None


def _same(first: Checkpoint, text: _Conditioning, stage: StageConfig) -> None:
    """Refuses a checkpoint that the training cannot start from: of another name, network or text encoder."""
    if stage not in first.stages or first.text_encoder_digest != text.digest:
        raise UserError(
            f"--init {first.folder} has no stage {stage.name!r} with this preset's network and text encoder"
        )
    check_weights(first, stage)


def _recipe(preset: Recipe, given: Given, folder: Path, stage: StageConfig, device: str) -> Recipe:
    chosen = dict(given.recipe)
    if chosen.get("dtype") == "auto":
        begun = _begun(folder, stage)  # On another CPU it goes on in what it was begun in.
        chosen["dtype"] = begun["dtype"] if begun else fastest_dtype(device)
    return replace(preset, **chosen)


def _check(recipe: Recipe, stage: StageConfig, way: Way, process: Process) -> None:
    if recipe.batch_size % process.processes:
        raise UserError(f"--batch-size {recipe.batch_size} cannot be shared by {process.processes} processes")
    if recipe.decay_steps and recipe.steps > recipe.decay_steps:
        raise UserError(
            f"--steps {recipe.steps}: from step {recipe.decay_steps} on the learning rate is 0; give --decay-steps "
            f"{recipe.steps}, or 0 for a rate that stays"
        )
    if recipe.decay_steps and recipe.warmup >= recipe.decay_steps:
        raise UserError(f"--warmup {recipe.warmup} must be less than --decay-steps, which are {recipe.decay_steps}")
    if recipe.loss not in ("eps", stage.output):
        raise UserError(
            f"--loss {recipe.loss} is for stages whose output is {recipe.loss}; {stage.name} of this preset predicts "
            f"{stage.output}"
        )
    if recipe.crop is None:
        return
    network = stage.network
    if not isinstance(network, EfficientUNetConfig):
        raise UserError("--crop is for super-resolution; the base sees whole images")
    times, halvings = network.image_size // network.low_res_size, 2 ** len(network.blocks)
    if recipe.crop > network.image_size or recipe.crop % times or recipe.crop % halvings:
        raise UserError(
            f"--crop {recipe.crop}: allowed are multiples of {max(times, halvings)} up to {network.image_size}"
        )


def _source(given: Given, stage: StageConfig, recipe: Recipe, text: _Conditioning, speaks: bool) -> Source:
    folder = Path(given.data).expanduser()
    named = given.data in {plugin.name for plugin in available("datasets")}
    if named or (":" in given.data and not folder.is_dir()):
        if given.captions is not None:
            raise UserError("--captions goes with a folder; a data function gives its captions itself")
        return Function(find("datasets", given.data), stage.network.image_size)
    read = read_folder(folder, given.captions, captioned=text.config is not None)
    for fault, count in read.faults.items() if speaks else ():
        say(f"left out: {count} rows of the captions file: {fault} (the first: {read.examples[fault]})")
    return Folder(read.rows, recipe.seed)


def _texts(text: _Conditioning, source: Source, process: Process) -> Texts | None:
    """Returns what turns captions into embeddings: from the cache for a folder, by the encoder for an endless stream."""
    if text.config is None:
        return None
    if not isinstance(source, Folder):
        if text.encoder is None:
            raise UserError("an endless stream of captions needs the text encoder itself, not its embeddings")
        return TextStream(text.encoder)
    if process.rank:
        distributed.barrier()  # The first process encodes for all.
    embeddings = text.embeddings or TextEmbeddings(cast("TextEncoder", text.encoder))
    captions = list(dict.fromkeys(row.caption for row in source.rows))
    lacking = embeddings.missing(captions)
    if lacking and text.encoder is not None:
        with progress(len(captions), unit="text", label="encode captions", done=len(captions) - len(lacking)) as bar:
            embeddings.add(lacking, bar.update)
        text.encoder.unload()
    elif lacking:
        embeddings.get(lacking[:1])  # Says how to make them.
    cut = len(embeddings.cut(captions))
    if cut and not process.rank:
        say(f"{cut} of {len(captions)} captions are longer than the text encoder takes and were cut")
    if process.processes > 1 and not process.rank:
        distributed.barrier()
    return embeddings.get


@contextmanager
def _processes(device: str) -> Iterator[tuple[Process, str]]:
    """Gives this process's number and device; where torchrun started several, they are joined."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Process(), device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device.startswith("cuda")
    own = f"cuda:{local}" if gpu else device
    if gpu:
        torch.cuda.set_device(local)
    # Imported later, it would take the group as a default argument, and with it gloo's threads would outlive the group:
    # one that still lets go of a tensor while Python ends aborts the process.
    importlib.import_module("torch.distributed.nn")
    # All wait while the first encodes captions, or writes a large state.
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(days=1))
    try:
        yield Process(distributed.get_rank(), count), own
    finally:
        distributed.destroy_process_group()
