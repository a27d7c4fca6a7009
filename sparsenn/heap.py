"""The k nearest so far: a binary heap with the farthest on top, ordered by (distance, id).

Distances are compared as they are returned, in float32 after the correction, so that rows which look
equally far to the user are ordered by their id whatever the rounding of their surrogates was.
"""

from collections import namedtuple

import numpy as np

from sparsenn._jit import kernel, maker

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
def sort_heap(heap, size):
    """Turn the heap into a list, nearest first."""
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
