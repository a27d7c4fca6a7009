"""Nearest neighbours for sparse and text data.

>>> import sparsenn as sn
>>> index = sn.Index(metric="cosine").fit(tfidf_rows)          # doctest: +SKIP
>>> indices, distances = index.query(new_rows, k=10)           # doctest: +SKIP
"""

from sparsenn import metrics
from sparsenn.exact import exact_neighbors, pairwise_distances
from sparsenn.index import Index
from sparsenn.planning import Plan
from sparsenn.results import Neighbors, RaggedNeighbors, RecallEstimate

__version__ = "0.1.0"
__all__ = [
    "Index",
    "Neighbors",
    "Plan",
    "RaggedNeighbors",
    "RecallEstimate",
    "exact_neighbors",
    "metrics",
    "pairwise_distances",
]
