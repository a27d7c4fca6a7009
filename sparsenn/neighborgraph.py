"""The k-neighbour graph of an engine's rows, as a plan says: seeds, descent, and no place left open."""

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn.compact import (
    WORTH_FORM,
    Form,
    Learnt,
    Truth,
    coded,
    edges_for,
    exact_form,
    form_again,
    kept_small,
    packed,
    recall_of,
    sketched,
    truth_of,
    whole_rows,
)
from sparsenn.descent import (
    EMPTY,
    Graph,
    close_lists,
    descend,
    edges_of,
    empty_graph,
    list_back,
    measure_drawn,
    measure_given,
    measure_leaves,
    scale_for,
    widened,
)
from sparsenn.exact import ExactEngine
from sparsenn.forest import grow_forest
from sparsenn.heads import cut_heads, order_by_heaviest, seed_by_heads, split_windows, worth_ordering
from sparsenn.parallel import cached, map_blocks
from sparsenn.rerank import nearest_listed
from sparsenn.results import Neighbors

EXTRA = 5  # edges a row beyond those asked for, which descent walks over
LEAST = 20  # edges a row that descent needs to find its way
FEWER_TREES = 3  # for rows that come to others, whose neighbours lead on
NEARLY_ALL = 0.98  # share of the nearest that rows know of each other from which they need not look for more
MANY = 10  # neighbours whose farthest, by a form that is not exact, bounds what may be nearer by the metric
BACK = 16  # new rows that are tried as neighbours of a row they found
DEEPEST = 60  # levels of a tree
MOST_ROWS = 2**30  # ids are kept doubled in 32 bits
log = logging.getLogger("sparsenn")
# Told the name of a stage and how many of the rows it will see; returns what is told each block of them.
Stages = Callable[[str, int], Callable[[int], object] | None]


class Known(NamedTuple):
    """What an earlier graph tells of one of these and of other rows.

    edges: ids of neighbours, -1 for none, and which rows have all of theirs (`joined`). places: of each row among those
    of the earlier graph, -1 for none. learnt: what making that told.
    """

    edges: npt.NDArray[np.int32]
    joined: npt.NDArray[np.bool_]
    places: npt.NDArray[np.int64]
    learnt: Learnt | None


def silent(stage: str, n: int) -> None:
    """Show nothing."""


def build_graph(
    engine: ExactEngine,
    k: int,
    plan: Any,
    *,
    seed: np.uint64,
    given: npt.NDArray[np.int32] | None,
    n_jobs: int | None,
    stages: Stages = silent,
    known: Known | None = None,
) -> Neighbors | None:
    """Make the graph that `plan` describes; the same seed gives the same bits for any number of threads.

    With `known`, some rows have all the neighbours that earlier descent found among them: descent begins at the edges
    of the others, which the plan's seeds find.

    None where the plan may give up, and exact search is cheaper than what would still have to be done.
    """
    n = engine.n_rows
    if n > MOST_ROWS:
        raise ValueError(f"a graph takes at most {MOST_ROWS} rows, got {n}: take method='exact'")
    asked, k = k, min(k, max(n - 1, 1))
    work = _Work(engine, k, plan, seed, n_jobs, stages, known)
    work.begin(given, known)
    if not work.improve():
        return None
    engine.learnt = work.learnt
    found = work.result()
    del work  # its graph and rows are as large as the result
    _fill(engine, found, n_jobs)
    if asked > k:
        missing = asked - k
        indices = np.pad(found.indices, ((0, 0), (0, missing)), constant_values=-1)
        return Neighbors(indices, np.pad(found.distances, ((0, 0), (0, missing)), constant_values=np.inf))
    return found


def small_form(
    engine: ExactEngine, k: int, seed: np.uint64, n_jobs: int | None, known: Known | None = None
) -> tuple[Form, Truth | None]:
    """Take the smallest form of the rows by which a sample of them finds its true neighbours, and that sample's.

    What a graph of these rows has told is taken as it is; what one of most of them told, if others do as well by it.
    """
    space = engine.space
    y, metric = engine.own()
    if space.container == "csr":
        return packed(space, metric, y), None
    if space.dense_term is None or y.data.size < WORTH_FORM:
        return whole_rows(metric, y), None
    products = engine.way == "products"
    learnt = known.learnt if known else engine.learnt
    if learnt and learnt.k == k and (known or learnt.own) and (products or learnt.basis is None):
        form = form_again(learnt, space, metric, y, known.places if known else None, n_jobs)
        others = np.flatnonzero(~known.joined) if known else np.zeros(0, np.int64)
        if form is not None and not len(others):
            return form, None
        if form is not None:
            truth = truth_of(engine, k, seed, n_jobs, others)
            if edges_for(form, truth, metric, y, space.n_features, n_jobs):
                return form, truth
    truth = truth_of(engine, k, seed, n_jobs)
    sketches = sketched(space, metric, y, seed, n_jobs) if products else ()
    for form in chain(sketches, (coded(space, metric, y) for _ in range(1))):
        edges = edges_for(form, truth, metric, y, space.n_features, n_jobs)
        if edges:
            return replace(form, edges=edges, blur=max(edges / truth.k, 1.0)), truth
    return whole_rows(metric, y), truth


class _Work:
    """A graph in the making, in the order and under the form of the rows that suit it."""

    def __init__(
        self,
        engine: ExactEngine,
        k: int,
        plan: Any,
        seed: np.uint64,
        n_jobs: int | None,
        stages: Stages,
        known: Known | None = None,
    ):
        self.engine, self.k, self.plan, self.seed = engine, k, plan, seed
        self.n_jobs, self.stages = n_jobs, stages
        self.form, self._truth = small_form(engine, k, seed, n_jobs, known)
        inherited = known.learnt if known else None
        self._inherits = inherited is not None and (inherited.basis is None or inherited.basis is self.form.basis)
        # as many candidates as it took before, unless the user says how many
        self.width = max(plan.max_candidates, inherited.width if inherited and plan.wider else 0)
        self._sketches = self.form.x if self.form.basis and kept_small(self.form, engine.values_per_row) else None
        self._left = inherited.n_rows if inherited and self._inherits else engine.n_rows
        self._found = inherited.recall if inherited else None
        log.info("rows are measured as %s", self.form.name)
        n = engine.n_rows
        self.order = np.arange(n)
        # after heads the one round looks at fewer than k neighbours
        edges = max(k, self.width) if plan.seeds == "heads" else max(k + EXTRA, LEAST, self.width)
        scale = scale_for(*self.rows, seed)
        width = min(max(edges, self.form.edges), max(n - 1, 1))
        self._shape = n, width, scale
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """The edges so far; takes no memory before it is asked for."""
        if self._graph is None:
            self._graph = empty_graph(*self._shape)
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._graph = graph

    @property
    def learnt(self) -> Learnt:
        """What this tells those who add to these rows, or search them."""
        form, own = self.form, not self._inherits
        return Learnt(
            *(self.k, own, self._left, form.name, form.basis, self._sketches),
            *(form.edges, form.blur, self.width, self._found),
        )

    @property
    def truth(self) -> Truth:
        """Exact neighbours of some rows, made when first asked for."""
        if self._truth is None:
            self._truth = truth_of(self.engine, self.k, self.seed, self.n_jobs)
        return self._truth

    @cached
    def exact(self) -> Form:
        """A form whose distances are those of exact search; made at the end, when it is needed."""
        y, metric = self.engine.own()
        return exact_form(self.engine.space, metric, y, self.n_jobs)

    @property
    def rows(self) -> tuple[Any, Any, Any, int]:
        """What every stage reads."""
        return self.form.metric, self.form.x, self.form.z, self.engine.space.n_features

    def over(
        self, stage: str, function: Callable[[int, int], Any], total: int | None = None, smallest: int = 64
    ) -> list[Any]:
        """Map a stage's function over blocks of rows, or of whatever there are `total` of."""
        total = self.engine.n_rows if total is None else total
        tick = self.stages(stage, total) if stage else None
        return map_blocks(function, total, self.n_jobs, smallest, tick)

    def begin(self, given: npt.NDArray[np.int32] | None, known: Known | None = None) -> None:
        """Fill the graph with what the seeds find."""
        plan = self.plan
        if known:
            self._go_on(known)
            return
        if plan.seeds == "heads":
            self._look_up()
            return
        graph = self.graph
        width = graph.keys.shape[1]
        if plan.seeds == "given" and given is not None:
            self.over("given graph", lambda a, b: measure_given(*self.rows, given, a, b, graph))
        elif plan.seeds == "forest":
            self._grow()
        self.over("random rows", lambda a, b: measure_drawn(*self.rows, self.seed, a, b, graph, width))

    def _reorder(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Put the rows into another order, from now on; returns the place of each."""
        self.order = order
        self.form = self.form.reordered(order)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return place

    def _go_on(self, known: Known) -> None:
        """Begin with edges between rows that were joined before; seeds find those of the others, offered backwards too.

        From then on the rows that were joined stand first. Where they have found nearly all of their nearest, they take
        no others that are farther than those, and do not look for each other.
        """
        given, joined = known.edges, known.joined
        n, first = self.engine.n_rows, int(joined.sum())
        narrow, width, heads = self.graph, self.graph.keys.shape[1], self.plan.seeds == "heads"
        # what the others find, and more of it than they keep: a row may be near to one that has many nearer
        keys = np.empty((n, max(self.plan.head_width if heads else 2 * width, width)), np.int64)
        keys[first:] = EMPTY
        self.graph = graph = narrow._replace(keys=keys)
        if heads:
            place = self._look_up(joined)
            place = np.arange(n) if place is None else place  # they stand so already
        else:
            forest = self.plan.seeds == "forest"
            place = self._grow(joined) if forest else self._reorder(_last(np.arange(n), ~joined))
            rows, seed = self.rows, self.seed
            self.over(
                "random rows", lambda a, b: measure_drawn(*rows, seed, a + first, b + first, graph, width), n - first
            )
        named = np.append(place, -1)  # -1 stays
        given = named[given[self.order[:first]]].astype(np.int32)
        back = list_back(keys, first, BACK)
        self.graph = graph = narrow._replace(known=np.int64(first))
        graph.keys[first:] = keys[first:, :width]
        self.over("given graph", lambda a, b: measure_given(*self.rows, given, a, b, graph), first)
        recall = known.learnt.recall if known.learnt else None
        if heads or (recall is not None and recall >= NEARLY_ALL):
            if self.form.blur <= 1.0 or self.k >= MANY:
                close_lists(graph.keys, first, self.k)
        else:
            self.graph = graph = graph._replace(known=np.int64(0))
        self.over("found back", lambda a, b: measure_given(*self.rows, back, a, b, graph), first)

    def _look_up(self, joined: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64] | None:
        """Measure the best of each row's candidates by the heads of inverted lists; returns its place if it moves.

        Rows that are `joined` come first, and are left as they are.
        """
        plan, postings = self.plan, self.engine.postings
        heads = cut_heads(postings, self.form.x, self.form.metric, plan.head, self.n_jobs)
        place, order, first = None, None, 0
        if worth_ordering(self.engine.n_rows):
            order = order_by_heaviest(self.form.x, postings, plan.head, self.n_jobs)
        if joined is not None:
            order = _last(np.arange(self.engine.n_rows) if order is None else order, ~joined)
            first = int(joined.sum())
        if order is not None and (np.diff(order) != 1).any():
            place = self._reorder(order)
        windows = split_windows(heads, self.form.x, place, self.n_jobs)
        del heads
        measured = seed_by_heads(
            *self.rows,
            windows,
            self.graph,
            share=plan.share,
            width=plan.head_width,
            over_rows=self.over,
            begin=first,
        )
        log.info("heads: %.0f pairs a row measured", measured / max(self.engine.n_rows - first, 1))
        return place

    def _grow(self, joined: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Measure the rows of each leaf of a forest; rows are from then on in the order of the first tree's leaves.

        So rows that are measured together lie together in memory. Returns their places. Rows that are `joined` come
        first, and are left as they are.
        """
        plan = self.plan
        trees = grow_forest(
            *self.rows,
            n_trees=plan.n_trees if joined is None else min(plan.n_trees, FEWER_TREES),
            leaf_size=plan.leaf_size,
            max_depth=DEEPEST,
            seed=self.seed,
            over_trees=lambda function, total: self.over("trees", function, total, 1),
        )
        order, first = trees[0].rows.astype(np.int64), 0
        if joined is not None:
            order, first = _last(order, ~joined), int(joined.sum())
        place = self._reorder(order)
        n = len(order)
        rows = np.concatenate([place[tree.rows] for tree in trees]).astype(np.uint32)
        begins = np.concatenate([[0], *(t * n + tree.ends for t, tree in enumerate(trees))])
        leaf_of = np.empty((n, len(trees)), np.int32)
        first_leaf = np.cumsum([0] + [len(tree.ends) for tree in trees])
        for t, tree in enumerate(trees):
            leaves = np.arange(first_leaf[t], first_leaf[t + 1], dtype=np.int32)
            leaf_of[rows[t * n : (t + 1) * n], t] = np.repeat(leaves, np.diff(tree.ends, prepend=0))

        def measure(a: int, b: int) -> None:
            measure_leaves(*self.rows, rows, begins, leaf_of, a + first, b + first, self.graph)

        self.over("leaves", measure, len(order) - first)
        return place

    def improve(self) -> bool:
        """Descend; with more candidates, where recall on some rows is not what the plan aims at.

        Returns False where the plan would rather have exact search.
        """
        plan, wider = self.plan, [further for further in self.plan.wider if further[0] > self.width]
        while True:
            descend(
                *self.rows, self.graph, width=self.width, rounds=plan.n_iters, delta=plan.delta, over_rows=self.over
            )
            if not plan.wider:
                return True
            recall = self._found = self._recall()
            log.info("%d candidates: recall %.3f of some rows", self.width, recall)
            if recall >= plan.aim or not wider:
                return True
            self.width, seconds = wider.pop(0)
            if plan.gives_up and seconds > plan.exact_seconds:
                log.info("exact search is cheaper than %d candidates", self.width)
                return False
            self.graph = widened(self.graph, min(self.width, self.engine.n_rows - 1))

    def _recall(self) -> float:
        """Share of the truly nearest of some rows that the graph has."""
        rows = self.truth.rows
        place = np.empty(len(self.order), np.int64)
        place[self.order] = np.arange(len(self.order))
        ids = edges_of(self.graph._replace(keys=self.graph.keys[place[rows]]))
        return recall_of(self.truth, self._measured(ids, rows, np.arange(len(rows)), max(self.k, 1)).distances)

    def _measured(self, ids: Any, queries: Any, places: Any, k: int) -> Neighbors:
        """Edges at the distances of exact search, the nearest `k` of each row."""
        exact, width, order = self.exact, self.engine.space.n_features, self.order
        indices, distances = np.empty((len(ids), k), np.int64), np.empty((len(ids), k), np.float32)

        def measure(a: int, b: int) -> None:
            nearest_listed(exact.metric, exact.x, exact.z, width, queries, ids, order, places, a, b, indices, distances)

        self.over("final distances", measure, len(ids))
        return Neighbors(indices, distances)

    def result(self) -> Neighbors:
        """Return the nearest, at the distances of exact search."""
        # copies in another order, and distances, are freed before room is made for the result
        ids, self.graph, self.form = edges_of(self.graph), empty_graph(0, 1), self.exact
        return self._measured(ids, self.order, self.order, self.k)


def _last(order: npt.NDArray[np.int64], which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """An order of rows with some of them moved behind the others."""
    return np.concatenate([order[~which[order]], order[which[order]]])


def _fill(engine: ExactEngine, found: Neighbors, n_jobs: int | None) -> None:
    """Ask exact search for the rows that have not found as many neighbours as there are."""
    k = min(found.indices.shape[1], engine.n_rows - 1)
    short = np.flatnonzero(found.indices[:, k - 1] < 0) if k > 0 else np.zeros(0, np.int64)
    if len(short):
        log.info("exact search for %d rows that found fewer than %d others", len(short), k)
        found.indices[short], found.distances[short] = engine.nearest_of(short, found.indices.shape[1], n_jobs)
