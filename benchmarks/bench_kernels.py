"""Distances of every metric, against scikit-learn and SciPy; and the costs that the planner counts with.

python benchmarks/bench_kernels.py [--only metrics,costs] [--metrics cosine,jaccard] [--quick] [--write]

metrics: `pairwise_distances` of 5,000 newsgroups rows against 200, one thread. scikit-learn gets sparse
rows where it takes them; otherwise the time to make them dense is part of its figure. SciPy's rows are
dense beforehand. What would take minutes is timed on fewer rows or pairs, and scaled up in proportion:
the table says of how many. Metrics of another kind of rows get dense rows that suit them.

costs: nanoseconds to sum a posting, to finish a row and to verify a candidate, beside what is shipped.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import common
import datasets
import numpy as np
import scipy.sparse as sp
from common import Line
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

import sparsenn as sn

PARTS = ["metrics", "costs", "memory"]
OUT_OF_CACHE = 0.35  # of the time without prefetch and compact rows
N_ROWS, N_OTHERS = 5000, 200
FEWER = 50  # rows (against all others) for what needs dense rows of all columns
PAIRS = (8, 5)  # rows and others for loops over single pairs
TIMES_SCIPY = 5
AGREES = 1e-4  # differences up to this (relative above 1) are rounding

# What sklearn.metrics.pairwise_distances takes, on dense rows unless said otherwise.
SKLEARN_SPARSE = {"euclidean", "sqeuclidean", "manhattan", "cosine"}
SKLEARN_DENSE = {"braycurtis", "canberra", "chebyshev", "correlation", "hamming", "haversine"}
SKLEARN_DENSE |= {"mahalanobis", "minkowski", "seuclidean"}
SKLEARN_SETS = {"dice", "jaccard", "rogerstanimoto", "russellrao", "sokalsneath", "yule"}
# What scipy's cdist takes, by our names.
SCIPY = {name: name for name in SKLEARN_SPARSE | SKLEARN_DENSE | SKLEARN_SETS if name != "haversine"} | {
    "manhattan": "cityblock",
    "matching": "hamming",
    "sokalmichener": "rogerstanimoto",
    "jensen_shannon": "jensenshannon",
    "bit_hamming": "hamming",
    "bit_jaccard": "jaccard",
}


@dataclass(frozen=True)
class Case:
    """Rows and parameters for one metric."""

    metric: str
    rows: Any
    others: Any
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return sp.issparse(self.rows)

    @property
    def presence(self) -> bool:
        """Whether others want booleans."""
        return sn.metrics.get(self.metric).presence

    def dense(self, which: Any) -> np.ndarray:
        """Rows as scikit-learn and SciPy want them."""
        if self.metric.startswith("bit_"):
            return np.unpackbits(which, axis=1).astype(bool)
        if not self.sparse:
            return np.asarray(which)
        return (which != 0).toarray() if self.presence else which.toarray().astype(np.float64)


@dataclass(frozen=True)
class Other:
    """Another way to the distances of the first rows to the first others, and how it scales to all."""

    name: str
    shape: tuple[int, int]
    run: Callable[[], np.ndarray]


def make_cases(quick: bool) -> tuple[str, dict[str, Case]]:
    """Rows for every metric of the registry."""
    data = datasets.load("newsgroups")
    some = np.sort(np.random.default_rng(0).permutation(data.rows.shape[0])[: N_ROWS // 10 if quick else N_ROWS])
    rows, others = data.rows[some], data.queries[:N_OTHERS]
    label, shares = datasets.load_topics()
    shares, few = shares[: len(some)], shares[-N_OTHERS:]
    rng = np.random.default_rng(0)
    places = (rng.random((len(some) + N_OTHERS, 2)) - 0.5) * (np.pi, 2 * np.pi)
    common_columns = np.argsort(-np.bincount(data.rows.indices, minlength=rows.shape[1]))[:4096]
    bits, few_bits = (np.packbits((x[:, common_columns] != 0).toarray(), axis=1) for x in (rows, others))
    ladder = np.arange(shares.shape[1], dtype=float)
    cost = np.abs(ladder[:, None] - ladder)
    cases = {}
    for name in sn.metrics.names():
        record = sn.metrics.get(name)
        if record.containers == ("bits",):
            cases[name] = Case(name, bits, few_bits)
        elif record.n_columns == 2:
            cases[name] = Case(name, places[:-N_OTHERS], places[-N_OTHERS:])
        elif name == "mahalanobis":  # shares sum to 1: all columns together have no inverse covariance
            inverse = np.linalg.inv(np.cov(shares[:, :-1], rowvar=False))
            cases[name] = Case(name, shares[:, :-1], few[:, :-1], {"VI": inverse})
        elif "cost" in record.parameters:
            cases[name] = Case(name, shares, few, {"cost": cost})
        elif name == "seuclidean":
            cases[name] = Case(name, rows, others, {"V": variances(data.rows)})
        else:
            cases[name] = Case(name, rows, others, record.example)
    about = (
        f"{rows.shape[0]:,} rows against {N_OTHERS} of {data.label} ({rows.shape[1]:,} columns), 1 thread. "
        f"Dense rows: {label} ({shares.shape[1]} columns) for mahalanobis and the metrics with a cost matrix, "
        "points of a sphere for haversine, the 4,096 commonest columns as bits for the bit-packed ones. "
        "SciPy's rows are dense beforehand; scikit-learn's are made dense where it needs that. "
        "Figures of part of the rows or pairs are scaled up."
    )
    return about, cases


def variances(rows: sp.csr_matrix) -> np.ndarray:
    """Variance of each column; 1 for constant ones."""
    mean = np.asarray(rows.mean(axis=0)).ravel()
    found = np.asarray(rows.multiply(rows).mean(axis=0)).ravel() - mean**2
    return np.where(found > 0, found, 1.0)


def sklearn_way(case: Case) -> Other | None:
    """How scikit-learn does it, if it does."""
    from sklearn.metrics import pairwise_distances
    from sklearn.metrics.pairwise import euclidean_distances

    name, rows, others, params = case.metric, case.rows, case.others, dict(case.params)
    everything = (rows.shape[0], others.shape[0])
    if name == "sqeuclidean":
        return Other("scikit-learn, sparse", everything, lambda: euclidean_distances(rows, others, squared=True))
    if name in SKLEARN_SPARSE:
        return Other("scikit-learn, sparse", everything, lambda: pairwise_distances(rows, others, metric=name))
    if name not in SKLEARN_DENSE | SKLEARN_SETS:
        return None
    if not case.sparse:
        return Other("scikit-learn", everything, lambda: pairwise_distances(rows, others, metric=name, **params))
    dense_others = case.dense(others)
    return Other(
        "scikit-learn, dense",
        (FEWER, others.shape[0]),
        lambda: pairwise_distances(case.dense(rows[:FEWER]), dense_others, metric=name, **params),
    )


def scipy_way(case: Case) -> Other:
    """SciPy's cdist, or a loop over pairs where it has none."""
    name, params = case.metric, dict(case.params)
    if name in SCIPY:
        rows = case.dense(case.rows[:FEWER] if case.sparse or name.startswith("bit_") else case.rows)
        others = case.dense(case.others)
        return Other("SciPy cdist", (len(rows), len(others)), lambda: cdist(rows, others, SCIPY[name], **params))
    rows, others = (case.dense(x[:n]).astype(float) for x, n in zip((case.rows, case.others), PAIRS, strict=True))
    label, function = loop_of(name, params)
    return Other(label, PAIRS, lambda: np.array([[function(x, y) for y in others] for x in rows]))


def loop_of(name: str, params: Mapping[str, Any]) -> tuple[str, Callable[[np.ndarray, np.ndarray], float]]:
    """Distance of one pair of dense rows by SciPy or numpy, and what to call it."""
    from scipy.stats import spearmanr

    own: dict[str, tuple[str, Callable[..., Any]]] = {
        "spearman": ("SciPy spearmanr, loop", lambda x, y: 1 - spearmanr(x, y).statistic),
        "chi_square": ("numpy, loop", chi_square),
        "circular_wasserstein": ("numpy, loop", circular_wasserstein),
        "sinkhorn": ("numpy, loop", sinkhorn),
    }
    of_scipy = {"wasserstein_1d": "SciPy wasserstein_distance, loop", "kantorovich": "SciPy linprog, loop"}
    label, function = own.get(name, (of_scipy.get(name, "numpy, loop"), sn.metrics.get(name).reference))
    return label, lambda x, y: function(x, y, **params)


def chi_square(x: np.ndarray, y: np.ndarray) -> float:
    """Σ(x−y)² / (x+y)."""
    whole = x + y
    return ((x - y) ** 2 / np.where(whole > 0, whole, 1)).sum()


def circular_wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """Return Σ|d − median d|, where d is the difference of the cumulated shares."""
    apart = np.cumsum(x / x.sum() - y / y.sum())
    return np.abs(apart - np.median(apart)).sum()


def sinkhorn(x: np.ndarray, y: np.ndarray, cost: np.ndarray) -> float:
    """Plain scaling, regularization 1, until the margin is within 1e-9."""
    x, y, kernel = x / x.sum(), y / y.sum(), np.exp(-cost)
    v = np.ones(len(y))
    for _ in range(1000):
        u = x / (kernel @ v)
        v = y / (kernel.T @ u)
        if np.abs(u * (kernel @ v) - x).sum() <= 1e-9:
            break
    return (u[:, None] * kernel * v * cost).sum()


def bench_metric(case: Case, rounds: int) -> list[Line]:
    """One metric against both."""
    ways = [way for way in (sklearn_way(case), scipy_way(case)) if way]
    everything = (case.rows.shape[0], case.others.shape[0])
    systems: dict[str, Callable[[], Any]] = {
        "sparsenn": lambda: sn.pairwise_distances(
            case.rows, case.others, metric=case.metric, metric_params=case.params, n_jobs=1
        )
    }
    with threadpool_limits(limits=1):
        times = common.in_turns(systems | {way.name: way.run for way in ways}, rounds, patience=15)
    ours = times["sparsenn"]
    lines = []
    for way in ways:
        scale = everything[0] * everything[1] / (way.shape[0] * way.shape[1])
        notes = [] if scale == 1 else [f"of {way.shape[0]} rows × {way.shape[1]}, scaled"]
        theirs = np.asarray(times[way.name].result)
        apart = np.abs(ours.result[: way.shape[0], : way.shape[1]] - theirs) / np.maximum(np.abs(theirs), 1)
        if not apart.max() <= AGREES:
            notes.append(f"DIFFERS by {apart.max():.2g}")
        own, its = ours.best * 1e3, times[way.name].best * scale * 1e3
        targets: dict[str, Any] = {"as_times": True}
        if way.name.startswith("scikit-learn"):
            targets = {"at_least": 1}
        elif case.sparse:
            targets = {"at_least": TIMES_SCIPY}
        lines.append(Line(case.metric, own, "ms", way.name, its, note="; ".join(notes), **targets))
    return lines


def bench_costs(name: str, quick: bool) -> tuple[str, list[Line]]:
    """Costs of the three things that the planner counts, cosine, one thread."""
    import cost_loops

    from sparsenn import termwise

    data = datasets.load(name, quick)
    engine = sn.Index("cosine", method="exact").fit(data.rows)._engine
    prepared = cost_loops.prepare(engine, data.queries[:500])
    runs = {loop.__name__: (lambda loop=loop: loop(prepared)) for loop in cost_loops.LOOPS}
    times = common.in_turns(runs)
    posting, row, candidate = (time.best / time.result * 1e9 for time in times.values())
    shipped = f"sparsenn.termwise: VERIFY = {termwise.VERIFY}"
    width = data.rows.nnz / data.rows.shape[0]
    lines = [
        Line("sum one posting, lists in cache", posting, "ns"),
        Line("finish one row, when all are", row, "ns"),
        Line(
            "verify one candidate, cold", candidate, "ns", note=f"rows of {width:.0f} nonzeros, half of the tiers left"
        ),
        Line("finish / sum", row / posting, ""),
        Line("VERIFY: verify / sum", candidate / posting, "", "shipped", termwise.VERIFY),
    ]
    return f"Costs of exact search: {data.label}", lines, f"Cosine, 1 thread. Shipped in {shipped}, in postings summed."


def bench_memory(quick: bool) -> list[Line]:
    """One distance of rows in cache and out of it, with and without prefetch and compact storage; one thread."""
    import cost_loops

    _, train, queries = datasets.load_digits(quick)
    sets = {
        "dense, 784 columns": (np.concatenate([train, queries]), "euclidean"),
        "sparse, imdb": (datasets.load("imdb", quick).rows, "cosine"),
    }
    lines = []
    for name, (rows, metric) in sets.items():
        ways = cost_loops.memory_ways(rows, metric)
        times = common.in_turns(ways)
        cost = {way: time.best / time.result * 1e9 for way, time in times.items()}
        for way in ways:
            against: dict[str, Any] = {}
            if way in ("prefetch alone, out of cache", "shipped, out of cache"):
                against = {"peer": "plain, out of cache", "theirs": cost["plain, out of cache"]}
                against["at_most"] = OUT_OF_CACHE if way.startswith("shipped") else None
            lines.append(Line(f"{name}: {way}", cost[way], "ns", **against))
    return lines


def main() -> None:
    """Run the parts asked for."""
    parser = common.arguments(__doc__, PARTS)
    parser.add_argument("--metrics", default="", metavar="A,B", help="only these metrics (not with --write)")
    options = common.parse(parser, PARTS)
    if options.metrics and options.write:
        parser.error("--metrics leaves others out of the table: not with --write")
    report = common.Report(__file__, options)
    if "metrics" in options.only:
        about, cases = make_cases(options.quick)
        chosen = options.metrics.split(",") if options.metrics else list(cases)
        lines = []
        for name in chosen:
            print(f"{name} ...", flush=True)
            lines.append(bench_metric(cases[name], rounds=1 if options.quick else 3))
        report.section("Distances of every metric", list(itertools.chain(*lines)), about)
    if "costs" in options.only:
        for name in ("newsgroups", "imdb"):
            title, lines, about = bench_costs(name, options.quick)
            report.section(title, lines, about)
    if "memory" in options.only:
        about = (
            "One pair of rows drawn anywhere, as graphs measure them; 1 thread. Plain: one loop over the rows as they "
            "are, in float64, without prefetch. Shipped: prefetch, sketches of bytes for dense rows, packed words for "
            "sparse ones."
        )
        report.section("Distances out of cache", bench_memory(options.quick), about)


if __name__ == "__main__":
    main()
