"""Exact search of sets with a few columns that most rows have: baskets, clicks, tags.

The lists of such columns are nearly all of the work, and tell little. Rows are grouped by their pattern,
which of the commonest columns they have, and by what else the metric looks at: their size. Rows of a
group that share nothing else with a query are all at one distance from it, so that one evaluation a
group stands for the common columns of all rows; only the lists of the other columns are walked.
"""

from collections import namedtuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel, maker, merged, popcount
from sparsenn.distance import BLOCK, Store, corrected, finish_rows
from sparsenn.heap import farther, make_heap, push, sort_heap
from sparsenn.postings import Postings
from sparsenn.termwise import (
    FINISH_ROW,
    MEET_POSTING,
    NO_RADIUS,
    STRIDE,
    SUM_POSTING,
    append_found,
    count_near,
    finish_met,
    first_limit,
    list_near,
    make_found,
    make_workspace,
    offer,
    prefetch_lists,
    store_sorted,
)

# Columns in the pattern; of each row its group; of each group its mask, statistics, which of the sizes it has and where
# its members stand; the statistics of each size.
Patterns = namedtuple("Patterns", "width kinds groups stats which starts members sizes")
WIDTHS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64)
LARGEST = 2**16 - 2  # columns of a row, and groups, that fit their counters
LARGEST_FLOAT = np.finfo(np.float64).max
COUNT_POSTING, FINISH_GROUP, NEED_OF_SIZE = 2.5, 3.0, 12.0  # nanoseconds, as the costs of postings


@entry
def _mask_rows(indptr, indices, masks):
    """Bits of each row's columns below 64."""
    for i in range(masks.shape[0]):
        t = indptr[i]
        while t < indptr[i + 1] and indices[t] < 64:
            masks[i] |= np.uint64(1) << np.uint64(indices[t])
            t += 1


def group_rows(
    postings: Postings, forward: Store, few: npt.NDArray[np.bool_], work: npt.NDArray[np.int64]
) -> Patterns | None:
    """Group the rows by as many columns as make search cheapest; None where it is cheaper without."""
    n = len(few)
    sizes = np.diff(forward.indptr)
    squares = np.diff(postings.indptr).astype(np.float64) ** 2
    best = float(work[few].sum()) * MEET_POSTING
    best += float(work[~few].sum()) * SUM_POSTING + int((~few).sum()) * n * FINISH_ROW
    if n == 0 or sizes.max() > LARGEST or COUNT_POSTING * squares[64:].sum() >= best:
        return None
    masks = np.zeros(n, np.uint64)
    _mask_rows(forward.indptr, forward.indices, masks)
    width, n_sizes = 0, len(np.unique(sizes))
    for w in WIDTHS:
        n_groups = len(np.unique(_keys(masks, w) * np.uint64(0x9E3779B97F4A7C15) + sizes.astype(np.uint64)))
        cost = COUNT_POSTING * squares[w:].sum() + (FINISH_GROUP * n_groups + NEED_OF_SIZE * n_sizes) * n
        if n_groups > LARGEST or (FINISH_GROUP * n_groups + NEED_OF_SIZE * n_sizes) * n >= best:
            break  # nor would more columns do: groups only become more
        if cost < best:
            best, width = cost, w
    if width == 0:
        return None
    masks = _keys(masks, width)
    order = np.lexsort((*forward.stats, masks))
    described = np.vstack([forward.stats[:, order], masks[order].view(np.float64)]).view(np.uint64)
    new = np.concatenate([[True], (described[:, 1:] != described[:, :-1]).any(axis=0)])
    starts = np.flatnonzero(new)
    kinds = np.empty(n, np.uint16)
    kinds[order] = np.cumsum(new) - 1
    stats = np.ascontiguousarray(forward.stats[:, order[starts]])
    sizes, which = np.unique(stats, axis=1, return_inverse=True)
    return Patterns(
        width,
        kinds,
        masks[order[starts]],
        stats,
        which.ravel().astype(np.uint16),
        np.append(starts, n),
        order.astype(np.uint32),
        np.ascontiguousarray(sizes),
    )


def search_cost(postings: Postings, patterns: Patterns) -> float:
    """Nanoseconds of a search for the neighbours of all rows."""
    left = np.diff(postings.indptr[patterns.width :]).astype(np.float64)
    a_row = FINISH_GROUP * len(patterns.groups) + NEED_OF_SIZE * patterns.sizes.shape[1]
    return float(COUNT_POSTING * (left**2).sum()) + a_row * len(patterns.kinds)


def _keys(masks: npt.NDArray[np.uint64], width: int) -> npt.NDArray[np.uint64]:
    return masks & np.uint64((1 << width) - 1)


@kernel
def finish_groups(metric, x, i, patterns, mask, ws, begin, m):
    """Surrogates of the groups [begin, begin + m), by the common columns alone, into ``ws.out``."""
    first = np.uint64(begin)
    for g in range(np.uint64(m)):
        ws.shared[g] = np.float64(popcount(mask & patterns.groups[first + g]))
    finish_rows(
        metric, metric.finish, x, i, (patterns.stats, begin), patterns.stats.shape[1], m, ws.shared, ws.block, ws.out
    )


@kernel
def offer_group(metric, patterns, g, surrogate, counts, skip, heap, size, limit, radius):
    """Take the rows of a group that share no other column with the query."""
    distance = corrected(metric, surrogate)
    for s in range(patterns.starts[g], patterns.starts[g + 1]):
        row = np.int64(patterns.members[s])
        if counts[row] == 0 and row != skip:
            full = radius != radius and size == heap.ids.shape[0]
            if full and not farther(heap.distances[0], heap.ids[0], distance, row):
                break  # nor are the others: their ids are higher
            size, limit = offer(metric, heap, size, limit, radius, surrogate, row)
    return size, limit


@merged
def rank_groups(metric, x, i, patterns, mask, far, ws, best, limit):
    """Surrogates of all groups, into `far`, and the nearest of them, into `best`; returns how many."""
    n_groups = patterns.groups.shape[0]
    found = np.int64(0)
    for begin in range(0, n_groups, BLOCK):
        m = min(BLOCK, n_groups - begin)
        finish_groups(metric, x, i, patterns, mask, ws, begin, m)
        for r in range(np.uint64(m)):
            far[np.uint64(begin) + r] = ws.out[r]
        for r in range(list_near(ws.out, m, limit, np.int64(0), ws.listed)):
            near = ws.out[ws.listed[r]]
            if near <= limit:
                found = push(best, found, np.float32(near), begin + np.int64(ws.listed[r]), near)
                if found == best.ids.shape[0]:
                    limit = best.surrogates[0]
    sort_heap(best, found)
    return found


@merged
def scan_groups(metric, x, i, patterns, mask, counts, far, ws, skip, best, heap, limit, radius):
    """Offer the rows that share only common columns, the nearest groups first."""
    size = np.int64(0)
    found = rank_groups(metric, x, i, patterns, mask, far, ws, best, limit)
    for c in range(found):
        g = best.ids[c]
        if far[g] <= limit:
            size, limit = offer_group(metric, patterns, g, far[g], counts, skip, heap, size, limit, radius)
        far[g] = np.inf
    if found == best.ids.shape[0]:  # there may be more
        limit = min(limit, LARGEST_FLOAT)
        for begin in range(0, far.shape[0], STRIDE):
            end = min(begin + STRIDE, far.shape[0])
            if count_near(far, begin, end, limit) > 0:
                for g in range(begin, end):
                    if far[g] <= limit:
                        size, limit = offer_group(metric, patterns, g, far[g], counts, skip, heap, size, limit, radius)
    return size, limit


@kernel
def count_needed(metric, x, i, patterns, mask, limit, ws, needed, low, high):
    """How many of the other columns a row of each group must share with the query to be within `limit`.

    At least one, for rows that share none are offered group by group.
    """
    n_sizes = patterns.sizes.shape[1]
    most = np.float64(x.indptr[i + 1] - x.indptr[i])
    for begin in range(0, n_sizes, BLOCK):
        m = min(BLOCK, n_sizes - begin)
        first = np.uint64(begin)
        for r in range(np.uint64(m)):
            low[first + r], high[first + r] = 0.0, most + 1.0
        left = most + 1.0
        while left >= 1.0:  # by halves
            for r in range(np.uint64(m)):
                ws.shared[r] = min(np.floor(0.5 * (low[first + r] + high[first + r])), patterns.sizes[0, first + r])
            stride = patterns.sizes.shape[1]
            finish_rows(metric, metric.finish, x, i, (patterns.sizes, begin), stride, m, ws.shared, ws.block, ws.out)
            for r in range(np.uint64(m)):
                middle = np.floor(0.5 * (low[first + r] + high[first + r]))
                within = ws.out[r] <= limit
                high[first + r] = middle if within else high[first + r]
                low[first + r] = low[first + r] if within else min(middle + 1.0, high[first + r])
            left *= 0.5
    for g in range(np.uint64(patterns.groups.shape[0])):
        own = np.int64(popcount(mask & patterns.groups[g]))
        needed[g] = min(max(np.int64(low[np.uint64(patterns.which[g])]) - own, 1), LARGEST + 1)  # or it would wrap


@kernel
def list_counted(ids, s, end, patterns, counts, needed, ws, m):
    """List the rows of ``ids[s:end]`` that share enough columns, and clear their counts; returns their number."""
    for at in range(np.uint64(s), np.uint64(end)):
        row = ids[at]
        count = counts[row]
        counts[row] = 0
        ws.rows[m] = row
        ws.shared[m] = np.float64(count)
        m += np.uint64(count >= needed[patterns.kinds[row]])  # a branch would be mispredicted
    return np.int64(m)


@kernel
def finish_counted(metric, x, i, y, patterns, mask, m, ws, skip, heap, size, limit, radius):
    """Offer the `m` rows in ``ws.rows``; their other shared columns stand in ``ws.shared``."""
    for r in range(np.uint64(m)):
        ws.shared[r] += np.float64(popcount(mask & patterns.groups[patterns.kinds[ws.rows[r]]]))
    return finish_met(metric, x, i, y, m, ws, skip, heap, size, limit, radius)


@kernel
def scan_patterns(metric, x, i, y, postings, patterns, count, ws, skip, best, heap, limit, radius):
    """Nearest rows of `y` to a row, into the heap, unsorted; returns how many."""
    t, b = x.indptr[i], x.indptr[i + 1]
    mask = np.uint64(0)
    while t < b and x.indices[t] < patterns.width:
        mask |= np.uint64(1) << np.uint64(x.indices[t])
        t += 1
    for u in range(t, b):
        for s in range(np.uint64(postings.indptr[x.indices[u]]), np.uint64(postings.indptr[x.indices[u] + 1])):
            count.shared[postings.ids[s]] += np.uint16(1)
    if radius != radius:
        limit = first_limit(metric, x, i, y, postings, t, ws, limit)
    size, limit = scan_groups(
        metric, x, i, patterns, mask, count.shared, count.far, ws, skip, best, heap, limit, radius
    )
    count_needed(metric, x, i, patterns, mask, limit, ws, count.needed, count.low, count.high)
    m = np.int64(0)
    for u in range(b - 1, t - 1, -1):
        s, end = postings.indptr[x.indices[u]], postings.indptr[x.indices[u] + 1]
        while s < end:
            stop = min(end, s + BLOCK - m)
            m = list_counted(postings.ids, s, stop, patterns, count.shared, count.needed, ws, np.uint64(m))
            s = stop
            if m > BLOCK - STRIDE:
                size, limit = finish_counted(metric, x, i, y, patterns, mask, m, ws, skip, heap, size, limit, radius)
                count_needed(metric, x, i, patterns, mask, limit, ws, count.needed, count.low, count.high)
                m = np.int64(0)
    return finish_counted(metric, x, i, y, patterns, mask, m, ws, skip, heap, size, limit, radius)[0]


# Of one thread: columns shared with each row (all zero between queries); surrogate of each group and how many columns
# it needs; the same of each size, from below and above.
Counters = namedtuple("Counters", "shared far needed low high")


@maker
def make_counters(y, patterns):
    """Memory for `scan_patterns`."""
    n_groups, n_sizes = patterns.groups.shape[0], patterns.sizes.shape[1]
    return Counters(
        np.zeros(y.indptr.shape[0] - 1, np.uint16),
        np.empty(n_groups, np.float64),
        np.empty(n_groups, np.uint16),
        np.empty(n_sizes, np.float64),
        np.empty(n_sizes, np.float64),
    )


@entry
def nearest_by_patterns(metric, x, y, postings, patterns, start, stop, skip_self, indices, distances):
    """The k nearest rows of each of the rows [start, stop) of `x`."""
    k = indices.shape[1]
    ws, count = make_workspace(0, 0), make_counters(y, patterns)
    heap, best = make_heap(k), make_heap(k + 1)
    for i in range(start, stop):
        skip = i if skip_self else -1
        prefetch_lists(postings, x, i + 1)
        size = scan_patterns(metric, x, i, y, postings, patterns, count, ws, skip, best, heap, np.inf, NO_RADIUS)
        store_sorted(heap, size, indices[i], distances[i])


@entry
def within_by_patterns(metric, x, y, postings, patterns, start, stop, skip_self, limit, radius):
    """All rows within `radius` of each of the rows [start, stop): counts, ids, distances."""
    ws, count = make_workspace(0, 0), make_counters(y, patterns)
    heap, best = make_heap(y.indptr.shape[0] - 1), make_heap(1)
    found = make_found(stop - start)
    for i in range(start, stop):
        skip = i if skip_self else -1
        size = scan_patterns(metric, x, i, y, postings, patterns, count, ws, skip, best, heap, limit, radius)
        found = append_found(found, i - start, heap, size)
    return found.counts, found.ids[: found.used[0]], found.distances[: found.used[0]]
