"""MinHash: verified, and as good as it said."""

import numpy as np
import pytest

import sparsenn as sn
from sparsenn.join import Join
from sparsenn.minhash import choose_bands, collision


def copies(n=3000, seed=0):
    rng = np.random.default_rng(seed)
    X = np.zeros((2 * n, 400), np.float32)
    for i in range(n):
        X[i, rng.choice(400, 20, replace=False)] = 1
    X[n:] = X[:n]
    for i in range(n, 2 * n):
        there = np.flatnonzero(X[i])[:2]
        X[i, there] = 0
        X[i, rng.choice(400, 2)] = 1
    return X


@pytest.mark.parametrize("bits", [32, 4])
def test_recall_is_as_predicted_and_pairs_are_true(bits):
    X = copies()
    join = sn.MinHashJoin(X, 0.8, recall=0.9, bits=bits)
    found = join.run()
    true = sn.similarity_join(X, threshold=0.8)
    key, want = found.i * 10**6 + found.j, true.i * 10**6 + true.j
    assert np.isin(key, want).all()
    assert (found.similarity == true.similarity[np.searchsorted(want, key)]).all()
    assert len(key) >= (join.plan.recall - 0.05) * len(want)
    assert join.plan.recall >= 0.9
    assert "recall" in repr(join)


def test_one_large_group_is_cut(monkeypatch):
    n = 300  # one bit of each minimum: many rows have one key
    X = np.hstack([np.ones((n, 3)), np.eye(n)])
    want = sn.MinHashJoin(X, 0.5, recall=0.9, n_permutations=16, bits=1).run()
    true = sn.similarity_join(X, threshold=0.5)
    key = want.i * n + want.j
    assert len(key) > 0.85 * len(true.i)
    assert (np.diff(key) > 0).all()
    assert np.isin(key, true.i * n + true.j).all()
    measured = []
    surrogates = Join.surrogates

    def counted(self, a, b):
        measured.append(len(a))
        return surrogates(self, a, b)

    monkeypatch.setattr("sparsenn.minhash.CANDIDATES", 1000)
    monkeypatch.setattr(Join, "surrogates", counted)
    got = sn.MinHashJoin(X, 0.5, recall=0.9, n_permutations=16, bits=1).run()
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    assert max(measured) <= 1000


def test_one_seed_one_result():
    X = copies(300)
    runs = [sn.MinHashJoin(X, 0.8, random_state=s, n_jobs=jobs).run() for s, jobs in ((1, 1), (1, 2))]
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    drawn = [sn.MinHashJoin(X, 0.8, random_state=None) for _ in range(2)]
    assert not np.array_equal(drawn[0]._keys(0), drawn[1]._keys(0))


def test_fewer_bits_collide_more():
    assert collision(0.5, 2, 1) == 0.75**2
    assert collision(0.5, 4) == pytest.approx(0.5**4)
    for threshold in (0.3, 0.5, 0.9):
        bands, rows = choose_bands(threshold, 0.95, 128)
        assert bands * rows <= 128
        assert 1 - (1 - threshold**rows) ** bands >= 0.95


def test_equal_rows_are_found_whatever_the_keys():
    found = sn.MinHashJoin(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]]), 1.0).run()
    assert (found.i.tolist(), found.j.tolist(), found.similarity.tolist()) == ([0], [2], [1.0])
    assert len(sn.MinHashJoin(np.zeros((0, 3))).run().i) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"recall": 1.0}, "similarity_join finds all pairs"),
        ({"recall": "a"}, "recall must be between 0 and 1, got 'a'"),
        ({"random_state": -1}, "random_state must be a whole number from 0 to .*, or None, got -1"),
        ({"random_state": 0.5}, "random_state must be a whole number from 0 to .*, or None, got 0.5"),
        ({"bits": 0}, "bits must be a whole number from 1 to 32"),
        ({"threshold": 0.0}, "threshold must be above 0|cannot reach"),
        ({"threshold": 0.05, "recall": 0.99, "n_permutations": 8}, "8 permutations cannot reach a recall of 0.99"),
    ],
)
def test_what_cannot_be_asked(more, message):
    with pytest.raises(ValueError, match=message):
        sn.MinHashJoin(np.eye(3), **more)


def test_too_many_candidates_are_refused_before_the_run():
    # rows of one common column and one of their own: far from similar, but one bit a minimum tells few apart
    X = np.hstack([np.ones((300, 1)), np.eye(300)])
    join = sn.MinHashJoin(X, 0.9, bits=1, recall=0.99)
    with pytest.raises(ValueError, match="candidates would be verified, more than max_pairs = 10"):
        join.run(max_pairs=10)
