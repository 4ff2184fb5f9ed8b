"""The two networks: their size in the paper's presets, how text reaches the pixels, and what must not matter."""

import pytest
import torch
from torch.nn import functional

from drawbench.generators.imagen.config import (
    PAPER_BASE,
    PAPER_SR256,
    PAPER_SR1024,
    Block,
    EfficientUNetConfig,
    UNetConfig,
)
from drawbench.generators.imagen.efficient_unet import EfficientUNet
from drawbench.generators.imagen.layers import AttentionPool, CrossAttention, MeanPool, SelfAttention, Text, null_text
from drawbench.generators.imagen.unet import UNet

TEXT_DIM = 24
KINDS = ["sequence", "attention_pool", "mean_pool", "none"]


def base(kind="sequence"):
    return UNet(UNetConfig(16, 32, (1, 2, 2), 1, (8, 4), 16, TEXT_DIM, kind))


def upscaler(kind="sequence", cross=False):
    deepest = Block(32, 2, self_attention=not cross, cross_attention=cross)
    return EfficientUNet(EfficientUNetConfig(32, 16, (Block(16, 1), deepest), 4, TEXT_DIM, kind))


def awake(module, seed=0):
    """Gives every parameter a value: networks start as the identity, and zero hides mistakes."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def call(network, text, seed=1, aug_level=0.3):
    generator = torch.Generator().manual_seed(seed)
    size = network.config.image_size
    z, t = torch.randn(2, 3, size, size, generator=generator), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        if isinstance(network, UNet):
            return network(z, t, text)
        return network(
            z, t, text, torch.randn(2, 3, size // 2, size // 2, generator=generator), torch.full((2,), aug_level)
        )


def some_text(length=5, seed=2):
    embeddings = torch.randn(2, length, TEXT_DIM, generator=torch.Generator().manual_seed(seed))
    return Text(embeddings, torch.ones(2, length, dtype=torch.bool))


NETWORKS = {"base": base, "64 to 256": upscaler, "256 to 1024": lambda kind="sequence": upscaler(kind, cross=True)}


def test_the_papers_listings_have_these_numbers_of_parameters():
    """2B, 600M and 400M by section 4.1; the last two cannot be had from the listings, which print the same widths for both."""
    with torch.device("meta"):
        counts = [
            sum(p.numel() for p in network.parameters())
            for network in (UNet(PAPER_BASE), EfficientUNet(PAPER_SR256), EfficientUNet(PAPER_SR1024))
        ]
    assert counts == [2_399_827_971, 462_917_251, 458_718_851]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_is_an_image_and_text_counts_where_the_network_takes_it(name, kind):
    network = awake(NETWORKS[name](kind))
    out = call(network, some_text())
    assert out.shape == (2, 3, network.config.image_size, network.config.image_size)
    other = call(network, some_text(seed=3))
    assert torch.equal(out, other) == (kind == "none")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_padding_never_changes_a_result(name, kind):
    network, text = awake(NETWORKS[name](kind)), some_text()
    rubbish = torch.cat([text.embeddings, 100 * torch.ones(2, 3, TEXT_DIM)], 1)
    padded = Text(rubbish, functional.pad(text.mask, (0, 3), value=False))
    assert torch.allclose(call(network, text), call(network, padded), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_null_text_is_finite_and_unlike_a_text(name):
    network = awake(NETWORKS[name]())
    out = call(network, null_text(2, TEXT_DIM, "cpu", torch.float32))
    assert torch.isfinite(out).all()
    assert not torch.allclose(out, call(network, some_text()))


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_does_not_depend_on_its_neighbour_in_the_batch(name):
    network, text = awake(NETWORKS[name]()), some_text()
    both = call(network, text)
    changed = Text(torch.stack([text.embeddings[0], -text.embeddings[1]]), text.mask)
    assert torch.allclose(call(network, changed)[0], both[0], atol=1e-5)


@pytest.mark.parametrize("name", ["64 to 256", "256 to 1024"])
def test_the_aug_level_is_told_to_the_network_also_at_0(name):
    network, text = awake(NETWORKS[name]()), some_text()
    levels = [call(network, text, aug_level=level) for level in (0.0, 0.1)]
    assert not torch.allclose(*levels)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_network_predicts_zero(name):
    assert call(NETWORKS[name](), some_text()).abs().max() == 0


def test_the_last_stage_has_no_self_attention_and_works_at_any_size():
    network = awake(upscaler(cross=True))
    assert not any(isinstance(module, SelfAttention) for module in network.modules())
    assert any(isinstance(module, CrossAttention) for module in network.modules())
    text = some_text()
    out = network(torch.randn(2, 3, 64, 48), torch.rand(2), text, torch.randn(2, 3, 32, 24), torch.rand(2))
    assert out.shape == (2, 3, 64, 48)


def test_self_attention_with_text_is_softmax_over_text_and_pixels():
    """Against the formula, written out."""
    layer = awake(SelfAttention(8, 2, TEXT_DIM))
    text = Text(some_text(3).embeddings, torch.tensor([[True, True, False], [True, True, True]]))
    x = torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        pixels = layer.norm(x).flatten(2).transpose(1, 2)
        q, k, v = layer.qkv(pixels).chunk(3, -1)
        tk, tv = layer.text_kv(layer.text_norm(text.embeddings)).chunk(2, -1)
        expected = torch.empty(2, 4, 8)
        for b in range(2):
            keys = torch.cat([tk[b][text.mask[b]], k[b]])
            values = torch.cat([tv[b][text.mask[b]], v[b]])
            for head in (slice(0, 4), slice(4, 8)):
                weights = (q[b][:, head] @ keys[:, head].T / 4**0.5).softmax(-1)
                expected[b][:, head] = weights @ values[:, head]
        expected = x + layer.out(expected).transpose(1, 2).reshape(x.shape)
        assert torch.allclose(layer(x, text), expected, atol=1e-5)


def test_pools_leave_padding_out():
    text = some_text(4)
    for pool in (awake(MeanPool(TEXT_DIM, 16)), awake(AttentionPool(TEXT_DIM, 16))):
        short = Text(text.embeddings[:, :2], text.mask[:, :2])
        masked = Text(text.embeddings, torch.tensor([[True, True, False, False]] * 2))
        assert torch.allclose(pool(short), pool(masked), atol=1e-6)
        assert not torch.allclose(pool(short), pool(text), atol=1e-3)
