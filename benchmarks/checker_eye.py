"""The shapes world's checker against a person's eye, on generated images.

`sheets` picks images at random over the categories and lays them out with their prompts, numbered, without any verdict.
A person fills in the column `eye` (right or wrong) of the table beside the sheets. `agreement` joins that with the
checker's verdicts, and says how often both agree.
"""

from __future__ import annotations

import argparse
import csv
import textwrap
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw

from drawbench.intervals import estimate
from drawbench.journal import Record
from drawbench.metrics.shapes_accuracy import shapes_accuracy
from drawbench.store import Run

COLUMNS, ROWS, SIDE, TEXT = 6, 4, 192, 64
FIELDS = ("number", "system", "prompt", "sample", "category", "text", "eye")


def sheets(runs: list[Path], count: int, seed: int, without: list[Path], out: Path) -> None:
    """Writes ``sheet-00.png`` … and ``eye.csv``, which must not be there yet: a filled table is hours of a person."""
    tables = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in without]
    seen = {(row.system, row.prompt, int(row.sample)) for table in tables for row in table.itertuples()}
    chosen = choose([Run.open(path) for path in runs], count, Random(seed), seen)
    out.mkdir(parents=True, exist_ok=True)
    if (out / "eye.csv").exists():
        raise SystemExit(f"{out / 'eye.csv'} is there; move it away, or give another -o")
    with open(out / "eye.csv", "x", newline="") as file:
        table = csv.DictWriter(file, FIELDS)
        table.writeheader()
        for number, (run, record) in enumerate(chosen):
            of = run.prompts[record.prompt]
            row = (number, run.path.name, record.prompt, record.sample, of.category, of.text, "")
            table.writerow(dict(zip(FIELDS, row, strict=True)))
    for first in range(0, count, COLUMNS * ROWS):
        sheet = Image.new("RGB", (COLUMNS * (SIDE + 8), ROWS * (SIDE + TEXT)), "white")
        for place, (run, record) in enumerate(chosen[first : first + COLUMNS * ROWS]):
            x, y = place % COLUMNS * (SIDE + 8), place // COLUMNS * (SIDE + TEXT)
            with Image.open(BytesIO(run.read(record))) as image:
                sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (x, y + TEXT - 4))
            said = textwrap.fill(f"{first + place}: {run.prompts[record.prompt].text}", 34)
            ImageDraw.Draw(sheet).text((x, y), said, fill="black", font_size=11)
        sheet.save(out / f"sheet-{first // (COLUMNS * ROWS):02d}.png")


def choose(runs: list[Run], count: int, rng: Random, seen: set[tuple[str, str, int]]) -> list[tuple[Run, Record]]:
    """Returns unseen images drawn at random, as many of each category as of any other while they last, in random order."""
    pools: dict[str, list[tuple[Run, Record]]] = {}
    for run in runs:
        for record in run.drawn():
            if (run.path.name, record.prompt, record.sample) in seen:
                continue
            pools.setdefault(run.prompts[record.prompt].category or "", []).append((run, record))
    if (there := sum(map(len, pools.values()))) < count:
        raise SystemExit(f"--count {count}: the runs have {there} images that are not in another table")
    chosen: list[tuple[Run, Record]] = []
    while len(chosen) < count:
        for pool in pools.values():
            if pool and len(chosen) < count:
                chosen.append(pool.pop(rng.randrange(len(pool))))
    rng.shuffle(chosen)
    return chosen


def agreement(runs: list[Path], table: Path, out: Path) -> None:
    """Writes the table with the checker's verdicts, and prints how often they agree with the eye's."""
    opened = {path.name: Run.open(path) for path in runs}
    if len(opened) < len(runs):
        raise SystemExit("two runs have folders of one name, by which the table knows them")
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    if bad := sorted(set(rows["eye"]) - {"right", "wrong"}):
        raise SystemExit(f"{table}: the column eye holds {bad[0]!r}; allowed are right and wrong")
    metric, verdicts, reasons = shapes_accuracy(), [], []
    records = {name: run.records() for name, run in opened.items()}
    for row in rows.itertuples():
        run = opened[row.system]
        with Image.open(BytesIO(run.read(records[row.system][row.prompt, int(row.sample)]))) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        scored = metric.score(pixels, None, [run.prompts[row.prompt]])
        verdicts.append("right" if scored.values["correct"][0] == 1 else "wrong")
        reasons.append(scored.notes["wrong"][0])
    rows["checker"], rows["reason"] = verdicts, reasons
    rows.to_csv(out, index=False)
    same = (rows["eye"] == rows["checker"]).to_numpy(float)
    said = f"agreement {same.mean():.3f} of {len(rows)} images, as many of each category as there were"
    found = estimate(same, list(rows["prompt"]), "rate")
    if found.interval is not None:
        of = f"over {found.n_prompts} prompts"
        said += f"; {of} {found.value:.3f} [{found.interval.low:.3f}, {found.interval.high:.3f}]"
    chance = sum(
        (rows["eye"] == verdict).mean() * (rows["checker"] == verdict).mean() for verdict in ("right", "wrong")
    )
    if chance < 1:
        said += f"; Cohen's kappa {(same.mean() - chance) / (1 - chance):.2f}"
    print(said)
    print(pd.crosstab(rows["eye"], rows["checker"]))
    print(rows.assign(same=same).groupby("category")["same"].agg(["mean", "size"]).round(3))
    for row in rows[rows["eye"] != rows["checker"]].itertuples():
        print(f"{row.number}: eye {row.eye}, checker {row.checker} ({row.reason}): {row.text}")


def main() -> None:
    """Does one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sheets", "agreement"])
    parser.add_argument("runs", nargs="+", type=Path, help="runs of the shapes world")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--without",
        type=Path,
        action="append",
        default=[],
        help="a table whose images are left out: rules were made by them",
    )
    parser.add_argument("--table", type=Path, default=Path("build/eye/eye.csv"))
    parser.add_argument(
        "-o", "--out", type=Path, help="folder of the sheets (build/eye), or CSV of the agreement (needed)"
    )
    arguments = parser.parse_args()
    if arguments.what == "sheets":
        sheets(arguments.runs, arguments.count, arguments.seed, arguments.without, arguments.out or Path("build/eye"))
    elif arguments.out is None:
        parser.error("agreement needs -o FILE.csv")
    else:
        agreement(arguments.runs, arguments.table, arguments.out)


if __name__ == "__main__":
    main()
