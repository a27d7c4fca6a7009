"""The docstrings of installed packages, read from their source (nothing is imported), kept on disk."""

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

FORMAT = 1  # goes up when reading changes, so that older caches are not used
SHORTEST = 60  # characters of a docstring worth comparing
PACKAGES = {"numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}
SKIPPED = {"tests", "test", "testing", "site-packages", "dist-packages", "__pycache__", "distutils", "idlelib"}
SKIPPED |= {"lib2to3", "_lib", "externals", "_vendor", "array_api_compat", "array_api_extra"}


class Docstring(NamedTuple):
    """A public function, class, method or module, and what it says of itself."""

    package: str
    name: str
    text: str

    @property
    def summary(self) -> str:
        """First paragraph, without the signature that compiled functions begin with."""
        paragraphs = [" ".join(p.split()) for p in self.text.strip().split("\n\n")]
        return next((p for p in paragraphs if not re.fullmatch(r"[\w.]+\(.*\)", p)), "")

    @property
    def words(self) -> str:
        """Own name, in words."""
        return self.name.rpartition(".")[2].replace("_", " ")


def cache_dir() -> pathlib.Path:
    """Folder for what can be made again: XDG_CACHE_HOME or LOCALAPPDATA where set, else the system's."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.environ.get(variable):
            return pathlib.Path(os.environ[variable]) / "sparsenn"
    return pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "sparsenn"


def installed() -> list[tuple[str, pathlib.Path]]:
    """Names and folders of the standard library, numpy, scipy and scikit-learn."""
    roots = [("python", pathlib.Path(sysconfig.get_path("stdlib")))]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots.append((package, pathlib.Path(spec.submodule_search_locations[0])))
    return roots


def cache_file() -> pathlib.Path:
    """File of the cached docstrings; its name changes with the versions they come from."""
    versions = [importlib.metadata.version(distribution) for distribution in PACKAGES.values()]
    key = repr((FORMAT, sys.version, versions))
    return cache_dir() / f"docstrings-{hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()[:12]}.json"


def load_docstrings(
    roots: Iterable[tuple[str, pathlib.Path]] | None = None,
    cache: pathlib.Path | None = None,
    progress: Callable[[list[Any]], Iterable[Any]] = iter,
) -> tuple[list[Docstring], bool]:
    """Read the docstrings from the cache, or from the sources when there is none that can be read.

    Parameters
    ----------
    roots : iterable of (str, Path), optional
        Packages and their folders; `installed` if not given.
    cache : Path, optional
        `cache_file` if not given.
    progress : callable, optional
        Wraps the list of source files, e.g. to show a bar.

    Returns
    -------
    docstrings : list of Docstring
    cached : bool
        Whether they came from the cache.
    """
    cache = cache_file() if cache is None else cache
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        found = [Docstring(*map(str.__str__, item)) for item in json.loads(cache.read_text("utf-8"))]
        if found:
            return found, True
    docstrings = read_docstrings(installed() if roots is None else roots, progress)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time at the next run, no more
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(docstrings), "utf-8")
        draft.replace(cache)
    return docstrings, False


def read_docstrings(
    roots: Iterable[tuple[str, pathlib.Path]], progress: Callable[[list[Any]], Iterable[Any]] = iter
) -> list[Docstring]:
    """Read the docstrings of every public name below the roots, each name once."""
    files = [(package, root, path) for package, root in roots for path in source_files(root)]
    found: dict[str, Docstring] = {}
    for package, root, path in progress(files):
        parts = list(path.relative_to(root).with_suffix("").parts)
        module = ([] if package == "python" else [package]) + [part for part in parts if part != "__init__"]
        for where, name, text in module_docstrings(path, module):
            public = public_name(where, name)
            if public and len(text) >= SHORTEST:
                found.setdefault(public, Docstring(package, public, text))
    return list(found.values())


def source_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Python files below a folder, tests and copies of other packages left out, in a fixed order."""
    files: list[pathlib.Path] = []
    for folder, folders, inside in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED)
        files.extend(pathlib.Path(folder, file) for file in sorted(inside) if file.endswith(".py"))
    return files


def module_docstrings(path: pathlib.Path, module: list[str]) -> Iterator[tuple[list[str], list[str], str]]:
    """Yield (module, name within it, docstring) for all that a file documents; nothing if it cannot be parsed."""
    try:
        source = path.read_text("utf-8")
        with warnings.catch_warnings():  # old sources warn of their own escapes
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return
    if text := ast.get_docstring(tree):
        yield module, [], text
    yield from _documented(tree.body, module, [])


def _documented(
    body: list[ast.stmt], module: list[str], inside: list[str]
) -> Iterator[tuple[list[str], list[str], str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = [*inside, node.name]
            if text := ast.get_docstring(node):
                yield module, name, text
            if isinstance(node, ast.ClassDef):
                yield from _documented(node.body, module, name)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _added(node.value, module)


def _added(call: ast.Call, module: list[str]) -> Iterator[tuple[list[str], list[str], str]]:
    """Documentation of compiled functions: ``add_newdoc(place, name, text)``, or ``(name, (attribute, text))``."""
    if getattr(call.func, "attr", getattr(call.func, "id", "")) != "add_newdoc":
        return
    try:
        *where, text = [ast.literal_eval(argument) for argument in call.args]
    except ValueError:
        return
    if isinstance(text, tuple) and len(text) == 2:
        where, text = [*where, text[0]], text[1]
    name = where[1:] if module[0] == "numpy" else where
    if isinstance(text, str) and name and all(isinstance(part, str) and part.isidentifier() for part in name):
        place = where[0].split(".") if module[0] == "numpy" else module
        yield place, name, text.strip()


def public_name(module: list[str], name: list[str]) -> str:
    """Dotted name under which a user finds it, or "" for what is private.

    Private modules hold what the package around them shows: ``numpy.linalg._linalg.inv`` is
    ``numpy.linalg.inv``; and most of numpy's two inner packages is shown by numpy itself.
    """
    shown = []
    for part in module:
        if part.startswith("_"):
            break
        shown.append(part)
    if shown[:2] == ["numpy", "lib"] and len(shown) < len(module):
        shown = shown[:1]
    if not shown or any(part.startswith("_") for part in name) or (not name and shown != module):
        return ""
    return ".".join([*shown, *name])
