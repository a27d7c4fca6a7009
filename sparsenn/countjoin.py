"""All pairs of sets at or above a similarity that depends on three counts: of either set, and of what both have.

Columns are renumbered, the rarest first, and rows ordered by size. Two rows that are similar enough share a column
among the first few of both (prefix filter, Chaudhuri et al. 2006; Bayardo et al. 2007): only those stand in the lists.
A row met there for the first time is dropped if what remains of either row cannot give what is needed (position filter,
Xiao et al. 2008, PPJoin), or if 64-bit sketches say so (Sandes et al. 2020, bitmap filter); then both are merged, until
enough is found or cannot be found any more. Columns that only one row has are not kept at all: they are counted. Nor
are rows that share fewer columns with all others together than they need to share with one: of long texts, most.

What is needed, and which sizes may match, is found from the metric's own formula, not from a rule for each metric.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry, kernel, maker, popcount
from sparsenn.distance import BLOCK, Compiled, Store, finish_rows
from sparsenn.grouping import mixed
from sparsenn.parallel import count_jobs, map_blocks
from sparsenn.rows import Rows

T = TypeVar("T")

NEVER = 2**31 - 1  # columns that two rows of such sizes would need to share
COUNTED_AT_ONCE = 2**20
SORTED_AT_ONCE = 2**19  # keys: they fit the second cache

# `size` has the counts of whole rows; `kind` the place of a row's size among the different ones (`kinds`, ascending).
Sets = namedtuple("Sets", "indptr indices size kind kinds starts sketch")
Lists = namedtuple("Lists", "indptr ids places")
# By kind: what a row needs at least, and the first and last kind of the others that can match.
Needs = namedtuple("Needs", "least first last")


@kernel
def place_of(column):
    """Word and bit of a column."""
    c = np.uint32(column)
    return c >> np.uint32(6), np.uint64(1) << np.uint64(c & np.uint32(63))


@kernel
def number_of(words, before, column):
    """Number of a column among the marked ones, or −1."""
    word, bit = place_of(column)
    if words[word] & bit == 0:
        return np.int64(-1)
    return before[word] + np.int64(popcount(words[word] & (bit - np.uint64(1))))


@entry
def _mark_columns(rows, start, stop, n_columns):
    """Two bits a column, in words beside each other: whether one of the rows has it, and whether two have."""
    marks = np.zeros(((n_columns >> 6) + 1, 2), np.uint64)
    for i in rows.ids[start:stop]:
        for t in range(rows.indptr[i], rows.indptr[i + 1]):
            word, bit = place_of(rows.indices[t])
            marks[word, 1] |= marks[word, 0] & bit
            marks[word, 0] |= bit
    return marks


@entry
def _count_marked(rows, start, stop, words, kept):
    """How many of the marked columns each of the rows has."""
    for r in range(start, stop):
        n = np.int64(0)
        for t in range(rows.indptr[rows.ids[r]], rows.indptr[rows.ids[r] + 1]):
            word, bit = place_of(rows.indices[t])
            n += np.int64(words[word] & bit != 0)
        kept[r] = n


@entry
def _numbers(words):
    """How many columns are marked before each word, and in all."""
    before = np.zeros(words.shape[0] + 1, np.int64)
    for w in range(words.shape[0]):
        before[w + 1] = before[w] + np.int64(popcount(words[w]))
    return before


@entry
def _count_rows(rows, start, stop, words, before):
    """How many of the rows have each of the marked columns."""
    counts = np.zeros(before[-1], np.int32)
    for i in rows.ids[start:stop]:
        for t in range(rows.indptr[i], rows.indptr[i + 1]):
            column = number_of(words, before, rows.indices[t])
            if column >= 0:
                counts[column] += 1
    return counts


@entry
def _write_keys(rows, start, stop, words, before, rank, keys):
    """Write (row, new column) of the marked columns of some rows as keys."""
    used = 0
    for r in range(start, stop):
        for t in range(rows.indptr[rows.ids[r]], rows.indptr[rows.ids[r] + 1]):
            column = number_of(words, before, rows.indices[t])
            if column >= 0:
                keys[used] = (np.uint64(r - start) << np.uint64(32)) | np.uint64(rank[column])
                used += 1


@entry
def _sketch_rows(indptr, indices, start, stop, out):
    """One bit of 64 for each column, flipped."""
    for i in range(start, stop):
        sketch = np.uint64(0)
        for t in range(indptr[i], indptr[i + 1]):
            sketch ^= np.uint64(1) << (mixed(np.uint64(indices[t])) >> np.uint64(58))
        out[i] = sketch


Chosen = namedtuple("Chosen", "indptr indices ids")  # rows `ids` of CSR arrays


class Side:
    """Rows of one side that may match: in the order in which they lie in memory, until they are made sets."""

    def __init__(self, rows: Rows, ids: npt.NDArray[np.int64], n_jobs: int | None) -> None:
        self.sizes = self.kept = np.diff(rows.indptr)[ids]
        self.order = np.arange(len(ids), dtype=np.int64)  # where each stands in `ids`
        kinds, kind = np.unique(self.sizes, return_inverse=True)
        self.kinds, self.kind = kinds.astype(np.float64), kind.astype(np.int64)
        self.rows, self.n_columns, self.n_jobs = Chosen(rows.indptr, rows.indices, ids), rows.shape[1], n_jobs

    def over(self, function: Callable[[int, int], T], n_parts: int = 0) -> list[T]:
        """Call a function over blocks of rows with about as many columns each: one a thread, if not given."""
        n_parts = n_parts or self._jobs()
        work = np.cumsum(self.sizes)
        cuts = np.searchsorted(work, np.linspace(0, work[-1] if len(work) else 0, n_parts + 1)[1:-1])
        edges = np.unique(np.concatenate([[0], cuts, [len(work)]])).tolist()
        done = map_blocks(lambda a, b: [function(edges[p], edges[p + 1]) for p in range(a, b)], len(edges) - 1,
                          self.n_jobs, 1)  # fmt: skip
        return [result for results in done for result in results]

    def _jobs(self) -> int:
        return count_jobs(self.n_jobs) if self.kept.sum() > COUNTED_AT_ONCE else 1

    def marks(self) -> npt.NDArray[np.uint64]:
        """Which columns one row has, and which two have."""
        # each part has bits for all columns: no more of them than the rows' own values take
        most = int(4 * self.kept.sum() // max(self.n_columns, 1)) + 1
        parts = self.over(lambda a, b: _mark_columns(self.rows, a, b, self.n_columns), min(self._jobs(), most))
        marks = parts[0] if parts else np.zeros(((self.n_columns >> 6) + 1, 2), np.uint64)
        for part in parts[1:]:
            marks[:, 1] |= part[:, 1] | (marks[:, 0] & part[:, 0])
            marks[:, 0] |= part[:, 0]
        return marks

    def leave_out(self, words: npt.NDArray[np.uint64], least: npt.NDArray[np.int64]) -> None:
        """Keep the rows that have as many marked columns as their kind needs."""
        kept = np.empty(len(self.sizes), np.int64)
        self.over(lambda a, b: _count_marked(self.rows, a, b, words, kept))
        self.kept = kept
        self._take(np.flatnonzero(kept >= least[self.kind]))

    def _take(self, which: npt.NDArray[np.int64]) -> None:
        self.order, self.sizes, self.kind, self.kept = (
            values[which] for values in (self.order, self.sizes, self.kind, self.kept)
        )
        self.rows = self.rows._replace(ids=self.rows.ids[which])

    def sets(self, words: npt.NDArray[np.uint64], before: npt.NDArray[np.int64], rank: npt.NDArray[np.int32]) -> Sets:
        """The rows by size, with the marked columns renumbered and sorted."""
        self._take(np.argsort(self.kind, kind="stable"))
        indptr = np.concatenate([[0], np.cumsum(self.kept)]).astype(np.int64)
        indices, sketch = np.empty(indptr[-1], np.int32), np.empty(len(self.kept), np.uint64)

        def block(a: int, b: int) -> None:
            keys = np.empty(indptr[b] - indptr[a], np.uint64)
            _write_keys(self.rows, a, b, words, before, rank, keys)
            keys.sort()
            indices[indptr[a] : indptr[b]] = keys.astype(np.uint32).view(np.int32)
            _sketch_rows(indptr, indices, a, b, sketch)

        self.over(block, int(indptr[-1] // SORTED_AT_ONCE + 1))
        starts = np.concatenate([np.searchsorted(self.sizes, self.kinds), [len(self.sizes)]]).astype(np.int64)
        return Sets(indptr, indices, self.sizes, self.kind, self.kinds, starts, sketch)


def shared_columns(
    x: Side, y: Side, least: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint64]:
    """A bit for each column that two rows (one of each side) have; rows with too few of them are left out.

    Without those rows fewer columns are shared: again, as long as it halves what there is.
    """
    while True:
        marks, before = x.marks(), x.kept.sum() + y.kept.sum()
        words = np.ascontiguousarray(marks[:, 1] if y is x else marks[:, 0] & y.marks()[:, 0])
        x.leave_out(words, least)
        if y is not x:
            y.leave_out(words, others)
        if 2 * (x.kept.sum() + y.kept.sum()) > before or not len(x.kept):
            return words


def rank_shared(x: Side, y: Side, words: Any, before: Any) -> npt.NDArray[np.int32]:
    """New number of each of the marked columns, the rarest first."""
    parts = x.over(lambda a, b: _count_rows(x.rows, a, b, words, before))
    if y is not x:
        parts += y.over(lambda a, b: _count_rows(y.rows, a, b, words, before))
    counts = sum(parts, np.zeros(before[-1], np.int32))
    if counts.max(initial=0) < 2**16:
        counts = counts.astype(np.uint16)  # sorted by its digits
    rank = np.empty(len(counts), np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    return rank


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
        self,
        metric: Compiled,
        limit: float,
        A: tuple[Rows, npt.NDArray[np.int64]],
        B: tuple[Rows, npt.NDArray[np.int64]] | None,
        symmetric: bool,
        n_jobs: int | None,
    ) -> None:
        x = Side(*A, n_jobs)
        y = x if B is None else Side(*B, n_jobs)
        self._own, self._skip = B is None and symmetric, B is None
        self._metric, self.limit = metric, limit
        self._needs, least, unmet = plan_sizes(metric, x.kinds, y.kinds, limit, self._own)
        self.ready = not unmet
        if unmet:
            return
        words = shared_columns(x, y, self._needs.least if y is not x else np.minimum(self._needs.least, least), least)
        before = _numbers(words)
        rank = rank_shared(x, y, words, before)
        self._x, self._x_order = x.sets(words, before, rank), x.order
        self._y, self._y_order = (self._x, x.order) if y is x else (y.sets(words, before, rank), y.order)
        self._lists = list_prefixes(self._y, least, before[-1])

    @property
    def n_rows(self) -> int:
        """Rows of the first side that may match."""
        return len(self._x_order)

    def block(self, start: int, stop: int, room: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Pairs of some rows (rows of the first side, of the second, surrogates), and where to go on."""
        x, y, surrogates, at = join_sets(
            self._metric, self._x, self._y, self._lists, self._needs, self.limit, self._own, self._skip,
            start, stop, room,
        )  # fmt: skip
        return self._x_order[x], self._y_order[y], surrogates, at
