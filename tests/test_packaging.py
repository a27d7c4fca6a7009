import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib

import pytest

import sparsenn as sn


def readme_command(root, name):
    """The command below a mark, found as .ci/run does it."""
    lines = (root / "README.md").read_text("utf-8").splitlines()
    at = lines.index(f"<!-- ci: {name} -->")
    assert lines[at + 1].startswith("```")
    block = lines[at + 2 : lines.index("```", at + 2)]
    assert len(block) == 1
    return block[0]


def test_the_readme_has_two_commands_that_set_up_all_they_need(root):
    for name, ending in (("demo", ".venv/bin/sparsenn demo"), ("test", ".venv/bin/pytest -n 2")):
        command = readme_command(root, name)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert command.endswith(ending)
    assert len(re.findall("<!-- ci: ", (root / "README.md").read_text("utf-8"))) == 2


def test_the_ci_script_reads_the_readme(root):
    script = (root / ".ci" / "run").read_text("utf-8")
    assert "readme_command demo" in script
    assert "readme_command test" in script
    assert os.name == "nt" or os.access(root / ".ci" / "run", os.X_OK)


def test_the_version_is_one(root):
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "sparsenn/__init__.py"
    assert f"## {sn.__version__}" in (root / "CHANGELOG.md").read_text("utf-8")
    try:
        installed = importlib.metadata.version("sparsenn")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("sparsenn is run from its source, not installed")
    assert installed == sn.__version__


def test_all_extras_are_in_all(root):
    extras = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = re.fullmatch(r"sparsenn\[(.*)\]", extras["all"][0])[1].split(",")
    assert sorted(named) == sorted(set(extras) - {"all"})


def test_the_package_is_typed(root):
    assert (root / "sparsenn" / "py.typed").is_file()


@pytest.mark.parametrize("module", ["sklearn", "click", "tqdm", "pandas", "narwhals", "pyarrow", "matplotlib"])
def test_importing_loads_nothing_heavy(root, module, loaded):
    assert module not in loaded


@pytest.fixture(scope="module")
def loaded(root):
    code = "import sys, sparsenn; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert "sparsenn" in names
    return names


EXAMPLES = ["tfidf_search.py", "market_baskets.py", "document_search.py", "name_matching.py", "one_hot_neighbors.py"]
EXAMPLES += ["topic_histograms.py", "set_queries.py", "dense_vectors.py"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(root, example):
    path, name = repr(str(root / "examples" / example)), "run_name='__main__'"
    code = f"import runpy, sys; sys.path.insert(0, {str(root)!r}); runpy.run_path({path}, {name})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) > 3
    assert not done.stderr
