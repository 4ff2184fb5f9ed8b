"""Draws a sheet of a run's images beside their prompts: the first prompts of every category, and all samples, none chosen."""

from __future__ import annotations

import argparse
import io
import textwrap
from pathlib import Path

import PIL.Image
from PIL import ImageDraw, ImageFont

from drawbench.interfaces import Prompt
from drawbench.store import Run

SIDE, GAP, TEXT = 96, 6, 300
"""Pixels: of an image, between images, and of the column with the prompts."""


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="FILE.png")
    parser.add_argument("--prompts", type=int, default=1, help="of each category")
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    chosen: dict[str | None, list[Prompt]] = {}
    drawn = {record.prompt for record in run.drawn()}
    for prompt in (prompt for prompt in run.prompt_set.prompts if prompt.id in drawn):
        chosen.setdefault(prompt.category, []).append(prompt)
    prompts = [prompt for of in chosen.values() for prompt in of[: arguments.prompts]]
    sheet(run, prompts).quantize(256).save(arguments.out, optimize=True)  # A palette: a third of the bytes.


def sheet(run: Run, prompts: list[Prompt]) -> PIL.Image.Image:
    """Returns one row for each prompt: its category and text, and its images in the order of their samples."""
    samples, records = run.manifest.plan.samples, run.records()
    whole = PIL.Image.new("RGB", (TEXT + samples * (SIDE + GAP), len(prompts) * (SIDE + GAP) - GAP), "white")
    pen = ImageDraw.Draw(whole)
    for row, prompt in enumerate(prompts):
        top = row * (SIDE + GAP)
        pen.text((8, top + 6), prompt.category or "", fill=(110, 110, 110), font=ImageFont.load_default(12))
        said = textwrap.fill(prompt.text, 42, max_lines=4, placeholder=" …")
        pen.text((8, top + 24), said, fill="black", font=ImageFont.load_default(13))
        for sample in range(samples):
            record = records.get((prompt.id, sample))
            if record is None or record.status != "drawn":
                continue  # Refused, or not drawn yet: its place stays white.
            with PIL.Image.open(io.BytesIO(run.read(record))) as image:
                shown = image.resize((SIDE, SIDE), PIL.Image.Resampling.BICUBIC)
            whole.paste(shown, (TEXT + sample * (SIDE + GAP), top))
    return whole


if __name__ == "__main__":
    main()
