"""Candidates measured by the true metric, in float64, and put in order: what ends every approximate search.

Candidates come from a proxy, a graph or inverted lists; here nobody asks which.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel
from sparsenn.distance import BLOCK, Compiled, Store, corrected, evaluate, scatter, unscatter
from sparsenn.heap import make_heap, push
from sparsenn.parallel import map_blocks
from sparsenn.results import Neighbors, RaggedNeighbors
from sparsenn.termwise import make_workspace, store_sorted

SMALLEST = 4  # queries of a block: a pair may take a millisecond


@kernel
def rank_listed(metric, x, i, y, ids, p, names, ws, heap, indices, distances):
    """Write list `p` of candidates in order of their distance from row `i` of `x`, which is scattered, as a result."""
    size = 0
    for begin in range(0, ids.shape[1], BLOCK):
        m = 0
        for c in range(begin, min(begin + BLOCK, ids.shape[1])):
            if ids[p, c] >= 0:
                ws.rows[m] = names[ids[p, c]]
                m += 1
        evaluate(metric, x, i, ws.w, y, ws.rows, m, ws.shared, ws.block, ws.out)
        for r in range(m):
            size = push(heap, size, corrected(metric, ws.out[r]), np.int64(ws.rows[r]), ws.out[r])
    store_sorted(heap, size, indices, distances)


@entry
def nearest_listed(metric, x, y, n_features, queries, ids, names, places, start, stop, indices, distances):
    """The nearest of listed candidates, in float64, as exact search returns them.

    List `p` of [start, stop) holds candidates for row ``queries[p]`` of `x` (-1: none, no repeats), each of them row
    ``names[id]`` of `y`; the result is row ``places[p]``.
    """
    ws = make_workspace(0, n_features)
    heap = make_heap(indices.shape[1])
    for p in range(start, stop):
        i = queries[p]
        scatter(x, i, ws.w)
        rank_listed(metric, x, i, y, ids, p, names, ws, heap, indices[places[p]], distances[places[p]])
        unscatter(x, i, ws.w)


@entry
def _measure(metric, x, y, n_features, indptr, ids, start, stop, distances):
    """Distances of the rows [start, stop) to the listed rows of each."""
    ws = make_workspace(0, n_features)
    for i in range(start, stop):
        scatter(x, i, ws.w)
        for begin in range(indptr[i], indptr[i + 1], BLOCK):
            m = min(BLOCK, indptr[i + 1] - begin)
            for r in range(m):
                ws.rows[r] = ids[begin + r]
            evaluate(metric, x, i, ws.w, y, ws.rows, m, ws.shared, ws.block, ws.out)
            for r in range(m):
                distances[begin + r] = corrected(metric, ws.out[r]) + np.float32(0)  # no negative zero
        unscatter(x, i, ws.w)


def rerank(
    metric: Compiled,
    x: Store,
    y: Store,
    n_features: int,
    candidates: npt.NDArray[Any],
    k: int,
    n_jobs: int | None,
) -> Neighbors:
    """Measure each query's candidates by the true metric, and keep the k nearest.

    Parameters
    ----------
    metric : Compiled
        The metric for rows `x` among rows `y` (``ExactEngine.own``).
    x, y : Store
        Queries and rows.
    candidates : ndarray of int, shape (n_queries, any)
        Row ids of `y`; -1 for none. A repeated one counts once.
    k : int
    n_jobs : int or None

    Returns
    -------
    Neighbors
        By (distance, id); -1 and infinity where a query has fewer than k candidates.
    """
    n = len(candidates)
    indices: npt.NDArray[np.int64] = np.empty((n, k), np.int64)
    distances = np.empty((n, k), np.float32)

    ids = np.sort(candidates, axis=1)
    ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = -1
    all_ = np.arange(max(n, len(y.indptr) - 1))

    def block(start: int, stop: int) -> None:
        nearest_listed(metric, x, y, n_features, all_, ids, all_, all_, start, stop, indices, distances)

    map_blocks(block, n, n_jobs, SMALLEST)
    return Neighbors(indices, distances)


def rerank_within(
    metric: Compiled,
    x: Store,
    y: Store,
    n_features: int,
    indptr: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    radius: float,
    n_jobs: int | None,
) -> RaggedNeighbors:
    """Measure the ``ids[indptr[q]:indptr[q + 1]]`` of each query (none repeats); keep those within `radius`."""
    distances = np.empty(len(ids), np.float32)
    map_blocks(
        lambda a, b: _measure(metric, x, y, n_features, indptr, ids, a, b, distances), len(indptr) - 1, n_jobs, SMALLEST
    )
    with np.errstate(over="ignore"):
        near = distances <= np.float32(radius)
    query = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[near]
    order = np.lexsort((ids[near], distances[near], query))
    counts = np.bincount(query, minlength=len(indptr) - 1)
    return RaggedNeighbors(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), ids[near][order], distances[near][order]
    )
