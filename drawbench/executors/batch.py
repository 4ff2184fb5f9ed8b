"""How many images are drawn at once, and what happens where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from drawbench.errors import UserError
from drawbench.progress import say
from drawbench.store import Run


class Told(Protocol):
    """Where an event is put on record: a journal."""

    def tell(self, event: Mapping[str, object]) -> None:
        """Appends an event."""
        ...


class BatchSize:
    """A number of images, which may become smaller while a run is drawn where ``auto`` allows it."""

    def __init__(self, size: int, auto: bool = False) -> None:
        self.size, self.auto = size, auto

    def halve(self, run: Run, journal: Told, tried: int, why: str) -> None:
        """Takes half of the size that was ``tried`` and failed, unless another worker has done so; on record in run and journal.

        Raises:
            UserError: the size was given, not ``auto``.
        """
        if not self.auto:
            raise UserError(
                f"out of memory with {tried} images at once ({why}); the same command goes on with --batch-size "
                f"{max(1, tried // 2)}, or with --batch-size auto"
            )
        if self.size < tried:
            return
        self.size = max(1, tried // 2)
        say(f"out of memory with {tried} images at once: going on with {self.size}")
        journal.tell({"event": "batch size halved", "from": tried, "batch_size": self.size, "reason": why})
        run.set_batch_size(self.size)
