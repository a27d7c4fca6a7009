"""A user's own vectoriser (scikit-learn's, a pipeline, anything with `transform`) as one of ours."""

import copy
import io
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.counting import as_texts
from sparsenn.adapters.weighting import Weighting, make_weighting


class OutsideVectorizer:
    """Rows of a user's vectoriser, weighted again if asked for.

    Parameters
    ----------
    vectorizer : object with `transform`, and `fit_transform` where it is not fitted
        A fitted one is used as it is; what scikit-learn says is not fitted is fitted.
    weighting : str or weighting, optional
        Applied to its rows, which then must be counts; without, they are taken as they are.

    Attributes
    ----------
    metric : str
        The metric that fits the weighting; cosine where there is none.
    """

    def __init__(self, vectorizer: Any, weighting: Any = None):
        if not hasattr(vectorizer, "transform"):
            raise ValueError(f"vectorizer must have a method transform, got {type(vectorizer).__name__}")
        self.vectorizer = vectorizer
        self.weighting = None if weighting is None else make_weighting(weighting)
        self.weighting_: Weighting | None = None
        self.metric = "cosine" if self.weighting is None else self.weighting.metric
        self._terms: Any = None  # names of the columns, asked for once

    def fresh(self) -> "OutsideVectorizer":
        """The same, with a copy of the vectoriser where it has to be fitted."""
        own = self.vectorizer if _is_fitted(self.vectorizer) else copy.deepcopy(self.vectorizer)
        return OutsideVectorizer(own, self.weighting)

    def fit_transform(self, texts: Iterable[str]) -> Any:
        """Rows of texts; the vectoriser is fitted if it is not."""
        given = as_texts(texts)
        if not given:
            raise ValueError("there are no texts: an index needs at least one")
        fitted = _is_fitted(self.vectorizer)
        rows = self.vectorizer.transform(given) if fitted else self.vectorizer.fit_transform(given)
        if self.weighting is None:
            return rows
        counts = _counts(rows)
        frequencies = np.bincount(counts.indices, minlength=counts.shape[1]).astype(np.float64)
        self.weighting_ = self.weighting.fitted(frequencies, counts.shape[0], counts.sum() / counts.shape[0])
        return self.weighting_.weigh(counts)

    def transform(self, texts: Iterable[str]) -> Any:
        """Rows of texts to index."""
        rows = self.vectorizer.transform(as_texts(texts))
        return rows if self.weighting_ is None else self.weighting_.weigh(_counts(rows))

    def transform_queries(self, texts: Iterable[str]) -> Any:
        """Rows of queries."""
        rows = self.vectorizer.transform(as_texts(texts))
        return rows if self.weighting_ is None else self.weighting_.weigh_queries(_counts(rows))

    query_rows = transform_queries

    def term(self, column: int) -> str:
        """Name of a column, where the vectoriser says it; else its number."""
        if self._terms is None:
            try:
                self._terms = self.vectorizer.get_feature_names_out()
            except (ValueError, AttributeError, NotImplementedError):
                self._terms = ()
        return str(self._terms[column]) if column < len(self._terms) else str(column)

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds."""
        return {**vars(self), "_terms": None}

    def pickled(self) -> npt.NDArray[np.uint8]:
        """Bytes of joblib's pickle."""
        import joblib

        stream = io.BytesIO()
        joblib.dump(self, stream)
        return np.frombuffer(stream.getvalue(), np.uint8)

    @classmethod
    def unpickled(cls, data: npt.NDArray[np.uint8], stacklevel: int) -> "OutsideVectorizer":
        """Read what `pickled` wrote; warns, since a pickle runs code of whoever wrote it."""
        import joblib

        warnings.warn(
            "the vectorizer is a pickle: loading it runs code of whoever wrote it, so load only files that you trust",
            UserWarning,
            stacklevel=stacklevel,
        )
        found: OutsideVectorizer = joblib.load(io.BytesIO(data.tobytes()))
        return found


def _is_fitted(vectorizer: Any) -> bool:
    if not hasattr(vectorizer, "fit_transform"):
        return True
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(vectorizer)
    except NotFittedError:
        return False
    except TypeError:  # no estimator of scikit-learn
        return False
    return True


def _counts(rows: Any) -> Any:
    from scipy.sparse import csr_matrix

    counts = csr_matrix(rows, dtype=np.float32, copy=True)
    counts.sum_duplicates()
    if counts.nnz and counts.data.min() < 0:
        raise ValueError("weighting= needs counts, and the vectorizer gives negative values: leave weighting out")
    return counts
