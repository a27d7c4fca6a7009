"""Rows made ready for one metric, and the distance of a row to many.

A `Space` is a metric fitted to a kind of rows: it checks and transforms rows, computes their
statistics, and holds the addresses of the metric's compiled loops (`Compiled`). A `Store` is what
compiled code sees of rows. Both have one numba type for all metrics and containers.
"""

import math
from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import traversal
from sparsenn._jit import brief, call, call_float, direct, entry, folded, kernel
from sparsenn.metrics.formulas import product
from sparsenn.metrics.registry import BoundMetric, Formula, resolve
from sparsenn.rows import Rows, as_rows, copy_rows, dense_rows

BLOCK = 512  # rows finished at once: their numbers stay in the first cache
ROUNDING = 4e-13  # relative error of sums in float64 over long rows, with room to spare
TOO_NEAR = 1e-6  # share of both rows' own sums under which a total from statistics has lost digits

Store = namedtuple("Store", "indptr indices data stats")
Compiled = namedtuple(
    "Compiled",
    # addresses (0: none): loops over rows
    "measure settle finish refine accumulate harvest tally correct bound_sum impact "
    # how a step is bounded (0 not, 1 by norms, 2 by masses), distance of rows that share nothing (NaN: it depends),
    # what rounding may add to a surrogate before it is refined
    "bound worst noise params",
)
UNBOUNDED, BY_NORM, BY_MASS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Space:
    """A metric with its parameters, for rows of one container and width.

    Attributes
    ----------
    bound : BoundMetric
    container : "csr", "dense" or "bits"
        What rows are kept as (after the metric's transform).
    n_features : int
    compiled : Compiled
    """

    bound: BoundMetric
    container: str
    n_features: int
    compiled: Compiled
    projection: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
    sums: npt.NDArray[np.int64]
    transform: int

    @classmethod
    def fit(cls, metric: Any, params: Mapping[str, Any] | None, rows: Rows) -> "Space":
        """Choose and compile what `metric` needs for rows like these.

        Raises
        ------
        ValueError
            If the metric is unknown, its parameters are wrong, or it does not take such rows.
        """
        bound = resolve(metric, params)
        record = bound.metric
        _check_container(bound, rows)
        bound = bound.fit(rows)
        projection = None
        if record.project is not None:
            width = len(np.asarray(bound.params["VI"]))
            if width != rows.shape[1]:
                raise ValueError(f"{record.name}: VI is {width}x{width}, but the rows have {rows.shape[1]} columns")
            projection = (rows.to_dense().matrix().mean(axis=0, dtype=np.float64), record.project(bound.params))
        return cls.prepared(bound, "dense" if projection else rows.container, rows.shape[1], projection)

    @classmethod
    def prepared(cls, bound: BoundMetric, container: str, n_features: int, projection: Any) -> "Space":
        """Compile what a fitted metric needs for rows of a container and width."""
        record = bound.metric
        return cls(
            bound,
            container,
            n_features,
            _compile(bound, container, bound.pack(n_features)),
            projection,
            np.array([traversal.sums(s) for s in record.statistics], np.int64),
            traversal.transform(record.transform) if record.transform else 0,
        )

    def widened(self, n_features: int) -> "Space":
        """Return the same for rows with more columns.

        Raises
        ------
        ValueError
            If rows that were kept would be others with more columns, or the metric has a parameter for each column.
        """
        record = self.bound.metric
        if self.container == "bits" or record.n_columns is not None or record.by_width:
            raise ValueError(f"{record.name} depends on the number of columns: fit an index with all of them")
        fixed = [name for name, value in self.bound.params.items() if np.ndim(value)]
        if fixed or self.projection:
            name = fixed[0] if fixed else "VI"
            raise ValueError(
                f"{record.name} has {name}, which says nothing of new columns: fit an index with all of them"
            )
        return self.prepared(self.bound, self.container, n_features, None)

    @property
    def termwise(self) -> bool:
        """Whether sums over shared terms tell the distance of CSR rows."""
        return self.compiled.accumulate != 0

    @property
    def dense_term(self) -> Formula | None:
        """What is summed over the columns of two dense rows, if rows are dense and the metric is such a sum."""
        record = self.bound.metric
        if self.container != "dense" or record.pair is not None:
            return None
        return record.term or traversal.shared_step(record)

    @property
    def inner_product(self) -> bool:
        """Whether an inner product and statistics tell the distance."""
        return self.bound.metric.step is product

    def read(self, data: Any, name: str = "X") -> Rows:
        """Read a user's rows, check them for this metric, and transform a copy."""
        record = self.bound.metric
        rows = as_rows(data, bits=record.containers == ("bits",), name=name)
        if rows.shape[1] != self.n_features:
            raise ValueError(
                f"{name} has {rows.shape[1]} columns, but the index has {self.n_features}: use the same columns"
            )
        if not self.projection and rows.container != self.container:
            rows = rows.to_csr() if self.container == "csr" else rows.to_dense()
        _check_values(self.bound, rows, name)
        return self._transformed(rows)

    def _transformed(self, rows: Rows) -> Rows:
        if self.projection:
            mean, matrix = self.projection
            projected = (rows.to_dense().matrix() - mean) @ matrix
            return dense_rows(np.ascontiguousarray(projected, dtype=np.float32), True)
        if self.bound.metric.presence:
            if (rows.data == 1).all():
                return replace(rows, has_negative=False)
            return replace(rows, data=(rows.data != 0).astype(np.float32), has_negative=False)
        if self.transform:
            rows = replace(rows, data=rows.data.copy())
            _transform_rows(
                self.transform, self.compiled.params, rows.indptr, rows.indices, rows.data, rows.container != "csr"
            )
        return rows.without_zeros() if rows.container == "csr" else rows

    @property
    def transforms(self) -> bool:
        """Whether rows are changed before they are kept."""
        return self.projection is not None or self.bound.metric.presence or self.transform != 0

    def store(self, rows: Rows) -> Store:
        """Rows as compiled code sees them, with the statistics that the metric wants."""
        return self.store_of(rows.indptr, rows.indices, rows.data)

    def store_of(self, indptr: Any, indices: Any, data: Any) -> Store:
        """The same, of arrays."""
        stats = np.zeros((max(len(self.sums), 1), len(indptr) - 1), np.float64)
        direct(_sum_rows)(self.sums, self.compiled.params, indptr, data, stats)  # the types never vary
        summarise = self.bound.metric.summarise
        if summarise is not None:
            stats = summarise(stats, self.n_features)
            if stats.dtype != np.float64 or not stats.flags.c_contiguous:
                stats = np.ascontiguousarray(stats, dtype=np.float64)
        return Store(indptr, indices, data, stats)

    def compiled_for(self, x: Store, y: Store, has_negative: bool) -> Compiled:
        """Return the compiled metric for rows `x` among rows `y`.

        With negative values, rows that share nothing may be the nearest.
        """
        compiled = self.compiled._replace(worst=math.nan) if has_negative else self.compiled
        if compiled.refine:
            largest = float(x.stats[0].max(initial=0.0) + y.stats[0].max(initial=0.0))
            compiled = compiled._replace(noise=ROUNDING * largest)
        return compiled

    def surrogate_of(self, distance: float) -> float:
        """Return the surrogate of a distance."""
        invert: Formula | None = self.bound.metric.invert
        if invert is None or not 0.0 < distance < math.inf:
            return float(distance)
        return float(invert(self.compiled.params, distance))

    def distances(self, surrogates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn surrogates into distances."""
        if self.compiled.correct:
            surrogates = surrogates.copy()
            _correct_all(self.compiled.correct, self.compiled.params, surrogates.reshape(-1))
        return surrogates

    def correct(self, surrogates: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """The same in float32, as they are returned."""
        return self.distances(surrogates).astype(np.float32) + np.float32(0)  # no negative zero


def take(store: Store, ids: npt.NDArray[np.int64]) -> Store:
    """Some rows of a store, as a store."""
    lengths = np.diff(store.indptr)[ids]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    stats = np.ascontiguousarray(store.stats[:, ids])
    if store.indices.shape[0] != store.data.shape[0]:  # dense rows share their columns
        data = store.data.reshape(len(store.indptr) - 1, len(store.indices))[ids]
        return Store(indptr, store.indices, data.reshape(-1), stats)
    indices, data = np.empty(indptr[-1], np.uint32), np.empty(indptr[-1], np.float32)
    copy_rows(store.indptr, store.indices, store.data, ids, indptr, indices, data)
    return Store(indptr, indices.view(store.indices.dtype), data, stats)


def _check_container(bound: BoundMetric, rows: Rows) -> None:
    record = bound.metric
    if rows.container not in record.containers:
        raise ValueError(f"{record.name} takes {record.wants()}, got {rows.container} rows")
    if record.n_columns is not None and rows.shape[1] != record.n_columns:
        raise ValueError(f"{record.name} takes {record.wants()}, got {rows.shape[1]} columns")


def _check_values(bound: BoundMetric, rows: Rows, name: str) -> None:
    record = bound.metric
    if rows.has_negative and not record.signed:
        at = int(np.argmax(rows.data < 0))
        row = int(np.searchsorted(rows.indptr, at, side="right")) - 1
        column = rows.indices[at if rows.container == "csr" else at - rows.indptr[row]]
        raise ValueError(
            f"{record.name} needs values of at least 0: {name} has {rows.data[at]} at row {row}, column {column}; "
            "shift or clip the data, or use a metric for signed values such as cosine or euclidean"
        )
    if record.check_range is not None and rows.data.size:
        complaint = record.check_range(bound.params, float(np.abs(rows.data).max()), rows.shape[1])
        if complaint:
            raise ValueError(f"{record.name}: {complaint}")
    if rows.collision is not None and record.exact_integers:
        row, column, value = rows.collision
        raise ValueError(
            f"{record.name} compares values for equality, and {value} at row {row}, column {column} of {name} is an "
            "integer above 2^24 that float32 cannot tell from its neighbours: encode the values as smaller integers"
        )


def _compile(bound: BoundMetric, container: str, packed: npt.NDArray[np.float64]) -> Compiled:
    record = bound.metric
    dense = container != "csr"
    correct = traversal.correct(record.correct) if record.correct else 0
    worst = math.nan if record.worst is None else float(record.worst)
    if record.pair is not None:
        pair, key = record.pair, record.pair.__name__
        if bound.function is not None:
            pair = traversal.user_pair(bound.function, len(bound.params), dense)
        measure = traversal.pairs(pair, key, dense, keep=bound.function is None)
        return Compiled(measure, 0, 0, 0, 0, 0, 0, correct, 0, 0, UNBOUNDED, math.nan, 0.0, packed)
    step = traversal.shared_step(record)
    finish = traversal.finish(record.finish, record.additive, record.factor)
    # counts of differing columns are exact: nothing to refine
    refine = traversal.refine(record.term, record.finish) if record.additive and not record.exact_integers else 0
    bounds = record.norm or record.mass
    bound_kind = BY_NORM if record.norm else BY_MASS if record.mass else UNBOUNDED
    bound_sum = traversal.sums(bounds, squares=record.norm is not None) if bounds else 0
    if dense:
        measure = traversal.sweep(record.term or step)
        settle = traversal.finish(record.finish, False) if record.additive else finish
        return Compiled(measure, settle, finish, 0, 0, 0, 0, correct, bound_sum, 0, bound_kind, worst, 0.0, packed)
    return Compiled(
        traversal.gather(step),
        finish,
        finish,
        refine,
        traversal.accumulate(step, record.presence),
        traversal.harvest(step, record.presence),
        traversal.tally(step, record.presence) if record.impact else 0,
        correct,
        bound_sum,
        traversal.impact(record.impact) if record.impact else 0,
        bound_kind,
        worst,
        0.0,
        packed,
    )


@entry
def _transform_rows(address, params, indptr, indices, data, shared_columns):
    for i in range(indptr.shape[0] - 1):
        a, b = indptr[i], indptr[i + 1]
        own = np.int64(0) if shared_columns else a
        call(address, (params, np.int64(params.shape[0]), (indices, own), (data, a), b - a))


@brief
def _sum_rows(addresses, params, indptr, data, out):
    for which in range(addresses.shape[0]):
        for i in range(indptr.shape[0] - 1):
            a, b = indptr[i], indptr[i + 1]
            out[which, i] = call_float(addresses[which], (params, np.int64(params.shape[0]), (data, a), b - a))


@entry
def _correct_all(address, params, values):
    for i in range(values.shape[0]):
        values[i] = call_float(address, (params, np.int64(params.shape[0]), values[i]))


@kernel
def scatter(store, i, w):
    """Write row `i` into the workspace `w`, one place a column (dense rows need no workspace)."""
    if store.indices.shape[0] == store.data.shape[0]:
        for t in range(store.indptr[i], store.indptr[i + 1]):
            w[store.indices[t]] = store.data[t]


@kernel
def unscatter(store, i, w):
    """Clear what `scatter` wrote."""
    if store.indices.shape[0] == store.data.shape[0]:
        for t in range(store.indptr[i], store.indptr[i + 1]):
            w[store.indices[t]] = 0.0


@kernel
def measure(metric, x, i, w, y, stops, shift, rows, m, out):
    """Call the metric's own loop: row `i` of `x` against `m` listed rows of `y`.

    Row `j` of `y` is read up to ``stops[j + shift]``.
    """
    a, b = x.indptr[i], x.indptr[i + 1]
    own = a if x.indices.shape[0] == x.data.shape[0] else np.int64(0)  # dense rows share their columns
    call(
        metric.measure,
        (
            metric.params,
            np.int64(metric.params.shape[0]),
            (x.indices, own),
            (x.data, a),
            b - a,
            w,
            y.indptr,
            (stops, np.int64(shift)),
            y.indices,
            y.data,
            rows,
            np.int64(m),
            out,
        ),
    )


@folded
def finish_rows(metric, address, x, i, y, stride, m, shared, block, out):
    """Surrogates of `m` rows from their shared sums; their statistics stand at `y`, an array and a place in it.

    The query's are put at the end of `block` (2 · BLOCK + 2 places).
    """
    block[2 * BLOCK] = x.stats[0, i]
    block[2 * BLOCK + 1] = x.stats[-1, i]
    call(
        address,
        (
            metric.params,
            np.int64(metric.params.shape[0]),
            (block, np.int64(2 * BLOCK)),
            y,
            np.int64(stride),
            shared,
            out,
            np.int64(m),
        ),
    )


@folded
def finish_block(metric, address, x, i, m, shared, block, out):
    """The same with the rows' statistics in `block`."""
    finish_rows(metric, address, x, i, (block, np.int64(0)), BLOCK, m, shared, block, out)


@kernel
def finish_listed(metric, address, x, i, y, rows, m, shared, block, out):
    """Surrogates of `m` listed rows from their shared sums."""
    for r in range(m):
        block[r] = y.stats[0, np.uint64(rows[r])]
    if y.stats.shape[0] > 1:
        for r in range(m):
            block[BLOCK + r] = y.stats[1, np.uint64(rows[r])]
    finish_block(metric, address, x, i, m, shared, block, out)


@kernel
def refined(metric, x, i, y, row, surrogate):
    """Return the surrogate, from the pairwise form where statistics have lost its digits."""
    if metric.refine == 0 or surrogate > TOO_NEAR * (x.stats[0, i] + y.stats[0, row]):
        return surrogate
    a, b = x.indptr[i], x.indptr[i + 1]
    c, d = y.indptr[row], y.indptr[row + 1]
    return call_float(
        metric.refine,
        (
            metric.params,
            np.int64(metric.params.shape[0]),
            (x.indices, a),
            (x.data, a),
            b - a,
            (y.indices, c),
            (y.data, c),
            d - c,
            x.stats[0, i],
            x.stats[-1, i],
            y.stats[0, row],
            y.stats[-1, row],
        ),
    )


@kernel
def corrected(metric, surrogate):
    """Distance of a surrogate, as it is returned and compared."""
    if metric.correct == 0:
        return np.float32(surrogate)
    return np.float32(
        call_float(metric.correct, (metric.params, np.int64(metric.params.shape[0]), np.float64(surrogate)))
    )


@kernel
def evaluate(metric, x, i, w, y, rows, m, shared, block, out):
    """Surrogate distances of row `i` of `x` (scattered in `w`) to at most BLOCK listed rows of `y`."""
    if metric.settle == 0:
        measure(metric, x, i, w, y, y.indptr, 1, rows, m, out)
        for r in range(m):
            if out[r] != out[r]:  # a user's function may give NaN: such rows come last
                out[r] = np.inf
        return
    measure(metric, x, i, w, y, y.indptr, 1, rows, m, shared)
    finish_listed(metric, metric.settle, x, i, y, rows, m, shared, block, out)
    if metric.refine != 0:
        for r in range(m):
            out[r] = refined(metric, x, i, y, rows[r], out[r])
