import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.pipeline import make_pipeline

import sparsenn as sn
from sparsenn.adapters import BM25, TextVectorizer

TEXTS = [
    "the cat sat on the mat",
    "stock markets fell on monday",
    "markets rose as stocks fell again",
    "",
    "a bird in the hand is worth two in the bush",
    None,
    "the dog and the cat and the bird",
]
WEIGHTINGS = ["tfidf", "bm25", "counts", "binary"]


@pytest.fixture(params=WEIGHTINGS)
def weighting(request):
    return request.param


def corpus(n=150, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{int(i)}" for i in rng.zipf(1.3, rng.integers(1, 40)) if i < 300) + " end" for _ in range(n)]


def test_one_text_gives_a_list_and_many_a_list_of_lists(weighting):
    index = sn.TextIndex(weighting).fit(TEXTS, ids="abcdefg")
    one, many = index.search("the cat", k=3), index.search(["the cat", "zebra", ""], k=3)
    assert isinstance(one, list)
    assert all(isinstance(hit, sn.Hit) for hit in one)
    assert many[0] == one
    assert many[1:] == [[], []]  # what shares nothing is not found
    assert {hit.id for hit in one} <= set("ag" + "e")
    assert one[0].text == index.text_of(one[0].id)
    assert one[0].terms is None
    assert [hit.distance for hit in one] == sorted(hit.distance for hit in one)
    assert index.search([]) == []


def test_tfidf_scores_are_sklearns_cosine():
    texts, asked = corpus(), corpus(20, seed=1)
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    rows = vectorizer.fit_transform(texts)
    want = cosine_similarity(vectorizer.transform(asked), rows)
    for hits, true in zip(sn.TextIndex().fit(texts).search(asked, k=8), want, strict=True):
        np.testing.assert_allclose([h.score for h in hits], np.sort(true)[::-1][:8], atol=1e-6)
        np.testing.assert_allclose([h.score for h in hits], true[[h.id for h in hits]], atol=1e-6)


METRICS = [name for name in sn.metrics.names() if name != "seuclidean" and sn.metrics.get(name).pair is None
           and "csr" in sn.metrics.get(name).containers and not sn.metrics.get(name).project]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*sees only which columns")
@pytest.mark.parametrize("metric", METRICS)
def test_contributions_sum_to_the_score_of_every_metric_of_shared_terms(metric):
    params = dict(sn.metrics.get(metric).example)
    params = {key: value for key, value in params.items() if np.ndim(value) == 0}
    index = sn.TextIndex("counts", metric=metric, metric_params=params or None).fit(corpus())
    seen = 0
    for hits in index.search(corpus(30, seed=2), k=10, explain=True):
        for hit in hits:
            total = sum(share for _, share in hit.terms)
            scale = max(abs(hit.score), abs(hit.distance), 1.0)
            if sn.metrics.get(metric).invert is not None and sn.metrics.get(metric).worst is None:
                scale = max(scale, hit.distance**2)
            assert total == pytest.approx(hit.score, abs=1e-5 * scale)
            seen += len(hit.terms)
    assert seen > 100


def test_explanations_are_the_products_of_cosine():
    texts = corpus()
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    rows = vectorizer.fit_transform(texts)
    asked = corpus(1, seed=5)[0]
    vector = vectorizer.transform([asked]).toarray()[0]
    for hit in sn.TextIndex().fit(texts).search(asked, explain=True):
        products = vector * rows[hit.id].toarray()[0]
        want = {term: products[column] for term, column in vectorizer.vocabulary_.items() if products[column]}
        assert dict(hit.terms) == pytest.approx(want, abs=1e-6)
        shares = [share for _, share in hit.terms]
        assert shares == sorted(shares, reverse=True)


def test_more_like_this_leaves_itself_out(weighting):
    texts = corpus()
    index = sn.TextIndex(weighting).fit(texts)
    for number in (0, 77):
        hits = index.more_like_this(number, k=5, explain=True)
        assert number not in [hit.id for hit in hits]
        assert len(hits) == 5
        for hit in hits:
            assert sum(share for _, share in hit.terms) == pytest.approx(hit.score, rel=1e-5)
    want = sn.exact_neighbors(TextVectorizer("tfidf").fit_transform(texts), k=5)
    found = [hit.id for hit in sn.TextIndex().fit(texts).more_like_this(3, k=5)]
    assert found == want.indices[3].tolist()


def test_hits_become_tables():
    index = sn.TextIndex().fit(TEXTS)
    hits, lists = index.search("the cat", explain=True), index.search(["the cat", "monday", "nothing"])
    for frame in (hits.to_pandas(), hits.to_polars(), hits.to_arrow().to_pandas()):
        assert list(frame.columns) == ["rank", "id", "score", "distance", "text", "terms"]
        assert list(frame["id"]) == [hit.id for hit in hits]
        assert frame["terms"][0][0]["term"] == hits[0].terms[0][0]
    assert lists.to_pandas()["query"].tolist() == [0] * len(lists[0]) + [1]
    assert lists.to_polars().height == lists.to_arrow().num_rows == len(lists[0]) + 1


def test_queries_as_arrays():
    index = sn.TextIndex().fit(TEXTS, ids="abcdefg")
    found = index.query(["the cat", "monday"], k=2)
    assert found.indices.dtype == np.int64
    hits = index.search(["the cat", "monday"], k=2)
    ids = index.ids_of(found.indices)
    assert [ids[0].tolist(), ids[1, :1].tolist()] == [[h.id for h in some] for some in hits]
    assert index.ids_of([[-1]]).tolist() == [[None]]
    assert sn.TextIndex().fit(TEXTS).ids_of([3, -1]).tolist() == [3, -1]


def test_some_texts_only():
    index = sn.TextIndex().fit(TEXTS, ids="abcdefg")
    assert [hit.id for hit in index.search("the cat", allowed=["a", "e"])] == ["a", "e"]
    with pytest.raises(ValueError, match="there is no text with the id 'z'"):
        index.search("the cat", allowed=["z"])


def test_texts_are_added_and_removed(weighting):
    texts = corpus()
    index = sn.TextIndex(weighting).fit(texts[:140], ids=[f"t{i}" for i in range(140)])
    assert index.add(texts[140:], ids=[f"t{i}" for i in range(140, 150)]) == [f"t{i}" for i in range(140, 150)]
    index.remove(["t3", "t145"])
    assert len(index) == 148
    assert "t3" not in index.ids
    for number in (7, 142):
        hits = index.search(texts[number], k=5, explain=True)
        assert f"t{number}" in [hit.id for hit in hits]
        assert not {"t3", "t145"} & {hit.id for hit in hits}
        for hit in hits:
            assert hit.text == texts[int(hit.id[1:])]
            assert sum(share for _, share in hit.terms) == pytest.approx(hit.score, rel=1e-5)
        assert f"t{number}" not in [hit.id for hit in index.more_like_this(f"t{number}")]
    for call in (lambda: index.remove(["t3"]), lambda: index.text_of("t3"), lambda: index.more_like_this("t145")):
        with pytest.raises(ValueError, match="there is no text with the id 't"):
            call()
    assert index.add(["new one end"], ids=["t3"]) == ["t3"]
    assert index.text_of("t3") == "new one end"


@pytest.mark.parametrize(("call", "message"), [
    (lambda index: index.add(["x"]), "give ids= here too"),
    (lambda index: index.add(["x"], ids=["a"]), "the id 'a' is there already"),
    (lambda index: index.add(["x"], ids=["y", "z"]), "there are 1 texts and 2 ids"),
    (lambda index: index.add([b"x"], ids=["y"]), "text 0 is bytes"),
    (lambda index: index.add("x", ids=["y"]), "not one string"),
    (lambda index: index.remove("a"), "must be a list of ids"),
    (lambda index: index.remove(["a", "a"]), "a|twice"),
])  # fmt: skip
def test_failed_changes_change_nothing(call, message):
    index = sn.TextIndex().fit(TEXTS, ids="abcdefg")
    before = index.search("the cat"), index.ids
    with pytest.raises(ValueError, match=message):
        call(index)
    assert (index.search("the cat"), index.ids) == before
    with pytest.raises(ValueError, match="leave ids out"):
        sn.TextIndex().fit(TEXTS).add(["x"], ids=["y"])


def test_duplicates_are_those_of_the_texts_that_are_there():
    texts = [f"this is text number {i} and it goes on like this for a while" for i in range(4)]
    copies = [texts[2], texts[0].upper() + "!", "something else altogether"]
    index = sn.TextIndex().fit(texts, ids=list("abcd"))
    index.add(copies, ids=list("xyz"))
    index.remove(["b"])
    there = ["a", "c", "d", "x", "y", "z"]
    found = index.duplicates(0.95, keep="longest")
    direct = sn.near_duplicates([index.text_of(i) for i in there], 0.95, keep="longest")
    assert found.duplicate_of.tolist() == direct.duplicate_of.tolist() == [4, 1, 2, 1, 4, 5]
    assert [str(index.ids[row]) for row in found.keep] == ["c", "d", "y", "z"]
    assert len(index.duplicates(0.5, rule="connected").keep) == 2
    with pytest.raises(ValueError, match="against= is for near_duplicates"):
        index.duplicates(against=texts)
    with pytest.raises(ValueError, match="keeps no texts"):
        sn.TextIndex(keep_texts=False).fit(texts).duplicates()


@pytest.mark.parametrize("mmap", [False, True])
def test_a_saved_index_answers_the_same(tmp_path, weighting, mmap):
    texts = corpus()
    for ids in (None, range(100, 250), [f"é{i}" for i in range(150)]):
        index = sn.TextIndex(weighting, keep_texts=ids is not None).fit(texts, ids=ids)
        index.remove(index.ids[3:5])
        index.save(tmp_path / "x", compact=ids is None)
        loaded = sn.TextIndex.load(tmp_path / "x", mmap=mmap)
        assert loaded.search(texts[9], explain=True) == index.search(texts[9], explain=True)
        assert loaded.ids == index.ids
        assert loaded.add(["w1 w2"], ids=None if ids is None else [index.ids[0] * 9]) is not None
    suffixes = {path.suffix for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".npy", ""}


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(ValueError, match="all are integers of 64 bits, or all are strings: there is tuple"):
        sn.TextIndex().fit(["aa", "bb"], ids=[(1, 2), "x"]).save(tmp_path / "x")
    sn.Index().fit(np.eye(2)).save(tmp_path / "rows")
    with pytest.raises(ValueError, match="holds no text index"):
        sn.TextIndex.load(tmp_path / "rows")


def test_an_index_of_the_other_kind_says_so(tmp_path):
    sn.TextIndex().fit(["a cat", "the dog"]).save(tmp_path / "t.sn")
    with pytest.raises(ValueError, match=r"t\.sn holds a text index: load it with sparsenn.TextIndex.load"):
        sn.Index.load(tmp_path / "t.sn")


def test_a_foreign_vectorizer_needs_leave_and_warns(tmp_path):
    index = sn.TextIndex(vectorizer=CountVectorizer(), weighting="bm25").fit(TEXTS)
    with pytest.raises(ValueError, match="CountVectorizer can only be saved by pickle"):
        index.save(tmp_path / "x")
    index.save(tmp_path / "x", allow_pickle=True)
    with pytest.raises(ValueError, match="say allow_pickle=True if you trust it"):
        sn.TextIndex.load(tmp_path / "x")
    with pytest.warns(UserWarning, match="loading it runs code"):
        loaded = sn.TextIndex.load(tmp_path / "x", allow_pickle=True)
    assert loaded.search("the cat", explain=True) == index.search("the cat", explain=True)


def test_vectorizers_of_sklearn():
    texts = corpus()
    ours = sn.TextIndex("bm25").fit(texts)
    asked = corpus(5, seed=3)
    theirs = sn.TextIndex("bm25", vectorizer=CountVectorizer()).fit(texts)
    for one, other in zip(ours.search(asked, explain=True), theirs.search(asked, explain=True), strict=True):
        assert [hit.id for hit in one] == [hit.id for hit in other]
        assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other])
        assert [dict(hit.terms) for hit in one] == [pytest.approx(dict(hit.terms)) for hit in other]
    fitted = TfidfVectorizer(sublinear_tf=True).fit([*texts, "other words"])
    columns = fitted.get_feature_names_out().tolist()
    index = sn.TextIndex(vectorizer=fitted).fit(texts)
    assert index.index_.n_features == len(columns)  # used as it is, not fitted again
    dense = sn.TextIndex(vectorizer=make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0))).fit(texts)
    assert dense.search(texts[4], k=1)[0].id == 4
    with pytest.raises(ValueError, match="no sum over shared terms"):
        dense.search(texts[4], explain=True)
    hashed = sn.TextIndex(vectorizer=HashingVectorizer(alternate_sign=False)).fit(texts)
    assert hashed.search(texts[4], k=1, explain=True)[0].terms[0][0].isdigit()
    own = sn.TextIndex(n_features=64).fit(texts)
    assert own.search(texts[4], k=1, explain=True)[0].terms[0][0].startswith("#")


@pytest.mark.parametrize(("options", "message"), [
    ({"weighting": "bm26"}, "weighting must be one of"),
    ({"metric": "cosines"}, "unknown metric 'cosines'"),
    ({"method": "fast"}, "method must be one of"),
    ({"vectorizer": TextVectorizer(), "ngram_range": (1, 2)}, "ngram_range is the vectorizer's own"),
    ({"vectorizer": TextVectorizer(), "weighting": "bm25"}, "the TextVectorizer's own"),
    ({"vectorizer": CountVectorizer(), "analyzer": "char"}, "analyzer is the vectorizer's own"),
    ({"vectorizer": "tfidf"}, "vectorizer must have a method transform, got str"),
])  # fmt: skip
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        sn.TextIndex(**options)


@pytest.mark.parametrize(("texts", "ids", "message"), [
    ([], None, "there are no texts"),
    (["", None], None, "none of the 2 texts has a term"),
    (["cat", b"dog"], None, "text 1 is bytes, not str"),
    (["cat", 7], None, "text 1 must be str or missing"),
    ("cat", None, "not one string"),
    (["cat", "dog"], ["a", "a"], "the id 'a' is given to texts 0 and 1"),
    (["cat", "dog"], ["a"], "there are 2 texts and 1 ids"),
    (["cat", "dog"], ["a", None], "the id of text 1 is missing"),
    (["cat", "dog"], [1.0, float("nan")], "the id of text 1 is missing"),
])  # fmt: skip
def test_bad_texts_and_ids_are_named_and_change_nothing(texts, ids, message):
    index = sn.TextIndex().fit(TEXTS)
    before = index.search("the cat")
    with pytest.raises(ValueError, match=message):
        index.fit(texts, ids=ids)
    assert index.search("the cat") == before


def test_bad_queries_are_named():
    index = sn.TextIndex().fit(TEXTS)
    with pytest.raises(ValueError, match="the query is bytes"):
        index.search(b"cat")
    with pytest.raises(ValueError, match="text 1 is bytes"):
        index.search(["cat", b"cat"])
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search("cat", k=0)
    with pytest.raises(ValueError, match="no texts yet"):
        sn.TextIndex().search("cat")
    assert index.search(None or "") == []
    assert index.search([None]) == [[]]
    with pytest.raises(ValueError, match="give ids or id_column, not both"):
        index.fit(pd.DataFrame({"text": ["cat"], "id": [1]}), ids=[1], id_column="id")


def test_a_wrong_metric_is_warned_of():
    with pytest.warns(UserWarning, match="sees only which columns"):
        sn.TextIndex("counts", metric="jaccard").fit(TEXTS * 2)
    with pytest.warns(UserWarning, match="they are no BM25"):
        sn.TextIndex(BM25(k1=1.2), metric="cosine").fit(TEXTS)


def test_long_texts_and_many_threads():
    long = "lorem ipsum dolor " * 560_000
    texts = ["ipsum now", long, "something else"]
    index = sn.TextIndex("bm25").fit(texts)
    assert [hit.id for hit in index.search(["dolor", long[:100]], k=1)[0]] == [1]
    want, got = index.search(["ipsum", "else"]), []
    threads = [threading.Thread(target=lambda: got.append(index.search(["ipsum", "else"]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [want] * 4


def test_fewer_than_k_and_a_single_text():
    index = sn.TextIndex().fit(["only one"])
    assert [hit.id for hit in index.search("one", k=10)] == [0]
    assert index.more_like_this(0) == []
    assert repr(index).startswith("TextIndex(TextVectorizer(tfidf")
    assert "not fitted" in repr(sn.TextIndex())


def test_without_a_worst_distance_the_score_is_what_is_shared():
    index = sn.TextIndex("counts", metric="euclidean").fit(["aa bb", "bb cc cc", "dd"])
    hits = {hit.id: hit for hit in index.search("bb cc", k=3, explain=True)}
    assert hits[1].score == pytest.approx(2 * (1 * 1 + 1 * 2))  # 2 x·y, off the squared distance
    assert hits[2].terms == ()
    assert hits[2].score == pytest.approx(0, abs=1e-6)


def test_tables_are_indexed_added_and_asked_by_a_column():
    frame = pd.DataFrame({"body": ["the cat sat", "a dog"], "key": ["x", "y"]})
    more = {"body": ["new cat text"], "key": ["z"]}
    index = sn.TextIndex().fit(frame, column="body", id_column="key")
    assert index.add(more, column="body", id_column="key") == ["z"]
    assert index.text_of("z") == "new cat text"
    asked = index.search(pd.DataFrame({"q": ["cat", "dog"], "n": [1, 2]}))
    assert asked == index.search(["cat", "dog"]) == index.search(pa.array(["cat", "dog"]))
    assert [hit.id for hit in asked[0]] == ["z", "x"]
    assert index.query(pd.DataFrame({"a": ["dog"], "b": ["cat"]}), k=1, column="b").indices.tolist() == [[2]]
    with pytest.raises(ValueError, match="several columns"):
        index.search(pd.DataFrame({"a": ["dog"], "b": ["cat"]}))
    assert sn.TextIndex().fit({"text": ["the cat", "a dog"]}).search("dog")[0].text == "a dog"
    with pytest.raises(ValueError, match="'text' has 'the cat': give a list"):
        sn.TextIndex().fit({"text": "the cat"})
    with pytest.raises(ValueError, match="ids or id_column, not both"):
        index.add(more, ["z"], column="body", id_column="key")


@pytest.mark.parametrize("asked", [None, float("nan"), 5])
def test_what_is_no_query_is_named(asked):
    with pytest.raises(ValueError, match="a query must be a str, or several"):
        sn.TextIndex().fit(TEXTS).search(asked)


@pytest.mark.parametrize(("ids", "message"), [
    ([pd.NA, 1], "the id of text 0 is missing"),
    ([[1], [2]], r"the id of text 0 is \[1\], which cannot be looked up"),
])  # fmt: skip
def test_ids_that_are_none_are_named(ids, message):
    with pytest.raises(ValueError, match=message):
        sn.TextIndex().fit(["the cat", "a dog here"], ids=ids)
    for own in (None, ["a", "b"]):
        with pytest.raises(ValueError, match=r"no text with the id \[1\]"):
            sn.TextIndex().fit(["the cat", "a dog here"], ids=own).text_of([1])
    with pytest.raises(ValueError, match="allowed must be a list of ids, got 'ab'"):
        sn.TextIndex().fit(["the cat"]).search("cat", allowed="ab")


def test_arrays_have_k_columns():
    index = sn.TextIndex().fit(["the cat", "a dog"])
    found = index.query(["cat"], k=4)
    assert found.indices.tolist() == [[0, 1, -1, -1]]
    assert found.distances[0, 2:].tolist() == [np.inf, np.inf]
    assert index.query(["cat"], k=3, allowed=[1]).indices.tolist() == [[1, -1, -1]]
    assert len(index.search("cat", k=1000)) == 1


def test_no_hit_is_dropped_where_products_may_be_negative():
    texts = [f"w{i % 7} w{(i * 3) % 11} w{(i * 5) % 13}" for i in range(50)]
    dense = sn.TextIndex(vectorizer=make_pipeline(TfidfVectorizer(), TruncatedSVD(10, random_state=0))).fit(texts)
    assert len(dense.search("w1 w3", k=50)) == 50
    signed = sn.TextIndex(vectorizer=HashingVectorizer(n_features=64)).fit(texts)  # its signs alternate
    assert len(signed.search("w1 w3", k=50)) == 50
    assert len(signed.more_like_this(0, k=50)) == 49
    assert sn.TextIndex().fit(texts).search("w1 zebra", k=50)[-1].score > 0


def test_a_vectorizer_is_fitted_unless_it_was():
    known = TextVectorizer().fit(["cat dog bird fish"])
    index = sn.TextIndex(vectorizer=known).fit(["only cat"])
    assert index.vectorizer_.vocabulary_.terms() == ["bird", "cat", "dog", "fish"]
    assert [hit.id for hit in index.fit(["dog", "cat"]).search("cat")] == [1]
    with pytest.raises(ValueError, match="there are no texts"):
        index.fit([])
    for vectorizer in (TextVectorizer(), CountVectorizer()):
        again = sn.TextIndex(vectorizer=vectorizer).fit(["cat"]).fit(["dog"])
        assert [hit.id for hit in again.search("dog")] == [0]


def test_a_loaded_index_is_fitted_again_as_it_was(tmp_path):
    sn.TextIndex().fit(["cat"]).save(tmp_path / "x")
    assert sn.TextIndex.load(tmp_path / "x").fit(["dog"]).vectorizer_.vocabulary_.terms() == ["dog"]
    sn.TextIndex(vectorizer=TextVectorizer().fit(["cat dog"])).fit(["cat"]).save(tmp_path / "x")
    assert sn.TextIndex.load(tmp_path / "x").fit(["dog"]).vectorizer_.vocabulary_.terms() == ["cat", "dog"]


def test_hits_become_tables_whatever_they_hold():
    index = sn.TextIndex().fit(["a cat", "the dog"], ids=["a", 1])
    hits = index.search(["cat", "dog"])
    assert hits.to_pandas()["id"].tolist() == ["a", 1]
    with pytest.raises(ValueError, match="ids of the types int, str cannot stand in one column of arrow"):
        hits.to_arrow()
    assert "terms" in index.search("zebra", explain=True).to_pandas().columns
    assert "terms" in index.search(["zebra"], explain=True).to_pandas().columns
    assert "terms" not in index.search("zebra").to_pandas().columns


def test_names_of_foreign_columns_are_asked_for_once(monkeypatch):
    index = sn.TextIndex(vectorizer=CountVectorizer()).fit(corpus())
    asked = []
    real = CountVectorizer.get_feature_names_out
    monkeypatch.setattr(
        CountVectorizer, "get_feature_names_out", lambda self, *given: asked.append(1) or real(self, *given)
    )
    assert index.search(corpus(5, seed=1), explain=True)[0][0].terms
    assert len(asked) == 1


LANGUAGES = {
    "Chinese": (["我喜欢吃苹果和香蕉", "今天天气很好"], "苹果"),
    "Japanese": (["東京は日本の首都です", "猫が好き"], "東京"),
    "Thai": (["แมวกินปลา", "ฉันรักประเทศไทย"], "แมว"),
    "Hindi": (["हिन्दी भाषा में लेख", "भारत की राजधानी दिल्ली"], "हिन्दी"),
    "Arabic": (["كَتَبَ الوَلَدُ الدَّرْسَ", "ذهب الطالب إلى المدرسة"], "كَتَبَ"),
    "English": (["the cat sat", "a dog"], "cat"),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_languages_are_searched(tmp_path, language):
    texts, asked = LANGUAGES[language]
    index = sn.TextIndex(analyzer="multilingual").fit(texts)
    index.save(tmp_path / "x")
    for one in (index, sn.TextIndex.load(tmp_path / "x")):
        hits = one.search(asked, explain=True)
        assert [hit.id for hit in hits] == [0]
        assert sum(share for _, share in hits[0].terms) == pytest.approx(hits[0].score, rel=1e-5)
    assert all(term in texts[0] for term, _ in hits[0].terms)
    assert index.add([texts[0]]) == [2]
    assert [hit.id for hit in index.search(asked)] == [0, 2]


def test_scripts_without_spaces_are_warned_of():
    with pytest.warns(UserWarning, match="use analyzer='multilingual'") as caught:
        sn.TextIndex().fit(LANGUAGES["Chinese"][0])
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="use analyzer='multilingual'"):
        TextVectorizer("counts", n_features=64).fit(LANGUAGES["Thai"][0])
    sn.TextIndex().fit([*LANGUAGES["Chinese"][0], "a much longer text in English, so that few of the letters are not"])
    sn.TextIndex(analyzer="char", ngram_range=(2, 2)).fit(LANGUAGES["Chinese"][0])
