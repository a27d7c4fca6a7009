"""The index: fit once, ask often."""

import dataclasses
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsenn.exact import ExactEngine, check_k, check_radius, fit_space
from sparsenn.filters import make_filter
from sparsenn.metrics import resolve
from sparsenn.neighborgraph import build_graph, silent
from sparsenn.parallel import count_jobs
from sparsenn.planning import Plan, Settings, make_plan
from sparsenn.results import Neighbors, RaggedNeighbors, RecallEstimate

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METHODS = ("auto", "exact", "graph")
SEEDS = ("auto", "heads", "forest", "random")
WAYS = {
    "postings": "a term at a time over inverted lists",
    "patterns": "by patterns of the commonest columns, and inverted lists of the others",
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
    method : "auto", "exact" or "graph", default "auto"
        How `neighbor_graph` is made. "exact" compares by whatever is fastest for the metric and the
        rows, and is always right. "graph" makes an approximate graph when fitted: seeds, improved by
        NN-descent. "auto" takes the one with the lower predicted cost, see `plan_`. Queries are
        answered exactly whatever the method, in this version.
    random_state : int or None, default 0
        Seed of what is drawn at random; the same seed gives the same graph bit for bit, whatever
        `n_jobs`. None draws a seed. The exact method draws nothing.
    n_jobs : int or None, default None
        Threads; None and -1 are all processors. May be set on a fitted index, or given to a call.
    seeds : "auto", "heads", "forest" or "random", default "auto"
        What the approximate graph starts from: the heads of inverted lists (weighted sparse rows whose
        nearest share a term with them), a random projection forest (any rows), or random rows.
    n_trees, leaf_size : int, optional
        Trees of the forest, and most rows of a leaf.
    max_candidates : int, optional
        Neighbours of a row, and as many rows that have it as one, that take part in a round of descent;
        no more than the lists that descent keeps, of max(n_neighbors + 5, 20) rows.
    n_iters : int, optional
        Most rounds of descent.
    delta : float, default 0.002
        Descent stops when a round takes fewer than this share of all edges.
    init_graph : array of int, shape (n_rows, any), or Neighbors, optional
        Neighbours to start from in place of seeds; -1 for none. "auto" then means "graph".
    verbose : bool, default False
        Show a progress bar for each stage. Stages are also logged (logger "sparsenn", level INFO).

    Attributes
    ----------
    n_rows, n_features : int
        Shape of the fitted rows.
    neighbor_graph : Neighbors
        The `n_neighbors` nearest rows of each row, itself left out. The exact method makes it when
        first asked for, the graph method when fitted.
    plan_ : Plan
        The method chosen for this data, why, and the predicted times.

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
        *,
        seeds: str = "auto",
        n_trees: int | None = None,
        leaf_size: int | None = None,
        max_candidates: int | None = None,
        n_iters: int | None = None,
        delta: float = 0.002,
        init_graph: Any = None,
        verbose: bool = False,
    ):
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
        if random_state is not None and (isinstance(random_state, bool) or not hasattr(random_state, "__index__")):
            raise ValueError(f"random_state must be an integer or None, got {random_state!r}")
        if seeds not in SEEDS:
            raise ValueError(f"seeds must be one of {', '.join(map(repr, SEEDS))}, got {seeds!r}")
        for name, value in (("n_trees", n_trees), ("leaf_size", leaf_size), ("max_candidates", max_candidates)):
            if value is not None:
                check_k(value, name)
        if n_iters is not None and n_iters != 0:
            check_k(n_iters, "n_iters")
        if not isinstance(delta, int | float | np.number) or not 0 <= delta < 1:
            raise ValueError(f"delta must be at least 0 and below 1, got {delta!r}")
        resolve(metric, metric_params)
        count_jobs(n_jobs)
        self.seeds = seeds
        self.n_trees, self.leaf_size = n_trees, leaf_size
        self.max_candidates, self.n_iters, self.delta = max_candidates, n_iters, delta
        self.init_graph = init_graph
        self.verbose = verbose
        self.metric = metric
        self.metric_params = metric_params
        self.n_neighbors = check_k(n_neighbors, "n_neighbors")
        self.method = method
        self.random_state = random_state
        self.n_jobs = n_jobs
        self._engine: ExactEngine | None = None
        self._graph: Neighbors | None = None
        self._plan: Plan | None = None

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
        engine = ExactEngine(space, rows, self.n_jobs)
        given = _read_graph(self.init_graph, len(rows))
        plan, graph = self._planned(engine, given)
        self._engine, self._plan, self._graph, self._given = engine, plan, graph, given
        return self

    def _planned(self, engine: ExactEngine, given: npt.NDArray[np.int32] | None) -> tuple[Plan, Neighbors | None]:
        """Make a plan for `n_neighbors`, and the graph if it wants one."""
        k = check_k(self.n_neighbors, "n_neighbors")
        settings = Settings(
            self.seeds, self.n_trees, self.leaf_size, self.max_candidates, self.n_iters, float(self.delta)
        )
        plan = make_plan(engine, k, self.method, settings, given is not None)
        if plan.method == "exact":
            return plan, None
        graph = build_graph(
            engine,
            k,
            plan,
            seed=np.random.SeedSequence(self._entropy()).generate_state(1, np.uint64)[0],
            given=given,
            n_jobs=self.n_jobs,
            stages=_Bars() if self.verbose else silent,
        )
        if graph is None:
            reason = "descent found too few of the nearest, and exact search is cheaper than more of it"
            plan = dataclasses.replace(plan, method="exact", seeds="none", reason=reason)
        return plan, graph

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
        allowed: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,  # noqa: N803
    ) -> Neighbors:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        k : int, default 10
        allowed : array of bool, shape (n_rows,), or array of int, optional
            The rows that may be found: a mask, or their ids.
        groups : (row_labels, query_labels), optional
            Labels of the n_rows rows and of the queries: a query finds rows of its own label only.
            Numbers (fastest), text, or anything that can be compared; NaN equals nothing.
        n_jobs : int, optional
            Threads of this call; the index's own if not given.

        Returns
        -------
        Neighbors
            ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k), by (distance, id);
            -1 and infinity where fewer than k rows may be found.

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, k under 1, an id that is no row, a wrong number of labels.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> index = sn.Index("euclidean").fit(np.array([[0.0], [1.0], [2.0], [3.0]]))
        >>> index.query([[0.0]], k=2, allowed=[3, 1]).indices.tolist()
        [[1, 3]]
        >>> colours = ["red", "blue", "red", "blue"]
        >>> index.query([[0.0], [0.0]], k=2, groups=(colours, ["red", "green"])).indices.tolist()
        [[0, 2], [-1, -1]]
        """
        engine = self._fitted()
        k, jobs = check_k(k), self._jobs(n_jobs)
        queries = engine.space.read(Q, "Q")
        return engine.nearest(queries, k, jobs, filter=make_filter(allowed, groups, engine.n_rows, len(queries)))

    def query_radius(
        self,
        Q: Any,
        radius: float,
        *,
        allowed: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,  # noqa: N803
    ) -> RaggedNeighbors:
        """Find all rows within a distance of each query; the radius itself is included.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        radius : float
        allowed : array of bool, shape (n_rows,), or array of int, optional
            The rows that may be found: a mask, or their ids.
        groups : (row_labels, query_labels), optional
            Labels of the n_rows rows and of the queries: a query finds rows of its own label only.
            Numbers (fastest), text, or anything that can be compared; NaN equals nothing.
        n_jobs : int, optional
            Threads of this call; the index's own if not given.

        Returns
        -------
        RaggedNeighbors
            ``indptr``, ``indices``, ``distances``, each query's by (distance, id).

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, a radius that is not a number, an id that is no row, a
            wrong number of labels.
        """
        engine = self._fitted()
        radius, jobs = check_radius(radius), self._jobs(n_jobs)
        queries = engine.space.read(Q, "Q")
        return engine.within(queries, radius, jobs, make_filter(allowed, groups, engine.n_rows, len(queries)))

    @property
    def neighbor_graph(self) -> Neighbors:
        """The `n_neighbors` nearest rows of each row, itself left out."""
        engine, graph = self._fitted(), self._graph
        k = check_k(self.n_neighbors, "n_neighbors")
        if graph is not None and graph.indices.shape[1] != k:  # another number of neighbours since
            self._plan, graph = self._planned(engine, self._given)
        if graph is None:
            tick = _Bars()("exact graph", engine.n_rows) if self.verbose else None
            graph = engine.nearest(None, k, self.n_jobs, tick)
        self._graph = graph
        return graph

    @property
    def plan_(self) -> Plan:
        """The method chosen for the fitted rows, why, and the predicted times."""
        self._fitted()
        assert self._plan is not None
        return self._plan

    def estimate_recall(self, sample: int = 200) -> RecallEstimate:
        """Compare the graph with exact search on a sample of its rows.

        Parameters
        ----------
        sample : int, default 200
            Rows drawn, the same for a `random_state`.

        Returns
        -------
        RecallEstimate
            ``recall``, its 95 % confidence interval ``low`` to ``high``, and the ``sample`` used.

        Raises
        ------
        ValueError
            If `sample` is no integer of at least 1.
        """
        engine, graph = self._fitted(), self.neighbor_graph
        size = min(check_k(sample, "sample"), engine.n_rows)
        ids = np.sort(np.random.default_rng(self._entropy()).choice(engine.n_rows, size, replace=False))
        k = graph.indices.shape[1]
        true = engine.nearest_of(ids, k, self.n_jobs).distances
        there = np.isfinite(true)
        kth = np.take_along_axis(true, np.maximum(there.sum(axis=1, keepdims=True) - 1, 0), axis=1)[:, 0]
        kth = np.where(np.isfinite(kth), kth, 0.0)
        needed = there.sum(axis=1)
        near = graph.distances[ids] <= kth[:, None] + 1e-6 * np.abs(kth[:, None])
        reached = np.minimum((near & (graph.indices[ids] >= 0)).sum(axis=1), needed)
        shares = np.divide(reached, needed, out=np.ones(size), where=needed > 0)
        recall = float(shares.mean())
        # rows are the independent draws; where all agree, the rule of three bounds what was not seen
        spread = float(shares.std())
        margin = 1.96 * spread / math.sqrt(size) if spread else 3.0 / size
        if size == engine.n_rows:
            margin = 0.0
        return RecallEstimate(recall, max(recall - margin, 0.0), min(recall + margin, 1.0), size)

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

    def _entropy(self) -> int | None:
        """What seeds are made of: `random_state` as an integer of at least 0."""
        return None if self.random_state is None else int(self.random_state) % 2**64

    def _jobs(self, n_jobs: int | None) -> int:
        return count_jobs(self.n_jobs if n_jobs is None else n_jobs)

    def __repr__(self) -> str:
        name = repr(resolve(self.metric, self.metric_params))
        if self._engine is None:
            return f"Index(metric={name}, method={self.method!r}, not fitted)"
        engine, plan = self._engine, self.plan_
        way = "patterns" if engine.patterns is not None else engine.way
        how = WAYS[way] if plan.method == "exact" else f"{plan.seeds}, then NN-descent"
        rows = f"{engine.n_rows:,} {engine.space.container} rows x {engine.space.n_features:,} columns"
        return f"Index(metric={name}, method={plan.method!r}: {how}, {rows}, {engine.nbytes / 1e6:.1f} MB)"


class _Bars:
    """A progress bar for each stage of a graph."""

    def __call__(self, stage: str, n: int) -> Any:
        from tqdm import tqdm

        bar, lock = tqdm(total=n, desc=stage, unit="", leave=False), threading.Lock()

        def tick(done: int) -> None:
            with lock:
                bar.update(done)
                if bar.n >= n:
                    bar.close()

        return tick


def _read_graph(given: Any, n: int) -> npt.NDArray[np.int32] | None:
    """Read a user's graph as ids of rows."""
    if given is None:
        return None
    ids = np.asarray(given.indices if isinstance(given, Neighbors) else given)
    if ids.ndim != 2 or len(ids) != n or ids.dtype.kind not in "iu":
        raise ValueError(
            f"init_graph must be integers of shape ({n}, any), ids of neighbours, got {ids.dtype} of shape {ids.shape}"
        )
    if ids.size and (ids.max() >= n or ids.min() < -1):
        row = int(np.argmax((ids >= n).any(axis=1) | (ids < -1).any(axis=1)))
        raise ValueError(f"init_graph has an id that is no row at row {row}: ids go from 0 to {n - 1}, -1 is none")
    return np.ascontiguousarray(ids, dtype=np.int32)
