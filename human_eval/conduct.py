"""How a study was carried out: by whom, how far it is, what it left out, and in what it departs from its paper."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from drawbench.human_eval.design import Design, Screen
from drawbench.human_eval.designs import DESIGNS
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.study import Study

SIMULATED = "sim"
"""How the pseudonyms of raters who do not exist begin; people's begin with r and digits."""


class Places(NamedTuple):
    """Who has been through a study, as its judgements tell."""

    finished: Mapping[str, frozenset[str]]
    """Unit → the raters who have answered all of it."""
    begun: int
    """Units that a rater has begun and not finished."""
    planned: int

    @property
    def done(self) -> int:
        """How many places are finished."""
        return sum(map(len, self.finished.values()))


def is_simulated(rater: str) -> bool:
    """Says whether a rater does not exist."""
    return rater.startswith(SIMULATED)


def places(study: Study, judgements: Sequence[Judgement]) -> Places:
    """Returns how far the raters are."""
    answered: dict[tuple[str, str], set[tuple[str, bool, str]]] = defaultdict(set)
    for one in judgements:
        answered[study.by_id[one.item].unit, one.rater].add((one.item, one.repeat, one.question))
    finished: dict[str, set[str]] = {unit: set() for unit in study.units}
    begun = 0
    for (unit, rater), given in answered.items():
        items = study.units[unit]
        trials = [item for item in items if item.control is None]
        wanted = sum(len(study.screen(item).questions) for item in items)
        wanted += min(study.design.repeats, len(trials)) * len(study.screen(items[0]).questions)
        if len(given) >= wanted:
            finished[unit].add(rater)
        else:
            begun += 1
    of_unit = {unit: frozenset(raters) for unit, raters in finished.items()}
    return Places(of_unit, begun, study.design.raters * len(study.units))


def conduct(study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Returns who rated and how, as plain data."""
    names = {one.rater for one in judgements}
    simulated = sum(map(is_simulated, names))
    models = len(names) if study.format == "gpt4v" else 0
    told: dict[str, Any] = {"raters": len(names), "simulated": simulated, "models": models}
    told |= {"left_out": dict(study.manifest.get("left_out", {})), "notes": list(study.manifest.get("notes", []))}
    if study.format is not None:
        return told | {"places": None, "protocol": [], "departs": []}
    found = places(study, judgements)
    counts = {"finished": found.done, "planned": found.planned, "begun": found.begun}
    return told | {"places": counts, "protocol": protocol(study), "departs": departures(study.design)}


def protocol(study: Study) -> list[str]:
    """Returns in words how the study is laid out, as it is and not as its paper has it."""
    design = study.design
    trials = [item for item in study.items if item.control is None]
    told = [
        f"{len({item.prompt for item in trials})} prompts in {len(study.units)} units, {design.raters} raters for each"
    ]
    sets = [f"{screen.questions[0].name} {screen.images_per_set}" for screen in design.screens]
    same = len({screen.images_per_set for screen in design.screens}) == 1
    told.append(f"images per set: {design.screens[0].images_per_set if same else ', '.join(sets)}")
    controls = Counter(item.unit for item in study.items if item.control is not None)
    if controls:
        told.append(
            f"controls: {sum(controls.values())}, of which a rater must have {100 * design.pass_rate:g} % right"
        )
    if design.repeats:
        told.append(f"second looks: {design.repeats} of a unit")
    images = study.manifest.get("images", {})
    if "crop" in images:
        told.append(f"images: {images['longer side']} pixels, {images['codec']}, cut: {images['crop']}")
    return told


def departures(design: Design) -> list[str]:
    """Returns in what a design departs from the paper's: ``raters (6, not 25)``. None of a design of one's own."""
    paper = next((one for one in DESIGNS.values() if one.source == design.source), None)
    if paper is None:
        return []
    fields = {"raters": "raters", "controls": "controls", "pass_rate": "share of controls to pass", "unit": "unit",
              "batch_size": "items of a batch", "repeats": "second looks", "rates_reference": "reference rated"}  # fmt: skip
    found = [
        f"{told} ({getattr(design, name)}, not {getattr(paper, name)})"
        for name, told in fields.items()
        if getattr(design, name) != getattr(paper, name) and not (name == "batch_size" and design.unit != "batch")
    ]
    if len(design.screens) != len(paper.screens):
        return [*found, f"screens ({len(design.screens)}, not {len(paper.screens)})"]
    for own, theirs in zip(design.screens, paper.screens, strict=True):
        where = f" for {theirs.questions[0].name}" if len(paper.screens) > 1 else ""
        if own.images_per_set != theirs.images_per_set:
            found.append(f"images per set{where} ({own.images_per_set}, not {theirs.images_per_set})")
        if _asked(own) != _asked(theirs):
            found.append(f"what is asked{where}")
    return found


def _asked(screen: Screen) -> tuple[object, ...]:
    return screen.shows_caption, [(question.name, question.text, question.options) for question in screen.questions]
