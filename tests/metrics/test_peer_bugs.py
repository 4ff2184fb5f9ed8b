"""What other suites compute wrong in silence, each with the test that catches it: in a metric, or in the way to one."""

import bad_metrics
import numpy as np
import pytest
import torch
from bad_metrics import SIDE
from PIL import Image

from drawbench.errors import UserError
from drawbench.interfaces import Drawn, Output, Prompt, Scored
from drawbench.metrics import torchmetric
from drawbench.metrics.conformance import examine
from drawbench.metrics.image_stats import image_stats
from drawbench.metrics.stream import Loaded, score_run
from drawbench.prompts import make_prompt_set
from drawbench.runner import generate
from drawbench.store import Manifest, Plan, Run, System

CATEGORIES = ["Colors", "Counting", "Rare Words"]
PROMPTS = make_prompt_set("twelve", [Prompt(f"{n:02d}", f"Prompt {n}.", CATEGORIES[n % 3]) for n in range(12)])


class Painter:
    """Paints each prompt's number as a grey; prompt 00 comes out black, as after a safety filter."""

    pads = False

    def __init__(self, step=10):
        self.step = step

    def fingerprint(self):
        return {}

    def generate(self, items):
        return [Drawn(Image.fromarray(np.full((8, 8, 3), self.step * int(it.prompt.id), np.uint8))) for it in items]


class Reads:
    """The grey of an image, and the number in the text of its prompt."""

    outputs = {"grey": Output(None, "mean", main=True), "number": Output(None, "mean")}
    network = None

    def protocol(self):
        return {"version": "1"}

    def score(self, images, features, prompts):
        numbers = [float(prompt.text.split()[1].rstrip(".")) for prompt in prompts]
        return Scored({"grey": images.double().mean((1, 2, 3)).numpy(), "number": np.array(numbers)})


class Spread:
    """Of a set: the mean of its one feature."""

    outputs = {"mean": Output(False, "set", main=True)}

    class Grey:
        key = "the mean grey"

        def __call__(self, images):
            return images.float().mean((2, 3))

    network = Grey()

    def protocol(self):
        return {"network": self.network.key}

    def compute(self, features):
        return {"mean": float(features.astype(np.float64).mean())}

    def leave_out(self, features, groups):
        return {"mean": np.array([features[groups != g].astype(np.float64).mean() for g in range(groups.max() + 1)])}


def make_run(path, step=10, samples=3):
    system = System("painter", "painter", {"step": step}, {})
    manifest = Manifest(system, "twelve", PROMPTS.sha256, 12, 0, "fp32", Plan(None, samples), 4, "now")
    run = Run.start(path, manifest, PROMPTS)
    generate(run, Painter(step), run.items(), batch_size=4, device="cpu")
    return run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def bad(metric, folder):
    checks = examine(lambda given: metric(), reference=None, takes_reference=False, folder=folder, side=SIDE)
    return {it.name for it in checks if it.state == "BAD"}


def test_an_image_that_wraps_around_in_uint8(tmp_path):
    """ImagenHub: (uint8 * 255).astype("uint8") is the negative."""
    assert (np.array([10, 200], np.uint8) * np.uint8(255)).tolist() == [246, 56]
    assert "inversion" in bad(bad_metrics.WrapsAround, tmp_path)


def test_floats_that_are_cut_to_0(tmp_path):
    """image-eval's FID: .to(torch.uint8) of floats in [0, 1]."""
    assert {"channel order", "noise", "blur"} <= bad(bad_metrics.Truncates, tmp_path)
    with pytest.raises(UserError, match="float32, whose range nobody can know"):
        torchmetric("image_stats").update(torch.rand(2, 3, 8, 8))


def test_floats_that_are_divided_by_255_again(tmp_path):
    """image-eval's CLIPScore."""
    assert "float in [0, 1]" in bad(bad_metrics.DividesAgain, tmp_path)
    with pytest.raises(UserError, match="float32, whose range nobody can know"):
        torchmetric("clip_score", model="shapes").update(torch.rand(1, 3, 8, 8), ["a red circle"])


def test_a_third_of_the_prompts_three_times(tmp_path, run):
    """EvalGIM: prompts[i // 3] reads the first third of DrawBench only."""
    assert {"order", "prompts"} & bad(bad_metrics.FirstThird, tmp_path)
    (file,) = score_run(run, [Loaded("reads", "reads", Reads())])
    table = file.table()
    assert sorted(set(table["prompt"])) == [prompt.id for prompt in PROMPTS.prompts]
    assert (table["number"] == table["prompt"].astype(int)).all(), "each image is scored with its own prompt"
    assert (table["grey"] == 10 * table["prompt"].astype(int)).all(), "each prompt with its own image"
    assert (table.groupby("prompt").size() == 3).all()


def test_the_value_of_another_set(tmp_path, run):
    """dgm-eval: path[i] inside enumerate(path[1:]) is the set before."""
    other = make_run(tmp_path / "other", step=20)
    metric = Loaded("spread", "spread", Spread())
    values = [score_run(one, [metric])[0].scores[0].value for one in (run, other)]
    assert values == [10 * np.mean(range(12)), 20 * np.mean(range(12))]
    assert values == [score_run(one, [metric])[0].scores[0].value for one in (run, other)], "read back, not mixed up"
    checks = examine(
        lambda given: bad_metrics.PreviousPath(tmp_path / "set"),
        reference=None,
        takes_reference=True,
        folder=_folder(tmp_path / "set"),
        side=SIDE,
    )
    assert {it.name for it in checks if it.state == "BAD"} >= {"channel order", "inversion"}


def _folder(path):
    path.mkdir()
    return path


def test_a_metric_that_raises_is_no_0_in_a_mean(run):
    """EvalScope: the score of what raises is 0 and averaged in."""

    class Raises(Reads):
        def score(self, images, features, prompts):
            if any(prompt.id == "07" for prompt in prompts):
                raise ValueError("out of tokens")
            return super().score(images, features, prompts)

    with pytest.raises(RuntimeError, match="metric raises failed: ValueError: out of tokens"):
        score_run(run, [Loaded("raises", "raises", Raises())])
    assert [file for file in run.score_files() if file.metric == "raises"] == []


def test_black_images_are_counted_and_what_has_no_value_is_no_0(tmp_path, run):
    """HEIM: black images are dropped from FID and CLIP score, and a NaN becomes 0."""
    stats, reads, spread = score_run(
        run,
        [Loaded(name, name, made) for name, made in (("stats", image_stats()), ("reads", Reads()), ("s", Spread()))],
    )
    black = next(row for row in stats.scores if row.output == "black" and row.category is None)
    assert (black.value, black.n) == (1 / 12, 36)
    assert (reads.scores[0].n, reads.scores[0].value) == (36, 55.0), "with the black ones"
    assert (spread.scores[0].n, spread.scores[0].value) == (36, 55.0)
    assert "values" in bad(bad_metrics.DropsBlack, tmp_path)

    class HasNone(Reads):
        def score(self, images, features, prompts):
            found = super().score(images, features, prompts).values
            return Scored({"grey": np.full(len(images), np.nan), "number": np.where(found["number"] > 5, np.nan, 8.0)})

    (file,) = score_run(run, [Loaded("none", "none", HasNone())])
    rows = {row.output: row for row in file.scores if row.category is None}
    assert (rows["grey"].value, rows["grey"].n, rows["grey"].reason) == (None, 0, "no image has a value")
    assert (rows["number"].value, rows["number"].n) == (8.0, 18)


def test_a_set_that_is_not_finite_is_no_0(run):
    class Undefined(Spread):
        def compute(self, features):
            return {"mean": float("nan")}

    with pytest.raises(UserError, match="not finite"):
        score_run(run, [Loaded("undefined", "undefined", Undefined())])


def test_no_category_is_dropped(run):
    """HEIM's run list leaves out Rare Words and Misspellings; EvalGIM all categories."""
    (file,) = score_run(run, [Loaded("reads", "reads", Reads())])
    rows = {row.category: row for row in file.scores if row.output == "grey"}
    assert rows.keys() == {None, *CATEGORIES}
    assert sum(row.n for category, row in rows.items() if category) == rows[None].n == 36
