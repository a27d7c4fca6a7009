"""Rows from what people have: texts, sets, tables, samples. Loaded when asked for.

========================  ==========================================================================
`TextVectorizer`          texts to weighted terms: TF-IDF, BM25, counts, presence; hashed for streams
`Tfidf, BM25, Counts,     weightings with their parameters
Binary`
`shingles`                texts to sets of runs of words or characters
`SetEncoder`              lists of items, a long table, a sparse matrix: rows of ones
`TableEncoder`            categories, and numbers beside them: one-hot rows
`HistogramEncoder`        samples of numbers: histograms over the same bins
`MixtureEncoder`          topics and other shares: rows that sum to 1
`misfits`                 what is odd about a metric for rows
`read_texts`              texts of a file
`open_source`             texts of lists, frames and datasets, batch by batch
`TextPool`                many strings in little memory
========================  ==========================================================================
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsenn.adapters.categorical import TableEncoder
    from sparsenn.adapters.files import read_texts
    from sparsenn.adapters.fitting import Adapter, misfits
    from sparsenn.adapters.histograms import HistogramEncoder, MixtureEncoder
    from sparsenn.adapters.inputs import open_source
    from sparsenn.adapters.outside import OutsideVectorizer
    from sparsenn.adapters.pool import TextPool
    from sparsenn.adapters.sets import SetEncoder
    from sparsenn.adapters.shingling import shingles
    from sparsenn.adapters.vectorizer import TextVectorizer
    from sparsenn.adapters.weighting import BM25, Binary, Counts, Tfidf

_HOMES = {
    "Adapter": "fitting",
    "BM25": "weighting",
    "Binary": "weighting",
    "Counts": "weighting",
    "HistogramEncoder": "histograms",
    "MixtureEncoder": "histograms",
    "OutsideVectorizer": "outside",
    "SetEncoder": "sets",
    "TableEncoder": "categorical",
    "TextPool": "pool",
    "TextVectorizer": "vectorizer",
    "Tfidf": "weighting",
    "misfits": "fitting",
    "open_source": "inputs",
    "read_texts": "files",
    "shingles": "shingling",
}
__all__ = [
    "BM25",
    "Adapter",
    "Binary",
    "Counts",
    "HistogramEncoder",
    "MixtureEncoder",
    "OutsideVectorizer",
    "SetEncoder",
    "TableEncoder",
    "TextPool",
    "TextVectorizer",
    "Tfidf",
    "misfits",
    "open_source",
    "read_texts",
    "shingles",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"sparsenn.adapters.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
