"""A study: what is shown to raters, frozen, in a folder of its own that knows nothing of where the images came from but here.

``study.json`` holds design, systems and digests, ``items.jsonl`` what is compared with what (it is never sent to a rater),
``images/`` the stimuli under names that tell nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from drawbench.errors import UserError
from drawbench.human_eval.design import Design, Screen, design_from
from drawbench.protocol import digest

SCHEMA_VERSION = 1
REFERENCE = "reference"
"""The name of the reference photographs among the systems."""
OTHERS = ("imagenhub", "gpt4v")
"""Ratings of others, in their own formats."""
SPOILT = "spoilt"
"""The name of a control's spoilt side; no system may have it."""


@dataclass(frozen=True)
class Side:
    """One set of images."""

    system: str
    images: tuple[str, ...]
    """Names of files in ``images/``."""


@dataclass(frozen=True)
class Item:
    """One thing to be judged: a prompt's set, or two."""

    id: str
    unit: str
    """The category or batch that it belongs to: raters take units."""
    screen: int
    """Which of the design's screens."""
    prompt: str
    category: str | None
    caption: str
    sides: tuple[Side, ...]
    """In an order that no rater need see: sides are dealt to each rater anew."""
    no_people: bool = False
    """The caption speaks of nobody."""
    control: str | Mapping[str, str] | None = None
    """Of a control the right answer: a system's name where there are two sides, else question → option's code, for the questions
    that have one. (Of single sets, older studies have one code for all questions.)"""


def is_spoilt(side: Side, item: Item) -> bool:
    """Says whether a side of a control is the one that was spoilt."""
    return item.control is not None and side.system == SPOILT


class Study:
    """A study on disk."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], items: Sequence[Item]) -> None:
        self.path, self.manifest, self.items = path, manifest, items
        self.design: Design = design_from(manifest["design"], f"{path / 'study.json'}: design")
        self.systems: Sequence[str] = manifest["systems"]
        self.digest: str = manifest["digest"]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens a study, checking that its items are those that it was made with."""
        file = path / "study.json"
        try:
            manifest = json.loads(file.read_text("utf-8"))
            if manifest.get("schema_version") != SCHEMA_VERSION:
                raise ValueError(
                    f"its schema version is {manifest.get('schema_version')!r}, this version reads {SCHEMA_VERSION}"
                )
            lines = (path / "items.jsonl").read_text("utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            items = [
                Item(**(row | {"sides": tuple(Side(s["system"], tuple(s["images"])) for s in row["sides"])}))
                for row in rows
            ]
        except FileNotFoundError as error:
            raise UserError(
                f"{path} is not a study ({Path(error.filename).name} is not there); make one: drawbench study create"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} cannot be read as a study ({type(error).__name__}: {error}); restore it"
            ) from error
        if study_digest(manifest, items) != manifest.get("digest"):
            raise UserError(
                f"{path} was altered since it was made: its digest is another; restore it, or make a new study"
            )
        return cls(path, manifest, items)

    @cached_property
    def by_id(self) -> Mapping[str, Item]:
        """The items by id."""
        return {item.id: item for item in self.items}

    @cached_property
    def units(self) -> Mapping[str, Sequence[Item]]:
        """The items of each unit, in file order."""
        units: dict[str, list[Item]] = defaultdict(list)
        for item in self.items:
            units[item.unit].append(item)
        return dict(units)

    def screen(self, item: Item) -> Screen:
        """Returns what is shown and asked of an item."""
        return self.design.screens[item.screen]

    @property
    def format(self) -> str | None:
        """Whose ratings these are: imagenhub or gpt4v; None: of a study made here, also where it came back from an export."""
        origin = self.manifest.get("format") or str(self.manifest.get("imported", "")).partition(",")[0]
        return origin if origin in OTHERS else None

    def image_path(self, name: str) -> Path:
        """Returns where an image lies."""
        return self.path / "images" / name


def study_digest(manifest: Mapping[str, Any], items: Sequence[Item]) -> str:
    """Returns the identity of a study: all that a rater may see, wording included, and what it was made from."""
    fields = {name: value for name, value in manifest.items() if name not in ("digest", "created")}
    return digest({**fields, "items": [asdict(item) for item in items]})
