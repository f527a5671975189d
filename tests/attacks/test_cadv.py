"""cAdv drives a colorization network by hints."""

import pytest
import torch
from kornia.color import rgb_to_lab
from safetensors.torch import save_file

from lustral.attacks import CAdv
from lustral.attacks.color_hints import choose_hints, entropies, k_means
from lustral.nets.colorization import Colorization, load_colorization
from lustral.weights import WeightsError
from tests.attacks.colorization import FILE, tiny
from tests.attacks.problems import images, network, noise, setup

PUBLISHED = {
    "model1.0.weight": (64, 4, 3, 3),
    "model1.4.running_mean": (64,),
    "model2.2.weight": (128, 128, 3, 3),
    "model3.4.weight": (256, 256, 3, 3),
    "model3.6.num_batches_tracked": (),
    "model4.0.weight": (512, 256, 3, 3),
    "model5.4.bias": (512,),
    "model6.6.weight": (512,),
    "model7.6.running_var": (512,),
    "model8up.0.weight": (512, 256, 4, 4),
    "model3short8.0.weight": (256, 256, 3, 3),
    "model8.1.weight": (256, 256, 3, 3),
    "model8.5.weight": (256,),
    "model9up.0.weight": (256, 128, 4, 4),
    "model2short9.0.weight": (128, 128, 3, 3),
    "model9.3.bias": (128,),
    "model10up.0.weight": (128, 128, 4, 4),
    "model1short10.0.weight": (128, 64, 3, 3),
    "model10.1.weight": (128, 128, 3, 3),
    "model_class.0.weight": (529, 256, 1, 1),
    "model_out.0.weight": (2, 128, 1, 1),
}
SMALL = CAdv(weights=str(FILE), hints=6, clusters=3, chosen=2, steps=25, rate=0.05)


def test_names_and_shapes_are_those_of_the_published_weights():
    with torch.device("meta"):
        state = Colorization().state_dict()
    assert {name: tuple(state[name].shape) for name in PUBLISHED} == PUBLISHED
    prefixes = {name.split(".")[0] for name in PUBLISHED}
    assert {name.split(".")[0] for name in state} == prefixes
    count = sum(value.numel() for name, value in state.items() if name.endswith(("weight", "bias")))
    assert round(count / 1e6) == 34
    dilated = [
        module.dilation
        for part in (5, 6)
        for module in Colorization(1).get_submodule(f"model{part}")
        if isinstance(module, torch.nn.Conv2d)
    ]
    assert dilated == [(2, 2)] * 6


def test_the_file_holds_the_tiny_network():
    loaded, made = load_colorization(str(FILE)).state_dict(), tiny().state_dict()
    assert loaded.keys() == made.keys()
    assert all(torch.equal(loaded[name], made[name]) for name in made)


@pytest.mark.parametrize("size", [(8, 8), (16, 24)])
def test_the_network_keeps_the_size_and_colours_are_bounded(size):
    x = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    logits, colors = tiny()(x, torch.zeros(2, 2, *size), torch.zeros(2, 1, *size))
    assert logits.shape == (2, 5, size[0] // 4, size[1] // 4)
    assert colors.shape == (2, 2, *size)
    assert colors.abs().amax() < 1


def test_without_weights_the_error_says_which_file_it_wants():
    x = images(1, 8)
    with pytest.raises(WeightsError, match=r"set weights to the path of a safetensors file.*siggraph17"):
        CAdv().run(setup(CAdv(), network(), x), x, noise(1))


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"expected tensors model1\.0\.weight and model_class\.0\.weight, got conv"):
        load_colorization(str(path))


def test_k_means_finds_groups_that_are_apart():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [9.0, 9.0]], dtype=torch.float64)
    truth = torch.arange(200) % 4
    points = centres[truth] + 0.3 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
    for seed in range(5):
        labels = k_means(points, 4, noise(1, seed=seed).numbers(4)[0])
        assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 4, seed


def test_fewer_colours_than_groups_are_no_error():
    assert k_means(torch.zeros(10, 2), 8, noise(1).numbers(8)[0]).unique().numel() == 1


def test_the_entropy_of_even_classes_is_their_logarithm():
    logits = torch.zeros(1, 5, 2, 2, dtype=torch.float64)
    logits[0, 0, 0, 0] = 1e3
    found = entropies(logits, 8, 8)[0]
    torch.testing.assert_close(found[4:], torch.full((4, 8), 5.0).double().log(), rtol=0, atol=1e-12)
    assert found[:4, :4].abs().amax() < 1e-9


def test_hints_lie_in_the_groups_that_the_network_is_surest_of():
    colors = torch.zeros(2, 2, 40, 40, dtype=torch.float64)
    colors[:, 0, :, 20:], colors[:, 1, 20:] = 1.0, 1.0  # four squares
    entropy = torch.ones(2, 40, 40)
    entropy[0, :20, :20], entropy[1, 20:, 20:] = 0.1, 0.1
    flags = choose_hints(colors, entropy, noise(2), clusters=4, chosen=1, count=30)
    assert flags.sum((1, 2, 3)).tolist() == [30, 30]
    assert not flags[0, 0, 24:].any(), "blurred colours blur the border of the groups by a few pixels"
    assert not flags[0, 0, :, 24:].any()
    assert not flags[1, 0, :16].any()
    assert not torch.equal(flags[0], flags[1].flip(1, 2))


def test_there_are_no_more_hints_than_pixels():
    flags = choose_hints(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2), noise(1), clusters=8, chosen=4, count=50)
    assert flags.all()


def test_it_raises_the_loss_of_the_recoloured_image_and_keeps_the_lightness():
    x, model = images(4, 16), network(side=16)
    oracle = setup(SMALL, model, x)
    everyone = torch.arange(4)
    result = SMALL.run(oracle, x, noise(4))
    first = setup(SMALL, model, x)
    start = SMALL.model_copy(update={"steps": 1, "rate": 1e-9}).run(first, x, noise(4))
    before, after = (oracle.goal.loss(model(image), everyone, None, None) for image in (start, result))
    assert (after > before).all()
    inside = ((result > 0.001) & (result < 0.999)).all(1)
    assert inside.any()
    apart = (rgb_to_lab(result) - rgb_to_lab(x))[:, 0].abs()
    assert apart[inside].amax() < 0.5, "of 100"
