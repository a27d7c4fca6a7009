"""Filtered search: as if the index had held only the eligible rows, at every selectivity and by every way."""

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import blockwise
from sparsenn.filters import NO_FILTER, make_filter
from tests import naive
from tests.test_exact import baskets, zipf_rows

EMPTY = 7  # a row, and a query, that are empty


def hard(X):
    """Rows with an empty one and two that are repeated."""
    X = sp.csr_matrix(X)
    order = np.r_[np.arange(X.shape[0] - 2), 3, 4]
    X = X[order]
    X.data[X.indptr[EMPTY] : X.indptr[EMPTY + 1]] = 0
    return X


LONG = hard(zipf_rows(1500, 300, 40, 0)), hard(zipf_rows(20, 300, 40, 1))
SHORT = hard(zipf_rows(3000, 2500, 3, 2)), hard(zipf_rows(20, 2500, 4, 3))
SETS = hard(baskets(6000, 0)), hard(baskets(20, 1))
DENSE = tuple(M[:700, :40].toarray() for M in LONG)
BITS = tuple(np.packbits(M > 0, axis=1) for M in DENSE)
SHARES = (0.12 + np.random.default_rng(0).random((120, 8))), (0.12 + np.random.default_rng(1).random((9, 8)))
CASES = {
    "cosine, long rows": ("cosine", LONG, "postings"),
    "jaccard, long rows": ("jaccard", LONG, "patterns"),
    "weighted_jaccard, long rows": ("weighted_jaccard", LONG, "postings"),
    "euclidean, long rows": ("euclidean", LONG, "postings"),
    "manhattan, long rows": ("manhattan", LONG, "postings"),
    "cosine, short rows": ("cosine", SHORT, "postings"),
    "jaccard, short rows": ("jaccard", SHORT, "patterns"),
    "jaccard, sets": ("jaccard", SETS, "patterns"),
    "euclidean, dense": ("euclidean", DENSE, "products"),
    "cosine, dense": ("cosine", DENSE, "products"),
    "manhattan, dense": ("manhattan", DENSE, "blocks"),
    "wasserstein_1d": ("wasserstein_1d", SHARES, "blocks"),
    "wasserstein_1d, sparse": ("wasserstein_1d", tuple(map(sp.csr_matrix, SHARES)), "blocks"),
    "bit_hamming": ("bit_hamming", BITS, "blocks"),
}
SHARE_ALLOWED = {"one row": 0.0, "1 %": 0.01, "half": 0.5, "all": 1.0, "none": None}


@pytest.fixture(scope="module")
def prepared():
    """Index and distances of each case, made once."""
    made = {}

    def prepare(case):
        if case not in made:
            metric, (X, Q), way = CASES[case]
            index = sn.Index(metric, method="exact").fit(X)
            engine = index._engine
            assert way == ("patterns" if engine.patterns is not None else engine.way)
            made[case] = index, Q, sn.pairwise_distances(Q, X, metric=metric)
        return made[case]

    return prepare


@pytest.fixture(params=["as predicted", "list", "scan"])
def way(request, monkeypatch):
    """Search as the predicted costs say, and by either way whatever they say."""
    if request.param != "as predicted":
        cost = 0.0 if request.param == "list" else 1e9
        monkeypatch.setattr(blockwise, "row_cost", lambda space, values: cost)
    return request.param


def mask_of(n, share, seed=0):
    mask = np.zeros(n, bool)
    if share is not None:
        mask[np.random.default_rng(seed).choice(n, max(round(n * share), 1), replace=False)] = True
    return mask


def check(found, D, may, k):
    """Each query's result is that of the rows it may find, under their own ids."""
    __tracebackhide__ = True
    assert found.indices.shape == (len(D), k)
    for i in range(len(D)):
        rows = np.flatnonzero(may[i])
        ids = found.indices[i]
        assert np.isin(ids[ids >= 0], rows).all()
        place = np.where(ids >= 0, np.searchsorted(rows, ids), -1)
        naive.check_neighbors(place[None], found.distances[i : i + 1], D[i : i + 1, rows], k)


def check_radius(found, D, may, radius):
    """All rows within the radius that may be found, by (distance, id)."""
    __tracebackhide__ = True
    want = may & (np.float32(radius) >= D)
    np.testing.assert_array_equal(np.diff(found.indptr), want.sum(axis=1))
    for i in range(len(D)):
        part = slice(found.indptr[i], found.indptr[i + 1])
        ids, distances = found.indices[part], found.distances[part]
        assert set(ids) == set(np.flatnonzero(want[i]))
        assert (np.lexsort((ids, distances)) == np.arange(len(ids))).all()
        np.testing.assert_allclose(distances, D[i, ids], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("share", SHARE_ALLOWED)
@pytest.mark.parametrize("case", CASES)
def test_allowed_rows_at_every_selectivity(case, share, way, prepared):
    index, Q, D = prepared(case)
    mask = mask_of(D.shape[1], SHARE_ALLOWED[share])
    may = np.broadcast_to(mask, D.shape)
    for k in (1, 10, 64):
        check(index.query(Q, k, allowed=mask), D, may, k)
    for radius in (float(np.quantile(D, 0.02)), float(D.max())):
        radius = np.nextafter(np.float32(radius), np.float32(9e9)) * 1.00001
        check_radius(index.query_radius(Q, radius, allowed=mask), D, may, radius)


@pytest.mark.parametrize("case", CASES)
def test_a_query_finds_rows_of_its_own_label(case, way, prepared):
    index, Q, D = prepared(case)
    rng = np.random.default_rng(1)
    n_queries, n = D.shape
    row_labels, query_labels = rng.integers(0, 6, n) ** 2, rng.integers(0, 7, n_queries) ** 2
    query_labels[:2] = -5, 36  # no row has them
    may = row_labels == query_labels[:, None]
    check(index.query(Q, 10, groups=(row_labels, query_labels)), D, may, 10)
    names = np.array(["c", "cc", "b", "", "a", "longer"])
    classes, asked = names[rng.integers(0, 6, n)], [*"c?", *rng.choice(names, n_queries - 2)]
    mask = mask_of(n, 0.3)
    may = mask & (classes == np.array(asked)[:, None])
    assert not may[1].any()
    check(index.query(Q, 10, allowed=mask, groups=(classes.tolist(), asked)), D, may, 10)
    radius = float(np.quantile(D, 0.3)) * 1.00001
    found = index.query_radius(Q, radius, allowed=np.flatnonzero(mask), groups=(classes, asked))
    check_radius(found, D, may, radius)


def test_ties_are_ordered_by_the_rows_own_ids(way, prepared):
    for case in ("jaccard, long rows", "jaccard, short rows", "jaccard, sets", "bit_hamming"):
        index, Q, D = prepared(case)
        mask = mask_of(D.shape[1], 0.3)
        ids, distances = index.query(Q, 200, allowed=mask)
        want, _ = naive.nearest(D[:, mask], 200)
        np.testing.assert_array_equal(ids, np.where(want >= 0, np.flatnonzero(mask)[want], -1))
        assert (distances[:, 1:] == distances[:, :-1]).any()


def test_rows_that_share_nothing_come_lowest_eligible_id_first(way):
    X = sp.csr_matrix(np.eye(30, dtype=np.float32))
    allowed = [20, 5, 11, 3, 5]
    for metric in ("cosine", "jaccard", "hellinger", "euclidean"):
        index = sn.Index(metric).fit(X)
        assert index.query(X[5], 3, allowed=allowed).indices.tolist() == [[5, 3, 11]]
        assert index.query(X[6], 3, allowed=allowed).indices.tolist() == [[3, 5, 11]]
        assert index.query(X[6], 6, allowed=allowed).indices.tolist() == [[3, 5, 11, 20, -1, -1]]


@pytest.mark.parametrize("case", ["cosine, long rows", "cosine, short rows", "euclidean, dense", "manhattan, dense"])
def test_ids_are_the_same_as_a_mask(case, prepared):
    index, Q, D = prepared(case)
    mask = mask_of(D.shape[1], 0.05)
    want = index.query(Q, 9, allowed=mask)
    ids = np.flatnonzero(mask)
    shuffled = np.random.default_rng(2).permutation(np.r_[ids, ids[:3]])
    for form in (shuffled, shuffled.tolist(), shuffled.astype(np.uint16), mask.tolist()):
        got = index.query(Q, 9, allowed=form)
        np.testing.assert_array_equal(got.indices, want.indices)
        np.testing.assert_array_equal(got.distances, want.distances)
    assert (index.query(Q, 9, allowed=[]).indices == -1).all()


def test_everything_allowed_is_no_filter(prepared):
    for case in CASES:
        index, Q, D = prepared(case)
        n_queries, n = D.shape
        want = index.query(Q, 12)
        for arguments in ({"allowed": np.ones(n, bool)}, {"groups": (["a"] * n, ["a"] * n_queries)}):
            got = index.query(Q, 12, **arguments)
            np.testing.assert_array_equal(got.indices, want.indices)
            np.testing.assert_allclose(got.distances, want.distances, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "metric, form", [("cosine", "sparse"), ("euclidean", "sparse"), ("jaccard", "sparse"), ("euclidean", "dense")]
)
def test_threads_and_batches_change_no_bit(metric, form):
    X, Q = zipf_rows(2000, 200, 15, 8), zipf_rows(300, 200, 15, 9)
    X, Q = (X, Q) if form == "sparse" else (X.toarray(), Q.toarray())
    index = sn.Index(metric).fit(X)
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [1900, 85, 15])[rng.permutation(2000)]  # some listed, some by a scan
    asked = rng.integers(0, 4, 300)
    one, two = (index.query(Q, 8, groups=(labels, asked), n_jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)
    for i in (0, 123, 299):
        alone = index.query(Q[i : i + 1], 8, groups=(labels, asked[i : i + 1]))
        np.testing.assert_array_equal(alone.indices[0], one.indices[i])
        np.testing.assert_array_equal(alone.distances[0], one.distances[i])
    near = [index.query_radius(Q, 0.5, groups=(labels, asked), n_jobs=jobs) for jobs in (1, 2)]
    for a, b in zip(*near, strict=True):
        np.testing.assert_array_equal(a, b)


def test_few_rows_are_listed_and_many_scanned(prepared):
    for case in ("cosine, long rows", "cosine, short rows", "euclidean, dense"):
        index, Q, D = prepared(case)
        engine, n = index._engine, D.shape[1]
        queries = engine.space.read(Q, "Q")
        x, metric = engine.own(queries)
        costs = []
        for share, ways in ((0.0, {"blocks"}), (1.0, {engine.way})):
            filter = make_filter(mask_of(n, share), None, n, len(queries))
            assert {how for _, how, _ in engine._parts(x, metric, filter, 10)} == ways
            costs.append(engine.predict(queries, filter, 10))
        assert 0 < costs[0] < costs[1]
    index, Q, D = prepared("wasserstein_1d")
    engine, n = index._engine, D.shape[1]
    queries = engine.space.read(Q, "Q")
    one, all_ = (engine.predict(queries, make_filter(mask_of(n, share), None, n, len(Q)), 10) for share in (0.0, 1.0))
    assert all_ == pytest.approx(n * one)


def test_the_cases_take_the_ways_that_scans_have(prepared):
    engine = prepared("cosine, long rows")[0]._engine
    assert engine.prunes
    assert not engine.own_few.any()
    index, Q, _ = prepared("cosine, short rows")
    engine = index._engine
    index.query(Q, 10)
    assert engine.own_few.mean() > 0.5
    assert engine._marked  # lists have marks, which a filter must not believe


def test_no_queries():
    index = sn.Index("euclidean").fit(np.eye(3))
    empty = np.zeros((0, 3))
    assert index.query(empty, 2, allowed=[1]).indices.shape == (0, 2)
    assert index.query(empty, 2, groups=([1, 2, 3], [])).indices.shape == (0, 2)
    assert index.query_radius(empty, 0.5, allowed=[1]).indptr.tolist() == [0]
    assert index.query_radius(np.eye(3), 0.5, allowed=[]).indptr.tolist() == [0, 0, 0, 0]


LABELS = {
    "ints": ([3, 1, 3], [3, 1, 9], [[1, 0, 1], [0, 1, 0], [0, 0, 0]]),
    "text": (["x", "xy", "x"], np.array(["x", "xy", "a longer one"]), [[1, 0, 1], [0, 1, 0], [0, 0, 0]]),
    "bytes": ([b"x", b"y", b"x"], [b"x"], [[1, 0, 1]]),
    "bools": ([True, False, True], [False], [[0, 1, 0]]),
    "ints and floats": ([1, 2, 3], [2.0, 2.5], [[0, 1, 0], [0, 0, 0]]),
    "ints and bools": ([1, 0, 2], [True], [[1, 0, 0]]),
    "large integers": (
        np.array([2**63 - 1, 2**63 - 2, 5], np.int64),
        np.array([2**63 - 2, 5], np.uint64),
        [[0, 1, 0], [0, 0, 1]],
    ),
    "large ids in floats": (np.array([2**53, 2**53 + 1, 0]), np.array([2.0**53]), [[1, 0, 0]]),
    "NaN": ([np.nan, 1.0, 2.0], [np.nan, 2.0], [[0, 0, 0], [0, 0, 1]]),
    "NaN among objects": (
        np.array([np.nan, "a", "b"], object),
        np.array([np.nan, "b"], object),
        [[0, 0, 0], [0, 0, 1]],
    ),
    "tuples": ([(1, 2), (1, 3), (1, 2)], [(1, 2), (2, 1)], [[1, 0, 1], [0, 0, 0]]),
    "numbers and text in one": ([1, "1", None], ["1", 1, None], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "dates": (
        np.array(["2020-01-01", "2021-01-01", "NaT"], "M8[D]"),
        np.array(["2021-01-01", "NaT"], "M8[D]"),
        [[0, 1, 0], [0, 0, 0]],
    ),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_any_kind(case):
    rows, queries, want = LABELS[case]
    labels, wanted = make_filter(None, (rows, queries), len(rows), len(queries))
    assert labels.dtype == wanted.dtype == np.int32
    assert (wanted >= 0).all()
    np.testing.assert_array_equal(labels == wanted[:, None], np.array(want, bool))


def test_no_filter_is_none():
    assert make_filter(None, None, 3, 2) is None
    assert NO_FILTER.labels.size == NO_FILTER.wanted.size == 0


N = 50
X = sp.random(N, 20, 0.3, format="csr", random_state=0, dtype=np.float32)
ERRORS = {
    "mask length": ({"allowed": np.ones(3, bool)}, r"allowed has 3 values, but the index has 50 rows"),
    "floats": ({"allowed": [1.0, 2.0]}, r"allowed must be a boolean mask.*got float64 of shape \(2,\)"),
    "text": ({"allowed": ["a"]}, r"allowed must be a boolean mask.*<U1"),
    "dimensions": ({"allowed": [[1, 2]]}, r"allowed must be.*in one dimension, got int64 of shape \(1, 2\)"),
    "mask of two dimensions": ({"allowed": np.ones((1, N), bool)}, r"got bool of shape \(1, 50\)"),
    "one id": ({"allowed": 3}, r"allowed must be.*of shape \(\)"),
    "a set": ({"allowed": {1, 2}}, r"allowed must be.*got object"),
    "id too large": ({"allowed": [4, 49, 50]}, r"allowed has 50 at place 2: ids of rows go from 0 to 49"),
    "negative id": ({"allowed": [4, -1]}, r"allowed has -1 at place 1: ids of rows go from 0 to 49"),
    "no pair": ({"groups": [1, 2, 3]}, r"groups must be a pair.*got 3 of them"),
    "an array": ({"groups": np.ones((2, N))}, r"groups must be a pair.*got ndarray"),
    "row labels": (
        {"groups": ([1, 2], [1, 2])},
        r"groups: the labels of the rows have shape \(2,\), but there are 50 rows",
    ),
    "query labels": (
        {"groups": (np.ones(N), [1, 2, 3])},
        r"groups: the labels of the queries have shape \(3,\), but there are 2 queries",
    ),
    "label dimensions": ({"groups": (np.ones((N, 1)), [1, 2])}, r"labels of the rows have shape \(50, 1\)"),
    "unlike labels": (
        {"groups": (np.ones(N, int), ["1", "2"])},
        r"labels of the rows are int64 and of the queries <U1, which are never equal: give both as",
    ),
    "labels that cannot be hashed": (
        {"groups": (np.ones(N), np.array([{}, {}], object))},
        r"groups: a label cannot be compared \(unhashable type: 'dict'\)",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_messages(case):
    arguments, message = ERRORS[case]
    index = sn.Index("cosine").fit(X)
    with pytest.raises(ValueError, match=message):
        index.query(X[:2], 3, **arguments)
    with pytest.raises(ValueError, match=message):
        index.query_radius(X[:2], 0.5, **arguments)
