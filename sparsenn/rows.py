"""The one door for data: whatever a user has becomes canonical rows, in a private copy unless they may be borrowed.

Canonical means: C order, float32 values, int32 column numbers, int64 row pointers, columns sorted
within a row, no repeated columns, no stored zeros, everything finite. The input is never changed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn._jit import bits_of, brief, entry, float_of, kernel

MOST_COLUMNS = 2**31 - 1
MOST_ROWS = 2**31 - 1
EXACT_INTEGERS = 2.0**24  # integers above collide in float32


@dataclass(frozen=True, eq=False)
class Rows:
    """Canonical rows: CSR, dense or bit-packed.

    Dense rows use the same three arrays: `indices` is the list of columns, which all rows share, and
    ``indptr[i] = i · n_columns``. Bit-packed rows hold 32-bit words of bits in place of float32 values.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    indices : ndarray of int32
    data : ndarray of float32
    shape : (int, int)
        Rows and columns (bits, for bit-packed rows).
    container : "csr", "dense" or "bits"
    has_negative : bool
    collision : tuple or None
        The first integer beyond 2²⁴ that float32 cannot hold: (row, column, value).
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    data: npt.NDArray[np.float32]
    shape: tuple[int, int]
    container: str
    has_negative: bool = False
    collision: tuple[int, int, float] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.indptr.nbytes + self.indices.nbytes + self.data.nbytes

    def matrix(self) -> npt.NDArray[np.float32]:
        """View of dense rows as a matrix."""
        return self.data.reshape(self.shape)

    def copy(self) -> "Rows":
        """Rows in arrays of their own."""
        return replace(self, indptr=self.indptr.copy(), indices=self.indices.copy(), data=self.data.copy())

    def take(self, ids: npt.NDArray[np.int64]) -> "Rows":
        """Rows of the given ids, as rows of their own."""
        lengths = np.diff(self.indptr)[ids]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        shape = (len(ids), self.shape[1])
        if self.container != "csr":
            data = self.data.reshape(len(self), -1)[ids].reshape(-1) if len(self) else self.data[:0]
            return Rows(indptr, self.indices, data, shape, self.container, self.has_negative)
        indices, data = np.empty(indptr[-1], np.uint32), np.empty(indptr[-1], np.float32)
        copy_rows(self.indptr, self.indices, self.data, ids, indptr, indices, data)
        return Rows(indptr, indices.view(np.int32), data, shape, "csr", self.has_negative)

    def without_zeros(self) -> "Rows":
        """CSR rows without zeros that a transform made."""
        there = self.data != 0
        if there.all():
            return self
        kept = np.concatenate([[0], np.cumsum(there)])
        return replace(self, indptr=kept[self.indptr], indices=self.indices[there], data=self.data[there])

    def to_csr(self) -> "Rows":
        """Dense rows as CSR rows."""
        if self.container != "dense":
            return self
        matrix = self.matrix()
        present = matrix != 0
        indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))]).astype(np.int64)
        indices = np.nonzero(present)[1].astype(np.int32)
        return Rows(indptr, indices, matrix[present], self.shape, "csr", self.has_negative, self.collision)

    def to_dense(self) -> "Rows":
        """CSR rows as dense rows."""
        if self.container != "csr":
            return self
        matrix = np.zeros(self.shape, np.float32)
        matrix[np.repeat(np.arange(self.shape[0]), np.diff(self.indptr)), self.indices] = self.data
        return dense_rows(matrix, self.has_negative, self.collision)

    def column_variances(self) -> npt.NDArray[np.float64]:
        """Variance of each column with ddof 1, in float64."""
        n, m = self.shape
        values = self.data.astype(np.float64)
        columns = self.indices if self.container == "csr" else np.tile(self.indices, n)
        mean = np.bincount(columns, values, minlength=m) / n
        deviations = values - mean[columns]
        there = np.bincount(columns, minlength=m)
        total = np.bincount(columns, deviations * deviations, minlength=m) + (n - there) * mean * mean
        return total / (n - 1)

    def column_covariance(self) -> npt.NDArray[np.float64]:
        """Covariance of the columns with ddof 1, in float64."""
        return np.atleast_2d(np.cov(self.to_dense().matrix().astype(np.float64), rowvar=False))


def dense_rows(
    matrix: npt.NDArray[np.float32], has_negative: bool, collision: tuple[int, int, float] | None = None
) -> Rows:
    """Wrap a float32 matrix of our own in C order."""
    n, m = matrix.shape
    indptr = np.arange(n + 1, dtype=np.int64) * m
    return Rows(indptr, np.arange(m, dtype=np.int32), matrix.reshape(-1), (n, m), "dense", has_negative, collision)


OverRows = Callable[[Callable[[int, int], Any], int], list[Any]]  # maps a function over blocks of rows


def in_one(function: Callable[[int, int], Any], n: int) -> list[Any]:
    """One block of all rows, on this thread."""
    return [function(0, n)]


def as_rows(
    data: Any,
    *,
    bits: bool = False,
    name: str = "X",
    over: OverRows = in_one,
    borrow: bool = False,
) -> Rows:
    """Read rows from anything a user may have.

    Parameters
    ----------
    data : array-like or sparse matrix or array, shape (n_rows, n_columns)
        NumPy arrays, data frames, lists of lists; scipy sparse matrices and arrays in any format, of
        any real dtype, sorted or not, read-only or memory-mapped.
    bits : bool, default False
        Take a uint8 array as bit-packed rows.
    name : str
        What messages call the data.
    over : callable
        Maps a function over blocks of rows; on one thread if not given. Memory that is touched first by two threads
        is there in half the time (190 MB: 0.55 s and 0.3 s).
    borrow : bool, default False
        Take CSR arrays that are as they should be where they stand: for one call, in which nobody writes to them.

    Returns
    -------
    Rows
        A private copy, unless it may be borrowed.

    Raises
    ------
    ValueError
        Wrong dimensions or dtype, NaN or infinities, values beyond float32, broken CSR arrays.
    """
    if isinstance(data, Rows):
        return data
    if isinstance(data, np.ma.MaskedArray):
        raise ValueError(f"{name} is a masked array: fill the masked values first, e.g. {name}.filled(0)")
    if bits:
        return _bit_rows(data, name)
    if hasattr(data, "tocsr") and hasattr(data, "nnz"):
        return _csr_rows(data, name, over, borrow)
    return _dense_rows(data, name, over)


def _check_shape(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2:
        hint = f"; give a single row as {name}[None, :] or {name}.reshape(1, -1)" if len(shape) == 1 else ""
        raise ValueError(f"{name} must have 2 dimensions (rows and columns), got {len(shape)}{hint}")
    if shape[0] > MOST_ROWS or shape[1] > MOST_COLUMNS:
        raise ValueError(f"{name} has shape {shape}: at most 2^31 − 1 rows and columns are supported")


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind in "OUS":
        raise ValueError(
            f"{name} must hold real numbers, got dtype {dtype}: turn texts into rows first, "
            "e.g. with sklearn.feature_extraction.text.TfidfVectorizer"
        )
    if dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold real numbers, got dtype {dtype}: convert it, e.g. {name}.astype(numpy.float32)"
        )


def _complain(value: Any, row: int, column: int, name: str) -> None:
    where = f"at row {row}, column {column}"
    if np.isnan(value):
        raise ValueError(f"{name} has a NaN {where}: fill or drop missing values first")
    if np.isinf(value):
        raise ValueError(f"{name} has an infinite value {where}: values must be finite")
    raise ValueError(f"{name} has the value {value!s} {where}, beyond float32 (about 3.4e38): rescale the data")


def _collision(original: npt.NDArray[Any], data: npt.NDArray[np.float32], limit: float) -> int:
    """Position of the first integer that float32 cannot hold, or -1."""
    if original.dtype.itemsize <= 2 or original.dtype == np.float32 or limit < EXACT_INTEGERS or not data.size:
        return -1
    exact = original.astype(np.float64)
    lost = (np.abs(data) >= EXACT_INTEGERS) & (data.astype(np.float64) != exact) & (exact == np.floor(exact))
    lost |= (np.abs(data) >= 2.0**53) & (original.dtype.kind in "iu")
    first = int(np.argmax(lost))
    return first if lost[first] else -1


def _summed_up(parts: list[tuple[int, float, float, bool]]) -> tuple[int, float, float, bool]:
    """Of blocks: the first bad place or −1, the least value, the largest magnitude, whether all are canonical."""
    bad, least, limit, canonical = zip(*parts, strict=True) if parts else ((), (), (), ())
    first = next((place for place in bad if place >= 0), -1)
    return first, min(least, default=0.0), max(limit, default=0.0), all(canonical)


def _as_it_is(array: npt.NDArray[Any], dtype: npt.DTypeLike) -> bool:
    """Whether compiled code can read an array where it stands, as one of the type that all arrays have."""
    return array.dtype == dtype and array.dtype.isnative and array.flags.carray


def _dense_rows(data: Any, name: str, over: OverRows) -> Rows:
    try:
        original = np.asarray(data)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangle of numbers: {error}") from None
    if original.dtype.kind == "O":
        with contextlib.suppress(TypeError, ValueError):  # the dtype check below says what is wrong
            original = original.astype(np.float64)
    _check_dtype(original.dtype, name)
    _check_shape(original.shape, name)
    n, m = original.shape
    matrix = np.empty((n, m), np.float32)

    def copy(begin: int, end: int) -> tuple[int, float, float, bool]:
        with np.errstate(over="ignore", under="ignore"):
            np.copyto(matrix[begin:end], original[begin:end], casting="unsafe")
        bad, least, limit = _survey(matrix[begin:end].reshape(-1))
        return bad + begin * m if bad >= 0 else -1, least, limit, True

    bad, least, limit, _ = _summed_up(over(copy, n) if n else [])
    if bad >= 0:
        _complain(original[bad // m, bad % m], bad // m, bad % m, name)
    flat, m = matrix.reshape(-1), max(m, 1)
    lost = _collision(original.reshape(-1), flat, limit)
    place = None if lost < 0 else (lost // m, lost % m, original[lost // m, lost % m])
    return dense_rows(matrix, least < 0, place)


def _csr_rows(data: Any, name: str, over: OverRows, borrow: bool) -> Rows:
    _check_shape(data.shape, name)
    _check_dtype(data.dtype, name)
    if data.format != "csr" and data.dtype.kind in "iu":
        data = data.astype(np.float64)  # repeated entries are added on the way to CSR: small integers would overflow
    csr = data.tocsr()
    n, m = csr.shape
    indptr = np.array(csr.indptr, dtype=np.int64)
    if (
        len(indptr) != n + 1
        or indptr[0] != 0
        or (np.diff(indptr) < 0).any()
        or indptr[-1] > min(len(csr.indices), len(csr.data))
    ):
        raise ValueError(f"{name} is not a valid CSR matrix: indptr must rise from 0 to the number of stored values")
    stored = csr.indices[: indptr[-1]]
    if stored.size and (stored.min() < 0 or stored.max() >= m):
        column = stored.min() if stored.min() < 0 else stored.max()
        raise ValueError(f"{name} is not a valid CSR matrix: column {column} in a matrix of {m} columns")
    original = csr.data[: indptr[-1]]
    taken = _as_it_is(stored, np.int32) and _as_it_is(original, np.float32) and borrow
    indices = stored if taken else np.empty(len(stored), np.int32)
    values = original if taken else np.empty(len(stored), np.float32)

    def copy(begin: int, end: int) -> tuple[int, float, float, bool]:
        a, b = indptr[begin], indptr[end]
        if not taken:
            indices[a:b] = stored[a:b]
            with np.errstate(over="ignore", under="ignore"):
                np.copyto(values[a:b], original[a:b], casting="unsafe")
        bad, least, limit = _survey(values[a:b])
        return bad + a if bad >= 0 else -1, least, limit, _is_canonical(indptr, indices, values, begin, end)

    bad, least, limit, canonical = _summed_up(over(copy, n))
    if bad >= 0:
        _complain(original[bad], int(np.searchsorted(indptr, bad, side="right")) - 1, int(indices[bad]), name)
    lost = _collision(original, values, limit)
    place = None
    if lost >= 0:
        place = (int(np.searchsorted(indptr, lost, side="right")) - 1, int(indices[lost]), original[lost])
    if not canonical:
        indptr, indices, values = _canonical(indptr, indices, values, original, over)
        bad, least, limit = _survey(values)
        if bad >= 0:
            _complain(values[bad], int(np.searchsorted(indptr, bad, side="right")) - 1, int(indices[bad]), name)
    return Rows(indptr, indices, values, (n, m), "csr", least < 0, place)


def _canonical(indptr: Any, indices: Any, values: Any, original: Any, over: OverRows) -> tuple[Any, Any, Any]:
    """Sort each row, add up repeated columns in float64 (bools stay bools), drop zeros."""
    exact = original if original.dtype in (np.float32, np.float64) else original.astype(np.float64)
    order = column_order(indptr, indices, int(indices.max(initial=0)) + 1, over)
    exact, indices = np.ascontiguousarray(exact)[order], indices[order]
    values = exact.copy() if exact.dtype == np.float32 else values[order]
    counts = _merge_rows(indptr, indices, values, exact, original.dtype.kind == "b")
    used = int(counts.sum())
    if used < len(indices):
        indices, values = indices[:used].copy(), values[:used].copy()
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), indices, values


@entry
def copy_rows(indptr, indices, data, ids, new_indptr, new_indices, new_data):
    """Copy the rows `ids` of CSR arrays, in that order."""
    for i in range(ids.shape[0]):
        to = new_indptr[i]
        for t in range(indptr[ids[i]], indptr[ids[i] + 1]):
            new_indices[to], new_data[to] = indices[t], data[t]
            to += 1


QUICK_ROWS, QUICK_VALUES = 64, 2**16  # that are read the short way
DIGIT_BITS = 9  # by which columns are sorted
FEW_VALUES = 24  # of a row, that are sorted by insertion


@brief
def read_quickly(indptr, indices, values, rank, starts, columns, narrow):
    """Write starts, columns, renumbered by `rank` and sorted, and float32 values of a few CSR rows.

    `values` are the bytes of float32 or of float64.

    False where anything is not as it should be: then the long way through `as_rows` says what, or mends it.
    """
    m = np.int64(rank.shape[0])
    keys, spare = np.empty(indices.shape[0], np.uint64), np.empty(indices.shape[0], np.uint64)
    counts, bits = np.empty(2**DIGIT_BITS, np.int64), np.int64(0)
    while bits < 31 and m - 1 >> bits > 0:
        bits += 1
    wide = values.shape[0] > 4 * indices.shape[0]
    singles, doubles = values.view(np.float32), values[: values.shape[0] * np.int64(wide)].view(np.float64)
    if indptr[0] != 0:
        return False
    starts[0] = 0
    for i in range(indptr.shape[0] - 1):
        a, b = np.int64(indptr[i]), np.int64(indptr[i + 1])
        if a > b or b > indices.shape[0]:
            return False
        starts[i + 1] = b
        for t in range(a, b):
            c, v = np.int64(indices[t]), np.float32(doubles[t]) if wide else singles[t]
            if c < 0 or c >= m or not np.isfinite(v) or not v > 0:
                return False
            keys[t] = (np.uint64(rank[c]) << np.uint64(32)) | np.uint64(bits_of(v))
        _sort_few(keys, spare, counts, a, b, bits)
        for t in range(a, b):
            if t > a and keys[t] >> np.uint64(32) == keys[t - 1] >> np.uint64(32):
                return False  # a column stands twice
            columns[t] = np.int32(keys[t] >> np.uint64(32))
            narrow[t] = float_of(np.int32(keys[t] & np.uint64(0xFFFFFFFF)))
    return True


@kernel
def _sort_few(keys, spare, counts, a, b, bits):
    """Sort a part of an array by the columns above, by digits from the last: no comparison to mispredict.

    numpy's own sort gives the GIL away. Digits of nine bits: columns below 2^18 have two (131 of them: 2.6 -> 1.1 us).
    """
    n, first = np.uint64(b - a), np.uint64(a)
    n_digits = max((bits + DIGIT_BITS - 1) // DIGIT_BITS, 1)
    width = np.uint64((bits + n_digits - 1) // n_digits)
    size = np.uint64(1) << width
    shift = np.uint64(32)
    for _ in range(n_digits):
        for digit in range(size):
            counts[digit] = 0
        for t in range(n):
            counts[(keys[first + t] >> shift) & (size - np.uint64(1))] += 1
        total = np.int64(0)
        for digit in range(size):
            total, counts[digit] = total + counts[digit], total
        for t in range(n):
            key = keys[first + t]
            digit = (key >> shift) & (size - np.uint64(1))
            at = np.uint64(counts[digit])
            spare[at] = key
            counts[digit] = at + np.uint64(1)
        for t in range(n):
            keys[first + t] = spare[t]
        shift += width


def column_order(indptr: Any, columns: Any, n_columns: int, over: OverRows = in_one) -> npt.NDArray[Any]:
    """Places of the stored values with each row sorted by column; repeated columns stay in their order."""
    n = len(columns)
    order = np.empty(n, np.int32 if n < 2**31 else np.int64)
    bits = int(max(n_columns - 1, 0)).bit_length()
    over(lambda start, stop: _order_rows(indptr, columns, bits, start, stop, order), len(indptr) - 1)
    return order


@entry
def _order_rows(indptr, columns, bits, start, stop, order):
    """Sort each of the rows [start, stop) for itself: by columns of all rows together took three times as long."""
    longest = np.int64(0)
    for i in range(start, stop):
        longest = max(longest, np.int64(indptr[i + 1] - indptr[i]))
    keys, spare, counts = np.empty(longest, np.uint64), np.empty(longest, np.uint64), np.empty(2**DIGIT_BITS, np.int64)
    for i in range(start, stop):
        a, n = np.int64(indptr[i]), np.int64(indptr[i + 1] - indptr[i])
        for t in range(n):
            keys[t] = (np.uint64(columns[a + t]) << np.uint64(32)) | np.uint64(t)
        _sort_row(keys, spare, counts, n, bits)
        for t in range(n):
            order[a + t] = a + np.int64(keys[t] & np.uint64(0xFFFFFFFF))


@entry
def renumber_rows(indptr, indices, data, rank, start, stop, columns, values):
    """Write the rows [start, stop) with their columns renumbered by `rank`, and sorted by these."""
    longest, bits = np.int64(0), np.int64(0)
    while rank.shape[0] - 1 >> bits > 0:
        bits += 1
    for i in range(start, stop):
        longest = max(longest, np.int64(indptr[i + 1] - indptr[i]))
    keys, spare, counts = np.empty(longest, np.uint64), np.empty(longest, np.uint64), np.empty(2**DIGIT_BITS, np.int64)
    for i in range(start, stop):
        a, n = np.int64(indptr[i]), np.int64(indptr[i + 1] - indptr[i])
        for t in range(n):
            keys[t] = (np.uint64(rank[indices[a + t]]) << np.uint64(32)) | np.uint64(np.uint32(bits_of(data[a + t])))
        _sort_row(keys, spare, counts, n, bits)
        for t in range(n):
            columns[a + t] = np.int32(keys[t] >> np.uint64(32))
            values[a + t] = float_of(np.int32(np.uint32(keys[t] & np.uint64(0xFFFFFFFF))))


@kernel
def _sort_row(keys, spare, counts, n, bits):
    """Sort the first `n` keys by the columns above, if they do not stand so."""
    rises = True
    for t in range(1, n):
        rises &= keys[t] >> np.uint64(32) >= keys[t - 1] >> np.uint64(32)
    if rises:
        return
    if n > FEW_VALUES:
        _sort_few(keys, spare, counts, 0, n, bits)
        return
    for t in range(1, n):
        key, to = keys[t], t
        while to > 0 and keys[to - 1] > key:
            keys[to] = keys[to - 1]
            to -= 1
        keys[to] = key


@entry
def _merge_rows(indptr, columns, narrow, values, boolean):
    """Add up repeated columns of sorted rows, packed at the front of `columns` and `narrow`; returns their lengths."""
    counts = np.zeros(indptr.shape[0] - 1, np.int64)
    used = 0
    for i in range(indptr.shape[0] - 1):
        t, end = indptr[i], indptr[i + 1]
        while t < end:
            column = columns[t]
            total = np.float64(values[t])
            t += 1
            while t < end and columns[t] == column:
                other = np.float64(values[t])
                total = max(total, other) if boolean else total + other
                t += 1
            if np.float32(total) != 0.0:
                columns[used] = column
                narrow[used] = np.float32(total)
                used += 1
                counts[i] += 1
    return counts


def _bit_rows(data: Any, name: str) -> Rows:
    original = np.asarray(data)
    _check_shape(original.shape, name)
    if original.dtype != np.uint8:
        raise ValueError(
            f"{name} must be bit-packed rows of dtype uint8, got {original.dtype}: "
            "numpy.packbits(bits, axis=1) makes them"
        )
    n, n_bytes = original.shape
    padded = np.zeros((n, (n_bytes + 3) // 4 * 4), np.uint8)
    padded[:, :n_bytes] = original
    words = padded.view(np.float32)
    indptr = np.arange(n + 1, dtype=np.int64) * words.shape[1]
    return Rows(indptr, np.arange(words.shape[1], dtype=np.int32), words.reshape(-1), (n, 8 * n_bytes), "bits")


@entry
def _survey(values):
    """Position of the first value that is not finite (or -1), the least value, the largest magnitude."""
    least = np.float32(0)
    most = np.float32(0)
    for i in range(values.shape[0]):
        v = values[i]
        if not np.isfinite(v):
            return i, least, most
        least = min(least, v)
        most = max(most, v)
    return -1, least, max(most, -least)


@entry
def _is_canonical(indptr, indices, values, start, stop):
    """Whether columns rise strictly within each of the rows [start, stop) and no value is zero."""
    for i in range(start, stop):
        before = -1
        for t in range(indptr[i], indptr[i + 1]):
            if indices[t] <= before or values[t] == 0.0:
                return False
            before = indices[t]
    return True
