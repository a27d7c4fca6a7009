"""The k nearest so far: a binary heap with the farthest on top, ordered by (distance, id).

Distances are compared as they are returned, in float32 after the correction, so that rows which look
equally far to the user are ordered by their id whatever the rounding of their surrogates was.
"""

from collections import namedtuple

import numpy as np

from sparsenn._jit import bits_of, float_of, kernel, maker

Heap = namedtuple("Heap", "distances ids surrogates")


@maker
def make_heap(capacity):
    """Make room for `capacity` entries."""
    return Heap(np.empty(capacity, np.float32), np.empty(capacity, np.int64), np.empty(capacity, np.float64))


@kernel
def farther(d, i, other_d, other_i):
    """Whether (d, i) comes after (other_d, other_i)."""
    return d > other_d or (d == other_d and i > other_i)


@kernel
def sift_down(heap, size, distance, i, surrogate):
    """Put an entry in the place of the farthest one."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and farther(
            heap.distances[child + 1], heap.ids[child + 1], heap.distances[child], heap.ids[child]
        ):
            child += 1
        if not farther(heap.distances[child], heap.ids[child], distance, i):
            break
        heap.distances[at] = heap.distances[child]
        heap.ids[at] = heap.ids[child]
        heap.surrogates[at] = heap.surrogates[child]
        at = child
    heap.distances[at] = distance
    heap.ids[at] = i
    heap.surrogates[at] = surrogate


@kernel
def push(heap, size, distance, i, surrogate):
    """Keep the entry if there is room or it is nearer than the farthest; returns the new size."""
    if size == heap.ids.shape[0]:
        if size and farther(heap.distances[0], heap.ids[0], distance, i):
            sift_down(heap, size, distance, i, surrogate)
        return size
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if not farther(distance, i, heap.distances[parent], heap.ids[parent]):
            break
        heap.distances[at] = heap.distances[parent]
        heap.ids[at] = heap.ids[parent]
        heap.surrogates[at] = heap.surrogates[parent]
        at = parent
    heap.distances[at] = distance
    heap.ids[at] = i
    heap.surrogates[at] = surrogate
    return size + 1


@kernel
def key_of(distance, i):
    """One integer that orders as (distance, id) does; ids below 2**32."""
    bits = bits_of(distance + np.float32(0))  # no negative zero
    return (np.int64(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))) << 32) | np.int64(i)


@kernel
def fill_heap(heap, keys, surrogates, n):
    """Put the nearest of `n` entries into an empty heap, the farthest first; returns how many there are.

    The place of each is how many are nearer: n * n comparisons, which vector instructions make four at a time.
    """
    size = min(n, heap.ids.shape[0])
    for r in range(n):
        key, place = keys[r], np.int64(0)
        for s in range(np.uint64(n)):
            place += np.int64(keys[s] < key)
        if place < size:
            at = size - 1 - place
            bits = np.int32(key >> 32)
            heap.distances[at] = float_of(bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF)))
            heap.ids[at] = key & 0xFFFFFFFF
            heap.surrogates[at] = surrogates[r]
    return size


@kernel
def falls(heap, size):
    """Whether each entry is nearer than the one before it."""
    for at in range(1, size):
        if farther(heap.distances[at], heap.ids[at], heap.distances[at - 1], heap.ids[at - 1]):
            return False
    return True


@kernel
def sort_heap(heap, size):
    """Turn the heap into a list, nearest first."""
    if falls(heap, size):
        for at in range(size // 2):
            other = size - 1 - at
            heap.distances[at], heap.distances[other] = heap.distances[other], heap.distances[at]
            heap.ids[at], heap.ids[other] = heap.ids[other], heap.ids[at]
            heap.surrogates[at], heap.surrogates[other] = heap.surrogates[other], heap.surrogates[at]
        return
    for last in range(size - 1, 0, -1):
        d, i, s = heap.distances[last], heap.ids[last], heap.surrogates[last]
        heap.distances[last], heap.ids[last] = heap.distances[0], heap.ids[0]
        heap.surrogates[last] = heap.surrogates[0]
        sift_down(heap, last, d, i, s)


@kernel
def kth_smallest(values, n, k):
    """Value of rank `k` (from 0) among the first `n`, which end up in another order (Hoare's quickselect)."""
    low, high = 0, n - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]
