"""The points of a sweep: ``--set OWNER.key=a,b,c`` varies an option, and each combination of values is a point."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

from drawbench.errors import UserError
from drawbench.settings import resolve

FOLDER = 150
"""Longest name of a point's folder; a file system takes 255 bytes."""
NAME = 100
"""Longest name of a system."""
_LEAST = 20
"""As much of a label always stands in a name; where there is no room for it, the user's own name is too long."""
_SEPARATOR = re.compile(r"(?<!\\),")


class Point(NamedTuple):
    """One combination of values."""

    values: Mapping[str, str]
    """Of the options that vary, by key: as a number or word is written shortest, so that 2 and 2.0 are one point."""
    settings: Mapping[str, str]
    """All options of the generator that are set here, as they would be typed."""

    @property
    def folder(self) -> str:
        """Where its run lies below the sweep's folder, in whatever order the options were given."""
        return shortened(_folder(dict(sorted(self.values.items()))), FOLDER)

    @property
    def label(self) -> str:
        """What people call it: ``base.guidance_weight=2 base.thresholding=static``, by the options' names in order."""
        return _label(dict(sorted(self.values.items())))

    def name(self, own: str) -> str:
        """Returns the name of the system that draws it, from the name that the user gave or the generator's alias."""
        return f"{own} {shortened(self.label, max(NAME - 1 - len(own), _LEAST))}"

    def as_given(self, own: str, folders: Collection[str]) -> tuple[str, str] | None:
        """Returns which of some folders has the options in an order that they were given in, and the system's name then.

        Points were named so once; the order of this command comes first. None: there is no such folder.
        """
        whole = _folder(self.values)
        like = {it for it in folders if it != self.folder and sorted(it) == sorted(whole)}  # Orders are many.
        if len(whole) > FOLDER or not like:
            return None
        orders = map(dict, permutations(self.values.items()))
        return next(((_folder(it), f"{own} {_label(it)}") for it in orders if _folder(it) in like), None)


def grid(owner: str, factory: Callable[..., Any], settings: Mapping[str, str]) -> list[Point]:
    """Returns the points over all options of which several values are given, the first option varying fastest.

    A value's own comma is written with a backslash before it. Numbers are put in order.

    Raises:
        UserError: no option has several values; an empty or repeated one; a key or value that the generator does not take.
    """
    given = {key: _split(f"--set {owner}.{key}={text}", text) for key, text in settings.items()}
    swept = {key: values for key, values in given.items() if len(values) > 1}
    fixed = {key: values[0] for key, values in given.items() if len(values) == 1}
    first = {key: values[0] for key, values in given.items()}
    resolve(owner, factory, first)  # Of a key that is not there the name is said before anything of its values.
    if not swept:
        raise UserError(
            f"nothing is swept: give an option of {owner} several values, --set {owner}.KEY=VALUE,VALUE "
            f"(`drawbench list generators` names the options)"
        )
    axes = {key: _in_order(owner, key, values, factory, first) for key, values in swept.items()}
    points = []
    for chosen in product(*reversed(axes.values())):
        pairs = dict(zip(axes, reversed(chosen), strict=True))
        typed = fixed | {key: text for key, (text, _) in pairs.items()}
        points.append(Point({key: shown for key, (_, shown) in pairs.items()}, typed))
    return points


def shortened(text: str, length: int) -> str:
    """Returns a text of at most so many characters: one that is longer ends with a part of its digest in place of its rest."""
    if len(text) <= length:
        return text
    return f"{text[: length - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _folder(values: Mapping[str, str]) -> str:
    return "_".join(f"{key}-{_safe(value)}" for key, value in values.items())


def _label(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={_safe(value)}" for key, value in values.items())


def _in_order(
    owner: str, key: str, texts: Sequence[str], factory: Callable[..., Any], others: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Returns an option's values as they were typed and as they are shown, numbers by size."""
    values = [resolve(owner, factory, {**others, key: text})[key] for text in texts]
    shown = [_shown(value, text) for value, text in zip(values, texts, strict=True)]
    if repeated := [text for number, text in enumerate(shown) if text in shown[:number]]:
        raise UserError(f"--set {owner}.{key}={','.join(texts)}: {repeated[0]} is given twice")
    pairs = list(zip(texts, shown, strict=True))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        pairs = [pair for _, pair in sorted(zip(values, pairs, strict=True))]
    return pairs


def _shown(value: Any, text: str) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value) if isinstance(value, int) else text


def _split(where: str, text: str) -> list[str]:
    values = [part.replace("\\,", ",") for part in _SEPARATOR.split(text)]
    if len(values) > 1 and "" in values:
        raise UserError(f"{where}: a value between commas is empty; a comma that belongs to a value is written \\,")
    return values


def _safe(value: str) -> str:
    """Returns a value as a part of a file's name; one that cannot be it as it is also has a part of its digest."""
    if re.fullmatch(r"[A-Za-z0-9._+-]{1,40}", value):
        return value
    return f"{re.sub(r'[^A-Za-z0-9._+-]+', '-', value)[-24:]}-{hashlib.sha256(value.encode()).hexdigest()[:8]}"
