"""Training on pairs: equation 15 and the other losses by hand, pairs, masks, resume, what is judged."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from lustral.attacks import parse_attack
from lustral.nets.masked_autoencoder import MaskedAutoencoder
from lustral.nets.restorers import RESTORATION, restoration_network
from lustral.purifiers import MAEP
from lustral.settings import SettingsError
from lustral.targets import TARGETS, TargetSettings
from lustral.targets.module import Target
from lustral.train import PurifierTraining, register_result
from lustral.train.adversarial_pairs import adversarial_pairs, cache_folder
from lustral.train.loop import as_tensor, epoch_of
from lustral.train.purifier import architecture, judge_purifier, train_purifier
from lustral.train.purifier_jobs import MAEP as JOB
from lustral.train.purifier_losses import LOSSES, Moment
from lustral.weights import load_weights
from tests.contracts.purifiers import noise_for
from tests.nets.test_masked_autoencoder import generator, tiny
from tests.nets.test_super_resolution import pictures
from tests.train.test_loop import Stop, equal, stripes

SMALL = {"width": 8, "depth": 1, "decoder_width": 8, "head_width": 8, "patch": 4}
DOUBLE = torch.float64


class StripeSettings(TargetSettings):
    """Tells horizontal from vertical stripes by which differences are larger."""

    name: ClassVar[str] = "stripe_classifier"
    source: ClassVar[str] = "test"
    sharpness: float = 4.0

    @property
    def kind(self) -> Any:
        return "classifier"

    def weights_digest(self) -> str:
        return "0" * 64

    def build(self, device: str = "cpu") -> Target:
        return Target(self, _Differences(self.sharpness)).to(device)


class _Differences(nn.Module):
    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        return 100 * self.sharpness * torch.stack([x.diff(dim=dim).square().mean((1, 2, 3)) for dim in (3, 2)], 1)


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUSTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(TARGETS, "stripe_classifier", StripeSettings)


def settings(**changes: Any) -> PurifierTraining:
    plain: dict[str, Any] = {
        "options": SMALL, "epochs": 2, "batch": 8, "target": "stripe_classifier",
        "attack": "pgd:epsilon=16/255,steps=3",
    }  # fmt: skip
    return PurifierTraining.make(**plain | changes)


def train(checkpoint: Path | None = None, stop_after: int | None = None, **changes: Any) -> dict[str, Any]:
    def progress(row: dict[str, Any]) -> None:
        if row.get("epoch") == stop_after and stop_after:
            raise Stop

    weights, record = train_purifier(settings(**changes), stripes(16), stripes(6), checkpoint, progress)
    return weights | {"losses": torch.tensor([row["loss"] for row in record["history"]])}


def moment(seed: int = 0, balance: float = 1.0, done: float = 0.0) -> Moment:
    return Moment(generator(seed), lambda x: x.flatten(1)[:, :2], balance, done)


def pair() -> tuple[Tensor, Tensor]:
    clean = pictures(3, 8, 8, DOUBLE)
    return (clean + 0.1 * pictures(3, 8, 8, DOUBLE).flip(3)).clamp(0, 1), clean


class TestEquation15:
    def test_it_is_purification_of_what_is_visible_plus_reconstruction_of_what_is_hidden(self) -> None:
        network, (attacked, clean) = tiny(), pair()
        found = LOSSES["own"](network, attacked, clean, moment(3))
        visible = network.draw_visible(clean, generator(3))
        hidden = network.hidden(clean, visible)
        seen = network.restore(torch.where(hidden.bool(), 0.123, attacked), visible)  # x' times the mask
        purification = ((1 - hidden) * (seen - clean).abs()).sum()
        reconstruction = (hidden * (seen - clean).abs()).sum()
        assert purification > 0
        assert reconstruction > 0
        torch.testing.assert_close(found, (purification + reconstruction) / clean.numel())

    def test_by_hand_on_an_image_of_two_patches(self) -> None:
        """The network starts at the image where it sees it, and at 0.5 where it does not."""
        with torch.random.fork_rng(devices=[]):
            network = MaskedAutoencoder(patch=2, width=8, depth=1, decoder_width=8, head_width=4, mask=0.5)
        attacked = torch.full((1, 3, 2, 4), 0.7)
        clean = torch.cat([torch.full((1, 3, 2, 2), 0.6), torch.full((1, 3, 2, 2), 0.1)], 3)
        left_seen = int(network.draw_visible(clean, generator(0))[0, 0]) == 0
        left, right = (abs(0.7 - 0.6), abs(0.5 - 0.1)) if left_seen else (abs(0.5 - 0.6), abs(0.7 - 0.1))
        found = LOSSES["own"](network, attacked, clean, moment())
        torch.testing.assert_close(found, torch.tensor((left + right) / 2))

    def test_without_a_mask_it_is_the_purification_loss(self) -> None:
        network, (attacked, clean) = tiny(mask=0.0), pair()
        expected = LOSSES["purification"](network, attacked, clean, moment())
        torch.testing.assert_close(LOSSES["own"](network, attacked, clean, moment()), expected)


def test_the_other_losses_are_their_equations() -> None:
    network, (x, y) = tiny(), pair()
    visible = network.draw_visible(x, generator(1))
    hidden = network.hidden(x, visible).expand_as(x).bool()
    expected = {
        "purification": (network(x) - y).abs().mean(),  # equation 7
        "reconstruction": (network(x) - y).abs().mean() + (network(y) - y).abs().mean(),  # 16
        "mlm": (network.restore(x, visible) - x)[hidden].abs().mean(),  # 17
        "trades_pixels": (network(y) - y).abs().mean() + 3 * (network(x) - network(y)).abs().mean(),  # 20
        "trades_latents": (network(y) - y).abs().mean() + 3 * (network.encode(x) - network.encode(y)).abs().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name](network, x, y, moment(1, balance=3.0)), value, msg=name)
    fine_tuning = LOSSES["mlm"](network, x, y, moment(1, done=0.5))  # 18
    torch.testing.assert_close(fine_tuning, expected["purification"])
    with pytest.raises(TypeError, match="needs a masked autoencoder, got Identity"):
        LOSSES["mlm"](nn.Identity(), x, y, moment())


def test_a_network_may_bring_its_own_loss_and_else_gets_the_purification_loss() -> None:
    class Own(nn.Module):
        def training_loss(self, attacked: Tensor, clean: Tensor, generator: torch.Generator, target: Any) -> Tensor:
            assert target(clean).shape == (3, 2)
            return attacked.mean() + torch.rand((), generator=generator)

    (x, y), drawn = pair(), torch.rand((), generator=generator(7))
    assert LOSSES["own"](Own(), x, y, moment(7)) == x.mean() + drawn
    assert LOSSES["own"](nn.Identity(), x, y, moment()) == (x - y).abs().mean()


def test_pairs_are_deterministic_inside_the_ball_and_worse_for_the_classifier() -> None:
    images, target, attack = stripes(40), StripeSettings(), parse_attack("pgd:epsilon=8/255,steps=3")
    before = torch.get_rng_state()
    attacked = adversarial_pairs(images, target, attack, cache=cache_folder() / "first")
    assert torch.equal(before, torch.get_rng_state())
    clean = as_tensor(images)
    assert (attacked.shape, attacked.dtype) == (clean.shape, torch.uint8)
    change = (attacked.int() - clean.int()).abs().amax((1, 2, 3))
    assert change.max() == 8
    assert change.min() > 0
    model, truth = target.build(), torch.from_numpy(images.truth)
    losses = [nn.functional.cross_entropy(model(x.float() / 255), truth) for x in (clean, attacked)]
    assert losses[1] > losses[0]
    assert torch.equal(attacked, adversarial_pairs(images, target, attack, cache=cache_folder() / "second"))
    other = adversarial_pairs(images, target, attack, seed=1)
    assert not torch.equal(attacked, other)


def test_pairs_are_made_once_and_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lustral.train.adversarial_pairs.CHUNK", 8)
    images, target, attack = stripes(20), StripeSettings(), parse_attack("fgsm")
    rows: list[dict[str, Any]] = []

    def progress(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) == 2:
            raise Stop

    def make(**changes: Any) -> Tensor:
        return adversarial_pairs(images, changes.pop("target", target), attack, progress=rows.append, **changes)

    with pytest.raises(Stop):
        adversarial_pairs(images, target, attack, progress=progress)
    first = make()
    assert [(row["pairs"], row["of"]) for row in rows] == [(8, 20), (16, 20), (20, 20)]
    assert torch.equal(make(), first)
    assert len(rows) == 3
    make(target=StripeSettings(sharpness=2.0))
    assert len(rows) == 6, "other settings have pairs of their own"
    assert torch.equal(make(cache=tmp_path / "elsewhere"), first)
    part = next((tmp_path / "elsewhere").glob("*/00001.npy"))
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"00001.npy: .*; delete it, it will be made again"):
        make(cache=tmp_path / "elsewhere")
    np.save(part, np.zeros((8, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"holds uint8 \(8, 3, 8, 8\), not uint8 \(8, 3, 32, 32\); delete it"):
        make(cache=tmp_path / "elsewhere")


def test_cache_is_where_the_variables_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LUSTRAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lustral"


@pytest.mark.parametrize("loss", ["own", "mlm"])
def test_resumed_training_equals_an_uninterrupted_one(loss: str, tmp_path: Path) -> None:
    whole = train(loss=loss)
    with pytest.raises(Stop):
        train(tmp_path / "c", 1, loss=loss)
    assert equal(train(tmp_path / "c", loss=loss), whole)
    assert not equal(train(loss=loss, seed=1), whole)


def test_the_epoch_of_a_generator_is_found_again() -> None:
    chosen = settings(epochs=3, network="fcn", options={})
    seen: list[int] = []

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(epoch_of(chosen, generator))
        return next(model.parameters()).sum()

    from lustral.train.loop import optimise

    optimise(chosen, lambda: nn.Linear(1, 1), 16, loss_of, lambda _: {})
    assert seen == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("disco", {"width": 4, "blocks": 1, "hidden": [4]}),
        ("fcn", {"widths": [4, 4]}),
        ("comdefend", {"width": 0.05, "bits": 2}),
        ("hgd", {"widths": [4, 4], "layers": [1, 1]}),
    ],
)
def test_every_network_trains_and_its_card_rebuilds_it(network: str, options: dict[str, Any], tmp_path: Path) -> None:
    chosen = settings(network=network, options=options, epochs=1)
    sets = stripes(16), stripes(6)
    weights, record = train_purifier(chosen, *sets)
    card = register_result("purifier", weights, record, out=tmp_path, settings=chosen, data=sets)
    assert card.file == f"cifar10_{network}.safetensors"
    assert f"--set options='{json.dumps(options)}'" in card.command
    rebuilt = restoration_network(card.architecture)
    rebuilt.load_state_dict(load_weights(tmp_path / card.file).tensors)
    assert isinstance(rebuilt, RESTORATION[network])  # pyright: ignore[reportArgumentType]


def test_card_states_what_a_reader_needs_and_the_purifier_opens_it(tmp_path: Path) -> None:
    chosen, sets = settings(loss="reconstruction", label="small"), (stripes(16), stripes(6))
    weights, record = train_purifier(chosen, *sets)
    card = register_result("maep", weights, record, out=tmp_path, settings=chosen, data=sets)
    assert card.file == "cifar10_maep_reconstruction_small.safetensors"
    which = ("attacked", "purified_clean", "purified_attacked")
    expected = {f"{score}_{name}" for score in ("psnr", "ssim", "test_accuracy") for name in which}
    assert set(card.scores) == expected | {"test_accuracy_clean"}
    assert card.architecture["side"] == 32
    assert card.architecture["mask"] == 0.25
    assert "pgd:epsilon=16/255,steps=3 on stripe_classifier" in card.data
    x = as_tensor(sets[1]).float() / 255
    purified = MAEP(weights=str(tmp_path / card.file)).build()(x, noise_for(6))
    assert (purified - x).abs().max() > 0
    model = restoration_network(card.architecture)
    model.load_state_dict(weights)
    torch.testing.assert_close(purified, model(x).clamp(0, 1).detach())


def test_scores_are_those_of_their_names() -> None:
    sets, target = stripes(6), StripeSettings().build()
    clean, labels = as_tensor(sets), torch.from_numpy(sets.truth)
    attacked = clean.flip(0).clone()

    def darken(x: Tensor) -> Tensor:
        return x - 0.25

    scores = judge_purifier(darken, target, clean, attacked, labels)
    dark = (clean.numpy() / 255 - 0.25).clip(0, 1)
    expected = [peak_signal_noise_ratio(a / 255, b, data_range=1) for a, b in zip(clean.numpy(), dark, strict=True)]
    assert scores["psnr_purified_clean"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert scores["test_accuracy_clean"] == 1
    assert scores["test_accuracy_attacked"] == 0, "flipped order: every image is of the other class"
    assert scores["ssim_attacked"] < 0.9 * scores["ssim_purified_clean"]
    assert "ssim_attacked" not in judge_purifier(darken, target, clean, attacked, labels, full=False)


def test_training_removes_a_perturbation() -> None:
    chosen = settings(options={**SMALL, "mask": 0.25}, epochs=10, learning_rate=1e-2, average=0.5)
    _, record = train_purifier(chosen, stripes(32), stripes(10))
    assert record["psnr_purified_attacked"] > record["psnr_attacked"] + 0.4


def test_images_to_learn_from_and_to_judge_by_fit_the_data() -> None:
    for data, count, expected in (("cifar10", None, 20000), ("scenes", None, None), ("cifar10", 300, 300)):
        train_set, test_set = JOB.data(PurifierTraining.make(data=data, count=count))
        assert (train_set.name, train_set.split, train_set.count) == (data, "train", expected)
        assert (test_set.name, test_set.split, test_set.count) == (data, "test", 500)
        assert (train_set.choice_seed, test_set.choice_seed) == (0, 1)
    assert [len(part.load()) for part in JOB.data(PurifierTraining.make(data="scenes"))] == [2222, 500]


def test_bad_settings_are_refused() -> None:
    for changes, match in (
        ({"network": "unet"}, "network"),
        ({"loss": "trades_latents", "network": "disco"}, "loss=trades_latents needs a masked autoencoder"),
        ({"loss": "purification", "network": "comdefend"}, "loss=purification cannot teach network=comdefend"),
        ({"loss": "mlm", "epochs": 1}, "loss=mlm guesses .* give it 2 epochs or more, got epochs=1"),
        ({"attack": "pgd:size=3"}, "unknown setting 'size' of pgd"),
        ({"widths": "8"}, "widths"),
    ):
        with pytest.raises(SettingsError, match=match):
            PurifierTraining.make(**changes)
    with pytest.raises(SettingsError, match="unknown option 'layers' of the network maep; known: side, patch"):
        architecture(settings(options={"layers": 3}), stripes(2))
    with pytest.raises(SettingsError, match="need a classifier, photo_quality is a quality target"):
        adversarial_pairs(stripes(2), TARGETS["photo_quality"].make(), parse_attack("fgsm"))
