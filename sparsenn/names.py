"""Ids that users give their rows: integers or texts, looked up by sorted tables that a file can hold."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


class IntNames:
    """Integers of at least 0, one for each row.

    Parameters
    ----------
    values : ndarray of int64
    order : ndarray of int64, optional
        Places of the values by size.
    """

    kind = "int"

    def __init__(self, values: npt.NDArray[np.int64], order: Places | None = None):
        self.values = values
        self.order = np.argsort(values, kind="stable") if order is None else order

    def __len__(self) -> int:
        return len(self.values)

    def find(self, keys: npt.NDArray[np.int64]) -> Places:
        """Place of each key, -1 where there is none."""
        if not len(self.values):
            return np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self.values, keys, sorter=self.order)
        places = self.order[np.minimum(at, len(self.values) - 1)]
        return np.where(self.values[places] == keys, places, -1)

    def take(self, places: Places) -> "IntNames":
        """Ids of some rows."""
        return IntNames(self.values[places])

    def read(self, places: Places) -> npt.NDArray[Any]:
        """Ids at some places, as the user gave them."""
        return self.values[places]

    def joined(self, others: Sequence["IntNames"]) -> "IntNames":
        """These ids and those of further rows."""
        return IntNames(np.concatenate([self.values, *(other.values for other in others)]))

    def repeated(self) -> tuple[Any, int, int] | None:
        """An id that stands twice, and where."""
        again = np.flatnonzero(self.values[self.order[1:]] == self.values[self.order[:-1]])
        if not again.size:
            return None
        return int(self.values[self.order[again[0]]]), int(self.order[again[0]]), int(self.order[again[0] + 1])

    def parts(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to save."""
        return {"values": self.values, "order": self.order}


class TextNames:
    """Texts, one for each row: their UTF-8 bytes one after another, and a table of their hashes.

    Parameters
    ----------
    blob : ndarray of uint8
    starts : ndarray of int64, shape (n + 1,)
    hashes : ndarray of uint64, sorted
    order : ndarray of int64
        Place of the text of each hash.
    """

    kind = "text"

    def __init__(self, blob: npt.NDArray[np.uint8], starts: Places, hashes: npt.NDArray[np.uint64], order: Places):
        self.blob, self.starts, self.hashes, self.order = blob, starts, hashes, order

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextNames":
        """Make the tables."""
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        lengths = np.array([len(part) for part in parts], np.int64)
        return cls._of(np.frombuffer(b"".join(parts), np.uint8), lengths, _hashes(parts))

    @classmethod
    def _of(cls, blob: npt.NDArray[np.uint8], lengths: Places, hashes: npt.NDArray[np.uint64]) -> "TextNames":
        """The same of bytes and hashes that are known, in the order of the rows."""
        starts = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=starts[1:])
        order = np.argsort(hashes, kind="stable")
        return cls(blob, starts, hashes[order], order)

    def _by_place(self) -> npt.NDArray[np.uint64]:
        """Hash of each row's text."""
        hashes = np.empty(len(self.order), np.uint64)
        hashes[self.order] = self.hashes
        return hashes

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _bytes(self, place: int) -> bytes:
        return self.blob[self.starts[place] : self.starts[place + 1]].tobytes()

    def find(self, keys: Sequence[str]) -> Places:
        """Place of each text, -1 where there is none."""
        parts = [key.encode("utf-8", "surrogatepass") for key in keys]
        begins = np.searchsorted(self.hashes, _hashes(parts))
        found = np.full(len(parts), -1, np.int64)
        for number, (part, at) in enumerate(zip(parts, begins.tolist(), strict=True)):
            while at < len(self.hashes) and (at == begins[number] or self.hashes[at] == self.hashes[at - 1]):
                if self._bytes(int(self.order[at])) == part:
                    found[number] = self.order[at]
                    break
                at += 1
        return found

    def take(self, places: Places) -> "TextNames":
        """Ids of some rows."""
        lengths = np.diff(self.starts)[places]
        ends = np.cumsum(lengths)
        where = np.repeat(self.starts[places] - (ends - lengths), lengths) + np.arange(lengths.sum())
        return self._of(self.blob[where], lengths, self._by_place()[places])

    def read(self, places: Places) -> npt.NDArray[Any]:
        """Ids at some places, as the user gave them."""
        texts = [self._bytes(place).decode("utf-8", "surrogatepass") for place in places.tolist()]
        return np.fromiter(texts, object, len(texts))

    def joined(self, others: Sequence["TextNames"]) -> "TextNames":
        """These ids and those of further rows."""
        every = (self, *others)
        parts = ([names.blob for names in every], [np.diff(names.starts) for names in every])
        hashes = np.concatenate([names._by_place() for names in every])
        return self._of(np.concatenate(parts[0]), np.concatenate(parts[1]), hashes)

    def repeated(self) -> tuple[Any, int, int] | None:
        """An id that stands twice, and where."""
        seen: dict[bytes, int] = {}
        for run in np.flatnonzero(self.hashes[1:] == self.hashes[:-1]).tolist():
            for place in sorted(self.order[run : run + 2].tolist()):
                first = seen.setdefault(self._bytes(place), place)
                if first != place:
                    return self.read(np.array([place]))[0], first, place
        return None

    def parts(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to save."""
        return {"blob": self.blob, "starts": self.starts, "hashes": self.hashes, "order": self.order}


Names = IntNames | TextNames


def _hashes(parts: list[bytes]) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.blake2b(part, digest_size=8).digest() for part in parts)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def names_of(kind: str, parts: dict[str, npt.NDArray[Any]]) -> Names:
    """Ids of saved arrays."""
    return IntNames(**parts) if kind == IntNames.kind else TextNames(**parts)


def shown(key: Any) -> str:
    """An id as a message shows it."""
    return repr(key.item() if isinstance(key, np.generic) else key)


def read_keys(ids: Any, name: str = "ids") -> npt.NDArray[np.int64] | list[str]:
    """Read ids as integers or texts, of an array or whatever else can be gone through.

    Raises
    ------
    ValueError
        If they are neither, in one dimension.
    """
    if not isinstance(ids, list | tuple) and not hasattr(ids, "__array__"):
        if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
            raise ValueError(f"{name} must be a list or array of ids, got {ids!r}: give [{ids!r}]")
        ids = list(ids)
    if isinstance(ids, list | tuple):
        texts = sum(isinstance(i, str) for i in ids)
        if texts and texts == len(ids):  # an array would give all of them one width, and cut zeros off their ends
            return [str(i) for i in ids]
        array = np.fromiter(ids, object, len(ids)) if texts else np.asarray(ids)
    else:
        array = np.asarray(ids)
    if array.ndim == 0:
        raise ValueError(f"{name} must be a list or array of ids, got {ids!r}: give [{ids!r}]")
    if array.ndim == 1 and array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim == 1 and array.dtype.kind in "iu" and int(array.max()) < 2**63:
        integers: npt.NDArray[np.int64] = array.astype(np.int64)
        return integers
    if array.ndim == 1 and array.dtype.kind in "UOT":
        values: list[str] = array.tolist()
        if all(isinstance(value, str) for value in values):
            return values
    raise ValueError(
        f"{name} must be integers below 2^63, or texts, in one dimension, got {array.dtype} of shape {array.shape}"
    )


def make_names(ids: Any, n: int, name: str = "ids") -> Names:
    """Read ids of `n` new rows.

    Raises
    ------
    ValueError
        A wrong number of them, one below 0, or one that stands twice.
    """
    keys = read_keys(ids, name)
    if len(keys) != n:
        raise ValueError(f"{name} has {len(keys)} values, but X has {n} rows: give one id each")
    if isinstance(keys, list):
        made: Names = TextNames.of(keys)
    else:
        if n and keys.min() < 0:
            raise ValueError(
                f"{name} has {keys.min()} at place {keys.argmin()}: ids are at least 0, -1 stands for no row"
            )
        made = IntNames(keys.copy())
    again = made.repeated()
    if again:
        raise ValueError(f"{name} has {again[0]!r} twice, at places {again[1]} and {again[2]}: an id names one row")
    return made
