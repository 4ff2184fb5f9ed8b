"""Adafactor (Shazeer & Stern 2018) with optax's defaults, which the paper trains its base with (section 4.1, appendix F.1).

Written out, since torch's own factors the last two axes, which of a 3×3 convolution saves nothing, and caps the learning
rate by 1/√step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

DECAY_RATE = 0.8
CLIPPING = 1.0
EPS = 1e-30
SMALLEST_SCALE = 1e-3
SMALLEST_FACTORED = 128


class Adafactor(torch.optim.Optimizer):
    """Divides the gradient by the root of a factored second moment, clips the result's RMS at 1, and takes a step of the
    learning rate times the parameter's own RMS (at least 1e-3). No momentum, no weight decay.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.float(), group["lr"])

    def _update(self, parameter: nn.Parameter, gradient: Tensor, learning_rate: float) -> None:
        state: dict[str, Any] = self.state[parameter]
        axes = factored_axes(tuple(parameter.shape))
        square = gradient.square() + EPS
        moments = {"v": square} if axes is None else {"row": square.mean(axes[1]), "column": square.mean(axes[0])}
        if not state:
            state["step"] = 0
            state |= {name: torch.zeros_like(moment) for name, moment in moments.items()}
        state["step"] += 1
        new = state["step"] ** -DECAY_RATE  # The first step forgets the zeros.
        for name, moment in moments.items():
            state[name].lerp_(moment, new)
        if axes is None:
            update = gradient * state["v"].rsqrt()
        else:
            small, large = axes
            row, column = state["row"].unsqueeze(large), state["column"].unsqueeze(small)
            update = gradient * (row / row.mean(small, keepdim=True)).rsqrt() * column.rsqrt()
        update /= (rms(update) / CLIPPING).clamp(min=1)
        parameter.sub_(learning_rate * rms(parameter).clamp(min=SMALLEST_SCALE) * update)


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Returns the second largest and the largest axis, or None where the second is under 128: kept whole then."""
    if len(shape) < 2:
        return None
    *_, small, large = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return (small, large) if shape[small] >= SMALLEST_FACTORED else None


def rms(tensor: Tensor) -> Tensor:
    """Returns the root of the mean square, a scalar."""
    return tensor.float().square().mean().sqrt()
