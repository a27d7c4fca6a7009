"""Approximate search under a dear metric: candidates by its proxy, put in order by the metric itself.

The record of a metric says how rows become other rows, among which a cheap metric tells nearly the
same neighbours (`sparsenn.metrics.registry.Proxy`). `ProxyEngine` searches those exactly for
``over_fetch`` times as many as were asked for, and measures what it finds.

What an index does with it: where the metric has a proxy, make this engine in place of the exact one (which
it holds), calibrate once on some rows, and for each query take the cheapest way that is right enough::

    space, rows = fit_space(X, metric, metric_params)
    if has_proxy(space):
        proxies = ProxyEngine(space, rows, n_jobs)
        engine = proxies.exact
        table = proxies.calibrate(sample, k, n_jobs)            # sample: Rows, read by the space; not of the index
        right = [c for c in table if c.recall >= recall]
        ...
    queries = space.read(Q, "Q")
    if right and right[0].cost < table[-1].exact_cost:          # costs rise with over_fetch
        found = proxies.nearest(queries, k, right[0].over_fetch, n_jobs)
    else:
        found = engine.nearest(queries, k, n_jobs)
    near = proxies.within(queries, radius, n_jobs=n_jobs)       # nothing is missed: the same as engine.within

A neighbour graph could begin from the proxy's own graph (`ProxyEngine.proxy` is an engine like any
other), and measure its edges by `rerank`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn.distance import Space
from sparsenn.exact import ExactEngine, fit_space
from sparsenn.metrics.registry import Proxy
from sparsenn.rerank import rerank, rerank_within
from sparsenn.results import Neighbors, RaggedNeighbors
from sparsenn.rows import Rows
from sparsenn.termwise import FINISH_ROW, SUM_POSTING

# Nanoseconds, as benchmarks/bench_kernels.py measures them on one machine: only ratios matter.
ROW, VALUE = 60.0, 1.0  # a row fetched and measured, and each of its values
PRODUCT, VALUE_DENSE = 0.02, 0.14  # one multiplication of a BLAS product; one value of a dense row swept
DEAR_DENSE = 3.0  # the same, for each product's worth of a step that is no SIMD instruction (a logarithm)
ENOUGH = 0.9999  # recall at which more candidates are not tried
ROUNDING = 2.0**-21  # what float32 loses of embedded rows, as a share of their largest sum of magnitudes
FIRST = 16  # rows asked for at first, for a radius


class Calibration(NamedTuple):
    """What one depth of candidates gives.

    Attributes
    ----------
    over_fetch : int
        Candidates for each neighbour asked for.
    recall : float
        Share of the true nearest that are found, by distance: ties count.
    cost : float
        Predicted nanoseconds of one query on one thread: pairs counted, times constants that ship.
    exact_cost : float
        The same of exact search.
    """

    over_fetch: int
    recall: float
    cost: float
    exact_cost: float


def has_proxy(space: Space) -> bool:
    """Whether the metric has a proxy."""
    return space.bound.metric.proxy is not None


class ProxyEngine:
    """Rows prepared for approximate search under a metric that has a proxy.

    Parameters
    ----------
    space : Space
        Of the dear metric.
    rows : Rows
        Read by ``space.read``; the engine takes their arrays over.
    n_jobs : int, optional
        Threads for what a proxy has to measure beforehand.
    exact : ExactEngine, optional
        The rows under the dear metric, if there is one already.

    Attributes
    ----------
    exact : ExactEngine
        The rows under the dear metric.
    proxy : ExactEngine
        The rows made for the proxy, under the cheap one.

    Raises
    ------
    ValueError
        If the metric has no proxy.
    """

    def __init__(self, space: Space, rows: Rows, n_jobs: int | None = None, exact: ExactEngine | None = None):
        make = space.bound.metric.proxy
        if make is None:
            raise ValueError(f"{space.bound.metric.name} has no proxy: it is searched exactly, or by a graph")
        matrix = _matrix(rows)
        self._made: Proxy = make(space.bound.params, matrix, lambda: _own_distances(space, rows, n_jobs))
        cheap, embedded = fit_space(self._made.rows(matrix), self._made.metric, None)
        self._size = _largest_sum(embedded)
        self.proxy = ExactEngine(cheap, embedded, n_jobs)
        self.exact = ExactEngine(space, rows, n_jobs) if exact is None else exact

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.exact.n_rows

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays held, the exact engine's included."""
        return self.exact.nbytes + self.proxy.nbytes

    def nearest(self, queries: Rows, k: int, over_fetch: int, n_jobs: int | None = None) -> Neighbors:
        """The k nearest of the ``k · over_fetch`` nearest rows under the proxy, at their true distances.

        Parameters
        ----------
        queries : Rows
            Read by the space of the dear metric.
        k, over_fetch : int
        n_jobs : int, optional

        Returns
        -------
        Neighbors
            By (distance, id). With as many candidates as there are rows, the answer is that of exact search.
        """
        width = min(k * over_fetch, self.n_rows)
        candidates = self.proxy.nearest(self._embed(queries), width, n_jobs).indices
        return self._rerank(queries, candidates, k, n_jobs)

    def within(
        self, queries: Rows, radius: float, over_fetch: int | None = None, n_jobs: int | None = None
    ) -> RaggedNeighbors:
        """All rows within `radius` of each query, by (distance, id).

        Without `over_fetch`, nothing is missed: what the proxy may hide is bounded. With it, a query's
        candidates are doubled until no more than one in `over_fetch` of them is within the radius.
        """
        if over_fetch is not None:
            return self._within_depth(queries, radius, over_fetch, n_jobs)
        embedded = self._embed(queries)
        reach = self._made.reach(float(radius)) if np.isfinite(radius) else np.inf
        if not np.isfinite(reach):
            return self.exact.within(queries, radius, n_jobs)
        size = max(self._size, _largest_sum(embedded))
        found = self.proxy.within(embedded, reach + ROUNDING * size, n_jobs)
        return self._rerank_within(queries, found.indptr, found.indices, radius, n_jobs)

    def calibrate(self, queries: Rows, k: int, n_jobs: int | None = None, most: int | None = None) -> list[Calibration]:
        """Measure the recall of 1, 2, 4, … candidates for each neighbour, against exact search.

        Parameters
        ----------
        queries : Rows
            A sample, read by the space of the dear metric.
        k : int
        n_jobs : int, optional
        most : int, optional
            Largest `over_fetch` tried; without it, until nothing is missed.

        Returns
        -------
        list of Calibration
            By rising `over_fetch`. Nothing in it is timed: the same data gives the same list.
        """
        true = self.exact.nearest(queries, k, n_jobs).distances
        there = np.isfinite(true)
        kth = np.where(there, true, -np.inf).max(axis=1, keepdims=True)
        embedded = self._embed(queries)
        table: list[Calibration] = []
        over_fetch = 1
        while True:
            candidates = self.proxy.nearest(embedded, min(k * over_fetch, self.n_rows), n_jobs).indices
            found = self._rerank(queries, candidates, k, n_jobs).distances
            hits = (found <= kth + 1e-6 * np.abs(kth)).sum() if there.any() else 0
            recall = float(hits / max(int(there.sum()), 1)) if there.any() else 1.0
            table.append(Calibration(over_fetch, recall, self.cost(k, over_fetch), self.exact_cost))
            over_fetch *= 2
            if recall >= ENOUGH or candidates.shape[1] == self.n_rows or (most is not None and over_fetch > most):
                return table

    def cost(self, k: int, over_fetch: int) -> float:
        """Predicted nanoseconds of one query: the scan under the proxy, and the candidates measured."""
        return scan_cost(self.proxy) + min(k * over_fetch, self.n_rows) * pair_cost(self.exact)

    @property
    def exact_cost(self) -> float:
        """Predicted nanoseconds of one query by exact search."""
        return scan_cost(self.exact)

    def _embed(self, queries: Rows) -> Rows:
        return self.proxy.space.read(self._made.queries(_matrix(queries)), "Q")

    def _rerank(self, queries: Rows, candidates: npt.NDArray[Any], k: int, n_jobs: int | None) -> Neighbors:
        x, metric = self.exact.own(queries, n_jobs)
        y, _ = self.exact.own()
        return rerank(metric, x, y, self.exact.space.n_features, candidates, k, n_jobs)

    def _rerank_within(
        self,
        queries: Rows,
        indptr: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        radius: float,
        n_jobs: int | None,
    ) -> RaggedNeighbors:
        x, metric = self.exact.own(queries, n_jobs)
        y, _ = self.exact.own()
        return rerank_within(metric, x, y, self.exact.space.n_features, indptr, ids, radius, n_jobs)

    def _within_depth(self, queries: Rows, radius: float, over_fetch: int, n_jobs: int | None) -> RaggedNeighbors:
        parts: list[RaggedNeighbors | None] = [None] * len(queries)
        open_ = np.arange(len(queries))
        width = min(FIRST * over_fetch, self.n_rows)
        while len(open_):
            some = queries.take(open_)
            candidates = self.proxy.nearest(self._embed(some), width, n_jobs).indices
            indptr = np.arange(len(open_) + 1, dtype=np.int64) * width
            found = self._rerank_within(some, indptr, candidates.reshape(-1), radius, n_jobs)
            counts = np.diff(found.indptr)
            done = (counts * over_fetch <= width) | (width == self.n_rows)
            for q in np.flatnonzero(done):
                part = slice(found.indptr[q], found.indptr[q + 1])
                parts[open_[q]] = RaggedNeighbors(found.indptr[q : q + 2], found.indices[part], found.distances[part])
            open_ = open_[~done]
            width = min(2 * width, self.n_rows)
        kept = [part for part in parts if part is not None]
        lengths = [len(part.indices) for part in kept]
        return RaggedNeighbors(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int64), *(part.indices for part in kept)]),
            np.concatenate([np.zeros(0, np.float32), *(part.distances for part in kept)]),
        )


def pair_cost(engine: ExactEngine) -> float:
    """Predicted nanoseconds of one pair of rows that lie anywhere."""
    record, values = engine.space.bound.metric, engine.values_per_row
    if record.pair_cost is not None:
        return record.pair_cost(values)
    return ROW + values * (_value_dense(engine) if engine.space.container == "dense" else VALUE * record.cost[0])


def scan_cost(engine: ExactEngine) -> float:
    """Predicted nanoseconds of one query against all rows."""
    n, values = engine.n_rows, engine.values_per_row
    step, finish = engine.space.bound.metric.cost
    if engine.way == "products":
        return n * (PRODUCT * values + FINISH_ROW)
    if engine.way == "blocks":
        if engine.space.bound.metric.pair is not None:
            return n * pair_cost(engine)
        return n * (FINISH_ROW * finish + _value_dense(engine) * values)
    postings = float((engine.lengths * engine.lengths).sum()) / max(n, 1)  # queries have the terms that rows have
    return postings * SUM_POSTING * step + n * FINISH_ROW * finish


def _value_dense(engine: ExactEngine) -> float:
    step = engine.space.bound.metric.cost[0]
    return VALUE_DENSE if step <= 1.0 else DEAR_DENSE * step


def _matrix(rows: Rows) -> Any:
    """Rows as a numpy matrix or a scipy CSR array, on the same memory."""
    if rows.container == "dense":
        return rows.matrix()
    from scipy.sparse import csr_array

    return csr_array((rows.data, rows.indices, rows.indptr), shape=rows.shape)


def _own_distances(space: Space, rows: Rows, n_jobs: int | None) -> npt.NDArray[np.float64]:
    """Distance of each row to itself."""
    store = space.store(rows)
    ids = np.arange(len(rows))[:, None]
    compiled = space.compiled_for(store, store, rows.has_negative)
    found = rerank(compiled, store, store, space.n_features, ids, 1, n_jobs).distances
    return found[:, 0].astype(np.float64)


def _largest_sum(rows: Rows) -> float:
    """Largest Σ|value| of a row."""
    if rows.container == "dense":
        return float(np.abs(rows.matrix()).sum(axis=1, dtype=np.float64).max(initial=0.0))
    starts = np.concatenate([[0.0], np.cumsum(np.abs(rows.data), dtype=np.float64)])
    return float(np.diff(starts[rows.indptr]).max(initial=0.0))
