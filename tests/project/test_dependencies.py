"""pyproject.toml, constraints.txt and what is installed agree."""

import importlib.metadata
import importlib.util
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.project.shell import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
ALL = {canonicalize_name(requirement.name): requirement for requirement in [*CORE, *EXTRAS]}


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line.partition("#")[0]) for line in lines if re.match(r"[A-Za-z0-9]", line)]
    return {canonicalize_name(pin.name): pin for pin in wanted}


def test_every_direct_dependency_is_pinned_inside_its_range():
    fixed = pins()
    assert set(ALL) <= set(fixed), f"constraints.txt lacks {sorted(set(ALL) - set(fixed))}"
    for name, requirement in ALL.items():
        (specifier,) = fixed[name].specifier
        assert specifier.operator == "==", f"{name} is not pinned: {fixed[name]}"
        assert Version(specifier.version) in requirement.specifier, f"{fixed[name]} is outside {requirement}"


@pytest.mark.parametrize("requirement", CORE, ids=lambda requirement: requirement.name)
def test_installed_versions_are_inside_the_ranges(requirement):
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


@pytest.mark.parametrize("requirement", CORE, ids=lambda requirement: requirement.name)
def test_every_core_dependency_has_a_lower_bound_and_says_who_needs_it(requirement):
    assert any(part.operator in (">=", "==", "~=") for part in requirement.specifier)
    (line,) = [line for line in PYPROJECT.splitlines() if line.strip().startswith(f'"{requirement.name}>')]
    assert "#" in line, f"say in pyproject.toml which file needs {requirement.name}"


def test_the_version_is_the_same_everywhere():
    import lustral

    assert lustral.__version__ == PROJECT["version"]
