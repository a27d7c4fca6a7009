"""Proxies of the dear metrics against exact search.

python benchmarks/bench_proxies.py [--only topics,newsgroups] [--quick] [--write]

Queries on one thread, k = 10, everything compiled and fitted beforehand. How many candidates a recall
takes is calibrated on other queries; the recall in the note is that of the queries that are timed, tie-aware,
against exact search. Counts are those of the 2,000 commonest words, and the cost between two words is
the distance of their directions in 30 dimensions of the counts (truncated singular value decomposition).
"""

import common
import datasets
import numpy as np
import scipy.sparse as sp
from common import Line

from sparsenn.exact import fit_space
from sparsenn.proxies import ProxyEngine

K, RECALLS = 10, (0.95, 0.99)
PARTS = ["topics", "newsgroups", "reuters"]
COLUMNS, DIMENSIONS = 2000, 30
SAMPLE = 40  # queries of a calibration
QUERIES = 100
FEW_ROWS, FEW_QUERIES, FEW_SAMPLE = 2000, 8, 8  # of texts, where a pair takes a millisecond
TEXTS = {"newsgroups": ("newsgroups20.parquet", "text"), "reuters": ("reuters21578.parquet", "body")}


def load_counts(name, quick):
    """Counts of the commonest words: a label, and rows in random order."""
    source = datasets.real_file("text", TEXTS[name][0])
    label = name if source else f"{name} (generated)"
    cached = datasets.cache_folder() / f"{name}-counts-{'real' if source else 'generated'}.npz"
    if cached.exists():
        counts = sp.load_npz(cached)
    else:
        counts = _count(name, source) if source else _generate(name)
        sp.save_npz(cached, counts)
    counts = counts[np.diff(counts.indptr) > 0]
    counts = counts[np.random.default_rng(7).permutation(counts.shape[0])]
    return (f"{label}, small part", counts[:1500]) if quick else (label, counts)


def _count(name, source):
    import pandas as pd
    from sklearn.feature_extraction.text import CountVectorizer

    texts = pd.read_parquet(source, columns=[TEXTS[name][1]])[TEXTS[name][1]].fillna("")
    print(f"counting the words of {name}", flush=True)
    vectorizer = CountVectorizer(stop_words="english", max_features=COLUMNS, dtype=np.float32)
    return vectorizer.fit_transform(texts).tocsr()


def _generate(name):
    """Rows of 50 topics, of Zipfian columns."""
    rng = np.random.default_rng(len(name))
    topics = rng.permuted(np.tile(1.0 / np.arange(1, COLUMNS + 1), (50, 1)), axis=1) + 1.0 / np.arange(30, COLUMNS + 30)
    mixed = topics / topics.sum(axis=1, keepdims=True)
    lengths = rng.lognormal(4.5, 0.7, 20_000).astype(int) + 1
    rows = [
        sp.csr_matrix(rng.multinomial(n, mixed[t])) for n, t in zip(lengths, rng.integers(0, 50, 20_000), strict=True)
    ]
    return sp.vstack(rows).astype(np.float32).tocsr()


def cost_of_words(counts):
    """Distances of the directions of words."""
    from scipy.sparse.linalg import svds

    logs = counts.astype(np.float64)
    logs.data = np.log1p(logs.data)
    _, _, directions = svds(logs, DIMENSIONS, random_state=0)
    return cost_of_points(directions.T / np.maximum(np.linalg.norm(directions.T, axis=1, keepdims=True), 1e-12))


def cost_of_points(points):
    """Euclidean distances."""
    squares = (points * points).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0))


def compare(task, metric, params, rows, n_queries, n_sample):
    """One metric: exact search against its proxy at each recall."""
    sample, asked, indexed = rows[:n_sample], rows[n_sample : n_sample + n_queries], rows[n_sample + n_queries :]
    space, read = fit_space(indexed, metric, params)
    engine = ProxyEngine(space, read, 1)
    table = engine.calibrate(space.read(sample, "Q"), K, 2)
    queries = space.read(asked, "Q")
    depths = [next((c.over_fetch for c in table if c.recall >= r), table[-1].over_fetch) for r in RECALLS]
    systems = {"exact": lambda: engine.exact.nearest(queries, K, 1)}
    systems |= {f"x{depth}": lambda depth=depth: engine.nearest(queries, K, depth, 1) for depth in depths}
    times = common.in_turns(systems, rounds=3)
    exact = times["exact"]
    kth = exact.result.distances[:, -1:]
    lines = []
    for aim, depth in zip(RECALLS, depths, strict=True):
        timing = times[f"x{depth}"]
        predicted = engine.exact_cost / engine.cost(K, depth)
        share = float((timing.result.distances <= kth + 1e-6 * np.abs(kth)).mean())
        lines.append(
            Line(
                f"{task}, recall {aim:g}",
                timing.best / n_queries * 1e3,
                "ms",
                "exact search",
                exact.best / n_queries * 1e3,
                as_times=True,
                note=f"{depth * K} candidates: recall {share:.3f}; predicted {predicted:.1f}×",
            )
        )
    return lines


def bench_topics(quick):
    """Dense distributions of 8 columns."""
    label, rows = datasets.load_topics()
    rows = rows.astype(np.float32)[np.random.default_rng(7).permutation(len(rows))][: 1500 if quick else None]
    line = np.abs(np.arange(8)[:, None] - np.arange(8)).astype(float)
    plane = cost_of_points(np.random.default_rng(0).normal(size=(8, 2)))
    tasks = {
        "jensen_shannon": ("jensen_shannon", {}),
        "symmetric_kl": ("symmetric_kl", {}),
        "wasserstein_1d": ("wasserstein_1d", {}),
        "circular_wasserstein": ("circular_wasserstein", {}),
        "kantorovich, cost |i − j|": ("kantorovich", {"cost": line}),
        "kantorovich, points of a plane": ("kantorovich", {"cost": plane}),
        "sinkhorn, points of a plane, regularization 1": ("sinkhorn", {"cost": plane}),
        "sinkhorn, points of a plane, regularization 0.1": ("sinkhorn", {"cost": plane, "regularization": 0.1}),
    }
    lines = []
    for task, (metric, params) in tasks.items():
        slow = "cost" in params
        lines += compare(task, metric, params, rows, QUERIES // 4 if slow else QUERIES, SAMPLE)
    return f"{label}: {len(rows):,} rows of 8 columns", lines


def bench_counts(name, quick):
    """Sparse counts of the commonest words."""
    label, counts = load_counts(name, quick)
    few = counts[: 400 if quick else FEW_ROWS]
    lines = []
    for metric in ("jensen_shannon", "symmetric_kl", "wasserstein_1d", "circular_wasserstein"):
        lines += compare(metric, metric, {}, counts, FEW_QUERIES if quick else SAMPLE, SAMPLE)
    cost = cost_of_words(counts)
    tasks = {"kantorovich": {}, "sinkhorn": {"regularization": 0.1 * cost.max()}}
    for metric, more in tasks.items():
        task = f"{metric}, {few.shape[0]:,} rows"
        lines += compare(task, metric, {"cost": cost, **more}, few, FEW_QUERIES, FEW_SAMPLE)
    values = counts.nnz / counts.shape[0]
    return f"{label}, counts: {counts.shape[0]:,} rows of {COLUMNS:,} columns, {values:.0f} values a row", lines


def main():
    """Run the parts asked for."""
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    for part in options.only:
        title, lines = bench_topics(options.quick) if part == "topics" else bench_counts(part, options.quick)
        about = f"Milliseconds a query, one thread, k = {K}; exact search / proxy."
        report.section(f"Proxies: {title}", lines, about)


if __name__ == "__main__":
    main()
