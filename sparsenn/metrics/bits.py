"""Metrics of bit-packed rows: each value is a 32-bit word of columns, whatever number it would spell."""

import numpy as np

from sparsenn._jit import popcount
from sparsenn.metrics.registry import Metric, register


def bit_hamming(p, ind1, val1, ind2, val2):
    """popcount(x ^ y) / number of bits."""
    x, y = val1.view(np.uint32), val2.view(np.uint32)
    differ = 0
    for t in range(x.shape[0]):
        differ += popcount(x[t] ^ y[t])
    return differ / max(p[0], 1.0)


def bit_jaccard(p, ind1, val1, ind2, val2):
    """(popcount(x | y) − popcount(x & y)) / popcount(x | y)."""
    x, y = val1.view(np.uint32), val2.view(np.uint32)
    either = 0
    differ = 0
    for t in range(x.shape[0]):
        either += popcount(x[t] | y[t])
        differ += popcount(x[t] ^ y[t])
    return differ / max(either, 1)


def _bits(x, y):
    """Bits of two rows of bytes (numbers from 0 to 255, of any type)."""
    return (np.unpackbits(np.asarray(row, dtype=np.uint8)).astype(bool) for row in (x, y))


def _bit_hamming(x, y):
    x, y = _bits(x, y)
    return float((x != y).mean())


def _bit_jaccard(x, y):
    x, y = _bits(x, y)
    return 1.0 - float((x & y).sum() / (x | y).sum()) if (x | y).any() else 0.0


register(
    Metric(
        name="bit_hamming",
        formula="popcount(x ^ y) / (8 · number of bytes)",
        source="PyNNDescent's, as a fraction",
        pair=bit_hamming,
        containers=("bits",),
        reference=_bit_hamming,
    ),
    Metric(
        name="bit_jaccard",
        formula="1 − popcount(x & y) / popcount(x | y)",
        pair=bit_jaccard,
        containers=("bits",),
        reference=_bit_jaccard,
    ),
)
