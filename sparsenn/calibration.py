"""Which settings give which recall: measured on a sample of queries, their cost counted and never timed."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.compact import SAMPLE as FORM_SAMPLE
from sparsenn.distance import Store
from sparsenn.planning import PER_QUERY, pair_cost
from sparsenn.search import Searcher, Setting

SAMPLE = 4 * FORM_SAMPLE  # queries tried
READ_POSTING = 2.4  # nanoseconds: summed, and read again
# Rows of a list, share of the query's bound, candidates for 10 neighbours: dearer and dearer.
HEADS = (
    (100, 0.5, 20),
    (400, 0.6, 20),
    (400, 0.7, 20),
    (400, 0.8, 20),
    (400, 0.8, 40),
    (1600, 0.8, 40),
    (1600, 0.87, 40),
    (1600, 0.87, 80),
    (1600, 0.93, 80),
    (1600, 0.97, 80),
    (1600, 0.97, 160),
    (1600, 1.0, 160),
    (1600, 1.0, 320),
    (6400, 1.0, 320),
)
BEAMS = (0, 4, 10, 18, 30, 50, 80, 130, 210, 340)  # of the pool, beyond the rows asked for
SEEDS_OF_WALK = (400, 0.7, 20)  # heads from which a walk begins
ENOUGH = 0.9995  # recall from which dearer settings are not tried
TOLERANCE = np.float32(1e-6)


def settings_for(searcher: Searcher, k: int) -> list[list[Setting]]:
    """Settings to try, in ladders from cheap to dear."""
    n = searcher.engine.n_rows
    more = max(k / 10, 1.0)
    ladders = []
    if searcher.heads is not None:
        ladders.append([Setting(h, s, min(int(w * more), n)) for h, s, w in HEADS])
    if searcher.links is not None:
        head, share, width = SEEDS_OF_WALK if searcher.heads is not None else (0, 1.0, 0)
        ladders.append([Setting(head, share, int(width * more), min(int(k + b * more + 5), n)) for b in BEAMS])
    return ladders


def recall_within(distances: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """Share of the true nearest among the found, by their distances."""
    there = np.isfinite(true)
    needed = there.sum(axis=1)
    kth = np.where(there, true, -np.inf).max(axis=1)
    hits = np.minimum((distances <= (kth + TOLERANCE * np.abs(kth) + TOLERANCE * 0.1)[:, None]).sum(axis=1), needed)
    return float(hits.sum() / max(needed.sum(), 1))


def calibrate(
    searcher: Searcher, x: Store, own: npt.NDArray[np.int64] | None, true: Any, k: int, most: float, n_jobs: int | None
) -> list[Setting]:
    """Try settings on queries whose true nearest are known; returns the cheapest along recall.

    Parameters
    ----------
    x, own
        Queries, and which rows they are, if they are rows.
    true : array of float32, shape (n_queries, k)
        Distances of their nearest rows.
    most : float
        Cost of exact search in nanoseconds a query: dearer settings are left out.
    """
    n, pair = len(x.indptr) - 1, pair_cost(searcher.engine)
    tried = []
    for ladder in settings_for(searcher, k):
        for setting in ladder:
            found, read, measured = searcher.search(x, k, setting, n_jobs, own)
            cost = PER_QUERY + (read * READ_POSTING + measured * pair) / n
            recall = recall_within(found.distances, true)
            tried.append(replace(setting, recall=recall, cost=cost))
            logging.getLogger("sparsenn").info("%s: recall %.4f, %.1f us", setting.way, recall, cost / 1000)
            if recall >= ENOUGH or cost > most:
                break
    kept: list[Setting] = []
    for setting in sorted(tried, key=lambda s: (s.cost, -s.recall)):
        if setting.cost <= most and (not kept or setting.recall > kept[-1].recall):
            kept.append(setting)
    return kept
