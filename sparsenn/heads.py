"""Candidates from the heads of inverted lists: approximate search without a graph.

Each list keeps its rows of highest impact, and a query its rarest terms up to a share of its bound
(as Seismic's pruned lists, Bruch, Nardini, Rulli and Venturini 2024, section 4, without its blocks).
What is left is searched as in exact search; the best by these partial sums are measured exactly.
With whole lists and a share of 1 it is the exact answer.
"""

from collections import namedtuple
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sparsenn._jit import call_float, entry, kernel, prefetch
from sparsenn.descent import Graph, measure_into
from sparsenn.distance import BLOCK, Compiled, Store, scatter, unscatter
from sparsenn.heap import Heap, kth_smallest, make_heap, push
from sparsenn.parallel import map_blocks
from sparsenn.postings import Postings, even_parts, parts_for, room_for, weigh_list, weigh_lists
from sparsenn.termwise import NO_RADIUS, least_shared, loosened, make_workspace, scan_within

WINDOW = 2**18  # rows whose sums are held at once: 2^17 and 2^19 take 1.02 and 1.22 times as long of a million rows
TOGETHER = 1024  # queries answered in a window before the next
SMALL_PART = 2**14  # rows at least that a thread takes at once where it only looks for the heaviest term


@entry
def _cut_lists(address, params, starts, ids, values, stats, first, stop, head, new_starts, new_ids, new_values):
    """Copy of each of the lists [first, stop) the `head` rows of highest impact, in the order of the list."""
    longest = 0
    for c in range(first, stop):
        longest = max(longest, starts[c + 1] - starts[c])
    weakness, order = np.empty(longest), np.empty(longest)
    for c in range(first, stop):
        a, n = starts[c], starts[c + 1] - starts[c]
        to = new_starts[c]
        bar = np.inf
        if n > head:
            weigh_list(address, params, ids, values, stats, a, n, weakness, order)
            bar = kth_smallest(order, n, head - 1)
        nearer = 0
        if n > head:
            for s in range(n):
                nearer += weakness[s] < bar
        ties = head - nearer
        for s in range(n):
            if n > head:
                if weakness[s] > bar:
                    continue
                if weakness[s] == bar:
                    if ties == 0:
                        continue
                    ties -= 1
            new_ids[to] = ids[a + s]
            new_values[to] = values[a + s]
            to += 1


def cut_heads(postings: Postings, forward: Store, metric: Compiled, head: int, n_jobs: int | None = 1) -> Postings:
    """Lists of at most `head` rows each."""
    starts, ids, values = room_for(postings, head)
    weigh_lists(_cut_lists, postings, forward, metric, n_jobs, head, starts, ids, values)
    return postings._replace(indptr=starts, ids=ids, values=values)


@kernel
def first_term(metric, x, i, share):
    """Where the commonest term begins that is needed for a share of the row's bound; at least one is."""
    a, t = x.indptr[i], x.indptr[i + 1]
    if share >= 1.0 or t - a <= 1:
        return a
    whole = call_float(metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, a), t - a))
    kept = 0.0
    while t > a and kept < share * whole:
        t -= 1
        kept += call_float(
            metric.bound_sum, (metric.params, np.int64(metric.params.shape[0]), (x.data, t), np.int64(1))
        )
    return min(t, x.indptr[i + 1] - 1)


@entry
def _heaviest(indptr, indices, data, starts, head, first, stop, terms, weights):
    """Term of the largest value of the rows [first, stop), of those with longer lists than `head` if there are any."""
    for i in range(first, stop):
        long = False
        for t in range(indptr[i], indptr[i + 1]):
            c = indices[t]
            longer = starts[c + 1] - starts[c] > head
            if (longer and not long) or (longer == long and data[t] >= weights[i]):
                terms[i], weights[i], long = c, data[t], longer


def order_by_heaviest(y: Store, postings: Postings, head: int, n_jobs: int | None = 1) -> npt.NDArray[np.int64]:
    """Order of rows in which those with the same heaviest term stand together, the heaviest first.

    So the rows of a list that is cut to its heaviest are neighbours in memory, and so are rows with the same lists.
    """
    n = len(y.indptr) - 1
    terms, weights = np.full(n, -1, np.int64), np.zeros(n, np.float32)

    def find(a: int, b: int) -> None:
        _heaviest(y.indptr, y.indices, y.data, postings.indptr, head, a, b, terms, weights)

    map_blocks(find, n, n_jobs, SMALL_PART)
    return np.argsort((terms << 32) - weights.view(np.int32), kind="stable")


Windows = namedtuple("Windows", "lists begins stats")


@entry
def _count_portions(starts, ids, place, window, first, stop, counts):
    """Rows of each window in each of the lists [first, stop)."""
    for c in range(first, stop):
        for s in range(starts[c], starts[c + 1]):
            counts[place[ids[s]] // window, c] += 1


@entry
def _split_lists(starts, ids, values, place, window, first, stop, begins, new_ids, new_values):
    """Write the lists [first, stop) by window, rows in their new places, counted from the window's first on."""
    n_windows = begins.shape[0]
    at = np.empty(n_windows, np.int64)
    for c in range(first, stop):
        for w in range(n_windows):
            at[w] = begins[w, c]
        for s in range(starts[c], starts[c + 1]):
            row = place[ids[s]]
            w = row // window
            new_ids[at[w]], new_values[at[w]] = row - w * window, values[s]
            at[w] += 1


def count_windows(n: int) -> int:
    """How many parts the rows are looked up in."""
    return max(round(n / WINDOW), 1)


def worth_ordering(n: int) -> bool:
    """Whether so many rows are faster looked up in the order of their heaviest terms."""
    return 2 * n > WINDOW


def split_windows(heads: Postings, y: Store, place: npt.NDArray[np.int64] | None, n_jobs: int | None = 1) -> Windows:
    """Lists by windows of the rows `y`; row `i` of the lists is row ``place[i]`` of `y`, if there is a `place`."""
    n = len(y.indptr) - 1
    n_windows = count_windows(n)
    if n_windows == 1 and place is None:
        return Windows(heads, heads.indptr[None], y.stats[None])
    window = -(-n // n_windows)
    used = int(np.searchsorted(heads.indptr, heads.indptr[-1]))  # columns that no row has come last
    starts, old_ids, old_values = heads.indptr[: used + 1], heads.ids, heads.values
    place = np.arange(n) if place is None else place
    counts = np.zeros((n_windows, used), np.int64)
    cuts = even_parts(starts, parts_for(n_jobs, len(old_ids)))

    def count(a: int, b: int) -> None:
        _count_portions(starts, old_ids, place, window, cuts[a], cuts[b], counts)

    map_blocks(count, len(cuts) - 1, n_jobs, 1)
    ends = np.concatenate([[0], np.cumsum(counts)])
    begins = ends[used * np.arange(n_windows)[:, None] + np.arange(used + 1)]
    ids, values = np.empty_like(old_ids), np.empty_like(old_values)

    def split(a: int, b: int) -> None:
        _split_lists(starts, old_ids, old_values, place, window, cuts[a], cuts[b], begins, ids, values)

    map_blocks(split, len(cuts) - 1, n_jobs, 1)
    stats = np.zeros((n_windows, len(y.stats), window))
    for w in range(n_windows):
        part = y.stats[:, w * window : (w + 1) * window]
        stats[w, :, : part.shape[1]] = part
    return Windows(heads._replace(indptr=starts, ids=ids, values=values), begins, stats)


@kernel
def prefetch_portions(lists, x, i):
    """Ask for the lists of a row that comes next: a window's part of them is short, and anywhere."""
    if i + 1 < x.indptr.shape[0]:
        for t in range(x.indptr[i], x.indptr[i + 1]):
            for s in range(lists.indptr[x.indices[t]], lists.indptr[x.indices[t] + 1], 16):
                prefetch(lists.ids, s)
                prefetch(lists.values, s)


@kernel
def _bar(best, size):
    """Surrogate above which no row comes among the best."""
    return loosened(best.surrogates[0]) if size == best.ids.shape[0] else np.inf


@kernel
def _scan_window(metric, x, i, y, lists, share, ws, begin, best, found, size, least):
    """Take a window's rows, from row `begin` on, among the best; how many these are, and what nearer ones must share.

    `least`: a sum that rows have to exceed to come among the best; NaN if it is to be found.
    """
    a, skip, bar = first_term(metric, x, i, share), i - begin, _bar(best, size)
    if least != least:
        least = least_shared(metric, x, i, lists.extremes, bar, ws)
    if size == 0:
        size = scan_within(metric, x, i, y, lists, a, ws, skip, best, bar, least, NO_RADIUS)
        for r in range(size):
            best.ids[r] += begin
    else:
        more = scan_within(metric, x, i, y, lists, a, ws, skip, found, bar, least, NO_RADIUS)
        for r in range(more):
            size = push(best, size, found.distances[r], found.ids[r] + begin, found.surrogates[r])
    return size, least if _bar(best, size) == bar else np.nan


@entry
def _seed(metric, x, z, n_features, windows, share, start, stop, best_distances, best_ids, graph):
    """Find neighbours for rows [start, stop) among the best by the heads; returns rows measured.

    Window by window, so that the sums of its rows stay in the caches while some queries are answered.
    """
    heads, window = windows.lists, windows.stats.shape[2]
    ws = make_workspace(window, n_features)
    many, width = best_ids.shape
    surrogates, sizes, leasts = np.empty((many, width), np.float64), np.empty(many, np.int64), np.empty(many)
    found = make_heap(width)
    measured = 0
    for first in range(start, stop, many):
        last = min(first + many, stop)
        sizes[:], leasts[:] = 0, np.nan
        for v in range(windows.begins.shape[0]):
            w = (first // window + v) % windows.begins.shape[0]  # their own first: the nearest are mostly there
            lists = Postings(
                windows.begins[w],
                heads.ids,
                heads.values,
                heads.cuts,
                heads.rest,
                heads.ends,
                heads.mark_rows,
                heads.mark_values,
                heads.extremes,
            )
            y = Store(x.indptr, x.indices, x.data, windows.stats[w])
            for i in range(first, last):
                if x.indptr[i] < x.indptr[i + 1]:
                    q = i - first
                    if windows.begins.shape[0] > 1:
                        prefetch_portions(lists, x, i + 1)
                    best = Heap(best_distances[q], best_ids[q], surrogates[q])
                    sizes[q], leasts[q] = _scan_window(
                        metric, x, i, y, lists, share, ws, w * window, best, found, sizes[q], leasts[q]
                    )
        for i in range(first, last):
            q = i - first
            scatter(x, i, ws.w)
            for begin in range(0, sizes[q], BLOCK):
                m = min(BLOCK, sizes[q] - begin)
                for r in range(m):
                    ws.rows[r] = best_ids[q, begin + r]
                measure_into(metric, x, z, i, m, ws, graph)
            measured += sizes[q]
            unscatter(x, i, ws.w)
    return measured


def seed_by_heads(
    metric: Compiled,
    y: Store,
    z: Store,
    n_features: int,
    windows: Windows,
    graph: Graph,
    *,
    share: float,
    width: int,
    over_rows: Callable[..., list[int]],
    begin: int = 0,
) -> int:
    """Fill a graph from row `begin` on with the best of each row's candidates; returns how many pairs were measured."""
    plain = metric._replace(refine=0)  # the best are measured again

    def seed(start: int, stop: int) -> int:
        start, stop = start + begin, stop + begin
        many = min(TOGETHER, stop - start)
        best = np.empty((many, width), np.float32), np.empty((many, width), np.int64)
        found: int = _seed(plain, y, z, n_features, windows, share, start, stop, *best, graph)
        return found

    return sum(over_rows("heads", seed, len(y.indptr) - 1 - begin))
