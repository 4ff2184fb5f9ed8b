"""Makes the shapes world's cascade of what `drawbench train --preset SHAPES` left: fp16 files, and a card with their figures."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model_card import Card
from safetensors.torch import load_file

from drawbench.devices import fastest_dtype
from drawbench.generators.imagen.checkpoint import open_checkpoint, save_config, save_stage
from drawbench.generators.imagen.training_log import seconds_of
from drawbench.shapes.shipped import SHAPES, shipped

SAMPLES = 4


def main() -> None:
    """Writes the files, draws with them, and writes the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--trained", type=Path, default=Path("build/weights/imagen"), help="what training left")
    parser.add_argument("--check", type=Path, default=Path("build/weights/check"), help="where the card's images go")
    parser.add_argument("--out", type=Path, default=shipped("imagen"))
    parser.add_argument("--note", default="", help="what the recipe does not say of how these files came to be")
    arguments = parser.parse_args()
    trained = open_checkpoint(arguments.trained)
    if trained.text_encoder is None:
        sys.exit(f"{arguments.trained} has no text encoder; train it with --encoder {SHAPES}")
    encoder = replace(trained.text_encoder, name=SHAPES)
    made = save_config(arguments.out, trained.stages, encoder, trained.text_encoder_digest)
    sizes = []
    for stage in trained.stages:
        weights = load_file(trained.file(stage))
        save_stage(made, stage, {name: tensor.half() for name, tensor in weights.items()})
        sizes.append(f"{stage.name} {sum(tensor.numel() for tensor in weights.values()) / 1e6:.2f} M")
    dtype = fastest_dtype("cpu")
    scores = _scores(arguments.out, arguments.check, dtype)
    identities = {stage.name: _identity(arguments.trained, stage.name) for stage in trained.stages}
    logs = {stage.name: _log(arguments.trained, stage.name) for stage in trained.stages}
    seconds = {name: seconds_of(log) for name, log in logs.items()}
    recipes = "; ".join(
        f"{name}: {logs[name][-1]['step']:,} steps of {it['batch_size']}, rate {it['learning_rate']:g}, seed {it['seed']}, "
        f"{it['dtype']}{'' if it['crop'] is None else ', crops of ' + str(it['crop'])}, {seconds[name] / 60:.0f} minutes"
        for name, it in identities.items()
    )
    Card(
        title="Imagen of the shapes world",
        what=f"A cascade 16 → 32 → 64 pixels on the text encoder in `../text`: {', '.join(sizes)} parameters. "
        "The same code as the paper's size; the base predicts v, the other stages what the best linear guess lacks, and not ε.",
        data="`drawbench.shapes.data.pair`, and for the last of the base's steps `words_pair`, endless and rendered "
        "anew: no held-out caption, combination or word.",
        recipe=f"`drawbench train --preset SHAPES`. {recipes}. Averaged weights, kept in fp16."
        f"{' ' if arguments.note else ''}{arguments.note}",
        seed=next(iter(identities.values()))["seed"],
        command="make weights",
        seconds=sum(seconds.values()),
        figures=_table(scores, dtype),
        weights=[made.file(stage) for stage in made.stages],
    ).write(arguments.out / "CARD.md")
    print(f"{arguments.out}: {sum(path.stat().st_size for path in arguments.out.iterdir()):,} bytes")


def _identity(trained: Path, stage: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((trained / "training" / stage / "identity.json").read_text())
    return found


def _log(trained: Path, stage: str) -> Sequence[Mapping[str, Any]]:
    return [json.loads(line) for line in (trained / "training" / stage / "log.jsonl").read_text().splitlines()]


def _scores(checkpoint: Path, out: Path, dtype: str) -> Mapping[str, Mapping[str, str]]:
    """Draws the 200 prompts with and without guidance, and returns shapes_accuracy: category → system → text."""
    arguments = [
        *("run", "--prompts", SHAPES, "--dtype", dtype, "--samples", str(SAMPLES), "--batch-size", "40"),
        *("--metric", "shapes_accuracy", "-o", str(out)),
    ]
    for alias in ("guided", "plain"):
        arguments += ["--generator", f"{alias}=imagen", "--checkpoint", f"{alias}={checkpoint}"]
        arguments += ["--set", f"{alias}.preset={SHAPES}"]
    for stage in ("base", "sr256", "sr1024"):
        arguments += ["--set", f"plain.{stage}.guidance_weight=1"]
    subprocess.run([sys.executable, "-m", "drawbench", *arguments], check=True)  # noqa: S603  our own command
    command = [sys.executable, "-m", "drawbench", "score", *map(str, sorted(out.glob("*-shapes"))), "--json"]
    done = subprocess.run(  # noqa: S603  our own command
        [*command, "--metric", "shapes_accuracy"], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in json.loads(done.stdout):  # By the checker as it is: a report would have older verdicts, too.
        if row["output"] is None:
            interval = row["interval"]
            text = f"{row['value']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
            found[row["category"] or "all"][row["system"]] = text
    return found


def _table(scores: Mapping[str, Mapping[str, str]], dtype: str) -> list[str]:
    return [
        f"shapes_accuracy on the 200 prompts, {SAMPLES} samples each, preset {SHAPES}, {dtype}; 95 % intervals over prompts.",
        "",
        "| category | guided | plain (weight 1) |",
        "|---|---|---|",
        *(f"| {category} | {of['guided']} | {of['plain']} |" for category, of in scores.items()),
    ]


if __name__ == "__main__":
    main()
