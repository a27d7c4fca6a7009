"""An index that changes: ids, graphs that go on, calls that fail or are interrupted, threads, forks, blocks of rows."""

import json
import linecache
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import answers, compact, living, names, state, storage, updates
from sparsenn.search import Setting
from tests import naive
from tests.test_graph import recall, zipf_rows

X = sp.random(60, 12, 0.3, format="csr", random_state=0, dtype=np.float32)
PACKAGE = str(Path(sn.__file__).parent)


def test_ids_of_your_own_stand_in_results():
    ids = np.random.default_rng(0).permutation(1000)[:60]
    one, other = sn.Index("euclidean").fit(X), sn.Index("euclidean").fit(X, ids=ids)
    a, b = one.query(X[:5], 7), other.query(X[:5], 7)
    np.testing.assert_array_equal(ids[a.indices], b.indices)
    np.testing.assert_array_equal(a.distances, b.distances)
    np.testing.assert_array_equal(ids[one.neighbor_graph.indices], other.neighbor_graph.indices)
    np.testing.assert_array_equal(one.to_csr().indices, other.to_csr().indices)  # places, whatever the ids are
    allowed = other.query(X[:5], 3, allowed=ids[:9].tolist()).indices
    np.testing.assert_array_equal(ids[one.query(X[:5], 3, allowed=range(9)).indices], allowed)
    texts = sn.Index("euclidean").fit(X, ids=[f"é{i}" for i in ids])
    found = texts.query(X[:5], 7).indices
    np.testing.assert_array_equal(found, a.indices)
    assert texts.ids_of(found).tolist() == [[f"é{i}" for i in row] for row in b.indices]
    assert texts.ids_of([[-1]]).tolist() == [[None]]
    assert texts.query(X[:5], 3, allowed=[f"é{i}" for i in ids[:9]]).indices.max() < 9


def test_texts_are_ids_as_they_are_and_anything_can_hold_them():
    ids = ["a\0", "a", "x" * 10_000, *(f"row {i}" for i in range(57))]
    tracemalloc.start()
    names.make_names(ids, 60)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 500_000  # 60 texts of the longest one's width would be 2.4 million bytes
    index = sn.Index("euclidean").fit(X, ids=dict.fromkeys(ids).keys())
    assert index.ids.tolist() == ids
    index.remove(i for i in ids[:2])
    assert index.ids.tolist() == ids[2:]
    index.update({"row 3"}, X[:1])
    with pytest.raises(ValueError, match="ids has 'row 3' twice"):
        index.remove(i for i in ["row 3", "row 3"])
    with pytest.raises(ValueError, match=r"must be integers below 2\^63, or texts") as caught:
        sn.Index().fit(X, ids={(i, "x" * 1000): i for i in range(60)}.keys())
    assert len(str(caught.value)) < 200


def test_an_id_is_never_used_again():
    points = sn.Index("euclidean").fit([[0.0], [1.0]])
    points.remove([1])
    assert points.add([[5.0]]).tolist() == [2]
    points.remove([0, 2])
    assert points.query([[0.0]], 2).indices.tolist() == [[-1, -1]]
    assert len(points) == 0
    assert points.neighbor_graph.indices.shape == (0, 15)
    assert points.to_csr().shape == (0, 0)
    assert points.query_radius([[0.0]], 9.0).indices.tolist() == []
    assert points.add([[7.0]]).tolist() == [3]
    assert points.neighbor_graph.indices[0].tolist() == [-1] * 15
    named = sn.Index("euclidean").fit([[0.0]], ids=["a"])
    named.remove(["a"])
    assert named.add([[3.0]], ids=["a"]).tolist() == ["a"]
    assert named.ids_of(named.query([[3.0]], 1).indices).tolist() == [["a"]]
    with pytest.raises(ValueError, match=r"indices has 0 at place 0, which is no row of this index \(any more\)"):
        named.ids_of([0])


WRONG = {
    "mixed": (lambda: sn.Index().fit(X[:2], ids=["a", 1]), r"ids must be integers below 2\^63, or texts"),
    "float": (lambda: sn.Index().fit(X[:2], ids=[0.5, 1]), "ids must be integers"),
    "bool": (lambda: sn.Index().fit(X[:2], ids=[True, False]), "ids must be integers"),
    "huge": (lambda: sn.Index().fit(X[:2], ids=np.array([2**63, 1], np.uint64)), "ids must be integers"),
    "negative": (lambda: sn.Index().fit(X[:2], ids=[4, -1]), "ids has -1 at place 1: ids are at least 0"),
    "few": (lambda: sn.Index().fit(X[:2], ids=[4]), "ids has 1 values, but X has 2 rows"),
    "twice": (lambda: sn.Index().fit(X[:3], ids=[4, 5, 4]), "ids has 4 twice, at places 0 and 2"),
    "twice, text": (lambda: sn.Index().fit(X[:3], ids=["é", "b", "é"]), "ids has 'é' twice, at places 0 and 2"),
    "one": (lambda: sn.Index().fit(X).remove(3), r"ids must be a list or array of ids, got 3: give \[3\]"),
    "text for int": (lambda: sn.Index().fit(X).remove(["3"]), "the ids of this index are integers"),
    "gone": (lambda: sn.Index().fit(X).remove([59, 60]), "ids has 60 at place 1, which is the id of no row"),
    "allowed": (
        lambda: sn.Index().fit(X, ids=np.arange(60) + 9).query(X, allowed=[3]),
        "allowed has 3 at place 0, which is the id of no row",
    ),
    "not fitted": (lambda: sn.Index().add(X), "call fit"),
    "columns": (lambda: sn.Index().fit(X).add(X[:, :5]), "X has 5 columns, but the index has 12.*new_columns=True"),
    "fewer columns": (lambda: sn.Index().fit(X).add(X[:, :5], new_columns=True), "X has 5 columns"),
    "fitted columns": (
        lambda: sn.Index("seuclidean").fit(X).add(sp.hstack([X, X]).tocsr(), new_columns=True),
        "seuclidean has V, which says nothing of new columns",
    ),
    "kind": (
        lambda: sn.Index().fit(X, ids=range(60)).add(X[:1], ids=["a"]),
        "ids are text, but those of the index are",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("metric", "make"), [("cosine", lambda x: x), ("euclidean", sp.csr_matrix.toarray), ("jaccard", lambda x: x)]
)
def test_a_graph_goes_on_as_good_as_a_fresh_one(metric, make):
    """40 % more in ten batches, then 20 % less; also what was rebuilt when."""
    rows = make(zipf_rows(2000, 150, 12, 3))
    n, start = 2000, 1440
    grown = sn.Index(metric, method="graph", n_neighbors=10).fit(rows[:start])
    for part in np.array_split(np.arange(start, n), 10):
        grown.add(rows[part])
    assert grown._state.base.engine.n_rows > start  # made again once a third had come
    assert len(grown._state.segments) > 1
    fresh = sn.Index(metric, method="graph", n_neighbors=10).fit(rows)
    exact = sn.Index(metric, method="exact", n_neighbors=10).fit(rows).neighbor_graph
    assert recall(grown.neighbor_graph, exact) >= recall(fresh.neighbor_graph, exact) - 0.01
    assert len(grown._state.segments) == 1
    gone = np.random.default_rng(0).choice(n, n // 5, replace=False)
    kept = np.setdiff1d(np.arange(n), gone)
    for part in np.array_split(gone, 10):
        grown.remove(part)
    fresh = sn.Index(metric, method="graph", n_neighbors=10).fit(rows[kept])
    exact = sn.Index(metric, method="exact", n_neighbors=10).fit(rows[kept]).neighbor_graph
    places = np.searchsorted(kept, grown.neighbor_graph.indices)
    assert recall(grown.neighbor_graph._replace(indices=places), exact) >= recall(fresh.neighbor_graph, exact) - 0.01
    Q = make(zipf_rows(50, 150, 12, 4))
    true = fresh.query(Q, 10, recall=1)
    assert naive.recall(grown.query(Q, 10).distances, true.distances) > 0.9
    np.testing.assert_allclose(grown.query(Q, 10, recall=1).distances, true.distances, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "manhattan", "jaccard"])
def test_few_new_rows_are_scanned_until_lists_are_worth_their_columns(metric):
    wide = sp.random(900, 100_000, 0.00008, format="csr", random_state=1, dtype=np.float32)
    index = sn.Index(metric, method="exact").fit(wide[:700])
    index.add(wide[700:])
    assert [s.engine.way for s in index._now().segments] == ["postings", "blocks"]
    whole = sn.Index(metric, method="exact").fit(wide)
    for queries in (wide[::50], wide[710]):
        want, found = whole.query(queries, 12), index.query(queries, 12)
        np.testing.assert_array_equal(found.indices, want.indices)
        np.testing.assert_allclose(found.distances, want.distances, atol=1e-6)
    before, rows = index._now(), index._now().space.read(wide[700:720])
    want, own = before.nearest(rows, 3, 1), index.query(wide[700:720], 3, allowed=range(700, 900))
    index.remove(range(700))  # the new rows become the base, and get lists
    assert [s.engine.way for s in index._now().segments] == ["postings"]
    np.testing.assert_array_equal(index.query(wide[700:720], 3).indices, own.indices)
    np.testing.assert_array_equal(before.nearest(rows, 3, 1).indices, want.indices)  # a reader's are left as they were
    narrow = sn.Index(metric, method="exact").fit(X)
    narrow.add(sp.vstack([X, X, X], format="csr"))
    assert [s.engine.way for s in narrow._now().segments] == ["postings", "postings"]


def test_few_removed_rows_leave_most_of_a_graph(monkeypatch):
    rows = zipf_rows(1500, 150, 12, 3)
    index = sn.Index("cosine", method="graph", n_neighbors=10).fit(rows)
    built = []
    make = updates.plan_graph
    monkeypatch.setattr(updates, "plan_graph", lambda *a, known=None: built.append(known) or make(*a, known=known))
    index.remove(range(10))
    index.add(rows[:20])
    graph = index.neighbor_graph
    (known,) = built
    assert 0.7 < known.joined.mean() < 1
    assert (graph.indices[known.joined] >= 10).all()
    exact = sn.Index("cosine", method="exact", n_neighbors=10).fit(sp.vstack([rows[10:], rows[:20]]).tocsr())
    assert naive.recall(graph.distances, exact.neighbor_graph.distances) > 0.97


def test_a_graph_that_goes_on_has_no_row_twice(monkeypatch):
    """Rows that have lost a neighbour are joined anew, and still are neighbours of others."""
    monkeypatch.setattr(updates, "FEW", 0)
    rng = np.random.default_rng(0)
    for turn in range(60):
        n, dims = rng.integers(4, 14), rng.integers(1, 4)
        index = sn.Index("euclidean", method="graph", n_neighbors=3, random_state=turn)
        index.fit(rng.integers(0, 3, (n, dims)))
        for _ in range(3):
            index.neighbor_graph  # noqa: B018
            index.add(rng.integers(0, 3, (rng.integers(1, 5), dims)))
            index.remove(rng.choice(index.ids, 1))
        graph = index.neighbor_graph
        for row in graph.indices.tolist():
            there = [i for i in row if i >= 0]
            assert len(set(there)) == len(there) == min(3, len(index) - 1)


def low_rank(rng, n, axes):
    """Rows near the span of some axes."""
    return (rng.normal(size=(n, len(axes))) @ axes + 0.01 * rng.normal(size=(n, axes.shape[1]))).astype(np.float32)


@pytest.mark.parametrize(("metric", "alike"), [("euclidean", True), ("euclidean", False), ("cosine", True)])
def test_sketches_go_on_where_they_fit_the_new_rows(metric, alike, monkeypatch):
    monkeypatch.setattr("sparsenn.neighborgraph.WORTH_FORM", 0)
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(600, 40)))[0].T
    rows = np.vstack([low_rank(rng, 560, axes[:20]), low_rank(rng, 140, axes[:20] if alike else 3 * axes[20:])])
    index, two = (sn.Index(metric, method="graph", n_neighbors=5, n_jobs=n).fit(rows[:560]) for n in (1, 2))
    before = index._engine.learnt
    assert before.basis is not None
    assert before.x is not None
    index.add(rows[560:])
    graph = index.neighbor_graph
    after = index._engine.learnt
    assert (after.basis is before.basis) == alike
    exact = sn.Index(metric, method="exact", n_neighbors=5).fit(rows).neighbor_graph
    assert naive.recall(graph.distances, exact.distances) > 0.97
    two.add(rows[560:])
    np.testing.assert_array_equal(two.neighbor_graph.indices, graph.indices)
    np.testing.assert_array_equal(two.neighbor_graph.distances, graph.distances)
    if alike:
        assert len(after.x.indptr) == 701
        assert after.x.stats.flags.c_contiguous
        # sketches of rows that were there and of new ones, each in its place
        fresh = compact.express_by(after.basis)(index._engine.own()[0])
        assert np.mean(after.x.data.view(np.int8) != fresh.data.view(np.int8)) < 1e-3  # products of other blocks
        np.testing.assert_allclose(after.x.stats, fresh.stats, rtol=1e-4)


def test_dense_rows_with_sketches_take_new_columns(monkeypatch):
    monkeypatch.setattr("sparsenn.neighborgraph.WORTH_FORM", 0)
    rng = np.random.default_rng(0)
    rows = low_rank(rng, 400, np.linalg.qr(rng.normal(size=(600, 20)))[0].T)
    index = sn.Index("euclidean", method="graph", n_neighbors=5).fit(rows[:300])
    wide = np.hstack([rows, rng.normal(size=(400, 1)).astype(np.float32)])
    wide[:300, 600] = 0
    index.add(rows[300:310])
    index.add(wide[310:], new_columns=True)
    wide[300:310, 600] = 0
    exact = sn.Index("euclidean", method="exact", n_neighbors=5).fit(wide)
    assert naive.recall(index.neighbor_graph.distances, exact.neighbor_graph.distances) > 0.97
    assert naive.recall(index.query(wide[:50], 5).distances, exact.query(wide[:50], 5).distances) > 0.9


def test_wide_graphs_of_whole_numbers_go_on(monkeypatch):
    """A form that loses nothing needs fewer edges than neighbours, for a share of these is enough."""
    monkeypatch.setattr("sparsenn.neighborgraph.WORTH_FORM", 0)
    rows = np.random.default_rng(0).integers(0, 200, (700, 30)).astype(np.float32)
    index = sn.Index("manhattan", method="graph", n_neighbors=400).fit(rows[:560])
    assert index._engine.learnt.name == "values as uint8"
    rows[560:] += 0.5  # no whole numbers: another form
    index.add(rows[560:])
    exact = sn.Index("manhattan", method="exact", n_neighbors=400).fit(rows).neighbor_graph
    assert naive.recall(index.neighbor_graph.distances, exact.distances) > 0.97
    assert index._engine.learnt.name != "values as uint8"


@pytest.mark.parametrize("whole", [True, False])
def test_a_loaded_index_goes_on(whole, tmp_path):
    rows = np.random.default_rng(0).normal(size=(500, 8))
    sn.Index("euclidean", method="graph", n_neighbors=5).fit(rows[:400]).save(tmp_path / "x.sn", compact=not whole)
    index = sn.Index.load(tmp_path / "x.sn")
    index.add(rows[400:])
    exact = sn.Index("euclidean", method="exact", n_neighbors=5).fit(rows).neighbor_graph
    assert naive.recall(index.neighbor_graph.distances, exact.distances) > 0.97


def test_one_of_many_readers_indexes_what_was_added(monkeypatch):
    made, engine = [], state.ExactEngine
    monkeypatch.setattr(state, "ExactEngine", lambda *a, **k: made.append(1) or engine(*a, **k))
    rows = zipf_rows(900, 60, 8, 1)
    index = sn.Index("cosine", method="exact").fit(rows[:600])
    index.add(rows[600:])
    want = sn.Index("cosine", method="exact").fit(rows).query(rows[:50], 5).indices
    found, start = [], threading.Barrier(4)

    def read():
        start.wait()
        found.append(index.query(rows[:50], 5).indices)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    for indices in found:
        np.testing.assert_array_equal(indices, want)


def test_rows_are_indexed_by_the_first_query():
    rows = zipf_rows(900, 60, 8, 1)
    index = sn.Index("cosine", method="exact").fit(rows[:600])
    index.add(rows[600:750])
    first = index._now().segments[1].held
    index.add(rows[750:])
    (held,) = (segment.held for segment in index._now().segments[1:])
    assert first.rows is not None  # never indexed alone
    assert len(held.rows) == 300
    want = sn.Index("cosine", method="exact").fit(rows).query(rows[:50], 5)
    found = index.query(rows[:50], 5)
    assert held.rows is None
    np.testing.assert_array_equal(found.indices, want.indices)
    np.testing.assert_array_equal(found.distances, want.distances)
    index.add(rows[:10])  # joins rows that have been indexed
    assert len(index) == 910
    np.testing.assert_array_equal(index.query(rows[20:50], 5).indices, want.indices[20:50])


def compiled_types(index):
    """Types of all that compiled code is given: entries are called without a look at them."""
    import numba

    engine = index._engine
    task = index._answers.searcher._task(10, Setting(100, 1.0, 50, 20))
    parts = [*engine.own(), task, engine.postings if engine.way == "postings" else None]
    return [numba.typeof(part) for part in parts]


def test_approximate_queries_after_updates_and_from_disk(tmp_path, monkeypatch):
    """Heads, walks and sketches are saved and found again, and removed rows are made up for."""
    monkeypatch.setattr(answers, "AT_ONCE", 0)
    monkeypatch.setattr(answers, "exact_cost", lambda engine: 1e15)
    text = zipf_rows(1500, 150, 12, 3)
    dense = np.random.default_rng(0).normal(size=(1500, 24)).astype(np.float32)
    whole = np.round(20 * dense)
    for metric, method, rows in [
        ("cosine", "heads", text),
        ("cosine", "graph", text),
        ("euclidean", "graph", text),
        ("cosine", "graph", dense),
        ("manhattan", "graph", whole),
    ]:
        monkeypatch.setattr("sparsenn.neighborgraph.WORTH_FORM", 1)  # small forms of dense rows too
        index = sn.Index(metric, method=method, n_neighbors=10).fit(rows)
        index.add(rows[:9])
        index.remove(range(100, 300))
        Q = rows[:40]
        found, true = index.query(Q, 10), index.query(Q, 10, recall=1)
        assert index._answers._searcher is not None
        assert naive.recall(found.distances, true.distances) > 0.85
        assert not np.isin(found.indices, np.arange(100, 300)).any()
        index.save(tmp_path / "x.sn", compact=False)
        for mmap in (False, True):
            again = sn.Index.load(tmp_path / "x.sn", mmap=mmap)
            assert again._answers._searcher is None or not mmap
            again.save(tmp_path / "y.sn", compact=False)  # before any query
            again = sn.Index.load(tmp_path / "y.sn", mmap=mmap)
            assert again._answers._prepared is not None
            assert compiled_types(again) == compiled_types(index)
            same = again.query(Q, 10)
            np.testing.assert_array_equal(same.indices, found.indices)
            np.testing.assert_array_equal(same.distances, found.distances)
            assert again._answers.searcher.form.name == index._answers.searcher.form.name
            assert again._answers._calibrations == index._answers._calibrations
        index.save(tmp_path / "x.sn", compact=True)
        assert storage.size_of(tmp_path / "x.sn") < 0.7 * storage.size_of(tmp_path / "y.sn")
        for mmap in (False, True):
            again = sn.Index.load(tmp_path / "x.sn", mmap=mmap)
            np.testing.assert_array_equal(again.query(Q, 10, recall=1).indices, true.indices)
            with monkeypatch.context() as patch:  # links are there: they take long to make
                patch.setattr(answers, "link_rows", None)
                patch.setattr(answers, "grow_forest", None)
                again.save(tmp_path / "y.sn", compact=True)  # before any approximate query
                assert naive.recall(again.query(Q, 10).distances, true.distances) > 0.85
                again.save(tmp_path / "z.sn", compact=False)  # before there are heads
                assert again._answers._searcher is None or "links.ids" in storage.load(tmp_path / "z.sn").arrays
                twice, once = (storage.load(tmp_path / name).arrays for name in ("y.sn", "x.sn"))
                assert twice.keys() == once.keys()
            assert compiled_types(again) == compiled_types(index)
        index.save(tmp_path / "y.sn")
        short = pickle.loads(pickle.dumps(index))
        assert len(pickle.dumps(index)) < storage.size_of(tmp_path / "y.sn")
        np.testing.assert_array_equal(short.query(Q, 10, recall=1).indices, true.indices)


def test_every_metric_is_saved_and_pickled(tmp_path):
    rng = np.random.default_rng(0)
    for name in sn.metrics.names():
        record = sn.metrics.get(name)
        rows = rng.random((20, 8)) * (rng.random((20, 8)) < 0.6) + 0.01
        rows = rng.integers(0, 256, (20, 4)).astype(np.uint8) if record.containers == ("bits",) else rows
        rows = rows[:, : record.n_columns]
        params = dict(record.example)
        if "cost" in record.parameters:
            params["cost"] = np.abs(np.subtract.outer(np.arange(8.0), np.arange(8.0)))
        index = sn.Index(name, params or None, n_neighbors=3).fit(rows)
        found = index.query(rows[:3], 4)
        index.save(tmp_path / "x.sn")
        index.save(tmp_path / "x.sn")
        for again in (sn.Index.load(tmp_path / "x.sn", mmap=True, verify=True), pickle.loads(pickle.dumps(index))):
            np.testing.assert_array_equal(again.query(rows[:3], 4).indices, found.indices, err_msg=name)
            np.testing.assert_allclose(again.query(rows[:3], 4).distances, found.distances, rtol=1e-6, atol=1e-7)
            more = rows[:2]
            assert again.add(more).tolist() == [20, 21]
            np.testing.assert_allclose(
                again.query(rows[:1], 22).distances[0, -1], index.query(rows[:1], 20).distances[0, -1]
            )


def test_options_and_statistics_are_kept(tmp_path):
    rows = X.toarray()
    index = sn.Index("seuclidean", n_neighbors=4, method="exact", random_state=7, n_jobs=1).fit(rows[:40])
    index.save(tmp_path / "x.sn")
    again = sn.Index.load(tmp_path / "x.sn")
    assert (again.n_neighbors, again.method, again.random_state, again.n_jobs) == (4, "exact", 7, 1)
    again.add(rows[40:])
    want = sn.pairwise_distances(rows, metric="seuclidean", metric_params={"V": rows[:40].var(axis=0, ddof=1)})
    naive.check_neighbors(*again.query(rows, 5), want, 5)
    assert again.plan_ == index.plan_
    empty = pickle.loads(pickle.dumps(sn.Index("minkowski", {"p": 3})))
    assert repr(empty) == repr(sn.Index("minkowski", {"p": 3}))


def test_a_function_of_your_own_is_pickled_but_not_saved(tmp_path):
    import numba

    @numba.njit
    def gap(x, y):
        return np.abs(x - y).max()

    index = sn.Index(gap).fit(X.toarray())
    with pytest.raises(ValueError, match="the metric 'gap' is a function of your own, which a file cannot hold"):
        index.save(tmp_path / "x.sn")
    assert not (tmp_path / "x.sn").exists()
    again = pickle.loads(pickle.dumps(index))
    np.testing.assert_array_equal(again.query(X.toarray(), 4).indices, index.query(X.toarray(), 4).indices)


def test_joblib_maps_arrays_that_may_not_be_written_to(tmp_path):
    import joblib

    index = sn.Index("cosine", method="graph", n_neighbors=3).fit(X)
    joblib.dump(index, tmp_path / "x.joblib")
    for mode in (None, "r"):
        again = joblib.load(tmp_path / "x.joblib", mmap_mode=mode)
        np.testing.assert_array_equal(again.query(X, 4).indices, index.query(X, 4).indices)
        np.testing.assert_array_equal(again.neighbor_graph.indices, index.neighbor_graph.indices)


def test_altered_rows_of_a_compact_index_are_found_before_they_are_followed(tmp_path):
    for metric, rows in (("cosine", X), ("euclidean", X.toarray()), ("chebyshev", X)):
        sn.Index(metric, n_neighbors=3).fit(rows).save(tmp_path / "x.sn", compact=True)
        stored = storage.load(tmp_path / "x.sn")
        for name in {"base.indptr", "base.indices", "base.rank"} & stored.arrays.keys():
            altered = stored.arrays[name].copy()
            altered[1] = 10**6
            storage.save(tmp_path / "y.sn", stored.contents, {**stored.arrays, name: altered}, "0.1")
            for mmap in (False, True):
                with pytest.raises(ValueError, match="do not fit together"):
                    sn.Index.load(tmp_path / "y.sn", mmap=mmap).query(rows, 1)
                with pytest.raises(ValueError, match="do not fit together"):
                    sn.Index.load(tmp_path / "y.sn", mmap=mmap, verify=True)
        if "base.rank" in stored.arrays:  # rows of an engine with inverted lists: in the order of its own numbers
            falling = stored.arrays["base.indices"].copy()
            falling[:2] = falling[1::-1]
            storage.save(tmp_path / "y.sn", stored.contents, {**stored.arrays, "base.indices": falling}, "0.1")
            with pytest.raises(ValueError, match="do not rise"):
                sn.Index.load(tmp_path / "y.sn", mmap=True).query(rows, 1)
        elif metric == "chebyshev":  # which has no lists
            crafted = json.loads(json.dumps(stored.contents))
            crafted["state"]["segments"][0]["engine"]["rank"] = {"array": "rank", "dtype": "<i4"}
            rank = np.arange(rows.shape[1], dtype=np.int32)
            storage.save(tmp_path / "y.sn", crafted, {**stored.arrays, "rank": rank}, "0.1")
            with pytest.raises(ValueError, match="have no lists"):
                sn.Index.load(tmp_path / "y.sn").query(rows, 1)
        crafted = {**stored.contents, "state": {**stored.contents["state"], "n_features": 3}}
        storage.save(tmp_path / "y.sn", crafted, stored.arrays, "0.1")
        with pytest.raises(ValueError, match="do not fit together"):
            sn.Index.load(tmp_path / "y.sn").query(rows[:, :3], 1)
    index = sn.Index("cosine", method="graph", n_neighbors=3).fit(zipf_rows(600, 50, 8, 1))
    assert index._answers.searcher.links is not None
    index.save(tmp_path / "x.sn", compact=True)
    stored = storage.load(tmp_path / "x.sn")
    for name in ("walk.ids", "walk.degrees", "walk.entries"):
        storage.save(tmp_path / "y.sn", stored.contents, {**stored.arrays, name: stored.arrays[name] + 600}, "0.1")
        with pytest.raises(ValueError, match="do not fit together"):
            sn.Index.load(tmp_path / "y.sn", mmap=True).n_rows  # noqa: B018


ALTERED = """
import sys, warnings
import numpy as np, scipy.sparse as sp, sparsenn as sn
from sparsenn import answers, neighborgraph, storage
warnings.simplefilter("ignore")
answers.AT_ONCE, answers.exact_cost, neighborgraph.WORTH_FORM = 0, lambda engine: 1e15, 0
rng = np.random.default_rng(0)
X = sp.random(600, 90, 0.1, format="csr", random_state=0, dtype=np.float32)
dense = rng.normal(size=(600, 24)).astype(np.float32)
sets = sp.csr_matrix(rng.random((600, 90)) < 0.9 / np.arange(1, 91) ** 0.5, dtype=np.float32)
ids = [f"id{i}" for i in range(600)]
# What stays within bounds with other numbers or some fewer of them, and is then another index, not a broken one.
ANOTHER = "heads.words form.z.indices patterns.groups names.values names.blob names.hashes links.ids links.entries"

def alterations(name, array):
    if array.dtype.kind in "iu" and array.size:
        high = array.dtype.type(np.iinfo(array.dtype).max // 2)
        yield "all high", np.full_like(array, high)
        one = array.copy()
        one.reshape(-1)[array.size // 2] = high
        yield "one high", one
        yield "any", rng.integers(0, high, array.shape).astype(array.dtype)
        if array.max() > 0:
            yield "scaled", (array.astype(np.int64) * 1000).astype(array.dtype)
            yield "below", (array.astype(np.int64) - 9).astype(array.dtype)
    if name in ("base.store.data", "base.postings.values"):
        yield "not a number", np.full_like(array, np.nan)
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            yield f"short {axis}", np.ascontiguousarray(np.delete(array, -1, axis))
            yield f"one {axis}", np.ascontiguousarray(array.take([0], axis))
        if array.shape[axis]:
            yield f"long {axis}", np.concatenate([array, array.take([0], axis)], axis)
    yield "deep", array[None]

forms = set()
for metric, method, rows, names in (
    ("cosine", "graph", X, None), ("cosine", "heads", X, ids), ("euclidean", "graph", dense, np.arange(600) * 2),
    ("manhattan", "graph", np.round(dense * 9), None), ("seuclidean", "graph", X, None),
    ("jaccard", "exact", sets, None), ("chebyshev", "graph", X, None),
):
    index = sn.Index(metric, method=method, n_neighbors=10).fit(rows, ids=names)
    index.calibrate(rows[:50], k=10)
    index.add(rows[:3], ids=None if names is None else ["a", "b", "c"] if names is ids else [1, 3, 5])
    index.remove([ids[9]] if names is ids else [18])
    want = index.query(rows[:20], 10)
    index.save(sys.argv[1], compact=False)
    stored = storage.load(sys.argv[1])
    searcher = stored.contents["state"]["answers"]["searcher"]
    forms.add(searcher and searcher["form"])
    np.testing.assert_array_equal(sn.Index.load(sys.argv[1]).query(rows[:20], 10).indices, want.indices)
    for name, array in stored.arrays.items():
        for what, altered in alterations(name, array):
            arrays = {other: a.copy() for other, a in stored.arrays.items()} | {name: altered}
            print("at", metric, method, name, what, file=sys.stderr, flush=True)  # the last line, if it crashes
            try:
                again = sn.Index._restored(stored.contents, arrays, "x.sn", True)
            except ValueError as error:
                if not any(said in str(error) for said in ("do not fit together", "not whole", "V has")):
                    print("message", metric, method, name, what, error)
                continue
            if name.endswith(tuple(ANOTHER.split())):
                again.query(rows[:20], 10)
            else:
                print("accepted", metric, method, name, what, array.dtype, array.shape)
print(*sorted(map(str, forms)), sep=", ")
"""


def test_arrays_that_do_not_fit_are_found_by_a_full_load(tmp_path):
    """Somebody has altered the files, and the manifest with them: each array, its numbers, length and dimensions."""
    command = [sys.executable, "-c", ALTERED, str(tmp_path / "x.sn")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "None, packed words, sketches of 64 bytes, values as uint8, whole rows\n"
    storage.save(tmp_path / "y.sn", {"state": {}}, {}, "0.1")
    with pytest.raises(ValueError, match="does not describe an index"):
        sn.Index.load(tmp_path / "y.sn")


def blocks_of(rows, size=17):
    return (rows[i : i + size] for i in range(0, rows.shape[0], size))


def test_rows_come_in_blocks_or_from_disk(tmp_path):
    for rows in (X, X.toarray(), X.astype(np.float64).tocsc()[:, ::-1].tocsr()):
        one, other = sn.Index("cosine").fit(rows), sn.Index("cosine").fit(blocks_of(rows))
        for a, b in zip(one._engine.own()[0], other._engine.own()[0], strict=True):
            np.testing.assert_array_equal(a, b)
    bits = np.random.default_rng(0).integers(0, 256, (50, 5)).astype(np.uint8)
    one, other = (sn.Index("bit_jaccard").fit(data) for data in (bits, blocks_of(bits)))
    np.testing.assert_array_equal(one.query(bits, 3).indices, other.query(bits, 3).indices)
    index = sn.Index("cosine").fit(X)
    for blocks, message in [
        ([X, X[:, :5]], "block 1 of X is csr with 5 columns, but block 0 is csr with 12"),
        ([X, X.toarray()], "block 1 of X is dense with 12 columns, but block 0 is csr"),
        ([X, np.full((2, 12), np.nan)], "block 1 of X has a NaN at row 0, column 0"),
        ([], "X has no blocks"),
        ([X[:0], X[:0]], "X has no rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.fit(iter(blocks))
    naive.check_neighbors(*index.query(X, 4), sn.pairwise_distances(X), 4)
    parts = {}
    for name in ("data", "indices", "indptr"):
        np.save(tmp_path / f"{name}.npy", getattr(X, name))
        parts[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    mapped = sp.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=X.shape, copy=False)
    np.testing.assert_array_equal(
        sn.Index().fit(mapped).query(mapped, 3).indices, sn.Index().fit(X).query(X, 3).indices
    )


def frame_line(frame):
    """File and line that a frame is at."""
    return frame.f_code.co_filename, frame.f_lineno


class Interrupter:
    """Raises KeyboardInterrupt at the nth line of the package that runs."""

    def __init__(self, at):
        self.left = at

    def __enter__(self):
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        # a `with` comes up a second time when it ends, before the lock is given back, where no signal is handled
        if event == "line" and not linecache.getline(*frame_line(frame)).lstrip().startswith("with self._lock"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.parametrize("call", ["add", "remove", "update", "graph", "fit"])
def test_a_call_that_is_interrupted_anywhere_changes_nothing(call, monkeypatch):
    monkeypatch.setattr(updates, "FEW", 4)
    monkeypatch.setattr(updates, "SMALL", 2)
    monkeypatch.setattr(updates, "GROWN", 0.3)
    rows = zipf_rows(60, 30, 5, 0)

    def made():
        index = sn.Index("cosine", method="graph", n_neighbors=3, n_jobs=1).fit(rows[:40])
        index.add(rows[40:44])
        index.remove([1, 2])
        return index

    calls = {
        "add": lambda index: index.add(rows[44:]),
        "remove": lambda index: index.remove([5, 6, 7, 8, 9, 10, 11, 12]),
        "update": lambda index: index.update([5, 6, 7, 8, 9, 10, 11, 12, 41], rows[:9]),
        "graph": lambda index: index.neighbor_graph,
        "fit": lambda index: index.fit(rows[:10]),
    }
    index = made()
    with Interrupter(10**9) as counter:
        calls[call](index)
    steps = 10**9 - counter.left
    assert steps > 50
    changed = index.ids.tolist()
    index = made()
    before, state, interrupted = index.query(rows[:5], 6), index._state, 0
    for at in np.unique(np.random.default_rng(0).integers(1, steps, 40)).tolist():
        with Interrupter(at):
            try:
                calls[call](index)
            except KeyboardInterrupt:
                interrupted += 1
        if index._state is not state:  # at the very end: then all of it is done
            assert at > 0.9 * steps  # fewer steps than counted: what has been made for the first attempts is kept
            assert index.ids.tolist() == changed
            index._state = state
        after = index.query(rows[:5], 6)
        np.testing.assert_array_equal(after.indices, before.indices)
        np.testing.assert_array_equal(after.distances, before.distances)
    assert interrupted > 25
    thread = threading.Thread(target=calls[call], args=(index,))  # no lock was left behind
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def test_readers_see_before_or_after_never_between(monkeypatch):
    """All rows have one value at any moment, and a writer changes all of them."""
    monkeypatch.setattr(updates, "FEW", 50)
    index = sn.Index("euclidean").fit(np.ones((40, 2)))
    wrong, reads, stop = [], [0], threading.Event()
    index.update(np.arange(40), np.full((40, 2), 1.0))
    index.query(np.zeros((3, 2)), 60, n_jobs=1)  # so that nobody waits for compiled code

    def read():
        while not stop.is_set():
            found = index.query(np.zeros((3, 2)), 60, n_jobs=1)
            values = set(np.round(found.distances[found.indices >= 0] / np.sqrt(2), 3).tolist())
            many = (found.indices >= 0).sum(axis=1)
            if len(values) != 1 or not (many == 40).all():
                wrong.append((values, many))
            reads[0] += 1

    def write(first):
        for value in range(first, first + 30):
            index.update(np.arange(40), np.full((40, 2), value + 1.0))

    readers = [threading.Thread(target=read) for _ in range(3)]
    writers = [threading.Thread(target=write, args=(first,)) for first in (1, 100)]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert reads[0] > 5
    assert index.ids.tolist() == list(range(40))


FORK = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np, scipy.sparse as sp, sparsenn as sn
X = sp.random(400, 40, 0.2, format="csr", random_state=0, dtype=np.float32)
D = X.toarray()
sparse, dense = sn.Index("cosine").fit(X), sn.Index("euclidean").fit(D)
want = sparse.query(X, 3).indices, dense.query(D, 3).indices
stop = threading.Event()
def busy():
    while not stop.is_set():
        dense.query(D, 3)  # holds the lock of BLAS's threads
        sparse.add(X[:1])
        sparse.remove([int(sparse.ids[-1])])
thread = threading.Thread(target=busy)
thread.start()
for _ in range(12):
    child = os.fork()
    if child == 0:
        ok = (sparse.query(X, 3, allowed=np.arange(400)).indices == want[0]).all()
        ok = ok and (dense.query(D, 3).indices == want[1]).all()
        sparse.add(X[:2])
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_in_the_middle_of_use_does_not_hang():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n", done.stderr


MAPPED = """
import sys
import sparsenn as sn, numpy as np
from sparsenn import _jit
index = sn.Index.load(sys.argv[1], mmap=True)
print(index.query(np.eye(12), 3).indices.tolist())
"""


def test_processes_read_one_mapped_index_while_it_is_saved_again(tmp_path):
    index = sn.Index("cosine").fit(X)
    index.save(tmp_path / "x.sn")
    want = index.query(np.eye(12), 3).indices.tolist()
    command = [sys.executable, "-c", MAPPED, str(tmp_path / "x.sn")]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    while any(child.poll() is None for child in children):
        index.save(tmp_path / "x.sn")
    assert [child.communicate()[0] for child in children] == [f"{want}\n"] * 3


def test_the_options_that_are_saved_are_all_there_are():
    import inspect

    options = set(inspect.signature(sn.Index.__init__).parameters) - {"self", "metric", "metric_params", "init_graph"}
    assert set(living.KEPT) == options
