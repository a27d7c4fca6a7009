"""What an index holds at one moment: segments of rows, which of them are there, and their ids.

A state never changes. A query reads the index's state once, so it sees everything before an update or everything after
it. The rows of the first segment, the base, were indexed together and are searched as the plan says; later segments are
rows added since, few beside the base, and searched exactly. Rows that have been removed stay where they are, and are
left out of what is found, until the base is made again.

Every row has a *number*, given when it is added and never used again. Rows stand by their numbers in each segment, so
the order (distance, number) of each segment's answer is that of the whole. Users see the numbers as ids, or ids of
their own, which are kept beside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.answers import Answers
from sparsenn.distance import Space, Store
from sparsenn.exact import ExactEngine
from sparsenn.filters import Filter
from sparsenn.names import Names, TextNames, read_keys, shown
from sparsenn.parallel import ForkLock, cached
from sparsenn.planning import Plan
from sparsenn.results import Neighbors, RaggedNeighbors
from sparsenn.rows import Rows

Numbers = npt.NDArray[np.int64]
NOWHERE = np.int64(2**63 - 1)  # rank of no row
SPARE = (1.5, 4)  # rows asked for beyond k: so many times those that may have been removed, and more


class Waiting:
    """Added rows that are indexed when they are first searched: rows that come in the meantime are indexed with them.

    Attributes
    ----------
    n_rows : int
    rows : Rows or None
        As the user numbers their columns; None once they are indexed.
    """

    def __init__(self, space: Space, rows: Rows, lists: bool, n_jobs: int | None):
        self.n_rows = len(rows)
        self.rows: Rows | None = rows
        self._space, self._lists, self._n_jobs = space, lists, n_jobs
        self._engine: ExactEngine | None = None
        self._lock = ForkLock()

    @property
    def engine(self) -> ExactEngine:
        """The rows, indexed: by the first that asks, while others wait."""
        if self._engine is None:
            with self._lock:
                rows = self.rows
                if self._engine is None and rows is not None:
                    # columns of a copy are renumbered: whoever adds may be reading these rows
                    own = rows.copy() if rows.container == "csr" and self._lists else rows
                    self._engine = ExactEngine(self._space, own, self._n_jobs, lists=self._lists)
        assert self._engine is not None
        self.rows = None
        return self._engine


@dataclass(frozen=True, eq=False)
class Segment:
    """Rows indexed together.

    Attributes
    ----------
    held : ExactEngine or Waiting
    numbers : ndarray of int64, or None
        Number of each row, rising; None where it is the row's place.
    names : Names or None
        The users' ids.
    live : ndarray of bool, or None
        Which rows have not been removed; None for all.
    answers : Answers or None
        How queries are answered where not exactly.
    """

    held: ExactEngine | Waiting
    numbers: Numbers | None = None
    names: Names | None = None
    live: npt.NDArray[np.bool_] | None = None
    answers: Answers | None = None

    @property
    def engine(self) -> ExactEngine:
        """The rows, indexed."""
        held = self.held
        return held.engine if isinstance(held, Waiting) else held

    @property
    def n_rows(self) -> int:
        """Rows, also those that have been removed."""
        return self.held.n_rows

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays held."""
        rows = self.held.rows if isinstance(self.held, Waiting) else None
        return self.engine.nbytes if rows is None else rows.nbytes

    @cached
    def n_live(self) -> int:
        """Rows that have not been removed."""
        return self.n_rows if self.live is None else int(self.live.sum())

    @cached
    def live_places(self) -> Numbers:
        """Places of the rows that have not been removed."""
        places = np.arange(self.n_rows) if self.live is None else np.flatnonzero(self.live)
        return places.astype(np.int64, copy=False)

    def numbers_at(self, places: Numbers) -> Numbers:
        """Numbers of rows at some places."""
        return places if self.numbers is None else self.numbers[places]

    def ids_at(self, places: Numbers) -> Numbers:
        """What a result calls rows at some places."""
        if self.names is None or isinstance(self.names, TextNames):
            return self.numbers_at(places)
        return self.names.read(places)

    def find_numbers(self, wanted: Numbers) -> Numbers:
        """Places of rows that have not been removed, by number; -1 where there is none."""
        n = self.n_rows
        if not n:
            return np.full(len(wanted), -1, np.int64)
        if self.numbers is None:
            places, there = np.clip(wanted, 0, n - 1), (wanted >= 0) & (wanted < n)
        else:
            places = np.minimum(np.searchsorted(self.numbers, wanted), n - 1)
            there = self.numbers[places] == wanted
        return self._only_live(np.where(there, places, -1))

    def find_names(self, keys: Any) -> Numbers:
        """The same by the users' ids."""
        return self._only_live(self.names.find(keys) if self.names is not None else np.full(len(keys), -1, np.int64))

    def _only_live(self, places: Numbers) -> Numbers:
        if self.live is not None:
            places = np.where((places >= 0) & self.live[places], places, -1)
        return places

    def without(self, places: Numbers) -> npt.NDArray[np.bool_]:
        """Which rows are left when some are removed."""
        live = np.ones(self.n_rows, np.bool_) if self.live is None else self.live.copy()
        live[places] = False
        return live

    def filter_of(self, n_queries: int) -> Filter:
        """Filter that leaves out what has been removed."""
        assert self.live is not None
        return Filter(self.live.astype(np.int32) - 1, np.zeros(n_queries, np.int32))

    def nearest(
        self, queries: Rows, k: int, n_jobs: int, recall: float | None, epsilon: float | None, depth: int
    ) -> Neighbors:
        """The k nearest rows that are there, by place."""
        gone = self.engine.n_rows - self.n_live
        wanted = k
        if gone:
            share = gone / self.engine.n_rows
            wanted = min(k + int(np.ceil(SPARE[0] * k * share)) + SPARE[1], self.engine.n_rows)
            wanted = max(wanted, k)
        if self.answers is None:
            found = self.engine.nearest(queries, wanted, n_jobs)
        else:
            found = self.answers.nearest(queries, wanted, n_jobs, recall, epsilon, depth=depth + 1)
        if not gone:
            return found
        assert self.live is not None
        there = (found.indices >= 0) & self.live[found.indices]
        order = np.argsort(~there, axis=1, kind="stable")[:, :k]
        ids = np.take_along_axis(found.indices, order, axis=1)
        distances = np.take_along_axis(found.distances, order, axis=1)
        kept = np.take_along_axis(there, order, axis=1)
        ids[~kept], distances[~kept] = -1, np.inf
        short = np.flatnonzero(kept.sum(axis=1) < min(k, self.n_live))
        if short.size:  # most of the nearest are gone
            some = queries.take(short)
            ids[short], distances[short] = self.engine.nearest(some, k, n_jobs, filter=self.filter_of(len(some)))
        return Neighbors(ids, distances)

    def within(self, queries: Rows, radius: float, n_jobs: int, recall: float | None, depth: int) -> RaggedNeighbors:
        """All rows within a radius that are there, by place."""
        if self.answers is None:
            found = self.engine.within(queries, radius, n_jobs)
        else:
            found = self.answers.within(queries, radius, n_jobs, recall, None, depth + 1)
        if self.live is None:
            return found
        there = self.live[found.indices]
        kept = np.concatenate([[0], np.cumsum(there)])
        return RaggedNeighbors(kept[found.indptr], found.indices[there], found.distances[there])


@dataclass(frozen=True, eq=False)
class State:
    """What an index holds at one moment.

    Attributes
    ----------
    segments : tuple of Segment
    plan : Plan
    graph : Neighbors or None
        Of the base's rows, by place, where it has been made.
    given : ndarray of int32, or None
        The user's own graph to start from.
    next_number : int
    kind : "number", "int" or "text"
        What the ids of rows are.
    """

    segments: tuple[Segment, ...]
    plan: Plan
    graph: Neighbors | None
    given: npt.NDArray[np.int32] | None
    next_number: int
    kind: str

    @property
    def base(self) -> Segment:
        """The rows that were indexed together."""
        return self.segments[0]

    @property
    def answers(self) -> Answers:
        """How queries of the base are answered."""
        assert self.base.answers is not None
        return self.base.answers

    @property
    def space(self) -> Space:
        """The metric, fitted."""
        return self.base.engine.space

    @cached
    def n_rows(self) -> int:
        """Rows that are there."""
        return sum(segment.n_live for segment in self.segments)

    @cached
    def settled(self) -> bool:
        """Whether there is a base alone, with nothing removed."""
        return len(self.segments) == 1 and self.base.live is None

    @cached
    def plain(self) -> bool:
        """Whether also each row's place is its id."""
        return self.settled and self.base.numbers is None and self.base.names is None

    @cached
    def numbers(self) -> Numbers:
        """Numbers of the rows that are there, rising."""
        return np.sort(np.concatenate([s.numbers_at(s.live_places) for s in self.segments]))

    @cached
    def ranks(self) -> list[Numbers]:
        """Where the rows of each segment that are there stand among all that are."""
        return [np.searchsorted(self.numbers, s.numbers_at(s.live_places)) for s in self.segments]

    @cached
    def ids(self) -> npt.NDArray[Any]:
        """Ids of the rows that are there, in the order of their numbers."""
        if self.kind == "number":
            return self.numbers
        numbers = np.concatenate([s.numbers_at(s.live_places) for s in self.segments])
        ids = np.concatenate([s.names.read(s.live_places) for s in self.segments if s.names is not None])
        return ids[np.argsort(numbers)]

    @cached
    def shown(self) -> Neighbors:
        """The graph by the users' ids."""
        assert self.graph is not None
        if self.plain or not len(self.graph.indices):
            return self.graph
        there = self.graph.indices >= 0
        ids = self.base.ids_at(np.where(there, self.graph.indices, 0))
        return Neighbors(np.where(there, ids, -1), self.graph.distances)

    def locate(self, keys: Any, name: str = "ids") -> list[Numbers]:
        """Places of rows in each segment, by the users' ids; -1 where a segment does not have one.

        Raises
        ------
        ValueError
            If `keys` are no ids, or one of them is no row.
        """
        keys = read_keys(keys, name)
        texts = isinstance(keys, list)
        if texts and self.kind != "text":
            raise ValueError(f"{name} has {keys[0]!r}, but the ids of this index are integers")
        by_name = self.kind == "int" or texts
        found = [s.find_names(keys) if by_name else s.find_numbers(keys) for s in self.segments]
        missing = np.flatnonzero(np.stack(found).max(axis=0) < 0)
        if missing.size:
            at = int(missing[0])
            raise ValueError(f"{name} has {shown(keys[at])} at place {at}, which is the id of no row of this index")
        return found

    def rank(self, keys: Any, name: str = "ids") -> Numbers:
        """Where rows stand among all that are there, by the users' ids."""
        found = self.locate(keys, name)
        numbers = np.full(len(found[0]), -1, np.int64)
        for segment, places in zip(self.segments, found, strict=True):
            numbers[places >= 0] = segment.numbers_at(places[places >= 0])
        return np.searchsorted(self.numbers, numbers)

    def names_of(self, numbers: Numbers) -> npt.NDArray[Any]:
        """Users' ids of what results call rows; None for -1."""
        flat = numbers.reshape(-1)
        if self.kind != "text":
            return numbers
        out = np.full(len(flat), None, object)
        known = flat == -1
        for segment in self.segments:
            places = segment.find_numbers(flat)
            there = places >= 0
            assert segment.names is not None
            out[there] = segment.names.read(places[there])
            known |= there
        if not known.all():
            at = int(np.argmin(known))
            raise ValueError(f"indices has {flat[at]} at place {at}, which is no row of this index (any more)")
        return out.reshape(numbers.shape)

    def _split(self, filter: Filter | None) -> list[Filter | None]:
        """A filter of all rows that are there, as one of each segment."""
        if filter is None:
            return [None] * len(self.segments)
        parts: list[Filter | None] = []
        for segment, ranks in zip(self.segments, self.ranks, strict=True):
            labels = np.full(segment.n_rows, -1, np.int32)
            labels[segment.live_places] = filter.labels[ranks]
            parts.append(filter._replace(labels=labels))
        return parts

    def nearest(
        self,
        queries: Rows | Callable[[], Rows],
        k: int,
        n_jobs: int,
        recall: float | None = None,
        epsilon: float | None = None,
        filter: Filter | None = None,
        store: Store | None = None,
        depth: int = 5,
    ) -> Neighbors:
        """The k nearest rows of each query, by id; `depth`: calls from a warning up to the user's."""
        if self.plain:
            return self.answers.nearest(queries, k, n_jobs, recall, epsilon, filter, store, depth)
        rows = queries if isinstance(queries, Rows) else queries()
        parts = []
        for segment, own in zip(self.segments, self._split(filter), strict=True):
            if not segment.n_live:
                continue
            if own is not None:
                found = segment.engine.nearest(rows, k, n_jobs, filter=own)
            else:
                found = segment.nearest(rows, k, n_jobs, recall, epsilon, depth + 1)
            there = found.indices >= 0
            places = np.where(there, found.indices, 0)
            rank = np.where(there, segment.numbers_at(places), NOWHERE)
            ids = rank if self.kind != "int" else np.where(there, segment.ids_at(places), -1)
            parts.append((rank, ids, found.distances))
        return _merge(parts, len(rows), k)

    def within(
        self,
        queries: Rows,
        radius: float,
        n_jobs: int,
        recall: float | None = None,
        filter: Filter | None = None,
        depth: int = 6,
    ) -> RaggedNeighbors:
        """All rows within a radius of each query, by id."""
        if self.plain:
            return self.answers.within(queries, radius, n_jobs, recall, filter, depth)
        parts = []
        for segment, own in zip(self.segments, self._split(filter), strict=True):
            if own is not None:
                found = segment.engine.within(queries, radius, n_jobs, own)
            else:
                found = segment.within(queries, radius, n_jobs, recall, depth + 1)
            query = np.repeat(np.arange(len(queries)), np.diff(found.indptr))
            rank, ids = segment.numbers_at(found.indices), segment.ids_at(found.indices)
            parts.append((query, rank, ids, found.distances))
        query, rank, ids, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
        if len(parts) > 1:
            order = np.lexsort((rank, distances, query))
            ids, distances = ids[order], distances[order]
        counts = np.bincount(query, minlength=len(queries))
        return RaggedNeighbors(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), ids, distances)


def _merge(parts: Sequence[tuple[Numbers, Numbers, npt.NDArray[np.float32]]], n: int, k: int) -> Neighbors:
    """The k nearest of several answers, by (distance, number)."""
    if not parts:
        return Neighbors(np.full((n, k), -1, np.int64), np.full((n, k), np.inf, np.float32))
    rank, ids, distances = (np.hstack(column) if len(parts) > 1 else column[0] for column in zip(*parts, strict=True))
    if len(parts) > 1:
        order = np.lexsort((rank, distances), axis=1)[:, :k]
        rank, ids, distances = (np.take_along_axis(part, order, axis=1) for part in (rank, ids, distances))
    return Neighbors(np.where(rank == NOWHERE, -1, ids), distances)
