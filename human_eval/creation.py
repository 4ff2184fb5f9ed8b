"""How a study is made of finished runs: samples and pairs drawn by lot, units, controls, and stimuli made alike."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from PIL import Image

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.design import Design
from drawbench.human_eval.people import speaks_of_people
from drawbench.human_eval.stimuli import SUFFIX, alike, common_side, encoding, spoilt
from drawbench.human_eval.study import REFERENCE, SCHEMA_VERSION, Item, Side, Study, study_digest
from drawbench.interfaces import Prompt
from drawbench.journal import now
from drawbench.progress import progress
from drawbench.protocol import canonical_json, digest
from drawbench.store import Place, Run


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

    ``images_per_set`` overrides the design's where runs have fewer samples. ``pairs``: all, or ``balanced``: with more
    than two systems each prompt has one pair, every pair as often as the others. What was drawn by lot follows from the seed.

    Raises:
        UserError: runs of different prompts or systems of one name, a reference that is missing or not wanted, a folder
            that is in use, too few images.
    """
    if path.exists() and any(path.iterdir()):
        raise UserError(f"{path} is not empty; a study is made once, into a folder of its own")
    if images_per_set is not None:
        screens = [
            replace(s, images_per_set=images_per_set, columns=min(s.columns, images_per_set)) for s in design.screens
        ]
        design = replace(design, screens=tuple(screens))
    named = _named(runs, design, reference)
    rng = Random(f"study/{seed}")
    chosen, left_out = _choose(named, design, rng)
    if not chosen:
        reason, count = max(((r, list(left_out.values()).count(r)) for r in left_out.values()), key=lambda it: it[1])
        raise UserError(f"no prompt has all the images that the design {design.name} shows: {reason} ({count} prompts)")
    secret = secrets.token_hex(16)
    items = _items(chosen, [name for name in named if name != REFERENCE], design, pairs, secret, rng)
    if design.controls:
        items = _with_controls(items, design, secret, rng)
    images = _write_images(path, items, named, chosen, secret)
    manifest: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "design": asdict(design),
        "systems": list(named),
        "runs": {name: run.manifest.system.digest for name, run in named.items()},
        "prompt_set": runs[0].manifest.prompt_set,
        "prompt_set_sha256": runs[0].prompt_set.sha256,
        "seed": seed,
        "pairs": pairs,
        "left_out": left_out,
        "images": images,
        "secret": secret,
    }
    manifest["digest"] = study_digest(manifest, items)
    write_atomic(path / "items.jsonl", "".join(canonical_json(asdict(item)) + "\n" for item in items).encode())
    write_atomic(path / "study.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return Study.open(path)


def _named(runs: Sequence[Run], design: Design, reference: Run | None) -> dict[str, Run]:
    names = [run.manifest.system.name for run in runs]
    if len(set(names)) < len(names):
        raise UserError(
            f"two runs have one system name ({', '.join(names)}); a study needs systems with names of their own"
        )
    if REFERENCE in names:
        raise UserError(
            f"a system is called {REFERENCE!r}, which is the name of the reference; draw it under another --name"
        )
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
                    Side(name, tuple(_name(secret, name, prompt.id, s) for s in samples[number, name]))
                    for name in systems_here
                )
                label = "/".join((str(number), prompt.id, *systems_here))
                item_id = hashlib.sha256(f"{secret}/item/{label}".encode()).hexdigest()[:16]
                caption = prompt.text if screen.shows_caption else ""
                tells_nobody = not speaks_of_people(prompt.text)
                of_screen.append(Item(item_id, "", number, prompt.id, prompt.category, caption, sides, tells_nobody))
        items += list(_in_units(of_screen, design, number, rng))
    return items


def _in_units(items: Sequence[Item], design: Design, screen: int, rng: Random) -> Iterator[Item]:
    """Gives the items of a screen their units: of one category and one pair, or batches drawn by lot."""
    asked = design.screens[screen].questions[0].name if len(design.screens) > 1 else ""
    if design.unit == "category":
        pairs = {tuple(side.system for side in item.sides) for item in items}
        numbers = {pair: number + 1 for number, pair in enumerate(sorted(pairs))}
        for item in items:
            parts = [
                asked,
                item.category or "all",
                str(numbers[tuple(s.system for s in item.sides)]) if len(pairs) > 1 else "",
            ]
            yield replace(item, unit=" ".join(part for part in parts if part))
        return
    shuffled = list(items)
    rng.shuffle(shuffled)
    digits = len(str(len(shuffled) // design.batch_size + 1))
    for number, item in enumerate(shuffled):
        name = f"{asked} batch {number // design.batch_size + 1:0{digits}}".strip()
        yield replace(item, unit=name)


def _with_controls(items: Sequence[Item], design: Design, secret: str, rng: Random) -> list[Item]:
    """Adds to each unit controls made of its own items: one side spoilt, or (of a single set) another prompt's caption."""
    units: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        units[item.unit].append(item)
    made: list[Item] = []
    for unit in units.values():
        made += unit
        for item in rng.sample(unit, min(design.controls, len(unit))):
            item_id = hashlib.sha256(f"{secret}/control/{item.id}".encode()).hexdigest()[:16]
            if design.shows == "single":
                others = [one for one in items if one.prompt != item.prompt and one.caption != item.caption]
                worst = min(
                    design.screens[item.screen].questions[0].options,
                    key=lambda o: o.value if o.value is not None else 0.0,
                )
                if others:
                    made.append(replace(item, id=item_id, caption=rng.choice(others).caption, control=worst.code))
                continue
            kept, spoil = item.sides[-1], item.sides[-1]  # Of a reference design the photograph itself, spoilt.
            spoilt_names = tuple(_name(secret, "spoilt", item_id, number) for number in range(len(spoil.images)))
            sides = (Side(kept.system, kept.images), Side("spoilt", spoilt_names))
            made.append(replace(item, id=item_id, sides=sides, control=kept.system))
    return made


def _name(secret: str, system: str, prompt: str, sample: int) -> str:
    return hashlib.sha256(f"{secret}/{system}/{prompt}/{sample}".encode()).hexdigest()[:24] + SUFFIX


def _write_images(
    path: Path, items: Sequence[Item], named: Mapping[str, Run], chosen: Sequence[_Chosen], secret: str
) -> dict[str, Any]:
    """Writes every image that is shown, and returns how they are made and the digest of them all."""
    source: dict[str, Place] = {}
    records = {name: run.records() for name, run in named.items()}
    for prompt, samples in chosen:
        for (_, name), numbers in samples.items():
            for sample in numbers:
                place = named[name].place(records[name][prompt.id, sample])
                source[_name(secret, name, prompt.id, sample)] = place
    spoils = {
        name: item.sides[0].images[number]
        for item in items
        if len(item.sides) == 2 and item.sides[1].system == "spoilt"
        for number, name in enumerate(item.sides[1].images)
    }
    sides = []
    for place in source.values():
        with Image.open(io.BytesIO(place.read())) as image:
            sides.append(max(image.size))
    side = common_side(sides)
    hashes = {}
    with progress(len(source) + len(spoils), unit=" images", label="make stimuli") as bar:
        for name, place in (*source.items(), *((name, source[of]) for name, of in spoils.items())):
            with Image.open(io.BytesIO(place.read())) as image:
                data = alike(spoilt(image, name) if name in spoils else image, side)
            write_atomic(path / "images" / name, data)
            hashes[name] = hashlib.sha256(data).hexdigest()
            bar.update()
    return {**encoding(side), "count": len(hashes), "sha256": digest(hashes)}
