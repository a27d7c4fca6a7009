"""Clusters of rows by verified pairs: connected ones, or around the rows that are kept."""

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
