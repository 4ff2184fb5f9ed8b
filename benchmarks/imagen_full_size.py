"""Runs Imagen at the paper's size, on random weights in bf16: one guided sampling step of each stage, and T5-XXL on a prompt.

    python benchmarks/imagen_full_size.py [--device cpu|cuda] [--batch N] [--parts base sr256 sr1024 t5] --json FILE

Each part runs in a process of its own, whose peak memory is what is reported: on the CPU the resident set, on a GPU the
allocator's maximum. On a GPU a step is warmed up twice and timed over ten; on a CPU it is run once. FLOP are counted by
torch on the meta device (a multiplication and an addition are two), and the share of the peak is given for GPUs whose
dense bf16 peak is known.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}
"""Dense bf16 FLOP/s by the vendor's data sheets."""
TOKENS = 64
PARTS = ("base", "sr256", "sr1024", "t5")


def stage_step(name: str, device: str, batch: int) -> dict[str, Any]:
    from torch.utils.flop_counter import FlopCounterMode

    from drawbench.generators.imagen.cascade import guided
    from drawbench.generators.imagen.checkpoint import build_network
    from drawbench.generators.imagen.config import PAPER, T5_XXL_DIM
    from drawbench.generators.imagen.layers import Text

    stage = next(stage for stage in PAPER if stage.name == name)
    with torch.device("meta"):
        network = build_network(stage).to(torch.bfloat16).eval().requires_grad_(False)
    size, small = stage.network.image_size, getattr(stage.network, "low_res_size", None)

    def inputs(where: str, count: int) -> tuple[Any, ...]:
        text = Text(
            torch.randn(count, TOKENS, T5_XXL_DIM, device=where, dtype=torch.bfloat16),
            torch.ones(count, TOKENS, device=where).bool(),
        )
        return (
            text,
            torch.randn(count, 3, size, size, device=where),
            None if small is None else torch.randn(count, 3, small, small, device=where),
        )

    text, z, low_res = inputs("meta", 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        guided(network, 5.0, text, low_res, 0.1, "meta")(z, 0.5)
    flop = counter.get_total_flops()

    network = network.to_empty(device=device)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    text, z, low_res = inputs(device, batch)
    with torch.no_grad():
        predict = guided(network, 5.0, text, low_res, 0.1, device)
        seconds = timed(lambda: predict(z, 0.5), device)
        finite = bool(torch.isfinite(predict(z, 0.5)).all()) if device == "cuda" else None
    found = {
        "parameters": sum(p.numel() for p in network.parameters()),
        "resolution": size,
        "batch": batch,
        "seconds_per_guided_step": seconds,
        "image_steps_per_second": batch / seconds,
        "flop_per_image_step": flop,
        "flop_per_second": flop * batch / seconds,
        "peak_bytes": peak(device),
        "finite": finite,
    }
    if device == "cuda":
        top = next((value for key, value in PEAKS.items() if key in torch.cuda.get_device_name()), None)
        found["share_of_peak"] = None if top is None else found["flop_per_second"] / top
    return found


def t5(device: str) -> dict[str, Any]:
    from drawbench.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    with torch.device("meta"):
        model = T5EncoderModel(config)
    model = model.to(torch.bfloat16).to_empty(device=device).eval().requires_grad_(False)
    model.tie_weights()  # Without storage the two names of the embedding had lost each other.
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    tokens = torch.randint(3, 32000, (1, TOKENS), device=device)
    with torch.no_grad():
        seconds = timed(lambda: model(input_ids=tokens), device)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": TOKENS,
        "seconds_per_prompt": seconds,
        "peak_bytes": peak(device),
    }


def timed(step: Any, device: str) -> float:
    """Seconds of one call: on a GPU the mean of ten after two that warm up, on a CPU those of the first."""
    if device != "cuda":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    for _ in range(2):
        step()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(10):
        step()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 10_000


def peak(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--batch", type=int, nargs="+", default=[1], help="images at once; several: one measurement each"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        part, batch = given.one.split("/")
        print(json.dumps(t5(given.device) if part == "t5" else stage_step(part, given.device, int(batch))))
        return
    found = []
    for part in given.parts:
        for batch in given.batch if part != "t5" else [1]:
            command = [sys.executable, __file__, "--device", given.device, "--json", "-", "--one", f"{part}/{batch}"]
            done = subprocess.run(command, capture_output=True, text=True)
            result = (
                json.loads(done.stdout.splitlines()[-1])
                if done.returncode == 0
                else {"failed": done.stderr.splitlines()[-1:]}
            )
            found.append({"part": part, **({"batch": batch} if part != "t5" else {}), **result})
            print(json.dumps(found[-1]), flush=True)
    name = torch.cuda.get_device_name() if given.device == "cuda" else platform.processor() or platform.machine()
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    hardware = {
        "device": name,
        "threads": torch.get_num_threads(),
        "cpu_flags": sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(flags)),
    }
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    content = {"dtype": "bf16", "weights": "random", "results": found, "hardware": hardware, "versions": versions}
    given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
