"""Every metric of the registry against its reference: sparse and dense, pairs and searches, easy and hard rows."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from tests import naive

N_FEATURES = 24
SPECIAL = {"haversine", "bit_hamming", "bit_jaccard"}
NAMES = [name for name in sn.metrics.names() if name not in SPECIAL]


def params_of(name, n_features):
    """Parameters for a test, of the right width."""
    rng = np.random.default_rng(7)
    record = sn.metrics.get(name)
    params = dict(record.example)
    if "cost" in record.parameters:
        positions = rng.normal(size=(n_features, 2))
        params["cost"] = np.sqrt(((positions[:, None] - positions[None]) ** 2).sum(-1))
    if name == "seuclidean":
        params["V"] = rng.uniform(0.5, 2, n_features)
    if name == "mahalanobis":
        A = rng.normal(size=(n_features, n_features))
        params["VI"] = A @ A.T / n_features + np.eye(n_features)
    return params


def random_rows(n, m, density=0.25, seed=0, signed=False):
    M = sp.random(n, m, density, format="csr", random_state=seed, dtype=np.float32)
    M.data = np.round(M.data * 8 + 0.5).astype(np.float32) / 2  # ties, and values float32 holds exactly
    if signed:
        M.data *= np.random.default_rng(seed).choice([-1, 1], M.nnz).astype(np.float32)
    return M.tocsr()


def hard_rows(m):
    """Rows that metrics fall over: empty, of one column, equal, nearly equal, disjoint, full."""
    rng = np.random.default_rng(5)
    base = np.zeros(m)
    base[2:9] = rng.integers(1, 9, 7)
    nearly = base.copy()
    nearly[4] *= 1 + 2.0**-20
    other = np.zeros(m)
    other[12:17] = 3
    one, same_one = np.zeros(m), np.zeros(m)
    one[3], same_one[3] = 2, 5
    far = np.zeros(m)
    far[m - 1] = 1
    rows = [np.zeros(m), base, base, nearly, base * 4, other, one, same_one, far, np.ones(m), np.zeros(m), base + 1]
    return sp.csr_matrix(np.array(rows, dtype=np.float32))


def check(name, X, Y, params, atol=2e-6, rtol=2e-5):
    """sparse == dense == reference, for pairs and for the nearest."""
    want = naive.distances(name, X, Y, **params)
    for form in (sp.csr_matrix, lambda M: M.toarray()):
        got = sn.pairwise_distances(form(X), form(Y), metric=name, metric_params=params)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=atol, rtol=rtol)
        indices, distances = sn.exact_neighbors(form(Y), form(X), k=5, metric=name, metric_params=params)
        naive.check_neighbors(indices, distances, want, 5, atol=atol, rtol=rtol)
    return want


@pytest.mark.parametrize("name", NAMES)
def test_random_rows(name):
    signed = sn.metrics.get(name).signed
    X, Y = random_rows(9, N_FEATURES, seed=1, signed=signed), random_rows(60, N_FEATURES, seed=2, signed=signed)
    check(name, X, Y, params_of(name, N_FEATURES))


@pytest.mark.parametrize("name", NAMES)
def test_hard_rows(name):
    X = hard_rows(N_FEATURES)
    # the references work on sums of squares: their own rounding shows where the distance is nearly 0
    check(name, X, X, params_of(name, N_FEATURES), atol=1e-3 if name in ROOTS_OF_DIFFERENCES else 2e-6)


# distances that grow as the square root of a difference: float64's rounding of it is seen as 1e-8
ROOTS_OF_DIFFERENCES = {"hellinger", "jensen_shannon", "true_angular", "sinkhorn", "tsss"}


@pytest.mark.parametrize("name", NAMES)
def test_equal_rows_are_at_no_distance_and_nearly_equal_ones_not_far(name):
    if name in {"russellrao", "kulsinski", "dot", "tsss", "sinkhorn"}:
        pytest.skip("not 0 for equal rows by its definition, or by rounding (tsss: a product with ‖x−y‖)")
    X = hard_rows(N_FEATURES)[[1, 2, 1 if name == "hamming" else 3]]  # hamming asks for equality
    for form in (X, X.toarray()):
        D = sn.pairwise_distances(form, metric=name, metric_params=params_of(name, N_FEATURES))
        assert D[0, 1] <= 2e-8
        assert D[0, 2] <= 1e-3


@pytest.mark.parametrize("name", ["euclidean", "sqeuclidean", "manhattan", "minkowski", "canberra", "chi_square"])
def test_near_duplicates_keep_their_digits(name):
    rng = np.random.default_rng(0)
    x = rng.uniform(100, 200, 500).astype(np.float32)
    y = x.copy()
    y[77] = np.nextafter(y[77], np.float32(1e9))
    want = naive.distances(name, x[None], y[None], **params_of(name, 500))
    for form in (np.asarray, sp.csr_matrix):
        got = sn.pairwise_distances(form(x[None]), form(y[None]), metric=name, metric_params=params_of(name, 500))
        np.testing.assert_allclose(got, want, rtol=1e-5)
        near = sn.exact_neighbors(form(y[None]), form(x[None]), k=1, metric=name, metric_params=params_of(name, 500))
        np.testing.assert_allclose(near.distances, want, rtol=1e-5)


LONG = 70_000


@pytest.mark.parametrize(
    "name", [n for n in NAMES if "cost" not in sn.metrics.get(n).parameters and n != "mahalanobis"]
)
def test_rows_of_70000_nonzeros(name):
    rng = np.random.default_rng(0)
    full = rng.integers(1, 5, (2, LONG)).astype(np.float32)
    half = full[0] * (np.arange(LONG) % 2)
    X = sp.csr_matrix(np.stack([full[0], full[1], half, np.zeros(LONG, np.float32)]))
    params = {"V": np.ones(LONG)} if name == "seuclidean" else params_of(name, 3)
    want = naive.distances(name, X[:1], X, **params)
    got = sn.pairwise_distances(X[:1], X, metric=name, metric_params=params)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3 if name == "tsss" else 2e-6)


@pytest.mark.parametrize("name", ["jaccard", "cosine", "euclidean", "hamming", "wasserstein_1d", "spearman"])
def test_stored_zeros_int64_and_read_only_arrays_change_nothing(name):
    X = random_rows(20, N_FEATURES, seed=3)
    odd = X.copy()
    odd.indptr = X.indptr.astype(np.int64)
    odd.indptr[-1] += 9
    odd.indices = np.r_[X.indices, np.arange(9)].astype(np.int64)
    odd.data = np.r_[X.data, np.zeros(9, np.float32)]
    for array in (odd.data, odd.indices, odd.indptr):
        array.flags.writeable = False
    want = sn.pairwise_distances(X, metric=name)
    np.testing.assert_array_equal(sn.pairwise_distances(odd, metric=name), want)
    np.testing.assert_array_equal(
        sn.exact_neighbors(odd, k=4, metric=name)[0], sn.exact_neighbors(X, k=4, metric=name)[0]
    )


def test_haversine():
    rng = np.random.default_rng(0)
    X = np.stack([rng.uniform(-1.5, 1.5, 20), rng.uniform(-3.1, 3.1, 20)], axis=1)
    want = naive.distances("haversine", X, X)
    np.testing.assert_allclose(sn.pairwise_distances(X, metric="haversine"), want, atol=1e-6)
    naive.check_neighbors(*sn.exact_neighbors(X, X, k=3, metric="haversine"), want, 3)
    with pytest.raises(ValueError, match=r"haversine takes dense rows of 2 columns, got csr"):
        sn.pairwise_distances(sp.csr_matrix(X), metric="haversine")
    with pytest.raises(ValueError, match=r"2 columns, got 3 columns"):
        sn.pairwise_distances(np.ones((2, 3)), metric="haversine")


@pytest.mark.parametrize("n_bits", [8, 24, 32, 72])
@pytest.mark.parametrize("name", ["bit_hamming", "bit_jaccard"])
def test_bit_packed_rows(name, n_bits):
    bits = np.random.default_rng(0).integers(0, 2, (12, n_bits)).astype(np.uint8)
    bits[3] = 0
    bits[5] = 0
    packed = np.packbits(bits, axis=1)
    boolean = {"bit_hamming": "hamming", "bit_jaccard": "jaccard"}[name]
    want = naive.distances(boolean, bits, bits)
    np.testing.assert_allclose(sn.pairwise_distances(packed, metric=name), want, atol=1e-6)
    naive.check_neighbors(*sn.exact_neighbors(packed, packed, k=4, metric=name), want, 4)
    with pytest.raises(ValueError, match="uint8, got float64: numpy.packbits"):
        sn.pairwise_distances(bits.astype(float), metric=name)


@pytest.mark.parametrize("name", [n for n in NAMES if not sn.metrics.get(n).signed])
def test_negative_values_are_refused_with_their_place(name):
    X = random_rows(4, N_FEATURES)
    bad = X.toarray()
    bad[2, 7] = -3
    for form in (bad, sp.csr_matrix(bad)):
        with pytest.raises(ValueError, match=rf"{name} needs values of at least 0: X has -3.0 at row 2, column 7"):
            sn.pairwise_distances(form, metric=name, metric_params=params_of(name, N_FEATURES))


def test_hamming_refuses_integers_that_collide():
    X = np.array([[2**24, 1], [2**24 + 1, 1]])
    with pytest.raises(
        ValueError, match=r"16777217 at row 1, column 0 of X is an integer above 2\^24.*smaller integers"
    ):
        sn.pairwise_distances(X, metric="hamming")
    assert sn.pairwise_distances(X, metric="jaccard")[0, 1] == 0


def test_seuclidean_names_the_column_without_variance():
    X = np.array([[1.0, 2.0], [3.0, 2.0]])
    with pytest.raises(ValueError, match=r"variance of column 1 is 0"):
        sn.pairwise_distances(X, metric="seuclidean")


def test_fitted_parameters_are_those_of_scipy():
    from scipy.spatial.distance import cdist

    X = np.random.default_rng(0).normal(5, 2, (40, 6))
    VI = np.linalg.inv(np.cov(X.astype(np.float32).astype(float), rowvar=False))
    np.testing.assert_allclose(
        sn.pairwise_distances(X, metric="mahalanobis"), cdist(X, X, "mahalanobis", VI=VI), rtol=1e-4, atol=1e-5
    )
    V = X.var(axis=0, ddof=1)
    for form in (X, sp.csr_matrix(X)):
        np.testing.assert_allclose(
            sn.pairwise_distances(form, metric="seuclidean"), cdist(X, X, "seuclidean", V=V), rtol=1e-4
        )


def test_signed_cosine_goes_beyond_one_and_may_prefer_rows_that_share_nothing():
    X = sp.csr_matrix(np.array([[1.0, 1, 0], [-1, -1, 0], [0, 0, 1]]))
    indices, distances = sn.exact_neighbors(X, X[:1], k=3, metric="cosine")
    assert indices.tolist() == [[0, 2, 1]]
    np.testing.assert_allclose(distances, [[0, 1, 2]], atol=1e-7)


def test_a_users_own_functions():
    import numba

    @numba.njit
    def dense(x, y):
        return np.abs(x - y).max()

    @numba.njit
    def sparse(ind1, data1, ind2, data2, weight):
        return weight * abs(data1.sum() - data2.sum())

    X = random_rows(15, N_FEATURES)
    np.testing.assert_allclose(
        sn.pairwise_distances(X.toarray(), metric=dense), sn.pairwise_distances(X, metric="chebyshev"), rtol=1e-6
    )
    sums = X.toarray().sum(axis=1)
    got = sn.pairwise_distances(X, metric=sparse, metric_params={"weight": 2.0})
    np.testing.assert_allclose(got, 2 * np.abs(sums[:, None] - sums[None]), rtol=1e-5)
    naive.check_neighbors(*sn.exact_neighbors(X, X, k=3, metric=sparse, metric_params={"weight": 2.0}), got, 3)
    with pytest.raises(ValueError, match=r"'weight'"):
        sn.pairwise_distances(X, metric=sparse)
    with pytest.raises(ValueError, match=r"not compiled: decorate it with numba.njit"):
        sn.pairwise_distances(X, metric=lambda x, y: 0.0)
    with pytest.raises(ValueError, match=r"takes dense rows, got csr rows"):
        sn.pairwise_distances(X, metric=dense)


def test_values_of_a_few_metrics_by_hand():
    x, y = np.array([[1.0, 2, 0, 0]]), np.array([[0.0, 2, 2, 0]])
    by_hand = {
        "jaccard": 2 / 3,
        "dice": 1 / 2,
        "matching": 1 / 2,
        "hamming": 1 / 2,
        "overlap": 1 / 2,
        "containment": 1 / 2,
        "russellrao": 3 / 4,
        "weighted_jaccard": 1 - 2 / 5,
        "braycurtis": 3 / 7,
        "hellinger": math.sqrt(1 - math.sqrt(2 / 3 * 1 / 2)),
        "dot": -4.0,
        "manhattan": 3.0,
        "canberra": 2.0,
        "wasserstein_1d": 1 / 3 + 1 / 2,
    }
    for name, want in by_hand.items():
        np.testing.assert_allclose(sn.pairwise_distances(x, y, metric=name), [[want]], rtol=1e-6, err_msg=name)
