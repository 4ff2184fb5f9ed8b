"""Two of Imagen's ablations in the small: how the text is given to the base, and which frozen encoder reads it.

    python benchmarks/ablation.py conditioning --json benchmarks/results/ablation_conditioning.json
    python benchmarks/ablation.py encoder --json benchmarks/results/ablation_encoder.json

conditioning (section 4.4, figures 4 and A.8): sequence (attention over all of the text, and the pooled text), attention_pool
and mean_pool (the pooled text alone). encoder (figures 4a and A.5): shipped (4 layers of 128 channels, trained on text),
small (2 layers of 64, trained likewise for fewer steps) and random (the shipped one's shape, untrained).

Each variant is a base of 16x16 pixels, trained for the same number of steps on the same pictures in the same order from the
same seed; one that --max-minutes stop goes on with the same command, and nothing is drawn before all are trained. Then
`drawbench sweep` draws the shapes world's prompts of the three categories with each base at each guidance weight, and scores
them: a curve for each variant. The reference of the Fréchet distance are true pictures of the same prompts. Differences are
paired over prompts and told at one weight, --told-at, which is chosen before, with all pairs of variants.

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
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from drawbench.files import write_atomic
from drawbench.generators.imagen.checkpoint import save_config
from drawbench.generators.imagen.config import Recipe, StageConfig, TextConditioning, UNetConfig
from drawbench.generators.imagen.data import Function, Samples
from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.generators.imagen.text_stream import TextStream
from drawbench.generators.imagen.training import Trainer
from drawbench.generators.imagen.training_run import Work
from drawbench.generators.imagen.training_run import train as train_stage
from drawbench.plugins import find
from drawbench.shapes.shipped import SHAPES, shipped
from drawbench.torchvision_ops import declare_missing_ops

HERE = Path(__file__).resolve().parent
ABLATED = HERE / "ablated.py"
CATEGORIES = ("Colors", "Counting", "Positional")
METRICS = ("shapes_accuracy", "clip_score", "fd")
REFERENCE_SAMPLES = 16


@dataclass(frozen=True)
class Variant:
    """One base: how it sees the text, and whose text."""

    name: str
    conditioning: TextConditioning
    encoder: str
    """shipped, small or random."""


STUDIES = {
    "conditioning": [Variant(kind, kind, "shipped") for kind in get_args(TextConditioning) if kind != "none"],
    "encoder": [Variant(name, "sequence", name) for name in ("shipped", "small", "random")],
}


def main() -> None:
    """Trains, draws, scores and writes the result."""
    arguments = _arguments()
    work: Path = arguments.work / arguments.study
    variants = STUDIES[arguments.study]
    trained = [train(variant, work, arguments) for variant in variants]
    if unfinished := [row["variant"] for row in trained if row["steps"] < arguments.steps]:
        sys.exit(f"stopped before step {arguments.steps}: {', '.join(unfinished)}; the same command goes on")
    truth, ceiling = draw_anchors(work, arguments)
    command = ["sweep", "--generator", f"ablated={ABLATED}:ablated", "--checkpoint", str(work)]
    command += ["--set", f"ablated.guidance_weight={','.join(arguments.weights)}"]
    command += ["--set", f"ablated.variant={','.join(variant.name for variant in variants)}"]
    command += [*prompts(arguments, arguments.samples), *scoring(truth), "-o", str(work / "sweep")]
    command += ["--batch-size", str(arguments.batch_images)]
    drawbench(*command)
    swept = json.loads((work / "sweep" / "sweep.json").read_text())
    told = [
        work / "sweep" / point["run"]
        for point in swept["points"]
        if point["values"].get("guidance_weight", arguments.told_at) == arguments.told_at
    ]
    drawbench("report", *map(str, told), "-o", str(work / "told.json"))
    report = json.loads((work / "told.json").read_text())
    result = {
        "study": arguments.study,
        "recipe": {"network": asdict(network(128, "sequence")), **asdict(recipe(arguments))},
        "variants": trained,
        "ceiling": ceiling,
        "told_at": arguments.told_at,
        "comparisons": [row for row in report["comparisons"] if row["category"] is None and row["main"]],
        "sweep": swept,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "drawbench": version("drawbench")},
    }
    if arguments.json:
        write_atomic(arguments.json, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
    for row in result["comparisons"]:
        print(f"{row['metric']}: {row['a']} - {row['b']}: {row['value']} {row['interval']} p {row['p_holm']}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--work", type=Path, default=Path("build/ablation"), help="where trainings and images go")
    parser.add_argument("--steps", type=int, default=1800, help="of each base: 0.17 s each on one core")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--encoder-steps", type=int, default=1500, help="of the small encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-minutes", type=float, default=10.0, help="of each variant's training, in one call")
    parser.add_argument("--weights", type=lambda text: text.split(","), default=["1", "2", "3", "5"])
    parser.add_argument("--told-at", default="2", help="the guidance weight at which differences are told")
    parser.add_argument("--samples", type=int, default=2, help="images per prompt")
    parser.add_argument("--limit", help="so many prompts only: for trials")
    parser.add_argument("--batch-images", type=int, default=32, help="images drawn at once")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.told_at not in arguments.weights:
        parser.error(f"--told-at {arguments.told_at} is none of --weights {','.join(arguments.weights)}")
    return arguments


def network(text_dim: int, conditioning: TextConditioning) -> UNetConfig:
    """Returns the base that all variants have: about a million parameters."""
    return UNetConfig(16, 32, (1, 2), 1, (8,), 32, text_dim, conditioning)


def recipe(arguments: argparse.Namespace) -> Recipe:
    """Returns how all of them are trained."""
    steps = arguments.steps
    warmup = min(100, steps // 2)
    return Recipe(
        steps, arguments.batch_size, "adam", 2e-3, warmup, steps, ema=0.995, loss="v", dtype="bf16", seed=arguments.seed
    )


def train(variant: Variant, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains a variant's base into ``work/<name>``, or goes on, and returns how far it is and what it took."""
    encoder = TextEncoder(TextEncoderConfig(encoder_folder(variant.encoder, arguments)))
    stage = StageConfig("base", network(encoder.dim, variant.conditioning), "cosine", "v")
    how = recipe(arguments)
    source = Function(find("datasets", f"{ABLATED}:few"), stage.network.image_size)
    samples = Samples(source, stage.network.image_size, None, None, how.seed, captioned=True)
    checkpoint = save_config(work / variant.name, (stage,), encoder.config, encoder.digest)
    identity = {"stage": asdict(stage), **asdict(how), "text encoder": encoder.digest, "data": source.digest()}
    trainer = Trainer(stage, how, "cpu")
    todo = Work(samples, TextStream(encoder), identity, how.steps, max_minutes=arguments.max_minutes)
    outcome = train_stage(checkpoint, trainer, todo)
    if outcome.interrupted:
        raise KeyboardInterrupt
    log = checkpoint.folder / "training" / "base" / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        "variant": variant.name,
        "conditioning": variant.conditioning,
        "encoder": variant.encoder,
        "encoder_parameters": encoder_parameters(encoder),
        "parameters": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "steps": outcome.step,
        "seconds": seconds_of([row["seconds"] for row in rows]),
        "loss": rows[-1]["loss"] if rows else None,
    }


def seconds_of(times: list[float]) -> float:
    """Returns the seconds of all calls that a training took; each counts from its own beginning."""
    return sum(now for now, then in zip(times, [*times[1:], 0.0], strict=True) if then < now)


def encoder_parameters(encoder: TextEncoder) -> int:
    """Returns how many parameters an encoder has, from its file."""
    from safetensors import safe_open

    total = 0
    with safe_open(encoder.folder / "model.safetensors", "pt") as file:
        for name in file.keys():  # noqa: SIM118  a file of tensors is no mapping
            total += torch.Size(file.get_slice(name).get_shape()).numel()
    return total


def encoder_folder(kind: str, arguments: argparse.Namespace) -> str:
    """Returns the folder of an encoder, made where it is not there yet."""
    if kind == "shipped":
        return str(shipped("text"))
    folder: Path = arguments.work / f"encoder-{kind}"
    if (folder / "model.safetensors").is_file():
        return str(folder)
    if kind == "random":
        save_random(folder, arguments.seed)
    else:
        script, state = HERE.parent / "weights" / "text_encoder.py", folder.with_suffix(".pt")
        sizes = ["--layers", "2", "--width", "64", "--steps", str(arguments.encoder_steps)]
        where = ["--out", str(folder), "--state", str(state), "--max-minutes", str(arguments.max_minutes)]
        subprocess.run([sys.executable, str(script), *sizes, *where], check=True)
    return str(folder)


def save_random(folder: Path, seed: int) -> None:
    """Writes an untrained encoder of the shipped one's shape, as T5 begins."""
    declare_missing_ops()
    import transformers

    config = transformers.T5Config.from_pretrained(shipped("text"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.T5EncoderModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)


def draw_anchors(work: Path, arguments: argparse.Namespace) -> tuple[Path, list[dict[str, Any]]]:
    """Draws true pictures for reference, and true small ones enlarged; returns the former, and the scores of the latter."""
    truth, ceiling = work / "truth", work / "ceiling"
    many = prompts(arguments, REFERENCE_SAMPLES)
    drawbench("generate", "--generator", "shapes_truth", *many, "--seed", "1", "-o", str(truth))
    few = [*prompts(arguments, arguments.samples), "--batch-size", str(arguments.batch_images)]
    drawbench("generate", "--generator", f"ceiling={ABLATED}:upscaled_truth", *few, "-o", str(ceiling))
    scored = drawbench("score", str(ceiling), *scoring(truth), "--json")
    rows = [row for row in json.loads(scored) if row["output"] is None and row["category"] is None]
    return truth, [row | {"protocol": row["protocol"]["hash"]} for row in rows]


def prompts(arguments: argparse.Namespace, samples: int) -> list[str]:
    """Returns the options of what is drawn."""
    limit = ["--limit", arguments.limit] if arguments.limit else []
    chosen = [text for category in CATEGORIES for text in ("--category", category)]
    return ["--prompts", SHAPES, *chosen, *limit, "--samples", str(samples)]


def scoring(truth: Path) -> list[str]:
    """Returns the options of what is scored."""
    metrics = [text for metric in METRICS for text in ("--metric", metric)]
    return [*metrics, "--set", f"clip_score.model={SHAPES}", "--reference", str(truth)]


def drawbench(*command: str) -> str:
    """Runs a command of drawbench and returns what it printed."""
    done = subprocess.run([sys.executable, "-m", "drawbench", *command], check=True, stdout=subprocess.PIPE, text=True)
    if command[0] != "score":
        print(done.stdout, end="", flush=True)
    return done.stdout


if __name__ == "__main__":
    main()
