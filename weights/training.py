"""The loop in which the shipped weights are trained: one thread, a plan of steps, and a state from which it goes on."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from drawbench.files import atomic

B = TypeVar("B")


def options(name: str, out: Path, *, steps: int, batch_size: int, learning_rate: float) -> argparse.ArgumentParser:
    """Returns the options that every script here has."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=out, help="folder of the weights")
    parser.add_argument(
        "--state", type=Path, default=Path(f"build/weights/{name}.pt"), help="what a stopped run goes on from"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--max-minutes", type=float, default=120.0, help="stop then; the same command goes on")
    return parser


def train(
    model: nn.Module,
    stream: Callable[[int], Iterator[B]],
    loss_of: Callable[[B], Tensor],
    arguments: argparse.Namespace,
    *,
    weight_decay: float,
) -> float:
    """Trains from where the state is to the last step, and returns the seconds that all steps took.

    ``stream`` gives the batches from a step on. Ends the program where ``--max-minutes`` come before the last step.
    """
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=weight_decay, fused=True)
    step, before = 0, 0.0
    plan = {name: value for name, value in vars(arguments).items() if name not in ("out", "state", "max_minutes")}
    if arguments.state.is_file():
        state = torch.load(arguments.state, weights_only=True)
        if state.get("plan") != plan:
            sys.exit(
                f"{arguments.state} is of another plan ({state.get('plan')}, here {plan}); move it away, or give --state"
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, before = state["step"], state["seconds"]
        print(f"goes on at step {step}", flush=True)
    batches, began, first, recent = stream(step), time.monotonic(), step, 0.0

    def keep() -> float:
        seconds = before + time.monotonic() - began
        with atomic(arguments.state) as beside:
            kept = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": seconds,
                "plan": plan,
            }
            torch.save(kept, beside)
        return seconds

    while step < arguments.steps and time.monotonic() - began < 60 * arguments.max_minutes:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, arguments.steps, arguments.learning_rate)
        loss = loss_of(next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent = loss.item() if step == first else 0.95 * recent + 0.05 * loss.item()
        step += 1
        if step % 50 == 0 or step == arguments.steps:
            rate = (step - first) * arguments.batch_size / (time.monotonic() - began)
            print(f"step {step}/{arguments.steps}  loss {recent:.3f}  {rate:.0f} examples/s", flush=True)
        if step % 200 == 0:
            keep()
    seconds = keep() if step > first else before
    if step < arguments.steps:
        sys.exit(f"stopped at step {step} of {arguments.steps}; the same command goes on")
    return seconds


def learning_rate(step: int, steps: int, top: float, warm_up: int = 100, falling: float = 0.2) -> float:
    """Returns a rate that rises for ``warm_up`` steps, stays, and falls along a line over the last ``falling`` of all."""
    return top * min((step + 1) / warm_up, 1.0, (steps - step) / (falling * steps))
