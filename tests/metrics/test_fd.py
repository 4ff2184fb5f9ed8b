"""fd on the shapes world: its reference, its protocol, its order of systems, and what it refuses."""

import numpy as np
import pytest
import torch

from drawbench.errors import UserError
from drawbench.metrics.fd import fd
from drawbench.metrics.frechet import moments
from drawbench.metrics.reference import read_reference, write_reference
from drawbench.shapes.data import held_out_pair


@pytest.fixture(scope="module")
def metric():
    return fd()


@pytest.fixture(scope="module")
def pictures():
    rows = np.stack([np.asarray(held_out_pair(100_000 + index, 64)[0]) for index in range(300)])
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def test_worse_pictures_are_further_away(metric, pictures):
    generator = torch.Generator().manual_seed(0)

    def noisy(share):
        noise = torch.randint(0, 256, pictures.shape, generator=generator, dtype=torch.uint8)
        return torch.where(torch.rand(pictures.shape, generator=generator) < share, noise, pictures)

    distances = [metric.compute(metric.network(noisy(share)).numpy())["fd"] for share in (0.0, 0.05, 0.2, 1.0)]
    assert distances == sorted(distances)
    assert distances[2] > 5 * distances[0]
    assert distances[3] > 50 * distances[0]
    one_kind = metric.network(pictures[:1].repeat(300, 1, 1, 1)).numpy()
    assert metric.compute(one_kind)["fd"] > 5 * distances[0]


def test_its_protocol_names_network_and_reference(metric):
    protocol = metric.protocol()
    assert protocol["reference n"] == "5000"
    assert any("held_out_pair" in remark for remark in metric.remarks([]))
    assert len(protocol["reference sha256"]) == 64
    assert len(protocol["weights sha256"]) == 64


def test_the_reference_is_made_of_what_it_says(metric, pictures):
    """The shipped moments against 300 pictures of the same stream: as near as samples of one distribution are."""
    distance = metric.compute(metric.network(pictures).numpy())["fd"]
    assert distance < 0.1 * np.trace(metric.reference.given.covariance)


def test_few_prompts_are_remarked_on(metric):
    from drawbench.interfaces import Prompt

    prompts = [Prompt(str(number), "a red circle") for number in range(200)]
    assert "compare equal n only" in metric.remarks(prompts)[0]


def test_statistics_come_back_and_foreign_ones_are_refused(tmp_path):
    file = tmp_path / "stats.npz"
    given = moments(np.random.default_rng(0).normal(size=(10, 4)))
    write_reference(file, given, "a" * 64, "ten rows")
    back = read_reference(file, "a" * 64, "fd")
    np.testing.assert_array_equal(back.given.covariance, given.covariance)
    assert (back.n, back.images) == (10, "ten rows")
    with pytest.raises(UserError, match="statistics of another network"):
        read_reference(file, "b" * 64, "fd")


def test_what_is_no_statistics_file_is_said(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        fd(reference=str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("nothing")
    with pytest.raises(UserError, match="not a statistics file"):
        fd(reference=str(tmp_path / "text.npz"))
    np.savez(tmp_path / "other.npz", mu=np.zeros(3))
    with pytest.raises(UserError, match="not a statistics file"):
        fd(reference=str(tmp_path / "other.npz"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="has 0 images"):
        fd(reference=str(tmp_path / "folder"))


def test_another_model_needs_its_own_reference():
    with pytest.raises(UserError, match="needs a reference"):
        fd(model="ViT-B-32")
