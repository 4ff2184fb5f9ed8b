"""How a human study is laid out: what a rater sees, what is asked, who answers how much, and what controls there are.

A design is data: one of those in `designs`, each after its paper, or a TOML file of one's own.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from drawbench.errors import UserError, did_you_mean

Shows = Literal["pair", "reference", "single"]
"""``pair``: two systems' sets side by side. ``reference``: a system's beside the reference's. ``single``: one set alone."""


@dataclass(frozen=True)
class Option:
    """One possible answer."""

    code: str
    """What is stored. Of a pair ``first`` and ``second`` (as shown), and any code for neither."""
    label: str
    """What the rater reads."""
    value: float | None = None
    """On a scale: what the answer counts, such as 100, 50 and 0; None: it is left out of means."""


@dataclass(frozen=True)
class Question:
    """One question, and its possible answers in the order of their keys: 1, 2, 3 and so on."""

    name: str
    text: str
    """``{caption}`` stands for the prompt's text."""
    options: tuple[Option, ...]
    controlled: bool = False
    """Of single sets: a wrong caption makes the option with the least value the right answer. A screen's only question is it."""


@dataclass(frozen=True)
class Screen:
    """What is shown and asked at once."""

    questions: tuple[Question, ...]
    shows_caption: bool
    images_per_set: int = 1
    columns: int = 1
    """Of the grid in which a set stands."""
    sides: tuple[str, ...] = ("Left", "Right")
    """What stands above the two sets: the names that the options call them by."""


@dataclass(frozen=True)
class Design:
    """A whole layout."""

    name: str
    source: str
    shows: Shows
    screens: tuple[Screen, ...]
    """Each prompt comes once with each screen."""
    instructions: str
    unit: Literal["category", "batch"] = "batch"
    """What a rater takes: all items of a category, or a batch of them."""
    batch_size: int = 50
    """Items of a batch; a category is taken whole."""
    raters: int = 25
    """Who answer each unit."""
    controls: int = 0
    """Items with a known answer among those of a unit."""
    pass_rate: float = 0.0
    """Share of controls that a rater must answer right not to be flagged."""
    repeats: int = 0
    """Items of a unit that come a second time, sides changed, to see how steady a rater is."""
    rates_reference: bool = False
    """Of single sets: the reference's are rated too."""
    least_seconds: float = 0.7
    """An answer in less time than this cannot have followed a look at the images; it is flagged."""


def values_of(question: Question) -> dict[str, float]:
    """Returns what each answer counts on the question's scale; those that count nothing are left out."""
    return {option.code: option.value for option in question.options if option.value is not None}


def design_from(content: Mapping[str, Any], where: str) -> Design:
    """Returns the design of a table of fields (from TOML or JSON), checked."""
    design: Design = _made(Design, content, where)
    _check(design, where)
    return design


def _made(kind: Any, content: Any, where: str) -> Any:
    """Returns a value of a type from plain data: dataclasses from tables, tuples from lists."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(content, kind):
            return content
        if not isinstance(content, Mapping):
            raise UserError(f"{where} is {content!r}; it must be a table of fields")
        hints, fields = typing.get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}
        for name in content:
            if name not in fields:
                raise UserError(
                    f"{where}: no field is called {name!r}{did_you_mean(name, fields)} (there are: {', '.join(fields)})"
                )
        for name, field in fields.items():
            if name not in content and field.default is dataclasses.MISSING:
                raise UserError(f"{where} lacks the field {name!r}")
        return kind(**{name: _made(hints[name], value, f"{where}: {name}") for name, value in content.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        if not isinstance(content, list | tuple):
            raise UserError(f"{where} is {content!r}; it must be a list")
        return tuple(_made(arguments[0], one, f"{where}[{number}]") for number, one in enumerate(content))
    if origin is Literal:
        if content not in arguments:
            raise UserError(f"{where} is {content!r}; allowed are {', '.join(map(str, arguments))}")
        return content
    allowed = tuple(arguments) if origin in (types.UnionType, typing.Union) else (kind,)
    if float in allowed and type(content) is int:
        content = float(content)
    if type(content) not in allowed:
        raise UserError(f"{where} is {content!r}; it must be {' or '.join(one.__name__ for one in allowed)}")
    return content


def require_scales(design: Design) -> None:
    """Raises a UserError where single sets are asked of what gives no mean, or where a control would have no right answer."""
    if design.shows != "single":
        return
    for screen in design.screens:
        for question in screen.questions:
            if len(set(values_of(question).values())) < 2:
                raise UserError(
                    f"the design {design.name}: the question {question.name!r} is of single sets, and its options need a "
                    "value each, at least two of them different: 100, 50 and 0, say"
                )
        if design.controls and not controlled(screen):
            names = ", ".join(question.name for question in screen.questions)
            raise UserError(
                f"the design {design.name} has controls, which show a wrong caption: say which of the questions {names} that "
                "decides, with controlled = true"
            )


def controlled(screen: Screen) -> list[Question]:
    """Returns the questions that a wrong caption decides."""
    marked = [question for question in screen.questions if question.controlled]
    return marked or (list(screen.questions) if len(screen.questions) == 1 else [])


def _check(design: Design, where: str) -> None:
    def refuse(what: str) -> None:
        raise UserError(f"{where}: {what}")

    names = [question.name for screen in design.screens for question in screen.questions]
    if not names or len(set(names)) < len(names):
        refuse("a design asks at least one question, each with a name of its own")
    for screen in design.screens:
        if screen.images_per_set < 1 or screen.columns < 1:
            refuse("images_per_set and columns must be 1 or more")
        if len(screen.sides) != 2 or not all(screen.sides):
            refuse("sides must be two names, of the set that stands first and of the other")
        for question in screen.questions:
            codes = [option.code for option in question.options]
            if not 2 <= len(codes) <= 9 or len(set(codes)) < len(codes):
                refuse(f"the question {question.name!r} needs 2 to 9 options, each with a code of its own")
            if design.shows != "single" and not {"first", "second"} <= set(codes):
                refuse(
                    f"the question {question.name!r} is about two sides: it needs options with the codes first and second"
                )
            if "{caption}" in question.text and not screen.shows_caption:
                refuse(f"the question {question.name!r} tells the caption, which its screen does not show")
    for name, least in (("batch_size", 1), ("raters", 1), ("controls", 0), ("repeats", 0)):
        if getattr(design, name) < least:
            refuse(f"{name} must be {least} or more")
    if not 0 <= design.pass_rate <= 1 or design.least_seconds < 0:
        refuse("pass_rate is a share from 0 to 1, least_seconds 0 or more")
    if design.rates_reference and design.shows != "single":
        refuse("rates_reference is for designs that show single sets")
