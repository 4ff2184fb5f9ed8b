"""Two of Imagen's ablations in the small: how the text is given to the base, and which frozen encoder reads it.

    python benchmarks/ablation.py conditioning --json benchmarks/results/ablation_conditioning_cpu.json
    python benchmarks/ablation.py encoder --json benchmarks/results/ablation_encoder_cpu.json

conditioning (section 4.4, figures 4 and A.8): sequence (attention over all of the text, and the pooled text), attention_pool
and mean_pool (the pooled text alone). encoder (figures 4a and A.5): shipped (4 layers of 128 channels, trained on text),
small (2 layers of 64, trained on the same lines for as many steps) and random (the shipped one's shape, untrained, drawn as the
shipped one's start was). Of the shipped encoder there is one: the encoder study tells bases apart, and not encoders' trainings.

Each variant is a base of 16x16 pixels, trained once for every seed: for the same number of steps, on the same pictures in the
same order. One that --max-minutes stop goes on with the same command, and nothing is drawn before all are trained; both studies
share what they have in common. Then `drawbench sweep` draws the shapes world's prompts of the three categories, with the
first seed's bases at each guidance weight, a curve for each variant, and with the other seeds' at one, --told-at, which is
chosen before. The reference of the Fréchet distance are pictures of other captions of the three categories.

Two kinds of difference are told at that weight, with all pairs of variants: of the first seed's networks, paired over prompts,
which says nothing of other trainings; and over trainings, paired by seed, which is what the study asks.

Whatever comes out is written: nothing here is tuned until a lesson holds. Training is short, and a variant that is better
here may only learn faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from ablation_training import ABLATED, Variant, recipe, train
from numpy.typing import NDArray
from scipy import stats

from drawbench.files import atomic, write_atomic
from drawbench.generators.imagen.config import TextConditioning
from drawbench.intervals import holm, mean_interval
from drawbench.plugins import find
from drawbench.shapes.shipped import SHAPES

CATEGORIES = ("Colors", "Counting", "Positional")
METRICS = ("shapes_accuracy", "clip_score", "fd")
REFERENCE_PICTURES = 2000
OVER = (
    "trainings of the base, paired by seed; of the shipped encoder there is one, and what is its luck is in no interval"
)
BEYOND = 10**9
"""Where the stream of pictures is read for the reference: no training comes as far."""


STUDIES = {
    "conditioning": [Variant(kind, kind, "shipped") for kind in get_args(TextConditioning) if kind != "none"],
    "encoder": [Variant(name, "sequence", name) for name in ("shipped", "small", "random")],
}


def main() -> None:
    """Trains, draws, scores and writes the result."""
    arguments = _arguments()
    work, bases = arguments.work / arguments.study, arguments.work / "bases"
    variants, (first, *others) = STUDIES[arguments.study], arguments.seeds
    trained = [train(variant, seed, bases, arguments) for seed in arguments.seeds for variant in variants]
    if unfinished := [f"{row['variant']} of seed {row['seed']}" for row in trained if row["steps"] < arguments.steps]:
        sys.exit(f"stopped before step {arguments.steps}: {', '.join(unfinished)}; the same command goes on")
    reference = draw_reference(arguments.work / "reference")
    ceiling = draw_ceiling(work / "ceiling", reference, arguments)
    curves = sweep(work / "sweep", bases, [v.folder(first) for v in variants], arguments.weights, reference, arguments)
    found = [(first, work / "sweep", curves)]
    for seed in others:
        folder = work / f"sweep-seed{seed}"
        names = [variant.folder(seed) for variant in variants]
        found.append((seed, folder, sweep(folder, bases, names, [arguments.told_at], reference, arguments)))
    told = [{"seed": seed, "comparisons": comparisons(at, swept, arguments.told_at)} for seed, at, swept in found]
    result = {
        "study": arguments.study,
        "categories": CATEGORIES,
        "recipe": asdict(recipe(arguments, first)),
        "variants": trained,
        "ceiling": ceiling,
        "told_at": arguments.told_at,
        "over_prompts": {"says": "two networks each, one training of either: nothing of other trainings", "told": told},
        "over_trainings": over_trainings(told, variants),
        "sweep": curves,
        "sweeps_of_other_seeds": [{"seed": seed, "sweep": swept} for seed, _, swept in found[1:]],
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "drawbench": version("drawbench")},
    }
    if arguments.json:
        write_atomic(arguments.json, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"paired over prompts, the trainings of seed {first} alone:")
    for row in told[0]["comparisons"]:
        print(f"  {row['metric']}: {row['a']} - {row['b']}: {row['value']} {row['interval']} p {row['p_holm']}")
    print(f"over {len(arguments.seeds)} trainings:")
    for row in result["over_trainings"]:
        print(f"  {row['metric']}: {row['a']} - {row['b']}: {row['differences']} {row['interval']} p {row['p_holm']}")


def floats(text: str) -> list[float]:
    """Reads numbers separated by commas."""
    return [float(one) for one in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--work", type=Path, default=Path("build/ablation"), help="where trainings and images go")
    parser.add_argument("--steps", type=int, default=4000, help="of each base: 0.15 s each on one core")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument(
        "--encoder-steps", type=int, default=6000, help="of the small encoder; the shipped one had 6,000"
    )
    parser.add_argument(
        "--seeds",
        type=lambda text: [int(seed) for seed in text.split(",")],
        default=[0, 1, 2],
        help="one training each; the first one's are drawn at all weights",
    )
    parser.add_argument("--max-minutes", type=float, default=30.0, help="of each training, in one call")
    parser.add_argument("--weights", type=floats, default="1,2,3,5")
    parser.add_argument("--told-at", type=float, default=2.0, help="the guidance weight at which differences are told")
    parser.add_argument("--samples", type=int, default=2, help="images per prompt")
    parser.add_argument("--limit", help="so many prompts only: for trials")
    parser.add_argument("--batch-images", type=int, default=32, help="images drawn at once")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.weights = [f"{weight:g}" for weight in arguments.weights]  # As the sweep's table has them.
    arguments.told_at = f"{arguments.told_at:g}"
    if arguments.told_at not in arguments.weights:
        parser.error(f"--told-at {arguments.told_at} is none of --weights {','.join(arguments.weights)}")
    if len(set(arguments.seeds)) < len(arguments.seeds):
        parser.error("--seeds: a seed stands twice")
    return arguments


def draw_reference(folder: Path) -> Path:
    """Draws true pictures of captions of the three categories beyond all that is trained on, and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    picture_of = find("datasets", f"{ABLATED}:few").load()
    for number in range(REFERENCE_PICTURES):
        path = folder / f"{number:04d}.png"
        if not path.is_file():
            image, _ = picture_of(BEYOND + number, 64)
            with atomic(path) as beside:
                image.save(beside, "PNG")
    return folder


def draw_ceiling(folder: Path, reference: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Enlarges true small pictures, and returns their scores: the most that a variant can reach."""
    few = [*prompts(arguments), "--batch-size", str(arguments.batch_images)]
    drawbench("generate", "--generator", f"ceiling={ABLATED}:upscaled_truth", *few, "-o", str(folder))
    scored = drawbench("score", str(folder), *scoring(reference), "--json")
    rows = [row for row in json.loads(scored) if row["output"] is None and row["category"] is None]
    return [row | {"protocol": row["protocol"]["hash"]} for row in rows]


def sweep(
    folder: Path, bases: Path, names: list[str], weights: list[str], reference: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Draws with some bases at some guidance weights, scores, and returns the sweep's table."""
    command = ["sweep", "--generator", f"ablated={ABLATED}:ablated", "--checkpoint", str(bases)]
    command += ["--set", f"ablated.guidance_weight={','.join(weights)}", "--set", f"ablated.variant={','.join(names)}"]
    command += [*prompts(arguments), *scoring(reference), "-o", str(folder)]
    drawbench(*command, "--batch-size", str(arguments.batch_images))
    swept: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    for point in swept["points"]:  # Of each category there are too few prompts to say anything.
        point["scores"] = [score for score in point["scores"] if score["category"] is None]
    return swept


def comparisons(folder: Path, swept: dict[str, Any], told_at: str) -> list[dict[str, Any]]:
    """Returns all pairs of a sweep's variants at one weight, paired over prompts, by the names of the variants' folders."""
    points = [point for point in swept["points"] if point["values"].get("guidance_weight", told_at) == told_at]
    names = {point["scores"][0]["system"]: point["values"]["variant"] for point in points}
    out = folder / "told.json"
    drawbench("report", *(str(folder / point["run"]) for point in points), "-o", str(out))
    rows = json.loads(out.read_text())["comparisons"]
    return [
        row | {"a": names[row["a"]], "b": names[row["b"]]} for row in rows if row["category"] is None and row["main"]
    ]


def over_trainings(told: list[dict[str, Any]], variants: list[Variant]) -> list[dict[str, Any]]:
    """Returns the differences of variants, paired by seed: t over trainings, Holm over all. Of one seed there are none."""
    if len(told) < 2:
        return []
    rows: list[dict[str, Any]] = []
    for metric in METRICS:
        for a, b in combinations(variants, 2):
            differences = [
                _difference(of["comparisons"], metric, a.folder(of["seed"]), b.folder(of["seed"])) for of in told
            ]
            known = np.array([difference for difference in differences if difference is not None])
            whole = len(known) == len(differences)
            test = stats.ttest_1samp(known, 0.0) if whole and known.std() > 0 else None
            row: dict[str, Any] = {"metric": metric, "a": a.name, "b": b.name, "differences": differences}
            row["mean"] = float(known.mean()) if whole else None
            row["interval"] = interval_of(known) if whole else None
            rows.append(row | {"p": None if test is None else float(test.pvalue)})
    return [row | {"p_holm": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]


def interval_of(differences: NDArray[np.float64]) -> dict[str, Any]:
    """Returns the t interval of the mean of at least two trainings' differences."""
    found = mean_interval(differences)
    how = {"method": "t over trainings' differences", "over": OVER, "level": found.level}
    return {"low": found.low, "high": found.high, **how}


def _difference(rows: list[dict[str, Any]], metric: str, a: str, b: str) -> float | None:
    for row in rows:
        if row["metric"] == metric and {row["a"], row["b"]} == {a, b} and row["value"] is not None:
            return float(row["value"]) if row["a"] == a else -float(row["value"])
    return None


def prompts(arguments: argparse.Namespace) -> list[str]:
    """Returns the options of what is drawn."""
    limit = ["--limit", arguments.limit] if arguments.limit else []
    chosen = [text for category in CATEGORIES for text in ("--category", category)]
    return ["--prompts", SHAPES, *chosen, *limit, "--samples", str(arguments.samples)]


def scoring(reference: Path) -> list[str]:
    """Returns the options of what is scored."""
    metrics = [text for metric in METRICS for text in ("--metric", metric)]
    return [*metrics, "--set", f"clip_score.model={SHAPES}", "--reference", str(reference)]


def drawbench(*command: str) -> str:
    """Runs a command of drawbench and returns what it printed."""
    done = subprocess.run([sys.executable, "-m", "drawbench", *command], check=True, stdout=subprocess.PIPE, text=True)
    if command[0] != "score":
        print(done.stdout, end="", flush=True)
    return done.stdout


if __name__ == "__main__":
    main()
