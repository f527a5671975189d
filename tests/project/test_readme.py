"""The README says what is true: tables are those of the dictionaries, the example runs, links lead somewhere."""

import re

import pytest

from lustral.catalogue import catalogue
from lustral.purifiers import PURIFIERS
from tests.project.shell import ROOT, python
from tests.project.tables import BLOCK, TABLES, filled, pages

README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_MODEL = re.search(r"<!-- example: own model -->\n```python\n(.*?)```", README, re.DOTALL)
PROSE = [*pages(), *ROOT.glob("docs/results/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_tables_are_those_of_the_dictionaries(page):
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, f"{page.name} is out of date: run `make tables`"


def test_a_new_purifier_makes_the_table_of_the_readme_out_of_date(monkeypatch):
    class Mine(PURIFIERS["identity"]):
        """Do nothing, again."""

        name = "mine"

    monkeypatch.setitem(PURIFIERS, "mine", Mine)
    assert filled(README) != README
    assert "| `mine` | Do nothing, again. |" in filled(README)


def test_every_kind_has_its_table_in_the_readme():
    assert {found["name"] for found in BLOCK.finditer(README)} >= {"purifiers", "attacks", "targets", "data"}
    for page in pages():
        heads = re.findall(r"<!-- table: (.*?) -->", page.read_text(encoding="utf-8"))
        assert set(heads) <= set(TABLES), page
        assert len(heads) == len(BLOCK.findall(page.read_text(encoding="utf-8"))), f"a table of {page} has no end"


@pytest.mark.parametrize("kind", ["purifiers", "attacks", "targets", "data"])
def test_no_table_line_is_broken_by_the_text_in_it(kind):
    lines = TABLES[kind]().splitlines()
    assert len(lines) == len(catalogue(kind)) + 2
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_example_runs_as_printed(tmp_path):
    done = python("-W", "error", "-c", OWN_MODEL[1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^    (\w+ accuracy .*)$", README, re.MULTILINE)
    assert len(shown) == 2
    for line in shown:
        (printed,) = re.findall(rf"^{line.split()[0]} accuracy .*$", done.stdout, re.MULTILINE)
        # Processors differ in the last bits, so an image or two may fall on the other side.
        assert percents(printed) == pytest.approx(percents(line), abs=7), "the README shows another output"


def percents(line):
    return [float(number) for number in re.findall(r"([\d.]+)%", line)]


def test_the_example_takes_a_module_of_the_reader(tmp_path):
    own = "model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10)).eval()"
    code, changed = re.subn(r"^model = .*$", own, OWN_MODEL[1], flags=re.MULTILINE)
    assert changed == 1
    done = python("-W", "error", "-c", code.replace("count=32", "count=10"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "robust accuracy" in done.stdout


def test_the_example_is_short():
    assert len([line for line in OWN_MODEL[1].splitlines() if line and not line.startswith("#")]) <= 10


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in link and not link.startswith("mailto:"):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("name", ["own_model.py", "own_purifier.py"])
def test_examples_run(name, tmp_path):
    done = python("-W", "error", ROOT / "examples" / name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "robust accuracy" in done.stdout
