"""Content distance: known distances of a linear target, stages that are the parts' outputs, and the command."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lustral.analysis.content import ContentPlan, analyse_content, content_distance
from lustral.analysis.content_report import content_csv, content_summary, content_tables, write_content
from lustral.analysis.features import choose_layers, default_layers, feature_maps
from lustral.analysis.stages import purify_in_stages
from lustral.attacks import parse_access, parse_attack
from lustral.bench.protocol import score_noise
from lustral.cli import main
from lustral.data import parse_data
from lustral.diffusion.samplers import probability_flow
from lustral.diffusion.schedules import vp_continuous
from lustral.purifiers import PurifierSettings, parse_purifier
from lustral.purifiers.module import Purifier
from lustral.seeds import Noise
from lustral.settings import SettingsError
from lustral.targets import TargetSettings, parse_target
from lustral.targets.module import Target
from lustral.tensors import from_uint8

CHAIN = "bit_depth:bits=3 | random_noise:sigma=0.1 | flip"


class LinearSettings(TargetSettings):
    """Scales by 3, with a layer that works in place behind, and sums up into ten logits."""

    name: ClassVar[str] = "linear"
    source: ClassVar[str] = "test"

    @property
    def kind(self) -> Any:
        return "classifier"

    def weights_digest(self) -> str:
        return "0"

    def build(self, device: str = "cpu") -> Target:
        scale = nn.Conv2d(3, 3, 1, bias=False)
        scale.weight.data = 3 * torch.eye(3)[:, :, None, None]
        generator = torch.Generator().manual_seed(0)
        head = nn.Linear(3, 10, bias=False)
        head.weight.data = torch.randn(10, 3, generator=generator)
        stages = nn.Sequential(scale, nn.ReLU(inplace=True))
        return Target(self, nn.Sequential(stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head))


def plan(*purifiers: str, **changes: Any) -> ContentPlan:
    made = ContentPlan(
        data=parse_data("scenes:count=6"),
        target=LinearSettings(),
        purifiers=tuple(map(parse_purifier, purifiers)),
        attack=parse_attack("fgsm:epsilon=16/255"),
        access=parse_access("blind"),
        batch=4,
    )
    return replace(made, **changes)


def noise(n: int) -> Noise:
    return Noise(0, "test", [str(row) for row in range(n)])


def images(n: int = 3, side: int = 8) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_distance_is_the_mean_squared_difference_per_image():
    a = torch.zeros(2, 3, 4, 4)
    b = a.clone()
    b[0] += 0.5
    b[1, 0] += 3.0
    assert content_distance(a, b).tolist() == [0.25, 3.0]


def test_a_linear_layer_gives_nine_times_the_distance_of_the_pixels():
    result = analyse_content(plan("bit_depth:bits=2"))
    assert result.layers == ("0.0",)  # the convolution: weights and maps; what works in place behind it does not show
    clean, attacked, purified = result.stages
    assert [stage.name for stage in result.stages] == ["clean", "attacked", "1 bit_depth"]
    x = from_uint8(plan().data.load().stack()).double()
    assert not clean.distance["0.0"].any()
    # Neither classes nor clipping matter: FGSM moves every pixel by 16/255 unless it leaves [0, 1].
    assert attacked.distance["0.0"].min() > 9 * (8 / 255) ** 2
    assert attacked.distance["0.0"].max() <= 9 * (16 / 255) ** 2 + 1e-6
    model = LinearSettings().build()
    logits = model(x.float()).double()
    labels = torch.as_tensor(plan().data.load().truth)
    assert clean.output == pytest.approx(-logits.log_softmax(1)[range(6), labels].numpy(), rel=1e-5)
    assert clean.correct.tolist() == (logits.argmax(1) == labels).tolist()
    assert purified.distance["0.0"].shape == (6,)


def test_without_an_attack_the_distance_is_that_of_the_purifier_alone():
    result = analyse_content(plan("bit_depth:bits=2", attack=parse_attack("random_noise:epsilon=1e-9")))
    x = from_uint8(plan().data.load().stack())
    moved = parse_purifier("bit_depth:bits=2").build()(x, noise(6)) - x
    assert result.stages[1].distance["0.0"].tolist() == [0.0] * 6
    expected = 9 * moved.double().square().flatten(1).mean(1)
    assert result.stages[2].distance["0.0"] == pytest.approx(expected.numpy(), rel=1e-5)
    (entry,) = [entry for entry in content_summary(result) if entry["number"] == 2]
    assert np.isnan(entry["normalised"]["0.0"]["average"])  # no attack, nothing to divide by


def test_stages_of_a_chain_are_the_outputs_of_its_parts():
    x, chain = images(), parse_purifier(CHAIN).build()
    shots = purify_in_stages(chain, x, noise(3))
    assert [shot.name for shot in shots] == ["1 bit_depth", "2 random_noise", "3 flip"]
    assert torch.equal(shots[0].images, parse_purifier("bit_depth:bits=3").build()(x, noise(3)))
    assert torch.equal(shots[2].images, parse_purifier("flip").build()(shots[1].images, noise(3)))
    assert torch.equal(shots[2].images, chain(x, noise(3)))
    again = purify_in_stages(chain, x, noise(3))  # nothing was left behind on the modules
    assert len(again) == 3


def test_repeats_and_parts_of_parts_are_stages_and_branches_are_one():
    twice = {"name": "repeat", "part": {"name": "chain", "parts": ["flip", "bit_depth"]}, "times": 2}
    names = [shot.name for shot in purify_in_stages(parse_purifier(twice).build(), images(), noise(3))]
    assert names == ["1 flip", "2 bit_depth", "3 flip", "4 bit_depth"]
    branch = {"name": "random_choice", "parts": ["flip", "bit_depth", "median_blur"]}
    names = [shot.name for shot in purify_in_stages(parse_purifier(branch).build(), images(), noise(3))]
    assert names == ["1 random_choice"]


class Darkened(PurifierSettings):
    name: ClassVar[str] = "darkened"
    source: ClassVar[str] = "test"
    gradient: ClassVar[Any] = "exact"

    def build(self, device: str = "cpu", target: Any = None) -> Purifier:
        inner = parse_purifier("flip").build()
        return Purifier(self, lambda x, noise: inner(x, noise) / 2, inner)


def test_what_a_composition_does_beyond_its_parts_is_the_result():
    x = images()
    shots = purify_in_stages(Darkened().build(), x, noise(3))
    assert [shot.name for shot in shots] == ["1 flip", "result"]
    assert torch.equal(shots[1].images, x.flip(2, 3) / 2)


class Flow(PurifierSettings):
    """The ODE over a denoiser that always guesses grey, so that states are known."""

    name: ClassVar[str] = "flow"
    source: ClassVar[str] = "test"
    gradient: ClassVar[Any] = "exact"

    def build(self, device: str = "cpu", target: Any = None) -> Purifier:
        schedule = vp_continuous()

        def run(x: Tensor, noise: Noise) -> Tensor:
            state = schedule.scales[100] * (2 * x - 1)
            flow = probability_flow(lambda x, sigma: 0 * x, state, schedule, schedule.times(100, 10))
            return (flow + 1) / 2

        return Purifier(self, run)


def test_states_of_an_iterative_purifier_are_shown_without_the_scale_of_the_schedule():
    x = images()
    shots = purify_in_stages(Flow().build(), x, noise(3), every=4)
    assert [shot.name for shot in shots] == ["1 flow t=60", "1 flow t=20", "1 flow"]
    contrast = [float((2 * shot.images - 1).abs().mean()) for shot in shots]
    assert contrast == sorted(contrast, reverse=True)  # on its way to grey
    assert [len(purify_in_stages(Flow().build(), x, noise(3), every)) for every in (None, 11)] == [1, 1]


def test_states_are_in_the_files_and_not_in_the_table():
    result = analyse_content(plan("flip", every=4))
    state = replace(result.stages[-1], name="1 flip t=60")
    result = replace(result, stages=(*result.stages[:2], state, result.stages[2]))
    summary = content_summary(result)
    assert "1 flip t=60" in content_csv(result)
    assert [heads for _, heads, _ in content_tables(result, summary)] == [["", "attacked", "1 flip"]]


def test_batches_seeds_and_the_draw_are_those_of_the_benchmark():
    whole = analyse_content(plan("random_noise", batch=6, access=parse_access("exact:eot=2")))
    parts = analyse_content(plan("random_noise", batch=4, access=parse_access("exact:eot=2")))
    for a, b in zip(whole.stages, parts.stages, strict=True):
        assert a.distance["0.0"] == pytest.approx(b.distance["0.0"], rel=1e-4)
    free = analyse_content(plan("random_noise", attack=parse_attack("random_noise:epsilon=1e-9")))
    data = plan().data.load()
    x = from_uint8(data.stack())
    drawn = parse_purifier("random_noise").build()(x, score_noise(0, data.ids, attacked=True).draws(0, 1))
    expected = 9 * (drawn - x).double().square().flatten(1).mean(1)
    assert free.stages[2].distance["0.0"] == pytest.approx(expected.numpy(), rel=1e-5)


def test_default_layers_are_the_stages_and_unknown_ones_are_listed():
    target = parse_target("scenes_classifier").build()
    x = torch.zeros(1, 3, 32, 32)
    layers = default_layers(target, x)
    assert layers[0] == "features.0"
    assert not {"pool", "head", "features.3"} & set(layers)  # one pixel, logits, no weights
    assert choose_layers(target, ["features.1", "head"], x) == ("features.1", "head")
    with pytest.raises(SettingsError, match=r"unknown layer 'conv9' of scenes_classifier; stages: features.0, .*all"):
        choose_layers(target, ["conv9"], x)
    found, output = feature_maps(target, ["head"], x)
    assert torch.equal(found["head"], output)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(SettingsError, match="at least one purifier"):
        analyse_content(plan())
    with pytest.raises(SettingsError, match="needs labels"):
        analyse_content(plan("flip", data=parse_data("photos:count=2")))


def test_a_quality_target_gives_scores(tmp_path):
    data, target = parse_data("photos:count=2,side=44"), parse_target("photo_quality")
    result = analyse_content(plan("flip", data=data, target=target))
    assert content_csv(result).splitlines()[0].startswith("purifier,number,stage,image,score,correct,distance.")
    summary = content_summary(result)
    assert summary[0]["accuracy"] is None
    assert write_content(result, summary, tmp_path).exists()


def test_features_of_another_network(tmp_path):
    result = analyse_content(plan("flip", features=parse_target("scenes_classifier"), layers=("features.1",)))
    assert result.layers == ("features.1",)
    same = analyse_content(plan("flip"))
    assert result.stages[1].output == pytest.approx(same.stages[1].output)  # of the attacked target, not of the other


def test_exports_agree_with_each_other(tmp_path):
    result = analyse_content(plan(CHAIN, "flip"))
    summary = content_summary(result)
    write_content(result, summary, tmp_path, "lustral analyse content")
    rows = list(csv.DictReader((tmp_path / "content.csv").read_text().splitlines()))
    heads = ["purifier", "number", "stage", "image", "cross_entropy", "correct", "distance.0.0", "normalised.0.0"]
    assert list(rows[0]) == heads
    assert len(rows) == 6 * (5 + 3)
    record = json.loads((tmp_path / "content.json").read_text())
    assert record["settings"]["seed"] == 0
    assert record["settings"]["layers"] == ["0.0"]
    assert record["images"] == 6
    for entry in record["stages"]:
        own = [row for row in rows if (row["purifier"], row["stage"]) == (entry["purifier"], entry["stage"])]
        found = entry["distance"]["0.0"]
        assert found["average"] == pytest.approx(np.mean([float(row["distance.0.0"]) for row in own]), rel=1e-5)
        assert found["low"] <= found["average"] <= found["high"]
        assert entry["accuracy"]["average"] == sum(row["correct"] == "true" for row in own) / 6
    attacked = next(entry for entry in record["stages"] if entry["stage"] == "attacked")
    assert attacked["normalised"]["0.0"] == {"average": 1.0, "low": 1.0, "high": 1.0}
    page = (tmp_path / "content.html").read_text()
    assert "<script src" not in page
    assert "3 flip" in page
    tables = list(content_tables(result, summary))
    assert [heads for _, heads, _ in tables] == [
        ["", "attacked", "1 bit_depth", "2 random_noise", "3 flip"],
        ["", "attacked", "1 flip"],
    ]
    assert [row[0] for row in tables[0][2]] == ["0.0, normalised", "0.0, raw", "cross-entropy", "accuracy"]


@pytest.fixture
def command(monkeypatch, capfd):
    """``lustral analyse content`` in this process."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", ["lustral", "analyse", "content", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return run


SCENES = ("--data", "scenes:count=6", "--target", "scenes_classifier", "--attack", "fgsm:epsilon=8/255")


def test_the_command_from_end_to_end(command, tmp_path):
    out = str(tmp_path / "out")
    options = ["--with", "median_blur | flip", "--with", "bit_depth", "--layers", "features.1,features.4", "--out", out]
    done = command(*SCENES, *options)
    assert done.returncode == 0, done.stderr
    assert "features.4, normalised" in done.stdout
    assert "median_blur:kernel=3 | flip" in done.stdout
    assert done.stdout.strip().endswith("content.html")
    steps = [json.loads(line) for line in done.stderr.splitlines()]
    assert [step["done"] for step in steps] == [1, 2, 3]
    assert {step["total"] for step in steps} == {3}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"content.csv", "content.json", "content.html"}
    record = json.loads((tmp_path / "out" / "content.json").read_text())
    assert record["command"].startswith("lustral analyse content --data scenes:count=6")
    assert [entry["stage"] for entry in record["stages"]][:4] == ["clean", "attacked", "1 median_blur", "2 flip"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--with", "flip", "--layers", "nothing"], "unknown layer 'nothing' of scenes_classifier; stages: features.0"),
        (["--with", "flop"], "did you mean 'flip'"),
        (["--with", "flip", "--batch", "0"], "batch and every must be at least 1"),
    ],
)
def test_the_command_refuses_in_one_line(command, tmp_path, options, message):
    done = command(*SCENES, *options, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("lustral: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
