"""Whether the arrays of a saved index fit together: compiled code trusts what points into them.

Everything is compared before it is followed: types and lengths, where rows and lists begin, that rows, columns and
places are within bounds, that orders have each row once. An array that holds other numbers within these bounds is
another index, not a broken one.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.compact import WORD
from sparsenn.distance import BLOCK, Space, Store
from sparsenn.exact import ExactEngine
from sparsenn.names import IntNames, Names
from sparsenn.patterns import Patterns
from sparsenn.postings import Postings
from sparsenn.rows import Rows
from sparsenn.search import word_bits
from sparsenn.state import State

# Types of the fields, in their order; with dimensions where there is not one, "-" for numbers.
LAYOUTS = {
    "Rows": "i8 i4 f4",
    "Store": "i8 i4 f4 f8:2",
    "Postings": "i8 u4 f4 i8 f4:2 i8:2 i4 f4 f8:2",
    "Patterns": "- u2 u8 f8:2 u2 i8 u4 f8:2",
    "Heads": "i8 u4 - - f8:2",
    "Links": "i4:2 i4 i4 -",
    "Neighbors": "i8:2 f4:2",
    "Basis": "f8 f4:2 - - - -",
}
PIECE = 2**16  # values compared at once
CODES = {"uint8": 1, "uint16": 2, "float32": 4}  # bytes of a value


def check_rows(what: str, rows: Rows | Store, n: int, m: int, container: str) -> None:
    """Compare the parts of rows with one another.

    Raises
    ------
    ValueError
        If anything is out of range, here and below.
    """
    _check_layout(what, rows)
    indptr, indices, data = rows.indptr, rows.indices, rows.data
    _check_starts(what, indptr, n, len(data))
    _check_range(f"columns of {what}", indices, 0, m)
    _check_columns(what, indptr, indices, len(data), m, container)
    if container != "bits":
        _check_finite(what, data)
    if isinstance(rows, Store):
        _check(rows.stats.shape[1] == n, f"statistics are not those of {what}")


def _check_columns(what: str, indptr: Any, indices: Any, total: int, m: int, container: str) -> None:
    """Compare columns with values: one for each, or the same of all rows."""
    width = len(indices)
    sound = total == width
    if container != "csr":
        sound = bool((np.diff(indptr) == width).all()) and np.array_equal(indices, np.arange(width))
        sound = sound and width == (-(-m // 32) if container == "bits" else m)
    _check(sound, f"{what} have other columns than values")


def check_engine(engine: ExactEngine) -> None:
    """Check rows that are prepared for exact search."""
    space, n, m = engine.space, engine.n_rows, engine.space.n_features
    store = engine._store
    check_rows("rows", store, n, m, space.container)
    _check(len(store.stats) == _n_statistics(space), "statistics are not those of the metric")
    ways = ("postings", "blocks") if space.container == "csr" and space.termwise else ("products", "blocks")
    _check(engine.way in ways, "the way of exact search is not one of these rows")
    if engine.way == "products":
        _check_layout("norms", (engine._norms,), "f4")
        _check(len(engine._norms) == n, "norms are not those of the rows")
    if engine.way != "postings":
        return
    _check_postings(engine.postings, store, n, m)
    check_rank(engine.rank, m)
    _check_layout("columns", (engine.own_few,), "?")
    few = engine._meeting_few(space.compiled, store, engine.postings)
    _check(np.array_equal(engine.own_few, few), "rows that meet few others are not those that do (own_few)")
    if engine.patterns is not None:
        _check_patterns(engine.patterns, store, n)


def check_held(rows: Rows, rank: Any, space: Space) -> None:
    """Check rows whose columns an engine numbered, whose `check_rows` were well."""
    check_rank(rank, space.n_features)
    _check(rows.container == "csr" and space.termwise, "columns are numbered, but have no lists")
    for begin in range(1, len(rows.indices), PIECE):
        piece = rows.indices[begin - 1 : begin + PIECE]
        falls = np.flatnonzero(piece[1:] <= piece[:-1]) + begin  # may be where rows begin only
        place = np.searchsorted(rows.indptr, falls)
        _check(np.array_equal(rows.indptr[place], falls), "columns of rows do not rise")


def check_rank(rank: Any, m: int) -> None:
    """Check the numbers that an engine gives to columns."""
    _check_layout("columns", (rank,), "i4")
    _check_order("columns are not numbered one by one", rank, m)


def _n_statistics(space: Space) -> int:
    """How many statistics a row has."""
    none = np.zeros(0, np.int32)
    with np.errstate(all="ignore"):
        return len(space.store_of(np.zeros(2, np.int64), none, none.astype(np.float32)).stats)


def _check_postings(postings: Postings, store: Store, n: int, m: int) -> None:
    _check_layout("inverted lists", postings)
    tiers, starts = len(postings.cuts), store.indptr
    _check_starts("inverted lists", postings.indptr, m, len(postings.ids))
    _check_range("inverted lists", postings.ids, 0, n)
    _check(len(postings.values) == len(postings.ids), "inverted lists have other rows than values")
    _check_finite("inverted lists", postings.values)
    _check(postings.rest.shape == postings.ends.shape == (tiers, n), "tiers are not of all rows")
    _check(bool(((postings.ends >= starts[:-1]) & (postings.ends <= starts[1:])).all()), "tiers end in other rows")
    _check_range("tiers", postings.cuts, 0, m + 1)
    _check(tiers > 0 and bool((np.diff(postings.cuts) > 0).all()), "tiers do not follow one another")
    _check(len(postings.mark_rows) == len(postings.mark_values) <= m, "marks are not those of the lists")
    _check_range("marks", postings.mark_rows, -1, n)
    _check(postings.extremes.shape == (2, 2), "extremes are not those of two statistics")


def _check_patterns(patterns: Patterns, store: Store, n: int) -> None:
    _check_layout("patterns", patterns)
    many = len(patterns.groups)
    _check(len(patterns.kinds) == n and len(patterns.which) == many, "patterns are not of all rows")
    _check_range("patterns", patterns.kinds, 0, many)
    sizes = np.arange(patterns.sizes.shape[1])
    _check(np.array_equal(np.unique(patterns.which), sizes), "patterns have other sizes than groups")
    _check_starts("patterns", patterns.starts, many, n)
    _check_order("patterns do not have each row once", patterns.members, n)
    _check(patterns.stats.shape == (len(store.stats), many), "patterns have other statistics than rows")
    _check(len(patterns.sizes) == len(store.stats), "patterns have other statistics than rows")
    _check(0 < patterns.width <= 64, "patterns are wider than a word")


def check_search(
    engine: ExactEngine, form: str, x: Store, z: Store, params: Any, basis: Any, order: Any, heads: Any, links: Any
) -> None:
    """Check what approximate search is made of."""
    n, m = engine.n_rows, engine.space.n_features
    check_walk(n, order, links)
    _check_form(engine, form, x, z, params, basis)
    if heads is not None:
        _check_layout("heads", heads)
        _check_starts("heads", heads.indptr, m, len(heads.words))
        _check(heads.shift == word_bits(n) > 0, "heads have other words than the rows need")
        _check_range("heads", heads.words, 0, n, heads.shift)
        _check(heads.extremes.shape == (2, 2), "extremes are not those of two statistics")


def check_degrees(n: int, width: int, links: Any) -> None:
    """Check links that stand one after another, up to `width` for each of `n` rows."""
    _check_layout("links", (links.ids, links.degrees), "i4 i4")
    _check(0 < width <= BLOCK and len(links.degrees) == n, "links are not of all rows")
    _check_range("links", links.degrees, 0, width + 1)
    _check(int(links.degrees.sum(dtype=np.int64)) == len(links.ids), "links are other ones than their numbers tell")


def check_walk(n: int, order: Any, links: Any) -> None:
    """Check the order of a search among `n` rows, and the links along which it walks."""
    _check_layout("the order of the search", (order,), "i8")
    _check_order("the order of the search is not one of the rows", order, n)
    if links is not None:
        _check_layout("links", links)
        ids, degrees, entries, always = links
        _check(len(ids) == len(degrees) == n and ids.shape[1] <= BLOCK, "links are not of all rows")
        _check_range("links", degrees, 0, ids.shape[1] + 1)
        _check_range("links", ids[np.arange(ids.shape[1]) < degrees[:, None]], 0, n)
        _check_range("links", entries, 0, n)
        _check(0 <= always <= len(entries), "links have other entries than they say")


def _check_form(engine: ExactEngine, form: str, x: Store, z: Store, params: Any, basis: Any) -> None:
    """Check rows in the form in which they are measured."""
    n, m, container = engine.n_rows, engine.space.n_features, engine.space.container
    own, statistics = len(engine.space.compiled.params), len(engine._store.stats)
    _check_layout("parameters", (params,), "f8")
    _check(bool(np.isfinite(params).all()), "parameters are no numbers")
    if basis is not None:
        _check_layout("the basis", basis)
        _check(len(params) == own + 1, "parameters are not those of sketches")
        width = basis.width // 4
        sound = basis.axes.shape == (len(basis.mean), min(basis.width, m)) and len(basis.mean) == m
        sound = sound and basis.width == 4 * width > 0
        _check(sound and bool(np.isfinite(basis.axes).all()), "the basis is not one of the columns")
        moved = isinstance(basis.factor, float) and np.isfinite(basis.factor) and not (basis.factor and basis.centred)
        _check(moved, "the basis does not say how rows were moved")
        statistics = 2 if basis.centred else statistics
        words = x._replace(data=np.zeros_like(x.data))  # bytes are no numbers of four bytes
        check_rows("sketches", words, n, width, "dense")
    else:
        check_rows("the form", x, n, m, container)
        _check_layout("the form", z)
    if form == "packed words":
        bits = WORD - max(int(m - 1).bit_length(), 1)
        _check(len(params) == own + 4 and params[-4] == bits, "parameters are not those of packed words")
        _check_starts("the form", z.indptr, n, len(z.data))
        _check_columns("the form", z.indptr, z.indices, len(z.data), m, container)
        _check_range("columns of the form", z.indices.view(np.uint32), 0, m, bits)
    elif form.startswith("values as "):
        held, values = CODES[form.removeprefix("values as ")], n * m
        values = values if held == 4 else -(-values // 4) * 4
        _check(len(params) == own + 2, "parameters are not those of codes")
        _check_starts("the form", z.indptr, n, n * m)
        _check_columns("the form", z.indptr, z.indices, n * m, m, container)
        _check(4 * len(z.data) == held * values, "the form has other values than the rows")
    elif basis is None:
        _check(len(params) == own, "parameters are not those of the metric")
        check_rows("the form", z, n, m, container)
    for store in (x, z):
        _check(store.stats.shape == (statistics, n), "statistics of the form are not those of the metric")


def check_state(state: State) -> None:
    """Check what is told of the rows: numbers, ids, graph; the engines have been checked."""
    for segment in state.segments:
        n = segment.n_rows
        if segment.numbers is not None:
            _check_layout("numbers", (segment.numbers,), "i8")
            _check(len(segment.numbers) == n and bool((np.diff(segment.numbers) > 0).all()), "rows are not numbered")
            _check_range("numbers", segment.numbers, 0, state.next_number)
        if segment.live is not None:
            _check_layout("rows that are left", (segment.live,), "?")
            _check(len(segment.live) == n, "rows that are left are not marked one by one")
        if segment.names is not None:
            numbered = isinstance(segment.names, IntNames)
            _check_layout("ids", segment.names.parts().values(), "i8 i8" if numbered else "u1 i8 u8 i8")
            _check(len(segment.names) == n, "there is not one id for each row")
            _check_order("ids are not in an order", segment.names.order, n)
            _check_names(segment.names)
    _check(bool((np.diff(state.numbers) > 0).all()), "two rows have one number")
    n, space = state.base.engine.n_rows, state.space
    if state.graph is not None:
        _check_layout("the graph", state.graph)
        _check(len(state.graph.indices) == n, "the graph is not of all rows")
        _check_range("the graph", state.graph.indices, -1, n)
        _check(state.graph.indices.shape == state.graph.distances.shape, "the graph has other edges than distances")
    if state.given is not None:
        _check_layout("the graph that was given", (state.given,), "i4:2")
        _check(len(state.given) == n, "the graph that was given is not of all rows")
        _check_range("the graph that was given", state.given, -1, n)
    learnt = state.answers._learnt
    if learnt is not None:
        check_rows("queries to learn from", learnt, learnt.shape[0], space.n_features, space.container)


def _check_names(names: Names) -> None:
    """Check that ids are found by what they are looked up in."""
    if isinstance(names, IntNames):
        by_size = names.values[names.order]
        _check(bool((by_size >= 0).all() and (by_size[1:] > by_size[:-1]).all()), "ids are not in their order")
    else:
        _check_starts("ids", names.starts, len(names), len(names.blob))
        rising = bool((names.hashes[1:] >= names.hashes[:-1]).all())
        _check(len(names.hashes) == len(names) and rising, "hashes of ids are not in their order")


def _check(sound: bool, what: str) -> None:
    if not sound:
        raise ValueError(f"the arrays of the saved index do not fit together: {what}")


def _check_layout(what: str, value: Any, layout: str | None = None) -> None:
    """Compare types and dimensions."""
    if isinstance(value, Rows):
        fields: Any = (value.indptr, value.indices, value.data)
    else:
        fields = value
    for array, form in zip(fields, (layout or LAYOUTS[type(value).__name__]).split(), strict=True):
        kind, _, axes = form.partition(":")
        if kind != "-":
            sound = isinstance(array, np.ndarray) and array.dtype == np.dtype(kind) and array.ndim == int(axes or 1)
            _check(sound, f"{what}: an array is of another type or shape")


def _check_starts(what: str, starts: npt.NDArray[Any], n: int, total: int) -> None:
    sound = len(starts) == n + 1 and starts[0] == 0 and starts[-1] == total and bool((np.diff(starts) >= 0).all())
    _check(sound, f"{what} do not begin one after another")


def _check_order(what: str, order: npt.NDArray[Any], n: int) -> None:
    _check(np.array_equal(np.sort(order), np.arange(n)), what)


def _check_range(what: str, values: npt.NDArray[Any], low: int, high: int, shift: int = 0) -> None:
    """Compare with bounds what stands above the lowest `shift` bits."""
    for part in _pieces(values):
        part = part >> np.uint32(shift) if shift else part
        _check(bool(part.min() >= low and part.max() < high), f"{what} point beyond what there is")


def _check_finite(what: str, values: npt.NDArray[Any]) -> None:
    for part in _pieces(values):
        _check(bool(np.isfinite(part).all()), f"{what} have values that are no numbers")


def _pieces(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """Cut an array into pieces that stay in cache, with what is computed of them."""
    flat = values.reshape(-1)
    return (flat[begin : begin + PIECE] for begin in range(0, len(flat), PIECE))
