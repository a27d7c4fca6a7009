"""An index of texts: fit, search, and the reason for each hit."""

import pathlib
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import storage
from sparsenn.adapters.files import read_with_ids
from sparsenn.adapters.fitting import warn_of_misfits
from sparsenn.adapters.inputs import Source, load_dataset, open_source
from sparsenn.adapters.outside import OutsideVectorizer
from sparsenn.adapters.pool import TextPool
from sparsenn.adapters.reading import passing, read_queries, read_source
from sparsenn.adapters.vectorizer import TextVectorizer
from sparsenn.corpus import Corpus, Ids, check_ids, listed_ids
from sparsenn.dedup import Duplicates, near_duplicates
from sparsenn.exact import check_k
from sparsenn.explanation import row_of
from sparsenn.hits import Hits, make_hits
from sparsenn.index import Index
from sparsenn.metrics import resolve
from sparsenn.parallel import ForkLock, count_jobs
from sparsenn.results import Neighbors
from sparsenn.state import State

OPTIONS = ("method", "keep_texts", "random_state", "n_jobs")


class TextIndex:
    """Search among texts.

    Parameters
    ----------
    weighting : "tfidf", "bm25", "counts", "binary", or a weighting, optional
        What a term is worth, e.g. ``sparsenn.adapters.BM25(k1=1.2)``; "tfidf" if not given.
    analyzer : "word", "char", "char_wb" or "multilingual", default "word"
        Compare words, or pieces of them (``analyzer="char_wb", ngram_range=(3, 3)`` forgives misspelling).
        "multilingual" is for scripts with combining marks, or without spaces between words.
    metric : str or metric, optional
        The weighting's own if not given: cosine for tfidf and counts, dot for bm25, jaccard for binary.
    metric_params : dict, optional
    vectorizer : object, optional
        In place of `analyzer` and the options below: a `TextVectorizer`, or any fitted or unfitted vectoriser or
        pipeline of scikit-learn. `weighting`, if given, is then applied to its rows, which must be counts.
    method : str, default "auto"
        Of `sparsenn.Index`. "auto" is exact: short queries meet few rows, so it is fast. For long queries of many
        texts try "heads", with `recall`.
    keep_texts : bool, default True
        Keep the texts, as UTF-8, for the hits.
    random_state, n_jobs
        Of `sparsenn.Index`.
    **options
        Of `sparsenn.adapters.TextVectorizer`: ngram_range, lowercase, strip_accents, stop_words, min_chars, min_df,
        max_df, max_features, n_features.

    Attributes
    ----------
    index_ : Index
        The index of the rows. Its ids are numbers, from 0 in the order of the texts.
    vectorizer_ : TextVectorizer or OutsideVectorizer

    Notes
    -----
    None and NaN are empty texts. An empty text keeps its place and is never found.

    Examples
    --------
    >>> import sparsenn as sn
    >>> texts = ["the cat sat on the mat", "stock markets fell on monday", "markets rose, stocks fell"]
    >>> index = sn.TextIndex(weighting="bm25").fit(texts, ids=["a", "b", "c"])
    >>> [hit.id for hit in index.search("rising stock markets", k=2)]
    ['b', 'c']
    >>> [term for term, share in index.search("rising stock markets", k=1, explain=True)[0].terms]
    ['stock', 'markets']
    """

    def __init__(
        self,
        weighting: Any = None,
        *,
        analyzer: str = "word",
        metric: Any = None,
        metric_params: Any = None,
        vectorizer: Any = None,
        method: str = "auto",
        keep_texts: bool = True,
        random_state: int | None = 0,
        n_jobs: int | None = None,
        **options: Any,
    ):
        if vectorizer is None:
            given: Any = TextVectorizer(weighting or "tfidf", analyzer=analyzer, n_jobs=n_jobs, **options)
        else:
            odd = sorted(options) + ["analyzer"] * (analyzer != "word")
            if odd:
                raise ValueError(f"{odd[0]} is the vectorizer's own: leave it out where vectorizer= is given")
            if isinstance(vectorizer, TextVectorizer):
                if weighting is not None:
                    raise ValueError("weighting is the TextVectorizer's own: give it there")
                given = vectorizer
            else:
                given = OutsideVectorizer(vectorizer, weighting)
        self._given = given  # what each fit begins with
        self.metric = metric if metric is not None else given.metric
        self.metric_params = metric_params
        self.method, self.keep_texts = method, keep_texts
        self.random_state, self.n_jobs = random_state, n_jobs
        resolve(self.metric, metric_params)
        self._new_index()
        self._corpus: Corpus | None = None
        self._lock = ForkLock()  # of whoever changes the index; readers need none

    def _new_index(self) -> Index:
        method = "exact" if self.method == "auto" else self.method
        return Index(self.metric, self.metric_params, method=method, random_state=self.random_state, n_jobs=self.n_jobs)

    def fit(
        self,
        texts: Any,
        ids: Iterable[Hashable] | None = None,
        *,
        column: str | None = None,
        id_column: str | None = None,
        split: str | None = None,
    ) -> "TextIndex":
        """Take the texts to search.

        Parameters
        ----------
        texts : iterable of str, series, frame, or dataset
            Lists and streams of strings; pandas, polars and pyarrow series, or tables with `column`; Hugging Face
            datasets with `column`, streaming ones too. Read once, in batches.
        ids : iterable of hashable, optional
            Your own names of the texts, all different; their numbers from 0 if not given.
        column, id_column : str, optional
            Columns of a table or dataset, with the texts and with their ids.
        split : str, optional
            Of a DatasetDict.

        Returns
        -------
        TextIndex
            The index itself.

        Raises
        ------
        ValueError
            No texts, no terms in them, something that is no text, ids that repeat or are too few or too many, a
            column that is not there. The index stays as it was.
        """
        if ids is not None and id_column is not None:
            raise ValueError("give ids or id_column, not both")
        return self._fit(open_source(texts, column, id_column, split), ids)

    def _fit(self, source: Source, ids: Iterable[Hashable] | None) -> "TextIndex":
        pool = TextPool()
        named: list[Hashable] = []
        made = self._given.fresh()
        learn = made.transform if isinstance(made, TextVectorizer) and made.is_fitted else made.fit_transform
        rows = learn(passing(source, pool if self.keep_texts else None, named))
        if not rows.shape[0]:
            raise ValueError("there are no texts: an index needs at least one")
        own = check_ids(named or ids, rows.shape[0])
        warn_of_misfits(
            resolve(self.metric, self.metric_params),
            rows,
            made_for="dot" if made.metric == "dot" else None,
            stacklevel=4,
        )
        index = self._new_index().fit(rows)
        known = None if own is None else Ids(own, range(len(own)))
        with self._lock:
            self._corpus = Corpus(made, index, pool if self.keep_texts else None, known)
        return self

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        column: str | None = None,
        *,
        id_column: str | None = None,
        split: str | None = None,
        load_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> "TextIndex":
        """Index a column of a Hugging Face dataset.

        Parameters
        ----------
        dataset : str, Dataset, DatasetDict or IterableDataset
            A name is loaded by ``datasets.load_dataset(name, split=split, **load_options)``, with split "train" if not
            given; ``load_options={"streaming": True}`` streams it.
        column, id_column : str, optional
        split : str, optional
        load_options : dict, optional
        **options
            Of `TextIndex`.

        Returns
        -------
        TextIndex
            Fitted. Texts are read from Arrow in batches: only a batch is strings of Python at once.

        Raises
        ------
        ValueError, ImportError
        """
        index = cls(**options)
        if isinstance(dataset, str):
            dataset, split = load_dataset(dataset, split=split or "train", **(load_options or {})), None
        elif load_options:
            raise ValueError("load_options are for a dataset given by its name: leave them out")
        return index.fit(dataset, column=column, id_column=id_column, split=split)

    @classmethod
    def from_file(
        cls, path: str | pathlib.Path, column: str | None = None, *, id_column: str | None = None, **options: Any
    ) -> "TextIndex":
        """Index the texts of a file: see `sparsenn.adapters.read_texts`. Ids of `id_column` are read as texts."""
        index = cls(**options)
        return index.fit(*read_with_ids(path, column, id_column))

    def _now(self) -> tuple[Corpus, State]:
        """What the index holds, and the state of its rows: read once by each call."""
        while True:
            corpus = self._corpus
            if corpus is None:
                raise ValueError("this index has no texts yet: call fit(texts) first")
            state = corpus.index._now()
            if corpus is self._corpus:
                return corpus.at(state), state

    @contextmanager
    def _changing(self) -> Iterator[tuple[Corpus, State]]:
        """What there is, while nobody else changes it."""
        with self._lock, self._now()[0].index._lock:
            yield self._now()

    def _change(self, new: Corpus, corpus: Corpus, state: State, act: Callable[[], object]) -> None:
        """Change the rows; until they are changed, what there was holds."""
        self._corpus = replace(new, before=(state, corpus))
        try:
            act()
        finally:
            self._tidy()

    def _tidy(self) -> None:
        corpus, state = self._now()
        self._corpus = corpus.tidied(state)

    @property
    def index_(self) -> Index:
        """The index of the rows."""
        return self._now()[0].index

    @property
    def vectorizer_(self) -> Any:
        """What makes rows of texts."""
        return self._now()[0].made

    def __len__(self) -> int:
        return self._now()[1].n_rows

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays held: rows and inverted lists, vocabulary, texts."""
        corpus, state = self._now()
        engines = sum(segment.nbytes for segment in state.segments)
        vocabulary = getattr(corpus.made, "vocabulary_", None)
        held = 0 if not isinstance(corpus.made, TextVectorizer) or vocabulary is None else vocabulary.nbytes
        return engines + held + (0 if corpus.texts is None else corpus.texts.nbytes)

    @property
    def ids(self) -> list[Hashable]:
        """Ids of the texts that are there, in the order in which they were added."""
        corpus, state = self._now()
        return [corpus.id(number) for number in state.numbers.tolist()]

    def text_of(self, id: Hashable) -> str | None:  # noqa: A002
        """Text of an id; None where texts are not kept.

        Raises
        ------
        ValueError
            An id that is not there.
        """
        corpus, state = self._now()
        return corpus.text(int(corpus.numbers_of(state, [id])[0]))

    def search(
        self,
        texts: Any,
        k: int = 10,
        *,
        explain: bool = False,
        recall: float | None = None,
        allowed: Iterable[Hashable] | None = None,
        n_jobs: int | None = None,
        column: str | None = None,
    ) -> Any:
        """Find the texts nearest to a query, or to each of several.

        Parameters
        ----------
        texts : str, or iterable of str, series, frame, or dataset
            One query, or several: anything that `fit` takes.
        k : int, default 10
            Most hits a query. There are fewer where fewer texts share a term with it, under metrics for which a text
            that shares nothing is at the largest distance: not with negative weights, nor with dense rows.
        explain : bool, default False
            Give each hit its shared terms, and what they add to the score.
        recall : float, optional
            Of `Index.query`, where `method` is not exact.
        allowed : iterable of ids, optional
            Only texts of these ids may be found.
        n_jobs : int, optional
        column : str, optional
            Column of a table or dataset, with the queries.

        Returns
        -------
        Hits or HitLists
            For one text a list of `Hit`, for several a list of such lists; both become tables (`to_pandas`,
            `to_polars`, `to_arrow`).

        Raises
        ------
        ValueError
            Something that is no text, k under 1, an id that is not there, a metric that cannot be explained.
        """
        corpus, state, vectors, found = self._ask(texts, k, recall, allowed, n_jobs, column)
        sparse = hasattr(vectors, "indptr")
        rows = state.space.read(vectors, "Q") if explain or state.space.bound.metric.worst is None else None
        empty = np.diff(vectors.indptr) == 0 if sparse else None
        signed = sparse and len(vectors.data) > 0 and bool(vectors.data.min() < 0)
        lists = make_hits(corpus, state, rows, found, explain, empty, signed)
        return lists[0] if isinstance(texts, str) else lists

    def query(
        self,
        texts: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        allowed: Iterable[Hashable] | None = None,
        n_jobs: int | None = None,
        column: str | None = None,
    ) -> Neighbors:
        """Find the same texts as `search`, as plain arrays: for many queries, several times as fast.

        Parameters
        ----------
        texts, k, recall, allowed, n_jobs, column
            As in `search`.

        Returns
        -------
        Neighbors
            ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k); one query for one text. Indices are
            numbers of texts, in the order in which they were added: `ids_of` translates them. Texts that share
            nothing with the query are among them; -1 and infinity where fewer than k may be found.
        """
        return self._ask(texts, k, recall, allowed, n_jobs, column, whole=True)[3]

    def ids_of(self, indices: Any) -> npt.NDArray[Any]:
        """Ids of texts from their numbers in a result of `query`; None for -1 where ids are your own.

        Parameters
        ----------
        indices : array of int, any shape

        Returns
        -------
        ndarray
            The same shape; int64, or objects where ids are your own.

        Raises
        ------
        ValueError
            The number of a text that is not there any more, whose id is not known.
        """
        corpus, _ = self._now()
        numbers = np.asarray(indices, np.int64)
        if corpus.ids is None:
            return numbers
        own = np.empty(numbers.size, object)
        own[:] = [None if number < 0 else corpus.id(number) for number in numbers.ravel().tolist()]
        return own.reshape(numbers.shape)

    def _ask(
        self,
        texts: Any,
        k: int,
        recall: float | None,
        allowed: Iterable[Hashable] | None,
        n_jobs: int | None,
        column: str | None,
        whole: bool = False,
    ) -> tuple[Corpus, State, Any, Neighbors]:
        """What was searched, vectors of queries, their answers; `whole`: k of each, with places of no text."""
        corpus, state = self._now()
        queries = [texts] if isinstance(texts, str) else read_queries(texts, column)
        k = check_k(k)
        numbers = None if allowed is None else corpus.numbers_of(state, listed_ids(allowed, "allowed"))
        vectors = corpus.made.query_rows(queries)
        most = k if whole else min(k, max(state.n_rows, 1))
        found = corpus.index._query(state, vectors, most, recall, allowed=numbers, n_jobs=n_jobs, depth=7)
        return corpus, state, vectors, found

    def more_like_this(self, id: Hashable, k: int = 10, *, explain: bool = False) -> Hits:  # noqa: A002
        """Find the texts nearest to one of the index, itself left out.

        Its own row is the query; with BM25 that is its weights. The answer is exact.

        Parameters
        ----------
        id : hashable
        k : int, default 10
        explain : bool, default False

        Returns
        -------
        Hits

        Raises
        ------
        ValueError
            An id that is not there, k under 1.
        """
        corpus, state = self._now()
        number, k = int(corpus.numbers_of(state, [id])[0]), check_k(k)
        row = row_of(state, number)
        found = state.nearest(row, min(k + 1, state.n_rows), 1, recall=1.0)
        others = np.flatnonzero(found.indices[0] != number)[:k]
        others_only = Neighbors(found.indices[:, others], found.distances[:, others])
        empty = np.diff(row.indptr) == 0 if row.container == "csr" else None
        return make_hits(corpus, state, row, others_only, explain, empty, row.has_negative)[0]

    def duplicates(self, threshold: float = 0.8, *, n_jobs: int | None = None, **options: Any) -> Duplicates:
        """Find texts that are nearly the same: `near_duplicates` of the texts that are there.

        Parameters
        ----------
        threshold : float, default 0.8
            Least Jaccard similarity of the sets of runs of words.
        n_jobs : int, optional
            Threads; None takes those of the index.
        **options
            ``rule, keep, shingle, analyzer`` of `near_duplicates`.

        Returns
        -------
        Duplicates
            Rows are places in `ids`.

        Raises
        ------
        ValueError
            If the index keeps no texts, or as `near_duplicates`.

        Examples
        --------
        >>> import sparsenn as sn
        >>> index = sn.TextIndex().fit(["the cat sat on the mat", "a dog", "The cat sat on the mat!"])
        >>> found = index.duplicates()
        >>> [index.ids[row] for row in found.keep]
        [0, 1]
        """
        corpus, state = self._now()
        if corpus.texts is None:
            raise ValueError("this index keeps no texts: fit it with keep_texts=True, or use near_duplicates(texts)")
        texts = [corpus.text(number) for number in state.numbers.tolist()]
        found = near_duplicates(texts, threshold, n_jobs=self.n_jobs if n_jobs is None else n_jobs, **options)
        if not isinstance(found, Duplicates):
            raise ValueError("against= is for near_duplicates: here the texts of the index are compared")
        return found

    def add(
        self,
        texts: Any,
        ids: Iterable[Hashable] | None = None,
        *,
        column: str | None = None,
        id_column: str | None = None,
        split: str | None = None,
    ) -> list[Hashable]:
        """Add texts. The vocabulary and its weights stay as they are: unknown terms are left out.

        Parameters
        ----------
        texts : iterable of str, series, frame, or dataset
            As in `fit`.
        ids : iterable of hashable, optional
            Needed where `fit` was given ids, refused where it was not.
        column, id_column, split : str, optional
            As in `fit`.

        Returns
        -------
        list
            Their ids.

        Raises
        ------
        ValueError
            Something that is no text, an id that is there already. The index stays as it was.
        """
        given, named = read_source(texts, ids, column, id_column, split)
        with self._changing() as (corpus, state):
            own = corpus.check_new(state, named, len(given))
            if not given:
                return []
            rows = corpus.made.transform(given)
            new = corpus.added(state, given, own)
            self._change(new, corpus, state, lambda: corpus.index.add(rows))
        return list(own) if own is not None else list(range(state.next_number, state.next_number + len(given)))

    def remove(self, ids: Iterable[Hashable]) -> None:
        """Remove texts. What they weighed in the vocabulary stays.

        Parameters
        ----------
        ids : iterable of hashable

        Raises
        ------
        ValueError
            An id that is not there, or one given twice. The index stays as it was.
        """
        listed = listed_ids(ids, "ids")
        with self._changing() as (corpus, state):
            corpus.index.remove(corpus.numbers_of(state, listed, once=True))
            self._tidy()

    def update(self, ids: Iterable[Hashable], texts: Any, *, column: str | None = None) -> None:
        """Put other texts in the place of some. They keep their ids, and the vocabulary stays as it is.

        Parameters
        ----------
        ids : iterable of hashable
        texts : iterable of str, series, frame, or dataset
            As in `fit`; one for each id.
        column : str, optional

        Raises
        ------
        ValueError
            An id that is not there, or one given twice; another number of texts; something that is no text. The index
            stays as it was.

        Examples
        --------
        >>> import sparsenn as sn
        >>> index = sn.TextIndex().fit(["the cat sat", "a dog"], ids=["a", "b"])
        >>> index.update(["b"], ["the dog sat"])
        >>> [hit.text for hit in index.search("sat")]
        ['the cat sat', 'the dog sat']
        """
        listed = listed_ids(ids, "ids")
        given, _ = read_source(texts, None, column)
        if len(listed) != len(given):
            raise ValueError(f"there are {len(given):,} texts and {len(listed):,} ids: give one text for each id")
        with self._changing() as (corpus, state):
            numbers = corpus.numbers_of(state, listed, once=True)
            if not given:
                return
            rows = corpus.made.transform(given)
            new = corpus.changed(numbers, given)
            self._change(new, corpus, state, lambda: corpus.index.update(numbers, rows))

    def save(self, path: str | pathlib.Path, *, compact: bool = True, allow_pickle: bool = False) -> None:
        """Save to a directory: the index, the vocabulary, ids and texts, as JSON and npy.

        Parameters
        ----------
        path : path
            A new directory, an empty one, or one that holds a saved text index, which is replaced.
        compact : bool, default True
            As in `Index.save`: False saves all that has been prepared, for an index that answers at once when loaded.
        allow_pickle : bool, default False
            Let a vectoriser that is not sparsenn's be written by joblib, which is a pickle.

        Raises
        ------
        ValueError
            A vectoriser that only a pickle can hold, ids that are neither all integers nor all strings, a directory
            that holds something else.
        """
        from sparsenn import __version__

        corpus, state = self._now()
        index, arrays = corpus.index._described(not compact, state)
        about: dict[str, Any] = {"options": {name: getattr(self, name) for name in OPTIONS}, "vectorizer": None}
        if not isinstance(corpus.made, OutsideVectorizer):
            about["vectorizer"], more = corpus.made.described()
            about["as_fitted"] = self._given.is_fitted
            arrays |= {f"vectorizer.{name}": array for name, array in more.items()}
        elif allow_pickle:
            arrays["vectorizer.joblib"] = corpus.made.pickled()
        else:
            raise ValueError(
                f"the vectorizer {type(corpus.made.vectorizer).__name__} can only be saved by pickle, which runs code "
                "when it is loaded: say allow_pickle=True, or use sparsenn's own TextVectorizer"
            )
        about["ids"] = corpus.pack(state, arrays)
        storage.save(path, {"text_index": about, "index": index}, arrays, __version__, count_jobs(self.n_jobs))

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path,
        *,
        mmap: bool = False,
        allow_pickle: bool = False,
        verify: bool | None = None,
    ) -> "TextIndex":
        """Load what `save` wrote.

        Parameters
        ----------
        path : path
        mmap : bool, default False
            Map the rows and texts into memory instead of reading them.
        allow_pickle : bool, default False
            Load a vectoriser that was saved by joblib; a warning says so.
        verify : bool, optional
            As in `Index.load`: with `mmap` say True to have all files compared with their checksums.

        Returns
        -------
        TextIndex

        Raises
        ------
        ValueError
            A directory that is no text index, one with a pickle where that is not allowed, or files that are damaged
            or do not fit together.
        """
        stored = storage.load(path, mmap=mmap, verify=verify, n_threads=1 if mmap else count_jobs(None))
        check = bool(verify) or (verify is None and not mmap)
        about, arrays = stored.contents.get("text_index"), stored.arrays
        if about is None:
            raise ValueError(f"{path} holds no text index: load it with what saved it, e.g. sparsenn.Index.load")
        if about["vectorizer"] is None and not allow_pickle:
            raise ValueError(
                f"{path} holds a vectorizer that is a pickle, which runs code when it is loaded: "
                "say allow_pickle=True if you trust it"
            )
        try:
            if about["vectorizer"] is None:
                made: Any = OutsideVectorizer.unpickled(arrays["vectorizer.joblib"], stacklevel=3)
            else:
                mine = {k.removeprefix("vectorizer."): a for k, a in arrays.items() if k.startswith("vectorizer.")}
                made = TextVectorizer.restored(about["vectorizer"], mine, about["options"]["n_jobs"])
            index = Index._restored(stored.contents["index"], arrays, path, check)
            rows = stored.contents["index"]["state"]
            if isinstance(made, TextVectorizer) and made.n_columns != rows["n_features"]:
                raise ValueError(f"the vectorizer has {made.n_columns} columns, and the rows {rows['n_features']}")
            corpus = Corpus.unpack(made, index, about["ids"], arrays, rows["next_number"], check)
            text_index = cls(metric=index.metric, metric_params=index.metric_params, **about["options"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} does not describe a text index: {error!r}") from None
        text_index._corpus = corpus
        text_index._given = made if about.get("as_fitted", about["vectorizer"] is None) else made.unfitted()
        return text_index

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: no lock, and rows, texts and ids of one moment."""
        kept = {name: value for name, value in vars(self).items() if name != "_lock"}
        if self._corpus is not None:
            corpus, state = self._now()
            frozen = object.__new__(Index)
            vars(frozen).update(vars(corpus.index), _state=state)
            kept["_corpus"] = replace(corpus.compact(state), index=frozen)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Take up what a pickle holds."""
        vars(self).update(kept)
        self._lock = ForkLock()

    def __repr__(self) -> str:
        if self._corpus is None:
            return f"TextIndex({self._given!r}, not fitted)"
        corpus, state = self._now()
        held = 0 if corpus.texts is None else corpus.texts.nbytes
        return f"TextIndex({corpus.made!r}, {state.n_rows:,} texts ({held / 1e6:.1f} MB), {corpus.index!r})"
