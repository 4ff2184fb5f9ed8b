"""Generators built from what was typed: once here, and again in every process that draws with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from drawbench.cli.options import by_alias, resolve_device
from drawbench.errors import UserError
from drawbench.plugins import Plugin, call, find, parse_named, source
from drawbench.settings import on_record, resolve, takes

if TYPE_CHECKING:
    from drawbench.interfaces import Generator
    from drawbench.store import System


class Ready(NamedTuple):
    """A generator that can draw, and the system that it is."""

    alias: str
    generator: Generator
    dtype: str
    """As asked for, where the generator has a choice."""
    system: System
    device: str


def build_generators(settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any]) -> list[Ready]:
    """Builds every generator before anything is drawn, so that what is typed wrong is said at once."""
    named = parse_named(given["generators"])
    if given["name"] is not None and len(named) > 1:
        raise UserError(
            "--name names one system; with several generators give each an alias: --generator NAME=generator"
        )
    checkpoints = by_alias(given["checkpoints"], list(named), "--checkpoint")
    ready = []
    for alias, name in named.items():
        plugin = find("generators", name)
        system_name = given["name"] or alias
        if plugin.name == "folder" and system_name == "folder":
            raise UserError("imported images need a name of their own: --generator NAME=folder, or --name NAME")
        if not re.fullmatch(r"[^/\\\x00-\x1f]{1,100}", system_name):
            raise UserError(f"the name {system_name!r} cannot be used: give 1 to 100 characters, without / and \\")
        ready.append(_build(alias, system_name, plugin, settings[alias], checkpoints.get(alias), given))
    return ready


def build_again(
    alias: str, settings: Mapping[str, Mapping[str, str]], given: Mapping[str, Any], device: str
) -> Generator:
    """Builds one generator on another device: what a process calls that draws for this one."""
    named = parse_named(given["generators"])
    checkpoints = by_alias(given["checkpoints"], list(named), "--checkpoint")
    plugin = find("generators", named[alias])
    system_name = given["name"] or alias
    given = {**given, "device": device}
    return _build(alias, system_name, plugin, settings[alias], checkpoints.get(alias), given).generator


def _build(
    alias: str,
    system_name: str,
    plugin: Plugin,
    settings: Mapping[str, str],
    checkpoint: str | None,
    given: Mapping[str, Any],
) -> Ready:
    from drawbench.interfaces import Generator
    from drawbench.store import System

    factory = plugin.load()
    values = resolve(alias, factory, settings)
    if takes(factory, "device"):
        device = resolve_device(given["device"])
    else:
        device = "cpu"
    if checkpoint is not None and not takes(factory, "checkpoint"):
        raise UserError(f"--checkpoint {checkpoint}: the generator {plugin.name!r} takes none")
    standard: dict[str, Any] = {"device": device, "dtype": given["dtype"], "checkpoint": checkpoint}
    generator = call(plugin, values, **standard)
    if not isinstance(generator, Generator):
        raise UserError(
            f"generator {plugin.name!r} of {plugin.package} gave {type(generator).__name__}, which lacks one of: pads, "
            "fingerprint(), generate(items)"
        )
    fingerprint = {**generator.fingerprint(), **{k: v for k, v in source(plugin).items() if k != "package"}}
    if not all(isinstance(text, str) for pair in fingerprint.items() for text in pair):
        raise UserError(f"generator {plugin.name!r} of {plugin.package}: its fingerprint must map text to text")
    dtype = given["dtype"] if takes(factory, "dtype") else "of the generator"
    return Ready(
        alias, generator, dtype, System(system_name, plugin.name, on_record(factory, values), fingerprint), device
    )
