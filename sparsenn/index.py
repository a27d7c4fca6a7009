"""The index: fit once, ask often."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsenn.exact import ExactEngine, check_k, check_radius, fit_space
from sparsenn.metrics import resolve
from sparsenn.parallel import count_jobs
from sparsenn.results import Neighbors, RaggedNeighbors

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METHODS = ("auto", "exact")
WAYS = {
    "postings": "a term at a time over inverted lists",
    "products": "blocks of inner products",
    "blocks": "blocks of whole rows",
}


class Index:
    """Nearest neighbours of sparse or dense rows.

    Parameters
    ----------
    metric : str, metric or compiled function, default "cosine"
        A name (``sparsenn.metrics.names()``), an alias, ``sparsenn.metrics.minkowski(p=3)``, or a
        function compiled by ``numba.njit``: of two dense rows, or of ``(ind1, data1, ind2, data2)``.
    metric_params : dict, optional
        The metric's parameters, e.g. ``{"p": 3}``.
    n_neighbors : int, default 15
        Neighbours a row in `neighbor_graph`.
    method : "auto" or "exact", default "auto"
        "exact" compares by whatever is fastest for the metric and the rows, and is always right.
        "auto" chooses the method; this version knows no other than "exact".
    random_state : int or None, default 0
        Seed for methods that draw. The exact method draws nothing, and gives the same answer for any seed.
    n_jobs : int or None, default None
        Threads; None and -1 are all processors. May be set on a fitted index, or given to a call.

    Attributes
    ----------
    n_rows, n_features : int
        Shape of the fitted rows.
    neighbor_graph : Neighbors
        The `n_neighbors` nearest rows of each row, itself left out; made when first asked for.

    Examples
    --------
    >>> import numpy as np, sparsenn as sn
    >>> index = sn.Index(metric="jaccard").fit(np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]]))
    >>> indices, distances = index.query(np.array([[1, 1, 0]]), k=2)
    >>> indices.tolist()
    [[0, 2]]
    """

    def __init__(
        self,
        metric: Any = "cosine",
        metric_params: Mapping[str, Any] | None = None,
        n_neighbors: int = 15,
        method: str = "auto",
        random_state: int | None = 0,
        n_jobs: int | None = None,
    ):
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        if random_state is not None and (isinstance(random_state, bool) or not hasattr(random_state, "__index__")):
            raise ValueError(f"random_state must be an integer or None, got {random_state!r}")
        resolve(metric, metric_params)
        count_jobs(n_jobs)
        self.metric = metric
        self.metric_params = metric_params
        self.n_neighbors = check_k(n_neighbors, "n_neighbors")
        self.method = method
        self.random_state = random_state
        self.n_jobs = n_jobs
        self._engine: ExactEngine | None = None
        self._graph: Neighbors | None = None

    def fit(self, X: Any) -> "Index":  # noqa: N803
        """Take the rows to search. They are copied; the input is not changed.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_rows, n_columns)

        Returns
        -------
        Index
            The index itself.

        Raises
        ------
        ValueError
            Bad data, or data the metric does not take. The index stays as it was.
        """
        space, rows = fit_space(X, self.metric, self.metric_params)
        if len(rows) == 0:
            raise ValueError("X has no rows: an index needs at least one")
        self._engine = ExactEngine(space, rows)
        self._graph = None
        return self

    def _fitted(self) -> ExactEngine:
        if self._engine is None:
            raise ValueError("this index has no rows yet: call fit(X) first")
        return self._engine

    @property
    def n_rows(self) -> int:
        """Number of fitted rows."""
        return self._fitted().n_rows

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._fitted().space.n_features

    def __len__(self) -> int:
        return self.n_rows

    def query(
        self,
        Q: Any,
        k: int = 10,
        *,
        n_jobs: int | None = None,  # noqa: N803
    ) -> Neighbors:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        k : int, default 10
        n_jobs : int, optional
            Threads of this call; the index's own if not given.

        Returns
        -------
        Neighbors
            ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k), by (distance, id);
            -1 and infinity where the index has fewer than k rows.

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, k under 1.
        """
        engine = self._fitted()
        k, jobs = check_k(k), self._jobs(n_jobs)
        return engine.nearest(engine.space.read(Q, "Q"), k, jobs)

    def query_radius(
        self,
        Q: Any,
        radius: float,
        *,
        n_jobs: int | None = None,  # noqa: N803
    ) -> RaggedNeighbors:
        """Find all rows within a distance of each query; the radius itself is included.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        radius : float
        n_jobs : int, optional
            Threads of this call; the index's own if not given.

        Returns
        -------
        RaggedNeighbors
            ``indptr``, ``indices``, ``distances``, each query's by (distance, id).

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, a radius that is not a number.
        """
        engine = self._fitted()
        radius, jobs = check_radius(radius), self._jobs(n_jobs)
        return engine.within(engine.space.read(Q, "Q"), radius, jobs)

    @property
    def neighbor_graph(self) -> Neighbors:
        """The `n_neighbors` nearest rows of each row, itself left out."""
        if self._graph is None or self._graph.indices.shape[1] != self.n_neighbors:
            self._graph = self._fitted().nearest(None, check_k(self.n_neighbors, "n_neighbors"), self.n_jobs)
        return self._graph

    def to_csr(self, mode: str = "distance", include_self: bool = False) -> "csr_matrix":
        """Return the neighbour graph as a sparse matrix.

        Parameters
        ----------
        mode : "distance" or "connectivity", default "distance"
            Store distances (a distance of 0 is stored too), or ones.
        include_self : bool, default False
            Let each row begin with itself, at distance 0 (1 for connectivity).

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape (n_rows, n_rows)
            Each row's neighbours nearest first. Places with no neighbour are left out.

        Raises
        ------
        ValueError
            If `mode` is neither.
        """
        from scipy.sparse import csr_matrix

        if mode not in ("distance", "connectivity"):
            raise ValueError(f"mode must be 'distance' or 'connectivity', got {mode!r}")
        indices, values = self.neighbor_graph
        if mode == "connectivity":
            values = np.ones_like(values)
        n = self.n_rows
        if include_self:
            own: npt.NDArray[Any] = np.full((n, 1), 1.0 if mode == "connectivity" else 0.0, np.float32)
            indices, values = np.hstack([np.arange(n)[:, None], indices]), np.hstack([own, values])
        there = indices >= 0
        indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return csr_matrix((values[there], indices[there], indptr), shape=(n, n))

    def _jobs(self, n_jobs: int | None) -> int:
        return count_jobs(self.n_jobs if n_jobs is None else n_jobs)

    def __repr__(self) -> str:
        name = repr(resolve(self.metric, self.metric_params))
        if self._engine is None:
            return f"Index(metric={name}, method={self.method!r}, not fitted)"
        engine = self._engine
        rows = f"{engine.n_rows:,} {engine.space.container} rows x {engine.space.n_features:,} columns"
        return f"Index(metric={name}, method='exact': {WAYS[engine.way]}, {rows}, {engine.nbytes / 1e6:.1f} MB)"
