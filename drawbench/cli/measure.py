"""``drawbench score`` and ``drawbench report``: numbers of runs, and what they say of the systems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.options import check_device, device_option, metric_option, over_option, resolve_device, set_option
from drawbench.errors import AssetMissing, UserError
from drawbench.plugins import call, find, parse_named, source
from drawbench.settings import on_record, parse_settings, resolve, takes

if TYPE_CHECKING:
    from drawbench.interfaces import Score
    from drawbench.metrics.stream import Loaded
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
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON list.")
def score(
    runs: Sequence[Path],
    metrics: Sequence[str],
    reference: str | None,
    over: str,
    device: str,
    dtype: str,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Measure runs; scores and per-image values are kept in RUN/scores. What is there already is not computed again.

    \b
    Example:
      drawbench score out/sd-drawbench --metric text_rendering --metric image_stats
      drawbench score out/* --metric clip_score --set clip_score.model=ViT-L-14 --json
    """
    from drawbench.store import Run

    if not metrics:
        raise UserError("give at least one --metric; `drawbench list metrics` lists them")
    check_device(device)
    named = parse_named(metrics)
    opened = [Run.open(path) for path in runs]
    loaded = load_metrics(named, parse_settings(settings, list(named)), device, dtype, reference)
    files = score_each(opened, loaded, over)
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


def load_metrics(
    named: Mapping[str, str],
    settings: Mapping[str, Mapping[str, str]],
    device: str,
    dtype: str,
    reference: str | None,
    skipped: dict[str, str] | None = None,
) -> list[Loaded]:
    """Builds the metrics; with ``skipped``, one whose weights are missing is entered there instead of ending all."""
    from drawbench.interfaces import ImageMetric, SetMetric
    from drawbench.metrics.stream import Loaded

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
        if not isinstance(metric, ImageMetric | SetMetric):
            raise UserError(
                f"metric {name!r} of {plugin.package} gave {type(metric).__name__}, which lacks one of: outputs, network, "
                "protocol(), and score() or compute() and leave_out()"
            )
        if [output.main for output in metric.outputs.values()].count(True) != 1:
            raise UserError(f"metric {name!r} of {plugin.package} must have exactly one main output")
        ours = plugin.package == "drawbench"  # Ours tell all in their protocols.
        told = {} if ours else {f"option {key}": str(value) for key, value in on_record(factory, values).items()}
        verified = plugin.verified or getattr(metric.network, "shipped", False)
        loaded.append(Loaded(alias, plugin.name, metric, {**told, **source(plugin)}, verified))
    if reference is not None and not referenced:
        raise UserError(f"--reference {reference}: none of {', '.join(named)} takes a reference")
    return loaded


def score_each(runs: Sequence[Run], loaded: Sequence[Loaded], over: str) -> list[ScoreFile]:
    """Scores every run by every metric, and says of which planned images there is nothing to score."""
    from drawbench.metrics.stream import score_run

    for run in runs:
        planned, drawn = len(run.items()), len(run.drawn())
        if drawn < planned:
            click.echo(f"note: {run.path}: {planned - drawn} of {planned} planned images are not drawn", err=True)
    return [file for run in runs for file in score_run(run, loaded, over="samples" if over == "samples" else "prompts")]


def _is_told(row: Score, file: ScoreFile) -> bool:
    """A width is for the report; the terminal has what is better or worse, and what a metric is for."""
    return row.higher_is_better is not None or row.output == file.main


def print_scores(files: Sequence[ScoreFile]) -> None:
    """Prints the overall values with their intervals, and what there is to remark."""
    rows = []
    for file in files:
        for row in file.scores:
            if row.category is None and row.output is not None and _is_told(row, file):
                interval = f"[{row.interval.low:.4f}, {row.interval.high:.4f}]" if row.interval else f"({row.reason})"
                value = "-" if row.value is None else f"{row.value:.4f}"
                arrow = {True: "↑", False: "↓", None: " "}[row.higher_is_better]
                rows.append((row.system, f"{row.metric} {row.output}", arrow, value, interval, f"n = {row.n}"))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(6)]
    for line in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    remarks = dict.fromkeys(f"note: {file.metric}: {note}" for file in files for note in file.notes)
    unverified = sorted({file.metric for file in files if not file.verified})
    for remark in [*remarks, *(f"note: {metric}: unverified on published weights" for metric in unverified)]:
        click.echo(remark, err=True)
