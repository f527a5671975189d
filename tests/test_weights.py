"""Weights that are damaged, hostile or simply of another network are refused, and nothing in them ever runs."""

import contextlib
import hashlib
import json
import os
import pickle
import struct
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import nn

from lustral import files, weights
from lustral.model_files import header_with_facts
from lustral.weights import (
    ZOO,
    LoadedWeights,
    WeightCard,
    WeightFacts,
    WeightsError,
    checkpoint_digest,
    is_zoo_name,
    list_weights,
    load_into,
    load_weights,
    register,
    weight_card,
)

FACTS = WeightFacts(
    licence="Apache-2.0",
    origin="made by this test",
    command="lustral train tiny",
    seed=0,
    data="none",
    cost={"seconds": 0.1, "device": "any"},
    scores={"accuracy": 0.5},
    architecture={"width": 4, "depths": [1, 2], "norm": None},
)


def tiny_net(seed=0):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    generator = torch.Generator().manual_seed(seed)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_(generator=generator)
    return net


def raw(header, body=b"", length=None):
    """A safetensors file from its parts, sound or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20_000_000))
    return path.read_bytes()


SOUND = save({"a": torch.arange(4.0)})

DAMAGED = {
    "empty": (b"", "empty file"),
    "seven_bytes": (b"1234567", "header of at most"),
    "header_only_length": (struct.pack("<Q", 2), "header of at most"),
    "cut_body": (SOUND[:-1], "expected sound safetensors"),
    "cut_header": (SOUND[:20], "header of at most"),
    "longer": (SOUND + b"\0", "expected sound safetensors"),
    "huge_length": (raw(b"{}", length=2**63), "header of at most"),
    "negative_length": (raw(b"{}", length=2**64 - 1), "header of at most"),
    "huge_header": (raw(b"{" + b" " * (9 * 2**20) + b"}"), "header of at most"),
    "no_json": (raw(b"not json"), "expected sound safetensors"),
    "not_utf8": (raw(b'{"\xff\xfe": 1}'), "expected sound safetensors"),
    "list": (raw([]), "expected sound safetensors"),
    "deep": (raw(b'{"a":' + b"[" * 100_000), "expected sound safetensors"),
    "overlap": (raw({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), "expected sound safetensors"),
    "hole": (raw({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)), "expected sound safetensors"),
    "beyond_end": (raw({"a": entry(0, 4000, [1000])}, bytes(4)), "expected sound safetensors"),
    "backwards": (raw({"a": entry(4, 0, [1])}, bytes(4)), "expected sound safetensors"),
    "negative_offset": (raw({"a": entry(-4, 0, [1])}, bytes(4)), "expected sound safetensors"),
    "wrong_shape": (raw({"a": entry(0, 4, [2])}, bytes(4)), "expected sound safetensors"),
    "negative_shape": (raw({"a": entry(0, 4, [-1])}, bytes(4)), "expected sound safetensors"),
    "overflowing_shape": (raw({"a": entry(0, 4, [2**40, 2**40])}, bytes(4)), "expected sound safetensors"),
    "unknown_type": (raw({"a": entry(0, 4, [1], "X32")}, bytes(4)), "expected sound safetensors"),
    "control_characters": (raw({"\x1b[2J": entry(4, 8, [1])}, bytes(4)), "expected sound safetensors"),
    "nan": (save({"ok": torch.ones(2), "bad": torch.tensor([1.0, float("nan")])}), "NaN or inf in 'bad'"),
    "infinite": (save({"bad": torch.tensor([float("inf")], dtype=torch.float16)}), "NaN or inf in 'bad'"),
    "nan_bfloat16": (save({"bad": torch.tensor([float("nan")], dtype=torch.bfloat16)}), "NaN or inf in 'bad'"),
    "nan_float8": (save({"bad": torch.tensor([float("nan")]).to(torch.float8_e5m2)}), "NaN or inf in 'bad'"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_file_is_refused_quickly_with_one_clear_line(name, tmp_path):
    data, words = DAMAGED[name]
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(data)
    start = time.process_time()
    with pytest.raises(WeightsError, match=words) as caught:
        load_weights(path)
    assert time.process_time() - start < 1
    assert name in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    for length in range(len(SOUND)):
        path.write_bytes(SOUND[:length])
        with pytest.raises(WeightsError):
            load_weights(path)


def test_any_flipped_bit_fails_the_pin(tmp_path):
    path = tmp_path / "a.safetensors"
    pin = hashlib.sha256(SOUND).hexdigest()
    for place in range(len(SOUND)):
        flipped = bytearray(SOUND)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(WeightsError, match="sha256 asked for"):
            load_weights(path, pin)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".PT", ".safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "zip", "legacy"])
def test_pickled_code_never_runs(writer, suffix, protocol, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / f"payload{suffix}"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Canary(canary), protocol))
    else:
        torch.save(
            Canary(canary), path, _use_new_zipfile_serialization=writer == "zip", pickle_protocol=max(protocol, 2)
        )
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    assert not canary.exists()
    if suffix != ".safetensors":
        assert "safetensors.torch.save_file" in str(caught.value)
    pickle.loads(pickle.dumps(Canary(canary)))  # the payload is live: opening it would have been seen
    assert canary.exists()


def test_archives_are_never_unpacked(tmp_path):
    path = tmp_path / "bomb.safetensors"
    assert len(zip_bomb(path)) < 100_000
    with pytest.raises(WeightsError, match="a pickle or an archive"):
        load_weights(path)


def test_round_trip_of_a_registered_network(tmp_path):
    net = tiny_net()
    card = register(tmp_path, "tiny", net.state_dict(), FACTS)
    loaded = load_weights("tiny", zoo=tmp_path)
    assert loaded.card == card == weight_card("tiny", tmp_path)
    assert loaded.sha256 == card.sha256 == hashlib.sha256((tmp_path / card.file).read_bytes()).hexdigest()
    assert card.architecture == FACTS.architecture
    other = tiny_net(seed=1)
    load_into(other, loaded)
    for key, tensor in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)
        assert other.state_dict()[key].dtype == tensor.dtype


def test_registering_is_reproducible_sorted_and_leaves_no_temporary_files(tmp_path):
    first = tiny_net().state_dict()
    names = ["zebra", "ant", "bee-2"]
    for name in names:
        register(tmp_path, name, first, FACTS)
    text = (tmp_path / "registry.json").read_text()
    assert list(json.loads(text)) == list(list_weights(tmp_path)) == sorted(names)
    backwards = dict(reversed(first.items()))
    assert register(tmp_path, "ant", backwards, FACTS).sha256 == list_weights(tmp_path)["zebra"].sha256
    assert (tmp_path / "registry.json").read_text() == text
    assert {one.name for one in tmp_path.iterdir()} == {"registry.json", *(f"{name}.safetensors" for name in names)}


def test_registering_takes_views_shared_and_trainable_tensors(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_()
    register(tmp_path, "views", {"a": tensor, "b": tensor.T, "c": tensor}, FACTS)
    tensors = load_weights("views", zoo=tmp_path).tensors
    assert torch.equal(tensors["b"], tensors["a"].T)
    assert not tensors["a"].requires_grad


def test_registering_at_the_same_time_loses_nothing(tmp_path):
    """Threads stand for processes: the lock belongs to an open file, not to a process."""

    def work(number):
        for round_number in range(5):
            register(tmp_path, f"net-{number}-{round_number}", {"a": torch.full((3,), float(number))}, FACTS)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(list_weights(tmp_path)) == 20


@pytest.mark.parametrize("name", ["", "../evil", "Upper", "a/b", "a.b", "x" * 65, "nul\0", "-dash", "a\n"], ids=ascii)
def test_bad_names_are_not_registered(name, tmp_path):
    with pytest.raises(WeightsError, match="bad name"):
        register(tmp_path, name, {"a": torch.ones(1)}, FACTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tensors", [{}, {"a": torch.tensor([float("nan")])}], ids=["none", "nan"])
def test_useless_weights_are_not_registered(tensors, tmp_path):
    with pytest.raises(WeightsError):
        register(tmp_path, "bad", tensors, FACTS)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_entry(tmp_path, monkeypatch):
    register(tmp_path, "net", {"a": torch.ones(2)}, FACTS)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        register(tmp_path, "net", {"a": torch.zeros(2)}, FACTS)
    assert load_weights("net", zoo=tmp_path).tensors["a"].tolist() == [1, 1]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_changed_file_of_the_zoo_is_refused(tmp_path):
    card = register(tmp_path, "net", {"a": torch.ones(2)}, FACTS)
    (tmp_path / card.file).write_bytes(save({"a": torch.zeros(2)}))
    with pytest.raises(WeightsError, match="sha256 in the registry"):
        load_weights("net", zoo=tmp_path)


def test_registered_weights_are_also_held_to_a_pin_of_the_caller(tmp_path):
    card = register(tmp_path, "net", {"a": torch.ones(2)}, FACTS)
    assert load_weights("net", card.sha256, zoo=tmp_path).sha256 == card.sha256
    with pytest.raises(WeightsError, match="sha256 asked for"):
        load_weights("net", "0" * 64, zoo=tmp_path)


def test_a_local_file_tells_its_hash(tmp_path):
    path = tmp_path / "local.safetensors"
    path.write_bytes(SOUND)
    loaded = load_weights(str(path))
    assert loaded.sha256 == hashlib.sha256(SOUND).hexdigest()
    assert loaded.card is None
    assert loaded.tensors["a"].tolist() == [0, 1, 2, 3]
    assert load_weights(path, loaded.sha256.upper()).sha256 == loaded.sha256


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(WeightsError, match="registry"):
        load_weights("anything", zoo=tmp_path)
    register(tmp_path, "first", {"a": torch.ones(1)}, FACTS)
    register(tmp_path, "second", {"a": torch.ones(1)}, FACTS)
    with pytest.raises(WeightsError, match=r"unknown weights 'third'; known: first, second"):
        load_weights("third", zoo=tmp_path)


def test_the_bytes_that_are_hashed_are_the_bytes_that_are_parsed(tmp_path, monkeypatch):
    """An attacker who replaces the file right after it was read changes nothing, and it is read once only."""
    card = register(tmp_path, "net", {"a": torch.ones(2)}, FACTS)
    evil = save({"a": torch.zeros(2)})
    reads = []

    def read_then_swap(path, *arguments):
        data = files.read_regular(path, *arguments)
        if str(path).endswith(".safetensors"):
            reads.append(path)
            Path(path).write_bytes(evil)
        return data

    monkeypatch.setattr(weights, "read_regular", read_then_swap)
    monkeypatch.setattr("safetensors.torch.load_file", None)
    loaded = load_weights("net", zoo=tmp_path)
    assert loaded.tensors["a"].tolist() == [1, 1]
    assert loaded.sha256 == card.sha256
    assert len(reads) == 1
    assert (tmp_path / card.file).read_bytes() == evil


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "named pipe"),
        (Path.mkdir, "a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "character device"),
        (lambda path: path.symlink_to("/etc/passwd"), "header of at most"),
        (lambda path: path.symlink_to("missing"), "No such file"),
        (lambda path: None, "No such file"),
    ],
    ids=["pipe", "folder", "device", "text", "dangling", "missing"],
)
def test_special_files_do_not_hang(make, words, tmp_path):
    path = tmp_path / "a.safetensors"
    make(path)
    with pytest.raises(WeightsError, match=words):
        load_weights(path)


def test_a_link_to_sound_weights_is_followed(tmp_path):
    (tmp_path / "real.safetensors").write_bytes(SOUND)
    (tmp_path / "link.safetensors").symlink_to("real.safetensors")
    assert load_weights(tmp_path / "link.safetensors").sha256 == hashlib.sha256(SOUND).hexdigest()


def test_size_limit_is_checked_before_reading(tmp_path):
    path = tmp_path / "sparse.safetensors"
    with open(path, "wb") as file:
        file.truncate(2**42)
    with pytest.raises(WeightsError, match="at most 4294967296 bytes, got 4398046511104"):
        load_weights(path)


def loaded_from(state, name="other"):
    return LoadedWeights(name, dict(state), "0" * 64)


def test_weights_of_another_network_are_refused_and_change_nothing():
    net = tiny_net()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state = tiny_net(seed=1).state_dict()
    del state["2.bias"]
    state["extra"] = torch.ones(1)
    state["0.weight"] = torch.ones(4, 4)
    with pytest.raises(WeightsError) as caught:
        load_into(net, loaded_from(state))
    message = str(caught.value)
    assert "1 missing ('2.bias')" in message
    assert "1 unexpected ('extra')" in message
    assert "1 of another shape ('0.weight' expected (4, 3) got (4, 4))" in message
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_only_the_first_few_names_are_listed():
    with pytest.raises(WeightsError, match=r"8 missing .*; .*; .*, \.\.\.") as caught:
        load_into(nn.Sequential(*(nn.Linear(2, 2) for _ in range(4))), loaded_from({}))
    assert len(str(caught.value)) < 300


BAD_REGISTRIES = {
    "no_json": "{",
    "list": "[]",
    "not_a_card": '{"net": 3}',
    "unknown_field": json.dumps({"net": FACTS.model_dump() | {"file": "a.safetensors", "sha256": "0" * 64, "evil": 1}}),
    "path_out": json.dumps({"net": FACTS.model_dump() | {"file": "../a.safetensors", "sha256": "0" * 64}}),
    "pickle": json.dumps({"net": FACTS.model_dump() | {"file": "a.pt", "sha256": "0" * 64}}),
    "short_hash": json.dumps({"net": FACTS.model_dump() | {"file": "a.safetensors", "sha256": "0" * 63}}),
    "no_licence": json.dumps(
        {"net": FACTS.model_dump() | {"licence": "", "file": "a.safetensors", "sha256": "0" * 64}}
    ),
    "nan_score": '{"net": {"scores": {"a": NaN}}}',
    "bad_name": json.dumps({"../net": FACTS.model_dump() | {"file": "a.safetensors", "sha256": "0" * 64}}),
    "deep": '{"net":' * 100_000,
}


@pytest.mark.parametrize("name", BAD_REGISTRIES)
def test_a_damaged_registry_is_one_clear_line(name, tmp_path):
    (tmp_path / "registry.json").write_text(BAD_REGISTRIES[name])
    with pytest.raises(WeightsError, match="cannot use") as caught:
        list_weights(tmp_path)
    assert "registry.json" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_shipped_registry_agrees_with_the_shipped_files():
    cards = list_weights()
    assert {card.file for card in cards.values()} == {path.name for path in ZOO.glob("*.safetensors")}
    for name, card in cards.items():
        assert isinstance(card, WeightCard)
        assert load_weights(name).sha256 == card.sha256


def test_shipped_purifiers_beat_no_defence_and_lose_at_most_ten_points():
    trained = [card for card in list_weights().values() if "test_accuracy_purified_attacked" in card.scores]
    assert trained
    for card in trained:
        scores = card.scores
        assert scores["test_accuracy_purified_attacked"] > scores["test_accuracy_attacked"], card.file
        assert scores["test_accuracy_purified_clean"] >= scores["test_accuracy_clean"] - 0.1, card.file


def test_shipped_restorers_beat_plain_jpeg():
    trained = [card for card in list_weights().values() if "psnr_jpeg" in card.scores]
    assert trained
    for card in trained:
        assert card.scores["psnr_restored"] > card.scores["psnr_jpeg"], card.file
        assert card.scores["ssim_restored"] > card.scores["ssim_jpeg"], card.file


def with_header(facts):
    return header_with_facts({"a": entry(0, 16, [4])}, facts) + SOUND[-16:]


def test_facts_come_from_the_card_or_from_the_header(tmp_path):
    card = register(tmp_path, "tiny", tiny_net().state_dict(), FACTS)
    facts = load_weights("tiny", zoo=tmp_path).facts
    assert facts == card.model_dump(mode="json")
    assert facts["architecture"] == FACTS.architecture
    assert load_weights(tmp_path / "tiny.safetensors").card == card  # the registry lies beside the file
    (tmp_path / "elsewhere").mkdir()
    alone = (tmp_path / "tiny.safetensors").rename(tmp_path / "elsewhere" / "tiny.safetensors")
    assert load_weights(alone).facts == {}
    (tmp_path / "tiny.safetensors").write_bytes(SOUND)
    assert load_weights(tmp_path / "tiny.safetensors").card is None  # the registry speaks of another file
    written = {"licence": "MIT", "origin": "1e3", "architecture": {"network": "x", "widths": [1, 2]}, "side": 32}
    (tmp_path / "a.safetensors").write_bytes(with_header(written))
    loaded = load_weights(tmp_path / "a.safetensors")
    assert loaded.facts == written
    assert torch.equal(loaded.tensors["a"], torch.arange(4.0))


def test_a_header_with_facts_is_cut_or_flipped_like_any_other(tmp_path):
    sound = with_header({"architecture": {"side": 8}, "side": 8})
    path = tmp_path / "a.safetensors"
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        with pytest.raises(WeightsError):
            load_weights(path)
    for place in range(8, len(sound) - 16):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x55]) + sound[place + 1 :])
        with contextlib.suppress(WeightsError):  # a changed letter inside a text cannot be seen without a pin
            load_weights(path)


def test_digests_of_weights_that_are_not_loaded(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(SOUND)
    assert checkpoint_digest(str(path)) == hashlib.sha256(SOUND).hexdigest() == load_weights(path).sha256
    assert checkpoint_digest(str(path), "ABC") == "abc"
    path.write_bytes(SOUND + b" ")
    assert checkpoint_digest(str(path)) == hashlib.sha256(SOUND + b" ").hexdigest()
    assert checkpoint_digest("cifar10_classifier") == weight_card("cifar10_classifier").sha256
    with pytest.raises(WeightsError, match="No such file"):
        checkpoint_digest(str(tmp_path / "b.safetensors"))
    assert [is_zoo_name(text) for text in ("cifar10_classifier", "./folder", "a.safetensors", "a/b")] == [
        True,
        False,
        False,
        False,
    ]


def test_a_network_without_memory_takes_the_tensors_in_its_own_precision():
    with torch.device("meta"):
        net = nn.Linear(3, 4)
    state = {"weight": torch.ones(4, 3, dtype=torch.float16), "bias": torch.zeros(4, dtype=torch.float16)}
    load_into(net, loaded_from(state))
    assert net(torch.ones(1, 3)).tolist() == [[3.0] * 4]
    assert net.weight.requires_grad
