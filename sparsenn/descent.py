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

from sparsenn._jit import bits_of, entry, float_of, kernel, prefetch
from sparsenn._random import draw
from sparsenn.distance import BLOCK, Compiled, Store, evaluate, scatter, unscatter
from sparsenn.termwise import make_workspace

log = logging.getLogger("sparsenn")
# A row's edges, nearest first, each in one number: the surrogate as float32 in its upper half, made so that numbers
# order as surrogates do; below it 2·id + whether the edge came in the last round.
# `scale`: a power of two that brings surrogates within float32's range. The first `known` rows have met each other in
# an earlier descent: an edge between two of them is never fresh, and they are not measured from each other again.
Graph = namedtuple("Graph", "keys scale known", defaults=(np.int64(0),))
EMPTY = np.int64(2**63 - 1)
LOW = 0x7FFFFFFF
WALL = 0xFFFFFFFE  # in place of an id: no edge, but none that is farther is taken there
ROUNDED, LEAST = 2.0**-23, 1e-45  # numbers that become the same in float32 differ by no more: relative, or about 0


def empty_graph(n: int, k: int, scale: float = 1.0) -> Graph:
    """Make a graph without edges."""
    return Graph(np.full((n, k), EMPTY, np.int64), scale)


def edges_of(graph: Graph) -> npt.NDArray[np.int32]:
    """Ids of each row's edges, -1 for none."""
    ids = np.empty(graph.keys.shape, np.int32)
    _write_ids(graph.keys, ids)
    return ids


@entry
def _write_ids(keys, ids):
    """Ids of edges, without the room that expressions of arrays take."""
    for i in range(keys.shape[0]):
        for c in range(keys.shape[1]):
            ids[i, c] = np.int32(keys[i, c] & 0xFFFFFFFF) >> 1


@entry
def _measure_pairs(metric, y, z, n_features, seed, out):
    """Surrogates of pairs of rows drawn at random."""
    n = y.indptr.shape[0] - 1
    ws = make_workspace(0, n_features)
    for p in range(out.shape[0]):
        i = draw(seed, p, 0, n)
        ws.rows[0] = draw(seed, p, 1, n)
        scatter(y, i, ws.w)
        evaluate(metric, y, i, ws.w, z, ws.rows, np.int64(1), ws.shared, ws.block, ws.out)
        unscatter(y, i, ws.w)
        out[p] = ws.out[0]


def scale_for(metric: Compiled, y: Store, z: Store, n_features: int, seed: np.uint64) -> float:
    """Power of two that brings usual surrogates near 1."""
    some = np.zeros(64)
    _measure_pairs(metric, y, z, n_features, seed, some)
    some = np.abs(some[np.isfinite(some) & (some != 0)])
    return float(2.0 ** -np.round(np.log2(np.median(some)))) if some.size else 1.0


@kernel
def key_of(surrogate, row):
    """An edge that is fresh, as a number."""
    bits = bits_of(np.float32(surrogate))
    return (np.int64(bits ^ ((bits >> 31) & LOW)) << 32) | np.int64(2 * row + 1)


@kernel
def id_of(key):
    """Row at the other end of an edge."""
    return (key >> 1) & 0x7FFFFFFF


@kernel
def reach_of(key):
    """Surrogate of an edge; infinity for none."""
    if key == EMPTY:
        return np.inf
    bits = np.int32(key >> 32)
    return np.float64(float_of(np.int32(bits ^ ((bits >> 31) & LOW))))


@kernel
def _bar_of(key):
    """Surrogate above which none is as near as an edge, once rounded as keys hold them."""
    reach = reach_of(key)
    return reach + abs(reach) * ROUNDED + LEAST


@kernel
def no_edge(key):
    """Whether a place holds none."""
    return np.int32(key & 0xFFFFFFFF) < 0


@kernel
def insert(keys, i, key):
    """Take an edge that is not there yet into row `i` if it is near enough; returns whether it was.

    Everything farther moves on by one place: without branches, which would be mispredicted (155 -> 26 ns).
    """
    k = keys.shape[1]
    if not key < keys[i, k - 1]:
        return False
    for c in range(np.uint64(k)):
        other = keys[i, c]
        keys[i, c] = min(other, key)
        key = max(other, key)
    return True


@kernel
def measure_into(metric, y, z, i, m, ws, graph):
    """Measure the `m` rows of ``ws.rows`` from row `i`, scattered in ``ws.w``; returns how many were taken.

    None of them is an edge yet. Rows are `y` as they are, and `z` as `metric` reads the measured ones (the same, or
    compact). Surrogates are compared as keys hold them: of rows that tie the lowest ids stay, in any order they come.
    """
    evaluate(metric, y, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
    taken = 0
    k = np.int64(graph.keys.shape[1])
    known = graph.known if i < graph.known else np.int64(0)
    for r in range(m):
        ws.out[r] *= graph.scale
    bar = _bar_of(graph.keys[i, k - 1])
    for r in range(m):
        row = np.int64(ws.rows[r])
        if ws.out[r] <= bar and insert(graph.keys, i, key_of(ws.out[r], row) - np.int64(row < known)):
            taken += 1
            bar = _bar_of(graph.keys[i, k - 1])
    return taken


# Of each row the nearest neighbours and rows that have it as one, fresh ones first; where the fresh ones and all end.
Lists = namedtuple("Lists", "ids ends")


@entry
def _rank(keys, start, stop, by_rank):
    """Write the first edges of rows [start, stop), transposed, as 2·id + fresh; -1 for none."""
    for first in range(start, stop, 64):  # a cache line of each rank at a time
        for c in range(by_rank.shape[0]):
            for i in range(first, min(first + 64, stop)):
                by_rank[c, i] = np.int32(keys[i, c] & 0xFFFFFFFF)


@entry
def _count_fresh(keys, start, stop):
    """Edges of rows [start, stop) that are fresh."""
    fresh = 0
    for i in range(start, stop):
        for key in keys[i]:
            fresh += np.int64(key & 1) & np.int64(not no_edge(key))
    return fresh


@entry
def _reverse(by_rank):
    """Rows that have each row as a neighbour, the nearest first: (where each row's begin, 2·id + fresh)."""
    width, n = by_rank.shape
    begins = np.zeros(n + 1, np.int64)
    for c in range(width):
        for i in range(n):
            if by_rank[c, i] >= 0:
                begins[(by_rank[c, i] >> 1) + 1] += 1
    for i in range(n):
        begins[i + 1] += begins[i]
    place = begins[:-1].copy()
    back = np.empty(begins[n], np.int32)
    for c in range(width):
        for i in range(n):
            row = by_rank[c, i] >> 1
            if row >= 0:
                back[place[row]] = 2 * i + (by_rank[c, i] & 1)
                place[row] += 1
    return begins, back


@entry
def list_back(keys, first, most):
    """For each row before the `first`, at most `most` rows from there on that found it, the nearest first; or −1."""
    best, back = np.full((first, most), EMPTY, np.int64), np.full((first, most), -1, np.int32)
    for i in range(first, keys.shape[0]):
        for key in keys[i]:
            row = np.int64(np.int32(key & 0xFFFFFFFF) >> 1)
            if key == EMPTY or row >= first or key >= best[row, most - 1]:
                continue
            at = most - 1
            while at > 0 and best[row, at - 1] > key:
                best[row, at], back[row, at] = best[row, at - 1], back[row, at - 1]
                at -= 1
            best[row, at], back[row, at] = key, i
    return back


@entry
def _list_both_ways(by_rank, begins, back, start, stop, lists, graph):
    """Fill the lists of rows [start, stop), as many entries each way as `by_rank` has; what is listed is fresh no more.

    `by_rank`: the first columns of the graph, transposed, as 2·id + fresh.
    """
    width = by_rank.shape[0]
    for i in range(start, stop):
        ids = lists.ids[i]
        m = 0
        while m < width and by_rank[m, i] >= 0:
            ids[m] = by_rank[m, i]
            graph.keys[i, m] &= ~np.int64(1)
            m += 1
        forward = m
        for s in range(begins[i], begins[i + 1]):
            if m == forward + width:
                break
            mutual = False
            for c in range(forward):
                mutual |= ids[c] >> 1 == back[s] >> 1
            if not mutual:
                ids[m] = back[s]
                m += 1
        fresh = 0
        for c in range(m):
            entry_ = ids[c]
            if entry_ & 1:
                ids[c] = ids[fresh]
                ids[fresh] = entry_
                fresh += 1
        for c in range(m):
            ids[c] >>= 1
        lists.ends[i, 0], lists.ends[i, 1] = fresh, m


@kernel
def mark_edges(keys, i, seen):
    """Mark a row and those that it has edges to as seen."""
    seen[i] = i
    for c in range(keys.shape[1]):
        if no_edge(keys[i, c]):
            break
        seen[id_of(keys[i, c])] = i


@entry
def _join(metric, y, z, n_features, lists, start, stop, graph):
    """Measure rows [start, stop) against the neighbours of their neighbours; returns (taken, measured)."""
    ws = make_workspace(0, n_features)
    seen = np.full(lists.ids.shape[0], -1, np.int32)
    taken = 0
    measured = 0
    for i in range(start, stop):
        mark_edges(graph.keys, i, seen)
        m = np.int64(0)
        scatter(y, i, ws.w)
        own_fresh, own_end = lists.ends[i, 0], lists.ends[i, 1]
        known = np.uint64(graph.known if i < graph.known else 0)
        for c in range(own_end):
            if c + 3 < own_end:
                ahead = np.int64(lists.ids[i, c + 3])
                prefetch(lists.ends, 2 * ahead)
                for e in range(0, lists.ids.shape[1], 16):
                    prefetch(lists.ids, ahead * lists.ids.shape[1] + e)
            near = lists.ids[i, c]
            for e in range(lists.ends[near, 1] if c < own_fresh else lists.ends[near, 0]):
                far = np.uint64(lists.ids[near, e])
                ws.rows[m] = far
                m += np.int64((seen[far] != i) & (far >= known))  # a branch would be mispredicted
                seen[far] = i
            if m > BLOCK - lists.ids.shape[1]:
                taken += measure_into(metric, y, z, i, m, ws, graph)
                measured += m
                m = np.int64(0)
        taken += measure_into(metric, y, z, i, m, ws, graph)
        measured += m
        unscatter(y, i, ws.w)
    return taken, measured


@entry
def measure_given(metric, y, z, n_features, candidates, start, stop, graph):
    """Measure rows [start, stop) against given candidates (-1: none)."""
    ws = make_workspace(0, n_features)
    seen = np.full(graph.keys.shape[0], -1, np.int32)
    for i in range(start, stop):
        mark_edges(graph.keys, i, seen)
        scatter(y, i, ws.w)
        m = 0
        for c in range(candidates.shape[1]):
            if candidates[i, c] >= 0 and seen[candidates[i, c]] != i:
                seen[candidates[i, c]] = i
                ws.rows[m] = candidates[i, c]
                m += 1
            if m == BLOCK:
                measure_into(metric, y, z, i, m, ws, graph)
                m = 0
        measure_into(metric, y, z, i, m, ws, graph)
        unscatter(y, i, ws.w)


@entry
def close_lists(keys, first, k):
    """Let those of the `first` rows that have `k` edges take none that is farther than these."""
    for i in range(first):
        if not no_edge(keys[i, k - 1]):
            keys[i, k:] = (keys[i, k - 1] >> 32 << 32) | WALL


@entry
def measure_drawn(metric, y, z, n_features, seed, start, stop, graph, least):
    """Give those of the rows [start, stop) that have fewer than `least` edges some to rows drawn at random."""
    n, k = graph.keys.shape
    ws = make_workspace(0, n_features)
    for i in range(start, stop):
        if graph.keys[i, least - 1] != EMPTY:
            continue
        scatter(y, i, ws.w)
        m = 0
        for c in range(min(2 * least, BLOCK)):
            row = draw(seed, i, c, n)
            new = row != i
            for e in range(k):
                new &= id_of(graph.keys[i, e]) != row
            for e in range(m):
                new &= ws.rows[e] != row
            if new:
                ws.rows[m] = row
                m += 1
        measure_into(metric, y, z, i, m, ws, graph)
        unscatter(y, i, ws.w)


@entry
def measure_leaves(metric, y, z, n_features, rows, begins, leaf_of, start, stop, graph):
    """Measure rows [start, stop) against the rows of their leaves.

    Row `i` is in the leaves ``leaf_of[i]``, one of each tree; leaf `l` is ``rows[begins[l] : begins[l + 1]]``.
    """
    n_trees = leaf_of.shape[1]
    ws = make_workspace(0, n_features)
    seen = np.full(graph.keys.shape[0], -1, np.int32)
    for i in range(start, stop):
        seen[i] = i
        scatter(y, i, ws.w)
        m = np.int64(0)
        for t in range(n_trees):
            if i + 1 < stop:
                prefetch(rows, begins[leaf_of[i + 1, t]])
            leaf = leaf_of[i, t]
            for at in range(begins[leaf], begins[leaf + 1]):
                row = np.uint64(rows[at])
                ws.rows[m] = row
                m += np.int64(seen[row] != i)
                seen[row] = i
                if m == BLOCK:
                    measure_into(metric, y, z, i, m, ws, graph)
                    m = np.int64(0)
        measure_into(metric, y, z, i, m, ws, graph)
        unscatter(y, i, ws.w)


def widened(graph: Graph, k: int) -> Graph:
    """Return the graph with room for at least `k` edges a row, where all rows look for any others."""
    more = max(k - graph.keys.shape[1], 0)
    keys = np.pad(graph.keys, ((0, 0), (0, more)), constant_values=EMPTY)
    if graph.known:
        keys[(keys & 0xFFFFFFFF) == WALL] = EMPTY
        keys[keys != EMPTY] |= 1
    return graph._replace(keys=keys, known=np.int64(0))


def _list(graph: Graph, lists: Lists, width: int, over_rows: Callable[..., list[Any]]) -> None:
    """Fill the lists of all rows; what that takes is freed before pairs are measured."""
    by_rank = np.empty((width, len(graph.keys)), np.int32)
    over_rows("", lambda a, b: _rank(graph.keys, a, b, by_rank))
    begins, back = _reverse(by_rank)
    over_rows("lists", lambda a, b: _list_both_ways(by_rank, begins, back, a, b, lists, graph))


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
    over_rows: Callable[..., list[Any]],
) -> None:
    """Improve `graph` in place, until a round takes fewer than ``delta · n · k`` new edges, or all to come would.

    Parameters
    ----------
    y, z : Store
        The rows as they are, and as `metric` reads the rows it measures: the same, or compact.
    width : int
        Neighbours of each row that take part, and as many rows of which it is one.
    rounds : int
        Most rounds.
    over_rows : callable
        Maps a stage's function over blocks of rows; one without a name is not shown.
    """
    n, k = graph.keys.shape
    width = min(width, k, BLOCK // 4)
    lists = Lists(np.empty((n, 2 * width), np.int32), np.empty((n, 2), np.int32))
    before = sum(over_rows("", lambda a, b: _count_fresh(graph.keys, a, b)))
    for done in range(rounds):
        _list(graph, lists, width, over_rows)
        parts = over_rows(f"round {done + 1}", lambda a, b: _join(metric, y, z, n_features, lists, a, b, graph))
        taken, measured = (sum(part) for part in zip(*parts, strict=True))
        log.info("round %d: %d edges taken, %.0f pairs a row measured", done + 1, taken, measured / n)
        # so many, or in all rounds to come, if each takes as small a share of the last one's
        ratio = min(taken / max(before, 1), 0.5)
        if min(taken, taken * ratio / (1.0 - ratio)) < delta * n * k:
            break
        before = taken
