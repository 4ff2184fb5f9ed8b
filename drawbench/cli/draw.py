"""``drawbench generate`` and ``drawbench run``: images, and all that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from drawbench.cli.building import Ready, build_generators
from drawbench.cli.measure import load_metrics, print_scores, score_each
from drawbench.cli.options import (
    DTYPES,
    check_device,
    drawing_options,
    load_prompts,
    metric_option,
    over_option,
    prompt_owners,
    resolve_device,
    resolve_dtype,
)
from drawbench.cli.workers import device_of, first_batch_size, in_processes, store_of, worker_devices
from drawbench.errors import UserError
from drawbench.plugins import find, parse_named
from drawbench.settings import parse_settings, takes
from drawbench.shapes.shipped import SHAPES

if TYPE_CHECKING:
    from drawbench.runner import Summary
    from drawbench.store import Run, Store

DEFAULT_METRICS = ("clip_score", "text_rendering", "image_stats")
SHAPES_METRICS = ("shapes_accuracy", "clip_score", "fd")
"""Where all prompts are of the shapes world; the CLIP is then its own."""
COCO_SETS = ("coco", "coco-30k")
COCO_METRICS = ("clip_score", "fid")
"""Where all prompts are captions of COCO: the pair that papers plot. fid is one of them where there is a reference."""


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
    aliases = list(parse_named(given["generators"]))
    owners = [*aliases, *prompt_owners(given["prompt_specs"], aliases)]
    settings = parse_settings(given.pop("settings"), owners)
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
    from drawbench.executors.shard import find_shard
    from drawbench.reports.write import summary_lines, write_report

    if (part := find_shard(given["shard"])).count > 1:
        raise UserError(
            f"this process is to draw {part.line()}, and run scores whole runs: draw the parts with drawbench generate, then "
            "drawbench score and drawbench report"
        )
    check_device(given["device"])
    asked = owners_settings(given, metrics, reference)
    named, settings, of_metrics = asked.metrics, asked.of_generators, asked.of_metrics
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


class Asked(NamedTuple):
    """What a command that draws and scores was asked for: metrics, and whose option is set to what."""

    metrics: Mapping[str, str]
    """Alias → name."""
    of_generators: dict[str, dict[str, str]]
    """Owner → key → text; prompt sets are owners too."""
    of_metrics: dict[str, dict[str, str]]


def owners_settings(given: dict[str, Any], metrics: Sequence[str], reference: str | None) -> Asked:
    """Takes ``settings`` out of what was given and says whose they are; without ``metrics`` the prompt sets choose them."""
    aliases = list(parse_named(given["generators"]))
    named = parse_named(metrics or default_metrics(given["prompt_specs"], reference))
    if both := sorted(set(aliases) & set(named)):
        raise UserError(f"{both[0]!r} names a generator and a metric; give one of them an alias")
    owners = [*aliases, *named, *prompt_owners(given["prompt_specs"], [*aliases, *named])]
    settings = parse_settings(given.pop("settings"), owners)
    of_metrics = {alias: settings.pop(alias) for alias in named}
    in_shapes = set(given["prompt_specs"]) == {SHAPES}
    if in_shapes and not metrics and not {"model", "tag", "weights"} & of_metrics["clip_score"].keys():
        of_metrics["clip_score"] = {"model": SHAPES, **of_metrics["clip_score"]}
    return Asked(named, settings, of_metrics)


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
    batch_size: str,
    processes: str,
    shard: str | None,
    store: Store | None,
    dtype: str,
    ready: Sequence[Ready] | None = None,
    **given: Any,
) -> list[tuple[Run, Summary]]:
    """Draws every generator on every prompt set, and returns the runs and what was done."""
    from drawbench.executors.batch import BatchSize
    from drawbench.executors.shard import claimed, find_shard
    from drawbench.journal import now
    from drawbench.prompts import select
    from drawbench.runner import generate as draw_run
    from drawbench.store import Manifest, Plan, Run, begun

    part = find_shard(shard)
    aliases = parse_named(generators)  # One of them may have the name of a set that has no options.
    of_sets = {name: values for name, values in settings.items() if name not in aliases}
    sets = [load_prompts(spec, of_sets.get(spec.partition("=")[0])) for spec in prompt_specs]
    chosen = {prompt_set.name: [prompt.id for prompt in select(prompt_set, limit, categories)] for prompt_set in sets}
    if len({prompt_set.name for prompt_set in sets}) < len(sets):
        raise UserError(
            f"two prompt sets have one name ({', '.join(s.name for s in sets)}); give one of the files another"
        )
    given |= {"generators": generators, "dtype": dtype, "device": device_of(part, given["device"])}
    started: list[tuple[Run, Ready, list[str]]] = []
    for one in ready if ready is not None else build_generators(settings, given):
        for prompt_set in sets:
            path = output if into_folder else output / f"{one.alias}-{prompt_set.name}"
            ids = chosen[prompt_set.name]
            there = begun(path)
            whole = len(ids) == len(prompt_set.prompts)
            manifest = Manifest(
                system=one.system,
                prompt_set=prompt_set.name,
                prompt_set_sha256=prompt_set.sha256,
                prompt_count=len(prompt_set.prompts),
                seed=seed,
                dtype=one.dtype,
                plan=Plan(None if whole else tuple(ids), samples or 1),
                batch_size=first_batch_size(batch_size, one.device, there),
                created=now(),
                store=store_of(path, store, there),
            )
            if samples is not None and there is not None and samples < there.plan.samples:
                raise UserError(
                    f"{path} has {there.plan.samples} samples per prompt; --samples {samples} takes none away: leave it out, "
                    "give as many or more, or draw into another folder"
                )
            started.append((Run.start(path, manifest, prompt_set), one, ids))
    if part.count > 1:
        click.echo(f"drawing {part.line()}", err=True)
    drawn = []
    for made, one, ids in started:  # All of them could be started: now the long work.
        first = first_batch_size(batch_size, one.device, made.manifest)
        devices = worker_devices(processes, one.device)
        with claimed(made.path, part):
            summary = draw_run(
                made,
                one.generator,
                part.of(made.items(ids)),
                batch_size=BatchSize(first, batch_size == "auto"),
                device=one.device,
                draw=in_processes(made, one, devices, settings, given) if len(devices) > 1 else None,
            )
        of_all = f"; this was {part.line()}, the whole run is {len(made.items(ids))} images" if part.count > 1 else ""
        click.echo(summary.line(made) + of_all)
        for remark in summary.remarks:
            click.echo(f"note: {remark}", err=True)
        drawn.append((made, summary))
    return drawn


def _dtype(given: Mapping[str, Any], *, into_folder: bool) -> str:
    """Returns the dtype to draw in; ``auto`` follows what is begun in the output folder, else the device."""
    output: Path = given["output"]
    if into_folder:
        return chosen_dtype(given, [output])
    sets = [spec.partition("=")[0] if "=" in spec else Path(spec).stem for spec in given["prompt_specs"]]
    return chosen_dtype(given, [output / f"{alias}-{name}" for alias in _asking(given) for name in sets])


def chosen_dtype(given: Mapping[str, Any], folders: Sequence[Path]) -> str:
    """Returns the dtype as given, or for ``auto`` that of the runs that were begun in these folders, else the device's."""
    from drawbench.store import begun

    if given["dtype"] != "auto":
        return str(given["dtype"])
    if not _asking(given):
        return "fp32"
    dtypes = [there.dtype for there in map(begun, folders) if there is not None]
    return resolve_dtype(resolve_device(given["device"]), [name for name in dtypes if name in DTYPES])


def _asking(given: Mapping[str, Any]) -> list[str]:
    """Returns the aliases of the generators that are to be told a dtype."""
    named = parse_named(given["generators"])
    return [alias for alias, name in named.items() if takes(find("generators", name).load(), "dtype")]
