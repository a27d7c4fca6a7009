"""Rows that are equal, collapsed to one: by a hash that does not depend on the order of columns, then compared."""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn._jit import bits_of, entry, kernel
from sparsenn.parallel import map_blocks
from sparsenn.rows import Rows

HASHED_AT_ONCE = 2**10  # rows


class Groups(NamedTuple):
    """Equal rows of a set.

    Attributes
    ----------
    first : ndarray of int64, shape (n_groups,)
        The lowest row id of each group.
    indptr : ndarray of int64, shape (n_groups + 1,)
    members : ndarray of int64
        Row ids, ascending within each group.
    """

    first: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Rows of each group."""
        return np.diff(self.indptr)

    def labels(self) -> npt.NDArray[np.int64]:
        """Group of each row."""
        found = np.empty(len(self.members), np.int64)
        found[self.members] = np.repeat(np.arange(len(self.first)), self.sizes)
        return found

    def shortened(self, most: int) -> "Groups":
        """The groups with no more than their first `most` rows."""
        place = np.arange(len(self.members)) - np.repeat(self.indptr[:-1], self.sizes)
        indptr = np.concatenate([[0], np.cumsum(np.minimum(self.sizes, most))]).astype(np.int64)
        return Groups(self.first, indptr, self.members[place < most])

    def take(self, which: npt.NDArray[np.int64]) -> "Groups":
        """Some of the groups, in the order given."""
        sizes = self.sizes[which]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[which] - indptr[:-1], sizes)
        return Groups(self.first[which], indptr, self.members[places])


@kernel
def mixed(h):
    """Spread the bits of a number over all 64 (the finisher of splitmix64)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@entry
def _hash_rows(indptr, indices, data, salt, out, start, stop):
    for i in range(start, stop):
        total = mixed(np.uint64(indptr[i + 1] - indptr[i]) + salt)
        for t in range(indptr[i], indptr[i + 1]):
            value = np.uint64(np.uint32(bits_of(data[t])))
            total += mixed(mixed(np.uint64(indices[t]) ^ salt) ^ value)
        out[i] = total


@entry
def _equal_rows(indptr, indices, data, a, b):
    """Whether each row of `a` equals the row of `b` beside it; both have their columns sorted."""
    for r in range(a.shape[0]):
        i, j = indptr[a[r]], indptr[b[r]]
        if indptr[a[r] + 1] - i != indptr[b[r] + 1] - j:
            return False
        for t in range(indptr[a[r] + 1] - i):
            if indices[i + t] != indices[j + t] or data[i + t] != data[j + t]:
                return False
    return True


@entry
def cross(
    a, b, similarity, indptr, members, other_indptr, others, ends, counts, first, begin, once, i, j, similarities
):
    """Write the pairs of rows of pairs of groups, from number `begin` on; each with the lower row first, if `once`."""
    pair, r = first, 0
    while r < i.shape[0]:
        n = other_indptr[b[pair] + 1] - other_indptr[b[pair]]
        rest = begin + r - (ends[pair] - counts[pair])
        p, q = indptr[a[pair]] + rest // n, rest % n
        stop = min(r + counts[pair] - rest, i.shape[0])
        for at in range(r, stop):
            row, other = members[p], others[other_indptr[b[pair]] + q]
            i[at], j[at] = (min(row, other), max(row, other)) if once else (row, other)
            similarities[at] = similarity[pair]
            q += 1
            if q == n:
                p, q = p + 1, 0
        r = stop
        pair += 1


@entry
def by_first(i, j, similarity, at, others, similarities):
    """Put pairs where those of their `i` begin, one after the other."""
    for r in range(i.shape[0]):
        to = at[i[r]]
        others[to], similarities[to] = j[r], similarity[r]
        at[i[r]] += 1


def group_by(keys: npt.NDArray[np.uint64]) -> Groups:
    """Groups of equal keys, in the order of their first rows."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(keys) else np.zeros(0, int)
    indptr = np.concatenate([starts, [len(keys)]]).astype(np.int64)
    groups = Groups(order[starts].astype(np.int64), indptr, order.astype(np.int64))
    return groups.take(np.argsort(groups.first))


def group_equal(rows: Rows, n_jobs: int | None = 1) -> Groups:
    """Groups of equal CSR rows: same columns, same values."""
    salt, keys = np.uint64(0x9E3779B97F4A7C15), np.empty(len(rows), np.uint64)
    while True:
        hash_block = functools.partial(_hash_rows, rows.indptr, rows.indices, rows.data, salt, keys)
        map_blocks(hash_block, len(rows), n_jobs, HASHED_AT_ONCE)
        groups = group_by(keys)
        firsts = np.repeat(groups.first, groups.sizes)
        others = groups.members != firsts
        if _equal_rows(rows.indptr, rows.indices, rows.data, groups.members[others], firsts[others]):
            return groups
        salt = np.uint64((int(salt) * 3 + 1) & (2**64 - 1))  # two different rows with one hash: hash them otherwise
