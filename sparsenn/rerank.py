"""Candidates put in order by their true distances."""

import numpy as np

from sparsenn._jit import entry, kernel
from sparsenn.distance import BLOCK, corrected, evaluate, scatter, unscatter
from sparsenn.heap import make_heap, push
from sparsenn.termwise import make_workspace, store_sorted


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
