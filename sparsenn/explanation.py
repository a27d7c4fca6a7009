"""Why a row was found: what each column that it shares with the query adds to the score.

A metric of shared terms is a surrogate ``finish(statistics of x, of y, Σ h(x_t, y_t))`` (`metrics.registry`). The
score of a pair is what its shared terms take off the surrogate: that of two rows with the same statistics that share
nothing, less that of the pair. It is the similarity of cosine, jaccard and their like, x·y of dot, Σ√(pq) of
hellinger, and 2x·y of euclidean, whose surrogate is the square. Each shared term has the part h of it that it has of
the sum, which is exact where `finish` is linear in the sum, and the only fair share where it is not.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.distance import Space, Store, take
from sparsenn.exact import ExactEngine
from sparsenn.metrics.registry import Metric
from sparsenn.rows import Rows
from sparsenn.state import Segment, State

Numbers = npt.NDArray[np.int64]


def locate(state: State, number: int) -> tuple[Segment, int]:
    """Segment and place of a row, by its number."""
    for segment in state.segments:
        place = int(segment.find_numbers(np.array([number], np.int64))[0])
        if place >= 0:
            return segment, place
    raise ValueError(f"there is no row with the number {number}")


def row_of(state: State, number: int) -> Rows:
    """A row of the index as a query, after the metric's transform."""
    segment, place = locate(state, number)
    engine = segment.engine
    store = take(engine.own()[0], np.array([place]))
    shape = (1, engine.space.n_features)
    columns, data = store.indices, store.data
    if engine.rank is not None:
        columns = engine.columns[columns]
        order = np.argsort(columns)
        columns, data = columns[order], data[order]
    return Rows(store.indptr, columns, data, shape, engine.space.container, bool((data < 0).any()))


def sums_terms(state: State) -> bool:
    """Whether the metric on these rows is a sum over shared terms."""
    return state.space.container == "csr" and state.space.bound.metric.pair is None


def scores_of(state: State, distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scores from distances, under a metric with a worst distance; minus the distance where no terms are shared."""
    space = state.space
    if not sums_terms(state):
        return -distances.astype(np.float64)
    near = distances.astype(np.float64)
    if space.bound.metric.invert is not None:
        near = np.array([space.surrogate_of(d) for d in near.ravel().tolist()], np.float64).reshape(near.shape)
    assert space.bound.metric.worst is not None
    scores: npt.NDArray[np.float64] = space.surrogate_of(space.bound.metric.worst) - near + 0.0  # no negative zero
    return scores


class Reasons:
    """Scores of rows found for one query, and what its terms add to them.

    Parameters
    ----------
    state : State
    rows : Rows or None
        The queries; None where only scores are wanted and the metric has a worst distance.
    i : int
        Which of them.
    """

    def __init__(self, state: State, rows: Rows | None, i: int):
        self.state, self.rows, self.i = state, rows, i
        self.space: Space = state.space
        self.record: Metric = self.space.bound.metric
        self._stores: dict[int, Store] = {}

    def scores(self, numbers: Numbers, distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Scores of rows from their distances; minus the distance where no terms are shared."""
        if self.record.worst is not None or not sums_terms(self.state):
            return scores_of(self.state, distances)
        near = [self.space.surrogate_of(d) for d in distances.astype(np.float64).tolist()]
        bases = [self._apart(*self._pair(number)) for number in numbers.tolist()]
        return np.array(bases, np.float64) - np.array(near, np.float64)

    def of(self, number: int) -> tuple[Numbers, npt.NDArray[np.float64]]:
        """Columns that the query and a row share, and what each adds to the score; the largest first.

        Raises
        ------
        ValueError
            If the metric is no sum over shared terms.
        """
        if not sums_terms(self.state):
            raise ValueError(
                f"{self.record.name} on {self.space.container} rows is no sum over shared terms: leave out explain"
            )
        engine, x, place = self._pair(number)
        y, p = engine.own()[0], self.space.compiled.params
        c, d = y.indptr[place], y.indptr[place + 1]
        columns, at, to = np.intersect1d(x.indices, y.indices[c:d], assume_unique=True, return_indices=True)
        pairs = zip(x.data[at].tolist(), y.data[c:d][to].tolist(), strict=True)
        steps = np.array([_step(self.record, p, u, v) for u, v in pairs], np.float64)
        total = math.fsum(steps)
        score = self._apart(engine, x, place) - self._finished(engine, x, place, total)
        shares = steps * (score / total) if total != 0.0 else steps * 0.0
        order = np.argsort(-np.abs(shares), kind="stable")
        if engine.rank is not None:
            columns = engine.columns[columns]
        return columns[order].astype(np.int64), shares[order]

    def _pair(self, number: int) -> tuple[ExactEngine, Store, int]:
        """Engine that has a row, the query in its columns, and the row's place."""
        segment, place = locate(self.state, number)
        key = id(segment)
        if key not in self._stores:
            assert self.rows is not None
            self._stores[key] = segment.engine.as_queries(self.rows.take(np.array([self.i])))
        return segment.engine, self._stores[key], place

    def _apart(self, engine: ExactEngine, x: Store, place: int) -> float:
        """Surrogate of rows with these statistics that share nothing."""
        return self._finished(engine, x, place, 0.0)

    def _finished(self, engine: ExactEngine, x: Store, place: int, shared: float) -> float:
        record = self.record
        own, other = _statistics(x, 0), _statistics(engine.own()[0], place)
        total = own[0] + other[0] - record.factor * shared if record.additive else shared
        assert record.finish is not None
        return float(record.finish(self.space.compiled.params, own, other, total))


def _statistics(store: Store, i: int) -> tuple[float, float]:
    stats = store.stats
    return float(stats[0, i]), float(stats[1, i]) if len(stats) > 1 else 0.0


def _step(record: Metric, p: Any, u: float, v: float) -> float:
    if record.step is not None:
        return float(record.step(p, u, v))
    assert record.term is not None
    return float(record.term(p, u, 0.0) + record.term(p, 0.0, v) - record.term(p, u, v))
