"""Habits that this project does not have, found in the syntax tree of a file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

ALLOWED_RANDOM = {"default_rng", "Generator", "Philox", "PCG64", "SeedSequence", "Random", "SystemRandom"}
GLOBAL_SEEDS = {"torch.manual_seed", "torch.seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "bernoulli", "normal", "multinomial"}
CODE_FROM_DATA = {"eval", "exec", "compile", "__import__"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
MACHINE_PATH = re.compile(r"^/(work|root|home|Users|mnt)(/|$)")


def habits(source: str) -> list[str]:
    """One line per bad habit, with its line number."""
    tree = ast.parse(source)
    # People call a generator "random"; then its methods are not those of the module.
    imported = any(isinstance(node, ast.Import) and node.names[0].name == "random" for node in ast.walk(tree))
    modules = ("np.random", "numpy.random", *(("random",) if imported else ()))
    found: list[str] = []
    for node in ast.walk(tree):
        found += [f"line {node.lineno}: {what}" for what in _habits_of(node, modules)]
    return found


def _habits_of(node: ast.AST, modules: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Call):
        yield from _call(node, modules)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from (f"imports {name}" for name in names if name.partition(".")[0] in PICKLES)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE_PATH.match(node.value):
        yield f"path of one machine {node.value!r}"
    elif isinstance(node, ast.ExceptHandler) and node.type is None:
        yield "catches everything"


def _call(node: ast.Call, modules: tuple[str, ...]) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name == "print":
        yield "prints"
    if name in CODE_FROM_DATA:
        yield f"runs code from data with {name}"
    if name in GLOBAL_SEEDS:
        yield f"sets the global random state with {name}"
    module, _, function = name.rpartition(".")
    if module in modules and function not in ALLOWED_RANDOM:
        yield f"uses the global random numbers of {name}"
    own_generator = any(keyword.arg == "generator" for keyword in node.keywords)
    if module == "torch" and function in TORCH_DRAWS and not own_generator:
        yield f"uses the global random numbers of {name}"
    for keyword in node.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if (keyword.arg, value) in (("weights_only", False), ("shell", True), ("verify", False)):
            yield f"passes {keyword.arg}={value}"
