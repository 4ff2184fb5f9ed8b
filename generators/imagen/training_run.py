"""A training on disk: it logs, saves, stops when asked to, and goes on exactly where it stopped.

Beside the checkpoint's ``config.json`` and ``<stage>.safetensors`` (the averaged weights, written at each save) lies
``training/<stage>/``: ``identity.json`` (what moves the weights), ``state.pt`` (network, average, optimizer, place in the
data), ``log.jsonl``, ``events.out.tfevents.*`` for TensorBoard, ``samples/<step>.png``, ``bad_data.jsonl``.
"""

from __future__ import annotations

import math
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
from filelock import FileLock, Timeout
from torch import distributed

from drawbench.errors import UserError
from drawbench.files import sweep
from drawbench.generators.imagen.checkpoint import Checkpoint
from drawbench.generators.imagen.data import Bad, Batch, Samples, batches
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.training import Trainer
from drawbench.generators.imagen.training_log import Log
from drawbench.generators.imagen.training_samples import draw_grid
from drawbench.generators.imagen.training_state import (
    Place,
    Process,
    claim,
    gathered,
    not_finite,
    resume,
    save,
    training_folder,
)
from drawbench.progress import progress, say

LOG_STEPS = 50
"""The loss is logged as the mean over so many steps."""

Texts = Callable[[Sequence[str]], Text]
"""Returns the embeddings of captions, on the CPU."""

_GO_ON, _SAVE, _STOP = range(3)
_AGREE_STEPS = 5
_TOLD = 5


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


ALONE = Process()


def train(checkpoint: Checkpoint, trainer: Trainer, work: Work, process: Process = ALONE) -> Outcome:
    """Trains a stage to the end, or until time is up or an interruption, and saves; called again it goes on.

    Raises:
        UserError: the folder has a training of another identity, or a damaged state; the data is unusable; or the loss is
            not finite (what was saved before stays).
    """
    folder = training_folder(checkpoint.folder, trainer.stage)
    with _alone(folder, process):
        if process.rank == 0:
            sweep(checkpoint.folder)
            sweep(folder)
            claim(folder, checkpoint.file(trainer.stage), work.identity)
        _barrier(process)
        place = resume(folder, trainer, process)
        return _go_on(folder, checkpoint, trainer, work, place, process)


def _go_on(
    folder: Path, checkpoint: Checkpoint, trainer: Trainer, work: Work, place: Place, process: Process
) -> Outcome:
    start, began = trainer.step, time.monotonic()
    saved = began
    loss: float | None = None
    window = [torch.tensor(one, device=trainer.device) for one in place.window]
    log = Log(folder, start, writes=process.rank == 0)
    rank, size = process.rank, trainer.recipe.batch_size // process.processes
    stream = batches(work.samples, place.positions[rank], process.processes, size, work.workers)
    with (
        _interruptions() as asked,
        progress(
            work.steps, unit="step", label=f"train {trainer.stage.name}", done=start, shown=process.rank == 0
        ) as bar,
    ):
        while trainer.step < work.steps:
            batch = next(stream)
            _note(place.bad, batch.bad)
            text = None if work.texts is None else work.texts(batch.captions)
            window.append(trainer.train(batch, text))
            place.positions[rank] = int(batch.positions[-1]) + process.processes
            bar.update()
            ends = trainer.step == work.steps
            if trainer.step % LOG_STEPS == 0 or ends:
                loss = _mean(window, process)
                window.clear()
                if not math.isfinite(loss):
                    raise not_finite("loss", trainer, folder)
                seconds = time.monotonic() - began
                rate = (trainer.step - start) * trainer.recipe.batch_size / seconds
                log.write(trainer, loss, rate, seconds)
                bar.set_postfix_str(f"loss {loss:.4f}, {rate:.0f} images/s")
            wish = _SAVE if time.monotonic() - saved > 60 * work.save_minutes else _GO_ON
            if asked() or (work.max_minutes is not None and time.monotonic() - began > 60 * work.max_minutes):
                wish = _STOP
            agreed = _SAVE if ends else _agree(wish, trainer.step, process)
            if agreed != _GO_ON:
                place.window[:] = [float(one) for one in window]
                save(folder, checkpoint, trainer, place, process)
                saved = time.monotonic()
            if agreed == _SAVE:  # Who wants it to stop does not wait for pictures.
                _draw(folder, trainer, work, log, process)
            if agreed == _STOP:
                break
    log.close()
    if loss is None and window:
        loss = _mean(window, process)
    images = (trainer.step - start) * trainer.recipe.batch_size
    return Outcome(trainer.step, images, time.monotonic() - began, loss, Counter(place.bad.values()), asked())


def _draw(folder: Path, trainer: Trainer, work: Work, log: Log, process: Process) -> None:
    if process.rank == 0 and work.grid is not None:
        text = None if work.texts is None else work.texts(work.grid.captions)
        file = folder / "samples" / f"{trainer.step:07d}.png"
        log.image(draw_grid(trainer, work.grid, text), file, trainer.step)


def _note(known: dict[str, str], found: Sequence[Bad]) -> None:
    """Remembers what was bad, and tells of the first few."""
    for one in found:
        if one.what not in known and len(known) < _TOLD:
            say(f"not trained on: {one.what}: {one.reason}")
        known.setdefault(one.what, one.reason)


def _mean(window: Sequence[torch.Tensor], process: Process) -> float:
    mean = torch.stack(list(window)).mean()
    if process.processes > 1:
        distributed.all_reduce(mean)
        mean /= process.processes
    return float(mean)


def _agree(wish: int, step: int, process: Process) -> int:
    """Returns the largest wish of any process, so that all do the same; several ask each other every few steps only."""
    if process.processes == 1:
        return wish
    return max(gathered(wish, process)) if step % _AGREE_STEPS == 0 else _GO_ON


def _barrier(process: Process) -> None:
    if process.processes > 1:
        distributed.barrier()


@contextmanager
def _alone(folder: Path, process: Process) -> Iterator[None]:
    """Keeps a second training of the same stage out."""
    if process.rank:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(f"{folder} is being trained by another process; wait for it, or give another -o") from error
    try:
        yield
    finally:
        lock.release()


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
