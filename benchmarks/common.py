"""What the benchmarks share: finding the package, timing in turns, tables and files of results."""

import argparse
import atexit
import csv
import datetime
import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "RESULTS.md"
TURN = 0.2  # seconds that a system has in one turn, at least

if importlib.util.find_spec("sparsenn") is None:  # run from a checkout, not installed
    sys.path.insert(0, str(ROOT))


def child_environment(**more: str) -> dict[str, str]:
    """Environment of a subprocess that finds the same package."""
    package = str(Path(importlib.util.find_spec("sparsenn").origin).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


@functools.cache
def cache_folder() -> Path:
    """A folder for files between processes, removed at the end."""
    folder = tempfile.TemporaryDirectory(prefix="sparsenn-bench-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def peer(module: str) -> Any:
    """Import a system to compare with, or return None and say how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"{module} is not installed, so it is left out: pip install .[bench]")
        return None


@dataclass(frozen=True)
class Timing:
    """Seconds of several runs, and what the first run returned."""

    seconds: tuple[float, ...]
    result: Any

    @property
    def best(self) -> float:
        """The least."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def touch_memory(size: int = 2**30) -> None:
    """Have memory at hand before a timing.

    A virtual machine may give freed memory back to its host after two seconds, and get it again at 3 ms a MB: what a
    system allocates would then cost it more than its work. On other machines this does nothing.
    """
    np.empty(size, np.uint8)[::4096] = 1


def in_turns(systems: dict[str, Callable[[], Any]], rounds: int = 5, patience: float = 20.0) -> dict[str, Timing]:
    """Time several systems in turns, so that a machine that speeds up or slows down does so for all.

    The first run of each is not counted (it loads or compiles), but where all of them together take
    longer than `patience` seconds, one counted round has to do. Something short runs several times in
    its turn: the first finds the processor's caches full of another system's data.
    """
    results, spent = {}, 0.0
    for name, function in systems.items():
        results[name], seconds = _timed(function)
        spent += seconds
    runs: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds if spent < patience else 1):
        for name, function in systems.items():
            turn = 0.0
            while turn < TURN:
                runs[name].append(_timed(function)[1])
                turn += runs[name][-1]
    return {name: Timing(tuple(runs[name]), results[name]) for name in systems}


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


@dataclass(frozen=True)
class Line:
    """One comparison: what was done, our figure, the other's, their ratio and the target."""

    task: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    at_most: float | None = None  # target of ours / theirs, or of our figure where there is no other
    at_least: float | None = None  # target of theirs / ours
    note: str = ""
    as_times: bool = False  # show theirs / ours, though there is no target

    @property
    def times(self) -> bool:
        """Whether the ratio is "so many times as fast"."""
        return self.as_times or self.at_least is not None

    @property
    def ratio(self) -> float | None:
        """Ours / theirs; the other way round for "so many times as fast"."""
        if self.theirs is None:
            return None
        return self.theirs / self.ours if self.times else self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.at_most is not None:
            return (self.ours if self.ratio is None else self.ratio) <= self.at_most
        return None

    def cells(self) -> list[str]:
        """Texts of the table's columns."""
        ratio = "" if self.ratio is None else f"{_digits(self.ratio)}×" if self.times else f"{self.ratio:.2f}"
        unit = self.unit if self.theirs is None and self.at_most is not None else ""
        target = ""
        if self.at_least is not None:
            target = f"≥ {self.at_least:g}×"
        elif self.at_most is not None:
            target = f"≤ {self.at_most:g} {unit}".rstrip()
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        theirs = "" if self.theirs is None else _figure(self.theirs, self.unit)
        return [self.task, _figure(self.ours, self.unit), self.peer, theirs, ratio, target, verdict, self.note]


COLUMNS = ["task", "sparsenn", "other", "its figure", "ratio", "target", "", "note"]


def _digits(value: float) -> str:
    """Three digits, but no more than three behind the point."""
    behind = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:,.{min(behind, 3)}f}"


def _figure(value: float, unit: str) -> str:
    return f"{_digits(value)} {unit}".rstrip()


class Report:
    """Sections of one script: each is printed, kept as CSV, and written into RESULTS.md if asked for."""

    def __init__(self, script: str, options: argparse.Namespace):
        self.script = Path(script).stem
        self.write, self.quick = options.write, options.quick
        self.started = datetime.datetime.now()

    def section(self, title: str, lines: Sequence[Line], about: str = "") -> None:
        """Show one table; in RESULTS.md it takes the place of the section of the same script and title."""
        if self.quick or "(generated)" in title + about:  # the targets are for the real data, all of it
            lines = [replace(line, at_most=None, at_least=None, as_times=line.times) for line in lines]
        print(f"\n{title}\n{about}\n" if about else f"\n{title}\n", flush=True)
        cells = [COLUMNS, *(line.cells() for line in lines)]
        _print_cells(cells)
        self._save_csv(title, lines)
        if self.write:
            self._save_markdown(title, cells, about)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], about: str = "") -> None:
        """Show figures that are no comparisons, in columns of their own; kept as a section is."""
        print(f"\n{title}\n{about}\n" if about else f"\n{title}\n", flush=True)
        cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
        _print_cells([list(columns), *cells])
        path = self._results(f"-{'-'.join(re.findall(r'[a-z0-9]+', title.lower()))}")
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["date", "commit", *columns], *([*self._stamp(), *row] for row in rows)])
        if self.write:
            self._save_markdown(title, [list(columns), *cells], about)

    def _stamp(self) -> list[str]:
        return [self.started.isoformat(" ", "seconds"), commit()]

    def _results(self, more: str = "") -> Path:
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        return folder / f"{self.script}-{self.started:%Y%m%d-%H%M%S}{more}.csv"

    def _save_csv(self, title: str, lines: Sequence[Line]) -> None:
        path = self._results()
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                names = "task sparsenn unit other its_figure ratio at_most at_least met note"
                writer.writerow(["date", "commit", "section", *names.split()])
            for line in lines:
                figures = [line.ours, line.unit, line.peer, line.theirs, line.ratio, line.at_most, line.at_least]
                writer.writerow([*self._stamp(), title, line.task, *figures, line.met, line.note])

    def _save_markdown(self, title: str, cells: Sequence[Sequence[str]], about: str) -> None:
        begin, end = (f"<!-- {self.script}: {title}: {which} -->" for which in ("begin", "end"))
        rows = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        parts = [begin, f"## {title}", *([about] if about else []), table, f"<sub>{header()}</sub>", end]
        section = "\n\n".join(parts)
        text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else INTRODUCTION
        before, found, rest = text.partition(begin)
        text = before + section + rest.partition(end)[2] if found else f"{text.rstrip()}\n\n{section}\n"
        RESULTS.write_text(text, encoding="utf-8")


INTRODUCTION = """# Results

Written by the scripts beside this file (`--write`); each section says where and how it was measured. Figures of one
table come from one run, the systems taking turns; the best of several runs counts. A ratio without × is sparsenn's
figure divided by the other's; with × it is how many times as fast sparsenn is.
"""


def _print_cells(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
    sys.stdout.flush()


def header() -> str:
    """Machine, versions, date, commit and command, in one line."""
    packages = ["numpy", "scipy", "numba", "scikit-learn", "sparse-dot-topn", "pyvsag", "pynndescent"]
    packages += ["pyseismic-lsr", "kannolo", "nmslib-metabrainz", "hnswlib", "bm25s", "datasets"]
    versions = [f"Python {platform.python_version()}"]
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    machine = f"{processor()}, {os.cpu_count()} cores, {platform.system()}"
    return f"{datetime.date.today()}, commit {commit()}; {machine}; {', '.join(versions)}; `{command}`"


def processor() -> str:
    """Name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """Short commit of the checkout; "+" where the package has changes that are not committed."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", "sparsenn") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def arguments(doc: str, parts: Sequence[str]) -> argparse.ArgumentParser:
    """Parser with the options that all scripts have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="A,B", default=",".join(parts), help=f"of {', '.join(parts)}")
    parser.add_argument("--quick", action="store_true", help="small parts of the data: shows that it runs, no more")
    parser.add_argument("--write", action="store_true", help="put the tables into RESULTS.md")
    return parser


def parse(parser: argparse.ArgumentParser, parts: Sequence[str]) -> argparse.Namespace:
    """Read the command line, and check it."""
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = sorted(set(options.only) - set(parts))
    if unknown:
        parser.error(f"--only takes {', '.join(parts)}; got {', '.join(unknown)}")
    if options.quick and options.write:
        parser.error("--quick is no measurement: not with --write")
    return options
