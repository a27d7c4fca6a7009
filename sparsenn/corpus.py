"""What an index of texts holds at one moment: what makes rows, the rows, their texts and ids.

A `Corpus` never changes. Each text has the number of its row (`sparsenn.state`); numbers of removed rows are never used
again, so texts and ids stand at *places*, which are the numbers until removed ones have been let go.

The rows live in an `Index`, which has a state of its own. So that both change at once, a corpus that goes with the rows
after a change is published before it, and says with which state its forerunner still holds.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn.adapters.pool import TextPool
from sparsenn.adapters.vocabulary import bytes_of, check_starts, pooled
from sparsenn.index import Index
from sparsenn.state import State

Arrays = dict[str, npt.NDArray[Any]]
Numbers = npt.NDArray[np.int64]
ALL = np.zeros(0, np.int64)
SPARE = 2  # times as many texts as are there may be held


class Ids:
    """Users' ids by place, and their numbers.

    Corpora share one while texts are added: it grows at its end only, and what a failed call has left there counts for
    nothing, since a number that is looked up has to have that id.
    """

    def __init__(self, values: Sequence[Hashable], numbers: Iterable[int]):
        self.values = list(values)
        self.numbers = dict(zip(self.values, numbers, strict=True))

    def grow(self, n: int, ids: Sequence[Hashable], number: int) -> None:
        """Put ids behind the first n, with numbers from `number`."""
        del self.values[n:]
        self.values.extend(ids)
        self.numbers.update(zip(ids, range(number, number + len(ids)), strict=True))


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts at one moment.

    Attributes
    ----------
    made : TextVectorizer or OutsideVectorizer
    index : Index
    texts : TextPool or None
        By place; None where texts are not kept.
    ids : Ids or None
        None where ids are the numbers.
    kept : ndarray of int64
        Numbers of the texts at the first places, rising.
    first : int
        Number of the text after those; the others follow it.
    before : (State, Corpus) or None
        The corpus that goes with the rows as they were before the change that this one was made for.
    """

    made: Any
    index: Index
    texts: TextPool | None
    ids: Ids | None
    kept: Numbers = field(default_factory=lambda: ALL)
    first: int = 0
    before: "tuple[State, Corpus] | None" = None

    def at(self, state: State) -> "Corpus":
        """The corpus that goes with a state of the rows."""
        if self.before is not None:
            return self.before[1] if state is self.before[0] else replace(self, before=None).at(state)
        if self.texts is not None and len(self.texts) != self.n_held(state):
            raise ValueError("rows were added to index_ itself and have no text: add texts by TextIndex.add")
        return self

    def n_held(self, state: State) -> int:
        """Texts that are held, removed ones among them."""
        return len(self.kept) + state.next_number - self.first

    def place(self, number: int) -> int:
        """Where a text is held."""
        if number >= self.first:
            return number - self.first + len(self.kept)
        at = int(np.searchsorted(self.kept, number))
        if number < 0 or self.kept[at : at + 1].tolist() != [number]:
            raise ValueError(f"{number} is the number of no text of this index (any more)")
        return at

    def text(self, number: int) -> str | None:
        """Text of a number; None where they are not kept."""
        return None if self.texts is None else self.texts[self.place(number)]

    def id(self, number: int) -> Hashable:
        """Id of a number."""
        return number if self.ids is None else self.ids.values[self.place(number)]

    def numbers_of(self, state: State, ids: Iterable[Hashable], once: bool = False) -> Numbers:
        """Numbers of texts that are there; `once`: none may be given twice.

        Raises
        ------
        ValueError
            An id that is not there.
        """
        given = list(ids)
        found = [self._number(own, state.next_number) for own in given]
        numbers = np.array(found, np.int64)
        missing = np.stack([segment.find_numbers(numbers) for segment in state.segments]).max(axis=0) < 0
        if missing.any():
            raise ValueError(f"there is no text with the id {given[int(missing.argmax())]!r} in this index")
        if once and len(set(found)) < len(found):
            own = next(own for own, number in zip(given, found, strict=True) if found.count(number) > 1)
            raise ValueError(f"the id {own!r} is given twice: give each id once")
        return numbers

    def _number(self, own: Hashable, n: int) -> int:
        """Number below n that has an id; -1 where there is none."""
        if self.ids is None:
            number = int(own) if hasattr(own, "__index__") and not isinstance(own, bool) else -1  # type: ignore[call-overload]
            return number if 0 <= number < n else -1
        try:
            number = self.ids.numbers.get(own, -1)
        except TypeError:  # unhashable
            return -1
        return number if 0 <= number < n and self.ids.values[self.place(number)] == own else -1

    def check_new(self, state: State, ids: Iterable[Hashable] | None, n: int) -> Sequence[Hashable] | None:
        """Check ids of texts to be added."""
        if (ids is None) != (self.ids is None):
            what = "give ids= here too" if ids is None else "leave ids out"
            raise ValueError(f"the texts of this index {'have' if ids is None else 'have no'} ids of your own: {what}")
        own = check_ids(ids, n)
        if own is None:
            return None
        numbers = np.array([self._number(i, state.next_number) for i in own], np.int64)
        there = np.stack([segment.find_numbers(numbers) for segment in state.segments]).max(axis=0) >= 0
        if there.any():
            again = own[int(there.argmax())]
            raise ValueError(f"the id {again!r} is there already: remove it first, use update, or give another")
        return own

    def added(self, state: State, texts: Sequence[str], ids: Sequence[Hashable] | None) -> "Corpus":
        """The corpus with more texts."""
        if self.ids is not None:
            self.ids.grow(self.n_held(state), ids or (), state.next_number)
        return replace(self, texts=None if self.texts is None else self.texts.extended(texts))

    def changed(self, numbers: Numbers, texts: Sequence[str]) -> "Corpus":
        """The corpus with other texts at some numbers."""
        if self.texts is None:
            return self
        return replace(self, texts=self.texts.replaced([self.place(n) for n in numbers.tolist()], texts))

    def tidied(self, state: State) -> "Corpus":
        """The corpus without removed texts, where they are most of what is held."""
        twice = 0 if self.texts is None else self.texts.n_changed
        return self.compact(state) if self.n_held(state) + twice > SPARE * state.n_rows else self

    def compact(self, state: State) -> "Corpus":
        """The corpus with the texts that are there alone."""
        numbers = state.numbers
        if len(numbers) == self.n_held(state) and (self.texts is None or not self.texts.n_changed):
            return self
        places = [self.place(number) for number in numbers.tolist()]
        texts = None if self.texts is None else self.texts.take(places)
        ids = None if self.ids is None else Ids([self.ids.values[place] for place in places], numbers.tolist())
        return replace(self, texts=texts, ids=ids, kept=numbers, first=state.next_number)

    def pack(self, state: State, arrays: Arrays) -> str | None:
        """Put the texts that are there, and their ids, among the arrays to save: what kind the ids are."""
        corpus = self.compact(state)
        if corpus.first and (corpus.texts is not None or corpus.ids is not None):
            arrays["texts.numbers"] = state.numbers
        if corpus.texts is not None:
            arrays["texts.pool"], arrays["texts.starts"] = corpus.texts.arrays()
        return None if corpus.ids is None else _pack_ids(corpus.ids.values[: corpus.n_held(state)], arrays)

    @classmethod
    def unpack(cls, made: Any, index: Index, kind: str | None, arrays: Arrays, number: int, check: bool) -> "Corpus":
        """Make the corpus that `pack` told of; `check`: with the whole of what may be mapped only.

        Raises
        ------
        ValueError
            Arrays that do not fit together.
        """
        kept, first = arrays.get("texts.numbers", ALL), 0
        n = number
        if "texts.numbers" in arrays:
            n, first = len(kept), number
            if n and (kept[0] < 0 or kept[-1] >= first or (np.diff(kept) <= 0).any()):
                raise ValueError("texts.numbers is damaged: it does not rise within the numbers of the index")
        pool = None
        if "texts.pool" in arrays:
            starts = arrays["texts.starts"]
            check_starts("texts.starts", starts, len(arrays["texts.pool"]), n, check)
            pool = TextPool.of_arrays(arrays["texts.pool"], starts)
        own = _unpack_ids(kind, arrays, n)
        ids = None if own is None else Ids(own, kept.tolist() if first else range(n))
        corpus = cls(made, index, pool, ids, kept, first)
        if check and first and not np.isin(index._now().numbers, kept).all():
            raise ValueError("texts.numbers is damaged: it lacks rows of the index")
        return corpus


def _pack_ids(own: Sequence[Hashable], arrays: Arrays) -> str:
    """Put ids among the arrays: what kind they are."""
    kinds = {type(i) for i in own}
    if kinds <= {str}:
        arrays["ids.pool"], arrays["ids.starts"] = pooled([str(i) for i in own])
        return "str"
    if kinds == {int} and all(-(2**63) <= i < 2**63 for i in own):  # type: ignore[operator]
        arrays["ids.values"] = np.array(own, np.int64)
        return "int"
    odd = next(iter(kinds - {str, int}), int)
    raise ValueError(f"ids can be saved if all are integers of 64 bits, or all are strings: there is {odd.__name__}")


def _unpack_ids(kind: str | None, arrays: Arrays, n: int) -> Sequence[Hashable] | None:
    if kind == "str":
        check_starts("ids.starts", arrays["ids.starts"], len(arrays["ids.pool"]), n)
        parts = bytes_of(arrays["ids.pool"], arrays["ids.starts"])
        return [part.decode("utf-8", "surrogatepass") for part in parts]
    if kind == "int":
        found: list[Hashable] = arrays["ids.values"].tolist()
        if len(found) != n:
            raise ValueError(f"ids.values is damaged: there are {n:,} texts and {len(found):,} ids")
        return found
    return None


def check_ids(ids: Iterable[Hashable] | None, n: int) -> Sequence[Hashable] | None:
    """Check that ids are n, and all different."""
    if ids is None:
        return None
    given = [own.item() if isinstance(own, np.generic) else own for own in ids]
    if len(given) != n:
        raise ValueError(f"there are {n:,} texts and {len(given):,} ids: give one id for each text")
    rows: dict[Hashable, int] = {}
    for row, own in enumerate(given):
        if own is None or type(own).__name__ in ("NAType", "NaTType") or (isinstance(own, float) and own != own):
            raise ValueError(f"the id of text {row} is missing ({own!r}): give every text one")
        try:
            again = rows.setdefault(own, row)
        except TypeError:
            raise ValueError(
                f"the id of text {row} is {own!r}, which cannot be looked up: give integers, strings or other hashables"
            ) from None
        if again != row:
            raise ValueError(f"the id {own!r} is given to texts {again} and {row}: ids must differ")
    return given


def listed_ids(ids: Iterable[Hashable], name: str) -> list[Hashable]:
    """Read several ids."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise ValueError(f"{name} must be a list of ids, got {ids!r}: give [{ids!r}]")
    return list(ids)
