"""Nearest neighbours for sparse and text data.

>>> import sparsenn as sn
>>> index = sn.Index(metric="cosine").fit(tfidf_rows)          # doctest: +SKIP
>>> indices, distances = index.query(new_rows, k=10)           # doctest: +SKIP
"""

from sparsenn import metrics
from sparsenn.exact import exact_neighbors, pairwise_distances
from sparsenn.index import Index
from sparsenn.join import join_blocks, save_pairs, similarity_join
from sparsenn.planning import Plan
from sparsenn.results import Neighbors, Pairs, RaggedNeighbors, RecallEstimate

__version__ = "0.1.0"
__all__ = [
    "Index",
    "Neighbors",
    "Pairs",
    "Plan",
    "RaggedNeighbors",
    "RecallEstimate",
    "exact_neighbors",
    "join_blocks",
    "metrics",
    "pairwise_distances",
    "save_pairs",
    "similarity_join",
]
