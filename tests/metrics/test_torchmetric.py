"""The suite's metrics in a plain training loop: the numbers of a run, states that merge, and wrong input refused."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

import drawbench.metrics
from drawbench.errors import UserError
from drawbench.interfaces import Output, Prompt
from drawbench.metrics import torchmetric
from drawbench.metrics.as_torchmetric import TorchMetric
from drawbench.metrics.clip_score import clip_score
from drawbench.metrics.fd import fd
from drawbench.shapes.data import held_out_pair


@pytest.fixture(scope="module")
def pairs():
    found = [held_out_pair(200_000 + index, 64) for index in range(24)]
    images = torch.from_numpy(np.stack([np.asarray(image) for image, _ in found])).permute(0, 3, 1, 2)
    return images.contiguous(), [text for _, text in found]


@pytest.fixture(scope="module")
def made():
    """Each is loaded once; a test takes a copy, which shares the network."""
    return {"clip_score": torchmetric("clip_score", model="shapes"), "fd": torchmetric("fd")}


@pytest.fixture
def clip(made):
    return copy.deepcopy(made["clip_score"])


@pytest.fixture
def distance(made):
    return copy.deepcopy(made["fd"])


def test_importing_it_loads_no_torch():
    code = "import sys; from drawbench.metrics import torchmetric; print('torch' in sys.modules, callable(torchmetric))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False True"
    assert drawbench.metrics.torchmetric is torchmetric, "no module of that name may take its place"


def test_a_plain_training_loop(pairs, clip, distance):
    """A tiny decoder learns to paint the pictures; both metrics see it get better."""
    images, texts = pairs
    target = images.float() / 255
    torch.manual_seed(0)
    codes = torch.nn.Parameter(torch.randn(len(images), 64))
    decoder = torch.nn.Linear(64, 3 * 64 * 64)
    optimizer = torch.optim.Adam([codes, *decoder.parameters()], lr=2e-2)
    log = []
    for epoch in range(61):
        drawn = decoder(codes).reshape(-1, 3, 64, 64).sigmoid()
        optimizer.zero_grad()
        (drawn - target).square().mean().backward()
        optimizer.step()
        if epoch in (0, 60):
            clip.reset()
            distance.reset()
            painted = (drawn * 255).round().to(torch.uint8)
            for first in range(0, len(images), 8):
                clip.update(painted[first : first + 8], texts[first : first + 8])
                distance.update(painted[first : first + 8])
            log.append({**clip.compute(), **distance.compute()})
    assert set(log[0]) == {"cosine", "x100", "clipscore", "fd"}
    assert log[1]["cosine"] > log[0]["cosine"] + 0.3
    assert log[1]["fd"] < 0.7 * log[0]["fd"]
    assert log[1]["fd"].dtype == torch.float64


def test_it_gives_the_numbers_of_the_metric_itself(pairs, clip, distance):
    images, texts = pairs
    clip.update(images, texts)
    distance.update(images)
    metric = clip_score(model="shapes")
    direct = metric.score(images, metric.network(images), [Prompt(str(n), t) for n, t in enumerate(texts)])
    assert float(clip.compute()["cosine"]) == pytest.approx(direct.values["cosine"].mean(), rel=1e-6)
    ours = fd()
    assert float(distance.compute()["fd"]) == pytest.approx(ours.compute(ours.network(images).numpy())["fd"], rel=1e-6)


def test_the_mean_is_that_of_the_prompt_means(clip, pairs):
    images, texts = pairs
    clip.update(images[:3], [texts[0], texts[0], texts[1]])
    alone = [copy.deepcopy(clip) for _ in range(2)]
    for metric, at, text in zip(alone, ([0, 1], [2]), texts, strict=False):
        metric.reset()
        metric.update(images[at], [text] * len(at))
    expected = sum(float(metric.compute()["cosine"]) for metric in alone) / 2
    assert float(clip.compute()["cosine"]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("which", ["clip_score", "fd"])
def test_two_replicas_merged_are_one(pairs, made, which):
    images, texts = pairs
    one, left, right = (copy.deepcopy(made[which]) for _ in range(3))
    for first in range(0, 24, 6):
        batch = (images[first : first + 6], texts[first : first + 6])
        one.update(*batch)
        (left if first % 12 else right).update(*batch)
    whole = {key: float(value) for key, value in one.compute().items()}
    left.merge_state(right)
    assert {key: float(value) for key, value in left.compute().items()} == pytest.approx(whole, rel=1e-9)
    # What distributed training does with the states: gathers and joins them.
    joined = copy.deepcopy(made[which])
    joined.update(images[:2], texts[:2])
    joined.rows, joined.prompts = torch.cat(one.rows), torch.cat(one.prompts)
    assert {key: float(value) for key, value in joined.compute().items()} == pytest.approx(whole, rel=1e-12)


def test_batches_and_their_order_do_not_matter(pairs, distance):
    images, _ = pairs
    values = []
    for parts in ([images], images.split(5), images.flip(0).split(7)):
        distance.reset()
        for part in parts:
            distance.update(part)
        values.append(float(distance.compute()["fd"]))
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)


def test_reset_forgets(pairs, distance):
    images, _ = pairs
    distance.update(images[:4])
    first = distance.compute()["fd"]
    distance.update(images[4:])
    assert distance.compute()["fd"] != first
    distance.reset()
    with (
        pytest.warns(UserWarning, match="compute"),
        pytest.raises(UserError, match="fd has 0 images and needs at least 2"),
    ):
        distance.compute()
    distance.update(images[:4])
    assert distance.compute()["fd"] == first


def test_a_copy_shares_the_network_and_not_the_states(pairs, distance):
    images, _ = pairs
    distance.update(images[:4])
    twin = copy.deepcopy(distance)
    assert twin.wrapped is distance.wrapped
    twin.update(images[4:])
    assert twin.compute()["fd"] != distance.compute()["fd"]
    assert len(distance.rows) == 1


def test_a_pickle_holds_the_states_and_no_network(pairs, distance):
    images, _ = pairs
    distance.update(images[:5])
    data = pickle.dumps(distance)
    assert len(data) < 20_000
    again = pickle.loads(data)
    assert isinstance(again, TorchMetric)
    assert again.compute()["fd"] == distance.compute()["fd"]
    again.update(images[5:])
    distance.update(images[5:])
    assert again.compute()["fd"] == distance.compute()["fd"]


def test_it_works_in_a_collection_and_by_calling(pairs, made):
    from torchmetrics import MetricCollection

    images, texts = pairs
    both = MetricCollection({name: copy.deepcopy(metric) for name, metric in made.items()})
    both.update(images, texts)
    assert {"fd", "cosine"} <= {key.rpartition("_")[2] for key in both.compute()}
    metric = copy.deepcopy(made["fd"])
    of_batch = metric(images[:6])
    assert of_batch["fd"] == metric.compute()["fd"]
    metric(images[6:])
    assert len(torch.cat(metric.rows)) == 24


BAD = {
    "float": (torch.rand(2, 3, 8, 8), "float32, whose range nobody can know"),
    "NaN": (torch.full((2, 3, 8, 8), float("nan")), "float32 with values that are not finite"),
    "int64": (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "given is int64"),
    "channels last": (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"\(2, 8, 8, 3\): images.permute\(0, 3, 1, 2\)"),
    "one image": (torch.zeros(3, 8, 8, dtype=torch.uint8), r"\(3, 8, 8\): images\[None\]"),
    "grey": (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"the shape \(2, 1, 8, 8\)"),
    "empty": (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "there is no image in it"),
    "no width": (torch.zeros(2, 3, 8, 0, dtype=torch.uint8), "there is no image in it"),
    "array": (np.zeros((2, 3, 8, 8), np.uint8), "given is ndarray"),
}


@pytest.mark.parametrize("what", BAD)
def test_wrong_images_are_refused_in_one_line_and_leave_no_trace(what, distance):
    images, said = BAD[what]
    with pytest.raises(UserError, match=said) as error:
        distance.update(images)
    assert "fd takes images as a torch tensor (N, 3, H, W) uint8" in str(error.value)
    assert "\n" not in str(error.value)
    assert distance.rows == []


def test_wrong_prompts_are_refused(pairs, clip):
    images, texts = pairs
    with pytest.raises(UserError, match=r"clip_score reads the prompts, and none are given: update\(images, prompts\)"):
        clip.update(images)
    with pytest.raises(UserError, match="2 prompts for 24 images"):
        clip.update(images, texts[:2])
    with pytest.raises(UserError, match="one text for 1 images"):
        clip.update(images[:1], "a")
    with pytest.raises(UserError, match="a prompt is int"):
        clip.update(images[:1], [3])


def test_a_metric_that_reads_no_prompts_needs_none(pairs):
    metric = torchmetric("image_stats")
    metric.update(torch.cat([pairs[0][:3], torch.zeros(1, 3, 64, 64, dtype=torch.uint8)]))
    found = metric.compute()
    assert (float(found["black"]), float(found["width"])) == (0.25, 64.0)
    assert metric.higher_is_better is False


def test_an_output_that_applies_to_no_image_is_nan_and_never_0(pairs):
    metric = torchmetric("shapes_accuracy")
    metric.update(pairs[0][:2], pairs[1][:2])  # Texts without a scene.
    assert torch.isnan(metric.compute()["correct"])


def test_options_are_those_of_the_command_line():
    with pytest.raises(UserError, match=r"fd has no option 'modell'; did you mean 'model'\?"):
        torchmetric("fd", modell="x")
    with pytest.raises(UserError, match="image_stats takes no reference"):
        torchmetric("image_stats", reference="x")
    with pytest.raises(UserError, match="no metric is called 'fidd'"):
        torchmetric("fidd")
    assert torchmetric("image_stats", tolerance="7").wrapped.tolerance == 7


class Sizes:
    """One value per prompt, of features."""

    outputs = {"spread": Output(True, "mean", main=True)}

    class network:  # noqa: N801
        key = "k"

        def __new__(cls, images):
            return images.float().mean((2, 3))

    def protocol(self):
        return {}

    def score_prompt(self, images, features, prompt):
        return {"spread": float(np.ptp(features[:, 0])) if len(features) > 1 else float("nan")}


def test_a_metric_of_a_prompts_images_is_wrapped_too():
    metric = TorchMetric("sizes", Sizes(), ())
    greys = torch.tensor([10, 30, 50, 60, 99], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    metric.update(greys, ["a", "a", "b", "b", "c"])
    assert float(metric.compute()["spread"]) == pytest.approx(15.0)
    metric.update(greys[:2], [Prompt("p", "One text.", "Colors", {"of": "x"})] * 2)
    assert float(metric.compute()["spread"]) == pytest.approx(50 / 3)


class Noted(Sizes):
    """Keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def score_prompt(self, images, features, prompt):
        self.asked.append((prompt, len(features)))
        return super().score_prompt(images, features, prompt)


def test_a_metric_of_prompts_is_given_their_texts_through_merging_and_joining():
    named = Prompt("p", "Ein Bär, «é» 🐻", "Colors", {"source": "x"})
    greys = torch.tensor([10, 30, 50, 60, 99], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    one, other = (TorchMetric("noted", Noted(), ()) for _ in range(2))
    one.update(greys[:3], ["a dog", named, "a dog"])
    other.update(greys[3:], [named, "Ein Bär"])
    one.merge_state(other)
    assert float(one.compute()["spread"]) == pytest.approx((40 + 30) / 2)
    asked = {prompt.text: (prompt, count) for prompt, count in one.wrapped.asked}
    assert {text: count for text, (_, count) in asked.items()} == {"a dog": 2, named.text: 2, "Ein Bär": 1}
    assert asked[named.text][0] == named
    assert dict(asked[named.text][0].metadata) == {"source": "x"}
    joined = TorchMetric("noted", Noted(), ())  # What distributed training does: all list states as one tensor each.
    joined.update(greys[:1], ["a dog"])
    for state in ("rows", "prompts", "written", "lengths"):
        parts = getattr(one, state)
        setattr(joined, state, parts if isinstance(parts, torch.Tensor) else torch.cat(parts))
    assert joined.compute() == one.compute()
    one.reset()
    assert one.written == one.lengths == []


def test_a_metric_of_prompts_without_prompts_is_refused():
    metric = TorchMetric("sizes", Sizes(), ())
    with pytest.raises(UserError, match=r"no prompts are given: update\(images, prompts\)"):
        metric.update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert metric.rows == []


class OfFilesToo:
    """A set metric, one of whose outputs is of the files."""

    outputs = {"mean": Output(False, "set", main=True), "of_files": Output(False, "set")}
    network = Sizes.network

    def protocol(self):
        return {}

    def compute(self, features):
        return {"mean": float(features.mean())}

    def leave_out(self, features, groups):
        return {"mean": np.zeros(int(groups.max()) + 1)}

    def from_files(self, files):
        return {"of_files": (1.0, "no interval")}


def test_an_output_of_image_files_is_left_out_where_there_are_none():
    metric = TorchMetric("of_files", OfFilesToo(), ())
    metric.update(torch.full((2, 3, 4, 4), 7, dtype=torch.uint8))
    assert {key: float(value) for key, value in metric.compute().items()} == {"mean": 7.0}
