"""Published checkpoints become networks that compute the same, seen from independent functions over their names."""

import pytest
import torch

from lustral.diffusion.architectures import empty_denoiser, network_of
from lustral.diffusion.epsilon import vp_cosine
from lustral.diffusion.published import FAMILIES
from lustral.diffusion.schedules import vp_linear
from lustral.weights import LoadedWeights, WeightsError, load_into
from tests.conftest_torchvision import require_torchvision
from tests.diffusion.published_networks import Parameters, adm, ddpm, score_sde

TINY = {"width": 32, "multiples": (1, 2), "blocks": 1, "attended": (1,)}


def converted(checkpoint, family, **options):
    require_torchvision()
    found = FAMILIES[family](checkpoint, options)
    denoiser = empty_denoiser(found.architecture, family)
    network = network_of(denoiser, found.architecture)
    if next(iter(found.tensors.values())).is_meta:
        assert {k: v.shape for k, v in found.tensors.items()} == {k: v.shape for k, v in network.state_dict().items()}
    else:
        load_into(network, LoadedWeights(family, {key: value.float() for key, value in found.tensors.items()}, ""))
    return denoiser.eval().requires_grad_(False).double(), found


def close(found, expected):
    assert found.shape == expected.shape
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def batch(channels=3, side=16):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(3, channels, side, side, generator=generator, dtype=torch.float64)
    return x.float().double(), torch.tensor([0, 99, 999])


def parameters():
    return Parameters(dtype=torch.float32)


def in_double(p):
    p.state = {key: value.double() for key, value in p.state.items()}
    return p


ADMS = {
    "legacy": ({"order": "legacy", "head": 16}, {"attention_order": "legacy"}),
    "new": ({"order": "new", "head": 16}, {"attention_order": "new"}),
    "one_head": ({"order": "legacy", "head": None}, {"attention_order": "legacy", "head_channels": None}),
    "strided": ({"order": "legacy", "head": 16, "updown": False, "scale_shift": False}, {"attention_order": "legacy"}),
    "attention_everywhere": ({"order": "new", "head": 16, "attended": (0, 1)}, {"attention_order": "new"}),
    "three_levels": (
        {"order": "legacy", "head": 16, "multiples": (1, 1, 2), "blocks": 2},
        {"attention_order": "legacy"},
    ),
    "class": ({"order": "new", "head": 16, "label": 3}, {"attention_order": "new", "label": 3}),
}


@pytest.mark.parametrize("name", ADMS)
def test_guided_diffusion_is_reproduced_exactly(name):
    x, t = batch()
    shape, options = ADMS[name]
    p = parameters()
    adm(p, x.float(), t, **TINY | shape)
    expected = adm(in_double(p), x, t, **TINY | shape)
    options = {"schedule": "cosine", "head_channels": 16, "side": 16} | options
    denoiser, _ = converted(p.state, "adm", **options)
    close(denoiser.network(x, t).sample, expected)
    assert denoiser.schedule == vp_cosine()
    assert denoiser.side == 16
    sigma = torch.tensor([vp_cosine().sigmas[int(i) + 1] for i in t[:2]], dtype=torch.float64)[:, None, None, None]
    close(
        denoiser(x[:2], sigma.flatten()),
        x[:2] - sigma * adm(p, x[:2] / (1 + sigma**2).sqrt(), t[:2], **TINY | shape)[:, :3],
    )


@pytest.mark.parametrize("wrong", ["legacy", "new"])
def test_the_order_of_attention_matters(wrong):
    x, t = batch()
    right = {"legacy": "new", "new": "legacy"}[wrong]
    p = parameters()
    expected = adm(p, x.float(), t, **TINY, order=right, head=16)
    denoiser, _ = converted(p.state, "adm", attention_order=wrong, schedule="linear", head_channels=16, side=16)
    assert (denoiser.network(x, t).sample - expected).abs().max() > 0.01


def test_networks_that_need_a_class_say_so():
    x, t = batch()
    p = parameters()
    adm(p, x.float(), t, **TINY, order="new", head=16, label=0)
    options = {"attention_order": "new", "schedule": "cosine", "side": 16}
    for label in ({}, {"label": 5}, {"label": -1}):
        with pytest.raises(WeightsError, match="choose one of 5 with --set label=NUMBER"):
            FAMILIES["adm"](p.state, options | label)
    mean = FAMILIES["adm"](p.state, options | {"label": "mean"}).tensors["time_embedding.linear_2.bias"]
    torch.testing.assert_close(mean, p.state["time_embed.2.bias"] + p.state["label_emb.weight"].mean(0))


@pytest.mark.parametrize("shape", [{}, {"multiples": (1, 1, 2), "attended": (0, 2), "blocks": 2}], ids=["two", "three"])
def test_ddpm_is_reproduced_exactly(shape):
    x, t = batch()
    p = parameters()
    ddpm(p, x.float(), t, **TINY | shape)
    expected = ddpm(in_double(p), x, t, **TINY | shape)
    denoiser, _ = converted(p.state, "ddpm", side=16)
    close(denoiser.network(x, t).sample, expected)
    assert denoiser.schedule == vp_linear()


SCORES = {
    "ddpmpp": {"fir": False},
    "ncsnpp_vp": {"fir": True, "enters": "residual"},
    "ncsnpp_ve": {"fir": True, "enters": "residual", "fourier": True},
    "ncsnpp_high": {
        "fir": True,
        "enters": "input_skip",
        "leaves": "output_skip",
        "fourier": True,
        "multiples": (1, 1, 2),
        "attended": (2,),
    },
}


@pytest.mark.parametrize("name", SCORES)
def test_score_sde_is_reproduced_exactly(name):
    shape = TINY | {"width": 16} | SCORES[name]
    x, _ = batch()
    sigma = torch.tensor([0.05, 1.0, 30.0], dtype=torch.float64)
    s = sigma[:, None, None, None]
    p = parameters()
    score_sde(p, x.float(), sigma.float(), **shape)
    denoiser, found = converted(
        {"model": {"module." + k: v for k, v in p.state.items()} | {"module.sigmas": sigma}},
        "score_sde",
        side=16,
        ema=False,
    )
    in_double(p)
    if "fourier" in shape:  # images in [0, 1] have half the noise; the network's output is the score times that
        close(denoiser(x, sigma), x + s * score_sde(p, x, sigma / 2, **shape))
    else:
        t = torch.tensor([0.1, 0.5, 0.999], dtype=torch.float64)
        scale = torch.exp(-0.25 * t**2 * 19.9 - 0.5 * t * 0.1)
        sigma, scale = (1 - scale**2).sqrt() / scale, scale[:, None, None, None]
        close(denoiser(x, sigma), x - sigma[:, None, None, None] * score_sde(p, scale * x, 999 * t, **shape))
    assert found.architecture["network"] == ("song_ve" if "fourier" in shape else "song_vp")


def test_averages_of_score_sde_are_taken_by_position():
    shape = TINY | {"width": 16, "fir": True, "fourier": True, "enters": "residual"}
    x, _ = batch()
    p = parameters()
    score_sde(p, x.float(), torch.ones(3), **shape)
    names = [
        f"{module}.{key}" for module, inside in _by_module(p.state).items() for key in sorted(inside, key=_registered)
    ]
    last = {f"module.{name}": p.state[name] for name in names}
    trained = [name for name in names if not name.endswith(".0.W")]
    averages = [2 * p.state[name] for name in trained]
    _, found = converted(
        {"model": last, "ema": {"decay": 0.999, "shadow_params": averages}, "step": 7}, "score_sde", side=16
    )
    doubled = FAMILIES["score_sde"](
        {"model": {name: p.state[name] * (1 + (name in trained)) for name in names}}, {"side": 16, "ema": False}
    )
    assert all(torch.equal(found.tensors[key], doubled.tensors[key]) for key in doubled.tensors)
    for broken in (averages[:-1], [*averages[1:], averages[0]], None):
        with pytest.raises(WeightsError, match="averages of"):
            FAMILIES["score_sde"]({"model": last, "ema": {"shadow_params": broken}}, {})


def _by_module(state):
    modules = {}
    for name in state:
        prefix = ".".join(name.split(".")[:2])
        modules.setdefault(prefix, []).append(name.removeprefix(prefix + "."))
    return dict(sorted(modules.items(), key=lambda item: int(item[0].split(".")[1])))


def _registered(key):
    order = ["GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "NIN_0", "NIN_1", "NIN_2", "NIN_3", "Conv_1", "Conv_2"]
    part, _, kind = key.rpartition(".")
    return (order.index(part) if part in order else 0), kind in ("bias", "b")


LEGACY = {"attention_order": "legacy", "schedule": "linear"}
NEW = {"attention_order": "new", "schedule": "cosine", "label": 0}
FULL_SIZE = {  # network, width, multiples, blocks, levels with attention, the rest, options, side, parameters
    "adm_256": (adm, 256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), {"order": "legacy", "head": 64}, LEGACY, 256, 552_814_086),
    "adm_64": (
        adm, 192, (1, 2, 3, 4), 3, (1, 2, 3), {"order": "new", "head": 64, "label": 0, "classes": 1000}, NEW, 64,
        295_904_454 - 1000 * 768,  # the embeddings of the classes became a bias
    ),
    "ddpm_cifar10": (ddpm, 128, (1, 2, 2, 2), 2, (1,), {}, {}, 32, 35_746_307),
    "ddpm_celebahq": (ddpm, 128, (1, 1, 2, 2, 4, 4), 2, (4,), {}, {}, 256, 113_673_219),
    "score_sde": (score_sde, 128, (1, 2, 2, 2), 8, (1,), {"fir": False}, {"ema": False}, 32, 106_632_579),
}  # fmt: skip


@pytest.mark.parametrize("name", FULL_SIZE)
def test_networks_of_full_size_are_recognised(name):
    network, width, multiples, blocks, attended, shape, options, side, expected = FULL_SIZE[name]
    family = network.__name__
    p = Parameters(device="meta")
    x, t = torch.empty(1, 3, side, side, device="meta"), torch.zeros(1, device="meta")
    network(p, x, t, width=width, multiples=multiples, blocks=blocks, attended=attended, **shape)
    denoiser, _ = converted(p.state, family, **options)
    assert denoiser.side == side
    assert sum(parameter.numel() for parameter in denoiser.parameters()) == expected
