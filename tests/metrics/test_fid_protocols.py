"""fid's protocols against the packages that they are named after, its options, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

import drawbench.metrics.fid as fid_module
import drawbench.metrics.inception_weights as inception_weights
from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.interfaces import Prompt
from drawbench.metrics.fid import InceptionFeatures, fid
from drawbench.metrics.frechet import frechet_features, moments
from drawbench.metrics.inception import FidInception, folded
from drawbench.metrics.reference import write_reference
from drawbench.torchvision_ops import declare_missing_ops

COUNT = 9
"""Images of each set: few, for one takes a third of a second in each package; of fewer, fp32 itself moves FID by 1e-6."""


@pytest.fixture(scope="module")
def sets(photographs, drawn, tmp_path_factory):
    """Two folders of pictures of one size each, for pytorch-fid stacks them."""
    place = tmp_path_factory.mktemp("sets")
    for name, files in (("images", drawn), ("reference", photographs)):
        (place / name).mkdir()
        for number, file in enumerate(files[:COUNT]):
            Image.open(file).convert("RGB").resize((340, 270)).save(place / name / f"{number}.png")
    return place / "images", place / "reference"


def pixels(file):
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())[None]


def files_of(folder):
    return sorted(folder.iterdir())


def ours(metric, folder):
    return np.concatenate([metric.network(pixels(file)).numpy() for file in files_of(folder)])


def near(found, expected, rel=1e-4):
    return np.linalg.norm(found - expected) <= rel * np.linalg.norm(expected)


def test_legacy_pytorch_is_the_exact_value_of_clean_fids_and_pytorch_fids_features(peer, sets, monkeypatch):
    declare_missing_ops()
    scores = pytest.importorskip("pytorch_fid.fid_score")
    theirs = pytest.importorskip("pytorch_fid.inception")
    images, reference = sets
    metric = fid(reference=str(reference), protocol="legacy_pytorch", weights=peer.file, check="clean-fid")
    found = ours(metric, images)
    value = metric.compute(found)["fid"]
    monkeypatch.setattr("cleanfid.fid.frechet_distance", lambda *_: 0.0)  # Minutes; its own root is tested elsewhere.
    assert metric.from_files(files_of(images))["clean_fid"][0] == pytest.approx(value, rel=1e-6)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: torch.load(peer.file, weights_only=True))
    network = theirs.InceptionV3([3]).eval()
    pytorch_fid = [scores.get_activations(files_of(f), network, batch_size=2, num_workers=0) for f in sets]
    assert near(found, pytorch_fid[0])
    assert value == pytest.approx(frechet_features(*pytorch_fid), rel=1e-6)


def test_legacy_tensorflow_is_the_exact_value_of_torch_fidelitys_features(peer, sets):
    declare_missing_ops()
    extractors = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    extract = extractors.FeatureExtractorInceptionV3("inception", ["2048"], str(peer.file))
    theirs = [np.concatenate([extract(pixels(file))[0].numpy() for file in files_of(f)]) for f in sets]
    metric = fid(reference=str(sets[1]), protocol="legacy_tensorflow", weights=peer.file)
    found = ours(metric, sets[0])
    assert near(found, theirs[0])
    assert metric.compute(found)["fid"] == pytest.approx(frechet_features(*theirs), rel=1e-6)


class Graph(torch.nn.Module):
    """As the published TorchScript is built: it resizes as TensorFlow 1 does, and scales; ``layers`` are the network."""

    def __init__(self, layers: torch.nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, img: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        n, height, width = img.shape[0], img.shape[2], img.shape[3]
        theta = torch.eye(2, 3)
        theta[0, 2] += 1 / width - 1 / 299
        theta[1, 2] += 1 / height - 1 / 299
        grid = torch.nn.functional.affine_grid(
            theta.unsqueeze(0).repeat(n, 1, 1), [n, 3, 299, 299], align_corners=False
        )
        x = torch.nn.functional.grid_sample(
            img.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return self.layers((x - 128) / 128)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_legacy_tensorflow_is_the_exact_value_of_clean_fids_features_of_a_torchscript(sets, tmp_path, monkeypatch):
    declare_missing_ops()
    pytest.importorskip("cleanfid")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 2048, 9, stride=40), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
    file = tmp_path / "graph.pt"
    torch.jit.script(Graph(layers).eval()).save(str(file))
    monkeypatch.setattr(inception_weights, "TORCHSCRIPT", sha256_file(file))
    metric = fid(reference=str(sets[1]), protocol="legacy_tensorflow", weights=file, check="clean-fid")
    monkeypatch.setattr("cleanfid.fid.frechet_distance", lambda *_: 0.0)
    found = ours(metric, sets[0])
    assert near(found, metric._features(files_of(sets[0])))
    value = metric.compute(found)["fid"]
    assert metric.from_files(files_of(sets[0]))["clean_fid"][0] == pytest.approx(value, rel=1e-5)
    with pytest.raises(UserError, match="runs this mode on the weights as a state dict only"):
        fid(reference=str(sets[1]), protocol="legacy_pytorch", weights=file, check="clean-fid")


def test_clean_fids_tensorflow_mode_needs_the_torchscript(peer, sets):
    with pytest.raises(UserError, match="fid.protocol=legacy_tensorflow: clean-fid runs this mode on the TorchScript"):
        fid(reference=str(sets[1]), protocol="legacy_tensorflow", weights=peer.file, check="clean-fid")


@pytest.fixture
def quick(monkeypatch):
    """Inception replaced by sixteen means over the picture, repeated to its 2048 features: preparation is what is tested."""

    def network(inputs):
        return torch.nn.functional.adaptive_avg_pool2d(inputs.float(), 4).flatten(1).repeat(1, 43)[:, :2048]

    def load(owner, given, device, dtype):
        return inception_weights.Weights(lambda x: network(x.to(dtype)).to(dtype), given, "0" * 64, "a stand-in")

    monkeypatch.setattr(fid_module, "load_inception", load)


def test_the_reference_may_be_prepared_otherwise(quick, sets, tmp_path):
    images, reference = sets
    given = {"weights": tmp_path / "none.pth", "resize_before": "256"}
    same = fid(reference=str(reference), **given)
    other = fid(reference=str(reference), reference_crop="squeeze", reference_filter="box", **given)
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    for file in files_of(reference):
        Image.open(file).resize((256, 256), Image.Resampling.BOX).save(by_hand / file.name)
    prepared = fid(reference=str(by_hand), **given)
    features = ours(other, images)
    assert np.array_equal(features, ours(same, images))
    assert other.compute(features)["fid"] == pytest.approx(prepared.compute(features)["fid"], rel=1e-9)
    assert other.compute(features)["fid"] != pytest.approx(same.compute(features)["fid"], rel=1e-3)
    fields = other.protocol()
    assert "centre crop to a square, Pillow bicubic" in fields["resize before"]
    assert "squeezed by Pillow box with antialiasing to 256x256" in fields["reference resize before"]
    assert "to 299x299" in fields["resize"]
    write_reference(tmp_path / "s.npz", moments(other.reference.given), other.reference.network, "squeezed")
    with pytest.raises(UserError, match="statistics of another network, or of another dtype or preprocessing"):
        fid(reference=str(tmp_path / "s.npz"), **given)
    taken = fid(reference=str(tmp_path / "s.npz"), reference_crop="squeeze", reference_filter="box", **given)
    assert taken.compute(features)["fid"] == pytest.approx(other.compute(features)["fid"], rel=1e-6)


def test_every_choice_is_another_network(quick, tmp_path):
    weights = fid_module.load_inception("fid", tmp_path, "cpu", torch.float32)
    keys = [
        InceptionFeatures(weights, protocol, "cpu", dtype, before, crop=crop, filter=filter_).key
        for protocol in ("clean", "legacy_pytorch", "legacy_tensorflow")
        for dtype in ("fp32", "bf16")
        for before, crop, filter_ in (
            ("none", "center_crop", "bicubic"),
            *(
                ("256", c, f)
                for c in ("center_crop", "squeeze", "none")
                for f in ("bicubic", "lanczos", "bilinear", "box")
            ),
        )
    ]
    assert len(set(keys)) == len(keys) == 3 * 2 * 13


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": "squeeze"}, "fid.crop=squeeze is a choice of the resize to 256.*add --set fid.resize_before=256"),
        ({"filter": "box"}, "fid.filter=box is a choice"),
        ({"reference_crop": "none"}, "fid.reference_crop=none is a choice"),
        ({"reference_filter": "bicubic"}, "fid.reference_filter=bicubic is a choice"),
        ({"precision": "bf16", "dtype": "fp16"}, "two precisions"),
        ({"precision": "bf16", "check": "clean-fid"}, "compares in fp32"),
    ],
)
def test_what_contradicts_itself_is_refused(quick, sets, tmp_path, monkeypatch, options, said):
    monkeypatch.setattr(fid_module, "fastest_dtype", lambda device: "bf16")
    with pytest.raises(UserError, match=said):
        fid(reference=str(sets[1]), weights=tmp_path / "none.pth", **options)


def test_bf16_is_refused_where_it_would_be_slower(quick, sets, tmp_path, monkeypatch):
    monkeypatch.setattr(fid_module, "fastest_dtype", lambda device: "fp32")
    with pytest.raises(UserError, match="this CPU has no bf16 units"):
        fid(reference=str(sets[1]), weights=tmp_path / "none.pth", precision="bf16")


@pytest.mark.parametrize("kind", ["folder", "statistics"])
def test_bf16_has_its_drift_beside_it(quick, sets, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fid_module, "fastest_dtype", lambda device: "bf16")
    images, reference = sets
    given = {"weights": tmp_path / "none.pth"}
    exact = fid(reference=str(reference), **given)
    if kind == "statistics":
        np.savez(
            tmp_path / "s.npz", mu=exact.reference.given.mean(0), sigma=np.cov(exact.reference.given, rowvar=False)
        )
        reference = tmp_path / "s.npz"
    fast = fid(reference=str(reference), precision="bf16", **given)
    assert fast.protocol()["dtype"] == "bf16"
    assert fast.network.key != exact.network.key
    drift, said = fast.from_files(files_of(images))["precision_drift"]
    values = [metric.compute(ours(metric, images))["fid"] for metric in (fast, exact)]
    assert 0 < drift < 0.05
    assert drift == pytest.approx(abs(values[0] / values[1] - 1), rel=1e-4, abs=1e-7)
    assert f"measured on {COUNT} of the images and " in said
    assert "% off" in said
    assert "precision_drift is how far bf16 moves" in " ".join(fast.remarks([Prompt("1", "one")]))


def test_folding_is_the_same_function():
    torch.manual_seed(0)
    network = FidInception().eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                tensor.data.uniform_(0.5, 1.5)
    images = torch.rand(1, 3, 299, 299) * 2 - 1
    with torch.no_grad():
        before = network(images)
        after = folded(network)(images)
    assert not [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert near(after.numpy(), before.numpy(), rel=1e-5)


def test_what_clean_fid_and_pytorch_fid_print_is_the_exact_value_where_images_outnumber_features():
    """Of 64 features: a root of 2048 takes a minute, and n > d is what matters."""
    declare_missing_ops()
    from cleanfid.fid import frechet_distance

    scores = pytest.importorskip("pytorch_fid.fid_score")
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(400, 64)) ** 2, rng.normal(size=(500, 64)) ** 2 + 0.1
    given = (one.mean(0), np.cov(one, rowvar=False), two.mean(0), np.cov(two, rowvar=False))
    for printed in (frechet_distance(*given), scores.calculate_frechet_distance(*given)):
        assert printed == pytest.approx(frechet_features(one, two), rel=1e-6)
