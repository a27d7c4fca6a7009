"""Recall against time a query: measuring many settings of many systems, and reading and drawing the curves."""

import csv
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import common
import judge
import numpy as np
import numpy.typing as npt

ENOUGH = 3.0  # seconds: a setting that has had them is not timed again
PATIENCE = 45.0  # seconds: a system that has had them in the first round is not asked for more settings
COLOURS = {
    "sparsenn": "C3",
    "sparsenn, exact": "C3",
    "PyNNDescent": "C0",
    "SINDI": "C1",
    "Seismic": "C2",
    "nmslib": "C4",
    "kANNolo": "C5",
    "hnswlib": "C6",
    "sparse_dot_topn": "C7",
}
EXACT = ("sparsenn, exact", "sparse_dot_topn")  # one point each, drawn as stars


class Searcher(Protocol):
    """A built index with its queries."""

    build_seconds: float

    def search(self, setting: Any, k: int) -> Any:
        """Ask all queries; raw results."""

    def ids(self, found: Any, k: int) -> npt.NDArray[np.int64]:
        """Raw results as ids."""


@dataclass(frozen=True)
class Sweep:
    """A built system, and the settings it is asked with, from fast to slow."""

    system: str
    searcher: Searcher
    settings: dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One setting of one system: seconds of the build, recall, microseconds a query."""

    data: str
    system: str
    setting: str
    build: float
    recall: float
    micro: float


def measure(name: str, sweeps: Sequence[Sweep], k: int, truth: judge.Truth, worst: float, rounds: int) -> list[Point]:
    """Time all settings, the systems taking turns; judge all answers by one truth."""
    for sweep in sweeps:
        sweep.searcher.search(next(iter(sweep.settings.values())), k)  # compiles, fills caches: not counted
    seconds: dict[tuple[int, str], list[float]] = {}
    answers: dict[tuple[int, str], npt.NDArray[np.int64]] = {}
    for turn in range(rounds):
        for number, sweep in enumerate(sweeps):
            start = time.perf_counter()
            for setting, value in sweep.settings.items():
                key = (number, setting)
                if turn == 0:
                    if time.perf_counter() - start > PATIENCE:
                        print(f"{name}: {sweep.system} has had its time: {setting} and what follows is left out")
                        break
                    found, seconds[key] = _one_turn(sweep.searcher, value, k)
                    answers[key] = sweep.searcher.ids(found, k)
                elif sum(seconds.get(key, [np.inf])) < ENOUGH:
                    seconds[key] += _one_turn(sweep.searcher, value, k)[1]
    shares = judge.recalls({str(key): ids for key, ids in answers.items()}, truth, worst)
    points = []
    for (number, setting), ids in answers.items():
        sweep = sweeps[number]
        micro = min(seconds[number, setting]) * 1e6 / len(ids)
        recall = shares[str((number, setting))]
        points.append(Point(name, sweep.system, setting, sweep.searcher.build_seconds, recall, micro))
    return points


def _one_turn(searcher: Searcher, value: Any, k: int) -> tuple[Any, list[float]]:
    """Something short runs several times: the first finds the caches full of another system's data."""
    runs: list[float] = []
    while sum(runs) < common.TURN:
        start = time.perf_counter()
        found = searcher.search(value, k)
        runs.append(time.perf_counter() - start)
    return found, runs


def front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in recall and time, by rising recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.recall, p.micro)):
        if not best or point.micro < best[-1].micro:
            best.append(point)
    return best[::-1]


@dataclass(frozen=True)
class Reading:
    """Time a query at a recall, and how it was read off a curve."""

    micro: float
    reached: bool
    how: str


def read(points: Sequence[Point], target: float) -> Reading:
    """Time at a recall, read in the system's favour.

    Between two points of the front the logarithm of time is a line of recall. A system that does not
    reach the recall has the time of its best, which is less than what it would need.
    """
    best = front(points)
    above = next((i for i, p in enumerate(best) if p.recall >= target), None)
    if above is None:
        return Reading(best[-1].micro, False, f"NOT REACHED, at most {best[-1].recall:.4f} ({best[-1].setting})")
    high = best[above]
    if above == 0:
        return Reading(high.micro, True, f"{high.recall:.4f} {_bracketed(high.setting)}".rstrip())
    low = best[above - 1]
    share = (target - low.recall) / (high.recall - low.recall)
    micro = float(np.exp(np.log(low.micro) * (1 - share) + np.log(high.micro) * share))
    return Reading(micro, True, f"read between {low.setting} ({low.recall:.4f}) and {high.setting} ({high.recall:.4f})")


def _bracketed(setting: str) -> str:
    return f"({setting})" if setting else ""


def least(points: Sequence[Point], target: float) -> Point | None:
    """The fastest point that reaches a recall, nothing read between points."""
    return min((p for p in points if p.recall >= target), key=lambda p: p.micro, default=None)


def save(points: Sequence[Point], path: Path) -> list[Point]:
    """Put points into a file, in place of those of the same data; returns all of the file."""
    renewed = {point.data for point in points}
    kept = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [Point(*row[:3], *map(float, row[3:])) for row in list(csv.reader(file))[1:]]
    everything = [point for point in kept if point.data not in renewed] + list(points)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Point)])
        for point in everything:
            texts, figures = astuple(point)[:3], astuple(point)[3:]
            writer.writerow([*texts, *(f"{figure:.5g}" for figure in figures)])
    return everything


def draw(points: Sequence[Point], titles: dict[str, str], path: Path) -> None:
    """Queries a second against recall, a panel a data set, in the manner of ann-benchmarks."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("Agg")
    names = [name for name in titles if any(point.data == name for point in points)]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    size = (4.6 * columns, 3.5 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, names, strict=False):
        _panel(axes, [point for point in points if point.data == name])
        axes.set_title(titles[name])
    for axes in panels[:, 0]:
        axes.set_ylabel("queries a second, 1 thread")
    lines = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
    shown = [lines[system] for system in COLOURS if system in lines]
    if len(names) < panels.size:
        panels.flat[-1].legend(handles=shown, loc="center", fontsize=11)
    else:
        figure.legend(handles=shown, loc="outside lower center", ncols=2 * columns)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


LOWEST, NEAREST = 0.6, 2e-3  # recalls shown from here; 1 is drawn as far as 1 - NEAREST/2 would be
TICKS = (0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1)


def _spread(recall: Any) -> Any:
    return -np.log10(1 + NEAREST - np.asarray(recall))


def _panel(axes: Any, points: Sequence[Point]) -> None:
    """One data set; every system along its front."""
    for system in COLOURS:
        own = [point for point in points if point.system == system]
        shown = [point for point in front(own) if point.recall >= LOWEST]
        if not shown:
            continue
        axes.plot(
            [point.recall for point in shown],
            [1e6 / point.micro for point in shown],
            "*" if system in EXACT else "o-",
            color=COLOURS[system],
            markersize=12 if system in EXACT else 4,
            linewidth=2.2 if system == "sparsenn" else 1.2,
            zorder=3 if system.startswith("sparsenn") else 2,
            label=system,
        )
    axes.set_yscale("log")
    axes.set_xscale("function", functions=(_spread, lambda spread: 1 + NEAREST - 10.0 ** -np.asarray(spread)))
    axes.set_xlim(LOWEST, 1 + NEAREST / 3)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel("recall at 10")
    axes.grid(alpha=0.3)
