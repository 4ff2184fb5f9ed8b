"""``drawbench sweep``: one generator over a grid of its options, drawn, scored and plotted as a trade-off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.building import build_generators
from drawbench.cli.draw import chosen_dtype, draw, owners_settings
from drawbench.cli.grid import Point, grid
from drawbench.cli.measure import load_metrics, score_each
from drawbench.cli.options import check_device, drawing_options, metric_option, over_option
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
@over_option
@click.pass_context
def sweep(
    context: click.Context,
    /,
    metrics: Sequence[str],
    reference: str | None,
    plots: Sequence[str],
    over: str,
    **given: Any,
) -> None:
    """Draw with every combination of some options' values, score, and plot what is gained against what is lost.

    An option of the generator that is given several values, separated by commas, is swept; a comma of a value's own is
    written \\, (in quotes). Each point of the grid is a run, DIR/POINT, with the same seeds at each. The first swept option
    runs along a curve, and there is a curve for each combination of the others. Without --plot the first figure is the
    Fréchet distance against the CLIP score. The same command goes on where it stopped.

    \b
    Example:
      drawbench sweep --generator imagen --checkpoint shapes --prompts shapes \\
        --set imagen.base.guidance_weight=1,1.5,2,3,5,8 --set imagen.base.thresholding=none,static,dynamic -o out
      drawbench sweep --generator imagen --checkpoint shapes --prompts shapes \\
        --set imagen.sr256.aug_level=0,0.1,0.2,0.3 --plot x=sr256.aug_level,y=fd -o levels
    """
    from drawbench.reports.sweep import Scored, Sweep, table_lines, write_sweep
    from drawbench.reports.sweep_plots import find_plots

    _check(given)
    asked = owners_settings(given, metrics, reference)
    ((alias, name),) = parse_named(given["generators"]).items()
    points = grid(alias, find("generators", name).load(), asked.of_generators[alias])
    output: Path = given["output"]
    given["dtype"] = chosen_dtype(given, [output / point.folder for point in points])
    for number, point in enumerate(points, 1):  # All of them, before anything is drawn.
        _try(alias, point, f"{number} of {len(points)}", asked.of_generators, given)
    skipped: dict[str, str] = {}
    loaded = load_metrics(
        asked.metrics, asked.of_metrics, given["device"], "fp32", reference, skipped if not metrics else None
    )
    if not loaded:
        raise UserError(f"nothing can be scored: {'; '.join(skipped.values())}")
    wanted = find_plots(plots, loaded, {key: [point.values[key] for point in points] for key in points[0].values})
    failed = False
    scored: list[Scored] = []
    for number, point in enumerate(points, 1):
        click.echo(f"point {number} of {len(points)}: {point.label}", err=True)
        at_point = _given(alias, point, asked.of_generators, given)
        ((made, summary),) = draw(**at_point, into_folder=True, ready=build_generators(at_point["settings"], at_point))
        failed |= bool(summary.failed)
        if not made.drawn():
            raise UserError(f"not one image was drawn at {point.label}; the journal in {made.path} says why")
        scored.append(Scored(point.label, point.values, made, score_each([made], loaded, over)))
    found = Sweep(given["name"] or alias, scored, wanted, skipped)
    files = write_sweep(found, output)
    click.echo("\n".join(table_lines(found)))
    for metric, reason in skipped.items():
        click.echo(f"skipped: {metric}: {reason}", err=True)
    for file in files:
        click.echo(f"{'report' if file.suffix == '.html' else 'also'}: {file}")
    context.exit(3 if skipped else 1 if failed else 0)


def _check(given: Mapping[str, Any]) -> None:
    """Refuses what has no place in a sweep."""
    from drawbench.executors.shard import find_shard

    if (part := find_shard(given["shard"])).count > 1:
        raise UserError(
            f"this process is to draw {part.line()}, and sweep scores whole runs: give --processes, or sweep other values "
            "elsewhere"
        )
    for what, of in (("--generator", given["generators"]), ("--prompts", given["prompt_specs"])):
        if len(of) > 1:
            raise UserError(
                f"a sweep has one {what}, not {len(of)} ({', '.join(of)}); sweep each into a folder of its own"
            )
    output: Path = given["output"]
    if (output / "run.json").is_file():
        raise UserError(f"{output} is a run; give a new folder, in which each point is a run")
    check_device(given["device"])


def _given(
    alias: str, point: Point, settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what `draw` is given for one point."""
    name = f"{given['name'] or alias} {point.label}"
    return {
        **given,
        "name": name,
        "settings": {**settings, alias: dict(point.settings)},
        "output": given["output"] / point.folder,
    }


def _try(
    alias: str, point: Point, number: str, settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]
) -> None:
    """Builds a point's generator and lets it go again, so that what it or its folder refuses is said before all work."""
    from drawbench.protocol import differences
    from drawbench.store import begun, refuse_strangers

    at_point = _given(alias, point, settings, given)
    path: Path = at_point["output"]
    try:
        (ready,) = build_generators(at_point["settings"], at_point)
    except UserError as error:
        error.args = (f"point {number} ({point.label}): {error}",)
        raise
    refuse_strangers(path)
    there = begun(path)
    if there is None:
        return
    here = replace(there, system=ready.system, seed=given["seed"], dtype=ready.dtype)
    if other := differences(there.identity(), here.identity()):
        named = "; ".join(f"{key} is {old!r} there, {new!r} here" for key, (old, new) in other.items())
        raise UserError(f"{path} holds another run: {named}; give another -o, or the options of that sweep")
