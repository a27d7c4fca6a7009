"""Which way to make a k-neighbour graph: predicted from counted work and costs that ship, never from a clock."""

import math
from dataclasses import dataclass

import numpy as np

from sparsenn.exact import ExactEngine
from sparsenn.patterns import search_cost
from sparsenn.termwise import FINISH_ROW, MEET_POSTING, SUM_POSTING

# Nanoseconds, as benchmarks/bench_kernels.py and bench_graph.py measure them on one machine: only ratios matter.
LEFT_TO_SUM = 0.45  # share of the postings summed where a bound by norms leaves out common terms
HEAD_POSTING = 1.3  # in a head: its rows lie apart
PRODUCT = 0.02  # one multiplication of a BLAS product
VALUE, VALUE_DENSE = 0.7, 0.14  # one stored value of a row that is gathered or swept
COLD_VALUE_WHOLE = 0.3  # the same of a dense row as it is
COLD_VALUE, COLD_VALUE_DENSE = 1.0, 0.085  # the same out of cache, where dense rows are compact
COLD_ROW, COLD_ROW_DENSE = 60.0, 25.0  # a row fetched and measured, before its values
PER_QUERY = 2000.0

# Rows kept of a list, and candidates measured: of long rows, and of short ones, which have fewer lists, and whose sums
# are whole but for the heads.
HEAD, HEAD_SHORT = 1000, 1300
HEAD_WIDTH, HEAD_WIDTH_SHORT = 80, 40
LONG_ROW = 32  # values a row from which the commonest terms may be left out
LONG_SHARE = 0.9  # of a long row's bound that is kept
TREES, LEAF_SIZE, ROUNDS = 8, 20, 6
WIDTH, WIDTH_AFTER_HEADS = 16, 10
AIM, WIDER = 0.95, (1.5, 2.25, 3.0)  # where neighbours of neighbours tell little, so many times as many are looked at
# Pairs a row that descent measures in all, from a forest and after heads, as shares of the most there could be.
# Sparse rows have neighbours that tell less of each other, and more candidates are looked at in the end.
PAIRS_FROM_FOREST, PAIRS_FROM_FOREST_SPARSE, PAIRS_AFTER_HEADS = 0.9, 2.5, 0.25
WALK_PAIRS = 400  # that a query measures along a graph, for a recall of .95
SOON = 1.0  # seconds of exact search for which no graph is made
WORTH = 0.75  # a graph must be this much faster than exact search to be taken for it


@dataclass(frozen=True)
class Settings:
    """How a graph is made; what the user left open (None) is filled in by the plan."""

    seeds: str = "auto"
    n_trees: int | None = None
    leaf_size: int | None = None
    max_candidates: int | None = None
    n_iters: int | None = None
    delta: float = 0.002
    expected_queries: int | None = None


@dataclass(frozen=True)
class Plan:
    """What an index chose, and why.

    Attributes
    ----------
    method : "exact", "graph" or "heads"
    seeds : "heads", "forest", "random", "given" or "none"
    reason : str
    exact_seconds, graph_seconds : float
        Predicted time of the k-neighbour graph on one thread of the machine that the costs were
        measured on.
    head, share, head_width, n_trees, leaf_size, max_candidates, n_iters, delta
        Settings of the graph.
    aim : float
        Recall on some rows below which the graph is made with more candidates.
    wider : tuple of (int, float)
        How many they would be then, and the predicted seconds; empty where the user chose how many.
    gives_up : bool
        Whether exact search takes over where more candidates would take longer.
    k : int
        Neighbours a row of the graph.
    """

    method: str
    seeds: str
    reason: str
    exact_seconds: float
    graph_seconds: float
    head: int
    share: float
    head_width: int
    n_trees: int
    leaf_size: int
    max_candidates: int
    n_iters: int
    delta: float
    aim: float
    wider: tuple[tuple[int, float], ...]
    gives_up: bool
    k: int


def pair_cost(engine: ExactEngine) -> float:
    """Nanoseconds of one measured pair of rows that lie anywhere."""
    sparse = engine.space.container == "csr" or engine.space.bound.metric.pair is not None
    row, value = (COLD_ROW, COLD_VALUE) if sparse else (COLD_ROW_DENSE, COLD_VALUE_DENSE)
    return row + engine.values_per_row * value * engine.space.bound.metric.cost[0]


def whole_pair_cost(engine: ExactEngine) -> float:
    """The same of rows as they are: bytes fetched."""
    if engine.space.bound.metric.pair is not None or engine.space.container == "csr":
        return pair_cost(engine)
    return COLD_ROW + engine.values_per_row * COLD_VALUE_WHOLE


def exact_cost(engine: ExactEngine) -> float:
    """Nanoseconds of the exact graph."""
    n = engine.n_rows
    if engine.way == "products":
        return n * n * (PRODUCT * engine.values_per_row + FINISH_ROW)
    if engine.way == "blocks":
        if engine.space.bound.metric.pair is not None:
            return n * n * pair_cost(engine)
        value = VALUE if engine.space.container == "csr" else VALUE_DENSE
        return n * n * (FINISH_ROW + engine.values_per_row * value * engine.space.bound.metric.cost[0])
    if engine.patterns is not None:
        return n * PER_QUERY + search_cost(engine.postings, engine.patterns)
    work, few = engine.work.astype(np.float64), engine.own_few
    left = LEFT_TO_SUM if engine.prunes else 1.0
    step, finish = engine.space.bound.metric.cost
    met = float(work[few].sum()) * MEET_POSTING * step + int(few.sum()) * PER_QUERY
    summed = float(work[~few].sum()) * SUM_POSTING * left * step
    return met + summed + int((~few).sum()) * (FINISH_ROW * finish * n + PER_QUERY)


def heads_cost(engine: ExactEngine, head: int, width: int, rounds: int, max_candidates: int, share: float) -> float:
    """Nanoseconds of a graph from heads."""
    cut = float((engine.lengths * np.minimum(engine.lengths, head)).sum())  # a term is in as many rows as in queries
    pairs = width + (PAIRS_AFTER_HEADS * (2 * max_candidates) ** 2 if rounds else 0.0)
    kept = 1.0 if share >= 1.0 else share * share  # rarer terms have shorter lists
    return cut * kept * HEAD_POSTING * engine.space.bound.metric.cost[0] + engine.n_rows * (
        PER_QUERY + pairs * pair_cost(engine)
    )


def forest_cost(engine: ExactEngine, n_trees: int, leaf_size: int, max_candidates: int) -> float:
    """Nanoseconds of a graph from a forest."""
    levels = max(math.log2(max(engine.n_rows, 2) / leaf_size), 1.0) + 1.0
    share = PAIRS_FROM_FOREST_SPARSE if engine.space.container == "csr" else PAIRS_FROM_FOREST
    pairs = n_trees * (2 * levels + leaf_size / 4) + share * (2 * max_candidates) ** 2
    return engine.n_rows * pairs * pair_cost(engine)


def query_costs(engine: ExactEngine, k: int, heads: int, share: float, width: int) -> tuple[float, float]:
    """Nanoseconds of a query: without a graph, and along one."""
    n = max(engine.n_rows, 1)
    without = exact_cost(engine) / n
    if engine.has_heads and not engine.space.bound.metric.presence:
        without = min(without, heads_cost(engine, heads, width, 0, 0, share) / n)
    walk = WALK_PAIRS * pair_cost(engine) + 2 * k * whole_pair_cost(engine) + PER_QUERY
    return without, min(without, walk)


def make_plan(engine: ExactEngine, k: int, method: str, settings: Settings, given: bool) -> Plan:
    """Choose by predicted cost, as far as the user left a choice.

    Heads serve metrics for which rows that share nothing are the farthest and one shared term orders
    rows alike; not sets, whose smallest rows are seldom the nearest. The forest serves the others.
    """
    heads = engine.has_heads
    if (method == "heads" or (settings.seeds == "heads" and not given and method != "exact")) and not heads:
        what, instead = ("method", "auto") if method == "heads" else ("seeds", "forest")
        raise ValueError(
            f"{what}='heads' needs sparse rows without negative values, and a metric whose nearest rows share a "
            f"term: not {engine.space.bound.metric.name} on these rows; use {what}={instead!r}"
        )
    seeds = "heads" if method == "heads" else "given" if given else settings.seeds
    if seeds == "auto":
        seeds = "heads" if heads and not engine.space.bound.metric.presence else "forest"
    share = LONG_SHARE if engine.values_per_row >= LONG_ROW else 1.0
    after_heads = seeds == "heads"
    trees, leaf = settings.n_trees or TREES, settings.leaf_size or LEAF_SIZE
    width = settings.max_candidates or max(WIDTH_AFTER_HEADS if after_heads else WIDTH, k // 2)
    head, head_width = (HEAD, HEAD_WIDTH) if share < 1.0 else (HEAD_SHORT, HEAD_WIDTH_SHORT)
    head_width = max(head_width, 2 * k + 10)
    rounds = (
        settings.n_iters if settings.n_iters is not None else (0 if method == "heads" else 1 if after_heads else ROUNDS)
    )
    exact = exact_cost(engine) * 1e-9
    if after_heads:
        graph = heads_cost(engine, head, head_width, rounds, width, share) * 1e-9
    else:
        graph = forest_cost(engine, trees if seeds == "forest" else 0, leaf, width) * 1e-9
    left_open = settings.max_candidates is None and settings.n_iters is None and not after_heads
    wider = [int(times * width) for times in WIDER] if left_open else []
    gives_up = method == "auto" and not given
    if method == "auto" and given:
        method, reason = "graph", "init_graph was given"
    elif method == "auto" and engine.space.bound.metric.presence and engine.way == "postings":
        method, reason = "exact", "sets are searched exactly: their graphs were slower or less right"
    elif method == "auto" and settings.expected_queries is not None:
        many = settings.expected_queries
        without, along = (many * cost * 1e-9 for cost in query_costs(engine, k, head, share, head_width))
        method = "graph" if graph + along < WORTH * without else "exact"
        pays = "pays" if method == "graph" else "does not pay"
        reason = f"a graph {pays} for {many:,} queries: {graph + along:.2g} s with it, {without:.2g} s without"
    elif method == "auto":
        if exact < SOON:
            method, reason = "exact", "exact search takes less than a second"
        elif graph < WORTH * exact:
            method, reason = "graph", f"about {exact / graph:.1f} times as fast as exact search"
        else:
            method, reason = "exact", "no graph would be much faster"
    else:
        reason = "as asked"
    return Plan(
        method,
        "none" if method == "exact" else seeds,
        reason,
        exact,
        graph,
        head,
        share,
        head_width,
        trees,
        leaf,
        width,
        rounds,
        settings.delta,
        AIM,
        tuple((w, forest_cost(engine, 0, leaf, w) * 1e-9) for w in wider if w < engine.n_rows),
        gives_up,
        k,
    )
