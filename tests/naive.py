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


def check_found(indices, distances, D, k, atol=1e-6, rtol=1e-5):
    """As `check_neighbors`, but the found need not be the nearest: true distances, in order, no id twice."""
    __tracebackhide__ = True
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    assert indices.shape == distances.shape == (len(D), k)
    there = min(k, D.shape[1])
    assert (indices[:, :there] >= 0).all()
    assert (indices[:, there:] == -1).all()
    assert np.isinf(distances[:, there:]).all()
    for row, near, true in zip(indices[:, :there], distances[:, :there], D, strict=True):
        assert len(set(row.tolist())) == there
        assert (np.lexsort((row, near)) == np.arange(there)).all()
        np.testing.assert_allclose(near, true[row], atol=atol, rtol=rtol)


def recall(distances, true):
    """Share of the true nearest that were found, by their distances."""
    kth = true[:, -1:].astype(np.float64)
    return float(np.mean(distances <= kth + 1e-5 * np.abs(kth) + 1e-6))


def occluded(D, near, width, alpha):
    """Neighbours that stay of each row: no kept one is nearer to them, by a factor, than the row is."""
    lists = []
    for i, row in enumerate(near):
        kept = []
        for c in row:
            if len(kept) < width and not any(alpha * D[c, e] < D[i, c] for e in kept):
                kept.append(int(c))
        lists.append(kept)
    return lists


def reachable(links, n):
    """Whether a walk from the entries that none leaves out can come to every row."""
    reached = set(links.entries[: links.always].tolist())
    waiting = list(reached)
    while waiting:
        row = waiting.pop()
        new = set(links.ids[row, : links.degrees[row]].tolist()) - reached
        reached |= new
        waiting += new
    return len(reached) == n
