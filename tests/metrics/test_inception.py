"""Inception against its peers' classes, its weights in their published forms, and the resize before it."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_peer import clean_input

import drawbench.metrics.inception_weights as inception_weights
from drawbench.errors import AssetMissing, UserError
from drawbench.metrics.inception import FidInception
from drawbench.metrics.inception_weights import load_inception
from drawbench.metrics.resize import clean

NAMES = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")


@pytest.fixture(autouse=True)
def no_other_cache(monkeypatch, tmp_path):
    """What lies in the caches of this machine is not ours to find."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(inception_weights, "_CLEAN_FID_FOLDER", tmp_path / "clean-fid")


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A file with the right names and shapes."""
    file = tmp_path_factory.mktemp("untrained") / "inception.pth"
    torch.save(FidInception().state_dict(), file)
    return file


def load(file):
    return load_inception("fid", file, "cpu", torch.float32)


def sha256(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def test_features_are_those_of_clean_fids_class(peer, photographs):
    images = clean_input(photographs[:3])
    with torch.no_grad():
        ours = load(peer.file).network((images - 128) / 128)
    theirs = peer.features(images)
    assert theirs.std(0).mean() > 0.05  # They tell images apart.
    assert (ours - theirs).norm() <= 1e-4 * theirs.norm()
    assert ours.shape == (3, 2048)


def test_features_and_logits_are_those_of_torch_fidelity(peer, photographs):
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images = clean_input(photographs[:2]).round().to(torch.uint8)
    theirs = FeatureExtractorInceptionV3("inception", ["2048", "logits"], str(peer.file))(images)
    with torch.no_grad():
        network = load(peer.file).network
        features = network((images.float() - 128) / 128)
        logits = network.logits(features)
    assert (features - theirs[0]).norm() <= 1e-4 * theirs[0].norm()
    assert (logits - theirs[1]).norm() <= 1e-4 * theirs[1].norm()


def test_features_are_those_of_pytorch_fids_class(peer, photographs, monkeypatch):
    theirs = pytest.importorskip("pytorch_fid.inception")
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: torch.load(peer.file, weights_only=True))
    images = clean_input(photographs[:2])
    with torch.no_grad():
        expected = theirs.InceptionV3(resize_input=False).eval()(images / 255)[0].flatten(1)
        found = load(peer.file).network(2 * (images / 255) - 1)
    assert (found - expected).norm() <= 1e-4 * expected.norm()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("Mixed_6c.branch7x7dbl_4.bn.running_var"), "missing: Mixed_6c.branch7x7dbl_4.bn.runn"),
        (lambda state: state.update({"AuxLogits.fc.weight": torch.zeros(2)}), "too many: AuxLogits.fc.weight"),
        (
            lambda state: state.update({"fc.weight": torch.zeros(1000, 2048)}),
            "of another shape: fc.weight (1000, 2048), needed (1008, 2048)",
        ),
        (lambda state: state["fc.bias"].fill_(torch.nan), "not finite: fc.bias"),
    ],
    ids=["missing", "extra", "misshapen", "not finite"],
)
def test_a_key_that_does_not_fit_is_named(untrained, tmp_path, change, said):
    state = torch.load(untrained, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(UserError, match=re.escape(said)):
        load(tmp_path / "other.pth")


def test_files_from_before_the_counter_of_batches_are_read(untrained, tmp_path):
    state = {k: v for k, v in torch.load(untrained, weights_only=True).items() if "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    assert isinstance(load(tmp_path / "old.pth").network, FidInception)


@pytest.mark.parametrize("content", [b"", b"weights"], ids=["empty", "text"])
def test_what_is_no_file_of_weights_is_said(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match="is no file of weights"):
        load(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no state dict"):
        load(tmp_path / "list.pth")


class Whole(torch.nn.Module):
    """As the published TorchScript is built: ``layers`` are features, without its resize and scaling."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2048, 7, stride=50), torch.nn.AdaptiveAvgPool2d(1))

    def forward(self, images):
        return self.layers((images - 128) / 128).flatten(1).softmax(1)


def test_only_the_published_torchscript_is_run_and_run_as_clean_fid_does(tmp_path, monkeypatch):
    from drawbench.metrics.clean_fid_check import clean_fid_model

    whole, images = Whole().eval(), torch.rand(2, 3, 299, 299) * 255
    file = tmp_path / "script.pt"
    torch.jit.trace(whole, images).save(str(file))
    with pytest.raises(UserError, match="TorchScript, which is a program, and not the published one"):
        load(file)
    monkeypatch.setattr(inception_weights, "TORCHSCRIPT", sha256(file))
    weights = load(file)
    assert weights.form == "the published TorchScript, as it is"
    with torch.no_grad():
        features = weights.network((images - 128) / 128)
        np.testing.assert_allclose(features, whole.layers((images - 128) / 128).flatten(1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(features, clean_fid_model(weights, "cpu")(images), rtol=1e-5, atol=1e-6)


def test_without_weights_the_file_its_size_its_place_and_the_way_round_are_named(cache):
    with pytest.raises(AssetMissing) as told:
        load(None)
    assert told.value.exit_code == 3
    for part in (NAMES[0], "96 MB", str(cache / "weights"), "--set fid.weights=FILE", "DRAWBENCH_CACHE"):
        assert part in str(told.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["ours", "torch hub"])
def test_the_published_file_is_found_where_packages_keep_it(untrained, cache, tmp_path, monkeypatch, place, name):
    folder = cache / "weights" if place == "ours" else tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(untrained)
    with pytest.raises(UserError, match="is another file"):  # The name alone proves nothing.
        load(None)
    monkeypatch.setattr(inception_weights, "STATE_DICT", sha256(untrained))
    assert load(None).file == folder / name


def test_clean_fids_own_folder_is_looked_into(tmp_path):
    (tmp_path / "clean-fid").mkdir()
    (tmp_path / "clean-fid" / "inception-2015-12-05.pt").write_bytes(b"broken off")
    with pytest.raises(UserError, match="inception-2015-12-05.pt has the name of the published weights"):
        load(None)


@pytest.mark.parametrize("size", [(512, 512), (333, 500), (64, 40), (299, 299)])
def test_the_resize_is_clean_fids_to_the_bit(size):
    from cleanfid.resize import build_resizer

    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    images[0, :20] = 255  # Bicubic filters overshoot at edges.
    expected = np.stack([build_resizer("clean")(image) for image in images]).transpose(0, 3, 1, 2)
    found = clean(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), 299).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
