import inspect
import io
import pickle
import re
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse.csgraph import connected_components
from scipy.spatial import distance as scipy_distance

import sparsenn as sn
import sparsenn.pynndescent
from sparsenn.pynndescent import NNDescent, PyNNDescentTransformer, distances, graph_utils, sparse


@pytest.fixture(scope="module")
def dense():
    return np.random.default_rng(0).uniform(size=(700, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    matrix = sp.random(500, 60, density=0.2, format="csr", random_state=1, dtype=np.float32)
    matrix.data += 0.1
    return matrix


def shared(found, true):
    return np.mean([len(np.intersect1d(a, b)) / true.shape[1] for a, b in zip(found, true, strict=True)])


def test_parameters_stand_in_pynndescents_order():
    names = list(inspect.signature(NNDescent).parameters)
    assert names[:6] == ["data", "metric", "metric_kwds", "n_neighbors", "n_trees", "leaf_size"]
    assert len(names) == 30
    assert list(inspect.signature(NNDescent.query).parameters)[1:4] == ["query_data", "k", "epsilon"]
    pynndescent = pytest.importorskip("pynndescent", reason="to compare signatures with")
    for ours, theirs in (
        (NNDescent, pynndescent.NNDescent),
        (NNDescent.query, pynndescent.NNDescent.query),
        (NNDescent.query_indices, pynndescent.NNDescent.query_indices),
        (NNDescent.update, pynndescent.NNDescent.update),
        (NNDescent.prepare, pynndescent.NNDescent.prepare),
        (PyNNDescentTransformer, pynndescent.PyNNDescentTransformer),
    ):
        mine, other = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in other.values()]


def test_attributes_are_pynndescents(dense):
    given = {"diversify_prob": 0.5, "pruning_degree_multiplier": 2.0, "quantization": "int8", "max_rptree_depth": 9}
    with pytest.warns(FutureWarning):
        index = NNDescent(dense, n_neighbors=5, low_memory=False, random_state=4, **given)
    for name, value in given.items():
        assert getattr(index, name.replace("pruning", "prune")) == value
    assert not index.low_memory
    for state in (index.rng_state, index.search_rng_state):
        assert state.dtype == np.int64
        assert state.shape == (3,)
    assert_array_equal(NNDescent(dense, random_state=4).rng_state, index.rng_state)
    pynndescent = pytest.importorskip("pynndescent", reason="to compare attributes with")
    theirs = set(re.findall(r"self\.([a-z]\w*) =", inspect.getsource(pynndescent.NNDescent.__init__)))
    assert len(theirs) > 25
    assert theirs <= set(vars(index))
    assert sparsenn.pynndescent.__version__ == pynndescent.__version__


@pytest.mark.parametrize("wide", [True, False])
def test_a_callable_may_have_angular_trees(dense, wide):
    assert NNDescent(dense, distances.euclidean, n_neighbors=5, angular_trees=wide)._angular_trees is wide
    assert not NNDescent(dense, n_neighbors=5, angular_trees=wide)._angular_trees


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("container", ["dense", "sparse"])
def test_a_graph_begins_with_the_row_itself(dense, rows, metric, container):
    X = dense if container == "dense" else rows
    indices, found = NNDescent(X, metric, {}, 10, random_state=3).neighbor_graph
    assert indices.dtype == np.int32
    assert found.dtype == np.float32
    assert indices.shape == found.shape == (X.shape[0], 10)
    assert_array_equal(indices[:, 0], np.arange(X.shape[0]))
    assert_array_equal(found[:, 0], 0)
    assert all(len(set(row)) == 10 for row in indices.tolist())
    assert shared(indices[:, 1:], sn.exact_neighbors(X, k=9, metric=metric).indices) > 0.98


@pytest.mark.parametrize("how", [{"n_trees": 4}, {"tree_init": False}, {"n_trees": 0}, {"max_candidates": 20}])
def test_ways_to_begin_a_graph(how, monkeypatch):
    monkeypatch.setattr("sparsenn.planning.SOON", 0.0)  # a graph however few the rows
    monkeypatch.setattr("sparsenn.planning.WORTH", 1e9)
    X = np.random.default_rng(4).normal(size=(1500, 8)).astype(np.float32)
    index = NNDescent(X, n_neighbors=15, random_state=1, **how)
    assert index._index.plan_.method == "graph"
    assert index._index.plan_.seeds == (
        "random" if {"tree_init", "n_trees"} & set(how) and how != {"n_trees": 4} else "forest"
    )
    assert shared(index.neighbor_graph[0][:, 1:], sn.exact_neighbors(X, k=14, metric="euclidean").indices) > 0.95
    found = index.query(X[:100] + 0.01, k=10, epsilon=0.2)[0]
    assert shared(found, sn.exact_neighbors(X, X[:100] + 0.01, k=10, metric="euclidean").indices) > 0.95


def test_a_graph_to_begin_with(dense):
    known = sn.exact_neighbors(dense, k=10, metric="euclidean").indices
    index = NNDescent(dense, n_neighbors=10, init_graph=known, random_state=0)
    assert index._index.plan_.seeds == "given"
    assert shared(index.neighbor_graph[0][:, 1:], known[:, :9]) == 1
    with pytest.raises(ValueError, match="Init graph size"):
        NNDescent(dense, init_graph=known[:-1])
    with pytest.raises(ValueError, match="do not match"):
        NNDescent(dense, init_graph=known, init_dist=known[:, :3])


def test_queries(dense, rows):
    for X in (dense, rows):
        index = NNDescent(X[100:], n_neighbors=20, random_state=0)
        indices, found = index.query(X[:100], k=7, epsilon=0.2)
        true = sn.exact_neighbors(X[100:], X[:100], k=7, metric="euclidean")
        assert shared(indices, true.indices) > 0.95
        assert_allclose(found, true.distances, rtol=1e-5)
        assert_array_equal(index.query_indices(X[:100], 7, 0.2), indices)
        assert_array_equal(index.query(X[:100], 7, 0.2, return_distances=False), indices)
        with pytest.raises(
            ValueError, match=rf"2-D array with {X.shape[1]} features, got shape \(5, {X.shape[1] - 1}\)"
        ):
            index.query(X[:5, :-1])
    with pytest.raises(ValueError, match=r"query_data must be a 2-D array with 6 features, got shape \(6,\)"):
        NNDescent(dense).query(dense[0])


def test_one_seed_one_answer(dense):
    a, b = (NNDescent(dense, random_state=np.random.RandomState(5), n_jobs=n) for n in (1, 2))
    for x, y in zip(a.query(dense[:50]), b.query(dense[:50]), strict=True):
        assert_array_equal(x, y)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "jensen_shannon"])
@pytest.mark.parametrize("dump", [pickle, joblib])
def test_pickles(dense, rows, metric, dump):
    for X in (dense, rows):
        index = NNDescent(X, metric, n_neighbors=8, random_state=0)
        file = io.BytesIO()
        dump.dump(index, file)
        file.seek(0)
        again = dump.load(file)
        for x, y in zip(index.query(X[:20]), again.query(X[:20]), strict=True):
            assert_array_equal(x, y)
        assert_array_equal(index.neighbor_graph[0], again.neighbor_graph[0])


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("prepared", [True, False])
def test_updates(dense, container, prepared):
    old, new, other = dense[:400], dense[400:500], 1 - dense[:50]
    index = NNDescent(container(old), n_neighbors=12, random_state=0)
    if prepared:
        index.prepare()
    index.update(xs_fresh=container(new))
    index.update(xs_updated=container(other), updated_indices=list(range(0, 100, 2)))
    index.update(xs_fresh=container(new[:9]), xs_updated=container(new[:2]), updated_indices=[499, 499])
    expected = np.vstack([old, new, new[:9]])
    expected[0:100:2] = other
    expected[499] = new[1]
    assert_allclose(index._raw_data.toarray() if sp.issparse(index._raw_data) else index._raw_data, expected)
    indices, found = index.query(container(dense[500:600]), k=5)
    true = sn.exact_neighbors(expected, dense[500:600], k=5, metric="euclidean")
    assert_allclose(found, true.distances, rtol=1e-5)
    assert_array_equal(index.neighbor_graph[0][:, 0], np.arange(509))
    assert index.n_trees == index.n_trees_after_update


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"xs_updated": np.ones((2, 6))}, "must also be provided"),
        ({"xs_updated": np.ones((2, 6)), "updated_indices": [1]}, "must match"),
        ({"xs_updated": np.ones((1, 6)), "updated_indices": ["a"]}, "Could not convert"),
        ({"xs_updated": np.ones((1, 6)), "updated_indices": [700]}, "700"),
        ({"xs_fresh": np.ones((1, 5))}, "columns"),
        ({"xs_fresh": np.full((1, 6), np.nan)}, "NaN"),
        ({"xs_fresh": np.full((1, 6), -1.0), "xs_updated": np.ones((1, 6)), "updated_indices": [0]}, "at least 0"),
    ],
)
def test_an_update_that_fails_changes_nothing(dense, change, match):
    index = NNDescent(dense, "hellinger", n_neighbors=5)
    before = index.query(dense[:9])
    with pytest.raises(ValueError, match=match):
        index.update(**change)
    for x, y in zip(index.query(dense[:9]), before, strict=True):
        assert_array_equal(x, y)
    assert_array_equal(index._raw_data, dense)


def test_indices_without_rows_are_ignored_aloud(dense):
    index = NNDescent(dense, n_neighbors=5)
    with pytest.warns(UserWarning, match="will be ignored"):
        index.update(updated_indices=[1])


def test_duplicates_and_one_dimension():
    X = np.repeat(np.random.default_rng(1).normal(size=(8, 5)), 40, axis=0)
    X[:60] = 0
    indices, _ = NNDescent(X, "cosine", n_neighbors=10, n_trees=3, random_state=0).neighbor_graph
    assert all(len(set(row)) == 10 for row in indices.tolist())
    line = np.random.default_rng(2).uniform(size=(300, 1))
    found = NNDescent(line, "manhattan", n_neighbors=20, tree_init=False).query(line[:50], k=5)[1]
    assert_allclose(found, sn.exact_neighbors(line, line[:50], k=5, metric="manhattan").distances)


def test_messages(dense, monkeypatch, capsys):
    def said(**how):
        NNDescent(dense, n_neighbors=4, n_trees=5, n_iters=2, random_state=0, **how)
        return capsys.readouterr().out

    assert said() == ""
    exact = said(verbose=True)
    assert "No need of an RP forest with 5 trees, nor of NN descent for 2 iterations" in exact
    monkeypatch.setattr("sparsenn.planning.SOON", 0.0)
    monkeypatch.setattr("sparsenn.planning.WORTH", 1e9)
    lines = said(verbose=True).splitlines()
    assert lines[0].endswith("Building RP forest with 5 trees")
    assert lines[1].endswith("NN descent for 2 iterations")
    assert lines[2:] == ["\t 1  /  2", "\t 2  /  2"]
    short = said(verbose=True, delta=0.9).splitlines()
    assert short[2:] == ["\t 1  /  2", "\tStopping threshold met -- exiting after 1 iterations"]
    index = NNDescent(dense, n_neighbors=4, verbose=True, compressed=True)
    capsys.readouterr()
    index.prepare()
    told = capsys.readouterr().out
    assert "Building and compiling search function" in told
    assert "Compressing index by removing unneeded attributes" in told
    index.query(dense[:3])
    assert capsys.readouterr().out == ""
    PyNNDescentTransformer(n_neighbors=4, n_trees=5, n_iters=2, verbose=True, random_state=0).fit_transform(dense)
    printed = capsys.readouterr().out
    for text in ("Creating index", "5 trees", "2 iterations", "Constructing neighbor matrix", "Compressing index"):
        assert text in printed


def test_a_compressed_index_has_no_graph(dense):
    index = NNDescent(dense, n_neighbors=5, compressed=True)
    assert index.neighbor_graph is not None
    index.query(dense[:2])
    with pytest.warns(UserWarning, match="Compressed"):
        assert index.neighbor_graph is None
    index = NNDescent(dense, n_neighbors=5)
    index.compress_index()
    with pytest.warns(UserWarning, match="Compressed"):
        assert index.neighbor_graph is None
    with pytest.raises(ValueError, match="compress_index"), pytest.warns(UserWarning, match="Compressed"):
        transformer = PyNNDescentTransformer(n_neighbors=5).fit(dense)
        transformer.index_.prepare()
        transformer.transform(None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pruning_degree_multiplier", 2.0),
        ("diversify_prob", 0.5),
        ("diversify_method", "degree_aware"),
        ("degree_prune_aggressiveness", 2.0),
        ("n_search_trees", 1),
        ("search_tree_leaf_size", 30),
        ("max_search_tree_depth", 9),
        ("quantization", "int8"),
        ("max_rptree_depth", 9),
        ("search_tree_leaf_budget", 2),
        ("init_dist", np.zeros((700, 3))),
    ],
)
def test_parameters_without_effect_say_so(dense, name, value):
    with pytest.warns(FutureWarning, match=name) as caught:
        NNDescent(dense, **{name: value})
    assert caught[0].filename == __file__


def test_widths_are_checked(dense):
    index = NNDescent(dense)
    with pytest.raises(ValueError, match="candidate_width"):
        index.query(dense[:2], k=10, candidate_width=9)
    for width in (-1, 5, 30):
        with pytest.raises(ValueError, match="rerank_width"):
            index.query(dense[:2], k=10, candidate_width=20, rerank_width=width)
    with pytest.warns(FutureWarning, match="candidate_width"):
        index.query(dense[:2], k=10, candidate_width=20)
    with pytest.raises(ValueError, match="pre_normalized"):
        index.query(dense[:2], pre_normalized=True)
    with pytest.raises(ValueError, match="leaf_budget"):
        NNDescent(dense, search_tree_leaf_budget=0)
    with pytest.raises(ValueError, match="bit_metric"):
        NNDescent(dense, distances.euclidean, bit_metric=True)
    with pytest.warns(UserWarning, match="there are only 4 rows"):
        NNDescent(dense[:4], n_neighbors=5)


@pytest.mark.parametrize(
    "metric",
    ["dot", "direct_cosine", "inner_product", "true_angular", "jensen_shannon", "jensen-shannon", "symmetric_kl"],
)
def test_distances_are_those_of_the_callables(dense, metric):
    X = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    indices, found = NNDescent(X, metric, n_neighbors=6, random_state=0).query(X[:30] * np.float32(1), k=4)
    measure = distances.named_distances[metric]
    expected = [[measure(X[i], X[j]) for j in row] for i, row in enumerate(indices)]
    assert_allclose(found, expected, atol=3e-6, rtol=1e-4)


@pytest.mark.parametrize("metric", ["bit_hamming", "bit_jaccard"])
def test_bits(metric):
    bits = np.random.default_rng(0).integers(0, 256, (200, 6), dtype=np.uint8)
    indices, found = NNDescent(bits, metric, n_neighbors=6, random_state=0).neighbor_graph
    measure = distances.named_distances[metric]
    assert_allclose(
        found[:, 1:], [[measure(bits[i], bits[j]) for j in row[1:]] for i, row in enumerate(indices)], rtol=1e-5
    )


def test_a_dense_query_without_values(dense):
    for metric in ("cosine", "dot"):
        index = NNDescent(np.vstack([dense, np.zeros((2, 6))]), metric, n_neighbors=6)
        assert_array_equal(index.query(np.zeros((1, 6)))[1], 1)


def test_parameters_of_metrics_by_their_names(dense):
    sigma = dense.var(axis=0)
    index = NNDescent(dense, "standardised_euclidean", {"sigma": sigma}, 5)
    assert_allclose(
        index.query(dense[:4], 3)[1],
        sn.exact_neighbors(dense, dense[:4], 3, metric="seuclidean", metric_params={"V": sigma}).distances,
    )
    inverse = np.linalg.inv(np.cov(dense, rowvar=False))
    NNDescent(dense, "mahalanobis", {"vinv": inverse}, 5)
    own = NNDescent(dense, distances.euclidean, n_neighbors=5).query(dense[:4], 3)
    assert_allclose(own[1], NNDescent(dense, n_neighbors=5).query(dense[:4], 3)[1], atol=1e-6)


@pytest.mark.parametrize("name", ["wasserstein_1d", "circular_kantorovich"])
@pytest.mark.parametrize("power", [1, 2])
def test_powers_of_transport(dense, name, power):
    X, measure = dense[:60], distances.named_distances[name]
    index = NNDescent(X, name, {"p": power}, 5, random_state=0)
    far = [[measure(x, y, power) for y in X] for x in X]
    assert_allclose(index.query(X[:20], 4)[1], np.sort(far, axis=1)[:20, :4], rtol=1e-4, atol=1e-6)
    if name == "wasserstein_1d" or power == 1:
        sparse_index = NNDescent(sp.csr_matrix(X), name, {"p": power}, 5, random_state=0)
        assert_allclose(sparse_index.neighbor_graph[1], index.neighbor_graph[1], rtol=1e-4, atol=1e-6)
    else:
        with pytest.raises(ValueError, match="on dense rows only"):
            NNDescent(sp.csr_matrix(X), name, {"p": power}, 5)


def test_transport_of_sparse_rows_takes_a_matrix(dense):
    X = sp.csr_matrix(dense[:30])
    for kwds in (None, {"ground_metric": distances.euclidean}):
        with pytest.raises(ValueError, match="1 - numpy.eye"):
            NNDescent(X, "kantorovich", kwds, 5)
    indices, found = NNDescent(X, "wasserstein", {"cost": 1 - np.eye(6)}, 5).neighbor_graph
    shares = dense[:30] / dense[:30].sum(axis=1, keepdims=True)
    assert_allclose(found[:, 1], np.abs(shares - shares[indices[:, 1]]).sum(axis=1) / 2, rtol=1e-4)


def test_callables_whose_parameters_are_arrays(dense):
    sigma = dense.var(axis=0)
    for function, kwds in ((distances.standardised_euclidean, {"sigma": sigma}), (distances.spearmanr, None)):
        index = NNDescent(dense, function, kwds, 5, random_state=0)
        expected = [function(dense[0], y, *(kwds or {}).values()) for y in dense]
        assert_allclose(index.query(dense[:1], 3)[1][0], np.sort(expected)[:3], atol=1e-5)


def test_defaults_of_callables(dense):
    x, y = dense[:2]
    for name in ("seuclidean", "mahalanobis", "weighted_minkowski"):
        assert distances.named_distances[name](x, y) == pytest.approx(distances.euclidean(x, y))
    for name in ("kantorovich", "sinkhorn"):
        with pytest.raises(ValueError, match=f"{name} needs cost"):
            distances.named_distances[name](x, y)
    theirs = pytest.importorskip("pynndescent.distances", reason="to compare signatures with")
    for name, function in distances.named_distances.items():
        mine, other = (
            inspect.signature(getattr(f, "py_func", f)).parameters.values()
            for f in (function, theirs.named_distances[name])
        )
        kinds = [[(p.name, p.default is p.empty) for p in own] for own in (mine, other)]
        assert kinds[0] == kinds[1], name


def test_alternative_jaccard_of_rows_that_share_nothing():
    x, y = np.eye(2, dtype=np.float32)
    one = np.ones(1, np.float32)
    far = distances.alternative_jaccard(x, y)
    assert far == np.inf
    assert distances.correct_alternative_jaccard(far) == 1
    assert sparse.sparse_alternative_jaccard(np.array([0]), one, np.array([1]), one) == np.finfo(np.float32).max


def test_values_of_proxies(dense):
    assert distances.proxy_distances["proxy_jensen_shannon"]["true_dist"] is distances.jensen_shannon_divergence
    index = NNDescent(dense[:50], "proxy_jensen-shannon", n_neighbors=4)
    same = NNDescent(dense[:50], "jensen-shannon", n_neighbors=4)
    assert_array_equal(index.neighbor_graph[1], same.neighbor_graph[1])
    theirs = pytest.importorskip("pynndescent.distances", reason="to compare values with").proxy_distances
    assert set(theirs) == set(distances.proxy_distances)
    x, y, empty = dense[0] * np.array([1, 0, 1, 1, 0, 1], np.float32), dense[1], np.zeros(6, np.float32)
    for name, proxy in {name: pair["proxy_dist"] for name, pair in distances.proxy_distances.items()}.items():
        for a, b in ((x, y), (x, empty), (-x, y)):
            if (a >= 0).all() or name == "proxy_inner_product":
                assert proxy(a, b) == pytest.approx(float(theirs[name]["proxy_dist"](a, b)), rel=1e-4, abs=1e-6), name


# Independent of the implementation: SciPy, and formulas over sets.
SETS = {
    "jaccard": lambda b, x, y, n: (x + y) / (b + x + y) if b + x + y else 0,
    "dice": lambda b, x, y, n: (x + y) / (2 * b + x + y) if b + x + y else 0,
    "matching": lambda b, x, y, n: (x + y) / n,
    "kulsinski": lambda b, x, y, n: (x + y - b + n) / (x + y + n) if x + y else 0,
    "rogerstanimoto": lambda b, x, y, n: 2 * (x + y) / (n + x + y),
    "sokalmichener": lambda b, x, y, n: 2 * (x + y) / (n + x + y),
    "russellrao": lambda b, x, y, n: (n - b) / n if x + y else 0,
    "sokalsneath": lambda b, x, y, n: (x + y) / (b / 2 + x + y) if x + y else 0,
}
VALUES = {
    "euclidean": scipy_distance.euclidean,
    "sqeuclidean": scipy_distance.sqeuclidean,
    "manhattan": scipy_distance.cityblock,
    "chebyshev": scipy_distance.chebyshev,
    "canberra": scipy_distance.canberra,
    "braycurtis": lambda x, y: scipy_distance.braycurtis(x, y) if (x + y).any() else 0,
    "hamming": scipy_distance.hamming,
    "cosine": lambda x, y: scipy_distance.cosine(x, y) if x.any() and y.any() else float(x.any() or y.any()),
    "correlation": lambda x, y: scipy_distance.correlation(x, y) if x.any() and y.any() else float(x.any() or y.any()),
    "minkowski": scipy_distance.minkowski,
    "hellinger": lambda x, y: (
        np.sqrt(max(1 - np.sqrt(x * y).sum() / np.sqrt(x.sum() * y.sum()), 0))
        if x.any() and y.any()
        else float(x.any() or y.any())
    ),
}


def pairs():
    rng = np.random.default_rng(0)
    matrix = (rng.uniform(size=(9, 20)) * (rng.uniform(size=(9, 20)) < 0.4)).astype(np.float32)
    matrix[[3, 7]] = 0
    matrix[5] = matrix[4]
    matrix[6] = (matrix[6] > 0) * 2
    return matrix


@pytest.mark.parametrize("name", [*SETS, *VALUES])
def test_values_of_dense_and_sparse_callables(name):
    matrix, n = pairs(), 20
    for x in matrix:
        for y in matrix:
            if name in SETS:
                a, b = x != 0, y != 0
                expected = SETS[name]((a & b).sum(), (a & ~b).sum(), (b & ~a).sum(), n)
            else:
                expected = VALUES[name](x.astype(float), y.astype(float))
            assert distances.named_distances[name](x, y) == pytest.approx(
                expected, abs=2e-4 if name == "hellinger" else 1e-6
            )
            i, j = np.flatnonzero(x).astype(np.int32), np.flatnonzero(y).astype(np.int32)
            more = (n,) if name in sparse.sparse_need_n_features else ()
            found = sparse.sparse_named_distances[name](i, x[i], j, y[j], *more)
            assert found == pytest.approx(expected, abs=5e-4 if name == "hellinger" else 1e-6)


def test_values_of_pynndescent_itself():
    theirs = pytest.importorskip("pynndescent.distances", reason="to compare values with")
    rng = np.random.default_rng(1)
    special = {
        "seuclidean": (np.arange(1.0, 13.0),),
        "standardised_euclidean": (np.arange(1.0, 13.0),),
        "mahalanobis": (np.eye(12) * 2,),
        "wminkowski": (np.arange(1.0, 13.0), 3),
        "weighted_minkowski": (np.arange(1.0, 13.0), 3),
    }
    assert set(theirs.named_distances) == set(distances.named_distances)
    assert set(theirs.fast_distance_alternatives) == set(distances.fast_distance_alternatives)
    for name, function in theirs.named_distances.items():
        if name in ("kantorovich", "wasserstein", "sinkhorn"):
            continue  # need a cost, see below
        for _ in range(5):
            x, y = (rng.uniform(size=12).astype(np.float32) * (rng.uniform(size=12) < 0.6) for _ in range(2))
            if name.startswith("bit"):
                x, y = ((v * 255).astype(np.uint8) for v in (x, y))
            elif name == "haversine":
                x, y = x[:2], y[:2]
            elif "dot" in name or name == "direct_cosine":
                x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
            got = distances.named_distances[name](x, y, *special.get(name, ()))
            assert got == pytest.approx(float(function(x, y, *special.get(name, ()))), rel=2e-4, abs=1e-5), name


def test_alternatives_are_corrected_to_the_distances(dense):
    for name, form in distances.fast_distance_alternatives.items():
        for x, y in zip(dense[:20], dense[20:40], strict=True):
            unit = (x / np.linalg.norm(x), y / np.linalg.norm(y)) if name == "dot" else (x, y)
            assert form["correction"](form["dist"](*unit)) == pytest.approx(
                distances.named_distances[name](*unit), abs=2e-4
            )
    for name, form in sparse.sparse_fast_distance_alternatives.items():
        function = sparse.sparse_dot if name == "dot" else sparse.sparse_named_distances[name]
        ids = np.arange(6, dtype=np.int32)
        x, y = (v / np.linalg.norm(v) for v in dense[:2])
        assert form["correction"](form["dist"](ids, x, ids, y)) == pytest.approx(function(ids, x, ids, y), abs=2e-4)


def test_values_of_transport_and_ranks():
    x, y = np.array([0.2, 0.3, 0.5, 0]), np.array([0.0, 0.5, 0.1, 0.4])
    line = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    expected = np.abs(np.cumsum(x) - np.cumsum(y)).sum()
    assert distances.kantorovich(x, y, line) == pytest.approx(expected, rel=1e-5)
    assert distances.wasserstein_1d(x, y) == pytest.approx(expected)
    i, j = np.flatnonzero(x).astype(np.int32), np.flatnonzero(y).astype(np.int32)
    assert sparse.sparse_wasserstein_1d(i, x[i], j, y[j]) == pytest.approx(expected)
    assert sparse.sparse_kantorovich(i, x[i], j, y[j], lambda a, b: abs(a - b)) == pytest.approx(expected, rel=1e-5)
    assert sparse.sparse_kantorovich(i, x[i], j, y[j]) == pytest.approx(np.abs(x - y).sum() / 2, rel=1e-5)
    assert distances.sinkhorn(x, y, line, 0.01) == pytest.approx(expected, rel=0.05)
    assert distances.spearmanr(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(2)
    assert_array_equal(distances.rankdata([10, 30, 20, 30], "min"), [1, 3, 2, 3])
    with pytest.raises(ValueError, match="at least 1"):
        distances.circular_kantorovich(x, y, 0.5)
    with pytest.raises(ValueError, match="2 columns"):
        distances.haversine(x, y)


def test_transformer(dense):
    transformer = PyNNDescentTransformer(n_neighbors=7, search_epsilon=0.15, random_state=42).fit(
        dense[:400], compress_index=False
    )
    indices, found = NNDescent(dense[:400], n_neighbors=8, random_state=42).query(dense[:90], k=7, epsilon=0.15)
    graph = transformer.transform(dense[:90])
    assert graph.shape == (90, 400)
    assert_array_equal(graph.indices.reshape(-1, 7), indices)
    assert_allclose(graph.data.reshape(-1, 7), found)
    own = PyNNDescentTransformer(n_neighbors=7, random_state=42).fit_transform(dense, np.zeros(700))
    assert own.nnz == 700 * 8
    assert_array_equal(own.diagonal(), 0)
    again = pickle.loads(pickle.dumps(transformer))
    assert (again.transform(dense[:9]) != transformer.transform(dense[:9])).nnz == 0
    assert len(transformer.get_feature_names_out()) == 400
    with pytest.warns(FutureWarning, match="diversify_prob"):
        PyNNDescentTransformer(diversify_prob=0.5).fit(dense)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_graphs_are_made_whole(container):
    rng = np.random.default_rng(0)
    centres = np.array([[1.0, 1], [9, 1], [1, 9]])
    X = np.vstack([c + rng.uniform(size=(20, 2)) for c in centres]).astype(np.float32)
    X[40] = X[0]  # a part that lies on another
    index = NNDescent(container(X), n_neighbors=4, random_state=0)
    graph = graph_utils.adjacency_matrix_representation(*index.neighbor_graph)
    assert (graph != graph.T).nnz == 0
    separate = graph.tolil()
    separate[40], separate[:, 40] = 0, 0
    parts, part = connected_components(separate)
    whole = graph_utils.connect_graph(separate.tocsr(), index)
    assert parts > 1
    assert connected_components(whole)[0] == 1
    assert whole[0, 40] == whole[40, 0] == pytest.approx(np.finfo(np.float32).eps)
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    for a in range(parts):
        for b in range(a):
            between = whole.toarray()[np.ix_(part == a, part == b)]
            assert between[between > 0].min() == pytest.approx(
                max(D[np.ix_(part == a, part == b)].min(), np.finfo(np.float32).eps), rel=1e-5
            )


def test_each_part_is_asked_for_once(monkeypatch):
    X = np.random.default_rng(0).uniform(size=(90, 2))
    index = NNDescent(X, n_neighbors=4, random_state=0)
    part = np.arange(90) // 3
    graph = sp.csr_matrix((part[:, None] == part).astype(np.float32))
    asked, query = [], index._index.query
    monkeypatch.setattr(index._index, "query", lambda *a, **k: asked.append(len(a[0])) or query(*a, **k))
    whole = graph_utils.connect_graph(graph, index)
    assert len(asked) == 29
    assert whole.nnz == graph.nnz + 30 * 29
    assert connected_components(whole)[0] == 1
    search = graph_utils.create_component_search(index)
    i, j, length = graph_utils.find_component_connection_edge(
        np.arange(3), np.arange(6, 9), search, index._raw_data, None, index.rng_state
    )
    assert whole[i, j] == whole[j, i] == pytest.approx(length)
    assert length == pytest.approx(np.linalg.norm(X[:3, None] - X[None, 6:9], axis=2).min(), rel=1e-5)
    connected = graph_utils.connect_graph(whole, index)
    assert (connected != whole).nnz == 0


def test_no_warning_where_nothing_is_unusual(dense):
    with warnings.catch_warnings(action="error"):
        PyNNDescentTransformer(n_neighbors=5).fit_transform(dense)
