"""Small runs for tests: a set of prompts, a generator whose misdeeds are set, and the run of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from drawbench.interfaces import Drawn, Item, Prompt
from drawbench.prompts import make_prompt_set
from drawbench.store import Manifest, Plan, Run, System


def prompt_set(count: int = 6, name: str = "small"):
    return make_prompt_set(
        name, [Prompt(f"{n:03d}", f"Prompt {n}.", "even" if n % 2 == 0 else "odd") for n in range(count)]
    )


class Painter:
    """Draws one colour from the seed; fails or refuses where told; remembers the batches that it was given."""

    def __init__(self, pads=False, fails=(), refuses=(), extras=False):
        self.pads, self.fails, self.refuses, self.extras = pads, set(fails), set(refuses), extras
        self.batches: list[list[str]] = []

    def fingerprint(self):
        return {"painter": "1"}

    def generate(self, items: Sequence[Item]):
        from drawbench.interfaces import Refused

        self.batches.append([item.prompt.id for item in items])
        if any(item.prompt.id in self.fails for item in items):
            raise RuntimeError("the brush broke")
        return [
            Refused("too bold")
            if item.prompt.id in self.refuses
            else Drawn(self.paint(item.seed), extras={"sketch": self.paint(item.seed + 1)} if self.extras else {})
            for item in items
        ]

    def paint(self, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def manifest(
    prompts, *, samples=1, ids=None, name="painter", seed=0, dtype="fp32", options=None, fingerprint=None, store="png"
):
    return Manifest(
        store=store,
        system=System(name, "painter", options or {}, fingerprint or {"painter": "1"}),
        prompt_set=prompts.name,
        prompt_set_sha256=prompts.sha256,
        prompt_count=len(prompts.prompts),
        seed=seed,
        dtype=dtype,
        plan=Plan(ids, samples),
        batch_size=4,
        created="2026-01-01T00:00:00+00:00",
    )


def start(path: Path, prompts=None, **options):
    prompts = prompts or prompt_set()
    return Run.start(path, manifest(prompts, **options), prompts)


def image_bytes(path: Path) -> dict[str, bytes]:
    """Everything under images and extras, by relative path."""
    found = [file for folder in ("images", "extras") for file in (path / folder).rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(found)}
