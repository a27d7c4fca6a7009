"""Imports go down only (CONTRIBUTING.md, floors)."""

import ast
import pathlib
import sys

import pytest

import sparsenn

PACKAGE = pathlib.Path(sparsenn.__file__).parent

# Each name may import only names of lower floors; on floors marked with an order, only those before it.
FLOORS = [
    ["_jit", "_random", "results", "storage", "names"],
    {"rows", "metrics", "filters"},
    ["blocks"],
    ["traversal", "distance"],
    {"heap", "parallel"},
    [
        "postings",
        "termwise",
        "patterns",
        "blockwise",
        "rerank",
        "exact",
        "proxies",
        "compact",
        "descent",
        "heads",
        "forest",
        "neighborgraph",
        "graph",
        "search",
        "grouping",
        "countjoin",
        "sumjoin",
        "join",
        "minhash",
    ],
    ["planning", "calibration", "answers", "state", "building", "updates", "soundness", "snapshot", "living", "index"],
    {"adapters", "evaluation", "explanation", "clusters", "sklearn", "pynndescent"},
    [
        "linking",
        "dedup",
        "corpus",
        "hits",
        "text",
        "docstrings",
        "terminal",
        "catalogue",
        "demo",
        "report",
        "commands",
        "cli",
    ],
]
METRICS = [
    {"registry", "formulas"},
    ["embeddings"],
    ["angles", "differences", "sets", "divergences", "transport", "bits"],
]


def place(name, floors):
    for number, floor in enumerate(floors):
        if name in floor:
            return number, floor.index(name) if isinstance(floor, list) else 0
    raise AssertionError(f"{name} stands on no floor: add it to tests/test_architecture.py and CONTRIBUTING.md")


def imported(path, prefix):
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == prefix else [node.module]
        found |= {name[len(prefix) + 1 :].split(".")[0] for name in names if name.startswith(prefix + ".")}
    home = PACKAGE / pathlib.Path(*prefix.split(".")[1:])
    return {name for name in found if (home / f"{name}.py").exists() or (home / name).is_dir()}


MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in {"__init__", "__main__"})


@pytest.mark.parametrize("module", [*MODULES, "metrics", "pynndescent"])
def test_modules_import_only_what_stands_below(module):
    own = PACKAGE / module
    paths = list(own.glob("*.py")) if own.is_dir() else [PACKAGE / f"{module}.py"]
    for path in paths:
        for other in imported(path, "sparsenn") - {module, "__version__"}:
            assert place(other, FLOORS) < place(module, FLOORS), f"{module} imports {other}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "metrics").glob("*.py")), ids=lambda p: p.stem)
def test_metrics_know_nothing_of_storage_and_families_stand_apart(path):
    assert imported(path, "sparsenn") <= {"metrics", "_jit"}
    if path.stem == "__init__":
        return
    for other in imported(path, "sparsenn.metrics"):
        assert place(other, METRICS) < place(path.stem, METRICS), f"{path.stem} imports {other}"


@pytest.mark.parametrize(
    "module",
    [
        "traversal",
        "distance",
        "heap",
        "parallel",
        "postings",
        "termwise",
        "patterns",
        "blockwise",
        "rerank",
        "proxies",
        "compact",
        "descent",
        "heads",
        "forest",
        "neighborgraph",
        "graph",
        "search",
        "grouping",
        "countjoin",
        "sumjoin",
        "calibration",
        "answers",
        "state",
        "updates",
        "soundness",
        "snapshot",
    ],
)
def test_the_core_knows_no_metrics_name(module):
    import sparsenn.metrics

    names = set(sparsenn.metrics.names())
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    literals = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not names & literals


def test_numba_is_configured_in_one_file():
    for path in PACKAGE.rglob("*.py"):
        if path.name == "_jit.py":
            continue
        text = path.read_text(encoding="utf-8")
        assert "@numba." not in text, path
        assert "numba.njit(" not in text, path


def test_supported_python():
    assert sys.version_info >= (3, 11)
