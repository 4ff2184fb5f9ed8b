"""Times FID's features from image files, ours and the peers' in turn: the same network, images, weights and threads.

    python benchmarks/fid.py [--images DIR] [--count 32] [--turns 3] [--threads 2] [--batch 16] [--device cpu|cuda] --json FILE

The images are 512 x 512 JPEGs: those of a folder brought to that size, else noise with the spectrum of photographs. The weights
are random, with statistics of batch normalisation that keep the features apart; every side reads the same file. Each side reads
files and gives features: clean-fid and pytorch-fid by their own functions with as many workers as there are threads,
torch-fidelity by its extractor and torchmetrics by its metric, whose loaders are the user's, fed by a DataLoader of as many.

``ratio`` is images per second of ours (exact, ``clean``) over the best peer's, turn by turn; ``bf16`` the same of ours
with bf16, where the device has units for it, with how far its features are off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from peers import hardware, in_turn, ratio, versions
from PIL import Image
from torch import Tensor, nn

from drawbench.devices import fastest_dtype
from drawbench.images import read_unrotated
from drawbench.metrics.batches import read_ahead
from drawbench.metrics.fid import InceptionFeatures
from drawbench.metrics.inception import FidInception
from drawbench.metrics.inception_weights import load_inception
from drawbench.metrics.reference_images import SUFFIXES
from drawbench.torchvision_ops import declare_missing_ops

SIZE = 512


class Pictures(torch.utils.data.Dataset[Tensor]):
    """Files as ``(3, H, W) uint8``."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.asarray(Image.open(self.files[index]).convert("RGB")).transpose(2, 0, 1).copy())


def make_images(folder: Path, given: Path | None, count: int) -> list[Path]:
    found = [] if given is None else [file for file in sorted(given.rglob("*")) if file.suffix.lower() in SUFFIXES]
    if given is not None and not found:
        raise SystemExit(f"--images {given} has no images")
    rng, files = np.random.default_rng(0), []
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))
    for number in range(count):
        if found:
            image = Image.open(found[number % len(found)]).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        else:
            planes = np.fft.fft2(rng.normal(size=(3, SIZE, SIZE))) / (frequency + 1 / SIZE)
            noise = np.fft.ifft2(planes).real
            scaled = (noise - noise.mean()) / noise.std() * 50 + 128
            image = Image.fromarray(scaled.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        files.append(folder / f"{number:05d}.jpg")
        image.save(files[-1], quality=95)
    return files


def make_weights(file: Path, images: list[Path]) -> None:
    """Writes random weights whose batch normalisation has the statistics of some of the images."""
    torch.manual_seed(0)
    network = FidInception()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    from drawbench.metrics.resize import clean

    with torch.no_grad():
        network.train()(
            (clean(torch.stack([Pictures(images)[n] for n in range(min(8, len(images)))]), 299) - 128) / 128
        )
    torch.save(network.eval().state_dict(), file)


def our_side(weights: Path, files: list[Path], device: str, dtype: str, batch: int) -> Callable[[], Tensor]:
    number = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    network = InceptionFeatures(load_inception("fid", weights, device, number), "clean", device, dtype)
    parts = [list(range(first, min(first + batch, len(files)))) for first in range(0, len(files), batch)]

    def read(index: int) -> Any:
        return np.asarray(read_unrotated(files[index])).transpose(2, 0, 1)

    return lambda: torch.cat([network(images) for _, images in read_ahead(parts, read)])


def peer_sides(
    weights: Path, files: list[Path], device: str, batch: int, workers: int
) -> dict[str, Callable[[], object]]:
    declare_missing_ops()
    import pytorch_fid.fid_score
    import pytorch_fid.inception
    from cleanfid.fid import get_files_features
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torchmetrics.image.fid import FrechetInceptionDistance

    from drawbench.metrics.clean_fid_check import clean_fid_model

    model = clean_fid_model(load_inception("fid", weights, device, torch.float32), device)
    names, target = [str(file) for file in files], torch.device(device)
    state = torch.load(weights, weights_only=True)
    with mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url", return_value=state):
        theirs = pytorch_fid.inception.InceptionV3([3]).to(device).eval()
    fidelity = FeatureExtractorInceptionV3("inception", ["2048"], str(weights)).to(device).eval()
    metric = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(weights)).to(device)
    loader = torch.utils.data.DataLoader(Pictures(files), batch, num_workers=workers)

    def torch_fidelity() -> list[Tensor]:
        with torch.no_grad():
            return [fidelity(images.to(device))[0].cpu() for images in loader]

    def torchmetrics() -> None:
        metric.reset()
        for images in loader:
            metric.update(images.to(device), real=True)

    return {
        "clean-fid": lambda: get_files_features(
            names, model, num_workers=workers, batch_size=batch, device=target, mode="clean", verbose=False
        ),
        "pytorch-fid": lambda: pytorch_fid.fid_score.get_activations(
            names, theirs, batch_size=batch, device=target, num_workers=workers
        ),
        "torch-fidelity": torch_fidelity,
        "torchmetrics": torchmetrics,
    }


def figures(seconds: list[float], count: int) -> dict[str, Any]:
    return {"seconds": seconds, "images_per_second": count / statistics.median(seconds)}


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    files = make_images(folder, given.images, given.count)
    weights = folder / "inception.pth"
    make_weights(weights, files)
    batch, device = given.batch, given.device
    own: dict[str, Callable[[], Tensor]] = {"ours": our_side(weights, files, device, "fp32", batch)}
    if fastest_dtype(device) == "bf16":
        own["ours, bf16"] = our_side(weights, files, device, "bf16", batch)
    peers = peer_sides(weights, files, device, batch, given.threads)
    exact, cleanly = own["ours"](), torch.from_numpy(peers["clean-fid"]())  # type: ignore[arg-type]
    seconds = in_turn({**own, **peers}, given.turns, device)
    of_peers: Mapping[str, list[float]] = {name: seconds[name] for name in peers}
    content: dict[str, Any] = {
        "ratio": ratio(seconds["ours"], of_peers),
        "ours": {
            **figures(seconds["ours"], len(files)),
            "features_off_clean_fids": float((exact - cleanly).norm() / cleanly.norm()),
        },
        "peers": {name: figures(part, len(files)) for name, part in of_peers.items()},
    }
    if "ours, bf16" in own:
        fast = own["ours, bf16"]()
        content["bf16"] = {
            "ratio": ratio(seconds["ours, bf16"], of_peers),
            **figures(seconds["ours, bf16"], len(files)),
            "features_off_exact": float((fast - exact).norm() / exact.norm()),
        }
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", type=Path, help="a folder of photographs; without it noise is made")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        content = measure(given, Path(folder))
    content |= {
        "hardware": hardware(given.device),
        "versions": versions("torch", "pillow", "clean-fid", "pytorch-fid", "torch-fidelity", "torchmetrics"),
        "images": given.count,
        "batch": given.batch,
        "turns": given.turns,
    }
    given.json.write_text(json.dumps(content, indent=1) + "\n")
    for name in ("ratio", "bf16"):
        if name in content:
            print(f"{name}: {content[name]}")


if __name__ == "__main__":
    main()
