"""The diffusers library: imported where it is needed, and heard, for what it only warns of can spoil every image."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from drawbench.errors import UserError
from drawbench.torchvision_ops import declare_missing_ops


def diffusers_library() -> Any:
    """Imports and returns diffusers."""
    declare_missing_ops()
    try:
        return importlib.import_module("diffusers")
    except ModuleNotFoundError as error:
        if error.name != "diffusers":
            raise
        raise UserError("hf_diffusers needs diffusers: pip install 'drawbench[diffusers]'") from error


def mend(cls: Any, parts: Mapping[str, Sequence[str]]) -> None:
    """Makes a pipeline's parts loadable that diffusers 0.42 has and cannot find, or not with transformers 5.

    ``parts``: name → library and class, as in model_index.json. Karlo's pipeline was moved to ``pipelines.deprecated``,
    and its text projection is found under neither name that folders have for it; IF's safety checker lacks an
    attribute that transformers 5 reads.
    """
    diffusers: Any = importlib.import_module("diffusers")
    at_home: Any = importlib.import_module(cls.__module__)
    for library, name in parts.values():
        if library == "diffusers" and not hasattr(diffusers, name) and hasattr(at_home, name):
            setattr(diffusers, name, getattr(at_home, name))
        moved = f"diffusers.pipelines.deprecated.{library}"
        if library.isidentifier() and not hasattr(diffusers.pipelines, library) and importlib.util.find_spec(moved):
            setattr(diffusers.pipelines, library, importlib.import_module(moved))
        if name == "IFSafetyChecker":
            checker: Any = importlib.import_module("diffusers.pipelines.deepfloyd_if.safety_checker").IFSafetyChecker
            if not hasattr(checker, "all_tied_weights_keys"):
                checker.all_tied_weights_keys = {}


def need(package: str, what: str) -> None:
    """Raises an error that names a package where it is not installed."""
    if importlib.util.find_spec(package) is None:
        name = {"imwatermark": "invisible-watermark", "bs4": "beautifulsoup4"}.get(package, package)
        raise UserError(f"{what} needs {name}: pip install {name}")


def first_line(error: BaseException) -> str:
    """Returns the first line of what went wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def listening() -> Iterator[list[str]]:
    """Gives a list that fills with what diffusers and transformers warn of; nothing of it, and no bar, is printed."""
    heard: list[str] = []
    handler = _Ear(heard)
    modules: list[Any] = [importlib.import_module(f"{name}.utils.logging") for name in ("diffusers", "transformers")]
    roots = [logging.getLogger(name) for name in ("diffusers", "transformers")]
    before = [(root.handlers[:], root.level, root.propagate) for root in roots]
    bars = [module.is_progress_bar_enabled() for module in modules]
    for module, root in zip(modules, roots, strict=True):
        module.disable_progress_bar()
        root.handlers, root.propagate = [handler], False
        root.setLevel(logging.WARNING)
    try:
        yield heard
    finally:
        for module, shown, root, (handlers, level, propagate) in zip(modules, bars, roots, before, strict=True):
            root.handlers, root.propagate = handlers, propagate
            root.setLevel(level)
            if shown:
                module.enable_progress_bar()


@contextmanager
def noting_missing_tensors() -> Iterator[list[str]]:
    """Gives a list that fills with tensors that networks lack after loading; of a single file's diffusers does not tell."""
    import torch

    lacking: list[str] = []
    module: Any = torch.nn.Module
    real = module.load_state_dict

    def load(network: Any, *arguments: Any, **more: Any) -> Any:
        done = real(network, *arguments, **more)
        lacking.extend(done.missing_keys)
        return done

    module.load_state_dict = load
    try:
        yield lacking
    finally:
        module.load_state_dict = real


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
