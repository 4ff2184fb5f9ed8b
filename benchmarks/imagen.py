"""Times Imagen's base network against imagen-pytorch's, in turn: a guided sampling step and a training step.

    python benchmarks/imagen.py [--device cpu|cuda] [--batch N] [--turns N] [--only sampling|training] --json FILE

Ours has the blocks and attention resolutions that imagen-pytorch's ``BaseUnet64`` has at dim 128, and nearly as many
parameters (113 M to 107 M): the peer's width changes a resolution later on the way down than on the way up, so at 64, 32, 16
and 8 pixels it has 128, 128, 256, 384 and 128, 256, 384, 512 channels, and ours 128, 128, 256, 512 both ways. Ours
attends after every block, the peer once per resolution. FLOP and parameters of both are given beside the times; torch
counts the FLOP on the calls that are timed, a multiplication and an addition as two.

sampling: ε̂ of a batch under classifier-free guidance, as each library has it in its loop. Ours has read the text before
the loop starts, and runs both branches in one pass; the peer reads the text at every step, and runs a pass per branch.
bf16 is ours with its weights in bf16, and the peer under autocast: with its weights in bf16 it does not run.
training: forward, squared error in ε, backward and a step of Adam; bf16 is autocast for both.

``ratio`` is images per second of ours over the peer's, turn by turn, in the dtype in which the peer is faster.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

WIDTH, TOKENS, TEXT_DIM, WEIGHT = 128, 64, 1024, 5.0
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAYS = ("sampling", "training")
Step = Callable[[], object]


class Batch(NamedTuple):
    """What both networks get."""

    z: Tensor
    t: Tensor
    eps: Tensor
    text: Tensor
    mask: Tensor


def our_network() -> nn.Module:
    from drawbench.generators.imagen.config import UNetConfig
    from drawbench.generators.imagen.unet import UNet

    return UNet(UNetConfig(64, WIDTH, (1, 1, 2, 4), 3, (32, 16, 8), 64, TEXT_DIM))


def peer_network() -> nn.Module:
    from drawbench.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    import transformers

    # While it is imported it asks a hub for the width of a text encoder that is not used here.
    with mock.patch.object(transformers.T5Config, "from_pretrained", return_value=transformers.T5Config()):
        from imagen_pytorch import BaseUnet64
    return BaseUnet64(dim=WIDTH, text_embed_dim=TEXT_DIM)


def our_sampling(network: nn.Module, given: Batch, dtype: str) -> Step:
    from drawbench.generators.imagen.cascade import guided
    from drawbench.generators.imagen.layers import Text

    network.eval().requires_grad_(False).to(DTYPES[dtype])
    predict = guided(network, WEIGHT, Text(given.text, given.mask), None, 0.0, given.z.device.type)

    def step() -> Tensor:
        with torch.no_grad():
            return predict(given.z, 0.5)

    return step


def peer_sampling(network: nn.Module, given: Batch, dtype: str) -> Step:
    network.eval().requires_grad_(False)

    def step() -> Tensor:
        with torch.no_grad(), autocast(given, dtype):
            return network.forward_with_cond_scale(
                given.z, given.t, text_embeds=given.text, text_mask=given.mask, cond_scale=WEIGHT
            )

    return step


def our_training(network: nn.Module, given: Batch, dtype: str) -> Step:
    from drawbench.generators.imagen.layers import Text

    text = Text(given.text, given.mask)
    return training(network, lambda: network(given.z, given.t, text), given, dtype)


def peer_training(network: nn.Module, given: Batch, dtype: str) -> Step:
    def predict() -> Tensor:
        return network(given.z, given.t, text_embeds=given.text, text_mask=given.mask)

    return training(network, predict, given, dtype)


def training(network: nn.Module, predict: Callable[[], Tensor], given: Batch, dtype: str) -> Step:
    network.train()
    adam = torch.optim.Adam(network.parameters(), lr=1e-5)

    def step() -> None:
        with autocast(given, dtype):
            predicted = predict()
        functional.mse_loss(predicted.float(), given.eps).backward()
        adam.step()
        adam.zero_grad()

    return step


def autocast(given: Batch, dtype: str) -> AbstractContextManager[Any]:
    return torch.autocast(given.z.device.type, torch.bfloat16, enabled=dtype == "bf16")


SIDES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Step], Callable[..., Step]]] = {
    "ours": (our_network, our_sampling, our_training),
    "imagen-pytorch": (peer_network, peer_sampling, peer_training),
}


def measure(way: str, dtype: str, batch: int, turns: int, device: str) -> dict[str, dict[str, Any]]:
    """Returns figures by side; the sides take turns, after one call each that counts FLOP and one that warms up."""
    torch.manual_seed(0)
    given = Batch(
        torch.randn(batch, 3, 64, 64, device=device),
        torch.full((batch,), 0.5, device=device),
        torch.randn(batch, 3, 64, 64, device=device),
        torch.randn(batch, TOKENS, TEXT_DIM, device=device),
        torch.ones(batch, TOKENS, device=device, dtype=torch.bool),
    )
    steps, found = {}, {}
    for side, (build, *ways) in SIDES.items():
        network = build().to(device)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.02)
        steps[side] = ways[WAYS.index(way)](network, given, dtype)
        # Fused attention kernels are not counted on every device: for the count attention is written out.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            steps[side]()
        found[side] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "flop_per_image": counter.get_total_flops() / batch,
        }
    for step in steps.values():
        timed(step, device)
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(turns):
        for side, step in steps.items():
            seconds[side].append(timed(step, device))
    for side, figures in found.items():
        figures["seconds"] = seconds[side]
        figures["images_per_second"] = batch / statistics.median(seconds[side])
        figures["flop_per_second"] = figures["images_per_second"] * figures["flop_per_image"]
        figures["images_per_second_per_flop"] = figures["images_per_second"] / figures["flop_per_image"]
    return found


def timed(step: Step, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(way: str, batch: int, turns: int, device: str) -> dict[str, Any]:
    found, ratios = {}, {}
    for name in DTYPES:
        sides = found[name] = measure(way, name, batch, turns, device)
        pairs = zip(sides["ours"]["seconds"], sides["imagen-pytorch"]["seconds"], strict=True)
        ratio = ratios[name] = spread([peer / ours for ours, peer in pairs])
        print(
            f"{way} {name}: ours / imagen-pytorch {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
            flush=True,
        )
    peer = {dtype: sides["imagen-pytorch"] for dtype, sides in found.items()}
    dtype = max(peer, key=lambda name: peer[name]["images_per_second"])
    return {
        "ratio": ratios[dtype],
        "dtype": dtype,
        "ratio_by_dtype": ratios,
        "ours": {name: sides["ours"] for name, sides in found.items()},
        "peers": {"imagen-pytorch": peer},
        "hardware": hardware(device),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "imagen-pytorch")},
        },
        "batch": batch,
        "turns": turns,
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def hardware(device: str) -> dict[str, Any]:
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "cpu_flags": sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(flags)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    try:
        importlib.metadata.version("imagen-pytorch")
    except importlib.metadata.PackageNotFoundError:
        print("imagen-pytorch is not installed: pip install imagen-pytorch==2.1.0", file=sys.stderr)
        sys.exit(2)
    ways = (given.only,) if given.only else WAYS
    content = {way: compare(way, given.batch, given.turns, given.device) for way in ways}
    given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
