"""``drawbench compare``: whether A is better than B, by how much, and whether the two may be compared at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from drawbench.errors import UserError


@click.command(short_help="Is A better than B?")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Only this one, by the name or alias of its scores (default: all that both have).",
)
@click.option("--by-category", is_flag=True, help="Print the differences within each category too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def compare(a: Path, b: Path, metrics: Sequence[str], by_category: bool, as_json: bool) -> None:
    """Subtract the scores of run B from those of run A, prompt by prompt, with intervals and tests (p adjusted by Holm).

    Numbers of different protocols are not subtracted: the fields that differ are named, and the exit code is 2. A and B may
    also be single files of scores (RUN/scores/*.json), where a run has a metric under several protocols.

    \b
    Examples:
      drawbench compare out/sd14-drawbench out/sd15-drawbench
      drawbench compare out/a out/b --metric clip_score --by-category
    """
    from drawbench.reports.two_runs import compare_two, lines, refusal, to_json

    found = compare_two(a, b, metrics)
    if as_json:
        click.echo(json.dumps(to_json(found), ensure_ascii=False, allow_nan=False))
    else:
        for line in lines(found, by_category):
            click.echo(line)
        for remark in found.remarks:
            click.echo(f"note: {remark}", err=True)
    if refused := refusal(found):
        raise UserError(refused)
