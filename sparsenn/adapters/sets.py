"""Sets of items to rows of ones."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.fitting import Adapter
from sparsenn.adapters.inputs import frame_columns


class SetEncoder(Adapter):
    """Rows of ones from sets: baskets, tags, users and the things they touched.

    Parameters
    ----------
    spare : int, default 0
        Columns for items of queries that no fitted set has: each takes one, so that they count in the size of the
        set (and so in jaccard). Without, they are left out.

    Attributes
    ----------
    items_ : list or range
        The item of each column, in the order of first appearance; of a matrix, the numbers of its columns.
    metric : str
        "jaccard".

    Examples
    --------
    >>> from sparsenn.adapters import SetEncoder
    >>> baskets = [["bread", "milk"], ["milk", "beer"], ["beer", "crisps", "milk"]]
    >>> encoder = SetEncoder()
    >>> index = encoder.index(baskets)
    >>> index.query(encoder.transform([["beer", "crisps"]]), k=1).indices.tolist()
    [[2]]
    """

    metric = "jaccard"

    def __init__(self, spare: int = 0):
        if isinstance(spare, bool) or not hasattr(spare, "__index__") or spare < 0:
            raise ValueError(f"spare must be an integer of at least 0, got {spare!r}")
        self.spare = spare
        self.items_: Sequence[Hashable] | None = None
        self._columns: dict[Hashable, int] | None = None  # None: items are numbers of columns

    def fit_transform(self, data: Iterable[Iterable[Hashable]]) -> Any:
        """Learn the items of sets, and return a row of ones for each.

        Parameters
        ----------
        data : iterable of iterables of hashable items, or sparse matrix
            Repeated items count once. A sparse matrix is taken as it is: its columns are the items.

        Returns
        -------
        scipy.sparse.csr_matrix of float32

        Raises
        ------
        ValueError
            No sets, or a string in place of a set.
        """
        columns: dict[Hashable, int] | None = None
        if hasattr(data, "tocsr"):
            rows = _presence(data, self.spare)
        else:
            columns = {}
            found = [[columns.setdefault(item, len(columns)) for item in _items(s, i)] for i, s in enumerate(data)]
            rows = _ones(found, len(columns) + self.spare)
        if rows.shape[0] == 0:
            raise ValueError("there are no sets: give at least one")
        self._columns = columns
        self.items_ = range(rows.shape[1] - self.spare) if columns is None else list(columns)
        return rows

    def fit_transform_pairs(self, frame: Any, row: str, item: str) -> tuple[Any, list[Hashable]]:
        """The same for a long table, a line for each item of a set.

        Parameters
        ----------
        frame : pandas, polars or pyarrow table, or a dict of columns
        row, item : str
            Columns with the set's name and the item.

        Returns
        -------
        rows : scipy.sparse.csr_matrix of float32
        names : list
            The set of each row, in the order of first appearance.

        Raises
        ------
        ValueError
            A column that is not there.
        """
        names, items = frame_columns(frame, [row, item])
        sets: dict[Hashable, list[Hashable]] = {}
        for name, value in zip(names, items, strict=True):
            sets.setdefault(name, []).append(value)
        return self.fit_transform(sets.values()), list(sets)

    def transform(self, data: Any) -> Any:
        """Rows of sets in the fitted columns.

        Parameters
        ----------
        data : iterable of iterables of hashable items, or sparse matrix
            A matrix where a matrix was fitted, with as many columns. Of a fitted matrix, items are numbers of columns.

        Returns
        -------
        scipy.sparse.csr_matrix of float32

        Raises
        ------
        ValueError
            Not fitted, a string in place of a set, a matrix of other columns.
        """
        if self.items_ is None:
            raise ValueError("this encoder knows no items yet: call fit_transform(sets) first")
        width, rows = len(self.items_), []
        if hasattr(data, "tocsr"):
            if self._columns is not None:
                raise ValueError("the encoder was fitted to lists of items, which a matrix does not have: give lists")
            if data.shape[1] != width:
                raise ValueError(f"the matrix has {data.shape[1]:,} columns, and the fitted one has {width:,}")
            return _presence(data, self.spare)
        for i, items in enumerate(data):
            distinct = _items(items, i)
            row = [column for item in distinct if (column := self._column(item)) >= 0]
            unknown = min(len(distinct) - len(row), self.spare)
            rows.append(row + [width + at for at in range(unknown)])
        return _ones(rows, width + self.spare)

    def _column(self, item: Any) -> int:
        """Column of an item; -1 where there is none."""
        if self._columns is not None:
            return self._columns.get(item, -1)
        there = hasattr(item, "__index__") and 0 <= item < len(self.items_ or ())
        return int(item) if there else -1


def _items(items: Any, at: int) -> dict[Hashable, None]:
    """Distinct items, in their order."""
    if isinstance(items, str | bytes):
        raise ValueError(f"set {at} is the string {items!r}: give a list of items, e.g. [{items!r}]")
    try:
        return dict.fromkeys(items)
    except TypeError as error:
        raise ValueError(f"set {at} must be an iterable of hashable items ({error})") from None


def _presence(data: Any, spare: int) -> Any:
    """Rows of ones where a matrix is not 0, with columns to spare."""
    from scipy.sparse import csr_matrix

    rows = csr_matrix(data, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    ones = np.ones(rows.nnz, np.float32)
    return csr_matrix((ones, rows.indices, rows.indptr), shape=(rows.shape[0], rows.shape[1] + spare))


def _ones(rows: list[list[int]], width: int) -> Any:
    from scipy.sparse import csr_matrix

    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    indptr: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.fromiter((column for row in rows for column in row), np.int32, int(indptr[-1]))
    made = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), width))
    made.sort_indices()
    return made
