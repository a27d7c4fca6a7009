"""The heap against a sorted list."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from sparsenn._jit import entry
from sparsenn.heap import make_heap, push, sort_heap


@entry
def run_heap(distances, ids, capacity):
    heap = make_heap(capacity)
    size = 0
    for t in range(distances.shape[0]):
        size = push(heap, size, distances[t], ids[t], np.float64(distances[t]))
    sort_heap(heap, size)
    return heap.distances[:size], heap.ids[:size], heap.surrogates[:size]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf]), max_size=40), st.integers(0, 12), st.randoms())
def test_heap_keeps_the_nearest_by_distance_then_id(values, capacity, random):
    ids = list(range(len(values)))
    random.shuffle(ids)
    got = run_heap(np.array(values, np.float32), np.array(ids, np.int64), capacity)
    want = sorted(zip(values, ids, strict=True))[:capacity]
    assert list(zip(got[0].tolist(), got[1].tolist(), strict=True)) == want
    assert got[2].tolist() == [d for d, _ in want]
