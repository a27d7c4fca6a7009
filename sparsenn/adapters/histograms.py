"""Samples and mixtures to distributions over ordered or unordered columns."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.fitting import Adapter


class HistogramEncoder(Adapter):
    """Histograms of samples over the same bins: a row for each sample.

    Parameters
    ----------
    bins : int or array of float, default 64
        How many bins of equal width over the range of the fitted samples, or their edges.

    Attributes
    ----------
    edges_ : ndarray of float64
        Edges of the bins; values outside of them count in the first or last bin.
    metric : str
        "wasserstein_1d": neighbouring bins are near, in units of bins. hellinger and jensen_shannon take bins without
        an order.

    Examples
    --------
    >>> from sparsenn.adapters import HistogramEncoder
    >>> encoder = HistogramEncoder(bins=4)
    >>> encoder.fit_transform([[0.0, 1.0, 4.0], [2.0, 2.5]]).tolist()
    [[1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 2.0, 0.0]]
    """

    metric = "wasserstein_1d"
    ordered = True

    def __init__(self, bins: Any = 64):
        if np.ndim(bins) == 0:
            if isinstance(bins, bool) or not hasattr(bins, "__index__") or bins < 1:
                raise ValueError(f"bins must be an integer of at least 1, or edges, got {bins!r}")
        else:
            edges = np.asarray(bins, np.float64)
            if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
                raise ValueError("edges of bins must be two or more finite numbers that rise")
        self.bins = bins
        self.edges_: npt.NDArray[np.float64] | None = None

    def fit_transform(self, data: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Choose the edges, and return the histograms.

        Parameters
        ----------
        data : sequence of sequences of numbers
            The samples; their lengths may differ.

        Returns
        -------
        ndarray of float32, shape (n_samples, n_bins)

        Raises
        ------
        ValueError
            No samples, or values that are not finite numbers.
        """
        samples = [_sample(values, at) for at, values in enumerate(data)]
        if not samples:
            raise ValueError("there are no samples: give at least one")
        if np.ndim(self.bins):
            edges = np.asarray(self.bins, np.float64)
        else:
            every = np.concatenate(samples)
            if not every.size:
                raise ValueError("all samples are empty: the bins cannot be chosen")
            low, high = float(every.min()), float(every.max())
            edges = np.linspace(low, high if high > low else low + 1.0, int(self.bins) + 1)
        self.edges_ = edges
        return _histograms(samples, edges)

    def transform(self, data: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Histograms of samples over the fitted bins."""
        if self.edges_ is None:
            raise ValueError("this encoder has no bins yet: call fit_transform(samples) first")
        return _histograms([_sample(values, at) for at, values in enumerate(data)], self.edges_)


def _sample(values: Any, at: int) -> npt.NDArray[np.float64]:
    if np.ndim(values) == 0:
        raise ValueError(f"sample {at} is {values!r}: give a list of numbers for each sample, e.g. [[{values!r}]]")
    found = np.asarray(values, np.float64).ravel()
    if not np.isfinite(found).all():
        raise ValueError(f"sample {at} has a value that is not finite: drop missing values first")
    return found


def _histograms(samples: list[npt.NDArray[np.float64]], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    n = len(edges) - 1
    out = np.zeros((len(samples), n), np.float32)
    for row, sample in zip(out, samples, strict=True):
        row += np.bincount(np.clip(np.searchsorted(edges, sample, side="right") - 1, 0, n - 1), minlength=n)
    return out


class MixtureEncoder(Adapter):
    """Rows of shares that sum to 1: topics of documents, mixtures of components.

    Attributes
    ----------
    metric : str
        "hellinger"; jensen_shannon and symmetric_kl fit as well.

    Examples
    --------
    >>> from sparsenn.adapters import MixtureEncoder
    >>> MixtureEncoder().fit_transform([[2.0, 2.0], [0.0, 5.0]]).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """

    metric = "hellinger"

    def fit_transform(self, data: Any) -> Any:
        """Return rows divided by their sums.

        Parameters
        ----------
        data : array-like or sparse matrix of numbers of at least 0, shape (n_rows, n_columns)

        Returns
        -------
        ndarray of float32, or scipy.sparse.csr_matrix of float32 where the data is sparse

        Raises
        ------
        ValueError
            Negative values, values that are not finite, rows that sum to 0.
        """
        if hasattr(data, "tocsr"):
            return _sparse_shares(data)
        matrix = np.asarray(data, np.float64)
        if matrix.ndim != 2:
            raise ValueError(f"mixtures must have 2 dimensions (rows and components), got {matrix.ndim}")
        bad = ~np.isfinite(matrix) | (matrix < 0)
        if bad.any():
            _complain(matrix, *np.argwhere(bad)[0])
        return (matrix / _sums(matrix)[:, None]).astype(np.float32)

    transform = fit_transform


def _sparse_shares(data: Any) -> Any:
    from scipy.sparse import csr_matrix

    matrix = csr_matrix(data, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    bad = np.flatnonzero(~np.isfinite(matrix.data) | (matrix.data < 0))
    if bad.size:
        row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
        _complain(matrix, row, int(matrix.indices[bad[0]]))
    matrix.data /= np.repeat(_sums(matrix), np.diff(matrix.indptr))
    return matrix.astype(np.float32)


def _complain(matrix: Any, row: int, column: int) -> NoReturn:
    raise ValueError(f"mixtures must be finite and at least 0: got {matrix[row, column]} at row {row}, column {column}")


def _sums(matrix: Any) -> npt.NDArray[np.float64]:
    sums: npt.NDArray[np.float64] = np.asarray(matrix.sum(axis=1), np.float64).ravel()
    if (sums == 0).any():
        raise ValueError(f"row {int(np.argmin(sums))} sums to 0: it is no mixture")
    return sums
