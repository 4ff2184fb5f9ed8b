"""What is typed of batches, processes and parts, turned into numbers and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drawbench.cli.building import Ready, build_again
from drawbench.errors import UserError

if TYPE_CHECKING:
    from drawbench.executors.shard import Shard
    from drawbench.runner import Draw
    from drawbench.store import Manifest, Run, Store

FIRST_ON_GPU, FIRST_ON_CPU = 64, 8
"""Images at once with which ``--batch-size auto`` begins."""


def first_batch_size(given: str, device: str, begun: Manifest | None) -> int:
    """Returns the images at once to begin with: as given, or for ``auto`` what the run has, else what the device may bear."""
    if given == "auto":
        if begun is not None:
            return begun.batch_size
        return FIRST_ON_GPU if device.startswith("cuda") else FIRST_ON_CPU
    return _number(given, "--batch-size")


def device_of(part: Shard, device: str) -> str:
    """Returns the GPU that is this process's, where torchrun or SLURM started one process for each and none was named."""
    if part.local is None or device not in ("auto", "cuda"):
        return device
    gpus = _gpus()
    return f"cuda:{part.local % gpus}" if gpus else device


def worker_devices(given: str, device: str) -> list[str]:
    """Returns a device for each process: the GPUs in turn, where the device is a GPU without a number."""
    gpus = _gpus() if device == "cuda" else 0
    count = max(1, gpus) if given == "auto" else _number(given, "--processes")
    return [f"cuda:{number % gpus}" if gpus > 1 else device for number in range(count)]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def in_processes(
    run: Run, one: Ready, devices: Sequence[str], settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]
) -> Draw:
    """Returns what draws in several processes, each with a generator of its own."""
    from drawbench.executors.processes import draw_in_processes

    needed = {name: given[name] for name in ("generators", "checkpoints", "name", "dtype")}
    make = partial(build_again, one.alias, {one.alias: dict(settings[one.alias])}, needed)

    def draw(items: Any, batch: Any, remarks: Any) -> Any:
        return draw_in_processes(run, make, devices, items, batch, remarks)

    return draw


def store_of(path: Path, given: Store | None, begun: Manifest | None) -> Store:
    """Returns how images are kept: as given, else as the run has it.

    Raises:
        UserError: the run keeps them otherwise.
    """
    if begun is None:
        return given or "png"
    if given is not None and given != begun.store:
        raise UserError(
            f"{path} keeps its images as {begun.store}, not as {given}; leave --store out, or give a new -o"
        )
    return begun.store


def _number(given: str, flag: str) -> int:
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise UserError(f"{flag} {given}: give a whole number from 1, or auto")
    return int(given)
