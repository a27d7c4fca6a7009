"""Metrics of sets: only which columns a row has matters.

All of them are functions of four counts: of either row, of the columns both have, and of all columns.
Where a formula is 0/0, an empty row is at the largest distance from any other row, and at 0 from
another empty one; elsewhere the plain formula holds. In integers below 2^53 every count is exact, and
each distance is one division of two of them: rows with equal counts tie exactly.
"""

from collections.abc import Callable

import numpy as np

from sparsenn.metrics.formulas import one, present
from sparsenn.metrics.registry import Metric, Parameter, check_not_negative, register


def small(p, b, y):
    """−|y|: of the rows that share one column, the smaller is nearer."""
    return -y[0]


def jaccard(p, x, y, shared):
    """(|x∪y| − |x∩y|) / |x∪y|."""
    union = x[0] + y[0] - shared
    return (union - shared) / max(union, 1.0)


def dice(p, x, y, shared):
    """(|x| + |y| − 2|x∩y|) / (|x| + |y|)."""
    whole = x[0] + y[0]
    return (whole - 2.0 * shared) / max(whole, 1.0)


def matching(p, x, y, shared):
    """Share of all columns that one row has and the other has not."""
    return (x[0] + y[0] - 2.0 * shared) / max(p[0], 1.0)


def overlap(p, x, y, shared):
    """(m − |x∩y|) / m, where m = min(|x|, |y|)."""
    least = min(x[0], y[0])
    return (least - shared) / least if least > 0.0 else min(x[0] + y[0], 1.0)


def containment(p, x, y, shared):
    """(|x| − |x∩y|) / |x|, where x is the query."""
    return (x[0] - shared) / x[0] if x[0] > 0.0 else min(y[0], 1.0)


def tversky(p, x, y, shared):
    """(α|x∖y| + β|y∖x|) / (|x∩y| + α|x∖y| + β|y∖x|), where x is the query."""
    apart = p[1] * (x[0] - shared) + p[2] * (y[0] - shared)
    whole = shared + apart
    return apart / whole if whole > 0.0 else min(x[0] + y[0], 1.0)


def kulsinski(p, x, y, shared):
    """(d + n − |x∩y|) / (d + n), where d = |x△y|."""
    whole = max(x[0] + y[0] - 2.0 * shared + p[0], 1.0)
    return (whole - shared) / whole


def rogers_tanimoto(p, x, y, shared):
    """2d / (n + d), where d = |x△y|."""
    apart = x[0] + y[0] - 2.0 * shared
    return 2.0 * apart / max(p[0] + apart, 1.0)


def russell_rao(p, x, y, shared):
    """(n − |x∩y|) / n."""
    return (p[0] - shared) / max(p[0], 1.0)


def sokal_sneath(p, x, y, shared):
    """2d / (|x∩y| + 2d), where d = |x△y|."""
    apart = 2.0 * (x[0] + y[0] - 2.0 * shared)
    return apart / max(shared + apart, 1.0)


def yule(p, x, y, shared):
    """2·|x∖y|·|y∖x| / (|x∩y|·|neither| + |x∖y|·|y∖x|)."""
    apart = (x[0] - shared) * (y[0] - shared)
    alike = shared * (p[0] - x[0] - y[0] + shared)
    one_is_empty = (x[0] == 0.0) != (y[0] == 0.0)
    return 2.0 if one_is_empty else 2.0 * apart / max(apart + alike, 1.0)


def _counts(x, y):
    """Return how many columns both rows have, only x, only y, and neither."""
    x, y = x != 0, y != 0
    return tuple(int(np.sum(both)) for both in (x & y, x & ~y, ~x & y, ~x & ~y))


def _scipy(name: str) -> Callable[..., float]:
    """SciPy's function, with 0 for two empty rows where that is 0/0."""

    def reference(x, y):
        from scipy.spatial import distance

        x, y = x != 0, y != 0
        if not (x.any() or y.any()) and name in ("dice", "sokalsneath"):
            return 0.0
        return float(getattr(distance, name)(x, y))

    return reference


def _yule(x, y):
    if x.any() != y.any():
        return 2.0
    return _scipy("yule")(x, y)


def _overlap(x, y):
    both, left, right, _ = _counts(x, y)
    if both + left + right == 0:
        return 0.0
    return 1.0 - both / min(both + left, both + right) if min(both + left, both + right) else 1.0


def _tversky(x, y, alpha, beta):
    both, left, right, _ = _counts(x, y)
    if both + left + right == 0:
        return 0.0
    return 1.0 - both / (both + alpha * left + beta * right) if both else 1.0


def _kulsinski(x, y):
    both, left, right, neither = _counts(x, y)
    n = both + left + right + neither
    return (left + right - both + n) / (left + right + n)


def _sokal_michener(x, y):
    both, left, right, neither = _counts(x, y)
    return 2 * (left + right) / (both + neither + 2 * (left + right))


def _of_counts(**more) -> Metric:
    """Record of a metric that sees only counts; shared columns are at most the smaller row's."""
    return Metric(step=one, statistics=(present,), mass=present, impact=small, presence=True, similar=1.0, **more)


_WEIGHT = "how much a column that only {} has counts, at least 0"

register(
    _of_counts(
        name="jaccard",
        formula="1 − |x∩y| / |x∪y|",
        finish=jaccard,
        worst=1.0,
        reference=_scipy("jaccard"),
    ),
    _of_counts(
        name="dice",
        formula="1 − 2|x∩y| / (|x|+|y|)",
        aliases=("sorensen_dice",),
        finish=dice,
        worst=1.0,
        reference=_scipy("dice"),
    ),
    _of_counts(
        name="matching",
        formula="|x△y| / n: share of all columns that only one row has",
        aliases=("simple_matching",),
        source="Sokal and Michener 1958: one minus the simple matching coefficient",
        finish=matching,
        reference=lambda x, y: float(((x != 0) != (y != 0)).mean()),
    ),
    _of_counts(
        name="overlap",
        formula="1 − |x∩y| / min(|x|, |y|)",
        aliases=("szymkiewicz_simpson",),
        finish=overlap,
        worst=1.0,
        reference=_overlap,
    ),
    _of_counts(
        name="containment",
        formula="1 − |q∩y| / |q|, from the query q to an indexed row",
        source="Broder 1997, On the resemblance and containment of documents",
        finish=containment,
        worst=1.0,
        symmetric=False,
        reference=lambda x, y: _tversky(x, y, 1.0, 0.0),
    ),
    _of_counts(
        name="tversky",
        formula="1 − |q∩y| / (|q∩y| + α|q∖y| + β|y∖q|), from the query q to an indexed row",
        source="Tversky 1977, Features of similarity: the ratio model",
        parameters={
            "alpha": Parameter(0.5, check_not_negative, _WEIGHT.format("the query")),
            "beta": Parameter(0.5, check_not_negative, _WEIGHT.format("the indexed row")),
        },
        finish=tversky,
        worst=1.0,
        symmetric=False,
        reference=_tversky,
        example={"alpha": 0.8, "beta": 0.3},
    ),
    _of_counts(
        name="kulsinski",
        formula="(|x△y| + n − |x∩y|) / (|x△y| + n)",
        source="as scikit-learn, and SciPy until it dropped it; identical rows are not at 0",
        finish=kulsinski,
        reflexive=False,
        worst=1.0,
        reference=_kulsinski,
    ),
    _of_counts(
        name="rogerstanimoto",
        formula="2|x△y| / (n + |x△y|)",
        aliases=("rogers_tanimoto",),
        finish=rogers_tanimoto,
        reference=_scipy("rogerstanimoto"),
    ),
    _of_counts(
        name="russellrao",
        formula="1 − |x∩y| / n",
        aliases=("russell_rao",),
        source="as SciPy; identical rows are not at 0",
        finish=russell_rao,
        reflexive=False,
        worst=1.0,
        reference=_scipy("russellrao"),
    ),
    _of_counts(
        name="sokalmichener",
        formula="2|x△y| / (n + |x△y|)",
        aliases=("sokal_michener",),
        source="as scikit-learn, and SciPy until it dropped it: the same as rogerstanimoto. "
        "What Sokal and Michener 1958 wrote is `matching`",
        finish=rogers_tanimoto,
        reference=_sokal_michener,
    ),
    _of_counts(
        name="sokalsneath",
        formula="2|x△y| / (|x∩y| + 2|x△y|)",
        aliases=("sokal_sneath",),
        finish=sokal_sneath,
        worst=1.0,
        reference=_scipy("sokalsneath"),
    ),
    _of_counts(
        name="yule",
        formula="2·|x∖y|·|y∖x| / (|x∩y|·|neither| + |x∖y|·|y∖x|)",
        source="as SciPy: 0 where one row holds the other; but 2 from an empty row to any other",
        finish=yule,
        worst=2.0,
        reference=_yule,
    ),
)
