"""How an index answers queries: exactly, or by the cheapest way that reached the recall asked for on a sample."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.calibration import SAMPLE as TRIED
from sparsenn.calibration import SEEDS_OF_WALK, calibrate, calibrate_proxy
from sparsenn.compact import Form, packed
from sparsenn.distance import Store, take
from sparsenn.exact import ExactEngine
from sparsenn.filters import Filter
from sparsenn.forest import grow_forest
from sparsenn.graph import Links, link_rows
from sparsenn.neighborgraph import DEEPEST, small_form
from sparsenn.parallel import ForkLock, cached, map_blocks
from sparsenn.planning import PER_QUERY, Plan, exact_cost
from sparsenn.proxies import ProxyEngine
from sparsenn.results import Neighbors, RaggedNeighbors
from sparsenn.rows import Rows
from sparsenn.search import ALONE, Searcher, Setting, tiered_heads, word_bits

RECALL = 0.95  # of a query that does not say
AT_ONCE = 10_000.0  # nanoseconds of an exact query for which nothing else is tried
COUNTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)  # neighbours for which settings are tried
FEW_OF = 20  # rows, for each that is tried as if it were not there
LEAF = 60  # rows that stand together in the order of a walk
POOL_BY_SLACK = (8, 64)  # pool of a walk that ends by its slack: so many times k, and more
FIRST_WITHIN, GROWTH = 50, 4  # neighbours asked for first within a radius, and how many times as many next
BUDGET, FEWEST_MOST = 2e9, (20, 100)  # nanoseconds of exact answers for calibrating a proxy; queries, in any case


@dataclass(frozen=True)
class Calibration:
    """What a sample of queries told.

    Attributes
    ----------
    k : int
        Neighbours that were asked for.
    settings : tuple of Setting
        The cheapest along recall.
    exact_cost : float
        Predicted nanoseconds of an exact query of that sample; no setting that costs more is kept.
    cut : bool
        Whether dearer settings were not tried, since exact search is cheaper.
    """

    k: int
    settings: tuple[Setting, ...]
    exact_cost: float
    cut: bool = True

    def pick(self, recall: float) -> Setting | None:
        """Return the cheapest setting that reached a recall, or None."""
        return next((s for s in self.settings if s.recall >= recall), None)


class Answers:
    """Answers to queries over one fitted engine.

    Parameters
    ----------
    engine : ExactEngine
    plan : Plan
        What the index chose.
    method : str
        What the user asked for.
    graph : callable
        Gives the neighbour graph, when a walk first needs it.
    alpha : float
        See `link_rows`.
    seed : uint64
    n_jobs : callable
        Gives the threads of the preparation.
    proxies : ProxyEngine, optional
        Where the metric has a proxy; with some of the rows, to calibrate by.
    prepared : callable, optional
        Gives the searcher of a saved index.
    cost : float, optional
        Predicted nanoseconds of an exact query, if they are known.
    """

    def __init__(
        self,
        engine: ExactEngine,
        plan: Plan,
        method: str,
        graph: Callable[[], Neighbors],
        alpha: float,
        seed: np.uint64,
        n_jobs: Callable[[], int | None],
        proxies: tuple[ProxyEngine, Rows] | None = None,
        prepared: Callable[[], Searcher] | None = None,
        cost: float | None = None,
    ):
        self.engine, self.plan, self.method = engine, plan, method
        self._graph, self._alpha, self._seed, self._jobs = graph, alpha, seed, n_jobs
        self._proxies, self._prepared = proxies, prepared
        self._learnt: Rows | None = None
        self._searcher: Searcher | None = None
        self._walk: tuple[npt.NDArray[np.int64], Links] | None = (
            None  # of a short snapshot: the order, and what it links
        )
        self._calibrations: dict[int, Calibration] = {}
        self._chosen: dict[tuple[int, float | None, float | None], tuple[Setting, Calibration | None]] = {}
        self.last: Calibration | None = None  # made or used last
        self._lock = ForkLock()
        self.exact_cost = exact_cost(engine) / max(engine.n_rows, 1) if cost is None else cost

    @cached
    def approximate(self) -> bool:
        """Whether anything but exact search is considered."""
        if self.method == "exact" or self.exact_cost < AT_ONCE:
            return False
        return self.plan.method == "graph" or self._heads or self._proxies is not None

    @cached
    def _heads(self) -> bool:
        """Whether there can be heads of inverted lists."""
        return self.engine.has_heads and word_bits(self.engine.n_rows) > 0

    @property
    def way(self) -> str:
        """How queries are answered, in words."""
        if not self.approximate:
            return "exactly"
        if self._proxies is not None:
            return "by a proxy"
        return "by heads" if self._heads else "along the graph"

    @property
    def nbytes(self) -> int:
        """Bytes held for approximate search."""
        return self._searcher.nbytes if self._searcher else 0

    @property
    def searcher(self) -> Searcher:
        """Rows prepared for approximate search, when first asked for."""
        if self._searcher is None:
            with self._lock:
                if self._searcher is None:
                    self._searcher = self._prepared() if self._prepared else self._prepare()
        return self._searcher

    def inherit(self, other: "Answers") -> None:
        """Take over what a sample of another collection told, most of whose rows are these."""
        ways = [(a.approximate, a._heads, a._proxies is None, a.plan.method == "graph") for a in (self, other)]
        if ways[0] == ways[1]:
            with other._lock:
                self._learnt, self.last, self._calibrations = other._learnt, other.last, dict(other._calibrations)

    def _prepare(self) -> Searcher:
        engine = self.engine
        y, metric = engine.own()
        n = engine.n_rows
        walks = self.plan.method == "graph"
        if self._heads:
            form, order = packed(engine.space, metric, y), np.arange(n, dtype=np.int64)
            heads = tiered_heads(engine.postings, y, metric, self._jobs())
        else:
            form, heads = self._in_order(), None
            order = self._walk[0] if self._walk else self._tree_order(form)
            form = form.reordered(order)
        if self._walk:
            links: Links | None = self._walk[1]
        else:
            links = self._linked(form, order) if walks else None
        return Searcher(engine, form, order, heads, links, self._seed)

    def _without(self, own: npt.NDArray[np.int64]) -> tuple[Searcher, npt.NDArray[np.int64]]:
        """Search as if some rows were not there, so that they are like queries to come; and which are not.

        Walks lose the ways through a row that they must not find: with these still in the graph a recall of .95 was
        taken for .89 (mnist). A few among many may be left out; of few rows too much would be missing.
        """
        searcher = self.searcher
        if searcher.links is None or len(own) * FEW_OF > self.engine.n_rows:
            return searcher, own[:0]
        form, order = searcher.form, searcher.order
        links = self._linked(form, order, own)
        return Searcher(self.engine, form, order, searcher.heads, links, self._seed), own

    def _linked(self, form: Form, order: npt.NDArray[np.int64], absent: npt.NDArray[np.int64] | None = None) -> Links:
        width = self.engine.space.n_features
        return link_rows(form, self._graph(), order, width, alpha=self._alpha, n_jobs=self._jobs(), absent=absent)

    def _in_order(self) -> Form:
        """The form that graphs are made with."""
        return small_form(self.engine, self.plan.k, self._seed, self._jobs())[0]

    def _tree_order(self, form: Form) -> npt.NDArray[np.int64]:
        """Order of the leaves of a tree: near rows stand together."""
        (tree,) = grow_forest(
            form.metric,
            form.x,
            form.z,
            self.engine.space.n_features,
            n_trees=1,
            leaf_size=LEAF,
            max_depth=DEEPEST,
            seed=self._seed,
            over_trees=lambda function, total: map_blocks(function, total, 1, 1),
        )
        rows: npt.NDArray[np.int64] = tree.rows.astype(np.int64)
        return rows

    def calibration(self, k: int) -> Calibration:
        """What a sample tells of `k` neighbours: the queries learnt from, or rows of the index."""
        count = next((c for c in COUNTS if c >= k), k)
        if not self.approximate:
            return Calibration(count, (), self.exact_cost)
        with self._lock:
            if count not in self._calibrations:
                self._calibrations[count] = self._calibrated(count)
            self.last = self._calibrations[count]
            return self.last

    def learn(self, queries: Rows | None, k: int) -> Calibration:
        """Try the settings on a user's own queries from now on; with None, on rows of the index again."""
        with self._lock:
            self._learnt = queries
            self._calibrations.clear()
            self._chosen.clear()
            return self.calibration(k)

    def _calibrated(self, count: int) -> Calibration:
        engine, jobs = self.engine, self._jobs()
        if self._proxies is not None:
            proxies, rows = self._proxies
            sample = rows if self._learnt is None else self._learnt
            size = int(np.clip(BUDGET / proxies.exact_cost, *FEWEST_MOST))  # exact answers are what takes the time
            sample = sample.take(np.arange(min(size, len(sample))))
            settings = calibrate_proxy(proxies, sample, count, jobs, self._learnt is None)
            return Calibration(count, tuple(settings), proxies.exact_cost)
        if self._learnt is None:
            rng = np.random.default_rng(int(self._seed))
            own = np.sort(rng.choice(engine.n_rows, min(TRIED, engine.n_rows), replace=False))
            x, (ids, true) = take(engine.own()[0], own), engine.nearest_of(own, count, jobs)
            searcher, absent = self._without(own)
            true = np.where(np.isin(ids, absent), np.float32(np.inf), true)
        else:
            own, x, searcher = None, engine.as_queries(self._learnt, jobs), self.searcher
            true = engine.nearest_to(x, count, jobs).distances
        costs = engine.query_costs(x)
        most = self.exact_cost if costs is None else float(costs.mean()) + PER_QUERY
        settings, cut = calibrate(searcher, x, own, true, count, most, jobs)
        return Calibration(count, tuple(settings), most, cut)

    def choose(self, k: int, recall: float | None, epsilon: float | None, depth: int = 4) -> Setting | None:
        """Return the setting for usual queries, None for exact search.

        `depth`: calls from here up to the user's, who may have to be warned; nobody is, where it is below 1.
        """
        known = self._chosen.get((k, recall, epsilon))
        if known is not None:
            self.last = known[1] or self.last
            return known[0]
        if not self.approximate or recall == 1.0 or k >= self.engine.n_rows:
            return None
        if epsilon is not None:
            if self.plan.method != "graph" or self._proxies is not None:
                return None
            head, share, width = SEEDS_OF_WALK if self._heads else (0, 1.0, 0)
            pool = min(POOL_BY_SLACK[0] * k + POOL_BY_SLACK[1], self.engine.n_rows)
            by_hand = Setting(head, share, width, pool, epsilon)
            self._chosen[k, recall, epsilon] = (by_hand, None)
            return by_hand
        asked = RECALL if recall is None else recall
        calibration = self.calibration(k)
        setting = calibration.pick(asked)
        if setting is None and not calibration.cut and depth > 0:
            best = calibration.settings[-1].recall if calibration.settings else 0.0
            warnings.warn(
                f"no approximate setting reached a recall of {asked:g} (the best had {best:.3f}): "
                "these queries are answered exactly",
                stacklevel=depth,
            )
        if setting is not None:
            self._chosen[k, recall, epsilon] = (setting, calibration)
        return setting

    def nearest(
        self,
        queries: Rows | Callable[[], Rows],
        k: int,
        n_jobs: int | None,
        recall: float | None = None,
        epsilon: float | None = None,
        filter: Filter | None = None,
        store: Store | None = None,
        depth: int = 4,
    ) -> Neighbors:
        """The k nearest rows of each query; with a filter always exactly.

        `store`: the queries as rows of the engine, where they have been read the short way; `queries` then reads them
        the long way.
        """
        setting = self.choose(k, recall, epsilon, depth) if filter is None else None
        if setting is None and store is not None:
            return self.engine.nearest_to(store, k, n_jobs)
        if setting is None:
            return self.engine.nearest(_read(queries), k, n_jobs, filter=filter)
        if setting.over_fetch and self._proxies is not None:
            return self._proxies[0].nearest(_read(queries), k, setting.over_fetch, n_jobs)
        store = self.engine.as_queries(_read(queries), n_jobs) if store is None else store
        costs = self.engine.query_costs(store) if epsilon is None else None
        least, most = _extremes(costs)
        if most <= setting.cost:
            return self.engine.nearest_to(store, k, n_jobs)
        if least > setting.cost:
            found, _, _, lacking = self.searcher.search(store, k, setting, n_jobs)
            if not lacking:
                return found
            exactly = found.indices[:, k - 1] < 0  # queries that share too little with any row
        else:  # each query goes the way that is cheaper for it, whatever the others are
            assert costs is not None
            exactly = costs + PER_QUERY <= setting.cost
            indices, distances = np.empty((len(exactly), k), np.int64), np.empty((len(exactly), k), np.float32)
            long = np.flatnonzero(~exactly)
            indices[long], distances[long] = self.searcher.search(take(store, long), k, setting, n_jobs).neighbors
            exactly[long] = indices[long, k - 1] < 0
            found = Neighbors(indices, distances)
        short = np.flatnonzero(exactly)
        found.indices[short], found.distances[short] = self.engine.nearest_to(take(store, short), k, n_jobs)
        return found

    def within(
        self,
        queries: Rows,
        radius: float,
        n_jobs: int | None,
        recall: float | None,
        filter: Filter | None,
        depth: int = 5,
    ) -> RaggedNeighbors:
        """All rows within a radius: more and more neighbours are asked for, until the last is farther."""
        count, n = FIRST_WITHIN, self.engine.n_rows
        if self._proxies is not None and filter is None and recall != 1.0 and self.approximate:
            return self._proxies[0].within(queries, radius, n_jobs=n_jobs)  # bounds say what may be within
        if filter is not None or not self.approximate or recall == 1.0 or count * GROWTH >= n:
            return self.engine.within(queries, radius, n_jobs, filter)
        with np.errstate(over="ignore"):
            narrow = np.float32(radius)
        # of k nearest, those within the radius may be the ones that are harder to find
        sure = 1.0 - (1.0 - (RECALL if recall is None else recall)) / 2
        left = np.arange(len(queries))
        parts: list[tuple[Any, Any, Any]] = []  # queries, how many rows each has, rows and distances
        while left.size and count * GROWTH < n:
            found = self.nearest(queries.take(left), count, n_jobs, sure, depth=depth)
            done = ~(found.distances[:, -1] <= narrow)
            near = found.distances[done] <= narrow
            parts.append((left[done], near.sum(axis=1), (found.indices[done][near], found.distances[done][near])))
            left, count = left[~done], count * GROWTH
        if left.size:
            exact = self.engine.within(queries.take(left), radius, n_jobs)
            parts.append((left, np.diff(exact.indptr), (exact.indices, exact.distances)))
        who = np.concatenate([p[0] for p in parts]) if parts else left
        counts = np.concatenate([p[1] for p in parts]) if parts else left
        ids, distances = (np.concatenate([p[2][a] for p in parts] or [np.zeros(0)]) for a in (0, 1))
        order = np.argsort(np.repeat(who, counts), kind="stable")
        indptr = np.zeros(len(queries) + 1, np.int64)
        indptr[1:][who] = counts
        return RaggedNeighbors(np.cumsum(indptr), ids[order].astype(np.int64), distances[order].astype(np.float32))


def _extremes(costs: npt.NDArray[np.float64] | None) -> tuple[float, float]:
    """Least and greatest nanoseconds of queries that are answered exactly; where they are not known, never enough."""
    if costs is None or len(costs) == 0:
        return np.inf, np.inf
    if len(costs) == 1:
        cost = costs.item() + PER_QUERY
        return cost, cost
    few = costs.tolist() if len(costs) <= ALONE else (costs.min(), costs.max())  # numpy's own takes longer for a few
    return min(few) + PER_QUERY, max(few) + PER_QUERY


def _read(queries: Rows | Callable[[], Rows]) -> Rows:
    return queries if isinstance(queries, Rows) else queries()


def check_recall(recall: Any, epsilon: Any) -> tuple[float | None, float | None]:
    """Read `recall` and `epsilon`, or say what is wrong with them."""
    if recall is None and epsilon is None:
        return None, None
    if recall is not None and epsilon is not None:
        raise ValueError("give recall or epsilon, not both: recall picks how wide to search, epsilon says it")
    for name, value, low, high in (("recall", recall, 0.0, 1.0), ("epsilon", epsilon, -1e-300, np.inf)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ValueError(f"{name} must be a number, got {value!r}")
        if not low < value <= high or not np.isfinite(value):
            bounds = "above 0 and at most 1" if name == "recall" else "at least 0 and finite"
            raise ValueError(f"{name} must be {bounds}, got {value!r}")
    return None if recall is None else float(recall), None if epsilon is None else float(epsilon)
