"""The search graph: what a query walks along.

The edges of a k-neighbour graph, fewer forward ones (an edge is dropped where a kept neighbour is nearer to its end:
Harwood and Drummond 2016; with a factor α, Jayaram Subramanya et al. 2019, DiskANN, algorithm 2), and the same edges
backwards, no more than a row has forward, so that hubs stay small. Rows stand in an order in which near rows lie
together, and every row can be reached from the entries.
"""

from collections import namedtuple
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry
from sparsenn.compact import Form
from sparsenn.descent import Lists, _list_both_ways, _reverse, empty_graph
from sparsenn.distance import BLOCK, corrected, evaluate, scatter, unscatter
from sparsenn.parallel import map_blocks
from sparsenn.results import Neighbors
from sparsenn.termwise import make_workspace

# Rows by rows in the order of the search: neighbours, how many; the rows where a walk begins, and how many of these it
# may not leave out (every row can be reached from them).
Links = namedtuple("Links", "ids degrees entries always")

WIDTH = 16  # edges each way
SPARE = 2  # places for edges that make rows reachable
# Rows where a walk begins, at most, and for each row of the number's square root; where also the narrowest begins.
ENTRIES, PER_ROOT, FIRST_ENTRIES = 1024, 4, 64


@entry
def _occlude(metric, x, z, n_features, ids, alpha, start, stop, kept):
    """Of the neighbours of rows [start, stop), nearest first, keep those that no kept one is nearer to by `alpha`.

    All distances are those of one form of the rows: small forms may make all of them too short.
    """
    ws = make_workspace(0, n_features)
    own = np.empty(BLOCK)
    for i in range(start, stop):
        m = np.int64(0)
        for c in range(ids.shape[1]):
            if ids[i, c] >= 0 and m < BLOCK:
                ws.rows[m] = ids[i, c]
                m += 1
        scatter(x, i, ws.w)
        evaluate(metric, x, i, ws.w, z, ws.rows, m, ws.shared, ws.block, own)
        unscatter(x, i, ws.w)
        size, listed = np.int64(0), np.int64(0)
        for c in range(ids.shape[1]):
            row = np.int64(ids[i, c])
            if size == kept.shape[1] or listed == m:
                break
            if row < 0:
                continue
            length = corrected(metric, own[listed])
            listed += 1
            occluded = False
            if size > 0:
                scatter(x, row, ws.w)
                for e in range(size):
                    ws.rows[e] = kept[i, e]
                evaluate(metric, x, row, ws.w, z, ws.rows, size, ws.shared, ws.block, ws.out)
                unscatter(x, row, ws.w)
                for e in range(size):
                    near = corrected(metric, ws.out[e])  # below 0 of inner products
                    occluded |= (alpha * near if near > 0.0 else near / alpha) < length
            if not occluded:
                kept[i, size] = row
                size += 1
        for e in range(size, kept.shape[1]):
            kept[i, e] = -1


@entry
def _spread(links, first, reached, queue):
    """Mark what can be reached from a row."""
    reached[first] = True
    queue[0] = first
    waiting = 1
    count = 1
    while waiting > 0:
        waiting -= 1
        row = queue[waiting]
        for c in range(links.degrees[row]):
            far = links.ids[row, c]
            if not reached[far]:
                reached[far] = True
                queue[waiting] = far
                waiting += 1
                count += 1
    return count


def _connect(links: Links, near: npt.NDArray[np.int32], absent: npt.NDArray[np.int64]) -> Links:
    """Give every row that no walk reaches an edge from one of its neighbours, or make it an entry."""
    n, room = links.ids.shape
    reached, queue = np.zeros(n, np.bool_), np.empty(n, np.int64)
    reached[absent] = True
    isolated: list[int] = []
    for row in links.entries[:FIRST_ENTRIES].tolist():
        if not reached[row]:
            _spread(links, row, reached, queue)
    for row in np.flatnonzero(~reached).tolist():
        if reached[row]:
            continue
        others = [o for o in near[row].tolist() if o >= 0 and reached[o] and links.degrees[o] < room]
        if others:
            links.ids[others[0], links.degrees[others[0]]] = row
            links.degrees[others[0]] += 1
        else:
            isolated.append(row)
        _spread(links, row, reached, queue)
    others = links.entries[~np.isin(links.entries, isolated)]
    always = len(isolated) + min(FIRST_ENTRIES, len(others))
    return links._replace(entries=np.concatenate([isolated, others]).astype(np.int32), always=always)


def spread_rows(n: int) -> npt.NDArray[np.int64]:
    """Rows spread over all: of any number of them the first are spread too (van der Corput)."""
    count = min(max(int(PER_ROOT * np.sqrt(n)), 1), ENTRIES, n)
    digits = max(int(count - 1).bit_length(), 1)
    places = np.arange(2**digits)
    turned = np.zeros_like(places)
    for bit in range(digits):
        turned |= (places >> bit & 1) << (digits - 1 - bit)
    rows: npt.NDArray[np.int64] = turned[turned < count] * n // count
    return rows


def link_rows(
    form: Form,
    graph: Neighbors,
    order: npt.NDArray[np.int64],
    n_features: int,
    *,
    alpha: float,
    n_jobs: int | None,
    absent: npt.NDArray[np.int64] | None = None,
) -> Links:
    """Make a search graph of a k-neighbour graph.

    Parameters
    ----------
    form : Form
        The rows in the order of the search.
    graph : Neighbors
        Their nearest, by the users' ids.
    order : array of int
        The user's id of each row of the search.
    alpha : float
        How much nearer a kept neighbour must be to the end of an edge for it to be dropped: an edge of length d is
        dropped where the kept one is nearer than d / alpha. With 1, as in PyNNDescent, fewest edges stay.
    absent : array of int, optional
        Rows, by the users' ids, that no walk shall find, as if they were not there.
    """
    n = len(order)
    place = np.empty(n + 1, np.int32)
    place[order], place[-1] = np.arange(n, dtype=np.int32), -1
    without = np.zeros(0, np.int64) if absent is None else place[absent].astype(np.int64)
    near = place[graph.indices[order]]
    if without.size:
        gone = np.zeros(n + 1, np.bool_)
        gone[without] = True
        near[gone[near]] = -1
        near[without] = -1
    width = min(WIDTH, near.shape[1], BLOCK)
    kept = np.empty((n, width), np.int32)
    rows = (form.metric, form.x, form.z, n_features)
    map_blocks(lambda a, b: _occlude(*rows, near, alpha, a, b, kept), n, n_jobs)
    by_rank = np.ascontiguousarray(np.where(kept < 0, -1, 2 * kept).T)
    lists = Lists(np.empty((n, 2 * width + SPARE), np.int32), np.empty((n, 2), np.int32))
    both: Any = (by_rank, *_reverse(by_rank))
    unused = empty_graph(n, width)
    map_blocks(lambda a, b: _list_both_ways(*both, a, b, lists, unused), n, n_jobs)
    entries = spread_rows(n)
    entries = entries[~np.isin(entries, without)].astype(np.int32)
    return _connect(Links(lists.ids, np.ascontiguousarray(lists.ends[:, 1]), entries, 0), near, without)
