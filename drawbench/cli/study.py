"""``drawbench study``: people's judgements, from the making of a study to its answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from drawbench.errors import UserError


@click.group(short_help="Human evaluation: make, invite, export, import, forget.")
def study() -> None:
    """Put images before people: make a study from runs, invite raters, take the answers out.

    \b
    Example:
      drawbench study create --runs out/a-drawbench out/b-drawbench --design drawbench -o study
      drawbench study invite study --count 25 -o links.csv
      drawbench study export study -o answers.csv
    """


def _run_paths(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[Path]:
    return [Path(value) for value in values]


class _Several(click.Command):
    """A command in which ``--runs A B C`` takes all that follows up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for one in args:
            if one.startswith("-") and one != "-":
                taking = one == "--runs"
                spread += [] if taking else [one]
            else:
                spread += ["--runs", one] if taking else [one]
        return super().parse_args(ctx, spread)


@study.command(cls=_Several, short_help="Make a study from runs.")
@click.option(
    "--runs", multiple=True, required=True, callback=_run_paths, metavar="RUN…", help="Runs of one prompt set."
)
@click.option(
    "--design",
    "design_name",
    required=True,
    metavar="NAME|FILE.toml",
    help="drawbench, coco-fidelity, coco-alignment, dalle2, single, or your own.",
)
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The reference photographs, imported as a run (coco designs).",
)
@click.option(
    "--images-per-set", type=click.IntRange(min=1), help="A set has at most so many, where the design wants more."
)
@click.option("--raters", type=click.IntRange(min=1), help="For each unit, instead of the design's number.")
@click.option(
    "--pairs",
    type=click.Choice(["all", "balanced"]),
    default="all",
    show_default=True,
    help="Of more than two systems: every pair on every prompt, or one pair each.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything that is drawn by lot."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to make.")
def create(
    runs: list[Path],
    design_name: str,
    reference: Path | None,
    images_per_set: int | None,
    raters: int | None,
    pairs: str,
    seed: int,
    output: Path,
) -> None:
    """Make a study: images re-encoded alike under names that tell nothing, items and wording frozen by a digest.

    \b
    Example:
      drawbench study create --runs out/a-drawbench out/b-drawbench --design drawbench -o study
      drawbench study create --runs out/a-coco --reference out/photos-coco --design coco-fidelity -o study
    """
    from dataclasses import replace

    from drawbench.human_eval.creation import create as make
    from drawbench.human_eval.designs import find_design
    from drawbench.store import Run

    design = find_design(design_name)
    if raters is not None:
        design = replace(design, raters=raters)
    opened = [Run.open(path) for path in runs]
    photographs = Run.open(reference) if reference else None
    made = make(output, opened, design, reference=photographs, images_per_set=images_per_set, pairs=pairs, seed=seed)
    screens = len(made.items)
    click.echo(
        f"{output}: {screens} items in {len(made.units)} units, {made.design.raters} raters for each, "
        f"{made.manifest['images']['count']} images; {', '.join(made.systems)}"
    )
    for note in made.manifest["notes"]:
        click.echo(f"note: {note}", err=True)
    reasons = Counter(made.manifest["left_out"].values())
    for reason, count in reasons.items():
        click.echo(f"note: {count} prompts are left out: {reason}", err=True)


@study.command(short_help="Make personal links for raters.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option(
    "--count", type=click.IntRange(min=1), help="So many raters without a name (default: as many as there are places)."
)
@click.option("--name", "names", multiple=True, help="A rater whom you know by this. May be repeated.")
@click.option("--base-url", default="http://127.0.0.1:8501", show_default=True, help="Where raters will reach the app.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A CSV of the links (default: printed).")
def invite(path: Path, count: int | None, names: tuple[str, ...], base_url: str, output: Path | None) -> None:
    """Make a personal link for each rater. It is told once: of its secret part only a hash is kept.

    \b
    Example:
      drawbench study invite study --count 25 -o links.csv
    """
    import csv
    import io

    from drawbench.files import write_atomic
    from drawbench.human_eval.store import Store
    from drawbench.human_eval.study import Study

    opened = Study.open(path)
    if output is not None and output.exists():
        raise UserError(f"{output} is there already, perhaps with links that are told once; give another name")
    store = Store(opened)
    who: list[str | None] = [*names] or [None] * (count or opened.design.raters * len(opened.units))
    if names and count:
        raise UserError("--count and --name do not go together")
    rows = []
    for name in who:
        rater, token = store.invite(name)
        rows.append((rater, name or "", f"{base_url.rstrip('/')}/r/{token}"))
    store.close()
    stream = io.StringIO()
    csv.writer(stream).writerows([("rater", "name", "link"), *rows])
    if output is None:
        click.echo(stream.getvalue(), nl=False)
    else:
        write_atomic(output, stream.getvalue().encode())
        click.echo(f"{output}: {len(rows)} links")


@study.command(short_help="Take the answers out.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.option("--all", "all_rows", is_flag=True, help="Also what a rater later changed.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.csv, FILE.parquet or FILE.json."
)
def export(path: Path, all_rows: bool, output: Path) -> None:
    """Write all judgements, by pseudonym. JSON holds the items too and can be imported elsewhere.

    \b
    Example:
      drawbench study export study -o answers.csv
    """
    from drawbench.human_eval.exchange import export as write
    from drawbench.human_eval.store import Store
    from drawbench.human_eval.study import Study

    opened = Study.open(path)
    store = Store(opened)
    judgements = store.judgements(all_rows=all_rows)
    store.close()
    write(opened, judgements, output)
    raters = len({one.rater for one in judgements})
    click.echo(f"{output}: {len(judgements)} judgements of {raters} raters")


@study.command("import", short_help="Make a study of judgements made elsewhere.")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["drawbench", "imagenhub", "gpt4v"]),
    default="drawbench",
    show_default=True,
    help="drawbench: our own export as JSON.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to make.")
def import_(source: Path, kind: str, output: Path) -> None:
    """Make a study of somebody's ratings, to be analysed like any other. SOURCE is a file or a folder.

    \b
    Example:
      drawbench study import answers.json -o copy
      drawbench study import imagenhub/ --format imagenhub -o others
    """
    from drawbench.human_eval.exchange import import_ratings

    made = import_ratings(source, kind, output)
    click.echo(f"{output}: {len(made.items)} items, {', '.join(made.systems)}")


@study.command(short_help="Forget a rater.")
@click.argument("path", metavar="STUDY", type=click.Path(path_type=Path))
@click.argument("rater")
@click.option("--answers-too", is_flag=True, help="Remove their answers as well.")
def forget(path: Path, rater: str, answers_too: bool) -> None:
    """Remove who a rater is: name and link. Their answers stay under the pseudonym, unless --answers-too.

    \b
    Example:
      drawbench study forget study r01234567
    """
    from drawbench.human_eval.store import Store
    from drawbench.human_eval.study import Study

    store = Store(Study.open(path))
    gone = store.forget(rater, answers_too=answers_too)
    store.close()
    click.echo(f"{rater} is forgotten; {gone} judgements removed")
