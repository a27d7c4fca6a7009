"""Inverted lists: for each column the rows that have it.

Columns are renumbered by how many rows have them, the commonest first, in the postings and in the
engine's own rows (`forward`), never in the user's. A query walks its terms from the
rarest; the terms it has not reached yet are then the beginning of every row, so that the rest of a
candidate's sum is one short scan.

A *tier* is a column number below which a query may stop early. For each tier and row there is the
bound of what the row can still add (`rest`), and where its columns below the tier end (`ends`).
"""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import call_float, entry, kernel
from sparsenn.distance import BY_NORM, UNBOUNDED, Compiled, Store
from sparsenn.heap import kth_smallest
from sparsenn.parallel import count_jobs, map_blocks
from sparsenn.rows import Rows, renumber_rows

Postings = namedtuple("Postings", "indptr ids values cuts rest ends mark_rows mark_values extremes")

# Shares of the expected work that the tiers leave undone. Eight were as good as any finer division.
TIER_SHARES = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
# Postings an average query must meet, as a share of the rows, before stopping early can pay.
WORTH_TIERS = 0.25
RENUMBERED = 1024  # rows at once by one thread
LIST_PARTS = 16  # of lists that are weighed: the long ones stand first, and take longer than others
MOST_PARTS, WORTH_PART = 8, 2**18  # of rows that become lists; values from which one more pays


@entry
def _count_columns(indices, n_features):
    counts = np.zeros(n_features, np.int64)
    for t in range(indices.shape[0]):
        counts[indices[t]] += 1
    return counts


@entry
def _fill_lists(indptr, indices, data, rank, starts, first, last, ids, values):
    """Write the lists of the columns [first, last), renumbered by `rank` (empty: as they are); ids rise in each.

    All rows are read for that: fewer columns written to at a time make up for it.
    """
    renumber = rank.shape[0] > 0
    place = starts[first:last].copy()
    low, count = np.uint32(first), np.uint32(last - first)
    for i in range(indptr.shape[0] - 1):
        for t in range(indptr[i], indptr[i + 1]):
            c = np.uint32(rank[indices[t]] if renumber else indices[t]) - low
            if c < count:
                ids[place[c]] = i
                values[place[c]] = data[t]
                place[c] += 1


@entry
def _transpose_back(starts, ids, values, first, last, indptr, indices, data):
    """Write lists by column over the rows [first, last) of those they were made of."""
    place = indptr[first:last].copy()
    low, count = np.uint32(first), np.uint32(last - first)
    for c in range(starts.shape[0] - 1):
        for s in range(starts[c], starts[c + 1]):
            row = ids[s] - low
            if row < count:
                indices[place[row]] = c
                data[place[row]] = values[s]
                place[row] += 1


def parts_for(n_jobs: int | None, n_values: int) -> int:
    """In how many parts to turn rows into lists, or back (each reads all), or to go through lists."""
    return min(count_jobs(n_jobs), MOST_PARTS, 1 + n_values // WORTH_PART)


def even_parts(starts: npt.NDArray[np.int64], parts: int) -> npt.NDArray[np.int64]:
    """Where to cut lists, or rows, that begin at `starts`, so that all parts hold about as much."""
    cuts = np.searchsorted(starts, np.linspace(0, starts[-1], parts + 1))
    cuts[0], cuts[-1] = 0, len(starts) - 1
    return cuts


def weigh_lists(
    weigh: Callable[..., object], postings: Postings, forward: Store, metric: Compiled, n_jobs: int | None, *more: Any
) -> None:
    """Call compiled code that weighs lists on parts of them: with what it reads, first and last list, and `more`."""
    cuts = even_parts(postings.indptr, LIST_PARTS)
    reads = metric.impact, metric.params, postings.indptr, postings.ids, postings.values, forward.stats

    def block(a: int, b: int) -> None:
        weigh(*reads, cuts[a], cuts[b], *more)

    map_blocks(block, LIST_PARTS, n_jobs, 1)


def room_for(postings: Postings, most: int) -> tuple[npt.NDArray[np.int64], Any, Any]:
    """Where lists cut to `most` rows begin, and room for their rows and values."""
    starts = np.concatenate([[0], np.cumsum(np.minimum(np.diff(postings.indptr), most))])
    return starts, np.empty(starts[-1], np.uint32), np.empty(starts[-1], np.float32)


@entry
def _bound_rests(address, squares, params, indptr, indices, data, cuts, rest, ends):
    """For each tier and row: a bound of what the columns below the tier add, and where they end."""
    for i in range(indptr.shape[0] - 1):
        a, b = indptr[i], indptr[i + 1]
        t = a
        for tier in range(cuts.shape[0]):
            while t < b and indices[t] < cuts[tier]:
                t += 1
            total = call_float(address, (params, np.int64(params.shape[0]), (data, a), t - a))
            # rounded up: a bound must not fall under what it bounds
            rest[tier, i] = np.float32((np.sqrt(total) if squares else total) * (1.0 + 3e-7))
            ends[tier, i] = t


def rank_columns(rows: Rows) -> npt.NDArray[np.int32]:
    """New number of each column: the commonest is 0."""
    counts = _count_columns(rows.indices, rows.shape[1])
    most = counts.max(initial=0)
    fewer = (most - counts).astype(np.uint16) if most < 2**16 else most - counts  # the narrow are sorted by digits
    order = np.argsort(fewer, kind="stable")
    rank = np.empty(rows.shape[1], np.int32)
    rank[order] = np.arange(rows.shape[1], dtype=np.int32)
    return rank


def renumber(rows: Rows, rank: npt.NDArray[np.int32], n_jobs: int | None = 1) -> Rows:
    """Rows with their columns renumbered, and sorted by the new ones: queries, to meet renumbered postings, or back."""
    columns, values = np.empty(len(rows.indices), np.int32), np.empty(len(rows.data), np.float32)

    def block(a: int, b: int) -> None:
        renumber_rows(rows.indptr, rows.indices, rows.data, rank, a, b, columns, values)

    map_blocks(block, len(rows), n_jobs, RENUMBERED)
    return replace(rows, indices=columns, data=values)


def invert(
    rows: Rows | Store, n_columns: int, rank: npt.NDArray[np.int32] | None = None, n_jobs: int | None = 1
) -> Postings:
    """Inverted lists of rows, without tiers; columns renumbered by `rank`."""
    counts = _count_columns(rows.indices, n_columns)
    starts = np.zeros(n_columns + 1, np.int64)
    starts[1:][slice(None) if rank is None else rank] = counts
    np.cumsum(starts, out=starts)
    rank = np.empty(0, np.int32) if rank is None else rank
    ids, values = np.empty(len(rows.indices), np.int32), np.empty(len(rows.data), np.float32)
    cuts = even_parts(starts, parts_for(n_jobs, len(ids)))

    def fill(a: int, b: int) -> None:
        _fill_lists(rows.indptr, rows.indices, rows.data, rank, starts, cuts[a], cuts[b], ids, values)

    map_blocks(fill, len(cuts) - 1, n_jobs, 1)
    no_cuts, rest, ends = np.zeros(1, np.int64), np.zeros((1, 0), np.float32), np.zeros((1, 0), np.int64)
    mark_rows, mark_values = np.zeros(0, np.int32), np.zeros(0, np.float32)
    extremes = np.zeros((2, 2))
    return Postings(starts, ids.view(np.uint32), values, no_cuts, rest, ends, mark_rows, mark_values, extremes)


def renumber_in_place(rows: Rows, postings: Postings, n_jobs: int | None = 1) -> Rows:
    """Rows with the columns of the postings, written over the arrays of `rows`.

    Lists written back as rows come out sorted by the new columns, without sorting.
    """
    cuts = even_parts(rows.indptr, parts_for(n_jobs, len(rows.indices)))

    def fill(a: int, b: int) -> None:
        p = postings
        _transpose_back(p.indptr, p.ids, p.values, cuts[a], cuts[b], rows.indptr, rows.indices, rows.data)

    map_blocks(fill, len(cuts) - 1, n_jobs, 1)
    return rows


@kernel
def weigh_list(address, params, ids, values, stats, a, n, weakness, spare):
    """Impacts of the `n` postings from `a` on, with the other sign, twice: in list order and to be sorted."""
    for s in range(n):
        row = ids[a + s]
        weakness[s] = -call_float(
            address, (params, np.int64(params.shape[0]), np.float64(values[a + s]), stats[0, row], stats[-1, row])
        )
        spare[s] = weakness[s]


@entry
def _mark_lists(address, params, starts, ids, values, stats, first, last, rank, most, rows, row_values):
    """Find the row of each of the lists [first, last) at a rank by impact; longer lists than `most` have none."""
    weakness, spare = np.empty(most), np.empty(most)
    for c in range(first, last):
        a, n = starts[c], starts[c + 1] - starts[c]
        rows[c], row_values[c] = -1, 0.0
        if n < rank or n > most:
            continue
        weigh_list(address, params, ids, values, stats, a, n, weakness, spare)
        bar = kth_smallest(spare, n, rank - 1)
        s = 0
        while weakness[s] != bar:
            s += 1
        rows[c], row_values[c] = ids[a + s], values[a + s]


def add_marks(
    postings: Postings, forward: Store, metric: Compiled, rank: int, most: int, n_jobs: int | None
) -> Postings:
    """Postings with a mark in each list of `rank` to `most` rows: its row of that rank by the metric's impact.

    So many rows of the list are at least as near to any query that has the term.
    """
    # the commonest columns come first, and the others have no mark
    n_columns = int(np.searchsorted(-np.diff(postings.indptr), -rank, side="right"))
    rows, values = np.empty(n_columns, np.int32), np.empty(n_columns, np.float32)
    common = postings._replace(indptr=postings.indptr[: n_columns + 1])
    weigh_lists(_mark_lists, common, forward, metric, n_jobs, rank, most, rows, values)
    return postings._replace(mark_rows=rows, mark_values=values)


def extremes_of(forward: Store) -> npt.NDArray[np.float64]:
    """Least and largest of each statistic, of the rows that are not empty."""
    extremes, there = np.zeros((2, 2)), np.diff(forward.indptr) > 0
    if there.any():
        stats = forward.stats[:, there]
        extremes[:, : len(stats)] = stats.min(axis=1), stats.max(axis=1)
    return extremes


def add_tiers(postings: Postings, forward: Store, metric: Compiled) -> Postings:
    """Postings with tiers, where the metric has a bound and an average query meets enough of the rows."""
    n = forward.indptr.shape[0] - 1
    lengths = np.diff(postings.indptr).astype(np.float64)
    work = np.cumsum(lengths * lengths)  # a term is in a query as often as in a row, and costs its list
    if metric.bound == UNBOUNDED or n == 0 or not work.size or work[-1] < WORTH_TIERS * n * n:
        cuts = np.zeros(1, np.int64)
    else:
        cuts = np.unique(np.concatenate([[0], np.searchsorted(work, np.array(TIER_SHARES) * work[-1])]))
    rest = np.zeros((len(cuts), n), np.float32)
    ends = np.empty((len(cuts), n), np.int64)
    if len(cuts) > 1:
        squares = metric.bound == BY_NORM
        _bound_rests(
            metric.bound_sum, squares, metric.params, forward.indptr, forward.indices, forward.data, cuts, rest, ends
        )
    else:
        ends[0] = forward.indptr[:-1]
    return postings._replace(cuts=cuts.astype(np.int64), rest=rest, ends=ends, extremes=extremes_of(forward))


@kernel
def list_length(postings, column):
    """Rows that have the column."""
    return postings.indptr[column + 1] - postings.indptr[column]
