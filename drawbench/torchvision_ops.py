"""Lets a torch without CUDA live with the CUDA build of torchvision, whose import otherwise fails."""

from __future__ import annotations

from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.library import Library


@cache
def declare_missing_ops() -> bool:
    """Declares the schemas of ``torchvision::nms`` and ``torchvision::qnms`` where they are missing; True where it had to.

    torchvision registers a fake kernel for ``nms`` while it is imported. Where its compiled library cannot be loaded (it
    is linked against CUDA, the torch beside it is not), that operator does not exist, and the import of torchvision, and
    of open_clip, clean-fid, torchmetrics, torch-fidelity and diffusers with it, ends in
    ``RuntimeError: operator torchvision::nms does not exist``. Call this before the first such import. Calling the
    operators themselves still fails, aloud; nothing here uses them.
    """
    import torch

    torchvision = find_spec("torchvision")
    if torchvision is None or hasattr(torch.ops.torchvision, "nms"):
        return False
    compiled = PathFinder.find_spec("_C", list(torchvision.submodule_search_locations or []))
    if compiled is not None and compiled.origin is not None:
        try:
            torch.ops.load_library(compiled.origin)
        except OSError:
            pass  # The case that this function is for.
        else:
            return False
    library = _library()
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return True


@cache
def _library() -> Library:
    from torch.library import Library

    return Library("torchvision", "DEF")  # Kept in the cache: the operators live as long as it does.
