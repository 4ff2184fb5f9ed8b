"""``drawbench explain-fid``: why your number is not theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from drawbench.cli.options import check_device, device_option, set_option
from drawbench.cli.reference import metric_dtype_option

if TYPE_CHECKING:
    from drawbench.metrics.frechet_metric import FrechetDistance


@click.command("explain-fid", short_help="What each choice of an FID moves.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--reference", required=True, help="Photographs: a folder, a list (.txt), a run, statistics, or a name.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="FILE.html, FILE.md or FILE.json.")
@click.option("--images", type=click.IntRange(min=2), help="A quick look: so many of the run and of a folder at most.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["protocol", "pre-step", "filter", "codec", "dtype", "n"]),
    help="Only these choices. May be repeated.",
)
@device_option
@metric_dtype_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def explain_fid(
    run: Path,
    reference: str,
    output: Path | None,
    images: int | None,
    only: Sequence[str],
    device: str,
    dtype: str,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Measure FID as asked for, and again with each choice made otherwise: resize, crop, codec, dtype, n.

    What moves is told with its interval. Features are kept, so the same command goes on where it was stopped.

    \b
    Examples:
      drawbench explain-fid out/sd-coco-30k --reference val2014 --set fid.resize_before=256 -o explain.html
      drawbench explain-fid out/sd-coco-30k --reference val2014 --images 500 --only protocol --only codec
    """
    from drawbench.cli.measure import load_metrics
    from drawbench.metrics.explain_fid import explain
    from drawbench.metrics.fid_variants import AXES
    from drawbench.plugins import find
    from drawbench.reports.explain import render_json, renderer, summary_lines, write_explanation
    from drawbench.settings import parse_settings, resolve
    from drawbench.store import Run

    check_device(device)
    if output is not None:
        renderer(output)  # A wrong name is told before the work.
    given = parse_settings(settings, ["fid"])["fid"]

    def build(changes: Mapping[str, str], dtype: str, reference: str) -> FrechetDistance:
        loaded = load_metrics({"fid": "fid"}, {"fid": {**given, **changes}}, device, dtype, reference)
        return cast("FrechetDistance", loaded[0].metric)

    plugin = find("metrics", "fid")
    options = resolve("fid", plugin.load(), given)
    found = explain(Run.open(run), build, options, dtype, reference, only=only or AXES, most=images)
    if not plugin.verified:
        found = replace(found, remarks=[*found.remarks, "fid: unverified on published weights"])
    if output is not None:
        write_explanation(found, output)
    click.echo(render_json(found) if as_json else "\n".join(summary_lines(found)))
    if output is not None:
        click.echo(f"explanation: {output}", err=as_json)
