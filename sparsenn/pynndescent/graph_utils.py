"""Graphs of neighbours as matrices, and whole."""

from itertools import combinations
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from sparsenn.pynndescent.nndescent import NNDescent

EPS = np.finfo(np.float32).eps


def adjacency_matrix_representation(neighbor_indices: Any, neighbor_distances: Any) -> Any:
    """Return a `neighbor_graph` as a symmetric matrix.

    Parameters
    ----------
    neighbor_indices : array of int, shape (n, k)
        -1 for none.
    neighbor_distances : array of float, shape (n, k)
        A distance of 0 becomes float32's ε, so that its edge is there. The array is not changed.

    Returns
    -------
    csr_array of float32, shape (n, n)
        The larger of both distances, where each row has the other.
    """
    indices = np.asarray(neighbor_indices)
    there = indices >= 0
    values = np.asarray(neighbor_distances, np.float32)[there]
    rows = np.repeat(np.arange(len(indices)), there.sum(axis=1))
    graph = sp.csr_array((np.where(values == 0, EPS, values), (rows, indices[there])), shape=(len(indices),) * 2)
    return graph.maximum(graph.T).tocsr()


def connect_graph(graph: Any, index: NNDescent, search_size: int = 10, n_jobs: int | None = None) -> Any:
    """Join the parts of a graph: between each two, the shortest edge there is.

    Parameters
    ----------
    graph : sparse matrix, shape (n, n)
        Of the rows of `index`, e.g. of `adjacency_matrix_representation`.
    index : NNDescent
    search_size : int, default 10
        Without effect: the nearest pair is found exactly.
    n_jobs : int, optional
        Threads; those of the index if not given.

    Returns
    -------
    csr matrix, shape (n, n)
        The graph with the edges in both directions; of length ε between equal rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sparsenn.pynndescent import NNDescent
    >>> from sparsenn.pynndescent.graph_utils import adjacency_matrix_representation, connect_graph
    >>> index = NNDescent(np.array([[0.0], [1.0], [5.0], [6.0]]), n_neighbors=2)
    >>> graph = adjacency_matrix_representation(*index.neighbor_graph)
    >>> float(connect_graph(graph, index)[1, 2])
    4.0
    """
    n_parts, part = connected_components(graph)
    joined = graph.tolil()
    for a, b in combinations(range(n_parts), 2):
        few, many = sorted((np.flatnonzero(part == a), np.flatnonzero(part == b)), key=len)
        found = index._index.query(index._raw_data[few], 1, allowed=many, n_jobs=n_jobs)
        nearest = int(np.argmin(found.distances[:, 0]))
        i, j = few[nearest], found.indices[nearest, 0]
        joined[i, j] = joined[j, i] = max(float(index._values(found.distances)[nearest, 0]), EPS)
    return joined.tocsr()
