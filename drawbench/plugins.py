"""Plug-ins: a name leads to a factory, and the factory's annotated parameters are its options.

Ours stand in a lazy table, those of others in the entry-point groups ``drawbench.generators``, ``drawbench.metrics`` and
``drawbench.prompts``; one's own file needs neither: ``--generator mine=my_model.py:factory``. Listing names imports nothing.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Literal, NamedTuple

from drawbench.errors import UserError, did_you_mean
from drawbench.files import sha256_file

Kind = Literal["generators", "metrics", "prompts"]

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")

STANDARD = ("checkpoint", "device", "dtype", "reference", "file")
"""Parameters that the command line has flags for; a factory gets those that it names."""


class Builtin(NamedTuple):
    """A row of our own table."""

    target: str
    summary: str
    verified: bool = True
    """False: never run here on its published weights; said wherever its numbers are."""


BUILTIN: dict[Kind, dict[str, Builtin]] = {
    "generators": {
        "folder": Builtin("drawbench.generators.folder:folder", "imports images that were made elsewhere"),
        "imagen": Builtin(
            "drawbench.generators.imagen.generator:imagen",
            "samples an Imagen cascade from a checkpoint folder",
            verified=False,
        ),
        "noise": Builtin("drawbench.generators.noise:noise", "uniform noise, seeded: the lower anchor of a report"),
    },
    "metrics": {
        "clip_score": Builtin(
            "drawbench.metrics.clip_score:clip_score", "cosine of CLIP's image and text embeddings", verified=False
        ),
        "image_stats": Builtin("drawbench.metrics.image_stats:image_stats", "size, and black or constant images"),
        "text_rendering": Builtin(
            "drawbench.metrics.text_rendering:text_rendering", "is quoted text drawn right? (OCR)"
        ),
    },
    "prompts": {
        "drawbench": Builtin("drawbench.prompts:drawbench", "200 prompts in 11 categories (Saharia et al. 2022)"),
    },
}


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A name that can be loaded."""

    kind: Kind
    name: str
    target: str
    package: str
    """Who ships it: ``drawbench``, or ``package 1.2``, or a file."""
    summary: str = ""
    verified: bool = True

    def load(self) -> Callable[..., Any]:
        """Imports and returns the factory; whatever goes wrong in that is an error that names the package."""
        module, _, attribute = self.target.rpartition(":")
        try:
            factory: Any = _import_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
            for part in attribute.split("."):
                factory = getattr(factory, part)
        except Exception as error:
            if self.package == "drawbench":
                raise
            raise UserError(
                f"{self.kind[:-1]} {self.name!r} of {self.package} could not be loaded from {self.target}: "
                f"{type(error).__name__}: {error}; mend or remove {self.package}"
            ) from error
        if not callable(factory):
            raise UserError(f"{self.kind[:-1]} {self.name!r} of {self.package}: {self.target} is not a function")
        return typing.cast("Callable[..., Any]", factory)


class Option(NamedTuple):
    """What ``--set OWNER.key=value`` may set."""

    key: str
    annotation: Any
    default: Any
    """`inspect.Parameter.empty` where the option must be given."""


def available(kind: Kind) -> list[Plugin]:
    """Returns all installed plug-ins of a kind by name, importing none of them."""
    ours = [
        Plugin(kind, name, row.target, "drawbench", row.summary, row.verified) for name, row in BUILTIN[kind].items()
    ]
    return sorted(
        ours + [_from_entry_point(kind, e) for e in entry_points(group=f"drawbench.{kind}")], key=lambda p: p.name
    )


def find(kind: Kind, name: str) -> Plugin:
    """Returns the plug-in of a name, or of ``module:attribute`` or ``file.py:attribute``."""
    if ":" in name:
        module, _, attribute = name.rpartition(":")
        if module.endswith(".py") and not Path(module).is_file():
            raise UserError(f"{name}: there is no file {module}")
        if module.endswith(".py"):
            return Plugin(kind, f"{Path(module).stem}:{attribute}", name, f"the file {module}")
        return Plugin(kind, name, name, f"the module {module}")
    installed = available(kind)
    found = [plugin for plugin in installed if plugin.name == name]
    if not found:
        names = [plugin.name for plugin in installed]
        raise UserError(
            f"no {kind[:-1].replace('prompt', 'prompt set')} is called {name!r}{did_you_mean(name, names)} "
            f"(installed: {', '.join(names)}; one's own: file.py:function)"
        )
    if len(found) > 1:
        raise UserError(
            f"{kind[:-1]} {name!r} is claimed by {' and by '.join(p.package for p in found)}; remove one of them"
        )
    return found[0]


def options(factory: Callable[..., Any]) -> dict[str, Option]:
    """Returns a factory's options by key; the fields of a dataclass parameter have dotted keys."""
    hints = _hints(factory)
    found: dict[str, Option] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in STANDARD or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = hints.get(name, str)
        if dataclasses.is_dataclass(annotation):
            for field_name, field_hint in _hints(annotation).items():
                default = getattr(parameter.default, field_name, parameter.default)
                found[f"{name}.{field_name}"] = Option(f"{name}.{field_name}", field_hint, default)
        else:
            found[name] = Option(name, annotation, parameter.default)
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


def call(plugin: Plugin, values: Mapping[str, Any], **standard: Any) -> Any:
    """Loads a plug-in and calls its factory; what another's factory raises is an error that names its package."""
    factory = plugin.load()
    try:
        return build(factory, values, **standard)
    except UserError:
        raise
    except Exception as error:
        if plugin.package == "drawbench":
            raise
        what = f"{plugin.kind[:-1]} {plugin.name!r} of {plugin.package}"
        raise UserError(f"{what} could not be made: {type(error).__name__}: {error}") from error


def source(plugin: Plugin) -> dict[str, str]:
    """Returns what identifies the code of a plug-in that is not ours: its file's digest, or its package's version."""
    if plugin.package == "drawbench":
        return {}
    if not plugin.package.startswith(("the file ", "the module ")):
        return {"package": plugin.package}
    file = inspect.getsourcefile(plugin.load())
    return {"source sha256": sha256_file(Path(file))} if file else {}


def on_record(factory: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that belong to a system's identity: all but paths, for where something lies is no part of it."""
    declared = options(factory)

    def is_path(annotation: Any) -> bool:
        return annotation is Path or Path in typing.get_args(annotation)

    return {key: value for key, value in values.items() if not is_path(declared[key].annotation)}


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
        return Path(text).expanduser() if annotation is Path else annotation(text)
    except ValueError as error:
        raise UserError(f"{where}={text}: {text!r} is not {type_name(annotation)}") from error


def parse_named(given: Sequence[str]) -> dict[str, str]:
    """Reads ``[ALIAS=]NAME …`` as alias → name, in order; an alias stands once."""
    named: dict[str, str] = {}
    for text in given:
        alias, equals, name = text.partition("=")
        if not equals:
            alias, name = (text.rpartition(":")[2], text) if ":" in text else (text, text)
        if alias in named:
            raise UserError(f"{alias!r} is given twice; name them apart: first={name} second={name}")
        if not name or not _ALIAS.fullmatch(alias):
            raise UserError(f"{text!r}: give NAME or ALIAS=NAME; an alias is made of A-Z a-z 0-9 _ and -")
        named[alias] = name
    return named


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


def _hints(of: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(of)
    except NameError as error:
        raise UserError(
            f"{getattr(of, '__module__', '')}.{getattr(of, '__name__', of)}: {error}; a factory's annotations are read at run "
            "time: import what they name outside of TYPE_CHECKING"
        ) from error


def type_name(annotation: Any) -> str:
    """Returns an annotation as a person would write it."""
    if typing.get_origin(annotation) is Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return "|".join(dict.fromkeys("none" if a is type(None) else type_name(a) for a in typing.get_args(annotation)))
    return {int: "a whole number", float: "a number", str: "text", bool: "true|false", Path: "a path"}.get(
        annotation, str(getattr(annotation, "__name__", annotation))
    )


def _from_entry_point(kind: Kind, entry: EntryPoint) -> Plugin:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"
    return Plugin(kind, entry.name, entry.value, package)


def _import_file(path: Path) -> types.ModuleType:
    name = f"drawbench_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
