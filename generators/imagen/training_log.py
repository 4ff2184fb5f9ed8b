"""The log of a training: one line of JSON now and then, the same for TensorBoard where it is installed, and sample grids."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from drawbench.files import write_atomic
from drawbench.generators.imagen.training import Trainer, learning_rate
from drawbench.progress import say


class Log:
    """Appends to ``log.jsonl`` and to TensorBoard's events; what was logged after the step that is gone on from is taken back."""

    def __init__(self, folder: Path, step: int, writes: bool) -> None:
        self.file, self.writes = folder / "log.jsonl", writes
        self._board: Any = None
        if not writes:
            return
        if self.file.is_file():
            kept = [line for line in self.file.read_bytes().splitlines(keepends=True) if _step(line) <= step]
            write_atomic(self.file, b"".join(kept))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            say(
                "no log for TensorBoard, which is not installed (pip install 'drawbench[tensorboard]'); log.jsonl has the same"
            )
            return
        self._board = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, trainer: Trainer, loss: float, images_per_second: float, seconds: float) -> None:
        """Notes the mean loss up to a step, the learning rate, the speed, and the seconds since the command began."""
        if not self.writes:
            return
        entry = {
            "step": trainer.step,
            "loss": loss,
            "learning_rate": learning_rate(trainer.recipe, trainer.step - 1),
            "images_per_second": round(images_per_second, 3),
            "seconds": round(seconds, 1),
            "samples": trainer.step * trainer.recipe.batch_size,
        }
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name in ("loss", "learning_rate", "images_per_second"):
                self._board.add_scalar(name, entry[name], trainer.step)

    def image(self, image: torch.Tensor, file: Path, step: int) -> None:
        """Keeps a picture ``(3, H, W)`` in [-1, 1]."""
        pixels = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(stream, "PNG")
        write_atomic(file, stream.getvalue())
        if self._board is not None:
            self._board.add_image("samples", pixels, step)

    def close(self) -> None:
        """Writes out what is pending."""
        if self._board is not None:
            self._board.close()


def seconds_of(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of all commands that a training took, by the rows of its log; each counts from its own beginning."""
    times = [float(row["seconds"]) for row in rows]
    return sum(now for now, then in zip(times, [*times[1:], 0.0], strict=True) if then < now)


def _step(line: bytes) -> int:
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else 2**63
    except (ValueError, KeyError, TypeError):
        return 2**63  # Cut off in the writing.
