"""Adding a purifier takes one new file, its line in the dictionary and a golden value; the rest follows.

Done as CONTRIBUTING.md says, in a copy of the tree.
"""

import json
import re
import shutil

import pytest

from tests.project.shell import ROOT, lustral, python

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
RECIPE = """
name = "added"
chunk = 4
pictures = 1
protocol = { checks = false }

[[suite]]
name = "scenes"
data = "scenes:split=test,count=4"
target = "scenes_classifier"
defences = ["desaturate:share=0.5"]

[[suite.attack]]
label = "FGSM"
attack = "fgsm"
main = true
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with the purifier of the guide."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("src", "tests", "docs", "recipes"):
        hide = shutil.ignore_patterns("__pycache__", "_build")
        shutil.copytree(ROOT / name, root / name, ignore=hide)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    (root / EXAMPLE[1]).write_text(EXAMPLE[2])
    listing = root / "src" / "lustral" / "purifiers" / "__init__.py"
    text = listing.read_text()
    for place, line in (
        ("from lustral.purifiers.diff_jpeg import", "from lustral.purifiers.desaturate import Desaturate\n"),
        ("        Chain,\n        Repeat,", "        Desaturate,\n"),
    ):
        assert text.count(place) == 1
        text = text.replace(place, line + place)
    listing.write_text(text)
    return root


def inside(tree, *arguments):
    return python(*arguments, cwd=tree, source=tree / "src")


def run_tests(tree, *arguments):
    return inside(tree, "-m", "pytest", "-p", "no:cacheprovider", "-k", "desaturate", *arguments)


def test_the_guide_shows_the_lines_that_are_added():
    assert "from lustral.purifiers.desaturate import Desaturate" in GUIDE
    assert "        Desaturate,\n" in GUIDE


def test_contracts_command_line_tables_and_report_pick_it_up(tree):
    listed = lustral("list", "purifiers", "--json", cwd=tree, source=tree / "src")
    (row,) = [row for row in json.loads(listed.stdout) if row["name"] == "desaturate"]
    assert row["settings"] == {"share": 0.5}

    before = run_tests(tree, "tests/purifiers/test_golden.py")
    assert before.returncode == 1
    assert "desaturate has no golden value: run `make golden`" in before.stdout

    golden = tree / "tests" / "golden" / "purifiers.json"
    old = json.loads(golden.read_text())["values"]
    made = inside(tree, "-m", "tests.golden", "purifiers")
    assert made.returncode == 0, made.stderr
    new = json.loads(golden.read_text())["values"]
    assert set(new) - set(old) == {"desaturate"}

    passed = run_tests(tree, "tests/purifiers/test_golden.py", "tests/purifiers/test_contracts.py")
    assert passed.returncode == 0, passed.stdout
    assert int(re.search(r"(\d+) passed", passed.stdout)[1]) > 30, "at its defaults and at three presets"

    assert inside(tree, "-m", "tests.project.tables").returncode == 0
    for page in ("README.md", "docs/purifiers.md"):
        assert "| `desaturate` |" in (tree / page).read_text()

    (tree / "added.toml").write_text(RECIPE)
    run = lustral("run", "added.toml", "--out", "out", "--workers", "0", cwd=tree, source=tree / "src")
    assert run.returncode == 0, run.stderr
    rows = json.loads((tree / "out" / "table.json").read_text())
    assert {row["defence"] for row in rows} == {"identity", "desaturate:share=0.5"}
    assert "desaturate" in (tree / "out" / "report" / "index.html").read_text()
