"""Plug-ins: a name leads to a factory, and the factory's annotated parameters are its options.

Ours stand in a lazy table, those of others in the entry-point groups ``drawbench.generators``, ``drawbench.metrics``,
``drawbench.prompts`` and ``drawbench.datasets``; one's own file needs neither: ``--generator mine=my_model.py:factory``.
Listing names imports nothing.
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
from drawbench.settings import build

Kind = Literal["generators", "metrics", "prompts", "datasets"]

_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Builtin(NamedTuple):
    """A row of our own table."""

    target: str
    summary: str
    verified: bool = True
    """False: never run here on its published weights; said wherever its numbers are."""


BUILTIN: dict[Kind, dict[str, Builtin]] = {
    "generators": {
        "folder": Builtin("drawbench.generators.folder:folder", "imports images that were made elsewhere"),
        "hf_diffusers": Builtin(
            "drawbench.generators.hf_diffusers:hf_diffusers",
            "draws with a text-to-image pipeline of diffusers",
            verified=False,
        ),
        "http": Builtin("drawbench.generators.http_api:http", "asks a model behind an HTTP API", verified=False),
        "imagen": Builtin(
            "drawbench.generators.imagen.generator:imagen",
            "samples an Imagen cascade from a checkpoint folder",
            verified=False,
        ),
        "noise": Builtin("drawbench.generators.noise:noise", "uniform noise, seeded: the lower anchor of a report"),
        "shapes_truth": Builtin(
            "drawbench.generators.shapes_truth:shapes_truth",
            "the shapes world, drawn right: the upper anchor of a report",
        ),
    },
    "metrics": {
        "aesthetic": Builtin(
            "drawbench.metrics.aesthetic:aesthetic",
            "LAION's aesthetic score, a linear head on CLIP's image embedding",
            verified=False,
        ),
        "clip_r_precision": Builtin(
            "drawbench.metrics.clip_r_precision:clip_r_precision",
            "is its own text the first of 100 that CLIP would choose for an image?",
            verified=False,
        ),
        "clip_score": Builtin(
            "drawbench.metrics.clip_score:clip_score", "cosine of CLIP's image and text embeddings", verified=False
        ),
        "cmmd": Builtin("drawbench.metrics.cmmd:cmmd", "maximum mean discrepancy on CLIP's embeddings", verified=False),
        "detector": Builtin(
            "drawbench.metrics.detector:detector",
            "number, colour and place, by an open-vocabulary detector",
            verified=False,
        ),
        "diversity": Builtin(
            "drawbench.metrics.diversity:diversity", "CLIP distance between the images of a prompt", verified=False
        ),
        "fd": Builtin("drawbench.metrics.fd:fd", "Fréchet distance on CLIP's image embeddings", verified=False),
        "fd_dinov2": Builtin(
            "drawbench.metrics.dinov2:fd_dinov2", "Fréchet distance on DINOv2's features", verified=False
        ),
        "fid": Builtin("drawbench.metrics.fid:fid", "Fréchet Inception distance, clean-fid's protocol", verified=False),
        "fid_infinity": Builtin(
            "drawbench.metrics.fid_infinity:fid_infinity", "FID extrapolated to endlessly many images", verified=False
        ),
        "image_stats": Builtin("drawbench.metrics.image_stats:image_stats", "size, and black or constant images"),
        "inception_score": Builtin(
            "drawbench.metrics.inception_score:inception_score",
            "Inception Score: legacy, for old tables",
            verified=False,
        ),
        "kid": Builtin("drawbench.metrics.kid:kid", "kernel Inception distance, unbiased at any n", verified=False),
        "lpips_diversity": Builtin(
            "drawbench.metrics.lpips_diversity:lpips_diversity",
            "LPIPS distance between the images of a prompt",
            verified=False,
        ),
        "pick_score": Builtin(
            "drawbench.metrics.pick_score:pick_score", "PickScore: which image people would pick", verified=False
        ),
        "prdc": Builtin(
            "drawbench.metrics.prdc:prdc",
            "precision, recall, density, coverage on Inception's features",
            verified=False,
        ),
        "shapes_accuracy": Builtin(
            "drawbench.metrics.shapes_accuracy:shapes_accuracy", "does an image of the shapes world show its prompt?"
        ),
        "text_rendering": Builtin(
            "drawbench.metrics.text_rendering:text_rendering", "is quoted text drawn right? (OCR)"
        ),
    },
    "prompts": {
        "coco": Builtin("drawbench.coco:coco", "one's own draw of COCO captions, 30,000 unless told (--set coco.n=N)"),
        "coco-30k": Builtin("drawbench.coco:coco_30k", "30,000 COCO captions: the public list, known by its digest"),
        "drawbench": Builtin("drawbench.prompts:drawbench", "200 prompts in 11 categories (Saharia et al. 2022)"),
        "shapes": Builtin(
            "drawbench.shapes.prompts:shapes", "200 prompts of the shapes world, analogues of DrawBench's 11 categories"
        ),
    },
    "datasets": {
        "shapes": Builtin("drawbench.shapes.data:pair", "captioned pictures of the shapes world, without end"),
        "shapes_words": Builtin(
            "drawbench.shapes.data:words_pair", "the same, nearly half of them with a sign and a word"
        ),
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
