"""What a sweep amounts to, in words: its title, what was best, what stands in the way, and how the numbers were made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drawbench.protocol import differences
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, listed, number
from drawbench.reports.sweep_figure import too_many
from drawbench.reports.sweep_pairs import Difference, design, family, limits
from drawbench.reports.sweep_plots import Quantity
from drawbench.reports.sweep_points import Scored, Sweep, mains, score_of, swept
from drawbench.scores import ScoreFile
from drawbench.store import Run, System

TIE = 1e-12
"""Relative: values nearer than this are equal."""
SIZES = ("n", "n prompts")
"""The fields of a protocol that say of how many images a number is."""
SEEDED = ("hf_diffusers", "imagen", "noise", "shapes_truth")
"""Ours whose noise all comes from an image's own seed."""

ALONE = (
    "An interval is of its point alone. Points share their prompts, so that a difference between two is surer than their "
    "intervals look. A best point was chosen after looking."
)
PICKED = (
    "`drawbench report` and `drawbench compare` on two of the runs adjust p for what is compared of that pair only: a pair that "
    "was picked out of {} after looking needs correction for all that might have been picked, which the differences "
    "on this page have."
)


def title(sweep: Sweep) -> str:
    """Returns what was swept over what."""
    over = listed(f"{key} ({len(values)})" for key, values in swept(sweep).items())
    return f"{sweep.system} on {sweep.points[0].run.manifest.prompt_set}: {counted(len(sweep.points), 'point')} over {over}"


def best(sweep: Sweep, quantity: Quantity) -> str:
    """Returns at which point a metric is best, or at which points alike; empty where neither direction is better."""
    found = [(s.value, s, p) for p in sweep.points if (s := score_of(p, quantity)) and s.value is not None]
    if not found or not quantity.arrow:
        return ""
    choose = max if quantity.arrow == "↑" else min
    value = choose(it for it, _, _ in found)
    tied = [(score, point) for it, score, point in found if abs(it - value) <= TIE * abs(value)]
    score = tied[0][0]
    places = decimals([score.interval], [value], least_decimals(score.kind))
    which = "highest" if quantity.arrow == "↑" else "lowest"
    named = listed(point.label for _, point in tied)
    if len(tied) == len(found) > 1:
        return f"{quantity.label.rstrip(' ↑↓')} is the same at all {len(found)} points: {number(value, places)}"
    if len(tied) > 1:  # Their intervals may differ: the table has them.
        return f"{quantity.label.rstrip(' ↑↓')} is {which} at {named} alike: {number(value, places)}"
    interval = bounds(score.interval, places)
    return f"{quantity.label.rstrip(' ↑↓')} is {which} at {named}: {number(value, places)} {interval}".strip()


def warnings(sweep: Sweep, found: Sequence[Difference] = ()) -> list[str]:
    """Returns what stands in the way of holding the points against each other."""
    said = []
    for it in sweep.everyone:
        planned, drawn = len(it.run.items()), len(it.run.drawn())
        if not drawn:
            said.append(f"{it.label}: not one image is drawn, and nothing is scored; the journal of its run says why")
        elif drawn < planned:
            said.append(f"{it.label}: {planned - drawn} of {counted(planned, 'planned image')} are not drawn")
    said += _unlike(sweep)
    files = next((point.files for point in sweep.points if point.files), [])
    if unverified := [file.metric for file in files if not file.verified]:
        said.append(f"{listed(unverified)}: unverified on published weights")
    said += [text for plot in sweep.plots if (text := too_many(sweep, plot))]
    said += [text for text in [limits(found)] if text]
    return [*said, *(f"{metric} was skipped: {reason}" for metric, reason in sweep.skipped.items())]


def _unlike(sweep: Sweep) -> Iterator[str]:
    """Yields in what the points differ, and the anchors from them.

    A mean or rate is held against another on the prompts that both have, so that an image which is lacking makes no other
    number of it; a value of a whole set moves with the set.
    """
    scored: list[Scored] = [point for point in sweep.points if point.files]
    plans = dict.fromkeys(_planned(point.run) for point in scored)
    if len(plans) > 1:
        yield (
            f"the points differ in what was to be drawn ({listed(map(_told, plans))}), and must not be held against each "
            "other; the same command with the widest --limit and --samples that was given here makes them alike"
        )
    for files in zip(*(point.files for point in scored), strict=True):
        fields = dict.fromkeys(field for file in files[1:] for field in _differ(files[0], file))
        if left := [field for field in fields if field not in SIZES or len(plans) == 1]:
            yield f"{files[0].metric}: the points differ in {listed(left)}, and must not be held against each other"
    for anchor in (anchor for anchor in sweep.anchors if anchor.files and scored):
        if _planned(anchor.run) not in plans:
            yield (
                f"the anchor {anchor.label} is of {_told(_planned(anchor.run))} and the points of {listed(map(_told, plans))}: "
                "it must not be held against them; draw it with the same --limit and --samples"
            )
        for file, own in zip(scored[0].files, anchor.files, strict=True):
            if unlike := [field for field in _differ(file, own) if field not in SIZES]:
                yield (
                    f"{file.metric}: the anchor {anchor.label} differs from the points in {listed(unlike)}, and must not be "
                    "held against them"
                )


def _differ(a: ScoreFile, b: ScoreFile) -> list[str]:
    """Returns the fields in which two numbers of one metric are no equals: their size only where they are of a whole set."""
    whole_set = any(row.kind == "set" for row in a.scores if row.output == a.main)
    found = differences(a.protocol.fields, b.protocol.fields)
    return [field for field in found if whole_set or field not in SIZES]


def _planned(run: Run) -> tuple[frozenset[str], int]:
    """Returns what a run is to draw: the prompts, and how many samples of each."""
    ids = run.manifest.plan.prompt_ids
    return frozenset(run.prompts if ids is None else ids), run.manifest.plan.samples


def _told(plan: tuple[frozenset[str], int]) -> str:
    return f"{counted(len(plan[0]), 'prompt')} with {counted(plan[1], 'sample')} each"


def methods(sweep: Sweep, found: Sequence[Difference]) -> list[str]:
    """Returns how the numbers were made."""
    scores = [row for it in sweep.everyone for quantity in mains(sweep) if (row := score_of(it, quantity))]
    kinds = dict.fromkeys(
        (row.metric, row.interval.method, row.interval.over, row.interval.level) for row in scores if row.interval
    )
    why = dict.fromkeys((row.metric, row.reason) for row in scores if row.interval is None and row.reason)
    of_difference = dict.fromkeys(it.contrast.interval.method for it in found if it.contrast.interval)
    tests = dict.fromkeys(it.contrast.p_method for it in found if it.contrast.p_method)
    return [
        seeds(sweep.points[0].run.manifest.system),
        *(f"{metric}: {level:.0%} intervals over {over}: {method}." for metric, method, over, level in kinds),
        *(f"{metric} has no interval: {reason}." for metric, reason in why),
        ALONE,
        *(
            [f"{design(sweep, found)}. Intervals: {listed(of_difference)}. p: {listed(tests)}."]
            if family(found)
            else []
        ),
        PICKED.format(counted(len(sweep.points), "point")),
        *dict.fromkeys(f"{file.metric}: {note}." for it in sweep.everyone for file in it.files for note in file.notes),
    ]


def seeds(system: System) -> str:
    """Returns what the points' images have in common but for the option: noise, where the generator draws by the seed."""
    if system.generator in SEEDED:
        return (
            "Every point was drawn with the same seeds, so that neighbours differ by the option and not by the noise."
        )
    if system.generator == "folder":
        return (
            "The images were made elsewhere: whether two points share their noise is not known, and neighbours may differ by "
            "it too."
        )
    if system.fingerprint.get("seed", "").startswith("not sent"):
        return "The API takes no seed: neighbours differ by its noise as well as by the option."
    return (
        f"Every point was asked for with the same seeds; whether {system.generator} draws by them is not known here, and "
        "where it does not, neighbours differ by the noise too."
    )
