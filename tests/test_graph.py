"""Approximate graphs: parts against plain Python, the whole against exact search, and hard data."""

import dataclasses
import logging

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import _jit, compact, descent, distance, forest, heads, planning, postings
from sparsenn._random import mixed
from sparsenn.exact import ExactEngine, fit_space
from sparsenn.parallel import map_blocks
from sparsenn.rerank import nearest_listed
from tests import naive
from tests.test_exact import zipf_rows


def engine_of(rows, metric):
    space, read = fit_space(rows, metric, None)
    return ExactEngine(space, read)


def over_rows(n, n_jobs=1):
    return lambda stage, function, total=n: map_blocks(function, total, n_jobs)


def clusters(n, m, seed=0):
    """Dense rows around a few centres."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(20, m))[rng.integers(0, 20, n)] + 0.3 * rng.normal(size=(n, m))).astype(np.float32)


def reaches(graph):
    """Surrogates of a graph's edges."""
    return np.array([[reach(key) for key in row] for row in graph.keys])


def reach(key):
    """Surrogate of an edge, read without compiled code."""
    if key == descent.EMPTY:
        return np.inf
    bits = np.int32(key >> 32)
    return float(np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(np.float32))


def recall(graph, true):
    return np.mean(graph.distances <= true.distances[:, -1:] * (1 + 1e-5) + 1e-6)


@_jit.entry
def take_edges(graph, i, surrogates, rows, old):
    for r in range(len(rows)):
        descent.insert(graph.keys, i, descent.key_of(surrogates[r], rows[r]) - np.int64(old[r]))


def test_widening_opens_lists_that_were_closed():
    """Edges before the wall stay and are fresh, and rows farther than it are taken again."""
    graph = descent.Graph(np.full((3, 4), descent.EMPTY), 1.0, np.int64(2))
    rows, near = np.array([5, 6, 7]), np.array([0.5, 1.0, 2.0])
    take_edges(graph, 0, near, rows, np.array([1, 0, 1]))  # three edges, of which k = 2 stand before the wall
    take_edges(graph, 1, near[:1], rows[:1], np.array([1]))  # fewer than k: stays open
    take_edges(graph, 2, near, rows, np.array([0, 0, 0]))  # not among the rows that are known
    descent.close_lists(graph.keys, 2, 2)
    take_edges(graph, 0, np.array([3.0]), np.array([8]), np.array([0]))
    assert reaches(graph)[0].tolist() == [0.5, 1.0, 1.0, 1.0]  # the wall is as far as the last edge, and took nothing
    wider = descent.widened(graph, 6)
    assert wider.keys.shape == (3, 6)
    assert wider.known == 0
    assert reaches(wider)[0].tolist() == [0.5, 1.0, np.inf, np.inf, np.inf, np.inf]
    edges = wider.keys[wider.keys != descent.EMPTY]
    assert len(edges) == 2 + 1 + 3
    assert (edges & 1).all()
    take_edges(wider, 0, np.array([3.0]), np.array([8]), np.array([0]))
    assert reaches(wider)[0].tolist() == [0.5, 1.0, 3.0, np.inf, np.inf, np.inf]


def test_draws_depend_on_every_counter():
    with np.errstate(over="ignore"):  # compiled integers wrap in silence
        draws = {int(mixed.py_func(np.uint64(s), a, b)) for s in range(5) for a in range(5) for b in range(5)}
    assert len(draws) == 125
    (tree, other) = (drawn_from(rows) for rows in (0, 1))
    assert len(set(tree)) > 40
    assert tree != other


def drawn_from(seed):
    with np.errstate(over="ignore"):
        return [int(mixed.py_func(np.uint64(seed), 1, b)) % 1000 for b in range(50)]


@pytest.mark.parametrize("rows", [zipf_rows(900, 300, 8, 0), clusters(900, 12)], ids=["csr", "dense"])
def test_trees_hold_every_row_once_and_differ(rows):
    engine = engine_of(rows, "euclidean")
    y, metric = engine.own()
    trees = forest.grow_forest(
        metric,
        y,
        y,
        engine.space.n_features,
        n_trees=3,
        leaf_size=30,
        max_depth=40,
        seed=5,
        over_trees=lambda function, n: map_blocks(function, n, 1, 1),
    )
    for tree in trees:
        assert (np.sort(tree.rows) == np.arange(900)).all()
        assert np.diff(np.concatenate([[0], tree.ends])).max() <= 30
        assert tree.ends[-1] == 900
    assert (trees[0].rows != trees[1].rows).any()
    assert (trees[1].rows != trees[2].rows).any()


def test_a_leaf_is_nearer_to_itself_than_chance():
    rows = clusters(2000, 12)
    engine = engine_of(rows, "euclidean")
    y, metric = engine.own()
    (tree,) = forest.grow_forest(
        metric, y, y, 12, n_trees=1, leaf_size=40, max_depth=40, seed=0, over_trees=lambda f, n: [f(0, n)]
    )
    inside = [rows[leaf].std(axis=0).mean() for leaf in np.split(tree.rows, tree.ends[:-1]) if len(leaf) > 5]
    assert np.mean(inside) < 0.5 * rows.std(axis=0).mean()


def test_equal_rows_end_in_leaves():
    engine = engine_of(np.ones((500, 4), np.float32), "euclidean")
    y, metric = engine.own()
    (tree,) = forest.grow_forest(
        metric, y, y, 4, n_trees=1, leaf_size=16, max_depth=3, seed=0, over_trees=lambda f, n: [f(0, n)]
    )
    assert (np.sort(tree.rows) == np.arange(500)).all()
    assert np.diff(np.concatenate([[0], tree.ends])).max() <= 16


def test_a_round_measures_all_neighbours_of_neighbours():
    rows = clusters(300, 6)
    engine = engine_of(rows, "euclidean")
    y, metric = engine.own()
    rng = np.random.default_rng(0)
    given = np.stack([rng.choice(300, 6, replace=False) for _ in range(300)]).astype(np.int32)
    graph = descent.empty_graph(300, 6)
    descent.measure_given(metric, y, y, 6, given, 0, 300, graph)
    before = descent.edges_of(graph)
    descent.descend(metric, y, y, 6, graph, width=6, rounds=1, delta=0, over_rows=over_rows(300))
    forward = [set(row[row >= 0].tolist()) for row in before]
    # with lists of full width forward neighbours always take part, so at least these pairs were measured
    for i in range(300):
        met = set().union(*(forward[u] for u in forward[i])) | forward[i]
        met.discard(i)
        d = ((rows[i] - rows[sorted(met)]) ** 2).sum(axis=1)
        assert reaches(graph)[i, -1] <= np.sort(d)[min(5, len(d) - 1)] * (1 + 1e-6)
        assert len(set(descent.edges_of(graph)[i].tolist())) == 6
        assert i not in descent.edges_of(graph)[i]


@pytest.mark.parametrize("window", [2**18, 1000, 300, 64])
def test_whole_heads_give_the_exact_graph(window, monkeypatch):
    monkeypatch.setattr(heads, "WINDOW", window)
    monkeypatch.setattr(heads, "TOGETHER", 100)
    rows = zipf_rows(800, 300, 6, 1)
    rows = rows[np.diff(rows.indptr) > 0]
    n = rows.shape[0]
    engine = engine_of(rows, "cosine")
    y, metric = engine.own()
    lists = heads.cut_heads(engine.postings, y, metric, n)
    order, place = np.arange(n), None
    if heads.worth_ordering(n):
        order = heads.order_by_heaviest(y, engine.postings, 20)
        place = np.argsort(order)
        y = distance.take(y, order)
    windows = heads.split_windows(lists, y, place)
    assert windows.begins.shape[0] == heads.count_windows(n) == max(round(n / window), 1)
    graph = descent.empty_graph(n, 5)
    heads.seed_by_heads(metric, y, y, 300, windows, graph, share=1.0, width=200, over_rows=over_rows(n))
    exact = engine.nearest(None, 5, 1)
    near = exact.distances[order]
    np.testing.assert_allclose(reaches(graph)[near < 1], near[near < 1], atol=1e-6)


def test_graphs_by_windows_of_heads_are_as_right(monkeypatch):
    rows = zipf_rows(3000, 800, 6, 1)
    exact = sn.Index("cosine", n_neighbors=10, method="exact").fit(rows).neighbor_graph
    one = sn.Index("cosine", n_neighbors=10, method="graph").fit(rows).neighbor_graph
    monkeypatch.setattr(heads, "WINDOW", 700)
    several = sn.Index("cosine", n_neighbors=10, method="graph", n_jobs=2).fit(rows).neighbor_graph
    again = sn.Index("cosine", n_neighbors=10, method="graph", n_jobs=1).fit(rows).neighbor_graph
    np.testing.assert_array_equal(several.indices, again.indices)
    np.testing.assert_allclose(several.distances, again.distances)
    assert recall(one, exact) > 0.99
    assert recall(several, exact) > 0.99


def test_graphs_of_rows_that_tie_do_not_depend_on_threads(monkeypatch):
    """Threads begin with other windows: which of the rows at one distance are kept must not depend on it."""
    rows = zipf_rows(900, 40, 3, 5, weights=False)
    monkeypatch.setattr(heads, "WINDOW", 130)
    monkeypatch.setattr(heads, "TOGETHER", 64)
    graphs = [
        sn.Index("cosine", n_neighbors=6, method="graph", n_jobs=jobs).fit(rows).neighbor_graph for jobs in (1, 2, 3)
    ]
    for graph in graphs[1:]:
        np.testing.assert_array_equal(graph.indices, graphs[0].indices)
        np.testing.assert_array_equal(graph.distances, graphs[0].distances)


def test_edges_do_not_depend_on_the_order_in_which_rows_are_measured():
    """Not even where surrogates are the same only once they are rounded."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(4, 7))[rng.integers(0, 4, 120)] * rng.uniform(0.1, 3, (120, 1))
    y, metric = engine_of(rows.astype(np.float32), "cosine").own()
    others = np.array([np.delete(np.arange(120), i) for i in range(120)], np.int32)
    keys = []
    for order in [np.arange(119), np.arange(119)[::-1], rng.permutation(119)]:
        graph = descent.empty_graph(120, 45)  # some 30 are as near as can be
        descent.measure_given(metric, y, y, 7, np.ascontiguousarray(others[:, order]), 0, 120, graph)
        keys.append(graph.keys)
    np.testing.assert_array_equal(keys[0], keys[1])
    np.testing.assert_array_equal(keys[0], keys[2])


@pytest.mark.parametrize("n_columns", [0, 1, 400])
@pytest.mark.parametrize("window", [500, 60, 15])
def test_heads_do_not_depend_on_threads(n_columns, window, monkeypatch):
    monkeypatch.setattr(postings, "WORTH_PART", 1)
    monkeypatch.setattr(heads, "SMALL_PART", 16)
    monkeypatch.setattr(heads, "WINDOW", window)
    rows = zipf_rows(100, n_columns, 5, 2) if n_columns else sp.csr_matrix((100, 0), dtype=np.float32)
    engine = engine_of(rows, "cosine")
    y, metric = engine.own()
    made = []
    for jobs in (1, 2, 64):
        lists = heads.cut_heads(engine.postings, y, metric, 7, jobs)
        order = heads.order_by_heaviest(y, engine.postings, 7, jobs)
        windows = heads.split_windows(lists, y, np.argsort(order), jobs)
        made.append([order, lists.indptr, lists.ids, lists.values, windows.begins, *windows.lists[:3], windows.stats])
        assert windows.begins.shape[0] == heads.count_windows(100)
        met = np.zeros(100, bool)
        for w, begins in enumerate(windows.begins):
            for c in range(len(begins) - 1):
                ids = windows.lists.ids[begins[c] : begins[c + 1]].astype(np.int64) + w * windows.stats.shape[2]
                kept = lists.ids[lists.indptr[c] : lists.indptr[c + 1]]
                assert np.isin(order[ids], kept).all()
                met[ids] = True
        assert met.sum() == len(np.unique(lists.ids))
    for others in made[1:]:
        for own, other in zip(made[0], others, strict=True):
            np.testing.assert_array_equal(own, other)


KINDS_OF_VALUES = {
    "uint8": lambda rng, n: rng.integers(-100, 156, (n, 30)),
    "uint16": lambda rng, n: rng.normal(5, 2, (n, 30)),
    "float32": lambda rng, n: np.where(rng.random((n, 30)) < 1e-3, 1e7, rng.normal(size=(n, 30))),
}


def pairs_by(metric, x, z, ids):
    """Surrogates of some rows among each other."""
    ids = np.asarray(ids)
    out = np.empty((len(ids), len(ids)))
    indices, distances = np.empty((1, 1), np.int64), np.empty((1, 1), np.float32)
    all_ = np.arange(len(x.indptr))
    for a, i in enumerate(ids):
        for b, j in enumerate(ids):
            nearest_listed(
                metric, x, z, 64, np.array([i]), np.array([[j]], np.int32), all_, all_, 0, 1, indices, distances
            )
            out[a, b] = distances[0, 0]
    return out


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "canberra"])
@pytest.mark.parametrize("kind", list(KINDS_OF_VALUES))
def test_compact_rows_measure_nearly_as_whole_ones(kind, metric):
    rows = KINDS_OF_VALUES[kind](np.random.default_rng(0), 200).astype(np.float32)
    engine = engine_of(rows, metric)
    y, whole = engine.own()
    code = compact.code_for(y.data)
    assert code.kind == kind
    form = compact.coded(engine.space, whole, y, code)
    assert form.metric is not whole
    assert form.z.data.nbytes == -(-y.data.size // 4) * 4 * np.dtype(kind).itemsize
    ids = np.arange(0, 200, 14)
    true, near = pairs_by(whole, y, y, ids), pairs_by(form.metric, form.x, form.z, ids)
    np.testing.assert_allclose(near, true, rtol=2e-3, atol=3e-3 * true.mean())


@pytest.mark.parametrize("metric", ["cosine", "hellinger", "jaccard", "manhattan", "dot"])
@pytest.mark.parametrize("signed", [False, True])
def test_packed_rows_measure_nearly_as_whole_ones(metric, signed):
    rows = zipf_rows(200, 60, 9, 1)
    if signed and metric not in ("hellinger", "jaccard"):
        rows.data *= np.random.default_rng(0).choice([-1, 1], len(rows.data))
    engine = engine_of(rows, metric)
    y, whole = engine.own()
    form = compact.packed(engine.space, whole, y)
    assert form.name == "packed words"
    assert form.z.indices.nbytes == 4 * y.data.size
    ids = np.arange(0, 200, 14)
    true, near = pairs_by(whole, y, y, ids), pairs_by(form.metric, form.x, form.z, ids)
    np.testing.assert_allclose(near, true, rtol=2e-3, atol=2e-3)
    order = np.random.default_rng(1).permutation(200)
    turned = form.reordered(order)
    np.testing.assert_array_equal(pairs_by(turned.metric, turned.x, turned.z, np.argsort(order)[ids]), near)


def test_rows_stay_as_they_are_where_a_word_is_too_small():
    uneven = zipf_rows(200, 1000, 9, 1)
    uneven.data[:5] = 1e7
    for rows, width in ((zipf_rows(200, 60, 9, 1), 2**28), (uneven, 1000)):
        engine = engine_of(rows, "dot")
        y, metric = engine.own()
        space = dataclasses.replace(engine.space, n_features=width)
        assert compact.packed(space, metric, y).name == "whole rows"


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot", "correlation"])
def test_sketches_keep_the_nearest(metric):
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(24, 300))
    rows = (rng.normal(size=(3000, 24)) @ basis + 3.0 + 0.3 * rng.normal(size=(3000, 300))).astype(np.float32)
    engine = engine_of(rows, metric)
    y, whole = engine.own()
    truth = compact.truth_of(engine, 10, np.uint64(0), 1)
    forms = list(compact.sketched(engine.space, whole, y, np.uint64(0), 1))
    assert forms[0].z.data.nbytes == 3000 * 128
    for form in forms:
        assert 10 <= compact.edges_for(form, truth, whole, y, 300, 1) <= 25
        again = next(f for f in compact.sketched(engine.space, whole, y, np.uint64(0), 2) if f.name == form.name)
        np.testing.assert_array_equal(again.z.data.view(np.int8), form.z.data.view(np.int8))
    graph = sn.Index(metric, n_neighbors=10, method="graph").fit(rows).neighbor_graph
    exact = sn.Index(metric, n_neighbors=10, method="exact").fit(rows).neighbor_graph
    assert recall(graph, exact) > (0.85 if metric == "dot" else 0.95)  # large rows draw all edges of inner products


@pytest.mark.parametrize("width", [3, 300])
def test_the_step_of_a_sketch_does_not_come_from_the_first_rows(width):
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(6000, 2)) @ rng.normal(size=(2, width)) * 5 + rng.normal(size=(6000, width))
    rows = np.vstack([np.ones((5000, width)), spread]).astype(np.float32)
    engine = engine_of(rows, "euclidean")
    y, whole = engine.own()
    form = next(compact.sketched(engine.space, whole, y, np.uint64(0), 1))
    codes = np.abs(form.z.data.view(np.int8).reshape(len(rows), -1)[:, : min(width, 64)].astype(int))
    assert np.mean(codes[5000:] >= 127) < 0.05  # by the first rows alone: all of them
    assert codes.max() > 100


def test_sketches_that_keep_too_little_are_not_offered():
    rows = np.random.default_rng(0).normal(size=(2500, 500)).astype(np.float32)  # no axis is better than another
    engine = engine_of(rows, "euclidean")
    y, whole = engine.own()
    widths = [4 * len(f.z.indices) for f in compact.sketched(engine.space, whole, y, np.uint64(0), 1)]
    assert widths == [512]
    form = compact.coded(engine.space, whole, y, compact.Code("uint8", 2.0, -6.0))
    truth = compact.truth_of(engine, 10, np.uint64(0), 1)
    assert compact.edges_for(form, truth, whole, y, 500, 1) == 0  # a grid so coarse loses the nearest


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine", "dot"])
def test_bytes_of_whole_numbers_measure_to_the_last_bit(metric, monkeypatch):
    monkeypatch.setattr(compact, "WORTH_FORM", 1)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (60, 70)).astype(np.float32)
    rows[30:40] = rows[:10]
    rows[30:40, 3] = np.minimum(rows[30:40, 3] + 1, 255)  # hardly apart
    engine = engine_of(rows, metric)
    y, whole = engine.own()
    form = compact.exact_form(engine.space, whole, y, 1)
    assert form.name == "whole numbers as bytes"
    ids = np.r_[:12, 30:42]
    np.testing.assert_array_equal(pairs_by(form.metric, form.x, form.z, ids), pairs_by(whole, y, y, ids))
    for wrong in (0.5, 256, -1, 1e10):
        other = rows.copy()
        other[50, 69] = wrong
        engine = engine_of(other, metric)
        assert compact.exact_form(engine.space, engine.own()[1], engine.own()[0], 1).name == "whole rows"
    signed = engine_of(rows, "manhattan")
    assert compact.exact_form(signed.space, signed.own()[1], signed.own()[0], 1).name == "whole rows"
    monkeypatch.setattr(compact, "WIDEST_WHOLE", 69)
    assert compact.exact_form(engine.space, whole, y, 1).name == "whole rows"


def test_one_value_that_is_no_byte_is_seen_by_whatever_thread(monkeypatch):
    monkeypatch.setattr(compact, "WORTH_FORM", 1)
    rows = np.random.default_rng(0).integers(0, 256, (4000, 12)).astype(np.float32)
    for row, jobs in ((0, 2), (3999, 2), (2047, 3), (None, 3)):
        other = rows.copy()
        if row is not None:
            other[row, 11] = 0.5
        engine = engine_of(other, "euclidean")
        y, whole = engine.own()
        form = compact.exact_form(engine.space, whole, y, jobs)
        assert form.name == ("whole numbers as bytes" if row is None else "whole rows")


def test_graphs_of_whole_numbers_have_the_distances_of_exact_search():
    rng = np.random.default_rng(1)
    centres = rng.integers(30, 220, (40, 400))
    rows = (centres[rng.integers(0, 40, 3000)] + rng.integers(-30, 31, (3000, 400))).astype(np.float32)
    graph = sn.Index("euclidean", n_neighbors=10, method="graph", random_state=0).fit(rows).neighbor_graph
    exact = sn.Index("euclidean", n_neighbors=10, method="exact").fit(rows).neighbor_graph
    again = sn.Index("euclidean", n_neighbors=10, method="graph", random_state=0, n_jobs=2).fit(rows).neighbor_graph
    np.testing.assert_array_equal(again.indices, graph.indices)
    same = graph.indices == exact.indices
    assert same.mean() > 0.9
    np.testing.assert_array_equal(graph.distances[same], exact.distances[same])


def test_a_few_rows_that_come_to_many_find_their_neighbours():
    """Descent does not stop because they are few."""
    rows = clusters(6000, 24)
    new = rows[5900:]
    index = sn.Index("euclidean", n_neighbors=10, method="graph").fit(rows[:5900])
    index.neighbor_graph  # noqa: B018
    index.add(new)
    exact = sn.exact_neighbors(rows, new, 11, metric="euclidean").distances[:, 1:]
    found = index.neighbor_graph.distances[5900:]
    fresh = sn.Index("euclidean", n_neighbors=10, method="graph").fit(rows).neighbor_graph.distances[5900:]
    assert naive.recall(found, exact) > naive.recall(fresh, exact) - 0.02


def two_scales(rng):
    return np.c_[rng.integers(0, 10, 3000) * 1e5, rng.uniform(0, 1, (3000, 3))]


def near_copies(noise, outlier=0.0):
    def rows(rng):
        X = rng.normal(size=(20, 12))[rng.integers(0, 20, 3000)] + noise * rng.normal(size=(3000, 12))
        X[7, 0] += outlier
        return X

    return rows


@pytest.mark.parametrize(
    ("metric", "make"),
    [
        ("euclidean", two_scales),
        ("euclidean", near_copies(1e-5)),
        ("cosine", near_copies(1e-4)),
        ("cosine", near_copies(1e-4, 3000.0)),
        ("correlation", near_copies(1e-4, 3000.0)),
    ],
)
def test_distances_that_compact_rows_cannot_tell_apart(metric, make):
    rows = make(np.random.default_rng(3)).astype(np.float32)
    exact = sn.Index(metric, method="exact").fit(rows).neighbor_graph
    for options in ({}, {"max_candidates": 16}, {"seeds": "random"}):
        graph = sn.Index(metric, method="graph", **options).fit(rows).neighbor_graph
        assert np.mean(graph.distances <= exact.distances[:, -1:] * (1 + 1e-5) + 1e-12) > 0.9, options


def test_auto_gives_up_where_more_candidates_are_dearer_than_exact_search(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(4000, 120)).astype(np.float32)
    monkeypatch.setattr(planning, "SOON", 0.0)
    monkeypatch.setattr(planning, "WORTH", np.inf)
    index = sn.Index("euclidean").fit(rows)
    assert index.plan_.method == "exact"
    assert "descent found too few" in index.plan_.reason
    exact = sn.Index("euclidean", method="exact").fit(rows).neighbor_graph
    np.testing.assert_array_equal(index.neighbor_graph.indices, exact.indices)


def test_all_candidates_asked_for_are_looked_at():
    rows = np.random.default_rng(0).normal(size=(3000, 40)).astype(np.float32)
    exact = sn.Index("euclidean", method="exact").fit(rows).neighbor_graph
    some, more = (sn.Index("euclidean", method="graph", max_candidates=w).fit(rows).neighbor_graph for w in (20, 48))
    assert recall(some, exact) < 0.99 < recall(more, exact)


def test_rows_stay_whole_where_float32_would_overflow(caplog):
    rows = clusters(100_000, 12)[:, :11] * np.float32(1e20)
    with caplog.at_level("INFO", logger="sparsenn"):
        index = sn.Index("euclidean", method="graph").fit(rows)
    assert "measured as whole rows" in caplog.text
    assert index.estimate_recall(100).recall > 0.9
    assert compact.code_for(np.zeros(0, np.float32)).kind == "float32"
    assert compact.code_for(np.full(9, 2.5, np.float32)).kind == "float32"


def test_more_candidates_where_a_sample_finds_too_little(caplog):
    rows = np.random.default_rng(0).normal(size=(4000, 60)).astype(np.float32)  # neighbours tell little of neighbours
    exact = sn.Index("euclidean", method="exact").fit(rows).neighbor_graph
    few = sn.Index("euclidean", method="graph", max_candidates=8).fit(rows).neighbor_graph
    with caplog.at_level("INFO", logger="sparsenn"):
        aimed = sn.Index("euclidean", method="graph").fit(rows).neighbor_graph
    assert "24 candidates: recall" in caplog.text
    assert recall(few, exact) < 0.8 < 0.93 < recall(aimed, exact)


def test_cut_lists_keep_the_rows_of_most_impact():
    rows = zipf_rows(600, 60, 10, 2)
    engine = engine_of(rows, "cosine")
    y, metric = engine.own()
    cut = heads.cut_heads(engine.postings, y, metric, 25)
    whole = engine.postings
    for c in range(60):
        a, b = whole.indptr[c : c + 2]
        own = slice(cut.indptr[c], cut.indptr[c + 1])
        assert own.stop - own.start == min(b - a, 25)
        impact = whole.values[a:b] * y.stats[0, whole.ids[a:b]]
        kept = cut.values[own] * y.stats[0, cut.ids[own]]
        np.testing.assert_allclose(np.sort(kept), np.sort(impact)[-len(kept) :], rtol=1e-6)
        assert (np.diff(cut.ids[own].astype(np.int64)) > 0).all()


CASES = [
    ("cosine", zipf_rows(3000, 800, 9, 3), 0.97),
    ("hellinger", zipf_rows(3000, 800, 9, 3), 0.97),
    ("euclidean", clusters(3000, 12), 0.97),
    ("cosine", clusters(3000, 12), 0.97),
    ("manhattan", zipf_rows(3000, 60, 12, 4), 0.7),
    ("containment", clusters(3000, 12) > 0.7, 0.9),
    ("wasserstein_1d", np.abs(clusters(1500, 8)), 0.95),
]


@pytest.mark.parametrize(("metric", "rows", "least"), CASES, ids=[f"{m}-{type(r).__name__}" for m, r, _ in CASES])
def test_graphs_are_near_exact_whatever_the_threads(metric, rows, least):
    index = sn.Index(metric, n_neighbors=10, method="graph", n_jobs=2).fit(rows)
    graph = index.neighbor_graph
    exact = sn.Index(metric, n_neighbors=10, method="exact").fit(rows)
    assert recall(graph, exact.neighbor_graph) >= least
    again = sn.Index(metric, n_neighbors=10, method="graph", n_jobs=1).fit(rows).neighbor_graph
    np.testing.assert_array_equal(graph.indices, again.indices)
    np.testing.assert_array_equal(graph.distances, again.distances)
    # each edge stands at its true distance, nearest first, ties by id
    D = sn.pairwise_distances(rows[:50], rows, metric=metric)
    own = graph.indices[:50]
    np.testing.assert_allclose(graph.distances[:50], np.take_along_axis(D, own, axis=1), rtol=1e-5, atol=1e-6)
    order = np.lexsort((graph.indices, graph.distances), axis=1)
    assert (order == np.arange(10)).all()
    estimate = index.estimate_recall(300)
    room = estimate.high - estimate.low  # the interval is made for 19 of 20 samples
    assert estimate.low - room <= recall(graph, exact.neighbor_graph) <= estimate.high + room
    assert exact.estimate_recall(50).recall == 1


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "jaccard", "hellinger", "chebyshev"])
@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray])
@pytest.mark.parametrize("window", [heads.WINDOW, 20])
def test_graphs_of_hard_data(metric, form, window, monkeypatch):
    monkeypatch.setattr(heads, "WINDOW", window)
    hub = np.eye(70)
    hub[:, 0] = 1
    cases = {
        "all equal": np.tile([1.0, 0, 2, 0], (150, 1)),
        "many equal": np.repeat(np.eye(5), 40, axis=0),
        "all empty": np.zeros((80, 4)),
        "one row": np.ones((1, 4)),
        "fewer rows than k": np.eye(4) + 1,
        "two far clusters": np.kron(np.eye(2), np.ones((60, 5))) * np.linspace(1, 2, 10),
        "one nonzero each": np.eye(90),
        "a hub": hub,
        "no columns": np.zeros((5, 0)),
    }
    for name, X in cases.items():
        X = form(X.astype(np.float32))
        index = sn.Index(metric, n_neighbors=7, method="graph").fit(X)
        graph, n = index.neighbor_graph, X.shape[0]
        there = min(7, n - 1)
        assert (graph.indices[:, :there] >= 0).all(), name
        assert (graph.indices[:, there:] == -1).all(), name
        assert np.isinf(graph.distances[:, there:]).all(), name
        for i, row in enumerate(graph.indices[:, :there]):
            assert len(set(row.tolist())) == there, name
            assert i not in row, name
        D = sn.pairwise_distances(X, metric=metric)
        np.testing.assert_allclose(
            graph.distances[:, :there], np.take_along_axis(D, graph.indices[:, :there], axis=1), rtol=1e-5, atol=1e-6
        )
        assert name in ("a hub", "two far clusters") or index.estimate_recall(20).recall == 1, name


def test_a_graph_starts_from_the_users_own():
    rows = clusters(1500, 10)
    exact = sn.Index("euclidean", n_neighbors=10).fit(rows).neighbor_graph
    kept = sn.Index("euclidean", n_neighbors=10, method="graph", init_graph=exact, n_iters=0).fit(rows)
    np.testing.assert_array_equal(kept.neighbor_graph.indices, exact.indices)
    assert kept.plan_.seeds == "given"
    rough = np.where(np.random.default_rng(0).random(exact.indices.shape) < 0.5, exact.indices, -1)
    index = sn.Index("euclidean", n_neighbors=10, method="graph", init_graph=rough).fit(rows)
    assert recall(index.neighbor_graph, exact) > 0.97
    random = sn.Index("euclidean", n_neighbors=10, method="graph", seeds="random").fit(rows)
    assert recall(random.neighbor_graph, exact) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "best"}, "method must be one of 'auto', 'exact', 'graph', 'heads', got 'best'"),
        ({"seeds": "tree"}, "seeds must be one of 'auto', 'heads', 'forest', 'random', got 'tree'"),
        ({"n_trees": 0}, "n_trees must be at least 1, got 0"),
        ({"leaf_size": 2.5}, "leaf_size must be an integer of at least 1, got 2.5"),
        ({"n_iters": -1}, "n_iters must be at least 1, got -1"),
        ({"delta": 1}, "delta must be at least 0 and below 1, got 1"),
        ({"init_graph": np.zeros((3, 2), int)}, r"init_graph must be integers of shape \(40, any\)"),
        ({"init_graph": np.full((40, 2), 40)}, "init_graph has an id that is no row at row 0: ids go from 0 to 39"),
        ({"seeds": "heads", "metric": "euclidean", "method": "graph"}, "seeds='heads' needs sparse rows"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sn.Index(**options).fit(zipf_rows(40, 30, 5, 0))


def test_a_failed_fit_changes_nothing(monkeypatch):
    rows = zipf_rows(60, 30, 5, 0)
    index = sn.Index("cosine", method="graph").fit(rows)
    before, plan, graph = index.query(rows[:3], 4), index.plan_, index.neighbor_graph

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("sparsenn.building.build_graph", fail)
    with pytest.raises(MemoryError):
        index.fit(rows[:40])
    assert index.plan_ is plan
    assert index.neighbor_graph is graph
    assert len(index) == 60
    naive.check_neighbors(*index.query(rows[:3], 4), sn.pairwise_distances(rows[:3], rows), 4)
    np.testing.assert_array_equal(index.query(rows[:3], 4).indices, before.indices)


def test_a_plan_says_what_it_chose_and_why():
    small = sn.Index("cosine").fit(zipf_rows(500, 100, 5, 0))
    assert small.plan_.method == "exact"
    assert small.plan_.exact_seconds > 0
    assert "method='exact'" in repr(small)
    asked = sn.Index("cosine", method="graph", n_trees=3, seeds="forest").fit(zipf_rows(500, 100, 5, 0))
    assert (asked.plan_.method, asked.plan_.seeds, asked.plan_.n_trees) == ("graph", "forest", 3)
    assert asked.plan_.reason == "as asked"
    assert "method='graph': forest, then NN-descent" in repr(asked)
    large = sn.Index("wasserstein_1d").fit(np.abs(clusters(6000, 3)))
    assert large.plan_.method == "graph"
    assert large.plan_.graph_seconds < large.plan_.exact_seconds


def test_a_graph_is_made_where_it_pays_for_the_expected_queries():
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(8000, 6)) @ rng.normal(size=(6, 40))).astype(np.float32)
    plans = [sn.Index("manhattan", expected_queries=many).fit(rows).plan_ for many in (0, 10, 10**7)]
    assert [plan.method for plan in plans] == ["exact", "exact", "graph"]
    assert "does not pay for 10 queries" in plans[1].reason
    assert "pays for 10,000,000 queries" in plans[2].reason
    sets = sn.Index("jaccard", expected_queries=10**7).fit(zipf_rows(500, 100, 5, 0) > 0)
    assert sets.plan_.method == "exact"
    for many in (-1, 2.5, True, "all"):
        with pytest.raises(ValueError, match="expected_queries must be"):
            sn.Index(expected_queries=many)


def test_stages_are_logged_and_shown_only_when_asked_for(capsys, caplog):
    rows = clusters(400, 6)
    with caplog.at_level(logging.INFO, "sparsenn"):
        sn.Index("euclidean", method="graph").fit(rows)
    assert any(record.getMessage().startswith("round 1: ") for record in caplog.records)
    assert capsys.readouterr() == ("", "")
    sn.Index("euclidean", method="graph", verbose=True, n_jobs=2).fit(rows)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "trees" in shown.err
    assert "round 1" in shown.err


def test_an_estimate_of_a_poor_graph_is_poor():
    rows = clusters(2000, 10) * np.float32(1e-6)
    given = np.random.default_rng(0).integers(0, 2000, (2000, 20))
    index = sn.Index("sqeuclidean", n_neighbors=10, method="graph", init_graph=given, n_iters=0).fit(rows)
    exact = sn.Index("sqeuclidean", n_neighbors=10, method="exact").fit(rows).neighbor_graph
    true = np.mean(index.neighbor_graph.distances <= exact.distances[:, -1:])
    estimate = index.estimate_recall(2000)
    assert estimate.recall == pytest.approx(true, abs=0.01)
    assert estimate.recall < 0.3
    assert estimate.low == estimate.recall == estimate.high


@pytest.mark.parametrize("scale", [1e-24, 1e15])
def test_values_whose_squares_leave_float32(scale):
    rows = clusters(1500, 12) * np.float32(scale)
    graph = sn.Index("euclidean", n_neighbors=10, method="graph").fit(rows).neighbor_graph
    true = sn.Index("euclidean", n_neighbors=10, method="exact").fit(rows).neighbor_graph
    assert np.mean(graph.distances <= true.distances[:, -1:] * np.float32(1 + 1e-5)) > 0.97


@pytest.mark.parametrize(("k", "n"), [(600, 700), (1000, 50), (3, 1)])
def test_many_neighbours(k, n):
    rows = zipf_rows(n, 200, 9, 7)
    index = sn.Index("cosine", n_neighbors=k, method="graph").fit(rows)
    graph, exact = index.neighbor_graph, sn.Index("cosine", n_neighbors=k, method="exact").fit(rows).neighbor_graph
    assert graph.indices.shape == (n, k)
    assert ((graph.indices < 0) == (exact.indices < 0)).all()
    assert np.mean(graph.distances <= exact.distances + 1e-6) > 0.97


def test_a_users_graph_may_hold_repeats_itself_and_much():
    rows = clusters(700, 8)
    given = np.random.default_rng(0).integers(-1, 700, (700, 1100))
    given[:, 0] = np.arange(700)
    graph = sn.Index("euclidean", n_neighbors=10, method="graph", init_graph=given).fit(rows).neighbor_graph
    exact = sn.Index("euclidean", n_neighbors=10, method="exact").fit(rows).neighbor_graph
    assert recall(graph, exact) > 0.97
    assert (graph.indices != np.arange(700)[:, None]).all()
    assert all(len(set(row)) == 10 for row in graph.indices.tolist())


def test_some_rows_of_the_exact_graph():
    rows = np.concatenate([np.ones((20, 4)), clusters(80, 4)]).astype(np.float32)
    for metric, data in (("euclidean", rows), ("dot", sp.csr_matrix(rows)), ("cosine", sp.csr_matrix(np.abs(rows)))):
        engine = engine_of(data, metric)
        whole = engine.nearest(None, 6, 1)
        for ids in (np.array([7]), np.array([3, 19, 50, 99])):
            some = engine.nearest_of(ids, 6, 1)
            np.testing.assert_array_equal(some.indices, whole.indices[ids])
            np.testing.assert_array_equal(some.distances, whole.distances[ids])


def test_long_rows_leave_out_common_terms_and_another_k_is_made_anew():
    rows = zipf_rows(2500, 3000, 60, 8)
    index = sn.Index("cosine", n_neighbors=10, method="graph").fit(rows)
    assert index.plan_.share < 1
    assert index.estimate_recall(300).recall > 0.9
    index.n_neighbors = 4
    assert index.neighbor_graph.indices.shape == (2500, 4)
    index.n_neighbors = 100
    assert index.plan_.head_width == 80
    assert index.estimate_recall(100).recall > 0.9
    assert index.plan_.head_width == 210
    bits = np.packbits(clusters(900, 64) > 0, axis=1)
    graph = sn.Index("bit_hamming", n_neighbors=10, method="graph").fit(bits)
    assert graph.estimate_recall(300).recall > 0.9


def test_rows_list_who_found_them_the_nearest_first():
    rng = np.random.default_rng(0)
    graph = descent.empty_graph(60, 7, 1.0)
    for i in range(40, 60):
        for row in rng.choice(60, rng.integers(0, 7), replace=False):
            bits = int(np.float32(rng.integers(1, 4)).view(np.int32))
            graph.keys[i] = np.sort(np.append(graph.keys[i, 1:], bits << 32 | 2 * row + 1))
    back = descent.list_back(graph.keys, 40, 3)
    for row in range(40):
        found = [
            (int(key), i)
            for i in range(40, 60)
            for key in graph.keys[i]
            if key != descent.EMPTY and (key & 0xFFFFFFFF) >> 1 == row
        ]
        want = [i for _, i in sorted(found)][:3]
        assert back[row].tolist() == want + [-1] * (3 - len(want))


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 50, 100, 999])
@pytest.mark.parametrize("n_jobs", [1, 2, 3, 6])
def test_blocks_are_even_and_as_many_for_each_thread(n, n_jobs):
    blocks = map_blocks(lambda a, b: (a, b), n, n_jobs, 16)
    assert [i for a, b in blocks for i in range(a, b)] == list(range(n))
    sizes = [b - a for a, b in blocks]
    if n:
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(8, n)
        assert len(blocks) <= n_jobs or len(blocks) % n_jobs == 0
