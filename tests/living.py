"""An index that lives beside a naive list: every operation is done to both, and they are compared after each."""

import contextlib
import pickle
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import scipy.sparse as sp
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import sparsenn as sn
from sparsenn import updates
from tests import naive

SMALL = {
    "FEW": 4,
    "SMALL": 2,
    "GROWN": 0.5,
    "GROWN_EXACT": 0.7,
}  # so that a few rows make segments, join them, and make the base again
MOST = 40  # rows
CASES = [
    ("cosine", "csr", "exact", True),
    ("euclidean", "csr", "exact", True),
    ("jaccard", "csr", "auto", True),
    ("manhattan", "csr", "graph", True),
    ("cosine", "csr", "graph", True),
    ("hamming", "csr", "exact", True),
    ("spearman", "csr", "exact", False),
    ("euclidean", "dense", "graph", True),
    ("cosine", "dense", "exact", True),
    ("chebyshev", "csr", "exact", True),
    ("jensen_shannon", "csr", "auto", True),
]
seeds = st.integers(0, 2**32 - 1)


class Living(RuleBasedStateMachine):
    """Operations drawn at random; `steps` counts them over all runs."""

    steps = 0

    @initialize(
        case=st.sampled_from(CASES), kind=st.sampled_from(["number", "int", "text"]), n=st.integers(1, 20), s=seeds
    )
    def fit(self, case, kind, n, s):
        self.patches = contextlib.ExitStack()
        for name, value in SMALL.items():
            self.patches.callback(setattr, updates, name, getattr(updates, name))
            setattr(updates, name, value)
        self.folder = Path(self.patches.enter_context(tempfile.TemporaryDirectory()))
        self.metric, self.container, method, self.widens = case
        self.kind, self.width, self.serial, self.rows = kind, 6, 0, {}
        rng = np.random.default_rng(s)
        self.index = sn.Index(self.metric, method=method, n_neighbors=3, n_jobs=2)
        rows, ids = self.draw(rng, n), self.new_ids(rng, n)
        if rng.integers(2):
            self.index.fit(self.input(rows), **self.given(ids))
        else:
            parts = [self.input(part) for part in np.array_split(rows, 3)]
            self.index.fit(iter(parts), **self.given(ids))
        self.rows.update(zip(ids, rows, strict=True))

    def teardown(self):
        if hasattr(self, "patches"):
            self.patches.close()

    def draw(self, rng, n):
        """Rows of small integers, many of them 0: ties, empty rows and repeated ones are common."""
        return rng.choice([0, 0, 0, 1, 2, 3], (n, self.width)).astype(np.float32)

    def input(self, rows):
        return sp.csr_matrix(rows) if self.container == "csr" else rows

    def new_ids(self, rng, n):
        first = self.serial
        self.serial += n
        if self.kind == "number":
            return list(range(first, first + n))
        numbers = [int(i) * 1000 + int(rng.integers(1000)) for i in rng.permutation(n) + first]
        return numbers if self.kind == "int" else [f"row {number} é" for number in numbers]

    def given(self, ids):
        return {} if self.kind == "number" else {"ids": ids}

    def some(self, rng, most=6):
        ids = list(self.rows)
        return [ids[i] for i in rng.permutation(len(ids))[: rng.integers(0, most + 1)]]

    @precondition(lambda self: len(self.rows) < MOST)
    @rule(n=st.integers(0, 8), s=seeds)
    def add(self, n, s):
        rng = np.random.default_rng(s)
        rows, ids = self.draw(rng, n), self.new_ids(rng, n)
        assert list(self.index.add(self.input(rows), **self.given(ids))) == ids
        self.rows.update(zip(ids, rows, strict=True))

    @rule(s=seeds)
    def remove(self, s):
        gone = self.some(np.random.default_rng(s))
        self.index.remove(gone)
        for i in gone:
            del self.rows[i]

    @precondition(lambda self: self.rows)
    @rule(s=seeds)
    def remove_most(self, s):
        rng = np.random.default_rng(s)
        gone = self.some(rng, len(self.rows))
        self.index.remove(np.array(gone) if gone and self.kind == "int" else gone)
        for i in gone:
            del self.rows[i]

    @rule(s=seeds)
    def update(self, s):
        rng = np.random.default_rng(s)
        ids = self.some(rng)
        rows = self.draw(rng, len(ids))
        self.index.update(ids, self.input(rows))
        self.rows.update(zip(ids, rows, strict=True))

    @precondition(lambda self: self.width < 10)
    @rule(s=seeds)
    def widen(self, s):
        rng = np.random.default_rng(s)
        before, self.width = self.width, self.width + 1
        rows = self.draw(rng, 2)
        if not self.widens:
            self.refused("depends on the number of columns", "add", self.input(rows), new_columns=True)
            self.width = before
            return
        ids = self.new_ids(rng, 2)
        self.index.add(self.input(rows), new_columns=True, **self.given(ids))
        self.rows = {i: np.append(row, np.zeros(self.width - len(row), np.float32)) for i, row in self.rows.items()}
        self.rows.update(zip(ids, rows, strict=True))

    def refused(self, message, call, *arguments, **options):
        state = self.index._state
        try:
            getattr(self.index, call)(*arguments, **options)
        except ValueError as error:
            assert message in str(error), error
        else:
            raise AssertionError(f"{call} took {arguments}")
        assert self.index._state is state

    @rule()
    def wrong(self):
        unknown = {"number": 10**9, "int": 10**9, "text": "nobody"}[self.kind]
        row = self.input(np.ones((1, self.width)))
        self.refused("the id of no row", "remove", [unknown])
        self.refused("the id of no row", "update", [unknown], row)
        self.refused("columns, but the index has", "add", np.ones((1, self.width + 1)), **self.given([unknown]))
        self.refused("NaN", "add", np.full((1, self.width), np.nan), **self.given([unknown]))
        if self.kind == "number":
            self.refused("numbers its rows", "add", row, ids=[3])
        else:
            self.refused("ids of their own", "add", row)
            self.refused("twice", "add", self.input(np.ones((2, self.width))), ids=[unknown, unknown])
        if self.rows:
            one = next(iter(self.rows))
            self.refused("twice", "remove", [one, one])
            self.refused("give a row for each", "update", [one], self.input(np.ones((2, self.width))))
            if self.kind != "number":
                self.refused("which a row has", "add", row, ids=[one])

    @rule(mmap=st.booleans(), compact=st.booleans())
    def save_and_load(self, mmap, compact):
        self.index.save(self.folder / "x.sn", compact=compact)
        self.index = sn.Index.load(self.folder / "x.sn", mmap=mmap, verify=True)

    @rule()
    def pickle(self):
        self.index = pickle.loads(pickle.dumps(self.index))

    @rule()
    def graph(self):
        indices, distances = self.index.neighbor_graph
        ids, n = list(self.rows), len(self.rows)
        assert indices.shape == distances.shape == (n, 3)
        known = self.names(indices)
        D = self.true(np.array(list(self.rows.values()))) if n else np.zeros((0, 0))
        for i in range(n):
            there = indices[i] >= 0
            assert there.sum() == min(3, n - 1)
            places = [ids.index(name) for name in known[i][there]]
            assert i not in places
            assert len(set(places)) == len(places)
            np.testing.assert_allclose(distances[i][there], D[i, places], atol=1e-5, rtol=1e-5)
        matrix = self.index.to_csr()
        assert matrix.shape == (n, n)
        assert matrix.nnz == (indices >= 0).sum()

    @rule(s=seeds, k=st.integers(1, 9))
    def filtered(self, s, k):
        rng = np.random.default_rng(s)
        ids = list(self.rows)
        allowed = self.some(rng, len(ids))
        mask = np.isin(np.arange(len(ids)), [ids.index(i) for i in allowed])
        Q = self.draw(rng, 3)
        self.compare(Q, k, [mask] * 3, allowed=allowed)
        self.compare(Q, k, [mask] * 3, allowed=mask)
        labels, wanted = rng.integers(0, 2, len(ids)), rng.integers(0, 3, 3)
        self.compare(Q, k, [mask & (labels == w) for w in wanted], allowed=mask, groups=(labels, wanted))

    def names(self, indices):
        """Users' ids of what a result has."""
        named = self.index.ids_of(indices)
        assert named.shape == indices.shape
        return named

    def true(self, Q):
        return naive.distances(self.metric, Q, np.array(list(self.rows.values()))).astype(np.float32)

    def compare(self, Q, k, masks, **options):
        """The answer is that of a look at all rows, one after another."""
        ids, D = list(self.rows), self.true(Q) if self.rows else np.zeros((len(Q), 0), np.float32)
        indices, distances = self.index.query(self.input(Q), k, **options)
        assert indices.dtype == np.int64
        assert indices.shape == distances.shape == (len(Q), k)
        radius = 1.5 if self.metric in ("euclidean", "manhattan", "chebyshev") else 0.4
        ragged = self.index.query_radius(self.input(Q), radius, **options)
        for q, mask in enumerate(masks):
            true = np.sort(D[q][mask])[:k]
            self.compare_one(indices[q], distances[q], ids, D[q], mask, true)
            part = slice(ragged.indptr[q], ragged.indptr[q + 1])
            inside, sure = (D[q][mask] <= radius + e for e in (1e-5, -1e-5))
            assert sure.sum() <= len(ragged.indices[part]) <= inside.sum()
            within = np.sort(D[q][mask])[: len(ragged.indices[part])]
            self.compare_one(ragged.indices[part], ragged.distances[part], ids, D[q], mask, within)

    def compare_one(self, indices, distances, ids, true, mask, nearest):
        there = indices >= 0
        assert there.sum() == len(nearest)
        assert there[: len(nearest)].all()
        assert np.isinf(distances[~there]).all()
        places = np.array([ids.index(name) for name in self.names(indices)[there]], np.int64)
        assert len(set(places)) == len(places)
        assert mask[places].all()
        np.testing.assert_allclose(distances[there], nearest, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(distances[there], true[places], atol=1e-5, rtol=1e-5)
        assert (np.lexsort((places, distances[there])) == np.arange(len(places))).all()

    @invariant()
    def same(self):
        if not hasattr(self, "index"):
            return
        type(self).steps += 1
        assert self.index.n_rows == len(self.index) == len(self.rows)
        assert self.index.ids.tolist() == list(self.rows)
        assert self.index.n_features == self.width
        Q = self.draw(np.random.default_rng(self.serial), 2)
        self.compare(Q, 4, [np.ones(len(self.rows), bool)] * 2)
