"""What a metric is: one record, in one place; and the list of them all.

Nearly every metric is ``finish(statistics of x, statistics of y, sum over the terms both have)``
after a transform of each row by itself. A record holds those formulas as plain scalar functions;
`sparsenn.traversal` compiles them. A record knows nothing of how rows are stored.

Conventions of the formulas (all numbers are float64, `p` is the packed parameter array, whose
``p[0]`` is always the number of columns):

===============  ==================================================================================
``step``         ``h(p, a, b)``: what a column adds that both rows have; 0 where either is 0
``term``         ``f(p, a, b)``: additive metrics, the sum over all columns; ``f(p, 0, 0) = 0``.
                 Without a `step` of its own, the shared part is f(a, 0) + f(0, b) − f(a, b)
``pair``         ``d(p, ind1, val1, ind2, val2)``: a metric that fits neither, on two sorted rows
``statistics``   sums over a row's own values, each ``s(p, a)``; at most two
``summarise``    ``(sums of shape (2, n), n_features) -> (2, n)``: what `finish` wants of them
``finish``       ``(p, x, y, shared) -> surrogate``; for additive metrics the last is the total.
                 It falls, or stays, as `shared` grows
``correct``      ``(p, surrogate) -> distance``, rising; ``invert`` undoes it
``norm, mass``   bounds of a step, for pruning: h(a, b) ≤ norm(a)·norm(b), or ≤ min(mass(a), mass(b))
``impact``       ``i(p, b, y)``: what orders the rows of one column, by their value and statistics, as
                 `finish` does when that column is all they share with the query, whatever the query
``transform``    ``t(p, indices, values)``: rewrites the values of one row in place
``proxy``        ``(params, matrix of the fitted rows, own) -> Proxy``, where a pair is dear; ``own()`` is
                 each of those rows' distance to itself
===============  ==================================================================================

A *surrogate* keeps the order and is corrected at the end. A *proxy* is approximate: it finds
candidates, which the metric itself puts in order.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Formula = Callable[..., Any]
REQUIRED: Any = object()


@dataclass(frozen=True)
class Parameter:
    """A metric's parameter: its default (or `REQUIRED`), the check it must pass, and what it is."""

    default: Any
    check: Callable[[Any], str | None]
    about: str


@dataclass(frozen=True)
class Proxy:
    """Other rows, among which a cheap metric finds candidates for a dear one.

    Attributes
    ----------
    metric : str
        Name of the cheap metric.
    rows, queries : callable
        Make the fitted rows, and queries, into its rows: from a matrix (scipy CSR array or ndarray) of rows
        after the dear metric's transform, to what an index takes.
    reach : callable
        ``reach(d)``: no pair at a true distance of `d` or less is farther apart than this under the proxy;
        infinity where nothing is known.
    """

    metric: str
    rows: Callable[[Any], Any]
    queries: Callable[[Any], Any]
    reach: Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric: its names, formulas, bounds, and what it asks of the data."""

    name: str
    formula: str
    source: str = ""
    aliases: tuple[str, ...] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    step: Formula | None = None
    term: Formula | None = None
    factor: float = 1.0  # additive metrics: total = x[0] + y[0] − factor · shared
    pair: Formula | None = None
    statistics: tuple[Formula, ...] = ()
    summarise: Callable[[npt.NDArray[np.float64], int], npt.NDArray[np.float64]] | None = None
    finish: Formula | None = None
    correct: Formula | None = None
    invert: Formula | None = None
    norm: Formula | None = None
    mass: Formula | None = None
    impact: Formula | None = None
    worst: float | None = None  # distance of two rows that share nothing, if none is larger
    similar: float | None = None  # similarity = this − distance; None where distances have no natural end
    presence: bool = False  # only which columns are there matters
    signed: bool = True  # negative values are allowed
    exact_integers: bool = False  # values are compared for equality: integers that collide in float32 are refused
    check_range: Callable[[Mapping[str, Any], float, int], str | None] | None = None  # (params, largest value, width)
    transform: Formula | None = None
    by_width: bool = False  # what a transform does depends on the number of columns
    pack: Callable[[Mapping[str, Any], int], npt.NDArray[np.float64]] | None = None
    fit: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None
    project: Callable[[Mapping[str, Any]], npt.NDArray[np.float64]] | None = None
    containers: tuple[str, ...] = ("csr", "dense")
    n_columns: int | None = None
    symmetric: bool = True
    reflexive: bool = True  # equal rows are at 0
    positional: bool = False  # the order of the columns matters
    cost: tuple[float, float] = (1.0, 1.0)  # of a step and of a finish, where a product's are 1 (bench_kernels.py)
    pair_cost: Callable[[float], float] | None = None  # nanoseconds of a `pair`, from the values of an average row
    proxy: Callable[[Mapping[str, Any], Any, Any], Proxy] | None = None
    reference: Callable[..., float] | None = None  # oracle of the tests: (x, y, **parameters)
    example: Mapping[str, Any] = field(default_factory=dict)  # parameters for tests and tables

    @property
    def additive(self) -> bool:
        """Whether the distance is a sum over columns (so that a pairwise form exists)."""
        return self.term is not None

    def wants(self) -> str:
        """Say in words what rows this metric takes."""
        if self.containers == ("bits",):
            return "bit-packed rows (uint8, as numpy.packbits makes them)"
        if self.n_columns is not None:
            return f"dense rows of {self.n_columns} columns"
        return "sparse or dense rows" if len(self.containers) > 1 else f"{self.containers[0]} rows"


@dataclass(frozen=True)
class BoundMetric:
    """A metric with its parameters, checked. What ``sn.metrics.minkowski(p=3)`` returns."""

    metric: Metric
    params: Mapping[str, Any]
    function: Any = None  # a user's own compiled function

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={_short(value)}" for key, value in self.params.items())
        return f"{self.metric.name}({shown})" if shown else self.metric.name

    def pack(self, n_features: int) -> npt.NDArray[np.float64]:
        """Parameters as the array that compiled formulas read; the first is `n_features`."""
        if self.metric.pack is not None:
            own = np.ravel(self.metric.pack(self.params, n_features))
        else:
            own = np.array([float(value) for value in self.params.values()], dtype=np.float64)
        return np.concatenate([[float(n_features)], own.astype(np.float64)])

    def fit(self, rows: Any) -> "BoundMetric":
        """Fill in what the fitted rows decide (variances, covariances)."""
        if self.metric.fit is None:
            return self
        return BoundMetric(self.metric, self.metric.fit(self.params, rows), self.function)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"<array {'x'.join(map(str, value.shape))}>"
    return repr(value)


_metrics: dict[str, Metric] = {}
_aliases: dict[str, str] = {}


def register(*metrics: Metric) -> None:
    """Add records to the registry; a name or alias stands once."""
    for metric in metrics:
        for name in (metric.name, *metric.aliases):
            if name in _aliases:
                raise ValueError(f"the metric name {name!r} is taken by {_aliases[name]!r}")
            _aliases[name] = metric.name
        _metrics[metric.name] = metric


def names() -> list[str]:
    """List the canonical names of all metrics, in the order of the documentation."""
    return list(_metrics)


def get(name: str) -> Metric:
    """Return the record of a metric by its name or an alias.

    Raises
    ------
    ValueError
        If there is no such metric; the message names the nearest ones.
    """
    if not isinstance(name, str) or name not in _aliases:
        near = difflib.get_close_matches(str(name).lower(), list(_aliases), n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"unknown metric {name!r}.{hint} sparsenn.metrics.names() lists them all.")
    return _metrics[_aliases[name]]


def bind(metric: Metric, params: Mapping[str, Any] | None = None) -> BoundMetric:
    """Check `params` against the record and fill in the defaults."""
    if params is not None and not isinstance(params, Mapping):
        raise ValueError(f"metric_params must be a dict of parameters or None, got {type(params).__name__}")
    given = dict(params or {})
    for key in given:
        if key not in metric.parameters:
            takes = ", ".join(metric.parameters) or "no parameters"
            raise ValueError(f"{metric.name} has no parameter {key!r}; it takes {takes}")
    chosen = {}
    for key, parameter in metric.parameters.items():
        value = given.get(key, parameter.default)
        if value is REQUIRED:
            raise ValueError(
                f"{metric.name} needs the parameter {key!r} ({parameter.about}): metric_params={{{key!r}: ...}}"
            )
        if value is not None or parameter.default is not None:
            complaint = parameter.check(value)
            if complaint:
                raise ValueError(f"{metric.name}: {key} {complaint}, got {_short(value)}")
        chosen[key] = value
    return BoundMetric(metric, chosen)


def resolve(metric: Any, params: Mapping[str, Any] | None = None) -> BoundMetric:
    """Turn whatever a user may give as `metric` into a bound metric.

    Parameters
    ----------
    metric : str, BoundMetric or numba-compiled function
        A name or alias, the result of e.g. ``sparsenn.metrics.minkowski(p=3)``, or an ``njit``
        function of two rows: ``(x, y, *params)`` on dense rows,
        ``(ind1, data1, ind2, data2, *params)`` on sparse ones.
    params : dict, optional
        Its parameters.

    Raises
    ------
    ValueError
        Unknown metric or parameter, a bad value, a function that is not compiled.
    """
    if isinstance(metric, BoundMetric):
        if params:
            raise ValueError(
                f"{metric.metric.name} has its parameters already: give them once, not in metric_params too"
            )
        return metric
    if isinstance(metric, str):
        return bind(get(metric), params)
    if callable(metric):
        return _custom(metric, params)
    raise ValueError(f"metric must be a name, a metric or a compiled function, got {type(metric).__name__}")


def _custom(function: Any, params: Mapping[str, Any] | None) -> BoundMetric:
    """Wrap a user's compiled function as a record of its own."""
    label = getattr(function, "__name__", "function")
    if not hasattr(function, "py_func"):
        raise ValueError(f"the metric function {label!r} is not compiled: decorate it with numba.njit")
    arguments = list(inspect.signature(function.py_func).parameters.values())
    sparse = [a.name for a in arguments[:4]] == ["ind1", "data1", "ind2", "data2"] or (
        len(arguments) >= 4 and all(a.default is inspect.Parameter.empty for a in arguments[:4]) and not params
    )
    n_rows = 4 if sparse else 2
    if len(arguments) < n_rows:
        raise ValueError(
            f"the metric function {label!r} takes {len(arguments)} arguments: it needs two (dense rows x, y) "
            "or four (ind1, data1, ind2, data2), then its parameters"
        )
    extra = arguments[n_rows:]
    table = {
        a.name: Parameter(REQUIRED if a.default is inspect.Parameter.empty else a.default, check_number, "a number")
        for a in extra
    }
    record = Metric(
        name=label,
        formula="the user's own function",
        parameters=table,
        pair=function,
        containers=("csr",) if sparse else ("dense",),
        positional=True,
        symmetric=False,
        reflexive=False,
    )
    return BoundMetric(record, bind(record, params).params, function)


def check_number(value: Any) -> str | None:
    """Complain unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return "must be a number"
    return None if np.isfinite(value) else "must be finite"


def check_positive(value: Any) -> str | None:
    """Complain unless `value` is a finite number above 0."""
    return check_number(value) or (None if value > 0 else "must be above 0")


def check_not_negative(value: Any) -> str | None:
    """Complain unless `value` is a finite number of at least 0."""
    return check_number(value) or (None if value >= 0 else "must be at least 0")


def check_vector(value: Any) -> str | None:
    """Complain unless `value` is a finite vector without negative numbers."""
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        return "must be a vector of numbers, one for each column"
    if not np.isfinite(array).all():
        return "must be finite"
    return "must have no negative numbers" if (array < 0).any() else None


def check_matrix(value: Any) -> str | None:
    """Complain unless `value` is a finite square matrix."""
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.dtype.kind not in "biuf":
        return "must be a square matrix of numbers, one row and column for each column of the data"
    return None if np.isfinite(array).all() else "must be finite"


def check_cost(value: Any) -> str | None:
    """Complain unless `value` is a finite square matrix without negative numbers."""
    return check_matrix(value) or ("must have no negative numbers" if (np.asarray(value) < 0).any() else None)
