"""The two networks: their size in the paper's presets, how text reaches the pixels, and what must not matter."""

import math

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
from drawbench.generators.imagen.layers import (
    AttentionPool,
    CrossAttention,
    MeanPool,
    ResBlock,
    SelfAttention,
    SinusoidalEmbedding,
    Text,
    null_text,
)
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
    assert counts == [2_399_827_971, 488_093_315, 479_696_515]


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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_place_in_the_batch_moves_no_bit(name):
    """Batches that a matrix product does not take in whole portions: 5 to 7 and 9 to 11 rows showed it."""
    network = awake(NETWORKS[name]())
    size = network.config.image_size
    for batch in (5, 6, 7, 9, 11):
        generator = torch.Generator().manual_seed(batch)
        z, t = torch.randn(batch, 3, size, size, generator=generator), torch.rand(batch, generator=generator)
        low_res, level = torch.randn(batch, 3, size // 2, size // 2, generator=generator), torch.full((batch,), 0.1)
        text = Text(torch.randn(batch, 12, TEXT_DIM, generator=generator), torch.rand(batch, 12) < 0.9)
        order = torch.randperm(batch, generator=generator)
        given = () if isinstance(network, UNet) else (low_res, level)
        shuffled = () if isinstance(network, UNet) else (low_res[order], level)
        with torch.no_grad():
            out = network(z, t, text, *given)
            moved = network(z[order], t[order], Text(text.embeddings[order], text.mask[order]), *shuffled)
        assert torch.equal(moved, out[order]), batch


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


@pytest.mark.parametrize("hidden", [8, 16])
def test_self_attention_with_text_is_softmax_over_text_and_pixels(hidden):
    """Against the formula, written out; as wide as the channels and twice as wide."""
    layer = awake(SelfAttention(8, hidden, 2, TEXT_DIM))
    text = Text(some_text(3).embeddings, torch.tensor([[True, True, False], [True, True, True]]))
    x = torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        pixels = layer.norm(x).flatten(2).transpose(1, 2)
        q, k, v = layer.qkv(pixels).chunk(3, -1)
        tk, tv = layer.text_kv(layer.text_norm(text.embeddings)).chunk(2, -1)
        expected = torch.empty(2, 4, hidden)
        for b in range(2):
            keys = torch.cat([tk[b][text.mask[b]], k[b]])
            values = torch.cat([tv[b][text.mask[b]], v[b]])
            for head in (slice(0, hidden // 2), slice(hidden // 2, hidden)):
                weights = (q[b][:, head] @ keys[:, head].T / (hidden / 2) ** 0.5).softmax(-1)
                expected[b][:, head] = weights @ values[:, head]
        expected = x + layer.out(expected).transpose(1, 2).reshape(x.shape)
        assert torch.allclose(layer(x, layer.read(text), text.mask), expected, atol=1e-5)


def test_pools_leave_padding_out():
    text = some_text(4)
    for pool in (awake(MeanPool(TEXT_DIM, 16)), awake(AttentionPool(TEXT_DIM, 16))):
        short = Text(text.embeddings[:, :2], text.mask[:, :2])
        masked = Text(text.embeddings, torch.tensor([[True, True, False, False]] * 2))
        assert torch.allclose(pool(short), pool(masked), atol=1e-6)
        assert not torch.allclose(pool(short), pool(text), atol=1e-3)


def written_out(layer, text, pixels_to_text):
    """Attention to text alone, head by head, from the layer's own weights."""
    keys, values = layer.text_kv(layer_norm(layer, text)).chunk(2, -1)
    out = torch.empty(*pixels_to_text.shape)
    width = pixels_to_text.shape[-1] // layer.heads
    for b in range(len(text.mask)):
        for head in range(layer.heads):
            part = slice(head * width, (head + 1) * width)
            weights = (pixels_to_text[b][:, part] @ keys[b][text.mask[b]][:, part].T / width**0.5).softmax(-1)
            out[b][:, part] = weights @ values[b][text.mask[b]][:, part]
    return out


def layer_norm(layer, text):
    own = layer.text_norm if isinstance(layer, CrossAttention) else layer.norm
    return functional.layer_norm(text.embeddings, (TEXT_DIM,), own.weight, own.bias)


MASKED = Text(some_text(3).embeddings * 5 + 2, torch.tensor([[True, True, False], [True, True, True]]))


def test_cross_attention_is_softmax_of_normed_pixels_over_normed_text():
    layer = awake(CrossAttention(8, 8, 2, TEXT_DIM))
    x = 3 * torch.randn(2, 8, 2, 2, generator=torch.Generator().manual_seed(4)) + 1
    with torch.no_grad():
        normed = functional.group_norm(x, 8, layer.norm.weight, layer.norm.bias).flatten(2).transpose(1, 2)
        seen = layer.out(written_out(layer, MASKED, layer.query(normed)))
        assert torch.allclose(
            layer(x, layer.read(MASKED), MASKED.mask), x + seen.transpose(1, 2).reshape(x.shape), atol=1e-4
        )


def test_attention_pooling_is_softmax_of_a_learned_query_over_normed_text():
    layer = awake(AttentionPool(TEXT_DIM, 16))
    with torch.no_grad():
        query = layer.query.expand(2, 1, -1)
        assert torch.allclose(layer(MASKED), layer.out(written_out(layer, MASKED, query)[:, 0]), atol=1e-4)


def test_mean_pooling_is_the_mean_of_normed_tokens():
    layer = awake(MeanPool(TEXT_DIM, 16))
    with torch.no_grad():
        normed = layer_norm(layer, MASKED)
        means = torch.stack([row[mask].mean(0) for row, mask in zip(normed, MASKED.mask, strict=True)])
        assert torch.allclose(layer(MASKED), layer.out(means), atol=1e-5)


def test_a_residual_block_is_what_its_docstring_says():
    block = awake(ResBlock(8, 16, 12, torch.nn.AvgPool2d(2)))
    generator = torch.Generator().manual_seed(5)
    x, embedding = 2 * torch.randn(2, 8, 4, 4, generator=generator) + 1, torch.randn(2, 12, generator=generator)
    with torch.no_grad():
        h = functional.silu(functional.group_norm(x, 8, block.norm1.weight, block.norm1.bias))
        h = functional.conv2d(functional.avg_pool2d(h, 2), block.conv1.weight, block.conv1.bias, padding=1)
        scale, shift = block.scale_shift(functional.silu(embedding)).chunk(2, 1)
        h = functional.group_norm(h, 16, block.norm2.weight, block.norm2.bias) * (1 + scale[..., None, None])
        h = functional.conv2d(
            functional.silu(h + shift[..., None, None]), block.conv2.weight, block.conv2.bias, padding=1
        )
        expected = block.shortcut(functional.avg_pool2d(x, 2)) + h
        assert torch.allclose(block(x, embedding), expected, atol=1e-5)


def test_skips_of_the_efficient_network_are_scaled_by_one_over_root_two():
    """Seen by what enters the first block of the way up and the last convolution."""
    network, seen = awake(upscaler()), []
    network.first.register_forward_hook(lambda module, given, out: seen.append(("first", out)))
    network.down[0].register_forward_hook(lambda module, given, out: seen.append(("down", out)))
    network.up[0].register_forward_pre_hook(lambda module, given: seen.append(("up", given[0])))
    network.last.register_forward_pre_hook(lambda module, given: seen.append(("last", given[0])))
    call(network, some_text())
    at = dict(seen)
    assert torch.allclose(at["up"][:, -16:], at["down"] / 2**0.5)
    assert torch.allclose(at["last"][:, -16:], at["first"] / 2**0.5)


def test_heads_are_64_channels_wide_in_the_papers_base():
    with torch.device("meta"):
        network = UNet(PAPER_BASE)
    heads = {m.out.in_features // m.heads for m in network.modules() if isinstance(m, SelfAttention)}
    assert heads == {64}
    attending = [level.attention is not None for level in network.down]
    assert attending == [False] * 4 + [True] * 3 + [False] + [True] * 3 + [False] + [True] * 3
    assert all(m.text_kv is not None for m in network.modules() if isinstance(m, SelfAttention)), "the middle too"


def test_times_are_told_apart_over_the_whole_range():
    embed = awake(SinusoidalEmbedding(32, 8))
    half = torch.exp(-math.log(10_000) / 16 * torch.arange(16))
    with torch.no_grad():
        angles = 1000 * torch.tensor([0.37])[:, None] * half
        waves = torch.cat([angles.cos(), angles.sin()], 1)
        assert torch.allclose(embed(torch.tensor([0.37])), embed.second(functional.silu(embed.first(waves))), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_text_that_is_read_once_gives_what_reading_it_at_every_step_gives(name):
    network, text = awake(NETWORKS[name]()), some_text()
    with torch.no_grad():
        memory = network.read(text)
    assert torch.equal(call(network, memory), call(network, text))


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_checkpointing_changes_no_gradient(name):
    gradients = []
    for recompute in (False, True):
        network = awake(NETWORKS[name]()).train()
        network.recompute = recompute
        size = network.config.image_size
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(2, 3, size, size, generator=generator)
        low_res = torch.randn(2, 3, size // 2, size // 2, generator=generator)
        given = () if isinstance(network, UNet) else (low_res, torch.rand(2, generator=generator))
        network(z, torch.tensor([0.2, 0.9]), some_text(), *given).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_attention_in_the_super_resolution_networks_is_twice_as_wide_inside():
    """Figure A.28."""
    with torch.device("meta"):
        networks = EfficientUNet(PAPER_SR256), EfficientUNet(PAPER_SR1024)
    layers = [m for network in networks for m in network.modules() if isinstance(m, SelfAttention | CrossAttention)]
    assert [(m.out.in_features, m.out.out_features, m.heads) for m in layers] == [(2048, 1024, 8)] * 4
