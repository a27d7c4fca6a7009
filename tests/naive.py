"""Slow and obvious oracles."""

import numpy as np
import scipy.sparse as sp

import sparsenn as sn


def distances(metric, X, Y, **params):
    """Full matrix from the registry's reference, row by row."""
    reference = sn.metrics.get(metric).reference
    X, Y = (np.asarray(M.todense() if sp.issparse(M) else M, dtype=np.float64) for M in (X, Y))
    return np.array([[reference(x, y, **params) for y in Y] for x in X]).reshape(len(X), len(Y))


def nearest(D, k, skip_self=False):
    """Ids and distances of the k nearest by (distance, id); -1 and inf where there are fewer."""
    D = np.array(D, dtype=np.float32)
    ids = np.full((len(D), k), -1, np.int64)
    out = np.full((len(D), k), np.inf, np.float32)
    for i, row in enumerate(D):
        order = [j for j in np.lexsort((np.arange(len(row)), row)) if not (skip_self and j == i)][:k]
        ids[i, : len(order)] = order
        out[i, : len(order)] = row[order]
    return ids, out


def check_neighbors(indices, distances, D, k, skip_self=False, atol=1e-6, rtol=1e-5):
    """Ids unique, in range and sorted; distances true, and as near as the oracle's."""
    __tracebackhide__ = True
    n = D.shape[1]
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    assert indices.shape == distances.shape == (len(D), k)
    _, want = nearest(D, k, skip_self)
    for i in range(len(D)):
        there = indices[i] >= 0
        found = indices[i][there]
        assert len(set(found.tolist())) == len(found)
        assert (found < n).all()
        assert not (skip_self and i in found)
        assert there.sum() == min(k, n - skip_self)
        assert np.isinf(distances[i][~there]).all()
        order = np.lexsort((found, distances[i][there]))
        assert (order == np.arange(len(order))).all()
        np.testing.assert_allclose(distances[i][there], D[i, found], atol=atol, rtol=rtol)
    np.testing.assert_allclose(distances, want, atol=atol, rtol=rtol)
