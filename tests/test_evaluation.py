import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import average_precision_score, ndcg_score

import sparsenn as sn
from sparsenn.evaluation import (
    bootstrap,
    mean_average_precision,
    mrr,
    ndcg,
    pair_scores,
    read_qrels,
    recall,
    recall_at_k,
)


@pytest.fixture(scope="module")
def judged():
    """Random rankings of 30 documents, and gains; as qrels and as matrices."""
    rng = np.random.default_rng(0)
    gains = rng.choice([0.0, 0.0, 0.0, 1.0, 2.0], (12, 30))
    gains[:, 0] = 1.0
    scores = rng.random((12, 30))
    run = {str(q): [f"d{d}" for d in np.argsort(-scores[q])] for q in range(12)}
    qrels = {str(q): {f"d{d}": gains[q, d] for d in range(30)} for q in range(12)}
    return run, qrels, gains, scores


@pytest.mark.parametrize("k", [1, 5, 30])
def test_ndcg_is_that_of_sklearn(judged, k):
    run, qrels, gains, scores = judged
    assert ndcg(run, qrels, k).value == pytest.approx(ndcg_score(gains, scores, k=k))


def test_map_is_that_of_sklearn(judged):
    run, qrels, gains, scores = judged
    want = [average_precision_score(g > 0, s) for g, s in zip(gains, scores, strict=True)]
    np.testing.assert_allclose(mean_average_precision(run, qrels).each, want)


def test_mrr_and_recall_by_hand():
    run = {"a": ["x", "y", "y", "z"], "b": ["q"], "none relevant": ["x"]}
    qrels = {"a": {"y": 1, "z": 1, "w": 1, "x": 0, "v": -1}, "b": {"x": 1}, "none relevant": {"x": 0}, "c": {"x": 1}}
    assert mrr(run, qrels).each.tolist() == [0.5, 0, 0]
    assert recall(run, qrels, k=3).each.tolist() == [pytest.approx(2 / 3), 0, 0]  # a repeated id counts once
    assert recall(run, qrels, k=2).each.tolist() == [pytest.approx(1 / 3), 0, 0]


def test_scored_runs_are_ranked_by_score():
    run = {"q": {"b": 0.1, "a": 0.9, "d": 0.1, "c": 0.5}}
    for gains, rank in (({"a": 1}, 1), ({"c": 1}, 2), ({"b": 1}, 3), ({"d": 1}, 4)):
        assert mrr(run, {"q": gains}).value == 1 / rank
        assert ndcg(run, {"q": gains}).value == pytest.approx(1 / np.log2(rank + 1))
        assert recall(run, {"q": gains}, k=rank).value == 1
        assert mean_average_precision(run, {"q": gains}, k=3).value == (1 / rank if rank < 4 else 0)


def test_intervals_hold_the_mean_and_are_the_same_again(judged):
    run, qrels, _, _ = judged
    one, other = ndcg(run, qrels), ndcg(run, qrels)
    assert one.low < one.value < one.high
    assert (one.low, one.high) == (other.low, other.high)
    assert repr(one).endswith("12 queries)")
    assert bootstrap([0.25] * 9)[:3] == (0.25, 0.25, 0.25)


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(3)
    samples = [bootstrap(rng.random(40), resamples=200) for _ in range(200)]
    covered = np.mean([s.low <= 0.5 <= s.high for s in samples])
    assert 0.88 <= covered <= 0.98


def test_recall_against_exact_search():
    exact = sn.Neighbors(np.array([[0, 1, 2], [3, -1, -1]]), np.array([[0.1, 0.2, 0.2], [0.5, np.inf, np.inf]]))
    found = sn.Neighbors(np.array([[0, 9, 9], [4, 3, -1]]), np.array([[0.1, 0.2, 0.2], [0.9, 0.95, np.inf]]))
    assert recall_at_k(found, exact).each.tolist() == [pytest.approx(2 / 3), 0.0]  # 9 is as near as the third, once
    assert recall_at_k(found, exact, k=1).each.tolist() == [1.0, 0.0]
    assert recall_at_k(exact, exact).value == 1.0
    none = sn.Neighbors(np.full((2, 3), -1), np.full((2, 3), np.inf))
    assert recall_at_k(found, none).each.tolist() == [1.0, 1.0]
    assert recall_at_k(none, exact).each.tolist() == [0.0, 0.0]


def test_recall_at_k_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    ids, true_ids = rng.integers(-1, 6, (2, 200, 7))
    near, true = np.sort(rng.integers(-3, 4, (2, 200, 7)) / 4, axis=2)
    true_ids.sort(axis=1)
    true_ids = true_ids[:, ::-1]  # none are last
    for k in (1, 4, 7):
        want = []
        for i in range(200):
            needed = int((true_ids[i, :k] >= 0).sum())
            limit = true[i, needed - 1] + 1e-9
            found = {a for a, d in zip(ids[i, :k].tolist(), near[i, :k], strict=True) if a >= 0 and d <= limit}
            want.append(min(len(found), needed) / needed if needed else 1.0)
        np.testing.assert_array_equal(recall_at_k((ids, near), (true_ids, true), k).each, want)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: bootstrap([]), "nothing to average"),
    (lambda: ndcg({"q": ["d"]}, {"q": {"d": 0}}), "no query of the qrels has a relevant document"),
    (lambda: ndcg({1: ["d"]}, {"1": {"d": 1}}), "ids of the same type"),
    (lambda: ndcg({"q": ["d"]}, {"q": {"d": 1}}, k=0), "k must be at least 1"),
    (lambda: recall_at_k(([[0]], [[0.0]]), ([[0], [1]], [[0.0], [0.0]])), "found has 1 queries, exact has 2"),
    (lambda: recall_at_k(([[0]], [[0.0]]), ([[0]], [[0.0]]), k=2), "k=2 is more"),
])  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pairs():
    scores = pair_scores([(1, 2), (2, 1), (3, 4), (5, 6)], [(2, 1), (7, 8)])
    assert (scores.n_found, scores.n_true, scores.n_right) == (3, 2, 1)
    assert scores.precision[0] == pytest.approx(1 / 3)
    assert scores.recall[0] == 0.5
    assert scores.f1[0] == pytest.approx(0.4)
    assert scores.f1[1] <= 0.4 <= scores.f1[2]
    assert pair_scores([(1, 2)], [(2, 1)], ordered=True).f1[0] == 0
    assert pair_scores([], []).f1 == (1, 1, 1)
    assert pair_scores([], [(1, 2)]).precision[0] == 0


def test_intervals_of_pairs_are_those_of_records_drawn_one_by_one():
    rng = np.random.default_rng(0)
    found, true = ([(int(a), int(a) + int(b)) for a, b in rng.integers(1, (60, 4), (90, 2))] for _ in range(2))
    scores = pair_scores(found, true, ordered=True)
    counts = np.array([[len({b for a, b in pairs if a == i}) for pairs in (set(found) & set(true), found, true)]
                       for i in sorted({a for a, _ in found + true})])  # fmt: skip
    sums = np.array([counts[rng.integers(0, len(counts), len(counts))].sum(axis=0) for _ in range(4000)])
    for figure, drawn in zip(scores[:2], (sums[:, 0] / sums[:, 1], sums[:, 0] / sums[:, 2]), strict=True):
        np.testing.assert_allclose(figure[1:], np.quantile(drawn, [0.025, 0.975]), atol=0.02)


def test_pairs_of_a_join_are_taken():
    rows = sp.csr_matrix(np.array([[1, 1, 0], [1, 1, 0], [0, 1, 1.0]]))
    found = sn.similarity_join(rows, metric="jaccard", threshold=0.9)
    assert pair_scores(found, [(0, 1)]).f1[0] == 1
    assert pair_scores([(0, 1), (1, 2)], found).precision[0] == 0.5


def test_qrels_are_read(tmp_path):
    path = tmp_path / "qrels.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n1\td2\t0\n\n2\td1\t2\n", "utf-8")
    assert read_qrels(path) == {"1": {"d1": 1, "d2": 0}, "2": {"d1": 2}}
    path.write_text("1 0 d1 1\n2 0 d3 1\n", "utf-8")
    assert read_qrels(path) == {"1": {"d1": 1}, "2": {"d3": 1}}
    path.write_text("query-id\tcorpus-id\tscore\nq 1\tdoc A\t1\nq 1\t0\tdoc B \t 2\n", "utf-8")
    assert read_qrels(path) == {"q 1": {"doc A": 1, "doc B": 2}}
    path.write_text("1 d1 1\n1 d2 x\n", "utf-8")
    with pytest.raises(ValueError, match="qrels.tsv, line 2: expected query, document and gain"):
        read_qrels(path)
