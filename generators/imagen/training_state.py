"""The state of a training on disk: what it is, how far it is, and what it goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import distributed

from drawbench.errors import UserError
from drawbench.files import atomic, write_atomic
from drawbench.generators.imagen.checkpoint import Checkpoint, save_stage
from drawbench.generators.imagen.config import StageConfig
from drawbench.generators.imagen.training import Trainer
from drawbench.progress import say

_FORMAT = 1

T = TypeVar("T")


class Place(NamedTuple):
    """How far the data has been used, and what of it was bad."""

    positions: list[int]
    """The next one of each process."""
    bad: dict[str, str]
    """File or number → reason, of all processes."""
    window: list[float]
    """The losses since the last line of the log."""


class Process(NamedTuple):
    """Which of how many processes this is (torchrun's RANK and WORLD_SIZE)."""

    rank: int = 0
    processes: int = 1


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


def claim(folder: Path, published: Path, identity: Mapping[str, Any]) -> None:
    """Records what is trained; what was begun and never saved stands in nobody's way."""
    file = folder / "identity.json"
    if not (folder / "state.pt").is_file():
        if published.is_file():
            raise UserError(
                f"{published} is there, but not the state {folder / 'state.pt'} to go on from; bring the state back, or "
                "give another -o (with --init, to start from these weights)"
            )
        write_atomic(file, (json.dumps(identity, indent=1) + "\n").encode())
        return
    there, here = _flat(read_identity(folder) or {}), _flat(json.loads(json.dumps(identity)))
    for name in sorted(there.keys() | here.keys()):
        old, new = there.get(name), here.get(name)
        if old != new:
            raise UserError(
                f"{folder} holds another training: {name} is {_short(old)} there, {_short(new)} here; give the same, or "
                "another -o"
            )


def resume(folder: Path, trainer: Trainer, process: Process) -> Place:
    """Loads the state that is there; returns the place in the data."""
    file, count = folder / "state.pt", process.processes
    place = Place(list(range(count)), {}, [])
    if file.is_file():
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            if state["format"] != _FORMAT:
                raise UserError(f"{file} has the format {state['format']}, not {_FORMAT}; train into another folder")
            trainer.load(state)
            place = Place([int(position) for position in state["positions"]], dict(state["bad"]), state["window"])
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{file} cannot be read ({type(error).__name__}: {_first_line(error)}); restore it, or train into another folder"
            ) from error
        if process.rank == 0:
            say(f"going on from step {trainer.step}")
        if len(place.positions) != count:
            furthest = max(place.positions)  # Where data was bad the processes differ.
            if process.rank == 0:
                say(f"it was {len(place.positions)} processes, and is {count}: from here on sums are rounded otherwise")
            place = Place([furthest + rank for rank in range(count)], place.bad, place.window)
    if process.rank == 0 and place.bad:
        _write_bad(folder, place.bad)
    if len(set(gathered((trainer.step, *place.positions), process))) > 1:
        raise UserError(
            f"the processes found different states in {folder}; every node needs the same folder: give -o on a shared disk"
        )
    return place


def save(folder: Path, checkpoint: Checkpoint, trainer: Trainer, place: Place, process: Process) -> None:
    """Writes the averaged weights, then the state: whoever is killed between the two goes on from the state before."""
    if not all(gathered(trainer.is_finite(), process)):
        raise not_finite("network", trainer, folder)
    positions = gathered(place.positions[process.rank], process)
    for found in gathered(place.bad, process):
        place.bad.update(found)
    if process.rank:
        return
    save_stage(checkpoint, trainer.stage, trainer.ema.weights)
    with atomic(folder / "state.pt") as file:
        state = {"format": _FORMAT, **place._replace(positions=positions)._asdict(), **trainer.state()}
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's writer does not say what the system said.
            raise UserError(
                f"{folder / 'state.pt'} could not be written; is the disk full? {_first_line(error)}"
            ) from error
    if place.bad:
        _write_bad(folder, place.bad)


def not_finite(what: str, trainer: Trainer, folder: Path) -> UserError:
    """Returns the error of a loss or a network that is no number."""
    return UserError(
        f"the {what} is not finite at step {trainer.step}: give a smaller --lr or --dtype fp32; what was saved before stays "
        f"in {folder}"
    )


def gathered(value: T, process: Process) -> list[T]:
    """Returns what each process has."""
    if process.processes == 1:
        return [value]
    values: list[Any] = [None] * process.processes
    distributed.all_gather_object(values, value)
    return values


def _flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns nested fields under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return flat


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _write_bad(folder: Path, bad: Mapping[str, str]) -> None:
    lines = (json.dumps({"what": what, "reason": reason}) + "\n" for what, reason in bad.items())
    write_atomic(folder / "bad_data.jsonl", "".join(lines).encode())


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0].split(". ")[0]
