"""``drawbench study analyse``, ``simulate`` and ``power``: what judgements say, and what they will."""

from __future__ import annotations

import math
from pathlib import Path

import click

from drawbench.errors import UserError


@click.command(short_help="Say what the judgements say.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.html, FILE.md or FILE.json.")
def analyse(path: Path, output: Path) -> None:
    """Preferences with intervals over raters and prompts, rankings, agreement, side effects; with and without flagged raters.

    \b
    Example:
      drawbench study analyse study -o study.html
    """
    from drawbench.human_eval.analysis import analyse as look
    from drawbench.human_eval.findings import left_out, sentences
    from drawbench.human_eval.store import Store
    from drawbench.human_eval.study import Study
    from drawbench.reports.study import write_study_report

    opened = Study.open(path)
    store = Store(opened)
    judgements = store.judgements()
    store.close()
    analysis = look(opened, judgements)
    write_study_report(analysis, output)
    click.echo("\n".join(sentences(analysis)))
    for text in (*left_out(analysis), *analysis["notes"]):
        click.echo(f"note: {text}", err=True)
    if analysis["flags"]:
        click.echo(
            f"note: {len(analysis['flags'])} raters are flagged; the numbers are given with and without them", err=True
        )
    click.echo(f"analysis: {output}")


@click.command(short_help="Fill a study with simulated raters.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--strength",
    "strengths",
    multiple=True,
    required=True,
    metavar="SYSTEM=X",
    help="How good a system is, in units of a judgement's chance.",
)
@click.option("--raters", "most", type=click.IntRange(min=1), help="So many (default: until every place is taken).")
@click.option(
    "--indifference",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Smaller differences are answered indifferent.",
)
@click.option(
    "--rater-sd", type=click.FloatRange(min=0), default=0.3, show_default=True, help="How much raters differ."
)
@click.option(
    "--prompt-sd", type=click.FloatRange(min=0), default=0.3, show_default=True, help="How much prompts differ."
)
@click.option("--side-bias", type=float, default=0.0, show_default=True, help="Favour for the left side.")
@click.option(
    "--lazy", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of raters who answer at random."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def simulate(
    path: Path,
    strengths: tuple[str, ...],
    most: int | None,
    indifference: float,
    rater_sd: float,
    prompt_sd: float,
    side_bias: float,
    lazy: float,
    seed: int,
) -> None:
    """Let raters who do not exist, with known preferences, go through a study: to try one out before people do.

    \b
    Example:
      drawbench study simulate study --strength guided=1 --strength plain=0 --raters 25
    """
    from drawbench.human_eval.simulated_raters import simulate as fill
    from drawbench.human_eval.simulation import Population
    from drawbench.human_eval.store import Store
    from drawbench.human_eval.study import Study

    values = {}
    for text in strengths:
        name, _, value = text.rpartition("=")
        try:
            given = float(value)
        except ValueError:
            given = math.nan
        if not math.isfinite(given) or name in values:
            raise UserError(f"--strength {text}: give each system once, as SYSTEM=NUMBER")
        values[name] = given
    population = Population(indifference, rater_sd, prompt_sd, side_bias, at_random=lazy)
    store = Store(Study.open(path))
    count = fill(store, values, population, seed, most)
    judgements = len(store.judgements())
    store.close()
    click.echo(f"{path}: {count} simulated raters, {judgements} judgements")


@click.command(short_help="How many raters give how sure a share?")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--half-width",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Wanted: ± this, as a share.",
)
@click.option(
    "--rater-sd",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="How much the share differs from rater to rater.",
)
@click.option(
    "--prompt-sd",
    type=click.FloatRange(0, 0.5),
    default=0.15,
    show_default=True,
    help="How much it differs from prompt to prompt.",
)
def power(path: Path, half_width: float, rater_sd: float, prompt_sd: float) -> None:
    """Say how wide the interval of an overall preference will be for numbers of raters, and how many reach ± a width.

    \b
    Example:
      drawbench study power study --half-width 0.03
    """
    from drawbench.human_eval.power import naive_half_width, precision, raters_for, scarcest_pair
    from drawbench.human_eval.study import Study

    opened = Study.open(path)
    scarcest = scarcest_pair(opened)
    units, prompts = scarcest.units, scarcest.prompts
    kinds = {"rater_sd": rater_sd, "prompt_sd": prompt_sd}
    click.echo(
        f"{' against '.join(scarcest.systems)}: {prompts} prompts in {units} units, each rater judges one unit; "
        f"shares differ by {rater_sd:g} from rater to rater and by {prompt_sd:g} from prompt to prompt"
    )
    click.echo(f"{'raters a unit':>13}  {'judgements':>10}  {'± over raters and prompts':>25}  {'± naive':>8}")
    wanted = raters_for(half_width, units, prompts, **kinds)
    numbers = sorted({1, 2, 5, 10, 25, 50, opened.design.raters, *([wanted.raters] if wanted else [])})
    for number in numbers:
        found = precision(number, units, prompts, **kinds)
        naive = naive_half_width(found.judgements)
        click.echo(f"{number:>13}  {found.judgements:>10}  {100 * found.half_width:>23.1f} %  {100 * naive:>6.1f} %")
    if wanted is None:
        click.echo(
            f"± {100 * half_width:g} % is out of reach: with {prompts} prompts alone it is wider; more prompts are needed"
        )
    else:
        click.echo(
            f"± {100 * half_width:g} % needs {wanted.raters} raters a unit, {wanted.judgements} judgements of each question"
        )
