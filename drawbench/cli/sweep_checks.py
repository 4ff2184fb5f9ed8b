"""What a sweep is held against before its first image: the command, every point's folder, and the anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drawbench.cli.building import build_generators
from drawbench.cli.grid import Point
from drawbench.cli.options import check_device, load_prompts
from drawbench.cli.workers import store_of
from drawbench.errors import UserError

if TYPE_CHECKING:
    from drawbench.interfaces import PromptSet
    from drawbench.store import Run


class Place(NamedTuple):
    """A point of the grid, and the run that it is."""

    point: Point
    path: Path
    name: str
    """The system's."""


def check(given: Mapping[str, Any]) -> None:
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


def place_of(output: Path, own: str, point: Point) -> Place:
    """Returns where a point's run lies; one that was begun when folders had the options in the order given stays there."""
    here = Place(point, output / point.folder, point.name(own))
    if (here.path / "run.json").is_file():
        return here
    as_given = point.as_given(own, [file.parent.name for file in output.glob("*/run.json")])
    return here if as_given is None else Place(point, output / as_given[0], as_given[1])


def prompts_of(alias: str, settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]) -> PromptSet:
    """Returns the prompt set that every point will draw."""
    (spec,) = given["prompt_specs"]
    of_sets = {owner: values for owner, values in settings.items() if owner != alias}
    return load_prompts(spec, of_sets.get(spec.partition("=")[0]))


def given_at(
    alias: str, place: Place, settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what `draw` is given for one point."""
    return {
        **given,
        "name": place.name,
        "settings": {**settings, alias: dict(place.point.settings)},
        "output": place.path,
    }


def try_point(
    alias: str,
    place: Place,
    number: str,
    settings: Mapping[str, Mapping[str, str]],
    given: Mapping[str, Any],
    prompt_set: PromptSet,
) -> None:
    """Builds a point's generator and lets it go again, so that what it or its folder refuses is said before all work."""
    from drawbench.protocol import differences
    from drawbench.store import begun, refuse_strangers

    at_point = given_at(alias, place, settings, given)
    try:
        (ready,) = build_generators(at_point["settings"], at_point)
    except UserError as error:
        error.args = (f"point {number} ({place.point.label}): {error}",)
        raise
    refuse_strangers(place.path)
    there = begun(place.path)
    if there is None:
        return
    here = replace(
        there,
        system=ready.system,
        prompt_set=prompt_set.name,
        prompt_set_sha256=prompt_set.sha256,
        seed=given["seed"],
        dtype=ready.dtype,
    )
    if other := differences(there.identity(), here.identity()):
        named = "; ".join(f"{key} is {old!r} there, {new!r} here" for key, (old, new) in other.items())
        raise UserError(f"{place.path} holds another run: {named}; give another -o, or the options of that sweep")
    if given["samples"] is not None and given["samples"] < there.plan.samples:
        raise UserError(
            f"{place.path} has {there.plan.samples} samples per prompt; --samples {given['samples']} takes none away: leave "
            "it out, give as many or more, or sweep into another folder"
        )
    store_of(place.path, given["store"], there)


def samples_of_all(places: Sequence[Place], prompt_set: PromptSet, given: Mapping[str, Any]) -> int | None:
    """Returns how many samples every point is to have: as many as given, or as the runs that are there have at most.

    Raises:
        UserError: a point would end with other prompts than another, since runs that are there have more than are asked for.
    """
    from drawbench.prompts import select
    from drawbench.store import begun

    whole = frozenset(prompt.id for prompt in prompt_set.prompts)
    asked = frozenset(prompt.id for prompt in select(prompt_set, given["limit"], given["categories"]))
    plans = {place.path: there.plan for place in places if (there := begun(place.path)) is not None}
    ends = {place.path: asked for place in places}
    ends |= {path: asked | (whole if plan.prompt_ids is None else set(plan.prompt_ids)) for path, plan in plans.items()}
    most, least = (choose(ends, key=lambda path: len(ends[path])) for choose in (max, min))
    if other := next((path for path in (least, *ends) if ends[path] != ends[most]), None):
        raise UserError(
            f"the points would end with unlike prompts, {most} with {len(ends[most])} and {other} with {len(ends[other])}, and "
            "could not be held against each other: give the widest --limit and --category that this sweep had, leave both out "
            "for all prompts, or sweep into another folder"
        )
    return (
        max((plan.samples for plan in plans.values()), default=None) if given["samples"] is None else given["samples"]
    )


def find_anchors(
    paths: Sequence[Path], prompt_set: PromptSet, places: Sequence[Place], given: Mapping[str, Any]
) -> dict[str, Run]:
    """Opens the anchors, by the names that they are shown by: their systems', their folders' where those are not distinct.

    Raises:
        UserError: no run, one of other prompts or of another part of them, one that is not finished, one given twice.
    """
    from drawbench.prompts import select
    from drawbench.store import Run, begun

    wanted = {prompt.id for prompt in select(prompt_set, given["limit"], given["categories"])}
    for there in (begun(place.path) for place in places):
        if there is not None:
            ids = there.plan.prompt_ids
            wanted |= {prompt.id for prompt in prompt_set.prompts} if ids is None else set(ids)
    runs = [Run.open(path) for path in paths]
    for run in runs:
        own = run.prompt_set
        if own.sha256 != prompt_set.sha256:
            raise UserError(
                f"--anchor {run.path} is drawn for {own.name} ({own.sha256[:8]}) and the sweep for {prompt_set.name} "
                f"({prompt_set.sha256[:8]}): numbers of different prompts are not held against each other; give a run of "
                "the same prompts"
            )
        items = run.items()
        if (planned := {item.prompt.id for item in items}) != wanted:
            raise UserError(
                f"--anchor {run.path} has {len(planned)} of the prompts of {own.name} and the sweep {len(wanted)}, and not the "
                "same ones: draw it with the same --limit and --category"
            )
        if lacking := len(run.lacking(items)) or (len(items) if not run.drawn() else 0):
            raise UserError(
                f"--anchor {run.path} is not finished: {lacking} of {len(items)} images are not drawn; go on with the "
                "command that began it"
            )
    resolved = [run.path.resolve() for run in runs]
    if twice := [path for number, path in enumerate(resolved) if path in resolved[:number]]:
        raise UserError(f"--anchor {twice[0]} is given twice; give each run once")
    for names in ([run.manifest.system.name for run in runs], [path.name for path in resolved]):
        if len(set(names)) == len(names):
            return dict(zip(names, runs, strict=True))
    return dict(zip(map(str, resolved), runs, strict=True))
