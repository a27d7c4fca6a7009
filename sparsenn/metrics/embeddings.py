"""Proxies of the dear metrics: rows made into others, whose nearest under a cheap metric are good candidates.

Rows come as a matrix: a scipy CSR array, or a numpy array. Where a row is empty, its distance is by rule;
a column of its own keeps such rows together, and away from the others.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.metrics.registry import Proxy

Array = npt.NDArray[np.float64]
Params = Mapping[str, Any]
Own = Callable[[], Array]

BINS = 64  # of the columns: with 32, one in a hundred of the nearest were missed among twice as many
DIMENSIONS = 64  # of embedded columns
WHOLE = 256  # columns up to which all eigenvectors are computed
LN2 = math.log(2.0)
SMOOTHING = 2.0**-23  # of symmetric_kl
# Where the entropy weighs at least this share of the largest cost, rows differ in what it costs to stay.
ENTROPY = 0.05


def hellinger_for_jensen_shannon(params: Params, matrix: Any, own: Own) -> Proxy:
    """`hellinger`, from which jensen_shannon is nowhere far: ln2 · h² ≤ d² ≤ h²."""
    return Proxy("hellinger", _same, _same, lambda radius: math.sqrt(radius * radius / LN2 + 1e-6))


def hellinger_for_symmetric_kl(params: Params, matrix: Any, own: Own) -> Proxy:
    """`hellinger`: 2h² ≤ d, but for the smoothing, which moves a row by √(nε) at most."""
    moved = 2.0 * math.sqrt(matrix.shape[1] * SMOOTHING)
    return Proxy("hellinger", _same, _same, lambda radius: math.sqrt(max(radius, 0.0) / 2.0 + 1e-6) + moved)


def binned_cdf(params: Params, matrix: Any, own: Own) -> Proxy:
    """`manhattan` of the CDF's sums over at most 64 bins of columns, of equal mass in the fitted rows."""
    bins = _Bins(matrix)
    far = matrix.shape[1] - 1.0

    def embed(rows: Any) -> Array:
        return _with_flag(bins.sums(rows), _empty(rows), far)

    # |Σ| ≤ Σ|·| in each bin; nothing is farther than one end from the other
    return Proxy("manhattan", embed, embed, lambda radius: radius if radius < far else math.inf)


def centred_cdf(params: Params, matrix: Any, own: Own) -> Proxy:
    """`manhattan` of the CDF's sums over at most 64 bins of columns, less their mean around the circle."""
    bins = _Bins(matrix)
    n = matrix.shape[1]

    def embed(rows: Any) -> Array:
        sums = bins.sums(rows)
        centred = sums - sums.sum(axis=1, keepdims=True) * (bins.widths / n)
        return _with_flag(centred, _empty(rows), float(n))

    # a mean is as far from the median as the values are on average: twice the sum over the median bounds that over it
    return Proxy("manhattan", embed, embed, lambda radius: 2.0 * radius if radius < n // 2 else math.inf)


def transport_energy(params: Params, matrix: Any, own: Own) -> Proxy:
    """`euclidean` of mean positions, the columns embedded so that squared distances are costs (energy distance)."""
    positions, reach = _embedded(params["cost"])
    embed = _mean_position(positions)
    return Proxy("euclidean", embed, embed, reach)


def entropic_energy(params: Params, matrix: Any, own: Own) -> Proxy:
    """`euclidean` as for `kantorovich`, and where entropy weighs, half of what a row costs to itself."""
    cost = np.asarray(params["cost"], np.float64)
    share = params["regularization"] / max(cost.max(initial=0.0), 1e-300)
    positions, reach = _embedded(cost, params["tolerance"])
    if share < ENTROPY:
        plain = _mean_position(positions)
        return Proxy("euclidean", plain, plain, reach)
    # As entropy outweighs all, the plan's cost becomes E² + (own cost of x + own cost of y)/2; before, E counts for
    # more. The factor is drawn through the best of 1 to 16 at shares of 0.03, 0.1, 0.3 and 3, on topic shares of 8
    # columns under three costs: it was not tuned, nor checked, on wider rows.
    weight = 1.0 + 1.0 / (share + share * share)
    half = own() / 2.0
    most = float(half.max(initial=0.0)) * (1.0 + 1e-6)
    mean = _mean_position(positions * math.sqrt(weight))

    def embed(rows: Any) -> Array:
        return np.column_stack([mean(rows), np.sqrt(half)])

    def embed_query(rows: Any) -> Array:
        return np.column_stack([mean(rows), np.zeros(rows.shape[0])])

    return Proxy("euclidean", embed, embed_query, lambda radius: math.sqrt(weight * reach(radius) ** 2 + most))


def _same(rows: Any) -> Any:
    return rows


def _sums(rows: Any) -> Array:
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def _empty(rows: Any) -> npt.NDArray[np.bool_]:
    return _sums(rows) == 0.0


def _share_of(rows: Any, table: Any) -> Array:
    """Σ share · row of the table, for each row of distributions."""
    product = rows @ table
    dense = product.toarray() if hasattr(product, "toarray") else product
    sums = _sums(rows)[:, None]
    result: Array = np.divide(dense, sums, out=np.zeros(dense.shape), where=sums > 0.0)
    return result


def _with_flag(values: Array, empty: npt.NDArray[np.bool_], far: float) -> Array:
    return np.column_stack([values, np.where(empty, far, 0.0)])


class _Bins:
    """Bins of neighbouring columns that hold about the same mass each, in the rows they are made for."""

    def __init__(self, matrix: Any):
        from scipy.sparse import csr_array

        n = matrix.shape[1]
        columns = np.arange(n)
        if n <= BINS:
            ends = columns + 1
        else:
            sums = _sums(matrix)
            weights = np.divide(1.0, sums, out=np.zeros(len(sums)), where=sums > 0.0)
            mass = np.cumsum(np.asarray(matrix.T @ weights).ravel() + 1e-12)
            ends = np.unique(np.append(np.searchsorted(mass, mass[-1] * np.arange(1, BINS) / BINS) + 1, n))
        which = np.searchsorted(ends, columns, side="right")
        self.widths = np.diff(ends, prepend=0).astype(np.float64)
        shape = (n, len(ends))
        pointers = np.arange(n + 1)
        # What a column adds to the sum of its own bin, and to the CDF behind it.
        self.inside = csr_array(((ends[which] - columns).astype(np.float64), which, pointers), shape)
        self.whole = csr_array((np.ones(n), which, pointers), shape)

    def sums(self, rows: Any) -> Array:
        """Sums of each row's CDF over the columns of each bin."""
        below = np.cumsum(_share_of(rows, self.whole), axis=1)
        result: Array = _share_of(rows, self.inside)
        result[:, 1:] += below[:, :-1] * self.widths[1:]
        return result


def _embedded(cost: Any, tolerance: float = 0.0) -> tuple[Array, Callable[[float], float]]:
    """Positions of the columns whose squared distances are the costs, as far as 64 dimensions go; and a bound.

    Classical scaling of the cost's square root (Torgerson 1952). For mean positions, E² is then the
    energy distance (Székely and Rizzo 2013). Against the cheapest plan: the difference of the means is
    the plan's mean of differences, so E ≤ max(|·|/cost) · W and E² ≤ max(|·|²/cost) · W, for any cost.
    `tolerance` is the mass that a plan may leave where it was not asked for.
    """
    cost = np.asarray(cost, np.float64)
    both = (cost + cost.T) / 2.0
    mean = both.mean(axis=0)
    values, vectors = _largest(-0.5 * (both - mean - mean[:, None] + mean.mean()))
    kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300)
    positions: Array = vectors[:, kept] * np.sqrt(values[kept]) if kept.any() else np.zeros((len(cost), 1))
    squares = (positions * positions).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares - 2.0 * (positions @ positions.T), 0.0)
    np.fill_diagonal(apart, 0.0)
    there = apart > 1e-12 * max(float(squares.max()), 1e-300)
    apart, given = apart[there], cost[there]
    with np.errstate(divide="ignore"):
        rate = float((np.sqrt(apart) / given).max(initial=0.0))
        square_rate = float((apart / given).max(initial=0.0))
    most = float(cost.max(initial=0.0))

    def reach(radius: float) -> float:
        if radius >= most or not math.isfinite(square_rate):
            return math.inf
        radius = max(radius, 0.0) * (1.0 + 1e-6) + (tolerance + 1e-7) * most
        return min(rate * radius, math.sqrt(square_rate * radius))

    return positions, reach


def _largest(matrix: Array) -> tuple[Array, Array]:
    """Largest eigenvalues of a symmetric matrix, and their vectors."""
    n = len(matrix)
    if n <= WHOLE:
        values, vectors = np.linalg.eigh(matrix)
        return values[::-1][:DIMENSIONS], vectors[:, ::-1][:, :DIMENSIONS]
    from scipy.sparse.linalg import eigsh

    start = np.random.default_rng(0).normal(size=n)
    found: tuple[Array, Array] = eigsh(matrix, DIMENSIONS, which="LA", v0=start)
    return found


def _mean_position(positions: Array) -> Callable[[Any], Array]:
    far = 4.0 * float(np.sqrt((positions * positions).sum(axis=1)).max(initial=0.0)) + 1.0

    def embed(rows: Any) -> Array:
        return _with_flag(_share_of(rows, positions), _empty(rows), far)

    return embed
