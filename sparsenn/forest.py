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
def partition(metric, y, z, a, b, rows, begin, end, chance, ws, spare, seed, node):
    """Bring the rows nearer to row `a` than to `b` to the front; returns where the others begin.

    Ties go by chance, or all rows. Without branches, which would be mispredicted: a row is written to both sides, and
    one of them moves on.
    """
    at = begin
    others = np.int64(0)
    for first in range(begin, end, BLOCK):  # which stay in cache
        m = min(BLOCK, end - first)
        for r in range(m):
            ws.rows[r] = rows[first + r]
        if not chance:
            scatter(y, a, ws.w)
            evaluate(metric, y, a, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
            unscatter(y, a, ws.w)
            for r in range(m):
                ws.spare[r] = ws.out[r]
            scatter(y, b, ws.w)
            evaluate(metric, y, b, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
            unscatter(y, b, ws.w)
        for r in range(m):
            row = ws.rows[r]
            left = np.int64(ws.spare[r] < ws.out[r])
            if chance or ws.spare[r] == ws.out[r]:
                left = np.int64(mixed(seed, node, row) & np.uint64(1))
            rows[at] = row
            at += left
            spare[others] = row
            others += 1 - left
    for r in range(others):
        rows[at + r] = spare[r]
    return at


@kernel
def split(metric, y, z, rows, begin, end, ws, spare, seed, node):
    """Split a node by two of its rows; returns where the right side begins."""
    n = end - begin
    for attempt in range(DRAWS + 1):
        a = begin + draw(seed, node, 2 * attempt, n)
        b = begin + draw(seed, node, 2 * attempt + 1, n - 1)
        b += b >= a
        left, right, chance = np.int64(rows[a]), np.int64(rows[b]), attempt == DRAWS
        own = node + np.uint64(attempt)
        middle = partition(metric, y, z, left, right, rows, begin, end, chance, ws, spare, seed, own)
        if chance or min(middle - begin, end - middle) >= max(UNEVEN * n, 1.0):
            break
    return middle


@entry
def _grow(metric, y, z, n_features, seed, leaf_size, max_depth):
    """One tree: the rows in the order of its leaves, and where each leaf ends."""
    n = y.indptr.shape[0] - 1
    ws = make_workspace(0, n_features)
    rows = np.arange(n).astype(np.uint32)
    spare = np.empty(n, np.uint32)
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
                middle = split(metric, y, z, rows, begin, end, ws, spare, seed, node)
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
