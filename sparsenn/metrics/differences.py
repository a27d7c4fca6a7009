"""The Minkowski family, and other sums of differences column by column."""

import math

import numpy as np

from sparsenn.metrics.formulas import (
    magnitude,
    present,
    product,
    same,
    smaller,
    square,
    square_root,
    squared,
)
from sparsenn.metrics.registry import (
    Metric,
    Parameter,
    check_matrix,
    check_number,
    check_vector,
    register,
)


def squared_difference(p, a, b):
    """(a − b)²."""
    return (a - b) * (a - b)


def difference(p, a, b):
    """|a − b|."""
    return abs(a - b)


def powered_difference(p, a, b):
    """|a − b|^p."""
    return abs(a - b) ** p[1]


def powered(p, a):
    """|a|^p."""
    return abs(a) ** p[1]


def root(p, s):
    """s^(1/p)."""
    return max(s, 0.0) ** (1.0 / p[1])


def unroot(p, d):
    """d^p."""
    return d ** p[1]


def relative_difference(p, a, b):
    """|a − b| / (|a| + |b|)."""
    whole = abs(a) + abs(b)
    return abs(a - b) / whole if whole > 0.0 else 0.0


def two(p, a):
    """2: the most a shared column can save."""
    return 2.0


def share_of_whole(p, x, y, shared):
    """Σ|a − b| / Σ(a + b), from the sums of both rows."""
    whole = x[0] + y[0]
    return max((whole - 2.0 * shared) / whole, 0.0) if whole > 0.0 else 0.0


def differs(p, a, b):
    """1 where the values differ."""
    return 1.0 if a != b else 0.0


def share_of_columns(p, x, y, total):
    """Share of all columns."""
    return total / max(p[0], 1.0)


def scale_columns(p, indices, values):
    """x_t · w_t, where the weights stand in `p` behind the first two places."""
    if p.shape[0] > 2:
        for t in range(values.shape[0]):
            values[t] *= p[2 + indices[t]]


def largest_difference(p, ind1, val1, ind2, val2):
    """max |a − b| over the columns of either row."""
    i = 0
    j = 0
    most = 0.0
    while i < ind1.shape[0] or j < ind2.shape[0]:
        if j == ind2.shape[0] or (i < ind1.shape[0] and ind1[i] < ind2[j]):
            d = float(val1[i])
            i += 1
        elif i == ind1.shape[0] or ind2[j] < ind1[i]:
            d = float(val2[j])
            j += 1
        else:
            d = float(val1[i]) - float(val2[j])
            i += 1
            j += 1
        most = max(most, abs(d))
    return most


def great_circle(p, ind1, val1, ind2, val2):
    """Angle between two points on a sphere, of (latitude, longitude) in radians."""
    half_lat = math.sin(0.5 * (float(val1[0]) - float(val2[0])))
    half_lon = math.sin(0.5 * (float(val1[1]) - float(val2[1])))
    h = half_lat * half_lat + math.cos(float(val1[0])) * math.cos(float(val2[0])) * half_lon * half_lon
    return 2.0 * math.asin(math.sqrt(min(h, 1.0)))


def _check_p(value):
    return check_number(value) or (None if value >= 1 else "must be at least 1 (use chebyshev for infinity)")


def _check_powers(params, largest, width):
    """Complain where |x − y|^p would leave float64."""
    p = float(params["p"])
    if largest > 0 and abs(p * math.log10(2 * largest)) + math.log10(max(width, 1)) > 290:
        return f"p={p:g} is too large for values up to {largest:g}: rescale the data to about 1, or use chebyshev"
    return None


def _pack_minkowski(params, n_features):
    p, w = float(params["p"]), params["w"]
    if w is None:
        return np.array([p])
    w = np.asarray(w, np.float64)
    if w.shape[0] != n_features:
        raise ValueError(f"minkowski: w has {w.shape[0]} weights, but the rows have {n_features} columns")
    return np.concatenate([[p], w ** (1.0 / p)])


def _fit_variances(params, rows):
    if params["V"] is not None:
        return params
    if rows.shape[0] < 2:
        raise ValueError("seuclidean: variances need at least 2 rows; give them as metric_params={'V': ...}")
    return {"V": rows.column_variances()}


def _pack_variances(params, n_features):
    variances = np.asarray(params["V"], np.float64)
    if variances.shape[0] != n_features:
        raise ValueError(f"seuclidean: V has {variances.shape[0]} variances, but the rows have {n_features} columns")
    zero = np.flatnonzero(variances == 0)
    if zero.size:
        raise ValueError(
            f"seuclidean: the variance of column {zero[0]} is 0 ({zero.size} such columns): "
            "drop constant columns or give metric_params={'V': ...}"
        )
    return np.concatenate([[0.0], 1.0 / np.sqrt(variances)])


def _fit_covariance(params, rows):
    if params["VI"] is not None:
        return params
    n, m = rows.shape
    if n <= m:
        raise ValueError(
            f"mahalanobis: the covariance of {m} columns cannot be inverted from {n} rows; "
            "give its inverse as metric_params={'VI': ...}"
        )
    try:
        return {"VI": np.linalg.inv(rows.column_covariance())}
    except np.linalg.LinAlgError:
        raise ValueError(
            "mahalanobis: the covariance of the rows is singular; drop columns that depend on others, "
            "or give metric_params={'VI': ...}"
        ) from None


def _whitening(params):
    inverse = np.asarray(params["VI"], np.float64)
    values, vectors = np.linalg.eigh((inverse + inverse.T) / 2)
    if values[0] < -1e-9 * max(values[-1], 1e-300):
        raise ValueError(f"mahalanobis: VI must be positive semidefinite; its least eigenvalue is {values[0]:.3g}")
    return vectors * np.sqrt(np.clip(values, 0, None))


def _mahalanobis(x, y, VI):  # noqa: N803
    d = x - y
    return math.sqrt(max(float(d @ np.asarray(VI, np.float64) @ d), 0.0))


def _haversine(x, y):
    (a, b), (c, d) = x, y
    h = math.sin((a - c) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((b - d) / 2) ** 2
    return 2 * math.asin(math.sqrt(h))


def _canberra(x, y):
    whole = np.abs(x) + np.abs(y)
    return float((np.abs(x - y)[whole > 0] / whole[whole > 0]).sum())


def _minkowski(x, y, p, w=None):
    d = np.abs(x - y) ** p
    return float((d if w is None else d * w).sum() ** (1 / p))


register(
    Metric(
        name="euclidean",
        formula="√Σ(x−y)²",
        aliases=("l2", "euclid"),
        step=product,
        term=squared_difference,
        factor=2.0,
        statistics=(square,),
        finish=same,
        correct=square_root,
        invert=squared,
        norm=magnitude,
        reference=lambda x, y: math.sqrt(((x - y) ** 2).sum()),
    ),
    Metric(
        name="sqeuclidean",
        aliases=("sqeuclid", "sqe"),
        formula="Σ(x−y)²",
        step=product,
        term=squared_difference,
        factor=2.0,
        statistics=(square,),
        finish=same,
        norm=magnitude,
        reference=lambda x, y: float(((x - y) ** 2).sum()),
    ),
    Metric(
        name="manhattan",
        formula="Σ|x−y|",
        aliases=("cityblock", "cblock", "taxicab", "l1"),
        step=smaller,
        term=difference,
        factor=2.0,
        statistics=(magnitude,),
        finish=same,
        mass=magnitude,
        reference=lambda x, y: float(np.abs(x - y).sum()),
    ),
    Metric(
        name="chebyshev",
        formula="max|x−y|",
        aliases=("linfinity", "linfty", "linf", "chebychev", "cheby", "cheb", "infinity"),
        pair=largest_difference,
        reference=lambda x, y: float(np.abs(x - y).max(initial=0.0)),
    ),
    Metric(
        name="minkowski",
        aliases=("pnorm", "wminkowski", "weighted_minkowski"),
        formula="(Σ w |x−y|^p)^(1/p)",
        parameters={
            "p": Parameter(2.0, _check_p, "the power, at least 1"),
            "w": Parameter(None, check_vector, "a weight for each column"),
        },
        source="weights as scipy.spatial.distance.minkowski",
        term=powered_difference,
        statistics=(powered,),
        finish=same,
        correct=root,
        invert=unroot,
        transform=scale_columns,
        check_range=_check_powers,
        pack=_pack_minkowski,
        reference=_minkowski,
        example={"p": 3.0},
    ),
    Metric(
        name="canberra",
        formula="Σ|x−y| / (|x|+|y|)",
        term=relative_difference,
        statistics=(present,),
        finish=same,
        mass=two,
        reference=_canberra,
    ),
    Metric(
        name="braycurtis",
        similar=1.0,
        formula="Σ|x−y| / Σ(x+y)",
        aliases=("bray_curtis",),
        step=smaller,
        statistics=(magnitude,),
        finish=share_of_whole,
        mass=magnitude,
        worst=1.0,
        signed=False,
        reference=lambda x, y: float(np.abs(x - y).sum() / (x + y).sum()) if (x + y).sum() > 0 else 0.0,
    ),
    Metric(
        name="seuclidean",
        formula="√Σ(x−y)²/V (V: variances of the fitted rows, ddof 1, unless given)",
        aliases=("standardised_euclidean", "standardized_euclidean"),
        parameters={"V": Parameter(None, check_vector, "a variance for each column")},
        step=product,
        term=squared_difference,
        factor=2.0,
        statistics=(square,),
        finish=same,
        correct=square_root,
        invert=squared,
        norm=magnitude,
        transform=scale_columns,
        pack=_pack_variances,
        fit=_fit_variances,
        reference=lambda x, y, V: math.sqrt(((x - y) ** 2 / np.asarray(V)).sum()),  # noqa: N803
    ),
    Metric(
        name="mahalanobis",
        aliases=("mahal",),
        formula="√(x−y)ᵀ VI (x−y) (VI: inverse covariance of the fitted rows unless given)",
        parameters={"VI": Parameter(None, check_matrix, "the inverse of the covariance")},
        step=product,
        term=squared_difference,
        factor=2.0,
        statistics=(square,),
        finish=same,
        correct=square_root,
        invert=squared,
        norm=magnitude,
        fit=_fit_covariance,
        project=_whitening,
        pack=lambda params, n_features: np.zeros(0),
        reference=_mahalanobis,
    ),
    Metric(
        name="haversine",
        formula="2 arcsin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)), rows (φ, λ) in radians",
        pair=great_circle,
        containers=("dense",),
        n_columns=2,
        positional=True,
        reference=_haversine,
    ),
    Metric(
        name="hamming",
        similar=1.0,
        aliases=("hamm",),
        formula="share of all columns whose values differ",
        term=differs,
        statistics=(present,),
        finish=share_of_columns,
        mass=two,
        exact_integers=True,
        reference=lambda x, y: float((x != y).mean()),
    ),
)
