"""Many strings in little memory: UTF-8 in chunks, decoded when asked for."""

import bisect
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.vocabulary import pooled


class TextPool:
    """Strings by their numbers. Appending never moves what is there.

    Examples
    --------
    >>> from sparsenn.adapters import TextPool
    >>> pool = TextPool(["a", "é"])
    >>> pool[1], len(pool)
    ('é', 2)
    """

    def __init__(self, texts: Iterable[str] = ()):
        self._chunks: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = []
        self._firsts = [0]  # number of the first string of each chunk, and how many there are
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

    def extend(self, texts: Sequence[str]) -> None:
        """Add strings at the end."""
        self._append(*pooled(texts))

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, i: int) -> str:
        if not 0 <= i < len(self):
            raise IndexError(f"there are {len(self)} texts, got number {i}")
        chunk = bisect.bisect_right(self._firsts, i) - 1
        pool, offsets = self._chunks[chunk]
        at = i - self._firsts[chunk]
        return str(pool[offsets[at] : offsets[at + 1]].data, "utf-8", "surrogatepass")

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(pool.nbytes + offsets.nbytes for pool, offsets in self._chunks)

    def arrays(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """All strings as two arrays, as `of_arrays` takes them."""
        pools = [pool[offsets[0] : offsets[-1]] for pool, offsets in self._chunks]
        lengths = [np.diff(offsets) for _, offsets in self._chunks]
        starts = np.zeros(len(self) + 1, np.int64)
        if lengths:
            np.cumsum(np.concatenate(lengths), out=starts[1:])
        return np.concatenate(pools) if pools else np.zeros(0, np.uint8), starts
