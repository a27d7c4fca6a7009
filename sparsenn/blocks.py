"""Rows put together: blocks of a collection that is never whole in memory beside its index, and rows joined."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.rows import OverRows, Rows, as_rows, in_one

GROWTH = 1.25  # of room that has become too small


class _Growing:
    """An array that grows at its end, where the system can without a copy."""

    def __init__(self, dtype: Any):
        self.array: npt.NDArray[Any] = np.empty(0, dtype)
        self.size = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        end = self.size + len(values)
        if end > len(self.array):
            self.array.resize(max(end, int(GROWTH * len(self.array))), refcheck=False)
        self.array[self.size : end] = values
        self.size = end

    def finish(self) -> npt.NDArray[Any]:
        self.array.resize(self.size, refcheck=False)
        return self.array


def is_blocks(data: Any) -> bool:
    """Whether data comes as blocks of rows, one after another."""
    return hasattr(data, "__next__")


def read_blocks(blocks: Iterator[Any], *, bits: bool = False, name: str = "X") -> Rows:
    """Read blocks of rows, each as `as_rows` does, into one collection; each block may be forgotten after it.

    Parameters
    ----------
    blocks : iterator of array-like or sparse matrix
        All with the same number of columns, all sparse or all dense.

    Raises
    ------
    ValueError
        A bad block, whose number the message tells; no block at all.
    """
    lengths, indices, data = _Growing(np.int64), _Growing(np.int32), _Growing(np.float32)
    first: Rows | None = None
    n, negative, collision = 0, False, None
    for number, block in enumerate(blocks):
        called = f"block {number} of {name}"
        rows = as_rows(block, bits=bits, name=called)
        if first is None:
            first = replace(rows, data=rows.data[:0])
        if rows.container != first.container or rows.shape[1] != first.shape[1]:
            raise ValueError(
                f"{called} is {rows.container} with {rows.shape[1]} columns, but block 0 is {first.container} with "
                f"{first.shape[1]}: all blocks must have the same columns, and be sparse or dense alike"
            )
        lengths.append(np.diff(rows.indptr))
        data.append(rows.data)
        if rows.container == "csr":
            indices.append(rows.indices)
        if rows.collision is not None and collision is None:
            collision = (n + rows.collision[0], *rows.collision[1:])
        n, negative = n + len(rows), negative or rows.has_negative
    if first is None:
        raise ValueError(f"{name} has no blocks: an index needs at least one row")
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(lengths.finish(), out=indptr[1:])
    columns = indices.finish() if first.container == "csr" else first.indices
    return Rows(indptr, columns, data.finish(), (n, first.shape[1]), first.container, negative, collision)


def join_rows(parts: Sequence[Rows], over: OverRows = in_one) -> Rows:
    """Rows of one container and width, one after another; `over` maps a function over blocks of their values."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sparse = first.container == "csr"
    indices = _joined([part.indices for part in parts], over) if sparse else first.indices
    shape = (sum(len(part) for part in parts), first.shape[1])
    data = _joined([part.data for part in parts], over)
    return Rows(indptr, indices, data, shape, first.container, any(part.has_negative for part in parts))


def _joined(arrays: list[npt.NDArray[Any]], over: OverRows) -> npt.NDArray[Any]:
    """Arrays of one dtype, one after another."""
    ends = np.cumsum([len(array) for array in arrays])
    joined = np.empty(ends[-1], arrays[0].dtype)

    def copy(start: int, stop: int) -> None:
        for array, end in zip(arrays, ends, strict=True):
            begin = end - len(array)
            a, b = max(start, begin), min(stop, end)
            if a < b:
                joined[a:b] = array[a - begin : b - begin]

    over(copy, len(joined))
    return joined


def widen_rows(rows: Rows, n_columns: int) -> Rows:
    """Rows with more columns, which are 0."""
    n, m = rows.shape
    if rows.container == "csr" or n_columns == m:
        return replace(rows, shape=(n, n_columns))
    matrix = np.zeros((n, n_columns), np.float32)
    matrix[:, :m] = rows.matrix()
    indptr = np.arange(n + 1, dtype=np.int64) * n_columns
    columns = np.arange(n_columns, dtype=np.int32)
    return replace(rows, indptr=indptr, indices=columns, data=matrix.reshape(-1), shape=(n, n_columns))
