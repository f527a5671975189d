"""The contract suite over every purifier, at its defaults and at every preset, and checks of the dict itself."""

import subprocess
import sys

import pytest

from lustral.purifiers import PURIFIERS, parse_purifier
from tests.contracts.purifiers import PurifierContract
from tests.purifiers.examples import every_case


class TestPurifiers(PurifierContract):
    cases = every_case()


@pytest.mark.parametrize("name", PURIFIERS)
def test_names_of_files_keys_and_classes_agree(name: str) -> None:
    cls = PURIFIERS[name]
    assert cls.name == name
    assert cls.__module__.rpartition(".")[2] in (name, "compose")


@pytest.mark.parametrize("settings", every_case(), ids=str)
def test_json_of_every_purifier_parses_by_name(settings: object) -> None:
    assert parse_purifier(settings.to_json()) == settings


def test_importing_the_settings_loads_no_torch() -> None:
    code = (
        "import sys; from lustral.purifiers import parse_purifier; parse_purifier('jpeg | flip').to_json(); "
        "print([m for m in ('torch', 'kornia', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
