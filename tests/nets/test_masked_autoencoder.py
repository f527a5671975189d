"""The masked autoencoder: what it sees and what it may not see, sizes, positions, derivatives."""

import pytest
import torch
import torch.nn.functional as functional

from lustral.nets.masked_autoencoder import MaskedAutoencoder, TransformerBlock, sine_positions
from lustral.nets.restorers import restoration_network
from tests.nets.test_super_resolution import pictures, seeded

DOUBLE = torch.float64


def tiny(dtype: torch.dtype = DOUBLE, **changes: object) -> MaskedAutoencoder:
    options = {"side": 8, "width": 8, "depth": 2, "decoder_width": 8, "decoder_depth": 1, "head_width": 4}
    network = seeded(MaskedAutoencoder(**options | changes), dtype=dtype)
    assert isinstance(network, MaskedAutoencoder)
    return network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("skip", [True, False])
def test_size_is_kept_and_no_image_sees_another(patch: int, skip: bool) -> None:
    network = tiny(patch=patch, skip=skip)
    for height, width in ((8, 8), (9, 7), (1, 3)):
        x = pictures(3, height, width, DOUBLE)
        y = network(x)
        assert y.shape == x.shape
        torch.testing.assert_close(network(x[1:2]), y[1:2], rtol=0, atol=1e-12)
        visible = network.draw_visible(x, generator())
        alone = network.restore(x[1:2], visible[1:2])
        torch.testing.assert_close(alone, network.restore(x, visible)[1:2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("skip", [True, False])
def test_hidden_pixels_are_not_seen_and_visible_ones_are(skip: bool) -> None:
    network, x = tiny(skip=skip, mask=0.75), pictures(2, 8, 8, DOUBLE).requires_grad_()
    visible = network.draw_visible(x, generator())
    hidden = network.hidden(x, visible)
    assert hidden.mean() == 0.75
    y = network.restore(x, visible)
    slope = torch.autograd.grad(y.square().sum(), x)[0].abs().sum(1, keepdim=True)
    assert torch.equal(slope > 0, hidden == 0)
    painted = torch.where(hidden.bool(), 1 - x, x)
    assert torch.equal(network.restore(painted, visible), y)


def test_all_patches_visible_is_the_pass_without_a_mask() -> None:
    network, x = tiny(mask=0.0), pictures(2, 6, 8, DOUBLE)
    visible = network.draw_visible(x, generator())
    assert torch.equal(visible, torch.arange(12).expand(2, -1))
    torch.testing.assert_close(network.restore(x, visible), network(x))
    torch.testing.assert_close(network.encode(x, visible), network.encode(x))
    assert not network.hidden(x, visible).any()


def test_masks_follow_from_the_generator_and_differ_between_images() -> None:
    network, x = tiny(mask=0.5), pictures(4, 8, 8)
    first = network.draw_visible(x, generator(1))
    assert torch.equal(first, network.draw_visible(x, generator(1)))
    assert not torch.equal(first, network.draw_visible(x, generator(2)))
    assert len({tuple(row) for row in first.tolist()}) == 4
    assert (first.diff(dim=1) > 0).all()
    assert first.shape == (4, 8)
    assert tiny(mask=0.99).draw_visible(x, generator()).shape == (4, 1), "something must stay visible"


def test_training_starts_from_the_image_and_from_grey_where_it_is_hidden() -> None:
    with torch.random.fork_rng(devices=[]):
        network = MaskedAutoencoder(width=8, depth=1, decoder_width=8, head_width=4)
    x = pictures(2, 8, 8)
    torch.testing.assert_close(network(x), x)
    visible = network.draw_visible(x, generator())
    expected = torch.where(network.hidden(x, visible).bool(), torch.tensor(0.5), x)
    torch.testing.assert_close(network.restore(x, visible), expected)


def test_attention_is_that_of_the_formula() -> None:
    """softmax(q k^T / sqrt(width of a head)) v, head by head."""
    block = TransformerBlock(8, head_width=4)
    seeded(block, dtype=DOUBLE)
    x = torch.randn(2, 5, 8, generator=generator(), dtype=DOUBLE)
    normalised = functional.layer_norm(x, (8,), block.attention_norm.weight, block.attention_norm.bias)
    mixed = normalised @ block.queries_keys_values.weight.T + block.queries_keys_values.bias
    heads = []
    for head in range(2):
        q, k, v = (mixed[:, :, part * 8 + head * 4 : part * 8 + head * 4 + 4] for part in range(3))
        heads.append(((q @ k.transpose(1, 2)) / 4**0.5).softmax(2) @ v)
    h = x + torch.cat(heads, 2) @ block.project.weight.T + block.project.bias
    expected = h + block.perceptron(block.perceptron_norm(h))
    torch.testing.assert_close(block(x), expected)


def test_positions_tell_every_place_apart_and_are_precise_in_every_precision() -> None:
    codes = sine_positions(16, 16, 32, torch.zeros(1, dtype=DOUBLE))
    distances = torch.cdist(codes, codes) + 10 * torch.eye(256)
    assert distances.min() > 0.1
    assert codes[17, 0] == torch.sin(torch.tensor(1.0, dtype=DOUBLE))
    assert codes[16, 24] == 1, "the cosine of column 0"
    assert (sine_positions(16, 16, 32, torch.zeros(1, dtype=torch.bfloat16)) - codes).abs().max() < 2**-8


def test_gradient_is_that_of_finite_differences() -> None:
    network = tiny()
    x = pictures(1, 5, 4, DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(network, (x,), fast_mode=True)


def test_weight_cards_rebuild_it_and_bad_sizes_are_refused() -> None:
    found = restoration_network({"network": "maep", "width": 16, "head_width": 8, "mask": 0.25})
    assert isinstance(found, MaskedAutoencoder)
    assert (found.mask, found.embed.out_features) == (0.25, 16)
    with pytest.raises(ValueError, match="width that 4 and head_width=32 divide, got 40"):
        MaskedAutoencoder(width=40)
    with pytest.raises(ValueError, match="mask of at least 0 and below 1, got 1"):
        MaskedAutoencoder(mask=1.0)
