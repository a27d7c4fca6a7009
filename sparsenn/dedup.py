"""Near-duplicates: clusters over verified pairs, and which row of each to keep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.inputs import open_source
from sparsenn.adapters.shingling import shingles
from sparsenn.clusters import connected, represented
from sparsenn.grouping import Groups, group_by
from sparsenn.join import MOST_PAIRS, Found, Join, check_most, concatenated, in_order
from sparsenn.metrics import resolve
from sparsenn.metrics.registry import check_number
from sparsenn.results import Pairs

RULES = ("representative", "connected")
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Clusters of near-duplicates of one set of rows.

    Attributes
    ----------
    threshold : float
    rule : "representative" or "connected"
    duplicate_of : ndarray of int64, shape (n_rows,)
        The row that is kept in each row's place: itself, if it is kept.
    """

    threshold: float
    rule: str
    duplicate_of: Ids
    _groups: Groups  # of equal rows, or texts; the rest is about groups
    _found: Found
    _similarity: npt.NDArray[np.float64]
    _rank: Ids  # of rows, by the rule of what is kept
    _tolerance: float  # a pair's similarity may be less than the threshold by so much

    @property
    def keep(self) -> Ids:
        """Rows that are kept, ascending: ``X[found.keep]`` is `X` without its near-duplicates."""
        return np.flatnonzero(self.duplicate_of == np.arange(len(self.duplicate_of)))

    @property
    def labels(self) -> Ids:
        """Cluster of each row, numbered in the order of `keep`; shape (n_rows,)."""
        return np.searchsorted(self.keep, self.duplicate_of)

    @property
    def clusters(self) -> list[Ids]:
        """Rows of each cluster of two rows or more: the kept one first, the others ascending."""
        labels = self.labels
        order = np.lexsort((self.duplicate_of != np.arange(len(labels)), labels))
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        return [part for part in parts if len(part) > 1]

    @property
    def similarity(self) -> npt.NDArray[np.float64]:
        """Similarity of each row to the one kept in its place; NaN where only a chain of pairs leads there."""
        group = self._groups.labels()
        mine, kept = group, group[self.duplicate_of]
        n = np.int64(max(len(self._groups.first), 1))
        keys = np.minimum(self._found.a, self._found.b) * n + np.maximum(self._found.a, self._found.b)
        order = np.argsort(keys)
        asked = np.minimum(mine, kept) * n + np.maximum(mine, kept)
        at = np.minimum(np.searchsorted(keys[order], asked), max(len(keys) - 1, 0))
        found = np.ones(len(group))
        other = mine != kept
        if len(keys):
            there = keys[order][at] == asked
            found[other] = np.where(there, self._similarity[order][at], np.nan)[other]
        return found

    @property
    def group_similarities(self) -> npt.NDArray[np.float64]:
        """Similarity of each pair of different rows that was found, in no order."""
        return self._similarity

    @property
    def n_exact(self) -> int:
        """Rows that equal another one of lower number."""
        return len(self.duplicate_of) - len(self._groups.first)

    @property
    def pairs(self) -> Pairs:
        """All pairs of rows at or above the threshold, exact copies included, ordered by `i`, then `j`."""
        sizes, indptr, members = self._groups.sizes, self._groups.indptr, self._groups.members
        a, b, s = self._found.a, self._found.b, self._similarity
        many = np.flatnonzero(sizes > 1)
        inside = sizes[many] * (sizes[many] - 1) // 2
        check_most(int((sizes[a] * sizes[b]).sum() + inside.sum()), MOST_PAIRS, self.threshold)
        parts = []
        for size in np.unique(sizes[many]):
            p, q = np.triu_indices(size, 1)
            rows = members[indptr[many[sizes[many] == size]][:, None] + np.arange(size)]
            parts.append(Pairs(rows[:, p].ravel(), rows[:, q].ravel(), np.ones(rows.shape[0] * len(p))))
        which = np.repeat(np.arange(len(a)), sizes[a] * sizes[b])
        rest = np.arange(len(which)) - np.repeat(
            np.cumsum(sizes[a] * sizes[b]) - sizes[a] * sizes[b], sizes[a] * sizes[b]
        )
        p, q = np.divmod(rest, np.maximum(sizes[b][which], 1))
        i, j = members[indptr[a[which]] + p], members[indptr[b[which]] + q]
        parts.append(Pairs(np.minimum(i, j), np.maximum(i, j), s[which]))
        return in_order(concatenated(parts), np.int64(max(len(self.duplicate_of), 1)))

    def rethreshold(self, threshold: float) -> "Duplicates":
        """Return the clusters at a higher threshold, from the pairs at hand.

        Raises
        ------
        ValueError
            If the threshold is lower than the one that was joined at, or above 1.

        Examples
        --------
        >>> import sparsenn as sn
        >>> found = sn.near_duplicates([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0]], threshold=0.7)
        >>> found.keep, found.rethreshold(0.9).keep
        (array([0]), array([0, 1]))
        """
        _check_higher(threshold, self.threshold)
        keep = self._similarity >= threshold - self._tolerance
        found = Found(self._found.a[keep], self._found.b[keep], self._found.surrogates[keep])
        return _clustered(replace(self, threshold=float(threshold), _found=found, _similarity=self._similarity[keep]))

    def __repr__(self) -> str:
        n, kept = len(self.duplicate_of), len(self.keep)
        near = n - kept - self.n_exact
        return (
            f"Duplicates({n:,} rows, {kept:,} kept: {self.n_exact:,} exact copies and {near:,} near ones "
            f"at {self.threshold:g}, {self.rule})"
        )


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Rows of one set that are near-duplicates of rows of another.

    Attributes
    ----------
    threshold : float
    match : ndarray of int64, shape (n_rows,)
        The most similar row of the other set; −1 where none reaches the threshold.
    similarity : ndarray of float64, shape (n_rows,)
        Its similarity; 0 where there is none.
    """

    threshold: float
    match: Ids
    similarity: npt.NDArray[np.float64]
    _tolerance: float

    @property
    def keep(self) -> Ids:
        """Rows that are in the first set only."""
        return np.flatnonzero(self.match < 0)

    def rethreshold(self, threshold: float) -> "Overlaps":
        """Return the same at a higher threshold.

        Raises
        ------
        ValueError
            If it is lower than the one that was joined at, or above 1.
        """
        _check_higher(threshold, self.threshold)
        near = self.similarity >= threshold - self._tolerance
        match, similarity = np.where(near, self.match, -1), np.where(near, self.similarity, 0.0)
        return replace(self, threshold=float(threshold), match=match, similarity=similarity)


def near_duplicates(
    data: Any,
    threshold: float = 0.8,
    *,
    against: Any = None,
    metric: Any = "jaccard",
    metric_params: Mapping[str, Any] | None = None,
    rule: str = "representative",
    keep: Any = "first",
    shingle: int = 3,
    analyzer: str = "word",
    n_jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Any:
    """Find rows, or texts, that are nearly the same, and which of them to keep.

    Exact copies are collapsed first, by a hash. Then all pairs at or above the threshold are found (`similarity_join`):
    nothing is missed, and every pair is verified.

    Parameters
    ----------
    data : array-like or sparse matrix, shape (n_rows, n_columns), or texts
        Texts (a list, a series, a column) become sets of runs of words.
    threshold : float, default 0.8
        Least similarity of near-duplicates.
    against : the same as data, optional
        Look for near-duplicates of these only: what is twice within `data` stays.
    metric : str or BoundMetric, default "jaccard"
        Symmetric, with a similarity of at most 1, which is that of equal rows.
    metric_params : dict, optional
        Parameters of the metric.
    rule : "representative" or "connected", default "representative"
        "representative": each row is similar to the one kept in its place. "connected": rows that a chain of pairs
        leads to are one cluster, however different its ends. Not with `against`.
    keep : "first", "longest", or array-like of shape (n_rows,), default "first"
        Which row stands for its cluster: the lowest id, the longest (characters of texts, nonzeros of rows), or the
        one with the largest score; ties by id. Not with `against`.
    shingle : int, default 3
        For texts: words, or characters, of a run. Texts with fewer are duplicates only of equal texts.
    analyzer : "word" or "char", default "word"
        For texts. "char" suits writing without spaces between words.
    n_jobs : int, optional
    progress : callable, optional
        Told how many rows are done, and of how many.

    Returns
    -------
    Duplicates, or Overlaps with `against`

    Raises
    ------
    ValueError
        A threshold, rule, or metric that cannot be used, scores of another length, rows that do not fit; an option
        that is not for such data.

    Examples
    --------
    >>> import sparsenn as sn
    >>> texts = ["the cat sat on the mat today", "a dog", "The cat sat on the mat, today!", "a dog"]
    >>> found = sn.near_duplicates(texts)
    >>> found.keep
    array([0, 1])
    >>> found.duplicate_of
    array([0, 1, 0, 1])
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}, got {rule!r}")
    bound = resolve(metric, metric_params)
    record = bound.metric
    if not record.symmetric or record.similar == 0.0:
        raise ValueError(f"near-duplicates need a symmetric similarity of at most 1; {record.name} is none")
    if record.similar is not None and not record.reflexive:
        raise ValueError(f"near-duplicates need a similarity that is 1 of equal rows; that of {record.name} is less")
    if against is not None and (rule != RULES[0] or not isinstance(keep, str) or keep != "first"):
        raise ValueError("rule and keep are about clusters, and with against there are none: leave them out")
    if (texts := as_texts(data)) is not None:
        return _of_texts(texts, threshold, against, bound, rule, keep, (shingle, analyzer), n_jobs, progress)
    if shingle != 3 or analyzer != "word":
        raise ValueError("shingle and analyzer are for texts, and the data is rows: leave them out")
    if against is not None:
        join = Join(data, against, bound, None, threshold, n_jobs, borrow=True)
        return _overlaps(join, list(join.all_pairs(MOST_PAIRS, progress, True)))
    join = Join(data, None, bound, None, threshold, n_jobs, borrow=True)
    lengths = np.diff(join.rows.indptr)
    rank = _rank(keep, lengths)
    return _cluster(join, join.x_groups, np.arange(len(join.x_groups.first)), rule, rank, progress)


def as_texts(data: Any) -> list[str] | None:
    """Texts, if the data is texts; None if it is rows."""
    if hasattr(data, "nnz") or (isinstance(data, np.ndarray) and data.dtype.kind not in "OUT"):
        return None
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        first = next((item for item in data if item is not None), None)
        if first is not None and not isinstance(first, str):
            return None
    elif getattr(data, "ndim", 1) != 1:
        return None
    return ["" if _missing(t) else t for batch, _ in open_source(data).batches for t in batch]


def _check_higher(threshold: Any, joined: float) -> None:
    if check_number(threshold) or not joined <= threshold <= 1.0:
        raise ValueError(
            f"threshold must be between {joined:g}, which was joined at, and 1; got {threshold!r}: "
            "for a lower one call near_duplicates again"
        )


def _missing(text: Any) -> bool:
    if isinstance(text, str):
        return False
    if text is None or text != text:
        return True
    raise ValueError(f"texts must be strings, got {text!r}")


def _rank(keep: Any, lengths: npt.NDArray[Any]) -> Ids:
    """Place of each row in the order in which rows are kept."""
    n = len(lengths)
    if isinstance(keep, str):
        if keep not in ("first", "longest"):
            raise ValueError(f"keep must be 'first', 'longest' or a score for each row, got {keep!r}")
        score = np.zeros(n) if keep == "first" else np.asarray(lengths, float)
    else:
        score = np.asarray(keep, dtype=np.float64)
        if score.shape != (n,) or np.isnan(score).any():
            raise ValueError(f"keep needs a score for each of the {n} rows, none of them NaN; got shape {score.shape}")
    rank = np.empty(n, np.int64)
    rank[np.lexsort((np.arange(n), -score))] = np.arange(n)
    return rank


def _cluster(join: Join, groups: Groups, at: Ids, rule: str, rank: Ids, progress: Any) -> Duplicates:
    """Clusters of groups of equal items; row `r` of the join's different rows is the group ``at[r]``."""
    parts = [f for f in join.all_pairs(MOST_PAIRS, progress, True) if len(f.a)]
    a, b, s = (np.concatenate(c) if parts else np.empty(0) for c in (zip(*parts, strict=True) if parts else [[]] * 3))
    a, b = a.astype(np.int64), b.astype(np.int64)
    other = a != b
    similarity = join.similarity(s[other])
    found = Found(at[a[other]], at[b[other]], s[other])
    nobody = np.zeros(len(rank), np.int64)
    return _clustered(Duplicates(join.threshold, rule, nobody, groups, found, similarity, rank, join.tolerance))


def _clustered(d: Duplicates) -> Duplicates:
    groups, n = d._groups, len(d._groups.first)
    if not n:
        return d
    best = np.minimum.reduceat(d._rank[groups.members], groups.indptr[:-1])  # of the rows of each group
    row = np.empty(len(d._rank), np.int64)
    row[d._rank] = np.arange(len(d._rank))
    place = np.empty(n, np.int64)
    place[np.argsort(best)] = np.arange(n)
    a, b = d._found.a, d._found.b
    kept = connected(n, a, b, place) if d.rule == "connected" else represented(n, a, b, d._similarity, place)
    return replace(d, duplicate_of=row[best[kept]][groups.labels()])


def _overlaps(join: Join, parts: list[Found]) -> Overlaps:
    """The most similar row of the other side, for each row; the lowest of equal ones."""
    n = len(join.x_groups.first)
    match, similarity = np.full(n, -1, np.int64), np.zeros(n)
    if parts:
        a, b, surrogates = (np.concatenate(column) for column in zip(*parts, strict=True))
        near, row = join.similarity(surrogates), join.y_groups.first[b]
        order = np.lexsort((row, -near, a))
        first = order[np.concatenate([[True], a[order][1:] != a[order][:-1]])]
        match[a[first]], similarity[a[first]] = row[first], near[first]
    labels = join.x_groups.labels()
    return Overlaps(join.threshold, match[labels], similarity[labels], join.tolerance)


def _of_texts(
    texts: list[str], threshold: Any, against: Any, metric: Any, rule: str, keep: Any, run: Any, n_jobs: Any, tick: Any
) -> Any:
    """Near-duplicates of texts: equal ones first, then by runs of words; a text without any is like no other."""
    own, numbers = _equal_texts(texts)
    rank = _rank(keep, np.fromiter(map(len, texts), np.int64, len(texts)))
    different = [texts[i] for i in own.first]
    others: list[str] = []
    if against is not None:
        given = as_texts(against)
        if given is None:
            raise ValueError("against must be texts, as the data is")
        others = given
    rows = shingles(different + others, run[0], run[1], n_jobs)
    there = np.flatnonzero(np.diff(rows.indptr) > 0)
    mine, theirs = there[there < len(different)], there[there >= len(different)]
    if against is None:
        join = Join(rows[mine], None, metric, None, threshold, n_jobs, borrow=True)
        # rows may be equal where texts differ (by case, or punctuation): then those texts are a cluster of their own
        return _of_equal_rows(join, own, mine, rule, rank, tick)
    join = Join(rows[mine], rows[theirs], metric, None, threshold, n_jobs, borrow=True)
    some = _overlaps(join, list(join.all_pairs(MOST_PAIRS, tick, True)))
    match, similarity = np.full(len(different), -1, np.int64), np.zeros(len(different))
    near = some.match >= 0
    match[mine[near]] = theirs[some.match[near]] - len(different)
    similarity[mine] = some.similarity
    first = {text: j for j, text in reversed(list(enumerate(others)))}
    for i, text in enumerate(different):
        if text in first:
            match[i], similarity[i] = first[text], 1.0
    return replace(some, match=match[numbers], similarity=similarity[numbers])


def _of_equal_rows(join: Join, own: Groups, mine: Ids, rule: str, rank: Ids, tick: Any) -> Duplicates:
    """Clusters of texts, from the different rows of their runs."""
    merged = np.arange(len(own.first))
    merged[mine] = mine[join.x_groups.first[join.x_groups.labels()]]
    groups = group_by(merged[own.labels()].astype(np.uint64))
    at = np.searchsorted(merged[own.labels()[groups.first]], mine[join.x_groups.first])
    return _cluster(join, groups, at, rule, rank, tick)


def _equal_texts(texts: Sequence[str]) -> tuple[Groups, Ids]:
    """Groups of equal texts, and the group of each."""
    numbers: dict[str, int] = {}
    labels = np.fromiter((numbers.setdefault(t, len(numbers)) for t in texts), np.int64, len(texts))
    return group_by(labels.astype(np.uint64)), labels
