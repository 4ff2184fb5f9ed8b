"""The card that lies beside every file of weights: what it is, how it was made, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from drawbench.files import sha256_file, write_atomic


@dataclass(frozen=True)
class Card:
    """All that a reader must know to trust files of weights, or to make them again."""

    title: str
    what: str
    data: str
    recipe: str
    seed: int
    command: str
    seconds: float
    """That training took by the clock, beside other work."""
    figures: Sequence[str]
    """Lines of Markdown."""
    weights: Sequence[Path]

    def write(self, path: Path) -> None:
        """Writes the card as Markdown."""
        rows = {
            "Data": self.data,
            "Recipe": self.recipe,
            "Seed": str(self.seed),
            "Command": f"`{self.command}`",
            "Hardware": f"{_processor()}; torch {torch.__version__}",
            "Time": f"{self.seconds / 60:.0f} minutes by the clock",
            "Licence": "Apache-2.0, as the project",
        }
        files = [(f"`{path.name}`, {path.stat().st_size:,} bytes", f"`{sha256_file(path)}`") for path in self.weights]
        lines = [
            *(f"# {self.title}", "", self.what, ""),
            *("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())),
            *(f"| {what} | {text} |" for row in files for what, text in zip(("File", "sha256"), row, strict=True)),
            *("", "## Figures", "", *self.figures, ""),
        ]
        write_atomic(path, "\n".join(lines).encode())


def size_of(tensors: Mapping[str, Tensor]) -> str:
    """Returns ``1.10 M parameters``."""
    return f"{sum(tensor.numel() for tensor in tensors.values()) / 1e6:.2f} M parameters"


def _processor() -> str:
    """Returns generic words for the machine: the kind of processor, and whether it has units for bf16."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    units = next((name for name in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if name in flags), "no known units")
    return f"one core of a server CPU ({units}), shared with other work"
