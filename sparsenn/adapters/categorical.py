"""Tables of categories, and of numbers beside them, to one-hot rows."""

from collections.abc import Hashable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.fitting import Adapter
from sparsenn.adapters.inputs import frame_columns, frame_schema

MISSING = ("ignore", "category", "error")


class TableEncoder(Adapter):
    """One-hot rows of a table: a column for each category; numbers are scaled to 0..1.

    Parameters
    ----------
    categorical : list of str, optional
        Columns of categories; by default those that do not hold numbers.
    numeric : list of str, optional
        Columns of numbers; by default the others that hold numbers. With both given, further columns are left out.
    missing : "ignore", "category" or "error", default "ignore"
        A missing category (None, NaN): no column is set, so that two missing ones are equal, and one differs from a
        category by half of what two categories do; a category of its own; or an error. A missing number is the mean
        of its column.
    unseen : "ignore" or "error", default "ignore"
        A category that the fitted table lacks: no column is set, or an error.

    Attributes
    ----------
    columns_ : list of (str, value)
        What each column of the rows means: a column of the table and its category; None for a number.
    metric : str
        "matching" for categories alone: the share of columns in which two rows differ. With numbers "manhattan":
        categories are then set as 0.5, so that the distance is the sum of Gower's: 1 for each category that
        differs, and the difference of the scaled numbers (Gower 1971, A general coefficient of similarity, section 2).

    Examples
    --------
    >>> from sparsenn.adapters import TableEncoder
    >>> encoder = TableEncoder()
    >>> encoder.fit_transform({"cap": ["red", "brown", None], "gills": ["free", "free", "none"]}).toarray().tolist()
    [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    >>> encoder.columns_
    [('cap', 'brown'), ('cap', 'red'), ('gills', 'free'), ('gills', 'none')]
    """

    def __init__(
        self,
        categorical: Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
        *,
        missing: str = "ignore",
        unseen: str = "ignore",
    ):
        if missing not in MISSING:
            raise ValueError(f"missing must be one of {', '.join(map(repr, MISSING))}, got {missing!r}")
        if unseen not in ("ignore", "error"):
            raise ValueError(f"unseen must be 'ignore' or 'error', got {unseen!r}")
        twice = sorted(set(categorical or ()) & set(numeric or ()))
        if twice:
            raise ValueError(f"column {twice[0]!r} is in both categorical and numeric: choose one")
        self.categorical, self.numeric = categorical, numeric
        self.missing, self.unseen = missing, unseen
        self.columns_: list[tuple[str, Any]] | None = None
        self._categories: dict[str, dict[Any, int]] = {}
        self._scales: dict[str, tuple[float, float, float]] = {}  # least, 1 / range, mean of the scaled

    @property
    def metric(self) -> str:
        """The metric that fits the rows: it depends on whether there are numbers."""
        if self.columns_ is None:
            raise ValueError("this encoder knows no table yet: call fit_transform(table) first")
        return "manhattan" if self._scales else "matching"

    def fit_transform(self, data: Any) -> Any:
        """Learn the categories and scales of a table, and return its rows.

        Parameters
        ----------
        data : pandas, polars or pyarrow table, or a dict of columns

        Returns
        -------
        scipy.sparse.csr_matrix of float32

        Raises
        ------
        ValueError
            A column that is not there or of another kind, no rows, a missing value that is an error.
        """
        categorical, numeric = self._choose(data)
        names = [*categorical, *numeric]
        table = dict(zip(names, frame_columns(data, names), strict=True))
        categories, scales = {}, {}
        width = 0
        columns: list[tuple[str, Any]] = []
        for name in categorical:
            kinds = self._kinds(name, table[name])
            categories[name] = {value: width + at for at, value in enumerate(kinds)}
            columns += [(name, value) for value in kinds]
            width += len(kinds)
        for name in numeric:
            scales[name] = _scale_of(name, table[name])
            columns.append((name, None))
        before = self._categories, self._scales, self.columns_
        self._categories, self._scales, self.columns_ = categories, scales, columns
        try:
            return self._rows(table)
        except ValueError:
            self._categories, self._scales, self.columns_ = before
            raise

    def _choose(self, data: Any) -> tuple[list[str], list[str]]:
        schema = frame_schema(data)
        given = set(self.categorical or ()) | set(self.numeric or ())
        categorical, numeric = self.categorical, self.numeric
        if categorical is None:
            categorical = [name for name, is_number in schema.items() if not is_number and name not in given]
        if numeric is None:
            numeric = [name for name, is_number in schema.items() if is_number and name not in given]
        if not categorical and not numeric:
            raise ValueError("the table has no columns to encode")
        return list(categorical), list(numeric)

    def _kinds(self, name: str, values: list[Any]) -> list[Any]:
        try:
            distinct = set(values)
        except TypeError:
            at = next(at for at, value in enumerate(values) if not isinstance(value, Hashable))
            raise ValueError(
                f"column {name!r} has {values[at]!r} at row {at}, no category: lists are for SetEncoder"
            ) from None
        there = {value for value in distinct if not _is_missing(value)}
        try:
            kinds: list[Any] = sorted(there)
        except TypeError:  # values of several types
            kinds = sorted(there, key=lambda value: (type(value).__name__, str(value)))
        if self.missing == "category" and len(there) < len(distinct):
            kinds.append(None)
        return kinds

    def transform(self, data: Any) -> Any:
        """Rows of a table in the fitted columns.

        Raises
        ------
        ValueError
            Not fitted, a column that is not there, a missing or unseen category that is an error.
        """
        if self.columns_ is None:
            raise ValueError("this encoder knows no table yet: call fit_transform(table) first")
        names = [*self._categories, *self._scales]
        return self._rows(dict(zip(names, frame_columns(data, names), strict=True)))

    def _rows(self, table: dict[str, list[Any]]) -> Any:
        """Rows of the fitted columns, as lists."""
        from scipy.sparse import csr_matrix

        assert self.columns_ is not None
        n = len(next(iter(table.values())))
        if n == 0:
            raise ValueError("the table has no rows")
        parts = []
        for name, known in self._categories.items():
            found = self._places(name, known, table[name])
            there = np.flatnonzero(found >= 0)
            parts.append((there, found[there], np.full(len(there), 0.5 if self._scales else 1.0)))
        first = len(self.columns_) - len(self._scales)
        for at, (name, scale) in enumerate(self._scales.items()):
            scaled = _scaled(name, table[name], scale)
            parts.append((np.arange(n), np.full(n, first + at), scaled))
        rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        made = csr_matrix((values.astype(np.float32), (rows, columns)), shape=(n, len(self.columns_)))
        made.sort_indices()
        return made

    def _places(self, name: str, known: dict[Any, int], values: list[Any]) -> npt.NDArray[np.int64]:
        """Column of each value of a column of the table; -1 for none."""
        try:
            found = np.fromiter(map(known.get, values, repeat(-1)), np.int64, len(values))
        except TypeError:
            raise ValueError(f"column {name!r} has a value that is no category (a list?)") from None
        for at in np.flatnonzero(found < 0).tolist():
            found[at] = self._column(name, known, values[at], at)
        return found

    def _column(self, name: str, known: dict[Any, int], value: Any, at: int) -> int:
        if _is_missing(value):
            if self.missing == "error":
                raise ValueError(f"column {name!r} has a missing value at row {at}: fill it, or use missing='category'")
            return known.get(None, -1) if self.missing == "category" else -1
        column = known.get(value, -1)
        if column < 0 and self.unseen == "error":
            raise ValueError(f"column {name!r} has {value!r} at row {at}, which the fitted table lacks")
        return column


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _numbers(name: str, values: list[Any]) -> npt.NDArray[np.float64]:
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError):  # pd.NA, or no numbers
        try:
            found = np.array([np.nan if _is_missing(value) else float(value) for value in values])
        except (TypeError, ValueError) as error:
            raise ValueError(f"column {name!r} does not hold numbers ({error}): give it as categorical") from None
    if found.ndim != 1:
        raise ValueError(f"column {name!r} does not hold numbers, but lists")
    return _finite(name, found)


def _finite(name: str, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if np.isinf(numbers).any():
        raise ValueError(f"column {name!r} has an infinite value at row {int(np.argmax(np.isinf(numbers)))}")
    return numbers


def _scale_of(name: str, values: list[Any]) -> tuple[float, float, float]:
    numbers = _numbers(name, values)
    there = numbers[~np.isnan(numbers)]
    if not there.size:
        return 0.0, 0.0, 0.0
    least, most = float(there.min()), float(there.max())
    per = 1.0 / (most - least) if most > least else 0.0
    return least, per, float((there.mean() - least) * per)


def _scaled(name: str, values: list[Any], scale: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    least, per, mean = scale
    numbers = (_numbers(name, values) - least) * per
    return np.where(np.isnan(numbers), mean, numbers)
