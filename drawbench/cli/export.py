"""``drawbench export``: a run's images, laid out as other tools read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(short_help="Lay out a run's images for other tools.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Choice(["geneval", "flat", "csv"]),
    required=True,
    help="geneval: 00000/metadata.jsonl, 00000/samples/0000.png; flat: ID.png, or ID_SAMPLE.png; csv: images/ and mapping.csv.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="A new or empty folder.")
@click.option(
    "--link", is_flag=True, help="Hard links instead of copies: no space is taken, but who alters one alters the run."
)
@click.pass_context
def export(context: click.Context, run: Path, layout: Any, output: Path, link: bool) -> None:
    """Copy a run's images into a folder as GenEval has them, as flat files, or with a table. The generator folder reads
    each of the three again: --set NAME.path=DIR, and for csv also --set NAME.mapping=DIR/mapping.csv.

    \b
    Example:
      drawbench export out/sd-drawbench --layout flat -o images/
      drawbench export out/sd-geneval --layout geneval --link -o geneval/
    """
    from drawbench.export import export as export_run
    from drawbench.store import Run

    opened = Run.open(run)
    done = export_run(opened, output, layout, link=link)
    click.echo(done.line(opened, output))
    context.exit(1 if done.missing else 0)
