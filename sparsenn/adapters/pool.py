"""Many strings in little memory: UTF-8 in chunks, decoded when asked for."""

import bisect
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.vocabulary import pooled

Chunk = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
SMALL = 4096  # strings up to which chunks are joined, so that there are few of them


class TextPool:
    """Strings by their numbers. Appending never moves what is there, and a longer pool shares it.

    Examples
    --------
    >>> from sparsenn.adapters import TextPool
    >>> pool = TextPool(["a", "é"])
    >>> pool[1], len(pool)
    ('é', 2)
    """

    def __init__(self, texts: Iterable[str] = ()):
        self._chunks: list[Chunk] = []
        self._firsts = [0]  # number of the first string of each chunk, and how many there are
        self._changed: Mapping[int, str] = {}  # strings that are others now
        self.extend(list(texts))

    @classmethod
    def of_arrays(cls, pool: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> "TextPool":
        """Strings ``pool[offsets[i] : offsets[i + 1]]``; the arrays may be memory-mapped."""
        made = cls()
        made._append(pool, offsets)
        return made

    def _append(self, pool: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        if len(offsets) > 1:
            self._chunks.append((pool, offsets))
            self._firsts.append(self._firsts[-1] + len(offsets) - 1)

    def _copy(self) -> "TextPool":
        made = TextPool()
        made._chunks, made._firsts, made._changed = list(self._chunks), list(self._firsts), self._changed
        return made

    def extend(self, texts: Sequence[str]) -> None:
        """Add strings at the end."""
        self._append(*pooled(texts))

    def extended(self, texts: Sequence[str]) -> "TextPool":
        """A pool with more strings at the end, which shares what is there with this one."""
        made, new = self._copy(), pooled(texts)
        while made._chunks and len(made._chunks[-1][1]) <= len(new[1]) <= SMALL:
            new = _joined(made._chunks.pop(), new)
            made._firsts.pop()
        made._append(*new)
        return made

    def replaced(self, numbers: Sequence[int], texts: Sequence[str]) -> "TextPool":
        """A pool with other strings at some numbers."""
        made = self._copy()
        made._changed = {**self._changed, **dict(zip(numbers, texts, strict=True))}
        return made

    def take(self, numbers: Iterable[int]) -> "TextPool":
        """A pool of some of the strings alone, in arrays of their own."""
        parts = [self._bytes(number) for number in numbers]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=offsets[1:])
        return TextPool.of_arrays(np.frombuffer(b"".join(parts), np.uint8), offsets)

    def __len__(self) -> int:
        return self._firsts[-1]

    @property
    def n_changed(self) -> int:
        """Strings that are held twice: as they were, and as they are."""
        return len(self._changed)

    def _bytes(self, i: int) -> bytes | memoryview:
        if i in self._changed:
            return self._changed[i].encode("utf-8", "surrogatepass")
        chunk = bisect.bisect_right(self._firsts, i) - 1
        pool, offsets = self._chunks[chunk]
        at = i - self._firsts[chunk]
        return pool[offsets[at] : offsets[at + 1]].data

    def __getitem__(self, i: int) -> str:
        if not 0 <= i < len(self):
            raise IndexError(f"there are {len(self)} texts, got number {i}")
        return str(self._bytes(i), "utf-8", "surrogatepass")

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(pool.nbytes + offsets.nbytes for pool, offsets in self._chunks)

    def arrays(self) -> Chunk:
        """All strings as two arrays, as `of_arrays` takes them."""
        if self._changed:
            return self.take(range(len(self))).arrays()
        pools = [pool[offsets[0] : offsets[-1]] for pool, offsets in self._chunks]
        lengths = [np.diff(offsets) for _, offsets in self._chunks]
        starts = np.zeros(len(self) + 1, np.int64)
        if lengths:
            np.cumsum(np.concatenate(lengths), out=starts[1:])
        return np.concatenate(pools) if pools else np.zeros(0, np.uint8), starts


def _joined(one: Chunk, other: Chunk) -> Chunk:
    (pool, offsets), (more, further) = one, other
    used = pool[offsets[0] : offsets[-1]]
    return np.concatenate([used, more]), np.concatenate([offsets - offsets[0], further[1:] + len(used)])
