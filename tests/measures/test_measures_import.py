from __future__ import annotations

import subprocess
import sys


def test_importing_measures_loads_neither_torch_nor_the_slow_part_of_scipy():
    code = "import sys, lustral.measures; print([m for m in ('torch', 'scipy.stats', 'skimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists_and_is_documented():
    from lustral import measures

    for name in measures.__all__:
        assert getattr(measures, name).__doc__
