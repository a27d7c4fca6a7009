"""Candidates and their order: `rerank` against naive oracles, and every proxy against exact search."""

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn.exact import ExactEngine, fit_space
from sparsenn.proxies import ProxyEngine, has_proxy
from sparsenn.rerank import rerank
from tests import naive
from tests.test_metrics import N_FEATURES, hard_rows, params_of, random_rows

PROXIED = [
    "jensen_shannon",
    "symmetric_kl",
    "wasserstein_1d",
    "circular_wasserstein",
    "kantorovich",
    "sinkhorn",
]
FORMS = {"csr": sp.csr_matrix, "dense": lambda M: M.toarray()}


def engine_for(name, X, params=None):
    space, rows = fit_space(X, name, params_of(name, X.shape[1]) if params is None else params)
    return ProxyEngine(space, rows, 1)


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def test_which_metrics_have_a_proxy():
    assert [name for name in sn.metrics.names() if sn.metrics.get(name).proxy] == PROXIED
    for name in PROXIED:
        assert "`" in sn.metrics.get(name).proxy.__doc__.partition("\n")[0]  # what the table of metrics shows


def test_a_metric_without_a_proxy_is_refused():
    space, rows = fit_space(random_rows(5, N_FEATURES), "cosine", None)
    assert not has_proxy(space)
    with pytest.raises(ValueError, match="cosine has no proxy: it is searched exactly"):
        ProxyEngine(space, rows)


@pytest.mark.parametrize("name", ["cosine", "jaccard", "manhattan", "containment", "kantorovich", "chebyshev"])
def test_rerank_against_a_naive_oracle(name, form):
    X, Q = random_rows(700, N_FEATURES, seed=1), random_rows(9, N_FEATURES, seed=2)
    X, Q = X.toarray(), Q.toarray()
    X[5:40] = X[4]  # ties, broken by id
    X[90] = Q[3] = 0
    X, Q = sp.csr_matrix(X), sp.csr_matrix(Q)
    space, rows = fit_space(form(X), name, params_of(name, N_FEATURES))
    engine = ExactEngine(space, rows)
    queries = space.read(form(Q), "Q")
    want = sn.pairwise_distances(form(Q), form(X), metric=name, metric_params=params_of(name, N_FEATURES))
    rng = np.random.default_rng(0)
    candidates = rng.integers(-1, 700, (9, 650))
    candidates[0] = -1  # nothing to measure
    candidates[1, 3:] = 7  # one row again and again
    candidates[2, :60] = np.arange(60)
    x, metric = engine.own(queries)
    for dtype in (np.int64, np.int32):
        for n_jobs in (1, 2):
            found = rerank(metric, x, engine.own()[0], N_FEATURES, candidates.astype(dtype), 12, n_jobs)
            for q in range(9):
                some = np.unique(candidates[q][candidates[q] >= 0])
                ids, distances = naive.nearest(want[q : q + 1, some], 12)
                expected = np.where(ids[0] >= 0, some[ids[0]] if len(some) else -1, -1)
                np.testing.assert_allclose(found.distances[q], distances[0], rtol=1e-5, atol=1e-6)
                np.testing.assert_array_equal(found.indices[q], expected)


def test_rerank_of_no_candidates_at_all():
    space, rows = fit_space(random_rows(5, N_FEATURES), "cosine", None)
    engine = ExactEngine(space, rows)
    y, metric = engine.own()
    found = rerank(metric, y, y, N_FEATURES, np.empty((5, 0), np.int64), 3, 1)
    assert (found.indices == -1).all()
    assert np.isinf(found.distances).all()


@pytest.mark.parametrize("name", PROXIED)
def test_with_all_rows_as_candidates_the_answer_is_exact(name, form):
    X = form(sp.vstack([random_rows(150, N_FEATURES, seed=3), hard_rows(N_FEATURES)]).tocsr())
    Q = form(sp.vstack([random_rows(6, N_FEATURES, seed=4), hard_rows(N_FEATURES)]).tocsr())
    proxies = engine_for(name, X)
    queries = proxies.exact.space.read(Q, "Q")
    want = sn.exact_neighbors(X, Q, 10, metric=name, metric_params=params_of(name, N_FEATURES))
    for k, over_fetch in ((10, 1000), (200, 1)):
        found = proxies.nearest(queries, k, over_fetch, 1)
        np.testing.assert_array_equal(found.indices[:, :10], want.indices)
        np.testing.assert_array_equal(found.distances[:, :10], want.distances)
    assert (found.indices[:, X.shape[0] :] == -1).all()


@pytest.mark.parametrize("name", PROXIED)
def test_a_radius_misses_nothing(name, form):
    X = form(sp.vstack([random_rows(150, N_FEATURES, seed=3), hard_rows(N_FEATURES)]).tocsr())
    Q = form(sp.vstack([random_rows(6, N_FEATURES, seed=4), hard_rows(N_FEATURES)]).tocsr())
    proxies = engine_for(name, X)
    queries = proxies.exact.space.read(Q, "Q")
    D = np.sort(sn.pairwise_distances(Q, X, metric=name, metric_params=params_of(name, N_FEATURES)).ravel())
    for radius in (-1.0, 0.0, *(float(D[int(len(D) * share)]) for share in (0.02, 0.1, 0.3, 0.7)), np.inf):
        want = proxies.exact.within(queries, radius, 1)
        got = proxies.within(queries, radius, n_jobs=1)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
        some = proxies.within(queries, radius, 2, 2)
        assert set(zip(*pairs(some), strict=True)) <= set(zip(*pairs(want), strict=True))
        whole = proxies.within(queries, radius, 1000)
        np.testing.assert_array_equal(whole.indices, want.indices)


def pairs(found):
    return np.repeat(np.arange(len(found.indptr) - 1), np.diff(found.indptr)).tolist(), found.indices.tolist()


@pytest.mark.parametrize("name", PROXIED)
def test_empty_rows_and_queries(name, form):
    M = np.zeros((6, N_FEATURES), np.float32)
    M[0, 3] = M[2, 20] = 1
    M[5] = 1
    X = form(sp.csr_matrix(M))
    proxies = engine_for(name, X)
    queries = proxies.exact.space.read(X, "Q")
    found = proxies.nearest(queries, 1, 1, 1)
    assert found.indices[:, 0].tolist() == [0, 1, 2, 1, 1, 5]  # empty rows find each other
    none = proxies.nearest(queries.take(np.zeros(0, np.int64)), 2, 2, 1)
    assert none.indices.shape == (0, 2)
    near = proxies.within(queries, 0.001, 1, 1)
    assert near.indptr[-1] >= 6


@pytest.mark.parametrize("name", PROXIED)
def test_of_equal_rows_only(name, form):
    X = form(sp.csr_matrix(np.ones((7, N_FEATURES), np.float32)))
    proxies = engine_for(name, X)
    found = proxies.nearest(proxies.exact.space.read(X, "Q"), 3, 7, 1)
    assert found.indices.tolist() == [[0, 1, 2]] * 7


@pytest.mark.parametrize("cost", ["asymmetric", "zero", "constant", "some zeros"])
@pytest.mark.parametrize("name", ["kantorovich", "sinkhorn"])
def test_any_cost_has_a_proxy_and_a_radius_misses_nothing(name, cost):
    n = N_FEATURES
    made = {
        "asymmetric": np.random.default_rng(0).random((n, n)),
        "zero": np.zeros((n, n)),
        "constant": np.ones((n, n)),
        "some zeros": np.abs(np.arange(n)[:, None] // 2 - np.arange(n) // 3).astype(float),
    }[cost]
    X, Q = random_rows(80, n, seed=5), random_rows(5, n, seed=6)
    proxies = engine_for(name, X, {"cost": made})
    queries = proxies.exact.space.read(Q, "Q")
    exact = proxies.exact.nearest(queries, 4, 1)
    np.testing.assert_array_equal(proxies.nearest(queries, 4, 20, 1).indices, exact.indices)
    radius = float(np.median(exact.distances))
    want = proxies.exact.within(queries, radius, 1)
    np.testing.assert_array_equal(proxies.within(queries, radius).indices, want.indices)


@pytest.mark.parametrize("n_features", [1, 2, 65, 300])
@pytest.mark.parametrize("name", PROXIED)
def test_few_and_many_columns(name, n_features):
    X, Q = random_rows(60, n_features, 0.5, seed=7), random_rows(4, n_features, 0.5, seed=8)
    proxies = engine_for(name, X)
    queries = proxies.exact.space.read(Q, "Q")
    want = proxies.exact.nearest(queries, 5, 1)
    np.testing.assert_array_equal(proxies.nearest(queries, 5, 12, 1).indices, want.indices)
    radius = float(np.median(want.distances))
    found, whole = proxies.within(queries, radius), proxies.exact.within(queries, radius, 1)
    np.testing.assert_array_equal(found.indices, whole.indices)


def test_a_calibration_rises_and_is_the_same_again():
    X, Q = random_rows(500, N_FEATURES, seed=1), random_rows(40, N_FEATURES, seed=2)
    proxies = engine_for("circular_wasserstein", X)
    queries = proxies.exact.space.read(Q, "Q")
    table = proxies.calibrate(queries, 10, 2)
    assert [c.over_fetch for c in table] == [2**i for i in range(len(table))]
    assert table[-1].recall >= 0.9999
    assert np.all(np.diff([c.recall for c in table]) >= 0)
    assert np.all(np.diff([c.cost for c in table]) > 0)
    assert table[0].cost < table[0].exact_cost
    assert proxies.calibrate(queries, 10, 1) == table
    assert [c.over_fetch for c in proxies.calibrate(queries, 10, 1, most=2)] == [1, 2]
    assert proxies.nbytes > proxies.exact.nbytes
    assert proxies.n_rows == 500


def test_the_number_of_threads_and_the_batch_change_nothing():
    X, Q = random_rows(300, N_FEATURES, seed=1), random_rows(30, N_FEATURES, seed=2)
    proxies = engine_for("kantorovich", X)
    queries = proxies.exact.space.read(Q, "Q")
    one, two = proxies.nearest(queries, 5, 3, 1), proxies.nearest(queries, 5, 3, 2)
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)
    alone = proxies.nearest(queries.take(np.array([17])), 5, 3, 1)
    np.testing.assert_array_equal(alone.indices[0], one.indices[17])


def recall(proxies, queries, k, over_fetch):
    true, found = proxies.exact.nearest(queries, k, 2), proxies.nearest(queries, k, over_fetch, 2)
    return float((found.distances <= true.distances[:, -1:] * (1 + 1e-6)).mean())


# Metric, parameters, candidates a neighbour, least recall: a little below what was measured.
TOPICS = [
    ("jensen_shannon", {}, 2, 0.99),
    ("symmetric_kl", {}, 2, 0.99),
    ("wasserstein_1d", {}, 1, 0.99),
    ("circular_wasserstein", {}, 4, 0.98),
    ("kantorovich", {"cost": "line"}, 4, 0.95),
    ("kantorovich", {"cost": "plane"}, 4, 0.95),
    ("sinkhorn", {"cost": "plane", "regularization": 0.1}, 4, 0.95),
    ("sinkhorn", {"cost": "plane"}, 16, 0.95),
]


def cost_of(kind, n):
    if kind == "line":
        return np.abs(np.arange(n)[:, None] - np.arange(n)).astype(float)
    points = np.random.default_rng(0).normal(size=(n, 2))
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1))


@pytest.mark.parametrize(("name", "params", "over_fetch", "least"), TOPICS)
def test_recall_on_topics(data_dir, name, params, over_fetch, least):
    path = data_dir / "prob" / "wikipedia_lda8_10k.npz"
    if not path.exists():
        pytest.skip("no wikipedia topics in the public data")
    with np.load(path) as file:
        X = file["X"].astype(np.float32)[:4000]
    params = {key: cost_of(value, 8) if key == "cost" else value for key, value in params.items()}
    proxies = engine_for(name, X[40:], params)
    assert recall(proxies, proxies.exact.space.read(X[:40], "Q"), 10, over_fetch) >= least


TEXTS = [
    ("jensen_shannon", {}, 2, 0.98),
    ("symmetric_kl", {}, 4, 0.93),
    ("wasserstein_1d", {}, 2, 0.97),
    ("circular_wasserstein", {}, 4, 0.97),
    ("kantorovich", {"cost": "line"}, 4, 0.93),
    ("sinkhorn", {"cost": "line", "regularization": 20.0}, 4, 0.85),
]


@pytest.fixture(scope="module")
def story_counts(data_dir):
    """Counts of the 200 commonest words of some Reuters stories."""
    path = data_dir / "text" / "reuters21578.parquet"
    if not path.exists():
        pytest.skip("no reuters stories in the public data")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    bodies = pandas.read_parquet(path, columns=["body"])["body"].fillna("")[:1500]
    counts = text.CountVectorizer(stop_words="english", max_features=200, dtype=np.float32).fit_transform(bodies)
    return counts.tocsr()[np.diff(counts.indptr) > 2]


@pytest.mark.parametrize(("name", "params", "over_fetch", "least"), TEXTS)
def test_recall_on_counts_of_words(story_counts, name, params, over_fetch, least):
    X = story_counts
    params = {key: cost_of(value, 200) if key == "cost" else value for key, value in params.items()}
    proxies = engine_for(name, X[20:], params)
    assert recall(proxies, proxies.exact.space.read(X[:20], "Q"), 10, over_fetch) >= least
