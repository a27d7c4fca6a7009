"""Distances between two sparse rows, each its sorted columns and their values, by PyNNDescent's names and values.

``f(ind1, data1, ind2, data2)``; those of `sparse_need_n_features` take the number of columns after these.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sparsenn._jit import entry, kernel, maker
from sparsenn.pynndescent import distances as dense
from sparsenn.pynndescent.distances import FAR, ratio


@kernel
def fast_intersection_size_of(ind1, ind2):
    """Columns that both rows have."""
    i = j = both = 0
    while i < ind1.shape[0] and j < ind2.shape[0]:
        a, b = ind1[i], ind2[j]
        both += a == b
        i += a <= b
        j += b <= a
    return both


@maker
def aligned(ind1, data1, ind2, data2):
    """Values of both rows at every column that one has, and these columns."""
    most = ind1.shape[0] + ind2.shape[0]
    x, y, columns = np.zeros(most, data1.dtype), np.zeros(most, data1.dtype), np.zeros(most, np.int64)
    i = j = n = 0
    while i < ind1.shape[0] or j < ind2.shape[0]:
        first = j >= ind2.shape[0] or (i < ind1.shape[0] and ind1[i] <= ind2[j])
        second = i >= ind1.shape[0] or (j < ind2.shape[0] and ind2[j] <= ind1[i])
        if first:
            columns[n], x[n] = ind1[i], data1[i]
            i += 1
        if second:
            columns[n], y[n] = ind2[j], data2[j]
            j += 1
        n += 1
    return x[:n], y[:n], columns[:n]


@entry
def fast_intersection_size(ind1, ind2):
    """Columns that both rows have."""
    return np.int32(fast_intersection_size_of(ind1, ind2))


@entry
def sparse_dot_product(ind1, data1, ind2, data2):
    """x·y."""
    x, y, _ = aligned(ind1, data1, ind2, data2)
    return np.float32(dense.products(x, y)[0])


def _over_union(function: Any) -> Any:
    """Make the sparse form of a metric to which columns that neither row has add nothing."""

    def sparse(ind1, data1, ind2, data2):
        x, y, _ = aligned(ind1, data1, ind2, data2)
        return function(x, y)

    sparse.__name__ = sparse.__qualname__ = f"sparse_{function.__name__}"
    sparse.__doc__ = function.__doc__
    return entry(sparse)


sparse_euclidean = _over_union(dense.euclidean)
sparse_squared_euclidean = _over_union(dense.squared_euclidean)
sparse_manhattan = _over_union(dense.manhattan)
sparse_chebyshev = _over_union(dense.chebyshev)
sparse_canberra = _over_union(dense.canberra)
sparse_bray_curtis = _over_union(dense.bray_curtis)
sparse_cosine = _over_union(dense.cosine)
sparse_alternative_cosine = _over_union(dense.alternative_cosine)
sparse_alternative_dot = _over_union(dense.alternative_dot)
sparse_hellinger = _over_union(dense.hellinger)
sparse_alternative_hellinger = _over_union(dense.alternative_hellinger)
sparse_jensen_shannon_divergence = _over_union(dense.jensen_shannon_divergence)
sparse_symmetric_kl_divergence = _over_union(dense.symmetric_kl_divergence)


@entry
def sparse_minkowski(ind1, data1, ind2, data2, p=2.0):
    """(Σ|x−y|^p)^(1/p)."""
    x, y, _ = aligned(ind1, data1, ind2, data2)
    return dense.minkowski(x, y, p)


@entry
def sparse_dot(ind1, data1, ind2, data2):
    """1 − x·y of rows of length 1."""
    return 1.0 - sparse_dot_product(ind1, data1, ind2, data2)


@entry
def sparse_jaccard(ind1, data1, ind2, data2):
    """1 − |x∩y| / |x∪y|; 0 of two empty rows."""
    both = fast_intersection_size_of(ind1, ind2)
    either = ind1.shape[0] + ind2.shape[0] - both
    return ratio(float(either - both), float(either))


@entry
def sparse_alternative_jaccard(ind1, data1, ind2, data2):
    """−log₂(|x∩y| / |x∪y|)."""
    both = fast_intersection_size_of(ind1, ind2)
    either = ind1.shape[0] + ind2.shape[0] - both
    if either == 0:
        return np.float32(0.0)
    return np.float32(-np.log2(both / either)) if both else FAR


@entry
def sparse_dice(ind1, data1, ind2, data2):
    """|x△y| / (2|x∩y| + |x△y|)."""
    both = fast_intersection_size_of(ind1, ind2)
    size = ind1.shape[0] + ind2.shape[0]
    return ratio(float(size - 2 * both), float(size))


@entry
def sparse_sokal_sneath(ind1, data1, ind2, data2):
    """|x△y| / (|x∩y|/2 + |x△y|)."""
    both = fast_intersection_size_of(ind1, ind2)
    differ = ind1.shape[0] + ind2.shape[0] - 2 * both
    return ratio(float(differ), 0.5 * both + differ)


@entry
def sparse_hamming(ind1, data1, ind2, data2, n_features):
    """Share of the columns whose values differ."""
    x, y, _ = aligned(ind1, data1, ind2, data2)
    return np.sum(x != y) / n_features


@entry
def sparse_matching(ind1, data1, ind2, data2, n_features):
    """|x△y| / n."""
    return (ind1.shape[0] + ind2.shape[0] - 2 * fast_intersection_size_of(ind1, ind2)) / n_features


@entry
def sparse_kulsinski(ind1, data1, ind2, data2, n_features):
    """(|x△y| − |x∩y| + n) / (|x△y| + n); 0 of rows with the same columns."""
    both = fast_intersection_size_of(ind1, ind2)
    return dense.kulsinski_of(both, ind1.shape[0] + ind2.shape[0] - 2 * both, n_features)


@entry
def sparse_rogers_tanimoto(ind1, data1, ind2, data2, n_features):
    """2|x△y| / (n + |x△y|)."""
    differ = ind1.shape[0] + ind2.shape[0] - 2 * fast_intersection_size_of(ind1, ind2)
    return 2.0 * differ / (n_features + differ)


@entry
def sparse_russellrao(ind1, data1, ind2, data2, n_features):
    """1 − |x∩y| / n; 0 of rows with the same columns."""
    both = fast_intersection_size_of(ind1, ind2)
    return (n_features - both) / n_features if ind1.shape[0] + ind2.shape[0] > 2 * both else 0.0


@entry
def sparse_correlation(ind1, data1, ind2, data2, n_features):
    """1 − Pearson's r over all columns; 1 from an empty row to any other, 0 between two."""
    if ind1.shape[0] == 0 or ind2.shape[0] == 0:
        return 0.0 if ind1.shape[0] == ind2.shape[0] else 1.0
    x, y, _ = aligned(ind1, data1, ind2, data2)
    mean_x, mean_y = x.sum() / n_features, y.sum() / n_features
    absent = n_features - x.shape[0]
    xy, xx, yy = absent * mean_x * mean_y, absent * mean_x * mean_x, absent * mean_y * mean_y
    for i in range(x.shape[0]):
        a, b = x[i] - mean_x, y[i] - mean_y
        xy += a * b
        xx += a * a
        yy += b * b
    if xx == 0.0 and yy == 0.0:
        return 0.0
    return 1.0 - xy / np.sqrt(xx * yy) if xy != 0.0 else 1.0


@entry
def sparse_wasserstein_1d(ind1, data1, ind2, data2, p=1):
    """(Σ|CDF_x − CDF_y|^p)^(1/p) along the columns."""
    x, y, columns = aligned(ind1, data1, ind2, data2)
    sum_x, sum_y = x.sum(), y.sum()
    a = b = total = 0.0
    for i in range(x.shape[0] - 1):
        a += x[i] / sum_x
        b += y[i] / sum_y
        total += np.abs(a - b) ** p * (columns[i + 1] - columns[i])
    return total ** (1.0 / p)


def sparse_kantorovich(ind1: Any, data1: Any, ind2: Any, data2: Any, ground_metric: Any = None) -> float:
    """Least Σ plan · cost, where ``ground_metric(i, j)`` is a cost, 1 between different columns by default.

    Not compiled.
    """
    wide = np.zeros((2, len(ind1) + len(ind2)))
    wide[0, : len(ind1)], wide[1, len(ind1) :] = data1, data2
    measure = ground_metric or (lambda i, j: float(i != j))
    cost = np.zeros((wide.shape[1],) * 2)
    cost[: len(ind1), len(ind1) :] = [[measure(i, j) for j in ind2] for i in ind1]
    return dense.kantorovich(wide[0], wide[1], cost)


def sparse_correct_alternative_cosine(d: Any) -> Any:
    """1 − 2^−d, and 0 for what is 0 but for rounding."""
    return np.where(np.asarray(d) <= 1e-7, 0.0, 1.0 - np.exp2(-np.maximum(d, 0.0)))


def sparse_correct_alternative_hellinger(d: Any) -> Any:
    """√(1 − 2^−d), and 0 for what is 0 but for rounding."""
    return np.sqrt(sparse_correct_alternative_cosine(d))


sparse_sokal_michener = sparse_rogers_tanimoto

sparse_named_distances: dict[str, Callable[..., Any]] = {
    "euclidean": sparse_euclidean,
    "l2": sparse_euclidean,
    "sqeuclidean": sparse_squared_euclidean,
    "manhattan": sparse_manhattan,
    "l1": sparse_manhattan,
    "taxicab": sparse_manhattan,
    "chebyshev": sparse_chebyshev,
    "linf": sparse_chebyshev,
    "linfty": sparse_chebyshev,
    "linfinity": sparse_chebyshev,
    "minkowski": sparse_minkowski,
    "canberra": sparse_canberra,
    "braycurtis": sparse_bray_curtis,
    "hamming": sparse_hamming,
    "jaccard": sparse_jaccard,
    "dice": sparse_dice,
    "matching": sparse_matching,
    "kulsinski": sparse_kulsinski,
    "rogerstanimoto": sparse_rogers_tanimoto,
    "russellrao": sparse_russellrao,
    "sokalmichener": sparse_sokal_michener,
    "sokalsneath": sparse_sokal_sneath,
    "cosine": sparse_cosine,
    "correlation": sparse_correlation,
    "kantorovich": sparse_kantorovich,
    "wasserstein": sparse_kantorovich,
    "wasserstein_1d": sparse_wasserstein_1d,
    "wasserstein-1d": sparse_wasserstein_1d,
    "kantorovich-1d": sparse_wasserstein_1d,
    "hellinger": sparse_hellinger,
    "jensen-shannon": sparse_jensen_shannon_divergence,
    "jensen_shannon": sparse_jensen_shannon_divergence,
    "symmetric-kl": sparse_symmetric_kl_divergence,
    "symmetric_kl": sparse_symmetric_kl_divergence,
    "symmetric_kullback_liebler": sparse_symmetric_kl_divergence,
}

sparse_need_n_features = (
    "hamming",
    "matching",
    "kulsinski",
    "rogerstanimoto",
    "russellrao",
    "sokalmichener",
    "correlation",
)

sparse_fast_distance_alternatives: dict[str, dict[str, Callable[..., Any]]] = {
    "euclidean": {"dist": sparse_squared_euclidean, "correction": np.sqrt},
    "l2": {"dist": sparse_squared_euclidean, "correction": np.sqrt},
    "cosine": {"dist": sparse_alternative_cosine, "correction": sparse_correct_alternative_cosine},
    "dot": {"dist": sparse_alternative_dot, "correction": sparse_correct_alternative_cosine},
    "hellinger": {"dist": sparse_alternative_hellinger, "correction": sparse_correct_alternative_hellinger},
    "jaccard": {"dist": sparse_alternative_jaccard, "correction": dense.correct_alternative_jaccard},
}
