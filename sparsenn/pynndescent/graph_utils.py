"""Graphs of neighbours as matrices, and whole."""

from collections.abc import Callable
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
    order = np.argsort(np.bincount(part, minlength=n_parts)[part] * n_parts + part, kind="stable")
    last = np.append(np.flatnonzero(np.diff(part[order])) + 1, len(order))
    ends, begin = [], 0
    for end in last[:-1]:  # the smallest first: the rows of all larger parts look for their nearest in it
        few, others = order[begin:end], order[end:]
        found = index._index.query(index._raw_data[others], 1, allowed=few, n_jobs=n_jobs)
        nearest = np.lexsort((found.distances[:, 0], part[others]))
        first = nearest[np.unique(part[others][nearest], return_index=True)[1]]
        length = np.maximum(index._values(found.distances[first, 0]), EPS)
        ends.append((others[first], found.indices[first, 0], length))
        begin = end
    if not ends:
        return graph.tocsr()
    i, j, length = (np.concatenate(arrays) for arrays in zip(*ends, strict=True))
    old = graph.tocoo()
    values = np.concatenate([old.data, length, length]).astype(graph.dtype)
    whole = sp.csr_array if isinstance(graph, sp.sparray) else sp.csr_matrix
    return whole((values, (np.concatenate([old.row, i, j]), np.concatenate([old.col, j, i]))), shape=graph.shape)


def create_component_search(index: NNDescent) -> Callable[..., Any]:
    """Return the search that `find_component_connection_edge` takes.

    Returns
    -------
    callable
        ``search(query_points, candidate_indices, k, epsilon, visited)``: indices and distances of the k nearest of the
        candidates, exactly, and nearest first; `epsilon` and `visited` are without effect.
    """

    def search(query_points: Any, candidate_indices: Any, k: int, epsilon: float = 0.0, visited: Any = None) -> Any:
        found = index._index.query(query_points, k, allowed=candidate_indices)
        return found.indices, index._values(found.distances)

    return search


def find_component_connection_edge(
    component1: Any,
    component2: Any,
    search_closure: Callable[..., Any],
    raw_data: Any,
    visited: Any = None,
    rng_state: Any = None,
    search_size: int = 10,
    epsilon: float = 0.0,
) -> tuple[int, int, float]:
    """Return the shortest edge between two parts: a row of each, and their distance.

    Parameters
    ----------
    component1, component2 : array of int
        Rows of the index, as they were given to it.
    search_closure : callable
        Of `create_component_search`.
    raw_data : array or sparse matrix
        ``index._raw_data``.
    visited, rng_state, search_size, epsilon
        Without effect: the edge is found exactly.
    """
    indices, distances = search_closure(raw_data[component1], component2, 1, epsilon, visited)
    nearest = int(np.argmin(distances[:, 0]))
    return int(component1[nearest]), int(indices[nearest, 0]), float(distances[nearest, 0])
