"""Candidates from the heads of inverted lists: approximate search without a graph.

Each list keeps its rows of highest impact, and a query its rarest terms up to a share of its bound
(as Seismic's pruned lists, Bruch, Nardini, Rulli and Venturini 2024, section 4, without its blocks).
What is left is searched as in exact search; the best by these partial sums are measured exactly.
With whole lists and a share of 1 it is the exact answer.
"""

from collections.abc import Callable

import numpy as np

from sparsenn._jit import call_float, entry, kernel
from sparsenn.descent import Graph, measure_into
from sparsenn.distance import BLOCK, Compiled, Store, scatter, unscatter
from sparsenn.heap import kth_smallest, make_heap
from sparsenn.postings import Postings, weigh_list
from sparsenn.termwise import NO_RADIUS, make_workspace, scan_met


@entry
def _cut_lists(address, params, starts, ids, values, stats, head, new_starts, new_ids, new_values):
    """Copy of each list the `head` rows of highest impact, in the order of the list."""
    longest = 0
    for c in range(starts.shape[0] - 1):
        longest = max(longest, starts[c + 1] - starts[c])
    weakness, order = np.empty(longest), np.empty(longest)
    for c in range(starts.shape[0] - 1):
        a, n = starts[c], starts[c + 1] - starts[c]
        to = new_starts[c]
        bar = np.inf
        if n > head:
            weigh_list(address, params, ids, values, stats, a, n, weakness, order)
            bar = kth_smallest(order, n, head - 1)
        nearer = 0
        if n > head:
            for s in range(n):
                nearer += weakness[s] < bar
        ties = head - nearer
        for s in range(n):
            if n > head:
                if weakness[s] > bar:
                    continue
                if weakness[s] == bar:
                    if ties == 0:
                        continue
                    ties -= 1
            new_ids[to] = ids[a + s]
            new_values[to] = values[a + s]
            to += 1


def cut_heads(postings: Postings, forward: Store, metric: Compiled, head: int) -> Postings:
    """Lists of at most `head` rows each."""
    starts = np.concatenate([[0], np.cumsum(np.minimum(np.diff(postings.indptr), head))])
    ids, values = np.empty(starts[-1], np.uint32), np.empty(starts[-1], np.float32)
    _cut_lists(
        metric.impact,
        metric.params,
        postings.indptr,
        postings.ids,
        postings.values,
        forward.stats,
        head,
        starts,
        ids,
        values,
    )
    return postings._replace(indptr=starts, ids=ids, values=values)


@kernel
def first_term(metric, x, i, share):
    """Where the commonest term begins that is needed for a share of the row's bound; at least one is."""
    a, t = x.indptr[i], x.indptr[i + 1]
    if share >= 1.0 or t - a <= 1:
        return a
    whole = call_float(metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, a), t - a))
    kept = 0.0
    while t > a and kept < share * whole:
        t -= 1
        kept += call_float(
            metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, t), np.int64(1))
        )
    return min(t, x.indptr[i + 1] - 1)


@entry
def _seed(metric, x, heads, n_features, share, width, start, stop, graph):
    """Find neighbours for rows [start, stop) among the `width` best by the heads; returns rows measured."""
    ws = make_workspace(x.indptr.shape[0] - 1, n_features)
    best = make_heap(width)
    measured = 0
    for i in range(start, stop):
        if x.indptr[i] == x.indptr[i + 1]:
            continue
        a = first_term(metric, x, i, share)
        size = scan_met(metric, x, i, x, heads, a, ws, i, best, np.inf, NO_RADIUS)
        scatter(x, i, ws.w)
        for begin in range(0, size, BLOCK):
            m = min(BLOCK, size - begin)
            for r in range(m):
                ws.rows[r] = best.ids[begin + r]
            measure_into(metric, x, x, i, m, ws, graph)
        measured += size
        unscatter(x, i, ws.w)
    return measured


def seed_by_heads(
    metric: Compiled,
    y: Store,
    heads: Postings,
    n_features: int,
    graph: Graph,
    *,
    share: float,
    width: int,
    over_rows: Callable[[str, Callable[[int, int], int]], list[int]],
) -> int:
    """Fill a graph with the best of each row's candidates; returns how many pairs were measured."""
    return sum(over_rows("heads", lambda a, b: _seed(metric, y, heads, n_features, share, width, a, b, graph)))
