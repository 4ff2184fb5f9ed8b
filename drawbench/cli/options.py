"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from drawbench.devices import fastest_dtype
from drawbench.errors import UserError
from drawbench.interfaces import PromptSet

if TYPE_CHECKING:
    from drawbench.plugins import Plugin

F = TypeVar("F", bound=Callable[..., Any])

DTYPES = ("fp32", "bf16", "fp16")


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Returns several click options as one decorator."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OWNER.KEY=VALUE",
    help="An option of a generator or metric, by its name or alias, or of a prompt set: --set noise.size=64. "
    "`drawbench list KIND NAME` lists them.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto (cuda, else mps, else cpu), cpu, cuda, cuda:1, mps."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["auto", *DTYPES]),
    default="fp32",
    show_default=True,
    help="Of the generator's arithmetic; auto: bf16 where the device has units for it, or what a begun run has.",
)
drawing_options = together(
    click.option(
        "--generator",
        "generators",
        multiple=True,
        required=True,
        metavar="[ALIAS=]NAME",
        help="What draws: a plug-in's name or file.py:function. Repeat to compare; an alias names the system.",
    ),
    click.option(
        "--prompts",
        "prompt_specs",
        multiple=True,
        required=True,
        metavar="SET|FILE|SET=FILE",
        help="drawbench, coco-30k, coco, shapes; a CSV, TSV, JSONL or text file of your own; drawbench=FILE, "
        "coco-30k=FILE: checked against the published list.",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path), required=True, help="The folder to make or go on with."
    ),
    click.option("--name", help="The system's name in reports (default: the alias)."),
    click.option(
        "--checkpoint",
        "checkpoints",
        multiple=True,
        metavar="[ALIAS=]PATH",
        help="Weights of a generator; shapes: the small ones that ship.",
    ),
    click.option(
        "--samples", type=click.IntRange(min=1), help="Images per prompt (default: what the run has, else 1)."
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Every image's own seed follows from it.",
    ),
    click.option("--limit", metavar="20|0.1", help="So many prompts or this part of them, spread over the categories."),
    click.option(
        "--category", "categories", multiple=True, metavar="NAME", help="Only this category. May be repeated."
    ),
    click.option(
        "--batch-size",
        "batch_size",
        default="8",
        show_default=True,
        metavar="N|auto",
        help="Images drawn at once; auto: what the run has, else many, and half of it whenever memory is out.",
    ),
    click.option(
        "--processes",
        default="1",
        show_default=True,
        metavar="N|auto",
        help="Processes of this machine that draw at once, dealt to its GPUs in turn; auto: one for each GPU.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Draw only the I-th of N parts, from 1. torchrun's and SLURM's numbers are taken without asking.",
    ),
    click.option(
        "--store",
        type=click.Choice(["png", "tar"]),
        help="Images as files of their own, or in tars that WebDataset reads (default: what the run has, else png).",
    ),
    device_option,
    dtype_option,
    set_option,
)
metric_option = click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="[ALIAS=]NAME",
    help="What to measure. May be repeated. `drawbench list metrics` lists them.",
)
over_option = click.option(
    "--over",
    type=click.Choice(["prompts", "samples"]),
    default="prompts",
    show_default=True,
    help="What intervals generalise over: other prompts of this kind, or other seeds of these prompts.",
)


def resolve_device(device: str) -> str:
    """Returns a torch device for ``auto``, and refuses one that is not there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {device}: {str(error).splitlines()[0]}; `drawbench doctor` lists the devices here"
        ) from error
    return device


def resolve_dtype(device: str, begun: Sequence[str]) -> str:
    """Returns what ``--dtype auto`` is, and prints it: the dtype of runs that were begun, else the device's fastest."""
    if len(set(begun)) > 1:
        raise UserError(f"--dtype auto: the runs here were begun in {' and '.join(sorted(set(begun)))}; say which")
    chosen = begun[0] if begun else fastest_dtype(device)
    why = "as the run was begun" if begun else f"the faster one on this {device.partition(':')[0]}"
    click.echo(f"dtype: {chosen} ({why})", err=True)
    return chosen


def check_device(device: str) -> None:
    """Refuses a device that is not there, also where nothing asks for one; ``auto`` and ``cpu`` load nothing."""
    if device not in ("auto", "cpu"):
        resolve_device(device)


def load_prompts(spec: str, settings: Mapping[str, str] | None = None) -> PromptSet:
    """Returns the prompt set that ``SET``, ``SET=FILE`` or ``FILE`` names; warnings go to standard error."""
    from drawbench.prompts import read_prompt_file
    from drawbench.settings import build, resolve, takes

    plugin = _prompt_plugin(spec)
    if plugin is None:
        prompt_set, warnings = read_prompt_file(Path(spec))
        for warning in warnings:
            click.echo(f"warning: {warning}", err=True)
        return prompt_set
    name, equals, file = spec.partition("=")
    factory = plugin.load()
    if equals and not takes(factory, "file"):
        raise UserError(f"--prompts {spec}: the prompt set {name!r} is not read from a file; say --prompts {name}")
    values = resolve(name, factory, settings or {})
    made = build(factory, values, **({"file": Path(file)} if equals else {}))
    if not isinstance(made, PromptSet):
        raise UserError(f"the prompt set {name!r} gave {type(made).__name__}, not a PromptSet; mend {plugin.package}")
    return made


def prompt_owners(specs: Sequence[str], others: Sequence[str]) -> list[str]:
    """Returns the names of the prompt sets that ``--set`` may set something of; none of them may be another's name."""
    from drawbench.settings import options

    plugins = [plugin for spec in specs if (plugin := _prompt_plugin(spec)) is not None]
    owners = list(dict.fromkeys(plugin.name for plugin in plugins if options(plugin.load())))
    if both := [name for name in owners if name in others]:
        raise UserError(f"{both[0]!r} names a prompt set and a generator or metric; give the latter an alias")
    return owners


def _prompt_plugin(spec: str) -> Plugin | None:
    """Returns the plug-in that ``SET`` or ``SET=FILE`` names; None where it is the path of a file."""
    from drawbench.plugins import available, find

    name, equals, _ = spec.partition("=")
    installed = [plugin.name for plugin in available("prompts")]
    if not equals and name not in installed and (Path(spec).exists() or Path(spec).suffix or "/" in spec):
        return None
    return find("prompts", name)


def by_alias(given: Sequence[str], aliases: Sequence[str], flag: str) -> Mapping[str, str]:
    """Reads ``[ALIAS=]VALUE …``; a value without an alias serves a single owner."""
    values: dict[str, str] = {}
    for text in given:
        alias, equals, value = text.partition("=")
        if not equals or alias not in aliases:
            if len(aliases) != 1:
                raise UserError(f"{flag} {text}: say whose it is: {flag} ALIAS=PATH (here are: {', '.join(aliases)})")
            alias, value = aliases[0], text
        if alias in values:
            raise UserError(f"{flag} is given twice for {alias!r}")
        values[alias] = value
    return values
