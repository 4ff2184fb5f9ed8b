"""A training on disk: it logs, saves, stops when asked to, and goes on exactly where it stopped.

Beside the checkpoint's ``config.json`` and ``<stage>.safetensors`` (the averaged weights, written at each save) lies
``training/<stage>/``: ``identity.json`` (what moves the weights), ``state.pt`` (network, average, optimizer, place in the
data), ``log.jsonl``, ``events.out.tfevents.*`` for TensorBoard, ``samples/<step>.png``, ``bad_data.jsonl``.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import distributed

from drawbench.errors import UserError
from drawbench.files import atomic, sweep, write_atomic
from drawbench.generators.imagen.checkpoint import Checkpoint, save_stage
from drawbench.generators.imagen.config import StageConfig
from drawbench.generators.imagen.data import Bad, Batch, Samples, batches
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.training import Trainer
from drawbench.generators.imagen.training_log import Log
from drawbench.generators.imagen.training_samples import draw_grid
from drawbench.progress import progress, say

LOG_STEPS = 50
"""The loss is logged as the mean over so many steps."""

Texts = Callable[[Sequence[str]], Text]
"""Returns the embeddings of captions, on the CPU."""

_FORMAT = 1


@dataclass(frozen=True)
class Work:
    """What there is to train on, and how long."""

    samples: Samples
    texts: Texts | None
    identity: Mapping[str, Any]
    """All that moves the weights; a training of another identity is not gone on with."""
    steps: int
    workers: int = 0
    max_minutes: float | None = None
    save_minutes: float = 10.0
    grid: Batch | None = None
    """Samples whose captions (and low-resolution images) are drawn at each save."""


class Outcome(NamedTuple):
    """What became of a training."""

    step: int
    images: int
    """In this call, of all processes."""
    seconds: float
    loss: float | None
    """The mean over the last steps that were logged."""
    bad: Counter[str]
    """Reasons, and of how many files."""
    interrupted: bool


class Process(NamedTuple):
    """Which of how many processes this is (torchrun's RANK and WORLD_SIZE)."""

    rank: int = 0
    processes: int = 1


ALONE = Process()


def train(checkpoint: Checkpoint, trainer: Trainer, work: Work, process: Process = ALONE) -> Outcome:
    """Trains a stage to the end, or until time is up or an interruption, and saves; called again it goes on.

    Raises:
        UserError: the folder has a training of another identity, or a damaged state; the data is unusable; or the loss is
            not finite (what was saved before stays).
    """
    stage = trainer.stage
    folder = training_folder(checkpoint.folder, stage)
    if process.rank == 0:
        sweep(checkpoint.folder)
        sweep(folder)
        _claim(folder, work.identity)
    _barrier(process)
    position, bad = _resume(folder, trainer, process)
    log = Log(folder, trainer.step, writes=process.rank == 0)
    start, began = trainer.step, time.monotonic()
    saved = began
    loss: float | None = None
    window: list[torch.Tensor] = []
    stops = 0
    size = trainer.recipe.batch_size // process.processes
    stream = batches(work.samples, position + process.rank, process.processes, size, work.workers)

    def save() -> None:
        if not all(bool(torch.isfinite(one)) for one in window):
            raise UserError(
                f"the loss is not finite after step {trainer.step}: give a smaller --lr or --dtype fp32; what was saved "
                f"before stays in {folder}"
            )
        _save(folder, checkpoint, trainer, position, bad, process)

    with (
        _interruptions() as asked,
        progress(work.steps, unit="step", label=f"train {stage.name}", done=start) as bar,
    ):
        while trainer.step < work.steps:
            batch = next(stream)
            _note(folder, bad, batch.bad, process)
            text = None if work.texts is None else work.texts(batch.captions)
            window.append(trainer.train(batch, text))
            # The next position of the first process; bad samples make processes differ, and the furthest counts.
            position = int(batch.positions[-1]) - process.rank + process.processes
            bar.update()
            if trainer.step % LOG_STEPS == 0 or trainer.step == work.steps:
                loss = _mean(window, process)
                window.clear()
                rate = (trainer.step - start) * trainer.recipe.batch_size / (time.monotonic() - began)
                log.write(trainer, loss, rate)
                bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} images/s")
                if not loss < float("inf"):
                    window.append(torch.tensor(loss))
                    save()
            late = work.max_minutes is not None and time.monotonic() - began > 60 * work.max_minutes
            due = time.monotonic() - saved > 60 * work.save_minutes
            stops = _agree(2 if late or asked() else 1 if due else 0, process)
            if stops:
                save()
                _draw(folder, trainer, work, log, process)
                saved = time.monotonic()
            if stops == 2:
                break
        else:
            if trainer.step > start:
                save()
                _draw(folder, trainer, work, log, process)
    log.close()
    images = (trainer.step - start) * trainer.recipe.batch_size
    return Outcome(trainer.step, images, time.monotonic() - began, loss, Counter(bad.values()), asked())


def training_folder(checkpoint: Path, stage: StageConfig) -> Path:
    """Returns where a stage's training keeps what is not part of the checkpoint."""
    return checkpoint / "training" / stage.name


def read_identity(folder: Path) -> dict[str, Any] | None:
    """Returns what moves the weights of a training that was begun, or None."""
    file = folder / "identity.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); restore it, or train into another folder") from error
    return found


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    file = folder / "identity.json"
    if not file.is_file():
        write_atomic(file, (json.dumps(identity, indent=1) + "\n").encode())
        return
    there = read_identity(folder) or {}
    for name in sorted(there.keys() | identity.keys()):
        old, new = there.get(name), json.loads(json.dumps(identity.get(name)))
        if old != new:
            raise UserError(
                f"{folder} holds another training: {name} is {_short(old)} there, {_short(new)} here; give the same, or "
                "another -o"
            )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _resume(folder: Path, trainer: Trainer, process: Process) -> tuple[int, dict[str, str]]:
    """Loads the state that is there; returns the place in the data and what was bad so far."""
    file = folder / "state.pt"
    if not file.is_file():
        return 0, {}
    try:
        state = torch.load(file, map_location=trainer.device, weights_only=True)
        if state["format"] != _FORMAT:
            raise UserError(f"{file} has the format {state['format']}, not {_FORMAT}; train into another folder")
        trainer.load(state)
        position, bad = int(state["position"]), dict(state["bad"])
    except UserError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}: {first}); delete it to begin again, or restore it"
        ) from error
    if process.rank == 0:
        say(f"going on from step {trainer.step}")
    return position, bad


def _save(
    folder: Path, checkpoint: Checkpoint, trainer: Trainer, position: int, bad: Mapping[str, str], process: Process
) -> None:
    """Writes the averaged weights, then the state: whoever is killed between the two goes on from the state before."""
    furthest = torch.tensor(position, device=trainer.device)
    if process.processes > 1:
        distributed.all_reduce(furthest, distributed.ReduceOp.MAX)
    if process.rank:
        return
    save_stage(checkpoint, trainer.stage, trainer.ema.weights)
    state = {"format": _FORMAT, "position": int(furthest), "bad": dict(bad), **trainer.state()}
    with atomic(folder / "state.pt") as file:
        torch.save(state, file)


def _draw(folder: Path, trainer: Trainer, work: Work, log: Log, process: Process) -> None:
    if process.rank == 0 and work.grid is not None:
        text = None if work.texts is None else work.texts(work.grid.captions)
        file = folder / "samples" / f"{trainer.step:07d}.png"
        log.image(draw_grid(trainer, work.grid, text), file, trainer.step)


def _note(folder: Path, known: dict[str, str], found: Sequence[Bad], process: Process) -> None:
    """Records what was bad, once each: in words for the first few, in a file for all."""
    new = {one.what: one.reason for one in found if one.what not in known}
    if not new:
        return
    known |= new
    with open(folder / "bad_data.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps({"what": what, "reason": reason}) + "\n" for what, reason in new.items())
    if process.rank == 0 and len(known) - len(new) < 5:
        for what, reason in list(new.items())[:5]:
            say(f"not trained on: {what}: {reason}")


def _mean(window: Sequence[torch.Tensor], process: Process) -> float:
    mean = torch.stack(list(window)).mean()
    if process.processes > 1:
        distributed.all_reduce(mean)
        mean /= process.processes
    return float(mean)


def _agree(wish: int, process: Process) -> int:
    """Returns the largest wish of any process (0 go on, 1 save, 2 save and stop), so that all do the same."""
    if process.processes == 1:
        return wish
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    agreed = torch.tensor(wish, device=device)
    distributed.all_reduce(agreed, distributed.ReduceOp.MAX)
    return int(agreed)


def _barrier(process: Process) -> None:
    if process.processes > 1:
        distributed.barrier()


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C or SIGTERM came; a second one ends at once, without saving."""
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        say("stopping after this step; once more to stop at once, without saving")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
