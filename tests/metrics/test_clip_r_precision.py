"""R-precision on a stub that knows the truth, against a count by hand, and on the shapes world's CLIP."""

import numpy as np
import pytest
import torch

from drawbench.errors import UserError
from drawbench.interfaces import ImageMetric, Prompt
from drawbench.metrics.clip_r_precision import ClipRPrecision, clip_r_precision
from drawbench.metrics.clip_texts import Texts


class Stub:
    """A CLIP whose embedding of a text is a row of a table; lower case alone is read, and 12 letters of it."""

    key, shipped, context_length, fields = "stub", False, 12, {"network": "stub"}

    def __init__(self, size=64):
        self.size = size

    def encode_text(self, texts):
        rows = []
        for ids in self.token_ids(texts):
            row = torch.from_numpy(np.random.default_rng(list(ids)).standard_normal(self.size))
            rows.append(torch.nn.functional.normalize(row, dim=0).float())
        return torch.stack(rows)

    def tokens(self, text):
        return len(text)

    def token_ids(self, texts):
        return [tuple(text.lower()[:12].encode()) for text in texts]

    def __call__(self, images):
        raise NotImplementedError


def prompts(count):
    return [Prompt(f"{n:03d}", f"text {n}") for n in range(count)]


def make(of, candidates=100, seed=0, clip=None):
    clip = clip or Stub()
    return ClipRPrecision(clip, Texts(clip), candidates, seed).for_prompts(of)


def test_right_images_have_one_and_images_of_another_text_have_nothing():
    of = prompts(150)
    metric = make(of)
    assert isinstance(metric, ImageMetric)
    right = Stub().encode_text([prompt.text for prompt in of])
    assert metric.score(None, right, of).values["r_precision"].tolist() == [1.0] * 150
    scored = make(of, "all").score(None, right.roll(1, 0), of)
    assert scored.values["r_precision"].tolist() == [0.0] * 150
    assert scored.notes["chosen"][5] == of[4].text, "the note says which text the image looks like"


def test_without_any_relation_the_rate_is_chance():
    of = prompts(400)
    noise = torch.nn.functional.normalize(torch.randn(400, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    values = make(of, 5).score(None, noise, of).values["r_precision"]
    assert abs(values.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 400)


def test_it_is_what_a_count_over_all_pairs_gives():
    of = prompts(40)
    mixed = torch.nn.functional.normalize(
        Stub().encode_text([p.text for p in of])
        + 0.25 * torch.randn(40, 64, generator=torch.Generator().manual_seed(1)),
        dim=-1,
    )
    similarity = mixed.double() @ Stub().encode_text([p.text for p in of]).double().T
    expected = (similarity.argmax(1) == torch.arange(40)).double().mean()
    values = make(of, "all").score(None, mixed, of).values["r_precision"]
    assert 0.1 < expected < 0.99
    assert values.mean() == pytest.approx(float(expected))


def test_candidates_depend_on_the_seed_and_not_on_batch_order_or_sample():
    of = prompts(60)
    noise = torch.nn.functional.normalize(torch.randn(60, 64, generator=torch.Generator().manual_seed(2)), dim=-1)
    whole = make(of, 4).score(None, noise, of).values["r_precision"]
    shuffled = make(of[::-1], 4)
    alone = [shuffled.score(None, noise[[n]], [of[n]]).values["r_precision"][0] for n in range(60)]
    assert alone == whole.tolist()
    assert make(of, 4, seed=1).score(None, noise, of).values["r_precision"].tolist() != whole.tolist()


def test_each_candidate_stands_once_and_the_own_text_is_among_them():
    of = prompts(300)
    metric = make(of, 100)
    for prompt in of[:20]:
        own, drawn = metric._candidates(prompt)
        assert own in drawn
        assert len(set(drawn.tolist())) == 100


def test_texts_that_clip_reads_alike_are_one_candidate():
    of = [
        Prompt("1", "a cat"),
        Prompt("2", "A Cat"),
        Prompt("3", "a dog"),
        Prompt("4", "a long text that"),
        Prompt("5", "a long text which"),
    ]
    metric = make(of, "all")
    assert metric.protocol()["candidates"] == "all 3"
    right = Stub().encode_text([prompt.text for prompt in of])
    assert metric.score(None, right, of).values["r_precision"].tolist() == [1.0] * 5
    assert "the 5 prompts of the set have 3 texts that CLIP can tell apart" in metric.remarks(of)


def test_a_tie_counts_as_the_chance_that_a_lot_would_give():
    class Blind(Stub):
        def encode_text(self, texts):
            return torch.ones(len(texts), 4) / 2

    of = prompts(8)
    values = make(of, "all", clip=Blind()).score(None, torch.ones(8, 4) / 2, of).values["r_precision"]
    assert values.tolist() == [1 / 8] * 8, "a network that sees nothing is at chance, not at one"


def test_fewer_texts_than_asked_for_are_said():
    of = prompts(20)
    metric = make(of, 100)
    assert metric.protocol()["candidates"] == "all 20"
    assert any(
        "100 candidates were asked for and the prompt set has 20 different texts" in line for line in metric.remarks(of)
    )
    assert make(of, 20).remarks(of) == make(of, "all").remarks(of) == []
    assert make(of, 100).protocol() == make(of, "all").protocol(), "what is measured is the same"


def test_the_protocol_names_candidates_seed_and_texts():
    first = make(prompts(200), 100)
    assert first.protocol()["candidates"] == "100, the own and others of the prompt set"
    assert first.protocol()["seed"] == "0"
    for other in (make(prompts(200), 50), make(prompts(200), 100, seed=1), make(prompts(201), 100)):
        assert other.protocol() != first.protocol()


def test_a_single_text_has_no_rate_and_a_stranger_is_refused():
    of = prompts(1)
    assert np.isnan(make(of).score(None, torch.ones(1, 64), of).values["r_precision"]).all()
    with pytest.raises(UserError, match="prompt 002 is none of those"):
        make(prompts(2)).score(None, torch.ones(1, 64), [prompts(3)[2]])


def test_without_the_runs_prompts_it_says_so():
    metric = ClipRPrecision(Stub(), Texts(Stub()), 100, 0)
    with pytest.raises(UserError, match="give it all prompts first"):
        metric.score(None, torch.ones(1, 64), prompts(1))
    with pytest.raises(UserError, match="give at least 2"):
        clip_r_precision(model="shapes", candidates=1)


def test_the_shapes_worlds_clip_finds_the_text_of_a_right_picture():
    from drawbench.generators.shapes_truth import shapes_truth
    from drawbench.interfaces import Item
    from drawbench.shapes.prompts import shapes

    of = list(shapes().prompts)[:40]
    drawn = shapes_truth().generate([Item(prompt, 0, n) for n, prompt in enumerate(of)])
    images = torch.from_numpy(np.stack([np.asarray(one.image) for one in drawn])).permute(0, 3, 1, 2)
    metric = clip_r_precision(model="shapes", candidates=20).for_prompts(of)
    right = metric.score(images, metric.network(images), of).values["r_precision"].mean()
    noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    blind = metric.score(noise, metric.network(noise), of).values["r_precision"].mean()
    assert right > 0.5 > 0.25 > blind
