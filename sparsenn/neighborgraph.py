"""The k-neighbour graph of an engine's rows, as a plan says: seeds, descent, and no place left open."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.descent import (
    Graph,
    descend,
    empty_graph,
    measure_drawn,
    measure_given,
    measure_leaves,
    settled,
)
from sparsenn.distance import Store, take
from sparsenn.exact import ExactEngine
from sparsenn.forest import Tree, grow_forest
from sparsenn.heads import cut_heads, seed_by_heads
from sparsenn.parallel import map_blocks
from sparsenn.results import Neighbors

EXTRA = 5  # edges a row beyond those asked for, which descent walks over
LEAST = 20  # edges a row that descent needs to find its way
DEEPEST = 60  # levels of a tree
MOST_ROWS = 2**30  # ids are kept doubled in 32 bits
log = logging.getLogger("sparsenn")
# Told the name of a stage and how many of the rows it will see; returns what is told each block of them.
Stages = Callable[[str, int], Callable[[int], object] | None]


def silent(stage: str, n: int) -> None:
    """Show nothing."""


def build_graph(
    engine: ExactEngine,
    k: int,
    plan: Any,
    *,
    seed: np.uint64,
    given: npt.NDArray[np.int32] | None,
    n_jobs: int | None,
    stages: Stages = silent,
) -> Neighbors:
    """Make the graph that `plan` describes; the same seed gives the same bits for any number of threads."""
    y, metric = engine.own()
    n, m = engine.n_rows, engine.space.n_features
    if n > MOST_ROWS:
        raise ValueError(f"a graph takes at most {MOST_ROWS} rows, got {n}: take method='exact'")
    asked, k = k, min(k, max(n - 1, 1))
    graph = empty_graph(n, min(max(k + EXTRA, LEAST), max(n - 1, 1)))

    def over_rows(stage: str, function: Callable[[int, int], Any], total: int = n, smallest: int = 64) -> list[Any]:
        return map_blocks(function, total, n_jobs, smallest, stages(stage, total))

    if plan.seeds == "given" and given is not None:
        over_rows("given graph", lambda a, b: measure_given(metric, y, m, given, a, b, graph))
    elif plan.seeds == "heads":
        heads = cut_heads(engine.postings, y, metric, plan.head)
        measured = seed_by_heads(
            metric, y, heads, m, graph, share=plan.share, width=plan.head_width, over_rows=over_rows
        )
        log.info("heads: %.0f pairs a row measured", measured / n)
    elif plan.seeds == "forest":
        trees = grow_forest(
            metric,
            y,
            m,
            n_trees=plan.n_trees,
            leaf_size=plan.leaf_size,
            max_depth=DEEPEST,
            seed=seed,
            over_trees=lambda function, total: over_rows("trees", function, total, 1),
        )
        order = trees[0].rows
        y, trees = _reordered(y, trees, order)
        symmetric = engine.space.bound.metric.symmetric
        for t, tree in enumerate(trees):

            def leaves(first: int, last: int, tree: Tree = tree) -> None:
                measure_leaves(metric, y, m, symmetric, tree.rows, tree.ends, first, last, graph)

            over_rows(f"leaves of tree {t + 1}", leaves, len(tree.ends), 8)
    if plan.seeds in ("random", "forest", "given"):
        over_rows("random rows", lambda a, b: measure_drawn(metric, y, m, seed, a, b, graph))
    descend(
        metric,
        y,
        m,
        graph,
        width=plan.max_candidates,
        rounds=plan.n_iters,
        delta=plan.delta,
        over_rows=over_rows,
    )
    if plan.seeds == "forest":
        y, graph = engine.own()[0], _back(graph, order)
    found = settled(metric, y, m, graph, k, over_rows)
    _fill(engine, found, n_jobs)
    if asked > k:
        missing = asked - k
        indices = np.pad(found.indices, ((0, 0), (0, missing)), constant_values=-1)
        return Neighbors(indices, np.pad(found.distances, ((0, 0), (0, missing)), constant_values=np.inf))
    return found


def _reordered(y: Store, trees: list[Tree], order: npt.NDArray[np.uint32]) -> tuple[Store, list[Tree]]:
    """Rows in the order of the first tree's leaves, so that rows measured together lie together in memory."""
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    return take(y, order.astype(np.int64)), [tree._replace(rows=place[tree.rows]) for tree in trees]


def _back(graph: Graph, order: npt.NDArray[np.uint32]) -> Graph:
    """Graph of reordered rows as one of the rows as they were."""
    ids, distances = np.empty_like(graph.ids), np.empty_like(graph.distances)
    ids[order] = np.where(graph.ids < 0, -1, order.astype(np.int32)[graph.ids])
    distances[order] = graph.distances
    return Graph(ids, distances, graph.fresh)


def _fill(engine: ExactEngine, found: Neighbors, n_jobs: int | None) -> None:
    """Ask exact search for the rows that have not found as many neighbours as there are."""
    k = min(found.indices.shape[1], engine.n_rows - 1)
    short = np.flatnonzero(found.indices[:, k - 1] < 0) if k > 0 else np.zeros(0, np.int64)
    if len(short):
        log.info("exact search for %d rows that found fewer than %d others", len(short), k)
        found.indices[short], found.distances[short] = engine.nearest_of(short, found.indices.shape[1], n_jobs)
