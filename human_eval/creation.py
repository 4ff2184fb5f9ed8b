"""How a study is made of finished runs: which samples and pairs are drawn by lot, and what is put on record."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.design import Design, require_scales
from drawbench.human_eval.people import speaks_of_people
from drawbench.human_eval.stimuli import Source, stimulus_name, write_stimuli
from drawbench.human_eval.study import REFERENCE, SCHEMA_VERSION, SPOILT, Item, Side, Study, study_digest
from drawbench.human_eval.units import in_units, with_controls
from drawbench.interfaces import Prompt
from drawbench.journal import Record, now
from drawbench.protocol import canonical_json, digest
from drawbench.store import Run


class _Chosen(NamedTuple):
    """A prompt whose images are all there, and which samples of each system were drawn by lot."""

    prompt: Prompt
    samples: Mapping[tuple[int, str], Sequence[int]]
    """(screen, system) → sample numbers."""


def create(
    path: Path,
    runs: Sequence[Run],
    design: Design,
    *,
    reference: Run | None = None,
    images_per_set: int | None = None,
    pairs: str = "all",
    seed: int = 0,
) -> Study:
    """Makes a study from finished runs of one prompt set.

    ``images_per_set`` is the most that a set shows, where runs have fewer samples than the design wants. ``pairs``: all, or
    ``balanced``: with more than two systems each prompt has one pair, every pair as often as the others. What was drawn by lot
    follows from the seed.

    Raises:
        UserError: runs of different prompts or systems of one name, a reference that is missing or not wanted, a folder
            that is in use, too few images.
    """
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path} is not empty; a study is made once, into a folder of its own")
    require_scales(design)
    if images_per_set is not None:
        counts = [min(screen.images_per_set, images_per_set) for screen in design.screens]
        screens = [
            replace(screen, images_per_set=count, columns=min(screen.columns, count))
            for screen, count in zip(design.screens, counts, strict=True)
        ]
        design = replace(design, screens=tuple(screens))
    named = _named(runs, design, reference)
    rng = Random(f"study/{seed}")
    chosen, left_out = _choose(named, design, rng)
    if not chosen:
        reason, count = max(((r, list(left_out.values()).count(r)) for r in left_out.values()), key=lambda it: it[1])
        raise UserError(f"no prompt has all the images that the design {design.name} shows: {reason} ({count} prompts)")
    secret = secrets.token_hex(16)
    items: Sequence[Item] = _items(chosen, [name for name in named if name != REFERENCE], design, pairs, secret, rng)
    notes: Sequence[str] = []
    if design.controls:
        items, notes = with_controls(items, design, secret, rng)
    shown = _shown(items, named, chosen, secret)
    sources = {
        stimulus: Source(name, named[name].place(record))
        for name, records in shown.items()
        for stimulus, record in records.items()
    }
    for name, records in shown.items():  # Before anything is written: a study is made whole or not at all.
        for record in records.values():
            named[name].read(record)
    images = write_stimuli(path, items, sources, REFERENCE in named)
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "design": asdict(design),
        "systems": list(named),
        "runs": {name: run.manifest.system.digest for name, run in named.items()},
        "sources": {
            name: {
                "seed": run.manifest.seed,
                "images": len(shown[name]),
                "sha256": sources_digest(shown[name].values()),
            }
            for name, run in named.items()
        },
        "prompt_set": runs[0].manifest.prompt_set,
        "prompt_set_sha256": runs[0].prompt_set.sha256,
        "seed": seed,
        "pairs": pairs,
        "left_out": left_out,
        "notes": list(notes),
        "images": images,
        "secret": secret,
    }
    manifest["digest"] = study_digest(manifest, items)
    write_atomic(path / "items.jsonl", "".join(canonical_json(asdict(item)) + "\n" for item in items).encode())
    write_atomic(path / "study.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return Study.open(path)


def _shown(
    items: Sequence[Item], named: Mapping[str, Run], chosen: Sequence[_Chosen], secret: str
) -> dict[str, dict[str, Record]]:
    """Returns for each system the stimuli that some item shows, with the images of its run that they are made of."""
    wanted = {name for item in items for side in item.sides for name in side.images}
    shown: dict[str, dict[str, Record]] = {}
    for system, run in named.items():
        records = run.records()
        samples = {
            (prompt.id, n) for prompt, drawn in chosen for (_, of), ns in drawn.items() if of == system for n in ns
        }
        names = {stimulus_name(secret, system, *key): key for key in sorted(samples)}
        shown[system] = {name: records[key] for name, key in names.items() if name in wanted}
    return shown


def sources_digest(records: Iterable[Record]) -> str:
    """Returns the identity of the images that a study took from a run: which they are, and the sha256 of each."""
    return digest({f"{record.prompt}/{record.sample}": record.sha256 for record in records})


def _named(runs: Sequence[Run], design: Design, reference: Run | None) -> dict[str, Run]:
    names = [run.manifest.system.name for run in runs]
    if len(set(names)) < len(names):
        raise UserError(
            f"two runs have one system name ({', '.join(names)}); a study needs systems with names of their own"
        )
    for taken, meaning in ((REFERENCE, "the reference's name"), (SPOILT, "the name of a control's spoilt images")):
        if taken in names:
            raise UserError(f"a system is called {taken!r}, which is {meaning}; draw it under another --name")
    if len({run.prompt_set.sha256 for run in (*runs, *([reference] if reference else []))}) > 1:
        raise UserError("the runs are of different prompts; a study compares systems on the same ones")
    wants = design.shows == "reference" or design.rates_reference
    if wants != (reference is not None):
        told = (
            "needs a reference: --reference RUN (import photographs by the generator folder)"
            if wants
            else "takes no reference"
        )
        raise UserError(f"the design {design.name} {told}")
    if design.shows == "pair" and len(runs) < 2:
        raise UserError(f"the design {design.name} compares systems: give at least two runs")
    named = dict(zip(names, runs, strict=True))
    return {**named, REFERENCE: reference} if reference else named


def _choose(named: Mapping[str, Run], design: Design, rng: Random) -> tuple[list[_Chosen], dict[str, str]]:
    """Draws each set's samples by lot, and says why a prompt is left out: no system may miss there what another has."""
    drawn: dict[str, dict[str, list[int]]] = {}
    for name, run in named.items():
        drawn[name] = defaultdict(list)
        for record in run.drawn():
            drawn[name][record.prompt].append(record.sample)
    chosen: list[_Chosen] = []
    left_out: dict[str, str] = {}
    planned = dict.fromkeys(item.prompt.id for run in named.values() for item in run.items())
    prompts = next(iter(named.values())).prompts
    for prompt_id in (one for one in prompts if one in planned):
        samples: dict[tuple[int, str], Sequence[int]] = {}
        for number, screen in enumerate(design.screens):
            for name in named:
                there = sorted(drawn[name][prompt_id])
                if len(there) < screen.images_per_set:
                    needed = "1 image" if screen.images_per_set == 1 else f"{screen.images_per_set} images"
                    left_out.setdefault(prompt_id, f"{name} has {len(there)} where {needed} of a prompt are shown")
                else:
                    samples[number, name] = sorted(rng.sample(there, screen.images_per_set))
        if prompt_id not in left_out:
            chosen.append(_Chosen(prompts[prompt_id], samples))
    return chosen, left_out


def _sides(systems: Sequence[str], design: Design, pairs: str, number: int) -> list[tuple[str, ...]]:
    """Returns which systems meet on the ``number``-th prompt."""
    if design.shows == "single":
        return [(name,) for name in (*systems, *([REFERENCE] if design.rates_reference else []))]
    if design.shows == "reference":
        return [(name, REFERENCE) for name in systems]
    meetings: list[tuple[str, ...]] = list(combinations(systems, 2))
    if pairs == "all":
        return meetings
    if pairs == "balanced":
        return [meetings[number % len(meetings)]]
    raise UserError(f"pairs is {pairs!r}; allowed are all and balanced")


def _items(
    chosen: Sequence[_Chosen], systems: Sequence[str], design: Design, pairs: str, secret: str, rng: Random
) -> list[Item]:
    order = list(range(len(chosen)))
    rng.shuffle(order)  # So that a balanced choice of pairs goes through every category.
    place = {index: number for number, index in enumerate(order)}
    items = []
    for number, screen in enumerate(design.screens):
        of_screen = []
        for index, (prompt, samples) in enumerate(chosen):
            for systems_here in _sides(systems, design, pairs, place[index]):
                sides = tuple(
                    Side(name, tuple(stimulus_name(secret, name, prompt.id, s) for s in samples[number, name]))
                    for name in systems_here
                )
                label = "/".join((str(number), prompt.id, *systems_here))
                item_id = hashlib.sha256(f"{secret}/item/{label}".encode()).hexdigest()[:16]
                caption = prompt.text if screen.shows_caption else ""
                tells_nobody = not speaks_of_people(prompt.text)
                of_screen.append(Item(item_id, "", number, prompt.id, prompt.category, caption, sides, tells_nobody))
        items += list(in_units(of_screen, design, number, rng))
    return items
