"""NN-descent: a k-neighbour graph improved by looking at the neighbours of neighbours.

After Dong, Moses and Li 2011, Efficient k-nearest neighbor graph construction for generic similarity
measures, with the local join turned around: a pair that meets in the list of a common neighbour is
found from either row, and each row gathers its own pairs. So a row is scattered once for all of its
candidates, a pair that several neighbours share is measured once, nothing but the row's own list is
written (no locks, no buffer of updates), metrics that are not symmetric need no care, and the result
does not depend on the threads.
"""

import logging
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel
from sparsenn._random import draw
from sparsenn.distance import BLOCK, Compiled, Store, corrected, evaluate, scatter, unscatter
from sparsenn.heap import Heap, make_heap, push
from sparsenn.results import Neighbors
from sparsenn.termwise import loosened, make_workspace, store_sorted

SAMPLE, TILE = 50, 128  # rows by which a graph is judged, and of how many others they are measured against at once
log = logging.getLogger("sparsenn")
# Rows by rows: ids (int32, -1: none), surrogates (float64, nearest first), whether an entry came in the last round.
Graph = namedtuple("Graph", "ids distances fresh")


def empty_graph(n: int, k: int) -> Graph:
    """Make a graph without edges."""
    return Graph(np.full((n, k), -1, np.int32), np.full((n, k), np.inf, np.float64), np.zeros((n, k), np.uint8))


@kernel
def insert(graph, i, distance, row):
    """Take an edge into row `i` if it is near enough and new; returns whether it was."""
    last = graph.ids.shape[1] - 1
    d = np.float64(distance)
    if not (d < graph.distances[i, last] or (d == graph.distances[i, last] and row < graph.ids[i, last])):
        return False
    for c in range(last + 1):
        if graph.ids[i, c] == row:
            return False
    at = last
    while at > 0 and (
        d < graph.distances[i, at - 1] or (d == graph.distances[i, at - 1] and row < graph.ids[i, at - 1])
    ):
        graph.ids[i, at] = graph.ids[i, at - 1]
        graph.distances[i, at] = graph.distances[i, at - 1]
        graph.fresh[i, at] = graph.fresh[i, at - 1]
        at -= 1
    graph.ids[i, at] = row
    graph.distances[i, at] = d
    graph.fresh[i, at] = 1
    return True


@kernel
def measure_into(metric, y, z, i, m, ws, graph):
    """Measure the `m` rows of ``ws.rows`` from row `i`, scattered in ``ws.w``; returns how many were taken.

    Rows are `y` as they are, and `z` as `metric` reads the measured ones (the same, or compact).
    """
    evaluate(metric, y, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
    taken = 0
    worst = graph.distances[i, graph.ids.shape[1] - 1]
    for r in range(m):
        if ws.out[r] <= worst and insert(graph, i, ws.out[r], np.int64(ws.rows[r])):
            taken += 1
            worst = graph.distances[i, graph.ids.shape[1] - 1]
    return taken


@entry
def _list_both_ways(graph, width):
    """Neighbours of each row and rows that have it as one, the nearest of both, as 2·id + fresh; -1 ends.

    Entries that are listed are fresh no more.
    """
    n, k = graph.ids.shape
    width = min(width, k)
    both = np.empty((n, 2 * width), np.int32)
    counts = np.empty(n, np.int32)
    for i in range(n):
        m = 0
        while m < width and graph.ids[i, m] >= 0:
            both[i, m] = 2 * graph.ids[i, m] + np.int32(graph.fresh[i, m])
            m += 1
        counts[i] = m
    forward = counts.copy()
    for c in range(width):  # by rank: the nearest find a place first
        for i in range(n):
            if c < forward[i]:
                row = graph.ids[i, c]
                mutual = False
                for z in range(forward[row]):
                    mutual = mutual or graph.ids[row, z] == i
                if not mutual and counts[row] < forward[row] + width:
                    both[row, counts[row]] = 2 * i + np.int32(graph.fresh[i, c])
                    counts[row] += 1
    for i in range(n):
        for c in range(forward[i]):
            graph.fresh[i, c] = 0
        if counts[i] < 2 * width:
            both[i, counts[i]] = -1
    return both


@entry
def _join(metric, y, z, n_features, both, start, stop, graph):
    """Measure rows [start, stop) against the neighbours of their neighbours; returns (taken, measured)."""
    n, width = both.shape
    ws = make_workspace(0, n_features)
    seen = np.full(n, -1, np.int32)
    taken = 0
    measured = 0
    for i in range(start, stop):
        seen[i] = i
        for c in range(graph.ids.shape[1]):
            if graph.ids[i, c] < 0:
                break
            seen[graph.ids[i, c]] = i
        m = 0
        scatter(y, i, ws.w)
        for c in range(width):
            near = both[i, c]
            if near < 0:
                break
            fresh, near = near & 1, near >> 1
            for e in range(width):
                far = both[near, e]
                if far < 0:
                    break
                if (fresh | (far & 1)) == 1 and seen[far >> 1] != i:
                    seen[far >> 1] = i
                    ws.rows[m] = far >> 1
                    m += 1
                    if m == BLOCK:
                        taken += measure_into(metric, y, z, i, m, ws, graph)
                        measured += m
                        m = 0
        taken += measure_into(metric, y, z, i, m, ws, graph)
        measured += m
        unscatter(y, i, ws.w)
    return taken, measured


@entry
def measure_given(metric, y, z, n_features, candidates, start, stop, graph):
    """Measure rows [start, stop) against given candidates (-1: none)."""
    ws = make_workspace(0, n_features)
    for i in range(start, stop):
        scatter(y, i, ws.w)
        m = 0
        for c in range(candidates.shape[1]):
            if candidates[i, c] >= 0 and candidates[i, c] != i:
                ws.rows[m] = candidates[i, c]
                m += 1
            if m == BLOCK:
                measure_into(metric, y, z, i, m, ws, graph)
                m = 0
        measure_into(metric, y, z, i, m, ws, graph)
        unscatter(y, i, ws.w)


@entry
def measure_drawn(metric, y, z, n_features, seed, start, stop, graph):
    """Fill the lists of rows [start, stop) that are not full with rows drawn at random."""
    n, k = graph.ids.shape
    ws = make_workspace(0, n_features)
    for i in range(start, stop):
        if graph.ids[i, k - 1] >= 0:
            continue
        scatter(y, i, ws.w)
        m = 0
        for c in range(min(2 * k, BLOCK)):
            row = draw(seed, i, c, n)
            if row != i:
                ws.rows[m] = row
                m += 1
        measure_into(metric, y, z, i, m, ws, graph)
        unscatter(y, i, ws.w)


@entry
def measure_leaves(metric, y, z, n_features, symmetric, rows, ends, start, stop, graph):
    """Measure the rows of the leaves [start, stop) against each other; a leaf's rows are in no other one."""
    ws = make_workspace(0, n_features)
    for leaf in range(start, stop):
        a, b = (ends[leaf - 1] if leaf > 0 else 0), ends[leaf]
        for p in range(a, b):
            i = rows[p]
            scatter(y, i, ws.w)
            first = p + 1 if symmetric else a
            for begin in range(first, b, BLOCK):
                m = 0
                for q in range(begin, min(begin + BLOCK, b)):
                    if q != p:
                        ws.rows[m] = rows[q]
                        m += 1
                measure_into(metric, y, z, i, m, ws, graph)
                if symmetric:
                    for r in range(m):
                        insert(graph, np.int64(ws.rows[r]), ws.out[r], i)
            unscatter(y, i, ws.w)


@entry
def _settle(metric, y, n_features, ids, order, start, stop, indices, distances):
    """Measure the edges of rows [start, stop) again in float64, and write the nearest as they are returned.

    Row `p` of the graph is row ``order[p]`` of `y` and of the result.
    """
    ws = make_workspace(0, n_features)
    heap = make_heap(indices.shape[1])
    for p in range(start, stop):
        i = order[p]
        scatter(y, i, ws.w)
        size = 0
        for begin in range(0, ids.shape[1], BLOCK):
            m = 0
            for c in range(begin, min(begin + BLOCK, ids.shape[1])):
                if ids[p, c] >= 0:
                    ws.rows[m] = order[ids[p, c]]
                    m += 1
            evaluate(metric, y, i, ws.w, y, ws.rows, m, ws.shared, ws.block, ws.out)
            for r in range(m):
                size = push(heap, size, corrected(metric, ws.out[r]), np.int64(ws.rows[r]), ws.out[r])
        store_sorted(heap, size, indices[i], distances[i])
        unscatter(y, i, ws.w)


@entry
def _count_hits(metric, y, z, n_features, graph, rows, start, stop, k, distances, ids):
    """How many edges of some rows, up to `k` of each, are as near as the k-th nearest of all rows.

    Tile by tile of all rows, so that each is fetched once for all of those rows. `distances` and `ids`: room for `k`
    of each.
    """
    n, many = graph.ids.shape[0], stop - start
    ws = make_workspace(0, n_features)
    surrogates, sizes = np.empty((many, k), np.float64), np.zeros(many, np.int64)
    for begin in range(0, n, TILE):
        m = min(TILE, n - begin)
        for q in range(many):
            i = rows[start + q]
            heap = Heap(distances[q], ids[q], surrogates[q])
            scatter(y, i, ws.w)
            for r in range(m):
                ws.rows[r] = begin + r
            evaluate(metric, y, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
            for r in range(m):
                if begin + r != i and (sizes[q] < k or ws.out[r] <= heap.surrogates[0]):
                    sizes[q] = push(heap, sizes[q], np.float32(ws.out[r]), begin + r, ws.out[r])
            unscatter(y, i, ws.w)
    hits = 0
    for q in range(many):
        i = rows[start + q]
        scatter(y, i, ws.w)
        own = 0
        for begin in range(0, graph.ids.shape[1], BLOCK):
            m = 0
            for c in range(begin, min(begin + BLOCK, graph.ids.shape[1])):
                if graph.ids[i, c] >= 0:
                    ws.rows[m] = graph.ids[i, c]
                    m += 1
            evaluate(metric, y, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
            for r in range(m):
                own += ws.out[r] <= loosened(surrogates[q, 0])
        hits += min(own, k)
        unscatter(y, i, ws.w)
    return hits


def sampled_recall(
    metric: Compiled, y: Store, z: Store, n_features: int, graph: Graph, k: int, seed: np.uint64, over_rows: Any
) -> float:
    """Share of the `k` nearest of some rows, as `metric` and `z` tell it, that are among the graph's edges."""
    n = len(graph.ids)
    k = min(k, n - 1)
    if k < 1:
        return 1.0
    rows = np.random.default_rng(int(seed)).choice(n, min(SAMPLE, n), replace=False)

    def count(first: int, last: int) -> Any:
        room = np.empty((last - first, k), np.float32), np.empty((last - first, k), np.int64)
        return _count_hits(metric, y, z, n_features, graph, rows, first, last, k, *room)

    return sum(over_rows("sample", count, len(rows), -(-len(rows) // 2))) / (k * len(rows))


def widened(graph: Graph, k: int) -> Graph:
    """Return the graph with room for at least `k` edges a row."""
    more = max(k - graph.ids.shape[1], 0)
    fills = (-1, np.inf, 0)
    return Graph(*(np.pad(a, ((0, 0), (0, more)), constant_values=v) for a, v in zip(graph, fills, strict=True)))


def descend(
    metric: Compiled,
    y: Store,
    z: Store,
    n_features: int,
    graph: Graph,
    *,
    width: int,
    rounds: int,
    delta: float,
    over_rows: Callable[[str, Callable[[int, int], Any]], list[Any]],
) -> None:
    """Improve `graph` in place, until a round takes fewer than ``delta · n · k`` new edges.

    Parameters
    ----------
    y, z : Store
        The rows as they are, and as `metric` reads the rows it measures: the same, or compact.
    width : int
        Neighbours of each row that take part, and as many rows of which it is one.
    rounds : int
        Most rounds.
    over_rows : callable
        Maps a stage's function over blocks of rows.
    """
    n, k = graph.ids.shape
    for done in range(rounds):
        both = _list_both_ways(graph, width)

        def join(first: int, last: int, both: Any = both) -> Any:
            return _join(metric, y, z, n_features, both, first, last, graph)

        parts = over_rows(f"round {done + 1}", join)
        taken, measured = (sum(part) for part in zip(*parts, strict=True))
        log.info("round %d: %d edges taken, %.0f pairs a row measured", done + 1, taken, measured / n)
        if taken < delta * n * k:
            break


def settled(
    metric: Compiled,
    y: Store,
    n_features: int,
    ids: npt.NDArray[np.int32],
    order: npt.NDArray[np.int64],
    k: int,
    over_rows: Any,
) -> Neighbors:
    """Return a graph's edges as a result: the `k` nearest of each row, at the distances of exact search.

    Row `p` of the graph is row ``order[p]`` of `y` and of the result.
    """
    n = len(ids)
    indices: npt.NDArray[np.int64] = np.empty((n, k), np.int64)
    distances = np.empty((n, k), np.float32)
    over_rows("final distances", lambda a, b: _settle(metric, y, n_features, ids, order, a, b, indices, distances))
    return Neighbors(indices, distances)
