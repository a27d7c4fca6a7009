"""Metrics of distributions and of rows of non-negative amounts, column by column."""

import math

import numpy as np

from sparsenn.metrics.angles import one_minus_cosine, scaled
from sparsenn.metrics.embeddings import hellinger_for_jensen_shannon, hellinger_for_symmetric_kl
from sparsenn.metrics.formulas import (
    magnitude,
    product,
    smaller,
    square,
    square_root,
    squared,
    squares_to_inverse_norms,
    value,
)
from sparsenn.metrics.registry import Metric, register

LN2 = math.log(2.0)
# Smoothing of symmetric_kl: float32 eps, a power of two.
EPSILON = 2.0**-23
PER_EPSILON = 2.0**23


def square_roots(p, indices, values):
    """√a."""
    for t in range(values.shape[0]):
        values[t] = math.sqrt(values[t])


def shares(p, indices, values):
    """a / Σa."""
    total = 0.0
    for t in range(values.shape[0]):
        total += float(values[t])
    if total > 0.0:
        for t in range(values.shape[0]):
            values[t] = float(values[t]) / total


def ruzicka(p, x, y, shared):
    """(Σmax − Σmin) / Σmax, from the sums of both rows and Σmin."""
    most = x[0] + y[0] - shared
    return max((most - shared) / most, 0.0) if most > 0.0 else 0.0


def jensen_shannon(p, a, b):
    """½[a ln(2a/(a+b)) + b ln(2b/(a+b))]."""
    if a > 0.0 and b > 0.0:
        r = (a - b) / (a + b)
        return 0.5 * (a * math.log1p(r) + b * math.log1p(-r))
    return 0.5 * LN2 * (a + b)


def half_ln2(p, a):
    """½ ln2 · a."""
    return 0.5 * LN2 * a


def jensen_shannon_step(p, a, b):
    """½[a ln((a+b)/a) + b ln((a+b)/b)], 0 if either is 0."""
    if a > 0.0 and b > 0.0:
        return 0.5 * (a * math.log((a + b) / a) + b * math.log((a + b) / b))
    return 0.0


def jensen_shannon_norm(p, a):
    """√(ln2 · a): by a² + b² ≥ 2ab the step is largest, against √(ab), where a = b."""
    return math.sqrt(LN2 * a)


def at_most_ln2(p, x, y, total):
    """The squared distance; exactly ln 2 for rows that share nothing, and for an empty one."""
    if x[0] == 0.0 or y[0] == 0.0:
        return 0.0 if x[0] == y[0] else LN2
    apart = total >= (x[0] + y[0]) * (1.0 - 1e-10)
    return LN2 if apart else min(max(total, 0.0), LN2)


def symmetric_kl(p, a, b):
    """½ (a−b) ln((a+ε)/(b+ε)); the 1/(1+nε) of p = (a+ε)/(1+nε) waits for the end."""
    return 0.5 * (a - b) * math.log1p((a - b) / (b + EPSILON))


def symmetric_kl_alone(p, a):
    """½ a ln(1 + a/ε)."""
    return 0.5 * a * math.log(1.0 + a * PER_EPSILON)


def symmetric_kl_step(p, a, b):
    """½[a ln(1 + b/ε) + b ln(1 + a/ε)]."""
    return 0.5 * (a * math.log(1.0 + b * PER_EPSILON) + b * math.log(1.0 + a * PER_EPSILON))


def smoothed(p, x, y, total):
    """Σ / (1 + nε).

    An empty row is as far from any other as two rows can be. The divergence is convex in both rows
    together, so that is the distance of two corners of the simplex: ln((1+ε)/ε) / (1+nε).
    """
    scale = 1.0 / (1.0 + p[0] * EPSILON)
    if x[0] == 0.0 or y[0] == 0.0:
        return 0.0 if x[0] == y[0] else math.log(1.0 + PER_EPSILON) * scale
    return max(total, 0.0) * scale


def chi_square(p, a, b):
    """(a−b)² / (a+b)."""
    whole = a + b
    return (a - b) * (a - b) / whole if whole > 0.0 else 0.0


def chi_square_step(p, a, b):
    """4ab / (a+b)."""
    whole = a + b
    return 4.0 * a * b / whole if whole > 0.0 else 0.0


def chi_square_norm(p, a):
    """√(2a): 4ab/(a+b) ≤ 2√(ab)."""
    return math.sqrt(2.0 * a)


def not_negative(p, x, y, total):
    """The sum, 0 below 0."""
    return max(total, 0.0)


def _empty(x, y, far):
    """Distance by rule where a row is empty, else None."""
    if x.any() and y.any():
        return None
    return far if x.any() != y.any() else 0.0


def _hellinger(x, y):
    if (by_rule := _empty(x, y, 1.0)) is not None:
        return by_rule
    return math.sqrt(((np.sqrt(x / x.sum()) - np.sqrt(y / y.sum())) ** 2).sum() / 2)


def _weighted_jaccard(x, y):
    most = np.maximum(x, y).sum()
    return float(1.0 - np.minimum(x, y).sum() / most) if most > 0 else 0.0


def _jensen_shannon(x, y):
    from scipy.spatial.distance import jensenshannon

    if (by_rule := _empty(x, y, math.sqrt(LN2))) is not None:
        return by_rule
    return float(jensenshannon(x, y))


def _symmetric_kl(x, y):
    n, eps = len(x), float(np.finfo(np.float32).eps)
    if (by_rule := _empty(x, y, math.log((1 + eps) / eps) / (1 + n * eps))) is not None:
        return by_rule
    p, q = ((row / row.sum() + eps) / (1 + n * eps) for row in (x, y))
    return float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2


def _chi_square(x, y):
    return float(sum((a - b) ** 2 / (a + b) for a, b in zip(x, y, strict=True) if a + b > 0))


register(
    Metric(
        name="hellinger",
        similar=1.0,
        formula="√(1 − Σ√(pq)), p = x/Σx, q = y/Σy",
        step=product,
        statistics=(square,),
        summarise=squares_to_inverse_norms,
        finish=one_minus_cosine,
        impact=scaled,
        correct=square_root,
        invert=squared,
        norm=magnitude,
        worst=1.0,
        signed=False,
        transform=square_roots,
        reference=_hellinger,
    ),
    Metric(
        name="weighted_jaccard",
        similar=1.0,
        formula="1 − Σmin(x,y) / Σmax(x,y)",
        aliases=("ruzicka",),
        step=smaller,
        statistics=(magnitude,),
        finish=ruzicka,
        mass=magnitude,
        worst=1.0,
        signed=False,
        reference=_weighted_jaccard,
    ),
    Metric(
        name="jensen_shannon",
        similar=1.0,
        formula="√(½ Σ p ln(p/m) + ½ Σ q ln(q/m)), p = x/Σx, q = y/Σy, m = (p+q)/2",
        aliases=("jensen-shannon", "jensenshannon"),
        source="Endres and Schindelin 2003; as scipy.spatial.distance.jensenshannon (PyNNDescent: without the root)",
        step=jensen_shannon_step,
        cost=(10.0, 1.0),
        term=jensen_shannon,
        statistics=(half_ln2,),
        finish=at_most_ln2,
        correct=square_root,
        invert=squared,
        norm=jensen_shannon_norm,
        worst=math.sqrt(LN2),
        signed=False,
        transform=shares,
        proxy=hellinger_for_jensen_shannon,
        reference=_jensen_shannon,
    ),
    Metric(
        name="symmetric_kl",
        formula="½ Σ (p−q) ln(p/q), p = (x/Σx + ε)/(1 + nε), ε = 2⁻²³",
        aliases=("symmetric-kl", "symmetric_kullback_liebler", "symmetric_kullback_leibler"),
        source="Kullback and Leibler 1951, halved and smoothed (PyNNDescent: not halved, ε before the division by Σx)",
        step=symmetric_kl_step,
        cost=(6.0, 1.0),
        term=symmetric_kl,
        statistics=(symmetric_kl_alone,),
        finish=smoothed,
        signed=False,
        transform=shares,
        proxy=hellinger_for_symmetric_kl,
        reference=_symmetric_kl,
    ),
    Metric(
        name="chi_square",
        formula="Σ(x−y)² / (x+y)",
        aliases=("chi2", "chisquare", "chi-square"),
        source="as minus sklearn.metrics.pairwise.additive_chi2_kernel; some divide by 2, which keeps the order",
        step=chi_square_step,
        term=chi_square,
        statistics=(value,),
        finish=not_negative,
        norm=chi_square_norm,
        signed=False,
        reference=_chi_square,
    ),
)
