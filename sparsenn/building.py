"""Rows made into the base of an index: engine, plan, graph, and how queries are answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.answers import Answers
from sparsenn.blocks import is_blocks, read_blocks
from sparsenn.distance import Space
from sparsenn.exact import ExactEngine, fit_space, inverse_of
from sparsenn.metrics import resolve
from sparsenn.neighborgraph import Known, Stages, build_graph
from sparsenn.planning import Plan, Settings, make_plan
from sparsenn.postings import renumber
from sparsenn.proxies import ProxyEngine, has_proxy
from sparsenn.results import Neighbors
from sparsenn.rows import Rows

PROXY_SAMPLE = 100  # rows by which proxies are calibrated


@dataclass(frozen=True)
class Recipe:
    """What a user asked for, checked: how rows become an index."""

    metric: Any
    metric_params: Mapping[str, Any] | None
    n_neighbors: int
    method: str
    settings: Settings
    alpha: float
    seed: np.uint64
    n_jobs: Callable[[], int | None]  # that of the index when it is needed
    stages: Stages


def read_rows(data: Any, recipe: Recipe) -> tuple[Space, Rows]:
    """Read a user's rows, or blocks of them, and fit the metric."""
    if not is_blocks(data):
        return fit_space(data, recipe.metric, recipe.metric_params, n_jobs=recipe.n_jobs())
    rows = read_blocks(data, bits=resolve(recipe.metric, recipe.metric_params).metric.containers == ("bits",))
    space = Space.fit(recipe.metric, recipe.metric_params, rows)
    return space, space.read(rows)


def held_rows(engine: ExactEngine) -> Rows:
    """Rows of an engine as it holds them, columns by its own numbers (`engine.rank`); the arrays are its own."""
    store, space = engine.own()[0], engine.space
    shape = (engine.n_rows, space.n_features)
    return Rows(store.indptr, store.indices, store.data, shape, space.container, engine.has_negative)


def original_rows(engine: ExactEngine, n_jobs: int | None = 1) -> Rows:
    """Rows of an engine with their columns as the user numbers them; arrays may be shared with it."""
    rows = held_rows(engine)
    return rows if engine.rank is None else renumber(rows, engine.columns, n_jobs)


def make_engine(
    space: Space, rows: Rows, recipe: Recipe, rank: npt.NDArray[np.int32] | None = None
) -> tuple[ExactEngine, tuple[ProxyEngine, Rows] | None]:
    """Prepare rows for exact search, and for search by a proxy where the metric has one; `rank`: see `ExactEngine`."""
    if not has_proxy(space) or recipe.method == "exact":
        return ExactEngine(space, rows, recipe.n_jobs(), rank=rank), None
    if rank is not None:
        rows = renumber(rows, inverse_of(rank), recipe.n_jobs())
    sample = proxy_sample(rows, recipe.seed)
    proxies = ProxyEngine(space, rows, recipe.n_jobs())
    return proxies.exact, (proxies, sample)


def proxy_sample(rows: Rows, seed: np.uint64) -> Rows:
    """Draw the rows by which a proxy is calibrated."""
    return rows.take(np.random.default_rng(int(seed)).permutation(len(rows))[:PROXY_SAMPLE])


def plan_graph(
    engine: ExactEngine,
    recipe: Recipe,
    given: npt.NDArray[np.int32] | None,
    now: bool = False,
    known: Known | None = None,
) -> tuple[Plan, Neighbors | None]:
    """Make a plan, and the graph if it wants one; `now`: also where the plan leaves it until it is asked for.

    `known`: what is left of the graph of rows many of which are these.
    """
    plan = make_plan(engine, recipe.n_neighbors, recipe.method, recipe.settings, given is not None)
    if plan.method == "exact" or (plan.method == "heads" and not now):
        return plan, None
    own = plan
    if known is not None:
        own = replace(plan, gives_up=False, n_iters=max(plan.n_iters, 1))
    graph = build_graph(
        engine,
        recipe.n_neighbors,
        own,
        seed=recipe.seed,
        given=given,
        n_jobs=recipe.n_jobs(),
        stages=recipe.stages,
        known=known,
    )
    if graph is None:
        reason = "descent found too few of the nearest, and exact search is cheaper than more of it"
        plan = replace(plan, method="exact", seeds="none", reason=reason)
    return plan, graph


def make_answers(
    engine: ExactEngine,
    plan: Plan,
    graph: Neighbors | None,
    proxies: tuple[ProxyEngine, Rows] | None,
    recipe: Recipe,
    cost: float | None = None,
) -> Answers:
    """Make what answers the queries of a base; `cost`: predicted nanoseconds of an exact query, if they are known."""

    def walked() -> Neighbors:
        assert graph is not None  # of a plan that has one
        return graph

    return Answers(engine, plan, recipe.method, walked, recipe.alpha, recipe.seed, recipe.n_jobs, proxies, None, cost)
