"""Nearest neighbours for sparse and text data.

>>> import sparsenn as sn
>>> index = sn.Index(metric="cosine").fit(tfidf_rows)          # doctest: +SKIP
>>> indices, distances = index.query(new_rows, k=10)           # doctest: +SKIP

>>> sn.TextIndex().fit(texts).search("a query", k=5)           # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from sparsenn import metrics
from sparsenn.exact import exact_neighbors, pairwise_distances
from sparsenn.index import Index
from sparsenn.join import join_blocks, save_pairs, similarity_join
from sparsenn.planning import Plan
from sparsenn.results import Neighbors, Pairs, RaggedNeighbors, RecallEstimate

if TYPE_CHECKING:
    from sparsenn import adapters, evaluation
    from sparsenn.dedup import Duplicates, Overlaps, near_duplicates
    from sparsenn.hits import Hit
    from sparsenn.linking import Links, link
    from sparsenn.minhash import LshPlan, MinHashJoin
    from sparsenn.text import TextIndex

__version__ = "0.1.0"
__all__ = [
    "Duplicates",
    "Hit",
    "Index",
    "Links",
    "LshPlan",
    "MinHashJoin",
    "Neighbors",
    "Overlaps",
    "Pairs",
    "Plan",
    "RaggedNeighbors",
    "RecallEstimate",
    "TextIndex",
    "adapters",
    "evaluation",
    "exact_neighbors",
    "join_blocks",
    "link",
    "metrics",
    "near_duplicates",
    "pairwise_distances",
    "save_pairs",
    "similarity_join",
]

_LATER = {
    "Duplicates": "dedup",
    "Hit": "hits",
    "Links": "linking",
    "LshPlan": "minhash",
    "MinHashJoin": "minhash",
    "Overlaps": "dedup",
    "TextIndex": "text",
    "adapters": "",
    "evaluation": "",
    "link": "linking",
    "near_duplicates": "dedup",
}


def __getattr__(name: str) -> Any:
    """Load what deals in texts when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"sparsenn.{_LATER[name] or name}")
    return getattr(module, name) if _LATER[name] else module
