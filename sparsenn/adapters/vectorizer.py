"""Texts to sparse rows: `TextVectorizer`, and short names for its usual settings."""

import copy
import pathlib
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import storage
from sparsenn.adapters.counting import (
    Collection,
    Counts,
    Splitter,
    count_hashed,
    count_known,
    count_known_hashed,
    learn,
    sorted_columns,
)
from sparsenn.adapters.tokens import ANALYZERS, empty_table
from sparsenn.adapters.vocabulary import Vocabulary, check_starts, stop_words
from sparsenn.adapters.weighting import WEIGHTINGS, Weighting, make_weighting
from sparsenn.parallel import count_jobs

FORMAT = 1
MANY = 0.3  # share of letters of scripts without spaces from which words are warned of
NOT_FITTED = "this vectorizer knows no texts yet: call fit(texts) first"
SETTINGS = ["analyzer", "ngram_range", "lowercase", "strip_accents", "stop_words", "min_chars", "min_df", "max_df"]
SETTINGS += ["max_features", "n_features"]


class TextVectorizer:
    """Rows of weighted terms, from texts; compiled, on several threads.

    Parameters
    ----------
    weighting : "tfidf", "bm25", "counts", "binary", or a weighting, default "tfidf"
        What a count is worth; ``sparsenn.adapters.BM25(k1=1.2)`` and the like set its parameters.
    analyzer : "word", "char", "char_wb" or "multilingual", default "word"
        Terms are words (runs of letters, digits and ``_``), characters, or characters within words padded by a space.
        "multilingual": words with their combining marks (Hindi, vocalised Arabic); of scripts that put no spaces
        between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese), each two characters that follow each other, and
        one that stands alone, as Lucene's CJKAnalyzer.
    ngram_range : (int, int), default (1, 1)
        Terms are runs of so many words or characters.
    lowercase : bool, default True
    strip_accents : bool, default False
        Take combining marks off (after NFKD), as scikit-learn's ``strip_accents="unicode"``.
    stop_words : "english", list of str or None, default None
        Words that are left out; "english" is scikit-learn's list. For words only.
    min_chars : int, default 2
        Shorter words are left out. For words only.
    min_df, max_df : int or float, default 1 and 1.0
        Terms that fewer, or more, texts have are left out; an integer counts texts, a float is a share of them.
    max_features : int, optional
        Keep so many terms, those with most occurrences.
    n_features : int, optional
        Hash terms to so many columns: no vocabulary is kept, so memory does not grow with the texts. Then `min_df`,
        `max_df` and `max_features` cannot be used.
    n_jobs : int, optional
        Threads; None is all processors.

    Attributes
    ----------
    vocabulary_ : Vocabulary or None
        The terms, a column each, in order; None with hashed columns.
    weighting_ : Weighting
        Fitted to the texts.
    metric : str
        The metric that fits the weighting.

    Notes
    -----
    With the same settings the rows are those of scikit-learn's CountVectorizer, TfidfVectorizer (its
    ``sublinear_tf`` is False unless told: here it is True) and HashingVectorizer (with ``alternate_sign=False``),
    in float32. Tokens are those of its ``token_pattern``. None and NaN are empty texts.

    Examples
    --------
    >>> from sparsenn.adapters import TextVectorizer
    >>> vectorizer = TextVectorizer("counts")
    >>> vectorizer.fit_transform(["a cat and a cat", "the mat"]).toarray().tolist()
    [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    >>> vectorizer.vocabulary_.terms()
    ['and', 'cat', 'mat', 'the']
    """

    def __init__(
        self,
        weighting: Any = "tfidf",
        *,
        analyzer: str = "word",
        ngram_range: tuple[int, int] = (1, 1),
        lowercase: bool = True,
        strip_accents: bool = False,
        stop_words: Any = None,
        min_chars: int = 2,
        min_df: int | float = 1,
        max_df: int | float = 1.0,
        max_features: int | None = None,
        n_features: int | None = None,
        n_jobs: int | None = None,
    ):
        self.weighting = weighting
        self.analyzer, self.ngram_range = analyzer, ngram_range
        self.lowercase, self.strip_accents = lowercase, strip_accents
        self.stop_words, self.min_chars = stop_words, min_chars
        self.min_df, self.max_df, self.max_features = min_df, max_df, max_features
        self.n_features, self.n_jobs = n_features, n_jobs
        self._check()
        self.vocabulary_: Vocabulary | None = None
        self.weighting_: Weighting | None = None
        self._splitter: Splitter | None = None

    def _check(self) -> None:
        make_weighting(self.weighting)
        if self.analyzer not in ANALYZERS:
            raise ValueError(f"analyzer must be one of {', '.join(map(repr, ANALYZERS))}, got {self.analyzer!r}")
        try:
            low, high = (int(n) for n in self.ngram_range)
        except (TypeError, ValueError):
            raise ValueError(f"ngram_range must be two integers, got {self.ngram_range!r}") from None
        if not 1 <= low <= high:
            raise ValueError(f"ngram_range must rise from at least 1, got {self.ngram_range!r}")
        self.ngram_range = (low, high)
        if self.analyzer not in ("word", "multilingual") and (self.stop_words is not None or self.min_chars != 2):
            raise ValueError(
                f"stop_words and min_chars are about words: leave them out with analyzer={self.analyzer!r}"
            )
        for name in ("min_chars", "max_features", "n_features"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__") or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        self.min_df, self.max_df = (_frequency(name, getattr(self, name)) for name in ("min_df", "max_df"))
        if self.n_features is not None:
            if self.min_df != 1 or self.max_df != 1.0 or self.max_features is not None:
                raise ValueError("hashed columns have no terms to count: leave out min_df, max_df and max_features")
            if self.n_features > 2**31 - 1:
                raise ValueError(f"n_features must be below 2^31, got {self.n_features}")
        count_jobs(self.n_jobs)

    def fresh(self) -> "TextVectorizer":
        """The same in another object, to be fitted without touching this one."""
        return copy.copy(self)

    def unfitted(self) -> "TextVectorizer":
        """The same settings alone."""
        made = copy.copy(self)
        made.vocabulary_ = made.weighting_ = made._splitter = None
        return made

    @property
    def is_fitted(self) -> bool:
        """Whether the weights have been learnt."""
        return self.weighting_ is not None

    def term(self, column: int) -> str:
        """The term of a column; its number where columns are hashed."""
        return f"#{column}" if self.vocabulary_ is None else self.vocabulary_[column]

    @property
    def metric(self) -> str:
        """The metric that fits the weighting."""
        return make_weighting(self.weighting).metric

    @property
    def n_columns(self) -> int:
        """Number of columns of the rows."""
        return self.n_features or len(self._known())

    def _known(self) -> Vocabulary:
        if self.vocabulary_ is None:
            raise ValueError(NOT_FITTED)
        return self.vocabulary_

    def _fitted(self) -> tuple[Splitter, Weighting]:
        if self._splitter is None or self.weighting_ is None:
            raise ValueError(NOT_FITTED)
        return self._splitter, self.weighting_

    def _make_splitter(self) -> Splitter:
        words = stop_words(self.stop_words)
        stops = Vocabulary.of(words).table if words else empty_table()
        return Splitter(self.analyzer, self.ngram_range, self.min_chars, self.lowercase, self.strip_accents, stops)

    def fit_transform(self, texts: Iterable[str]) -> Any:
        """Learn the vocabulary and the weights of texts, and return their rows.

        Parameters
        ----------
        texts : iterable of str
            Read once, some million characters at a time. None and NaN are empty texts.

        Returns
        -------
        scipy.sparse.csr_matrix of float32, shape (n_texts, n_terms)

        Raises
        ------
        ValueError
            No texts, no term in any of them (or none left within `min_df` and `max_df`), or something that is no
            text; the vectorizer stays as it was.
        """
        splitter = self._make_splitter()
        if self.n_features is not None:
            tally = make_weighting(self.weighting).tallied
            found = count_hashed(splitter, texts, self.n_features, self.n_jobs, tally)
        else:
            found = learn(splitter, texts, self.n_jobs)
        if found.n_texts == 0:
            raise ValueError("there are no texts: a vocabulary needs at least one")
        if not found.n_occurrences:
            raise ValueError(f"none of the {found.n_texts:,} texts has a term: are they empty, or all stop words?")
        columns, vocabulary = None, None
        if self.n_features is None:
            columns, vocabulary = self._choose(found)
            order = np.argsort(columns)[-len(vocabulary) :]
            frequencies, occurrences = found.frequencies[order], found.totals[order].sum()
        else:
            frequencies, occurrences = found.frequencies, found.n_occurrences
        weighting = make_weighting(self.weighting).fitted(frequencies, found.n_texts, occurrences / found.n_texts)
        rows = found.matrix(columns, self.n_features or len(vocabulary or ()))
        rows = weighting.weigh(rows, self.n_jobs)
        if self.analyzer == "word":
            _warn_of_scripts(*found.letters.tolist())
        self.vocabulary_, self.weighting_, self._splitter = vocabulary, weighting, splitter
        return rows

    def _choose(self, found: Collection) -> tuple[npt.NDArray[np.int32], Vocabulary]:
        n = found.n_texts
        low, high = (df * n if isinstance(df, float) else int(df) for df in (self.min_df, self.max_df))
        if high < low:
            raise ValueError(f"max_df={self.max_df} is fewer texts than min_df={self.min_df}, of {n:,} texts")
        columns, vocabulary = sorted_columns(found, low, high, self.max_features)
        if len(vocabulary) == 0:
            raise ValueError(
                f"no term is left within min_df={self.min_df} and max_df={self.max_df}: lower min_df or raise max_df"
            )
        return columns, vocabulary

    def fit(self, texts: Iterable[str]) -> "TextVectorizer":
        """Learn the vocabulary and the weights of texts; see `fit_transform`."""
        self.fit_transform(texts)
        return self

    def _counts(self, texts: Iterable[str]) -> Counts:
        splitter, _ = self._fitted()
        if self.n_features is not None:
            return count_known_hashed(splitter, texts, self.n_features, self.n_jobs)
        return count_known(splitter, texts, self._known(), self.n_jobs)

    def transform(self, texts: Iterable[str]) -> Any:
        """Rows of texts to index, in the columns and weights that were learnt; unknown terms are left out.

        Raises
        ------
        ValueError
            Not fitted, or something that is no text.
        """
        return self._fitted()[1].weigh(self._counts(texts).tocsr(), self.n_jobs)

    def transform_queries(self, texts: Iterable[str]) -> Any:
        """Rows of queries; with BM25 they are counts, else the same as `transform`."""
        return self.query_rows(texts).tocsr()

    def query_rows(self, texts: Iterable[str]) -> Counts:
        """The same, as plain arrays that an index takes."""
        found: Counts = self._fitted()[1].weigh_queries(self._counts(texts), self.n_jobs)
        return found

    def described(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """The fitted vectorizer as what JSON can hold, and arrays."""
        _, weighting = self._fitted()
        words = self.stop_words if self.stop_words in (None, "english") else sorted(set(self.stop_words))
        settings = {name: getattr(self, name) for name in SETTINGS} | {"stop_words": words}
        fitted: dict[str, Any] = {"name": weighting.name, "settings": weighting.settings()}
        fitted["mean_length"] = getattr(weighting, "mean_length", 0.0)
        arrays = {"factors": weighting.factors, "shifts": getattr(weighting, "shifts", np.zeros(0))}
        if self.vocabulary_ is not None:
            arrays |= {"terms": self.vocabulary_.pool, "term_starts": self.vocabulary_.offsets}
        return {"format": FORMAT, "settings": settings, "weighting": fitted}, arrays

    @classmethod
    def restored(
        cls, about: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]], n_jobs: int | None = None
    ) -> "TextVectorizer":
        """Make the vectorizer that `described` told of.

        Raises
        ------
        ValueError
            Something else, or another format.
        """
        if about.get("format") != FORMAT:
            raise ValueError(f"this is no vectorizer of format {FORMAT}, but {about.get('format')!r}")
        weighting, settings = about["weighting"], dict(about["settings"])
        hashed = settings["n_features"] is not None
        if not hashed:
            check_starts("term_starts", arrays["term_starts"], len(arrays["terms"]))
        _check_widths(about, arrays, settings["n_features"] if hashed else len(arrays["term_starts"]) - 1)
        kind = WEIGHTINGS[weighting["name"]]
        settings["ngram_range"] = tuple(settings["ngram_range"])
        made = cls(kind(**weighting["settings"]), **settings, n_jobs=n_jobs)
        more: dict[str, Any] = {"factors": np.array(arrays["factors"])}
        if weighting["name"] == "bm25":
            more |= {"shifts": np.array(arrays["shifts"]), "mean_length": weighting["mean_length"]}
        made.weighting_ = kind(**weighting["settings"], **more)
        made._splitter = made._make_splitter()
        if made.n_features is None:
            made.vocabulary_ = Vocabulary.of_bytes(arrays["terms"], arrays["term_starts"])
        return made

    def save(self, path: str | pathlib.Path) -> None:
        """Write the fitted vectorizer into a directory: JSON and npy, no pickle.

        Raises
        ------
        ValueError
            Not fitted, or a directory that holds something else.
        """
        from sparsenn import __version__

        about, arrays = self.described()
        storage.save(path, {"vectorizer": about}, arrays, __version__)

    @classmethod
    def load(cls, path: str | pathlib.Path, n_jobs: int | None = None) -> "TextVectorizer":
        """Read a vectorizer that `save` wrote.

        Raises
        ------
        ValueError
            A directory that holds something else.
        """
        stored = storage.load(path)
        return cls.restored(stored.contents.get("vectorizer", {}), stored.arrays, n_jobs)

    def __repr__(self) -> str:
        terms = "not fitted" if self.weighting_ is None else f"{self.n_columns:,} columns"
        return f"TextVectorizer({make_weighting(self.weighting).name}, analyzer={self.analyzer!r}, {terms})"


def _warn_of_scripts(letters: int, dense: int) -> None:
    """Warn where words are not what lies between spaces."""
    if dense <= MANY * letters:
        return
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("sparsenn."):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{dense / letters:.0%} of the letters are of scripts that put no spaces between words (Chinese, Japanese, "
        "Thai, ...), where analyzer='word' takes whole sentences for words: use analyzer='multilingual'",
        UserWarning,
        stacklevel=level,
    )


def _frequency(name: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value >= 0:
        raise ValueError(f"{name} must be a number of texts (int) or a share of them (float), got {value!r}")
    if isinstance(value, int | np.integer):
        return int(value)
    if value > 1.0:
        raise ValueError(f"{name} must be at most 1.0 as a share, or an int to count texts, got {value!r}")
    return float(value)


def _check_widths(about: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]], n_columns: int) -> None:
    """Check that there is a weight for each column: compiled code trusts it."""
    for name in ("factors", "shifts"):
        array = arrays[name]
        if array.dtype != np.float64 or array.ndim != 1 or len(array) not in (0, n_columns):
            raise ValueError(f"{name} is damaged: it should have no values or {n_columns:,}, and has {array.shape}")
    if about["weighting"]["name"] in ("tfidf", "bm25") and not len(arrays["factors"]):
        raise ValueError(f"factors is damaged: it should have {n_columns:,} values, and has none")
