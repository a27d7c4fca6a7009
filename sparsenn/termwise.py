"""Exact search, a term at a time: one query against all rows through the postings.

Three ways, chosen for each query by what it will touch:

* few postings, and rows that share nothing are the farthest: sum all lists but the longest, take a
  limit from the best single list (whose first rows by impact are known), add the longest list while reading the sums
  it completes, walk the others again, and finish only the rows whose sum can be within the limit;
* many: sum, then finish all rows in blocks (rows that share nothing included: for euclidean and its
  like they may be the nearest);
* many, and the metric has a bound: sum the rarer terms, verify a few good rows for a threshold, and
  when the rows that can still beat it are cheaper to verify than the common terms are to sum, stop.
  (MaxScore's idea, Turtle and Flood 1995, with the norm bound of L2AP, Anastasiu and Karypis 2014,
  for each row in place of one bound a list.)

The answer is the same in all of them.
"""

from collections import namedtuple

import numpy as np

from sparsenn._jit import brief, call, call_float, call_int, entry, folded, kernel, maker, merged, prefetch
from sparsenn.distance import (
    BLOCK,
    BY_MASS,
    BY_NORM,
    TOO_NEAR,
    corrected,
    finish_block,
    finish_listed,
    finish_rows,
    measure,
    refined,
    scatter,
    unscatter,
)
from sparsenn.filters import Filter, eligible
from sparsenn.heap import farther, fill_heap, key_of, make_heap, push, sort_heap
from sparsenn.postings import list_length

# Nanoseconds, as benchmarks/bench_kernels.py measures them on one machine: only ratios matter.
SUM_POSTING = 0.7  # in a list that is read in order, for a query that finishes all rows
MEET_POSTING = 1.9  # of a query that looks only at the rows it meets
FINISH_ROW = 1.3  # all rows: finished, compared, cleared
LEFT_TO_SUM = 0.45  # share of the postings summed where a bound by norms leaves out common terms
UNMET_ROW = 1.5  # looked at by a query that meets fewer than it wants
# In postings summed (about 0.7 ns): to verify one candidate. benchmarks/bench_kernels.py measures 41 to 49 for the loop
# alone; with the heap, and with limits that are not final yet, whole searches were fastest at 50 to 200.
VERIFY = 150
# A query that meets fewer postings than this share of the rows looks only at those rows; with more of them it is
# cheaper to finish all rows (0.5 to 0.8 each, and clearing them).
FEW = 0.25
# Sum at least until this share of the query's bound is left: a threshold needs good first candidates.
FIRST_SHARE = 0.3
NO_RADIUS = np.float32(np.nan)
STRIDE = 64  # rows compared with a limit at once
SLACK = (
    1.0 - 2.0**-22
)  # impact and finish round differently: the share of a mark's sum that their order may be wrong by
LOOSE = 2.0**-18  # relative: surrogates this near may be equal once corrected and rounded

RANKED = 256  # rows at most that are sorted by comparing each with all: 1 us for 40 of them, as a heap takes for 20
PROBES = 12  # for a bar: enough to find one of 2k rows among 4096k that lie evenly

Workspace = namedtuple("Workspace", "sums found listed spare keys first w shared block out rows filter")


@maker
def make_workspace(n, n_features):
    """Memory of one thread, for searches without a filter."""
    return make_filtered(n, n_features, Filter(np.empty(0, np.int32), np.empty(0, np.int32)))


@maker
def make_filtered(n, n_features, filter):
    """Memory of one thread, and which rows it may find; all zero between queries where it matters (`sums`, `w`)."""
    return Workspace(
        np.zeros(n, np.float64),
        np.empty(n + 1, np.uint32),
        np.empty(BLOCK + 1, np.uint32),
        np.empty(BLOCK, np.float64),
        np.empty(RANKED, np.int64),
        np.zeros(1, np.uint32),
        np.zeros(n_features, np.float32),
        np.empty(BLOCK, np.float64),
        np.empty(2 * BLOCK + 2, np.float64),
        np.empty(BLOCK, np.float64),
        np.empty(BLOCK, np.uint32),
        filter,
    )


@kernel
def clear(sums):
    """Set to 0 (a slice assignment would compile numba's broadcasting and its messages)."""
    for r in range(np.uint64(sums.shape[0])):
        sums[r] = 0.0


@folded
def loosened(limit):
    """Surrogate above which no row can be as near as `limit` once both are distances."""
    return limit + abs(limit) * LOOSE


@folded
def offer(metric, heap, size, limit, radius, surrogate, row):
    """Take a row into the result; returns its size and the surrogate that still matters.

    With a radius, everything within it is kept; without (NaN), the nearest that fit.
    """
    distance = corrected(metric, surrogate)
    if distance > radius:
        return size, limit
    size = push(heap, size, distance, row, surrogate)
    if radius != radius and size == heap.ids.shape[0]:
        bar = loosened(heap.surrogates[0]) + metric.noise
        limit = bar if bar < limit else limit
    return size, limit


@kernel
def accumulate(metric, v, ids, values, n, sums):
    """Add `n` postings of a term that the query has with weight `v`."""
    call(metric.accumulate, (metric.params, np.int64(metric.params.shape[0]), np.float64(v), ids, values, n, sums))


@kernel
def sum_terms(metric, postings, x, first, last, sums):
    """Add the lists of the row's terms [first, last), the rarest first."""
    for t in range(last - 1, first - 1, -1):
        a, b = postings.indptr[x.indices[t]], postings.indptr[x.indices[t] + 1]
        if a < b:
            accumulate(metric, x.data[t], (postings.ids, a), (postings.values, a), b - a, sums)


@kernel
def mark_met(postings, x, i, sums, mark):
    """Write `mark` for every row that shares a term with the query."""
    for t in range(x.indptr[i], x.indptr[i + 1]):
        for s in range(postings.indptr[x.indices[t]], postings.indptr[x.indices[t] + 1]):
            sums[postings.ids[s]] = mark


@merged
def offer_unmet(metric, x, i, postings, ws, skip, heap, size, radius):
    """Add rows that share nothing with the query, all at the same distance, by their ids."""
    distance = np.float32(metric.worst)
    capacity = heap.ids.shape[0]
    if distance > radius or (size == capacity and heap.distances[0] < distance):
        return size
    mark_met(postings, x, i, ws.sums, 1.0)
    for row in range(ws.sums.shape[0]):
        if size == capacity and not farther(heap.distances[0], heap.ids[0], distance, row):
            break
        if ws.sums[row] == 0.0 and eligible(ws.filter, i, row, skip):
            size = push(heap, size, distance, row, np.float64(distance))
    mark_met(postings, x, i, ws.sums, 0.0)
    return size


@kernel
def bar_of(values, n, least, most):
    """A value that at least `least` of the first `n` do not exceed, and if few probes find it at most `most`."""
    low = high = values[0]
    for r in range(np.uint64(n)):
        low, high = min(low, values[r]), max(high, values[r])
    if not low < high:
        return high
    for _ in range(PROBES):
        middle = low + 0.5 * (high - low)
        within = count_near(values, np.int64(0), n, middle)
        if within < least:
            low = middle
            continue
        high = middle
        if within <= most:
            break
    return high


@kernel
def near_of_block(metric, ws, m, k, limit):
    """List the rows of the finished block that may be among the nearest `k`: how many, and the limit.

    One of the k + 1 nearest may be the query itself.
    """
    near = list_near(ws.out, m, limit, np.int64(0), ws.listed)
    if near <= 2 * k or metric.refine != 0:
        return near, limit
    for r in range(near):
        ws.spare[r] = ws.out[ws.listed[r]]
    limit = min(limit, loosened(bar_of(ws.spare, near, k + 1, 2 * k)))
    return list_near(ws.out, m, limit, np.int64(0), ws.listed), limit


@kernel
def keep_eligible(i, m, ws, skip):
    """Leave out what the query may not find of the `m` rows in `ws.rows`, with sums in `ws.shared`; how many stay."""
    kept = np.int64(0)
    for r in range(m):
        row = ws.rows[r]
        ws.rows[kept] = row
        ws.shared[kept] = ws.shared[r]
        kept += eligible(ws.filter, i, np.int64(row), skip)
    return kept


@kernel
def finish_met(metric, x, i, y, m, ws, skip, heap, size, limit, radius):
    """Offer the `m` rows in `ws.rows`; their sums stand in `ws.shared`."""
    if ws.filter.labels.shape[0] > 0:
        m = keep_eligible(i, m, ws, skip)
    finish_listed(metric, metric.finish, x, i, y, ws.rows, m, ws.shared, ws.block, ws.out)
    if radius != radius:
        near, limit = near_of_block(metric, ws, m, heap.ids.shape[0], limit)
    else:
        near = list_near(ws.out, m, limit, np.int64(0), ws.listed)
    if size == 0 and near <= RANKED:
        return offer_first(metric, x, i, y, near, ws, skip, heap, limit, radius)
    for r in range(near):
        at = ws.listed[r]
        row = np.int64(ws.rows[at])
        if ws.out[at] <= limit and row != skip:
            near = refined(metric, x, i, y, row, ws.out[at])
            size, limit = offer(metric, heap, size, limit, radius, near, row)
    return size, limit


@kernel
def offer_first(metric, x, i, y, near, ws, skip, heap, limit, radius):
    """Offer the `near` rows that are listed to an empty heap: sorted at once, with no branch to mispredict."""
    m = np.int64(0)
    for r in range(near):
        at = ws.listed[r]
        row = np.int64(ws.rows[at])
        surrogate = refined(metric, x, i, y, row, ws.out[at])
        distance = corrected(metric, surrogate)
        ws.keys[m], ws.spare[m] = key_of(distance, row), surrogate
        m += row != skip and not distance > radius
    size = fill_heap(heap, ws.keys, ws.spare, m)
    if radius != radius and size == heap.ids.shape[0]:
        limit = min(limit, loosened(heap.surrogates[0]) + metric.noise)
    return size, limit


@kernel
def nearest_possible(metric, x, i, extremes, shared, ws):
    """Surrogate of the nearest row that shares this much with the query, as far as the rows' statistics go."""
    for e in range(2):
        first = extremes[e, 0]
        # no row shares more than its mass, which is the first statistic where steps are bounded by it
        ws.block[e] = max(first, shared) if metric.bound == BY_MASS else first
        ws.block[BLOCK + e] = extremes[e, 1]
        ws.shared[e] = shared
    finish_block(metric, metric.finish, x, i, 2, ws.shared, ws.block, ws.out)
    return min(ws.out[0], ws.out[1])


@kernel
def least_shared(metric, x, i, extremes, limit, ws):
    """Find a sum that every row within `limit` exceeds; where finishing is linear, nearly the largest such sum."""
    low, high = 0.0, 1.0
    if limit == np.inf:
        return low
    far = nearest_possible(metric, x, i, extremes, low, ws)
    if far <= limit:
        return low
    most = x.stats[0, i] if metric.bound == BY_MASS else np.inf  # formulas are not made for more than there is
    near = nearest_possible(metric, x, i, extremes, min(high, most), ws)
    while near > limit:
        if high >= most or high > 1e30:
            return min(high, most) * (1.0 - 1e-9)
        low, far = high, near
        high *= 2.0
        near = nearest_possible(metric, x, i, extremes, min(high, most), ws)
    high = min(high, most)
    for _ in range(3):  # false position
        guess = low + 0.999 * (high - low) * (far - limit) / (far - near)
        value = nearest_possible(metric, x, i, extremes, guess, ws)
        if value > limit:
            low, far = guess, value
            if (high - low) * (far - limit) <= 0.01 * low * (far - near):
                break
        else:
            high, near = guess, value
    return low


@kernel
def first_limit(metric, x, i, y, postings, a, ws, limit):
    """Find a limit that some list alone has enough rows within, from the lists' marks (which count all rows)."""
    if ws.filter.labels.shape[0] > 0:
        return limit
    m = np.int64(0)
    n_marked = np.int64(postings.mark_rows.shape[0])
    for t in range(a, min(x.indptr[i + 1], a + BLOCK)):
        column = np.int64(x.indices[t])
        row = postings.mark_rows[column] if column < n_marked else np.int32(-1)
        if row >= 0:
            ws.rows[m] = row
            ws.shared[m] = 0.0
            accumulate(metric, x.data[t], ws.first, (postings.mark_values, column), np.int64(1), (ws.shared, m))
            ws.shared[m] *= SLACK
            m += 1
    finish_listed(metric, metric.finish, x, i, y, ws.rows, m, ws.shared, ws.block, ws.out)
    for r in range(m):
        limit = min(limit, loosened(ws.out[r]))
    return limit


@kernel
def scan_met(metric, x, i, y, postings, a, ws, skip, heap, limit, radius):
    """Answer a query that meets few rows: only those are looked at, and only those near enough are finished.

    Terms before `a` are left out.
    """
    if radius != radius:
        limit = first_limit(metric, x, i, y, postings, a, ws, limit)
    least = least_shared(metric, x, i, postings.extremes, limit, ws)
    return scan_within(metric, x, i, y, postings, a, ws, skip, heap, limit, least, radius)


@kernel
def scan_within(metric, x, i, y, postings, a, ws, skip, heap, limit, least, radius):
    """Answer a query that meets few rows, of which those within `limit` share more than `least` with it."""
    b = x.indptr[i + 1]
    sum_terms(metric, postings, x, a + 1, b, ws.sums)
    size = np.int64(0)
    m = np.int64(0)
    s, end = postings.indptr[x.indices[a]], postings.indptr[x.indices[a] + 1]
    while s < end:
        if m > BLOCK - STRIDE:
            size, limit = finish_met(metric, x, i, y, m, ws, skip, heap, size, limit, radius)
            least = least_shared(metric, x, i, postings.extremes, limit, ws)
            m = np.int64(0)
        n = min(end - s, BLOCK - m)
        m = call_int(
            metric.harvest,
            (
                metric.params,
                np.int64(metric.params.shape[0]),
                np.float64(x.data[a]),
                (postings.ids, s),
                (postings.values, s),
                n,
                ws.sums,
                np.float64(least),
                ws.rows,
                ws.shared,
                m,
            ),
        )
        s += n
    for t in range(b - 1, a, -1):
        s, end = postings.indptr[x.indices[t]], postings.indptr[x.indices[t] + 1]
        while s < end:
            stop = min(end, s + BLOCK - m)
            m = collect(postings.ids, s, stop, ws, least, np.uint64(m))
            s = stop
            if m > BLOCK - STRIDE:
                size, limit = finish_met(metric, x, i, y, m, ws, skip, heap, size, limit, radius)
                least = least_shared(metric, x, i, postings.extremes, limit, ws)
                m = np.int64(0)
    return finish_met(metric, x, i, y, m, ws, skip, heap, size, limit, radius)[0]


@kernel
def collect(ids, s, end, ws, least, m):
    """List the rows of ``ids[s:end]`` whose sum exceeds `least`, and clear their sums; returns their number.

    With a branch, for few do: 2.7 ns a posting without it, 1.8 with it.
    """
    for at in range(np.uint64(s), np.uint64(end)):
        row = ids[at]
        shared = ws.sums[row]
        ws.sums[row] = 0.0
        if shared > least:
            ws.rows[m] = row
            ws.shared[m] = shared
            m += np.uint64(1)
    return np.int64(m)


@folded
def optimistic(metric, x, i, y, sums, rest, most, begin, m, ws):
    """Surrogates of rows [begin, begin + m) if the rest of their terms came out at its bound `most`."""
    raised, first = ws.shared, np.uint64(begin)  # unsigned, so that LLVM makes vector instructions of it
    if most > 0.0:
        if metric.bound == BY_NORM:
            for r in range(np.uint64(m)):
                raised[r] = sums[first + r] + most * rest[first + r]
        else:
            for r in range(np.uint64(m)):
                raised[r] = sums[first + r] + min(most, np.float64(rest[first + r]))
    else:
        for r in range(np.uint64(m)):
            raised[r] = sums[first + r]
    finish_rows(metric, metric.finish, x, i, (y.stats, np.int64(begin)), y.stats.shape[1], m, raised, ws.block, ws.out)


@folded
def count_near(out, begin, end, limit):
    """How many of ``out[begin:end]`` are within `limit` (compiled to vector compares)."""
    near = np.int32(0)
    for r in range(np.uint64(begin), np.uint64(end)):
        near += np.int32(out[r] <= limit)
    return near


@folded
def list_near(out, m, limit, begin, listed):
    """List the rows within `limit`, of the `m` from `begin` on; returns how many."""
    near = np.uint64(0)
    for first in range(0, m, STRIDE):
        last = min(first + STRIDE, m)
        if count_near(out, first, last, limit) > 0:
            for r in range(np.uint64(first), np.uint64(last)):
                listed[near] = np.uint64(begin) + r
                near += np.uint64(out[r] <= limit)
    return np.int64(near)


@merged
def list_candidates(metric, x, i, y, sums, rest, most, limit, enough, ws, skip):
    """List in `ws.found` the eligible rows that may still be within `limit`; gives up beyond `enough`."""
    n = sums.shape[0]
    found = np.int64(0)
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        optimistic(metric, x, i, y, sums, rest, most, begin, m, ws)
        near = list_near(ws.out, m, limit, begin, ws.listed)
        for r in range(near):
            row = ws.listed[r]
            ws.found[found] = row
            found += eligible(ws.filter, i, np.int64(row), skip)
        if found > enough:
            break
    return found


@kernel
def verify(metric, x, i, y, partial, sums, stops, shift, m, ws, heap, size, limit, radius):
    """Offer the `m` rows in `ws.rows` at their true distance.

    Their columns are read up to ``stops[row + shift]``; `partial`: what the later ones share stands in `sums`.
    """
    measure(metric, x, i, ws.w, y, stops, shift, ws.rows, m, ws.shared)
    if partial:
        for r in range(m):
            ws.shared[r] += sums[np.uint64(ws.rows[r])]
    if metric.settle == 0:
        for r in range(m):
            ws.out[r] = ws.shared[r]
    else:
        finish_listed(
            metric, metric.finish if partial else metric.settle, x, i, y, ws.rows, m, ws.shared, ws.block, ws.out
        )
    for r in range(m):
        if ws.out[r] <= limit:
            near = refined(metric, x, i, y, ws.rows[r], ws.out[r])
            size, limit = offer(metric, heap, size, limit, radius, near, np.int64(ws.rows[r]))
    return size, limit


@kernel
def seed_limit(metric, x, i, y, partial, sums, stops, shift, ws, skip, seeds, heap):
    """Find a surrogate that the k-th nearest row does not exceed, from rows that look near by their sums so far."""
    n = sums.shape[0]
    found = 0
    bar = np.inf
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        optimistic(metric, x, i, y, sums, ws.w, 0.0, begin, m, ws)
        for r in range(list_near(ws.out, m, bar, begin, ws.listed)):
            row = np.int64(ws.listed[r])
            if ws.out[row - begin] < bar and eligible(ws.filter, i, row, skip):
                found = push(seeds, found, np.float32(ws.out[row - begin]), row, ws.out[row - begin])
                if found == seeds.ids.shape[0]:
                    bar = seeds.surrogates[0]
    size = np.int64(0)
    limit = np.inf
    scale = 0.0
    for begin in range(0, found, BLOCK):
        m = min(BLOCK, found - begin)
        for r in range(m):
            ws.rows[r] = np.uint32(seeds.ids[begin + r])
            scale = max(scale, abs(seeds.surrogates[begin + r]))
        size, limit = verify(metric, x, i, y, partial, sums, stops, shift, m, ws, heap, size, limit, NO_RADIUS)
    # sums in another order differ in their last digits
    return (limit + 1e-12 * scale) if size == heap.ids.shape[0] else np.inf


@merged
def verify_listed(metric, x, i, y, partial, sums, stops, shift, found, ws, heap, limit, radius):
    """Offer the first `found` rows of `ws.found` at their true distance; returns the size of the result."""
    size = np.int64(0)
    for begin in range(0, found, BLOCK):
        m = min(BLOCK, found - begin)
        for r in range(m):
            ws.rows[r] = ws.found[begin + r]
        size, limit = verify(metric, x, i, y, partial, sums, stops, shift, m, ws, heap, size, limit, radius)
    return size


@merged
def scan_whole(metric, x, i, y, sums, ws, skip, heap, limit, radius):
    """Finish every row; `sums` is complete."""
    n = sums.shape[0]
    size = np.int64(0)
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        optimistic(metric, x, i, y, sums, ws.w, 0.0, begin, m, ws)
        for r in range(list_near(ws.out, m, limit, begin, ws.listed)):
            row = np.int64(ws.listed[r])
            if ws.out[row - begin] <= limit and eligible(ws.filter, i, row, skip):
                near = refined(metric, x, i, y, row, ws.out[row - begin])
                size, limit = offer(metric, heap, size, limit, radius, near, row)
    return size


@kernel
def tier_of_query(metric, postings, x, i, tier):
    """Where the row's terms below a tier end, their bound, and the postings they would cost."""
    a, b = x.indptr[i], x.indptr[i + 1]
    work = 0
    t = a
    while t < b and x.indices[t] < postings.cuts[tier]:
        work += list_length(postings, x.indices[t])
        t += 1
    if metric.bound == 0 or t == a:
        return t, 0.0, work
    most = call_float(metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, a), t - a))
    return t, (np.sqrt(most) if metric.bound == BY_NORM else most), work


@merged
def scan_pruned(metric, x, i, y, postings, ws, skip, seeds, heap, limit, radius):
    """Answer a query that meets many rows, leaving out its commonest terms where that is cheaper."""
    a, b = x.indptr[i], x.indptr[i + 1]
    n = ws.sums.shape[0]
    tier = postings.cuts.shape[0] - 1
    most = 0.0
    if tier > 0:
        whole = call_float(metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, a), b - a))
        whole = FIRST_SHARE * (np.sqrt(whole) if metric.bound == BY_NORM else whole)
        while tier > 0:
            end, most, work = tier_of_query(metric, postings, x, i, tier)
            if most <= whole:
                break
            tier -= 1
    end, most, work = tier_of_query(metric, postings, x, i, tier)
    sum_terms(metric, postings, x, end, b, ws.sums)
    found = np.int64(0)
    if work > 0:
        if radius != radius:
            limit = seed_limit(metric, x, i, y, True, ws.sums, postings.ends, tier * n, ws, skip, seeds, heap)
        while work > 0:
            enough = work // VERIFY
            found = list_candidates(metric, x, i, y, ws.sums, postings.rest[tier], most, limit, enough, ws, skip)
            if found <= enough:
                break
            tier -= 1
            further, most, work = tier_of_query(metric, postings, x, i, tier)
            sum_terms(metric, postings, x, further, end, ws.sums)
            end = further
    if work > 0:
        size = verify_listed(metric, x, i, y, True, ws.sums, postings.ends, tier * n, found, ws, heap, limit, radius)
    else:
        size = scan_whole(metric, x, i, y, ws.sums, ws, skip, heap, limit, radius)
    clear(ws.sums)
    return size


@kernel
def search_few(metric, x, i, y, postings, ws, skip, heap, limit, radius):
    """Nearest rows of `y` to a row that meets few of them, into the heap, unsorted; returns how many."""
    size = scan_met(metric, x, i, y, postings, x.indptr[i], ws, skip, heap, limit, radius)
    return offer_unmet(metric, x, i, postings, ws, skip, heap, size, radius)


@kernel
def search_many(metric, x, i, y, postings, ws, skip, seeds, heap, limit, radius):
    """The same for any row."""
    scatter(x, i, ws.w)
    size = scan_pruned(metric, x, i, y, postings, ws, skip, seeds, heap, limit, radius)
    unscatter(x, i, ws.w)
    return size


@kernel
def count_terms(indptr, indices, starts, i):
    """Postings that the terms of row `i` have."""
    work = np.int64(0)
    for t in range(indptr[i], indptr[i + 1]):
        work += starts[indices[t] + 1] - starts[indices[t]]
    return work


@entry
def count_postings(indptr, indices, starts):
    """Postings that each row's terms have."""
    work = np.empty(indptr.shape[0] - 1, np.int64)
    for i in range(work.shape[0]):
        work[i] = count_terms(indptr, indices, starts, i)
    return work


@brief
def meeting_few(indptr, indices, starts, may_be_few, n_rows):
    """Tell which queries meet so few rows that only those need to be looked at."""
    few = np.zeros(indptr.shape[0] - 1, np.bool_)
    if may_be_few:
        for i in range(few.shape[0]):
            few[i] = 0 < count_terms(indptr, indices, starts, i) < FEW * n_rows
    return few


@kernel
def scan_cost(work, few, eligible, k, n_rows, cost, prunes):
    """Nanoseconds of a query, by the postings that its terms have and the rows it may find.

    `cost` is the metric's, of a step and of finishing.
    """
    share = max(eligible, 1) / n_rows
    if few:
        # who meets too few of the eligible rows looks for others among those that share nothing
        unmet = min(k / share, np.float64(n_rows)) if work * share < k else 0.0
        return MEET_POSTING * cost[0] * work + UNMET_ROW * unmet
    # the rarer the eligible rows, the farther the nearest, and the fewer terms can be left out: of 1 % none
    left = LEFT_TO_SUM ** max(1.0 + 0.5 * np.log10(share), 0.0) if prunes else 1.0
    return SUM_POSTING * left * cost[0] * work + FINISH_ROW * cost[1] * n_rows


@brief
def scan_costs(indptr, indices, starts, may_be_few, eligible, k, n_rows, cost, prunes):
    """The same for each query, which may find so many `eligible` rows: where these are not told, all."""
    costs = np.empty(indptr.shape[0] - 1)
    for i in range(costs.shape[0]):
        work = count_terms(indptr, indices, starts, i)
        few = may_be_few and 0 < work < FEW * n_rows
        own = eligible[i] if eligible.shape[0] > 0 else n_rows
        costs[i] = scan_cost(work, few, own, k, n_rows, cost, prunes)
    return costs


@kernel
def prefetch_lists(postings, x, i):
    """Ask for the beginnings of the lists of a row that comes next (5 % of the time of short rows)."""
    if i + 1 < x.indptr.shape[0]:
        for t in range(x.indptr[i], x.indptr[i + 1]):
            s = postings.indptr[x.indices[t]]
            prefetch(postings.ids, s)
            prefetch(postings.values, s)
            prefetch(postings.ids, s + 16)
            prefetch(postings.values, s + 16)


@entry
def open_workspace(n, n_features, filter):
    """Memory of one thread, for `nearest_few` and `nearest_many`: what they leave is as they found it."""
    return make_filtered(n, n_features, filter)


# Two entries, so that the first search compiles what it uses and no more.
@entry
def nearest_few(metric, x, y, postings, ws, start, stop, few, skip_self, indices, distances):
    """The k nearest rows of each of the rows [start, stop) of `x` that are marked in `few`."""
    heap = make_heap(indices.shape[1])
    for i in range(start, stop):
        if few[i]:
            skip = i if skip_self else -1
            prefetch_lists(postings, x, i + 1)
            size = search_few(metric, x, i, y, postings, ws, skip, heap, np.inf, NO_RADIUS)
            store_sorted(heap, size, indices[i], distances[i])


@entry
def nearest_many(metric, x, y, postings, ws, start, stop, few, skip_self, indices, distances):
    """The k nearest rows of each of the rows [start, stop) of `x` that are not marked in `few`."""
    k = indices.shape[1]
    heap, seeds = make_heap(k), make_heap(2 * k)
    for i in range(start, stop):
        if not few[i]:
            skip = i if skip_self else -1
            size = search_many(metric, x, i, y, postings, ws, skip, seeds, heap, np.inf, NO_RADIUS)
            store_sorted(heap, size, indices[i], distances[i])


@entry
def within_termwise(metric, x, y, postings, filter, n_features, start, stop, few, skip_self, limit, radius):
    """All rows within `radius` of each of the rows [start, stop): counts, ids, distances."""
    n = y.indptr.shape[0] - 1
    ws = make_filtered(n, n_features, filter)
    heap, seeds = make_heap(n), make_heap(1)
    found = make_found(stop - start)
    for i in range(start, stop):
        skip = i if skip_self else -1
        if few[i]:
            size = search_few(metric, x, i, y, postings, ws, skip, heap, limit, radius)
        else:
            size = search_many(metric, x, i, y, postings, ws, skip, seeds, heap, limit, radius)
        found = append_found(found, i - start, heap, size)
    return found.counts, found.ids[: found.used[0]], found.distances[: found.used[0]]


Found = namedtuple("Found", "counts used ids distances")


@maker
def make_found(n_rows):
    """Growing lists of results."""
    return Found(
        np.zeros(n_rows, np.int64), np.zeros(1, np.int64), np.empty(1024, np.int64), np.empty(1024, np.float32)
    )


@maker
def append_found(found, which, heap, size):
    """Add a sorted heap to the lists."""
    sort_heap(heap, size)
    used = found.used[0]
    if used + size > found.ids.shape[0]:
        room = 2 * (used + size)
        ids, distances = np.empty(room, np.int64), np.empty(room, np.float32)
        ids[:used] = found.ids[:used]
        distances[:used] = found.distances[:used]
        found = Found(found.counts, found.used, ids, distances)
    found.counts[which] = size
    found.used[0] = used + size
    for r in range(size):
        found.ids[used + r] = heap.ids[r]
        found.distances[used + r] = heap.distances[r] + np.float32(0)  # no negative zero
    return found


@kernel
def store_sorted(heap, size, indices, distances):
    """Write a heap as a result row: nearest first, then -1 and infinity."""
    sort_heap(heap, size)
    for r in range(size):
        indices[r] = heap.ids[r]
        distances[r] = heap.distances[r] + np.float32(0)  # no negative zero
    for r in range(size, indices.shape[0]):
        indices[r] = -1
        distances[r] = np.inf


@entry
def distances_termwise(metric, x, y, postings, start, stop, out):
    """Full rows of distances of the rows [start, stop) of `x` to all of `y`, into `out` of the same rows."""
    n = y.indptr.shape[0] - 1
    ws = make_workspace(n, 0)
    for i in range(start, stop):
        sum_terms(metric, postings, x, x.indptr[i], x.indptr[i + 1], ws.sums)
        for begin in range(0, n, BLOCK):
            m = min(BLOCK, n - begin)
            optimistic(metric, x, i, y, ws.sums, ws.w, 0.0, begin, m, ws)
            if metric.refine != 0:
                for r in range(m):
                    if ws.out[r] <= TOO_NEAR * (x.stats[0, i] + y.stats[0, begin + r]):
                        ws.out[r] = refined(metric, x, i, y, begin + r, ws.out[r])
            if metric.correct != 0:
                for r in range(m):
                    ws.out[r] = corrected(metric, ws.out[r])
            row, first = out[i], np.uint64(begin)
            for r in range(np.uint64(m)):
                row[first + r] = np.float32(ws.out[r]) + np.float32(0)
        clear(ws.sums)
