"""What the tests of the stream share: small runs of greys, networks and metrics that count, and commands that are killed."""

import numpy as np
import torch
from PIL import Image

from drawbench.interfaces import Drawn, Output, Prompt, Scored
from drawbench.metrics.scoring import Loaded
from drawbench.prompts import make_prompt_set
from drawbench.runner import generate
from drawbench.store import Manifest, Plan, Run, System


def prompt_set(count=12):
    return make_prompt_set("few", [Prompt(f"{n:03d}", f"Prompt {n}.", "ab"[n % 2]) for n in range(count)])


class Noise:
    """Noise that follows from prompt and sample, of two sizes; samples 0 and 1 of a prompt in ``twins`` have the same bytes."""

    pads = False

    def __init__(self, mixed=False, twins=()):
        self.mixed, self.twins = mixed, twins

    def fingerprint(self):
        return {}

    def generate(self, items):
        return [Drawn(self.paint(item.prompt.id, item.sample)) for item in items]

    def paint(self, prompt, sample):
        sample = 0 if prompt in self.twins and sample < 2 else sample
        side = 8 + 4 * ((int(prompt) + (sample if self.mixed else 0)) % 2)
        bits = np.random.default_rng([int(prompt), sample])
        return Image.fromarray(bits.integers(0, 256, (side, side, 3), np.uint8))


def draw(path, samples=2, prompts=None, noise=None, name="noise"):
    """Draws a run, or lets one grow."""
    prompts = prompts or prompt_set()
    plan = Plan(None, samples)
    manifest = Manifest(
        System(name, "noise", {}, {}), "few", prompts.sha256, len(prompts.prompts), 0, "fp32", plan, 4, "now"
    )
    run = Run.start(path, manifest, prompts)
    generate(run, noise or Noise(), run.lacking(run.items()), batch_size=4, device="cpu")
    return run


class Net:
    """Twenty numbers of an image, each of the image alone; it counts what it is asked for."""

    def __init__(self, key="a-network"):
        self.key, self.seen = key, 0

    def __call__(self, images):
        self.seen += len(images)
        return torch.stack([_numbers(image) for image in images])


def _numbers(image):
    pixels = image.double()
    return torch.stack([(pixels * (n + 1) / 7).sin().mean() for n in range(20)]).float()


class OnFeatures:
    outputs = {"first": Output(True, "mean", main=True), "positive": Output(True, "rate")}
    features_only = True

    def __init__(self, network):
        self.network, self.calls = network, 0

    def protocol(self):
        return {"of": "features"}

    def score(self, images, features, prompts):
        assert images.shape == (len(prompts), 3, 0, 0)
        self.calls += len(images)
        return Scored({"first": features[:, 0].double().numpy(), "positive": (features[:, 0] > 0).numpy()})


class OnImages:
    outputs = {"mean": Output(None, "mean", main=True)}
    network = None

    def __init__(self):
        self.calls = 0

    def protocol(self):
        return {"of": "images"}

    def score(self, images, features, prompts):
        self.calls += len(images)
        values = images.double().mean((1, 2, 3)).numpy() / 3
        values[[prompt.id == "005" for prompt in prompts]] = np.nan
        return Scored({"mean": values}, {"said": [f"of {prompt.text} «é»" for prompt in prompts]})


class OnSet:
    outputs = {"norm": Output(False, "set", main=True)}

    def __init__(self, network):
        self.network = network

    def protocol(self):
        return {"of": "set"}

    def compute(self, features):
        return {"norm": float(np.linalg.norm(features.astype(np.float64).mean(0)))}

    def leave_out(self, features, groups):
        return {"norm": np.array([self.compute(features[groups != group])["norm"] for group in np.unique(groups)])}


class Spread:
    """How far the mean greys of a prompt's images lie apart, or of their features; a single image has no value."""

    outputs = {"spread": Output(True, "mean", main=True), "first": Output(None, "mean")}

    def __init__(self, network=None):
        self.network, self.calls = network, []

    def protocol(self):
        return {"of": "a prompt's features" if self.network else "a prompt's images"}

    def score_prompt(self, images, features, prompt):
        self.calls.append(prompt.id)
        if self.network:
            assert len(images) == 0
            values = features[:, 0].astype(np.float64)
        else:
            assert features is None
            values = np.array([image.astype(np.float64).mean() for image in images])
        return {"spread": values.std() if len(values) > 1 else np.nan, "first": values[0]}


def metrics(network=None, only=None):
    """Every kind of metric, on one network."""
    network = network or Net()
    every = {
        "features": OnFeatures(network),
        "images": OnImages(),
        "set": OnSet(network),
        "spread": Spread(),
        "apart": Spread(network),
    }
    return [Loaded(alias, alias, metric) for alias, metric in every.items() if only is None or alias in only]


def on_disk(run):
    """The scores of a run as they lie there, without the times."""
    return {
        file.metric: (
            file._replace(at="", path=""),
            file.path.with_suffix(".parquet").read_bytes() if file.table_sha256 else b"",
        )
        for file in run.score_files()
    }
