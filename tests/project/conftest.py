import pytest

from tests.project.shell import lustral

TINY = """
name = "tiny"
title = "One defence, one attack, eight pictures"
chunk = 8
pictures = 1

[protocol]
checks = false

[[suite]]
name = "scenes"
data = "scenes:split=test,count=8"
target = "scenes_classifier"
defences = ["flip"]

[[suite.attack]]
label = "FGSM"
attack = "fgsm:epsilon=8/255"
access = "exact"
main = true
"""


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A folder with ``tiny.toml`` and its finished run in ``out``."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY)
    done = lustral("run", "tiny.toml", "--out", "out", "--workers", "0", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder
