"""How good answers are: against exact search, against judged documents, against true pairs.

Each measure is a mean over queries with a bootstrap interval: queries are drawn with replacement, so the interval says
how much the mean would vary with other queries of the same kind.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn.exact import check_k
from sparsenn.results import Neighbors, Pairs

RESAMPLES = 1000
Array = npt.NDArray[np.float64]
Qrels = Mapping[Hashable, Mapping[Hashable, float]]
Run = Mapping[Hashable, Sequence[Hashable] | Mapping[Hashable, float]]


class Score(NamedTuple):
    """A mean with its bootstrap interval.

    Attributes
    ----------
    value : float
        Mean over queries.
    low, high : float
        95 % percentile bootstrap interval of the mean.
    each : ndarray of float64
        The figure of each query, in their order.
    """

    value: float
    low: float
    high: float
    each: Array

    def __repr__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f}, {len(self.each)} queries)"


def bootstrap(each: Any, resamples: int = RESAMPLES, seed: int = 0) -> Score:
    """Mean of figures, and the 95 % interval of the mean of as many drawn with replacement.

    Parameters
    ----------
    each : array-like of float
        A figure for each query.
    resamples : int, default 1000
    seed : int, default 0

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        No figures.

    Notes
    -----
    Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13: the percentile interval.
    """
    figures = np.asarray(each, np.float64)
    if figures.ndim != 1 or not figures.size:
        raise ValueError("there is nothing to average: give figures of at least one query")
    rng, n = np.random.default_rng(seed), len(figures)
    means = np.array([figures[rng.integers(0, n, n)].mean() for _ in range(check_k(resamples, "resamples"))])
    low, high = np.quantile(means, [0.025, 0.975])
    return Score(float(figures.mean()), float(low), float(high), figures)


def recall_at_k(found: Any, exact: Any, k: int | None = None) -> Score:
    """Share of the true k nearest that an answer has.

    Parameters
    ----------
    found, exact : Neighbors, or a pair (indices, distances) of shape (n_queries, at least k)
        A neighbour counts when it is no farther than the true k-th, so of rows at the same distance any will do; a
        repeated id counts once.
    k : int, optional
        All columns of `exact` if not given.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        Different numbers of queries, or fewer than k columns.

    Examples
    --------
    >>> import numpy as np, sparsenn as sn
    >>> from sparsenn.evaluation import recall_at_k
    >>> index = sn.Index("euclidean").fit(np.arange(9.0)[:, None])
    >>> exact = index.query([[2.2]], k=4, recall=1)
    >>> recall_at_k(index.query([[2.2]], k=2), exact, k=2).value
    1.0
    """
    (ids, near), (true_ids, true) = (Neighbors(*(np.asarray(part) for part in answer)) for answer in (found, exact))
    k = check_k(true_ids.shape[1] if k is None else k)
    if len(ids) != len(true_ids):
        raise ValueError(f"found has {len(ids)} queries, exact has {len(true_ids)}: give the same ones")
    if true_ids.shape[1] < k:
        raise ValueError(f"exact has {true_ids.shape[1]} neighbours a query: k={k} is more")
    there = true_ids[:, :k] >= 0
    needed = there.sum(axis=1)
    limit = np.take_along_axis(true, np.maximum(needed - 1, 0)[:, None], axis=1)
    good = (ids[:, :k] >= 0) & (near[:, :k] <= limit + 1e-6 * abs(limit))
    counted = np.sort(np.where(good, ids[:, :k], -1), axis=1)
    new = counted >= 0
    new[:, 1:] &= counted[:, 1:] != counted[:, :-1]
    shares = np.minimum(new.sum(axis=1), needed) / np.maximum(needed, 1)
    shares[needed == 0] = 1.0
    return bootstrap(shares)


def _judged(run: Run, qrels: Qrels) -> list[tuple[list[Hashable], Mapping[Hashable, float]]]:
    """Queries with a relevant document: their ranking without repeats, and the gains."""
    found = []
    for query, gains in qrels.items():
        if any(gain > 0 for gain in gains.values()):
            answer = run.get(query, ())
            if isinstance(answer, Mapping):  # scores: of the same, the one given first comes first
                answer = sorted(answer, key=answer.__getitem__, reverse=True)
            found.append((list(dict.fromkeys(answer)), gains))
    if not found:
        raise ValueError("no query of the qrels has a relevant document (a gain above 0)")
    if not any(query in run for query in qrels):
        raise ValueError("no query of the qrels is in the run: are their ids of the same type?")
    return found


def ndcg(run: Run, qrels: Qrels, k: int = 10) -> Score:
    """Normalised discounted cumulative gain of the first k.

    Parameters
    ----------
    run : mapping of query to a sequence of document ids, or to a mapping of document id to score
        A sequence has the best first; of scores the highest is best. A query that is not there found nothing.
    qrels : mapping of query to a mapping of document to gain
        Gains above 0 are relevant. Queries without a relevant document are left out.
    k : int, default 10

    Returns
    -------
    Score

    Notes
    -----
    Σ gain / log2(rank + 1), over that of the best order (Järvelin and Kekäläinen 2002; gains are linear, as in
    trec_eval and BEIR).

    Examples
    --------
    >>> from sparsenn.evaluation import ndcg
    >>> ndcg({"q": ["b", "a"]}, {"q": {"a": 1}}).value.__round__(3)
    0.631
    """
    k = check_k(k)
    each = []
    for ranking, gains in _judged(run, qrels):
        got = [max(gains.get(document, 0.0), 0.0) for document in ranking[:k]]
        best = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
        each.append(_discounted(got) / _discounted(best))
    return bootstrap(each)


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))


def mrr(run: Run, qrels: Qrels, k: int = 10) -> Score:
    """Mean reciprocal rank of the first relevant document among the first k; 0 where there is none. See `ndcg`."""
    k = check_k(k)
    each = []
    for ranking, gains in _judged(run, qrels):
        ranks = [rank for rank, document in enumerate(ranking[:k], 1) if gains.get(document, 0) > 0]
        each.append(1.0 / ranks[0] if ranks else 0.0)
    return bootstrap(each)


def mean_average_precision(run: Run, qrels: Qrels, k: int = 1000) -> Score:
    """Mean of the precision at the rank of each relevant document; those not among the first k count 0. See `ndcg`."""
    k = check_k(k)
    each = []
    for ranking, gains in _judged(run, qrels):
        hits, total = 0, 0.0
        for rank, document in enumerate(ranking[:k], 1):
            if gains.get(document, 0) > 0:
                hits += 1
                total += hits / rank
        each.append(total / sum(gain > 0 for gain in gains.values()))
    return bootstrap(each)


def recall(run: Run, qrels: Qrels, k: int = 100) -> Score:
    """Share of the relevant documents among the first k. See `ndcg`."""
    k = check_k(k)
    each = []
    for ranking, gains in _judged(run, qrels):
        relevant = {document for document, gain in gains.items() if gain > 0}
        each.append(len(relevant.intersection(ranking[:k])) / len(relevant))
    return bootstrap(each)


class PairScores(NamedTuple):
    """Precision, recall and F1 of pairs, each with its bootstrap interval.

    Attributes
    ----------
    precision, recall, f1 : (value, low, high)
    n_found, n_true, n_right : int
    """

    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    f1: tuple[float, float, float]
    n_found: int
    n_true: int
    n_right: int


def pair_scores(
    found: Pairs | Iterable[tuple[Any, Any]],
    true: Pairs | Iterable[tuple[Any, Any]],
    *,
    ordered: bool = False,
    seed: int = 0,
) -> PairScores:
    """Precision, recall and F1 of found pairs against the true ones.

    Parameters
    ----------
    found, true : iterable of (a, b), or Pairs
        Each pair counts once.
    ordered : bool, default False
        Whether (a, b) and (b, a) differ: for pairs between two collections they do.
    seed : int, default 0
        Of the bootstrap, which draws records (the first of a pair) with all their pairs.

    Returns
    -------
    PairScores
        0 where there is nothing found, or nothing true; both empty: 1.

    Examples
    --------
    >>> from sparsenn.evaluation import pair_scores
    >>> pair_scores([(1, 2), (3, 4)], [(2, 1), (5, 6)]).f1[0]
    0.5
    """
    one, other = (_pairs(pairs, ordered) for pairs in (found, true))
    right = one & other
    records = {record: at for at, record in enumerate(dict.fromkeys(pair[0] for pair in sorted(one | other, key=repr)))}
    counts = np.zeros((len(records), 3))
    for which, pairs in enumerate((right, one, other)):
        for pair in pairs:
            counts[records[pair[0]], which] += 1
    samples = np.ones((1, 3))
    if len(records):  # records with the same counts are drawn together: how many of each kind
        kinds, many = np.unique(counts, axis=0, return_counts=True)
        drawn = np.random.default_rng(seed).multinomial(len(records), many / len(records), RESAMPLES)
        samples = np.array([_figures(*sums) for sums in (drawn @ kinds).tolist()])
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    values = _figures(len(right), len(one), len(other))
    precision, recalled, f1 = ((value, float(a), float(b)) for value, a, b in zip(values, low, high, strict=True))
    return PairScores(precision, recalled, f1, len(one), len(other), len(right))


def _pairs(pairs: Pairs | Iterable[tuple[Any, Any]], ordered: bool) -> set[tuple[Any, Any]]:
    if isinstance(pairs, Pairs):
        pairs = zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)
    return {(a, b) if ordered or a <= b else (b, a) for a, b in pairs}


def _figures(right: float, found: float, true: float) -> tuple[float, float, float]:
    if found == 0 and true == 0:
        return 1.0, 1.0, 1.0
    precision, recalled = (right / count if count else 0.0 for count in (found, true))
    return precision, recalled, 2.0 * right / (found + true)


def read_qrels(path: Any) -> dict[str, dict[str, float]]:
    """Read judgements: lines of query, document and gain, or TREC's four columns; a header is skipped.

    Columns are apart by tabs where a line has one, else by spaces.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict of dict

    Raises
    ------
    ValueError
        A line of another form; the message has its number.
    """
    import pathlib

    path = pathlib.Path(path)
    qrels: dict[str, dict[str, float]] = {}
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
        try:
            gain = float(cells[-1])
            query, document = (cells[0], cells[1]) if len(cells) == 3 else (cells[0], cells[2])
            if len(cells) not in (3, 4):
                raise ValueError
        except (ValueError, IndexError):
            if number == 1:
                continue
            raise ValueError(f"{path.name}, line {number}: expected query, document and gain, got {line!r}") from None
        qrels.setdefault(query, {})[document] = gain
    return qrels
