"""Dense rows kept small, for work that measures rows all over memory.

A row out of cache costs what its bytes cost to fetch. Values become whole numbers of one or two bytes on an
even grid, and their sums are taken in float32: near enough to tell which rows are worth measuring
again as they are.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn import traversal
from sparsenn._jit import entry
from sparsenn.distance import Compiled, Space, Store, evaluate
from sparsenn.termwise import make_workspace

RUNS, RUN = 8, 8  # rows measured both ways before compact ones are trusted: runs of them, and how long
CLOSE = 0.02  # part of a distance, and of the row's nearest, that it may be wrong by
SAMPLE = 2**16  # values looked at before all are
FINE = 2.0**-9  # a step of the grid, as a share of the values' spread, up to which two bytes are enough


@entry
def _survey(values):
    """Least and largest value, and whether all are whole numbers."""
    low, high, whole = values[0], values[0], True
    for t in range(values.shape[0]):
        low, high = min(low, values[t]), max(high, values[t])
        whole &= values[t] == np.floor(values[t])
    return low, high, whole


@entry
def _encode(values, low, scale, codes):
    """Write the numbers of the grid that are nearest to `values`."""
    for t in range(values.shape[0]):
        codes[t] = np.uint16((values[t] - low) / scale + np.float32(0.5))


class Code(NamedTuple):
    """How values are kept: the type of a code, the grid's step, and its least value."""

    kind: str
    step: float
    low: float


def code_for(values: npt.NDArray[np.float32]) -> Code:
    """Choose how values are kept.

    One byte or two where that loses nothing, as of images, counts and ratings; two where the grid is
    fine beside the spread of the values; otherwise the values as they are.
    """
    if not values.size:
        return Code("float32", 1.0, 0.0)
    low, high, whole = _survey(values)
    if whole and high - low <= 65535:
        return Code("uint8" if high - low <= 255 else "uint16", 1.0, float(low))
    step = (float(high) - float(low)) / 65535
    some = values[np.linspace(0, values.size - 1, min(SAMPLE, values.size)).astype(np.int64)]
    tenth, last = np.quantile(some, [0.1, 0.9])
    spread = float(last) - float(tenth)  # not the deviation, which a few large values would make
    if 0 < step <= FINE * spread:
        return Code("uint16", step, float(low))
    return Code("float32", 1.0, 0.0)


def compacted(space: Space, metric: Compiled, store: Store, code: Code | None = None) -> tuple[Compiled, Store]:
    """Metric and rows for measuring full rows against compact ones; as they are where that would not do."""
    term = space.dense_term
    if term is None:
        return metric, store
    kind, step, low = code or code_for(store.data)
    compact = store.data
    if kind != "float32":
        codes = np.empty(-(-store.data.size // 4) * 4, kind)
        _encode(store.data, np.float32(low), np.float32(step), codes)
        compact = codes.view(np.float32)  # compiled code sees one type of rows; the metric's loop knows better
    params = np.append(metric.params, [step, low])
    small = metric._replace(measure=traversal.sweep(term, kind), refine=0, params=params)
    kept = store._replace(data=compact)
    return (small, kept) if _agree(metric, store, small, kept) else (metric, store)


@entry
def _measure_few(metric, y, z, rows, out):
    """Surrogates of some rows among each other."""
    ws = make_workspace(0, 0)
    m = np.int64(rows.shape[0])
    for at in range(m):
        for r in range(m):
            ws.rows[r] = rows[r]
        evaluate(metric, y, np.int64(rows[at]), ws.w, z, ws.rows, m, ws.shared, ws.block, ws.out)
        for r in range(m):
            out[at, r] = ws.out[r]


def _agree(metric: Compiled, store: Store, small: Compiled, kept: Store) -> bool:
    """Whether distances of some rows are nearly the same either way: far ones, and those of rows that stand together.

    Rows that stand together (in a leaf, once a forest has put them in order) are near, and what the grid or float32
    loses shows in them first.
    """
    n = len(store.indptr) - 1
    begins = np.linspace(0, max(n - RUN, 0), RUNS).astype(np.int64)
    rows = np.unique(begins[:, None] + np.arange(RUN)) if n else np.zeros(0, np.int64)
    rows = rows[rows < n]
    m = len(rows)
    true, near = np.empty((m, m)), np.empty((m, m))
    _measure_few(metric, store, store, rows.astype(np.uint32), true)
    _measure_few(small, store, kept, rows.astype(np.uint32), near)
    if not (np.isfinite(true).all() and np.isfinite(near).all()):
        return False
    apart = np.where(true > 0.0, true, np.inf) if m else true
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(axis=1, initial=np.inf)
    room = np.where(np.isfinite(nearest), nearest, 0.0)[:, None] + np.abs(true)
    wrong = np.abs(near - true) > CLOSE * room
    np.fill_diagonal(wrong, False)
    return not wrong.any()
