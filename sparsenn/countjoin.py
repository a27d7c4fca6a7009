"""All pairs of sets at or above a similarity that depends on three counts: of either set, and of what both have.

Columns are renumbered, the rarest first, and rows ordered by size. Two rows that are similar enough share a column
among the first few of both (prefix filter, Chaudhuri et al. 2006; Bayardo et al. 2007): only those stand in the lists.
A row met there for the first time is dropped if what remains of either row cannot give what is needed (position filter,
Xiao et al. 2008, PPJoin), or if 64-bit sketches say so (Sandes et al. 2020, bitmap filter); then both are merged, until
enough is found or cannot be found any more. Columns that only one row has are not kept at all: they are counted.

What is needed, and which sizes may match, is found from the metric's own formula, not from a rule for each metric.
"""

from collections import namedtuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel, maker, popcount
from sparsenn.distance import BLOCK, Compiled, Store, finish_rows
from sparsenn.grouping import mixed
from sparsenn.parallel import count_jobs, map_blocks
from sparsenn.rows import Rows

NEVER = 2**31 - 1  # columns that two rows of such sizes would need to share
COUNTED_AT_ONCE = 2**20
SORTED_AT_ONCE = 2**19  # keys: they fit the second cache

# `size` has the counts of whole rows; `kind` the place of a row's size among the different ones (`kinds`, ascending).
Sets = namedtuple("Sets", "indptr indices size kind kinds starts sketch")
Lists = namedtuple("Lists", "indptr ids places")
# By kind: what a row needs at least, and the first and last kind of the others that can match.
Needs = namedtuple("Needs", "least first last")


@entry
def _count(indices, n_columns):
    counts = np.zeros(n_columns, np.int32)
    for t in range(indices.shape[0]):
        counts[indices[t]] += 1
    return counts


@entry
def _write_keys(indptr, indices, rank, order, start, stop, keys, counts):
    """Write (row, new column) of the kept columns of the rows `order[start:stop]` as keys; returns how many."""
    used = 0
    for r in range(start, stop):
        i = order[r]
        before = used
        for t in range(indptr[i], indptr[i + 1]):
            new = rank[indices[t]]
            if new >= 0:
                keys[used] = (np.uint64(r - start) << np.uint64(32)) | np.uint64(new)
                used += 1
        counts[r] = used - before
    return used


def _count_columns(rows: Rows, n_jobs: int | None) -> npt.NDArray[np.int32]:
    """How many rows have each column; every thread counts for itself."""
    jobs = count_jobs(n_jobs) if len(rows.indices) > rows.shape[1] else 1
    at_once = max(-(-len(rows.indices) // jobs), COUNTED_AT_ONCE)
    parts = map_blocks(lambda a, b: _count(rows.indices[a:b], rows.shape[1]), len(rows.indices), jobs, at_once)
    counts: npt.NDArray[np.int32] = parts[0] if parts else np.zeros(rows.shape[1], np.int32)
    for part in parts[1:]:
        counts += part
    return counts


def rank_shared(rows: Rows, other: Rows | None, n_jobs: int | None) -> tuple[npt.NDArray[np.int32], int]:
    """New number of each column that two rows (one of each side) have, the rarest first; −1 for the rest."""
    counts = _count_columns(rows, n_jobs)
    if other is None:
        shared = counts > 1
    else:
        more = _count_columns(other, n_jobs)
        shared = (counts > 0) & (more > 0)
        counts = counts + more
    kept = np.flatnonzero(shared)
    rank = np.full(rows.shape[1], -1, np.int32)
    numbers = counts[kept]
    if numbers.max(initial=0) < 2**16:
        numbers = numbers.astype(np.uint16)  # sorted by its digits
    rank[kept[np.argsort(numbers, kind="stable")]] = np.arange(len(kept), dtype=np.int32)
    return rank, len(kept)


@entry
def _sketch_rows(indptr, indices):
    """One bit of 64 for each column, flipped."""
    out = np.zeros(indptr.shape[0] - 1, np.uint64)
    for i in range(out.shape[0]):
        for t in range(indptr[i], indptr[i + 1]):
            out[i] ^= np.uint64(1) << (mixed(np.uint64(indices[t])) >> np.uint64(58))
    return out


def order_sets(rows: Rows, rank: npt.NDArray[np.int32], n_jobs: int | None) -> tuple[Sets, npt.NDArray[np.int64]]:
    """Rows with the kept columns renumbered and sorted, ordered by size; and where each came from."""
    sizes = np.diff(rows.indptr)
    order = np.argsort(sizes, kind="stable")
    counts = np.empty(len(order), np.int64)
    work = np.concatenate([[0], np.cumsum(sizes[order])])
    n_parts = int(work[-1] // SORTED_AT_ONCE + 1)
    edges = np.unique(np.searchsorted(work, np.linspace(0, work[-1], n_parts + 1)[1:-1]))
    edges = np.concatenate([[0], edges, [len(order)]])

    def block(a: int, b: int) -> list[npt.NDArray[np.int32]]:
        parts = []
        for start, stop in zip(edges[a:b], edges[a + 1 : b + 1], strict=True):
            keys = np.empty(work[stop] - work[start], np.uint64)
            keys = keys[: _write_keys(rows.indptr, rows.indices, rank, order, start, stop, keys, counts)]
            keys.sort()
            parts.append(keys.astype(np.uint32).view(np.int32))
        return parts

    parts = [part for parts in map_blocks(block, len(edges) - 1, n_jobs, 1) for part in parts]
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = np.empty(indptr[-1], np.int32)
    places = np.concatenate([[0], np.cumsum([len(part) for part in parts])])

    def put(a: int, b: int) -> None:
        for p in range(a, b):
            indices[places[p] : places[p + 1]] = parts[p]

    map_blocks(put, len(parts), n_jobs, 1)
    kinds, kind = np.unique(sizes[order], return_inverse=True)
    starts = np.concatenate([np.searchsorted(sizes[order], kinds), [len(order)]]).astype(np.int64)
    sketch = _sketch_rows(indptr, indices)
    sets = Sets(indptr, indices, sizes[order], kind.astype(np.int64), kinds.astype(np.float64), starts, sketch)
    return sets, order.astype(np.int64)


Scratch = namedtuple("Scratch", "x y shared out block")


@maker
def make_scratch(kinds):
    """Memory to finish one pair of sizes."""
    empty = np.zeros(0, np.int64)
    none, nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    x = Store(empty, none, nothing, np.zeros((1, 1)))
    return Scratch(x, kinds.copy(), np.zeros(1), np.zeros(1), np.zeros(2 * BLOCK + 2))


@kernel
def surrogate_of_counts(metric, scratch, size, kind, shared):
    """Surrogate of two rows by their sizes (of the other: its kind) and what they share."""
    scratch.x.stats[0, 0] = size
    scratch.shared[0] = shared
    y = (scratch.y, np.int64(kind))
    finish_rows(metric, metric.finish, scratch.x, 0, y, 0, 1, scratch.shared, scratch.block, scratch.out)
    return scratch.out[0]


@kernel
def first_at_least(ids, a, b, row):
    """First place of ascending ``ids[a:b]`` that is not below `row`."""
    while a < b:
        middle = (a + b) >> 1
        if ids[middle] < row:
            a = middle + 1
        else:
            b = middle
    return a


@kernel
def kinds_within(metric, scratch, size, limit):
    """Kinds [first, last) that may match a row of `size`.

    The more the other's size differs, the less similar are rows that share all they can: so both ends are halved for.
    """
    m = np.int64(scratch.y.shape[0])
    first, b = np.int64(0), first_at_least(scratch.y, np.int64(0), m, size)
    last, d = b, m
    while first < b:
        middle = (first + b) >> 1
        if surrogate_of_counts(metric, scratch, size, middle, scratch.y[middle]) <= limit:
            b = middle
        else:
            first = middle + 1
    while last < d:
        middle = (last + d) >> 1
        if surrogate_of_counts(metric, scratch, size, middle, size) <= limit:
            last = middle + 1
        else:
            d = middle
    return first, last


@kernel
def needed_by(metric, scratch, size, limit, first, last, need):
    """Columns that a row of `size` must share with one of each of the kinds [first, last), or NEVER."""
    shared = np.int64(0)
    for kind in range(first, last):
        most = np.int64(min(size, scratch.y[kind]))
        while shared <= most and surrogate_of_counts(metric, scratch, size, kind, np.float64(shared)) > limit:
            shared += 1
        while shared > 0 and surrogate_of_counts(metric, scratch, size, kind, np.float64(shared - 1)) <= limit:
            shared -= 1
        need[kind] = shared if shared <= most else NEVER


@entry
def plan_sizes(metric, kinds, others, limit, only_smaller):
    """What rows of each size need, on both sides; and whether two rows may match that share nothing."""
    scratch = make_scratch(others)
    n, m = kinds.shape[0], others.shape[0]
    need = np.empty(m, np.int64)
    x = Needs(np.full(n, NEVER, np.int64), np.full(n, m, np.int64), np.full(n, -1, np.int64))
    least = np.full(m, NEVER, np.int64)
    unmet = False
    for a in range(n):
        first, last = kinds_within(metric, scratch, kinds[a], limit)
        if only_smaller:
            last = min(last, first_at_least(others, first, last, kinds[a] + 1.0))
        needed_by(metric, scratch, kinds[a], limit, first, last, need)
        for b in range(first, last):
            if need[b] == NEVER:
                continue
            if need[b] == 0:
                unmet = unmet or kinds[a] > 0.0 or others[b] > 0.0
                continue
            x.least[a] = min(x.least[a], need[b])
            x.first[a] = min(x.first[a], b)
            x.last[a] = b
            least[b] = min(least[b], need[b])
        if unmet:
            break
    return x, least, unmet


@kernel
def prefix_end(sets, i, least):
    """Where the prefix of a row ends, in the kept columns: those that were dropped come first."""
    whole = sets.indptr[i + 1] - sets.indptr[i]
    dropped = sets.size[i] - whole
    return sets.indptr[i] + min(max(sets.size[i] - least + 1 - dropped, 0), whole)


@entry
def list_prefixes(sets, least, n_columns):
    """Inverted lists of the prefixes: rows by size, and the place of the column in the row."""
    starts = np.zeros(n_columns + 1, np.int64)
    n = sets.indptr.shape[0] - 1
    for i in range(n):
        for t in range(sets.indptr[i], prefix_end(sets, i, least[sets.kind[i]])):
            starts[sets.indices[t] + 1] += 1
    for c in range(n_columns):
        starts[c + 1] += starts[c]
    at = starts[:-1].copy()
    ids, places = np.empty(starts[n_columns], np.int32), np.empty(starts[n_columns], np.int32)
    for i in range(n):
        for t in range(sets.indptr[i], prefix_end(sets, i, least[sets.kind[i]])):
            c = sets.indices[t]
            ids[at[c]], places[at[c]] = i, t - sets.indptr[i]
            at[c] += 1
    return Lists(starts, ids, places)


@kernel
def shared_from(x, p, b, y, q, d, shared, need):
    """Count what two rows share from the places `p` and `q` on, or stop when it cannot reach `need`."""
    while p < b and q < d:
        u, v = x.indices[p], y.indices[q]
        if u == v:
            shared += 1
            p += 1
            q += 1
        elif u < v:
            p += 1
            if shared + b - p < need:
                break
        else:
            q += 1
            if shared + d - q < need:
                break
    return shared


Found = namedtuple("Found", "x y surrogate used")


@maker
def make_pairs(room):
    """Room for pairs, and how many there are; both grow."""
    return Found(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float64), np.zeros(1, np.int64))


@maker
def grown(found, more):
    """The same with room for `more` further pairs."""
    used = found.used[0]
    if used + more <= found.x.shape[0]:
        return found
    wider = make_pairs(2 * (used + more))
    wider.x[:used], wider.y[:used], wider.surrogate[:used] = found.x[:used], found.y[:used], found.surrogate[:used]
    wider.used[0] = used
    return wider


@kernel
def candidates_of(x, i, end, y, lists, first, last, need, seen, mark, listed):
    """Verify the rows [first, last) that a row meets in its prefix: lists those that share enough, and how much."""
    n = np.int64(0)
    a, b = x.indptr[i], x.indptr[i + 1]
    for t in range(a, end):
        c = x.indices[t]
        stop = lists.indptr[c + 1]
        for s in range(first_at_least(lists.ids, lists.indptr[c], stop, first), stop):
            row = np.int64(lists.ids[s])
            if row >= last:
                break
            if seen[row] == mark:
                continue
            seen[row] = mark
            least = need[y.kind[row]]
            q, d = y.indptr[row] + lists.places[s], y.indptr[row + 1]
            if min(b - t, d - q) < least:
                continue
            apart = np.int64(popcount(x.sketch[i] ^ y.sketch[row]))
            if (b - a) + (d - y.indptr[row]) - apart < 2 * least:
                continue
            shared = shared_from(x, t + 1, b, y, q + 1, d, np.int64(1), least)
            if shared >= least:
                listed[0, n], listed[1, n] = row, shared
                n += 1
    return n


@entry
def join_sets(metric, x, y, lists, needs, limit, own, skip, start, stop, room):
    """All pairs of the rows [start, stop) of `x` with rows of `y`; stops early when it holds more than `room`.

    `own`: rows before it only; `skip`: not the row itself. Returns the pairs and the row to go on from.
    """
    scratch = make_scratch(y.kinds)
    n = y.indptr.shape[0] - 1
    need = np.empty(y.kinds.shape[0], np.int64)
    seen, listed = np.full(n, -1, np.int32), np.empty((2, n), np.int32)
    found = make_pairs(min(room, np.int64(1024)))
    kind = np.int64(-1)
    i = start
    while i < stop and found.used[0] <= room:
        if needs.last[x.kind[i]] >= 0:
            if x.kind[i] != kind:
                kind = x.kind[i]
                needed_by(metric, scratch, x.kinds[kind], limit, needs.first[kind], needs.last[kind] + 1, need)
            first, last = y.starts[needs.first[kind]], y.starts[needs.last[kind] + 1]
            end = prefix_end(x, i, needs.least[kind])
            last = min(last, i) if own else last
            m = candidates_of(x, i, end, y, lists, first, last, need, seen, np.int32(i - start), listed)
            found = grown(found, m)
            for r in range(m):
                row = np.int64(listed[0, r])
                if skip and row == i:
                    continue
                at = found.used[0]
                found.x[at], found.y[at] = i, row
                found.surrogate[at] = surrogate_of_counts(
                    metric, scratch, x.kinds[kind], y.kind[row], np.float64(listed[1, r])
                )
                found.used[0] = at + 1
        i += 1
    used = found.used[0]
    return found.x[:used], found.y[:used], found.surrogate[:used], i


class CountJoin:
    """A join of sets, prepared: distinct rows of both sides, ordered; ``ready`` is False where it does not fit.

    ``limit``, the largest surrogate of a pair, may be lowered while it runs.
    """

    def __init__(
        self, metric: Compiled, limit: float, A: Rows, B: Rows | None, symmetric: bool, n_jobs: int | None
    ) -> None:
        rank, n_columns = rank_shared(A, B, n_jobs)
        self._x, self.x_order = order_sets(A, rank, n_jobs)
        self._y, self.y_order = (self._x, self.x_order) if B is None else order_sets(B, rank, n_jobs)
        self._own, self._skip = B is None and symmetric, B is None
        self._metric, self.limit = metric, limit
        self._needs, least, unmet = plan_sizes(metric, self._x.kinds, self._y.kinds, limit, self._own)
        self.ready = not unmet
        if self.ready:
            self._lists = list_prefixes(self._y, least, n_columns)

    def block(self, start: int, stop: int, room: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Pairs of some rows (rows of the first side, of the second, surrogates), and where to go on."""
        x, y, surrogates, at = join_sets(
            self._metric, self._x, self._y, self._lists, self._needs, self.limit, self._own, self._skip,
            start, stop, room,
        )  # fmt: skip
        return self.x_order[x], self.y_order[y], surrogates, at
