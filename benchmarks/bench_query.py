"""Queries for rows that are not in the index: time at the same recall, side by side with what people use now.

python benchmarks/bench_query.py [--only newsgroups,promise] [--quick] [--write]

k = 10, one thread, held-out queries; every system with many settings, so that each has a curve of
recall against time. `short` asks real queries of a few terms, `latency` one query at a time, `threads`
from several Python threads, and `promise` holds the recall that was asked for against that measured.
A full run also draws docs/images/query-recall.png from the points in the CSV file beside it.
"""

import functools
import gc
import time
from concurrent.futures import ThreadPoolExecutor

import common
import curves
import datasets
import judge
import numpy as np
import peers
import scipy.sparse as sp
from common import Line
from curves import Sweep
from threadpoolctl import threadpool_limits

import sparsenn as sn

K = 10
RECALLS = (0.8, 0.9, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.9875, 0.99, 0.9925, 0.995)
TARGETS = (0.95, 0.99)
PARTS = [*datasets.TEXTS, *datasets.SETS, "mnist", "short", "latency", "threads", "promise"]
OURS, OWN_EXACT, BEST = "sparsenn", "sparsenn, exact", "best peer"
# Ours / theirs at a recall, at most.
TEXT_LIMITS = {BEST: 0.5, OWN_EXACT: 1.05}
SET_LIMITS = {"nmslib": 0.2, "PyNNDescent": 0.2}
LIMITS = {
    **{(name, target): TEXT_LIMITS for name in ("newsgroups", "imdb") for target in TARGETS},
    **{(name, 0.95): SET_LIMITS for name in datasets.SETS},
    ("mnist", 0.95): {"PyNNDescent": 1.0, "hnswlib": 1.3},
}
KINDS = {
    **dict.fromkeys(datasets.TEXTS, "TF-IDF cosine"),
    **dict.fromkeys(datasets.SETS, "jaccard"),
    "mnist": "dense, euclidean",
    **dict.fromkeys(datasets.SHORT, "short queries"),
}
SHORT_LIMIT, LATENCY_LIMIT, THREADS_LIMIT = 1.1, 60.0, 1.8
ASKED, SLACK = (0.8, 0.9, 0.95, 0.99), 0.02  # promise
ROUNDS, TURNS, SINGLES, BATCH, THREADS = 3, 30, 1000, 10, 4
IMAGES = common.ROOT / "docs" / "images"

EFS = (10, 20, 40, 80, 160, 320, 640, 1280)
EPSILONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
SEISMIC = [(3, 0.9), (5, 0.9), (8, 0.9), (12, 0.9), (20, 0.9), (30, 0.9), (20, 0.7), (30, 0.7), (50, 0.7), (50, 0.5)]
PRUNED = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.0)
SINDI = {
    False: [(pruned, 10) for pruned in (0.8, 0.6, 0.4, 0.0)],
    True: [(pruned, 20) for pruned in PRUNED]
    + [(pruned, 50) for pruned in PRUNED[2:]]
    + [(pruned, 100) for pruned in (0.7, 0.5, 0.3)],
}


class Ours:
    """sparsenn: built on two threads, asked on one."""

    def __init__(self, rows, queries, metric, method="auto"):
        for tried in (method,) if method == "exact" else ("exact", "graph"):  # compiles
            self.index = sn.Index(metric, method=tried, n_jobs=2).fit(rows[:3000])
            self.queries = queries[:200]
            self.search(None if tried == "exact" else RECALLS[0], K)
        start = time.perf_counter()
        self.index = sn.Index(metric, method=method, n_jobs=2).fit(rows)
        self.build_seconds = time.perf_counter() - start
        self.index.n_jobs = 1
        self.queries = queries

    def calibrate(self, recalls):
        """Ask a first time for each recall; returns the seconds of the very first call."""
        start = time.perf_counter()
        self.search(recalls[0], K)
        took = time.perf_counter() - start
        for recall in recalls[1:]:
            self.search(recall, K)
        return took

    def search(self, recall, k):
        """Ask all queries at once; without a recall, as exact search takes it."""
        return self.index.query(self.queries, k, **({} if recall is None else {"recall": recall}))

    def ids(self, found, k):
        """Of the Neighbors."""
        return found.indices


def our_sweeps(rows, queries, metric, recalls=RECALLS):
    """Both engines, calibrated, and what is to be said about it."""
    ours, exact = Ours(rows, queries, metric), Ours(rows, queries, metric, "exact")
    took = ours.calibrate(recalls)
    about = f"sparsenn chose {ours.index.plan_.method}; its first call of query took {took:.2f} s."
    sweeps = [Sweep(OURS, ours, {f"recall={recall:g}": recall for recall in recalls})]
    return [*sweeps, Sweep(OWN_EXACT, exact, {"method='exact'": None})], about


CHOSEN = set()  # peers asked for; all where none is


def peer(module):
    """Import a system, if it is among those asked for."""
    return common.peer(module) if not CHOSEN or module in CHOSEN else None


def peer_sweeps(rows, queries, metric):
    """Every other system that takes the data, built."""
    sweeps = []
    pynndescent, nmslib = peer("pynndescent"), peer("nmslib")
    if pynndescent:
        searcher = peers.PyNNDescent(pynndescent, rows, queries, metric)
        sweeps.append(Sweep("PyNNDescent", searcher, {f"epsilon={e:g}": e for e in EPSILONS}))
    if nmslib:
        searcher = peers.Nmslib(nmslib, rows, queries, metric)
        sweeps.append(Sweep("nmslib", searcher, {f"efSearch={ef}": ef for ef in EFS}))
    if metric == "cosine":
        sweeps += inner_product_sweeps(rows, queries)
    if not sp.issparse(rows) and (hnswlib := peer("hnswlib")):
        searcher = peers.Hnswlib(hnswlib, rows, queries)
        sweeps.append(Sweep("hnswlib", searcher, {f"ef={ef}": ef for ef in EFS}))
    return sweeps


def inner_product_sweeps(rows, queries):
    """Systems that know no cosine: rows and queries have unit length."""
    sweeps = []
    pyvsag, seismic, kannolo, topn = map(peer, ("pyvsag", "seismic", "kannolo", "sparse_dot_topn"))
    if pyvsag:
        for reorder, ways in SINDI.items():
            settings = [peers.SindiSetting(*way, reorder) for way in ways]
            searcher = peers.Sindi(pyvsag, rows, queries, reorder)
            sweeps.append(Sweep("SINDI", searcher, {str(setting): setting for setting in settings}))
    if seismic:
        searcher = peers.Seismic(seismic, rows, queries)
        sweeps.append(Sweep("Seismic", searcher, {f"query_cut={c}, heap_factor={f:g}": (c, f) for c, f in SEISMIC}))
    if kannolo and rows.shape[1] <= peers.Kannolo.MAX_COLUMNS:
        searcher = peers.Kannolo(kannolo, rows, queries)
        sweeps.append(Sweep("kANNolo", searcher, {f"ef_search={ef}": ef for ef in EFS}))
    elif kannolo:
        print(f"kannolo takes {peers.Kannolo.MAX_COLUMNS:,} columns, so it is left out: there are {rows.shape[1]:,}")
    if topn:
        sweeps.append(Sweep("sparse_dot_topn", peers.TopN(topn, rows, queries), {"exact": ""}))
    return sweeps


def load(name, quick):
    """Label, rows, queries and metric of a data set."""
    if name == "mnist":
        return *datasets.load_digits(quick), "euclidean"
    data = datasets.load_short(name, quick) if name in datasets.SHORT else datasets.load(name, quick)
    rows, queries = data.rows, data.queries
    if quick:  # Seismic's build takes as long as there are columns
        used = np.unique(rows.indices)
        rows, queries = rows[:, used], queries[:, used]
        queries = queries[np.diff(queries.indptr) > 0]
    return data.label, rows, queries, "jaccard" if name in datasets.SETS else "cosine"


def truth_of(rows, queries, metric):
    """True distances, and the distance at which nothing is shared."""
    if metric == "euclidean":
        return judge.dense_truth(queries.astype(np.float64), rows.astype(np.float64), metric), np.inf
    return judge.cosine_truth(queries, rows) if metric == "cosine" else judge.set_truth(queries, rows, metric), 1.0


def bench(name, quick):
    """All systems on one data set: label, what to say about it, and the points."""
    label, rows, queries, metric = load(name, quick)
    print(f"{label}: building", flush=True)
    sweeps, about = our_sweeps(rows, queries, metric)
    sweeps += peer_sweeps(rows, queries, metric)
    print(f"{label}: asking", flush=True)
    with threadpool_limits(limits=1):
        points = curves.measure(name, sweeps, K, *truth_of(rows, queries, metric), rounds=1 if quick else ROUNDS)
    return label, f"{describe(rows, queries, metric)} {about}", points


def describe(rows, queries, metric):
    """Shape of the data, in words."""
    filled = f"{rows.nnz / rows.shape[0]:.0f} nonzeros a row" if sp.issparse(rows) else "dense"
    asked = f"{queries.shape[0]:,} queries"
    if sp.issparse(rows):
        asked += f" of {queries.nnz / queries.shape[0]:.0f} nonzeros"
    return f"{metric}, {rows.shape[0]:,} rows, {rows.shape[1]:,} columns, {filled}; {asked}, k={K}, 1 thread."


def compared(name, points):
    """Lines: ours against every other system at each recall."""
    lines, by_system = [], {}
    for point in points:
        by_system.setdefault(point.system, []).append(point)
    own, exact = by_system.pop(OURS), by_system.pop(OWN_EXACT)
    for target in TARGETS:
        limits = LIMITS.get((name, target), {})
        reached = curves.least(own, target)
        ours = reached or exact[0]
        note = f"ours: {ours.recall:.4f} ({ours.setting})"
        if not reached:
            note = f"OURS IS BELOW {target:g} whatever was asked: the time is exact search's"
        task = f"recall {target:g}, a query"
        readings = {system: curves.read(other, target) for system, other in by_system.items()}
        ranked = sorted(readings, key=lambda system: (not readings[system].reached, readings[system].micro))
        for place, system in enumerate(ranked):
            reading = readings[system]
            best = place == 0 and reading.reached
            limit = limits.get(system, limits.get(BEST) if best else None)
            shown = f"{system}, {BEST}" if best else system
            how = f"{note}; theirs: {reading.how}"
            lines.append(Line(task, ours.micro, "µs", shown, reading.micro, at_most=limit, note=how))
        lines.append(Line(task, ours.micro, "µs", OWN_EXACT, exact[0].micro, at_most=limits.get(OWN_EXACT), note=note))
    return lines


def compared_short(points):
    """Line: ours as it is asked by default against our exact engine."""
    ours = next(p for p in points if p.system == OURS and p.setting == "recall=0.95")
    exact = next(p for p in points if p.system == OWN_EXACT)
    note = f"ours: recall {ours.recall:.4f}"
    task = "asked recall 0.95, a query"
    return Line(task, ours.micro, "µs", OWN_EXACT, exact.micro, at_most=SHORT_LIMIT, note=note)


def bench_latency(quick):
    """One query at a time from Python, above what the query takes within a batch."""
    label, rows, queries, metric = load("newsgroups", quick)
    singles = [queries[i : i + 1] for i in range(min(SINGLES, queries.shape[0]))]
    batch, lines = sp.vstack(singles, format="csr"), []
    for system, method, recall in ((f"{OURS}, recall 0.95", "auto", 0.95), (OWN_EXACT, "exact", None)):
        ours = Ours(rows, batch, metric, method)
        how = {} if recall is None else {"recall": recall}

        medians = []

        def one_by_one(index=ours.index, how=how, medians=medians):
            taken = []
            for query in singles:
                start = time.perf_counter()
                index.query(query, K, **how)
                taken.append(time.perf_counter() - start)
            medians.append(np.median(taken))

        batch_wise = functools.partial(ours.search, recall, K)
        times = common.in_turns({"batch": batch_wise, "alone": one_by_one}, TURNS)
        within, alone = times["batch"].best / len(singles), min(medians)
        note = f"alone {alone * 1e6:.1f} µs (median of {len(singles):,}), in a batch {within * 1e6:.1f} µs"
        limit = None if recall is None else LATENCY_LIMIT
        task = f"{system}: a batch of one, above the search"
        lines.append(Line(task, (alone - within) * 1e6, "µs", at_most=limit, note=note))
    return label, describe(rows, batch, metric), lines


def bench_threads(quick):
    """The same small batches from one Python thread and from several, on one index."""
    label, rows, queries, metric = load("newsgroups", quick)
    lines = thread_lines(label, rows, queries, metric)
    other = load("imdb", quick)
    return label, describe(rows, queries, metric), lines + thread_lines(*other)


def thread_lines(label, rows, queries, metric):
    """Lines of one data set: four threads, and what two threads of a single call make of the same work."""
    batches = [queries[i : i + BATCH] for i in range(0, queries.shape[0], BATCH)]
    lines = []
    for system, method, recall in ((f"{OURS}, recall 0.95", "auto", 0.95), (OWN_EXACT, "exact", None)):
        ours = Ours(rows, queries, metric, method)
        how = {} if recall is None else {"recall": recall}

        def ask(some, index=ours.index, how=how):
            return [index.query(batch, K, **how) for batch in some]

        def in_threads(pool, ask=ask):
            shares = list(pool.map(ask, [batches[i::THREADS] for i in range(THREADS)]))
            return [shares[i % THREADS][i // THREADS] for i in range(len(batches))]

        with ThreadPoolExecutor(THREADS) as pool:
            several = functools.partial(in_threads, pool)
            call = functools.partial(ours.index.query, queries, K, n_jobs=2, **how)
            ways = {"one": functools.partial(ask, batches), "several": several, "call": call}
            times = common.in_turns({**ways, "single": functools.partial(call, n_jobs=1)}, TURNS)
        pairs = zip(times["one"].result, times["several"].result, strict=True)
        same = all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))
        task = f"{label}, {system}: {queries.shape[0]:,} queries in batches of {BATCH}, {THREADS} Python threads"
        # the host's other work slows a second core at times: the best of one thread and of four are of other moments
        one, several, call, single = (t.median * 1e6 / queries.shape[0] for t in times.values())
        note = "the same answers" if same else "THE ANSWERS DIFFER"
        note += f"; by the best of each {times['one'].best / times['several'].best:.2f}×"
        note += f"; one call of all: {single:.1f} µs, on two threads {single / call:.2f}×"
        limit = None if recall is None else THREADS_LIMIT
        lines.append(Line(task, several, "µs", "1 Python thread", one, at_least=limit, note=note, as_times=True))
    return lines


def kept_promise(name, quick):
    """Lines: recall that was asked for less that measured, on queries the index has never seen."""
    label, rows, queries, metric = load(name, quick)
    index = sn.Index(metric, n_jobs=2).fit(rows)
    lines = promise_lines(label, index, rows, queries, metric, limit=None if name in datasets.SHORT else SLACK)
    if name in datasets.SHORT and hasattr(index, "calibrate"):  # on some of these short queries, asked the others
        index.calibrate(queries[::2])
        lines += promise_lines(f"{label}, calibrated", index, rows, queries[1::2], metric, SLACK)
    return lines


def promise_lines(label, index, rows, queries, metric, limit):
    """Lines of one index."""
    answers = {str(asked): index.query(queries, K, recall=asked).indices for asked in ASKED}
    shares = judge.recalls(answers, *truth_of(rows, queries, metric))
    lines = []
    for asked in ASKED:
        measured = shares[str(asked)]
        note = f"measured {measured:.4f} of {queries.shape[0]:,} queries"
        note += f", BELOW {asked - SLACK:g}" if measured < asked - SLACK else ""
        lines.append(Line(f"{label}: {asked:g} less recall", asked - measured, "", at_most=limit, note=note))
    return lines


def table(report, label, about, points):
    """All points, so that the curve can be read."""
    systems = list(curves.COLOURS)
    points = sorted(points, key=lambda p: (systems.index(p.system), p.micro))
    rows = [[p.system, p.setting, f"{p.build:.1f}", f"{p.recall:.4f}", f"{p.micro:.1f}"] for p in points]
    columns = ["system", "setting", "build, s", "recall", "µs a query"]
    report.table(f"Queries, all points: {label}", columns, rows, about)


ABOUT = (
    "Builds on 2 threads, compiled beforehand (PyNNDescent compiles a part for each index). Recall is tie-aware and "
    "computed from the original rows. Where a peer's recall lies between two settings its time is read off the line "
    "between them, ours is that of a setting. The peers written in C++ and Rust are their published wheels, not "
    "compiled for this machine, as numba's code is; hnswlib alone is compiled where it is installed."
)
OTHERS = {
    "latency": (bench_latency, "One query at a time: ", "Rows of one query are made beforehand."),
    "threads": (bench_threads, "Several Python threads: ", "The index itself has n_jobs=1. Medians of 30 turns."),
}


def run(part, report, quick):
    """One part; returns its points, if it has some to draw."""
    if part in OTHERS:
        function, title, more = OTHERS[part]
        label, about, lines = function(quick)
        report.section(f"{title}{label}", lines, f"{about} {more}")
        return []
    if part == "promise":
        names = [*datasets.TEXTS, *datasets.SETS, "mnist", *datasets.SHORT]
        lines = [line for name in names for line in kept_promise(name, quick)]
        report.section("Recall as asked", lines, f"k={K}, queries that are not in the index; recall is tie-aware.")
        return []
    drawn = []
    for name in datasets.SHORT if part == "short" else [part]:
        label, about, points = bench(name, quick)
        label += f", beside {' and '.join(sorted(CHOSEN))} alone" if CHOSEN else ""
        lines = [compared_short(points)] if part == "short" else []
        report.section(f"Queries: {label}", lines + compared(name, points), f"{about} {ABOUT}")
        table(report, label, about, points)
        drawn += [] if "(generated)" in label else points
        gc.collect()
    return drawn


def main():
    """Run the parts asked for."""
    parser = common.arguments(__doc__, PARTS)
    parser.add_argument("--peers", metavar="A,B", default="", help="modules of the peers; all if left out")
    options = common.parse(parser, PARTS)
    CHOSEN.update(filter(None, options.peers.split(",")))
    report, points = common.Report(__file__, options), []
    for part in options.only:
        points += run(part, report, options.quick)
    if points and not options.quick and not CHOSEN:
        titles = {name: f"{name}, {kind}" for name, kind in KINDS.items()}
        curves.draw(curves.save(points, IMAGES / "query-recall.csv"), titles, IMAGES / "query-recall.png")


if __name__ == "__main__":
    main()
