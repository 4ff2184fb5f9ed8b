"""``drawbench reference make`` and ``show``: statistics of a set of images, which a set metric can be given instead of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drawbench.cli.options import check_device, device_option, set_option
from drawbench.errors import UserError

if TYPE_CHECKING:
    from drawbench.metrics.reference import Reference

metric_dtype_option = click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the metric's network; it is part of a number's protocol.",
)


@click.group(short_help="Statistics of reference images.")
def reference() -> None:
    """Make statistics of reference images once, under a name if you like, and look at what a file of them is."""


@reference.command(short_help="Make a statistics file.")
@click.argument("images", metavar="DIR|LIST|RUN", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write: STATS.npz.")
@click.option("--name", help="Keep it in the cache, for --reference NAME; coco-val2014 only of its 40,504 photographs.")
@click.option("--metric", "metric_name", default="fid", show_default=True, help="Whose network and options.")
@click.option(
    "--matching", type=click.Path(path_type=Path), help="A run: only the photographs of its prompts' COCO ids."
)
@click.option("--features", is_flag=True, help="Keep the features too, for metrics that need more than moments.")
@device_option
@metric_dtype_option
@set_option
def make(
    images: Path,
    output: Path | None,
    name: str | None,
    metric_name: str,
    matching: Path | None,
    features: bool,
    device: str,
    dtype: str,
    settings: Sequence[str],
) -> None:
    """Compute the statistics of a folder of images, of a list of them (.txt, one path a line), or of a run.

    The file holds mean and covariance in float64, the network's key and what it is made of in words, n, and the digest of the
    images: a metric with other options refuses it, and names the difference.

    \b
    Examples:
      drawbench reference make val2014 --name coco-val2014 --set fid.resize_before=256
      drawbench reference make val2014 --matching out/sd-coco-30k --set fid.resize_before=256 -o matched.npz
      drawbench reference make photos --metric kid --features -o photos.npz
    """
    from drawbench.cli.measure import load_metrics
    from drawbench.metrics.named_reference import COCO_VAL2014, check_coco, check_name, named_file
    from drawbench.metrics.reference import Reference, save_reference
    from drawbench.plugins import parse_named
    from drawbench.settings import parse_settings

    if output is None and name is None:
        raise UserError("say where to: -o STATS.npz, or --name NAME for the cache")
    if output is not None and output.suffix != ".npz":
        raise UserError(f"-o {output}: a statistics file is called .npz")
    if name is not None:
        check_name(name)
    if name == COCO_VAL2014 and matching is not None:
        raise UserError(f"--name {name} is all the photographs, and --matching takes some of them; give another name")
    if not images.exists():
        raise UserError(f"{images}: there is nothing; give a folder of images, a list of them (.txt), or a run")
    check_device(device)
    named = parse_named([metric_name])
    more: dict[str, str] = {} if name is None else {"name": name}
    if name == COCO_VAL2014:
        checked = check_coco(_files(images))
        more |= {"words": f"{checked.words}, as stored: not turned by EXIF", "names_sha256": checked.names_sha256}
        click.echo(f"note: {checked.words}; sha256 of the sorted names: {checked.names_sha256}", err=True)
    with _chosen(images, matching, more) as given:
        loaded = load_metrics(named, parse_settings(settings, list(named)), device, dtype, given)
        found = getattr(loaded[0].metric, "reference", None)
        if not isinstance(found, Reference):
            raise UserError(f"--metric {metric_name}: it keeps no reference of which a file could be made")
        places = [*([output] if output else []), *([named_file(name, str(found.network))] if name else [])]
        for place in places:
            save_reference(place, found, features=features, more=more)
    for line in _told(found, more):
        click.echo(line)
    for place in places:
        click.echo(f"reference: {place}")


@reference.command(short_help="Say what a statistics file is.")
@click.argument("given", metavar="FILE|NAME")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON list, an object for each file.")
def show(given: str, as_json: bool) -> None:
    """Print what a statistics file is and whether it is whole; of a name, all that the cache has of it.

    \b
    Example:
      drawbench reference show coco-val2014
    """
    from drawbench.metrics.frechet import Moments
    from drawbench.metrics.named_reference import is_name, others_of
    from drawbench.metrics.reference import about_statistics, read_statistics

    files = others_of(given, "") if is_name(given) else [Path(given)]
    if not files:
        raise UserError(f"{given}: there is no such file, and the cache has no reference of that name")
    rows = []
    for file in files:
        found = read_statistics(file, "a set metric")
        about = about_statistics(file)
        kept = "moments" if isinstance(found.given, Moments) else "features and moments"
        checked = "whole: its arrays are those that were written" if "arrays_sha256" in about else "no digest to check"
        rows.append(
            {"file": str(file), "state": checked, "keeps": kept, "features": found.d, **_described(found, about)}
        )
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, allow_nan=False))
        return
    for row in rows:
        fields = row.pop("fields")
        for key, value in [*row.items(), *((f"  {key}", value) for key, value in fields.items())]:
            if value is not None:
                click.echo(f"{key.replace('_', ' ')}: {value}")


def _described(found: Reference, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": about.get("name"),
        "images": found.images,
        "n": found.n if found.n is not None else "not said",
        "sha256": found.sha256,
        "names_sha256": about.get("names_sha256"),
        "matching": about.get("matching"),
        "made_by": about.get("made_by"),
        "network": found.network or "not said",
        "fields": dict(found.fields),
    }


def _told(found: Reference, more: Mapping[str, str]) -> Iterator[str]:
    yield f"{found.n} images: {more.get('words', found.images)}"
    yield from (f"  {key}: {value}" for key, value in found.fields.items())


def _files(images: Path) -> list[Path]:
    """Returns the image files that a folder or a list has."""
    from drawbench.metrics.reference_images import LIST, files_of_folder, files_of_list

    if (images / "run.json").is_file() or not (images.is_dir() or images.suffix.lower() == LIST):
        raise UserError(f"{images}: --name coco-val2014 and --matching take a folder of photographs or a list of them")
    return files_of_folder(images) if images.is_dir() else files_of_list(images)


@contextmanager
def _chosen(images: Path, matching: Path | None, more: dict[str, str]) -> Iterator[str]:
    """Gives what a metric's ``reference`` is called: the images themselves, or a list of those that match a run's prompts."""
    from drawbench.metrics.named_reference import matched
    from drawbench.metrics.reference_images import temporary_list
    from drawbench.store import Run

    if matching is None:
        yield str(images)
        return
    run = Run.open(matching)
    files = matched(_files(images), run)
    of = f"{run.manifest.prompt_set} {run.manifest.prompt_set_sha256[:12]}"
    more |= {
        "words": f"the {len(files)} COCO photographs of the prompts of a run on {of}, as stored: not turned by EXIF",
        "matching": f"{run.manifest.prompt_set}, prompts sha256 {run.manifest.prompt_set_sha256}",
    }
    with temporary_list(files) as path:
        yield str(path)
