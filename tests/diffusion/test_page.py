"""The example of docs/diffusion.md runs as printed."""

from tests.project.shell import python
from tests.project.test_docs import blocks


def test_the_example_runs(tmp_path):
    first, second = blocks("diffusion.md", "python")
    assert "print" in first
    done = python("-W", "error", "-c", first + second, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tensor(") == 2
