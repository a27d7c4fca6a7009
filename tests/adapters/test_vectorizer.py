import re
import sys
import tracemalloc
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

from sparsenn.adapters import BM25, Counts, TextVectorizer, Tfidf
from sparsenn.adapters.counting import BLOCK, blocks_of
from sparsenn.adapters.tokens import ASSIGNED, SPACE, WORD, character_classes, dense_letters

TEXTS = [
    "The cat sat on the mat, the cat!",
    "İstanbul'da ΣΊΣΥΦΟΣ naïve café_au_lait",
    "",
    "東京 タワー ２０２０年 हिन्दी भाषा",
    "one  two\n\nthree\tfour x yy zzz",
    "a\u00a0b\u2003cc dd\u0085ee",
    "\U0001d400\U0001d401 mathematical 😀 faces",
]
ANALYZERS = [
    {},
    {"ngram_range": (1, 3)},
    {"ngram_range": (2, 2)},
    {"analyzer": "char", "ngram_range": (1, 4)},
    {"analyzer": "char_wb", "ngram_range": (2, 6)},
    {"stop_words": "english", "ngram_range": (1, 2)},
    {"lowercase": False},
]


def same_rows(ours, theirs):
    theirs = theirs.tocsr()
    theirs.sort_indices()
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours.indptr, theirs.indptr)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    np.testing.assert_allclose(ours.data, theirs.data, rtol=2e-6)


@pytest.mark.parametrize("options", ANALYZERS, ids=str)
def test_counts_and_weights_are_those_of_sklearn(options):
    counter = CountVectorizer(**options)
    ours = TextVectorizer("counts", **options)
    same_rows(ours.fit_transform(TEXTS), counter.fit_transform(TEXTS))
    assert ours.vocabulary_.terms() == list(counter.get_feature_names_out())
    for weighting in (
        {"sublinear_tf": True},
        {"sublinear_tf": False, "norm": "l1"},
        {"smooth_idf": False, "norm": None},
    ):
        theirs = TfidfVectorizer(**options, **weighting)
        ours = TextVectorizer(Tfidf(**{"sublinear_tf": False, **weighting}), **options)
        same_rows(ours.fit_transform(TEXTS), theirs.fit_transform(TEXTS))
        asked = ["a cat in 東京", "unknown", "", "mat mat mat"]
        same_rows(ours.transform(asked), theirs.transform(asked))
        same_rows(ours.transform_queries(asked), theirs.transform(asked))


@pytest.mark.filterwarnings("ignore:.*no spaces between words")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(), max_size=40), min_size=1, max_size=6), st.sampled_from(ANALYZERS))
def test_any_text_gives_the_terms_of_sklearn(texts, options):
    texts = [*texts, "some words there are"]
    counter = CountVectorizer(**options)
    ours = TextVectorizer("counts", **options)
    same_rows(ours.fit_transform(texts), counter.fit_transform(texts))
    assert ours.vocabulary_.terms() == list(counter.get_feature_names_out())


@pytest.mark.parametrize(
    "options",
    [
        {"min_df": 2},
        {"min_df": 0.2, "max_df": 0.5},
        {"max_df": 3},
        {"max_features": 4},
        {"min_df": 2, "max_features": 2},
    ],
    ids=str,
)
def test_terms_are_left_out_as_by_sklearn(options):
    rng = np.random.default_rng(0)
    texts = [" ".join(f"word{int(i)}" for i in rng.zipf(1.4, 30) if i < 60) for _ in range(12)]
    counter = CountVectorizer(**options)
    ours = TextVectorizer("counts", **options)
    rows = ours.fit_transform(texts)
    theirs = counter.fit_transform(texts)
    if "max_features" not in options:
        same_rows(rows, theirs)
    else:  # of terms with as many occurrences any may stay
        kept = np.sort(np.asarray(rows.sum(axis=0)).ravel())
        np.testing.assert_array_equal(kept, np.sort(np.asarray(theirs.sum(axis=0)).ravel()))


def test_hashed_columns_are_those_of_sklearn():
    theirs = HashingVectorizer(alternate_sign=False, norm=None, n_features=37)
    ours = TextVectorizer("counts", n_features=37)
    same_rows(ours.fit_transform(TEXTS), theirs.transform(TEXTS))
    same_rows(ours.transform(TEXTS[::-1]), theirs.transform(TEXTS[::-1]))
    assert ours.vocabulary_ is None
    assert TextVectorizer("tfidf", n_features=2**18).fit_transform(TEXTS).shape == (len(TEXTS), 2**18)


def test_accents_are_stripped_as_by_sklearn():
    same_rows(
        TextVectorizer("counts", strip_accents=True).fit_transform(TEXTS),
        CountVectorizer(strip_accents="unicode").fit_transform(TEXTS),
    )


def test_shorter_words_when_asked_for():
    same_rows(
        TextVectorizer("counts", min_chars=1).fit_transform(TEXTS),
        CountVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(TEXTS),
    )


def test_classes_of_characters_are_those_of_re():
    every = [chr(i) for i in range(sys.maxunicode + 1)]
    classes = np.zeros(len(every), np.uint8)
    classes[:ASSIGNED] = character_classes()
    word, space = re.compile(r"\w"), re.compile(r"\s")
    assert [bool(c & WORD) for c in classes.tolist()] == [word.match(c) is not None for c in every]
    assert [bool(c & SPACE) for c in classes.tolist()] == [space.match(c) is not None for c in every]


@pytest.mark.parametrize(("file", "column"), [
    ("text/reuters21578.parquet", "body"),
    ("text/wordnet_glosses.parquet", "definition"),
])  # fmt: skip
def test_real_texts_give_the_rows_of_sklearn(data_dir, file, column):
    texts = pd.read_parquet(data_dir / file, columns=[column])[column].fillna("").tolist()[:4000]
    same_rows(TextVectorizer("counts", n_jobs=2).fit_transform(texts), CountVectorizer().fit_transform(texts))


def test_blocks_and_threads_change_nothing(monkeypatch):
    texts = TEXTS * 7
    want = TextVectorizer("tfidf", n_jobs=1).fit_transform(texts)
    monkeypatch.setattr("sparsenn.adapters.counting.BLOCK", 60)
    for jobs in (1, 3):
        vectorizer = TextVectorizer("tfidf", n_jobs=jobs)
        found = vectorizer.fit_transform(iter(texts))
        again = vectorizer.transform(iter(texts))
        for rows in (found, again):
            assert (rows != want).nnz == 0
            assert rows.has_canonical_format


def test_a_text_of_10_mb():
    long = "lorem ipsum dolor " * 600_000
    assert len(long) > 2 * BLOCK
    rows = TextVectorizer("counts").fit_transform(["ipsum", long, "dolor sit"])
    assert rows[1].toarray().ravel().tolist() == [600_000, 600_000, 600_000, 0]


def naive_bm25(counts, variant, k1=1.5, b=0.75, delta=0.5):
    """Scores of a term in each document, the shift of an absent one included; written from the paper's table."""
    counts = counts.toarray().astype(np.float64)
    n, df = len(counts), (counts > 0).sum(axis=0)
    length = counts.sum(axis=1, keepdims=True)
    slope = 1 - b + b * length / length.mean()
    if variant == "lucene":
        return np.log(1 + (n - df + 0.5) / (df + 0.5)) * counts / (counts + k1 * slope)
    if variant == "robertson":
        return np.maximum(np.log((n - df + 0.5) / (df + 0.5)), 0) * counts / (counts + k1 * slope)
    if variant == "atire":
        return np.log(n / df) * (k1 + 1) * counts / (counts + k1 * slope)
    if variant == "bm25l":
        c = counts / slope
        return np.log((n + 1) / (df + 0.5)) * (k1 + 1) * (c + delta) / (k1 + c + delta)
    return np.log((n + 1) / df) * ((k1 + 1) * counts / (counts + k1 * slope) + delta)


@pytest.mark.parametrize("variant", ["lucene", "robertson", "atire", "bm25l", "bm25+"])
def test_bm25_follows_its_formula(variant):
    texts = ["aa bb cc aa", "bb cc dd", "cc dd ee ff gg hh", "aa", "cc cc cc"]
    counts = CountVectorizer().fit_transform(texts)
    vectorizer = TextVectorizer(BM25(variant=variant, k1=1.2, b=0.6))
    rows = vectorizer.fit_transform(texts).toarray()
    absent = vectorizer.weighting_.absent
    want = naive_bm25(counts, variant, 1.2, 0.6)
    np.testing.assert_allclose(rows + (absent if absent.size else 0), want, rtol=1e-5, atol=1e-6)
    assert vectorizer.transform_queries(["aa aa bb"]).toarray()[0, :2].tolist() == [2, 1]


def test_a_vectorizer_is_saved_without_pickle(tmp_path):
    for number, vectorizer in enumerate([
        TextVectorizer(BM25(variant="bm25l", k1=1.1), stop_words=["the"], ngram_range=(1, 2)),
        TextVectorizer(Tfidf(norm="l1"), analyzer="char_wb", ngram_range=(3, 3)),
        TextVectorizer("tfidf", n_features=50),
    ]):  # fmt: skip
        vectorizer.fit(TEXTS)
        path = tmp_path / str(number)
        vectorizer.save(path)
        assert {p.suffix for p in path.rglob("*") if p.is_file()} <= {".json", ".npy", ""}
        loaded = TextVectorizer.load(path)
        assert (loaded.transform(TEXTS) != vectorizer.transform(TEXTS)).nnz == 0
        assert repr(loaded) == repr(vectorizer)


def test_what_is_no_vectorizer_is_not_loaded(tmp_path):
    from sparsenn import storage

    storage.save(tmp_path / "x", {}, {"a": np.zeros(1)}, "0")
    with pytest.raises(ValueError, match="no vectorizer of format 1"):
        TextVectorizer.load(tmp_path / "x")


@pytest.mark.parametrize(("options", "message"), [
    ({"analyzer": "words"}, "analyzer must be one of 'word', 'char', 'char_wb', 'multilingual', got 'words'"),
    ({"ngram_range": (2, 1)}, "ngram_range must rise"),
    ({"ngram_range": "x"}, "ngram_range must be two integers"),
    ({"min_df": -1}, "min_df must be a number"),
    ({"max_df": 1.5}, "max_df must be at most 1.0 as a share"),
    ({"max_features": 0}, "max_features must be an integer of at least 1"),
    ({"n_features": 10, "min_df": 2}, "hashed columns have no terms to count"),
    ({"analyzer": "char", "stop_words": "english"}, "about words"),
    ({"stop_words": "french"}, "stop_words must be None, 'english' or a list"),
    ({"weighting": "bm26"}, "weighting must be one of"),
    ({"n_jobs": 0}, "n_jobs must not be 0"),
])  # fmt: skip
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TextVectorizer(**options).fit(TEXTS)


@pytest.mark.parametrize(("kind", "options", "message"), [
    (BM25, {"variant": "okapi"}, "variant must be one of"),
    (BM25, {"k1": -1}, "k1 must be a number from 0"),
    (BM25, {"b": 2}, "b must be a number from 0 to 1"),
    (Tfidf, {"norm": "max"}, "norm must be 'l2', 'l1' or None"),
])  # fmt: skip
def test_bad_weights_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


@pytest.mark.parametrize(("texts", "options", "message"), [
    ([], {}, "there are no texts"),
    (["", "   ", "a"], {}, "none of the 3 texts has a term"),
    (["a cat", "dogs"], {"min_df": 2}, "no term is left within min_df=2"),
    (["a cat"] * 4, {"min_df": 3, "max_df": 0.25}, "max_df=0.25 is fewer texts than min_df=3"),
    ("one string", {}, "not one string"),
    (["fine", b"bytes"], {}, "text 1 is bytes, not str: decode it first"),
    (["fine", 3], {}, "text 1 must be str or missing"),
])  # fmt: skip
def test_bad_texts_are_named(texts, options, message):
    vectorizer = TextVectorizer(**options)
    with pytest.raises(ValueError, match=re.escape(message)):
        vectorizer.fit_transform(texts)
    with pytest.raises(ValueError, match=r"call fit\(texts\) first"):
        vectorizer.transform(["x"])


def test_missing_texts_are_empty():
    texts = ["cat", None, float("nan"), np.nan, pd.NA, "dog"]
    rows = TextVectorizer("counts").fit_transform(texts)
    assert np.diff(rows.indptr).tolist() == [1, 0, 0, 0, 0, 1]


def test_lone_surrogates_are_kept_apart():
    vectorizer = TextVectorizer("counts", analyzer="char")
    assert vectorizer.fit_transform(["\ud800\ud801", "\ud800"]).toarray().tolist() == [[1, 1], [1, 0]]


def test_blocks_stay_near_their_size():
    assert [len(block) for block in blocks_of(["x" * (BLOCK // 2)] * 5)] == [2, 2, 1]


def test_counts_are_what_they_are():
    assert TextVectorizer(Counts()).fit_transform(["aa aa bb"]).toarray().tolist() == [[2, 1]]
    assert TextVectorizer("binary").fit_transform(["aa aa bb"]).toarray().tolist() == [[1, 1]]


MARKS = ("Mn", "Mc")


def naive_words(text, least=2):
    """Terms of "multilingual", a character at a time."""
    terms, run, dense = [], "", []

    def end():
        nonlocal run, dense
        if len(run) >= least:
            terms.append(run)
        terms.extend(dense if len(dense) == 1 else map("".join, zip(dense, dense[1:], strict=False)))
        run, dense = "", []

    letters = dense_letters()
    for c in text.lower():
        if unicodedata.category(c) in MARKS and (run or dense):
            if run:
                run += c
            else:
                dense[-1] += c
        elif ord(c) < ASSIGNED and letters[ord(c)]:
            if run:
                end()
            dense.append(c)
        elif c.isalnum() or c == "_":
            if dense:
                end()
            run += c
        else:
            end()
    end()
    return terms


SCRIPTS = "aB9_ .é\u0301\u093f\u0915\u0939\u0644\u064e東京タワーのｱﾞไทยแมว\u0e34๑ກາກ\u0eb1ကာ\u1780\u17b6한국어😀\u3000、"
PIECES = st.lists(st.text(st.sampled_from(SCRIPTS), max_size=30), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PIECES, st.sampled_from([(1, 1), (1, 2)]), st.sampled_from([1, 2]))
def test_words_of_all_scripts_are_those_of_a_naive_loop(texts, runs, least):
    texts = [*texts, "some words there are"]
    counter = CountVectorizer(analyzer=lambda text: [
        " ".join(words[t : t + n]) for words in [naive_words(text, least)]
        for n in range(runs[0], runs[1] + 1) for t in range(len(words) - n + 1)
    ])  # fmt: skip
    ours = TextVectorizer("counts", analyzer="multilingual", ngram_range=runs, min_chars=least)
    same_rows(ours.fit_transform(texts), counter.fit_transform(texts))
    assert ours.vocabulary_.terms() == list(counter.get_feature_names_out())
    hashed = TextVectorizer("counts", analyzer="multilingual", ngram_range=runs, min_chars=least, n_features=2**20)
    assert hashed.fit_transform(texts).sum() == ours.transform(texts).sum()


def test_words_of_all_scripts_as_people_write_them():
    vectorizer = TextVectorizer("counts", analyzer="multilingual", stop_words=["भाषा"])
    vectorizer.fit(["हिन्दी भाषा", "東京タワー2020年", "ไทย", "the cat"])
    assert vectorizer.vocabulary_.terms() == sorted(
        ["हिन्दी", "東京", "京タ", "タワ", "ワー", "2020", "年", "ไท", "ทย", "the", "cat"]
    )
    plain = ["The cat sat, on the mat_2!", "naïve café"]
    same_rows(
        TextVectorizer("counts", analyzer="multilingual").fit_transform(plain), CountVectorizer().fit_transform(plain)
    )


def test_numbers_of_numpy_are_shares_and_counts_too():
    texts = ["the cat", "the dog", "the cow"]
    for share, count in ((np.float32(0.5), np.int64(2)), (0.5, 2)):
        for low in (share, count):
            assert TextVectorizer("counts", min_df=low).fit(texts).vocabulary_.terms() == ["the"]


def test_hashed_counts_need_no_memory_of_all_columns():
    tracemalloc.start()
    try:
        rows = TextVectorizer("counts", n_features=2**24).fit_transform(["a cat", "the dog the"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows.sum() == 4
    assert peak < 2**24


def test_damaged_vectorizers_are_refused():
    vectorizer = TextVectorizer(BM25(variant="bm25l")).fit(TEXTS)
    about, arrays = vectorizer.described()
    starts = arrays["term_starts"]
    for name, array in [
        ("term_starts", starts * 1000), ("term_starts", starts[:-1]), ("term_starts", starts + 1),
        ("term_starts", np.concatenate([starts[:1], starts[1:][::-1]])), ("terms", arrays["terms"][:-1]),
        ("factors", arrays["factors"][:-1]), ("factors", np.zeros(0)), ("shifts", arrays["shifts"][:3]),
        ("factors", arrays["factors"].astype(np.float32)),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"(term_starts|{name}) is damaged"):
            TextVectorizer.restored(about, {**arrays, name: array})
    assert (TextVectorizer.restored(about, arrays).transform(TEXTS) != vectorizer.transform(TEXTS)).nnz == 0
