"""From files and folders to denoisers, by way of ``lustral weights convert``; what is damaged or hostile is refused."""

import json
import os
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from typer.testing import CliRunner

from lustral.cli import app
from lustral.diffusion import load_denoiser
from lustral.diffusion.convert import _judged, convert_weights, read_option
from lustral.diffusion.published import FAMILIES
from lustral.diffusion.song import SongShape, SongUNet
from lustral.weights import WeightsError, checkpoint_digest, load_weights
from tests.conftest_torchvision import require_torchvision
from tests.diffusion.published_networks import Parameters, adm, ddpm, score_sde

SIDE = 16
SMOOTH = (1.0, 3.0, 3.0, 1.0)
TINY = {"width": 32, "multiples": (1, 2), "blocks": 1, "attended": (1,)}
OPTIONS = {
    "adm": {"attention_order": "legacy", "schedule": "linear", "head_channels": 16, "side": SIDE},
    "ddpm": {"side": SIDE},
    "score_sde": {"side": SIDE, "ema": False},
    "edm": {},
}


def checkpoints():
    x, t = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1)
    found = {name: Parameters(dtype=torch.float32) for name in ("adm", "ddpm", "score_sde")}
    adm(found["adm"], x, t, **TINY, order="legacy", head=16)
    ddpm(found["ddpm"], x, t, **TINY)
    score_sde(found["score_sde"], x, t, **TINY | {"width": 16}, fir=False)
    states = {name: dict(p.state) for name, p in found.items()}
    states["score_sde"] = {"model": states["score_sde"]}
    states["edm"] = edm_state(SongShape(side=SIDE, width=16, multiples=(1, 2), blocks=1, attention=(8,)))
    return states


def edm_state(shape):
    network = SongUNet(shape)
    generator = torch.Generator().manual_seed(0)
    state = {
        f"model.{key}": 0.2 * torch.randn(value.shape, generator=generator)
        for key, value in network.state_dict().items()
    }
    line = torch.tensor(shape.taps) / sum(shape.taps)
    state |= {
        f"model.{key.removesuffix('weight')}resample_filter": line.outer(line)[None, None]
        for key in network.state_dict()
        if key.endswith(("down.conv0.weight", "down.skip.weight", "up.conv0.weight", "up.skip.weight"))
    }
    return state | {"model.map_augment.weight": torch.ones(16, 9)}


@pytest.fixture(scope="module")
def states():
    require_torchvision()
    return checkpoints()


@pytest.fixture(scope="module")
def folder(states, tmp_path_factory):
    """A model as diffusers itself writes it."""
    from diffusers import UNet2DModel

    network = UNet2DModel(
        sample_size=SIDE, block_out_channels=(32, 64), layers_per_block=1, attention_head_dim=None,
        downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    path = tmp_path_factory.mktemp("model")
    network.save_pretrained(path)
    return path


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def convert(state, family, tmp_path, **options):
    source = tmp_path / "source.pt"
    torch.save(state, source)
    return convert_weights(
        source, tmp_path / "out.safetensors", family, "MIT", options={**OPTIONS.get(family, {}), **options}
    )


@pytest.mark.parametrize("name", ["model", "with_unet", "old_names"])
def test_a_folder_of_diffusers_computes_what_diffusers_computes(name, folder, tmp_path):
    from diffusers import UNet2DModel

    path = tmp_path / "model"
    inner = path / "unet" if name == "with_unet" else path
    inner.mkdir(parents=True)
    (inner / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
    if name == "old_names":
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            tensors = {key.replace(f".{new}.", f".{old}."): value for key, value in tensors.items()}
    save_file(tensors, inner / "diffusion_pytorch_model.safetensors")
    denoiser = load_denoiser(str(path))
    network = UNet2DModel.from_pretrained(folder, local_files_only=True).eval()
    assert denoiser.side == SIDE
    assert not denoiser.training
    assert not any(parameter.requires_grad for parameter in denoiser.parameters())
    x, abar = normal(2, 3, SIDE, SIDE), torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)[99]
    with torch.no_grad():
        noise = network(abar.sqrt().float() * x, 99).sample
        sigma = ((1 - abar) / abar).sqrt().float()
        torch.testing.assert_close(denoiser(x, sigma.expand(2)), x - sigma * noise, rtol=0, atol=1e-5)
    assert noise.std() > 0.01


@pytest.mark.parametrize("size", [(SIDE, SIDE), (40, 23), (9, 7)])
def test_denoisers_take_images_of_any_size(size, folder):
    x = normal(1, 3, *size)
    found = load_denoiser(str(folder))(x, torch.ones(1))
    assert found.shape == x.shape
    assert found.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_converted_file_says_what_it_is_and_loads(family, states, tmp_path):
    written = convert(states[family], family, tmp_path)
    weights = load_weights(written.path)
    assert weights.sha256 == written.sha256 == checkpoint_digest(str(written.path))
    assert weights.facts == written.facts
    assert (weights.facts["licence"], weights.facts["origin"], weights.facts["family"]) == ("MIT", "source.pt", family)
    assert weights.facts["side"] == SIDE
    denoiser = load_denoiser(str(written.path))
    assert denoiser.side == SIDE
    x = normal(2, 3, SIDE, SIDE)
    assert (denoiser(x, torch.tensor([0.1, 1.0])) - x).abs().max() > 1e-3
    assert written.decibels[0] == pytest.approx(12.04, abs=0.3)  # 10 log10(4 / 0.5^2)
    first = written.path.read_bytes()
    convert(states[family], family, tmp_path)
    assert written.path.read_bytes() == first


def test_a_folder_is_converted_too(folder, tmp_path):
    written = convert_weights(folder, tmp_path / "out.safetensors", "diffusers", "Apache-2.0", "someone/something")
    x, sigma = normal(2, 3, SIDE, SIDE), torch.tensor([0.1, 1.0])
    assert torch.equal(load_denoiser(str(written.path))(x, sigma), load_denoiser(str(folder))(x, sigma))
    torch.save(load_file(folder / "diffusion_pytorch_model.safetensors"), tmp_path / "diffusion_pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    again = convert_weights(
        tmp_path / "diffusion_pytorch_model.bin",
        tmp_path / "again.safetensors",
        "diffusers",
        "Apache-2.0",
        "someone/something",
    )
    assert again.sha256 == written.sha256


@pytest.mark.parametrize("shape", [
    SongShape(side=SIDE, width=16, multiples=(1, 2), blocks=2, attention=(8,)),
    SongShape(SIDE, 16, multiples=(2, 2), blocks=1, attention=(8, 16), fourier=True, encoder="residual", taps=SMOOTH),
    SongShape(SIDE, 16, multiples=(1, 1, 2), blocks=1, attention=(), encoder="skip", decoder="skip", taps=SMOOTH),
])  # fmt: skip
def test_edm_checkpoints_are_recognised_and_scaled_as_edm_does(shape, tmp_path):
    state = edm_state(shape)
    denoiser = load_denoiser(str(convert(state, "edm", tmp_path).path))
    network = SongUNet(shape).eval()
    network.load_state_dict(
        {
            key.removeprefix("model."): value
            for key, value in state.items()
            if "filter" not in key and "augment" not in key
        }
    )
    x, sigma = normal(2, 3, SIDE, SIDE), torch.tensor([0.05, 3.0])
    s = sigma[:, None, None, None]
    total = s**2 + 0.25
    expected = 0.25 / total * x + s * 0.5 / total.sqrt() * network(x / total.sqrt(), sigma.log() / 4)
    torch.testing.assert_close(denoiser(x, sigma), expected, rtol=1e-5, atol=1e-5)


def test_the_class_of_an_edm_network_becomes_a_bias(states, tmp_path):
    table, bias = normal(16, 4), normal(16, seed=2)
    state = states["edm"] | {"model.map_label.weight": table, "model.map_label.bias": bias}
    with pytest.raises(WeightsError, match="choose one of 4 with --set label=NUMBER"):
        FAMILIES["edm"](state, {})
    for label, row in (
        (2, 2 * table[:, 2]),
        ("mean", 2 * table.mean(1)),
    ):  # a one-hot label times the root of 4 classes
        found = FAMILIES["edm"](state, {"label": label})
        plain = states["edm"]["model.map_layer0.bias"] + states["edm"]["model.map_layer0.weight"] @ (row + bias)
        torch.testing.assert_close(found.tensors["map_layer0.bias"], plain)
        assert found.architecture["label"] == label


def test_the_command_converts(states, tmp_path):
    torch.save(states["adm"], tmp_path / "adm.pt")
    arguments = [
        "weights",
        "convert",
        str(tmp_path / "adm.pt"),
        str(tmp_path / "adm.safetensors"),
        "--family",
        "adm",
        "--licence",
        "MIT",
    ]
    settings = [f"--set={key}={value}" for key, value in OPTIONS["adm"].items()]
    done = CliRunner().invoke(app, [*arguments, "--origin", "the test", *settings])
    assert done.exit_code == 0, done.output
    assert '"origin": "the test"' in done.output
    assert "it hardly removes noise" in done.stderr
    assert load_denoiser(str(tmp_path / "adm.safetensors")).side == SIDE


def test_a_trained_network_shows_that_it_denoises():
    before, after = _judged(load_denoiser("cifar10_denoiser"))
    assert after > before + 3


def test_options_are_json_or_text():
    assert [read_option(text)[1] for text in ("a=3", "a=null", "a=true", "a=new", "a=", "a=[1")] == [
        3,
        None,
        True,
        "new",
        "",
        "[1",
    ]
    with pytest.raises(WeightsError, match="key=value"):
        read_option("label")


@pytest.mark.parametrize("given", FAMILIES)
@pytest.mark.parametrize("held", FAMILIES)
def test_a_checkpoint_of_another_family_is_refused(given, held, states, tmp_path):
    if given == held:
        return
    with pytest.raises(WeightsError, match="family") as caught:
        convert(states[held], given, tmp_path, **OPTIONS[given])
    assert_one_line(caught, tmp_path)


def assert_one_line(caught, tmp_path):
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_any_missing_or_extra_tensor_is_noticed(family, states, tmp_path):
    state = states[family]["model"] if family == "score_sde" else states[family]
    names = [name for name in state if "filter" not in name and "augment" not in name]
    dropped = names[:: len(names) // 6]
    changes = [({key: value for key, value in state.items() if key != name}) for name in dropped]
    changes.append(state | {"surprise.weight": torch.ones(1)})
    changes.append(
        {key: (value[:-1] if index == len(state) // 2 else value) for index, (key, value) in enumerate(state.items())}
    )
    for change in changes:
        with pytest.raises(WeightsError) as caught:
            convert(change, family, tmp_path)
        assert_one_line(caught, tmp_path)


def test_weights_that_are_not_numbers_are_refused(states, tmp_path):
    state = states["ddpm"] | {"conv_in.bias": torch.full((32,), float("nan"))}
    with pytest.raises(WeightsError, match=r"NaN or inf in 'conv_in.bias'"):
        convert(state, "ddpm", tmp_path)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["pickle", "zip", "legacy"])
@pytest.mark.parametrize("family", ["adm", "edm"])
def test_code_in_a_checkpoint_never_runs(family, writer, tmp_path):
    canary, source = tmp_path / "canary", tmp_path / "source.pkl"
    payload = {"conv_in.weight": torch.ones(1), "ema": Canary(canary)}
    if writer == "pickle":
        source.write_bytes(pickle.dumps({"ema": Canary(canary)}))
    else:
        torch.save(payload, source, _use_new_zipfile_serialization=writer == "zip")
    with pytest.raises(WeightsError, match=r"nothing in it was executed; docs/weights.md") as caught:
        convert_weights(source, tmp_path / "out.safetensors", family, "MIT")
    assert not canary.exists()
    assert_one_line(caught, tmp_path)
    pickle.loads(pickle.dumps(Canary(canary)))  # the payload is live
    assert canary.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_cut_checkpoints_are_refused(zipped, tmp_path):
    source = tmp_path / "source.pt"
    torch.save({"a": torch.arange(9.0)}, source, _use_new_zipfile_serialization=zipped)
    whole = source.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        source.write_bytes(whole[:length])
        with pytest.raises(WeightsError) as caught:
            convert_weights(source, tmp_path / "out.safetensors", "ddpm", "MIT")
        assert_one_line(caught, tmp_path)


def test_archives_that_swell_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20_000_000))
    with pytest.raises(WeightsError, match="claims to hold 20000000"):
        convert_weights(tmp_path / "bomb.pt", tmp_path / "out.safetensors", "adm", "MIT")


BAD_CALLS = {
    "no_family": ({"family": "gan"}, "known: adm, ddpm, score_sde, edm, diffusers"),
    "no_licence": ({"licence": " "}, "--licence TEXT"),
    "other_suffix": ({"out": "x.pt"}, "ends in .safetensors"),
    "unknown_option": ({"options": {"heads": 4}}, "known options: side"),
    "bad_option": ({"options": {"side": "large"}}, "option 'side'"),
    "missing": ({"source": "missing.pt"}, "No such file"),
    "folder": ({"source": "."}, "folders are of family diffusers"),
    "required_option": ({"family": "adm"}, "option 'attention_order': Field required"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_say_what_to_do(name, states, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(states["ddpm"], "in.pt")
    changes, words = BAD_CALLS[name]
    with pytest.raises(WeightsError, match=words):
        convert_weights(**({"source": "in.pt", "out": "out.safetensors", "family": "ddpm", "licence": "MIT"} | changes))


def header_file(path, architecture):
    text = architecture if isinstance(architecture, str) else json.dumps(architecture)
    path.write_bytes(save({"a": torch.ones(1)}, {"architecture": text}))
    return str(path)


OWN = {"network": "preconditioned_denoiser", "widths": [16], "blocks": 1, "patch": 2, "embedding": 16, "side": 8}
SONG = {
    "side": 8, "width": 8, "multiples": [1], "blocks": 1, "attention": [], "fourier": False, "embedding": 4,
    "encoder": "standard", "decoder": "standard", "taps": [1, 1],
}  # fmt: skip
HOSTILE = {
    "deep": ("[" * 100_000, "architecture in its header"),
    "no_json": ("{", "architecture in its header"),
    "not_a_number": ('{"side": NaN}', "NaN is not a number"),
    "long": ('{"a": "' + "x" * 2**21 + '"}', "too many"),
    "list": ([], "expected an object"),
    "classifier": ({"network": "residual_classifier"}, "expected a denoiser"),
    "unhashable": ({"network": ["song_edm"]}, "expected a denoiser"),
    "never_ends": (OWN | {"blocks": 10**9}, "blocks"),
    "too_wide": (OWN | {"widths": [10**12]}, "widths"),
    "fits_nothing": (OWN, "missing"),
    "text": (OWN | {"side": "large"}, "side"),
    "song_missing": ({"network": "song_vp"}, "cannot build song_vp"),
    "song_text": ({"network": "song_vp", "song": "x"}, "cannot build song_vp"),
    "song_never_ends": ({"network": "song_ve", "song": SONG | {"blocks": 10**9}}, "blocks"),
    "song_too_wide": ({"network": "song_ve", "song": SONG | {"multiples": [10**9]}}, "multiples"),
    "schedule": ({"network": "unet2d_epsilon", "schedule": [], "config": {}, "side": 8}, "cannot build"),
    "no_config": ({"network": "unet2d_epsilon", "schedule": "linear", "config": [], "side": 8}, "cannot build"),
    "config_empty": (
        {"network": "unet2d_epsilon", "schedule": "linear", "config": {}, "side": 8},
        "block_out_channels",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_one_clear_line(name, tmp_path, states):
    architecture, words = HOSTILE[name]
    with pytest.raises(WeightsError, match=words) as caught:
        load_denoiser(header_file(tmp_path / "a.safetensors", architecture))
    assert_one_line(caught, tmp_path)


CONFIGS = {
    "class": ({"_class_name": "UNet2DConditionModel"}, "_class_name"),
    "unknown": ({"flux": 1}, "flux"),
    "never_ends": ({"layers_per_block": 10**9}, "layers_per_block"),
    "too_wide": ({"block_out_channels": [10**9, 1]}, "block_out_channels"),
    "levels": ({"block_out_channels": [8] * 99}, "block_out_channels"),
    "text": ({"norm_num_groups": "many"}, "cannot build a UNet2DModel"),
    "zero": ({"norm_num_groups": 0}, "cannot build a UNet2DModel"),
    "blocks": ({"down_block_types": ["__import__('os')", "DownBlock2D"]}, "cannot build a UNet2DModel"),
    "classes": ({"num_class_embeds": 10}, "num_class_embeds"),
    "grey": ({"in_channels": 1}, "in_channels"),
    "fourier": ({"time_embedding_type": "fourier"}, "time_embedding_type"),
    "oblong": ({"sample_size": [16, 32]}, "sample_size"),
    "other_width": ({"block_out_channels": [32, 96]}, "of another shape"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_bad_configurations_are_one_clear_line(name, folder, tmp_path):
    change, words = CONFIGS[name]
    config = json.loads((folder / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(
        (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    )
    with pytest.raises(WeightsError, match=words) as caught:
        load_denoiser(str(tmp_path))
    assert_one_line(caught, tmp_path)


@pytest.mark.parametrize(("scheduler", "words"), [
    ({"beta_schedule": "scaled_linear"}, "scaled_linear"),
    ({"prediction_type": "v_prediction"}, "v_prediction"),
    ({"beta_end": 0.012}, "0.012"),
    ({"num_train_timesteps": 4000}, "4000"),
    ([], "expected a JSON object"),
])  # fmt: skip
def test_networks_of_another_schedule_are_refused(scheduler, words, folder, tmp_path):
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "scheduler_config.json").write_text(json.dumps(scheduler))
    with pytest.raises(WeightsError, match=words):
        load_denoiser(str(tmp_path))


def test_the_cosine_schedule_of_a_folder_is_used(folder, tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "scheduler").mkdir()
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        (tmp_path / "unet" / file).write_bytes((folder / file).read_bytes())
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "squaredcos_cap_v2"}')
    assert load_denoiser(str(tmp_path)).denoiser.denoiser.schedule.name == "vp_cosine"


def test_pickled_weights_of_a_folder_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(WeightsError, match=r"got 'diffusion_pytorch_model.bin'; pickles"):
        load_denoiser(str(tmp_path))
    assert not (tmp_path / "canary").exists()
    with pytest.raises(WeightsError, match=r"folder with config\.json"):
        load_denoiser(str(tmp_path / ".."))


@pytest.mark.parametrize(("name", "words"), [
    ("google/ddpm-cifar10-32", "hf download"),
    ("nothing_of_that_name", "unknown weights"),
    ("scenes_classifier", "expected a denoiser"),
])  # fmt: skip
def test_names_that_are_no_denoisers(name, words):
    with pytest.raises(WeightsError, match=words):
        load_denoiser(name)


def test_plain_tensors_say_that_they_must_be_converted(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(save({"a": torch.ones(1)}))
    with pytest.raises(WeightsError, match="weights convert"):
        load_denoiser(str(tmp_path / "a.safetensors"))
    path = tmp_path / "b.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(WeightsError):
        load_denoiser(str(path))


def test_a_missing_extra_is_one_line(states, tmp_path, monkeypatch):
    path = str(convert(states["ddpm"], "ddpm", tmp_path).path)
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ImportError, match=r'pip install "lustral\[diffusion\]"'):
        load_denoiser(path)


def test_the_digest_of_a_folder_is_that_of_its_parts(folder, tmp_path):
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    first = checkpoint_digest(str(tmp_path))
    assert first == checkpoint_digest(str(folder))
    (tmp_path / "README.md").write_text("not part of it")
    assert checkpoint_digest(str(tmp_path)) == first
    (tmp_path / "scheduler_config.json").write_text("{}")
    assert checkpoint_digest(str(tmp_path)) != first
    (tmp_path / "scheduler_config.json").unlink()
    (tmp_path / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert checkpoint_digest(str(tmp_path)) != first
