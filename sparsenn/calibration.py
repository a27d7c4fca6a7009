"""Which settings give which recall: measured on a sample of queries, their cost counted and never timed."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.compact import SAMPLE as FORM_SAMPLE
from sparsenn.distance import Store
from sparsenn.planning import PER_QUERY, pair_cost, whole_pair_cost
from sparsenn.proxies import ProxyEngine
from sparsenn.rows import Rows
from sparsenn.search import Searcher, Setting

SAMPLE = 8 * FORM_SAMPLE  # queries tried: with half of them the error of a recall was 1 %
# Nanoseconds: a posting summed and read again; a query's terms chosen, and what else each takes; a value projected.
READ_POSTING, SEARCH_QUERY, PROJECT = 2.4, 12_000.0, 0.02
# Rows of a list, share of the query's bound, candidates for 10 neighbours: dearer and dearer.
HEADS = (
    (100, 0.5, 20),
    (400, 0.6, 20),
    (400, 0.65, 20),
    (400, 0.7, 20),
    (400, 0.75, 20),
    (400, 0.75, 30),
    (400, 0.8, 20),
    (400, 0.8, 30),
    (400, 0.8, 40),
    (1600, 0.8, 40),
    (1600, 0.83, 30),
    (1600, 0.83, 40),
    (1600, 0.83, 60),
    (1600, 0.87, 40),
    (1600, 0.87, 80),
    (1600, 0.9, 60),
    (1600, 0.9, 80),
    (1600, 0.93, 80),
    (1600, 0.93, 120),
    (1600, 0.96, 80),
    (1600, 0.96, 160),
    (1600, 0.98, 240),
    (1600, 1.0, 320),
    (6400, 1.0, 320),
)
BEAMS = (0, 2, 4, 7, 10, 14, 18, 24, 32, 42, 55, 85, 130, 210, 340)  # of the pool, beyond 10 rows asked for
GAIN = 2.0  # proxies are taken where they are predicted to be so many times as fast: counts see too little of them
SEEDS_OF_WALK = (400, 0.7, 20)  # heads from which a walk begins
ENOUGH = 0.9995  # recall from which dearer settings are not tried
TOLERANCE = np.float32(1e-6)
FETCHES = tuple(2**e for e in range(12))
log = logging.getLogger("sparsenn")


def settings_for(searcher: Searcher, k: int) -> list[list[Setting]]:
    """Settings to try, in ladders from cheap to dear."""
    n = searcher.engine.n_rows
    more = max(k / 10, 1.0)
    ladders = []
    if searcher.heads is not None:
        ladders.append([Setting(h, s, min(int(w * more), n)) for h, s, w in HEADS])
    if searcher.links is not None:
        head, share, width = SEEDS_OF_WALK if searcher.heads is not None else (0, 1.0, 0)
        ladders.append([Setting(head, share, int(width * more), min(int(k + b * more), n)) for b in BEAMS])
    return ladders


def recall_within(distances: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """Share of the true nearest among the found, by their distances."""
    there = np.isfinite(true)
    needed = there.sum(axis=1)
    kth = np.where(there, true, np.finfo(np.float32).min).max(axis=1)  # of none there is nothing to find
    reach = kth + TOLERANCE * (np.abs(kth) + np.float32(0.1)) * (needed > 0)
    hits = np.minimum((distances <= reach[:, None]).sum(axis=1), needed)
    return float(hits.sum() / max(needed.sum(), 1))


def fixed_cost(searcher: Searcher, k: int, beam: int) -> float:
    """Nanoseconds of a query beside what is counted: rows measured again as they are, and the query made ready."""
    values = searcher.engine.values_per_row
    again = searcher.kept(k, beam) * whole_pair_cost(searcher.engine)
    if searcher.heads is not None:
        return SEARCH_QUERY + again
    express = PROJECT * values * 4 * len(searcher.form.x.indices) if searcher.form.express else 0.0
    return PER_QUERY + again + express


def calibrate(
    searcher: Searcher, x: Store, own: npt.NDArray[np.int64] | None, true: Any, k: int, most: float, n_jobs: int | None
) -> tuple[list[Setting], bool]:
    """Try settings on queries whose true nearest are known.

    Parameters
    ----------
    x, own
        Queries, and which rows they are, if they are rows.
    true : array of float32, shape (n_queries, k)
        Distances of their nearest rows.
    most : float
        Cost of exact search in nanoseconds a query: dearer settings are left out.

    Returns
    -------
    list of Setting
        The cheapest along recall.
    bool
        Whether dearer settings might have reached more, if exact search were not cheaper than they are.
    """
    n, pair = len(x.indptr) - 1, pair_cost(searcher.engine)
    tried, cut = [], False
    for ladder in settings_for(searcher, k):
        for setting in ladder:
            found, read, measured, _ = searcher.search(x, k, setting, n_jobs, own)
            cost = fixed_cost(searcher, k, setting.beam) + (read * READ_POSTING + measured * pair) / n
            recall = recall_within(found.distances, true)
            tried.append(replace(setting, recall=recall, cost=cost))
            log.info("%s: recall %.4f, %.1f us", setting.way, recall, cost / 1000)
            cut |= cost > most
            if recall >= ENOUGH or cost > most:
                break
    return cheapest(tried, most), cut


def calibrate_proxy(proxies: ProxyEngine, queries: Rows, k: int, n_jobs: int | None, itself: bool) -> list[Setting]:
    """The same for the candidates of a proxy; `itself`: the queries are rows, and each finds itself."""
    most = max((f for f in FETCHES if proxies.cost(k, f) * GAIN < proxies.exact_cost), default=0)
    if most == 0:
        return []
    tried = []
    for found in proxies.calibrate(queries, k + itself, n_jobs, most):
        recall = max(((k + itself) * found.recall - itself) / k, 0.0)
        tried.append(Setting(over_fetch=found.over_fetch, recall=recall, cost=proxies.cost(k, found.over_fetch)))
    return cheapest(tried, proxies.exact_cost)


def cheapest(tried: list[Setting], most: float) -> list[Setting]:
    """Settings that none is better and cheaper than, by rising cost."""
    kept: list[Setting] = []
    for setting in sorted(tried, key=lambda s: (s.cost, -s.recall)):
        if setting.cost <= most and (not kept or setting.recall > kept[-1].recall):
            kept.append(setting)
    return kept
