"""The terms of a vectoriser, a column each, as bytes one after the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.tokens import Table, index_terms


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Terms in the order of their columns.

    Attributes
    ----------
    table : Table
        Bytes of the terms, UTF-8, and a hash table over them.
    """

    table: Table

    @classmethod
    def of_bytes(cls, pool: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> "Vocabulary":
        """Terms ``pool[offsets[t] : offsets[t + 1]]``."""
        pool, offsets = np.array(pool, np.uint8), np.array(offsets, np.int64)
        return cls(index_terms(pool, offsets))

    @classmethod
    def of(cls, terms: Iterable[str]) -> "Vocabulary":
        """Terms given as strings."""
        return cls.of_bytes(*pooled(terms))

    @property
    def pool(self) -> npt.NDArray[np.uint8]:
        """Bytes of all terms."""
        found: npt.NDArray[np.uint8] = self.table.pool
        return found

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each term begins."""
        found: npt.NDArray[np.int64] = self.table.offsets
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.table)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, column: int) -> str:
        a, b = self.offsets[column], self.offsets[column + 1]
        return self.pool[a:b].tobytes().decode("utf-8", "surrogatepass")

    def terms(self) -> list[str]:
        """All terms."""
        return [term.decode("utf-8", "surrogatepass") for term in bytes_of(self.pool, self.offsets)]


def pooled(terms: Iterable[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Strings as UTF-8, one after the other, and where each begins (and the last ends)."""
    encoded = [term.encode("utf-8", "surrogatepass") for term in terms]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def bytes_of(pool: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> list[bytes]:
    """Each string's bytes."""
    whole, bounds = pool.tobytes(), offsets.tolist()
    return [whole[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def check_starts(name: str, starts: npt.NDArray[Any], size: int, n: int | None = None, whole: bool = True) -> None:
    """Check where strings begin in an array of so many bytes; `n`: how many strings; `whole`: all, not only the ends.

    Raises
    ------
    ValueError
        If they are no such thing.
    """
    sound = starts.ndim == 1 and starts.dtype.kind in "iu" and len(starts) > 0
    sound = sound and starts[0] == 0 and starts[-1] == size and (n is None or len(starts) == n + 1)
    if not sound or (whole and (starts[1:] < starts[:-1]).any()):
        raise ValueError(
            f"{name} is damaged: it does not rise from 0 to {size:,}" + ("" if n is None else f" in {n:,}")
        )


def stop_words(given: Any) -> Sequence[str]:
    """Read the stop words that a user gave: None, "english", or words."""
    if given is None:
        return ()
    if isinstance(given, str):
        if given != "english":
            raise ValueError(f"stop_words must be None, 'english' or a list of words, got {given!r}")
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        return sorted(ENGLISH_STOP_WORDS)
    words = list(given)
    odd = next((word for word in words if not isinstance(word, str)), None)
    if odd is not None:
        raise ValueError(f"stop_words must be words, got {odd!r} among them")
    return sorted(set(words))
