"""Similarity joins: all pairs of rows at or above a threshold, exactly.

Equal rows are collapsed first, and pairs are found among different rows only: sets by what they need to share
(`countjoin`), weighted rows by bounds of their sums (`sumjoin`), and by exact search of each row where a metric has no
such bound, or so much is similar that looking at all rows is cheaper.
"""

import contextlib
import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn.countjoin import CountJoin
from sparsenn.distance import Space, take
from sparsenn.exact import ExactEngine, read_rows
from sparsenn.grouping import by_first, cross, group_equal
from sparsenn.metrics import resolve
from sparsenn.metrics.registry import Metric
from sparsenn.parallel import cached, count_jobs, map_blocks, map_queue
from sparsenn.results import Pairs
from sparsenn.rows import Rows, column_order
from sparsenn.sumjoin import SumJoin, surrogates_of

TOLERANCE = 1e-9  # a pair counts whose similarity, in float64, is less than the threshold by no more
ROOTS = 2.0**-23  # the same where a distance is a root: equal shares of float32 differ by so much
MOST_PAIRS = 10**9
ENDLESS = 2**62
ROOM = 2**20  # pairs of different rows that one call of a kernel may find before it stops
SPAN = 2**9  # rows joined at a time by a thread
LISTED = 2**26  # pairs of different rows held before the rest is counted first
Progress = Callable[[int, int], object]


class Found(NamedTuple):
    """Pairs of groups, and the surrogate of their rows."""

    a: npt.NDArray[np.int64]
    b: npt.NDArray[np.int64]
    surrogates: npt.NDArray[np.float64]


def similarity_join(
    A: Any,
    B: Any = None,
    metric: Any = "jaccard",
    threshold: float = 0.8,
    *,
    metric_params: Mapping[str, Any] | None = None,
    top: int | None = None,
    max_pairs: int = MOST_PAIRS,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Pairs:
    """Find all pairs of rows whose similarity is at least a threshold.

    The result is exact: no pair is missed, and every similarity is computed from the rows in float64.

    Parameters
    ----------
    A : array-like or sparse matrix, shape (n_rows, n_columns)
    B : array-like or sparse matrix, shape (n_other_rows, n_columns), optional
        Pairs are of a row of `A` and a row of `B`; without it, of two rows of `A`.
    metric : str or BoundMetric, default "jaccard"
        A metric that has a similarity: 1 − its distance, for ``dot`` the inner product.
    threshold : float, default 0.8
        Least similarity; between 0 and 1, for ``dot`` any number. A similarity that is less by at most 1e-9
        counts, so that rounding does not decide; by 1.2e-7 where the distance is a root or an angle (hellinger,
        jensen_shannon, true_angular), which shows the rounding of rows to float32.
    metric_params : dict, optional
        Parameters of the metric.
    top : int, optional
        Only so many pairs, the most similar ones, ordered by similarity; ties by `i` and `j`.
    max_pairs : int, default 10**9
        Pairs are counted before they are listed; more of them are an error. With `top` there is no need of it.
    n_jobs : int, optional
        Threads; None means all processors.
    progress : callable, optional
        Told how many rows are done, and of how many.

    Returns
    -------
    Pairs
        ``i, j, similarity``, ordered by `i`, then `j`. Of one set of rows each pair is there once, with ``i < j``;
        under a metric that is not symmetric (containment, tversky) both ways, `i` being the query.

    Raises
    ------
    ValueError
        A threshold out of range, a metric without a similarity, rows that do not fit each other or the metric,
        more than `max_pairs` pairs, `max_pairs` with `top`.

    See Also
    --------
    join_blocks : the same in blocks, for results that do not fit in memory.
    near_duplicates : clusters, and which rows to keep.

    Notes
    -----
    `A` and `B` may be read where they stand: nothing may write to them meanwhile.

    Two empty rows are equal, and so a pair; an empty row and another are not similar. Sets: rows that share fewer
    columns with all others than they need to share with one are left out first; then prefix, length and position
    filters (Xiao et al. 2008, Efficient similarity joins for near duplicate detection), bitmaps (Sandes et al. 2020).
    Weighted rows: prefixes and bounds by norms (Anastasiu and Karypis 2014, L2AP).

    Examples
    --------
    >>> import sparsenn as sn
    >>> baskets = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0]]
    >>> pairs = sn.similarity_join(baskets, metric="jaccard", threshold=0.7)
    >>> pairs.i, pairs.j, pairs.similarity
    (array([0, 0, 1]), array([1, 3, 3]), array([0.75, 1.  , 0.75]))
    """
    top = _count("top", top)
    max_pairs = _count("max_pairs", max_pairs) or MOST_PAIRS
    join = Join(A, B, metric, metric_params, threshold, n_jobs, borrow=True)
    if top is not None:
        if max_pairs != MOST_PAIRS:
            raise ValueError(f"max_pairs is for all pairs, and only {top:,} are asked for: leave it out with top")
        return _best(join, top, progress)
    found = list(join.all_pairs(max_pairs, progress))
    return in_order(concatenated(list(join.expand(found, MOST_PAIRS))), join.width, n_jobs)


def join_blocks(
    A: Any,
    B: Any = None,
    metric: Any = "jaccard",
    threshold: float = 0.8,
    *,
    metric_params: Mapping[str, Any] | None = None,
    block_pairs: int = 2**20,
    max_pairs: int = MOST_PAIRS,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Pairs]:
    """Find the pairs of `similarity_join` block by block, so that the result need not fit in memory.

    Parameters
    ----------
    A, B, metric, threshold, metric_params, max_pairs, n_jobs, progress
        As in `similarity_join`.
    block_pairs : int, default 2**20
        At most so many pairs in a block.

    Yields
    ------
    Pairs
        Each pair is in one block. The blocks, and the pairs in them, are in no special order, but the same in each run.

    Raises
    ------
    ValueError
        As `similarity_join`, at the call; when more than `max_pairs` pairs have been counted, during iteration, before
        the block that would exceed it.

    Examples
    --------
    >>> import sparsenn as sn
    >>> baskets = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 1], [1, 1, 1, 0, 0]]
    >>> [len(pairs.i) for pairs in sn.join_blocks(baskets, threshold=0.7, block_pairs=2)]
    [1, 2]
    """
    size, most = _count("block_pairs", block_pairs) or 1, _count("max_pairs", max_pairs) or MOST_PAIRS
    join = Join(A, B, metric, metric_params, threshold, n_jobs)

    def blocks() -> Iterator[Pairs]:
        total = 0
        for found in join.found(progress):
            total += join.count(found)
            check_most(total, most, threshold)
            yield from join.expand([found], size)

    return blocks()


def save_pairs(blocks: Iterable[Pairs], path: str | pathlib.Path) -> int:
    """Write pairs to a Parquet file, a block at a time.

    Parameters
    ----------
    blocks : iterable of Pairs
        E.g. from `join_blocks`.
    path : str or Path
        The file, written anew, with the columns ``i``, ``j`` and ``similarity``; it takes its place when it is whole,
        and where that fails, what was there stays.

    Returns
    -------
    int
        How many pairs were written.

    Raises
    ------
    ImportError
        Without pyarrow.

    Examples
    --------
    >>> import sparsenn as sn
    >>> sn.save_pairs(sn.join_blocks(baskets, threshold=0.7), "pairs.parquet")  # doctest: +SKIP
    3
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError("writing Parquet needs pyarrow: pip install sparsenn[files]") from None
    schema = pa.schema([("i", pa.int64()), ("j", pa.int64()), ("similarity", pa.float64())])
    total = 0
    with replaced(path) as part, pq.ParquetWriter(part, schema) as writer:
        for pairs in blocks:
            writer.write_table(pa.table(dict(zip(schema.names, pairs, strict=True)), schema=schema))
            total += len(pairs.i)
    return total


@contextlib.contextmanager
def replaced(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a file to write, beside `path`, that takes its place at the end; after an error it is gone."""
    path = pathlib.Path(os.path.realpath(path))
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Join:
    """A join, prepared: groups of equal rows of both sides, and the way that suits the metric."""

    def __init__(
        self,
        A: Any,
        B: Any,
        metric: Any,
        params: Any,
        threshold: float,
        n_jobs: int | None,
        *,
        prepare: bool = True,
        borrow: bool = False,
    ) -> None:
        record = resolve(metric, params).metric
        self.similar = _check_threshold(record, threshold)
        self.threshold, self.n_jobs, self.symmetric = float(threshold), n_jobs, record.symmetric
        count_jobs(n_jobs)
        x = read_rows(A, "A", n_jobs, borrow=borrow).to_csr()
        self.space = space = Space.fit(metric, params, x)
        if not space.termwise or space.container != "csr":
            raise ValueError(f"{record.name} is no metric of shared columns: similarity_join takes those")
        x = self.rows = space.read(x, "A")
        y = self.others = x if B is None else self._read_other(B, x, borrow)
        self.tolerance = ROOTS if space.compiled.correct else TOLERANCE
        self.limit = self.limit_of(threshold)
        self.own, self.width = B is None, np.int64(len(y))
        self.x_groups = group_equal(x, n_jobs)
        self.y_groups = self.x_groups if self.own else group_equal(y, n_jobs)
        self._firsts = self.x_groups.first, self.y_groups.first
        stored = space.store(x)
        self._stores = stored, stored if self.own else space.store(y)
        self.way: Any = self._choose(record, threshold) if prepare else None

    def _read_other(self, B: Any, x: Rows, borrow: bool) -> Rows:
        rows = read_rows(B, "B", self.n_jobs, borrow=borrow).to_csr()
        if rows.shape[1] != x.shape[1]:
            raise ValueError(f"B has {rows.shape[1]} columns and A has {x.shape[1]}: use the same columns for both")
        return self.space.read(rows, "B")

    @cached
    def x(self) -> Rows:
        """The different rows of the first side."""
        return _different(self.rows, self._firsts[0])

    @cached
    def y(self) -> Rows:
        """The different rows of the second side."""
        return self.x if self.own else _different(self.others, self._firsts[1])

    def _choose(self, record: Metric, threshold: float) -> Any:
        by_mass = record.mass is not None and record.statistics[:1] == (record.mass,)
        if record.presence and by_mass:
            x, y = zip((self.rows, self.others), self._firsts, strict=True)
            sets = CountJoin(self.space.compiled, self.limit, x, None if self.own else y, self.symmetric, self.n_jobs)
            return sets if sets.ready else _ScanJoin(self)
        disjoint = -np.inf if record.worst is None else record.worst
        if (record.norm or by_mass) and self.symmetric and self.similar - disjoint < threshold - self.tolerance:
            sums = SumJoin(self.space, self.limit, self.x, None if self.own else self.y, self.symmetric)
            by_prefix, by_scan = sums.cost
            return sums if by_prefix <= by_scan else _ScanJoin(self)
        return _ScanJoin(self)

    def limit_of(self, threshold: float) -> float:
        """Largest surrogate of a pair that is at or above a threshold."""
        return self.space.surrogate_of(self.similar - threshold + self.tolerance)

    def similarity(self, surrogates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Similarities of surrogates."""
        return self.similar - self.space.distances(surrogates) + 0.0

    def inside(self) -> Found:
        """Groups whose rows are similar to each other; and the empty rows of both sides."""
        if self.own:
            a = np.flatnonzero(self.x_groups.sizes > 1)
            pairs = a, a
        else:
            both = zip((self.rows, self.others), self._firsts, strict=True)
            empty = [np.flatnonzero(np.diff(rows.indptr)[first] == 0) for rows, first in both]
            pairs = (empty[0], empty[1]) if len(empty[0]) and len(empty[1]) else (empty[0][:0], empty[1][:0])
            if isinstance(self.way, _ScanJoin):
                pairs = pairs[0][:0], pairs[1][:0]
        surrogates = self.surrogates(*pairs)
        keep = surrogates <= self.limit
        return Found(pairs[0][keep], pairs[1][keep], surrogates[keep])

    def surrogates(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Surrogates of listed pairs of different rows; `a` ascending."""
        starts = np.flatnonzero(np.diff(a, prepend=-1)).astype(np.int64)
        out = np.empty(len(a))
        x, y = take(self._stores[0], self._firsts[0][a[starts]]), self._stores[1]
        indptr = np.append(starts, np.int64(len(a)))
        surrogates_of(self.space.compiled, x, y, self.rows.shape[1], indptr, self._firsts[1][b], out)
        return out

    def found(self, progress: Progress | None = None, collapsed: bool = False) -> Iterator[Found]:
        """Pairs of groups, not many more than ROOM at a time; with `collapsed`, of different groups only."""
        if not (collapsed and self.own) and len((inside := self.inside()).a):
            yield inside
        n = self.way.n_rows
        done = len(self._firsts[0]) - n  # those that cannot match
        size = min(SPAN, max(n // 16, 64))  # whatever the threads: the order of blocks is one
        spans = deque((start, min(start + size, n)) for start in range(0, n, size))
        for found, start, at, stop in map_queue(self._block, spans, self.n_jobs):
            if at < stop:  # it stopped early: the rest comes last
                spans.append((at, stop))
            if len(found.a):
                yield found
            done += at - start
            if progress is not None:
                progress(done, len(self._firsts[0]))
        if progress is not None and not n:
            progress(done, done)

    def _block(self, span: tuple[int, int]) -> tuple[Found, int, int, int]:
        *found, at = self.way.block(*span, ROOM)
        return Found(*found), span[0], at, span[1]

    def count(self, found: Found) -> int:
        """How many pairs of rows the pairs of groups are."""
        sizes, others = self.x_groups.sizes[found.a], self.y_groups.sizes[found.b]
        same = (found.a == found.b) if self.own else np.zeros(len(found.a), bool)
        inside = sizes * (sizes - 1) // (2 if self.symmetric else 1)
        return int(np.where(same, inside, sizes * others).sum())

    def all_pairs(self, most: int, progress: Progress | None, collapsed: bool = False) -> Iterator[Found]:
        """All pairs of groups; more than `most` pairs of rows (or, `collapsed`, of groups) are an error beforehand."""
        total, held, counting, kept = 0, 0, False, []
        for found in self.found(progress, collapsed):
            total += len(found.a) if collapsed else self.count(found)
            check_most(total, most, self.threshold)
            held += len(found.a)
            if not counting:
                kept.append(found)
            if held > LISTED:
                counting, kept = True, []
        yield from self.found(None, collapsed) if counting else kept

    def expand(self, found: Iterable[Found], size: int, most: int = ENDLESS) -> Iterator[Pairs]:
        """Pairs of rows of pairs of groups, at most `size` at once; of two groups the first `most`."""
        for some in found:
            same = (some.a == some.b) if self.own else np.zeros(len(some.a), bool)
            for which, inside in ((same, True), (~same, False)):
                if which.any():
                    yield from self._expand(some.a[which], some.b[which], some.surrogates[which], inside, size, most)

    def _expand(self, a: Any, b: Any, surrogates: Any, inside: bool, size: int, most: int) -> Iterator[Pairs]:
        mine, theirs = self.x_groups.sizes[a], self.y_groups.sizes[b]
        counts = mine * (mine - 1) // (2 if self.symmetric else 1) if inside else mine * theirs
        if inside or not (self.own and self.symmetric):  # else their order is not that of `i` and `j`
            counts = np.minimum(counts, most)
        ends = np.cumsum(counts)
        similarity = self.similarity(surrogates)
        for begin in range(0, int(ends[-1]), size):
            end = min(begin + size, int(ends[-1]))
            flat = np.arange(begin, end)
            first, last = np.searchsorted(ends, [begin, end - 1], side="right")
            if not inside:
                yield self._crossed(a, b, similarity, ends, counts, int(first), begin, end)
                continue
            parts = np.minimum(ends[first : last + 1], end) - np.maximum(ends - counts, begin)[first : last + 1]
            pair = np.repeat(np.arange(first, last + 1), parts)
            rest = flat - (ends - counts)[pair]
            p, q = nth_pair(rest, mine[pair], self.symmetric)
            i = self.x_groups.members[self.x_groups.indptr[a[pair]] + p]
            j = self.y_groups.members[self.y_groups.indptr[b[pair]] + q]
            if self.own and self.symmetric:
                i, j = np.minimum(i, j), np.maximum(i, j)
            yield Pairs(i, j, similarity[pair])

    def _crossed(
        self, a: Any, b: Any, similarity: Any, ends: Any, counts: Any, first: int, begin: int, end: int
    ) -> Pairs:
        """The pairs [begin, end) of different groups, from the pair `first` of groups on."""
        x, y = self.x_groups, self.y_groups
        i, j, s = np.empty(end - begin, np.int64), np.empty(end - begin, np.int64), np.empty(end - begin)
        once = self.own and self.symmetric
        cross(a, b, similarity, x.indptr, x.members, y.indptr, y.members, ends, counts, first, begin, once, i, j, s)
        return Pairs(i, j, s)


class _ScanJoin:
    """Exact search of each row among the others."""

    def __init__(self, join: Join) -> None:
        self._join, self.limit = join, join.limit
        self._engine = ExactEngine(join.space, join.y.copy(), join.n_jobs)
        distance = max(join.similar - join.threshold, -np.inf)
        self._radius = distance + 1e-6 * max(abs(distance), 1.0)  # the engine's distances are float32

    def block(self, start: int, stop: int, room: int) -> tuple[Any, Any, Any, int]:
        """As the other ways; blocks are small, so that what they find is."""
        join = self._join
        stop = min(stop, start + min(256, max(4 * room // max(len(join.y), 1), 16)))
        ids = np.arange(start, stop, dtype=np.int64)
        near = self._engine.within(join.x.take(ids), self._radius, 1)
        a, b = np.repeat(ids, np.diff(near.indptr)), near.indices
        if join.own:
            keep = b < a if join.symmetric else b != a
            a, b = a[keep], b[keep]
        surrogates = join.surrogates(a, b)
        keep = surrogates <= self.limit
        return a[keep], b[keep], surrogates[keep], stop

    @property
    def n_rows(self) -> int:
        """Rows of the first side."""
        return len(self._join.x)


def _different(rows: Rows, first: npt.NDArray[np.int64]) -> Rows:
    return rows if len(first) == len(rows) else rows.take(first)


def nth_pair(rest: Any, size: Any, symmetric: bool) -> tuple[Any, Any]:
    """Number `rest` of the pairs of different ones among `size`, ordered by the first, then the second."""
    if not symmetric:
        p, q = np.divmod(rest, size - 1)
        return p, q + (q >= p)
    rest = size * (size - 1) // 2 - 1 - rest  # from the end, in an order that knows no size
    q = ((1.0 + np.sqrt(8.0 * rest + 1.0)) / 2.0).astype(np.int64)
    q -= q * (q - 1) // 2 > rest
    q += q * (q + 1) // 2 <= rest
    return size - 1 - q, size - 1 - (rest - q * (q - 1) // 2)


def concatenated(parts: list[Pairs]) -> Pairs:
    """All pairs of several parts."""
    nothing = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    i, j, similarity = zip(*(parts or [nothing]), strict=True)
    return Pairs(np.concatenate(i), np.concatenate(j), np.concatenate(similarity))


def in_order(pairs: Pairs, width: np.int64, n_jobs: int | None = 1) -> Pairs:
    """Pairs ordered by `i`, then `j`, which is below `width`: as sparse rows are (19 million: a third of a sort)."""
    counts = np.bincount(pairs.i)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    others, similarity = np.empty(len(pairs.i), np.int32), np.empty(len(pairs.i))
    by_first(pairs.i, pairs.j, pairs.similarity, starts[:-1].copy(), others, similarity)
    order = column_order(starts, others, int(width), lambda f, n: map_blocks(f, n, n_jobs, 1024))
    return Pairs(np.repeat(np.arange(len(counts)), counts), others[order].astype(np.int64), similarity[order])


def _best(join: Join, top: int, progress: Progress | None) -> Pairs:
    """Keep the `top` most similar pairs."""
    best = concatenated([])
    # of equal rows, what stands behind the first of them comes after `top` pairs that are as similar
    join.x_groups, join.y_groups = join.x_groups.shortened(top + 1), join.y_groups.shortened(top + 1)
    for found in join.found(progress):
        if len(best.i) == top and top:  # rows that are less similar than the last need not be listed
            keep = join.similarity(found.surrogates) >= best.similarity[-1]
            found = Found(*(column[keep] for column in found))
        for pairs in join.expand([found], ROOM, top):
            both = concatenated([best, pairs])
            order = np.lexsort((both.j, both.i, -both.similarity))[:top]
            best = Pairs(both.i[order], both.j[order], both.similarity[order])
        if len(best.i) == top:  # what is still looked for
            join.way.limit = min(join.way.limit, join.limit_of(float(best.similarity[-1])))
    return best


def check_most(total: int, most: int, threshold: float) -> None:
    """Complain of too many pairs."""
    if total > most:
        raise ValueError(
            f"at least {total:,} pairs are at or above the threshold {threshold:g}, more than max_pairs = {most:,}: "
            "raise the threshold, take the best with top=, or raise max_pairs and read them with join_blocks"
        )


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _check_threshold(record: Metric, threshold: Any) -> float:
    """Check the threshold; return what distances are subtracted from."""
    if record.similar is None:
        raise ValueError(
            f"{record.name} is a distance without a similarity of its own: find the rows within a distance with "
            "Index.query_radius, or join by another metric"
        )
    number = isinstance(threshold, int | float | np.integer | np.floating) and not isinstance(threshold, bool)
    if not number or not np.isfinite(threshold):
        raise ValueError(f"threshold must be a finite number, got {threshold!r}")
    if record.similar == 1.0 and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold must be between 0 and 1 (similarities of {record.name}), got {threshold!r}")
    return record.similar
