"""``drawbench generate`` and ``drawbench run``: images, and all that follows from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from drawbench.cli.measure import load_metrics, print_scores, score_each
from drawbench.cli.options import (
    DTYPES,
    by_alias,
    check_device,
    drawing_options,
    load_prompts,
    metric_option,
    over_option,
    resolve_device,
    resolve_dtype,
)
from drawbench.errors import UserError
from drawbench.plugins import Plugin, call, find, parse_named, source
from drawbench.settings import on_record, parse_settings, resolve, takes
from drawbench.shapes.shipped import SHAPES

if TYPE_CHECKING:
    from drawbench.interfaces import Generator
    from drawbench.runner import Summary
    from drawbench.store import Run, System

DEFAULT_METRICS = ("clip_score", "text_rendering", "image_stats")
SHAPES_METRICS = ("shapes_accuracy", "clip_score", "fd")
"""Where all prompts are of the shapes world; the CLIP is then its own."""
COCO_SETS = ("coco", "coco-30k")
COCO_METRICS = ("clip_score", "fid")
"""Where all prompts are captions of COCO: the pair that papers plot. fid is one of them where there is a reference."""


class Ready(NamedTuple):
    """A generator that can draw, and the system that it is."""

    alias: str
    generator: Generator
    dtype: str
    """As asked for, where the generator has a choice."""
    system: System
    device: str


@click.command(short_help="Draw images.")
@drawing_options
@click.pass_context
def generate(context: click.Context, /, **given: Any) -> None:
    """Draw a prompt set with a generator, into a run: a folder of images that says how each was made.

    The same command again goes on where it stopped and tries failed prompts anew. A larger --samples or --limit adds
    images. With several generators or prompt sets, each run is DIR/ALIAS-SET.

    \b
    Example:
      drawbench generate --generator noise --prompts drawbench=drawbench.csv --limit 20 -o out/noise
      drawbench generate --generator sd=folder --set sd.path=images/ --prompts drawbench -o out/sd
    """
    check_device(given["device"])
    settings = parse_settings(given.pop("settings"), list(parse_named(given["generators"])))
    single = len(given["generators"]) == 1 and len(given["prompt_specs"]) == 1
    given["dtype"] = _dtype(given, into_folder=single)
    drawn = draw(**given, settings=settings, into_folder=single)
    context.exit(1 if any(summary.failed for _, summary in drawn) else 0)


@click.command(short_help="Draw, score and report.")
@drawing_options
@metric_option
@click.option("--reference", help="What set metrics compare with.")
@over_option
@click.pass_context
def run(context: click.Context, /, metrics: Sequence[str], reference: str | None, over: str, **given: Any) -> None:
    """Draw with one or more generators, score the images and write the comparison: DIR/report.html.

    Without --metric: clip_score, text_rendering and image_stats, for the prompt set shapes shapes_accuracy, clip_score
    (with its own CLIP) and fd, for coco and coco-30k clip_score and, with --reference, fid; one whose weights are missing
    is skipped aloud, and the exit code is then 3.

    \b
    Example:
      drawbench run --generator imagen --checkpoint shapes --prompts shapes --dtype auto -o out
      drawbench run --generator a=folder --set a.path=A/ --generator b=folder --set b.path=B/ --prompts drawbench -o out
    """
    from drawbench.reports.write import summary_lines, write_report

    check_device(given["device"])
    aliases = list(parse_named(given["generators"]))
    in_shapes = set(given["prompt_specs"]) == {SHAPES}
    named = parse_named(metrics or default_metrics(given["prompt_specs"], reference))
    if both := sorted(set(aliases) & set(named)):
        raise UserError(f"{both[0]!r} names a generator and a metric; give one of them an alias")
    settings = parse_settings(given.pop("settings"), [*aliases, *named])
    of_metrics = {alias: settings.pop(alias) for alias in named}
    if in_shapes and not metrics and not {"model", "tag", "weights"} & of_metrics["clip_score"].keys():
        of_metrics["clip_score"] = {"model": SHAPES, **of_metrics["clip_score"]}
    given["dtype"] = _dtype(given, into_folder=False)
    output: Path = given["output"]

    ready = build_generators(settings, given)
    skipped: dict[str, str] = {}
    loaded = load_metrics(named, of_metrics, given["device"], "fp32", reference, skipped if not metrics else None)
    drawn = draw(**given, settings=settings, into_folder=False, ready=ready)
    runs = [made for made, _ in drawn]
    if not any(made.drawn() for made in runs):
        raise UserError(f"not one image was drawn into {output}; the journal in each run says why")
    print_scores(score_each([made for made in runs if made.drawn()], loaded, over))
    report = output / "report.html"
    comparison = write_report(runs, report, skipped)
    click.echo("\n".join(summary_lines(comparison)))
    for metric, reason in skipped.items():
        click.echo(f"skipped: {metric}: {reason}", err=True)
    click.echo(f"report: {report}")
    context.exit(3 if skipped else 1 if any(summary.failed for _, summary in drawn) else 0)


def default_metrics(prompt_specs: Sequence[str], reference: str | None) -> tuple[str, ...]:
    """Returns the metrics of ``run`` without ``--metric``, by the names of the prompt sets (``coco-30k=FILE`` has one too)."""
    names = {spec.partition("=")[0] for spec in prompt_specs}
    if names == {SHAPES}:
        return SHAPES_METRICS
    if names and names <= set(COCO_SETS):
        return COCO_METRICS if reference is not None else tuple(name for name in COCO_METRICS if name != "fid")
    return DEFAULT_METRICS


def draw(
    *,
    generators: Sequence[str],
    prompt_specs: Sequence[str],
    output: Path,
    settings: Mapping[str, Mapping[str, str]],
    into_folder: bool,
    samples: int | None,
    seed: int,
    limit: str | None,
    categories: Sequence[str],
    batch_size: int,
    dtype: str,
    ready: Sequence[Ready] | None = None,
    **given: Any,
) -> list[tuple[Run, Summary]]:
    """Draws every generator on every prompt set, and returns the runs and what was done."""
    from drawbench.journal import now
    from drawbench.prompts import select
    from drawbench.runner import generate as draw_run
    from drawbench.store import Manifest, Plan, Run

    sets = [load_prompts(spec) for spec in prompt_specs]
    chosen = {prompt_set.name: [prompt.id for prompt in select(prompt_set, limit, categories)] for prompt_set in sets}
    if len({prompt_set.name for prompt_set in sets}) < len(sets):
        raise UserError(
            f"two prompt sets have one name ({', '.join(s.name for s in sets)}); give one of the files another"
        )
    given |= {"generators": generators, "dtype": dtype}
    started: list[tuple[Run, Ready, list[str]]] = []
    for one in ready if ready is not None else build_generators(settings, given):
        for prompt_set in sets:
            path = output if into_folder else output / f"{one.alias}-{prompt_set.name}"
            ids = chosen[prompt_set.name]
            whole = len(ids) == len(prompt_set.prompts)
            manifest = Manifest(
                system=one.system,
                prompt_set=prompt_set.name,
                prompt_set_sha256=prompt_set.sha256,
                prompt_count=len(prompt_set.prompts),
                seed=seed,
                dtype=one.dtype,
                plan=Plan(None if whole else tuple(ids), samples or 1),
                batch_size=batch_size,
                created=now(),
            )
            if samples is not None and (path / "run.json").is_file():
                there = Run.open(path).manifest.plan.samples
                if samples < there:
                    raise UserError(
                        f"{path} has {there} samples per prompt; --samples {samples} takes none away: leave it out, give "
                        "as many or more, or draw into another folder"
                    )
            started.append((Run.start(path, manifest, prompt_set), one, ids))
    drawn = []
    for made, one, ids in started:  # All of them could be started: now the long work.
        summary = draw_run(made, one.generator, made.items(ids), batch_size=batch_size, device=one.device)
        click.echo(summary.line(made))
        for remark in summary.remarks:
            click.echo(f"note: {remark}", err=True)
        drawn.append((made, summary))
    return drawn


def _dtype(given: Mapping[str, Any], *, into_folder: bool) -> str:
    """Returns the dtype to draw in; ``auto`` follows what is begun in the output folder, else the device."""
    from drawbench.store import Run

    if given["dtype"] != "auto":
        return str(given["dtype"])
    output: Path = given["output"]
    drawing = [
        alias
        for alias, name in parse_named(given["generators"]).items()
        if takes(find("generators", name).load(), "dtype")
    ]
    if not drawing:
        return "fp32"  # Nobody asks.
    sets = [spec.partition("=")[0] if "=" in spec else Path(spec).stem for spec in given["prompt_specs"]]
    folders = [output] if into_folder else [output / f"{alias}-{name}" for alias in drawing for name in sets]
    begun = [Run.open(path).manifest.dtype for path in folders if (path / "run.json").is_file()]
    return resolve_dtype(resolve_device(given["device"]), [name for name in begun if name in DTYPES])


def build_generators(settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]) -> list[Ready]:
    """Builds every generator before anything is drawn, so that what is typed wrong is said at once."""
    named = parse_named(given["generators"])
    if given["name"] is not None and len(named) > 1:
        raise UserError(
            "--name names one system; with several generators give each an alias: --generator NAME=generator"
        )
    checkpoints = by_alias(given["checkpoints"], list(named), "--checkpoint")
    ready = []
    for alias, name in named.items():
        plugin = find("generators", name)
        system_name = given["name"] or alias
        if plugin.name == "folder" and system_name == "folder":
            raise UserError("imported images need a name of their own: --generator NAME=folder, or --name NAME")
        if not re.fullmatch(r"[^/\\\x00-\x1f]{1,100}", system_name):
            raise UserError(f"the name {system_name!r} cannot be used: give 1 to 100 characters, without / and \\")
        ready.append(_build(alias, system_name, plugin, settings[alias], checkpoints.get(alias), given))
    return ready


def _build(
    alias: str,
    system_name: str,
    plugin: Plugin,
    settings: Mapping[str, str],
    checkpoint: str | None,
    given: Mapping[str, Any],
) -> Ready:
    from drawbench.interfaces import Generator
    from drawbench.store import System

    factory = plugin.load()
    values = resolve(alias, factory, settings)
    if takes(factory, "device"):
        device = resolve_device(given["device"])
    else:
        device = "cpu"
    if checkpoint is not None and not takes(factory, "checkpoint"):
        raise UserError(f"--checkpoint {checkpoint}: the generator {plugin.name!r} takes none")
    standard: dict[str, Any] = {"device": device, "dtype": given["dtype"], "checkpoint": checkpoint}
    generator = call(plugin, values, **standard)
    if not isinstance(generator, Generator):
        raise UserError(
            f"generator {plugin.name!r} of {plugin.package} gave {type(generator).__name__}, which lacks one of: pads, "
            "fingerprint(), generate(items)"
        )
    fingerprint = {**generator.fingerprint(), **{k: v for k, v in source(plugin).items() if k != "package"}}
    if not all(isinstance(text, str) for pair in fingerprint.items() for text in pair):
        raise UserError(f"generator {plugin.name!r} of {plugin.package}: its fingerprint must map text to text")
    dtype = given["dtype"] if takes(factory, "dtype") else "of the generator"
    return Ready(
        alias, generator, dtype, System(system_name, plugin.name, on_record(factory, values), fingerprint), device
    )
