"""Linking records of two tables, or of one."""

import numpy as np
import pytest

import sparsenn as sn

OURS = {"name": ["Sony Turntable PSLX350H", "Bose Acoustimass 5 speakers", "Unknown thing"], "price": [1.0, 2.0, None]}
THEIRS = {"name": ["Bose Acoustimass-5 Speaker System", "Linksys switch", "Sony PS-LX350H turntable", "Sony"]}


def test_one_to_one_takes_the_best_first():
    links = sn.link(OURS, THEIRS, threshold=0.1)
    assert set(zip(links.i.tolist(), links.j.tolist(), strict=True)) == {(0, 2), (1, 0)}
    assert (np.diff(links.score) <= 0).all()
    assert ((links.score > 0) & (links.score <= 1)).all()
    many = sn.link(OURS, THEIRS, threshold=0.1, one_to_one=False)
    assert (0, 3) in set(zip(many.i.tolist(), many.j.tolist(), strict=True))
    best = sn.link(OURS, THEIRS, threshold=0.0, k=1, one_to_one=False)
    assert len(set(best.i.tolist())) == len(best)


def test_scores_are_cosines_of_characters_and_words_less_in_a_crowd():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    links = sn.link(OURS["name"], THEIRS["name"], threshold=0.0, one_to_one=False, k=4)
    S, candidate = np.zeros((3, 4)), None
    for more in ({"analyzer": "char_wb", "ngram_range": (3, 3)}, {"token_pattern": r"\w+"}):
        X = text.TfidfVectorizer(sublinear_tf=True, **more).fit_transform(OURS["name"] + THEIRS["name"])
        cosine = (X[:3] @ X[3:].T).toarray()
        candidate = cosine > 0 if candidate is None else candidate
        S += cosine / 2
    S *= candidate
    crowd = [np.sort(M, axis=1)[:, -3:].sum(axis=1) / 3 for M in (S, S.T)]
    want = S * (1 - (crowd[0][:, None] + crowd[1]) / 4)
    np.testing.assert_allclose(links.score, want[links.i, links.j], atol=1e-5)
    assert len(links) == candidate.sum()


def test_weights_of_columns_are_of_those_that_both_have():
    a = {"name": ["abc def", "ghi jkl", "abc def"], "code": ["zzz", "", "yyy"]}
    links = sn.link(a, on={"name": 3, "code": 1}, threshold=0.1)
    assert links.score.tolist() == [pytest.approx(0.75, abs=1e-6)]
    b = {"name": ["ghi jkl"], "code": ["xxx"]}
    links = sn.link(a, b, on={"name": 3, "code": 1}, threshold=0.0)
    assert links.score.tolist() == [pytest.approx(1 - 1 / 6, abs=1e-6)]


def test_a_threshold_from_labelled_pairs():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), 6)) for _ in range(400)]
    a = [" ".join(rng.choice(words, 4)) for _ in range(200)]
    b = [" ".join([*t.split()[:3], str(rng.choice(words))]) for t in a[:120]] + [
        " ".join([t.split()[0], *rng.choice(words, 3)]) for t in a[120:]
    ]
    order = rng.permutation(200)
    b = [b[i] for i in order]
    where = np.argsort(order)
    known = [(i, where[i]) for i in range(0, 120, 3)] + [(i, -1) for i in range(120, 200, 3)]
    links = sn.link(a, b, matches=known)
    right = sum(where[i] == j and i < 120 for i, j in zip(links.i, links.j, strict=True))
    assert 2 * right / (len(links) + 120) > 0.95
    assert 0 < links.threshold < 1
    assert "pairs with a score of at least" in repr(links)


def test_within_one_table_all_pairs_are_found():
    texts = ["machine learning", "machine learnin", "other", "machine  learning", ""]
    links = sn.link(texts, threshold=0.4)
    assert set(zip(links.i.tolist(), links.j.tolist(), strict=True)) == {(0, 1), (0, 3), (1, 3)}
    chosen = sn.link(texts, matches=[(0, 1), (0, 3), (1, 3), (2, -1)])
    assert len(chosen) == 3


def test_groups_of_one_table_are_those_of_average_linkage():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    rng = np.random.default_rng(3)
    words = ["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(40)]
    bases = [list(rng.choice(words, 6)) for _ in range(12)]
    texts = [" ".join([*rng.permutation(bases[i % 12])[:5], str(rng.choice(words))]) for i in range(60)]
    every = sn.link(texts, threshold=0.6 * 0.02, grouped=False)  # what counts in means below
    distances = np.ones((60, 60)) - np.eye(60)
    distances[every.i, every.j] = distances[every.j, every.i] = 1 - every.score
    tree = hierarchy.linkage(distances[np.triu_indices(60, 1)], "average")
    found = sn.link(texts, threshold=0.02)
    joined = np.zeros((60, 60))
    joined[found.i, found.j] = found.score
    together = 1 - hierarchy.cophenet(tree)
    np.testing.assert_allclose(joined[np.triu_indices(60, 1)], np.where(together >= 0.02, together, 0), atol=1e-9)
    assert (np.diff(found.score) <= 0).all()
    labels = hierarchy.fcluster(tree, 0.6, "distance")
    links = sn.link(texts, threshold=0.4)
    i, j = np.nonzero(np.triu(labels[:, None] == labels, 1))
    assert set(zip(links.i.tolist(), links.j.tolist(), strict=True)) == set(zip(i.tolist(), j.tolist(), strict=True))
    known = np.array([(a, b) for a in range(60) for b in range(a) if a % 12 == b % 12])
    chosen = sn.link(texts, matches=known)
    some = sn.link(texts, matches=[(i, i + 12) for i in range(48)])  # the others follow
    assert some.threshold == chosen.threshold
    right = sum(a % 12 == b % 12 for a, b in zip(chosen.i.tolist(), chosen.j.tolist(), strict=True))
    assert 2 * right / (len(chosen) + len(known)) > 0.9


@pytest.mark.parametrize("tables", [(OURS, THEIRS), (THEIRS,)])
def test_numbers_of_numpy_and_progress(tables):
    done = []
    want = sn.link(*tables, threshold=0.25)
    links = sn.link(*tables, threshold=np.float32(0.25), progress=lambda *at: done.append(at))
    assert np.array_equal(links.score, want.score)
    assert done[-1] == (len(tables[0]["name"]),) * 2


def test_empty_tables():
    assert len(sn.link(["abc"], [])) == 0
    assert len(sn.link([], ["abc"])) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"threshold": 2}, "threshold must be between 0 and 1, got 2"),
        ({"threshold": True}, "threshold must be between 0 and 1, got True"),
        ({"ngram": 0}, "ngram must be a whole number of at least 1, got 0"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"on": "title"}, "title"),
        ({"on": {"name": -1}}, "weights of columns must be above 0"),
        ({"matches": [[0, 9]]}, "matches must be rows of tables of 3 and 4 rows"),
        ({"matches": [0, 1]}, "matches must be pairs of row numbers"),
    ],
)
def test_what_cannot_be_asked(more, message):
    with pytest.raises(ValueError, match=message):
        sn.link(OURS, THEIRS, **more)


def test_tables_without_a_column_in_common():
    with pytest.raises(ValueError, match="no column of text in common"):
        sn.link({"a": ["x"]}, {"b": ["x"]})


def test_public_records(data_dir):
    pd = pytest.importorskip("pandas")
    folder = data_dir / "neardup" / "abt_buy"
    a, b = (pd.read_csv(folder / f"{name}.csv.gz", dtype=str, keep_default_na=False) for name in ("abt_a", "buy_b"))
    truth = pd.read_csv(folder / "matches.csv").to_numpy()
    known = truth[np.random.default_rng(0).permutation(len(truth))[: len(truth) // 3]]
    links = sn.link(a, b, on=["name", "description"], matches=known)
    right = len(set(map(tuple, truth.tolist())) & set(zip(links.i.tolist(), links.j.tolist(), strict=True)))
    assert 2 * right / (len(links) + len(truth)) >= 0.9
