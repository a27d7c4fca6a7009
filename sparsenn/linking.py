"""Linking records: the same thing in two tables, or twice in one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.inputs import frame_columns, frame_schema
from sparsenn.adapters.vectorizer import TextVectorizer
from sparsenn.clusters import averaged, connected, count_merged, merged_pairs
from sparsenn.exact import ExactEngine, fit_space
from sparsenn.join import MOST_PAIRS, Progress, check_most, similarity_join
from sparsenn.metrics.registry import check_number, check_positive
from sparsenn.parallel import ForkLock

DEFAULT = 0.5
LEAST = 0.2  # score of pairs within one table that are looked at, where a threshold is to be chosen
BELOW = 0.6  # share of a threshold from which pairs count in the mean similarity of two groups
RIVALS = 3  # candidates that say whether a record has many like it
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of records that are taken for the same, best first.

    Attributes
    ----------
    i, j : ndarray of int64, shape (n_links,)
        Rows of the first and of the second table; within one table ``i < j``.
    score : ndarray of float64, shape (n_links,)
        Between 0 and 1.
    threshold : float
        The least score of a link: as given, or as chosen from labelled pairs.
    """

    i: Ids
    j: Ids
    score: npt.NDArray[np.float64]
    threshold: float

    def __len__(self) -> int:
        return len(self.i)

    def __repr__(self) -> str:
        return f"Links({len(self):,} pairs with a score of at least {self.threshold:.3g})"


def link(
    A: Any,
    B: Any = None,
    on: str | Sequence[str] | Mapping[str, float] | None = None,
    *,
    k: int = 10,
    threshold: float | None = None,
    matches: Any = None,
    one_to_one: bool = True,
    grouped: bool = True,
    ngram: int = 3,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Links:
    """Link the records of two tables that mean the same thing.

    Records are compared by TF-IDF: the mean of the cosines of runs of characters (which forgives spelling) and of
    words. For each record of `A` the `k` best of `B` by characters are candidates. Between two tables a similarity
    counts less where many candidates have it: it is multiplied by 1 − c/2, where c is the mean of the three best of
    both records. That is the score; pairs at or above the threshold are links.

    Within one table the same things form groups, which average linkage finds: the two groups (single records at first)
    that are most similar on average are joined, again and again. The score of a pair is that at which its records came
    together, so its links are all the pairs within groups.

    Parameters
    ----------
    A, B : data frame, dict of columns, or list of str
        Without `B`, pairs within `A` are linked: all of them, not only the k best, and never one to one.
    on : str, list of str, or dict of str to float, optional
        Columns to compare. A list is joined to one text; a dict weights each column on its own: the score is the
        weighted mean of their cosines, over the columns that both records have something in. Without it: the columns of
        text that both tables have, joined.
    k : int, default 10
        Candidates of each record.
    threshold : float, optional
        Least score of a link, from 0 to 1. Without it, it is chosen from `matches`, or 0.5.
    matches : array-like of int, shape (n_pairs, 2), optional
        Pairs known to be the same, as rows of `A` and `B`, and ``(i, -1)`` for a record of `A` known to have none in
        `B`: without some of those, where many records have none, the threshold comes out too low. Of a record that
        is in a pair, all its matches should be (within one table: those that do not follow from others). The threshold
        is then the one with the best F1 on these records.
    one_to_one : bool, default True
        Between two tables: link a record to at most one other, pairs taken from the best score down.
    grouped : bool, default True
        Within one table: link groups, as above. False links the pairs whose own similarity reaches the threshold.
    ngram : int, default 3
        Characters of a run.
    n_jobs : int, optional
    progress : callable, optional
        Told how many rows of `A` have been looked up, and of how many.

    Returns
    -------
    Links

    Raises
    ------
    ValueError
        Columns that are not there, a threshold out of range, matches that are no pairs of rows.

    Notes
    -----
    Lowering similarities in crowds is the idea of CSLS (Conneau et al. 2018, Word translation without parallel data,
    section 2.3), as a product, so that scores stay between 0 and 1. Taking pairs greedily by score is a stable
    matching, for scores are the same from both sides (Gale and Shapley 1962). Average linkage: Sokal and Michener
    1958; pairs far below the threshold (0.6 of it; below 0.2 where it is chosen) count as 0 in a mean.

    Examples
    --------
    >>> import sparsenn as sn
    >>> ours = {"name": ["Sony Turntable PSLX350H", "Bose Acoustimass 5 speakers"]}
    >>> theirs = {"name": ["Bose Acoustimass-5 Speaker System", "Linksys switch", "Sony PS-LX350H turntable"]}
    >>> links = sn.link(ours, theirs, on="name", threshold=0.3)
    >>> sorted(zip(links.i.tolist(), links.j.tolist()))
    [(0, 2), (1, 0)]
    """
    if threshold is not None and (check_number(threshold) or not 0.0 <= threshold <= 1.0):
        raise ValueError(f"threshold must be between 0 and 1, got {threshold!r}")
    for name, value in (("k", k), ("ngram", ngram)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    fields = _fields(A, B, on)
    n, m = len(fields[0][0]), len(fields[0][1])
    known = None if matches is None else _check_matches(matches, n, n if B is None else m)
    rows = [_vectors(mine, theirs, ngram, n_jobs) for mine, theirs, _ in fields]
    weights = [weight for _, _, weight in fields]
    if B is None and grouped:
        i, j, score, threshold = _groups(rows, weights, n, threshold, known, n_jobs, progress)
    elif B is None:
        least = threshold if threshold is not None else (DEFAULT if known is None else LEAST)
        i, j, score = _within(rows, weights, least, n_jobs, progress)
    elif n and m:
        i, j, score = _between(rows, weights, min(k, m), n_jobs, progress)
    else:
        i, j, score = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    order = np.lexsort((j, i, -score))
    i, j, score = i[order], j[order], score[order]
    if one_to_one and B is not None:
        taken = _greedy(i, j)
        i, j, score = i[taken], j[taken], score[taken]
    if threshold is None:
        threshold = DEFAULT if known is None else _choose(i, j, score, known, B is None)
    keep = score >= threshold
    return Links(i[keep], j[keep], score[keep], float(threshold))


def _fields(A: Any, B: Any, on: Any) -> list[tuple[list[str], list[str], float]]:
    """Texts to compare: of both tables, and their weight."""
    if _is_texts(A):
        if on is not None or not (B is None or _is_texts(B)):
            raise ValueError("lists of texts have no columns: leave out on, and give lists, or tables, for both")
        return [([_text(t) for t in A], [_text(t) for t in B] if B is not None else [], 1.0)]
    if on is None:
        others = frame_schema(A if B is None else B)
        on = [c for c, number in frame_schema(A).items() if not number and c in others and not others[c]]
        if not on:
            raise ValueError("the tables have no column of text in common: say which to compare, on=")
    names = [on] if isinstance(on, str) else list(on)
    sides = [frame_columns(A, names), frame_columns(B, names) if B is not None else [[] for _ in names]]
    if isinstance(on, Mapping):
        if any(check_positive(w) for w in on.values()) or not on:
            raise ValueError(f"weights of columns must be above 0, got {dict(on)}")
        mine, theirs = ([[_text(v) for v in column] for column in side] for side in sides)
        return list(zip(mine, theirs, map(float, on.values()), strict=True))
    joined = [[" ".join(map(_text, record)) for record in zip(*side, strict=True)] for side in sides]
    return [(joined[0], joined[1], 1.0)]


def _is_texts(data: Any) -> bool:
    return isinstance(data, list | tuple) and all(isinstance(t, str) or t is None for t in data)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _vectors(mine: list[str], theirs: list[str], ngram: int, n_jobs: int | None) -> list[tuple[Any, Any]]:
    """Rows of runs of characters, and rows of words, of both sides."""
    pairs = []
    for more in ({"analyzer": "char_wb", "ngram_range": (ngram, ngram)}, {"min_chars": 1}):
        rows = TextVectorizer("tfidf", n_jobs=n_jobs, **more).fit_transform([*mine, *theirs])
        pairs.append((rows[: len(mine)], rows[len(mine) :]))
    return pairs


def _stack(parts: Sequence[Any], weights: Sequence[float]) -> Any:
    """Fields beside each other, by the roots of their weights; cosines are then means over fields."""
    from scipy.sparse import csr_array, hstack

    return (
        hstack([part * np.sqrt(weight) for part, weight in zip(parts, weights, strict=True)], format="csr")
        if len(parts) > 1
        else csr_array(parts[0])
    )


def _mean_score(rows: Sequence[Any], weights: Sequence[float], i: Ids, j: Ids, own: bool) -> npt.NDArray[np.float64]:
    """Weighted mean of the fields' cosines (of characters and words), over the fields that both have."""
    total, weight = np.zeros(len(i)), np.zeros(len(i))
    for pairs, w in zip(rows, weights, strict=True):
        both = (np.diff(pairs[0][0].indptr)[i] > 0) & (np.diff(pairs[0][not own].indptr)[j] > 0)
        for mine, other in pairs:
            theirs = mine if own else other
            total += w / len(pairs) * np.asarray(mine[i].multiply(theirs[j]).sum(axis=1)).ravel() * both
        weight += w * both
    return np.clip(np.divide(total, weight, out=np.zeros(len(i)), where=weight > 0), 0.0, 1.0)


def _between(
    rows: Any, weights: Any, k: int, n_jobs: int | None, progress: Progress | None
) -> tuple[Ids, Ids, npt.NDArray[np.float64]]:
    mine, theirs = (_stack([pairs[0][side] for pairs in rows], weights) for side in (0, 1))
    space, found = fit_space(theirs, "cosine", None)
    near = ExactEngine(space, found, n_jobs).nearest(space.read(mine), k, n_jobs, _ticks(progress, mine.shape[0]))
    there = (near.indices >= 0) & (near.distances < 1.0)
    i, j = np.nonzero(there)[0], near.indices[there]
    score = _mean_score(rows, weights, i, j, False)
    crowd = 0.5 * (_crowd(i, score, mine.shape[0])[i] + _crowd(j, score, theirs.shape[0])[j])
    return i, j, score * (1.0 - 0.5 * crowd)


def _ticks(progress: Progress | None, n: int) -> Callable[[int], None] | None:
    """What threads call after each block of rows."""
    if progress is None:
        return None
    done, lock = 0, ForkLock()

    def tick(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            progress(done, n)

    return tick


def _crowd(ids: Ids, score: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Mean of the three best scores of each row, 0 for those that are missing."""
    order = np.lexsort((-score, ids))
    starts = np.searchsorted(ids[order], np.arange(n))
    place = np.arange(len(order)) - starts[ids[order]]
    best = order[place < RIVALS]
    return np.bincount(ids[best], score[best], n) / RIVALS


def _within(
    rows: Any, weights: Any, least: float, n_jobs: int | None, progress: Progress | None
) -> tuple[Ids, Ids, npt.NDArray[np.float64]]:
    # the cosine of all of it is the score, where both have all fields; else it is less, by no more than this share
    mine = _stack(
        [part[0] for pairs in rows for part in pairs],
        [w / len(p) for p, w in zip(rows, weights, strict=True) for _ in p],
    )
    share = min(weights) / sum(weights)
    least = max(least * share - 1e-6, 1e-6)
    pairs = similarity_join(mine, metric="cosine", threshold=least, n_jobs=n_jobs, progress=progress)
    there = np.diff(mine.indptr)[pairs.i] > 0  # two records without any text are not the same
    i, j = pairs.i[there], pairs.j[there]
    return i, j, _mean_score(rows, weights, i, j, True)


def _groups(
    rows: Any,
    weights: Any,
    n: int,
    threshold: float | None,
    known: Ids | None,
    n_jobs: int | None,
    progress: Progress | None,
) -> tuple[Ids, Ids, npt.NDArray[np.float64], float]:
    """Pairs within groups of one table, and the threshold."""
    if threshold is None and known is None:
        threshold = DEFAULT
    least = LEAST if threshold is None else BELOW * threshold
    merges = averaged(n, *_within(rows, weights, least, n_jobs, progress))
    if threshold is None:
        assert known is not None
        labelled = np.isin(np.arange(n), known)
        i, j, score = merged_pairs(n, merges, LEAST, labelled)
        threshold = _choose(i, j, score, known, True)
    check_most(count_merged(n, merges, threshold), MOST_PAIRS, threshold)
    return *merged_pairs(n, merges, threshold), threshold


def _greedy(i: Ids, j: Ids) -> Ids:
    """Places of the pairs that are taken, from the first on, if each row is taken once."""
    mine: set[int] = set()
    theirs: set[int] = set()
    taken = []
    for place, (a, b) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        if a not in mine and b not in theirs:
            mine.add(a)
            theirs.add(b)
            taken.append(place)
    return np.array(taken, np.int64)


def _check_matches(matches: Any, n: int, m: int) -> Ids:
    pairs = np.asarray(matches)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or pairs.dtype.kind not in "iu":
        raise ValueError(f"matches must be pairs of row numbers, shape (n_pairs, 2), got shape {pairs.shape}")
    if pairs[:, 0].min() < 0 or pairs[:, 1].min() < -1 or (pairs >= [n, m]).any():
        raise ValueError(f"matches must be rows of tables of {n} and {m} rows, got {pairs.max(axis=0).tolist()}")
    return pairs.astype(np.int64)


def _closed(known: Ids) -> Ids:
    """All pairs within one table that follow from known ones: what is the same as a third thing is the same."""
    n = int(known.max(initial=-1)) + 1
    group = connected(n, known[:, 0], known[:, 1], np.arange(n))
    members = np.unique(known)
    order = members[np.argsort(group[members], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    pairs = [np.stack(np.triu_indices(len(part), 1), axis=1) for part in parts]
    return np.concatenate([part[pair] for part, pair in zip(parts, pairs, strict=True)])


def _choose(i: Ids, j: Ids, score: npt.NDArray[np.float64], known: Ids, own: bool) -> float:
    """Threshold with the best F1 on the records that are in the known pairs; `score` falls."""
    if own:
        labelled = np.unique(known[known >= 0])
        about = np.isin(i, labelled) & np.isin(j, labelled)
        known = _closed(known[known[:, 1] >= 0])
    else:
        about = np.isin(i, known[:, 0]) | np.isin(j, known[:, 1])
        known = known[known[:, 1] >= 0]
    i, j, score = i[about], j[about], score[about]
    if not len(i) or not len(known):
        return DEFAULT
    width = np.int64(max(j.max(), known[:, 1].max()) + 1)
    right = np.isin(i * width + j, known[:, 0] * width + known[:, 1])
    f1 = 2 * np.cumsum(right) / (np.arange(1, len(i) + 1) + len(known))
    f1[:-1][score[:-1] == score[1:]] = -1.0  # a threshold takes all of an equal score
    best = int(np.argmax(f1))
    below = score[best + 1] if best + 1 < len(score) else 0.0
    return float((score[best] + below) / 2)
