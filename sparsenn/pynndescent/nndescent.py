"""NNDescent: PyNNDescent's index, answered by `sparsenn.Index`."""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.utils import check_array, check_random_state

from sparsenn.building import Recipe
from sparsenn.index import Index
from sparsenn.pynndescent import distances as dense
from sparsenn.pynndescent.sparse import sparse_wasserstein_1d

ANGULAR = {"cosine", "direct_cosine", "dot", "correlation", "dice", "jaccard", "hellinger", "hamming"}
UNIT = {"cosine", "direct_cosine", "dot"}  # of which an empty query is at 1 from every dense row
BITS = {"bit_hamming", "bit_jaccard"}
METRICS = {"dot": "cosine", "direct_cosine": "cosine", "inner_product": "dot"}
PARAMETERS = {"sigma": "V", "vinv": "VI", "v": "V", "vi": "VI"}
POWERS = {dense.wasserstein_1d: sparse_wasserstein_1d, dense.circular_kantorovich: None}  # with p, and on sparse rows
# Callables whose parameters are arrays, or that are not compiled: the metric of that name has the same values.
NAMED = {
    dense.standardised_euclidean: "seuclidean",
    dense.weighted_minkowski: "weighted_minkowski",
    dense.mahalanobis: "mahalanobis",
    dense.kantorovich: "kantorovich",
    dense.sinkhorn: "sinkhorn",
    dense.spearmanr: "spearmanr",
}
# PyNNDescent's values from those of `sparsenn.metrics`, by the number of columns.
VALUES: dict[str, Callable[[Any, int], Any]] = {
    "dot": lambda d, n: np.minimum(d, 1.0),
    "direct_cosine": lambda d, n: np.minimum(d, 1.0),
    "true_angular": lambda d, n: np.maximum(1.0 - d, 0.5),
    "jensen_shannon": lambda d, n: d * d,
    "symmetric_kl": lambda d, n: 2.0 * d,
    "bit_hamming": lambda d, n: np.rint(d * n),
    "bit_jaccard": lambda d, n: -np.log(1.0 - d),
}
SPELLINGS = {
    "jensen-shannon": "jensen_shannon",
    "symmetric-kl": "symmetric_kl",
    "symmetric_kullback_liebler": "symmetric_kl",
}
# Parameters that say how PyNNDescent searches, with the values at which they say nothing.
WITHOUT_EFFECT = {
    "pruning_degree_multiplier": 1.5,
    "diversify_prob": 1.0,
    "diversify_method": "standard",
    "degree_prune_aggressiveness": 1.0,
    "n_search_trees": None,
    "search_tree_leaf_size": None,
    "max_search_tree_depth": None,
    "quantization": None,
    "max_rptree_depth": 200,
    "search_tree_leaf_budget": 1,
    "init_dist": None,
    "proxy_beam_size": None,
    "candidate_width": None,
    "rerank_width": None,
}


def say(*words: Any) -> None:
    """Print a message as PyNNDescent does: the time first."""
    print(time.ctime(), *words)


def warn_without_effect(stacklevel: int, **given: Any) -> None:
    """Warn of parameters that are taken but have no effect."""
    for name, value in given.items():
        usual = WITHOUT_EFFECT[name]
        if value is not usual and (usual is None or value != usual):
            warnings.warn(
                f"{name} has no effect in sparsenn.pynndescent, and will not be taken in a later version: leave it out",
                FutureWarning,
                stacklevel=stacklevel + 1,
            )


class _Counted(Index):
    """An index that remembers the rounds of its descent."""

    def _recipe(self) -> Recipe:
        self.rounds: list[int] = []

        def stage(name: str, n: int) -> None:
            if name.startswith("round "):
                self.rounds.append(int(name.removeprefix("round ")))

        return replace(super()._recipe(), stages=stage)


class NNDescent:
    """An index of nearest neighbours with the interface of ``pynndescent.NNDescent``.

    It is a `sparsenn.Index` with method="auto": where exact search is cheaper than a graph, the answers are exact.

    Parameters
    ----------
    data : array-like or sparse matrix, shape (n_samples, n_features)
        uint8 for "bit_hamming" and "bit_jaccard".
    metric : str or compiled function, default "euclidean"
        PyNNDescent's names, or any of `sparsenn.metrics`; sparse rows take them all.
    metric_kwds : dict, optional
        Parameters of the metric, by name; "sigma" and "vinv" are known.
    n_neighbors : int, default 30
        Neighbours a row in the graph; `neighbor_graph` shows the row itself and one less of them.
    n_trees : int, optional
        Trees of the forest, where the graph begins with one.
    leaf_size : int, optional
        Most rows of a leaf.
    tree_init : bool, default True
        False (or n_trees=0) begins with random rows.
    init_graph : array of int, shape (n_samples, any), optional
        Neighbours to begin with; -1 for none.
    random_state : int, RandomState or None, optional
        Seed; None draws one from numpy's global generator.
    max_candidates, n_iters : int, optional
    delta : float, default 0.001
        How descent goes on, as in `sparsenn.Index`.
    n_jobs : int, optional
        Threads of the construction and of queries; None and -1 are all processors.
    compressed : bool, default False
        Whether `neighbor_graph` is given up when queries are prepared.
    verbose : bool, default False
        Print PyNNDescent's messages.
    low_memory, parallel_batch_queries, angular_trees
        Without effect on answers: memory is the same, batches are answered on `n_jobs` threads in any case, and trees
        follow the metric.
    bit_metric : bool, default False
        True is refused: functions of a user's own do not see bits.
    pruning_degree_multiplier, diversify_prob, diversify_method, degree_prune_aggressiveness, n_search_trees, \
search_tree_leaf_size, max_search_tree_depth, quantization, init_dist, max_rptree_depth, search_tree_leaf_budget
        Without effect; anything but the default is a FutureWarning.

    Attributes
    ----------
    neighbor_graph : (indices, distances)
    n_trees, n_trees_after_update, n_iters, dim : int
    rng_state, search_rng_state : array of int64, shape (3,)
        Drawn from `random_state` after the seed; nothing here reads them.
    metric, metric_kwds, n_neighbors, angular_trees, low_memory, ...
        The other parameters as they were given; `pruning_degree_multiplier` as ``prune_degree_multiplier``.

    Raises
    ------
    ValueError
        Bad data, metric or parameters.

    Notes
    -----
    Distances are PyNNDescent's where it defines a metric otherwise: "dot" is 1 − cos, at most 1; "inner_product" is
    −x·y; "bit_hamming" counts bits; "bit_jaccard" is a logarithm; "jensen_shannon" has no root; "symmetric_kl" is twice
    ours; "true_angular" is 1 − θ/π. A dense query without values is at 1 from all rows under the cosines. Unlike
    PyNNDescent's, cosine distances go up to 2, and russellrao and kulsinski are what they are for equal rows.

    Examples
    --------
    >>> from sparsenn.pynndescent import NNDescent
    >>> index = NNDescent([[0.0], [1.0], [5.0]], n_neighbors=2)
    >>> index.neighbor_graph[0].tolist()
    [[0, 1], [1, 0], [2, 1]]
    >>> indices, distances = index.query([[4.0]], k=1)
    >>> indices.tolist(), distances.tolist()
    ([[2]], [[1.0]])
    """

    def __init__(
        self,
        data: Any,
        metric: Any = "euclidean",
        metric_kwds: dict[str, Any] | None = None,
        n_neighbors: int = 30,
        n_trees: int | None = None,
        leaf_size: int | None = None,
        pruning_degree_multiplier: float = 1.5,
        diversify_prob: float = 1.0,
        diversify_method: str = "standard",
        degree_prune_aggressiveness: float = 1.0,
        n_search_trees: int | None = None,
        search_tree_leaf_size: int | None = None,
        max_search_tree_depth: int | None = None,
        quantization: str | None = None,
        tree_init: bool = True,
        init_graph: Any = None,
        init_dist: Any = None,
        random_state: Any = None,
        low_memory: bool = True,
        max_candidates: int | None = None,
        max_rptree_depth: int = 200,
        n_iters: int | None = None,
        delta: float = 0.001,
        n_jobs: int | None = None,
        compressed: bool = False,
        parallel_batch_queries: bool = False,
        verbose: bool = False,
        bit_metric: bool = False,
        angular_trees: bool = False,
        search_tree_leaf_budget: int = 1,
    ):
        if search_tree_leaf_budget < 1:
            raise ValueError(f"search_tree_leaf_budget must be at least 1, got {search_tree_leaf_budget}")
        if bit_metric and callable(metric):
            raise ValueError("bit_metric=True: a function of your own does not see bits here; take a named bit metric")
        self.metric, self.metric_kwds = metric, metric_kwds
        self.n_neighbors, self.leaf_size = n_neighbors, leaf_size
        self.random_state, self.n_jobs, self.compressed = random_state, n_jobs, compressed
        self.max_candidates, self.delta, self.verbose = max_candidates, delta, verbose
        self.low_memory, self.parallel_batch_queries = low_memory, parallel_batch_queries
        self.angular_trees, self.bit_metric = angular_trees, bit_metric
        self.prune_degree_multiplier, self.diversify_prob = pruning_degree_multiplier, diversify_prob
        self.diversify_method, self.degree_prune_aggressiveness = diversify_method, degree_prune_aggressiveness
        self.n_search_trees, self.search_tree_leaf_size = n_search_trees, search_tree_leaf_size
        self.max_search_tree_depth, self.max_rptree_depth = max_search_tree_depth, max_rptree_depth
        self.search_tree_leaf_budget, self.quantization = search_tree_leaf_budget, quantization
        self.tree_init = bool(tree_init) and n_trees != 0 and init_graph is None
        self._raw_data = self._read(data, "data")
        n, self.dim = self._raw_data.shape
        self.n_trees = _usual_trees(n) if n_trees is None else n_trees
        self.n_trees_after_update = max(2, int(np.round(self.n_trees / 3)))
        self.n_iters = max(5, int(round(np.log2(max(n, 1))))) if n_iters is None else n_iters
        self._given_up = self._prepared = False
        self._check_graph(init_graph, init_dist)
        warn_without_effect(
            2,
            pruning_degree_multiplier=pruning_degree_multiplier,
            diversify_prob=diversify_prob,
            diversify_method=diversify_method,
            degree_prune_aggressiveness=degree_prune_aggressiveness,
            n_search_trees=n_search_trees,
            search_tree_leaf_size=search_tree_leaf_size,
            max_search_tree_depth=max_search_tree_depth,
            quantization=quantization,
            max_rptree_depth=max_rptree_depth,
            search_tree_leaf_budget=search_tree_leaf_budget,
            init_dist=init_dist,
        )
        self._index = self._made(n_trees, n_iters, init_graph)
        if n < n_neighbors:
            warnings.warn(
                "Failed to correctly find n_neighbors for some samples. Results may be less than ideal. Try re-running "
                f"with different parameters: there are only {n} rows.",
                stacklevel=2,
            )

    def _read(self, data: Any, name: str) -> Any:
        """Rows as PyNNDescent keeps them: float32, or bytes of bits; the user's are not changed."""
        kind = np.uint8 if self.metric in BITS else np.float32
        rows = check_array(data, dtype=kind, accept_sparse="csr", order="C", input_name=name)
        if hasattr(self, "dim") and rows.shape[1] != self.dim:
            raise ValueError(f"{name} has {rows.shape[1]} columns, but the index has {self.dim}: give the same columns")
        return rows

    def _check_graph(self, graph: Any, distances: Any) -> None:
        if graph is not None and np.shape(graph)[0] != self._raw_data.shape[0]:
            raise ValueError("Init graph size does not match dataset size!")
        if graph is not None and distances is not None and np.shape(graph) != np.shape(distances):
            raise ValueError("The shapes of init graph and init distances do not match!")

    def _made(self, n_trees: int | None, n_iters: int | None, init_graph: Any) -> Index:
        metric, params = _named(self.metric, self.metric_kwds, self._is_sparse)
        state, most = check_random_state(self.random_state), np.iinfo(np.int32).max
        seed = int(state.randint(most))
        self.rng_state, self.search_rng_state = state.randint(-most - 1, most, (2, 3), np.int64)
        index = (_Counted if self.verbose else Index)(
            metric,
            params or None,
            self.n_neighbors,
            random_state=seed,
            n_jobs=self.n_jobs,
            seeds="auto" if self.tree_init or init_graph is not None else "random",
            n_trees=n_trees or None,
            leaf_size=self.leaf_size,
            max_candidates=self.max_candidates,
            n_iters=n_iters,
            delta=self.delta,
            init_graph=init_graph,
        ).fit(self._raw_data)
        if isinstance(index, _Counted):
            self._tell(index)
        return index

    def _tell(self, index: _Counted) -> None:
        """Print how the graph was made."""
        plan = index.plan_
        forest, descent = f"RP forest with {self.n_trees} trees", "NN descent for {} iterations"
        if plan.method != "graph":
            say(f"No need of an {forest}, nor of {descent.format(self.n_iters)}: {plan.reason}")
            return
        say(f"Building {forest}" if plan.seeds == "forest" else f"Not an {forest}, but {plan.seeds} to begin")
        say(("metric " if self._is_sparse else "") + descent.format(plan.n_iters))
        for done in index.rounds:
            print("\t", done, " / ", plan.n_iters)
        if index.rounds and index.rounds[-1] < plan.n_iters:
            print("\tStopping threshold met -- exiting after", index.rounds[-1], "iterations")

    @property
    def neighbor_graph(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]] | None:
        """Each row itself at distance 0, and the n_neighbors − 1 nearest others.

        int32 and float32 arrays of shape (n_samples, n_neighbors); -1 and infinity where there are fewer rows. None,
        with a warning, for an index that was compressed.
        """
        if self._given_up:
            warnings.warn("Compressed indexes do not have neighbor graph information.", stacklevel=2)
            return None
        indices, distances = self._index.neighbor_graph
        n, others = len(indices), slice(self.n_neighbors - 1)
        ids = np.hstack([np.arange(n)[:, None], indices[:, others]]).astype(np.int32)
        return ids, np.hstack([np.zeros((n, 1), np.float32), self._values(distances[:, others])])

    @property
    def _neighbor_graph(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]] | None:
        return self.neighbor_graph  # other packages read it by this name

    @property
    def _is_sparse(self) -> bool:
        return bool(sp.issparse(self._raw_data))

    @property
    def _angular_trees(self) -> bool:
        if callable(self.metric):
            return bool(self.angular_trees)
        return isinstance(self.metric, str) and self.metric in ANGULAR | BITS  # UMAP asks, and searches wider

    def _values(self, distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Turn distances of `sparsenn.metrics` into PyNNDescent's."""
        name = self.metric.removeprefix("proxy_") if isinstance(self.metric, str) else ""
        name = SPELLINGS.get(name, name)
        if name not in VALUES:
            return distances
        with np.errstate(divide="ignore", invalid="ignore"):
            own = VALUES[name](distances, self.dim * 8 if name in BITS else self.dim)
        return np.where(np.isinf(distances), distances, own).astype(np.float32)

    def prepare(self, compile_search: bool = False) -> None:
        """Make what queries need, which the first query does otherwise.

        Parameters
        ----------
        compile_search : bool, default False
            Without effect: nothing is compiled for one index alone.
        """
        self._search(self._raw_data[:1], 1, 0.1)

    def _search(self, rows: Any, k: int, epsilon: float) -> Any:
        """Query the index; once it is prepared for that, a compressed one has no graph."""
        if self.verbose and not self._prepared:
            say("Building and compiling", "sparse search function" if self._is_sparse else "search function")
        found = self._index.query(rows, k, epsilon=epsilon)
        self._prepared = True
        if self.compressed and not self._given_up:
            self._given_up = True
            if self.verbose:
                say("Compressing index by removing unneeded attributes")
        return found

    def compress_index(self) -> None:
        """Prepare queries, and give up `neighbor_graph`."""
        self.compressed = True
        self.prepare()

    def query(
        self,
        query_data: Any,
        k: int = 10,
        epsilon: float = 0.1,
        proxy_beam_size: int | None = None,
        candidate_width: int | None = None,
        rerank_width: int | None = None,
        return_distances: bool = True,
        pre_normalized: bool = False,
    ) -> Any:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        query_data : array-like or sparse matrix, shape (n_queries, n_features)
        k : int, default 10
        epsilon : float, default 0.1
            How much farther than the k-th nearest so far a walk goes on; without effect where the index is exact.
        return_distances : bool, default True
        pre_normalized : bool, default False
            Say that dense rows have length 1: without effect, but refused under other metrics than the cosines.
        proxy_beam_size, candidate_width, rerank_width : int, optional
            Checked as PyNNDescent checks them, without effect, and a FutureWarning: what is found is always measured
            by the metric itself.

        Returns
        -------
        indices : ndarray of int32, shape (n_queries, k)
        distances : ndarray of float32, shape (n_queries, k)
            Unless `return_distances` is False. -1 and infinity where there are fewer rows.

        Raises
        ------
        ValueError
            Bad queries, a wrong number of columns, k under 1.
        """
        if pre_normalized and (self._is_sparse or self.metric not in UNIT):
            raise ValueError("pre_normalized is only supported for dense cosine, direct_cosine and dot")
        _check_widths(k, candidate_width, rerank_width)
        warn_without_effect(
            2, proxy_beam_size=proxy_beam_size, candidate_width=candidate_width, rerank_width=rerank_width
        )
        if self.metric in BITS:
            query_data = np.asarray(query_data).astype(np.uint8)
        shape = np.shape(query_data)
        if len(shape) != 2 or shape[1] != self.dim:
            raise ValueError(f"query_data must be a 2-D array with {self.dim} features, got shape {shape}")
        indices, distances = self._search(query_data, k, epsilon)
        if not return_distances:
            return indices.astype(np.int32)
        distances = self._values(distances)
        if self.metric in UNIT and not self._is_sparse:
            empty = ~np.asarray(query_data).any(axis=1)
            distances[empty] = np.where(indices[empty] >= 0, np.float32(1.0), distances[empty])
        return indices.astype(np.int32), distances

    def query_indices(
        self,
        query_data: Any,
        k: int = 10,
        epsilon: float = 0.1,
        proxy_beam_size: int | None = None,
        candidate_width: int | None = None,
        rerank_width: int | None = None,
        pre_normalized: bool = False,
    ) -> npt.NDArray[np.int32]:
        """Like `query`, but the indices alone."""
        found: npt.NDArray[np.int32] = self.query(
            query_data, k, epsilon, proxy_beam_size, candidate_width, rerank_width, False, pre_normalized
        )
        return found

    def update(self, xs_fresh: Any = None, xs_updated: Any = None, updated_indices: Any = None) -> None:
        """Add rows, and give rows that are there other values; sparse rows as well as dense ones.

        Parameters
        ----------
        xs_fresh : array-like or sparse matrix, shape (n_fresh, n_features), optional
            Rows to add at the end.
        xs_updated : array-like or sparse matrix, shape (n_updated, n_features), optional
        updated_indices : list of int, length n_updated, optional
            The rows that `xs_updated` replaces; the last counts where one stands twice.

        Raises
        ------
        ValueError
            Bad rows, or indices that do not fit them. Nothing is changed then.
        """
        ids, changed = self._read_changes(xs_updated, updated_indices)
        fresh = None if xs_fresh is None else self._read(xs_fresh, "xs_fresh")
        for rows, name in ((changed, "xs_updated"), (fresh, "xs_fresh")):
            if rows is not None:
                self._index._now().space.read(rows, name)  # what the metric refuses must come before any change
        if changed is not None and len(ids):
            self._index.update(ids, changed)
            self._raw_data = _replaced(self._raw_data, ids, changed)
        if fresh is not None and fresh.shape[0]:
            self._index.add(fresh)
            self._raw_data = _joined(self._raw_data, fresh)
        self.n_trees = self.n_trees_after_update

    def _read_changes(self, rows: Any, indices: Any) -> tuple[npt.NDArray[np.int64], Any]:
        """Ids of rows and their new values, each id once."""
        if rows is None:
            if indices is not None:
                warnings.warn(
                    "xs_updated not provided, while update_indices provided. They will be ignored.", stacklevel=3
                )
            return np.zeros(0, np.int64), None
        if indices is None:
            raise ValueError("If xs_updated are provided, updated_indices must also be provided!")
        rows = self._read(rows, "xs_updated")
        try:
            ids = np.array([int(i) for i in indices], np.int64)
        except (TypeError, ValueError):
            raise ValueError("Could not convert updated indices to list of int(s).") from None
        if len(ids) != rows.shape[0]:
            raise ValueError(
                f"Number of updated indices ({len(ids)}) must match number of rows of xs_updated ({rows.shape[0]})."
            )
        outside = ids[(ids < -len(self._index)) | (ids >= len(self._index))]
        if outside.size:
            raise ValueError(f"updated_indices has {outside[0]}, but rows go from 0 to {len(self._index) - 1}")
        ids = ids % len(self._index)
        _, last = np.unique(ids[::-1], return_index=True)
        kept = np.sort(len(ids) - 1 - last)
        return ids[kept], rows[kept]


def _usual_trees(n: int) -> int:
    return max(3, min(12, int(round(2.0 * np.log10(max(n, 1))))))


def _named(metric: Any, kwds: dict[str, Any] | None, sparse: bool) -> tuple[Any, dict[str, Any]]:
    """Metric and parameters in our names; with a power other than 1, a callable."""
    params = {key: value for key, value in (kwds or {}).items() if key != "n_features"}
    if callable(metric):
        metric = NAMED.get(metric, metric)
    elif isinstance(metric, str):
        name = metric.removeprefix("proxy_")
        metric = METRICS.get(name, name)
        function = dense.named_distances.get(name)
        if function in POWERS and params.get("p") == 1:
            del params["p"]
        elif function in POWERS and "p" in params:
            metric = POWERS[function] if sparse else function
            if metric is None:
                raise ValueError(f"{name} takes p={params['p']!r} on dense rows only: give data.toarray(), or p=1")
        if function is dense.kantorovich and sparse and "cost" not in params:
            raise ValueError(
                f"{name} of sparse rows takes a matrix here, metric_kwds={{'cost': ...}}, not a ground_metric; that of "
                "PyNNDescent's default is 1 - numpy.eye(n_columns)"
            )
    return metric, {PARAMETERS.get(key, key): value for key, value in params.items()}


def _check_widths(k: int, candidates: int | None, reranked: int | None) -> None:
    if candidates is not None and candidates < k:
        raise ValueError(f"candidate_width must be at least k, got {candidates} for k={k}")
    if reranked is None:
        return
    if reranked < 0 or (candidates is not None and reranked > candidates):
        raise ValueError(f"rerank_width must be between zero and candidate_width, got {reranked}")
    if 0 < reranked < k:
        raise ValueError(f"rerank_width must be zero or at least k, got {reranked} for k={k}")


def _replaced(rows: Any, ids: Any, values: Any) -> Any:
    if not sp.issparse(rows):
        rows = rows.copy()
        rows[ids] = values.toarray() if sp.issparse(values) else values
        return rows
    order = np.arange(rows.shape[0])
    order[ids] = rows.shape[0] + np.arange(len(ids))
    return _joined(rows, values)[order]


def _joined(rows: Any, more: Any) -> Any:
    if sp.issparse(rows):
        return sp.vstack([rows, more], format="csr", dtype=np.float32)
    return np.ascontiguousarray(np.vstack([rows, more.toarray() if sp.issparse(more) else more]))
