"""Cases that once gave a wrong answer: what went wrong, and what must hold."""

import threading

import numba
import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn.rows import as_rows
from tests import naive


def test_duplicates_behind_rounding_are_found():
    """Refined to 0, they set a limit that their unrefined surrogates, off by rounding, did not meet."""
    rng = np.random.default_rng(0)
    common = sp.csr_matrix(rng.random((1000, 20)).astype(np.float32) * 1e-5)
    X = sp.hstack([common, sp.random(1000, 5000, 0.01, random_state=1, dtype=np.float32)]).tocsr()
    X = sp.vstack([X, *[X[5]] * 60]).tocsr()
    for name in ("euclidean", "manhattan", "sqeuclidean", "canberra"):
        indices, distances = sn.Index(metric=name).fit(X).query(X[5], k=10)
        assert indices[0].tolist() == [5, *range(1000, 1009)], name
        assert (distances == 0).all(), name


def test_a_large_constant_column_does_not_hide_rows_from_a_radius():
    rng = np.random.default_rng(0)
    X = sp.hstack([np.full((300, 1), 1e7 / 3), sp.random(300, 40, 0.2, random_state=1)]).tocsr().astype(np.float32)
    D = naive.distances("euclidean", X[:20], X)
    radius = float(np.float32(D[rng.integers(20), 100]))
    found = sn.Index(metric="euclidean").fit(X).query_radius(X[:20], radius)
    assert (np.diff(found.indptr) == (np.float32(D) <= np.float32(radius)).sum(axis=1)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-22, 1e-18, 1e17])
@pytest.mark.parametrize("name", ["cosine", "euclidean"])
def test_dense_products_beyond_float32(name, scale):
    X = (np.random.default_rng(0).normal(size=(80, 10)) * scale).astype(np.float32)
    D = naive.distances(name, X, X)
    got = sn.exact_neighbors(X, X, 5, metric=name)
    naive.check_neighbors(*got, D, 5, atol=1e-6 * (scale if name == "euclidean" else 1))
    usual = sn.Index(metric=name).fit(np.random.default_rng(1).normal(size=(80, 10)))
    assert (usual.query(X, 5).indices >= 0).all()


def test_a_users_columns_are_signed():
    @numba.njit
    def first_columns(ind1, data1, ind2, data2):
        return abs(ind1[0] - ind2[0])

    D = sn.pairwise_distances(sp.identity(5, format="csr"), metric=first_columns)
    np.testing.assert_array_equal(D, np.abs(np.subtract.outer(np.arange(5), np.arange(5))))


def test_a_users_nan_comes_last_with_its_id():
    @numba.njit
    def undefined(x, y):
        return np.nan if y[0] > 1 else abs(x[0] - y[0])

    indices, distances = sn.exact_neighbors(np.array([[2.0], [1.0], [0.0]]), np.array([[1.0]]), 3, metric=undefined)
    assert indices.tolist() == [[1, 2, 0]]
    assert distances.tolist() == [[0, 1, np.inf]]


def test_rows_of_our_own_are_not_written_over():
    rows = as_rows(sp.random(50, 30, 0.2, format="csr", random_state=0))
    before = rows.copy()
    sn.exact_neighbors(rows, rows, 3)
    np.testing.assert_array_equal(rows.indices, before.indices)
    np.testing.assert_array_equal(rows.data, before.data)


def test_values_that_a_transform_makes_zero_share_nothing():
    X = sp.csr_matrix(np.array([[1e-38, 1e10, 0], [1e-38, 2e10, 0], *[[0, 0, 1]] * 61], np.float32))
    indices, _ = sn.exact_neighbors(X, np.array([[1.0, 0, 0]]), 63, metric="jensen_shannon")
    assert sorted(indices[0].tolist()) == list(range(63))


def test_minkowski_refuses_powers_that_overflow():
    X = np.array([[0.0, 3000], [1, 2]])
    with pytest.raises(ValueError, match=r"minkowski: p=100 is too large for values up to 3000: rescale"):
        sn.pairwise_distances(X, metric="minkowski", metric_params={"p": 100})
    got = sn.pairwise_distances(X / 3000, metric="minkowski", metric_params={"p": 100})
    np.testing.assert_allclose(got[0, 1], 2998 / 3000, rtol=1e-5)


@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("name", ["cosine", "hellinger", "true_angular", "correlation"])
def test_long_equal_rows_are_at_0_and_in_order(name, form):
    v = np.random.default_rng(0).random(5000).astype(np.float32) + 0.1
    v[::50] = 0
    indices, distances = sn.exact_neighbors(form(np.stack([v, 4 * v, v])), form(v[None]), 3, metric=name)
    assert indices.tolist() == [[0, 1, 2]]
    assert (distances <= 2e-7).all()


@pytest.mark.parametrize("name", ["hamming", "matching", "russellrao", "kulsinski", "rogerstanimoto", "sokalsneath"])
def test_no_columns(name):
    for X in (np.zeros((3, 0)), sp.csr_matrix((3, 0))):
        assert (sn.exact_neighbors(X, k=2, metric=name).indices >= 0).all()


def test_correlation_of_rows_far_from_0():
    X = np.random.default_rng(0).normal(1e6, 5, (20, 50)).astype(np.float32)
    np.testing.assert_allclose(
        sn.pairwise_distances(X, metric="correlation"), naive.distances("correlation", X, X), atol=1e-6
    )
    assert sn.pairwise_distances(sp.csr_matrix(X), metric="correlation")[0, 1] == pytest.approx(
        naive.distances("correlation", X[:1], X[1:2])[0, 0], abs=1e-6
    )


def test_dense_queries_from_several_threads_leave_blas_as_it_was():
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    X = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    index = sn.Index(n_jobs=1).fit(X)
    want, before, wrong = index.query(X[:20], 3), threads(), []

    def ask():
        answers = [index.query(X[:20], 3).indices for _ in range(100)]
        wrong.extend(a for a in answers if not np.array_equal(a, want.indices))

    workers = [threading.Thread(target=ask) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert threads() == before


def test_data_shorter_than_its_columns_is_refused():
    M = sp.identity(4, format="csr")
    M.data = M.data[:1]
    with pytest.raises(ValueError, match="not a valid CSR matrix"):
        sn.Index().fit(M)


def test_texts_and_masked_arrays_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"turn texts into rows first.*TfidfVectorizer"):
        sn.Index().fit(["hello", "world"])
    with pytest.raises(ValueError, match=r"masked array: fill the masked values first"):
        sn.Index().fit(np.ma.masked_array(np.eye(2), mask=np.eye(2)))


def test_more_neighbours_than_a_block_with_ties_across_it():
    X = sp.csr_matrix(np.ones((1100, 3), np.float32))
    for name in ("cosine", "jaccard", "euclidean", "chebyshev"):
        for form in (X, X.toarray()):
            indices, _ = sn.exact_neighbors(form, form[:1], k=1000, metric=name)
            assert indices[0].tolist() == list(range(1000)), name


def test_no_negative_zeros():
    found = sn.Index(metric="dot").fit(sp.identity(3, format="csr")).query_radius(np.array([[0.0, 0, 1]]), 0)
    assert not np.signbit(found.distances[found.distances == 0]).any()
