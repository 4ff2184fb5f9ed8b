"""``drawbench sweep``: one generator over a grid of its options, drawn, scored and plotted as a trade-off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.building import build_generators
from drawbench.cli.draw import chosen_dtype, draw, owners_settings
from drawbench.cli.grid import grid
from drawbench.cli.measure import load_metrics, score_each
from drawbench.cli.options import drawing_options, metric_option, over_option
from drawbench.cli.sweep_checks import (
    check,
    find_anchors,
    given_at,
    place_of,
    prompts_of,
    samples_of_all,
    try_point,
)
from drawbench.errors import UserError
from drawbench.plugins import find, parse_named

if TYPE_CHECKING:
    from drawbench.reports.sweep import Scored


@click.command(short_help="Draw and score over a grid of options.")
@drawing_options
@metric_option
@click.option("--reference", help="What set metrics compare with.")
@click.option(
    "--plot",
    "plots",
    multiple=True,
    metavar="x=OUTPUT,y=OUTPUT",
    help="A figure: METRIC, METRIC.OUTPUT or a swept option against another. May be repeated; the first is sweep.svg.",
)
@click.option(
    "--anchor",
    "anchor_paths",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="A finished run of the same prompts, such as shapes_truth's, scored alike and shown beside the curves. May be repeated.",
)
@over_option
@click.pass_context
def sweep(
    context: click.Context,
    /,
    metrics: Sequence[str],
    reference: str | None,
    plots: Sequence[str],
    anchor_paths: Sequence[Path],
    over: str,
    **given: Any,
) -> None:
    """Draw with every combination of some options' values, score, and plot what is gained against what is lost.

    An option of the generator that is given several values, separated by commas, is swept; a comma of a value's own is
    written \\, (in quotes). Each point of the grid is a run, DIR/POINT, with the same seeds at each. The first swept option
    runs along a curve, and there is a curve for each combination of the others. Without --plot the first figure is the
    Fréchet distance against the CLIP score. Points that differ in one option are subtracted from each other, paired prompt
    by prompt, and all these tests are one family, whatever the order of the options. The same command goes on where it
    stopped; without --samples with as many as the runs there have.

    \b
    Example:
      drawbench sweep --generator imagen --checkpoint shapes --prompts shapes \\
        --set imagen.base.guidance_weight=1,1.5,2,3,5,8 --set imagen.base.thresholding=none,static,dynamic -o out
      drawbench sweep --generator imagen --checkpoint shapes --prompts shapes \\
        --set imagen.sr256.aug_level=0,0.1,0.2,0.3 --plot x=sr256.aug_level,y=fd -o levels
    """
    from drawbench.reports.sweep import Anchor, Scored, Sweep, write_points, write_sweep
    from drawbench.reports.sweep_plots import find_plots

    check(given)
    asked = owners_settings(given, metrics, reference)
    ((alias, name),) = parse_named(given["generators"]).items()
    points = grid(alias, find("generators", name).load(), asked.of_generators[alias])
    output: Path = given["output"]
    places = [place_of(output, given["name"] or alias, point) for point in points]
    given["dtype"] = chosen_dtype(given, [place.path for place in places])
    prompt_set = prompts_of(alias, asked.of_generators, given)
    for number, place in enumerate(places, 1):  # All of them, before anything is drawn.
        try_point(alias, place, f"{number} of {len(points)}", asked.of_generators, given, prompt_set)
    samples = samples_of_all(places, prompt_set, given)
    if samples != given["samples"] and samples != 1:
        click.echo(f"note: {samples} samples of each prompt, as the runs in {output} have", err=True)
    given["samples"] = samples
    beside = find_anchors(anchor_paths, prompt_set, places, given)
    skipped: dict[str, str] = {}
    loaded = load_metrics(
        asked.metrics, asked.of_metrics, given["device"], "fp32", reference, skipped if not metrics else None
    )
    if not loaded:
        raise UserError(f"nothing can be scored: {'; '.join(skipped.values())}")
    wanted = find_plots(plots, loaded, {key: [point.values[key] for point in points] for key in points[0].values})
    anchors = [Anchor(label, run, score_each([run], loaded, over)) for label, run in beside.items()]
    failed = False
    scored: list[Scored] = []
    for number, place in enumerate(places, 1):
        click.echo(f"point {number} of {len(points)}: {place.point.label}", err=True)
        at_point = given_at(alias, place, asked.of_generators, given)
        ((made, summary),) = draw(**at_point, into_folder=True, ready=build_generators(at_point["settings"], at_point))
        files = score_each([made], loaded, over) if made.drawn() else []
        if not files:
            click.echo(f"warning: not one image was drawn here; the journal in {made.path} says why", err=True)
        failed |= bool(summary.failed) or not files
        scored.append(Scored(place.point.label, place.point.values, made, files))
        if number < len(places) and any(point.files for point in scored):
            write_points(Sweep(given["name"] or alias, scored, wanted, skipped, anchors), output)
    if not any(point.files for point in scored):
        raise UserError(f"not one image was drawn at any point; the journal in {scored[0].run.path} says why")
    found = Sweep(given["name"] or alias, scored, wanted, skipped, anchors)
    written = write_sweep(found, output)
    click.echo("\n".join(written.lines))
    for metric, reason in skipped.items():
        click.echo(f"skipped: {metric}: {reason}", err=True)
    for file in written.files:
        click.echo(f"{'report' if file.suffix == '.html' else 'also'}: {file}")
    context.exit(3 if skipped else 1 if failed else 0)
