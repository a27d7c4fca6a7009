"""Which rows a query may find: those of its own label.

A mask or ids of rows, and "the same class only", come down to one thing: a label for each row and one for
each query. The searches look at nothing else.
"""

from collections import namedtuple
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import kernel

# int32: `labels` of the rows, from 0, -1 for rows that no query may find; `wanted`, the label of each query.
# Both empty: every query may find every row.
Filter = namedtuple("Filter", "labels wanted")
NO_FILTER = Filter(np.zeros(0, np.int32), np.zeros(0, np.int32))

NUMBERS, TEXTS = "biuf", "SU"


@kernel
def eligible(filter: Filter, i: int, row: int, skip: int) -> Any:
    """Whether query `i` may find `row`, which `skip` (the query itself) is not."""
    return row != skip and (filter.labels.shape[0] == 0 or filter.labels[row] == filter.wanted[i])


def make_filter(allowed: Any, groups: Any, n_rows: int, n_queries: int) -> Filter | None:
    """Read what a user allows; None where that is everything.

    Parameters
    ----------
    allowed : array-like of bool, shape (n_rows,), or of int, or None
        A mask of the rows, or their ids.
    groups : (array-like, array-like) or None
        Labels of the rows and of the queries.
    n_rows, n_queries : int

    Returns
    -------
    Filter or None

    Raises
    ------
    ValueError
        A wrong shape or type, an id that is no row, labels that cannot be compared.
    """
    mask = None if allowed is None else _read_allowed(allowed, n_rows)
    if groups is None:
        return None if mask is None else Filter(mask.astype(np.int32) - 1, np.zeros(n_queries, np.int32))
    labels, wanted = _encode(*_read_groups(groups, n_rows, n_queries))
    if mask is not None:
        labels[~mask] = -1
    return Filter(labels, wanted)


def _read_allowed(allowed: Any, n_rows: int) -> npt.NDArray[np.bool_]:
    """Read a mask of the rows, or their ids, as a mask."""
    array = np.asarray(allowed)
    if array.ndim == 1 and array.dtype == np.bool_:
        if len(array) != n_rows:
            raise ValueError(f"allowed has {len(array)} values, but the index has {n_rows} rows: a mask has one each")
        return array
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"allowed must be a boolean mask of shape ({n_rows},) or ids of rows, integers in one dimension, "
            f"got {array.dtype} of shape {array.shape}"
        )
    mask = np.zeros(n_rows, np.bool_)
    wrong = (array < 0) | (array >= n_rows)
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"allowed has {array[place]} at place {place}: ids of rows go from 0 to {n_rows - 1}")
    mask[array.astype(np.int64)] = True
    return mask


def _read_groups(groups: Any, n_rows: int, n_queries: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Labels of the rows and of the queries, as arrays of what can be compared."""
    if not isinstance(groups, tuple | list) or len(groups) != 2:
        got = f"{len(groups)} of them" if isinstance(groups, tuple | list) else type(groups).__name__
        raise ValueError(f"groups must be a pair, labels of the rows and labels of the queries, got {got}")
    rows, queries = (_label_array(part) for part in groups)
    for labels, name, n in ((rows, "rows", n_rows), (queries, "queries", n_queries)):
        if labels.shape != (n,):
            raise ValueError(f"groups: the labels of the {name} have shape {labels.shape}, but there are {n} {name}")
    kinds = [next((k for k in (NUMBERS, TEXTS) if a.dtype.kind in k), a.dtype.kind) for a in (rows, queries)]
    if "O" not in kinds and kinds[0] != kinds[1] and rows.size and queries.size:
        raise ValueError(
            f"groups: labels of the rows are {rows.dtype} and of the queries {queries.dtype}, which are never equal: "
            "give both as numbers or both as text"
        )
    return rows, queries


def _label_array(labels: Any) -> npt.NDArray[Any]:
    """Labels as an array; a list of unlike things (numbers and text, say) stays what it is."""
    if isinstance(labels, list | tuple):
        kinds = {type(label) for label in labels}
        if len(kinds) > 1 or kinds & {tuple, frozenset}:
            return np.fromiter(labels, object, len(labels))
    return np.asarray(labels)


def _encode(rows: npt.NDArray[Any], queries: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Labels as numbers from 0; -1 for rows whose label no query has. NaN equals nothing."""
    if rows.dtype.kind == queries.dtype.kind != "O":
        known, which = np.unique(queries, return_inverse=True)
        if not known.size:
            return np.full(len(rows), -1, np.int32), which.astype(np.int32)
        place = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        return np.where(known[place] == rows, place, -1).astype(np.int32), which.astype(np.int32)
    # Python compares them: no 64-bit integer is rounded to a float, and labels need no order
    codes: dict[Any, int] = {}
    try:
        wanted = np.array([codes.setdefault(label, len(codes)) for label in queries.tolist()], np.int32)
        labels = np.array([codes.get(label, -1) if label == label else -1 for label in rows.tolist()], np.int32)
    except TypeError as error:
        raise ValueError(f"groups: a label cannot be compared ({error}): take numbers, text or tuples") from None
    return labels, wanted
