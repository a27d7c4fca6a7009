"""Approximate queries: parts against plain Python, answers against exact search, recall as asked for, hard data."""

import functools
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import answers, calibration, graph, search, termwise
from sparsenn.compact import whole_rows
from sparsenn.exact import ExactEngine
from sparsenn.search import How, Setting
from tests import naive
from tests.test_exact import zipf_rows
from tests.test_graph import engine_of

PAD, MARK = 1024, 77  # places around each array of a thread's memory that nobody may write to
made_scratch, query_costs = search._make_scratch, ExactEngine.query_costs
zones = []


def fenced(array):
    """Copy of an array in the middle of a larger one."""
    large = np.full(array.size + 2 * PAD, MARK, array.dtype)
    inner = large[PAD : PAD + array.size]
    inner[:] = array.reshape(-1)
    zones.append(large)
    return inner.reshape(array.shape)


def fenced_scratch(*args):
    scratch = made_scratch(*args)
    ws = scratch.ws._replace(**{f: fenced(getattr(scratch.ws, f)) for f in scratch.ws._fields if f != "filter"})
    return scratch._replace(ws=ws, **{f: fenced(getattr(scratch, f)) for f in scratch._fields if f != "ws"})


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Let no data be too small for approximate search, and see that searches write into their own memory only."""
    monkeypatch.setattr(answers, "AT_ONCE", 0.0)
    monkeypatch.setattr(answers, "exact_cost", lambda engine: 1e15)
    monkeypatch.setattr(ExactEngine, "query_costs", lambda engine, x: None)
    monkeypatch.setattr(search, "_make_scratch", fenced_scratch)
    yield
    broken = [len(z) - 2 * PAD for z in zones if (z[:PAD] != MARK).any() or (z[-PAD:] != MARK).any()]
    for z in zones:
        z[:PAD] = z[-PAD:] = MARK
    assert not broken, f"written outside arrays of sizes {broken}"


@functools.cache
def data(kind):
    """Rows, and queries of the same kind that are not among them."""
    rng = np.random.default_rng(5)
    if kind == "text":
        M = zipf_rows(3300, 800, 9, 3)
        M = M[np.diff(M.indptr) > 1]
    elif kind == "sets":
        M = zipf_rows(3300, 800, 9, 3, weights=False)
    elif kind == "few columns":
        M = zipf_rows(2800, 60, 12, 4)
    elif kind == "signed":
        M = zipf_rows(2800, 60, 12, 4, signed=True)
    elif kind == "dense":
        M = rng.normal(size=(2300, 8)).astype(np.float32)
    else:  # of low rank, and large enough for sketches
        M = (rng.normal(size=(9300, 10)) @ rng.normal(size=(10, 120)) + 0.1 * rng.normal(size=(9300, 120))).astype("f4")
    return M[:-300], M[-300:]


@functools.cache
def fitted(metric, method, kind):
    return sn.Index(metric, method=method, n_jobs=2).fit(data(kind)[0])


@functools.cache
def true_nearest(metric, kind, k):
    X, Q = data(kind)
    return sn.exact_neighbors(X, Q, k, metric=metric)


@functools.cache
def all_distances(metric, kind):
    X, Q = data(kind)
    return sn.pairwise_distances(Q, X, metric=metric)


def searched(index, Q, k, setting, n_jobs=1):
    """What one setting finds: (neighbours, postings read, pairs measured)."""
    engine = index._engine
    return index._answers.searcher.search(engine.as_queries(engine.space.read(Q, "Q")), k, setting, n_jobs)[:3]


def same(found, other):
    np.testing.assert_array_equal(found.indices, other.indices)
    np.testing.assert_array_equal(found.distances, other.distances)


# Heads


@pytest.mark.parametrize("values", ["weights", "some equal", "all equal"])
@pytest.mark.parametrize("metric", ["cosine", "hellinger", "dot", "jaccard"])
def test_a_tier_holds_the_rows_of_most_impact(metric, values, monkeypatch):
    monkeypatch.setattr(search, "TIERS", (3, 7, 8, 20))
    rows = zipf_rows(500, 60, 8, 1)
    if values == "some equal":
        rows.data = np.ceil(rows.data).astype(np.float32)
    elif values == "all equal":
        rows = sp.csr_matrix(np.tile([[1.0, 0], [0, 1]], (50, 1)).astype(np.float32))
    engine = engine_of(rows, metric)
    y, compiled = engine.own()
    whole, heads = engine.postings, search.tiered_heads(engine.postings, y, compiled)
    ids, coded = heads.words >> np.uint32(heads.shift), heads.words & np.uint32(2**heads.shift - 1)
    impact = {"dot": lambda v, r: v, "jaccard": lambda v, r: -y.stats[0, r]}.get(metric, lambda v, r: v * y.stats[0, r])
    for c in range(rows.shape[1]):
        own, kept = slice(*whole.indptr[c : c + 2]), slice(*heads.indptr[c : c + 2])
        value = dict(zip(whole.ids[own].tolist(), whole.values[own].astype(np.float64), strict=True))
        assert kept.stop - kept.start == min(len(value), 20)
        assert len(set(ids[kept].tolist())) == kept.stop - kept.start
        true = np.array([value[r] for r in ids[kept].tolist()])
        np.testing.assert_allclose(coded[kept] * heads.scale, true, atol=heads.scale, rtol=1e-6)
        best = -np.sort(-impact(whole.values[own].astype(np.float64), whole.ids[own]))
        for tier in (3, 7, 8, 20):
            first = slice(kept.start, min(kept.start + tier, kept.stop))
            found = impact(true[:tier], ids[first])
            np.testing.assert_allclose(-np.sort(-found), best[:tier], rtol=1e-9)


def test_no_value_of_a_head_becomes_nothing():
    rows = zipf_rows(500, 60, 8, 1)
    rows.data[:9] = 1e9
    engine = engine_of(rows, "dot")
    y, compiled = engine.own()
    heads = search.tiered_heads(engine.postings, y, compiled)
    assert (heads.words & np.uint32(2**heads.shift - 1)).min() == 1


def test_too_many_rows_have_no_heads_and_are_searched_exactly(monkeypatch):
    rows = zipf_rows(500, 60, 8, 1)
    engine = engine_of(rows, "dot")
    y, compiled = engine.own()
    monkeypatch.setattr(search, "FEWEST_BITS", 33)
    assert search.tiered_heads(engine.postings, y, compiled) is None
    index = sn.Index("cosine", method="heads").fit(rows)
    same(index.query(rows[:9], 5), sn.exact_neighbors(rows, rows[:9], 5))


@numba.njit(nogil=True, error_model="numpy")
def choose(metric, x, i, heads, how, scratch):
    return search._choose_terms(metric, x, i, heads, how, scratch)


@numba.njit(nogil=True, error_model="numpy")
def keep(scratch, filled, width):
    return search._keep_best(scratch, filled, width)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 1.0])
def test_terms_that_are_chosen_hold_the_share_and_bring_most_for_their_cost(share):
    Q = data("text")[1][:100]
    index = fitted("cosine", "heads", "text")
    x = index._engine.as_queries(index._engine.space.read(Q, "Q"))
    searcher, head = index._answers.searcher, 100
    heads, how = searcher.heads, How(head, share, 20, 0, np.inf, searcher.kept(10), 0)
    scratch = searcher._take(search.How(0, 1.0, 20, 20, np.inf, 20, 0), 64)
    fewer = 0
    for i in range(100):
        a, b = x.indptr[i : i + 2]
        kept = choose(searcher.form.metric, x, i, heads, how, scratch)
        terms = scratch.terms[:kept] - a
        assert len(set(terms.tolist())) == kept
        bounds = x.data[a:b].astype(np.float64) ** 2
        assert bounds[terms].sum() >= share * bounds.sum() * (1 - 1e-9)
        if share == 1:
            assert kept == b - a
            continue
        assert bounds[terms[:-1]].sum() < share * bounds.sum()
        worth = bounds / np.sqrt(np.clip(np.diff(heads.indptr)[x.indices[a:b]], 1, head))
        others = np.delete(worth, terms)
        assert not others.size or others.max() <= worth[terms].min() * 1.25001  # levels, four to a power of two
        fewer += kept < b - a
    assert share == 1 or fewer > 30


def test_unknown_terms_take_no_share_of_a_query():
    X, Q = data("text")
    wide = sp.hstack([X, sp.csr_matrix((X.shape[0], 2))]).tocsr()
    weight = np.sqrt(Q.multiply(Q).sum(axis=1))
    unknown = sp.hstack([Q, sp.csr_matrix(np.hstack([3 * weight, 3 * weight]))]).tocsr()
    known = sp.hstack([Q, sp.csr_matrix((Q.shape[0], 2))]).tocsr()
    index = sn.Index("cosine", method="heads").fit(wide)
    setting = Setting(400, 0.8, 40)
    np.testing.assert_array_equal(
        searched(index, unknown, 10, setting)[0].indices, searched(index, known, 10, setting)[0].indices
    )


def test_the_least_sums_are_kept_also_after_equal_ones():
    scratch = made_scratch(5, 5, 5, 4, 4, 8)
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(5, 40))
        sums = rng.integers(0, 4, n).astype(np.float64)
        scratch.sums[:n], scratch.ids[:n] = sums, np.arange(n)
        left, limit = keep(scratch, n, 4)
        assert (left, limit) == (4, np.sort(sums)[3])
        np.testing.assert_array_equal(np.sort(scratch.sums[:4]), np.sort(sums)[:4])
        np.testing.assert_array_equal(sums[scratch.ids[:4]], scratch.sums[:4])
        assert len(set(scratch.ids[:4].tolist())) == 4


def test_the_nearest_is_found_behind_many_that_are_equally_far():
    X = np.tile(np.float32([1, 1, 0]), (200, 1))
    X[199] = [1, 0, 0]
    index = sn.Index("cosine", method="heads").fit(sp.csr_matrix(X))
    found = searched(index, sp.csr_matrix(np.float32([[1, 0, 0]])), 2, Setting(6400, 1.0, 8))[0]
    assert found.indices.tolist() == [[199, 0]]


@pytest.mark.parametrize("metric", ["cosine", "hellinger", "dot"])
def test_whole_heads_give_the_exact_answer(metric):
    X, Q = data("text")
    index, true = fitted(metric, "heads", "text"), true_nearest(metric, "text", 10)
    whole = Setting(6400, 1.0, X.shape[0])
    found, postings, measured = searched(index, Q, 10, whole)
    naive.check_neighbors(*found, all_distances(metric, "text"), 10)
    lengths = np.bincount(X.indices, minlength=X.shape[1])
    assert postings == lengths[Q.indices].sum()
    assert measured <= X.shape[0] * Q.shape[0]
    steps = [(20, 0.5, 20), (100, 0.6, 20), (400, 0.8, 40), (1600, 0.97, 80), (6400, 1.0, 320)]
    some = [naive.recall(searched(index, Q, 10, Setting(*s))[0].distances, true.distances) for s in steps]
    assert (np.diff(some) > -0.01).all()
    assert some[0] < 0.8 < 0.99 < some[-1]


# The graph


def line_up(rows, metric, k):
    """Engine, its whole form, and the exact graph."""
    engine = engine_of(rows, metric)
    y, compiled = engine.own()
    return engine, whole_rows(compiled, y), engine.nearest(None, k, 1)


CLUSTERS = np.repeat(1000 * np.random.default_rng(0).normal(size=(20, 4)), 30, axis=0)
GRAPHS = {
    "spread": np.random.default_rng(0).normal(size=(700, 6)),
    "isolated clusters": CLUSTERS + np.random.default_rng(1).normal(size=CLUSTERS.shape),
    "all equal": np.ones((300, 3)),
    "copies": np.repeat(np.random.default_rng(0).normal(size=(30, 3)), 15, axis=0),
    "two far clusters": np.random.default_rng(0).normal(size=(400, 3)) + 1e4 * (np.arange(400) % 2)[:, None],
    "a hub": np.vstack([np.zeros((1, 60)), np.eye(60), -np.eye(60)]),
    "two rows": np.eye(2),
    "one row": np.ones((1, 3)),
}


@pytest.mark.parametrize("alpha", [1.0, 1.5])
@pytest.mark.parametrize("name", list(GRAPHS))
def test_links_are_few_and_reach_every_row(name, alpha):
    rows = GRAPHS[name].astype(np.float32)
    n, k = len(rows), 7
    engine, form, near = line_up(rows, "euclidean", k)
    order = np.random.default_rng(3).permutation(n)
    links = graph.link_rows(form.reordered(order), near, order, rows.shape[1], alpha=alpha, n_jobs=1)
    again = graph.link_rows(form.reordered(order), near, order, rows.shape[1], alpha=alpha, n_jobs=2)
    assert links.ids.shape[1] == 2 * k + graph.SPARE
    assert (links.degrees <= links.ids.shape[1]).all()
    assert len(set(links.entries.tolist())) == len(links.entries)
    assert naive.reachable(links, n)
    D = sn.pairwise_distances(rows[order], metric="euclidean")
    place = np.argsort(order)
    forward = naive.occluded(D, [[place[r] for r in row if r >= 0] for row in near.indices[order]], k, alpha)
    back = [[i for i in range(n) if r in forward[i]] for r in range(n)]
    np.testing.assert_array_equal(links.degrees, again.degrees)
    for i in range(n):
        own = links.ids[i, : links.degrees[i]].tolist()
        assert len(set(own)) == len(own)
        assert i not in own
        assert own == again.ids[i, : links.degrees[i]].tolist()
        if name in ("spread", "isolated clusters"):  # no ties
            assert own[: len(forward[i])] == forward[i]
            more = [r for r in own[len(forward[i]) :] if r not in back[i]]
            assert len(more) <= len(own) - min(len(forward[i]) + k, len(set(forward[i] + back[i])))


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 100_000])
def test_entries_are_spread_and_so_are_the_first_of_them(n):
    rows = graph.spread_rows(n)
    assert len(set(rows.tolist())) == len(rows) == min(max(int(4 * np.sqrt(n)), 1), 1024, n)
    assert rows.min() >= 0
    assert rows.max() < n
    for m in (1, 4, 64, len(rows)):
        gaps = np.diff([0, *np.sort(rows[:m]).tolist(), n])
        assert gaps.max() <= 2 * n / min(m, len(rows)) + 1


@pytest.mark.parametrize("name", ["spread", "two far clusters"])
def test_links_without_some_rows_never_meet_them(name):
    rows = GRAPHS[name].astype(np.float32)
    n, absent = len(rows), np.array([3, 5, 11, 200])
    _, form, near = line_up(rows, "euclidean", 7)
    order = np.random.default_rng(3).permutation(n)
    links = graph.link_rows(form.reordered(order), near, order, rows.shape[1], alpha=1.2, n_jobs=1, absent=absent)
    met = np.concatenate([links.entries, *(links.ids[i, : links.degrees[i]] for i in range(n))])
    places = np.argsort(order)[absent]
    assert not np.isin(met, places).any()
    assert (links.degrees[places] == 0).all()
    reached = set(met.tolist())
    assert len(reached) == n - len(absent)


def test_walks_are_tried_as_if_the_tried_rows_were_not_there():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12_000, 24)).astype(np.float32)
    index = sn.Index("euclidean", method="graph").fit(X)
    Q = rng.normal(size=(500, 24)).astype(np.float32)
    true = sn.exact_neighbors(X, Q, 10, metric="euclidean")
    index.query(Q[:1], k=10)
    settings = [s for s in index.calibration_.settings if s.beam]
    assert len(settings) > 3
    for setting in settings:
        found, _, _ = searched(index, Q, 10, setting)
        assert abs(naive.recall(found.distances, true.distances) - setting.recall) < 0.03


@pytest.mark.parametrize("metric", ["euclidean", "dot"])
def test_more_alpha_keeps_more(metric):
    rows = np.random.default_rng(0).normal(size=(700, 6)).astype(np.float32)
    _, form, near = line_up(rows, metric, 16)
    degrees = [
        graph.link_rows(form, near, np.arange(700), 6, alpha=alpha, n_jobs=1).degrees.mean() for alpha in (1, 1.2, 2)
    ]
    assert degrees[0] < degrees[1] < degrees[2]


# Walks


@pytest.mark.parametrize(
    ("metric", "kind"), [("euclidean", "dense"), ("manhattan", "few columns"), ("jaccard", "sets")]
)
def test_wider_walks_find_more_and_the_widest_all(metric, kind):
    X, Q = data(kind)
    index, true, D = fitted(metric, "graph", kind), true_nearest(metric, kind, 10), all_distances(metric, kind)
    recalls, costs = [], []
    kept, least = index._answers.searcher.kept, 10
    assert [kept(10, beam) for beam in (1, 10, 12)] == [10, 10, 12]  # no more is measured again than a pool holds
    assert kept(10) < kept(10, 200) < kept(10, 400)
    for beam in (least, least + 5, least + 15, least + 65, len(D[0])):
        found, read, measured = searched(index, Q, 10, Setting(beam=beam))
        assert read == 0
        naive.check_found(*found, D, 10)
        recalls.append(naive.recall(found.distances, true.distances))
        costs.append(measured)
    assert (np.diff(recalls) >= 0).all()
    assert (np.diff(costs) > 0).all()
    assert recalls[0] < recalls[3]
    assert recalls[-1] == 1
    assert costs[-1] == D.size


def test_epsilon_widens_a_walk():
    X, Q = data("dense")
    index, true, D = fitted("euclidean", "graph", "dense"), true_nearest("euclidean", "dense", 10), None
    D = all_distances("euclidean", "dense")
    recalls, costs = [], []
    for epsilon in (0, 0.05, 0.2, 1.0, 1e9):
        found = index.query(Q, 10, epsilon=epsilon)
        naive.check_found(*found, D, 10)
        recalls.append(naive.recall(found.distances, true.distances))
        costs.append(searched(index, Q, 10, index._answers.choose(10, None, epsilon))[2])
    assert (np.diff(recalls) >= 0).all()
    assert costs[0] < costs[1] < costs[2] <= costs[3] <= costs[4]
    assert 0.6 < recalls[0] < 0.98 < recalls[-1]
    near = index.query(Q, 10, epsilon=0.1), index.query(Q, 10, epsilon=0.1, n_jobs=1)
    same(*near)
    same(fitted("cosine", "heads", "text").query(data("text")[1], 10, epsilon=0.1), true_nearest("cosine", "text", 10))


# Recall on request

ASKED = [
    ("cosine", "heads", "text"),
    ("cosine", "graph", "text"),
    ("hellinger", "heads", "text"),
    ("hellinger", "graph", "text"),
    ("dot", "graph", "text"),
    ("jaccard", "graph", "sets"),
    ("manhattan", "graph", "few columns"),
    ("cosine", "graph", "signed"),
    ("euclidean", "graph", "dense"),
    ("euclidean", "graph", "low rank"),
]


@pytest.mark.parametrize(("metric", "method", "kind"), ASKED)
def test_queries_get_the_recall_they_ask_for(metric, method, kind):
    X, Q = data(kind)
    index, D = fitted(metric, method, kind), all_distances(metric, kind)
    assert index.plan_.method == method
    for k, recall in ((10, 0.8), (10, 0.9), (10, None), (10, 0.97), (3, 0.9), (40, 0.9)):
        true = true_nearest(metric, kind, k)
        found = index.query(Q, k, recall=recall)
        naive.check_found(*found, D, k, atol=2e-5)
        assert naive.recall(found.distances, true.distances) >= (recall or answers.RECALL) - 0.02, (k, recall)
        setting = index._answers.choose(k, recall, None)
        assert setting is not None  # none of this was exact search
    same(index.query(Q, 10, recall=1.0), true_nearest(metric, kind, 10))
    same(index.query(Q, 10, recall=1), true_nearest(metric, kind, 10))
    if kind == "low rank":
        assert index._answers.searcher.form.name.startswith("sketches")


@pytest.mark.parametrize(("metric", "method", "kind"), [("cosine", "heads", "text"), ("jaccard", "graph", "sets")])
def test_a_calibration_is_sorted_and_says_what_was_tried(metric, method, kind):
    index = sn.Index(metric, method=method).fit(data(kind)[0])
    found = index.calibration_
    assert index.calibration_ is found
    assert index.calibrate().calibration_ == found
    assert index.calibration_ is not found  # but tried again
    assert found.k == 10
    assert found.exact_cost > 0
    assert len(found.settings) > 4
    costs, recalls = ([getattr(s, name) for s in found.settings] for name in ("cost", "recall"))
    assert (np.diff(costs) >= 0).all()
    assert (np.diff(recalls) > 0).all()
    assert 0 < recalls[0] < 0.9 < recalls[-1] <= 1
    for recall in (0.3, 0.7, 0.9):
        setting = found.pick(recall)
        assert setting.recall >= recall
        assert all(s.recall < recall for s in found.settings if s.cost < setting.cost)
    assert found.pick(1.01) is None
    index.query(data(kind)[1][:3], 12)
    assert index.calibration_.k == 20
    assert {s.way for s in found.settings} <= {"heads", "graph", "heads and graph"}
    # counted, not timed: the same again, whatever the threads
    again = sn.Index(metric, method=method, n_jobs=1).fit(data(kind)[0]).calibration_
    assert again == found


def short_queries(Q):
    """Two of the columns of each query."""
    Q = sp.vstack([sp.csr_matrix((row.data[:2], row.indices[:2], [0, 2]), shape=(1, Q.shape[1])) for row in Q])
    return Q.tocsr()


def test_calibration_on_own_queries():
    X, Q = data("text")
    Q = short_queries(Q)
    index = sn.Index("cosine", method="heads").fit(X)
    by_rows = index.calibration_
    by_queries = index.calibrate(Q[:200]).calibration_
    assert by_queries != by_rows
    assert by_queries.k == 10
    true = sn.exact_neighbors(X, Q[200:], 10)
    for recall in (0.7, 0.9, 0.97):
        found = index.query(Q[200:], 10, recall=recall)
        assert naive.recall(found.distances, true.distances) >= recall - 0.02
        assert index.calibration_ is by_queries
    index.query(Q[200:], 30)
    assert index.calibration_.k == 50
    assert index.calibrate(Q[:200], k=30).calibration_.k == 50


def test_calibration_on_rows_after_own_queries():
    X, Q = data("text")
    index = sn.Index("cosine", method="heads").fit(X)
    by_rows = index.calibration_
    index.calibrate(short_queries(Q))
    assert index.calibrate().calibration_ == by_rows


def test_calibration_shows_the_last_one_asked_for():
    index = sn.Index("cosine", method="heads").fit(data("text")[0])
    for k in (10, 100, 10):
        assert index.calibrate(k=k).calibration_.k == k


def test_recall_that_is_out_of_reach_warns_and_is_exact(monkeypatch):
    monkeypatch.setattr(calibration, "HEADS", ((30, 0.5, 15), (60, 0.5, 16)))
    X, Q = data("text")
    index = sn.Index("cosine", method="heads").fit(X)
    best = index.calibration_.settings[-1].recall
    assert best < 0.9
    message = rf"recall of 0.95 \(the best had {best:.3f}\): these queries are answered exactly"
    with pytest.warns(UserWarning, match=message) as caught:
        found = index.query(Q, 10)
    same(found, true_nearest("cosine", "text", 10))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="answered exactly") as caught:
        within = index.query_radius(Q, 0.4, recall=0.9)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(within.indices, index.query_radius(Q, 0.4, recall=1.0).indices)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert naive.recall(index.query(Q, 10, recall=best / 2).distances, found.distances) < 1


@pytest.mark.parametrize("by", ["rows", "queries"])
def test_exact_search_is_taken_where_it_is_cheaper(by, monkeypatch):
    if by == "rows":
        monkeypatch.setattr(answers, "exact_cost", lambda engine: 1.0)
    else:
        monkeypatch.setattr(ExactEngine, "query_costs", lambda engine, x: np.full(len(x.indptr) - 1, 1.0))
    X, Q = data("text")
    index = sn.Index("cosine", method="heads").fit(X)
    same(index.query(Q, 10, recall=0.5), true_nearest("cosine", "text", 10))
    assert index.calibration_.settings == ()
    assert index.calibration_.cut
    exact = sn.Index("cosine", method="exact").fit(X)
    same(exact.query(Q, 10, recall=0.5), true_nearest("cosine", "text", 10))
    assert exact.calibrate().calibration_.settings == ()


def test_each_query_goes_the_way_that_is_cheaper_for_it(monkeypatch):
    Q = data("text")[1]
    index, true = fitted("cosine", "heads", "text"), true_nearest("cosine", "text", 10)
    index.calibrate()
    walked = index.query(Q, 10, recall=0.7)
    assert naive.recall(walked.distances, true.distances) < 0.99
    cheap = np.arange(len(Q.indptr) - 1) % 3 == 0
    monkeypatch.setattr(ExactEngine, "query_costs", lambda engine, x: np.where(cheap, 0.0, 1e12))
    found = index.query(Q, 10, recall=0.7)
    for one, exact, other in zip(found, true, walked, strict=True):
        np.testing.assert_array_equal(one[cheap], exact[cheap])
        np.testing.assert_array_equal(one[~cheap], other[~cheap])
    assert (walked.distances[cheap] != true.distances[cheap]).any()
    monkeypatch.setattr(ExactEngine, "query_costs", lambda engine, x: np.full(len(x.indptr) - 1, 1e12))
    same(index.query(Q, 10, recall=0.7), walked)


def test_costs_of_queries_are_counted():
    X, Q = data("text")
    engine = fitted("cosine", "heads", "text")._engine
    costs = query_costs(engine, engine.as_queries(engine.space.read(Q, "Q")))
    work = np.add.reduceat(np.bincount(X.indices, minlength=X.shape[1])[Q.indices], Q.indptr[:-1])
    assert costs.shape == work.shape
    assert (costs > 0).all()
    few = (work > 0) & (work < termwise.FEW * X.shape[0])
    for group in (few, ~few):  # more postings never cost less
        assert (np.diff(costs[group][np.argsort(work[group], kind="stable")]) >= 0).all()
    dense = engine_of(data("dense")[0], "euclidean")
    assert query_costs(dense, dense.own()[0]) is None


WRONG = [
    ({"recall": 0.9, "epsilon": 0.1}, "give recall or epsilon, not both"),
    *(({"recall": v}, f"recall must be above 0 and at most 1, got {v!r}") for v in (0, 0.0, -0.1, 1.5, np.nan, np.inf)),
    *(({"epsilon": v}, f"epsilon must be at least 0 and finite, got {v!r}") for v in (-1, -0.1, np.nan, np.inf)),
    *(({"recall": v}, f"recall must be a number, got {v!r}") for v in ("x", True, [0.9], np.True_, 1j)),
    *(({"epsilon": v}, f"epsilon must be a number, got {v!r}") for v in ("x", False, np.array(0.1))),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_recall_and_epsilon_are_refused(options, message):
    index = fitted("cosine", "heads", "text")
    with pytest.raises(ValueError, match=re.escape(message)):
        index.query(data("text")[1][:2], 5, **options)
    if "epsilon" not in options:
        with pytest.raises(ValueError, match=re.escape(message)):
            index.query_radius(data("text")[1][:2], 0.5, **options)


def test_wrong_calibration_is_refused():
    index = fitted("cosine", "heads", "text")
    with pytest.raises(ValueError, match="Q has no rows: calibration needs queries"):
        index.calibrate(data("text")[1][:0])
    with pytest.raises(ValueError, match="Q has 3 columns, but the index has 800"):
        index.calibrate(np.ones((4, 3)))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.calibrate(k=0)
    with pytest.raises(ValueError, match="call fit"):
        sn.Index("cosine").calibrate()
    with pytest.raises(ValueError, match="call fit"):
        _ = sn.Index("cosine").calibration_


def test_an_index_of_heads():
    X = data("text")[0]
    index = sn.Index("cosine", method="heads", n_neighbors=8).fit(X)
    assert (index.plan_.method, index.plan_.seeds, index.plan_.reason) == ("heads", "heads", "as asked")
    assert "method='heads': heads of inverted lists, measured" in repr(index)
    assert index._graph is None
    near = index.neighbor_graph
    exact = sn.Index("cosine", method="exact", n_neighbors=8).fit(X).neighbor_graph
    assert naive.recall(near.distances, exact.distances) > 0.9
    assert (near.indices != np.arange(X.shape[0])[:, None]).all()
    assert index.neighbor_graph is near
    assert index.plan_.method == "heads"
    index.n_neighbors = 3
    assert index.neighbor_graph.indices.shape == (X.shape[0], 3)
    assert {s.way for s in index.calibration_.settings} == {"heads"}


@pytest.mark.parametrize(
    ("metric", "rows"),
    [
        ("manhattan", zipf_rows(60, 30, 5, 0)),
        ("euclidean", zipf_rows(60, 30, 5, 0)),
        ("cosine", zipf_rows(60, 30, 5, 0, signed=True)),
        ("cosine", zipf_rows(60, 30, 5, 0).toarray()),
    ],
)
def test_heads_where_there_are_none(metric, rows):
    with pytest.raises(ValueError, match=f"method='heads' needs sparse rows.* not {metric} on these rows"):
        sn.Index(metric, method="heads").fit(rows)


# Hard data


@pytest.mark.parametrize(
    ("metric", "method"), [("cosine", "heads"), ("cosine", "graph"), ("hellinger", "heads"), ("jaccard", "graph")]
)
def test_queries_that_meet_little_are_exact(metric, method):
    X = data("text")[0][:1500]
    X = sp.hstack([X, sp.csr_matrix((1500, 40))]).tocsr()
    empty = X[11].copy()
    empty.data[:] = 0
    X = sp.vstack([X, empty, X[:3]]).tocsr()
    unknown = np.zeros((3, 840), np.float32)
    unknown[0, 800], unknown[1, 800:840], unknown[2, 839] = 1, np.arange(1, 41), 5
    rare = np.flatnonzero((np.bincount(X.indices, minlength=840) > 0) & (np.bincount(X.indices, minlength=840) < 9))
    seldom = np.zeros((2, 840), np.float32)
    seldom[0, rare[0]] = seldom[1, rare[1]] = 1
    Q = sp.vstack([empty, sp.csr_matrix(unknown), sp.csr_matrix(seldom)]).tocsr()
    index = sn.Index(metric, method=method).fit(X)
    D = sn.pairwise_distances(Q, X, metric=metric)
    exact = sn.exact_neighbors(X, Q, 10, metric=metric)
    found = index.query(Q, 10, recall=0.9)
    same(found, exact)
    naive.check_neighbors(*found, D, 10)
    same(index.query(Q[:1], 10), sn.exact_neighbors(X, Q[:1], 10, metric=metric))
    assert index.query(Q[:0], 10).indices.shape == (0, 10)
    assert index.query_radius(Q[:0], 0.5, recall=0.9).indptr.tolist() == [0]


@pytest.mark.parametrize(
    ("metric", "method", "form"),
    [
        ("cosine", "heads", sp.csr_matrix),
        ("cosine", "graph", sp.csr_matrix),
        ("jaccard", "graph", sp.csr_matrix),
        ("euclidean", "graph", sp.csr_matrix),
        ("euclidean", "graph", np.asarray),
        ("cosine", "graph", np.asarray),
        ("chebyshev", "graph", np.asarray),
    ],
)
def test_few_and_equal_rows(metric, method, form):
    cases = {
        "one row": np.ones((1, 4)),
        "two rows": np.eye(4)[:2] + 0.5,
        "all equal": np.tile([1.0, 0, 2, 0], (150, 1)),
        "many equal": np.repeat(np.eye(5), 40, axis=0),
        "all empty": np.zeros((80, 4)),
        "one nonzero each": np.eye(90),
        "two far clusters": np.kron(np.eye(2), np.ones((60, 5))) * np.linspace(1, 2, 10),
    }
    for name, X in cases.items():
        X = X.astype(np.float32)
        Q = np.vstack([X[:5], X[-5:], np.ones((1, X.shape[1]))]).astype(np.float32)
        D = sn.pairwise_distances(form(Q), form(X), metric=metric)
        index = sn.Index(metric, method=method, n_neighbors=7).fit(form(X))
        for k in (1, 7, len(X) - 1, len(X), len(X) + 3):
            for options in ({}, {"recall": 0.9}, {"epsilon": 0.1}):
                if k == 0:
                    continue
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "no approximate setting")
                    found = index.query(form(Q), k, **options)
                naive.check_found(*found, D, k)
        assert index.calibration_.k >= 1, name
        naive.check_neighbors(*index.query(form(Q), 1, recall=1.0), D, 1)


@pytest.mark.parametrize("rows", [np.ones((1, 4), np.float32), sp.csr_matrix(np.ones((1, 4), np.float32))])
def test_one_row_can_be_calibrated(rows):
    index = sn.Index("cosine", method="graph").fit(rows)
    assert index.calibrate().calibration_.k >= 1
    naive.check_neighbors(*index.query(rows, 2), np.zeros((1, 1), np.float32), 2)


def test_a_dense_query_alone_needs_no_more_memory_than_many():
    """What is written outside the memory of a search, the fence around it tells."""
    X, Q = data("dense")
    index = sn.Index("euclidean", method="graph").fit(X)
    D = all_distances("euclidean", "dense")
    for i in range(3):
        naive.check_found(*index.query(Q[i : i + 1], 5), D[i : i + 1], 5)


def test_more_neighbours_than_heads_can_reach():
    X, Q = data("text")
    X, Q = X[:900], Q[:20]
    D = sn.pairwise_distances(Q, X)
    most = int((D < 1).sum(axis=1).max())
    index = sn.Index("cosine", method="heads").fit(X)
    for k in (most + 1, 899, 900, 1000):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no approximate setting")
            found = index.query(Q, k, recall=0.5)
        naive.check_neighbors(*found, D, k)


def test_queries_and_rows_longer_than_there_is_usually_room_for():
    rng = np.random.default_rng(0)
    lengths = np.r_[70_000, 2000, 1500, rng.integers(3, 30, 397)]
    columns = np.concatenate([rng.choice(80_000 if n > 1000 else 300, n, replace=False) for n in lengths])
    starts = np.r_[0, np.cumsum(lengths)]
    X = sp.csr_matrix((1 + rng.random(starts[-1]).astype(np.float32), columns, starts), shape=(400, 80_000))
    longest = sp.vstack([X[0] * np.float32(0.5), X[[1, 2, 50]]]).tocsr()
    assert np.diff(longest.indptr)[1] > search.LONGEST
    for metric, method in (("cosine", "heads"), ("cosine", "graph"), ("jaccard", "graph")):
        index = sn.Index(metric, method=method).fit(X)
        D = sn.pairwise_distances(longest, X, metric=metric)
        index.query(X[60:90], 5)  # memory for short queries, first
        for recall in (0.5, 0.9):
            found = index.query(longest, 5, recall=recall)
            naive.check_found(*found, D, 5)
            assert found.indices[:, 0].tolist() == [0, 1, 2, 50]
        whole = searched(index, longest, 5, Setting(6400, 1.0, 400))[0]
        naive.check_neighbors(*whole, D, 5)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("method", ["heads", "graph"])
def test_signed_queries_among_rows_that_are_not(metric, method):
    X, Q = data("text")
    Q = Q[:100].copy()
    Q.data *= np.random.default_rng(0).choice([-1, 1], Q.nnz)
    index = fitted(metric, method, "text")
    D = sn.pairwise_distances(Q, X, metric=metric)
    naive.check_found(*index.query(Q, 10, recall=0.8), D, 10)
    below = -abs(Q)  # every row that shares a term is farther than those that share none
    D = sn.pairwise_distances(below, X, metric=metric)
    naive.check_neighbors(*index.query(below, 10, recall=0.8), D, 10)


@pytest.mark.parametrize(("metric", "method", "kind"), [("cosine", "heads", "text"), ("jaccard", "graph", "sets")])
def test_queries_in_any_form_are_answered_alike(metric, method, kind):
    Q = data(kind)[1][:60]
    index = fitted(metric, method, kind)
    found = index.query(Q, 10, recall=0.9)
    turned = sp.csr_matrix(Q.shape, dtype=np.float64)
    turned.indptr = Q.indptr.astype(np.int64)
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(Q.indptr, Q.indptr[1:], strict=False)])
    turned.indices, turned.data = Q.indices[order].astype(np.int64), Q.data[order].astype(np.float64)
    turned.has_sorted_indices = False
    fixed = Q.copy()
    for array in (fixed.indptr, fixed.indices, fixed.data):
        array.flags.writeable = False
    free = np.setdiff1d(np.arange(Q.shape[1]), Q[-1].indices)[0]
    ends = np.r_[Q.indptr[:-1], Q.nnz + 1]
    with_zeros = sp.csr_matrix((np.r_[Q.data, 0], np.r_[Q.indices, free], ends), shape=Q.shape)
    for form in (turned, fixed, with_zeros, Q.tocoo(), sp.csr_array(Q), Q.toarray()):
        same(index.query(form, 10, recall=0.9), found)
    assert turned.indices[0] == Q.indices[Q.indptr[1] - 1]


def test_values_that_float32_cannot_multiply():
    X, Q = data("text")
    for factor in (1e25, 1e-25):
        index = sn.Index("cosine", method="heads").fit(X[:900] * np.float32(factor))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no approximate setting")
            found = index.query(Q[:100] * np.float32(factor), 10, recall=0.9)
        true = sn.exact_neighbors(X[:900], Q[:100], 10)
        assert naive.recall(found.distances, true.distances) > 0.88


# The same bits

SAME = [
    ("cosine", "heads", "text"),
    ("cosine", "graph", "text"),
    ("jaccard", "graph", "sets"),
    ("euclidean", "graph", "dense"),
    ("euclidean", "graph", "low rank"),
]


@pytest.mark.parametrize(("metric", "method", "kind"), SAME)
def test_answers_depend_neither_on_threads_nor_on_the_batch(metric, method, kind):
    X, Q = data(kind)
    index = fitted(metric, method, kind)
    for options in ({"recall": 0.8}, {"recall": 0.95}, {"epsilon": 0.05}):
        found = index.query(Q, 10, n_jobs=1, **options)
        same(index.query(Q, 10, n_jobs=2, **options), found)
        back = index.query(Q[::-1], 10, **options)
        np.testing.assert_array_equal(back.indices[::-1], found.indices)
        for i in (0, 7, 150, 299):
            alone = index.query(Q[i : i + 1], 10, **options)
            np.testing.assert_array_equal(alone.indices[0], found.indices[i])
            np.testing.assert_array_equal(alone.distances[0], found.distances[i])


@pytest.mark.parametrize(("metric", "method", "kind"), SAME[:1] + SAME[2:4])
def test_two_fits_with_one_seed_answer_alike(metric, method, kind):
    X, Q = data(kind)
    index = fitted(metric, method, kind)
    again = sn.Index(metric, method=method, n_jobs=1).fit(X)
    again.calibrate()
    index.calibrate()
    assert again._answers.calibration(10) == index._answers.calibration(10)
    same(again.query(Q, 10, recall=0.8), index.query(Q, 10, recall=0.8))


def test_a_sketch_of_a_query_depends_on_no_other():
    X, Q = data("low rank")
    index = fitted("euclidean", "graph", "low rank")
    express = index._answers.searcher.form.express
    read = index._engine.space.read

    def codes(rows):
        return express(index._engine.as_queries(read(rows, "Q"))).data.view(np.int8).reshape(len(rows), -1)

    batch = codes(Q)
    np.testing.assert_array_equal(np.vstack([codes(Q[i : i + 1]) for i in range(len(Q))]), batch)


@pytest.mark.parametrize(("metric", "method", "kind"), SAME[:1] + SAME[2:4])
def test_threads_of_python_share_an_index(metric, method, kind):
    X, Q = data(kind)
    index = sn.Index(metric, method=method, n_jobs=1).fit(X)  # the first queries prepare it, all at once
    parts = [np.arange(a, 300, 6) for a in range(6)] * 3

    def ask(ids):
        return index.query(Q[ids], 10, recall=0.9), index.query(Q[ids[:1]], 3, recall=0.8)

    with ThreadPoolExecutor(4) as pool:
        answered = list(pool.map(ask, parts))
    alone = fitted(metric, method, kind)
    for ids, (found, first) in zip(parts, answered, strict=True):
        same(found, alone.query(Q[ids], 10, recall=0.9, n_jobs=1))
        same(first, alone.query(Q[ids[:1]], 3, recall=0.8, n_jobs=1))


# Radius and filters


@pytest.mark.parametrize(
    ("metric", "method", "kind"),
    [("cosine", "heads", "text"), ("jaccard", "graph", "sets"), ("euclidean", "graph", "dense")],
)
def test_rows_within_a_radius(metric, method, kind):
    X, Q = data(kind)
    index, D = fitted(metric, method, kind), all_distances(metric, kind)
    for quantile in (0.0005, 0.004, 0.03, 0.3):
        radius = float(np.quantile(D, quantile))
        for recall in (0.8, 0.95):
            found = index.query_radius(Q, radius, recall=recall)
            assert found.indptr.dtype == found.indices.dtype == np.int64
            assert found.distances.dtype == np.float32
            assert (found.indptr[0], found.indptr[-1]) == (0, len(found.indices))
            who = np.repeat(np.arange(300), np.diff(found.indptr))
            assert (found.distances <= np.float32(radius)).all()
            np.testing.assert_allclose(found.distances, D[who, found.indices], rtol=1e-5, atol=1e-6)
            assert len(set(zip(who.tolist(), found.indices.tolist(), strict=True))) == len(who)
            assert (np.lexsort((found.indices, found.distances, who)) == np.arange(len(who))).all()
            assert len(who) >= (recall - 0.02) * (np.float32(radius) >= D).sum(), (quantile, recall)
            again = index.query_radius(Q, radius, recall=recall, n_jobs=1)
            np.testing.assert_array_equal(again.indices, found.indices)
    exact = index.query_radius(Q, radius, recall=1.0)
    np.testing.assert_array_equal(np.diff(exact.indptr), (np.float32(radius) >= D).sum(axis=1))


def test_edges_of_a_radius():
    X, Q = data("text")
    index = fitted("cosine", "heads", "text")
    nothing = index.query_radius(Q, 0.0, recall=0.9)
    assert (len(nothing.indices), len(nothing.distances), nothing.indptr.sum()) == (0, 0, 0)
    assert index.query_radius(Q, -1.0, recall=0.9).indptr.tolist() == [0] * 301
    own = index.query_radius(X[:40], 1e-6, recall=0.9)
    assert set(range(40)) <= set(own.indices.tolist())
    nearest = true_nearest("cosine", "text", 5).distances
    found = index.query_radius(Q[3:4], float(nearest[3, 4]), recall=0.99)
    assert found.distances[-1] == nearest[3, 4]
    for radius in (1.0, np.inf, 1e300):
        assert np.diff(index.query_radius(Q[:3], radius, recall=0.9).indptr).tolist() == [X.shape[0]] * 3
    few = sn.Index("cosine", method="heads").fit(X[:50])
    assert np.diff(few.query_radius(Q[:3], 1.0, recall=0.5).indptr).tolist() == [50] * 3


@pytest.mark.parametrize(("metric", "method", "kind"), [("cosine", "heads", "text"), ("euclidean", "graph", "dense")])
def test_filters_are_exact_whatever_the_recall(metric, method, kind):
    X, Q = data(kind)
    index, D = fitted(metric, method, kind), all_distances(metric, kind)
    rng = np.random.default_rng(0)
    n = D.shape[1]
    for size in (1, 30, n // 2, n):
        ids = np.sort(rng.choice(n, size, replace=False))
        for options in ({"recall": 0.1}, {"recall": 0.99}, {"epsilon": 0.0}):
            found = index.query(Q, 10, allowed=ids, **options)
            want, near = naive.nearest(D[:, ids], 10)
            np.testing.assert_allclose(found.distances, near, rtol=1e-5, atol=1e-6)
            assert np.isin(found.indices[found.indices >= 0], ids).all()
            assert ((found.indices < 0) == (want < 0)).all()
        radius = float(np.quantile(D, 0.01))
        within = index.query_radius(Q, radius, recall=0.1, allowed=ids)
        np.testing.assert_array_equal(np.diff(within.indptr), (D[:, ids] <= np.float32(radius)).sum(axis=1))
    labels, wanted = rng.integers(0, 5, n), rng.integers(0, 6, 300)
    found = index.query(Q, 10, recall=0.1, groups=(labels, wanted))
    near = naive.nearest(np.where(labels == wanted[:, None], D, np.inf), 10)[1]
    np.testing.assert_allclose(found.distances, near, rtol=1e-5, atol=1e-6)
