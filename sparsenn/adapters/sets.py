"""Sets of items to rows of ones."""

from collections.abc import Hashable, Iterable
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
    items_ : list
        The item of each column, in the order of first appearance.
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
        self.items_: list[Hashable] | None = None
        self._columns: dict[Hashable, int] = {}

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
        columns: dict[Hashable, int] = {}
        if hasattr(data, "tocsr"):
            rows = (data.tocsr() != 0).astype(np.float32)
            columns = {item: item for item in range(rows.shape[1])}
        else:
            found = [[columns.setdefault(item, len(columns)) for item in _items(s, i)] for i, s in enumerate(data)]
            rows = _ones(found, len(columns) + self.spare)
        if rows.shape[0] == 0:
            raise ValueError("there are no sets: give at least one")
        self._columns, self.items_ = columns, list(columns)
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

    def transform(self, data: Iterable[Iterable[Hashable]]) -> Any:
        """Rows of sets in the fitted columns.

        Raises
        ------
        ValueError
            Not fitted, or a string in place of a set.
        """
        if self.items_ is None:
            raise ValueError("this encoder knows no items yet: call fit_transform(sets) first")
        known, rows = self._columns, []
        for i, items in enumerate(data):
            distinct = _items(items, i)
            row = [known[item] for item in distinct if item in known]
            unknown = min(len(distinct) - len(row), self.spare)
            rows.append(row + [len(known) + at for at in range(unknown)])
        return _ones(rows, len(known) + self.spare)


def _items(items: Any, at: int) -> dict[Hashable, None]:
    """Distinct items, in their order."""
    if isinstance(items, str | bytes):
        raise ValueError(f"set {at} is the string {items!r}: give a list of items, e.g. [{items!r}]")
    try:
        return dict.fromkeys(items)
    except TypeError as error:
        raise ValueError(f"set {at} must be an iterable of hashable items ({error})") from None


def _ones(rows: list[list[int]], width: int) -> Any:
    from scipy.sparse import csr_matrix

    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    indptr: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.fromiter((column for row in rows for column in row), np.int32, int(indptr[-1]))
    made = csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), width))
    made.sort_indices()
    return made
