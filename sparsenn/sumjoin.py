"""All pairs of weighted rows at or above a similarity that depends on a sum over shared columns, where it is bounded.

Rows are read from their rarest column on. Only so many columns of a row stand in the lists that the rest of it alone
could not reach the limit with any other row (prefixes by norm: L2AP, Anastasiu and Karypis 2014; by mass where a step
is a minimum). A row met for the first time is dropped if the norms of what is left of both rows bound its sum below
what is needed; or if sketches do: the norm (or mass) that each row has in 128 buckets of columns, in bytes, rounded up.
What stays is measured whole.

A sum is counted in shares of both rows' norms where steps are bounded by norms, and as it is where they are by masses.
"""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sparsenn._jit import call_float, entry, kernel, maker, prefetch
from sparsenn.countjoin import first_at_least, grown, make_pairs
from sparsenn.distance import BLOCK, BY_NORM, Space, Store, evaluate, finish_rows, scatter, take, unscatter
from sparsenn.grouping import mixed
from sparsenn.postings import rank_columns, renumber
from sparsenn.rows import Rows

BUCKETS = np.uint64(128)  # of columns, in a sketch: two cache lines
LEVELS = 32  # groups of rows by size, each with its own need
HALVINGS = 24  # to find what is needed; it is rounded down
SLACK = 1.0 - 1e-5  # sums of float32 bounds differ in their last digits
CLOSEST = 1 << 15
# Nanoseconds: a posting of a prefix with its share of what follows; a posting, and a row, of the scan of all rows.
MEET, SUM, FINISH = 40.0, 0.5, 1.0

# `own` bounds each value's steps, `rest` those of the commoner columns of its row; `total` those of the whole row.
Bounds = namedtuple("Bounds", "own rest total")
Lists = namedtuple("Lists", "indptr ids own rest")
Side = namedtuple("Side", "rows bounds sketch")
Work = namedtuple("Work", "x shared out block stats")


@kernel
def size_of(address, params, data, t):
    """Bound of the steps of one value."""
    return call_float(address, (params, np.int64(params.shape[0]), (data, t), np.int64(1)))


@entry
def bound_rows(metric, rows):
    """Bounds of values, rests and rows."""
    n, by_norm = rows.indptr.shape[0] - 1, metric.bound == BY_NORM
    own, rest = np.empty(rows.data.shape[0], np.float32), np.empty(rows.data.shape[0], np.float32)
    total = np.zeros(n)
    for i in range(n):
        a, b = rows.indptr[i], rows.indptr[i + 1]
        sum_ = 0.0
        for t in range(a, b):
            rest[t] = np.sqrt(sum_) if by_norm else sum_
            one = size_of(metric.bound_sum, metric.params, rows.data, t)
            own[t] = np.sqrt(one) if by_norm else one
            sum_ += one
        total[i] = np.sqrt(sum_) if by_norm else sum_
        if by_norm and total[i] > 0.0:
            for t in range(a, b):
                own[t], rest[t] = own[t] / total[i], rest[t] / total[i]
    return Bounds(own, rest, total)


@entry
def sketch_rows(metric, rows, bounds):
    """Share of each row that its columns of each bucket hold, in 255ths, rounded up."""
    n, by_norm = rows.indptr.shape[0] - 1, metric.bound == BY_NORM
    out, share = np.zeros(n * np.int64(BUCKETS), np.uint8), np.zeros(np.int64(BUCKETS))
    for i in range(n):
        for b in range(share.shape[0]):
            share[b] = 0.0
        scale = 1.0 if by_norm or bounds.total[i] == 0.0 else 1.0 / bounds.total[i]
        for t in range(rows.indptr[i], rows.indptr[i + 1]):
            b = np.int64(mixed(np.uint64(rows.indices[t])) % BUCKETS)
            one = np.float64(bounds.own[t]) * scale
            share[b] += one * one if by_norm else one
        for b in range(share.shape[0]):
            one = np.sqrt(share[b]) if by_norm else share[b]
            out[i * np.int64(BUCKETS) + b] = np.uint8(min(np.ceil(255.0 * (1.0 - 1e-7) * one), 255.0))
    return out


@maker
def make_work():
    """Memory to finish one pair."""
    none, nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    x = Store(np.zeros(0, np.int64), none, nothing, np.zeros((2, 1)))
    return Work(x, np.zeros(1), np.zeros(1), np.zeros(2 * BLOCK + 2), np.zeros(2))


@kernel
def surrogate_of_sum(metric, work, x, i, first, last, shared):
    """Surrogate of a row and another one, by the statistics of that and what they share."""
    work.shared[0] = shared
    work.stats[0], work.stats[1] = first, last
    y = (work.stats, np.int64(0))
    finish_rows(metric, metric.finish, x, i, y, 1, 1, work.shared, work.block, work.out)
    return work.out[0]


@kernel
def needed_of(metric, work, x, i, mine, y, j, theirs, limit):
    """Sum that row `i` of `x` needs to share with row `j` of `y`, in the units of bounds; inf: too much."""
    by_norm = metric.bound == BY_NORM
    unit = mine * theirs if by_norm else 1.0
    most = 1.0 if by_norm else min(mine, theirs)
    first, last = y.stats[0, j], y.stats[-1, j]
    if surrogate_of_sum(metric, work, x, i, first, last, (most * unit) / SLACK) > limit:
        return np.inf
    low, high = 0.0, most / SLACK
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if surrogate_of_sum(metric, work, x, i, first, last, middle * unit) > limit:
            low = middle
        else:
            high = middle
    return low * SLACK


@kernel
def needs_by_level(metric, work, x, i, mine, y, totals, levels, limit, need):
    """What row `i` needs of the rows of each level: the less of what it needs of the first and the last of them."""
    least = np.inf
    for level in range(levels.shape[0] - 1):
        a, b = levels[level], levels[level + 1] - 1
        need[level] = np.inf
        if a <= b:
            need[level] = needed_of(metric, work, x, i, mine, y, a, totals[a], limit)
            other = needed_of(metric, work, x, i, mine, y, b, totals[b], limit) if b > a else need[level]
            if metric.bound != BY_NORM and need[level] == np.inf and totals[a] < mine:
                # the first is too small; a larger one needs more than all of it, unless they are all too small
                need[level] = np.inf if totals[b] < mine and other == np.inf else totals[a] * SLACK
            need[level] = min(need[level], other)
            least = min(least, need[level])
    return least


@kernel
def prefix_start(metric, work, x, i, bounds, least, low, high, limit):
    """First place of the row that the lists must have: before it, the row alone cannot reach the limit."""
    t = x.indptr[i]
    while t < x.indptr[i + 1]:
        if metric.bound == BY_NORM:
            whole = np.float64(bounds.own[t]) ** 2 + np.float64(bounds.rest[t]) ** 2
            if np.sqrt(whole) >= least:
                break
        else:
            mass = (np.float64(bounds.own[t]) + np.float64(bounds.rest[t])) / SLACK
            best = min(max(mass, low), high)  # the size of another row that would suit it best
            if surrogate_of_sum(metric, work, x, i, best, best, min(mass, best)) <= limit:
                break
        t += 1
    return t


@entry
def prefix_starts(metric, x, bounds, y, totals, levels, limit, own):
    """Where the prefix of each row starts; it may match any row of `y`, or with `own` those after it."""
    n, work = x.indptr.shape[0] - 1, make_work()
    starts, need = x.indptr[1:].copy(), np.empty(levels.shape[0] - 1)
    m = totals.shape[0]
    for i in range(n):
        if bounds.total[i] == 0.0 or m == 0:
            continue
        low = max(totals[0], bounds.total[i]) if own else totals[0]
        least = 0.0
        if metric.bound == BY_NORM:
            least = needs_by_level(metric, work, x, i, bounds.total[i], y, totals, levels, limit, need)
        starts[i] = prefix_start(metric, work, x, i, bounds, least, low, totals[m - 1], limit)
    return starts


@entry
def list_columns(rows, bounds, starts, n_columns):
    """Inverted lists of the prefixes, rows in their order."""
    indptr = np.zeros(n_columns + 1, np.int64)
    n = rows.indptr.shape[0] - 1
    for i in range(n):
        for t in range(starts[i], rows.indptr[i + 1]):
            indptr[rows.indices[t] + 1] += 1
    for c in range(n_columns):
        indptr[c + 1] += indptr[c]
    at, size = indptr[:-1].copy(), indptr[n_columns]
    ids, own, rest = np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32)
    for i in range(n):
        for t in range(starts[i], rows.indptr[i + 1]):
            c = rows.indices[t]
            ids[at[c]], own[at[c]], rest[at[c]] = i, bounds.own[t], bounds.rest[t]
            at[c] += 1
    return Lists(indptr, ids, own, rest)


@kernel
def product_of(one, a, other, b):
    """Sum of products of two sketches."""
    total = np.uint32(0)
    for k in range(BUCKETS):
        total = np.uint32(total + np.uint32(np.uint16(one[a + k]) * np.uint16(other[b + k])))
    return np.float64(total) / 65025.0


@kernel
def smaller_of(one, a, mine, other, b, theirs):
    """Sum of the smaller masses of two sketches."""
    unit = max(mine, theirs) / CLOSEST
    p, q = np.uint32(np.ceil(mine / unit)), np.uint32(np.ceil(theirs / unit))
    total = np.uint32(0)
    for k in range(BUCKETS):
        total = np.uint32(total + min(np.uint32(one[a + k] * p), np.uint32(other[b + k] * q)))
    return np.float64(total) * unit / 255.0


@kernel
def meet(metric, x, i, start, y, lists, levels, need, last, seen, mark, listed):
    """List the rows before `last` that a row meets in its prefix and that position does not rule out."""
    n, by_norm = np.int64(0), metric.bound == BY_NORM
    for t in range(x.rows.indptr[i + 1] - 1, start - 1, -1):
        c = x.rows.indices[t]
        mine, left = x.bounds.own[t], x.bounds.rest[t]
        s, stop, level = lists.indptr[c], lists.indptr[c + 1], 0
        while s < stop and lists.ids[s] < last:
            row = np.int64(lists.ids[s])
            while row >= levels[level + 1]:
                level += 1
            if need[level] == np.inf:
                s = first_at_least(lists.ids, s, stop, levels[level + 1])
                continue
            if seen[row] != mark:
                seen[row] = mark
                if by_norm:
                    most = mine * lists.own[s] + left * lists.rest[s]
                else:
                    most = min(mine, lists.own[s]) + min(left, lists.rest[s])
                if most >= need[level]:
                    listed[n] = row
                    n += 1
            s += 1
    return n


@kernel
def keep_by_sketch(metric, x, i, y, m, levels, need, listed):
    """Leave out of the `m` listed rows those whose sketch rules them out; returns how many stay."""
    kept, by_norm, a = np.int64(0), metric.bound == BY_NORM, np.uint64(i) * BUCKETS
    for r in range(m):
        if r + 6 < m:
            ahead = np.int64(np.uint64(listed[r + 6]) * BUCKETS)
            prefetch(y.sketch, ahead)
            prefetch(y.sketch, ahead + 64)
        row = np.int64(listed[r])
        level = 0
        while row >= levels[level + 1]:
            level += 1
        b = np.uint64(row) * BUCKETS
        if by_norm:
            most = product_of(x.sketch, a, y.sketch, b)
        else:
            most = smaller_of(x.sketch, a, x.bounds.total[i], y.sketch, b, y.bounds.total[row])
        if most >= need[level]:
            listed[kept] = listed[r]
            kept += 1
    return kept


@kernel
def verify_pairs(metric, x, i, w, y, m, listed, skip, limit, ws, found):
    """Measure the `m` listed rows whole and keep those within the limit; there is room for all."""
    for begin in range(0, m, BLOCK):
        size = min(BLOCK, m - begin)
        for r in range(size):
            ws.rows[r] = listed[begin + r]
        evaluate(metric, x, i, w, y, ws.rows, size, ws.shared, ws.block, ws.out)
        for r in range(size):
            if ws.out[r] <= limit and np.int64(ws.rows[r]) != skip:
                at = found.used[0]
                found.x[at], found.y[at], found.surrogate[at] = i, np.int32(ws.rows[r]), ws.out[r]
                found.used[0] = at + 1


Verifying = namedtuple("Verifying", "rows shared block out")


@maker
def make_verifying():
    """Memory to measure a block of rows."""
    return Verifying(
        np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.float64), np.empty(2 * BLOCK + 2), np.empty(BLOCK, np.float64)
    )


@entry
def join_sums(metric, x, y, lists, levels, starts, limit, own, skip, n_columns, start, stop, room):
    """All pairs of the rows [start, stop) of `x` with rows of `y`; as `countjoin.join_sets`."""
    n = y.rows.indptr.shape[0] - 1
    work, ws, need = make_work(), make_verifying(), np.empty(levels.shape[0] - 1)
    seen, listed, w = np.full(n, -1, np.int32), np.empty(n, np.uint32), np.zeros(n_columns, np.float32)
    found = make_pairs(min(room, np.int64(1024)))
    i = start
    while i < stop and found.used[0] <= room:
        mine, last = x.bounds.total[i], i if own else n
        if starts[i] < x.rows.indptr[i + 1]:
            needs_by_level(metric, work, x.rows, i, mine, y.rows, y.bounds.total, levels, limit, need)
            m = meet(metric, x, i, starts[i], y, lists, levels, need, last, seen, np.int32(i - start), listed)
            m = keep_by_sketch(metric, x, i, y, m, levels, need, listed)
            if m > 0:
                found = grown(found, m)
                scatter(x.rows, i, w)
                verify_pairs(metric, x.rows, i, w, y.rows, m, listed, i if skip else -1, limit, ws, found)
                unscatter(x.rows, i, w)
        i += 1
    used = found.used[0]
    return found.x[:used], found.y[:used], found.surrogate[:used], i


@entry
def surrogates_of(metric, x, y, n_columns, indptr, ids, out):
    """Surrogates of listed pairs: row `i` of `x` with the rows ``ids[indptr[i]:indptr[i + 1]]`` of `y`."""
    ws, w = make_verifying(), np.zeros(n_columns, np.float32)
    for i in range(indptr.shape[0] - 1):
        if indptr[i] == indptr[i + 1]:
            continue
        scatter(x, i, w)
        for begin in range(indptr[i], indptr[i + 1], BLOCK):
            size = min(BLOCK, indptr[i + 1] - begin)
            for r in range(size):
                ws.rows[r] = ids[begin + r]
            evaluate(metric, x, i, w, y, ws.rows, size, ws.shared, ws.block, ws.out)
            for r in range(size):
                out[begin + r] = ws.out[r]
        unscatter(x, i, w)


def _levels(totals: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Cut rows in the order of their size into levels of as many rows."""
    n = len(totals)
    return np.unique(np.linspace(0, n, min(LEVELS, max(n, 1)) + 1).astype(np.int64))


class SumJoin:
    """A join of weighted rows, prepared: distinct rows of both sides, ordered by size."""

    def __init__(self, space: Space, limit: float, A: Rows, B: Rows | None, symmetric: bool) -> None:
        joined = A if B is None else replace(A, indices=np.concatenate([A.indices, B.indices]))
        rank = rank_columns(joined)
        x, self.x_order = self._side(space, renumber(A, rank))
        y, self.y_order = (x, self.x_order) if B is None else self._side(space, renumber(B, rank))
        self._x, self._y = x, y
        self._metric, self.limit, self._n_columns = space.compiled, limit, A.shape[1]
        self._own, self._skip = B is None and symmetric, B is None
        self._levels = _levels(y.bounds.total)
        metric, own = self._metric, self._own
        others = (x.rows, x.bounds.total, _levels(x.bounds.total))
        listed = prefix_starts(metric, y.rows, y.bounds, *others, limit, own)
        self._lists = list_columns(y.rows, y.bounds, listed, self._n_columns)
        # a row looks at those before it, but which of them it may match is bounded as for all
        self._starts = prefix_starts(metric, x.rows, x.bounds, y.rows, y.bounds.total, self._levels, limit, False)

    @staticmethod
    def _side(space: Space, rows: Rows) -> tuple[Side, npt.NDArray[np.int64]]:
        store = space.store(rows)
        totals = bound_rows(space.compiled, store).total
        order = np.argsort(totals, kind="stable")
        store = take(store, order)
        bounds = bound_rows(space.compiled, store)
        return Side(store, bounds, sketch_rows(space.compiled, store, bounds)), order

    @property
    def cost(self) -> tuple[float, float]:
        """Predicted nanoseconds of this way, and of the scan of all rows."""
        lengths = np.diff(self._lists.indptr).astype(np.float64)
        first = np.repeat(self._starts, np.diff(self._x.rows.indptr))
        asked = np.bincount(self._x.rows.indices[np.arange(len(first)) >= first], minlength=len(lengths))
        whole, theirs = (np.bincount(s.rows.indices, minlength=len(lengths)) for s in (self._x, self._y))
        n, m = len(self.x_order), len(self.y_order)
        meet = MEET * float(asked @ lengths) * (0.5 if self._own else 1.0)
        return meet, SUM * float(whole.astype(np.float64) @ theirs) + FINISH * n * m

    @property
    def n_rows(self) -> int:
        """Rows of the first side."""
        return len(self.x_order)

    def block(self, start: int, stop: int, room: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Pairs of some rows (rows of the first side, of the second, surrogates), and where to go on."""
        x, y, surrogates, at = join_sums(
            self._metric, self._x, self._y, self._lists, self._levels, self._starts, self.limit, self._own, self._skip,
            self._n_columns, start, stop, room,
        )  # fmt: skip
        return self.x_order[x], self.y_order[y], surrogates, at
