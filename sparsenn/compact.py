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

PAIRS = 16  # rows measured both ways before float32 is trusted
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

    One byte where that loses nothing, as of images, counts and ratings; two where the grid is fine
    beside the spread of the values; otherwise the values as they are.
    """
    if not values.size:
        return Code("float32", 1.0, 0.0)
    low, high, whole = _survey(values)
    if whole and high - low <= 255:
        return Code("uint8", 1.0, float(low))
    step = (float(high) - float(low)) / 65535
    tenth, last = np.quantile(values[:: max(values.size // SAMPLE, 1)], [0.1, 0.9])
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
    """Whether distances of some rows are the same either way, but for a hundredth: float32 may overflow."""
    n = len(store.indptr) - 1
    rows = np.unique(np.linspace(0, n - 1, PAIRS).astype(np.uint32)) if n else np.zeros(0, np.uint32)
    true, near = np.empty((len(rows), len(rows))), np.empty((len(rows), len(rows)))
    _measure_few(metric, store, store, rows, true)
    _measure_few(small, store, kept, rows, near)
    scale = np.abs(true).mean() if true.size else 0.0
    return bool(np.allclose(near, true, rtol=0.01, atol=0.01 * scale)) and bool(np.isfinite(near).all())
