"""Texts to sets of shingles: runs of words or characters, hashed to 64 bits and numbered without a vocabulary.

A vocabulary of runs of words is mostly runs that occur once: learning their spelling costs more than all the rest.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import entry
from sparsenn.grouping import mixed
from sparsenn.parallel import map_blocks
from sparsenn.rows import column_order

PARTS = 16  # of the hashes, numbered apart: their tables fit the cache better, and threads share them
CODE_POINTS = 0x110000


@functools.cache
def _folding() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    """Which code points are of words, and their lower case where that is one code point."""
    word, lower = np.zeros(CODE_POINTS, np.bool_), np.arange(CODE_POINTS, dtype=np.uint32)
    for code in range(CODE_POINTS):
        char = chr(code)
        if char.isalnum() or char == "_":
            word[code] = True
            folded = char.lower()
            if len(folded) == 1:
                lower[code] = ord(folded)
    return word, lower


@entry
def hash_runs(codes, bounds, word, lower, size, by_word, start, stop, out, counts):
    """Hashes of the runs of each of the texts [start, stop), sorted and each once; returns how many there are."""
    used = 0
    recent = np.zeros(size, np.uint64)
    for i in range(start, stop):
        n_units, h, inside, first = 0, np.uint64(0), False, used
        for p in range(bounds[i], bounds[i + 1] + 1):
            code = np.int64(codes[p]) if p < bounds[i + 1] else np.int64(32)
            ends = False
            if by_word:
                if word[code]:
                    h = mixed((h if inside else np.uint64(0)) + np.uint64(lower[code]) + np.uint64(1))
                    inside = True
                else:
                    ends, inside = inside, False
            elif word[code] or inside:  # other characters between two of words are one space
                ends = word[code] or (inside and p < bounds[i + 1])
                h = mixed(np.uint64(lower[code]) if word[code] else np.uint64(32))
                inside = word[code]
            if ends:
                recent[n_units % size] = h
                n_units += 1
                if n_units >= size:
                    key = np.uint64(0)
                    for r in range(size):
                        key = mixed(key * np.uint64(0x9E3779B97F4A7C15) + recent[(n_units + r) % size])
                    out[used] = key
                    used += 1
        part = out[first:used]
        part.sort()
        to = first
        before = np.uint64(0)
        for r in range(first, used):
            key = out[r]
            if r == first or key != before:
                out[to] = key
                to += 1
            before = key
        counts[i] = to - first
        used = to
    return used


@entry
def number_part(keys, part, n_parts, n_slots, table, numbers, out):
    """Number the different keys of one part, in the order of their first places; returns how many."""
    mask, count = np.uint64(n_slots - 1), np.int32(0)
    for t in range(keys.shape[0]):
        key = keys[t]
        if (key >> np.uint64(32)) % np.uint64(n_parts) != np.uint64(part):
            continue
        at = key & mask
        while numbers[at] >= 0 and table[at] != key:
            at = (at + np.uint64(1)) & mask
        if numbers[at] < 0:
            table[at], numbers[at] = key, count
            count += np.int32(1)
        out[t] = numbers[at]
    return count


@entry
def shift_parts(keys, n_parts, offsets, out):
    """Add to each number the first one of its part."""
    for t in range(keys.shape[0]):
        out[t] += np.int32(offsets[(keys[t] >> np.uint64(32)) % np.uint64(n_parts)])


def _number(keys: npt.NDArray[np.uint64], n_jobs: int | None) -> tuple[npt.NDArray[np.int32], int]:
    """Number of each key among the different ones."""
    out = np.empty(len(keys), np.int32)

    def block(start: int, stop: int) -> list[int]:
        found = []
        for part in range(start, stop):
            n_slots = 1 << max(int(2 * len(keys) // PARTS).bit_length() + 1, 4)
            table, numbers = np.empty(n_slots, np.uint64), np.full(n_slots, -1, np.int32)
            found.append(number_part(keys, part, PARTS, n_slots, table, numbers, out))
        return found

    counts = [c for part in map_blocks(block, PARTS, n_jobs, 1) for c in part]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    map_blocks(lambda a, b: shift_parts(keys[a:b], PARTS, offsets, out[a:b]), len(keys), n_jobs, 2**16)
    return out, int(offsets[-1])


def shingles(texts: Sequence[str], size: int = 3, analyzer: str = "word", n_jobs: int | None = None) -> Any:
    """Sets of runs of words or characters.

    Parameters
    ----------
    texts : sequence of str
    size : int, default 3
        Words, or characters, of a run. A text with fewer has none: an empty row.
    analyzer : "word" or "char", default "word"
        Words are runs of letters, digits and ``_``, compared without case. "char": characters of words; whatever stands
        between two words is one space.
    n_jobs : int, optional

    Returns
    -------
    csr_array of float32, shape (n_texts, number of different runs)
        Ones. Runs are told apart by 64-bit hashes.

    Raises
    ------
    ValueError
        A size below 1, or another analyzer.

    Examples
    --------
    >>> from sparsenn.adapters import shingles
    >>> shingles(["one two three four", "One, two, three!"]).sum(axis=1)
    array([2., 1.], dtype=float32)
    """
    from scipy.sparse import csr_array

    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ValueError(f"shingle must be a whole number of at least 1, got {size!r}")
    if analyzer not in ("word", "char"):
        raise ValueError(f"analyzer must be 'word' or 'char', got {analyzer!r}")
    word, lower = _folding()
    counts = np.zeros(len(texts), np.int64)

    def block(start: int, stop: int) -> npt.NDArray[np.uint64]:
        part = texts[start:stop]
        bounds = np.concatenate([[0], np.cumsum([len(t) for t in part])]).astype(np.int64)
        codes = np.frombuffer("".join(part).encode("utf-32-le", "surrogatepass"), np.uint32)
        out = np.empty(bounds[-1] + 1, np.uint64)
        by_word, own = analyzer == "word", counts[start:stop]
        return out[: hash_runs(codes, bounds, word, lower, int(size), by_word, 0, len(part), out, own)].copy()

    keys = np.concatenate([np.zeros(0, np.uint64), *map_blocks(block, len(texts), n_jobs, 256)])
    numbers, width = _number(keys, n_jobs)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    numbers = numbers[column_order(indptr, numbers, width, lambda f, n: map_blocks(f, n, n_jobs, 256))]
    return csr_array((np.ones(len(numbers), np.float32), numbers, indptr), shape=(len(texts), max(width, 1)))
