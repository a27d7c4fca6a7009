"""What a count of a term is worth: TF-IDF, BM25, counts, presence.

A weighting is fitted to a collection (how many texts have each term, how long texts are), then turns counts into
weights, of rows to index and of queries. It knows the metric that it is made for.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry
from sparsenn.parallel import map_blocks

Array = npt.NDArray[np.float64]
RAW, SUBLINEAR, PRESENCE, SATURATED, SATURATED_LATE = 0, 1, 2, 3, 4  # what becomes of a count
NORMS = {None: 0, "l1": 1, "l2": 2}
NOTHING = np.zeros(0, np.float64)


@entry
def _weigh(start, stop, indptr, indices, data, kind, k1, b, delta, pace, lengths, factors, shifts, norm):
    """Turn the counts of rows into weights, in place.

    f(count) · factors[column] − shifts[column], then divided by the row's norm. ``pace``: 1 / mean length.
    """
    for i in range(start, stop):
        total = 0.0
        slope = 1.0 - b + b * lengths[i] * pace if lengths.shape[0] > 0 else 1.0
        for t in range(indptr[i], indptr[i + 1]):
            count = np.float64(data[t])
            if kind == SUBLINEAR:
                value = 1.0 + math.log(count) if count > 0.0 else 0.0
            elif kind == PRESENCE:
                value = 1.0
            elif kind == SATURATED:
                value = count / (count + k1 * slope) + delta
            elif kind == SATURATED_LATE:
                value = (count / slope + delta) / (k1 + count / slope + delta)
            else:
                value = count
            if factors.shape[0] > 0:
                value *= factors[indices[t]]
            if shifts.shape[0] > 0:
                value -= shifts[indices[t]]
            total += value * value if norm == 2 else abs(value)
            data[t] = value
        if norm > 0 and total > 0.0:
            scale = 1.0 / (math.sqrt(total) if norm == 2 else total)
            for t in range(indptr[i], indptr[i + 1]):
                data[t] = np.float32(np.float64(data[t]) * scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighting:
    """What all weightings have: `fit` to a collection, then `weigh` its rows and `weigh_queries`."""

    name: ClassVar[str]
    metric: ClassVar[str]
    tallied: ClassVar[bool] = False  # whether it matters how many texts have a term
    factors: Array = field(default_factory=lambda: NOTHING, repr=False)  # of each column, once fitted

    def settings(self) -> dict[str, Any]:
        """What `make_weighting` makes it from again."""
        arrays = {"factors", "shifts", "mean_length"}
        return {key: value for key, value in asdict(self).items() if key not in arrays}

    def fitted(self, frequencies: Array, n_texts: int, mean_length: float) -> "Weighting":
        """The weighting for a collection: how many texts have each term, and how long texts are."""
        return self

    def weigh(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts of rows to index (CSR, float32) to weights, in place."""
        raise NotImplementedError

    def weigh_queries(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts of queries to weights, in place."""
        return self.weigh(counts, n_jobs)

    def _apply(self, counts: Any, kind: int, n_jobs: int | None, **more: Any) -> Any:
        lengths, norm = more.get("lengths", NOTHING), NORMS[more.get("norm")]
        k1, b, delta, pace = (float(more.get(name, 0.0)) for name in ("k1", "b", "delta", "pace"))
        shifts = more.get("shifts", NOTHING)
        indptr = counts.indptr.astype(np.int64, copy=False)
        indices = counts.indices

        def block(start: int, stop: int) -> None:
            _weigh(
                start, stop, indptr, indices, counts.data, kind, k1, b, delta, pace, lengths, self.factors, shifts, norm
            )

        map_blocks(block, counts.shape[0], n_jobs, 1024)
        return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Tfidf(Weighting):
    """Term frequency times inverse document frequency; rows of length 1.

    Parameters
    ----------
    sublinear_tf : bool, default True
        1 + ln(count) in place of the count.
    smooth_idf : bool, default True
        ln((1 + n) / (1 + df)) + 1; without, ln(n / df) + 1.
    norm : "l2", "l1" or None, default "l2"

    Notes
    -----
    The formulas of scikit-learn's TfidfTransformer. Made for cosine.

    Examples
    --------
    >>> from sparsenn.adapters import TextVectorizer, Tfidf
    >>> TextVectorizer(weighting=Tfidf(norm=None)).fit_transform(["a cat", "cats"]).shape
    (2, 2)
    """

    name: ClassVar[str] = "tfidf"
    metric: ClassVar[str] = "cosine"
    tallied: ClassVar[bool] = True
    sublinear_tf: bool = True
    smooth_idf: bool = True
    norm: str | None = "l2"

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be 'l2', 'l1' or None, got {self.norm!r}")

    def fitted(self, frequencies: Array, n_texts: int, mean_length: float) -> "Tfidf":
        """The weighting with the inverse document frequencies of a collection."""
        add = float(self.smooth_idf)
        idf = np.log((n_texts + add) / (np.maximum(frequencies, 0 if self.smooth_idf else 1) + add)) + 1.0
        return Tfidf(**self.settings(), factors=idf)

    def weigh(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts to weights, in place."""
        return self._apply(counts, SUBLINEAR if self.sublinear_tf else RAW, n_jobs, norm=self.norm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts(Weighting):
    """Counts as they are; a bag of words.

    Made for cosine; hellinger, weighted_jaccard and the divergences fit as well.
    """

    name: ClassVar[str] = "counts"
    metric: ClassVar[str] = "cosine"

    def weigh(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts as they are."""
        return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Binary(Weighting):
    """1 for each term that a text has. Made for jaccard and the other metrics of sets."""

    name: ClassVar[str] = "binary"
    metric: ClassVar[str] = "jaccard"

    def weigh(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts to ones, in place."""
        return self._apply(counts, PRESENCE, n_jobs)


VARIANTS = ("lucene", "robertson", "atire", "bm25l", "bm25+")


@dataclass(frozen=True, kw_only=True, eq=False)
class BM25(Weighting):
    """Okapi BM25 as an inner product: documents are weighted when indexed, a query is its counts.

    Parameters
    ----------
    variant : "lucene", "robertson", "atire", "bm25l" or "bm25+", default "lucene"
        As bm25s names them: Kamphuis, de Vries, Boytsov and Lin 2020, "Which BM25 do you mean?", table 1.
    k1 : float, default 1.5
        How late further occurrences of a term stop to count; at least 0.
    b : float, default 0.75
        How much long documents are put back, 0 to 1.
    delta : float, default 0.5
        Of bm25l and bm25+ only: what an occurrence is worth at least.

    Notes
    -----
    Made for the metric dot: the distance is minus the score. With bm25l and bm25+ a term that a document lacks has a
    weight too, the same in all documents: it is taken off, which changes no order; `absent` has it.
    The length of a document is the number of its terms that are in the vocabulary.
    """

    name: ClassVar[str] = "bm25"
    metric: ClassVar[str] = "dot"
    tallied: ClassVar[bool] = True
    variant: str = "lucene"
    k1: float = 1.5
    b: float = 0.75
    delta: float = 0.5
    shifts: Array = field(default_factory=lambda: NOTHING, repr=False)
    mean_length: float = 0.0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(map(repr, VARIANTS))}, got {self.variant!r}")
        for name, low, high in (("k1", 0.0, math.inf), ("b", 0.0, 1.0), ("delta", 0.0, math.inf)):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not low <= value <= high or value == math.inf:
                raise ValueError(f"{name} must be a number from {low:g} to {high:g}, got {value!r}")

    def fitted(self, frequencies: Array, n_texts: int, mean_length: float) -> "BM25":
        """The weighting with the inverse document frequencies and the mean length of a collection."""
        df, n = np.maximum(frequencies, 1.0), float(n_texts)
        idf = {
            "lucene": lambda: np.log(1.0 + (n - df + 0.5) / (df + 0.5)),
            "robertson": lambda: np.log(np.maximum((n - df + 0.5) / (df + 0.5), 1.0)),
            "atire": lambda: np.log(n / df),
            "bm25l": lambda: np.log((n + 1.0) / (df + 0.5)),
            "bm25+": lambda: np.log((n + 1.0) / df),
        }[self.variant]()
        factors = idf if self.variant in ("lucene", "robertson") else idf * (self.k1 + 1.0)
        shifts = NOTHING
        if self.variant == "bm25+":  # count / (…) + delta / (k1 + 1), times idf (k1 + 1)
            shifts = idf * self.delta
        elif self.variant == "bm25l":
            shifts = factors * (self.delta / (self.k1 + self.delta) if self.delta else 0.0)
        return BM25(**self.settings(), factors=factors, shifts=shifts, mean_length=float(mean_length))

    @property
    def absent(self) -> Array:
        """What a term adds to the score of a document that lacks it; empty where it is 0."""
        return self.shifts

    def weigh(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts of documents to weights, in place."""
        lengths = np.asarray(counts.sum(axis=1), np.float64).ravel()
        pace = 1.0 / self.mean_length if self.mean_length > 0 else 0.0
        late = self.variant == "bm25l"
        # Shifts are a term's weight at count 0: without them bm25+ is atire's formula.
        delta, shifts = (self.delta, self.shifts) if late else (0.0, NOTHING)
        kind = SATURATED_LATE if late else SATURATED
        self._apply(counts, kind, n_jobs, k1=self.k1, b=self.b, delta=delta, pace=pace, lengths=lengths, shifts=shifts)
        return counts

    def weigh_queries(self, counts: Any, n_jobs: int | None = None) -> Any:
        """Counts as they are."""
        return counts


WEIGHTINGS: Mapping[str, type[Weighting]] = {kind.name: kind for kind in (Tfidf, BM25, Counts, Binary)}


def make_weighting(weighting: Any) -> Weighting:
    """Read what a user gives as `weighting`: a name, or a weighting with its parameters."""
    if isinstance(weighting, Weighting):
        return weighting
    if isinstance(weighting, str) and weighting in WEIGHTINGS:
        return WEIGHTINGS[weighting]()
    raise ValueError(
        f"weighting must be one of {', '.join(map(repr, WEIGHTINGS))}, or e.g. sparsenn.adapters.BM25(k1=1.2); "
        f"got {weighting!r}"
    )
