"""MinHash with banding: most pairs of similar sets, where even an exact join is too dear; every candidate is verified.

A band is a key of a few minima; rows with equal keys are candidates (Broder 1997; Leskovec, Rajaraman and Ullman,
section 3.4). Bands are made, sorted and verified one after the other: no signatures are kept, so a row costs 8 bytes.
Of each minimum `bits` are used (b-bit minwise hashing, Li and König 2010).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry
from sparsenn.grouping import Groups, group_by, mixed
from sparsenn.join import ROOM, Found, Join, check_most, concatenated, in_order, nth_pair
from sparsenn.metrics.registry import check_number
from sparsenn.parallel import map_blocks
from sparsenn.results import Pairs

CANDIDATES = 2**20  # verified at once
BITS = 32


class LshPlan(NamedTuple):
    """What a MinHash join will do, predicted before it runs.

    Attributes
    ----------
    bands, rows, bits : int
        Keys of each row, minima in a key, bits of a minimum.
    recall : float
        Expected share of the pairs exactly at the threshold that become candidates; of more similar ones it is larger.
    candidates : int
        Pairs that will be verified, from the collisions of the first band; a pair counts in each band that it is in.
    """

    bands: int
    rows: int
    bits: int
    recall: float
    candidates: int


@entry
def band_keys(indptr, indices, seed, band, rows, bits, start, stop, out):
    """Key of one band of the rows [start, stop): `rows` minima, mixed."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    least = np.empty(rows, np.uint64)
    for i in range(start, stop):
        for r in range(rows):
            least[r] = np.uint64(0xFFFFFFFFFFFFFFFF)
        for t in range(indptr[i], indptr[i + 1]):
            h = mixed(np.uint64(indices[t]) + seed)
            for r in range(rows):
                least[r] = min(least[r], mixed(h ^ (np.uint64(band * rows + r + 1) * np.uint64(0x9E3779B97F4A7C15))))
        key = np.uint64(0)
        for r in range(rows):
            key = mixed(key ^ (least[r] & mask))
        out[i] = key


def collision(similarity: float, rows: int, bits: int = BITS) -> float:
    """Probability that two sets of a Jaccard similarity have the same key in one band."""
    return float((similarity + (1.0 - similarity) * 2.0**-bits) ** rows)


def choose_bands(threshold: float, recall: float, n_permutations: int, bits: int = BITS) -> tuple[int, int]:
    """Bands and minima a band: the longest keys (fewest candidates) that reach a recall at the threshold.

    Raises
    ------
    ValueError
        If so many permutations cannot reach it.
    """
    for rows in range(n_permutations, 0, -1):
        bands = n_permutations // rows
        miss = 1.0 - collision(threshold, rows, bits)
        if 1.0 - miss**bands >= recall:
            while bands > 1 and 1.0 - miss ** (bands - 1) >= recall:
                bands -= 1
            return bands, rows
    raise ValueError(
        f"{n_permutations} permutations cannot reach a recall of {recall:g} at threshold {threshold:g}: "
        "ask for less, give more n_permutations, or use similarity_join, which is exact"
    )


class MinHashJoin:
    """A join of sets by MinHash: say what it would cost, then run it.

    Parameters
    ----------
    X : array-like or sparse matrix
        Rows are sets: the columns that are not zero.
    threshold : float, default 0.8
        Least Jaccard similarity, above 0 and at most 1.
    recall : float, default 0.95
        Expected share of the pairs at the threshold that is found, between 0 and 1, both excluded.
    n_permutations : int, default 128
        Minima that may be used.
    bits : int, default 32
        Bits of each minimum, 1 to 32: fewer make more candidates.
    random_state : int or None, default 0
        At least 0; None draws another one each time.
    n_jobs : int, optional

    Raises
    ------
    ValueError
        A parameter out of range, or a recall that so many permutations cannot reach.

    See Also
    --------
    similarity_join : exact, and on most data faster.

    Examples
    --------
    >>> import sparsenn as sn
    >>> join = sn.MinHashJoin([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0]], threshold=0.7, recall=0.99)
    >>> join.plan.bands, join.plan.rows
    (13, 3)
    >>> join.run().similarity
    array([0.75, 1.  , 0.75])
    """

    def __init__(
        self,
        X: Any,
        threshold: float = 0.8,
        *,
        recall: float = 0.95,
        n_permutations: int = 128,
        bits: int = BITS,
        random_state: int | None = 0,
        n_jobs: int | None = None,
    ) -> None:
        for name, value, low, high in (("n_permutations", n_permutations, 1, 2**16), ("bits", bits, 1, BITS)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= int(value) <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
        if check_number(recall) or not 0.0 < recall < 1.0:
            raise ValueError(f"recall must be between 0 and 1, got {recall!r}: similarity_join finds all pairs")
        self._join = Join(X, None, "jaccard", None, threshold, n_jobs, prepare=False)
        if threshold == 0:
            raise ValueError("threshold must be above 0: all pairs have a similarity of at least 0")
        self._seed, self._n_jobs, self._bits = _seed(random_state), n_jobs, int(bits)
        self._bands, self._rows = choose_bands(threshold, recall, int(n_permutations), self._bits)
        self._first = group_by(self._keys(0))
        sizes = self._first.sizes
        found = 1.0 - (1.0 - collision(threshold, self._rows, self._bits)) ** self._bands
        self.plan = LshPlan(
            self._bands, self._rows, self._bits, found, self._bands * int((sizes * (sizes - 1) // 2).sum())
        )

    def __repr__(self) -> str:
        p = self.plan
        return (
            f"MinHashJoin({p.bands} bands of {p.rows} minima: recall {p.recall:.3f} at {self._join.threshold:g}, "
            f"about {p.candidates:,} candidates)"
        )

    def _keys(self, band: int) -> npt.NDArray[np.uint64]:
        rows = self._join.x
        out = np.empty(len(rows), np.uint64)

        def block(start: int, stop: int) -> None:
            band_keys(rows.indptr, rows.indices, self._seed, band, self._rows, self._bits, start, stop, out)

        map_blocks(block, len(rows), self._n_jobs)
        return out

    def run(self, max_pairs: int = 10**9) -> Pairs:
        """Find the pairs; each is verified, with its exact similarity.

        Parameters
        ----------
        max_pairs : int, default 10**9

        Returns
        -------
        Pairs
            Ordered by `i`, then `j`.

        Raises
        ------
        ValueError
            If there are more pairs, or more candidates are predicted, than `max_pairs`.
        """
        join = self._join
        if self.plan.candidates > max_pairs:
            raise ValueError(
                f"about {self.plan.candidates:,} candidates would be verified, more than max_pairs = {max_pairs:,}: "
                "raise the threshold, or use similarity_join"
            )
        found, n = [join.inside()], len(join.x)
        seen, total = np.zeros(0, np.int64), join.count(found[0])
        check_most(total, max_pairs, join.threshold)
        for band in range(self._bands):
            groups = self._first if band == 0 else group_by(self._keys(band))
            groups = groups.take(np.flatnonzero(groups.sizes > 1))
            candidates, fresh = int((groups.sizes * (groups.sizes - 1) // 2).sum()), [seen]
            for begin in range(0, candidates, CANDIDATES):
                a, b = _some_pairs(groups, begin, min(begin + CANDIDATES, candidates))
                keys = np.sort(a * n + b)
                keys = keys[~_are_in(keys, seen)]  # within a band a pair is in one group
                a, b = np.divmod(keys, n)
                surrogates = join.surrogates(a, b)
                keep = surrogates <= join.limit
                found.append(Found(a[keep], b[keep], surrogates[keep]))
                fresh.append(keys[keep])
                total += join.count(found[-1])
                check_most(total, max_pairs, join.threshold)
            seen = np.sort(np.concatenate(fresh), kind="stable")  # of ascending parts
        return in_order(concatenated(list(join.expand(found, ROOM))), join.width)


def _seed(random_state: Any) -> np.uint64:
    if random_state is None:
        return np.uint64(np.random.default_rng().integers(2**63))
    if isinstance(random_state, bool) or not hasattr(random_state, "__index__") or not 0 <= random_state < 2**64:
        raise ValueError(f"random_state must be a whole number from 0 to 2**64 - 1, or None, got {random_state!r}")
    return np.uint64(random_state)


def _some_pairs(groups: Groups, begin: int, end: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of members of each group, the lower id first: numbers [begin, end) of all of them."""
    counts = groups.sizes * (groups.sizes - 1) // 2
    ends = np.cumsum(counts)
    number = np.arange(begin, end)
    group = np.searchsorted(ends, number, side="right")
    p, q = nth_pair(number - (ends - counts)[group], groups.sizes[group], True)
    start = groups.indptr[group]
    return groups.members[start + p], groups.members[start + q]


def _are_in(keys: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each of ascending `keys` is among other ascending ones."""
    if not len(ordered):
        return np.zeros(len(keys), bool)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys)
