"""Exact search, side by side with what people use now.

python benchmarks/bench_exact.py [--only newsgroups,retail] [--quick] [--write]

Text (cosine): the exact 15-neighbour graph and single-thread queries against sparse_dot_topn and
SINDI, and the memory of the graph. Sets: queries against a scipy matrix product. Dense rows: queries
against scikit-learn. Every system's answers are judged by distances computed from the original rows.
"""

import common
import datasets
import judge
import numpy as np
import peers
from common import Line
from memory import graph_memory

import sparsenn as sn

GRAPH_K, K = 15, 10
SAMPLE = 500  # rows of a graph whose neighbours are checked
PARTS = ["newsgroups", "imdb", "wordnet", "gowalla", "retail", "mnist"]
# Targets: ours / theirs, at most: graph, queries against sparse_dot_topn, queries against SINDI.
TARGETS = {"newsgroups": (0.5, 0.33, 0.4), "imdb": (0.4, None, None), "wordnet": (0.6, 0.6, None)}
MEMORY_TARGET = 2.5  # peak above the input / (input + result)
TIMES_SCIPY = 5
WHEELS = (
    "sparse_dot_topn and pyvsag are their published wheels, not compiled for this machine, as numba's code is. "
    "Recall is tie-aware and computed from the original rows."
)


def graph_recalls(graphs, rows):
    """Recall of graphs on sampled rows; a row is not its own neighbour."""
    sample = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:SAMPLE])
    truth = judge.cosine_truth(rows[sample], rows)

    def without_self(a, b):
        distances = truth(a, b)
        distances[np.arange(b - a), sample[a:b]] = np.inf
        return distances

    return judge.recalls({name: ids[sample] for name, ids in graphs.items()}, without_self, worst=1.0)


def text_graph(name, data):
    """Time the exact graph, 2 threads, from the user's CSR."""
    topn = common.peer("sparse_dot_topn")
    systems = {
        "sparsenn": lambda: (
            sn.Index("cosine", n_neighbors=GRAPH_K, method="exact", n_jobs=2).fit(data.rows).neighbor_graph
        )
    }
    if topn:
        systems["sparse_dot_topn"] = lambda: topn.sp_matmul_topn(
            data.rows, data.rows.T.tocsr(), top_n=GRAPH_K + 1, sort=True, n_threads=2
        )
    times = common.in_turns(systems, rounds=3)
    graphs = {"sparsenn": times["sparsenn"].result.indices}
    if topn:
        graphs["sparse_dot_topn"] = peers.topn_ids(times["sparse_dot_topn"].result, GRAPH_K, skip_self=True)
    shares = graph_recalls(graphs, data.rows)
    task, ours = f"{GRAPH_K}-neighbour graph, 2 threads", times["sparsenn"].best
    if not topn:
        return [Line(task, ours, "s", note=judge.in_words(shares["sparsenn"]))]
    note = judge.in_words(shares["sparsenn"], shares["sparse_dot_topn"])
    theirs = times["sparse_dot_topn"].best
    return [Line(task, ours, "s", "sparse_dot_topn", theirs, at_most=TARGETS[name][0], note=note)]


def text_queries(name, data):
    """Time queries, 1 thread, everything that can be made beforehand made beforehand."""
    rows, queries = data.rows, data.queries
    index = sn.Index("cosine", method="exact").fit(rows)
    systems = {"sparsenn": lambda: index.query(queries, K, n_jobs=1)}
    ids = {"sparsenn": lambda result: result.indices}
    topn, pyvsag = common.peer("sparse_dot_topn"), common.peer("pyvsag")
    if topn:
        columns = rows.T.tocsr()
        systems["sparse_dot_topn"] = lambda: topn.sp_matmul_topn(queries, columns, top_n=K, sort=True, n_threads=1)
        ids["sparse_dot_topn"] = lambda result: peers.topn_ids(result, K)
    if pyvsag:
        sindi = {reorder: peers.Sindi(pyvsag, rows, queries, reorder) for reorder in (False, True)}
        for setting in peers.SINDI_SETTINGS:
            systems[setting.name] = lambda setting=setting: sindi[setting.reorder].search(setting, K)
            ids[setting.name] = lambda result: sindi[True].ids(result, K)
    times = common.in_turns(systems)
    answers = {system: ids[system](timing.result) for system, timing in times.items()}
    shares = judge.recalls(answers, judge.cosine_truth(queries, rows), worst=1.0)

    task, micro = f"{queries.shape[0]:,} queries, k={K}, 1 thread", 1e6 / queries.shape[0]
    ours, own = times["sparsenn"].best * micro, shares["sparsenn"]
    others = sorted((s for s in systems if s != "sparsenn"), key=lambda s: (shares[s] < judge.EXACT, times[s].best))
    fastest = next((s for s in others if s.startswith("SINDI") and shares[s] >= judge.EXACT), None)
    lines = []
    for system in sorted(others, key=lambda s: s != "sparse_dot_topn"):  # those that miss neighbours come last
        note = judge.in_words(own, shares[system]) + (", SINDI's fastest there" if system == fastest else "")
        target = TARGETS[name][1 if system == "sparse_dot_topn" else 2] if shares[system] >= judge.EXACT else None
        lines.append(Line(task, ours, "µs", system, times[system].best * micro, at_most=target, note=note))
    return lines or [Line(task, ours, "µs", note=judge.in_words(own))]


def bench_text(name, quick):
    """All figures of one text."""
    data = datasets.load(name, quick)
    lines = text_graph(name, data) + text_queries(name, data)
    if name == "imdb":
        lines += graph_memory(datasets.saved_rows(name, quick), "exact", MEMORY_TARGET)
    return data.label, describe(data.rows), lines


def bench_sets(name, quick):
    """Exact queries of sets, against a scipy product."""
    data = datasets.load(name, quick)
    product = peers.ScipyProduct(data.rows, data.queries)
    micro = 1e6 / data.queries.shape[0]
    lines = []
    for metric in ["jaccard", "manhattan", "euclidean"] if name == "retail" else ["jaccard"]:
        index = sn.Index(metric, method="exact").fit(data.rows)
        others = product.variants(metric, K)
        times = common.in_turns(
            {"sparsenn": lambda index=index: index.query(data.queries, K, n_jobs=1), **others}, rounds=3
        )
        truth, worst = judge.set_truth(data.queries, data.rows, metric), 1.0 if metric == "jaccard" else np.inf
        answers = {"sparsenn": times["sparsenn"].result.indices} | {way: times[way].result for way in others}
        shares = judge.recalls(answers, truth, worst)
        task = f"{metric}, {data.queries.shape[0]:,} queries, k={K}, 1 thread"
        ours = times["sparsenn"].best * micro
        for way in sorted(others, key=lambda way: times[way].best):
            note = judge.in_words(shares["sparsenn"], shares[way])
            lines.append(Line(task, ours, "µs", way, times[way].best * micro, at_least=TIMES_SCIPY, note=note))
    return data.label, describe(data.rows), lines


def bench_dense(quick):
    """Exact queries of dense rows, against scikit-learn's brute force, one thread each."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    label, rows, queries = datasets.load_digits(quick)
    micro = 1e6 / len(queries)
    lines = []
    for metric in ("euclidean", "cosine"):
        index = sn.Index(metric, method="exact").fit(rows)
        brute = NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric, n_jobs=1).fit(rows)
        with threadpool_limits(limits=1):
            times = common.in_turns(
                {
                    "sparsenn": lambda index=index: index.query(queries, K, n_jobs=1),
                    "sklearn": lambda brute=brute: brute.kneighbors(queries, return_distance=False),
                },
                rounds=3,
            )
        truth = judge.dense_truth(queries.astype(np.float64), rows.astype(np.float64), metric)
        answers = {"sparsenn": times["sparsenn"].result.indices, "sklearn": times["sklearn"].result}
        shares = judge.recalls(answers, truth)
        ours, theirs = (times[system].best * micro for system in ("sparsenn", "sklearn"))
        task, note = f"{metric}, {len(queries):,} queries, k={K}, 1 thread", judge.in_words(*shares.values())
        lines.append(Line(task, ours, "µs", "scikit-learn, brute", theirs, note=note))
    return label, f"{rows.shape[0]:,} dense rows of {rows.shape[1]} columns.", lines


def describe(rows):
    """Shape of sparse rows, in words."""
    n, m = rows.shape
    return f"{n:,} rows, {m:,} columns, {rows.nnz / n:.0f} nonzeros a row."


def main():
    """Run the parts asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    for name in options.only:
        if name in datasets.TEXTS:
            label, about, lines = bench_text(name, options.quick)
        elif name in datasets.SETS:
            label, about, lines = bench_sets(name, options.quick)
        else:
            label, about, lines = bench_dense(options.quick)
        kind = "cosine" if name in datasets.TEXTS else "sets" if name in datasets.SETS else "dense rows"
        about = f"{about} {WHEELS}" if kind == "cosine" else about
        report.section(f"Exact search, {kind}: {label}", lines, about)


if __name__ == "__main__":
    main()
