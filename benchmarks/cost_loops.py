"""Loops that do one thing of exact search and nothing else, to see what it costs.

They call the compiled functions of `sparsenn.termwise` on the arrays of a fitted engine. Each loop
returns how many times it did its thing.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import termwise
from sparsenn.distance import BLOCK, evaluate, scatter, unscatter
from sparsenn.heap import make_heap
from sparsenn.neighborgraph import small_form
from sparsenn.termwise import make_workspace

REPEATS = 20  # one query's lists, again and again: they stay in the cache
CANDIDATES = 200  # rows that a query verifies, anywhere in the data


class Prepared(NamedTuple):
    """Arrays of a fitted engine, and queries read for it."""

    metric: Any
    queries: Any
    rows: Any
    postings: Any
    n_features: int
    n_queries: int
    order: np.ndarray


def prepare(engine: Any, queries: sp.csr_matrix) -> Prepared:
    """Read queries for an engine, as its `nearest` does."""
    own, metric = engine.own(engine.space.read(queries, "Q"))
    order = np.random.default_rng(0).permutation(engine.n_rows).astype(np.uint32)
    return Prepared(metric, own, engine._store, engine._postings, engine.space.n_features, queries.shape[0], order)


def sum_postings(p: Prepared) -> int:
    """Sum all lists of a query, REPEATS times in a row."""
    n_queries = min(p.n_queries, 20)
    _sum(p.metric, p.queries, p.rows, p.postings, n_queries)
    lengths = np.diff(p.postings.indptr)
    return REPEATS * int(lengths[p.queries.indices[: p.queries.indptr[n_queries]]].sum())


def finish_rows(p: Prepared) -> int:
    """Finish all rows for each query, and compare them with a limit that none reaches."""
    _finish(p.metric, p.queries, p.rows, p.postings, p.n_features, p.n_queries)
    return p.n_queries * len(p.order)


def verify_candidates(p: Prepared) -> int:
    """Verify rows in random order, with half of the tiers left to add."""
    count = min(CANDIDATES, len(p.order))
    tier = len(p.postings.cuts) // 2
    _verify(p.metric, p.queries, p.rows, p.postings, p.n_features, p.n_queries, p.order, count, tier)
    return p.n_queries * count


LOOPS = (sum_postings, finish_rows, verify_candidates)
compiled = numba.njit(nogil=True, error_model="numpy")


@compiled
def _sum(metric, x, y, postings, n_queries):
    sums = np.zeros(y.indptr.shape[0] - 1, np.float64)
    for i in range(n_queries):
        for _ in range(REPEATS):
            termwise.sum_terms(metric, postings, x, x.indptr[i], x.indptr[i + 1], sums)
    return sums[0]


@compiled
def _finish(metric, x, y, postings, n_features, n_queries):
    n = y.indptr.shape[0] - 1
    ws = termwise.make_workspace(n, n_features)
    near = 0
    for i in range(n_queries):
        for begin in range(0, n, BLOCK):
            m = min(BLOCK, n - begin)
            termwise.optimistic(metric, x, i, y, ws.sums, postings.rest[0], 0.0, begin, m, ws)
            near += termwise.list_near(ws.out, m, -1.0, begin, ws.listed)
    return near


@compiled
def _verify(metric, x, y, postings, n_features, n_queries, order, count, tier):
    n = y.indptr.shape[0] - 1
    ws = termwise.make_workspace(n, n_features)
    heap = make_heap(10)
    total = 0
    for i in range(n_queries):
        scatter(x, i, ws.w)
        size, limit = 0, np.inf
        first = (i * 7919) % n
        for begin in range(0, count, BLOCK):
            m = min(BLOCK, count - begin)
            for r in range(m):
                ws.rows[r] = order[(first + begin + r) % n]
            size, limit = termwise.verify(
                metric, x, i, y, True, ws.sums, postings.ends, tier * n, m, ws, heap, size, limit, np.float32(-1)
            )
        unscatter(x, i, ws.w)
        total += size
    return total


@numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _plain_dense(matrix, ids, out):
    """Squared euclidean distances, the rows as they are."""
    for i in range(ids.shape[0]):
        for r in range(ids.shape[1]):
            row = ids[i, r]
            total = 0.0
            for t in range(matrix.shape[1]):
                apart = np.float64(matrix[i, t]) - np.float64(matrix[row, t])
                total += apart * apart
            out[r] = total
    return ids.size


@numba.njit(nogil=True, error_model="numpy")
def _plain_sparse(indptr, indices, data, w, ids, out):
    """Inner products of scattered rows with others."""
    for i in range(ids.shape[0]):
        for t in range(indptr[i], indptr[i + 1]):
            w[indices[t]] = data[t]
        for r in range(ids.shape[1]):
            row = ids[i, r]
            total = 0.0
            for t in range(indptr[row], indptr[row + 1]):
                total += np.float64(w[indices[t]]) * np.float64(data[t])
            out[r] = total
        for t in range(indptr[i], indptr[i + 1]):
            w[indices[t]] = 0.0
    return ids.size


@numba.njit(nogil=True, error_model="numpy")
def _shipped(metric, y, z, n_features, ids):
    """The package's own evaluation of the same pairs."""
    ws = make_workspace(0, n_features)
    for i in range(ids.shape[0]):
        scatter(y, i, ws.w)
        for r in range(ids.shape[1]):
            ws.rows[r] = ids[i, r]
        evaluate(metric, y, i, ws.w, z, ws.rows, np.int64(ids.shape[1]), ws.shared, ws.block, ws.out)
        unscatter(y, i, ws.w)
    return ids.size


def memory_ways(rows, metric):
    """Ways to measure pairs of rows in cache and anywhere; each returns how many it measured."""
    engine = sn.Index(metric, method="exact").fit(rows)._engine
    y, whole = engine.own()
    form = small_form(engine, 15, np.uint64(0), None)[0]
    m, n = engine.space.n_features, engine.n_rows
    rng = np.random.default_rng(0)
    lists = {
        "in cache": rng.integers(0, min(100, n), (min(2000, n), 64)).astype(np.uint32),
        "out of cache": rng.integers(0, n, (min(2000, n), 64)).astype(np.uint32),
    }
    out, w = np.empty(64), np.zeros(m, np.float32)
    ways = {}
    for where, ids in lists.items():
        if engine.space.container == "dense":
            ways[f"plain, {where}"] = lambda ids=ids: _plain_dense(y.data.reshape(n, m), ids, out)
            ways[f"prefetch alone, {where}"] = lambda ids=ids: _shipped(whole, y, y, m, ids)
        else:
            ways[f"plain, {where}"] = lambda ids=ids: _plain_sparse(y.indptr, y.indices, y.data, w, ids, out)
        ways[f"shipped, {where}"] = lambda ids=ids: _shipped(form.metric, form.x, form.z, m, ids)
    return ways
