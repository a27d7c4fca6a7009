"""Exact nearest neighbours: the engine, and the functions that need no index.

The engine takes the way that fits the metric and the rows: a term at a time over postings
(`termwise`; `patterns`, for sets with columns that most have), inner products through BLAS, or whole
rows in blocks (`blockwise`).
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import blockwise, termwise
from sparsenn._jit import direct
from sparsenn.distance import BY_NORM, Compiled, Space, Store, take
from sparsenn.filters import NO_FILTER, Filter
from sparsenn.parallel import ForkLock, cached, count_jobs, map_blocks
from sparsenn.patterns import Patterns, group_rows, nearest_by_patterns, within_by_patterns
from sparsenn.postings import Postings, add_marks, add_tiers, invert, rank_columns, renumber, renumber_in_place
from sparsenn.results import Neighbors, RaggedNeighbors
from sparsenn.rows import QUICK_ROWS, QUICK_VALUES, Rows, as_rows, read_quickly

Tick = Callable[[int], object] | None
READ_AT_ONCE = 1024  # rows copied by one thread
MULTIPLIED = 24  # queries of one product, which reads all rows
PRODUCTS = 2**23  # inner products held at once by one thread: 32 MiB
ALL: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # eligible rows of each query: all


class _OneBlasThread:
    """Inside, BLAS uses one thread: the blocks are the threads. One caller at a time."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._controller: Any = None
        self._limit: Any = None

    def __enter__(self) -> None:
        self._lock.acquire()  # held until the end: BLAS's number of threads is one for the whole process
        if self._controller is None:
            from threadpoolctl import ThreadpoolController

            self._controller = ThreadpoolController()
        self._limit = self._controller.limit(limits=1, user_api="blas")

    def __exit__(self, *error: object) -> None:
        self._limit.restore_original_limits()
        self._lock.release()


one_blas_thread = _OneBlasThread()


class ExactEngine:
    """Rows prepared for exact search under one metric.

    Parameters
    ----------
    space : Space
    rows : Rows
        Read by ``space.read``; the engine takes their arrays over.
    n_jobs : int, optional
        Threads of the preparation.
    lists : bool, default True
        Whether to make inverted lists, where they can be searched: they take time and room for each column.
    rank : ndarray of int32, optional
        The engine's number of each column, by which those of the rows have been renumbered before.
    """

    learnt: Any = None  # what making a graph of these rows told (`compact.Learnt`)

    def __init__(
        self,
        space: Space,
        rows: Rows,
        n_jobs: int | None = None,
        lists: bool = True,
        rank: npt.NDArray[np.int32] | None = None,
    ):
        self.space = space
        self.n_rows = len(rows)
        self.has_negative = rows.has_negative
        self.rank: npt.NDArray[np.int32] | None = None
        self.patterns: Patterns | None = None
        self._spare: list[Any] = []
        if rows.container == "csr" and space.termwise and lists:
            self.way = "postings"
            self.rank = rank_columns(rows) if rank is None else rank
            postings = invert(rows, space.n_features, self.rank if rank is None else None, n_jobs)
            self._store = space.store(renumber_in_place(rows, postings, n_jobs) if rank is None else rows)
            self._own_few = self._meeting_few(space.compiled, self._store, postings)
            self._marked: dict[int, Postings] = {}
            self._postings = add_tiers(postings, self._store, space.compiled)
            record = space.bound.metric
            if record.presence and record.mass is not None and record.statistics[:1] == (record.mass,):
                self.patterns = group_rows(postings, self._store, self._own_few, self.work)
            return
        self._store = space.store(rows)
        self.way = "blocks"
        if rows.container == "dense" and space.inner_product:
            self._norms = blockwise.all_norms(self._store, n_jobs)
            self.way = "products" if _moderate(self._norms) else "blocks"

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays held."""
        arrays = list(self._store) + (list(self._postings) if self.way == "postings" else [])
        arrays += list(self.patterns or ())[1:]
        return sum(a.nbytes for a in arrays)

    @cached
    def columns(self) -> npt.NDArray[np.int32]:
        """The user's number of each column; made once, for it takes time and room for all of them."""
        assert self.rank is not None
        return inverse_of(self.rank)

    @property
    def values_per_row(self) -> float:
        """Stored values of an average row."""
        return len(self._store.data) / max(self.n_rows, 1)

    @property
    def has_heads(self) -> bool:
        """Whether the nearest rows share a term, and one shared term orders rows alike."""
        compiled = self.space.compiled
        return self.way == "postings" and bool(compiled.impact and compiled.bound_sum) and not self.has_negative

    @property
    def prunes(self) -> bool:
        """Whether a bound by norms lets searches leave out common terms."""
        return self.space.compiled.bound == BY_NORM and len(self.postings.cuts) > 1

    @property
    def postings(self) -> Postings:
        """Inverted lists of the rows."""
        return self._postings

    @property
    def lengths(self) -> npt.NDArray[np.float64]:
        """Length of each list."""
        lengths: npt.NDArray[np.float64] = np.diff(self._postings.indptr).astype(np.float64)
        return lengths

    @property
    def work(self) -> npt.NDArray[np.int64]:
        """Postings that each row's terms have."""
        found: npt.NDArray[np.int64] = termwise.count_postings(
            self._store.indptr, self._store.indices, self._postings.indptr
        )
        return found

    @property
    def own_few(self) -> npt.NDArray[np.bool_]:
        """Rows that meet few others."""
        return self._own_few

    def as_queries(self, queries: Rows, n_jobs: int | None = 1) -> Store:
        """Queries as rows of the engine, read by `n_jobs` threads."""
        return self.own(queries, n_jobs)[0]

    def quick_queries(self, data: Any) -> Store | None:
        """A few CSR rows as queries, the short way; None where the long one is needed."""
        if self.rank is None or self.space.transforms or getattr(data, "format", "") != "csr" or data.ndim != 2:
            return None
        n, m = data.shape
        values, indices, indptr = data.data, data.indices, data.indptr
        size = len(indices)
        if n > QUICK_ROWS or m != len(self.rank) or values.dtype.char not in "fd":
            return None
        if size > QUICK_VALUES or len(values) != size or indices.dtype.char not in "ilq" or indptr[-1] != size:
            return None
        if indices.dtype.char != "i" and size and not 0 <= indices.min() <= indices.max() < m:
            return None
        # one type, one compilation; values of either width as bytes, for numpy gives the GIL away while it converts
        indptr, indices, values = _plain(indptr, "i"), _plain(indices, "i"), _plain(values, values.dtype.char).view("B")
        starts, columns, narrow = np.empty(n + 1, np.int64), np.empty(size, np.int32), np.empty(size, np.float32)
        if not direct(read_quickly)(indptr, indices, values, self.rank, starts, columns, narrow):
            return None
        return self.space.store_of(starts, columns, narrow)

    def own(self, queries: Rows | None = None, n_jobs: int | None = 1) -> tuple[Store, Compiled]:
        """Queries (None: the rows themselves) as compiled code sees them, and the metric for them among the rows."""
        if queries is None:
            own, negative = self._store, self.has_negative
        else:
            own = self.space.store(queries if self.rank is None else renumber(queries, self.rank, n_jobs))
            negative = self.has_negative or queries.has_negative
        return own, self.space.compiled_for(own, self._store, negative)

    def nearest(
        self, queries: Rows | None, k: int, n_jobs: int | None, tick: Tick = None, filter: Filter | None = None
    ) -> Neighbors:
        """The k nearest rows of each query; with None, of each row among the others.

        A filter is for queries, and says which rows each of them may find.
        """
        x, metric = self.own(queries, n_jobs)
        if filter is None:
            return self._nearest(x, metric, k, n_jobs, queries is None, tick)
        n = x.indptr.shape[0] - 1
        indices, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
        for ids, way, part in self._parts(x, metric, filter, k):
            found = self._nearest(take(x, ids), metric, k, n_jobs, False, tick, part, way)
            indices[ids], distances[ids] = found
        return Neighbors(indices, distances)

    def query_costs(self, x: Store) -> npt.NDArray[np.float64] | None:
        """Predicted nanoseconds of each query, beside what any takes; None where all take the same."""
        if self.way != "postings" or self.patterns is not None:
            return None
        return self._scan_costs(x, self.may_meet_few, ALL, 1)

    @cached
    def may_meet_few(self) -> bool:
        """Whether queries of few postings can be answered by the rows they meet."""
        return not math.isnan(self.space.compiled.worst) and not self.has_negative

    def _scan_costs(
        self, x: Store, may_meet_few: bool, eligible: npt.NDArray[np.int64], k: int
    ) -> npt.NDArray[np.float64]:
        step, finish = self.space.bound.metric.cost
        cost = (float(step), float(finish))
        starts = self._postings.indptr
        costs: npt.NDArray[np.float64] = direct(termwise.scan_costs)(  # the types never vary
            x.indptr, x.indices, starts, may_meet_few, eligible, k, self.n_rows, cost, self.prunes
        )
        return costs

    def nearest_to(self, x: Store, k: int, n_jobs: int | None) -> Neighbors:
        """The k nearest rows of queries that are rows of the engine's kind, without values below 0 if it has none."""
        return self._nearest(x, self.space.compiled_for(x, self._store, self.has_negative), k, n_jobs, False)

    def nearest_of(self, ids: npt.NDArray[np.int64], k: int, n_jobs: int | None) -> Neighbors:
        """The k nearest rows of some of the rows, each among the others."""
        y, metric = self.own(None)
        x = take(y, ids)
        indices, distances = self._nearest(x, metric, k + 1, n_jobs, False)
        place = (indices == ids[:, None]).argmax(axis=1)  # of itself, or the last of rows as near with lower ids
        place[~(indices == ids[:, None]).any(axis=1)] = k
        kept = np.arange(k + 1) != place[:, None]
        return Neighbors(indices[kept].reshape(-1, k), distances[kept].reshape(-1, k))

    def _nearest(
        self,
        x: Store,
        metric: Compiled,
        k: int,
        n_jobs: int | None,
        skip: bool,
        tick: Tick = None,
        filter: Filter = NO_FILTER,
        way: str | None = None,
    ) -> Neighbors:
        way = way or self._way_for(x)
        n = x.indptr.shape[0] - 1
        indices, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
        held = min(k, self.n_rows)  # no memory for more than there can be
        found, near = (indices, distances) if held == k else (indices[:, :held].copy(), distances[:, :held].copy())
        m = self.space.n_features
        few = self._few(metric, x, way)
        some = few.any() if n > 1 else bool(n and way == "postings" and few[0])
        all_ = few.all() if n > 1 else some
        alone = n == 1 and filter is NO_FILTER and held == k  # then the types never vary, and microseconds count
        quick = direct if alone else _as_it_is
        marked = self._postings_for(held, n_jobs) if some or way == "patterns" else None
        listing = blockwise.list_rows(filter, self.n_rows, n) if way == "blocks" else None

        def block(start: int, stop: int) -> None:
            if way == "patterns":
                nearest_by_patterns(metric, x, self._store, marked, self.patterns, start, stop, skip, found, near)
            elif way == "postings":
                ws = self._open(alone, m, filter)
                if some:
                    nearest = quick(termwise.nearest_few)
                    nearest(metric, x, self._store, marked, ws, start, stop, few, skip, found, near)
                if not all_:
                    nearest = quick(termwise.nearest_many)
                    nearest(metric, x, self._store, self._postings, ws, start, stop, few, skip, found, near)
                if alone:
                    self._spare.append(ws)
            elif way == "blocks":
                ws = self._open(alone, m, NO_FILTER)
                blockwise.nearest_blockwise(metric, x, self._store, listing, ws, start, stop, skip, found, near)
                if alone:
                    self._spare.append(ws)
            else:
                for at, products, error in self._products(x, start, stop):
                    blockwise.nearest_of_products(
                        metric, x, self._store, products, self._norms, error, filter, at, skip, found, near
                    )

        self._map(way, block, n, n_jobs, tick)
        if held < k:
            indices[:], distances[:] = -1, np.inf
            indices[:, :held], distances[:, :held] = found, near
        return Neighbors(indices, distances)

    def within(
        self, queries: Rows | None, radius: float, n_jobs: int | None, filter: Filter | None = None
    ) -> RaggedNeighbors:
        """All rows within `radius` of each query; with None, of each row among the others.

        A filter is for queries, and says which rows each of them may find.
        """
        x, metric = self.own(queries, n_jobs)
        if filter is None:
            found = self._within(x, metric, radius, n_jobs, queries is None)
            return RaggedNeighbors(_starts(found[0]), *found[1:])
        order, parts = [np.zeros(0, np.int64)], [_nothing()]
        for ids, way, part in self._parts(x, metric, filter, 0):
            order.append(ids)
            parts.append(self._within(take(x, ids), metric, radius, n_jobs, False, part, way))
        counts, ids, distances = (np.concatenate(p) for p in zip(*parts, strict=True))
        back = np.argsort(np.concatenate(order))
        indptr = _starts(counts[back])
        places = np.arange(len(ids)) + np.repeat(_starts(counts)[:-1][back] - indptr[:-1], counts[back])
        return RaggedNeighbors(indptr, ids[places], distances[places])

    def _within(
        self,
        x: Store,
        metric: Compiled,
        radius: float,
        n_jobs: int | None,
        skip: bool,
        filter: Filter = NO_FILTER,
        way: str | None = None,
    ) -> tuple[Any, Any, Any]:
        """How many rows are within `radius` of each query, which, and their distances."""
        way = way or self._way_for(x)
        n, m, y = x.indptr.shape[0] - 1, self.space.n_features, self._store
        with np.errstate(over="ignore"):
            narrow = np.float32(radius)
        limit = self.space.surrogate_of(float(np.nextafter(narrow, np.float32(np.inf))))
        limit += abs(limit) * termwise.LOOSE + metric.noise
        few = self._few(metric, x, way)
        listing = blockwise.list_rows(filter, self.n_rows, n) if way == "blocks" else None
        p, patterns = (self._postings if self.way == "postings" else None), self.patterns

        def block(start: int, stop: int) -> list[tuple[Any, Any, Any]]:
            if way == "patterns":
                return [within_by_patterns(metric, x, y, p, patterns, start, stop, skip, limit, narrow)]
            if way == "postings":
                return [termwise.within_termwise(metric, x, y, p, filter, m, start, stop, few, skip, limit, narrow)]
            if way == "blocks":
                return [blockwise.within_blockwise(metric, x, y, listing, m, start, stop, skip, limit, narrow)]
            return [
                blockwise.within_products(metric, x, y, products, self._norms, error, filter, at, skip, limit, narrow)
                for at, products, error in self._products(x, start, stop)
            ]

        parts = [part for parts in self._map(way, block, n, n_jobs) for part in parts] or [_nothing()]
        counts, ids, distances = (np.concatenate(p) for p in zip(*parts, strict=True))
        return counts, ids, distances

    def _parts(
        self, x: Store, metric: Compiled, filter: Filter, k: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], str, Filter]]:
        """Queries that are answered one way: their numbers, the way, and their part of the filter."""
        way = self._way_for(x, filtered=True)
        scan, listed = self._costs(x, metric, filter, k, way)
        by_list = listed <= scan
        for chosen, how in ((by_list, "blocks"), (~by_list, way)):
            ids = np.flatnonzero(chosen)
            if ids.size:
                ids = ids[np.argsort(filter.wanted[ids], kind="stable")]  # queries of a label read the same rows
                yield ids, how, filter._replace(wanted=filter.wanted[ids])

    def predict(self, queries: Rows, filter: Filter, k: int) -> float:
        """Nanoseconds that the answers would take on one thread, beside what each query costs in any case."""
        x, metric = self.own(queries)
        scan, listed = self._costs(x, metric, filter, k, self._way_for(x, filtered=True))
        return float(np.minimum(scan, listed).sum())

    def _costs(
        self, x: Store, metric: Compiled, filter: Filter, k: int, way: str
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Nanoseconds of each query: by a scan of all rows, and by a list of the eligible ones."""
        n = self.n_rows
        eligible = blockwise.count_labels(filter)[filter.wanted]
        row = blockwise.row_cost(self.space, self.values_per_row)
        listed = eligible * row
        if way == "postings":
            return self._scan_costs(x, metric.worst == metric.worst, eligible, k), listed
        if way == "products":
            row = blockwise.PRODUCT * self.values_per_row + termwise.FINISH_ROW
        return np.full(len(listed), n * row), listed

    def _products(self, x: Store, start: int, stop: int) -> Any:
        """Blocks of float32 inner products with all rows: (first row, products, bound of their relative error)."""
        width = self._store.indices.shape[0]
        matrix = self._store.data.reshape(self.n_rows, width)
        queries = x.data.reshape(x.indptr.shape[0] - 1, width)
        error = (width + 1) * 2.0**-24
        size = max(PRODUCTS // max(self.n_rows, 1), 1)
        for at in range(start, stop, size):
            yield at, queries[at : min(at + size, stop)] @ matrix.T, error

    def _way_for(self, x: Store, filtered: bool = False) -> str:
        """Way to answer these queries: float32 products must neither overflow nor vanish."""
        if self.way == "products" and x is not self._store and not _moderate(blockwise.all_norms(x)):
            return "blocks"
        return "patterns" if self.patterns is not None and not filtered else self.way

    def _open(self, alone: bool, n_features: int, filter: Filter) -> Any:
        """Memory for one thread; that of a query alone is kept for the next."""
        try:
            if alone:
                return self._spare.pop()  # one thread gets it: no lock
        except IndexError:
            pass
        return termwise.open_workspace(self.n_rows if self.rank is not None else 0, n_features, filter)

    def _few(self, metric: Compiled, x: Store, way: str) -> npt.NDArray[np.bool_]:
        """Queries that meet few rows; with another way than postings nobody asks."""
        if way != "postings":
            return np.zeros(0, np.bool_)
        if x is self._store and not self.has_negative:
            return self._own_few
        return self._meeting_few(metric, x, self._postings)

    def _meeting_few(self, metric: Compiled, x: Store, postings: Postings) -> npt.NDArray[np.bool_]:
        may = metric.worst == metric.worst
        count = direct(termwise.meeting_few)  # the types never vary
        few: npt.NDArray[np.bool_] = count(x.indptr, x.indices, postings.indptr, may, self.n_rows)
        return few

    def _postings_for(self, k: int, n_jobs: int | None) -> Postings:
        """Postings with marks for k neighbours, made when first asked for."""
        rank = 1 << k.bit_length()  # at least k + 1: one of them may be the query itself
        most = int(termwise.FEW * self.n_rows)
        if rank > most or not self.space.compiled.impact:
            return self._postings
        if rank not in self._marked:
            self._marked[rank] = add_marks(self._postings, self._store, self.space.compiled, rank, most, n_jobs)
        return self._marked[rank]

    def _map(self, way: str, block: Any, n: int, n_jobs: int | None, tick: Tick = None) -> list[Any]:
        if way != "products":
            return map_blocks(block, n, n_jobs, tick=tick)
        with one_blas_thread:
            return map_blocks(block, n, n_jobs, MULTIPLIED, tick)


def inverse_of(rank: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The order of which these are the places."""
    order = np.empty_like(rank)
    order[rank] = np.arange(len(rank), dtype=np.int32)
    return order


def _moderate(norms: npt.NDArray[np.float32]) -> bool:
    """Whether products of rows of these norms keep float32's digits."""
    present = norms[norms > 0]
    return bool(present.size == 0 or (present.min() > 1e-15 and present.max() < 1e15))


def _as_it_is(function: Any) -> Any:
    return function


def _nothing() -> tuple[Any, Any, Any]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)


def _starts(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _plain(array: npt.NDArray[Any], char: str) -> npt.NDArray[Any]:
    """An array of this type that compiled code takes for any other of its kind: contiguous, aligned, writable."""
    return array if array.dtype.char == char and array.flags.carray else array.astype(char)


def check_k(k: Any, name: str = "k") -> int:
    """Return k as an int, or say what is wrong with it."""
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise ValueError(f"{name} must be an integer of at least 1, got {k!r}")
    if int(k) < 1:
        raise ValueError(f"{name} must be at least 1, got {k}")
    return int(k)


def check_radius(radius: Any) -> float:
    """Return the radius as a float, or say what is wrong with it."""
    if isinstance(radius, bool) or not isinstance(radius, int | float | np.integer | np.floating):
        raise ValueError(f"radius must be a number, got {radius!r}")
    if np.isnan(radius):
        raise ValueError("radius must not be NaN")
    return float(radius)


def exact_neighbors(
    X: Any,  # noqa: N803
    Q: Any = None,  # noqa: N803
    k: int = 10,
    *,
    metric: Any = "cosine",
    metric_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
) -> Neighbors:
    """Find the k nearest rows of `X` for each row of `Q`, exactly.

    Parameters
    ----------
    X : array-like or sparse matrix, shape (n_rows, n_columns)
        The rows to search.
    Q : array-like or sparse matrix, shape (n_queries, n_columns), optional
        The queries. Without them, each row of `X` is a query that does not find itself.
    k : int, default 10
        Neighbours for each query.
    metric : str, metric or compiled function, default "cosine"
        See `sparsenn.metrics`.
    metric_params : dict, optional
        The metric's parameters.
    n_jobs : int, optional
        Threads; None is all processors.

    Returns
    -------
    Neighbors
        ``indices`` (int64) and ``distances`` (float32), shape (n_queries, k), nearest first, ties by
        id; -1 and infinity where there are fewer than k rows.

    Raises
    ------
    ValueError
        Bad data, k, metric or parameters; the message says what and where.

    Examples
    --------
    >>> import numpy as np, sparsenn as sn
    >>> baskets = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]])
    >>> sn.exact_neighbors(baskets, k=1, metric="jaccard").indices.ravel().tolist()
    [1, 0, 1]
    """
    k = check_k(k)
    count_jobs(n_jobs)
    space, rows = fit_space(X, metric, metric_params)
    queries = None if Q is None else space.read(Q, "Q")
    return ExactEngine(space, rows, n_jobs).nearest(queries, k, n_jobs)


def read_rows(data: Any, name: str, n_jobs: int | None, *, bits: bool = False, borrow: bool = False) -> Rows:
    """A user's rows, read by several threads."""
    over = functools.partial(map_blocks, n_jobs=n_jobs, smallest=READ_AT_ONCE)
    return as_rows(data, bits=bits, name=name, over=over, borrow=borrow)


def fit_space(
    data: Any, metric: Any, metric_params: Mapping[str, Any] | None, name: str = "X", n_jobs: int | None = 1
) -> tuple[Space, Rows]:
    """Read rows and fit a metric to them."""
    from sparsenn.metrics import resolve

    bits = resolve(metric, metric_params).metric.containers == ("bits",)
    rows = data.copy() if isinstance(data, Rows) else read_rows(data, name, n_jobs, bits=bits)
    space = Space.fit(metric, metric_params, rows)
    return space, space.read(rows, name)


def pairwise_distances(
    X: Any,  # noqa: N803
    Y: Any = None,  # noqa: N803
    *,
    metric: Any = "cosine",
    metric_params: Mapping[str, Any] | None = None,
    n_jobs: int | None = None,
) -> npt.NDArray[np.float32]:
    """Distances of every row of `X` to every row of `Y`.

    Parameters
    ----------
    X : array-like or sparse matrix, shape (n, n_columns)
    Y : array-like or sparse matrix, shape (m, n_columns), optional
        `X` itself if not given. Metrics with fitted parameters (seuclidean, mahalanobis) fit them to `Y`.
    metric, metric_params, n_jobs
        As in `exact_neighbors`. Metrics that are not symmetric measure d(row of X, row of Y).

    Returns
    -------
    ndarray of float32, shape (n, m)

    Raises
    ------
    ValueError
        Bad data, metric or parameters; the message says what and where.

    Examples
    --------
    >>> import numpy as np, sparsenn as sn
    >>> sn.pairwise_distances(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]), metric="euclidean")
    array([[5.]], dtype=float32)
    """
    count_jobs(n_jobs)
    space, rows = fit_space(X if Y is None else Y, metric, metric_params, "X" if Y is None else "Y")
    y = space.store(rows)
    x = y if Y is None else space.store(space.read(X, "X"))
    n, m = x.indptr.shape[0] - 1, y.indptr.shape[0] - 1
    if space.bound.metric.symmetric and m < n:  # long lists for few rows cost less than short ones for many
        return np.ascontiguousarray(_all_distances(space, y, x, n_jobs).T)
    return _all_distances(space, x, y, n_jobs)


def _all_distances(space: Space, x: Store, y: Store, n_jobs: int | None) -> npt.NDArray[np.float32]:
    """Distances of all rows of `x` to all of `y`."""
    out = np.empty((x.indptr.shape[0] - 1, y.indptr.shape[0] - 1), np.float32)
    metric, width = space.compiled, space.n_features

    if space.container == "csr" and space.termwise:
        postings = invert(y, width, None, n_jobs)
        map_blocks(lambda a, b: termwise.distances_termwise(metric, x, y, postings, a, b, out), len(out), n_jobs, 8)
    else:
        map_blocks(lambda a, b: blockwise.distances_blockwise(metric, x, y, width, a, b, out), len(out), n_jobs, 8)
    return out
