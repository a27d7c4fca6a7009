"""One judge for all systems: recall by distances computed from the original rows, never from their own."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

TOLERANCE = 1e-6  # distances this near are the same (peers sum in float32)
EXACT = 0.9999  # recall that counts as 1

# True distances of the queries [a, b) to all rows.
Truth = Callable[[int, int], npt.NDArray[np.float64]]


def recalls(
    found: Mapping[str, npt.NDArray[np.int64]], distances: Truth, worst: float = np.inf, block: int = 100
) -> dict[str, float]:
    """Share of the true nearest rows that each system found.

    A returned id counts when its true distance reaches the true k-th (so ties do not matter), a
    repeated id counts once, an id out of range not at all. Places whose true distance is `worst`
    (nothing shared) are not counted. ``distances(a, b)`` gives infinity to what is not to be found.
    """
    (n, k), *others = (ids.shape for ids in found.values())
    if any(shape != (n, k) for shape in others):
        raise ValueError(f"all systems must answer the same queries, got {(n, k)} and {others}")
    good, needed = dict.fromkeys(found, 0), 0
    for a in range(0, n, block):
        true = distances(a, min(a + block, n))
        true = np.where(true < worst - TOLERANCE, true, np.inf)
        place = min(k, true.shape[1]) - 1
        limits = np.partition(true, place, axis=1)[:, place]
        for i, (row, limit) in enumerate(zip(true, limits, strict=True), start=a):
            needed += min(k, int(np.isfinite(row).sum()))
            for name, ids in found.items():
                own = np.unique(ids[i][(ids[i] >= 0) & (ids[i] < len(row))])
                reached = (row[own] <= limit + TOLERANCE * max(abs(limit), 1.0)) & np.isfinite(row[own])
                good[name] += int(np.count_nonzero(reached))
    return {name: count / needed for name, count in good.items()}


def in_words(ours: float | None, theirs: float | None = None) -> str:
    """Say recalls in a table."""
    words = []
    if ours is not None:
        words.append("ours: recall 1" if ours >= EXACT else f"OURS IS NOT EXACT: recall {ours:.4f}")
    if theirs is not None:
        words.append("theirs: recall 1" if theirs >= EXACT else f"theirs: recall {theirs:.4f}")
    return ", ".join(words)


def cosine_truth(queries: sp.csr_matrix, rows: sp.csr_matrix) -> Truth:
    """Return a function: true cosine distances of unit rows, by blocks."""
    queries, columns = queries.astype(np.float64), rows.astype(np.float64).T.tocsr()
    return lambda a, b: 1.0 - (queries[a:b] @ columns).toarray()


def set_truth(queries: sp.csr_matrix, rows: sp.csr_matrix, metric: str) -> Truth:
    """Return a function: true distances of sets, by blocks."""
    queries, columns = queries.astype(np.float64), rows.astype(np.float64).T.tocsr()
    own, sizes = np.diff(queries.indptr).astype(float), np.diff(rows.indptr).astype(float)

    def distances(a: int, b: int) -> npt.NDArray[np.float64]:
        shared, both = (queries[a:b] @ columns).toarray(), own[a:b, None] + sizes
        if metric == "jaccard":
            return 1.0 - shared / (both - shared)
        return both - 2 * shared if metric == "manhattan" else np.sqrt(both - 2 * shared)

    return distances


def dense_truth(queries: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], metric: str) -> Truth:
    """Return a function: true distances of dense rows, by blocks, in float64."""
    squares, own = (rows * rows).sum(axis=1), (queries * queries).sum(axis=1)

    def distances(a: int, b: int) -> npt.NDArray[np.float64]:
        products = queries[a:b] @ rows.T
        if metric == "cosine":
            return 1.0 - products / np.sqrt(own[a:b, None] * squares)
        return np.sqrt(np.maximum(own[a:b, None] + squares - 2 * products, 0.0))

    return distances
