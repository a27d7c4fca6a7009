"""k-neighbour graphs, side by side with PyNNDescent and sparse_dot_topn.

python benchmarks/bench_graph.py [--only newsgroups,scale] [--quick] [--write]

Times from the user's rows to the graph, k = 15, 2 threads, everything compiled beforehand. Recall is
tie-aware, on sampled rows, by distances computed from the original rows. `scale` makes the graphs of
1/16 to 1 of a million sentences, `curves` those of several settings; both draw into docs/images.
"""

import re
import tempfile
import time
import warnings
from pathlib import Path

import common
import datasets
import judge
import numpy as np
import peers
import scipy.sparse as sp
from common import Line
from memory import graph_memory

import sparsenn as sn

K, SAMPLE = 15, 500
PARTS = ["newsgroups", "imdb", "wordnet", "gowalla", "retail", "kosarak", "counts", "mnist", "scale", "curves"]
COUNTS = ["hellinger", "tsss", "dice", "euclidean", "correlation", "manhattan"]
# Ours / PyNNDescent's with its defaults, at most, and our recall, at least.
TARGETS = {
    "newsgroups": (1 / 20, 0.98),
    "imdb": (1 / 12, 0.92),
    "wordnet": (None, 0.99),
    "gowalla": (1 / 5, 0.97),
    "retail": (1 / 5, 0.97),
    "kosarak": (1 / 5, 0.97),
    "counts": (1 / 8, 0.95),
    "mnist": (1 / 1.5, 0.97),
}
HALF, EQUAL = 0.5, 0.005  # of PyNNDescent's time with n_neighbors=16, where its recall is not this much higher
SLACK = 1.2  # auto against the better of exact and graph
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
GROWTH, SCALE_RECALL, MEMORY_TARGET = 1.2, 0.95, 2.5
FIRST_SHARE = 1 / 8  # from here on time is to grow as said
SCALE_ROUNDS = 3
IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def timed(function, rounds):
    """Least time of several runs, and the last result."""
    best, result = np.inf, None
    for _ in range(rounds):
        result = None
        common.touch_memory()
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def truth_of(rows, metric, sample):
    """True distances of sampled rows to all, themselves left out."""
    part = rows[sample]
    if not sp.issparse(rows):
        inner = judge.dense_truth(part.astype(np.float64), rows.astype(np.float64), metric)
    elif metric == "cosine":
        inner = judge.cosine_truth(part, rows)
    elif metric == "jaccard":
        inner = judge.set_truth(part, rows, metric)
    else:  # checked against SciPy in the tests

        def inner(a, b):
            return sn.pairwise_distances(part[a:b], rows, metric=metric).astype(np.float64)

    def distances(a, b):
        true = inner(a, b)
        true[np.arange(b - a), sample[a:b]] = np.inf
        return true

    return distances


def our_graph(rows, metric, method):
    """From the user's rows to the graph."""
    index = sn.Index(metric, n_neighbors=K, method=method, n_jobs=2).fit(rows)
    return index, index.neighbor_graph


def compile_ours(rows, metric):
    """Have everything compiled: exact search, both seeders."""
    for method in ("exact", "graph"):
        our_graph(rows[:300], metric, method)


def bench(name, rows, metric, limit, least):
    """Graphs of one data set: auto, exact and graph, and PyNNDescent with 30 and 16 neighbours."""
    compile_ours(rows, metric)
    sample = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:SAMPLE])
    times, ids = {}, {}
    first, (index, graph) = timed(lambda: our_graph(rows, metric, "auto"), 1)
    rounds = 3 if first < 5 else 1
    again, (index, graph) = timed(lambda: our_graph(rows, metric, "auto"), rounds)
    chosen = index.plan_.method
    times["auto"], ids["auto"] = min(first, again), graph.indices
    other = "exact" if chosen == "graph" else "graph"
    took, (_, graph) = timed(lambda: our_graph(rows, metric, other), 1)
    times[other], ids[other] = took, graph.indices
    pynndescent = common.peer("pynndescent")
    if pynndescent and metric != "tsss":
        for k in (30, 16):

            def build(some, k=k):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return pynndescent.NNDescent(some, metric=metric, n_neighbors=k, random_state=1, n_jobs=2)

            build(rows[:2000])
            first, found = timed(lambda build=build: build(rows).neighbor_graph[0], 1)
            rounds = 3 if first < 5 else 0  # as often as ours
            times[k] = min(first, timed(lambda build=build: build(rows), rounds)[0])
            ids[k] = without_self(found)
    topn = common.peer("sparse_dot_topn") if metric == "cosine" and sp.issparse(rows) else None
    if topn:
        rounds = 3 if times["auto"] < 5 else 1
        times["topn"], found = timed(
            lambda: topn.sp_matmul_topn(rows, rows.T.tocsr(), top_n=K + 1, sort=True, n_threads=2), rounds
        )
        ids["topn"] = peers.topn_ids(found, K, skip_self=True)
    worst = 1.0 if metric in ("cosine", "jaccard", "hellinger", "dice") else np.inf
    shares = judge.recalls({str(s): found[sample] for s, found in ids.items()}, truth_of(rows, metric, sample), worst)
    ours, own = times["auto"], shares["auto"]
    task = f"{metric}, auto chose {chosen}" + (f" ({index.plan_.seeds})" if chosen == "graph" else "")
    below = "" if own >= least else f" BELOW {least}"
    lines = []

    def line(system, which, at_most):
        note = f"recall {own:.4f}{below}, theirs {shares[str(which)]:.4f}"
        lines.append(Line(task, ours, "s", system, times[which], at_most=at_most, note=note))

    if 30 in times:
        line("pynndescent, 30 neighbours", 30, limit)
        line("pynndescent, 16 neighbours", 16, HALF if shares["16"] <= own + EQUAL else None)
    if "topn" in times:
        line("sparse_dot_topn", "topn", 0.6 if name == "wordnet" else None)
    line(f"sparsenn, {other}", other, SLACK if other == "exact" or shares[other] >= own - 0.02 else None)
    return lines


def without_self(ids):
    """Graph of PyNNDescent with the row itself taken out of its list; K columns."""
    out = np.full((len(ids), K), -1, np.int64)
    for i, row in enumerate(ids):
        own = row[row != i][:K]
        out[i, : len(own)] = own
    return out


def counted_words(quick):
    """Raw word counts of newsgroups."""
    path = datasets.real_file("text", "newsgroups20.parquet")
    if path is None:
        rows = datasets.load("newsgroups", quick).rows.copy()
        rows.data = np.ceil(rows.data * 10).astype(np.float32)
        return "newsgroups counts (generated)", rows
    import pandas
    from sklearn.feature_extraction.text import CountVectorizer

    words = CountVectorizer(min_df=2, max_df=0.5, stop_words="english", dtype=np.float32)
    rows = words.fit_transform(pandas.read_parquet(path)["text"])
    rows = rows[np.diff(rows.indptr) > 0]
    rows = rows[np.sort(np.random.default_rng(7).permutation(rows.shape[0])[2000:])]
    return "newsgroups counts", rows[:2000] if quick else rows


def sentences(quick):
    """TF-IDF rows of about a million sentences, in random order."""
    cached = datasets.cache_folder() / "sentences.npz"
    path = datasets.real_file("text", "imdb_100k.parquet")
    if path is None:
        return "sentences (generated)", datasets.load("wordnet", quick).rows
    if cached.exists():
        rows = sp.load_npz(cached)
    else:
        import pandas
        from sklearn.feature_extraction.text import TfidfVectorizer

        parts = (
            part.strip() for text in pandas.read_parquet(path)["text"] for part in re.split(r"(?<=[.!?])\s+", text)
        )
        texts = [part for part in parts if len(part) >= 20][:1_000_000]
        rows = TfidfVectorizer(min_df=2, sublinear_tf=True, stop_words="english", dtype=np.float32).fit_transform(texts)
        rows = rows[np.diff(rows.indptr) > 0]
        rows = rows[np.random.default_rng(1).permutation(rows.shape[0])]
        sp.save_npz(cached, rows, compressed=False)
    return "sentences of imdb", rows[:40_000] if quick else rows


def bench_scale(quick):
    """Time against the number of rows."""
    label, rows = sentences(quick)
    compile_ours(rows, "cosine")
    lines, points = [], []
    parts = [rows[: int(rows.shape[0] * share)] for share in SHARES]
    times, recalls = np.empty((SCALE_ROUNDS, len(parts))), []
    for r in range(SCALE_ROUNDS):  # in turns: a machine has slow minutes
        for p, part in enumerate(parts):
            times[r, p], (index, _) = timed(lambda part=part: our_graph(part, "cosine", "graph"), 1)
            if r == 0:
                recalls.append(index.estimate_recall(1000).recall)
    for part, seconds, recall in zip(parts, np.median(times, axis=0), recalls, strict=True):
        low = "" if recall >= SCALE_RECALL else f" BELOW {SCALE_RECALL}"
        lines.append(Line(f"{part.shape[0]:,} rows, graph", seconds, "s", note=f"recall {recall:.4f}{low}"))
        points.append((part.shape[0], seconds, recall))
    large = points[SHARES.index(FIRST_SHARE) :]
    n, took = np.log([[p[0], p[1]] for p in large]).T
    exponent, ends = np.polyfit(n, took, 1)[0], (took[-1] - took[0]) / (n[-1] - n[0])
    note = (
        f"a line through all from {large[0][0]:,} rows on, medians of {SCALE_ROUNDS} turns; "
        f"from the first to the last {ends:.2f}"
    )
    lines.append(Line("time grows as n to the power of", exponent, "", at_most=GROWTH, note=note))
    del parts, part, index
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npz"
        sp.save_npz(file, rows, compressed=False)
        lines += graph_memory(file, "graph", MEMORY_TARGET)
    if not quick:
        draw_scale(points)
    return label, lines


def draw_scale(points):
    """Time against n, on two logarithmic axes."""
    import matplotlib.pyplot as plt

    n, seconds, recall = np.array(points).T
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.loglog(n, seconds, "o-", label="sparsenn, method='graph'")
    axes.loglog(n, seconds[-1] * (n / n[-1]) ** GROWTH, "--", color="gray", label=f"n^{GROWTH}")
    for x, y, r in zip(n, seconds, recall, strict=True):
        axes.annotate(f"recall {r:.3f}", (x, y), (4, -12), textcoords="offset points", fontsize=8)
    axes.set(
        xlim=(n[0] / 1.5, n[-1] * 2.5),
        xlabel="rows",
        ylabel="seconds, 2 threads",
        title="15-neighbour graph of sentences, TF-IDF cosine",
    )
    axes.legend()
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "graph-scale.png", dpi=120)


def bench_curves(name, rows, metric):
    """Time and recall at several settings of each system."""
    compile_ours(rows, metric)
    sample = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:SAMPLE])
    times, ids = {}, {}

    def run(system, setting, function):
        times[system, setting], found = timed(function, 2)
        ids[system, setting] = found

    def ours(**options):
        return sn.Index(metric, n_neighbors=K, n_jobs=2, **options).fit(rows).neighbor_graph.indices

    for width in (4, 6, 8, 12, 16, 24):
        run("sparsenn graph", f"max_candidates={width}", lambda w=width: ours(method="graph", max_candidates=w))
    if sp.issparse(rows):
        run("sparsenn exact", "", lambda: ours(method="exact"))
    pynndescent = common.peer("pynndescent")
    for k in (16, 20, 30, 45) if pynndescent else ():

        def build(some, k=k):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                graph = pynndescent.NNDescent(some, metric=metric, n_neighbors=k, random_state=1, n_jobs=2)
            return without_self(graph.neighbor_graph[0])

        build(rows[:2000])
        run("PyNNDescent", f"n_neighbors={k}", lambda build=build: build(rows))
    named = {f"{system} {setting}".strip(): found[sample] for (system, setting), found in ids.items()}
    shares = judge.recalls(named, truth_of(rows, metric, sample), 1.0 if metric == "cosine" else np.inf)
    points = [(s, t, times[s, t], shares[f"{s} {t}".strip()]) for s, t in times]
    lines = [Line(f"{name}: {s} {t}".strip(), seconds, "s", note=f"recall {r:.4f}") for s, t, seconds, r in points]
    return lines, points


def draw_curves(curves):
    """Time against recall, one panel a data set."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(5 * len(curves), 4), layout="constrained", squeeze=False)
    for axes, (label, points) in zip(panels[0], curves.items(), strict=True):
        styles = (("sparsenn graph", "o-", "C0"), ("sparsenn exact", "*", "C0"), ("PyNNDescent", "s-", "C1"))
        for system, marker, colour in styles:
            own = sorted((r, seconds) for s, _, seconds, r in points if s == system)
            if own:
                axes.plot(
                    *zip(*own, strict=True), marker, color=colour, markersize=9 if marker == "*" else 5, label=system
                )
        axes.set(xlabel="recall at 15", ylabel="seconds, 2 threads", title=label, yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "graph-recall.png", dpi=120)


def both_curves(quick):
    """Text and images."""
    text, (label, train, queries) = datasets.load("newsgroups", quick), datasets.load_digits(quick)
    sets = {text.label: (text.rows, "cosine"), label: (np.concatenate([train, queries]), "euclidean")}
    lines, curves = [], {}
    for name, (rows, metric) in sets.items():
        more, curves[f"{name}, {metric}"] = bench_curves(name, rows, metric)
        lines += more
    if not quick:
        draw_curves(curves)
    return " and ".join(sets), lines


def main():
    """Run the parts asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    about = (
        f"{K}-neighbour graphs from the user's rows, 2 threads, compiled beforehand, memory touched before each run; "
        f"recall on {SAMPLE} rows."
    )
    for name in options.only:
        if name == "scale":
            label, lines = bench_scale(options.quick)
        elif name == "curves":
            label, lines = both_curves(options.quick)
        elif name == "counts":
            label, rows = counted_words(options.quick)
            lines = [line for metric in COUNTS for line in bench(name, rows, metric, *TARGETS[name])]
        elif name == "mnist":
            label, train, queries = datasets.load_digits(options.quick)
            lines = bench(name, np.concatenate([train, queries]), "euclidean", *TARGETS[name])
        else:
            data = datasets.load(name, options.quick)
            label = data.label
            lines = bench(name, data.rows, "cosine" if name in datasets.TEXTS else "jaccard", *TARGETS[name])
        report.section(f"Graphs: {label}", lines, about)


if __name__ == "__main__":
    main()
