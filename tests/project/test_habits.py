"""Rules of CONTRIBUTING.md that a program can check."""

import ast
import importlib
import inspect
import json
import re

import pytest

from lustral.attacks import ATTACKS
from lustral.data import DATA
from lustral.purifiers import PURIFIERS
from lustral.targets import TARGETS
from tests.project.habits import habits
from tests.project.public_names import FILE, public_names
from tests.project.shell import ROOT

FILES = sorted((ROOT / "src" / "lustral").rglob("*.py"))
RESTRICTED_UNPICKLER = (
    ROOT / "src" / "lustral" / "data" / "cifar_batches.py"
)  # official archives; admits byte arrays only
TRACE = re.compile(r"(?<![\w.~])/(work|root|home|Users|mnt)/")


def short(file):
    return str(file.relative_to(ROOT / "src"))


@pytest.mark.parametrize("file", FILES, ids=short)
def test_file_has_a_docstring_and_no_bad_habit(file):
    source = file.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), f"{short(file)} needs a first line that says what it is"
    allowed = ["imports pickle"] if file == RESTRICTED_UNPICKLER else []
    assert [habit.partition(": ")[2] for habit in habits(source)] == allowed


@pytest.mark.parametrize(
    ("source", "habit"),
    [
        ("print(1)", "prints"),
        ("eval('1')", "runs code from data with eval"),
        ("import torch\ntorch.manual_seed(0)", "sets the global random state with torch.manual_seed"),
        ("np.random.seed(0)", "uses the global random numbers of np.random.seed"),
        ("import random\nrandom.shuffle(x)", "uses the global random numbers of random.shuffle"),
        ("torch.randn(3)", "uses the global random numbers of torch.randn"),
        ("torch.load(f, weights_only=False)", "passes weights_only=False"),
        ("subprocess.run(x, shell=True)", "passes shell=True"),
        ("from pickle import loads", "imports pickle"),
        # In two pieces, so that this file itself names no machine.
        ("p = '/" + "home/me/data'", "path of one machine '/" + "home/me/data'"),
        ("try:\n    f()\nexcept:\n    pass", "catches everything"),
    ],
)
def test_bad_habits_are_found(source, habit):
    assert [line.partition(": ")[2] for line in habits(source)] == [habit]


def test_seeded_generators_are_no_bad_habit():
    assert habits("torch.randn(3, generator=g)\nnp.random.default_rng(0)") == []
    assert habits("import random\nrandom.Random(1).sample(x, 2)") == []
    assert habits("random = np.random.default_rng(0)\nrandom.uniform(0, 1)") == []


@pytest.mark.parametrize("cls", [*PURIFIERS.values(), *ATTACKS.values()], ids=lambda cls: cls.name)
def test_methods_name_their_source_and_explain_their_settings(cls):
    text = inspect.getdoc(cls)
    assert "Source:" in text
    assert cls.source
    common = {"norm", "epsilon"}
    if set(cls.__annotations__) & set(cls.model_fields) - common:
        assert "Args:" in text
    for field in set(cls.model_fields) - common:
        assert f"{field}:" in text or f"{field}," in text or f", {field}" in text, (
            f"{cls.name}.{field} is not explained"
        )


@pytest.mark.parametrize("cls", [*TARGETS.values(), *DATA.values()], ids=lambda cls: cls.name)
def test_targets_and_data_sets_say_what_they_are(cls):
    assert inspect.getdoc(cls)
    assert getattr(cls, "source", None) or cls.origin


def test_public_names_are_those_of_the_inventory():
    """A name that goes is a broken promise and needs a fragment in changes/; a name that comes is one more promise."""
    hint = f"if the change is meant: python -m tests.project.public_names, and commit {FILE.name}"
    assert public_names() == json.loads(FILE.read_text(encoding="utf-8")), hint


def test_every_public_name_exists():
    for module, names in public_names().items():
        for name in names:
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("folder", ["src", "docs", "examples", "recipes", "changes", "benchmarks"])
def test_no_file_speaks_of_one_machine(folder):
    kinds = (".py", ".md", ".toml", ".json", ".txt", ".j2", ".js", ".css")
    for file in (ROOT / folder).rglob("*"):
        if file.suffix in kinds and "_build" not in file.parts:
            text = file.read_text(encoding="utf-8")
            assert not TRACE.search(text), file
