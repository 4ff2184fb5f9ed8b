"""``drawbench fid-30k``: the number by which papers compare text-to-image models, and where it is not the paper's."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.options import check_device, device_option, set_option
from drawbench.cli.reference import metric_dtype_option
from drawbench.errors import UserError

if TYPE_CHECKING:
    from drawbench.metrics.fid_30k import Row

STANDARD = {"resize_before": "256"}
"""fid's options that FID-30K has and `score` has not; `--set fid.…` goes before them."""


@click.command("fid-30k", short_help="FID-30K, and what differs from the paper's.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--reference", required=True, help="COCO's validation photographs: a folder, statistics, or coco-val2014."
)
@click.option("--not-30k", "not_30k", is_flag=True, help="Measure another run too; the number is called by its n.")
@device_option
@metric_dtype_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
def fid_30k(
    run: Path, reference: str, not_30k: bool, device: str, dtype: str, settings: Sequence[str], as_json: bool
) -> None:
    """Measure FID-30K of a run: 30,000 images of 30,000 recorded COCO captions, one each, none refused or failed.

    Images and photographs go to 256x256 first (the square in the middle), then to Inception by fid's own protocol; other
    options by --set fid.…. Printed with the number: each point of the protocol beside what the paper says of it.

    \b
    Example:
      drawbench reference make val2014 --name coco-val2014 --set fid.resize_before=256
      drawbench fid-30k out/sd-coco-30k --reference coco-val2014
    """
    from drawbench.cli.measure import load_metrics, print_scores, score_each
    from drawbench.metrics.fid_30k import against_paper, lacking, name_of
    from drawbench.metrics.frechet_metric import FrechetDistance
    from drawbench.scores import score_to_json
    from drawbench.settings import parse_settings
    from drawbench.store import Run

    check_device(device)
    opened = Run.open(run)
    lacks = lacking(opened)
    if lacks and not not_30k:
        raise UserError(
            f"{run} is no run of FID-30K: {'; '.join(lacks)}; mend that, or say --not-30k: its number is then called "
            f"{name_of(opened)}"
        )
    alias = name_of(opened)
    given = {**STANDARD, **parse_settings(settings, ["fid"])["fid"]}
    loaded = load_metrics({alias: "fid"}, {alias: given}, device, dtype, reference)
    metric = loaded[0].metric
    if not isinstance(metric, FrechetDistance):
        raise TypeError(f"fid gave {type(metric).__name__}")
    files = score_each([opened], loaded, "prompts")
    rows = against_paper(opened, metric)
    if as_json:
        scores = [score_to_json(row) | {"verified": file.verified} for file in files for row in file.scores]
        click.echo(json.dumps(_content(alias, lacks, scores, rows), ensure_ascii=False, allow_nan=False))
        return
    print_scores(files)
    if lacks:
        click.echo(f"not FID-30K: {'; '.join(lacks)}")
    click.echo("\nagainst the paper's protocol (Saharia et al. 2022):")
    for line in table(rows):
        click.echo(line)


def table(rows: Sequence[Row]) -> list[str]:
    """Returns the points of the protocol for the terminal, what differs first."""
    order = {"differs": 0, "not said": 1, "same": 2}
    told = {"differs": "differs", "not said": "paper silent", "same": "same"}
    lines = []
    for row in sorted(rows, key=lambda row: order[row.verdict]):
        paper, here = (textwrap.wrap(text, 44) for text in (row.paper, row.here))
        for index in range(max(len(paper), len(here))):
            first = (told[row.verdict], row.what) if index == 0 else ("", "")
            cells = [paper[index] if index < len(paper) else "", here[index] if index < len(here) else ""]
            lines.append(f"  {first[0]:13} {first[1]:31} {cells[0]:45} {cells[1]}".rstrip())
    return [f"  {'':13} {'':31} {'the paper':45} here", *lines]


def _content(alias: str, lacks: Sequence[str], scores: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "name": "FID-30K" if not lacks else alias.upper(),
        "lacking": list(lacks),
        "scores": list(scores),
        "against_paper": [row._asdict() for row in rows],
    }
