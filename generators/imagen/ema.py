"""An exponential moving average of the weights: what is sampled from. Not in the paper; usual since Ho et al. 2020."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Averages a network's parameters in float32, where they are."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().float().clone(memory_format=torch.preserve_format)
            for name, parameter in network.named_parameters()
        }

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Takes in the parameters after ``step`` steps (from 1).

        Early averages are shorter, (1 + step)/(10 + step), so that the first random weights are soon forgotten.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [parameter.detach().float() for parameter in network.parameters()]
        torch._foreach_lerp_(list(self.weights.values()), now, 1 - decay)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Goes on from weights that were saved."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Has the network hold the averages for a while, in the memory that the averages have."""
        parameters = dict(network.named_parameters())
        own = {name: parameter.data for name, parameter in parameters.items()}
        try:
            for name, parameter in parameters.items():
                parameter.data = self.weights[name]
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = own[name]
