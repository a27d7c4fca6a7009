"""An index of texts: fit, search, and the reason for each hit."""

import pathlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import storage
from sparsenn.adapters.counting import as_texts
from sparsenn.adapters.files import read_texts
from sparsenn.adapters.fitting import warn_of_misfits
from sparsenn.adapters.inputs import Source, load_dataset, open_source
from sparsenn.adapters.outside import OutsideVectorizer
from sparsenn.adapters.pool import TextPool
from sparsenn.adapters.vectorizer import TextVectorizer
from sparsenn.adapters.vocabulary import bytes_of, pooled
from sparsenn.dedup import Duplicates, near_duplicates
from sparsenn.exact import check_k
from sparsenn.explanation import Reasons, row_of, scores_of
from sparsenn.hits import Hit, HitLists, Hits
from sparsenn.index import Index
from sparsenn.metrics import resolve
from sparsenn.results import Neighbors
from sparsenn.rows import Rows
from sparsenn.state import State

OPTIONS = ("method", "keep_texts", "random_state", "n_jobs")


class TextIndex:
    """Search among texts.

    Parameters
    ----------
    weighting : "tfidf", "bm25", "counts", "binary", or a weighting, optional
        What a term is worth, e.g. ``sparsenn.adapters.BM25(k1=1.2)``; "tfidf" if not given.
    analyzer : "word", "char" or "char_wb", default "word"
        Compare words, or pieces of them (``analyzer="char_wb", ngram_range=(3, 3)`` forgives misspelling).
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
            made: Any = TextVectorizer(weighting or "tfidf", analyzer=analyzer, n_jobs=n_jobs, **options)
        else:
            given = sorted(options) + ["analyzer"] * (analyzer != "word")
            if given:
                raise ValueError(f"{given[0]} is the vectorizer's own: leave it out where vectorizer= is given")
            if isinstance(vectorizer, TextVectorizer):
                if weighting is not None:
                    raise ValueError("weighting is the TextVectorizer's own: give it there")
                made = vectorizer
            else:
                made = OutsideVectorizer(vectorizer, weighting)
        self._made = made
        self.metric = metric if metric is not None else made.metric
        self.metric_params = metric_params
        self.method, self.keep_texts = method, keep_texts
        self.random_state, self.n_jobs = random_state, n_jobs
        resolve(self.metric, metric_params)
        self._new_index()
        self._index: Index | None = None
        self._texts: TextPool | None = None
        self._own: Sequence[Hashable] | None = None  # ids that were given, by number
        self._numbers: dict[Hashable, int] | None = None

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
        made = self._made.fresh()
        rows = made.fit_transform(_passing(source, pool if self.keep_texts else None, named))
        chosen = _check_ids(named or ids, rows.shape[0])
        warn_of_misfits(
            resolve(self.metric, self.metric_params),
            rows,
            made_for="dot" if made.metric == "dot" else None,
            stacklevel=4,
        )
        index = self._new_index().fit(rows)
        self._made = made
        self._index, self._texts, self._own = index, pool if self.keep_texts else None, chosen
        self._numbers = None
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
        return index.fit(read_texts(path, column), None if id_column is None else read_texts(path, id_column))

    def _fitted(self) -> Index:
        if self._index is None:
            raise ValueError("this index has no texts yet: call fit(texts) first")
        return self._index

    @property
    def index_(self) -> Index:
        """The index of the rows."""
        return self._fitted()

    @property
    def vectorizer_(self) -> Any:
        """What makes rows of texts."""
        self._fitted()
        return self._made

    def __len__(self) -> int:
        return len(self._fitted())

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays held: rows and inverted lists, vocabulary, texts."""
        engines = sum(segment.engine.nbytes for segment in self._fitted()._now().segments)
        vocabulary = getattr(self._made, "vocabulary_", None)
        held = 0 if not isinstance(self._made, TextVectorizer) or vocabulary is None else vocabulary.nbytes
        return engines + held + (0 if self._texts is None else self._texts.nbytes)

    @property
    def ids(self) -> list[Hashable]:
        """Ids of the texts that are there, in the order in which they were added."""
        return [self._id(number) for number in self._fitted().ids.tolist()]

    def _id(self, number: int) -> Hashable:
        return number if self._own is None else self._own[number]

    def _number(self, id: Hashable) -> int:  # noqa: A002
        """Number of an id, as the index of the rows knows it."""
        index = self._fitted()
        if self._own is None:
            number = int(id) if hasattr(id, "__index__") and not isinstance(id, bool) else -1  # type: ignore[call-overload]
        else:
            if self._numbers is None:
                there = index.ids.tolist()
                self._numbers = {self._own[number]: number for number in there}
            number = self._numbers.get(id, -1)
        try:
            index._now().locate([number])
        except ValueError:
            raise ValueError(f"there is no text with the id {id!r} in this index") from None
        return number

    def text_of(self, id: Hashable) -> str | None:  # noqa: A002
        """Text of an id; None where texts are not kept.

        Raises
        ------
        ValueError
            An id that is not there.
        """
        number = self._number(id)
        return None if self._texts is None else self._texts[number]

    def search(
        self,
        texts: Any,
        k: int = 10,
        *,
        explain: bool = False,
        recall: float | None = None,
        allowed: Iterable[Hashable] | None = None,
        n_jobs: int | None = None,
    ) -> Any:
        """Find the texts nearest to a query, or to each of several.

        Parameters
        ----------
        texts : str, or iterable of str
        k : int, default 10
            Most hits a query. There are fewer where fewer texts share a term with it, under metrics for which a text
            that shares nothing is at the largest distance.
        explain : bool, default False
            Give each hit its shared terms, and what they add to the score.
        recall : float, optional
            Of `Index.query`, where `method` is not exact.
        allowed : iterable of ids, optional
            Only texts of these ids may be found.
        n_jobs : int, optional

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
        state, vectors, found = self._query(texts, k, recall, allowed, n_jobs)
        record = state.space.bound.metric
        rows = state.space.read(vectors, "Q") if explain or record.worst is None else None
        empty = np.diff(vectors.indptr) == 0 if hasattr(vectors, "indptr") else None
        lists = self._hits(state, rows, found, explain, empty)
        return lists[0] if isinstance(texts, str) else lists

    def query(
        self,
        texts: Any,
        k: int = 10,
        *,
        recall: float | None = None,
        allowed: Iterable[Hashable] | None = None,
        n_jobs: int | None = None,
    ) -> Neighbors:
        """Find the same texts as `search`, as plain arrays: for many queries, several times as fast.

        Parameters
        ----------
        texts, k, recall, allowed, n_jobs
            As in `search`.

        Returns
        -------
        Neighbors
            ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k); one query for one text. Indices are
            numbers of texts, in the order in which they were added: `ids_of` translates them. Texts that share
            nothing with the query are among them.
        """
        _, _, found = self._query(texts, k, recall, allowed, n_jobs)
        return found

    def ids_of(self, indices: Any) -> npt.NDArray[Any]:
        """Ids of texts from their numbers in a result of `query`; None for -1 where ids are your own.

        Parameters
        ----------
        indices : array of int, any shape

        Returns
        -------
        ndarray
            The same shape; int64, or objects where ids are your own.
        """
        self._fitted()
        numbers = np.asarray(indices, np.int64)
        if self._own is None:
            return numbers
        own = np.empty(numbers.size, object)
        own[:] = [None if number < 0 else self._own[number] for number in numbers.ravel().tolist()]
        return own.reshape(numbers.shape)

    def _query(
        self, texts: Any, k: int, recall: float | None, allowed: Iterable[Hashable] | None, n_jobs: int | None
    ) -> tuple[State, Any, Neighbors]:
        """Vectors of queries, their answers, and the state of the index that gave them."""
        index = self._fitted()
        if isinstance(texts, bytes | bytearray):
            raise ValueError("the query is bytes, not str: decode it first, e.g. query.decode('utf-8')")
        queries = [texts] if isinstance(texts, str) else as_texts(texts)
        k = min(check_k(k), max(len(index), 1))
        numbers = None if allowed is None else [self._number(own) for own in allowed]
        vectors = self._made.query_rows(queries)
        found = index.query(vectors, k=k, recall=recall, allowed=numbers, n_jobs=n_jobs)
        return index._now(), vectors, found

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
        index, number = self._fitted(), self._number(id)
        state, k = index._now(), check_k(k)
        row = row_of(state, number)
        found = state.nearest(row, min(k + 1, len(index)), 1, recall=1.0)
        others = np.flatnonzero(found.indices[0] != number)[:k]
        others_only = Neighbors(found.indices[:, others], found.distances[:, others])
        empty = np.diff(row.indptr) == 0 if row.container == "csr" else None
        return self._hits(state, row, others_only, explain, empty)[0]

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
        index = self._fitted()
        if self._texts is None:
            raise ValueError("this index keeps no texts: fit it with keep_texts=True, or use near_duplicates(texts)")
        texts = [self._texts[number] for number in index.ids.tolist()]
        found = near_duplicates(texts, threshold, n_jobs=self.n_jobs if n_jobs is None else n_jobs, **options)
        if not isinstance(found, Duplicates):
            raise ValueError("against= is for near_duplicates: here the texts of the index are compared")
        return found

    def _hits(
        self,
        state: State,
        rows: Rows | None,
        found: Neighbors,
        explain: bool,
        empty: npt.NDArray[np.bool_] | None,
    ) -> HitLists:
        """Hits of queries, without texts that share nothing with them where nothing is farther."""
        worst = state.space.bound.metric.worst
        keep = found.indices >= 0
        if worst is not None:
            keep &= found.distances < np.float32(worst)
            if empty is not None:  # as near to empty texts as can be, which is no answer
                keep[empty] = False
        kept = keep.sum(axis=1).tolist()  # the nearest come first
        every = zip(
            kept, found.indices.tolist(), found.distances.tolist(), self._scores(state, rows, found), strict=True
        )
        lists = HitLists()
        for i, (n, numbers, distances, scores) in enumerate(every):
            numbers = numbers[:n]
            terms: Iterable[Any] = repeat(None)
            if explain:
                reasons = Reasons(state, rows, i)
                terms = [self._terms(*reasons.of(number)) for number in numbers]
            texts = repeat(None) if self._texts is None else map(self._texts.__getitem__, numbers)
            ids = numbers if self._own is None else map(self._own.__getitem__, numbers)
            lists.append(Hits(map(Hit, ids, texts, scores, distances, terms)))
        return lists

    @staticmethod
    def _scores(state: State, rows: Rows | None, found: Neighbors) -> list[list[float]]:
        if state.space.bound.metric.worst is not None:
            scores: list[list[float]] = scores_of(state, found.distances).tolist()
            return scores
        return [
            Reasons(state, rows, i).scores(numbers[numbers >= 0], near[numbers >= 0]).tolist()
            for i, (numbers, near) in enumerate(zip(*found, strict=True))
        ]

    def _terms(self, columns: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
        return tuple(zip(map(self._term, columns.tolist()), shares.tolist(), strict=True))

    def _term(self, column: int) -> str:
        if isinstance(self._made, OutsideVectorizer):
            return self._made.term(column)
        vocabulary = self._made.vocabulary_
        return f"#{column}" if vocabulary is None else str(vocabulary[column])

    def add(self, texts: Any, ids: Iterable[Hashable] | None = None) -> list[Hashable]:
        """Add texts. The vocabulary and its weights stay as they are: unknown terms are left out.

        Parameters
        ----------
        texts : iterable of str
        ids : iterable of hashable, optional
            Needed where `fit` was given ids, refused where it was not.

        Returns
        -------
        list
            Their ids.

        Raises
        ------
        ValueError
            Something that is no text, an id that is there already. The index stays as it was.
        """
        index = self._fitted()
        if isinstance(texts, str | bytes):
            raise ValueError("texts must be a list or another iterable of strings, not one string: put it in a list")
        if (ids is None) != (self._own is None):
            what = "give ids= here too" if ids is None else "leave ids out"
            raise ValueError(f"the texts of this index {'have' if ids is None else 'have no'} ids of your own: {what}")
        given = as_texts(texts)
        own = _check_ids(ids, len(given))
        if own is not None:
            there = set(self.ids)
            again = next((i for i in own if i in there), None)
            if again is not None:
                raise ValueError(f"the id {again!r} is there already: remove it first, or give another")
        if not given:
            return []
        numbers = index.add(self._made.transform(given)).tolist()
        if self._texts is not None:
            self._texts.extend(given)
        if self._own is not None:
            self._own = [*self._own, *(own or [])]
            self._numbers = None
        return [self._id(number) for number in numbers]

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
        if isinstance(ids, str | bytes):
            raise ValueError(f"ids must be a list of ids, got {ids!r}: give [{ids!r}]")
        self._fitted().remove([self._number(own) for own in ids])
        self._numbers = None

    def save(self, path: str | pathlib.Path, *, allow_pickle: bool = False) -> None:
        """Save to a directory: the index, the vocabulary, ids and texts, as JSON and npy.

        Parameters
        ----------
        path : path
            A new directory, an empty one, or one that holds a saved text index, which is replaced.
        allow_pickle : bool, default False
            Let a vectoriser that is not sparsenn's be written by joblib, which is a pickle.

        Raises
        ------
        ValueError
            A vectoriser that only a pickle can hold, ids that are neither all integers nor all strings, a directory
            that holds something else.
        """
        from sparsenn import __version__

        index, arrays = self._fitted()._described()
        about: dict[str, Any] = {"options": {name: getattr(self, name) for name in OPTIONS}, "vectorizer": None}
        if not isinstance(self._made, OutsideVectorizer):
            about["vectorizer"], more = self._made.described()
            arrays |= {f"vectorizer.{name}": array for name, array in more.items()}
        elif allow_pickle:
            arrays["vectorizer.joblib"] = self._made.pickled()
        else:
            raise ValueError(
                f"the vectorizer {type(self._made.vectorizer).__name__} can only be saved by pickle, which runs code "
                "when it is loaded: say allow_pickle=True, or use sparsenn's own TextVectorizer"
            )
        if self._texts is not None:
            arrays["texts.pool"], arrays["texts.starts"] = self._texts.arrays()
        about["ids"] = _pack_ids(self._own, arrays)
        storage.save(path, {"text_index": about, "index": index}, arrays, __version__)

    @classmethod
    def load(cls, path: str | pathlib.Path, *, mmap: bool = False, allow_pickle: bool = False) -> "TextIndex":
        """Load what `save` wrote.

        Parameters
        ----------
        path : path
        mmap : bool, default False
            Map the rows and texts into memory instead of reading them.
        allow_pickle : bool, default False
            Load a vectoriser that was saved by joblib; a warning says so.

        Returns
        -------
        TextIndex

        Raises
        ------
        ValueError
            A directory that is no text index, or one with a pickle where that is not allowed.
        """
        stored = storage.load(path, mmap=mmap)
        about, arrays = stored.contents.get("text_index"), stored.arrays
        if about is None:
            raise ValueError(f"{path} holds no text index: load it with what saved it, e.g. sparsenn.Index.load")
        if about["vectorizer"] is not None:
            mine = {name.removeprefix("vectorizer."): a for name, a in arrays.items() if name.startswith("vectorizer.")}
            made: Any = TextVectorizer.restored(about["vectorizer"], mine, about["options"]["n_jobs"])
        elif allow_pickle:
            made = OutsideVectorizer.unpickled(arrays["vectorizer.joblib"], stacklevel=3)
        else:
            raise ValueError(
                f"{path} holds a vectorizer that is a pickle, which runs code when it is loaded: "
                "say allow_pickle=True if you trust it"
            )
        index = Index._restored(stored.contents["index"], arrays, path, not mmap)
        text_index = cls(metric=index.metric, metric_params=index.metric_params, **about["options"])
        text_index._made, text_index._index = made, index
        if "texts.pool" in arrays:
            text_index._texts = TextPool.of_arrays(arrays["texts.pool"], arrays["texts.starts"])
        text_index._own = _unpack_ids(about["ids"], arrays)
        return text_index

    def __repr__(self) -> str:
        if self._index is None:
            return f"TextIndex({self._made!r}, not fitted)"
        held = 0 if self._texts is None else self._texts.nbytes
        return f"TextIndex({self._made!r}, {len(self):,} texts ({held / 1e6:.1f} MB), {self._index!r})"


def _passing(source: Source, pool: TextPool | None, named: list[Hashable]) -> Iterator[str]:
    """Texts of a source, kept in the pool on the way; ids of its column are collected."""
    seen = 0
    for batch, ids in source.batches:
        texts = as_texts(batch, seen)
        seen += len(texts)
        if pool is not None:
            pool.extend(texts)
        if ids is not None:
            named.extend(ids)
        yield from texts


def _pack_ids(own: Sequence[Hashable] | None, arrays: dict[str, npt.NDArray[Any]]) -> str | None:
    """Put ids among the arrays: what kind they are."""
    if own is None:
        return None
    kinds = {type(i) for i in own}
    if kinds == {str}:
        arrays["ids.pool"], arrays["ids.starts"] = pooled([str(i) for i in own])
        return "str"
    if kinds == {int} and all(-(2**63) <= i < 2**63 for i in own):  # type: ignore[operator]
        arrays["ids.values"] = np.array(own, np.int64)
        return "int"
    odd = next(iter(kinds - {str, int}), int)
    raise ValueError(f"ids can be saved if all are integers of 64 bits, or all are strings: there is {odd.__name__}")


def _unpack_ids(kind: str | None, arrays: dict[str, npt.NDArray[Any]]) -> Sequence[Hashable] | None:
    if kind == "str":
        parts = bytes_of(arrays["ids.pool"], arrays["ids.starts"])
        return [part.decode("utf-8", "surrogatepass") for part in parts]
    if kind == "int":
        found: list[Hashable] = arrays["ids.values"].tolist()
        return found
    return None


def _check_ids(ids: Iterable[Hashable] | None, n: int) -> Sequence[Hashable] | None:
    """Check that ids are n, and all different."""
    if ids is None:
        return None
    given = [own.item() if isinstance(own, np.generic) else own for own in ids]
    if len(given) != n:
        raise ValueError(f"there are {n:,} texts and {len(given):,} ids: give one id for each text")
    rows: dict[Hashable, int] = {}
    for row, own in enumerate(given):
        if own is None or own != own:
            raise ValueError(f"the id of text {row} is missing ({own!r}): give every text one")
        if rows.setdefault(own, row) != row:
            raise ValueError(f"the id {own!r} is given to texts {rows[own]} and {row}: ids must differ")
    return given
