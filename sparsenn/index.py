"""The index: fit once, ask often, change what is in it, keep it on disk."""

import dataclasses
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sparsenn import updates
from sparsenn.answers import Answers, Calibration, check_recall
from sparsenn.building import Recipe, plan_graph, read_rows
from sparsenn.exact import ExactEngine, check_k, check_radius
from sparsenn.filters import Filter, make_filter
from sparsenn.living import Living
from sparsenn.metrics import resolve
from sparsenn.names import make_names
from sparsenn.neighborgraph import silent
from sparsenn.parallel import ForkLock, count_jobs
from sparsenn.planning import Plan, Settings
from sparsenn.results import Neighbors, RaggedNeighbors, RecallEstimate
from sparsenn.state import State

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METHODS = ("auto", "exact", "graph", "heads")
SEEDS = ("auto", "heads", "forest", "random")
WAYS = {
    "postings": "a term at a time over inverted lists",
    "patterns": "by patterns of the commonest columns, and inverted lists of the others",
    "products": "blocks of inner products",
    "blocks": "blocks of whole rows",
}


class Index(Living):
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
    method : "auto", "exact", "graph" or "heads", default "auto"
        How `neighbor_graph` is made, and what queries may use. "exact" compares by whatever is fastest
        for the metric and the rows, and is always right. "graph" makes an approximate graph when
        fitted: seeds, improved by NN-descent; queries walk along it. "heads" makes no graph: queries
        measure the best by the heads of inverted lists. "auto" takes what has the lower predicted
        cost, see `plan_` and `calibration_`.
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
        Descent stops when a round takes fewer than this share of all edges, or all rounds to come are expected to, each
        as much fewer again as the last took than the one before it.
    alpha : float, default 1.2
        An edge that queries walk along is dropped where another neighbour is nearer to its end by this
        factor; more edges stay with more of it.
    init_graph : array of int, shape (n_rows, any), or Neighbors, optional
        Neighbours to start from in place of seeds; -1 for none. "auto" then means "graph".
    expected_queries : int, optional
        How many queries will be asked in all. "auto" then makes a graph only if it pays: if making it and walking
        along it is predicted to take less than answering the queries without. Without this, "auto" goes by what takes
        less for `neighbor_graph`.
    verbose : bool, default False
        Show a progress bar for each stage. Stages are also logged (logger "sparsenn", level INFO).

    Attributes
    ----------
    n_rows, n_features : int
        Shape of the rows that are there.
    ids : ndarray
        Ids of the rows, in the order in which they were added: 0, 1, 2, … or those given to `fit` and `add`.
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
        alpha: float = 1.2,
        init_graph: Any = None,
        expected_queries: int | None = None,
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
        for name, value in (("n_iters", n_iters), ("expected_queries", expected_queries)):
            if value is not None and value != 0:
                check_k(value, name)
        if not isinstance(delta, int | float | np.number) or not 0 <= delta < 1:
            raise ValueError(f"delta must be at least 0 and below 1, got {delta!r}")
        if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not 1 <= alpha < np.inf:
            raise ValueError(f"alpha must be a number of at least 1, got {alpha!r}")
        resolve(metric, metric_params)
        count_jobs(n_jobs)
        self.seeds = seeds
        self.alpha = alpha
        self.n_trees, self.leaf_size = n_trees, leaf_size
        self.max_candidates, self.n_iters, self.delta = max_candidates, n_iters, delta
        self.init_graph = init_graph
        self.expected_queries = expected_queries
        self.verbose = verbose
        self.metric = metric
        self.metric_params = metric_params
        self.n_neighbors = check_k(n_neighbors, "n_neighbors")
        self.method = method
        self.random_state = random_state
        self.n_jobs = n_jobs
        self._state, self._stored, self._lock = None, None, ForkLock()

    def fit(self, X: Any, *, ids: Any = None) -> "Index":  # noqa: N803
        """Take the rows to search. They are copied; the input is not changed.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_rows, n_columns), or iterator of such
            An iterator gives blocks of rows, one after another, all sparse or all dense: a collection that does not
            fit into memory beside its index. Memory-mapped arrays are read piece by piece too.
        ids : array of int or list of str, shape (n_rows,), optional
            Ids of the rows, at least 0 or texts; without them rows are 0, 1, 2, … See `ids_of` for texts in results.

        Returns
        -------
        Index
            The index itself.

        Raises
        ------
        ValueError
            Bad data, data the metric does not take, an id that stands twice. The index stays as it was.
        """
        with self._lock:
            recipe = self._recipe()
            space, rows = read_rows(X, recipe)
            if len(rows) == 0:
                raise ValueError("X has no rows: an index needs at least one")
            given = _read_graph(self.init_graph, len(rows))
            names = None if ids is None else make_names(ids, len(rows))
            state = updates.first_state(space, rows, names, given, recipe)
            self._state, self._stored = state, None
        return self

    def _recipe(self) -> Recipe:
        """What the constructor was given, as the parts that make the index take it."""
        options = (self.seeds, self.n_trees, self.leaf_size, self.max_candidates, self.n_iters, float(self.delta))
        many = None if self.expected_queries is None else int(self.expected_queries)
        return Recipe(
            self.metric,
            self.metric_params,
            check_k(self.n_neighbors, "n_neighbors"),
            self.method,
            Settings(*options, many),
            float(self.alpha),
            self._seed(),
            lambda: self.n_jobs,
            _Bars() if self.verbose else silent,
        )

    def _seed(self) -> np.uint64:
        """What is drawn at random comes from this."""
        return np.uint64(np.random.SeedSequence(self._entropy()).generate_state(1, np.uint64)[0])

    @property
    def _engine(self) -> ExactEngine:
        return self._now().base.engine

    @property
    def _answers(self) -> Answers:
        return self._now().answers

    @property
    def _graph(self) -> Neighbors | None:
        return self._now().graph

    @property
    def n_rows(self) -> int:
        """Number of rows that are there."""
        return self._now().n_rows

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._now().space.n_features

    @property
    def ids(self) -> npt.NDArray[Any]:
        """Ids of the rows, in the order of masks, labels and `neighbor_graph`: integers, or texts (dtype object)."""
        return self._now().ids

    def __len__(self) -> int:
        return self.n_rows

    def query(
        self,
        Q: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        epsilon: float | None = None,
        allowed: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,  # noqa: N803
    ) -> Neighbors:
        """Find the k nearest rows of each query.

        The first query prepares what searches need, and tries on a sample which setting gives which recall.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        k : int, default 10
        recall : float, optional
            Share of the true nearest that the answers should have, 0.95 if not given: the cheapest way that
            reached it on the sample is taken, or exact search where that is cheaper. 1 is exact search.
        epsilon : float, optional
            In place of `recall`: walk along the graph, expanding rows that are up to this share farther than
            the k-th nearest so far. Where there is no graph (see `plan_`) the answer is exact.
        allowed : array of bool, shape (n_rows,), or array of ids, optional
            The rows that may be found: a mask in the order of `ids`, or their ids.
        groups : (row_labels, query_labels), optional
            Labels of the rows, in the order of `ids`, and of the queries: a query finds rows of its own label only.
            Numbers (fastest), text, or anything that can be compared; NaN equals nothing.
        n_jobs : int, optional
            Threads of this call; the index's own if not given.

        Returns
        -------
        Neighbors
            ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k); -1 and infinity where fewer than k
            rows may be found. By distance, rows at the same distance in the order in which they were added. Ids that
            are texts stand in it as numbers: `ids_of` translates.

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
        return self._query(self._now(), Q, k, recall, epsilon, allowed, groups, n_jobs)

    def _query(
        self,
        state: State,
        Q: Any,  # noqa: N803
        k: int,
        recall: float | None = None,
        epsilon: float | None = None,
        allowed: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,
        depth: int = 6,
    ) -> Neighbors:
        """`query` of what the index held at one moment; `depth`: calls from a warning up to the user's."""
        k, jobs = check_k(k), self._jobs(n_jobs)
        recall, epsilon = check_recall(recall, epsilon)
        if allowed is None and groups is None and state.plain:
            store = state.base.engine.quick_queries(Q)
            if store is not None:
                return state.nearest(lambda: state.space.read(Q, "Q"), k, jobs, recall, epsilon, None, store, depth)
        queries = state.space.read(Q, "Q")
        filter = _filter(state, allowed, groups, len(queries))
        return state.nearest(queries, k, jobs, recall, epsilon, filter, None, depth)

    def query_radius(
        self,
        Q: Any,
        radius: float,
        *,
        recall: float | None = None,
        allowed: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,  # noqa: N803
    ) -> RaggedNeighbors:
        """Find all rows within a distance of each query; the radius itself is included.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns)
        radius : float
        recall : float, optional
            As in `query`: share of the rows within the radius that the answers should have.
        allowed : array of bool, shape (n_rows,), or array of ids, optional
            The rows that may be found: a mask in the order of `ids`, or their ids.
        groups : (row_labels, query_labels), optional
            Labels of the rows, in the order of `ids`, and of the queries: a query finds rows of its own label only.
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
        state = self._now()
        radius, jobs = check_radius(radius), self._jobs(n_jobs)
        recall, _ = check_recall(recall, None)
        queries = state.space.read(Q, "Q")
        filter = _filter(state, allowed, groups, len(queries))
        return state.within(queries, radius, jobs, recall, filter)

    def calibrate(self, Q: Any = None, k: int = 10) -> "Index":  # noqa: N803
        """Try which setting gives which recall, on queries of your own kind.

        Without this, rows of the index are tried when the first query comes. Short queries differ from
        whole documents: give a hundred or more of them.

        Parameters
        ----------
        Q : array-like or sparse matrix, shape (n_queries, n_columns), optional
            Queries to try; rows of the index if not given.
        k : int, default 10
            Neighbours that will be asked for.

        Returns
        -------
        Index
            The index itself; `calibration_` shows what was found.

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, k under 1.
        """
        state, k = self._now(), check_k(k)
        answers, engine = state.answers, state.base.engine
        queries = None if Q is None else engine.space.read(Q, "Q")
        if queries is not None and len(queries) == 0:
            raise ValueError("Q has no rows: calibration needs queries, a hundred or more")
        if answers.approximate and k < engine.n_rows:
            answers.learn(queries, k)
        return self

    @property
    def calibration_(self) -> Calibration:
        """What a sample of queries told: the cheapest settings along recall, last used or made for 10 neighbours."""
        answers = self._now().answers
        return answers.last or answers.calibration(10)

    @property
    def neighbor_graph(self) -> Neighbors:
        """The `n_neighbors` nearest rows of each row, itself left out; row i is that of ``ids[i]``.

        After rows have been added or removed, the index is made whole again first.
        """
        return self._whole().shown

    def _whole(self) -> State:
        """The state with all rows in its base, and their graph; a change of neither rows nor ids."""
        k = check_k(self.n_neighbors, "n_neighbors")
        state = self._now()
        if state.settled and state.graph is not None and state.graph.indices.shape[1] == k:
            return state
        with self._lock:
            state, recipe = self._now(), self._recipe()
            if not state.settled:
                state = updates.rebuild(state, recipe)
            engine, plan, graph = state.base.engine, state.plan, state.graph
            if not state.n_rows:
                return dataclasses.replace(
                    state, graph=Neighbors(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
                )
            if (graph is not None and graph.indices.shape[1] != k) or (graph is None and plan.method == "heads"):
                plan, graph = plan_graph(engine, recipe, state.given, now=True)  # another number of neighbours since
            if graph is None:
                tick = _Bars()("exact graph", engine.n_rows) if self.verbose else None
                graph = engine.nearest(None, k, self.n_jobs, tick)
            state = dataclasses.replace(state, plan=plan, graph=graph)
            self._state = state
            return state

    @property
    def plan_(self) -> Plan:
        """The method chosen for the fitted rows, why, and the predicted times."""
        return self._now().plan

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
        state = self._whole()
        engine, graph = state.base.engine, state.graph
        assert graph is not None
        if not state.n_rows:
            raise ValueError("the index has no rows left: there is no recall to estimate")
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
            Each row's neighbours nearest first; row and column i are the row ``ids[i]``. Places with no neighbour are
            left out.

        Raises
        ------
        ValueError
            If `mode` is neither.
        """
        from scipy.sparse import csr_matrix

        if mode not in ("distance", "connectivity"):
            raise ValueError(f"mode must be 'distance' or 'connectivity', got {mode!r}")
        state = self._whole()
        assert state.graph is not None
        indices, values = state.graph
        if mode == "connectivity":
            values = np.ones_like(values)
        n = state.n_rows
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
        if self._state is None and self._stored is None:
            return f"Index(metric={name}, method={self.method!r}, not fitted)"
        state = self._now()
        engine, plan = state.base.engine, state.plan
        way = "patterns" if engine.patterns is not None else engine.way
        how = {"exact": WAYS[way], "heads": "heads of inverted lists, measured"}.get(
            plan.method, f"{plan.seeds}, then NN-descent"
        )
        how += f"; queries {state.answers.way}"
        rows = f"{state.n_rows:,} {engine.space.container} rows x {engine.space.n_features:,} columns"
        size = sum(segment.nbytes for segment in state.segments)
        return f"Index(metric={name}, method={plan.method!r}: {how}, {rows}, {size / 1e6:.1f} MB)"


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


def _filter(state: State, allowed: Any, groups: Any, n_queries: int) -> Filter | None:
    """Read which rows a query may find, of those that are there."""
    if allowed is not None and not state.plain and np.asarray(allowed).dtype != np.bool_:
        mask = np.zeros(state.n_rows, np.bool_)
        mask[state.rank(allowed, "allowed")] = True
        allowed = mask
    return make_filter(allowed, groups, state.n_rows, n_queries)


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
