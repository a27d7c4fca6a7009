"""PyNNDescentTransformer: the graph of the nearest, in a pipeline of scikit-learn."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from sparsenn.pynndescent.nndescent import NNDescent, say, warn_without_effect


class PyNNDescentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform rows into the graph of their nearest, with the interface of ``pynndescent.PyNNDescentTransformer``.

    `sparsenn.sklearn.KNeighborsTransformer` keeps to scikit-learn's contract where this one keeps to PyNNDescent's.

    Parameters
    ----------
    n_neighbors : int, default 30
    metric, metric_kwds, n_trees, leaf_size, tree_init, random_state, n_jobs, low_memory, max_candidates, n_iters, \
parallel_batch_queries, verbose
        As in `NNDescent`.
    search_epsilon : float, default 0.1
        `epsilon` of the queries.
    early_termination_value : float, default 0.001
        `delta` of the construction.
    pruning_degree_multiplier, diversify_prob, n_search_trees
        Without effect; anything but the default is a FutureWarning.

    Attributes
    ----------
    index_ : NNDescent
    n_samples_fit : int

    Examples
    --------
    >>> from sparsenn.pynndescent import PyNNDescentTransformer
    >>> PyNNDescentTransformer(n_neighbors=1).fit_transform([[0.0], [1.0], [5.0]]).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 4.0, 0.0]]
    """

    def __init__(
        self,
        n_neighbors: int = 30,
        metric: Any = "euclidean",
        metric_kwds: dict[str, Any] | None = None,
        n_trees: int | None = None,
        leaf_size: int | None = None,
        search_epsilon: float = 0.1,
        pruning_degree_multiplier: float = 1.5,
        diversify_prob: float = 1.0,
        n_search_trees: int | None = None,
        tree_init: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        low_memory: bool = True,
        max_candidates: int | None = None,
        n_iters: int | None = None,
        early_termination_value: float = 0.001,
        parallel_batch_queries: bool = False,
        verbose: bool = False,
    ):
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.metric_kwds = metric_kwds
        self.n_trees = n_trees
        self.leaf_size = leaf_size
        self.search_epsilon = search_epsilon
        self.pruning_degree_multiplier = pruning_degree_multiplier
        self.diversify_prob = diversify_prob
        self.n_search_trees = n_search_trees
        self.tree_init = tree_init
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.low_memory = low_memory
        self.max_candidates = max_candidates
        self.n_iters = n_iters
        self.early_termination_value = early_termination_value
        self.parallel_batch_queries = parallel_batch_queries
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, compress_index: bool = True) -> "PyNNDescentTransformer":  # noqa: N803
        """Index the rows.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
        y : ignored
        compress_index : bool, default True
            As `compressed` of `NNDescent`.

        Returns
        -------
        PyNNDescentTransformer
            The transformer itself.
        """
        if self.verbose:
            say("Creating index")
        warn_without_effect(
            2,
            pruning_degree_multiplier=self.pruning_degree_multiplier,
            diversify_prob=self.diversify_prob,
            n_search_trees=self.n_search_trees,
        )
        self.index_ = NNDescent(
            X,
            metric=self.metric,
            metric_kwds=self.metric_kwds,
            n_neighbors=self.n_neighbors + 1,
            n_trees=self.n_trees,
            leaf_size=self.leaf_size,
            tree_init=self.tree_init,
            random_state=self.random_state,
            low_memory=self.low_memory,
            max_candidates=self.max_candidates,
            n_iters=self.n_iters,
            delta=self.early_termination_value,
            n_jobs=self.n_jobs,
            compressed=compress_index,
            parallel_batch_queries=self.parallel_batch_queries,
            verbose=self.verbose,
        )
        self.n_samples_fit, self.n_features_in_ = self.index_._raw_data.shape
        self._n_features_out = self.n_samples_fit
        return self

    def transform(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        """Return the graph of the nearest fitted rows.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_queries, n_features), or None
            None for the fitted rows among each other, each its own first neighbour.
        y : ignored

        Returns
        -------
        csr_matrix of float32, shape (n_queries, n_samples_fit)
            `n_neighbors` values a row, nearest first; one more where X is None.
        """
        found = self.index_.neighbor_graph if X is None else None
        if found is None:
            if X is None:
                raise ValueError("the graph was given up with compress_index=True: call fit_transform(X) instead")
            found = self.index_.query(X, k=self.n_neighbors, epsilon=self.search_epsilon)
        if self.verbose:
            say("Constructing neighbor matrix")
        indices, distances = found
        there = indices >= 0
        indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
        return sp.csr_matrix((distances[there], indices[there], indptr), shape=(len(indices), self.n_samples_fit))

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:  # noqa: N803
        """Index the rows, and return the graph of them among each other.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
        y, fit_params : ignored

        Returns
        -------
        csr_matrix of float32, shape (n_samples, n_samples)
            ``n_neighbors + 1`` values a row, the first an explicit 0 on the diagonal.
        """
        graph = self.fit(X, compress_index=False).transform(None)
        if self.verbose:
            say("Compressing index")
        self.index_.compress_index()
        return graph
