"""An index of texts: fit, search, and the reason for each hit."""

import pathlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.counting import as_texts
from sparsenn.adapters.files import read_texts
from sparsenn.adapters.fitting import warn_of_misfits
from sparsenn.adapters.inputs import Source, load_dataset, open_source
from sparsenn.adapters.outside import OutsideVectorizer
from sparsenn.adapters.pool import TextPool
from sparsenn.adapters.vectorizer import TextVectorizer
from sparsenn.exact import check_k
from sparsenn.explanation import contributions, explains, scores
from sparsenn.hits import Hit, HitLists, Hits
from sparsenn.index import Index
from sparsenn.metrics import resolve


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
        Of `sparsenn.Index`. "auto" makes no neighbour graph: heads of inverted lists and exact search for weighted
        terms, exact search for the rest.
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
        The index of the rows. Row ids count from 0 in the order of the texts.
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
        self._new_index("exact" if method == "auto" else method)
        self._index: Index | None = None
        self._texts: TextPool | None = None
        self._ids: Sequence[Hashable] | None = None
        self._rows: dict[Hashable, int] | None = None

    def _new_index(self, method: str) -> Index:
        return Index(self.metric, self.metric_params, method=method, random_state=self.random_state, n_jobs=self.n_jobs)

    def _method_for(self, rows: Any) -> str:
        """Heads where they may serve; no way makes a graph."""
        record = resolve(self.metric, self.metric_params).metric
        sparse = hasattr(rows, "nnz")
        served = sparse and record.impact and record.worst is not None and (record.norm or record.mass)
        if self.method != "auto":
            return self.method
        return "heads" if served and not record.presence and not (rows.data < 0).any() else "exact"

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
        rows = self._made.fit_transform(_passing(source, pool if self.keep_texts else None, named))
        chosen = _check_ids(named or ids, rows.shape[0])
        warn_of_misfits(
            resolve(self.metric, self.metric_params),
            rows,
            made_for="dot" if self._made.metric == "dot" else None,
            stacklevel=4,
        )
        index = self._new_index(self._method_for(rows)).fit(rows)
        self._index, self._texts, self._ids = index, pool if self.keep_texts else None, chosen
        self._rows = None
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

    def id_of(self, row: int) -> Hashable:
        """Id of a row of `index_`."""
        self._fitted()
        return row if self._ids is None else self._ids[row]

    def row_of(self, id: Hashable) -> int:  # noqa: A002
        """Row of an id in `index_`.

        Raises
        ------
        ValueError
            An id that is not there.
        """
        n = len(self._fitted())
        if self._ids is None:
            row = int(id) if hasattr(id, "__index__") and not isinstance(id, bool) else -1  # type: ignore[call-overload]
            if not 0 <= row < n:
                raise ValueError(f"there is no text with the id {id!r}: ids go from 0 to {n - 1}")
            return row
        if self._rows is None:
            self._rows = {own: row for row, own in enumerate(self._ids)}
        if id not in self._rows:
            raise ValueError(f"there is no text with the id {id!r}")
        return self._rows[id]

    def text_of(self, id: Hashable) -> str | None:  # noqa: A002
        """Text of an id; None where texts are not kept."""
        row = self.row_of(id)
        return None if self._texts is None else self._texts[row]

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
            Of `Index.query`: 1 is exact.
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
        index, one = self._fitted(), isinstance(texts, str)
        if isinstance(texts, bytes | bytearray):
            raise ValueError("the query is bytes, not str: decode it first, e.g. query.decode('utf-8')")
        queries = as_texts([texts] if one else texts)
        k = min(check_k(k), len(index))
        rows = None if allowed is None else [self.row_of(own) for own in allowed]
        if not queries:
            return HitLists()
        vectors = self._made.transform_queries(queries)
        found = index.query(vectors, k=k, recall=recall, allowed=rows, n_jobs=n_jobs)
        lists = self._hits(vectors, found, explain)
        return lists[0] if one else HitLists(lists)

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
        index = self._fitted()
        row = np.array([self.row_of(id)], np.int64)
        k = min(check_k(k), max(len(index) - 1, 1))
        engine = index._engine
        assert engine is not None
        found = engine.nearest_of(row, k, 1)
        return self._hits_of(engine.own()[0], int(row[0]), found.indices[0], found.distances[0], explain)

    def _hits(self, vectors: Any, found: Any, explain: bool) -> list[Hits]:
        engine = self._fitted()._engine
        assert engine is not None
        needed = explain or engine.space.bound.metric.worst is None
        x = engine.as_queries(engine.space.read(vectors, "Q")) if needed and self._explains() else None
        return [
            self._hits_of(x, i, ids, distances, explain)
            for i, (ids, distances) in enumerate(zip(found.indices, found.distances, strict=True))
        ]

    def _explains(self) -> bool:
        engine = self._fitted()._engine
        return engine is not None and explains(engine.space.bound.metric, engine.space.container)

    def _hits_of(
        self, x: Any, i: int, rows: npt.NDArray[np.int64], distances: npt.NDArray[np.float32], explain: bool
    ) -> Hits:
        engine = self._fitted()._engine
        assert engine is not None
        record, space, y = engine.space.bound.metric, engine.space, engine.own()[0]
        keep = rows >= 0
        if record.worst is not None:
            keep &= distances < np.float32(record.worst)
        rows, distances = rows[keep], distances[keep]
        if not self._explains():
            if explain:
                raise ValueError(
                    f"{record.name} on {space.container} rows is no sum over shared terms: leave out explain"
                )
            points = -distances.astype(np.float64)
        else:
            points = scores(space, x, i, y, rows, distances)
        hits = Hits()
        for row, distance, score in zip(rows.tolist(), distances.tolist(), points.tolist(), strict=True):
            terms = None
            if explain:
                columns, shares = contributions(space, x, i, y, row)
                terms = tuple(zip(self._names(columns), shares.tolist(), strict=True))
            text = None if self._texts is None else self._texts[row]
            hits.append(Hit(self.id_of(row), text, score, distance, terms))
        return hits

    def _names(self, columns: npt.NDArray[np.int64]) -> list[str]:
        """Terms of columns as the engine numbers them."""
        engine = self._fitted()._engine
        assert engine is not None
        if engine.rank is not None:
            if getattr(self, "_ranked_for", None) is not engine:
                self._by_rank, self._ranked_for = np.argsort(engine.rank), engine
            columns = self._by_rank[columns]
        if isinstance(self._made, OutsideVectorizer):
            return [self._made.term(int(column)) for column in columns]
        vocabulary = self._made.vocabulary_
        return [f"#{column}" if vocabulary is None else vocabulary[int(column)] for column in columns]

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
