"""``drawbench train``: one stage of an Imagen cascade, on a folder of captioned images or a function that makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drawbench.cli.options import device_option, resolve_device, together

recipe_options = together(
    click.option("--steps", type=click.IntRange(min=1), help="Training ends here (default: the preset's)."),
    click.option("--batch-size", type=click.IntRange(min=1), help="Images per step, of all processes together."),
    click.option("--lr", "learning_rate", type=click.FloatRange(min=0, min_open=True), help="Learning rate."),
    click.option("--warmup", type=click.IntRange(min=0), help="Steps in which it rises linearly from 0."),
    click.option(
        "--decay-steps", type=click.IntRange(min=0), help="Step at which it has fallen to 0, as a cosine; 0: it stays."
    ),
    click.option("--optimizer", type=click.Choice(["adam", "adafactor"]), help="The paper: adafactor for base."),
    click.option("--ema", type=click.FloatRange(0, 1, max_open=True), help="Of the averaged weights."),
    click.option(
        "--loss",
        type=click.Choice(["eps", "v", "residual"]),
        help="Error in ε (the paper), or as predicted.",
    ),
    click.option("--text-drop", type=click.FloatRange(0, 1), help="How often the text is left out, for guidance."),
    click.option("--crop", type=click.IntRange(min=1), help="Train on square crops of this side (super-resolution)."),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default="auto",
        show_default=True,
        help="Of the arithmetic; auto: bf16 where the device has units for it.",
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of the first weights, the order and the noise."),
)
way_options = together(
    device_option,
    click.option("--micro-batch", type=click.IntRange(min=1), help="Images in the network at once (less memory)."),
    click.option(
        "--gradient-checkpointing", is_flag=True, help="Make activations again instead of keeping them (less memory)."
    ),
    click.option("--compile", "compiled", is_flag=True, help="torch.compile the network."),
    click.option(
        "--workers", type=click.IntRange(min=0), help="Processes that prepare data (default: 0 on a CPU, 4 on a GPU)."
    ),
    click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Save and end after this time."),
    click.option(
        "--save-minutes",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="How often to save and to draw samples.",
    ),
)


@click.command(short_help="Train a stage of an Imagen cascade.")
@click.option(
    "--stage", "stage_name", type=click.Choice(["base", "sr256", "sr1024"]), required=True, help="Which of the three."
)
@click.option(
    "--preset",
    "preset_name",
    type=click.Choice(["PAPER", "SMALL", "SHAPES", "TINY"]),
    required=True,
    help="The networks' sizes and how they are trained; the options below change the latter.",
)
@click.option(
    "--data",
    required=True,
    metavar="FOLDER|FILE.py:FUNCTION|NAME",
    help="Images with a captions file; or function(position, size) → (RGB image, caption), endless and repeatable.",
)
@click.option(
    "--captions",
    type=click.Path(path_type=Path),
    help="CSV, TSV or JSONL with file_name and caption, or COCO's JSON (default: captions.* or metadata.* in the folder).",
)
@click.option(
    "--encoder",
    metavar="NAME|FOLDER|none",
    help="Text encoder, or a folder of its embeddings (default: the preset's). none: an unconditional cascade.",
)
@click.option("--encoder-dtype", type=click.Choice(["bf16", "fp32"]), help="Of its arithmetic (default: bf16).")
@click.option("--max-tokens", type=click.IntRange(min=4), help="Longer captions are cut (default: 256).")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The checkpoint to make or go on with."
)
@click.option(
    "--init",
    metavar="CHECKPOINT",
    help="Start from the weights of its stage, not fresh; shapes: those that ship.",
)
@recipe_options
@way_options
def train(
    stage_name: str,
    preset_name: str,
    data: str,
    captions: Path | None,
    encoder: str | None,
    encoder_dtype: str | None,
    max_tokens: int | None,
    output: Path,
    init: str | None,
    device: str,
    micro_batch: int | None,
    gradient_checkpointing: bool,
    compiled: bool,
    workers: int | None,
    max_minutes: float | None,
    save_minutes: float,
    **recipe: Any,
) -> int:
    """Train one stage. The same command goes on exactly where it was stopped: Ctrl-C, --max-minutes or a power cut
    lose at most what came after the last save.

    OUTPUT is a checkpoint for `drawbench run --generator imagen --checkpoint OUTPUT` as soon as it has been saved, with the
    averaged weights. OUTPUT/training/STAGE has the log (also for TensorBoard), sample grids, and what was bad in the data.

    \b
    Example, on a CPU in a few minutes:
      drawbench train --stage base --preset TINY --data photos/ --encoder models/t5 -o tiny
      drawbench train --stage sr256 --preset TINY --data photos/ --encoder models/t5 -o tiny
    On several GPUs:
      torchrun --nproc-per-node 8 -m drawbench train --stage base --preset SMALL --data photos/ -o small
    """
    from drawbench.generators.imagen.training_run import train as run
    from drawbench.generators.imagen.training_setup import Given, Way, describe, set_up

    given = Given(
        stage_name, preset_name, data, captions, encoder, encoder_dtype, max_tokens, init,
        {name: value for name, value in recipe.items() if value is not None},
    )  # fmt: skip
    way = Way(resolve_device(device), micro_batch, gradient_checkpointing, compiled, workers, max_minutes, save_minutes)
    with set_up(given, way, output) as made:
        outcome = run(made.checkpoint, made.trainer, made.work, made.process)
    if made.process.rank == 0:
        click.echo(describe(made, outcome))
    if outcome.interrupted:
        raise KeyboardInterrupt
    return 0
