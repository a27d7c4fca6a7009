"""Metrics of the angle between rows, and the inner product.

Rows are kept as they are given and divided by their norms at the end, in float64: identical rows
come out at 0, not at the rounding error of a unit vector.
"""

import math

import numpy as np

from sparsenn.metrics.formulas import (
    Array,
    magnitude,
    product,
    square,
    squares_to_inverse_norms,
    squares_to_norms,
    value,
)
from sparsenn.metrics.registry import Metric, register

TEN_DEGREES = math.radians(10.0)
# What float64 leaves of 1 − cos of identical rows, however long; its root would show. Less than float32's rounding of
# three units in the last place of the data can mean.
ROUNDING = 2e-14


def negative(p, x, y, shared):
    """Minus the inner product."""
    return -shared


def own_value(p, b, y):
    """b."""
    return b


def one_minus_cosine(p, x, y, shared):
    """1 − cos, from inverse norms; an empty row is at 1 from any other, at 0 from another empty one."""
    scale = x[0] * y[0]
    distance = 1.0 - shared * scale
    distance = distance if distance > ROUNDING else 0.0
    return distance if scale > 0.0 else (1.0 if x[0] != y[0] else 0.0)


def scaled(p, b, y):
    """b / norm of its row."""
    return b * y[0]


def angle_of(p, s):
    """arccos(1 − s) / π, exact for small s."""
    return 2.0 * math.asin(math.sqrt(min(max(0.5 * s, 0.0), 1.0))) / math.pi


def angle_to(p, d):
    """1 − cos(π d)."""
    h = math.sin(0.5 * math.pi * min(d, 1.0))
    return 2.0 * h * h


def centred(sums: Array, n_features: int) -> Array:
    """From Σa and Σa²: the mean, and 1 / norm of the centred row (0 for a constant row)."""
    mean = sums[0] / max(n_features, 1)
    variation = sums[1] - n_features * mean * mean
    spread = variation > 1e-13 * sums[1]
    inverse = np.divide(1.0, np.sqrt(np.where(spread, variation, 1.0)), out=np.zeros_like(mean), where=spread)
    return np.stack([mean, inverse])


def one_minus_correlation(p, x, y, shared):
    """1 − r, from means and inverse centred norms; a constant row counts as an empty one."""
    scale = x[1] * y[1]
    distance = 1.0 - (shared - p[0] * x[0] * y[0]) * scale
    distance = distance if distance > ROUNDING else 0.0
    return min(distance, 2.0) if scale > 0.0 else (1.0 if x[1] != y[1] else 0.0)


def centre_full_rows(p, indices, values):
    """x − mean, of a row that stores every column: r stays, and the digits of a mean far from 0 are not lost."""
    if values.shape[0] == p[0]:
        total = 0.0
        for t in range(values.shape[0]):
            total += values[t]
        mean = total / max(p[0], 1.0)
        for t in range(values.shape[0]):
            values[t] = values[t] - mean


def ranks_above_zero(p, indices, values):
    """Average ranks of a row among all columns, less the rank of its zeros."""
    order = np.argsort(values)
    n = values.shape[0]
    negatives = 0
    stored_zeros = 0
    for t in range(n):
        negatives += values[t] < 0.0
        stored_zeros += values[t] == 0.0
    zeros = p[0] - n + stored_zeros  # zeros of the whole row, stored or not
    rank_of_zero = negatives + 0.5 * (zeros + 1.0)
    ranks = np.empty(n, np.float64)
    a = 0
    while a < n:
        v = values[order[a]]
        b = a
        while b < n and values[order[b]] == v:
            b += 1
        below = float(a) if v < 0.0 else a - stored_zeros + zeros
        rank = below + 0.5 * (b - a + 1)
        for t in range(a, b):
            ranks[order[t]] = 0.0 if v == 0.0 else rank - rank_of_zero
        a = b
    for t in range(n):
        values[t] = ranks[t]


def triangle_times_sector(p, x, y, shared):
    """TS·SS of two rows, from their norms and inner product (angle widened by 10°)."""
    if x[0] == 0.0 or y[0] == 0.0:
        return 0.0 if x[0] == y[0] else math.inf
    cosine = min(max(shared / (x[0] * y[0]), -1.0), 1.0)
    theta = math.acos(cosine) + TEN_DEGREES
    triangle = 0.5 * x[0] * y[0] * math.sin(theta)
    reach = math.sqrt(max(x[0] * x[0] + y[0] * y[0] - 2.0 * shared, 0.0)) + abs(x[0] - y[0])
    return triangle * 0.5 * theta * reach * reach


def _cosine(x, y):
    xx, yy = float(x @ x), float(y @ y)
    if xx == 0 or yy == 0:
        return 0.0 if xx != yy else 1.0
    return float(np.clip((x @ y) / math.sqrt(xx * yy), -1, 1))


def _correlation(x, y):
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0 if np.ptp(x) == np.ptp(y) else 1.0
    return 1.0 - _cosine(x - x.mean(), y - y.mean())


def _spearman(x, y):
    from scipy.stats import rankdata

    return _correlation(rankdata(x), rankdata(y))


def _tsss(x, y):
    nx, ny = math.sqrt(x @ x), math.sqrt(y @ y)
    if nx == 0 or ny == 0:
        return 0.0 if nx == ny else math.inf
    theta = math.degrees(math.acos(_cosine(x, y))) + 10
    triangle = nx * ny * math.sin(math.radians(theta)) / 2
    sector = math.pi * (math.sqrt(((x - y) ** 2).sum()) + abs(nx - ny)) ** 2 * theta / 360
    return triangle * sector


register(
    Metric(
        name="cosine",
        similar=1.0,
        aliases=("cos",),
        formula="1 − x·y / (‖x‖ ‖y‖)",
        step=product,
        statistics=(square,),
        summarise=squares_to_inverse_norms,
        finish=one_minus_cosine,
        impact=scaled,
        norm=magnitude,
        worst=1.0,
        reference=lambda x, y: 1.0 - _cosine(x, y),
    ),
    Metric(
        name="dot",
        similar=0.0,
        formula="−x·y (so that smaller is nearer)",
        aliases=("inner_product", "ip"),
        step=product,
        finish=negative,
        reflexive=False,
        impact=own_value,
        norm=magnitude,
        worst=0.0,
        reference=lambda x, y: -float(x @ y),
    ),
    Metric(
        name="true_angular",
        similar=1.0,
        formula="arccos(x·y / (‖x‖ ‖y‖)) / π",
        aliases=("angular",),
        step=product,
        statistics=(square,),
        summarise=squares_to_inverse_norms,
        finish=one_minus_cosine,
        impact=scaled,
        correct=angle_of,
        invert=angle_to,
        norm=magnitude,
        worst=0.5,
        reference=lambda x, y: math.acos(_cosine(x, y)) / math.pi,
    ),
    Metric(
        name="correlation",
        similar=1.0,
        formula="1 − Pearson's r (over all columns, zeros included)",
        step=product,
        transform=centre_full_rows,
        by_width=True,
        statistics=(value, square),
        summarise=centred,
        finish=one_minus_correlation,
        norm=magnitude,
        reference=_correlation,
    ),
    Metric(
        name="spearman",
        similar=1.0,
        formula="1 − Pearson's r of the average ranks (over all columns)",
        aliases=("spearmanr",),
        source="Spearman 1904; ties take their average rank, as scipy.stats.spearmanr",
        step=product,
        transform=ranks_above_zero,
        by_width=True,
        statistics=(value, square),
        summarise=centred,
        finish=one_minus_correlation,
        norm=magnitude,
        reference=_spearman,
    ),
    Metric(
        name="tsss",
        formula="‖x‖ ‖y‖ sin θ′ / 2 · π (‖x−y‖ + |‖x‖−‖y‖|)² θ′ / 360, θ′ = arccos(cos) + 10°",
        source="Heidarian and Dinneen 2016, A hybrid geometric approach for measuring similarity, section III",
        step=product,
        statistics=(square,),
        summarise=squares_to_norms,
        finish=triangle_times_sector,
        cost=(1.0, 25.0),
        norm=magnitude,
        signed=False,
        reference=_tsss,
    ),
)
