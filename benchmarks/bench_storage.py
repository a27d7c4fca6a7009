"""An index on disk, and one that changes: how fast, how large, how right.

python benchmarks/bench_storage.py [--only disk,updates,fuzz] [--quick] [--write]

`disk` saves and loads a graph of imdb beside a plain write and read of as many bytes, and PyNNDescent's pickle;
the memory of a load is read in a process of its own. `updates` adds 30 % in ten batches and removes 20 %, and compares
with a fresh build. `fuzz` does 10,000 operations at random over 20 seeds, beside a naive list (tests/living.py).
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import datasets
import numpy as np
from common import Line

import sparsenn as sn
from sparsenn import storage

PARTS = ["disk", "updates", "fuzz"]
K, GRAPH = 10, 15
QUERIES, SAMPLE = 500, 1000
BATCHES, MORE, LESS = 10, 0.3, 0.2
SEEDS, STEPS, A_RUN = 20, 10_000, 50
CASES = [("newsgroups", "graph"), ("imdb", "graph"), ("gowalla", "graph"), ("mnist", "graph"), ("newsgroups", "exact")]


def seconds(function):
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def plain_write(path, data):
    """What the disk takes: the same bytes, synced."""
    with Path(path).open("wb", buffering=0) as file:
        for begin in range(0, len(data), 2**22):
            file.write(data[begin : begin + 2**22])
        os.fsync(file.fileno())


LOAD = """
import json, sys, time
from pathlib import Path

def private():
    # not Private_Clean: pages of a file that no other process has mapped yet
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) * 1024

import numpy as np, scipy.sparse as sp, sparsenn as sn
path, small, rows = sys.argv[1:]
small = sn.Index.load(small, mmap=True)  # the first of a process imports what loading needs
before = private()
start = time.perf_counter()
index = sn.Index.load(path, mmap=True)
took, held = time.perf_counter() - start, private() - before
queries = sp.load_npz(rows)
before = private()
start = time.perf_counter()
found = index.query(queries[:1], 10)
first = time.perf_counter() - start
index.query(queries, 10)
print(json.dumps({"load": took, "private": held, "first": first, "after": private() - before}))
"""


def disk(report, quick):
    """Save, load, map."""
    data = datasets.load("imdb", quick)
    index = sn.Index("cosine", method="graph", n_neighbors=GRAPH, n_jobs=2).fit(data.rows)
    index.query(data.queries[:100], K)
    folder = Path(tempfile.mkdtemp(prefix="sparsenn-bench-", dir=os.environ.get("SPARSENN_BENCH_DISK")))
    try:
        lines = _disk_lines(index, data, folder)
    finally:
        shutil.rmtree(folder)
    about = (
        f'{data.label}, cosine, {data.rows.shape[0]:,} rows; with graph, links and calibrations; "whole" '
        "(compact=False) with all inverted lists and small forms of rows."
    )
    report.section("An index on disk", lines, about)


def _disk_lines(index, data, folder):
    import scipy.sparse as sp

    sn.Index("cosine").fit(data.rows[:100]).save(folder / "imdb.sn.small")
    sp.save_npz(folder / "queries.npz", data.queries[:200])
    theirs = _size_of_theirs(data.rows)
    lines, held = [], _memory_of(index)
    for label, compact in (("", True), ("whole: ", False)):
        lines += _saved_lines(index, label, compact, held, theirs, folder)
        lines += _mapped_lines(label, folder / "imdb.sn", folder)
    short = len(pickle.dumps(index)) / 1e6
    lines.append(Line("our pickle", short, "MB", "PyNNDescent's pickle", theirs, note="as the save, and options"))
    return lines


def _size_of_theirs(rows):
    """Megabytes of PyNNDescent's pickle, prepared for queries; None where it is not installed."""
    pynndescent = common.peer("pynndescent")
    if not pynndescent:
        return None
    other = pynndescent.NNDescent(rows, metric="cosine", n_neighbors=30, random_state=1, n_jobs=2)
    other.prepare()
    return len(pickle.dumps(other)) / 1e6


def _saved_lines(index, label, compact, held, theirs, folder):
    """Speed and size of one kind of save."""
    path = folder / "imdb.sn"
    index.save(path, compact=compact)
    size = storage.size_of(path)
    block = memoryview(bytes(bytearray(os.urandom(2**20)) * (size >> 20)))
    systems = {
        "save": lambda: index.save(path, compact=compact),
        "write": lambda: plain_write(folder / "plain", block),
        "load": lambda: sn.Index.load(path),
        "read": lambda: (folder / "plain").read_bytes(),
        "read checked": lambda: storage.verify(path),
    }
    best = {name: timing.best for name, timing in common.in_turns(systems, rounds=3).items()}
    rate = {name: len(block) / best[name] / 1e6 for name in ("write", "read")}
    rate |= {name: size / best[name] / 1e6 for name in ("save", "load", "read checked")}
    peer = ("PyNNDescent's pickle", theirs) if theirs else ()
    return [
        Line(
            f"{label}save",
            rate["save"],
            "MB/s",
            "plain write, synced",
            rate["write"],
            note="target ≥ 500 or the disk's",
        ),
        Line(f"{label}load, all checked", rate["load"], "MB/s", "plain read", rate["read"], note="target ≥ 500"),
        Line(f"{label}checksums alone", rate["read checked"], "MB/s"),
        Line(f"{label}on disk / arrays in memory", size / held, "", at_most=1.2, note=f"{held / 1e6:.0f} MB held"),
        Line(f"{label}size on disk", size / 1e6, "MB", *peer, at_most=1.0 if theirs and compact else None),
    ]


def _mapped_lines(label, path, folder):
    """What a process of its own sees of an index that it maps."""
    command = [sys.executable, "-c", LOAD, str(path), str(folder / "imdb.sn.small"), str(folder / "queries.npz")]
    for _ in range(2):  # the first may compile
        done = subprocess.run(command, capture_output=True, text=True, env=common.child_environment(), check=True)
    found = json.loads(done.stdout)
    return [
        Line(
            f"{label}load, mapped",
            1000 * found["load"],
            "ms",
            at_most=50,
            note=f"first query {found['first']:.2f} s after it",
        ),
        Line(f"{label}private memory before the first query", found["private"] / 1e6, "MB", at_most=20),
        Line(f"{label}private memory of 200 queries", found["after"] / 1e6, "MB", note="compiled code among it"),
    ]


def _memory_of(index):
    """Bytes of all arrays that an index holds, each once."""
    seen, total, waiting = set(), 0, [index._state]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, str | int | float | type(None) | type):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            owner = one
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            if id(owner) not in seen or owner is one:
                seen.add(id(owner))
                total += owner.nbytes
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif type(one).__module__.startswith("sparsenn"):
            waiting += vars(one).values()
    return total


def updates(report, quick):
    """30 % more in ten batches, 20 % less."""
    lines = []
    for name, method in CASES:
        lines += _update_lines(name, method, quick)
    about = (
        f"{BATCHES} batches of {MORE:.0%} of the rows added and {LESS:.0%} removed. A row's share: the time of a fresh "
        "build of all rows over their number, graph included where the method has one. With the graph: everything is "
        "made one index again after the last batch, and its graph read. In turns, the best of five (of two where a "
        "build takes more than 3 s); memory is touched before a build and the first batch. Recall of the graph and of "
        "queries (asked for 0.95) beside a fresh build of the rows that are left."
    )
    report.section("An index that changes", lines, about)


def touched_seconds(function):
    """Time of one call that finds memory at hand (see `common.touch_memory`)."""
    common.touch_memory()
    return seconds(function)


def _update_lines(name, method, quick):
    if name == "mnist":
        label, rows, queries = datasets.load_digits(quick)
        metric = "euclidean"
    else:
        data = datasets.load(name, quick)
        label, rows, queries = data.label, data.rows, data.queries
        metric = "jaccard" if name in datasets.SETS else "cosine"
    queries, n = queries[:QUERIES], rows.shape[0]

    def made(some):
        return sn.Index(metric, method=method, n_neighbors=GRAPH, n_jobs=2).fit(some)

    small = made(rows[:2000])  # compiles
    small.add(rows[2000:2600])
    if method == "graph":
        small.neighbor_graph  # noqa: B018
    small.query(queries[:50], K)
    ends = np.linspace(n / (1 + MORE), n, BATCHES + 1).astype(int)
    new = n - ends[0]
    fresh = touched_seconds(lambda: made(rows))
    adding = both = np.inf
    for _ in range(5 if fresh < 3 else 2):
        fresh = min(fresh, touched_seconds(lambda: made(rows)))
        index = made(rows[: ends[0]])
        common.touch_memory()
        took = sum(seconds(lambda i=index, a=a, b=b: i.add(rows[a:b])) for a, b in zip(ends, ends[1:], strict=False))
        took += seconds(lambda i=index: [segment.engine for segment in i._now().segments])  # by the first query, else
        adding = min(adding, took)
        if method == "graph":
            both = min(both, took + seconds(lambda i=index: i.neighbor_graph))
    about = f"{label}, {method}"
    share = 1e6 * fresh / n
    lines = [Line(f"{about}: a row added", 1e6 * adding / new, "us", "its share", share, at_most=3.0)]
    if method == "graph":
        lines.append(Line(f"{about}: with the graph", 1e6 * both / new, "us", "its share", share, at_most=3.0))
        whole = made(rows)
        lines.append(_recall_line(f"{about}: graph after adding", index, whole))
    gone = np.random.default_rng(1).choice(n, int(LESS * n), replace=False)
    removing = sum(seconds(lambda part=part: index.remove(part)) for part in np.array_split(gone, BATCHES))
    again = made(rows[np.setdiff1d(np.arange(n), gone)])
    note = f"removing took {1e6 * removing / len(gone):.0f} us a row"
    true = again.query(queries, K, recall=1).distances[:, -1:]
    ours, theirs = ((i.query(queries, K).distances <= true + 1e-6).mean() for i in (index, again))
    lines.append(Line(f"{about}: queries after removing", float(ours), "", "fresh", float(theirs), note=note))
    if method == "graph":
        lines.append(_recall_line(f"{about}: graph after removing", index, again))
    return lines


def _recall_line(task, index, fresh):
    ours, theirs = (i.estimate_recall(SAMPLE).recall for i in (index, fresh))
    verdict = "within .01" if ours >= theirs - 0.01 else "MISSED: not within .01"
    return Line(task, ours, "", "fresh build", theirs, note=verdict)


def fuzz(report, quick):
    """Operations at random, beside a naive list."""
    sys.path.insert(0, str(common.ROOT))
    import hypothesis
    from hypothesis.stateful import run_state_machine_as_test

    from tests.living import Living

    Living.steps, runs = 0, 2 if quick else SEEDS
    wanted, start = STEPS // SEEDS, time.perf_counter()
    options = hypothesis.settings(
        max_examples=2,
        stateful_step_count=A_RUN,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    for number in range(runs):
        done, turn = Living.steps, 0
        while Living.steps - done < wanted:
            machine = hypothesis.seed(1000 * number + turn)(type("Seeded", (Living,), {}))
            machine.steps = 0
            run_state_machine_as_test(machine, settings=options)
            Living.steps += machine.steps
            turn += 1
    took = time.perf_counter() - start
    rows = [[runs, Living.steps, 0, f"{took:.0f} s"]]
    about = (
        "Adding, removing, changing, widening, saving, loading, pickling, filters, graphs and calls that are refused."
    )
    report.table("Operations at random", ["seeds", "operations", "differences", "time"], rows, about)


def main():
    """Run the parts that were asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    for part in options.only:
        {"disk": disk, "updates": updates, "fuzz": fuzz}[part](report, options.quick)


if __name__ == "__main__":
    main()
