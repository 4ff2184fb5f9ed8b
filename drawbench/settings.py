"""A factory's options: declared by its annotated parameters, set as text, handed over as values."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from drawbench.errors import UserError, did_you_mean

STANDARD = ("checkpoint", "device", "dtype", "reference", "file")
"""Parameters that the command line has flags for; a factory gets those that it names."""


class Aside:
    """Marks an option that moves no image (how many requests at once), so that no system is another by it.

    ``concurrency: Annotated[int, Aside] = 4``
    """


class Option(NamedTuple):
    """What ``--set OWNER.key=value`` may set."""

    key: str
    annotation: Any
    default: Any
    """`inspect.Parameter.empty` where the option must be given."""
    aside: bool = False
    """Marked with `Aside`."""


def options(factory: Callable[..., Any]) -> dict[str, Option]:
    """Returns a factory's options by key; the fields of a dataclass parameter have dotted keys."""
    hints = _hints(factory, include_extras=True)
    found: dict[str, Option] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in STANDARD or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = hints.get(name, str)
        if dataclasses.is_dataclass(annotation):
            for field_name, field_hint in _hints(annotation, include_extras=True).items():
                default = getattr(parameter.default, field_name, parameter.default)
                found[f"{name}.{field_name}"] = _option(f"{name}.{field_name}", field_hint, default)
        else:
            found[name] = _option(name, annotation, parameter.default)
    return found


def takes(factory: Callable[..., Any], name: str) -> bool:
    """Says whether a factory has a parameter of this name."""
    return name in inspect.signature(factory).parameters


def resolve(owner: str, factory: Callable[..., Any], settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns the value of every option by dotted key: as set, converted by its annotation, else the default."""
    declared = options(factory)
    for key in settings:
        if key not in declared:
            raise UserError(
                f"--set {owner}.{key}: {owner} has no option {key!r}{did_you_mean(key, declared)} "
                f"(it has: {', '.join(declared) or 'none'})"
            )
    values = {}
    for key, option in declared.items():
        if key in settings:
            values[key] = convert(f"--set {owner}.{key}", settings[key], option.annotation)
        elif option.default is inspect.Parameter.empty:
            raise UserError(f"{owner} needs --set {owner}.{key}={type_name(option.annotation)}")
        else:
            values[key] = option.default
    return values


def build(factory: Callable[..., Any], values: Mapping[str, Any], **standard: Any) -> Any:
    """Calls a factory with resolved options and those of the standard parameters that it names."""
    hints = _hints(factory)
    arguments: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        name, _, field = key.partition(".")
        if field:
            parts.setdefault(name, {})[field] = value
        else:
            arguments[name] = value
    arguments |= {name: hints[name](**fields) for name, fields in parts.items()}
    arguments |= {name: value for name, value in standard.items() if takes(factory, name)}
    return factory(**arguments)


def on_record(factory: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that belong to a system's identity: all but paths (where something lies) and what is `Aside`."""
    declared = options(factory)

    def is_path(annotation: Any) -> bool:
        return annotation is Path or Path in typing.get_args(annotation)

    return {
        key: value for key, value in values.items() if not (declared[key].aside or is_path(declared[key].annotation))
    }


def convert(where: str, text: str, annotation: Any) -> Any:
    """Converts an option's text by its annotation: int, float, str, bool, Path, Literal, and these or None."""
    members = typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        inner = [member for member in members if member is not type(None)]
        named = [member for member in inner if text in map(str, typing.get_args(member))]
        if named:  # A choice that is called "none" goes before None.
            return convert(where, text, named[0])
        if type(None) in members and text.lower() == "none":
            return None
        for member in inner[:-1]:
            try:
                return convert(where, text, member)
            except UserError:
                continue
        return convert(where, text, inner[-1])
    if typing.get_origin(annotation) is Literal:
        for choice in members:
            if text == str(choice):
                return choice
        raise UserError(
            f"{where}={text}: allowed are {', '.join(map(str, members))}{did_you_mean(text, map(str, members))}"
        )
    if annotation is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if text.lower() in words:
            return words[text.lower()]
        raise UserError(f"{where}={text}: allowed are true and false")
    if annotation not in (int, float, str, Path):
        raise UserError(
            f"{where}: an option of the type {type_name(annotation)} cannot be set from the command line; allowed are int, "
            "float, str, bool, Path, Literal, these or None, and a frozen dataclass of them"
        )
    try:
        value: Any = Path(text).expanduser() if annotation is Path else annotation(text)
    except ValueError as error:
        raise UserError(f"{where}={text}: {text!r} is not {type_name(annotation)}") from error
    if annotation is float and not math.isfinite(value):
        raise UserError(f"{where}={text}: a number must be finite")
    return value


def parse_settings(given: Sequence[str], owners: Sequence[str]) -> dict[str, dict[str, str]]:
    """Reads ``OWNER.key=value …`` as owner → key → text."""
    settings: dict[str, dict[str, str]] = {owner: {} for owner in owners}
    for text in given:
        path, equals, value = text.partition("=")
        owner, dot, key = path.partition(".")
        if not equals or not dot or not key:
            raise UserError(f"--set {text}: write OWNER.key=value, for example --set {owners[0]}.key=value")
        if owner not in settings:
            raise UserError(
                f"--set {text}: nothing here is called {owner!r}{did_you_mean(owner, owners)} (here are: {', '.join(owners)})"
            )
        if key in settings[owner]:
            raise UserError(f"--set {owner}.{key} is given twice")
        settings[owner][key] = value
    return settings


def type_name(annotation: Any) -> str:
    """Returns an annotation as a person would write it."""
    if typing.get_origin(annotation) is Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return "|".join(dict.fromkeys("none" if a is type(None) else type_name(a) for a in typing.get_args(annotation)))
    return {int: "a whole number", float: "a number", str: "text", bool: "true|false", Path: "a path"}.get(
        annotation, str(getattr(annotation, "__name__", annotation))
    )


def _option(key: str, hint: Any, default: Any) -> Option:
    if typing.get_origin(hint) is not typing.Annotated:
        return Option(key, hint, default)
    annotation, *marks = typing.get_args(hint)
    return Option(key, annotation, default, aside=Aside in marks)


def _hints(of: Any, *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of, include_extras=include_extras)
    except NameError as error:
        raise UserError(
            f"{getattr(of, '__module__', '')}.{getattr(of, '__name__', of)}: {error}; a factory's annotations are read at run "
            "time: import what they name outside of TYPE_CHECKING"
        ) from error
