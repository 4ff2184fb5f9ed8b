"""``drawbench score`` and ``drawbench report``: numbers of runs, and what they say of the systems."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.options import check_device, device_option, metric_option, over_option, resolve_device, set_option
from drawbench.cli.workers import worker_devices
from drawbench.errors import AssetMissing, UserError
from drawbench.plugins import call, find, parse_named, source
from drawbench.settings import on_record, parse_settings, resolve, takes

if TYPE_CHECKING:
    from drawbench.executors.shard import Shard
    from drawbench.interfaces import Score
    from drawbench.intervals import Over
    from drawbench.metrics.scoring import Loaded
    from drawbench.scores import ScoreFile
    from drawbench.store import Run


@click.command(short_help="Measure runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@metric_option
@click.option("--reference", help="What set metrics compare with.")
@over_option
@device_option
@click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the networks that the metrics use; it is part of a number's protocol.",
)
@click.option(
    "--processes",
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Processes of this machine that measure at once, dealt to its GPUs in turn; auto: one for each GPU.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Measure only the I-th of N parts of the prompts, from 1; the command without it joins what there is.",
)
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON list.")
def score(
    runs: Sequence[Path],
    metrics: Sequence[str],
    reference: str | None,
    over: str,
    device: str,
    dtype: str,
    processes: str,
    shard: str | None,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Measure runs; scores and per-image values are kept in RUN/scores. What is there already is not computed again.

    Killed, the same command goes on from what was computed. Several machines that share the runs and the cache can each do a
    part (--shard 1/2, --shard 2/2); the command without --shard then writes the scores.

    \b
    Examples:
      drawbench score out/sd-drawbench --metric text_rendering --metric image_stats
      drawbench score out/* --metric clip_score --set clip_score.model=ViT-L-14 --json
      drawbench score out/sd-coco --metric clip_score --processes 2
    """
    from drawbench.executors.shard import find_shard
    from drawbench.store import Run

    if not metrics:
        raise UserError("give at least one --metric; `drawbench list metrics` lists them")
    check_device(device)
    named = parse_named(metrics)
    part = find_shard(shard, {})  # By hand only: an array of jobs may well score a run in each.
    if shard is not None and processes != "1":
        raise UserError("--shard and --processes both divide the work; give one of them")
    devices = worker_devices(processes, device if processes == "1" else resolve_device(device))
    opened = [Run.open(path) for path in runs]
    loaded = load_metrics(named, parse_settings(settings, list(named)), device, dtype, reference)
    if part.count > 1:
        for run in opened:
            click.echo(_score_part(run, loaded, part), err=as_json)
        if as_json:
            click.echo("[]")  # Scores come when the parts are joined.
        return
    make = partial(load_again, metrics, settings, dtype, reference)
    files = score_each(opened, loaded, over, partial(_in_processes, make, devices) if len(devices) > 1 else None)
    if as_json:
        from drawbench.scores import score_to_json

        rows = [score_to_json(row) | {"verified": file.verified} for file in files for row in file.scores]
        click.echo(json.dumps(rows, ensure_ascii=False, allow_nan=False))
    else:
        print_scores(files)


@click.command(short_help="Compare runs.")
@click.argument("paths", metavar="RUN|STUDY...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.html, FILE.md or FILE.json.")
def report(paths: Sequence[Path], output: Path) -> None:
    """Compare scored runs in one file that needs nothing else: which system is better, by how much, on what.

    A study of theirs puts what people said beside the metrics.

    \b
    Examples:
      drawbench report out/sd14-drawbench out/sd15-drawbench -o report.html
      drawbench report out/*-drawbench study -o report.html
    """
    from drawbench.reports.human import is_study
    from drawbench.reports.write import summary_lines, write_report
    from drawbench.store import Run

    studies = [path for path in paths if is_study(path)]
    if len({path.resolve() for path in studies}) < len(studies):
        raise UserError("a study is given twice; give each once")
    if len(studies) == len(paths):
        raise UserError(
            "a report compares runs, and only studies are given; add RUNs, or use drawbench study analyse STUDY"
        )
    runs = [Run.open(path) for path in paths if path not in studies]
    comparison = write_report(runs, output, studies=studies)
    click.echo("\n".join(summary_lines(comparison)))
    click.echo(f"report: {output}")


def _score_part(run: Run, loaded: Sequence[Loaded], part: Shard) -> str:
    from drawbench.metrics.stream import score_part

    left = score_part(run, loaded, part)
    then = (
        f"{left} images remain for the other parts"
        if left
        else "nothing remains: the command without --shard joins them"
    )
    return f"{run.path}: {part.line()} is measured; {then}"


def _in_processes(make: Callable[[str], Sequence[Loaded]], devices: Sequence[str], run: Run, count: int) -> None:
    from drawbench.metrics.score_processes import measure_in_processes

    measure_in_processes(run, make, devices[:count], count)


def load_again(
    metrics: Sequence[str], settings: Sequence[str], dtype: str, reference: str | None, device: str
) -> list[Loaded]:
    """Builds the metrics from what was typed: what a process calls that measures for this one."""
    named = parse_named(metrics)
    return load_metrics(named, parse_settings(settings, list(named)), device, dtype, reference)


def load_metrics(
    named: Mapping[str, str],
    settings: Mapping[str, Mapping[str, str]],
    device: str,
    dtype: str,
    reference: str | None,
    skipped: dict[str, str] | None = None,
) -> list[Loaded]:
    """Builds the metrics; with ``skipped``, one whose weights are missing is entered there instead of ending all."""
    from drawbench.interfaces import ImageMetric, PromptMetric, SetMetric
    from drawbench.metrics.scoring import Loaded

    loaded = []
    referenced = False
    for alias, name in named.items():
        plugin = find("metrics", name)
        factory = plugin.load()
        values = resolve(alias, factory, settings[alias])
        standard: dict[str, Any] = {"dtype": dtype}
        if takes(factory, "device"):
            standard["device"] = resolve_device(device)
        if reference is not None and takes(factory, "reference"):
            standard["reference"], referenced = reference, True
        try:
            metric = call(plugin, values, **standard)
        except AssetMissing as error:
            if skipped is None:
                raise
            skipped[alias] = str(error)
            continue
        kinds = [kind for kind in (ImageMetric, SetMetric, PromptMetric) if isinstance(metric, kind)]
        if not kinds:
            raise UserError(
                f"metric {name!r} of {plugin.package} gave {type(metric).__name__}, which lacks one of: outputs, network, "
                "protocol(), and score(), score_prompt(), or compute() and leave_out()"
            )
        if len(kinds) > 1:
            raise UserError(
                f"metric {name!r} of {plugin.package} gave {type(metric).__name__}, which is "
                f"{' and '.join(kind.__name__ for kind in kinds)} at once: its values are of images (score()), of prompts "
                "(score_prompt()) or of sets (compute() and leave_out()); make two metrics of it"
            )
        if [output.main for output in metric.outputs.values()].count(True) != 1:
            raise UserError(f"metric {name!r} of {plugin.package} must have exactly one main output")
        ours = plugin.package == "drawbench"  # Ours tell all in their protocols.
        told = {} if ours else {f"option {key}": str(value) for key, value in on_record(factory, values).items()}
        # A network that ships is not all that some metrics have: they speak for themselves.
        verified = getattr(metric, "verified", plugin.verified or getattr(metric.network, "shipped", False))
        loaded.append(Loaded(alias, plugin.name, metric, {**told, **source(plugin)}, verified))
    if reference is not None and not referenced:
        raise UserError(f"--reference {reference}: none of {', '.join(named)} takes a reference")
    return loaded


def score_each(
    runs: Sequence[Run], loaded: Sequence[Loaded], over: str, share: Callable[[Run, int], None] | None = None
) -> list[ScoreFile]:
    """Scores every run by every metric.

    ``share``, where there is one, has other processes measure parts of a run of so many images first.
    """
    from drawbench.metrics.stream import score_run

    shared = {run: partial(share, run) for run in runs} if share is not None else {}
    seeds: Over = "samples" if over == "samples" else "prompts"
    return [file for run in runs for file in score_run(run, loaded, over=seeds, share=shared.get(run))]


def _is_told(row: Score, file: ScoreFile) -> bool:
    """A width is for the report; the terminal has what is better or worse, and what a metric is for."""
    return row.higher_is_better is not None or row.output == file.main


def print_scores(files: Sequence[ScoreFile]) -> None:
    """Prints the overall values with their intervals, and what there is to remark; runs of one system with their folders."""
    runs: dict[str, set[str]] = {}
    for row in (row for file in files for row in file.scores):
        runs.setdefault(row.system, set()).add(row.run)
    rows = []
    for file in files:
        for row in file.scores:
            if row.category is None and row.output is not None and _is_told(row, file):
                interval = f"[{row.interval.low:.4f}, {row.interval.high:.4f}]" if row.interval else f"({row.reason})"
                value = "-" if row.value is None else f"{row.value:.4f}"
                arrow = {True: "↑", False: "↓", None: " "}[row.higher_is_better]
                name = row.system if len(runs[row.system]) == 1 else f"{row.system} ({row.run})"
                rows.append((name, f"{row.metric} {row.output}", arrow, value, interval, f"n = {row.n}"))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(6)]
    for line in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    remarks = dict.fromkeys(f"note: {file.metric}: {note}" for file in files for note in file.notes)
    unverified = sorted({file.metric for file in files if not file.verified})
    for remark in [*remarks, *(f"note: {metric}: unverified on published weights" for metric in unverified)]:
        click.echo(remark, err=True)
