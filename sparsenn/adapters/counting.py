"""Streams of texts to sparse counts: blocks on threads, one vocabulary."""

import itertools
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import direct
from sparsenn.adapters.tokens import (
    ANALYZERS,
    ASSIGNED,
    HASHED,
    KNOWN,
    LEARN,
    WORD,
    WORDS_OF_ALL,
    Table,
    character_classes,
    count_texts,
    dense_letters,
    empty_table,
    merge_terms,
    multilingual_classes,
)
from sparsenn.adapters.vocabulary import Vocabulary, bytes_of
from sparsenn.parallel import map_stream
from sparsenn.rows import column_order

BLOCK = 2**22  # characters of texts that are counted at once: their vocabulary stays in the second cache
SAMPLE = 200  # texts of a block, and characters of each, that tell its scripts
FEW = 4096  # texts that are looked at, at once


def as_texts(texts: Iterable[Any], first: int = 0) -> list[str]:
    """Check texts: None and NaN are empty texts, anything else that is no string is an error.

    Raises
    ------
    ValueError
        Bytes or another type; the message names the place, counted from `first`.
    """
    given = list(texts)
    if set(map(type, given)) <= {str}:
        return given
    return [_as_text(text, first + at) for at, text in enumerate(given)]


def _as_text(text: Any, at: int) -> str:
    if isinstance(text, str):
        return str(text)
    if isinstance(text, bytes | bytearray):
        raise ValueError(f"text {at} is {type(text).__name__}, not str: decode it first, e.g. text.decode('utf-8')")
    missing = text is None or (isinstance(text, float | np.floating) and math.isnan(text))
    if missing or type(text).__name__ in ("NAType", "NaTType"):
        return ""
    raise ValueError(f"text {at} must be str or missing (None, NaN), got {type(text).__name__}: {str(text)[:40]!r}")


def blocks_of(texts: Iterable[Any]) -> Iterator[list[str]]:
    """Texts in blocks of some million characters.

    Raises
    ------
    ValueError
        A single string in place of a list, or what `as_texts` says.
    """
    if isinstance(texts, str | bytes):
        raise ValueError("texts must be a list or another iterable of strings, not one string: put it in a list")
    block: list[str] = []
    size = seen = 0
    for few in _slices(texts):
        checked = as_texts(few, seen)
        seen += len(checked)
        for text in checked:
            block.append(text)
            size += len(text) + 1
            if size >= BLOCK:
                yield block
                block, size = [], 0
    if block:
        yield block


def _slices(texts: Iterable[Any]) -> Iterator[Sequence[Any]]:
    if isinstance(texts, list | tuple):
        for at in range(0, len(texts), FEW):
            yield texts[at : at + FEW]
        return
    few: list[Any] = []
    for text in texts:
        few.append(text)
        if len(few) == FEW:
            yield few
            few = []
    yield few


def strip_accents(text: str) -> str:
    """Text without combining marks, as scikit-learn's ``strip_accents_unicode``."""
    if text.isascii():
        return text
    normalized = unicodedata.normalize("NFKD", text)
    return text if normalized == text else "".join(c for c in normalized if not unicodedata.combining(c))


@dataclass(frozen=True)
class Splitter:
    """How texts become terms: what `count_texts` is told."""

    analyzer: str
    ngram_range: tuple[int, int]
    min_chars: int
    lowercase: bool
    strip_accents: bool
    stops: Table

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], bool]:
        """Texts as one buffer, where each begins in it, and whether all is ASCII."""
        if self.lowercase:
            texts = [text.lower() for text in texts]
        if self.strip_accents:
            texts = [strip_accents(text) for text in texts]
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        if len(encoded) == 1:  # a query: fewer steps
            n = len(encoded[0])
            only = np.frombuffer(bytearray(encoded[0] + b"\n"), np.uint8)
            return only, np.array([0, n + 1], np.int64), n == len(texts[0])
        bounds = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)) + 1, out=bounds[1:])
        encoded.append(b"")
        buffer = np.frombuffer(bytearray(b"\n".join(encoded)), np.uint8)
        return buffer, bounds, bool(bounds[-1] - len(texts) == sum(map(len, texts)))

    def count(self, texts: Sequence[str], table: Table, mode: int, n_columns: int = 0) -> Any:
        """Terms of texts, see `count_texts`."""
        buffer, bounds, ascii_only = self.encode(texts)
        low, high = self.ngram_range
        kind = ANALYZERS[self.analyzer]
        whole = kind == WORDS_OF_ALL and not ascii_only
        classes = multilingual_classes() if whole else character_classes(not ascii_only)
        starts, terms, counts, table = direct(count_texts)(  # the types of the arguments never vary
            buffer, bounds, classes, kind, self.min_chars, low, high, self.stops, table, mode, n_columns
        )
        return starts, terms[: starts[-1]], counts[: starts[-1]], table


@dataclass
class Counted:
    """A block's counts: where each text's entries begin, terms or columns, counts."""

    starts: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    counts: npt.NDArray[Any]


def narrow(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Counts in the smallest integers that hold them."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def occurrences(starts: npt.NDArray[np.int64], terms: npt.NDArray[np.int32]) -> Counted:
    """Occurrences of terms to counts, sorted by term."""
    n = len(starts) - 1
    if n == 1:  # one short query: fewer steps
        columns = np.sort(terms)
        new = np.ones(len(columns), np.bool_)
        np.not_equal(columns[1:], columns[:-1], out=new[1:])
        counts = np.ones(len(columns), np.int64)
        if not new.all():
            places = new.nonzero()[0]
            columns, counts = columns[places], np.diff(places, append=len(new))
        return Counted(np.array([0, len(columns)], np.int64), columns, counts)
    keys = (np.repeat(np.arange(n, dtype=np.int64), np.diff(starts)) << 32) | terms
    keys.sort()
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    counts = np.diff(np.append(first, len(keys)))
    keys = keys[first]
    return Counted(np.searchsorted(keys >> 32, np.arange(n + 1)), (keys & 0x7FFFFFFF).astype(np.int32), counts)


@dataclass(frozen=True)
class Counts:
    """Counts as CSR arrays, canonical; what `Index.query` needs of a matrix, and made in a tenth of the time of one."""

    data: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int32]
    indptr: npt.NDArray[Any]
    shape: tuple[int, int]
    format = "csr"
    ndim = 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.data.dtype

    @property
    def nnz(self) -> int:
        """Stored values."""
        return len(self.data)

    def tocsr(self) -> Any:
        """The same as a scipy matrix."""
        from scipy.sparse import csr_matrix

        return csr_matrix((self.data, self.indices, self.indptr), shape=self.shape, copy=False)


@dataclass
class Collection:
    """Counts of a whole stream, block by block, with the statistics that weightings are fitted to.

    `letters`: in a sample, how many there are, and how many are of scripts that put no spaces between words.
    """

    blocks: list[Counted] = field(default_factory=list)
    n_texts: int = 0
    frequencies: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # texts that have a term
    totals: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # its occurrences
    n_occurrences: int = 0
    table: Table = field(default_factory=empty_table)
    letters: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def take(self, block: Counted) -> None:
        """Add a block whose terms are numbers of the whole collection."""
        self.blocks.append(Counted(block.starts, block.terms, narrow(block.counts)))
        self.n_texts += len(block.starts) - 1
        self.n_occurrences += int(block.counts.sum())

    def tally(self, block: Counted, n_terms: int) -> None:
        """Count the texts and occurrences of each term of a block."""
        grown = np.zeros((2, n_terms))
        grown[0, : len(self.frequencies)], grown[1, : len(self.totals)] = self.frequencies, self.totals
        grown[0] += np.bincount(block.terms, minlength=n_terms)
        grown[1] += np.bincount(block.terms, block.counts, minlength=n_terms)
        self.frequencies, self.totals = grown

    def matrix(self, columns: npt.NDArray[np.int32] | None, n_columns: int) -> Any:
        """All counts as CSR of float32; `columns` of the terms (−1: left out). The blocks are used up."""
        from scipy.sparse import csr_matrix

        if columns is None:
            total = sum(len(block.terms) for block in self.blocks)
        else:
            total = int(self.frequencies[columns >= 0].sum())
        kind = np.int32 if total < 2**31 else np.int64
        indptr = np.zeros(self.n_texts + 1, kind)
        indices, data = np.empty(total, np.int32 if kind is np.int32 else np.int64), np.empty(total, np.float32)
        row = used = 0
        self.blocks.reverse()
        while self.blocks:
            block = self.blocks.pop()
            starts, terms, counts = block.starts, block.terms, block.counts
            if columns is not None:
                terms = columns[terms]
                there = terms >= 0
                starts = np.concatenate([[0], np.cumsum(there)])[starts]
                terms, counts = terms[there], counts[there]
                order = column_order(starts, terms, n_columns)
                terms, counts = terms[order], counts[order]
            n, size = len(starts) - 1, len(terms)
            indices[used : used + size], data[used : used + size] = terms, counts
            indptr[row + 1 : row + n + 1] = starts[1:] + used
            row, used = row + n, used + size
        return csr_matrix((data, indices, indptr), shape=(self.n_texts, n_columns), copy=False)


def learn(splitter: Splitter, texts: Iterable[Any], n_jobs: int | None) -> Collection:
    """Count the terms of texts, and collect their vocabulary."""
    found = Collection()

    def count(block: list[str]) -> Any:
        return *splitter.count(block, empty_table(), LEARN), sampled_letters(block)

    for starts, terms, counts, table, letters in map_stream(count, blocks_of(texts), n_jobs):
        found.table, numbers = merge_terms(found.table, table)
        block = Counted(starts, numbers[terms], counts)
        found.take(block)
        found.tally(block, int(found.table.size[0]))
        found.letters += letters
    return found


def count_hashed(
    splitter: Splitter, texts: Iterable[Any], n_columns: int, n_jobs: int | None, tally: bool
) -> Collection:
    """Count the terms of texts by hashed columns; `tally`: and how many texts have each."""
    found = Collection()
    counter = _counter(splitter, empty_table(), HASHED, n_columns)

    def count(block: list[str]) -> Any:
        return counter(block), sampled_letters(block)

    for counted, letters in map_stream(count, blocks_of(texts), n_jobs):
        found.take(counted)
        if tally:
            found.tally(counted, n_columns)
        found.letters += letters
    return found


def sampled_letters(block: Sequence[str]) -> npt.NDArray[np.int64]:
    """Letters of some texts of a block, and those of scripts that put no spaces between words."""
    some = "".join(text[:SAMPLE] for text in block[:: max(len(block) // SAMPLE, 1)])
    if some.isascii():
        return np.array([len(some) - some.count(" "), 0])
    points = np.frombuffer(some.encode("utf-32-le", "surrogatepass"), np.uint32)
    points = points[points < ASSIGNED]
    return np.array([(character_classes()[points] & WORD).sum(), dense_letters()[points].sum()], np.int64)


def count_known(splitter: Splitter, texts: Iterable[Any], vocabulary: Vocabulary, n_jobs: int | None) -> Counts:
    """Counts of texts in the columns of a vocabulary."""
    return _joined(_counter(splitter, vocabulary.table, KNOWN, 0), texts, len(vocabulary), n_jobs)


def count_known_hashed(splitter: Splitter, texts: Iterable[Any], n_columns: int, n_jobs: int | None) -> Counts:
    """Counts of texts by hashed columns."""
    return _joined(_counter(splitter, empty_table(), HASHED, n_columns), texts, n_columns, n_jobs)


def _counter(splitter: Splitter, table: Table, mode: int, n_columns: int) -> Callable[[list[str]], Counted]:
    return lambda block: occurrences(*splitter.count(block, table, mode, n_columns)[:2])


def _joined(
    counter: Callable[[list[str]], Counted], texts: Iterable[Any], n_columns: int, n_jobs: int | None
) -> Counts:
    if isinstance(texts, list) and len(texts) == 1 and type(texts[0]) is str:
        blocks = iter([texts])
    else:
        blocks = blocks_of(texts)
    first = next(blocks, [])
    second = next(blocks, None)
    if second is None:  # a few texts
        one = counter(first) if first else Counted(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0))
        return Counts(one.counts.astype(np.float32), one.terms, one.starts, (len(first), n_columns))
    parts = list(map_stream(counter, itertools.chain([first, second], blocks), n_jobs))
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    terms = np.concatenate([part.terms for part in parts])
    data = np.concatenate([part.counts for part in parts]).astype(np.float32)
    return Counts(data, terms, indptr, (len(lengths), n_columns))


def sorted_columns(
    found: Collection, lowest: float, highest: float, most: int | None
) -> tuple[npt.NDArray[np.int32], Vocabulary]:
    """Columns of the terms whose frequency is within bounds, in the order of the terms; and the vocabulary."""
    n = int(found.table.size[0])
    offsets = found.table.offsets[: n + 1]
    terms = bytes_of(found.table.pool[: offsets[-1]], offsets)
    order = np.array(sorted(range(n), key=terms.__getitem__), np.int64)
    df = found.frequencies[order]
    order = order[(df >= lowest) & (df <= highest)]
    if most is not None and len(order) > most:
        order = order[np.sort(np.argsort(-found.totals[order], kind="stable")[:most])]
    columns = np.full(n, -1, np.int32)
    columns[order] = np.arange(len(order), dtype=np.int32)
    chosen = [terms[t] for t in order]
    bounds = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, chosen), np.int64, len(chosen)), out=bounds[1:])
    return columns, Vocabulary.of_bytes(np.frombuffer(b"".join(chosen), np.uint8), bounds)
