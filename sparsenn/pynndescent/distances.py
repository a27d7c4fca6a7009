"""Distances between two dense rows, by PyNNDescent's names, arguments and values.

Most are compiled functions, which other compiled functions may call. Where the values differ from `sparsenn.metrics`,
the docstring says so.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats

from sparsenn._jit import entry, kernel, popcount
from sparsenn.exact import pairwise_distances

FAR = np.float32(np.finfo(np.float32).max)  # of rows that share nothing, where the surrogate has no bound
EPS = np.finfo(np.float32).eps


@kernel
def count(x, y):
    """Columns that both rows have, that only x has, that only y has."""
    both = only_x = only_y = 0
    for i in range(x.shape[0]):
        a, b = x[i] != 0, y[i] != 0
        both += a and b
        only_x += a and not b
        only_y += b and not a
    return both, only_x, only_y


@kernel
def products(x, y):
    """x·y, x·x and y·y."""
    xy = xx = yy = 0.0
    for i in range(x.shape[0]):
        xy += x[i] * y[i]
        xx += x[i] * x[i]
        yy += y[i] * y[i]
    return xy, xx, yy


@kernel
def roots(x, y):
    """Σ√(xy), Σx and Σy."""
    shared = sum_x = sum_y = 0.0
    for i in range(x.shape[0]):
        shared += np.sqrt(x[i] * y[i])
        sum_x += x[i]
        sum_y += y[i]
    return shared, sum_x, sum_y


@kernel
def ratio(part, whole):
    """part / whole; 0 of nothing."""
    return part / whole if whole else 0.0


@entry
def squared_euclidean(x, y):
    """Σ(x−y)²."""
    total = 0.0
    for i in range(x.shape[0]):
        total += (x[i] - y[i]) ** 2
    return total


@entry
def euclidean(x, y):
    """√Σ(x−y)²."""
    return np.sqrt(squared_euclidean(x, y))


@entry
def standardised_euclidean(x, y, sigma=None):
    """√Σ(x−y)²/σ; σ is 1 if not given."""
    if sigma is None:
        return euclidean(x, y)
    total = 0.0
    for i in range(x.shape[0]):
        total += (x[i] - y[i]) ** 2 / sigma[i]
    return np.sqrt(total)


@entry
def manhattan(x, y):
    """Σ|x−y|."""
    total = 0.0
    for i in range(x.shape[0]):
        total += np.abs(x[i] - y[i])
    return total


@entry
def chebyshev(x, y):
    """max|x−y|."""
    most = 0.0
    for i in range(x.shape[0]):
        most = max(most, np.abs(x[i] - y[i]))
    return most


@entry
def minkowski(x, y, p=2):
    """(Σ|x−y|^p)^(1/p)."""
    total = 0.0
    for i in range(x.shape[0]):
        total += np.abs(x[i] - y[i]) ** p
    return total ** (1.0 / p)


@entry
def weighted_minkowski(x, y, w=None, p=2):
    """(Σ w|x−y|^p)^(1/p); w is 1 if not given."""
    if w is None:
        return minkowski(x, y, p)
    total = 0.0
    for i in range(x.shape[0]):
        total += w[i] * np.abs(x[i] - y[i]) ** p
    return total ** (1.0 / p)


@entry
def mahalanobis(x, y, vinv=None):
    """√(x−y)ᵀ V⁻¹ (x−y); V is the identity if not given."""
    if vinv is None:
        return euclidean(x, y)
    total = 0.0
    for i in range(x.shape[0]):
        part = 0.0
        for j in range(x.shape[0]):
            part += vinv[i, j] * (x[j] - y[j])
        total += part * (x[i] - y[i])
    return np.sqrt(total)


@entry
def canberra(x, y):
    """Σ|x−y| / (|x|+|y|)."""
    total = 0.0
    for i in range(x.shape[0]):
        total += ratio(np.abs(x[i] - y[i]), np.abs(x[i]) + np.abs(y[i]))
    return total


@entry
def bray_curtis(x, y):
    """Σ|x−y| / Σ|x+y|."""
    above = below = 0.0
    for i in range(x.shape[0]):
        above += np.abs(x[i] - y[i])
        below += np.abs(x[i] + y[i])
    return ratio(above, below)


@entry
def hamming(x, y):
    """Share of the columns whose values differ."""
    differ = 0
    for i in range(x.shape[0]):
        differ += x[i] != y[i]
    return differ / x.shape[0]


@entry
def jaccard(x, y):
    """1 − |x∩y| / |x∪y|; 0 of two empty rows."""
    both, only_x, only_y = count(x, y)
    return ratio(float(only_x + only_y), float(both + only_x + only_y))


@entry
def alternative_jaccard(x, y):
    """−log₂(|x∩y| / |x∪y|)."""
    both, only_x, only_y = count(x, y)
    if both + only_x + only_y == 0:
        return np.float32(0.0)
    return np.float32(-np.log2(both / (both + only_x + only_y))) if both else np.float32(np.inf)


@entry
def matching(x, y):
    """|x△y| / n."""
    _, only_x, only_y = count(x, y)
    return (only_x + only_y) / x.shape[0]


@entry
def dice(x, y):
    """|x△y| / (2|x∩y| + |x△y|)."""
    both, only_x, only_y = count(x, y)
    return ratio(float(only_x + only_y), float(2 * both + only_x + only_y))


@kernel
def kulsinski_of(both, differ, n):
    """(|x△y| − |x∩y| + n) / (|x△y| + n); 0 of rows with the same columns, unlike `sparsenn.metrics`."""
    return (differ - both + n) / (differ + n) if differ else 0.0


@entry
def kulsinski(x, y):
    """(|x△y| − |x∩y| + n) / (|x△y| + n); 0 of rows with the same columns, unlike `sparsenn.metrics`."""
    both, only_x, only_y = count(x, y)
    return kulsinski_of(both, only_x + only_y, x.shape[0])


@entry
def rogers_tanimoto(x, y):
    """2|x△y| / (n + |x△y|)."""
    _, only_x, only_y = count(x, y)
    return 2.0 * (only_x + only_y) / (x.shape[0] + only_x + only_y)


@entry
def russellrao(x, y):
    """1 − |x∩y| / n; 0 of rows with the same columns, two empty ones too, unlike `sparsenn.metrics`."""
    both, only_x, only_y = count(x, y)
    return (x.shape[0] - both) / x.shape[0] if only_x + only_y else 0.0


@entry
def sokal_sneath(x, y):
    """|x△y| / (|x∩y|/2 + |x△y|)."""
    both, only_x, only_y = count(x, y)
    return ratio(float(only_x + only_y), 0.5 * both + only_x + only_y)


@entry
def yule(x, y):
    """2·|x∖y|·|y∖x| / (|x∩y|·|neither| + |x∖y|·|y∖x|); 0 where one row holds the other, empty rows too."""
    both, only_x, only_y = count(x, y)
    neither = x.shape[0] - both - only_x - only_y
    return ratio(2.0 * only_x * only_y, float(both * neither + only_x * only_y))


@entry
def haversine(x, y):
    """2 arcsin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)), rows (φ, λ) in radians."""
    if x.shape[0] != 2:
        raise ValueError("haversine takes rows of 2 columns: latitude and longitude in radians")
    a, b = np.sin(0.5 * (x[0] - y[0])), np.sin(0.5 * (x[1] - y[1]))
    return 2.0 * np.arcsin(min(np.sqrt(a * a + np.cos(x[0]) * np.cos(y[0]) * b * b), 1.0))


@entry
def cosine(x, y):
    """1 − x·y / (‖x‖ ‖y‖); 1 from an empty row to any other, 0 between two."""
    xy, xx, yy = products(x, y)
    if xx == 0.0 or yy == 0.0:
        return 0.0 if xx == yy else 1.0
    return 1.0 - xy / np.sqrt(xx * yy)


@entry
def alternative_cosine(x, y):
    """log₂(‖x‖ ‖y‖ / x·y)."""
    xy, xx, yy = products(x, y)
    if xx == 0.0 and yy == 0.0:
        return np.float32(0.0)
    return np.float32(np.log2(np.sqrt(xx * yy) / xy)) if xy > 0.0 else FAR


@entry
def dot(x, y):
    """1 − x·y of rows of length 1, at most 1. `sparsenn.metrics` calls −x·y dot."""
    return np.float32(1.0 - max(products(x, y)[0], 0.0))


@entry
def alternative_dot(x, y):
    """−log₂ x·y."""
    xy = products(x, y)[0]
    return np.float32(-np.log2(xy)) if xy > 0.0 else FAR


@entry
def inner_product(x, y):
    """−x·y."""
    return np.float32(-products(x, y)[0])


@entry
def alternative_inner_product(x, y):
    """1 / x·y."""
    xy = products(x, y)[0]
    return np.float32(1.0 / xy) if xy > 0.0 else FAR


@entry
def true_angular(x, y):
    """1 − arccos(x·y / (‖x‖ ‖y‖)) / π: a similarity, from 0.5 up; of rows that share nothing, the largest float32."""
    xy, xx, yy = products(x, y)
    if xx == 0.0 and yy == 0.0:
        return 0.0
    return 1.0 - np.arccos(min(xy / np.sqrt(xx * yy), 1.0)) / np.pi if xy > 0.0 else float(FAR)


@entry
def tsss(x, y):
    """‖x‖ ‖y‖ sin θ′ / 2 · (‖x−y‖ + |‖x‖−‖y‖|)² θ′ / 2, θ′ = arccos(cos) + π/18 (Heidarian and Dinneen 2016)."""
    xy, xx, yy = products(x, y)
    a, b = np.sqrt(xx), np.sqrt(yy)
    angle = np.arccos(min(max(xy / (a * b), -1.0), 1.0)) + np.pi / 18
    return a * b * np.sin(angle) / 2 * (euclidean(x, y) + np.abs(a - b)) ** 2 * angle / 2


@entry
def correlation(x, y):
    """1 − Pearson's r; 1 from a constant row to any other, 0 between two."""
    mean_x, mean_y = x.sum() / x.shape[0], y.sum() / y.shape[0]
    xy = xx = yy = 0.0
    for i in range(x.shape[0]):
        a, b = x[i] - mean_x, y[i] - mean_y
        xy += a * b
        xx += a * a
        yy += b * b
    if xx == 0.0 and yy == 0.0:
        return 0.0
    return 1.0 - xy / np.sqrt(xx * yy) if xy != 0.0 else 1.0


@kernel
def hellinger_of(shared, sum_x, sum_y):
    """√(1 − Σ√(xy) / √(Σx Σy)); 1 from an empty row to any other, 0 between two."""
    if sum_x == 0.0 or sum_y == 0.0:
        return np.float32(0.0) if sum_x == sum_y else np.float32(1.0)
    return np.float32(np.sqrt(max(1.0 - shared / np.sqrt(sum_x * sum_y), 0.0)))


@kernel
def alternative_hellinger_of(shared, sum_x, sum_y):
    """log₂(√(Σx Σy) / Σ√(xy))."""
    if sum_x == 0.0 and sum_y == 0.0:
        return np.float32(0.0)
    return np.float32(np.log2(np.sqrt(sum_x * sum_y) / shared)) if shared > 0.0 else FAR


@entry
def hellinger(x, y):
    """√(1 − Σ√(xy) / √(Σx Σy)); 1 from an empty row to any other, 0 between two."""
    shared, sum_x, sum_y = roots(x, y)
    return hellinger_of(shared, sum_x, sum_y)


@entry
def alternative_hellinger(x, y):
    """log₂(√(Σx Σy) / Σ√(xy))."""
    shared, sum_x, sum_y = roots(x, y)
    return alternative_hellinger_of(shared, sum_x, sum_y)


@entry
def jensen_shannon_divergence(x, y):
    """½ Σ p ln(p/m) + ½ Σ q ln(q/m), smoothed by float32's ε: the square of jensen_shannon in `sparsenn.metrics`."""
    n = x.shape[0]
    sum_x, sum_y = x.sum() + EPS * n, y.sum() + EPS * n
    total = 0.0
    for i in range(n):
        p, q = (x[i] + EPS) / sum_x, (y[i] + EPS) / sum_y
        m = 0.5 * (p + q)
        total += 0.5 * (p * np.log(p / m) + q * np.log(q / m))
    return total


@entry
def symmetric_kl_divergence(x, y):
    """Σ (p−q) ln(p/q), smoothed by float32's ε: twice symmetric_kl in `sparsenn.metrics`."""
    n = x.shape[0]
    sum_x, sum_y = x.sum() + EPS * n, y.sum() + EPS * n
    total = 0.0
    for i in range(n):
        p, q = (x[i] + EPS) / sum_x, (y[i] + EPS) / sum_y
        total += (p - q) * np.log(p / q)
    return total


@entry
def wasserstein_1d(x, y, p=1):
    """(Σ|CDF_x − CDF_y|^p)^(1/p) along the columns."""
    sum_x, sum_y = x.sum(), y.sum()
    a = b = total = 0.0
    for i in range(x.shape[0]):
        a += x[i] / sum_x
        b += y[i] / sum_y
        total += np.abs(a - b) ** p
    return total ** (1.0 / p)


@entry
def circular_kantorovich(x, y, p=1):
    """(Σ|CDF_x − CDF_y − μ|^p)^(1/p), μ the median of (CDF_x − CDF_y)^p."""
    if p < 1:
        raise ValueError("circular_kantorovich takes p of at least 1")
    apart = np.cumsum(x / x.sum()) - np.cumsum(y / y.sum())
    middle = np.median(apart**p)
    total = 0.0
    for i in range(x.shape[0]):
        total += np.abs(apart[i] - middle) ** p
    return total ** (1.0 / p)


@entry
def bit_hamming(x, y):
    """popcount(x ^ y): a count, where `sparsenn.metrics` has a share of the bits."""
    total = 0
    for i in range(x.shape[0]):
        total += popcount(np.uint8(x[i] ^ y[i]))
    return np.float32(total)


@entry
def bit_jaccard(x, y):
    """−ln(popcount(x & y) / popcount(x | y)), where `sparsenn.metrics` has 1 − the ratio."""
    shared = either = 0
    for i in range(x.shape[0]):
        shared += popcount(np.uint8(x[i] & y[i]))
        either += popcount(np.uint8(x[i] | y[i]))
    return np.float32(-np.log(shared / either)) if either else np.float32(0.0)


@entry
def proxy_inner_product(x, y):
    """1/√(x·y) − log₂ cos; the largest float32 where x·y is below 0."""
    xy, xx, yy = products(x, y)
    if xx == 0.0 or yy == 0.0 or xy < 0.0:
        return FAR
    return np.float32(1.0 / np.sqrt(xy) - np.log2(xy / np.sqrt(xx * yy)))


@entry
def proxy_wasserstein_1d(x, y):
    """Σ|CDF_x − CDF_y|."""
    return np.float32(wasserstein_1d(x, y, 1)) if x.sum() != 0.0 and y.sum() != 0.0 else FAR


@entry
def proxy_circular_kantorovich(x, y):
    """Σ|CDF_x − CDF_y − μ|, μ the mean of CDF_x − CDF_y."""
    if x.sum() == 0.0 or y.sum() == 0.0:
        return FAR
    apart = np.cumsum(x / x.sum()) - np.cumsum(y / y.sum())
    return np.float32(np.abs(apart - apart.mean()).sum())


@entry
def proxy_kantorovich(x, y):
    """½ Σ|p−q| + 1 − Σ√(pq), rows as shares p and q."""
    shared, sum_x, sum_y = roots(x, y)
    if sum_x == 0.0 or sum_y == 0.0:
        return FAR
    apart = 0.0
    for i in range(x.shape[0]):
        apart += np.abs(x[i] / sum_x - y[i] / sum_y)
    return np.float32(0.5 * apart + 1.0 - shared / np.sqrt(sum_x * sum_y))


@entry
def proxy_jensen_shannon(x, y):
    """1 − (Σ√(pq))², rows as shares p and q."""
    shared, sum_x, sum_y = roots(x, y)
    return np.float32(1.0 - shared * shared / (sum_x * sum_y)) if sum_x != 0.0 and sum_y != 0.0 else FAR


@entry
def proxy_symmetric_kl(x, y):
    """Σ (p−q)² / (p+q), rows as shares p and q."""
    _, sum_x, sum_y = roots(x, y)
    if sum_x == 0.0 or sum_y == 0.0:
        return FAR
    total = 0.0
    for i in range(x.shape[0]):
        p, q = x[i] / sum_x, y[i] / sum_y
        total += ratio((p - q) ** 2, p + q)
    return np.float32(total)


def rankdata(a: Any, method: str = "average") -> Any:
    """Ranks from 1, as `scipy.stats.rankdata`; a float64 array. Not compiled."""
    return scipy.stats.rankdata(np.ravel(a), method).astype(np.float64)


def spearmanr(x: Any, y: Any) -> float:
    """1 − Pearson's r of the average ranks. Not compiled."""
    return float(correlation(rankdata(x), rankdata(y)))


def kantorovich(x: Any, y: Any, cost: Any = None, max_iter: int = 100_000) -> float:
    """Least Σ plan · cost, exactly: `max_iter` never stops it. Not compiled."""
    return _transported("kantorovich", x, y, {"cost": cost})


def sinkhorn(x: Any, y: Any, cost: Any = None, regularization: float = 1.0) -> float:
    """Entropic transport cost, as in `sparsenn.metrics`. Not compiled."""
    return _transported("sinkhorn", x, y, {"cost": cost, "regularization": regularization})


def _transported(metric: str, x: Any, y: Any, params: dict[str, Any]) -> float:
    if params["cost"] is None:
        raise ValueError(f"{metric} needs cost, a matrix of what moving mass costs from column i to column j")
    return float(pairwise_distances(np.atleast_2d(x), np.atleast_2d(y), metric=metric, metric_params=params)[0, 0])


def correct_alternative_cosine(d: Any) -> Any:
    """1 − 2^−d."""
    return 1.0 - np.exp2(-np.asarray(d))


def correct_alternative_inner_product(d: Any) -> Any:
    """−1 / d; 0 for rows that share nothing."""
    return np.where(np.asarray(d) >= FAR, 0.0, -1.0 / np.asarray(d))


def correct_alternative_hellinger(d: Any) -> Any:
    """√(1 − 2^−d)."""
    return np.sqrt(1.0 - np.exp2(-np.asarray(d)))


def true_angular_from_alt_cosine(d: Any) -> Any:
    """1 − arccos(2^−d) / π."""
    return 1.0 - np.arccos(np.exp2(-np.asarray(d))) / np.pi


sokal_michener = rogers_tanimoto
direct_cosine = dot
proxy_sinkhorn = proxy_kantorovich
correct_alternative_jaccard = correct_alternative_cosine

named_distances: dict[str, Callable[..., Any]] = {
    "euclidean": euclidean,
    "l2": euclidean,
    "sqeuclidean": squared_euclidean,
    "manhattan": manhattan,
    "taxicab": manhattan,
    "l1": manhattan,
    "chebyshev": chebyshev,
    "linfinity": chebyshev,
    "linfty": chebyshev,
    "linf": chebyshev,
    "minkowski": minkowski,
    "seuclidean": standardised_euclidean,
    "standardised_euclidean": standardised_euclidean,
    "wminkowski": weighted_minkowski,
    "weighted_minkowski": weighted_minkowski,
    "mahalanobis": mahalanobis,
    "canberra": canberra,
    "cosine": cosine,
    "direct_cosine": direct_cosine,
    "dot": dot,
    "inner_product": inner_product,
    "correlation": correlation,
    "haversine": haversine,
    "braycurtis": bray_curtis,
    "spearmanr": spearmanr,
    "tsss": tsss,
    "true_angular": true_angular,
    "hellinger": hellinger,
    "kantorovich": kantorovich,
    "wasserstein": kantorovich,
    "wasserstein_1d": wasserstein_1d,
    "wasserstein-1d": wasserstein_1d,
    "kantorovich-1d": wasserstein_1d,
    "kantorovich_1d": wasserstein_1d,
    "circular_kantorovich": circular_kantorovich,
    "circular_wasserstein": circular_kantorovich,
    "sinkhorn": sinkhorn,
    "jensen-shannon": jensen_shannon_divergence,
    "jensen_shannon": jensen_shannon_divergence,
    "symmetric-kl": symmetric_kl_divergence,
    "symmetric_kl": symmetric_kl_divergence,
    "symmetric_kullback_liebler": symmetric_kl_divergence,
    "hamming": hamming,
    "jaccard": jaccard,
    "dice": dice,
    "matching": matching,
    "kulsinski": kulsinski,
    "rogerstanimoto": rogers_tanimoto,
    "russellrao": russellrao,
    "sokalsneath": sokal_sneath,
    "sokalmichener": sokal_michener,
    "yule": yule,
    "bit_hamming": bit_hamming,
    "bit_jaccard": bit_jaccard,
}

fast_distance_alternatives: dict[str, dict[str, Callable[..., Any]]] = {
    "euclidean": {"dist": squared_euclidean, "correction": np.sqrt},
    "l2": {"dist": squared_euclidean, "correction": np.sqrt},
    "cosine": {"dist": alternative_cosine, "correction": correct_alternative_cosine},
    "dot": {"dist": alternative_dot, "correction": correct_alternative_cosine},
    "inner_product": {"dist": alternative_inner_product, "correction": correct_alternative_inner_product},
    "true_angular": {"dist": alternative_cosine, "correction": true_angular_from_alt_cosine},
    "hellinger": {"dist": alternative_hellinger, "correction": correct_alternative_hellinger},
    "jaccard": {"dist": alternative_jaccard, "correction": correct_alternative_jaccard},
}

# What PyNNDescent searches by in place of the true metric. An index here takes these names too, and has its own ways.
proxy_distances: dict[str, dict[str, Callable[..., Any]]] = {
    f"proxy_{name}": {"proxy_dist": proxy, "true_dist": named_distances[name]}
    for proxy, names in (
        (proxy_inner_product, ("inner_product",)),
        (proxy_wasserstein_1d, ("wasserstein_1d", "wasserstein-1d")),
        (proxy_kantorovich, ("kantorovich", "wasserstein")),
        (proxy_circular_kantorovich, ("circular_kantorovich", "circular_wasserstein")),
        (proxy_jensen_shannon, ("jensen_shannon", "jensen-shannon")),
        (proxy_symmetric_kl, ("symmetric_kl", "symmetric-kl")),
        (proxy_sinkhorn, ("sinkhorn",)),
    )
    for name in names
}
