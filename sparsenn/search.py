"""Approximate search: candidates, a walk along the graph from the best of them, and the nearest measured again.

Candidates come from the heads of inverted lists, or they are the entries of the graph.

With heads alone the walk is left out; with a graph alone it begins at rows spread over the whole collection. The walk
keeps a sorted pool of the nearest rows met (beam search), and ends when all of them have been expanded.
"""

from collections import namedtuple
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import bits_of, call, call_float, direct, entry, kernel, prefetch
from sparsenn.compact import Form
from sparsenn.descent import EMPTY, id_of, insert, key_of, reach_of, scale_for
from sparsenn.distance import BLOCK, Compiled, Store, corrected, evaluate, finish_listed, scatter, unscatter
from sparsenn.exact import ExactEngine
from sparsenn.graph import Links
from sparsenn.heap import kth_smallest, make_heap
from sparsenn.parallel import map_blocks
from sparsenn.postings import Postings, room_for, weigh_list, weigh_lists
from sparsenn.rerank import rank_listed
from sparsenn.results import Neighbors
from sparsenn.termwise import STRIDE, least_shared, make_workspace

TIERS = (100, 400, 1600, 6400)  # a list begins with its first so many by impact
LONGEST, KEPT = 1024, 8  # terms that there is always room for; threads' memories that are kept
ALONE = 32  # queries that one thread answers
AHEAD = 3  # lists whose beginnings are fetched while one is read
WORTH_SCAN = 8  # postings, times this, from which all sums are read in order rather than along the lists
BELOW = 1.0 - 1e-5  # sums in float32 may fall short by so much
FEWEST_BITS = 6  # of a value in a word
ENTRIES_OF_POOL, MORE_OF_POOL = 16, 8  # entries for each row of a pool; rows of a pool for each one more measured again
SURE = 5  # rows measured again, beyond those that the form of the rows makes one look at
# Lists as words, a row above and the number of its value's step (`scale`) in the lower `shift` bits; extremes as in
# postings.
Heads = namedtuple("Heads", "indptr words shift scale extremes")
# What a search reads besides the rows: lists in tiers by impact, and links. Either may be empty.
Ways = namedtuple("Ways", "heads links")
# How it goes about it: rows of a list, share of the query's bound, candidates measured, pool of the walk (0: none),
# how much farther than the k-th a row may be that is still expanded (infinite: all of the pool), rows measured again,
# entries of the graph measured where there are no heads.
How = namedtuple("How", "head share width beam slack keep entries")
# Memory of one thread, kept between queries: candidates by their sums; rows met, and by which query; pool of the walk;
# the query's terms, what each holds of its bound, levels of worth and how many terms each has.
Scratch = namedtuple("Scratch", "ws totals sums ids spare seen stamp pool terms bounds level counts")
# What is searched and how: rows are measured by `metric` against `z`, whose row `p` is row ``names[p]`` of `y`, and the
# nearest `k` of what is found measured again by `exact`. Keys of reaches are made by `scale`.
Task = namedtuple("Task", "metric z exact y names ways how k scale")
LEVELS = 64  # of worth, four to a power of two


@entry
def _make_scratch(n, n_sums, n_features, width, beam, longest):
    return Scratch(
        make_workspace(0, n_features),
        np.zeros(n_sums, np.float32),
        np.empty(2 * width + BLOCK),
        np.empty(2 * width + BLOCK, np.uint32),
        np.empty(2 * width + BLOCK),
        np.zeros(n, np.int64),
        np.zeros(1, np.int64),
        np.empty((1, beam), np.int64),
        np.empty(longest, np.int64),
        np.empty(longest),
        np.empty(longest, np.int32),
        np.empty(LEVELS + 1, np.int64),
    )


@kernel
def _choose_terms(metric, x, i, heads, how, scratch):
    """List the terms that bring most for what they cost, until they hold the share of the query's bound; how many.

    Worth: bound over the root of the list's length (of weight alone, rarity and this, this was best: 28 -> 19 us).
    """
    a, n = x.indptr[i], x.indptr[i + 1] - x.indptr[i]
    terms, bounds, level, counts = scratch.terms, scratch.bounds, scratch.level, scratch.counts
    for t in range(n):
        terms[t] = a + t
    if how.share >= 1.0:
        return n
    params, n_params = metric.params, np.int64(metric.params.shape[0])
    whole, largest = 0.0, np.int32(0)
    for t in range(n):
        c = x.indices[a + t]
        length = min(heads.indptr[c + 1] - heads.indptr[c], how.head)
        bounds[t] = 0.0  # of terms that no row has there is no share
        if length > 0:
            bounds[t] = call_float(metric.bound_sum, (params, n_params, (x.data, a + t), np.int64(1)))
        whole += bounds[t]
        level[t] = bits_of(np.float32(bounds[t] / np.sqrt(max(length, 1)))) >> 21  # its exponent, and two bits
        largest = max(largest, level[t])
    for e in range(LEVELS + 1):
        counts[e] = 0
    for t in range(n):  # by counting: no comparisons to mispredict, and within a level any order does
        level[t] = min(largest - level[t], np.int32(LEVELS - 1))
        counts[level[t] + 1] += 1
    for e in range(LEVELS):
        counts[e + 1] += counts[e]
    for t in range(n):
        terms[counts[level[t]]] = a + t
        counts[level[t]] += 1
    kept, held = np.int64(0), 0.0
    while kept < n and held < how.share * whole:
        held += bounds[terms[kept] - a]
        kept += 1
    return kept


@kernel
def _keep_best(scratch, filled, width):
    """Keep the `width` least sums of the candidates; returns (how many are left, the largest of them)."""
    for r in range(filled):
        scratch.spare[r] = scratch.sums[r]
    limit = kth_smallest(scratch.spare, filled, width - 1)
    ties = width
    for r in range(filled):
        ties -= np.int64(scratch.sums[r] < limit)
    left = np.int64(0)
    for r in range(filled):
        if scratch.sums[r] < limit or (scratch.sums[r] == limit and ties > 0):
            ties -= np.int64(scratch.sums[r] == limit)
            scratch.sums[left], scratch.ids[left] = scratch.sums[r], scratch.ids[r]
            left += 1
    return left, limit


@kernel
def _absorb(metric, x, i, z, m, scratch, filled, limit):
    """Take the `m` rows of ``ws.rows`` among the candidates, by their sums in ``ws.shared``."""
    ws = scratch.ws
    finish_listed(metric, metric.finish, x, i, z, ws.rows, m, ws.shared, ws.block, ws.out)
    at = np.uint64(filled)
    for r in range(m):
        scratch.sums[at], scratch.ids[at] = ws.out[r], ws.rows[r]
        at += np.uint64(ws.out[r] < limit)  # a branch would be mispredicted
    return np.int64(at)


@kernel
def _settle_met(metric, x, i, z, heads, width, m, scratch, filled, limit):
    """Take in what has been listed: (candidates, the surrogate and the sum that still matter)."""
    filled = _absorb(metric, x, i, z, m, scratch, filled, limit)
    if filled < 2 * width:
        return filled, limit, np.float32(-1)
    filled, limit = _keep_best(scratch, filled, width)
    least = least_shared(metric, x, i, heads.extremes, limit, scratch.ws)
    return filled, limit, np.float32(max(least, 0.0) * BELOW)


@kernel
def _best_by_heads(metric, x, i, z, heads, how, scratch):
    """Find candidates by the heads of the query's lists, into ``scratch.ids``: (how many, postings read).

    Sums are read back along the lists, or where these are long in the order of the rows.
    """
    sums = scratch.totals
    if x.indptr[i] == x.indptr[i + 1]:
        return np.int64(0), np.int64(0)
    kept = _choose_terms(metric, x, i, heads, how, scratch)
    postings = np.int64(0)
    params, n_params, shift = metric.params, np.int64(metric.params.shape[0]), np.int64(heads.shift)
    for o in range(kept):
        if o + AHEAD < kept:  # lists begin anywhere
            ahead = heads.indptr[x.indices[scratch.terms[o + AHEAD]]]
            for line in range(0, 64, 16):
                prefetch(heads.words, ahead + line)
        t = scratch.terms[o]
        s = heads.indptr[x.indices[t]]
        n = min(heads.indptr[x.indices[t] + 1] - s, how.head)
        if n > 0:
            value, scale = np.float64(x.data[t]), np.float64(heads.scale)
            call(metric.tally, (params, n_params, value, (heads.words, s), np.int64(n), sums, shift, scale))
            postings += n
    if postings * WORTH_SCAN < sums.shape[0]:
        return _read_lists(metric, x, i, z, heads, how, kept, scratch), postings
    return _read_all(metric, x, i, z, heads, how, scratch), postings


@kernel
def _read_lists(metric, x, i, z, heads, how, kept, scratch):
    """Read the sums back along the lists, and clear them; returns how many candidates there are."""
    ws, sums = scratch.ws, scratch.totals
    least, limit, bits = np.float32(0), np.inf, np.uint32(heads.shift)
    filled, m = np.int64(0), np.int64(0)
    for o in range(kept):
        t = scratch.terms[o]
        s = heads.indptr[x.indices[t]]
        end = min(heads.indptr[x.indices[t] + 1], s + how.head)
        while s < end:
            stop = min(end, s + BLOCK - m)
            at = np.uint64(m)
            for e in range(np.uint64(s), np.uint64(stop)):
                row = heads.words[e] >> bits
                ws.rows[at], ws.shared[at] = row, sums[row]
                at += np.uint64(sums[row] > least)  # a branch would be mispredicted
                sums[row] = np.float32(0)
            s, m = stop, np.int64(at)
            if m > BLOCK - STRIDE:
                filled, limit, bar = _settle_met(metric, x, i, z, heads, how.width, m, scratch, filled, limit)
                least, m = max(least, bar), np.int64(0)
    return _last_met(metric, x, i, z, how.width, m, scratch, filled, limit)


@kernel
def _read_all(metric, x, i, z, heads, how, scratch):
    """Read all sums in the order of the rows, and clear them; returns how many candidates there are."""
    ws, sums = scratch.ws, scratch.totals
    least, limit = np.float32(0), np.inf
    filled, m = np.int64(0), np.int64(0)
    n = np.int64(sums.shape[0])
    for begin in range(0, n, STRIDE):
        last = min(begin + STRIDE, n)
        near = np.int32(0)
        for r in range(np.uint64(begin), np.uint64(last)):
            near += np.int32(sums[r] > least)
        if near > 0:
            at = np.uint64(m)
            for r in range(np.uint64(begin), np.uint64(last)):
                ws.rows[at], ws.shared[at] = r, sums[r]
                at += np.uint64(sums[r] > least)
            m = np.int64(at)
            if m > BLOCK - STRIDE:
                filled, limit, bar = _settle_met(metric, x, i, z, heads, how.width, m, scratch, filled, limit)
                least, m = max(least, bar), np.int64(0)
        for r in range(np.uint64(begin), np.uint64(last)):
            sums[r] = np.float32(0)
    return _last_met(metric, x, i, z, how.width, m, scratch, filled, limit)


@kernel
def _last_met(metric, x, i, z, width, m, scratch, filled, limit):
    """Take in the last rows, and keep the best of all; returns how many."""
    filled = _absorb(metric, x, i, z, m, scratch, filled, limit)
    return _keep_best(scratch, filled, width)[0] if filled > width else filled


@kernel
def _measure_met(metric, x, i, z, m, scale, scratch):
    """Measure the `m` rows of ``ws.rows`` and take the near ones into the pool; returns the least key taken."""
    ws, pool = scratch.ws, scratch.pool
    evaluate(metric, x, i, ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
    last = pool.shape[1] - 1
    worst, least = reach_of(pool[0, last]), EMPTY
    for r in range(m):
        near = ws.out[r] * scale
        if near <= worst:
            key = key_of(near, np.int64(ws.rows[r]))
            if insert(pool, 0, key):
                worst, least = reach_of(pool[0, last]), min(least, key)
    return least


@kernel
def _walk(metric, x, i, z, links, k, slack, scale, scratch):
    """Expand the nearest row that is not yet, until none is left; returns how many pairs were measured."""
    ws, pool, stamp = scratch.ws, scratch.pool, scratch.stamp[0]
    measured = np.int64(0)
    size = np.int64(pool.shape[1])
    at = np.int64(0)
    while True:
        while at < size and (pool[0, at] & 1 == 0 or pool[0, at] == EMPTY):
            at += 1
        if at == size:
            break
        if slack < np.inf and at >= k:
            bar = corrected(metric, reach_of(pool[0, k - 1]) / scale)
            if corrected(metric, reach_of(pool[0, at]) / scale) > bar + slack * abs(bar):
                break
        pool[0, at] -= 1  # expanded
        row = id_of(pool[0, at])
        m = np.int64(0)
        for c in range(links.degrees[row]):
            far = np.int64(links.ids[row, c])
            ws.rows[m] = far
            m += np.int64(scratch.seen[far] != stamp)
            scratch.seen[far] = stamp
        expanded = pool[0, at]
        least = _measure_met(metric, x, i, z, m, scale, scratch)
        measured += m
        at = np.int64(0) if least < expanded else at  # whatever stands before it has been expanded
        while at < size and (pool[0, at] & 1 == 0 or pool[0, at] == EMPTY):
            at += 1
        if at < size:  # most likely the next: its links are wanted soon
            prefetch(links.ids, id_of(pool[0, at]) * links.ids.shape[1])
            prefetch(links.ids, id_of(pool[0, at]) * links.ids.shape[1] + 16)
    return measured


@entry
def _search(task, x, queries, own, start, stop, scratch, indices, distances):
    """Find rows near to the queries [start, stop): (postings read, pairs measured, queries that found too few).

    The queries are rows of `x`, as they are measured, and of `queries`, as they are. `own`: the place of each query
    that is a row itself, which it must not find.
    """
    metric, z, ways, how, scale = task.metric, task.z, task.ways, task.how, task.scale
    ws, pool = scratch.ws, scratch.pool
    heap, best = make_heap(indices.shape[1]), np.empty((1, how.keep), np.int32)
    postings, measured, lacking = np.int64(0), np.int64(0), np.int64(0)
    by_heads = ways.heads.indptr.shape[0] > 1
    for i in range(start, stop):
        scratch.stamp[0] += 1
        stamp = scratch.stamp[0]
        if own.shape[0] > 0:
            scratch.seen[own[i]] = stamp
        for c in range(pool.shape[1]):
            pool[0, c] = EMPTY
        scatter(x, i, ws.w)
        many, read = np.int64(how.entries), np.int64(0)
        if by_heads:
            many, read = _best_by_heads(metric, x, i, z, ways.heads, how, scratch)
        postings += read
        m = np.int64(0)
        for r in range(many):
            row = np.int64(scratch.ids[r]) if by_heads else np.int64(ways.links.entries[r])
            ws.rows[m] = row
            m += np.int64(scratch.seen[row] != stamp)
            scratch.seen[row] = stamp
            if m == BLOCK or r == many - 1:
                _measure_met(metric, x, i, z, m, scale, scratch)
                measured += m
                m = np.int64(0)
        if how.beam > 0:
            measured += _walk(metric, x, i, z, ways.links, task.k, how.slack, scale, scratch)
        for r in range(how.keep):
            best[0, r] = np.int32(id_of(pool[0, r])) if pool[0, r] != EMPTY else np.int32(-1)
        rank_listed(task.exact, queries, i, task.y, best, 0, task.names, ws, heap, indices[i], distances[i])
        lacking += np.int64(indices[i, task.k - 1] < 0)
        unscatter(x, i, ws.w)
    return postings, measured, lacking


@entry
def _tier_lists(address, params, starts, ids, values, stats, first, last, tiers, new_starts, new_ids, new_values):
    """Copy of the lists [first, last) their rows of highest impact: the first tier, then the next, by id in each."""
    longest = 0
    for c in range(first, last):
        longest = max(longest, starts[c + 1] - starts[c])
    weakness, order = np.empty(longest), np.empty(longest)
    for c in range(first, last):
        a, n = starts[c], starts[c + 1] - starts[c]
        to, end = new_starts[c], new_starts[c + 1]
        if n <= tiers[0]:
            for s in range(n):
                new_ids[to + s], new_values[to + s] = ids[a + s], values[a + s]
            continue
        weigh_list(address, params, ids, values, stats, a, n, weakness, order)
        below, taken_below = -np.inf, 0  # the last rank's weakness, and how many of its ties have been taken
        for tier in range(tiers.shape[0]):
            if to == end:
                break
            rank = min(np.int64(tiers[tier]), n)
            bar = kth_smallest(order, n, rank - 1)
            room = new_starts[c] + rank - to
            for s in range(n):
                room -= np.int64(below < weakness[s] < bar)
                room -= np.int64(weakness[s] == below and below < bar)
            room += taken_below if below < bar else 0
            seen_below, seen_bar, taken = 0, 0, 0
            for s in range(n):
                take = below < weakness[s] < bar
                if weakness[s] == bar:
                    seen_bar += 1
                    take = room > 0 and (below < bar or seen_bar > taken_below)
                    room -= np.int64(take)
                    taken += np.int64(take)
                elif weakness[s] == below:
                    seen_below += 1
                    take = seen_below > taken_below
                if take:
                    new_ids[to], new_values[to] = ids[a + s], values[a + s]
                    to += 1
            taken_below = taken + (taken_below if below == bar else 0)
            below = bar


@entry
def _pack_words(ids, values, shift, scale, start, stop):
    """Write row and value into one word, in the place of the row."""
    most = np.uint32((1 << shift) - 1)
    for s in range(start, stop):
        code = np.uint32(values[s] / scale + np.float32(0.5))
        ids[s] = (ids[s] << np.uint32(shift)) | min(max(code, np.uint32(1)), most)  # no value becomes 0


def word_bits(n_rows: int) -> int:
    """Bits of a word that a row leaves to a value; 0 where they are too few for heads."""
    shift = 32 - max(int(n_rows - 1).bit_length(), 1)
    return shift if shift >= FEWEST_BITS else 0


def tiered_heads(postings: Postings, forward: Store, metric: Compiled, n_jobs: int | None = 1) -> Heads | None:
    """Lists cut to the last tier, those of higher tiers first in each: any tier is the beginning of its list.

    None where there are too many rows for a word to hold a row and a value.
    """
    shift = word_bits(forward.stats.shape[1])
    if not shift:
        return None
    starts, ids, values = room_for(postings, TIERS[-1])
    weigh_lists(_tier_lists, postings, forward, metric, n_jobs, np.array(TIERS), starts, ids, values)
    largest = values.max(initial=0.0)
    scale = float(largest) / (2.0**shift - 1) or 1.0
    map_blocks(lambda a, b: _pack_words(ids, values, shift, np.float32(scale), a, b), len(ids), n_jobs, 2**16)
    return Heads(starts, ids, shift, scale, postings.extremes)


def no_heads() -> Heads:
    """Stand for lists where there are none."""
    return Heads(np.zeros(1, np.int64), np.zeros(0, np.uint32), 1, 1.0, np.zeros((2, 2)))


def no_links() -> Links:
    """Stand for links where there are none."""
    return Links(np.zeros((0, 1), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32), 0)


NO_HEADS, NO_LINKS, NO_PLACES = no_heads(), no_links(), np.zeros(0, np.int64)


@dataclass(frozen=True)
class Setting:
    """How a query is answered, and what came of it on the sample that it was tried on.

    Attributes
    ----------
    head, share, width : int, float, int
        Rows read of each list, share of the query's bound that its terms must hold, candidates measured; 0 without
        heads.
    beam : int
        Pool of the walk along the graph; 0 without a walk.
    slack : float
        Share of the k-th distance beyond it up to which rows are expanded.
    over_fetch : int
        Candidates by the metric's proxy, for each neighbour; 0 without one.
    recall, cost : float
        Share of the k nearest found; predicted nanoseconds of a query, from counted work.
    """

    head: int = 0
    share: float = 1.0
    width: int = 0
    beam: int = 0
    slack: float = np.inf
    over_fetch: int = 0
    recall: float = 0.0
    cost: float = 0.0

    @property
    def way(self) -> str:
        """What the setting uses, in a word."""
        used = (("heads", self.head), ("graph", self.beam), ("proxy", self.over_fetch))
        return " and ".join(name for name, much in used if much)


class Found(NamedTuple):
    """What a search gave."""

    neighbors: Neighbors
    postings: int  # read
    measured: int  # pairs
    lacking: int  # queries with fewer than k


class Searcher:
    """Rows prepared for approximate queries.

    Parameters
    ----------
    engine : ExactEngine
    form : Form
        The rows as they are measured, in the order of the search.
    order : array of int
        The user's id of each of them.
    heads, links
        What leads to candidates; at least one.
    """

    def __init__(
        self,
        engine: ExactEngine,
        form: Form,
        order: npt.NDArray[np.int64],
        heads: Heads | None,
        links: Links | None,
        seed: np.uint64,
    ):
        self.engine, self.form, self.order = engine, form, order
        self.heads, self.links = heads, links
        self.place = np.empty(len(order), np.int64)
        self.place[order] = np.arange(len(order))
        self.scale = scale_for(form.metric, form.x, form.z, engine.space.n_features, seed)
        self._metric = form.metric._replace(refine=0)
        self._spare: list[Any] = []
        self._last: tuple[Any, Any] = (None, None)  # a setting, and its task

    @property
    def nbytes(self) -> int:
        """Bytes held beside those of the exact engine."""
        arrays = [self.order, self.place, *(self.heads or [])[:2], *(self.links or [])]
        return sum(a.nbytes for a in arrays) + self.form.z.data.nbytes

    def kept(self, k: int, beam: int = 0) -> int:
        """How many rows are measured again for k neighbours: the more, the more a walk's pool holds."""
        keep = int(np.ceil(k * self.form.blur)) + SURE
        if beam:
            keep = min(keep + beam // MORE_OF_POOL, max(beam, k))
        return min(keep, self.engine.n_rows)

    def search(
        self, x: Store, k: int, setting: Setting, n_jobs: int | None, own: npt.NDArray[np.int64] | None = None
    ) -> Found:
        """Answer queries. `own`: rows that the queries themselves are."""
        n = len(x.indptr) - 1
        last, task = self._last  # one read: another thread may be searching with another setting
        if last is not setting or task.k != k:
            task = self._task(k, setting)
            self._last = (setting, task)
        rows = self.form.express(x) if self.form.express else x
        places = NO_PLACES if own is None else self.place[own]
        indices, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
        longest = len(x.data) if self.heads is not None else 0
        if longest > LONGEST:
            longest = int((x.indptr[1:] - x.indptr[:-1]).max(initial=0))
        search = direct(_search) if n <= ALONE else _search  # the types never vary

        def block(start: int, stop: int) -> tuple[int, int, int]:
            scratch = self._take(task.how, longest)
            try:
                counts: tuple[int, int, int] = search(task, rows, x, places, start, stop, scratch, indices, distances)
            finally:
                self._give(scratch)
            return counts

        if n <= ALONE:
            return Found(Neighbors(indices, distances), *block(0, n))
        counts = map_blocks(block, n, n_jobs, ALONE)
        return Found(Neighbors(indices, distances), *(sum(c) for c in zip(*counts, strict=True)))

    def _task(self, k: int, setting: Setting) -> Any:
        """What compiled code is told for each query alike."""
        keep = self.kept(k, setting.beam)
        heads = self.heads if setting.head and self.heads is not None else NO_HEADS
        links = self.links if self.links is not None else NO_LINKS
        width, slack = max(setting.width, keep), float(setting.slack)
        entries = min(max(ENTRIES_OF_POOL * setting.beam, links.always), len(links.entries))
        how = How(int(setting.head), float(setting.share), width, int(setting.beam), slack, keep, entries)
        y, exact = self.engine.own()
        return Task(self._metric, self.form.z, exact, y, self.order, Ways(heads, links), how, k, self.scale)

    def _take(self, how: Any, longest: int) -> Any:
        """Memory for one thread: used before, if some is free and fits."""
        pool = max(how.beam, how.keep)
        for _ in range(KEPT):
            try:
                scratch = self._spare.pop()  # one thread gets it: no lock
            except IndexError:
                break
            fits = len(scratch.sums) >= 2 * how.width + BLOCK and len(scratch.terms) >= longest
            if fits and scratch.pool.shape[1] == pool:
                return scratch
            self._spare.insert(0, scratch)
        n = self.engine.n_rows
        n_sums = n if self.heads is not None else 0
        # a single dense row looks like a sparse one with all columns, and is scattered like one
        n_columns = self.engine.space.n_features
        if self.engine.space.container != "csr":
            n_columns = max(n_columns, len(self.form.x.indices))
        return _make_scratch(n, n_sums, n_columns, how.width, pool, max(longest, LONGEST))

    def _give(self, scratch: Any) -> None:
        """Keep a thread's memory for the next."""
        self._spare.append(scratch)
        if len(self._spare) > KEPT:
            del self._spare[:-KEPT]
