"""Estimators with scikit-learn's signatures, which search by `sparsenn.Index`.

Each is scikit-learn's own class with the search replaced: what is learnt, how neighbours vote and what a graph looks
like are scikit-learn's. So a pipeline changes by its import alone, and takes every metric of `sparsenn.metrics`, on
sparse rows as well as dense ones.
"""

import numbers
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse
from sklearn import neighbors
from sklearn.base import is_classifier
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from sparsenn.answers import check_recall
from sparsenn.index import Index
from sparsenn.metrics import BoundMetric, resolve

__all__ = [
    "KNeighborsClassifier",
    "KNeighborsRegressor",
    "KNeighborsTransformer",
    "NearestNeighbors",
    "RadiusNeighborsTransformer",
]
LEAST = 15  # edges a row of a graph that queries walk along
AWAY = {"dot", "kantorovich", "kulsinski", "russellrao", "sinkhorn"}  # a row need not be its own nearest, or at 0
DIFFERENCES = {"chebyshev", "euclidean", "mahalanobis", "manhattan", "minkowski", "seuclidean", "sqeuclidean"}
OWN_ROWS: Any = object()  # in place of X: the fitted rows, each its own first neighbour


class _Searched:
    """What the estimators share: rows go into an `Index`, which answers."""

    metric: Any
    metric_params: Any
    method: str
    recall: float | None
    random_state: Any
    n_neighbors: int | None
    radius: float | None

    def _fit(self: Any, X: Any, y: Any = None) -> Any:  # noqa: N803
        if isinstance(X, neighbors.KDTree | neighbors.BallTree):
            X = np.asarray(X.data)
        elif hasattr(X, "_fit_X"):
            X = X._fit_X  # rows of an estimator that is fitted
        left = _left_to_scikit_learn(self.metric, self.metric_params, self.p)
        if left:
            if self.method not in ("auto", "exact"):
                raise ValueError(
                    f"method={self.method!r} is an index's, but {left} is left to scikit-learn: take 'auto'"
                )
            return super()._fit(X, y)  # type: ignore[misc]
        if self.__sklearn_tags__().target_tags.required:
            X, y = validate_data(self, X, y, accept_sparse="csr", multi_output=True)
            self._y = self._encode(y) if is_classifier(self) else y
        else:
            X = validate_data(self, X, accept_sparse="csr")
        check_recall(self.recall, None)
        if self.__sklearn_tags__().input_tags.positive_only:
            check_non_negative(X, type(self).__name__)
        self._check_algorithm(issparse(X))
        self.effective_metric_, self.effective_metric_params_ = _effective(self.metric, self.metric_params, self.p)
        index = self._made()
        shift = _middle(X) if resolve(index.metric, index.metric_params).metric.name in DIFFERENCES else None
        self._index, self._shift = index.fit(_less(X, shift)), shift
        self._fit_X, self._tree, self._fit_method = X, None, "sparsenn"
        self.n_samples_fit_ = X.shape[0]
        return self

    def _check_algorithm(self: Any, sparse: bool) -> None:
        """Complain as scikit-learn does: of a tree that does not take the metric or the rows, and of two p."""
        if self.algorithm in neighbors.VALID_METRICS and self.algorithm != "brute":
            if not isinstance(self.metric, str):
                raise ValueError(
                    f"algorithm={self.algorithm!r} takes metrics by name, not {self.metric!r}: take 'auto'"
                )
            if self.metric not in neighbors.VALID_METRICS[self.algorithm]:
                raise ValueError(
                    f"Metric '{self.metric}' not valid. Use sorted(sklearn.neighbors.VALID_METRICS"
                    f"['{self.algorithm}']) to get valid options, or algorithm='auto'."
                )
            if sparse:
                warnings.warn("cannot use tree with sparse input: using brute force", stacklevel=5)
        if self.p is not None and "p" in (self.metric_params or {}):
            warnings.warn(
                "Parameter p is found in metric_params. The corresponding parameter from __init__ is ignored.",
                SyntaxWarning,
                stacklevel=5,
            )

    def _made(self: Any) -> Index:
        try:
            return Index(
                self.effective_metric_,
                self.effective_metric_params_ or None,
                max(self.n_neighbors or 0, LEAST),
                self._method(),
                _seed(self.random_state),
                self.n_jobs,
                leaf_size=self.leaf_size,
            )
        except ValueError as error:
            raise InvalidParameterError(str(error)) from None

    def _method(self) -> str:
        """How the index searches: an algorithm of scikit-learn's stands for exact search."""
        algorithm: str = self.algorithm  # type: ignore[attr-defined]
        if self.method in ("graph", "heads") and (algorithm != "auto" or self.recall == 1):
            other = f"algorithm={algorithm!r}" if algorithm != "auto" else "recall=1"
            raise ValueError(f"method={self.method!r} is approximate, but {other} asks for exact search: leave one out")
        return "exact" if algorithm != "auto" or self.recall == 1 else self.method

    def _encode(self: Any, y: Any) -> npt.NDArray[np.intp]:
        """Classes as numbers, as scikit-learn's own classifier keeps them."""
        if y.ndim == 2 and y.shape[1] == 1:
            warnings.warn(
                "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                "(n_samples,), for example using ravel().",
                DataConversionWarning,
                stacklevel=5,
            )
        self.outputs_2d_ = y.ndim == 2 and y.shape[1] > 1
        check_classification_targets(y)
        columns = y.reshape(len(y), -1)
        self.classes_, encoded = [], np.empty(columns.shape, np.intp)
        for k in range(columns.shape[1]):
            classes, encoded[:, k] = np.unique(columns[:, k], return_inverse=True)
            self.classes_.append(classes)
        if not self.outputs_2d_:
            self.classes_, encoded = self.classes_[0], encoded.ravel()
        return encoded

    def kneighbors(self: Any, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:  # noqa: N803
        """Find the nearest fitted rows.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_queries, n_features), optional
            Queries; without them each fitted row is one, and does not find itself.
        n_neighbors : int, optional
            In place of the constructor's.
        return_distance : bool, default True

        Returns
        -------
        distances : ndarray of float64, shape (n_queries, n_neighbors)
            Nearest first; only if `return_distance`.
        indices : ndarray of int64, shape (n_queries, n_neighbors)

        Raises
        ------
        ValueError
            Bad queries, or more neighbours than there are rows.
        """
        check_is_fitted(self)
        if self._fit_method != "sparsenn":
            return super().kneighbors(self._square(X), n_neighbors, return_distance)  # type: ignore[misc]
        k = _check_count(self.n_neighbors if n_neighbors is None else n_neighbors)
        own = X is None or X is OWN_ROWS
        if not own:
            X = validate_data(self, X, accept_sparse="csr", reset=False)
        if k > self.n_samples_fit_ - (X is None):
            sign = "<" if X is None else "<="
            n = self.n_samples_fit_ if own else X.shape[0]
            raise ValueError(
                f"Expected n_neighbors {sign} n_samples_fit, but n_neighbors = {k}, "
                f"n_samples_fit = {self.n_samples_fit_}, n_samples = {n}"
            )
        self._index.n_jobs = self.n_jobs
        if not own:
            indices, distances = self._index.query(_less(X, self._shift), k, recall=self.recall)
        else:
            indices, distances = self._own_neighbors(k - (X is OWN_ROWS))
        if X is OWN_ROWS:
            n = len(indices)
            indices = np.hstack([np.arange(n)[:, None], indices])
            distances = np.hstack([np.zeros((n, 1), np.float32), distances])
        return (distances.astype(np.float64), indices) if return_distance else indices

    def _square(self: Any, X: Any) -> Any:  # noqa: N803
        """Check that precomputed distances are to the fitted rows."""
        if self.metric != "precomputed":
            return X
        width = X.shape[1] if getattr(X, "ndim", 0) == 2 else self.n_features_in_
        if width != self.n_features_in_:
            name = type(self).__name__
            raise ValueError(f"X has {width} features, but {name} is expecting {self.n_features_in_} features as input")
        return X

    def _own_neighbors(self: Any, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The k nearest others of each fitted row, from the index's graph if that is as right as was asked."""
        index = self._index
        if index.n_neighbors < k:
            index.n_neighbors = k
        if index.plan_.method == "exact" or self.recall is None or index.estimate_recall().recall >= self.recall:
            indices, distances = index.neighbor_graph
            return indices[:, :k].copy(), distances[:, :k].copy()
        indices, distances = index.query(_less(self._fit_X, self._shift), k + 1, recall=self.recall)
        others = indices != np.arange(len(indices))[:, None]
        others[others.all(axis=1), -1] = False
        return indices[others].reshape(-1, k), distances[others].reshape(-1, k)

    def radius_neighbors(
        self: Any,
        X: Any = None,  # noqa: N803
        radius: float | None = None,
        return_distance: bool = True,
        sort_results: bool = False,
    ) -> Any:
        """Find all fitted rows within a distance; the radius itself is included.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_queries, n_features), optional
            Queries; without them each fitted row is one, and does not find itself.
        radius : float, optional
            In place of the constructor's.
        return_distance : bool, default True
        sort_results : bool, default False
            Results come nearest first in any case; with False they need not for metric="precomputed".

        Returns
        -------
        distances : ndarray of objects, shape (n_queries,)
            An array of float64 for each query; only if `return_distance`.
        indices : ndarray of objects, shape (n_queries,)
            An array of int64 for each query.

        Raises
        ------
        ValueError
            Bad queries or radius; `sort_results` without distances.
        """
        check_is_fitted(self)
        if self._fit_method != "sparsenn":
            return super().radius_neighbors(self._square(X), radius, return_distance, sort_results)  # type: ignore[misc]
        if sort_results and not return_distance:
            raise ValueError("return_distance must be True if sort_results is True.")
        own = X is None
        X = self._fit_X if own else validate_data(self, X, accept_sparse="csr", reset=False)
        radius = self.radius if radius is None else radius
        indptr, indices, distances = self._index.query_radius(
            _less(X, self._shift), radius, recall=self.recall, n_jobs=self.n_jobs
        )
        if own:
            others = indices != np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            indptr = np.concatenate([[0], np.cumsum(others)])[indptr]
            indices, distances = indices[others], distances[others]
        found = _split(indices, indptr)
        return (_split(distances.astype(np.float64), indptr), found) if return_distance else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        if self.metric == "precomputed":
            tags.input_tags.positive_only = True
            return tags
        try:
            metric = _effective(self.metric, self.metric_params, self.p)[0]  # type: ignore[attr-defined]
            tags.input_tags.positive_only = not resolve(metric, None).metric.signed
        except ValueError:  # a metric that needs parameters, or none at all: fit will say
            tags.input_tags.positive_only = False
        return tags


def _check_count(k: Any) -> int:
    if isinstance(k, bool) or not isinstance(k, numbers.Integral):
        raise TypeError(f"n_neighbors does not take {type(k)} value, enter integer value")
    if k <= 0:
        raise ValueError(f"Expected n_neighbors > 0. Got {k}")
    return int(k)


def _seed(random_state: Any) -> int | None:
    """Read scikit-learn's `random_state` as an integer or None."""
    if random_state is None or isinstance(random_state, numbers.Integral):
        return None if random_state is None else int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _left_to_scikit_learn(metric: Any, metric_params: Any, p: Any) -> str | None:
    """What only scikit-learn's own search takes, if that was asked for."""
    if isinstance(metric, str) and metric in ("precomputed", "nan_euclidean"):
        return f"metric={metric!r}"
    power = (metric_params or {}).get("p", p)
    fraction = (
        isinstance(metric, str)
        and metric == "minkowski"
        and isinstance(power, int | float | np.floating)
        and 0 < power < 1
    )
    return f"p={power}" if fraction else None


def _effective(metric: Any, metric_params: Any, p: Any) -> tuple[Any, dict[str, Any]]:
    """Metric and parameters in our names, from scikit-learn's."""
    params = dict(metric_params or {})
    if isinstance(metric, str) and metric in ("minkowski", "p"):
        power = params.pop("p", p)
        weights = params.pop("w", None)
        named = {1: "manhattan", 2: "euclidean", np.inf: "chebyshev"}.get(power) if weights is None else None
        if named:
            return named, params
        return "minkowski", {**params, "p": power, **({} if weights is None else {"w": weights})}
    if metric == "mahalanobis" and "V" in params and "VI" not in params:
        params["VI"] = np.linalg.inv(np.asarray(params.pop("V"), np.float64))
    return metric, params


def _middle(X: Any) -> npt.NDArray[np.float64] | None:  # noqa: N803
    """Where dense rows lie: their mean, in steps of a power of two below their spread. None for sparse rows, or 0.

    Whole numbers stay whole, and what float32 holds exactly without a shift it holds with one.
    """
    if issparse(X):
        return None
    with np.errstate(all="ignore"):
        mean, spread = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
        step = np.exp2(np.floor(np.log2(spread)))
        shift = np.where(step > 0, np.rint(mean / step) * step, mean)
    shift[~np.isfinite(shift)] = 0.0
    return shift if shift.any() else None


def _less(X: Any, shift: npt.NDArray[np.float64] | None) -> Any:  # noqa: N803
    """Rows less the middle of the fitted ones, so that float32 has digits left for their differences."""
    return X if shift is None else (X.toarray() if issparse(X) else X) - shift


def _split(values: npt.NDArray[Any], indptr: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """Arrays of different lengths as an array of objects."""
    out = np.empty(len(indptr) - 1, object)
    for i in range(len(out)):
        out[i] = values[indptr[i] : indptr[i + 1]]
    return out


def _constraints(theirs: dict[str, Any]) -> dict[str, Any]:
    """What scikit-learn checks before `fit`: theirs, any metric of ours, and our own parameters."""
    ours = {"method": [str], "recall": [numbers.Real, None], "random_state": ["random_state"]}
    return {**theirs, "metric": [str, callable, BoundMetric], **ours}


class NearestNeighbors(_Searched, neighbors.NearestNeighbors):  # type: ignore[misc]
    """Nearest neighbours, with the interface of `sklearn.neighbors.NearestNeighbors`.

    Parameters
    ----------
    n_neighbors : int, default 5
    radius : float, default 1.0
    algorithm : "auto", "brute", "kd_tree" or "ball_tree", default "auto"
        Anything but "auto" asks for exact search: all of scikit-learn's algorithms are exact. A tree is refused under
        metrics that scikit-learn's has not.
    leaf_size : int, default 30
        Most rows of a leaf, where a graph is begun by a forest.
    metric : str, metric or compiled function, default "minkowski"
        As in `sparsenn.Index`, and by scikit-learn's names; or "precomputed": then X is a matrix of distances
        (dense, or a sparse graph), and scikit-learn's own search takes it, as it does "nan_euclidean".
    p : float, default 2
        Power of "minkowski"; below 1 it is left to scikit-learn.
    metric_params : dict, optional
    n_jobs : int, optional
        Threads; None and -1 are all processors.
    method : "auto", "exact", "graph" or "heads", default "auto"
        As in `sparsenn.Index`. With "auto", rows of which all are compared in no time are searched exactly.
    recall : float, optional
        Share of the true nearest that answers should have; 0.95 if not given, 1 is exact search. Of the fitted rows
        among each other: where a sample of their graph has less, they are asked for like queries.
    random_state : int, RandomState or None, default 0
        Seed of approximate search.

    Attributes
    ----------
    effective_metric_ : str or function
        The metric used, e.g. "euclidean" for "minkowski" with p=2; `effective_metric_params_` has its parameters.
    n_features_in_, n_samples_fit_ : int
    feature_names_in_ : ndarray of str
        Where X had names of columns.

    Notes
    -----
    Distances are float64, as scikit-learn's, but have float32's digits: those of dense rows less their middle under the
    metrics of differences (minkowski and its kin), of the values themselves else. Ties are in the order of the rows. An
    empty row is at the metric's largest distance from any other, and at 0 from another empty row, where scikit-learn
    has 1 (cosine) or no number at all.

    Examples
    --------
    >>> from sparsenn.sklearn import NearestNeighbors
    >>> search = NearestNeighbors(n_neighbors=2, metric="jaccard").fit([[1, 1, 0], [0, 1, 1], [1, 1, 1]])
    >>> search.kneighbors([[1, 1, 0]], return_distance=False)
    array([[0, 2]])
    """

    _parameter_constraints = _constraints(neighbors.NearestNeighbors._parameter_constraints)

    def __init__(
        self,
        *,
        n_neighbors: int = 5,
        radius: float = 1.0,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: Any = "minkowski",
        p: float = 2,
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        method: str = "auto",
        recall: float | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            n_neighbors=n_neighbors,
            radius=radius,
            algorithm=algorithm,
            leaf_size=leaf_size,
            metric=metric,
            p=p,
            metric_params=metric_params,
            n_jobs=n_jobs,
        )
        self.method, self.recall, self.random_state = method, recall, random_state


class KNeighborsTransformer(_Searched, neighbors.KNeighborsTransformer):  # type: ignore[misc]
    """Transform rows into the graph of their nearest, as `sklearn.neighbors.KNeighborsTransformer` does.

    Parameters
    ----------
    mode : "distance" or "connectivity", default "distance"
        Distances, with each fitted row itself as one more neighbour at 0; or ones, with itself among the neighbours.
    n_neighbors : int, default 5
    algorithm, leaf_size, metric, p, metric_params, n_jobs, method, recall, random_state
        As in `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_features_in_, n_samples_fit_, feature_names_in_
        As in `NearestNeighbors`.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sparsenn.sklearn import KNeighborsTransformer
    >>> texts = ["the cat sat", "a cat sat down", "stocks fell", "stocks rose and fell"]
    >>> graph = make_pipeline(TfidfVectorizer(), KNeighborsTransformer(n_neighbors=1, metric="cosine"))
    >>> graph.fit_transform(texts).indices.tolist()
    [0, 1, 1, 0, 2, 3, 3, 2]
    """

    _parameter_constraints = _constraints(neighbors.KNeighborsTransformer._parameter_constraints)

    def __init__(
        self,
        *,
        mode: str = "distance",
        n_neighbors: int = 5,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: Any = "minkowski",
        p: float = 2,
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        method: str = "auto",
        recall: float | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            mode=mode,
            n_neighbors=n_neighbors,
            algorithm=algorithm,
            leaf_size=leaf_size,
            metric=metric,
            p=p,
            metric_params=metric_params,
            n_jobs=n_jobs,
        )
        self.method, self.recall, self.random_state = method, recall, random_state

    def fit_transform(self, X: Any, y: Any = None) -> Any:  # noqa: N803
        """Fit, and return the graph of the fitted rows.

        It is the index's own graph: no query is asked for it, and each row is its own first neighbour.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        CSR matrix of float64, shape (n_samples, n_samples)
            ``n_neighbors + 1`` values a row with mode "distance", the first an explicit 0 on the diagonal;
            `n_neighbors` with "connectivity". Each row's by distance, not by column.
        """
        self.fit(X)
        if (
            self._fit_method != "sparsenn"
            or self.effective_metric_ in AWAY
            or not isinstance(self.effective_metric_, str)
        ):
            return self.transform(X)
        return self.kneighbors_graph(OWN_ROWS, self.n_neighbors + (self.mode == "distance"), self.mode)


class RadiusNeighborsTransformer(_Searched, neighbors.RadiusNeighborsTransformer):  # type: ignore[misc]
    """Transform rows into the graph of all within a radius, as `sklearn.neighbors.RadiusNeighborsTransformer` does.

    Parameters
    ----------
    mode : "distance" or "connectivity", default "distance"
    radius : float, default 1.0
        A row at this distance is a neighbour.
    algorithm, leaf_size, metric, p, metric_params, n_jobs, method, recall, random_state
        As in `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_features_in_, n_samples_fit_, feature_names_in_
        As in `NearestNeighbors`.

    Examples
    --------
    >>> from sparsenn.sklearn import RadiusNeighborsTransformer
    >>> RadiusNeighborsTransformer(radius=1.5).fit_transform([[0.0], [1.0], [3.0]]).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    _parameter_constraints = _constraints(neighbors.RadiusNeighborsTransformer._parameter_constraints)

    def __init__(
        self,
        *,
        mode: str = "distance",
        radius: float = 1.0,
        algorithm: str = "auto",
        leaf_size: int = 30,
        metric: Any = "minkowski",
        p: float = 2,
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        method: str = "auto",
        recall: float | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            mode=mode,
            radius=radius,
            algorithm=algorithm,
            leaf_size=leaf_size,
            metric=metric,
            p=p,
            metric_params=metric_params,
            n_jobs=n_jobs,
        )
        self.method, self.recall, self.random_state = method, recall, random_state


class KNeighborsClassifier(_Searched, neighbors.KNeighborsClassifier):  # type: ignore[misc]
    """Classify by the labels of the nearest, as `sklearn.neighbors.KNeighborsClassifier` does.

    Parameters
    ----------
    n_neighbors : int, default 5
    weights : "uniform", "distance", callable or None, default "uniform"
        How neighbours are weighted by their distance.
    algorithm, leaf_size, p, metric, metric_params, n_jobs, method, recall, random_state
        As in `NearestNeighbors`.

    Attributes
    ----------
    classes_ : ndarray, or a list of them for several outputs
    outputs_2d_ : bool
        Whether y had several columns.
    effective_metric_, effective_metric_params_, n_features_in_, n_samples_fit_, feature_names_in_
        As in `NearestNeighbors`.

    Examples
    --------
    >>> from sparsenn.sklearn import KNeighborsClassifier
    >>> vote = KNeighborsClassifier(n_neighbors=1, metric="jaccard").fit([[1, 1, 0], [0, 0, 1]], ["cat", "dog"])
    >>> vote.predict([[1, 0, 0]]).tolist()
    ['cat']
    """

    _parameter_constraints = _constraints(neighbors.KNeighborsClassifier._parameter_constraints)

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: Any = "uniform",
        algorithm: str = "auto",
        leaf_size: int = 30,
        p: float = 2,
        metric: Any = "minkowski",
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        method: str = "auto",
        recall: float | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            n_neighbors=n_neighbors,
            weights=weights,
            algorithm=algorithm,
            leaf_size=leaf_size,
            p=p,
            metric=metric,
            metric_params=metric_params,
            n_jobs=n_jobs,
        )
        self.method, self.recall, self.random_state = method, recall, random_state


class KNeighborsRegressor(_Searched, neighbors.KNeighborsRegressor):  # type: ignore[misc]
    """Predict the mean of the nearest, as `sklearn.neighbors.KNeighborsRegressor` does.

    Parameters
    ----------
    n_neighbors : int, default 5
    weights : "uniform", "distance", callable or None, default "uniform"
        How neighbours are weighted by their distance.
    algorithm, leaf_size, p, metric, metric_params, n_jobs, method, recall, random_state
        As in `NearestNeighbors`.

    Attributes
    ----------
    effective_metric_, effective_metric_params_, n_features_in_, n_samples_fit_, feature_names_in_
        As in `NearestNeighbors`.

    Examples
    --------
    >>> from sparsenn.sklearn import KNeighborsRegressor
    >>> mean = KNeighborsRegressor(n_neighbors=2, metric="manhattan").fit([[0.0], [1.0], [5.0]], [0.0, 1.0, 5.0])
    >>> mean.predict([[0.4]]).tolist()
    [0.5]
    """

    _parameter_constraints = _constraints(neighbors.KNeighborsRegressor._parameter_constraints)

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        weights: Any = "uniform",
        algorithm: str = "auto",
        leaf_size: int = 30,
        p: float = 2,
        metric: Any = "minkowski",
        metric_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        method: str = "auto",
        recall: float | None = None,
        random_state: Any = 0,
    ):
        super().__init__(
            n_neighbors=n_neighbors,
            weights=weights,
            algorithm=algorithm,
            leaf_size=leaf_size,
            p=p,
            metric=metric,
            metric_params=metric_params,
            n_jobs=n_jobs,
        )
        self.method, self.recall, self.random_state = method, recall, random_state
