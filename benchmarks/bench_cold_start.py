"""Import time and the first result: with an empty cache of compiled code, and in a new process with a warm one.

python benchmarks/bench_cold_start.py [--only import,first,pynndescent] [--quick] [--write]

Everything runs in processes of its own. Wall time is from starting the interpreter until the result is
there; CPU time is all of the process, user and system, all threads. The caches are temporary
directories (NUMBA_CACHE_DIR); it is checked that a second process compiles nothing again.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import common
from common import Line

PARTS = ["import", "first", "pynndescent"]
METRICS = ["cosine", "jaccard", "euclidean", "hellinger"]
IMPORT_TARGET, WARM_TARGET, COLD_TARGET = 0.6, 1.5, 12.0  # seconds

ROWS = """
import numpy as np
import scipy.sparse as sp
rng = np.random.default_rng(0)
columns = rng.integers(0, 3000, (2000, 20), dtype=np.int32)
values = rng.random(columns.size, dtype=np.float32)
X = sp.csr_matrix((values, columns.ravel(), np.arange(0, columns.size + 1, 20)), shape=(2000, 3000))
"""
FIRST = {
    "sparsenn": ROWS + "import sparsenn as sn\nfound = sn.Index('{metric}').fit(X).query(X[:10], k=5)\n",
    "pynndescent": ROWS
    + "import pynndescent\nfound = pynndescent.NNDescent(X, metric='{metric}', random_state=1).query(X[:10], k=5)\n",
}
# The last thing that a process does: say that the result is there, and what CPU time it took.
REPORT = """
import json, os, sys
times = os.times()
print(json.dumps(times.user + times.system), flush=True)
"""


class Cost(NamedTuple):
    """Seconds of one process."""

    wall: float
    cpu: float


def run(code: str, **environment: str) -> Cost:
    """Run code in a new interpreter, until it has its result."""
    command, env = [sys.executable, "-c", code + REPORT], common.child_environment(**environment)
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - start
        process.communicate()
        if process.returncode or not line:
            errors.seek(0)
            raise RuntimeError(f"the process failed:\n{errors.read()}")
    return Cost(wall, json.loads(line))


def middle(code: str, times: int, **environment: str) -> Cost:
    """Median of several processes."""
    runs = [run(code, **environment) for _ in range(times)]
    return Cost(*(statistics.median(column) for column in zip(*runs, strict=True)))


def cached_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file of a cache."""
    stats = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def bench_import(times: int) -> list[Line]:
    """CPU time of the import, and of what it stands on."""
    bare = middle("pass", times)
    lines = []
    for task, target in (
        ("import sparsenn", IMPORT_TARGET),
        ("import numpy, scipy.sparse, numba", None),
        ("import sklearn.neighbors", None),
        ("import pynndescent", None),
    ):
        try:
            run(task)  # writes its byte code, and compiles what it compiles on import
            cost = middle(task, times)
        except RuntimeError:
            continue
        note = f"without the interpreter's own {bare.cpu:.2f} s: {cost.cpu - bare.cpu:.2f} s; wall {cost.wall:.2f} s"
        lines.append(Line(f"{task}, CPU", cost.cpu, "s", at_most=target, note=note))
    return lines


def first_result(system: str, metric: str, times: int) -> tuple[Cost, Cost, str]:
    """Cost with an empty cache, with a warm one, and whether the warm one stayed as it was."""
    code = FIRST[system].format(metric=metric)
    with tempfile.TemporaryDirectory() as folder:
        cold = run(code, NUMBA_CACHE_DIR=folder)
        before = cached_files(Path(folder))
        warm = run(code, NUMBA_CACHE_DIR=folder)
        after = cached_files(Path(folder))
        again = [run(code, NUMBA_CACHE_DIR=folder) for _ in range(times - 1)]
    costs = Cost(*(statistics.median(column) for column in zip(warm, *again, strict=True)))
    new = len(after.keys() - before.keys())
    changed = sum(before[name] != after[name] for name in before.keys() & after.keys())
    kept = f"{len(before)} files, none written by the second process"
    return cold, costs, kept if not new and not changed else f"SECOND PROCESS WROTE {new} new, {changed} changed files"


def bench_first(metrics: list[str], times: int) -> list[Line]:
    """First result of sparsenn, each metric with a cache of its own."""
    lines = []
    for metric in metrics:
        cold, warm, kept = first_result("sparsenn", metric, times)
        lines.append(
            Line(f"{metric}: first ever", cold.wall, "s", at_most=COLD_TARGET, note=f"CPU {cold.cpu:.2f} s; {kept}")
        )
        lines.append(
            Line(
                f"{metric}: new process, warm cache", warm.wall, "s", at_most=WARM_TARGET, note=f"CPU {warm.cpu:.2f} s"
            )
        )
    return lines


def bench_pynndescent() -> list[Line]:
    """First sparse result of PyNNDescent, beside ours."""
    if not common.peer("pynndescent"):
        return []
    ours, theirs = (first_result(system, "cosine", 1) for system in ("sparsenn", "pynndescent"))
    tasks = ("cosine: first ever", "cosine: new process, warm cache")
    return [
        Line(task, own.wall, "s", "pynndescent", its.wall, as_times=True, note=f"theirs: {theirs[2]}" if not n else "")
        for n, (task, own, its) in enumerate(zip(tasks, ours[:2], theirs[:2], strict=True))
    ]


def main() -> None:
    """Run the parts asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    times = 2 if options.quick else 7
    if "import" in options.only:
        report.section("Import", bench_import(times), "Median of several processes; byte code is there.")
    if "first" in options.only:
        about = "From starting the interpreter to the result: 2,000 sparse rows fitted, 10 queries; median of several."
        report.section("First result", bench_first(METRICS[:1] if options.quick else METRICS, times), about)
    if "pynndescent" in options.only:
        report.section(
            "First result, side by side", bench_pynndescent(), "The same rows and queries; one process each."
        )


if __name__ == "__main__":
    main()
