"""Random numbers without a state: a draw depends on its seed and its counters, not on threads or order."""

import numpy as np

from sparsenn._jit import kernel

STEP = np.uint64(0x9E3779B97F4A7C15)


@kernel
def mixed(seed, a, b):
    """64 random bits for the counters `a` and `b` (splitmix64, Steele, Lea and Flood 2014, three rounds)."""
    z = np.uint64(0)
    for word in (np.uint64(seed), np.uint64(a), np.uint64(b)):
        z = (z ^ word) + STEP
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z


@kernel
def draw(seed, a, b, n):
    """Draw an integer below `n`."""
    return np.int64(mixed(seed, a, b) % np.uint64(n))
