"""Joins are equal to a loop over all pairs."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsenn as sn
from sparsenn import countjoin, metrics, sumjoin
from sparsenn.countjoin import NEVER, plan_sizes
from sparsenn.distance import Space
from sparsenn.grouping import group_equal
from sparsenn.join import TOLERANCE, Join
from sparsenn.rows import as_rows
from tests.naive import distances

SIMILAR = [name for name in metrics.names() if metrics.get(name).similar is not None]
SETS = [name for name in SIMILAR if metrics.get(name).presence]
# Their rows are transformed and kept in float32, which a root or a small difference shows.
ROUNDED = {"true_angular", "hellinger", "jensen_shannon", "correlation", "spearman"}
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


def some_rows(seed, n=60, m=40, negative=False):
    """Rows of skewed columns, with changed copies of each other, equal rows and empty ones."""
    rng = np.random.default_rng(seed)
    X = (rng.random((n, m)) < rng.random(m) ** 2 * 0.5) * rng.integers(1, 4, (n, m)).astype(float)
    for i in range(n // 3):
        X[i] = X[n - 1 - i]
        X[i, rng.integers(0, m, i % 4)] += 1.0
    X[n // 2 : n // 2 + 3] = 0.0
    if negative:
        X *= np.where(rng.random((n, m)) < 0.3, -1, 1)
    return X


def similarities(A, B, metric):
    record = metrics.get(metric)
    return record.similar - distances(metric, A, B, **record.example)


def check_join(pairs, S, threshold, own, symmetric=True, blur=0.0):
    """Every pair at or above the threshold once, in order, with its similarity; within `blur` of it either will do."""
    __tracebackhide__ = True
    asked = np.ones(S.shape, bool)
    if own:
        asked = np.triu(asked, 1) if symmetric else asked & ~np.eye(len(S), dtype=bool)
    there = np.zeros(S.shape, bool)
    there[pairs.i, pairs.j] = True
    assert there.sum() == len(pairs.i)
    assert not (there & ~asked).any()
    certain = np.abs(S - threshold) > blur
    want = asked & (threshold - TOLERANCE <= S)
    assert np.array_equal(there & certain, want & certain)
    assert (np.diff(pairs.i * S.shape[1] + pairs.j) > 0).all()
    np.testing.assert_allclose(pairs.similarity, S[pairs.i, pairs.j], atol=max(blur, 1e-9))
    assert pairs.similarity.dtype == np.float64


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("metric", SIMILAR)
def test_every_metric_as_a_loop(metric, threshold, monkeypatch):
    record = metrics.get(metric)
    blur = 2e-3 if metric in ROUNDED else 0.0
    monkeypatch.setattr(sumjoin, "FINISH", 1e9)  # never look at all rows where bounds can do
    X = some_rows(3)
    params = dict(record.example)
    pairs = sn.similarity_join(X, metric=metric, threshold=threshold, metric_params=params)
    check_join(pairs, similarities(X, X, metric), threshold, True, record.symmetric, blur)
    Y = np.vstack([some_rows(4, 31), X[5:20]])
    pairs = sn.similarity_join(X, Y, metric, threshold, metric_params=params)
    check_join(pairs, similarities(X, Y, metric), threshold, False, blur=blur)


@pytest.mark.parametrize("metric", ["cosine", "weighted_jaccard", "dot"])
@pytest.mark.parametrize("way", ["bounds", "scan"])
def test_both_ways_of_weighted_rows(metric, way, monkeypatch):
    monkeypatch.setattr(sumjoin, "FINISH" if way == "bounds" else "MEET", 1e9)
    X = some_rows(7, 200, 80) * np.random.default_rng(0).uniform(0.01, 9.0, (200, 1))
    for threshold in (0.4, 0.85) if metric != "dot" else (5.0, 60.0):
        pairs = sn.similarity_join(X, metric=metric, threshold=threshold)
        check_join(pairs, similarities(X.astype(np.float32), X.astype(np.float32), metric), threshold, True)
        assert len(pairs.i)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_signed_rows(metric):
    X = some_rows(5, negative=True)
    check_join(sn.similarity_join(X, metric=metric, threshold=0.6), similarities(X, X, metric), 0.6, True)


@pytest.mark.parametrize("metric", ["jaccard", "cosine", "weighted_jaccard"])
def test_thresholds_of_zero_and_one(metric):
    X = some_rows(2, 25)
    S = similarities(X, X, metric)
    assert len(sn.similarity_join(X, metric=metric, threshold=0.0).i) == 25 * 24 // 2
    check_join(sn.similarity_join(X, metric=metric, threshold=1.0), S, 1.0, True)


@pytest.mark.parametrize("threshold", [1.5, -0.1, np.nan, np.inf, "half", None, True])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(ValueError, match=r"threshold must be .* got"):
        sn.similarity_join(np.eye(3), threshold=threshold)


def test_a_dot_product_has_no_end():
    X = np.eye(3) * 4
    X[0, 1] = 2
    assert sn.similarity_join(X, metric="dot", threshold=8).similarity.tolist() == [8.0]
    assert not len(sn.similarity_join(X, metric="dot", threshold=9).i)
    assert len(sn.similarity_join(X, metric="dot", threshold=-1).i) == 3


@pytest.mark.parametrize("metric", ["jensen_shannon", "hellinger", "true_angular", "cosine"])
@pytest.mark.parametrize("way", ["bounds", "scan"])
def test_proportional_rows_are_as_similar_as_can_be(metric, way, monkeypatch):
    monkeypatch.setattr(sumjoin, "FINISH" if way == "bounds" else "MEET", 1e9)
    X = np.random.default_rng(0).random((150, 40)) * (some_rows(1, 150) > 0)
    X = X[X.any(axis=1)]
    X = np.vstack([[0.1, 0.2, 0.7] + [0.0] * 37, X])
    Y = X * np.random.default_rng(1).uniform(0.1, 30.0, (len(X), 1))
    Y[0] = X[0] * 3
    pairs = sn.similarity_join(X, Y, metric, threshold=1.0)
    want = np.flatnonzero((X[:, None] == X[None]).all(axis=2))
    assert np.array_equal(pairs.i * len(X) + pairs.j, want)
    low = sn.near_duplicates(np.vstack([X, Y]), 0.8, metric=metric)
    again = sn.near_duplicates(np.vstack([X, Y]), 1.0, metric=metric)
    assert np.array_equal(low.rethreshold(1.0).duplicate_of, again.duplicate_of)
    assert (again.duplicate_of[len(X) :] < len(X)).all()


def test_exact_fractions_at_the_threshold():
    """9 of 10, 7 of 10, 1 of 3: the division and the threshold round differently."""
    for shared, union in ((9, 10), (7, 10), (1, 3), (2, 3), (57, 100), (29, 100)):
        X = np.zeros((2, union))
        X[0], X[1, :shared] = 1, 1
        assert len(sn.similarity_join(X, threshold=shared / union).i) == 1
        assert len(sn.similarity_join(X, threshold=shared / union + 1e-6).i) == 0


@pytest.mark.parametrize("metric", SETS)
def test_sizes_that_may_match_are_those_of_all_sizes(metric):
    """By every pair of sizes and every number of shared columns, with the record's own formulas."""
    record, n = metrics.get(metric), 40
    bound = metrics.resolve(metric, dict(record.example))
    p, sizes = bound.pack(n), np.array([0, 1, 2, 3, 5, 8, 13, 14, 21, 30, 39, 40], float)
    space = Space.fit(bound, None, as_rows(np.eye(n)).to_csr())

    def surrogate(a, b, shared):
        return record.finish(p, np.array([a, a]), np.array([b, b]), float(shared))

    for threshold in (0.1, 0.5, 0.8, 1.0):
        limit = 1.0 - threshold + TOLERANCE
        needs, _, unmet = plan_sizes(space.compiled, sizes, sizes, limit, False)
        least = {
            (a, b): min((s for s in range(int(min(x, y)) + 1) if surrogate(x, y, s) <= limit), default=NEVER)
            for a, x in enumerate(sizes)
            for b, y in enumerate(sizes)
        }
        assert unmet == any(s == 0 and a + b > 0 for (a, b), s in least.items())
        if unmet:
            continue
        for a in range(len(sizes)):
            matched = [b for b in range(len(sizes)) if 0 < least[a, b] < NEVER]
            assert needs.least[a] == min((least[a, b] for b in matched), default=NEVER)
            assert (needs.first[a], needs.last[a]) == (matched[0], matched[-1]) if matched else needs.last[a] == -1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["jaccard", "dice", "overlap", "tversky"]), st.sampled_from(THRESHOLDS))
def test_any_sets(seed, metric, threshold):
    rng = np.random.default_rng(seed)
    X = (rng.random((30, 12)) < rng.uniform(0.05, 0.6)).astype(float)
    record = metrics.get(metric)
    pairs = sn.similarity_join(X, metric=metric, threshold=threshold, metric_params=dict(record.example))
    check_join(pairs, similarities(X, X, metric), threshold, True, record.symmetric)


def mostly_alone(seed, n=80, m=500):
    """Sets most of whose columns no other set has, so that few may match: chains of changed copies among them."""
    rng = np.random.default_rng(seed)
    X = np.zeros((n, m))
    for i in range(n):
        X[i, rng.choice(m, rng.integers(1, 12), replace=False)] = 1.0
    for i in range(0, n // 4, 2):  # each shares its columns with one before it, less and less
        X[n - 1 - i] = X[i]
        X[n - 1 - i, rng.choice(m, i % 5, replace=False)] = 1.0
    return X


@pytest.mark.parametrize("metric", SETS)
def test_rows_that_share_too_little_are_left_out(metric):
    record = metrics.get(metric)
    for seed in range(4):
        X, Y = mostly_alone(seed), mostly_alone(seed + 2)
        for threshold in (0.3, 0.6, 0.9):
            told = []
            options = {"metric_params": record.example, "progress": lambda *at, told=told: told.append(at)}
            own = sn.similarity_join(X, None, metric, threshold, **options)
            assert told[-1][0] == told[-1][1] == len(np.unique(X, axis=0))
            check_join(own, similarities(X, X, metric), threshold, True, record.symmetric)
            check_join(
                sn.similarity_join(X, Y, metric, threshold, **options), similarities(X, Y, metric), threshold, False
            )


def test_few_rows_are_looked_at_where_few_may_match():
    ways = [Join(sp.csr_matrix(mostly_alone(0)), None, "jaccard", None, t, 1).way for t in (0.3, 0.6, 0.9)]
    assert [way.n_rows for way in ways] == [70, 28, 0]  # 0: equal rows are one


def test_threads_that_share_the_counting_find_the_same(monkeypatch):
    X, Y = mostly_alone(5, 400, 3000), mostly_alone(6, 300, 3000)
    Y[::3] = X[:100]
    for A, B in ((X, None), (X, Y)):
        want = sn.similarity_join(A, B, threshold=0.4, n_jobs=1)
        with monkeypatch.context() as patch:
            patch.setattr(countjoin, "COUNTED_AT_ONCE", 10)
            patch.setattr(countjoin, "SORTED_AT_ONCE", 100)
            got = sn.similarity_join(A, B, threshold=0.4, n_jobs=3)
        assert len(want.i) > 20
        assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))


@pytest.mark.parametrize("metric", ["jaccard", "cosine", "hellinger", "dot"])
def test_rows_that_are_borrowed_stay_as_they_were(metric):
    X = sp.csr_matrix(some_rows(3), dtype=np.float32)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    before = X.copy()
    assert np.shares_memory(as_rows(X, borrow=True).data, X.data)
    assert not np.shares_memory(as_rows(X).data, X.data)
    for threshold in (0.1, 0.8):
        got = sn.similarity_join(X, metric=metric, threshold=threshold)
        want = sn.similarity_join(X.astype(np.float64), metric=metric, threshold=threshold)
        assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))
        sn.similarity_join(X, X, metric=metric, threshold=threshold)
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(X, name), getattr(before, name))


def test_any_container_gives_the_same_and_stays_as_it_was():
    X = sp.random(80, 30, 0.2, format="csr", random_state=1)
    want = sn.similarity_join(X, threshold=0.3)
    messy = X.tocoo()
    messy = sp.csr_matrix(
        (np.r_[messy.data, 0.0], (np.r_[messy.row, 0], np.r_[messy.col, 29 if X[0, 29] == 0 else 0])), shape=X.shape
    )
    wide = X.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64)[::1], wide.indptr.astype(np.int64)
    wide.data.flags.writeable = False
    before = wide.indices.copy()
    for form in (X.toarray(), messy, wide, X.tocsc(), sp.csr_array(X)):
        got = sn.similarity_join(form, threshold=0.3)
        assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))
    assert np.array_equal(before, wide.indices)


def test_threads_change_nothing_and_blocks_hold_the_same_pairs():
    X = some_rows(9, 300, 60)
    want = sn.similarity_join(X, metric="cosine", threshold=0.5, n_jobs=1)
    for n_jobs in (2, 5):
        got = sn.similarity_join(X, metric="cosine", threshold=0.5, n_jobs=n_jobs)
        assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))
    done = []
    blocks = list(
        sn.join_blocks(X, metric="cosine", threshold=0.5, block_pairs=7, progress=lambda *at: done.append(at))
    )
    assert max(len(b.i) for b in blocks) <= 7
    key = np.concatenate([b.i * 300 + b.j for b in blocks])
    assert np.array_equal(np.sort(key), want.i * 300 + want.j)
    assert done[-1][0] == done[-1][1] > 0


def test_top_gives_the_most_similar():
    X = some_rows(11, 150)
    every = sn.similarity_join(X, threshold=0.2)
    order = np.lexsort((every.j, every.i, -every.similarity))
    for top in (1, 10, 10**6):
        best = sn.similarity_join(X, threshold=0.2, top=top)
        assert np.array_equal(best.similarity, every.similarity[order][:top])
        assert np.array_equal(best.i, every.i[order][:top])
        assert np.array_equal(best.j, every.j[order][:top])


@pytest.mark.parametrize("metric", ["jaccard", "cosine", "tversky", "rogerstanimoto"])
def test_top_among_equal_rows_lists_few_of_them(metric, monkeypatch):
    X = np.repeat(some_rows(1, 30), 20, axis=0)[np.random.default_rng(0).permutation(600)]
    every = sn.similarity_join(X, metric=metric, threshold=0.3)
    order = np.lexsort((every.j, every.i, -every.similarity))
    expand, listed = Join.expand, []

    def counted(self, found, *more):
        for pairs in expand(self, found, *more):
            listed.append(len(pairs.i))
            yield pairs

    monkeypatch.setattr(Join, "expand", counted)
    for top in (1, 3, 1000, 10_000):
        best = sn.similarity_join(X, metric=metric, threshold=0.3, top=top)
        for column, want in zip(best, every, strict=True):
            assert np.array_equal(column, want[order][:top])
    listed.clear()
    assert sn.similarity_join(np.ones((60_000, 1)), metric=metric, top=3).j.tolist() == [1, 2, 3]
    assert sum(listed) <= 12
    listed.clear()
    best = sn.similarity_join(np.ones((60_000, 1)), metric=metric, top=100_000)
    assert (best.i[59_998:60_000].tolist(), best.j[59_998:60_000].tolist()) == (
        ([0, 1], [59_999, 0]) if metric == "tversky" else ([0, 1], [59_999, 2])
    )
    assert sum(listed) <= 100_000


def test_pairs_are_counted_before_they_are_listed():
    ones = np.ones((50_000, 1))
    with pytest.raises(ValueError, match=r"1,249,975,000 pairs .* max_pairs = 1,000,000,000: raise the threshold"):
        sn.similarity_join(ones)
    with pytest.raises(ValueError, match="max_pairs"):
        next(sn.join_blocks(ones))
    with pytest.raises(ValueError, match="more than max_pairs = 3"):
        sn.similarity_join(np.ones((4, 2)), threshold=0.1, max_pairs=3)
    assert len(next(sn.join_blocks(ones[:3000], block_pairs=1000)).i) == 1000


def alike(n):
    """Different rows of which all are similar to each other."""
    return sp.hstack([np.ones((n, 20), np.float32), sp.identity(n, np.float32)]).tocsr()


@pytest.mark.parametrize(("metric", "way"), [("jaccard", "counts"), ("cosine", "bounds"), ("cosine", "scan")])
def test_blocks_are_found_as_they_are_asked_for(metric, way, monkeypatch):
    n, room, found = 1500, 1000, []
    monkeypatch.setattr(sumjoin, "MEET" if way == "scan" else "FINISH", 1e9)
    monkeypatch.setattr("sparsenn.join.ROOM", room)
    block = Join._block

    def counted(self, span):
        result = block(self, span)
        found.append(len(result[0].a))
        return result

    monkeypatch.setattr(Join, "_block", counted)
    blocks = sn.join_blocks(alike(n), metric=metric, threshold=0.9, block_pairs=10, n_jobs=2)
    assert len(next(blocks).i) == 10
    blocks.close()
    assert sum(found) <= 4 * (room + 16 * n) < n * (n - 1) // 8
    found.clear()
    with pytest.raises(ValueError, match="more than max_pairs = 5,000"):
        sn.similarity_join(alike(n), metric=metric, threshold=0.9, max_pairs=5000, n_jobs=2)
    assert sum(found) <= 8 * (room + 16 * n) < n * (n - 1) // 4


def test_more_pairs_than_are_held_are_counted_first(monkeypatch):
    X = some_rows(3, 200)
    want = sn.similarity_join(X, threshold=0.2)
    monkeypatch.setattr("sparsenn.join.LISTED", 10)
    monkeypatch.setattr("sparsenn.join.ROOM", 5)
    got = sn.similarity_join(X, threshold=0.2)
    assert all(np.array_equal(a, b) for a, b in zip(want, got, strict=True))


def test_hard_rows():
    nothing = sn.similarity_join(np.zeros((0, 3)))
    assert nothing.i.dtype == np.int64
    assert not len(nothing.i)
    assert not len(sn.similarity_join(np.ones((1, 3))).i)
    empty = sn.similarity_join(np.zeros((3, 4)))
    assert empty.i.tolist() == [0, 0, 1]
    assert empty.similarity.tolist() == [1, 1, 1]
    assert len(sn.similarity_join(np.zeros((3, 4)), np.zeros((2, 4)), "cosine").i) == 6
    assert not len(sn.similarity_join(np.zeros((3, 4)), np.ones((2, 4))).i)
    long = sp.csr_matrix(np.ones((3, 70_000), np.float32))
    long[1, 5] = 0
    assert np.allclose(sn.similarity_join(long, threshold=0.9).similarity, [1 - 1 / 70_000, 1, 1 - 1 / 70_000])
    assert len(sn.similarity_join(long, metric="cosine", threshold=0.9).i) == 3


def test_what_cannot_be_joined():
    for metric in ("euclidean", "manhattan", "chi_square"):
        with pytest.raises(ValueError, match=f"{metric} is a distance without a similarity.*query_radius"):
            sn.similarity_join(np.eye(3), metric=metric)
    with pytest.raises(ValueError, match="B has 2 columns and A has 3"):
        sn.similarity_join(np.eye(3), np.eye(2))
    with pytest.raises(ValueError, match="B has a NaN at row 0, column 1"):
        sn.similarity_join(np.eye(2), [[1.0, np.nan]])
    with pytest.raises(ValueError, match="top must be a whole number of at least 1, got 0"):
        sn.similarity_join(np.eye(2), top=0)
    with pytest.raises(ValueError, match="max_pairs is for all pairs, and only 2 are asked for"):
        sn.similarity_join(np.eye(2), top=2, max_pairs=1)
    with pytest.raises(ValueError, match="n_jobs must not be 0"):
        sn.similarity_join(np.eye(2), n_jobs=0)


def test_equal_rows_are_grouped_and_keep_their_order():
    X = np.array([[1, 0, 2], [0, 0, 0], [1, 0, 2], [2, 0, 1], [0, 0, 0], [1, 0, 2.5]])
    groups = group_equal(as_rows(X).to_csr())
    assert groups.labels().tolist() == [0, 1, 0, 2, 1, 3]
    assert groups.first.tolist() == [0, 1, 3, 5]


def test_parquet(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    X = some_rows(3)
    want = sn.similarity_join(X, threshold=0.5)
    assert sn.save_pairs(sn.join_blocks(X, threshold=0.5, block_pairs=11), tmp_path / "pairs.parquet") == len(want.i)
    table = pq.read_table(tmp_path / "pairs.parquet").to_pandas().sort_values(["i", "j"])
    assert np.array_equal(table["j"], want.j)
    assert np.array_equal(table["similarity"], want.similarity)


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    pytest.importorskip("pyarrow")
    X = np.vstack([np.ones((4, 2)), np.eye(2)])
    path = tmp_path / "pairs.parquet"
    path.write_text("what was there", encoding="utf-8")
    with pytest.raises(ValueError, match="more than max_pairs = 7"):
        sn.save_pairs(sn.join_blocks(X, threshold=0.5, max_pairs=7, block_pairs=2), path)
    assert path.read_text(encoding="utf-8") == "what was there"
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.parquet"]
    link = tmp_path / "link.parquet"
    link.symlink_to(path)
    assert sn.save_pairs(sn.join_blocks(X, threshold=0.5), link) == 14
    assert link.is_symlink()
    assert path.stat().st_size > 100


@pytest.mark.parametrize("file", ["retail_88k", "kosarak_first_part", "gowalla_users", "nmslib_sparse_ids_5k"])
def test_real_sets_as_a_matrix_product(file, data_dir):
    X = sp.load_npz(data_dir / "sets" / f"{file}.npz").astype(np.float32)[:3000]
    size = np.asarray(X.sum(axis=1)).ravel()
    shared = (X @ X.T).tocoo()
    upper = shared.row < shared.col
    i, j, shared = shared.row[upper], shared.col[upper], shared.data[upper].astype(float)
    for metric, similarity in {
        "jaccard": shared / (size[i] + size[j] - shared),
        "dice": 2 * shared / (size[i] + size[j]),
        "overlap": shared / np.minimum(size[i], size[j]),
        "cosine": shared / np.sqrt(size[i] * size[j]),
        "weighted_jaccard": shared / (size[i] + size[j] - shared),
    }.items():
        for threshold in THRESHOLDS:
            pairs = sn.similarity_join(X, metric=metric, threshold=threshold)
            keep = similarity >= threshold - TOLERANCE
            order = np.lexsort((j[keep], i[keep]))
            assert np.array_equal(pairs.i, i[keep][order])
            assert np.array_equal(pairs.j, j[keep][order])
            np.testing.assert_allclose(pairs.similarity, similarity[keep][order], atol=1e-7)
