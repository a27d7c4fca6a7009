"""What searches return: plain tuples of arrays, with names."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Neighbors(NamedTuple):
    """The nearest rows of each query, nearest first; ties by id.

    Attributes
    ----------
    indices : ndarray of int64, shape (n_queries, k)
        Row ids; -1 where fewer than k rows were eligible.
    distances : ndarray of float32, shape (n_queries, k)
        Their distances; infinity where the id is -1.
    """

    indices: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


class RaggedNeighbors(NamedTuple):
    """All rows within a radius of each query, nearest first; ties by id.

    The neighbours of query `q` stand at ``[indptr[q], indptr[q + 1])`` of the other two.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_queries + 1,)
    indices : ndarray of int64
    distances : ndarray of float32
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


class Pairs(NamedTuple):
    """Pairs of rows and how similar they are.

    Attributes
    ----------
    i, j : ndarray of int64, shape (n_pairs,)
        Row ids: of one set of rows with ``i < j``, or `i` of the first and `j` of the second set.
    similarity : ndarray of float64, shape (n_pairs,)
    """

    i: npt.NDArray[np.int64]
    j: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]


class RecallEstimate(NamedTuple):
    """Share of the true neighbours that a graph has, from a sample of its rows.

    Attributes
    ----------
    recall : float
        Mean over the sampled rows; a neighbour counts if it is no farther than the true k-th.
    low, high : float
        95 % confidence interval.
    sample : int
        Rows compared with exact search.
    """

    recall: float
    low: float
    high: float
    sample: int
