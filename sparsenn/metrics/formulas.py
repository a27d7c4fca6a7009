"""Scalar pieces that several families of metrics share."""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def product(p, a, b):
    """a · b."""
    return a * b


def one(p, a, b):
    """1 where both are there (set metrics)."""
    return 1.0 if (a != 0.0 and b != 0.0) else 0.0


def smaller(p, a, b):
    """min(|a|, |b|) of values of one sign, else 0."""
    return min(abs(a), abs(b)) if a * b > 0.0 else 0.0


def value(p, a):
    """a."""
    return a


def magnitude(p, a):
    """|a|."""
    return abs(a)


def square(p, a):
    """a²."""
    return a * a


def present(p, a):
    """1 where the value is not 0."""
    return 1.0 if a != 0.0 else 0.0


def same(p, x, y, shared):
    """The sum itself is the surrogate."""
    return shared


def square_root(p, s):
    """√s, 0 below 0."""
    return math.sqrt(max(s, 0.0))


def squared(p, d):
    """d²."""
    return d * d


def squares_to_norms(sums: Array, n_features: int) -> Array:
    """From Σa²: the norm."""
    return np.sqrt(sums)


def squares_to_inverse_norms(sums: Array, n_features: int) -> Array:
    """From Σa²: 1 / norm, and 0 for an empty row."""
    norms = np.sqrt(sums)
    if np.count_nonzero(norms) == norms.size:  # a query alone: `all` takes five times as long
        return np.reciprocal(norms)
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
