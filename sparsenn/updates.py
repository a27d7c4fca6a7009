"""A state after rows have been added, removed or changed.

New rows become a segment of their own, searched exactly beside the base, and indexed by the first query that comes.
Small segments are joined as they come: one joins the segments before it that have no more rows than it has, so that a
row is indexed again a few times only, and there are few segments. Rows that are removed are left out from then on.
Where new or removed rows pass a share of all, the base is made again, of the rows that are there: its neighbour graph
begins with the edges that it had and with what the seeds find for each new row, and descent looks at the neighbours of
rows whose edges are new.

Nothing is changed in place: a call that fails or is interrupted leaves the state that there was.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from sparsenn.blocks import join_rows, widen_rows
from sparsenn.building import Recipe, make_answers, make_engine, original_rows, plan_graph
from sparsenn.distance import Space
from sparsenn.names import Names
from sparsenn.neighborgraph import Known
from sparsenn.parallel import map_blocks
from sparsenn.rows import Rows
from sparsenn.state import Numbers, Segment, State, Waiting

# Rows added since, as a share of the base, and removed, of all, from which the base is made again. That takes .35 to .7
# of a fresh build, so a row that was added costs at most .7 (1 + g) / g of its share: 2.8 times with a third.
# Exact search takes no longer in two parts: there the first may be more.
GROWN, GROWN_EXACT, GONE = 1 / 3, 1.0, 0.2
FEW = 256  # rows that may wait beside a base however small
SMALL, JOINS = 512, 1  # rows of a segment that joins whatever comes next; of one that joins so many times its rows
# Rows of a segment that are scanned without inverted lists, which cost something for each column: queries take as long.
# The same where columns are so many times its values: of 2^20, 20 us in place of 30 ms, and at most 50 us a query.
SCANNED, SCANNED_WIDE, WIDE = 128, 512, 32
COPIED_AT_ONCE = 2**20  # values copied by one thread
WORTH_GRAPH = 0.5  # share of rows that must have kept all neighbours for a graph to be gone on with
LEARNT = 2.0  # times as many rows as were there, up to which what these told is believed


def first_state(
    space: Space, rows: Rows, names: Names | None, given: npt.NDArray[np.int32] | None, recipe: Recipe
) -> State:
    """Rows fitted: a base alone."""
    n = len(rows)
    engine, proxies = make_engine(space, rows, recipe)
    plan, graph = plan_graph(engine, recipe, given)
    answers = make_answers(engine, plan, graph, proxies, recipe)
    kind = "number" if names is None else names.kind
    return State((Segment(engine, names=names, answers=answers),), plan, graph, given, n, kind)


def add(state: State, rows: Rows, names: Names | None, recipe: Recipe) -> tuple[State, Numbers]:
    """State with further rows, and their numbers."""
    numbers = np.arange(state.next_number, state.next_number + len(rows))
    state = replace(state, next_number=state.next_number + len(rows))
    return _append(state, rows, numbers, names, recipe), numbers


def remove(state: State, places: list[Numbers], recipe: Recipe) -> State:
    """State without some rows: their places in each segment, -1 where they are in another."""
    return _purged(_without(state, places), recipe)


def change(state: State, places: list[Numbers], rows: Rows, recipe: Recipe) -> State:
    """State with other values in some rows, which keep their ids."""
    numbers = np.empty(len(rows), np.int64)
    names: list[Names] = []
    order: list[npt.NDArray[np.int64]] = []
    for segment, own in zip(state.segments, places, strict=True):
        there = np.flatnonzero(own >= 0)
        numbers[there] = segment.numbers_at(own[there])
        if segment.names is not None:
            names.append(segment.names.take(own[there]))
        order.append(there)
    named = names[0].joined(names[1:]) if names else None  # type: ignore[arg-type]
    if named is not None:
        back = np.empty(len(rows), np.int64)
        back[np.concatenate(order)] = np.arange(len(rows))
        named = named.take(back)
    by_number = np.argsort(numbers)
    named = None if named is None else named.take(by_number)
    return _append(_without(state, places), rows.take(by_number), numbers[by_number], named, recipe)


def widen(state: State, n_columns: int, recipe: Recipe) -> State:
    """State of the same rows with more columns, which are 0."""
    return rebuild(state, recipe, state.space.widened(n_columns))


def _without(state: State, places: list[Numbers]) -> State:
    """State with some rows marked as removed; segments other than the base that have none left are forgotten."""
    segments = []
    for segment, own in zip(state.segments, places, strict=True):
        gone = own[own >= 0]
        kept = replace(segment, live=segment.without(gone)) if gone.size else segment
        if kept.n_live or segment is state.base:
            segments.append(kept)
    return replace(state, segments=tuple(segments))


def _append(state: State, rows: Rows, numbers: Numbers, names: Names | None, recipe: Recipe) -> State:
    """State with one more segment, which takes up the small ones before it."""
    if not len(rows):
        return state
    segments = list(state.segments)
    parts = [(rows, numbers, names)]
    size = len(rows)
    while len(segments) > 1 and segments[-1].n_live <= max(SMALL, JOINS * size):
        size += segments[-1].n_live
        parts.append(_live_part(segments.pop(), recipe.n_jobs()))
    joined, numbers, names = _sorted(parts, recipe.n_jobs())
    wide = size <= SCANNED_WIDE and joined.shape[1] >= WIDE * len(joined.data)
    waiting = Waiting(state.space, joined, not wide and size > SCANNED, recipe.n_jobs())
    segments.append(Segment(waiting, numbers, names))
    return _purged(replace(state, segments=tuple(segments)), recipe)


def _purged(state: State, recipe: Recipe) -> State:
    """State with its base made again, where enough has changed since it was made."""
    held = sum(segment.n_rows for segment in state.segments)
    newer = sum(segment.n_live for segment in state.segments[1:])
    grown = GROWN if state.answers.approximate or state.plan.method != "exact" else GROWN_EXACT
    if newer > max(grown * state.base.n_rows, FEW) or held - state.n_rows > GONE * held:
        return rebuild(state, recipe)
    return state


def _live_part(segment: Segment, n_jobs: int | None) -> tuple[Rows, Numbers, Names | None]:
    """Rows of a segment that are there, with their numbers and ids."""
    rows = segment.held.rows if isinstance(segment.held, Waiting) else None
    if rows is None:
        rows = original_rows(segment.engine, n_jobs)
    names, places = segment.names, segment.live_places
    if segment.live is None:
        return rows, segment.numbers_at(places), names
    return rows.take(places), segment.numbers_at(places), None if names is None else names.take(places)


def _sorted(parts: list[tuple[Rows, Numbers, Names | None]], n_jobs: int | None) -> tuple[Rows, Numbers, Names | None]:
    """Rows of several parts in the order of their numbers."""
    over = partial(map_blocks, n_jobs=n_jobs, smallest=COPIED_AT_ONCE)
    rows, numbers = join_rows([part[0] for part in parts], over), np.concatenate([part[1] for part in parts])
    names = parts[0][2]
    if names is not None and len(parts) > 1:
        names = names.joined([part[2] for part in parts[1:]])  # type: ignore[misc]
    if (np.diff(numbers) > 0).all():
        return rows, numbers, names
    order = np.argsort(numbers)
    return rows.take(order), numbers[order], None if names is None else names.take(order)


def rebuild(state: State, recipe: Recipe, space: Space | None = None) -> State:
    """State with all its rows in the base, made again; `space`: the metric for wider rows."""
    segments = [segment for segment in state.segments if segment.n_live]
    if not segments:
        if space is None:
            return state
        segments = [replace(state.base, live=None)]  # a base of no rows cannot be made: these stay, removed
    rows, numbers, names = _sorted([_live_part(segment, recipe.n_jobs()) for segment in segments], recipe.n_jobs())
    if len(segments) == 1 and (isinstance(segments[0].held, Waiting) or segments[0].engine.rank is None):
        rows = rows.copy()  # those of the segment, which the new engine would renumber in place
    known = _known(state, numbers, recipe)
    rows = rows if space is None else widen_rows(rows, space.n_features)
    n = len(rows)
    engine, proxies = make_engine(space or state.space, rows, recipe)
    plan, graph = plan_graph(engine, recipe, None, known=known)
    answers = make_answers(engine, plan, graph, proxies, recipe)
    if space is None and state.base.n_rows <= LEARNT * n and n <= LEARNT * state.base.n_rows:
        answers.inherit(state.answers)
    live = None if state.n_rows else np.zeros(n, np.bool_)
    base = Segment(engine, None if numbers[-1] == n - 1 else numbers, names, live, answers)
    return State((base,), plan, graph, None, state.next_number, state.kind)


def _known(state: State, numbers: Numbers, recipe: Recipe) -> Known | None:
    """What is left of the base's graph, of these rows; None where there was none, or most rows have to be joined anew.

    A row that has lost a neighbour would have to look for another among rows that its former neighbours never listed:
    it is joined anew, as a row that was added.
    """
    graph, base, k, n = state.graph, state.base, recipe.n_neighbors, len(numbers)
    if graph is None or graph.indices.shape[1] != k or not state.n_rows:
        return None
    now = np.searchsorted(numbers, base.numbers_at(base.live_places))  # where the base's rows stand
    place = np.full(base.n_rows + 1, -1, np.int64)
    place[base.live_places] = now
    before = graph.indices[base.live_places]
    near = place[before]
    edges, joined, places = np.full((n, k), -1, np.int32), np.zeros(n, np.bool_), np.full(n, -1, np.int64)
    places[now] = base.live_places
    edges[now], joined[now] = near, ((before < 0) == (near < 0)).all(axis=1)
    if joined.mean() < WORTH_GRAPH:
        return None
    learnt = base.engine.learnt
    if learnt is not None:
        left = int(learnt.n_rows * base.n_live / base.n_rows)  # of the rows by which it was learnt
        learnt = learnt._replace(n_rows=left) if learnt.k == k and n <= LEARNT * left else None
    return Known(edges, joined, places, learnt)
