"""The heap against a sorted list."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sparsenn._jit import entry
from sparsenn.heap import fill_heap, key_of, make_heap, push, sort_heap
from sparsenn.termwise import bar_of


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


@entry
def filled(capacity, distances, ids):
    """The nearest by keys, as `offer_first` takes them; one more is pushed onto what is then a heap."""
    heap = make_heap(capacity)
    keys = np.empty(len(ids), np.int64)
    surrogates = np.empty(len(ids))
    for r in range(len(ids) - 1):
        keys[r], surrogates[r] = key_of(distances[r], ids[r]), -distances[r]
    size = fill_heap(heap, keys, surrogates, len(ids) - 1)
    size = push(heap, size, distances[-1], ids[-1], np.float64(-distances[-1]))
    sort_heap(heap, size)
    return heap.distances[:size], heap.ids[:size], heap.surrogates[:size]


@pytest.mark.parametrize("capacity", [1, 3, 8, 40])
def test_fill_heap_keeps_the_nearest_with_ties_by_id(capacity):
    generator = np.random.default_rng(capacity)
    values = np.array([-np.inf, -2.5, -0.0, 0.0, 1e-40, 0.5, 3.0, np.inf], np.float32)
    for _ in range(20):
        distances = generator.choice(values, 30)
        ids = generator.choice(np.array([0, 1, 5, 2**31, 2**32 - 1, *range(50, 80)]), 30, replace=False)
        found, nearest, surrogates = filled(capacity, distances, ids)
        order = np.lexsort((ids, distances))[:capacity]
        np.testing.assert_array_equal(nearest, ids[order])
        np.testing.assert_array_equal(found, distances[order])
        np.testing.assert_array_equal(surrogates, -distances[order].astype(np.float64))


@pytest.mark.parametrize("values", ["uniform", "equal", "steps", "skewed", "infinite"])
def test_bar_of_leaves_enough_and_few(values):
    generator = np.random.default_rng(3)
    uniform = generator.random(300)
    made = {
        "uniform": uniform,
        "equal": np.full(300, 0.7),
        "steps": np.round(uniform, 1),
        "skewed": uniform**9 - 4.0,
        "infinite": np.where(uniform < 0.9, np.inf, uniform),
    }[values]
    for n in (12, 40, 300):
        bar = find_bar(made, n, 11, 20)
        within = np.count_nonzero(made[:n] <= bar)
        assert within >= min(11, n)
        if values == "uniform":
            assert within <= 20


@entry
def find_bar(values, n, least, most):
    return bar_of(values, n, least, most)
