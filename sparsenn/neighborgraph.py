"""The k-neighbour graph of an engine's rows, as a plan says: seeds, descent, and no place left open."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.compact import code_for, compacted
from sparsenn.descent import (
    descend,
    empty_graph,
    measure_drawn,
    measure_given,
    measure_leaves,
    sampled_recall,
    settled,
    widened,
)
from sparsenn.distance import take
from sparsenn.exact import ExactEngine
from sparsenn.forest import Tree, grow_forest
from sparsenn.heads import count_windows, cut_heads, order_by_heaviest, seed_by_heads, split_windows
from sparsenn.parallel import map_blocks
from sparsenn.results import Neighbors

EXTRA = 5  # edges a row beyond those asked for, which descent walks over
LEAST = 20  # edges a row that descent needs to find its way
COMPACT_LOSS = 0.01  # of recall, for which compact rows are given up
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
) -> Neighbors | None:
    """Make the graph that `plan` describes; the same seed gives the same bits for any number of threads.

    None where the plan may give up, and exact search is cheaper than what would still have to be done.
    """
    n = engine.n_rows
    if n > MOST_ROWS:
        raise ValueError(f"a graph takes at most {MOST_ROWS} rows, got {n}: take method='exact'")
    asked, k = k, min(k, max(n - 1, 1))
    work = _Work(engine, k, plan, seed, n_jobs, stages)
    work.begin(given)
    if not work.improve():
        return None
    found = work.result()
    del work  # its graph and rows are as large as the result
    _fill(engine, found, n_jobs)
    if asked > k:
        missing = asked - k
        indices = np.pad(found.indices, ((0, 0), (0, missing)), constant_values=-1)
        return Neighbors(indices, np.pad(found.distances, ((0, 0), (0, missing)), constant_values=np.inf))
    return found


class _Work:
    """A graph in the making: `y` are the rows, and `z` the rows as `metric` measures them (the same, or compact)."""

    def __init__(self, engine: ExactEngine, k: int, plan: Any, seed: np.uint64, n_jobs: int | None, stages: Stages):
        self.engine, self.k, self.plan, self.seed = engine, k, plan, seed
        self.n_jobs, self.stages = n_jobs, stages
        self.y, self.exact = engine.own()
        self.code = code_for(self.y.data) if engine.space.dense_term else None
        self.metric, self.z = compacted(engine.space, self.exact, self.y, self.code)
        n = engine.n_rows
        self.order = np.arange(n)
        # after heads the one round looks at fewer than k neighbours, and no row is compact
        edges = max(k, plan.max_candidates) if plan.seeds == "heads" else max(k + EXTRA, LEAST, plan.max_candidates)
        self.graph = empty_graph(n, min(edges, max(n - 1, 1)))

    @property
    def rows(self) -> tuple[Any, Any, Any, int]:
        """What every stage reads."""
        return self.metric, self.y, self.z, self.engine.space.n_features

    def over(
        self, stage: str, function: Callable[[int, int], Any], total: int | None = None, smallest: int = 64
    ) -> list[Any]:
        """Map a stage's function over blocks of rows, or of whatever there are `total` of."""
        total = self.engine.n_rows if total is None else total
        return map_blocks(function, total, self.n_jobs, smallest, self.stages(stage, total))

    def begin(self, given: npt.NDArray[np.int32] | None) -> None:
        """Fill the graph with what the seeds find."""
        plan, graph = self.plan, self.graph
        if plan.seeds == "heads":
            self._look_up()
            return
        if plan.seeds == "given" and given is not None:
            self.over("given graph", lambda a, b: measure_given(*self.rows, given, a, b, graph))
        elif plan.seeds == "forest":
            self._grow()
        self.over("random rows", lambda a, b: measure_drawn(*self.rows, self.seed, a, b, graph))

    def _reorder(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Put the rows into another order, from now on; returns the place of each."""
        self.order = order
        self.y = self.z = take(self.y, order)
        if self.metric is not self.exact:
            self.metric, self.z = compacted(self.engine.space, self.exact, self.y, self.code)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return place

    def _look_up(self) -> None:
        """Measure the best of each row's candidates by the heads of inverted lists."""
        plan, postings = self.plan, self.engine.postings
        heads = cut_heads(postings, self.y, self.metric, plan.head)
        place = None
        if count_windows(self.engine.n_rows) > 1:
            place = self._reorder(order_by_heaviest(self.y, postings, plan.head))
        windows = split_windows(heads, self.y, place)
        del heads
        measured = seed_by_heads(
            self.metric,
            self.y,
            windows,
            self.engine.space.n_features,
            self.graph,
            share=plan.share,
            width=plan.head_width,
            over_rows=self.over,
        )
        log.info("heads: %.0f pairs a row measured", measured / self.engine.n_rows)

    def _grow(self) -> None:
        """Measure the rows of each leaf of a forest; rows are from then on in the order of the first tree's leaves.

        So rows that are measured together lie together in memory.
        """
        plan, graph = self.plan, self.graph
        trees = grow_forest(
            *self.rows,
            n_trees=plan.n_trees,
            leaf_size=plan.leaf_size,
            max_depth=DEEPEST,
            seed=self.seed,
            over_trees=lambda function, total: self.over("trees", function, total, 1),
        )
        place = self._reorder(trees[0].rows.astype(np.int64)).astype(np.uint32)
        symmetric = self.engine.space.bound.metric.symmetric
        for t, tree in enumerate(trees):

            def leaves(first: int, last: int, tree: Tree = tree) -> None:
                measure_leaves(*self.rows, symmetric, place[tree.rows], tree.ends, first, last, graph)

            self.over(f"leaves of tree {t + 1}", leaves, len(tree.ends), 8)

    def improve(self) -> bool:
        """Descend; with more candidates, where recall on some rows is not what the plan aims at.

        Returns False where the plan would rather have exact search.
        """
        plan, width, wider = self.plan, self.plan.max_candidates, list(self.plan.wider)
        while True:
            descend(*self.rows, self.graph, width=width, rounds=plan.n_iters, delta=plan.delta, over_rows=self.over)
            compact = self.metric is not self.exact
            if not (wider or compact):
                return True
            recall = self._recall(self.exact, self.y)
            log.info("%d candidates: recall %.3f of some rows", width, recall)
            if compact and recall < plan.aim and recall < self._recall(self.metric, self.z) - COMPACT_LOSS:
                log.info("compact rows do not tell the nearest apart: whole rows from here on")
                self._measure_whole()
            elif recall >= plan.aim or not wider:
                return True
            else:
                width, seconds = wider.pop(0)
                if plan.gives_up and seconds > plan.exact_seconds:
                    log.info("exact search is cheaper than %d candidates", width)
                    return False
                self.graph = widened(self.graph, min(width, self.engine.n_rows - 1))

    def _recall(self, metric: Any, z: Any) -> float:
        space = self.engine.space
        return sampled_recall(metric, self.y, z, space.n_features, self.graph, self.k, self.seed, self.over)

    def _measure_whole(self) -> None:
        """Measure all edges again, on whole rows."""
        self.metric, self.z = self.exact, self.y
        ids = self.graph.ids
        self.graph = graph = empty_graph(*ids.shape)
        self.over("whole rows", lambda a, b: measure_given(*self.rows, ids, a, b, graph))

    def result(self) -> Neighbors:
        """Return the nearest, at the distances of exact search."""
        self.y, metric = self.engine.own()
        self.z = self.y  # copies in another order, and distances, are freed before room is made for the result
        ids, self.graph = self.graph.ids, empty_graph(0, 1)
        return settled(metric, self.y, self.engine.space.n_features, ids, self.order, self.k, self.over)


def _fill(engine: ExactEngine, found: Neighbors, n_jobs: int | None) -> None:
    """Ask exact search for the rows that have not found as many neighbours as there are."""
    k = min(found.indices.shape[1], engine.n_rows - 1)
    short = np.flatnonzero(found.indices[:, k - 1] < 0) if k > 0 else np.zeros(0, np.int64)
    if len(short):
        log.info("exact search for %d rows that found fewer than %d others", len(short), k)
        found.indices[short], found.distances[short] = engine.nearest_of(short, found.indices.shape[1], n_jobs)
