"""Exact search in blocks, for what has no postings: dense rows, and metrics that need whole rows.

A tile of rows that fits the second cache is compared with several queries before the next tile.
Where an inner product and statistics tell the distance, BLAS multiplies in float32, and whatever may
still be among the nearest given float32's error is measured again in float64.

With a filter, only rows that a query may find are compared with it, and queries of one label share tiles.
That serves rows that have postings too, where few of them are eligible.
"""

from collections import namedtuple
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel
from sparsenn.distance import BLOCK, Space, corrected, evaluate, scatter, unscatter
from sparsenn.filters import Filter
from sparsenn.heap import Heap, make_heap
from sparsenn.parallel import map_blocks
from sparsenn.termwise import (
    NO_RADIUS,
    append_found,
    list_candidates,
    make_filtered,
    make_found,
    make_workspace,
    offer,
    seed_limit,
    store_sorted,
    verify_listed,
)

TILE = 2**17  # values of a tile of rows: half of a 1 MiB second cache
TOGETHER = 16  # queries that share a tile
# Nanoseconds, as those of termwise
PRODUCT = 0.02  # one multiplication of a BLAS product
LISTED_ROW, LISTED_VALUE = 15.0, 1.0  # a row of a list, and each of its stored values
LISTED_ROW_DENSE, LISTED_VALUE_DENSE = 20.0, 0.14

# Rows by label and id, where those of each label begin, and the label of each query.
Listing = namedtuple("Listing", "members starts wanted")


def list_rows(filter: Filter, n_rows: int, n_queries: int) -> Listing:
    """Rows of each label; without labels, all rows under one."""
    if not filter.labels.size:
        return Listing(
            np.arange(n_rows, dtype=np.uint32), np.array([0, n_rows], np.int64), np.zeros(n_queries, np.int32)
        )
    rows = np.flatnonzero(filter.labels >= 0)
    counts = count_labels(filter)
    labels = filter.labels[rows].astype(np.int16 if len(counts) < 2**15 else np.int32)  # numpy sorts int16 by digits
    members = rows[np.argsort(labels, kind="stable")].astype(np.uint32)
    return Listing(members, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), filter.wanted)


def count_labels(filter: Filter) -> npt.NDArray[np.int64]:
    """Rows of each label that a query has or could have."""
    there = filter.labels[np.flatnonzero(filter.labels >= 0)]
    counts: npt.NDArray[np.int64] = np.bincount(there, minlength=1 + int(filter.wanted.max(initial=-1)))
    return counts


def row_cost(space: Space, values_per_row: float) -> float:
    """Nanoseconds to measure a row of a list."""
    sparse = space.container == "csr" or space.bound.metric.pair is not None
    row, value = (LISTED_ROW, LISTED_VALUE) if sparse else (LISTED_ROW_DENSE, LISTED_VALUE_DENSE)
    return row + values_per_row * value * space.bound.metric.cost[0]


@kernel
def tile_rows(y):
    """Rows whose values make about one tile."""
    n = y.indptr.shape[0] - 1
    mean = max(y.data.shape[0] // max(n, 1), 1)
    return max(TILE // mean // BLOCK, 1) * BLOCK


@kernel
def scan_tile(metric, x, i, y, listing, begin, end, ws, skip, heap, size, limit, radius):
    """Offer the rows [begin, end) of those that row `i` of `x` may find to its heap."""
    label = listing.wanted[i]
    begin += listing.starts[label]
    end = min(end + listing.starts[label], listing.starts[label + 1])
    if begin >= end:
        return size, limit
    scatter(x, i, ws.w)
    for first in range(begin, end, BLOCK):
        m = min(BLOCK, end - first)
        for r in range(m):
            ws.rows[r] = listing.members[first + r]
        evaluate(metric, x, i, ws.w, y, ws.rows, m, ws.shared, ws.block, ws.out)
        for r in range(m):
            row = np.int64(ws.rows[r])
            if ws.out[r] <= limit and row != skip:
                size, limit = offer(metric, heap, size, limit, radius, ws.out[r], row)
    unscatter(x, i, ws.w)
    return size, limit


@kernel
def longest_list(listing):
    """Rows of the commonest label."""
    longest = np.int64(0)
    for label in range(listing.starts.shape[0] - 1):
        longest = max(longest, listing.starts[label + 1] - listing.starts[label])
    return longest


@entry
def nearest_blockwise(metric, x, y, listing, ws, start, stop, skip_self, indices, distances):
    """The k nearest rows of each of the rows [start, stop) of `x`."""
    k = indices.shape[1]
    longest = longest_list(listing)
    many = make_heap(TOGETHER * k)
    sizes, limits = np.zeros(TOGETHER, np.int64), np.empty(TOGETHER, np.float64)
    tile = tile_rows(y)
    for first in range(start, stop, TOGETHER):
        together = min(TOGETHER, stop - first)
        sizes[:] = 0
        limits[:] = np.inf
        for begin in range(0, longest, tile):
            for c in range(together):
                part = slice(c * k, (c + 1) * k)
                heap = Heap(many.distances[part], many.ids[part], many.surrogates[part])
                skip = first + c if skip_self else -1
                sizes[c], limits[c] = scan_tile(
                    metric,
                    x,
                    first + c,
                    y,
                    listing,
                    begin,
                    begin + tile,
                    ws,
                    skip,
                    heap,
                    sizes[c],
                    limits[c],
                    NO_RADIUS,
                )
        for c in range(together):
            part = slice(c * k, (c + 1) * k)
            heap = Heap(many.distances[part], many.ids[part], many.surrogates[part])
            store_sorted(heap, sizes[c], indices[first + c], distances[first + c])


@entry
def within_blockwise(metric, x, y, listing, n_features, start, stop, skip_self, limit, radius):
    """All rows within `radius` of each of the rows [start, stop): counts, ids, distances."""
    longest = longest_list(listing)
    ws = make_workspace(0, n_features)
    heap = make_heap(longest)
    found = make_found(stop - start)
    for i in range(start, stop):
        skip = i if skip_self else -1
        size, _ = scan_tile(metric, x, i, y, listing, 0, longest, ws, skip, heap, np.int64(0), limit, radius)
        found = append_found(found, i - start, heap, size)
    return found.counts, found.ids[: found.used[0]], found.distances[: found.used[0]]


@entry
def distances_blockwise(metric, x, y, n_features, start, stop, out):
    """Full rows of distances of the rows [start, stop) of `x` to all of `y`."""
    n = y.indptr.shape[0] - 1
    ws = make_workspace(0, n_features)
    for i in range(start, stop):
        scatter(x, i, ws.w)
        for first in range(0, n, BLOCK):
            m = min(BLOCK, n - first)
            for r in range(m):
                ws.rows[r] = first + r
            evaluate(metric, x, i, ws.w, y, ws.rows, m, ws.shared, ws.block, ws.out)
            for r in range(m):
                out[i, first + r] = corrected(metric, ws.out[r]) + np.float32(0)
        unscatter(x, i, ws.w)


@kernel
def verify_products(metric, x, i, y, products, norms, most, ws, skip, heap, limit, radius):
    """Measure again every row that may be within `limit`, given the products' error."""
    n = products.shape[0]
    found = list_candidates(metric, x, i, y, products, norms, most, limit, n, ws, skip)
    return verify_listed(metric, x, i, y, False, products, y.indptr, 1, found, ws, heap, limit, radius)


@entry
def nearest_of_products(metric, x, y, products, norms, error, filter, start, skip_self, indices, distances):
    """The k nearest rows, from float32 inner products of the rows from `start` on with all of `y`.

    `norms` are those of `y`; `error` bounds the products' relative error.
    """
    k = indices.shape[1]
    ws = make_filtered(y.indptr.shape[0] - 1, 0, filter)
    heap, seeds = make_heap(k), make_heap(2 * k)
    for c in range(products.shape[0]):
        i = start + c
        skip = i if skip_self else -1
        most = error * norm_of(x, i)
        limit = seed_limit(metric, x, i, y, False, products[c], y.indptr, 1, ws, skip, seeds, heap)
        size = verify_products(metric, x, i, y, products[c], norms, most, ws, skip, heap, limit, NO_RADIUS)
        store_sorted(heap, size, indices[i], distances[i])


@entry
def within_products(metric, x, y, products, norms, error, filter, start, skip_self, limit, radius):
    """Rows within `radius`, from float32 inner products: counts, ids, distances."""
    n = y.indptr.shape[0] - 1
    ws = make_filtered(n, 0, filter)
    heap = make_heap(n)
    found = make_found(products.shape[0])
    for c in range(products.shape[0]):
        i = start + c
        skip = i if skip_self else -1
        most = error * norm_of(x, i)
        size = verify_products(metric, x, i, y, products[c], norms, most, ws, skip, heap, limit, radius)
        found = append_found(found, c, heap, size)
    return found.counts, found.ids[: found.used[0]], found.distances[: found.used[0]]


@kernel
def norm_of(x, i):
    """Euclidean norm of a row."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0  # four sums, for the next addition need not wait for the last
    t, end = np.uint64(x.indptr[i]), np.uint64(x.indptr[i + 1])
    while t + np.uint64(4) <= end:
        a += np.float64(x.data[t]) * np.float64(x.data[t])
        b += np.float64(x.data[t + np.uint64(1)]) * np.float64(x.data[t + np.uint64(1)])
        c += np.float64(x.data[t + np.uint64(2)]) * np.float64(x.data[t + np.uint64(2)])
        d += np.float64(x.data[t + np.uint64(3)]) * np.float64(x.data[t + np.uint64(3)])
        t += np.uint64(4)
    while t < end:
        a += np.float64(x.data[t]) * np.float64(x.data[t])
        t += np.uint64(1)
    return np.sqrt(a + b + c + d)


@entry
def _norms(x, start, stop, out):
    for i in range(start, stop):
        out[i] = np.float32(norm_of(x, i) * (1.0 + 3e-7))


def all_norms(x: Any, n_jobs: int | None = None) -> Any:
    """Euclidean norms of all rows, rounded up in float32."""
    out = np.empty(x.indptr.shape[0] - 1, np.float32)
    map_blocks(lambda a, b: _norms(x, a, b, out), len(out), n_jobs, 4096)
    return out
