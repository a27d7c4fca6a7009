"""Exact search: the ways it takes agree with each other and with a sorted matrix of distances."""

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import postings, termwise
from sparsenn.rows import as_rows
from tests import naive

# one of each kind: bound by norms, by masses, not at all; disjoint rows the farthest, or not
KINDS = ["cosine", "jaccard", "euclidean", "manhattan", "symmetric_kl", "hellinger", "dot", "chebyshev", "correlation"]


def zipf_rows(n, m, mean, seed, signed=False, weights=True):
    """Rows whose columns are as uneven as those of text."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, m + 1)
    share /= share.sum()
    lengths = rng.poisson(mean, n)
    columns = rng.choice(m, lengths.sum(), p=share)
    rows = np.repeat(np.arange(n), lengths)
    M = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(n, m))
    M.sum_duplicates()
    if weights:
        idf = np.log(n / np.maximum(np.bincount(M.indices, minlength=m), 1)).astype(np.float32) + 1
        M.data = (1 + np.log(M.data)) * idf[M.indices]
    else:
        M.data[:] = 1
    if signed:
        M.data *= rng.choice([-1.0, 1.0], M.nnz).astype(np.float32)
    return M[:, rng.permutation(m)].tocsr()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_query_graph_and_radius_agree_with_all_distances(name, signed):
    if signed and not sn.metrics.get(name).signed:
        pytest.skip("takes no negative values")
    X, Q = zipf_rows(700, 150, 20, 0, signed), zipf_rows(25, 150, 20, 1, signed)
    X = X[np.r_[np.arange(5), 17, np.arange(6, 700)]]  # a repeated row
    X.data[X.indptr[40] : X.indptr[41]] = 0
    Q.data[Q.indptr[3] : Q.indptr[4]] = 0
    D = sn.pairwise_distances(Q, X, metric=name)
    index = sn.Index(metric=name, n_neighbors=7, method="exact").fit(X)
    naive.check_neighbors(*index.query(Q, k=12), D, 12)
    own = sn.pairwise_distances(X, metric=name)
    naive.check_neighbors(*index.neighbor_graph, own, 7, skip_self=True)
    radius = float(np.sort(D, axis=1)[4, 30])
    found = index.query_radius(Q, radius)
    for i in range(Q.shape[0]):
        part = slice(found.indptr[i], found.indptr[i + 1])
        want = np.flatnonzero(D[i] <= np.float32(radius))
        assert set(found.indices[part]) == set(want)
        order = np.lexsort((found.indices[part], found.distances[part]))
        assert (order == np.arange(len(want))).all()
        np.testing.assert_allclose(found.distances[part], D[i, found.indices[part]], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "jaccard", "hellinger", "euclidean", "tsss", "canberra", "jensen_shannon"])
def test_leaving_out_common_terms_changes_nothing(name, monkeypatch):
    X = zipf_rows(3000, 400, 40, 2)
    Q = zipf_rows(30, 400, 40, 3)
    index = sn.Index(metric=name).fit(X)
    assert len(index._engine._postings.cuts) > 3
    pruned, near = index.query(Q, k=10), index.query_radius(Q, 0.6)
    monkeypatch.setattr(postings, "WORTH_TIERS", np.inf)
    plain = sn.Index(metric=name).fit(X)
    assert len(plain._engine._postings.cuts) == 1
    np.testing.assert_array_equal(pruned.distances, plain.query(Q, k=10).distances)
    np.testing.assert_array_equal(pruned.indices, plain.query(Q, k=10).indices)
    np.testing.assert_array_equal(near.indices, plain.query_radius(Q, 0.6).indices)


SETS = ["jaccard", "dice", "overlap", "containment", "kulsinski", "russellrao", "sokalsneath", "yule"]
BOUNDED = ["cosine", "true_angular", "dot", "hellinger", "weighted_jaccard", "braycurtis", "jensen_shannon", *SETS]
TVERSKY = [{"alpha": a, "beta": b} for a, b in [(0, 0), (3, 0), (10, 1), (0, 5), (0.8, 0.3)]]


@pytest.mark.parametrize(("name", "params"), [*((n, None) for n in BOUNDED), *(("tversky", p) for p in TVERSKY)])
def test_short_rows_that_meet_few_others(name, params):
    X = zipf_rows(4000, 3000, 3, 11)
    X = sp.vstack([X, X[:900:2], 2 * X[100:104], zipf_rows(40, 3000, 25, 12)]).tocsr()
    Q = sp.vstack([X[:40:3], zipf_rows(15, 3000, 4, 13)]).tocsr()
    index = sn.Index(metric=name, metric_params=params, n_neighbors=15).fit(X)
    lengths = np.bincount(X.indices, minlength=X.shape[1])
    work = np.add.reduceat(lengths[Q.indices], Q.indptr[:-1][np.diff(Q.indptr) > 0])
    assert (work < termwise.FEW * X.shape[0]).mean() > 0.5
    assert (work > 200).any()
    D = sn.pairwise_distances(Q, X, metric=name, metric_params=params)
    for k in (1, 2, 7, 63, 64, 70):
        found = index.query(Q, k)
        naive.check_neighbors(*found, D, k)
        np.testing.assert_array_equal(index.query(Q[[0, 0]], k).indices, found.indices[[0, 0]])
    for radius in np.quantile(D[D.max() > D], [0.0, 0.01, 0.5]):
        found, want = index.query_radius(Q, radius), np.float32(radius) >= D
        np.testing.assert_array_equal(np.diff(found.indptr), want.sum(axis=1))
        assert want[np.repeat(np.arange(Q.shape[0]), np.diff(found.indptr)), found.indices].all()
    part = np.arange(60)
    graph = index.neighbor_graph
    own = sn.pairwise_distances(X[part], X, metric=name, metric_params=params)
    naive.check_neighbors(graph.indices[part], graph.distances[part], own, 15, skip_self=True)


def baskets(n, seed):
    """Sets with a few columns that most of them have; some are empty."""
    common = np.random.default_rng(seed).random((n, 5)) < [0.7, 0.6, 0.5, 0.3, 0.2]
    rare = zipf_rows(n, 4000, 4, seed, weights=False)
    return sp.hstack([rare[:, :2000], sp.csr_matrix(common.astype(np.float32)), rare[:, 2000:]]).tocsr()


@pytest.mark.parametrize(
    ("name", "params"),
    [*((n, None) for n in [*SETS, "matching", "rogerstanimoto"]), *(("tversky", p) for p in TVERSKY)],
)
def test_sets_grouped_by_their_commonest_columns(name, params):
    X = sp.vstack([baskets(6000, 0), zipf_rows(3, 4005, 300, 2, weights=False)]).tocsr()
    Q = sp.vstack([X[:60:7], baskets(25, 1), X[-1], sp.csr_matrix((1, X.shape[1]), dtype=np.float32)]).tocsr()
    index = sn.Index(metric=name, metric_params=params, n_neighbors=15, method="exact").fit(X)
    assert index._engine.patterns is not None
    D = sn.pairwise_distances(Q, X, metric=name, metric_params=params)
    for k in (1, 2, 15, 64, 7000):
        naive.check_neighbors(*index.query(Q, k), D, k)
    for radius in [-0.1, *np.quantile(D[D.max() > D], [0.0, 0.01, 0.5]), 5.0]:
        found, want = index.query_radius(Q, radius), np.float32(radius) >= D
        np.testing.assert_array_equal(np.diff(found.indptr), want.sum(axis=1))
        assert want[np.repeat(np.arange(Q.shape[0]), np.diff(found.indptr)), found.indices].all()
    part = np.arange(60)
    own = sn.pairwise_distances(X[part], X, metric=name, metric_params=params)
    graph = index.neighbor_graph
    naive.check_neighbors(graph.indices[part], graph.distances[part], own, 15, skip_self=True)


def test_rows_that_differ_less_than_float32_shows_are_all_found():
    X = np.zeros((20, 21), np.float32)
    X[:4, 0] = 1
    X[range(20), range(1, 21)] = [2e-4] * 3 + [1e-4] + [1] * 16
    X = sp.csr_matrix(X)
    query = sp.csr_matrix(([1.0], ([0], [0])), shape=(1, 21))
    for name in ("cosine", "true_angular"):
        assert sn.exact_neighbors(X, query, 2, metric=name).indices.tolist() == [[3, 0]]
        assert sn.Index(name, n_neighbors=2).fit(X).neighbor_graph.indices[0].tolist() == [3, 1]


def test_tversky_of_a_heavy_alpha_finds_the_row_itself():
    X = np.zeros((100, 110), np.float32)
    X[0, :5] = 1
    X[range(1, 100), range(5, 104)] = 1
    index = sn.Index("tversky", {"alpha": 10, "beta": 1}).fit(sp.csr_matrix(X))
    assert index.query_radius(X[:1], 0.5).indices.tolist() == [0]


def test_a_copy_met_after_many_other_rows_is_found():
    X = np.zeros((12_000, 3000), np.float32)
    X[:, 100:] = 0
    X[:501, :5] = 1
    for i in range(500):
        X[i, 100 + 3 * i : 103 + 3 * i] = 1
    X[501:, 2000:] = np.eye(1000)[np.arange(11_499) % 1000]
    X = sp.csr_matrix(X)
    for metric, params in [("tversky", {"alpha": 10, "beta": 1}), ("jaccard", None), ("cosine", None), ("dice", None)]:
        assert sn.exact_neighbors(X, X[500], 1, metric=metric, metric_params=params).indices.tolist() == [[500]]


def test_rows_that_share_nothing_come_at_their_true_distance_lowest_id_first():
    X = sp.csr_matrix(np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32))
    q = np.array([[1, 0, 0, 0]], np.float32)
    for name in ("cosine", "jaccard", "hellinger", "jensen_shannon", "weighted_jaccard", "dice", "braycurtis"):
        indices, distances = sn.exact_neighbors(X, q, k=5, metric=name)
        assert indices.tolist() == [[1, 0, 2, 3, 4]], name
        assert len(set(distances[0, 1:].tolist())) == 1, name
    # for euclidean the empty row is nearer than rows that share nothing
    assert sn.exact_neighbors(X, q, k=5, metric="euclidean").indices.tolist() == [[1, 4, 2, 3, 0]]


def test_dense_and_sparse_searches_agree():
    X, Q = zipf_rows(400, 60, 12, 4), zipf_rows(20, 60, 12, 5)
    for name in ("cosine", "euclidean", "dot", "correlation", "manhattan"):
        a, b = sn.exact_neighbors(X, Q, 9, metric=name), sn.exact_neighbors(X.toarray(), Q.toarray(), 9, metric=name)
        np.testing.assert_allclose(a.distances, b.distances, rtol=1e-5, atol=1e-6)
        mixed = sn.Index(metric=name).fit(X).query(Q.toarray(), 9)
        np.testing.assert_array_equal(a.indices, mixed.indices)
        mixed = sn.Index(metric=name).fit(X.toarray()).query(Q, 9)
        np.testing.assert_array_equal(b.indices, mixed.indices)


def test_dense_products_keep_the_digits_of_near_duplicates():
    rng = np.random.default_rng(0)
    X = rng.normal(1000, 1, (300, 40)).astype(np.float32)
    X[7] = X[3]
    X[7, 5] = np.nextafter(X[7, 5], np.float32(0))
    D = naive.distances("euclidean", X[:20], X)
    naive.check_neighbors(*sn.exact_neighbors(X, X[:20], 4, metric="euclidean"), D, 4)


@pytest.mark.parametrize("name", ["cosine", "jaccard", "euclidean", "chebyshev"])
def test_more_neighbours_than_rows(name):
    X = zipf_rows(6, 30, 8, 6)
    indices, distances = sn.exact_neighbors(X, X[:2], k=10, metric=name)
    assert (indices[:, 6:] == -1).all()
    assert np.isinf(distances[:, 6:]).all()
    assert (np.sort(indices[:, :6], axis=1) == np.arange(6)).all()
    graph = sn.Index(metric=name, n_neighbors=8).fit(X).neighbor_graph
    assert (graph.indices[:, 5:] == -1).all()


@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("name", ["cosine", "jaccard", "euclidean", "hellinger", "chebyshev", "jensen_shannon"])
def test_degenerate_data(name, form):
    rows = {
        "all equal": np.tile([1.0, 0, 2, 0], (40, 1)),
        "all empty": np.zeros((40, 4)),
        "one row": np.ones((1, 4)),
        "one column each": np.eye(30),
        "a column in every row": np.concatenate([np.ones((40, 1)), np.eye(40)], axis=1),
        "no columns": np.zeros((5, 0)),
    }
    for X in rows.values():
        X = X.astype(np.float32)
        D = sn.pairwise_distances(form(X), metric=name)
        naive.check_neighbors(*sn.Index(metric=name, n_neighbors=5).fit(form(X)).neighbor_graph, D, 5, skip_self=True)


def test_a_row_of_70000_nonzeros_is_searched():
    n = 70_000
    rng = np.random.default_rng(0)
    dense = (rng.random((6, n)) < [[1.0], [1.0], [0.5], [0.5], [0.01], [0.0]]).astype(np.float32)
    X = sp.csr_matrix(dense)
    for name in ("cosine", "jaccard", "euclidean"):
        D = naive.distances(name, dense, dense)
        naive.check_neighbors(*sn.exact_neighbors(X, X, k=4, metric=name), D, 4, rtol=1e-5)


def test_answers_do_not_depend_on_threads_or_batch():
    X, Q = zipf_rows(900, 200, 15, 8), zipf_rows(300, 200, 15, 9)
    for name in ("cosine", "jaccard", "euclidean", "chebyshev"):
        index = sn.Index(metric=name).fit(X)
        one, two = index.query(Q, 8, n_jobs=1), index.query(Q, 8, n_jobs=2)
        np.testing.assert_array_equal(one.indices, two.indices)
        np.testing.assert_array_equal(one.distances, two.distances)
        alone = index.query(Q[123], 8)
        np.testing.assert_array_equal(alone.distances[0], one.distances[123])
        np.testing.assert_array_equal(alone.indices[0], one.indices[123])
    dense = sn.Index(metric="cosine").fit(X.toarray())
    np.testing.assert_array_equal(
        dense.query(Q.toarray(), 8, n_jobs=2).distances, dense.query(Q.toarray(), 8, n_jobs=1).distances
    )


def test_queries_from_several_threads_at_once():
    from concurrent.futures import ThreadPoolExecutor

    X, Q = zipf_rows(900, 200, 15, 8), zipf_rows(50, 200, 15, 9)
    index = sn.Index(metric="cosine", n_jobs=1).fit(X)
    want = index.query(Q, 8)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: index.query(Q, 8), range(40)):
            np.testing.assert_array_equal(got.indices, want.indices)


def test_asymmetric_metrics_measure_from_the_query():
    big, small = np.array([[1.0, 1, 1, 1]]), np.array([[1.0, 0, 0, 0]])
    for form in (np.asarray, sp.csr_matrix):
        assert sn.pairwise_distances(form(big), form(small), metric="containment")[0, 0] == 0.75
        assert sn.pairwise_distances(form(small), form(big), metric="containment")[0, 0] == 0.0
        assert sn.exact_neighbors(form(small), form(big), 1, metric="containment").distances[0, 0] == 0.75


def test_no_queries():
    index = sn.Index().fit(np.eye(3))
    assert index.query(np.zeros((0, 3)), k=2).indices.shape == (0, 2)
    found = index.query_radius(sp.csr_matrix((0, 3)), 0.5)
    assert found.indptr.tolist() == [0]
    assert sn.pairwise_distances(np.zeros((0, 3)), np.eye(3)).shape == (0, 3)


def test_an_empty_query_touches_no_list():
    X = zipf_rows(100, 30, 5, 1)
    indices, distances = sn.exact_neighbors(X, sp.csr_matrix((1, 30)), k=3, metric="cosine")
    empty = np.flatnonzero(np.diff(X.indptr) == 0)[:3]
    assert indices[0, : len(empty)].tolist() == empty.tolist()
    assert (distances[0, len(empty) :] == 1).all()


@pytest.mark.parametrize("n_columns", [0, 1, 3, 400])
def test_lists_do_not_depend_on_threads(n_columns, monkeypatch):

    monkeypatch.setattr(postings, "WORTH_PART", 1)
    rng = np.random.default_rng(n_columns)
    matrix = sp.csr_matrix((rng.random((50, n_columns)) < 0.2) * rng.integers(1, 9, (50, n_columns)), dtype=np.float32)
    for some in (matrix, matrix[:1], matrix[:0]):
        rows = as_rows(some)
        rank = postings.rank_columns(rows)
        columns = np.argsort(rank)
        for jobs in (1, 2, 64):
            lists = postings.invert(rows, n_columns, rank, jobs)
            want = some.tocsc()[:, columns]
            np.testing.assert_array_equal(lists.indptr, want.indptr)
            np.testing.assert_array_equal(lists.ids, want.indices)
            np.testing.assert_array_equal(lists.values, want.data)
            back = postings.renumber_in_place(rows.copy(), lists, jobs)
            np.testing.assert_array_equal(back.indices, want.tocsr().indices)
            np.testing.assert_array_equal(back.data, want.tocsr().data)
