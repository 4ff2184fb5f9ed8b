"""The options of a pipeline's further stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PriorOptions:
    """The stage before: from a text to an image's embedding (Kandinsky, Stable Cascade, Karlo)."""

    checkpoint: Path | None = None
    steps: int | None = None
    guidance_weight: float | None = None
    variant: str | None = None
    """None: the checkpoint's; ``none``: weights without one."""


@dataclass(frozen=True)
class StageOptions:
    """A stage after: an enlargement (IF's second and third); ``checkpoint`` is a folder or an id."""

    checkpoint: Path | None = None
    steps: int | None = None
    guidance_weight: float | None = None
    scheduler: str | None = None
    noise_level: int | None = None


NO_PRIOR = PriorOptions()
NO_STAGE = StageOptions()
