"""At home in scikit-learn, UMAP through our graph, and what moving here from other packages brings.

python benchmarks/bench_interop.py [--only checks,umap,moving] [--quick] [--write]

UMAP: each run in a process of its own, from the rows to the embedding, 2 threads, after one of a few rows: UMAP itself
compiles its parallel loops in each process, which takes the same ten seconds with any graph. The best time and the mean
trustworthiness of several runs, which draw at random: of 4,000 rows, by cosine distances of the original rows, 15
neighbours. The exact graph of scikit-learn's brute force tells what a graph without errors gives.
"""

import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import common
import datasets
import numpy as np
import scipy.sparse as sp
from common import Line

PARTS = ["checks", "umap", "moving"]
ESTIMATORS = [
    "KNeighborsTransformer",
    "RadiusNeighborsTransformer",
    "NearestNeighbors",
    "KNeighborsClassifier",
    "KNeighborsRegressor",
]
SAMPLE, K, RUNS = 4000, 15, 4
TARGET_TRUST, TARGET_TIME = 0.005, 3.0

CHILD = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np, scipy.sparse as sp, umap
way, few, rows, out = sys.argv[1:]
if way == "ours":
    from sparsenn.pynndescent import NNDescent
    made = lambda X: NNDescent(X, "cosine", n_neighbors=15, random_state=0).neighbor_graph
elif way == "exact":
    from sklearn.neighbors import NearestNeighbors
    def made(X):
        far, near = NearestNeighbors(n_neighbors=15, metric="cosine", algorithm="brute").fit(X).kneighbors(X)
        return near.astype(np.int32), far.astype(np.float32)
def embed(X):
    start, more = time.perf_counter(), {}
    if way != "own":
        more["precomputed_knn"] = made(X)
    graph = time.perf_counter() - start
    found = umap.UMAP(metric="cosine", n_neighbors=15, **more).fit_transform(X)
    return time.perf_counter() - start, graph, found
embed(sp.load_npz(few))  # UMAP compiles its parallel loops in each process anew
seconds, graph, found = embed(sp.load_npz(rows))
np.save(out, found)
print(json.dumps([seconds, graph]))
"""


def count_checks(estimator):
    """How many of scikit-learn's checks an estimator passes, of how many, and how many are skipped."""
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings(action="ignore"):
        try:
            results = check_estimator(estimator, on_fail=None, on_skip=None)
        except Exception as error:  # of an estimator that is none
            return f"stops before the first: {type(error).__name__}"
    states = [result["status"] for result in results]
    return f"{states.count('passed')} of {len(states)}, {states.count('skipped')} skipped"


def bench_checks(report):
    """scikit-learn's checks of all estimators."""
    from sklearn import neighbors

    from sparsenn import sklearn as ours

    rows = [
        [name, count_checks(getattr(ours, name)()), count_checks(getattr(neighbors, name)())] for name in ESTIMATORS
    ]
    pynndescent = common.peer("pynndescent")
    if pynndescent:
        rows.append(["pynndescent.PyNNDescentTransformer", "", count_checks(pynndescent.PyNNDescentTransformer())])
    report.table(
        "scikit-learn's checks", ["estimator", "sparsenn", "other"], rows, "Checks passed by `check_estimator`."
    )


def embed(way, few, rows, folder):
    """Seconds in all, seconds of the graph, and the embedding, after one of a few rows, which compiles."""
    out = folder / f"{way}.npy"
    code = [sys.executable, "-c", CHILD, way, str(few), str(rows), str(out)]
    done = subprocess.run(code, env=common.child_environment(), capture_output=True, text=True, check=True)
    seconds, graph = json.loads(done.stdout.splitlines()[-1])
    return seconds, graph, np.load(out)


def bench_umap(report, quick):
    """UMAP of newsgroups by itself and through our graph."""
    from sklearn.manifold import trustworthiness

    if not common.peer("umap"):
        return
    data = datasets.load("newsgroups", quick)
    sample = np.sort(np.random.default_rng(0).permutation(data.rows.shape[0])[:SAMPLE])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows, few = folder / "rows.npz", folder / "few.npz"
        sp.save_npz(rows, data.rows)
        sp.save_npz(few, data.rows[:4200])  # more than UMAP compares one by one: its caches get warm
        runs = {"own": [], "ours": [], "exact": []}
        for _ in range(1 if quick else RUNS):
            for way, done in runs.items():
                done.append(embed(way, few, rows, folder))
    best = {way: min(done, key=lambda run: run[0]) for way, done in runs.items()}
    trust = {  # a mean: UMAP draws at random
        way: np.mean(
            [trustworthiness(data.rows[sample], run[2][sample], n_neighbors=K, metric="cosine") for run in done]
        )
        for way, done in runs.items()
    }
    seconds = {way: run[0] for way, run in best.items()}
    graph = best["ours"][1]
    lines = [
        Line(
            "time in all",
            seconds["ours"],
            "s",
            "UMAP alone",
            seconds["own"],
            at_least=TARGET_TIME,
            note=f"of ours {graph:.2f} s are the graph",
        ),
        Line(
            "trustworthiness lost",
            trust["own"] - trust["ours"],
            "",
            at_most=TARGET_TRUST,
            note=f"{trust['ours']:.4f}, alone {trust['own']:.4f}; {len(runs['ours'])} runs of each",
        ),
        Line(
            "the same, beside scikit-learn's exact graph",
            trust["exact"] - trust["ours"],
            "",
            note=f"exact {trust['exact']:.4f}: UMAP's own graph lacks some edges, and embeds better by this measure",
        ),
    ]
    report.section(f"UMAP: {data.label}", lines, f"{data.rows.shape[0]:,} rows, cosine, 15 neighbours, 2 threads.")


def timed(function):
    """Seconds of one run."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def bench_moving(report, quick):
    """One task of each package that people come from, and the same here."""
    import sparsenn as sn

    data = datasets.load("newsgroups", quick)
    rows, queries = data.rows, data.queries
    n = rows.shape[0]

    def graph():
        return sn.Index("cosine", n_neighbors=K).fit(rows).neighbor_graph

    index = sn.Index("cosine").fit(rows)
    index.calibrate()
    graph(), index.query(queries)  # compiled
    ours = {
        "graph": min(timed(graph) for _ in range(3)),
        "queries": min(timed(lambda: index.query(queries)) for _ in range(3)),
    }
    lines = [
        Line(task, ours[kind], "s", name, timed(run), as_times=True) for task, kind, name, run in peers(rows, queries)
    ]
    report.section(
        f"Moving from other packages: {data.label}",
        lines,
        f"{n:,} rows of TF-IDF, cosine: the graph of {K} neighbours, or {queries.shape[0]:,} queries for 10; 2 "
        "threads. Others with their defaults, one run, after a small one that compiles.",
    )
    bench_datasketch(report, quick)


def peers(rows, queries):
    """Task, its kind, package and how it does it, for each that is installed."""
    from sklearn.neighbors import NearestNeighbors

    few = rows[:4200]
    pynndescent = common.peer("pynndescent")
    if pynndescent:
        pynndescent.NNDescent(few, metric="cosine", n_neighbors=K).neighbor_graph  # noqa: B018
        yield "graph", "graph", "pynndescent", lambda: pynndescent.NNDescent(rows, metric="cosine").neighbor_graph
    yield (
        "graph",
        "graph",
        "scikit-learn, brute force",
        lambda: NearestNeighbors(n_neighbors=K, metric="cosine").fit(rows).kneighbors(),
    )
    topn = common.peer("sparse_dot_topn")
    if topn:
        yield (
            "graph",
            "graph",
            "sparse_dot_topn",
            lambda: topn.sp_matmul_topn(rows, rows.T.tocsr(), top_n=K + 1, sort=True, n_threads=2),
        )
    nmslib = common.peer("nmslib")
    if nmslib:
        built = nmslib.init(method="hnsw", space="cosinesimil_sparse_fast", data_type=nmslib.DataType.SPARSE_VECTOR)
        built.addDataPointBatch(rows)
        built.createIndex({"post": 0, "indexThreadQty": 2})
        yield "queries", "queries", "nmslib", lambda: built.knnQueryBatch(queries, k=10, num_threads=2)


def bench_datasketch(report, quick):
    """Similar sets."""
    import sparsenn as sn

    datasketch = common.peer("datasketch")
    if not datasketch:
        return
    data = datasets.load("kosarak", quick)

    def hashed(matrix):
        return list(
            datasketch.MinHash.bulk(
                [
                    matrix.indices[a:b].astype("u4").view("u1").reshape(-1, 4)
                    for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)
                ]
            )
        )

    def theirs():
        forest = datasketch.MinHashLSHForest()
        for i, sketch in enumerate(hashed(data.rows)):
            forest.add(i, sketch)
        forest.index()
        return [forest.query(sketch, 10) for sketch in hashed(data.queries)]

    def ours():
        return sn.Index("jaccard").fit(data.rows).query(data.queries)

    ours()
    line = Line(
        "index and queries",
        min(timed(ours) for _ in range(3)),
        "s",
        "datasketch",
        timed(theirs),
        as_times=True,
        note="ours is exact",
    )
    about = f"{data.rows.shape[0]:,} sets, jaccard, {data.queries.shape[0]:,} queries for 10."
    report.section(f"Moving from other packages: {data.label}", [line], about)


def main():
    """Run the parts asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    if "checks" in options.only:
        bench_checks(report)
    if "umap" in options.only:
        bench_umap(report, options.quick)
    if "moving" in options.only:
        bench_moving(report, options.quick)


if __name__ == "__main__":
    main()
