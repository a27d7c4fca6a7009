"""The public face: shapes, state, messages."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn

X = sp.random(50, 20, 0.3, format="csr", random_state=0, dtype=np.float32)


def test_query_shapes_and_types():
    index = sn.Index(metric="cosine").fit(X)
    result = index.query(X[:4], k=3)
    assert isinstance(result, sn.Neighbors)
    indices, distances = result
    assert indices.shape == distances.shape == (4, 3)
    assert indices.dtype == np.int64
    assert distances.dtype == np.float32
    assert indices[:, 0].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-7)
    assert (index.n_rows, index.n_features, len(index)) == (50, 20, 50)


def test_to_csr():
    index = sn.Index(metric="cosine", n_neighbors=4).fit(X)
    graph = index.to_csr()
    assert graph.shape == (50, 50)
    assert (np.diff(graph.indptr) == 4).all()
    np.testing.assert_array_equal(graph.indices.reshape(50, 4), index.neighbor_graph.indices)
    assert (graph.diagonal() == 0).all()
    ones = index.to_csr(mode="connectivity", include_self=True)
    assert (ones.data == 1).all()
    assert (ones.diagonal() == 1).all()
    selves = index.to_csr(include_self=True)
    assert (np.diff(selves.indptr) == 5).all()
    assert selves.data.reshape(50, 5)[:, 0].tolist() == [0.0] * 50
    with pytest.raises(ValueError, match="mode must be 'distance' or 'connectivity', got 'dist'"):
        index.to_csr(mode="dist")
    small = sn.Index(metric="cosine", n_neighbors=4).fit(X[:3])
    assert (np.diff(small.to_csr().indptr) == 2).all()


def test_repr_says_what_it_is_and_what_it_chose():
    index = sn.Index(metric="minkowski", metric_params={"p": 3})
    assert "not fitted" in repr(index)
    assert "minkowski(p=3" in repr(index)
    assert "inverted lists" in repr(sn.Index().fit(X))
    assert "inner products" in repr(sn.Index().fit(X.toarray()))
    assert "whole rows" in repr(sn.Index(metric="chebyshev").fit(X))
    assert "50 csr rows x 20 columns" in repr(sn.Index().fit(X))


def test_n_jobs_may_be_set_later():
    index = sn.Index().fit(X)
    index.n_jobs = 1
    one = index.query(X, 3)
    index.n_jobs = -1
    np.testing.assert_array_equal(index.query(X, 3).indices, one.indices)
    index.n_jobs = 0
    with pytest.raises(ValueError, match="n_jobs must not be 0"):
        index.query(X, 3)


def test_a_failed_fit_leaves_the_index_as_it_was():
    index = sn.Index(metric="hellinger").fit(X)
    before = index.query(X, 3)
    with pytest.raises(ValueError, match="at least 0"):
        index.fit(-X)
    np.testing.assert_array_equal(index.query(X, 3).indices, before.indices)


CONSTRUCTOR = {
    "metric": ({"metric": "cosin"}, r"unknown metric 'cosin'. Did you mean 'cosine'"),
    "metric type": ({"metric": 3}, r"metric must be a name, a metric or a compiled function, got int"),
    "parameter": ({"metric": "minkowski", "metric_params": {"q": 3}}, r"minkowski has no parameter 'q'; it takes p, w"),
    "parameter value": (
        {"metric": "minkowski", "metric_params": {"p": 0.5}},
        r"minkowski: p must be at least 1.*got 0.5",
    ),
    "parameter type": ({"metric": "minkowski", "metric_params": {"p": "3"}}, r"minkowski: p must be a number, got '3'"),
    "positional parameters": ({"metric": "minkowski", "metric_params": (3,)}, r"must be a dict"),
    "needed parameter": ({"metric": "kantorovich"}, r"kantorovich needs the parameter 'cost'"),
    "twice": ({"metric": sn.metrics.minkowski(p=3), "metric_params": {"p": 3}}, r"give them once"),
    "n_neighbors": ({"n_neighbors": 0}, r"n_neighbors must be at least 1, got 0"),
    "n_neighbors type": ({"n_neighbors": 2.5}, r"n_neighbors must be an integer of at least 1, got 2.5"),
    "method": ({"method": "graf"}, r"method must be one of 'auto', 'exact', 'graph', 'heads', got 'graf'"),
    "random_state": ({"random_state": "seed"}, r"random_state must be an integer or None"),
    "n_jobs": ({"n_jobs": 0}, r"n_jobs must not be 0"),
    "n_jobs type": ({"n_jobs": 1.5}, r"n_jobs must be an integer or None, got 1.5"),
}


@pytest.mark.parametrize("case", CONSTRUCTOR)
def test_constructor_messages(case):
    arguments, message = CONSTRUCTOR[case]
    with pytest.raises(ValueError, match=message):
        sn.Index(**arguments)


QUERIES = {
    "columns": (lambda i: i.query(np.ones((1, 7))), r"Q has 7 columns, but the index has 20"),
    "dimension": (lambda i: i.query(np.ones(20)), r"2 dimensions.*Q\[None, :\]"),
    "nan": (lambda i: i.query(np.full((1, 20), np.nan)), r"Q has a NaN at row 0, column 0"),
    "k zero": (lambda i: i.query(X, k=0), r"k must be at least 1, got 0"),
    "k negative": (lambda i: i.query(X, k=-1), r"k must be at least 1, got -1"),
    "k float": (lambda i: i.query(X, k=2.0), r"k must be an integer of at least 1, got 2.0"),
    "k bool": (lambda i: i.query(X, k=True), r"k must be an integer"),
    "radius nan": (lambda i: i.query_radius(X, float("nan")), r"radius must not be NaN"),
    "radius text": (lambda i: i.query_radius(X, "1"), r"radius must be a number, got '1'"),
    "radius columns": (lambda i: i.query_radius(np.ones((1, 7)), 1.0), r"Q has 7 columns"),
    "no rows": (lambda i: i.fit(np.zeros((0, 3))), r"X has no rows"),
    "not fitted": (lambda i: sn.Index().query(X), r"no rows yet: call fit\(X\) first"),
}


@pytest.mark.parametrize("case", QUERIES)
def test_query_messages(case):
    call, message = QUERIES[case]
    index = sn.Index(metric="cosine").fit(X)
    with pytest.raises(ValueError, match=message):
        call(index)


def test_radius_edges():
    index = sn.Index(metric="euclidean").fit(np.array([[0.0], [0.3], [1.0]]))
    found = index.query_radius([[0.0]], 0.3)
    assert found.indices.tolist() == [0, 1]
    assert index.query_radius([[0.0]], -1.0).indices.tolist() == []
    assert index.query_radius([[0.0]], np.inf).indices.tolist() == [0, 1, 2]
    cosine = sn.Index(metric="cosine").fit(X)
    assert (np.diff(cosine.query_radius(X, 1.0).indptr) == 50).all()
    assert (np.diff(cosine.query_radius(X, np.inf).indptr) == 50).all()
    dots = sn.Index(metric="dot").fit(X)
    np.testing.assert_array_equal(
        np.diff(dots.query_radius(X, -0.5).indptr), (sn.pairwise_distances(X, metric="dot") <= -0.5).sum(axis=1)
    )


SECOND = """
import sys, pathlib, os
import numpy as np, scipy.sparse as sp, numba
import sparsenn as sn
from sparsenn import answers, blockwise, compact, descent, forest, graph, heads, patterns, rerank, search, termwise
X = sp.random(30, 9, 0.4, format="csr", random_state=0, dtype=np.float32)
for metric in ("cosine", "jaccard"):
    sn.Index(metric=metric).fit(X).query(X, 3)
sn.exact_neighbors(X.toarray(), k=2, metric="euclidean")
sn.pairwise_distances(X, metric="manhattan")
sn.Index("cosine", method="graph", n_neighbors=3).fit(X)
sn.Index("euclidean", method="graph", n_neighbors=3).fit(X.toarray())
baskets = sp.hstack([np.random.default_rng(0).random((4000, 4)) < 0.6, sp.eye(4000)]).tocsr()
index = sn.Index("jaccard").fit(baskets)
assert index._engine.patterns is not None
index.query(baskets[:3], 3)
answers.AT_ONCE, answers.exact_cost = 0, lambda engine: 1e15  # nothing is too small for approximate search
sn.Index("cosine", method="heads").fit(X).query(X, 3, recall=0.1)
index = sn.Index("euclidean", method="graph", n_neighbors=3).fit(X.toarray())
index.query(X.toarray(), 3, recall=0.1)
index.query_radius(X.toarray(), 0.5, recall=0.1)
from sparsenn import _jit
print(sum(f.cache_hits == 0 for f in _jit._callbacks.values()),
      sum(sum(d.stats.cache_misses.values())
          for m in (blockwise, compact, descent, forest, graph, heads, patterns, rerank, search, termwise)
          for d in vars(m).values()
          if hasattr(d, "signatures") and hasattr(d._cache, "_impl")))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """All cache hits, no new files; an edited package would have another digest in every key."""
    env = {**__import__("os").environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run():
        out = subprocess.run([sys.executable, "-c", SECOND], env=env, capture_output=True, text=True, check=True).stdout
        files = sorted((p.name, p.stat().st_size) for p in tmp_path.rglob("*.nb?"))
        return [int(n) for n in out.split()], files

    first, files = run()
    second, files_after = run()
    assert first[0] > 0 < first[1]
    assert second == [0, 0]
    assert files_after == files


def test_the_cache_key_holds_the_source_of_the_whole_package(monkeypatch):
    from sparsenn import _jit

    key = termwise_key()
    monkeypatch.setattr(_jit, "package_digest", lambda: "another")
    assert termwise_key() != key


def termwise_key():
    from numba.core.registry import cpu_target

    from sparsenn import termwise

    return termwise.nearest_few._cache._index_key((), cpu_target.target_context.codegen())
