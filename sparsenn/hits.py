"""What a search of texts returns: lists of hits, and tables of them."""

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple


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

    def columns(self) -> dict[str, list[Any]]:
        """The hits as columns."""
        return _columns([self], False)

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

    def columns(self) -> dict[str, list[Any]]:
        """All hits as columns."""
        return _columns(self, True)

    def to_pandas(self) -> Any:
        """All hits as a pandas data frame."""
        return _table(self.columns(), "pandas")

    def to_polars(self) -> Any:
        """All hits as a polars data frame."""
        return _table(self.columns(), "polars")

    def to_arrow(self) -> Any:
        """All hits as a pyarrow table."""
        return _table(self.columns(), "pyarrow")


def _columns(lists: Iterable[Hits], several: bool) -> dict[str, list[Any]]:
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
    if all(terms is None for terms in columns["terms"]):
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

        return pa.table(columns)
    except ImportError:
        raise ImportError(f"this table needs {library}: pip install {library}") from None
