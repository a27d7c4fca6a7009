"""Why a row was found: what each column that it shares with the query adds to the score.

A metric of shared terms is a surrogate ``finish(statistics of x, of y, Σ h(x_t, y_t))`` (`metrics.registry`). The
score of a pair is what its shared terms take off the surrogate: that of two rows with the same statistics that share
nothing, less that of the pair. It is the similarity of cosine, jaccard and their like, x·y of dot, Σ√(pq) of
hellinger, and 2x·y of euclidean, whose surrogate is the square. Each shared term has the part h of it that it has of
the sum, which is exact where `finish` is linear in the sum, and the only fair share where it is not.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.distance import Space, Store
from sparsenn.metrics.registry import Metric


def explains(record: Metric, container: str) -> bool:
    """Whether a metric on such rows is a sum over shared terms."""
    return container == "csr" and record.pair is None


def _finished(space: Space, x: Any, y: Any, shared: float) -> float:
    record = space.bound.metric
    assert record.finish is not None
    total = x[0] + y[0] - record.factor * shared if record.additive else shared
    return float(record.finish(space.compiled.params, x, y, total))


def _statistics(store: Store, i: int) -> tuple[float, float]:
    stats = store.stats
    return float(stats[0, i]), float(stats[1, i]) if len(stats) > 1 else 0.0


def scores(
    space: Space, x: Store, i: int, y: Store, rows: npt.NDArray[np.int64], distances: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Scores of found rows, from their distances to query `i`."""
    record = space.bound.metric
    near = np.array([space.surrogate_of(float(d)) for d in distances], np.float64)
    if record.worst is not None:
        base = space.surrogate_of(record.worst)
        found: npt.NDArray[np.float64] = base - near
        return found + 0.0  # no negative zero
    own = _statistics(x, i)
    bases = [_finished(space, own, _statistics(y, int(row)), 0.0) for row in rows]
    return np.array(bases, np.float64) - near


def contributions(
    space: Space, x: Store, i: int, y: Store, row: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Columns that query `i` and a row share, and what each adds to the score; the largest first.

    Parameters
    ----------
    space : Space
    x, y : Store
        Queries and indexed rows, in the same columns, sorted.
    i, row : int

    Returns
    -------
    columns : ndarray of int64
    shares : ndarray of float64
        They sum to the score of the pair.
    """
    record, p = space.bound.metric, space.compiled.params
    a, b = x.indptr[i], x.indptr[i + 1]
    c, d = y.indptr[row], y.indptr[row + 1]
    columns, at, to = np.intersect1d(x.indices[a:b], y.indices[c:d], assume_unique=True, return_indices=True)
    pairs = zip(x.data[a:b][at].tolist(), y.data[c:d][to].tolist(), strict=True)
    steps = np.array([_step(record, p, u, v) for u, v in pairs], np.float64)
    own, other, total = _statistics(x, i), _statistics(y, row), math.fsum(steps)
    score = _finished(space, own, other, 0.0) - _finished(space, own, other, total)
    shares = steps * (score / total) if total != 0.0 else steps * 0.0
    order = np.argsort(-np.abs(shares), kind="stable")
    return columns[order].astype(np.int64), shares[order]


def _step(record: Metric, p: Any, u: float, v: float) -> float:
    if record.step is not None:
        return float(record.step(p, u, v))
    assert record.term is not None
    return float(record.term(p, u, 0.0) + record.term(p, 0.0, v) - record.term(p, u, v))
