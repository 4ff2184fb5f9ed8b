"""Training of one stage (section 4.1): the loss of a batch, the optimizer's step, and a state that goes on exactly."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from drawbench.generators.imagen.adafactor import Adafactor
from drawbench.generators.imagen.augmentation import augment
from drawbench.generators.imagen.checkpoint import build_network
from drawbench.generators.imagen.config import Recipe, StageConfig
from drawbench.generators.imagen.data import Batch, take, to_float
from drawbench.generators.imagen.diffusion import diffuse, eps_from_v, eps_from_x0, squared_error, v_from_x0
from drawbench.generators.imagen.ema import EMA
from drawbench.generators.imagen.layers import Text
from drawbench.generators.imagen.residual import Guess, guess
from drawbench.generators.imagen.schedule import log_snr


def learning_rate(recipe: Recipe, step: int) -> float:
    """Returns the rate of a step (from 0): a linear rise from 0, then a cosine to 0 (``warmup_cosine_decay_schedule``)."""
    if step < recipe.warmup:
        return recipe.learning_rate * step / recipe.warmup
    if not recipe.decay_steps:
        return recipe.learning_rate
    gone = min(1.0, (step - recipe.warmup) / max(1, recipe.decay_steps - recipe.warmup))
    return recipe.learning_rate * (1 + math.cos(math.pi * gone)) / 2


def drop_text(text: Text, dropped: Tensor) -> Text:
    """Returns the texts with null text (`layers.null_text`) in the rows ``dropped``, ``(B,)`` bool."""
    first = torch.arange(text.mask.shape[1], device=text.mask.device) == 0
    return Text(text.embeddings.masked_fill(dropped[:, None, None], 0), torch.where(dropped[:, None], first, text.mask))


class Trainer:
    """A network, its optimizer and its average.

    ``micro_batch`` samples go through the network at once; it changes what is in memory, and the gradient in its last digits.
    """

    def __init__(
        self,
        stage: StageConfig,
        recipe: Recipe,
        device: str,
        *,
        micro_batch: int | None = None,
        recompute: bool = False,
        compiled: bool = False,
        processes: int = 1,
    ) -> None:
        self.stage, self.recipe, self.device, self.micro_batch = stage, recipe, device, micro_batch
        self.processes, self.step = processes, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            network = build_network(stage)
        self.network = network.to(device).train()
        if device.startswith("cuda"):  # On a CPU group normalisation takes ten times as long in this layout.
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.recompute = recompute
        if compiled:
            self.network.compile()
        self.optimizer = (
            Adafactor(self.network.parameters(), recipe.learning_rate)
            if recipe.optimizer == "adafactor"
            else torch.optim.Adam(self.network.parameters(), recipe.learning_rate, (0.9, 0.999), 1e-8, fused=True)
        )
        self.ema = EMA(self.network, recipe.ema)
        self._model: Any = DistributedDataParallel(self.network) if processes > 1 else self.network

    def losses(self, batch: Batch, text: Text | None) -> Tensor:
        """Returns each sample's squared error in ε (or as the recipe says), ``(B,)``, for its own noise and dropped text."""
        device = self.device
        eps, t = batch.eps.to(device), batch.t.to(device)
        level, x = log_snr(self.stage.schedule, batch.t), to_float(batch.images.to(device))
        z = diffuse(x, eps, level)
        if text is not None:
            text = Text(text.embeddings.to(device).float(), text.mask.to(device))
            text = drop_text(text, batch.drop.to(device) < self.recipe.text_drop)
        given: tuple[Any, ...] = (z, t, text)
        known: Guess | None = None
        if batch.low_res is not None and batch.aug_noise is not None:
            low_res = augment(to_float(batch.low_res.to(device)), batch.aug_noise.to(device), batch.aug_level)
            given = (*given, low_res, batch.aug_level.to(device))
            known = guess(z, level, low_res, batch.aug_level) if self.stage.output == "residual" else None
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.recipe.dtype == "bf16"):
            predicted = self._model(*given).float()
        if known is not None:
            if self.recipe.loss == "residual":
                return squared_error(predicted, (x - known.mean) / known.std)
            return squared_error(eps_from_x0(z, known.mean + known.std * predicted, level), eps)
        if self.recipe.loss == "v":
            return squared_error(predicted, v_from_x0(x, eps, level))
        return squared_error(predicted if self.stage.output == "eps" else eps_from_v(z, predicted, level), eps)

    def train(self, batch: Batch, text: Text | None) -> Tensor:
        """Takes one step on a batch (of this process) and returns its mean loss, still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        count = len(batch.positions)
        size = self.micro_batch or count
        total = torch.zeros((), device=self.device)
        for first in range(0, count, size):
            part = slice(first, first + size)
            last = first + size >= count
            waits = contextlib.nullcontext() if last or self.processes == 1 else self._model.no_sync()
            with waits:
                own = None if text is None else Text(text.embeddings[part], text.mask[part])
                loss = self.losses(take(batch, first, first + size), own).sum() / count
                loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.ema.update(self.network, self.step)
        return total

    def part(self) -> None:
        """Lets go of the other processes, before their group ends; there is no training after it.

        `DistributedDataParallel` holds the group, and a group that ends with it waits for threads that wait for Python.
        """
        self._model = self.network

    def is_finite(self) -> bool:
        """Says whether every weight, and every average, is a number."""
        tensors = [*self.network.parameters(), *self.ema.weights.values()]
        return bool(torch.stack([tensor.detach().isfinite().all() for tensor in tensors]).all())

    def begin_from(self, weights: Mapping[str, Tensor]) -> None:
        """Starts from other weights than fresh ones: network and average; the optimizer knows nothing of them."""
        self.network.load_state_dict(weights)
        self.ema.load(weights)

    def state(self) -> dict[str, Any]:
        """Returns all that training goes on from, but for its place in the data."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "ema": self.ema.weights,
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        self.step = int(state["step"])
        self.network.load_state_dict(state["network"])
        self.ema.load(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                if isinstance(moment, Tensor):  # In memory of its own, in the parameter's layout: a fused step goes by
                    # memory, and what a GPU saved has another order there than a CPU's parameters.
                    like = parameter if moment.shape == parameter.shape else moment
                    moments[name] = torch.empty_like(like, dtype=moment.dtype, device=moment.device).copy_(moment)
