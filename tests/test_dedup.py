"""Near-duplicates: every pair verified, chains apart, rows keep their numbers."""

import numpy as np
import pytest
import scipy.sparse as sp

import sparsenn as sn
from sparsenn import metrics
from sparsenn.adapters import shingles
from sparsenn.clusters import represented
from tests.naive import distances
from tests.test_join import some_rows


def naive_clusters(S, threshold, rank):
    """Greedy representatives, slowly: the kept row of each row."""
    n = len(S)
    kept = []
    for i in np.argsort(rank):
        if not any(S[i, j] >= threshold - 1e-9 for j in kept):
            kept.append(i)
    found = np.arange(n)
    for i in range(n):
        if i not in kept:
            found[i] = min((j for j in kept if S[i, j] >= threshold - 1e-9), key=lambda j: (-S[i, j], rank[j]))
    return found


def jaccard(X):
    X = X != 0
    shared = (X[:, None] & X[None]).sum(2)
    union = (X[:, None] | X[None]).sum(2)
    return np.where(union == 0, 1.0, shared / np.maximum(union, 1))


@pytest.mark.parametrize("keep", ["first", "longest", "score"])
@pytest.mark.parametrize("threshold", [0.4, 0.7, 1.0])
def test_representatives_as_a_loop(keep, threshold):
    X = some_rows(3)
    lengths = (X != 0).sum(1)
    score = {"first": np.zeros(60), "longest": lengths, "score": np.random.default_rng(0).integers(0, 5, 60)}[keep]
    rank = np.empty(60, int)
    rank[np.lexsort((np.arange(60), -score))] = np.arange(60)
    found = sn.near_duplicates(X, threshold, keep=score if keep == "score" else keep)
    S = jaccard(X)
    want = naive_clusters(S, threshold, rank)
    # equal rows are one: any of them is kept by its rank, and the others are its copies
    assert np.array_equal(found.duplicate_of, want)
    assert np.array_equal(found.keep, np.unique(want))
    assert (S[np.arange(60), found.duplicate_of] >= threshold - 1e-9).all()
    np.testing.assert_allclose(found.similarity, S[np.arange(60), found.duplicate_of])
    pairs = sn.similarity_join(X, threshold=threshold)
    assert all(np.array_equal(a, b) for a, b in zip(found.pairs[:2], pairs[:2], strict=True))
    np.testing.assert_allclose(found.pairs.similarity, pairs.similarity)


def test_connected_as_components():
    X = some_rows(5)
    found = sn.near_duplicates(X, 0.5, rule="connected", keep="longest")
    label = np.arange(60)
    for _ in range(60):
        for i, j in zip(found.pairs.i, found.pairs.j, strict=True):
            label[[i, j]] = min(label[i], label[j])
    assert len(np.unique(label)) == len(found.keep)
    for rows in found.clusters:
        assert len(np.unique(label[rows])) == 1
        lengths = (X[rows] != 0).sum(1)
        assert lengths[0] == lengths.max()
    assert np.array_equal(np.sort(np.unique(found.labels)), np.arange(len(found.keep)))


def test_a_chain_of_ten_thousand_stays_apart():
    """Row i shares all but one column with row i + 1, and nothing with row i + 10."""
    n, width = 10_000, 10
    columns = (np.arange(n)[:, None] + np.arange(width)).ravel()
    X = sp.csr_matrix((np.ones(n * width, np.float32), columns, np.arange(0, n * width + 1, width)))
    chained = sn.near_duplicates(X, 0.8, rule="connected")
    assert len(chained.keep) == 1
    assert np.isnan(chained.similarity[-1])
    apart = sn.near_duplicates(X, 0.8)
    assert np.array_equal(apart.keep, np.arange(0, n, 2))
    assert (apart.similarity >= 0.8).all()


def test_rethreshold_is_a_new_run():
    X = some_rows(8)
    for rule in ("representative", "connected"):
        low = sn.near_duplicates(X, 0.3, rule=rule)
        for threshold in (0.3, 0.6, 0.9, 1.0):
            again, new = low.rethreshold(threshold), sn.near_duplicates(X, threshold, rule=rule)
            assert np.array_equal(again.duplicate_of, new.duplicate_of)
    with pytest.raises(ValueError, match="between 0.3, which was joined at, and 1; got 0.2"):
        low.rethreshold(0.2)
    for wrong in ("a", None, np.nan, True):
        with pytest.raises(ValueError, match="threshold must be between 0.3"):
            low.rethreshold(wrong)
    assert low.rethreshold(np.float32(0.5)).threshold == 0.5


def test_texts():
    texts = ["The quick brown fox jumps over it", "two words", "", "the QUICK brown fox, jumps over it!", "two words"]
    texts += [None, "Two words", "the quick brown fox jumps over that"]
    found = sn.near_duplicates(texts, 0.6)
    assert found.duplicate_of.tolist() == [0, 1, 2, 0, 1, 2, 6, 0]
    assert found.n_exact == 3
    assert found.similarity.tolist() == [1, 1, 1, 1, 1, 1, 1, pytest.approx(4 / 6)]
    assert "8 rows, 4 kept" in repr(found)
    assert sn.near_duplicates(texts, 0.6, keep="longest").keep.tolist() == [1, 2, 3, 6]
    japanese = ["今日は天気がいい", "今日は天気がいいね", "さようなら"]
    assert sn.near_duplicates(japanese, 0.6, analyzer="char").keep.tolist() == [0, 2]


def test_against_removes_only_what_is_there():
    ours = ["a b c d e f", "x y z w", "x y z w", "p q r", "short"]
    theirs = ["other words entirely here", "a b c d e f g", "short"]
    found = sn.near_duplicates(ours, 0.7, against=theirs)
    assert found.match.tolist() == [1, -1, -1, -1, 2]
    assert found.keep.tolist() == [1, 2, 3]
    assert found.similarity[0] == pytest.approx(4 / 5)
    assert found.rethreshold(0.9).match.tolist() == [-1, -1, -1, -1, 2]
    X, Y = some_rows(3), some_rows(4)
    Y[7] = X[20]
    rows = sn.near_duplicates(X, 0.5, against=Y)
    pairs = sn.similarity_join(X, Y, threshold=0.5)
    assert np.array_equal(np.flatnonzero(rows.match >= 0), np.unique(pairs.i))
    for i in np.unique(pairs.i):
        of = pairs.i == i
        assert rows.similarity[i] == pairs.similarity[of].max()
        assert rows.match[i] == pairs.j[of][np.argmax(pairs.similarity[of])]


def test_all_equal_and_nothing():
    ones = sn.near_duplicates(np.ones((60_000, 2)))
    assert ones.keep.tolist() == [0]
    assert ones.n_exact == 59_999
    with pytest.raises(ValueError, match="1,799,970,000 pairs"):
        _ = ones.pairs
    assert len(sn.near_duplicates(np.zeros((0, 3))).keep) == 0
    assert len(sn.near_duplicates([]).keep) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rule": "all"}, "rule must be one of 'representative', 'connected', got 'all'"),
        ({"keep": "last"}, "keep must be 'first', 'longest' or a score"),
        ({"keep": [1.0]}, "keep needs a score for each of the 3 rows"),
        ({"metric": "russellrao"}, "similarity that is 1 of equal rows; that of russellrao is less"),
        ({"metric": "kulsinski"}, "similarity that is 1 of equal rows; that of kulsinski is less"),
        ({"against": np.eye(3), "rule": "connected"}, "rule and keep are about clusters"),
        ({"against": np.eye(3), "keep": "nonsense"}, "rule and keep are about clusters"),
        ({"against": np.eye(3), "keep": [1, 2, 3]}, "rule and keep are about clusters"),
        ({"shingle": -3}, "shingle and analyzer are for texts"),
        ({"analyzer": "char"}, "shingle and analyzer are for texts"),
        ({"metric_params": {"p": 2}}, "jaccard has no parameter 'p'"),
        ({"metric": "containment"}, "need a symmetric similarity"),
        ({"metric": "euclidean"}, "a distance without a similarity"),
        ({"threshold": 1.2}, "threshold must be between 0 and 1"),
    ],
)
def test_what_cannot_be_asked(more, message):
    with pytest.raises(ValueError, match=message):
        sn.near_duplicates(np.eye(3), **more)


@pytest.mark.parametrize("metric", [m for m in metrics.names() if metrics.get(m).similar == 1.0])
def test_equal_rows_are_at_0_where_the_record_says_so(metric):
    X = some_rows(2, 40)
    record = metrics.get(metric)
    apart = np.diag(distances(metric, X, X, **record.example))[(X != 0).any(axis=1)]
    assert (apart < 1e-7).all() == record.reflexive


def test_texts_that_are_none():
    with pytest.raises(ValueError, match="not one string"):
        sn.near_duplicates("one text")
    with pytest.raises(ValueError, match="shingle must be a whole number"):
        sn.near_duplicates(["a b c"], shingle=0)
    with pytest.raises(ValueError, match="against must be texts"):
        sn.near_duplicates(["a b c"], against=np.eye(2))


def test_shingles_are_sets_of_runs():
    import re

    rng = np.random.default_rng(0)
    words = ["Straße", "ab", "_x1", "no", "ÉTÉ", "word", "日本"]
    texts = [", ".join(rng.choice(words, rng.integers(0, 9))) + "." for _ in range(300)]
    for size in (1, 3):
        X = shingles(texts, size, n_jobs=2)
        runs = []
        for text in texts:
            tokens = [w.lower() for w in re.findall(r"\w+", text)]
            runs.append({tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)})
        assert np.array_equal(np.diff(X.indptr), [len(r) for r in runs])
        assert X.shape[1] == len(set().union(*runs))
        shared = (X @ X.T).toarray()
        assert all(shared[i, j] == len(runs[i] & runs[j]) for i in range(0, 300, 7) for j in range(300))


def test_the_most_similar_kept_one_stands_for_a_row():
    a, b, s = np.array([0, 1, 0]), np.array([2, 2, 3]), np.array([0.8, 0.9, 0.7])
    assert represented(4, a, b, s, np.arange(4)).tolist() == [0, 1, 1, 0]


def test_imdb_repeats(data_dir):
    pd = pytest.importorskip("pandas")
    texts = pd.read_parquet(data_dir / "text" / "imdb_100k.parquet", columns=["text"])["text"][:20_000]
    found = sn.near_duplicates(texts, 0.8)
    assert found.n_exact >= len(texts) - texts.nunique()
    assert set(texts[found.duplicate_of]) == set(texts[found.keep])
