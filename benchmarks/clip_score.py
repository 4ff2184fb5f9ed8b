"""Times CLIP score end to end, from files to numbers: ours against transformers' CLIPModel in a plain loop and torchmetrics, in turn.

    python benchmarks/clip_score.py [--device cpu|cuda] [--images N|DIR] [--samples N] [--batch N] [--turns N] --json FILE

All sides have one ViT-B/32 with random weights, the same JPEGs of 512² (made here, or those of a folder), the same texts and
threads. Ours reads files in threads, prepares and encodes images in batches, and encodes each prompt's text once for its
samples. The plain loop is what most people write: one image and its text at a time through CLIPProcessor and CLIPModel.
torchmetrics' CLIPScore is updated image by image with the same model; where it crashes, its error stands in the result.

``ratio`` is images per second of ours over the fastest peer that runs, turn by turn, in fp32; ``ratio_by_dtype`` has bf16
against bf16 too, ``ratio_opt_in`` ours in bf16 against the peer in fp32, and ``drift`` what bf16 moves the cosines by.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import hardware
from PIL import Image

from drawbench.interfaces import Prompt
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Side = Callable[[], np.ndarray]
WORDS = [
    "a",
    "red",
    "cube",
    "on",
    "the",
    "blue",
    "sphere",
    "beside",
    "two",
    "small",
    "dogs",
    "under",
    "an",
    "old",
    "wooden",
    "table",
    "in",
    "the",
    "rain",
    "at",
    "night",
]


def save_model(folder: Path) -> None:
    """Writes a ViT-B/32 with random weights, OpenAI's vocabulary and preprocessing, as transformers reads it."""
    import open_clip
    import transformers

    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config={"bos_token_id": 49406, "eos_token_id": 49407})
    transformers.CLIPModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    bpe = open_clip.get_tokenizer("ViT-B-32")
    named = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {named.get(token, token): number for token, number in bpe.encoder.items()}
    merges = sorted(bpe.bpe_ranks, key=bpe.bpe_ranks.get)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, merges)) + "\n", "utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}')


def save_images(folder: Path, count: int) -> list[Path]:
    random, paths = np.random.default_rng(0), []
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        paths.append(folder / f"{number:05d}.jpg")
        small.resize((512, 512), Image.Resampling.BICUBIC).save(paths[-1], quality=92)
    return paths


def texts_of(count: int, samples: int) -> list[Prompt]:
    """Returns one prompt per image; each has ``samples`` images, and from 6 to 20 words like DrawBench's."""
    random, prompts = np.random.default_rng(1), []
    for number in range(-(-count // samples)):
        words = random.choice(WORDS, int(random.integers(6, 21)))
        prompts += [Prompt(str(number), " ".join(words))] * samples
    return prompts[:count]


def our_side(
    model: Path, paths: Sequence[Path], prompts: Sequence[Prompt], batch: int, device: str, dtype: str
) -> Side:
    from drawbench.metrics.batches import by_size, read_ahead
    from drawbench.metrics.clip_score import ClipScore, clip_score

    network = clip_score(model=f"hf:{model}", device=device, dtype=dtype).network
    sizes = [Image.open(path).size for path in paths]

    def read(index: int) -> np.ndarray:
        with Image.open(paths[index]) as image:
            return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))

    def score() -> np.ndarray:
        metric, found = ClipScore(network, ""), np.empty(len(paths))
        for at, images in read_ahead(by_size(sizes, batch), read):
            part = [prompts[index] for index in at]
            found[list(at)] = metric.score(images, network(images), part).values["cosine"]
        return found

    return score


def plain_loop(model: Path, paths: Sequence[Path], prompts: Sequence[Prompt], device: str, dtype: str) -> Side:
    import transformers

    network = transformers.CLIPModel.from_pretrained(model, dtype=DTYPES[dtype]).eval().to(device)
    processor = processor_of(model)

    def score() -> np.ndarray:
        found = []
        for path, prompt in zip(paths, prompts, strict=True):
            inputs = processor(
                text=[prompt.text], images=Image.open(path), return_tensors="pt", padding=True, truncation=True
            ).to(device, DTYPES[dtype])
            with torch.no_grad():
                out = network(**inputs)
            found.append(
                torch.nn.functional.cosine_similarity(out.image_embeds.float(), out.text_embeds.float()).item()
            )
        return np.array(found)

    return score


def torchmetrics_side(model: Path, paths: Sequence[Path], prompts: Sequence[Prompt], device: str, dtype: str) -> Side:
    import transformers
    from torchmetrics.multimodal import CLIPScore

    network = transformers.CLIPModel.from_pretrained(model, dtype=DTYPES[dtype]).eval()
    metric = CLIPScore(model_name_or_path=lambda: (network, processor_of(model))).to(device)

    def score() -> np.ndarray:
        metric.reset()
        with torch.no_grad():
            for path, prompt in zip(paths, prompts, strict=True):
                image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
                metric.update(image.to(device), prompt.text)
        return np.array([metric.compute().item() / 100])

    return score


def processor_of(model: Path) -> Any:
    import transformers

    return transformers.CLIPProcessor(
        transformers.CLIPImageProcessor.from_pretrained(model), transformers.CLIPTokenizer.from_pretrained(model)
    )


def measure(
    sides: dict[str, Side], count: int, turns: int, device: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns figures by side, and the values that each gave; the sides take turns, after one call each that warms up."""
    figures: dict[str, Any] = {}
    values: dict[str, np.ndarray] = {}
    for name, side in sides.items():
        try:
            values[name] = side()
            figures[name] = {"seconds": []}
        except Exception as error:  # noqa: BLE001  a peer that does not run is a result
            figures[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
    for _ in range(turns):
        for name in values:
            figures[name]["seconds"].append(timed(sides[name], device))
    for name in values:
        figures[name]["images_per_second"] = count / statistics.median(figures[name]["seconds"])
    return figures, values


def timed(side: Side, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    side()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(model: Path, paths: Sequence[Path], samples: int, batch: int, turns: int, device: str) -> dict[str, Any]:
    prompts = texts_of(len(paths), samples)
    found: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for dtype in DTYPES:
        given = (model, paths, prompts)
        sides = {
            "ours": our_side(*given, batch, device, dtype),
            "transformers": plain_loop(*given, device, dtype),
            "torchmetrics": torchmetrics_side(*given, device, dtype),
        }
        found[dtype], values[dtype] = measure(sides, len(paths), turns, device)
        print(dtype, {name: part.get("images_per_second", "fails") for name, part in found[dtype].items()}, flush=True)
    best = {dtype: best_peer(sides) for dtype, sides in found.items()}
    by_dtype = {dtype: ratio(found[dtype]["ours"], found[dtype][best[dtype]]) for dtype in found}
    bf16 = values["bf16"]["ours"] - values["fp32"]["ours"]
    return {
        "ratio": by_dtype["fp32"],
        "ratio_by_dtype": by_dtype,
        "ratio_opt_in": ratio(found["bf16"]["ours"], found["fp32"][best["fp32"]]),
        "best_peer": best,
        "ours": {dtype: sides["ours"] for dtype, sides in found.items()},
        "peers": {
            name: {dtype: sides[name] for dtype, sides in found.items()} for name in ("transformers", "torchmetrics")
        },
        "drift": {
            "ours to transformers, fp32, largest": float(
                np.abs(values["fp32"]["ours"] - values["fp32"]["transformers"]).max()
            ),
            "bf16 to fp32, largest": float(np.abs(bf16).max()),
            "bf16 to fp32, of the mean": float(bf16.mean()),
        },
        "images": len(paths),
        "samples": samples,
        "batch": batch,
        "turns": turns,
    }


def best_peer(sides: dict[str, Any]) -> str:
    return max((name for name in sides if name != "ours"), key=lambda name: sides[name].get("images_per_second", 0))


def ratio(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """Returns images per second of ours over the peer's, turn by turn."""
    values = [theirs / own for own, theirs in zip(ours["seconds"], peer["seconds"], strict=True)]
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", default="64", help="how many to make, or a folder of JPEGs")
    parser.add_argument("--samples", type=int, default=4, help="images per prompt")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_model(folder)
        paths = (
            save_images(folder, int(given.images))
            if given.images.isdecimal()
            else sorted(Path(given.images).glob("*.jpg"))
        )
        content = compare(folder, paths, given.samples, given.batch, given.turns, given.device)
    content |= {
        "hardware": hardware(given.device),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "torchmetrics", "pillow")},
        },
    }
    given.json.write_text(json.dumps(content, indent=1) + "\n")
    for name in ("ratio", "ratio_by_dtype", "ratio_opt_in", "drift"):
        print(name, content[name])


if __name__ == "__main__":
    main()
