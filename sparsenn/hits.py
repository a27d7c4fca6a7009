"""What a search of texts returns: lists of hits, and tables of them."""

from collections.abc import Hashable, Iterable
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn.corpus import Corpus
from sparsenn.explanation import Reasons, scores_of, sums_terms
from sparsenn.results import Neighbors
from sparsenn.rows import Rows
from sparsenn.state import State


class Hit(NamedTuple):
    """A text that was found.

    Attributes
    ----------
    id : hashable
        The user's own, or the number of the text.
    text : str or None
        None where the index keeps no texts.
    score : float
        What the shared terms are worth; they sum to it. The similarity of cosine and jaccard, BM25's score; see
        `sparsenn.explanation`.
    distance : float
        Under the index's metric; hits are in the order of it.
    terms : tuple of (str, float) or None
        With ``explain=True``: the terms that query and text share, and what each adds to the score, largest first.
    """

    id: Hashable
    text: str | None
    score: float
    distance: float
    terms: tuple[tuple[str, float], ...] | None = None


class Hits(list[Hit]):
    """A list of hits, nearest first, that can become a table.

    Columns are rank (from 1), id, score, distance and text, and terms where they were asked for: lists of
    ``{"term", "share"}``.
    """

    def __init__(self, hits: Iterable[Hit] = (), explained: bool = False):
        super().__init__(hits)
        self.explained = explained

    def columns(self) -> dict[str, list[Any]]:
        """The hits as columns."""
        return _columns([self], False, self.explained)

    def to_pandas(self) -> Any:
        """The hits as a pandas data frame."""
        return _table(self.columns(), "pandas")

    def to_polars(self) -> Any:
        """The hits as a polars data frame."""
        return _table(self.columns(), "polars")

    def to_arrow(self) -> Any:
        """The hits as a pyarrow table."""
        return _table(self.columns(), "pyarrow")


class HitLists(list[Hits]):
    """A list of `Hits`, one for each query, that can become one table: a column `query` has the query's number."""

    def __init__(self, lists: Iterable[Hits] = (), explained: bool = False):
        super().__init__(lists)
        self.explained = explained

    def columns(self) -> dict[str, list[Any]]:
        """All hits as columns."""
        return _columns(self, True, self.explained)

    def to_pandas(self) -> Any:
        """All hits as a pandas data frame."""
        return _table(self.columns(), "pandas")

    def to_polars(self) -> Any:
        """All hits as a polars data frame."""
        return _table(self.columns(), "polars")

    def to_arrow(self) -> Any:
        """All hits as a pyarrow table."""
        return _table(self.columns(), "pyarrow")


def _columns(lists: Iterable[Hits], several: bool, explained: bool) -> dict[str, list[Any]]:
    names = ["query", "rank", "id", "score", "distance", "text", "terms"]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for query, hits in enumerate(lists):
        for rank, hit in enumerate(hits, 1):
            terms = None if hit.terms is None else [{"term": term, "share": share} for term, share in hit.terms]
            cells = (query, rank, hit.id, hit.score, hit.distance, hit.text, terms)
            for name, cell in zip(names, cells, strict=True):
                columns[name].append(cell)
    if not several:
        del columns["query"]
    if not explained and all(terms is None for terms in columns["terms"]):
        del columns["terms"]
    return columns


def _table(columns: dict[str, list[Any]], library: str) -> Any:
    try:
        if library == "pandas":
            import pandas as pd

            return pd.DataFrame(columns)
        if library == "polars":
            import polars as pl

            return pl.DataFrame(columns, strict=False)
        import pyarrow as pa

        kinds = sorted({type(own).__name__ for own in columns["id"]})
        try:
            ids = pa.array(columns["id"])
        except (pa.ArrowException, TypeError, ValueError):
            raise ValueError(
                f"ids of the types {', '.join(kinds)} cannot stand in one column of arrow: use to_pandas"
            ) from None
        return pa.table({**columns, "id": ids})
    except ImportError:
        raise ImportError(f"this table needs {library}: pip install {library}") from None


def make_hits(
    corpus: Corpus,
    state: State,
    rows: Rows | None,
    found: Neighbors,
    explain: bool,
    empty: npt.NDArray[np.bool_] | None,
    signed: bool,
) -> HitLists:
    """Hits of queries, without texts that share nothing with them where nothing is farther; `signed`: the queries."""
    worst = state.space.bound.metric.worst
    keep = found.indices >= 0
    if worst is not None and sums_terms(state):
        if not signed and not any(segment.engine.has_negative for segment in state.segments):
            keep &= found.distances < np.float32(worst)
        if empty is not None:  # as near to empty texts as can be, which is no answer
            keep[empty] = False
    kept = keep.sum(axis=1).tolist()  # the nearest come first
    every = zip(kept, found.indices.tolist(), found.distances.tolist(), _scores(state, rows, found), strict=True)
    lists = HitLists(explained=explain)
    for i, (n, numbers, distances, scores) in enumerate(every):
        numbers = numbers[:n]
        terms: Iterable[Any] = repeat(None)
        if explain:
            reasons = Reasons(state, rows, i)
            terms = [_terms(corpus.made, *reasons.of(number)) for number in numbers]
        texts = repeat(None) if corpus.texts is None else map(corpus.text, numbers)
        ids = numbers if corpus.ids is None else map(corpus.id, numbers)
        lists.append(Hits(map(Hit, ids, texts, scores, distances, terms), explained=explain))
    return lists


def _scores(state: State, rows: Rows | None, found: Neighbors) -> list[list[float]]:
    if state.space.bound.metric.worst is not None:
        scores: list[list[float]] = scores_of(state, found.distances).tolist()
        return scores
    return [
        Reasons(state, rows, i).scores(numbers[numbers >= 0], near[numbers >= 0]).tolist()
        for i, (numbers, near) in enumerate(zip(*found, strict=True))
    ]


def _terms(made: Any, columns: npt.NDArray[np.int64], shares: npt.NDArray[np.float64]) -> tuple[tuple[str, float], ...]:
    return tuple(zip(map(made.term, columns.tolist()), shares.tolist(), strict=True))
