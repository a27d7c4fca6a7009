import pickle
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial import distance
from sklearn import neighbors
from sklearn.base import clone
from sklearn.cluster import DBSCAN, SpectralClustering
from sklearn.exceptions import DataConversionWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.manifold import TSNE
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.estimator_checks import parametrize_with_checks

import sparsenn as sn
from sparsenn import sklearn as ours
from sparsenn.metrics import minkowski

NAMES = ours.__all__


@pytest.fixture(scope="module")
def rows():
    matrix = sp.random(300, 40, density=0.3, format="csr", random_state=5, dtype=np.float64)
    matrix.data += 0.1
    return matrix


@pytest.fixture(scope="module")
def texts():
    topics = [
        "cat dog mouse pet fur paw tail purr bark",
        "stock bond market bank share price fund rate",
        "rain snow wind cloud storm sun frost hail",
    ]
    rng = np.random.default_rng(0)
    words = [rng.choice(topic.split(), 6) for topic in topics for _ in range(20)]
    return [" ".join(w) for w in words], np.repeat(np.arange(3), 20)


@parametrize_with_checks([getattr(ours, name)() for name in NAMES] + [ours.KNeighborsTransformer(metric="hellinger")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EfficiencyWarning")  # scikit-learn's, of its own graphs
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("metric", ["minkowski", "cosine", "manhattan", "correlation", "braycurtis"])
@pytest.mark.parametrize("sparse", [True, False])
def test_neighbours_are_scikit_learns(rows, metric, sparse):
    X = rows if sparse else rows.toarray()
    theirs = neighbors.NearestNeighbors(n_neighbors=4, metric=metric, algorithm="brute").fit(rows.toarray())
    mine = ours.NearestNeighbors(n_neighbors=4, metric=metric, method="exact").fit(X)
    for own, their in ((X[:50], rows[:50].toarray()), (None, None)):
        distances, indices = mine.kneighbors(own)
        expected, ids = theirs.kneighbors(their)
        assert_allclose(distances, expected, atol=2e-6)
        assert indices.dtype == np.int64
        assert distances.dtype == np.float64
        assert (indices == ids).mean() > 0.99  # but for ties
        radius = float(np.median(expected))
        got, want = mine.radius_neighbors(own, radius), theirs.radius_neighbors(their, radius, sort_results=True)
        for a, b in zip(got[0], want[0], strict=True):
            assert_allclose(a, b, atol=2e-6)


@pytest.mark.parametrize("method", ["exact", "graph"])
@pytest.mark.parametrize(
    ("metric", "params"),
    [
        ("euclidean", None),
        ("sqeuclidean", None),
        ("cityblock", None),
        ("chebyshev", None),
        ("minkowski", {"w": np.array([1.0, 3.0])}),
        ("seuclidean", {"V": np.array([1.0, 2.0])}),
        ("mahalanobis", {"VI": np.array([[2.0, 0.5], [0.5, 1.0]])}),
    ],
)
def test_rows_far_from_zero_keep_their_differences(metric, params, method):
    """Seconds since 1970, and what varies little: float32 has no digits left for them."""
    rng = np.random.default_rng(2)
    X = np.column_stack([1.7e9 + rng.uniform(0, 9e4, 120), 1e12 + 3e4 * rng.normal(size=120)])
    mine = ours.NearestNeighbors(n_neighbors=3, metric=metric, metric_params=params, method=method).fit(X)
    for queries in (X[:20] + 1, None):
        far = distance.cdist(X if queries is None else queries, X, metric, **(params or {}))
        if queries is None:
            np.fill_diagonal(far, np.inf)
        ids = np.argsort(far, axis=1)[:, :3]
        distances, indices = mine.kneighbors(queries)
        assert_allclose(distances, np.take_along_axis(far, ids, axis=1), rtol=1e-5, atol=1e-2)
        assert_array_equal(indices, ids)
        radius = float(np.median(distances)) * 1.00001
        for found, row in zip(mine.radius_neighbors(queries, radius)[1], far, strict=True):
            assert_array_equal(np.sort(found), np.flatnonzero(row <= radius))
    mine._index.estimate_recall = lambda: sn.RecallEstimate(0.5, 0.4, 0.6, 10)  # fitted rows, asked like queries
    assert_array_equal(mine.set_params(recall=1).kneighbors()[1], ids)
    assert_array_equal(mine.kneighbors(sp.csr_array(X[:9]))[1][:, 0], np.arange(9))


def test_whole_numbers_stay_whole():
    X = np.random.default_rng(1).integers(0, 9, (80, 6))
    found = ours.NearestNeighbors(metric="sqeuclidean").fit(X).kneighbors()[0]
    assert_array_equal(found, neighbors.NearestNeighbors(metric="sqeuclidean").fit(X).kneighbors()[0])


@pytest.mark.parametrize("p", [1, 1.5, 2, np.inf])
def test_powers_and_names_of_minkowski(rows, p):
    mine = ours.NearestNeighbors(p=p).fit(rows)
    theirs = neighbors.NearestNeighbors(p=p).fit(rows.toarray())
    assert mine.effective_metric_ == theirs.effective_metric_
    assert_allclose(mine.kneighbors()[0], theirs.kneighbors()[0], rtol=2e-6)


def test_parameters_go_by_scikit_learns_names(rows):
    X = rows.toarray()[:, :5]
    weights, covariance = np.arange(1.0, 6.0), np.cov(X, rowvar=False)
    for metric, params in (
        ("minkowski", {"w": weights}),
        ("mahalanobis", {"VI": np.linalg.inv(covariance)}),
        ("seuclidean", {"V": X.var(axis=0, ddof=1)}),
    ):
        mine = ours.NearestNeighbors(metric=metric, metric_params=params).fit(X).kneighbors()[0]
        theirs = neighbors.NearestNeighbors(metric=metric, metric_params=params).fit(X).kneighbors()[0]
        assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    by_covariance = ours.NearestNeighbors(metric="mahalanobis", metric_params={"V": covariance}).fit(X)
    by_inverse = ours.NearestNeighbors(metric="mahalanobis", metric_params={"VI": np.linalg.inv(covariance)}).fit(X)
    assert_array_equal(by_covariance.kneighbors()[0], by_inverse.kneighbors()[0])
    by_record = ours.NearestNeighbors(metric=minkowski(p=3)).fit(X)
    assert_array_equal(by_record.kneighbors()[0], ours.NearestNeighbors(p=3).fit(X).kneighbors()[0])


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
@pytest.mark.parametrize("name", ["KNeighborsTransformer", "RadiusNeighborsTransformer"])
def test_graphs_are_scikit_learns(rows, mode, name):
    size = {"n_neighbors": 6} if name == "KNeighborsTransformer" else {"radius": 2.0}
    mine = getattr(ours, name)(mode=mode, **size)
    theirs = getattr(neighbors, name)(mode=mode, algorithm="brute", **size)
    got, expected = mine.fit_transform(rows), theirs.fit_transform(rows)
    assert_allclose(got.toarray(), expected.toarray(), atol=2e-6)
    assert_allclose(mine.transform(rows[:30]).toarray(), expected[:30].toarray(), atol=2e-6)
    assert got.nnz == expected.nnz  # zeros of the diagonal are there
    assert_array_equal(got.indptr, expected.indptr)
    if mode == "distance":
        assert_array_equal(got.diagonal(), 0)
        assert (np.diff(got.data.reshape(300, 7)) >= 0).all() if name[0] == "K" else True


def test_every_row_is_its_own_first_neighbour_among_duplicates():
    X = np.repeat(np.eye(3), 5, axis=0)
    graph = ours.KNeighborsTransformer(n_neighbors=2, metric="cosine").fit_transform(X)
    assert_array_equal(graph.indices.reshape(15, 3)[:, 0], np.arange(15))
    assert_array_equal(graph.data, 0)


def test_where_a_row_is_not_its_own_nearest_queries_say_so(rows):
    estimator = ours.KNeighborsTransformer(n_neighbors=3, metric="dot")
    graph = estimator.fit_transform(rows)
    true = sn.exact_neighbors(rows, rows, k=4, metric="dot")
    assert_array_equal(graph.indices.reshape(-1, 4), true.indices)
    assert_allclose(graph.data.reshape(-1, 4), true.distances)


@pytest.mark.parametrize("weights", ["uniform", "distance", lambda d: 1 / (1 + d)])
def test_votes_and_means_are_scikit_learns(rows, weights):
    rng = np.random.default_rng(3)
    y, several = rng.integers(0, 3, 300), rng.integers(0, 3, (300, 2))
    for labels in (y, several):
        mine = ours.KNeighborsClassifier(weights=weights).fit(rows, labels)
        theirs = neighbors.KNeighborsClassifier(weights=weights, algorithm="brute").fit(rows, labels)
        assert_array_equal(mine.predict(rows[:40]), theirs.predict(rows[:40]))
        assert_array_equal(mine.predict(None), theirs.predict(None))
        assert_allclose(mine.predict_proba(rows[:40]), theirs.predict_proba(rows[:40]), atol=1e-5)
    values = rng.normal(size=300)
    mean = ours.KNeighborsRegressor(weights=weights).fit(rows, values)
    theirs = neighbors.KNeighborsRegressor(weights=weights, algorithm="brute").fit(rows, values)
    assert_allclose(mean.predict(rows[:40]), theirs.predict(rows[:40]), rtol=1e-5)
    assert mean.score(None, values) == pytest.approx(theirs.score(None, values), abs=1e-5)


def test_a_column_of_labels_warns_as_scikit_learn_does(rows):
    with pytest.warns(DataConversionWarning, match="column-vector"):
        estimator = ours.KNeighborsClassifier().fit(rows, np.zeros((300, 1), int))
    assert estimator.predict(rows[:2]).shape == (2,)


def test_pipelines_of_text(texts):
    documents, topics = texts
    graph = make_pipeline(TfidfVectorizer(), ours.KNeighborsTransformer(n_neighbors=8, metric="cosine"))
    groups = make_pipeline(graph, DBSCAN(eps=0.8, min_samples=3, metric="precomputed")).fit_predict(documents)
    assert len(set(groups) - {-1}) == 3
    picture = make_pipeline(
        TfidfVectorizer(),
        ours.KNeighborsTransformer(n_neighbors=16, metric="cosine"),
        TSNE(metric="precomputed", init="random", perplexity=5, random_state=0, max_iter=250),
    )
    assert picture.fit_transform(documents).shape == (60, 2)
    neighbours = graph.fit_transform(documents)
    affinity = SpectralClustering(3, affinity="precomputed_nearest_neighbors", n_neighbors=8, random_state=0)
    with warnings.catch_warnings(action="ignore"):  # the topics share no word: the graph has three parts
        labels = affinity.fit_predict(neighbours)
    assert all(len(set(labels[topics == t])) == 1 for t in range(3))


@pytest.mark.parametrize("classifier", [neighbors.KNeighborsClassifier, ours.KNeighborsClassifier])
def test_grid_search_over_a_graph(texts, classifier):
    documents, topics = texts
    pipeline = make_pipeline(
        TfidfVectorizer(),
        ours.KNeighborsTransformer(n_neighbors=8, metric="cosine"),
        classifier(metric="precomputed"),
    )
    search = GridSearchCV(pipeline, {f"{classifier.__name__.lower()}__n_neighbors": [1, 8]}, cv=3)
    assert search.fit(documents, topics).best_score_ > 0.95


def test_precomputed_distances(rows):
    square = sn.pairwise_distances(rows, metric="euclidean").astype(np.float64)
    expected = neighbors.NearestNeighbors(metric="precomputed").fit(square)
    mine = ours.NearestNeighbors(metric="precomputed").fit(square)
    for a, b in zip(mine.kneighbors(), expected.kneighbors(), strict=True):
        assert_array_equal(a, b)
    with pytest.raises(ValueError, match="precomputed"):
        ours.NearestNeighbors(metric="precomputed", method="graph").fit(square)


@pytest.mark.filterwarnings("ignore:Mind that for 0 < p < 1")  # scikit-learn's
@pytest.mark.parametrize("how", [{"p": 0.5}, {"metric_params": {"p": 0.5}, "p": None}, {"metric": "nan_euclidean"}])
def test_what_only_scikit_learn_takes_is_left_to_it(rows, how):
    X = rows.toarray()[:60]
    if "metric" in how:
        X[::7, 3] = np.nan
    mine, theirs = ours.NearestNeighbors(**how).fit(X), neighbors.NearestNeighbors(**how).fit(X)
    for a, b in zip(mine.kneighbors(X[:9]), theirs.kneighbors(X[:9]), strict=True):
        assert_array_equal(a, b)
    assert_array_equal(mine.radius_neighbors(None, 9.0)[1][4], theirs.radius_neighbors(None, 9.0)[1][4])
    graph = ours.KNeighborsTransformer(**how).fit_transform(X)
    assert (graph != neighbors.KNeighborsTransformer(**how).fit_transform(X)).nnz == 0
    with pytest.raises(ValueError, match="left to scikit-learn"):
        ours.NearestNeighbors(method="graph", **how).fit(X)


def test_rows_of_trees_and_of_estimators(rows):
    X = rows.toarray()
    expected = ours.NearestNeighbors().fit(X).kneighbors(X[:9])
    for given in (
        neighbors.KDTree(X),
        neighbors.BallTree(X),
        neighbors.NearestNeighbors().fit(X),
        ours.NearestNeighbors().fit(X),
    ):
        for a, b in zip(ours.NearestNeighbors().fit(given).kneighbors(X[:9]), expected, strict=True):
            assert_array_equal(a, b)
    y = np.arange(300) % 3
    voted = ours.KNeighborsClassifier().fit(neighbors.KDTree(X), y).predict(X[:9])
    assert_array_equal(voted, ours.KNeighborsClassifier().fit(X, y).predict(X[:9]))


def test_warnings_are_scikit_learns(rows):
    with pytest.warns(UserWarning, match="cannot use tree with sparse input") as caught:
        ours.NearestNeighbors(algorithm="kd_tree").fit(rows)
    assert caught[0].filename == __file__
    with pytest.warns(SyntaxWarning, match="Parameter p is found in metric_params") as caught:
        estimator = ours.NearestNeighbors(metric_params={"p": 3}).fit(rows)
    assert caught[0].filename == __file__
    assert_array_equal(estimator.kneighbors()[0], ours.NearestNeighbors(p=3).fit(rows).kneighbors()[0])


def test_names_clones_and_pickles(rows):
    estimator = ours.KNeighborsTransformer(n_neighbors=3, metric="jaccard", method="exact", recall=0.9, random_state=7)
    assert clone(estimator).get_params() == estimator.get_params()
    estimator.fit(rows)
    assert estimator.get_feature_names_out()[:2].tolist() == ["kneighborstransformer0", "kneighborstransformer1"]
    again = pickle.loads(pickle.dumps(estimator))
    assert (again.transform(rows[:9]) != estimator.transform(rows[:9])).nnz == 0


def test_a_graph_is_as_right_as_asked(rows):
    dense = np.random.default_rng(0).normal(size=(1500, 24))
    true = sn.exact_neighbors(dense, k=10, metric="euclidean").indices
    asked = ours.NearestNeighbors(n_neighbors=10, method="graph", recall=0.99, leaf_size=2).fit(dense)
    graph = asked._index.neighbor_graph.indices
    assert (np.sort(graph[:, :10]) != np.sort(true)).any()  # so it takes exact search to be right everywhere
    asked._index.estimate_recall = lambda: sn.RecallEstimate(0.5, 0.4, 0.6, 10)  # as of a graph that fell short
    distances, found = asked.kneighbors()
    np.testing.assert_array_equal(np.sort(found), np.sort(true))
    assert (found != np.arange(1500)[:, None]).all()
    assert (np.diff(distances) >= 0).all()


def test_whoever_asks_for_exact_search_gets_it(rows):
    for wish in ({"algorithm": "brute"}, {"recall": 1}, {"method": "exact"}):
        assert ours.NearestNeighbors(**wish).fit(rows)._index.plan_.method == "exact"
        if "method" not in wish:
            with pytest.raises(ValueError, match="leave one out"):
                ours.NearestNeighbors(method="graph", **wish).fit(rows)


def test_the_seed_may_be_any_of_scikit_learns(rows):
    for seed in (None, 3, np.random.RandomState(3)):
        assert ours.NearestNeighbors(method="graph", random_state=seed).fit(rows).kneighbors()[0].shape == (300, 5)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda e, X: e.kneighbors(X, 0), ValueError, "Expected n_neighbors > 0"),
        (lambda e, X: e.kneighbors(X, 2.5), TypeError, "integer"),
        (lambda e, X: e.kneighbors(X, True), TypeError, "integer"),
        (lambda e, X: e.kneighbors(None, 300), ValueError, "n_neighbors < n_samples_fit"),
        (lambda e, X: e.kneighbors(X, 301), ValueError, "n_neighbors <= n_samples_fit"),
        (lambda e, X: e.kneighbors(X[:, :3]), ValueError, "expecting 40 features"),
        (lambda e, X: e.radius_neighbors(X, 1.0, False, True), ValueError, "return_distance"),
        (lambda e, X: e.set_params(metric="euclidian").fit(X), InvalidParameterError, "Did you mean"),
        (
            lambda e, X: e.set_params(metric="cosine", algorithm="kd_tree").fit(X),
            ValueError,
            "Metric 'cosine' not valid",
        ),
        (lambda e, X: e.set_params(metric=minkowski(p=3), algorithm="ball_tree").fit(X), ValueError, "by name"),
        (lambda e, X: e.set_params(method="fast").fit(X), ValueError, "method must be one of"),
        (lambda e, X: e.set_params(recall=1.5).fit(X), ValueError, "recall must be"),
    ],
)
def test_mistakes_are_named(rows, call, error, match):
    estimator = ours.NearestNeighbors().fit(rows)
    with pytest.raises(error, match=match):
        call(estimator, rows)


def test_it_is_loaded_only_when_asked_for():
    import subprocess

    code = "import sys, sparsenn; assert not {'sklearn', 'sparsenn.sklearn', 'sparsenn.pynndescent'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
