"""What a metric takes: uint8 images of one size, and nothing whose range it would have to guess."""

from __future__ import annotations

import torch
from torch import Tensor

from drawbench.errors import UserError


def check_images(name: str, images: object) -> None:
    """Refuses what is not ``(N, 3, H, W) uint8`` with N, H, W at least 1, and says how to mend it."""
    needed = f"{name} takes images as a torch tensor (N, 3, H, W) uint8, 0 to 255"
    if not isinstance(images, Tensor):
        raise UserError(f"{needed}; given is {type(images).__name__}")
    shape = tuple(images.shape)
    if images.dtype != torch.uint8:
        kind = str(images.dtype).removeprefix("torch.")
        if images.is_floating_point() and not torch.isfinite(images).all():
            raise UserError(f"{needed}; given is {kind} with values that are not finite: find out where they come from")
        how = "(images * 255).round().clamp(0, 255).to(torch.uint8) where they are in [0, 1]"
        raise UserError(f"{needed}; given is {kind}, whose range nobody can know: {how}")
    if len(shape) != 4 or shape[1] != 3:
        last = len(shape) == 4 and shape[3] == 3
        hint = ": images.permute(0, 3, 1, 2)" if last else ": images[None]" if len(shape) == 3 and shape[0] == 3 else ""
        raise UserError(f"{needed}; given is the shape {shape}{hint}")
    if 0 in shape:
        raise UserError(f"{needed}; given is the shape {shape}: there is no image in it")
