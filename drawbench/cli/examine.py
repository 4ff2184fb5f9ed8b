"""``drawbench verify``, ``list`` and ``doctor``: what is here, and whether it is whole."""

from __future__ import annotations

import inspect
import json
import os
import platform
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from drawbench import __version__
from drawbench.cli.options import device_option, set_option
from drawbench.errors import UserError


@click.command(short_help="Check a run's files.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one JSON list.")
@click.pass_context
def verify(context: click.Context, run: Path, as_json: bool) -> None:
    """Read every file of a run and name what is missing, truncated, altered or surplus, and what to do about it.

    \b
    Example:
      drawbench verify out/sd-drawbench
    """
    from drawbench.store import Run
    from drawbench.verify import verify as verify_run

    try:
        opened = Run.open(run)
    except UserError as error:
        if not (run / "run.json").is_file():
            raise
        click.echo(f"altered: {error}")  # A run whose manifest is damaged: that is a finding too.
        context.exit(1)
    findings = verify_run(opened)
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False))
    else:
        for finding in findings[:50]:
            click.echo(f"{finding.kind}: {finding.where} {finding.what}; {finding.remedy}")
        if len(findings) > 50:
            click.echo(f"… and {len(findings) - 50} more (all of them: --json)")
        total = len(opened.items())
        damage = sum(finding.damage for finding in findings)
        click.echo(
            f"{run}: {total} images planned, {damage} problems" if damage else f"{run}: whole, {total} images planned"
        )
    context.exit(1 if any(finding.damage for finding in findings) else 0)


@click.command("list", short_help="List generators, metrics or prompt sets.")
@click.argument("kind", type=click.Choice(["generators", "metrics", "prompts", "datasets"]))
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as one JSON list.")
def list_(kind: Any, name: str | None, as_json: bool) -> None:
    """List what is installed; with NAME, its options and their defaults.

    \b
    Example:
      drawbench list metrics
      drawbench list generators noise
    """
    from drawbench.plugins import available, find
    from drawbench.settings import options, type_name

    if name is not None:
        plugin = find(kind, name)
        factory = plugin.load()
        if kind == "datasets":  # It is called by the training, not made with options.
            click.echo(inspect.getdoc(factory) or plugin.summary)
            return
        if as_json:
            rows = [
                {"key": o.key, "type": type_name(o.annotation), "default": _shown(o.default)}
                for o in options(factory).values()
            ]
            click.echo(json.dumps(rows, ensure_ascii=False))
            return
        click.echo(inspect.getdoc(factory) or plugin.summary or name)
        for option in options(factory).values():
            required = option.default is inspect.Parameter.empty
            default = (
                "(must be given)" if required else f"(default: {option.default if option.default != '' else repr('')})"
            )
            click.echo(f"  --set {name}.{option.key}={type_name(option.annotation)}  {default}")
        return
    plugins = available(kind)
    if as_json:
        rows = [{key: getattr(p, key) for key in ("name", "package", "summary", "verified")} for p in plugins]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    width = max((len(plugin.name) for plugin in plugins), default=0)
    for plugin in plugins:
        origin = "" if plugin.package == "drawbench" else f"[{plugin.package}]"
        mark = "" if plugin.verified else "(unverified on published weights)"
        click.echo(" ".join(part for part in (plugin.name.ljust(width), plugin.summary, origin, mark) if part))


def _shown(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return "must be given"
    return default if isinstance(default, int | float | str | bool | None) else str(default)


class Check(NamedTuple):
    """One line of the doctor."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@click.command(short_help="Check this installation, or a metric.")
@click.option("--metric", metavar="NAME", help="Examine this metric instead: a plug-in's name, or file.py:function.")
@click.option("--reference", help="What a set metric compares with (default: the test images themselves).")
@device_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON list.")
@click.pass_context
def doctor(
    context: click.Context,
    metric: str | None,
    reference: str | None,
    device: str,
    settings: Sequence[str],
    as_json: bool,
) -> None:
    """Check versions, devices, the cache, and that the libraries import beside each other.

    With --metric: run a metric, also one's own, through what must hold of every metric, on images made here: that it refuses
    floats, sees colours and negatives, does not depend on batches, order or shards, and finds noise and blur worse.

    \b
    Examples:
      drawbench doctor
      drawbench doctor --metric clip_score --set clip_score.model=shapes
      drawbench doctor --metric my_metric.py:sharpness
    """
    if metric is not None:
        _examine_metric(context, metric, reference, device, settings, as_json)
        return
    if reference is not None or settings:
        raise UserError("--reference and --set are of a metric; say which: drawbench doctor --metric NAME")
    checks = [_python(), *_packages(), _torchvision(), *_devices(), _cache(), _prompts()]
    if as_json:
        click.echo(json.dumps([check._asdict() for check in checks], ensure_ascii=False))
    else:
        for check in checks:
            click.echo(
                f"{'ok ' if check.ok else 'BAD'} {check.name}: {check.found}{'' if check.ok else f' -> {check.remedy}'}"
            )
    context.exit(0 if all(check.ok for check in checks) else 1)


def _examine_metric(
    context: click.Context, name: str, reference: str | None, device: str, settings: Sequence[str], as_json: bool
) -> None:
    from drawbench.cli.measure import load_metrics
    from drawbench.metrics.conformance import examine
    from drawbench.plugins import find, parse_named
    from drawbench.settings import parse_settings, takes

    named = parse_named([name])
    (alias, plugin_name), *_ = named.items()
    parsed = parse_settings(settings, list(named))
    takes_reference = takes(find("metrics", plugin_name).load(), "reference")
    if reference is not None and not takes_reference:
        raise UserError(f"--reference {reference}: {alias} takes none")
    with TemporaryDirectory(prefix="drawbench-doctor-") as folder:
        checks = examine(
            lambda given: load_metrics(named, parsed, device, "fp32", given)[0].metric,
            reference=reference,
            takes_reference=takes_reference,
            folder=Path(folder),
        )
    if as_json:
        click.echo(json.dumps([check._asdict() for check in checks], ensure_ascii=False))
    else:
        for check in checks:
            remedy = f" -> {check.remedy}" if check.state == "BAD" else ""
            click.echo(f"{check.state:4} {check.name}: {check.found}{remedy}")
        counts = {state: sum(check.state == state for check in checks) for state in ("ok", "BAD", "n.a.")}
        click.echo(f"{alias}: {', '.join(f'{count} {state}' for state, count in counts.items())}")
    context.exit(1 if any(check.state == "BAD" for check in checks) else 0)


def _python() -> Check:
    return Check("drawbench", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")


def _packages() -> list[Check]:
    names = "torch torchvision torchmetrics open-clip-torch transformers clean-fid rapidocr pandas scipy streamlit diffusers"
    checks = []
    for name in names.split():
        try:
            checks.append(Check(name, True, version(name)))
        except PackageNotFoundError:
            optional = name == "diffusers"
            checks.append(
                Check(name, optional, "not installed" + (" (optional)" if optional else ""), f"pip install {name}")
            )
    return checks


def _torchvision() -> Check:
    from drawbench.torchvision_ops import declare_missing_ops

    name = "torch beside torchvision"
    try:
        declared = declare_missing_ops()
        import torchvision  # noqa: F401
    except Exception as error:  # noqa: BLE001  whatever it is, this is where it is told
        return Check(
            name, False, f"{type(error).__name__}: {error}", "install the torchvision that belongs to this torch"
        )
    return Check(name, True, "its compiled operators do not load; their schemas were declared" if declared else "fine")


def _devices() -> list[Check]:
    import torch

    threads, flags = torch.get_num_threads(), ""
    if Path("/proc/cpuinfo").is_file():
        known = set(Path("/proc/cpuinfo").read_text().split())
        flags = ", " + (" ".join(sorted(known & {"avx2", "avx512f", "avx512_bf16", "amx_bf16"})) or "no AVX2")
    found = [Check("cpu", True, f"{os.cpu_count()} cores, {threads} threads{flags}")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Check(f"cuda:{index}", True, f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append(Check("mps", True, "available"))
    return found


def _cache() -> Check:
    from drawbench.weights import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Check(
            "cache", False, f"{folder}: {error.strerror}", "set DRAWBENCH_CACHE to a folder that can be written"
        )
    return Check("cache", True, f"{folder}, {shutil.disk_usage(folder).free / 2**30:.0f} GiB free")


def _prompts() -> Check:
    from drawbench.prompts import DRAWBENCH_FILE, drawbench

    name = "DrawBench prompts"
    if not DRAWBENCH_FILE.place.is_file():  # A check fetches nothing.
        return Check(name, True, "not in the cache; fetched when they are asked for, or --prompts drawbench=FILE")
    try:
        return Check(name, True, f"{len(drawbench(DRAWBENCH_FILE.place).prompts)} as published, in the cache")
    except UserError as error:
        return Check(name, False, str(error), "replace the file")
