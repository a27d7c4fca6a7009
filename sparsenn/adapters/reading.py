"""Texts and their ids, checked, of whatever holds them."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from sparsenn.adapters.counting import as_texts
from sparsenn.adapters.inputs import Source, open_source
from sparsenn.adapters.pool import TextPool


def passing(source: Source, pool: TextPool | None, named: list[Hashable]) -> Iterator[str]:
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


def read_source(
    texts: Any,
    ids: Iterable[Hashable] | None,
    column: str | None = None,
    id_column: str | None = None,
    split: str | None = None,
) -> tuple[list[str], Iterable[Hashable] | None]:
    """Texts of whatever holds them, and their ids."""
    if ids is not None and id_column is not None:
        raise ValueError("give ids or id_column, not both")
    named: list[Hashable] = []
    given = list(passing(open_source(texts, column, id_column, split), None, named))
    return given, ids if id_column is None else named


def read_queries(texts: Any, column: str | None) -> list[str]:
    """Queries of whatever holds them."""
    if isinstance(texts, list) and column is None:
        return as_texts(texts)
    if isinstance(texts, bytes | bytearray):
        raise ValueError("the query is bytes, not str: decode it first, e.g. query.decode('utf-8')")
    if not isinstance(texts, Iterable):
        raise ValueError(f"a query must be a str, or several in a list, a series or a table, got {texts!r}")
    return read_source(texts, None, column)[0]
