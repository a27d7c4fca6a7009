"""Clusters of rows by verified pairs: connected ones, around the rows that are kept, or by average linkage."""

import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sparsenn._jit import entry

Ids = npt.NDArray[np.int64]


def connected(n: int, a: Ids, b: Ids, rank: Ids) -> Ids:
    """For each of `n` items the one of lowest rank that a chain of pairs leads to."""
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    count, labels = connected_components(graph, directed=False)
    best = np.full(count, n, np.int64)
    np.minimum.at(best, labels, rank)
    item = np.empty(n, np.int64)
    item[rank] = np.arange(n)
    return item[best[labels]]


@entry
def _keep_greedily(order, indptr, others, kept):
    """Keep each item, in order, unless one that is similar to it was kept before."""
    for r in range(order.shape[0]):
        i = order[r]
        kept[i] = True
        for t in range(indptr[i], indptr[i + 1]):
            if kept[others[t]] and others[t] != i:
                kept[i] = False
                break


def represented(n: int, a: Ids, b: Ids, similarity: npt.NDArray[np.float64], rank: Ids) -> Ids:
    """For each of `n` items the kept one that it is most similar to (itself, if kept); by rank where equal.

    An item is kept unless it is similar to a kept one of lower rank: so each is similar to the one that stands for it.
    """
    first, second = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.argsort(first, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=n))]).astype(np.int64)
    by_rank = np.empty(n, np.int64)
    by_rank[rank] = np.arange(n)
    kept = np.zeros(n, np.bool_)
    _keep_greedily(by_rank, indptr, second[order], kept)
    found = np.arange(n)
    twice = np.concatenate([similarity, similarity])
    edges = np.flatnonzero(kept[second] & ~kept[first])
    best = edges[np.lexsort((rank[second[edges]], -twice[edges], first[edges]))]
    leads = np.concatenate([[True], first[best][1:] != first[best][:-1]]) if len(best) else np.zeros(0, bool)
    found[first[best[leads]]] = second[best[leads]]
    return found


class Merges(NamedTuple):
    """How items came together: groups of `a` and `b`, each named by one of its items, at a falling similarity."""

    a: Ids
    b: Ids
    similarity: npt.NDArray[np.float64]


def averaged(n: int, a: Ids, b: Ids, similarity: npt.NDArray[np.float64]) -> Merges:
    """Join `n` items by average linkage (UPGMA; Sokal and Michener 1958): the two groups most similar on average first.

    Pairs that are not listed (each at most once) have similarity 0.
    """
    sums: list[dict[int, float]] = [{} for _ in range(n)]  # of similarities between the items of two groups
    for i, j, s in zip(a.tolist(), b.tolist(), similarity.tolist(), strict=True):
        sums[i][j] = sums[j][i] = s
    size, version = [1] * n, [0] * n  # a group that has been taken up has no items
    heap = [(-s, i, j, 0, 0) for i, j, s in zip(a.tolist(), b.tolist(), similarity.tolist(), strict=True)]
    heapq.heapify(heap)
    merges, last = [], np.inf
    while heap:
        s, i, j, of_i, of_j = heapq.heappop(heap)
        if version[i] != of_i or version[j] != of_j or not (size[i] and size[j]):
            continue
        if len(sums[i]) < len(sums[j]):
            i, j = j, i
        last = min(last, -s)  # it never rises but by rounding
        merges.append((i, j, last))
        size[i], size[j], version[i] = size[i] + size[j], 0, version[i] + 1
        del sums[i][j]
        for other, total in sums[j].items():
            if other != i:
                sums[i][other] = sums[i].get(other, 0.0) + total
                del sums[other][j]
        sums[j] = {}
        for other, total in sums[i].items():
            sums[other][i] = total
            heapq.heappush(heap, (-total / (size[i] * size[other]), i, other, version[i], version[other]))
    a, b, s = (np.array(column) for column in zip(*merges, strict=True)) if merges else (np.zeros(0),) * 3
    return Merges(a.astype(np.int64), b.astype(np.int64), s.astype(np.float64))


def count_merged(n: int, merges: Merges, least: float) -> int:
    """How many pairs of items come together at or above a similarity."""
    size, pairs = [1] * n, 0
    for i, j, s in zip(*(column.tolist() for column in merges), strict=True):
        if s < least:
            break
        pairs += size[i] * size[j]
        size[i] += size[j]
    return pairs


def merged_pairs(
    n: int, merges: Merges, least: float, some: npt.NDArray[np.bool_] | None = None
) -> tuple[Ids, Ids, npt.NDArray[np.float64]]:
    """Pairs of items (of `some` only), ``i < j``, and the similarity at which they came together, at or above `least`.

    The most similar come first.
    """
    members = [np.array([i] if some is None or some[i] else [], np.int64) for i in range(n)]
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for i, j, s in zip(*(column.tolist() for column in merges), strict=True):
        if s < least:
            break
        mine, theirs = members[i], members[j]
        if len(mine) and len(theirs):
            first, second = np.repeat(mine, len(theirs)), np.tile(theirs, len(mine))
            parts.append((np.minimum(first, second), np.maximum(first, second), np.full(len(first), s)))
        members[i] = np.concatenate([mine, theirs])
    i, j, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return i, j, similarity
