"""Random projection forest: rows that fall into one leaf of a tree are likely to be near each other.

A node is split by two of its rows: each row goes to the one it is nearer to. For cosine and euclidean
that is the side of the hyperplane between the two (Dasgupta and Freund 2008; as in Annoy and
PyNNDescent); stated by distances it needs no hyperplane, and serves every metric and container.
"""

from collections import namedtuple
from collections.abc import Callable

import numpy as np

from sparsenn._jit import entry, kernel
from sparsenn._random import draw, mixed
from sparsenn.distance import BLOCK, Compiled, Store, evaluate, scatter, unscatter
from sparsenn.termwise import make_workspace

Tree = namedtuple("Tree", "rows ends")
DRAWS = 4  # pairs tried for a node before it is cut by chance
UNEVEN = 0.05  # a smaller share on one side is no split


@kernel
def measure_both(metric, y, z, a, b, rows, begin, end, ws, left, right):
    """Surrogates of ``rows[begin:end]`` from the rows `a` and `b`, block by block, which stays in cache."""
    for first in range(begin, end, BLOCK):
        m = min(BLOCK, end - first)
        for r in range(m):
            ws.rows[r] = rows[first + r]
        for side in range(2):
            i, out = (a, left) if side == 0 else (b, right)
            scatter(y, i, ws.w)
            evaluate(metric, y, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
            unscatter(y, i, ws.w)
            for r in range(m):
                out[first + r] = ws.out[r]


@kernel
def partition(rows, begin, end, left, right, chance, seed, node):
    """Bring the rows nearer to the left one to the front; returns where the others begin. Ties go by chance."""
    spare = end
    at = begin
    while at < spare:
        if chance or left[at] == right[at]:
            goes_left = mixed(seed, node, rows[at]) & np.uint64(1) == np.uint64(0)
        else:
            goes_left = left[at] < right[at]
        if goes_left:
            at += 1
        else:
            spare -= 1
            rows[at], rows[spare] = rows[spare], rows[at]
            left[at], left[spare] = left[spare], left[at]
            right[at], right[spare] = right[spare], right[at]
    return at


@kernel
def split(metric, y, z, rows, begin, end, ws, left, right, seed, node):
    """Split a node by two of its rows; returns where the right side begins."""
    n = end - begin
    for attempt in range(DRAWS):
        a = begin + draw(seed, node, 2 * attempt, n)
        b = begin + draw(seed, node, 2 * attempt + 1, n - 1)
        b += b >= a
        measure_both(metric, y, z, np.int64(rows[a]), np.int64(rows[b]), rows, begin, end, ws, left, right)
        middle = partition(rows, begin, end, left, right, False, seed, node + np.uint64(attempt))
        if min(middle - begin, end - middle) >= max(UNEVEN * n, 1.0):
            return middle
    return partition(rows, begin, end, left, right, True, seed, node)


@entry
def _grow(metric, y, z, n_features, seed, leaf_size, max_depth):
    """One tree: the rows in the order of its leaves, and where each leaf ends."""
    n = y.indptr.shape[0] - 1
    ws = make_workspace(0, n_features)
    rows = np.arange(n).astype(np.uint32)
    left, right = np.empty(n, np.float64), np.empty(n, np.float64)
    ends = np.empty(n, np.int64)
    n_leaves = 0
    begins, stops = np.empty(max_depth + 2, np.int64), np.empty(max_depth + 2, np.int64)
    nodes, depths = np.empty(max_depth + 2, np.uint64), np.empty(max_depth + 2, np.int64)
    begins[0], stops[0], nodes[0], depths[0] = 0, n, np.uint64(1), 0
    waiting = 1
    while waiting > 0:
        waiting -= 1
        begin, end, node, depth = begins[waiting], stops[waiting], nodes[waiting], depths[waiting]
        middle = begin
        if end - begin > leaf_size:
            if depth < max_depth:
                middle = split(metric, y, z, rows, begin, end, ws, left, right, seed, node)
            else:  # too deep for a split by distance to help: equal pieces
                middle = begin + leaf_size
        if begin < middle < end:
            begins[waiting], stops[waiting], depths[waiting] = middle, end, depth + 1
            nodes[waiting] = mixed(seed, node, 1)
            if depth >= max_depth:
                depths[waiting] = depth
            waiting += 1
            begins[waiting], stops[waiting], depths[waiting] = begin, middle, depth + 1
            nodes[waiting] = mixed(seed, node, 2)
            if depth >= max_depth:
                depths[waiting] = depth
            waiting += 1
        else:
            ends[n_leaves] = end
            n_leaves += 1
    return rows, ends[:n_leaves].copy()


def grow_forest(
    metric: Compiled,
    y: Store,
    z: Store,
    n_features: int,
    *,
    n_trees: int,
    leaf_size: int,
    max_depth: int,
    seed: np.uint64,
    over_trees: Callable[[Callable[[int, int], list[Tree]], int], list[list[Tree]]],
) -> list[Tree]:
    """Grow trees; tree `t` of a seed is the same whatever the others are."""
    seeds = np.random.SeedSequence(int(seed)).generate_state(n_trees, np.uint64)

    def grow(first: int, last: int) -> list[Tree]:
        return [Tree(*_grow(metric, y, z, n_features, seeds[t], leaf_size, max_depth)) for t in range(first, last)]

    return [tree for trees in over_trees(grow, n_trees) for tree in trees]
