"""The one door: every form of input gives the same canonical rows, and bad input says what is wrong."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from sparsenn.postings import renumber
from sparsenn.rows import Rows, as_rows


@pytest.fixture
def matrix():
    return sp.random(30, 17, 0.2, format="csr", random_state=3, dtype=np.float32)


def check_canonical(rows):
    assert rows.indptr.dtype == np.int64
    assert rows.indices.dtype == np.int32
    assert rows.data.dtype == np.float32
    for array in (rows.indptr, rows.indices, rows.data):
        assert array.flags.c_contiguous
        assert array.flags.writeable
    for i in range(len(rows)):
        columns = rows.indices[rows.indptr[i] : rows.indptr[i + 1]]
        assert (np.diff(columns) > 0).all()
    assert (rows.data != 0).all()


def same(a, b):
    np.testing.assert_array_equal(a.indptr, b.indptr)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_array_equal(a.data, b.data)
    assert a.shape == b.shape


FORMS = {
    "csr": lambda M: M,
    "csc": lambda M: M.tocsc(),
    "coo": lambda M: M.tocoo(),
    "lil": lambda M: M.tolil(),
    "csr_array": lambda M: sp.csr_array(M),
    "coo_array": lambda M: sp.coo_array(M),
    "float64": lambda M: M.astype(np.float64),
    "int64 indices": lambda M: wide(M),
    "read-only": lambda M: frozen(M),
    "unsorted": lambda M: shuffled(M),
    "stored zeros": lambda M: with_zeros(M),
    "repeated columns": lambda M: halves(M),
}


def wide(M):
    out = M.copy()
    out.indices, out.indptr = out.indices.astype(np.int64), out.indptr.astype(np.int64)
    return out


def frozen(M):
    out = M.copy()
    for array in (out.data, out.indices, out.indptr):
        array.flags.writeable = False
    return out


def shuffled(M):
    out, rng = M.copy(), np.random.default_rng(0)
    for i in range(out.shape[0]):
        part = slice(out.indptr[i], out.indptr[i + 1])
        order = rng.permutation(part.stop - part.start)
        out.indices[part], out.data[part] = out.indices[part][order], out.data[part][order]
    out.has_sorted_indices = False
    return out


def with_zeros(M):
    i, j = np.nonzero(M.toarray() == 0)
    coo = M.tocoo()
    data = np.concatenate([coo.data, np.zeros(40, np.float32)])
    return sp.coo_matrix((data, (np.r_[coo.row, i[:40]], np.r_[coo.col, j[:40]])), shape=M.shape).tocsr()


def halves(M):
    indptr = 2 * M.indptr
    return sp.csr_matrix((np.repeat(M.data / 2, 2), np.repeat(M.indices, 2), indptr), shape=M.shape)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows_and_stays_as_it_was(matrix, form):
    given_ = FORMS[form](matrix)
    names = [name for name in ("data", "indices", "indptr") if hasattr(given_, name)]
    before = {name: np.array(getattr(given_, name)) for name in names}
    rows = as_rows(given_)
    check_canonical(rows)
    same(rows, as_rows(matrix))
    for name in names:
        np.testing.assert_array_equal(getattr(given_, name), before[name])
        assert getattr(given_, name).dtype == before[name].dtype


def test_the_copy_is_private(matrix):
    rows = as_rows(matrix)
    matrix.data[:] = 9
    matrix.indices[:] = 0
    assert (rows.data != 9).all()
    dense = np.ones((2, 3), np.float32)
    rows = as_rows(dense)
    dense[:] = 5
    assert (rows.data == 1).all()


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_dtypes(dtype):
    M = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], dtype=dtype)
    same(as_rows(M).to_csr(), as_rows(sp.csr_matrix(M.astype(np.float32))))
    same(
        as_rows(sp.csr_matrix(M)) if dtype != np.float16 else as_rows(sp.csr_matrix(M.astype(np.float32))),
        as_rows(M).to_csr(),
    )


def test_repeated_small_integers_add_up_without_overflow():
    M = sp.csr_matrix((np.array([200, 100], np.uint8), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    assert as_rows(M).data.tolist() == [300.0]
    assert as_rows(M.tocoo()).data.tolist() == [300.0]


def test_repeated_bools_stay_true():
    M = sp.csr_matrix((np.array([True, True]), np.array([1, 1]), np.array([0, 2])), shape=(1, 3))
    assert as_rows(M).data.tolist() == [1.0]


def test_values_that_cancel_vanish():
    M = sp.csr_matrix((np.array([2.0, -2.0, 1.0]), np.array([1, 1, 2]), np.array([0, 3])), shape=(1, 3))
    rows = as_rows(M)
    assert rows.indices.tolist() == [2]


def test_memory_map(tmp_path, matrix):
    np.save(tmp_path / "x.npy", matrix.toarray())
    same(as_rows(np.load(tmp_path / "x.npy", mmap_mode="r")).to_csr(), as_rows(matrix))


def test_fortran_order_and_frames(matrix):
    pandas = pytest.importorskip("pandas")
    dense = matrix.toarray()
    same(as_rows(np.asfortranarray(dense)), as_rows(dense))
    same(as_rows(pandas.DataFrame(dense)), as_rows(dense))
    same(as_rows(dense.tolist()), as_rows(dense))
    same(as_rows(dense[::2, ::-1][:, ::-1]), as_rows(dense[::2].copy()))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 7)),
        elements=st.sampled_from([0.0, 0.0, 1.0, -2.5, 3.0]),
    )
)
def test_dense_and_csr_round_trip(M):
    rows = as_rows(sp.csr_matrix(M))
    check_canonical(rows)
    np.testing.assert_array_equal(rows.to_dense().matrix(), M)
    same(as_rows(M).to_csr(), rows)
    assert rows.has_negative == bool((M < 0).any())


def test_take(matrix):
    rows = as_rows(matrix)
    ids = np.array([4, 0, 4, 29])
    same(rows.take(ids), as_rows(matrix[ids]))
    dense = as_rows(matrix.toarray())
    np.testing.assert_array_equal(dense.take(ids).matrix(), matrix.toarray()[ids])


def test_column_moments(matrix):
    for rows in (as_rows(matrix), as_rows(matrix.toarray())):
        np.testing.assert_allclose(
            rows.column_variances(), matrix.toarray().astype(float).var(axis=0, ddof=1), rtol=1e-6
        )
        np.testing.assert_allclose(
            rows.column_covariance(), np.cov(matrix.toarray().astype(float), rowvar=False), rtol=1e-6
        )


def broken(indptr=None, indices=None):
    M = sp.csr_matrix(np.eye(3))
    if indptr is not None:
        M.indptr = np.array(indptr)
    if indices is not None:
        M.indices = np.array(indices)
    return M


BAD = {
    "nan dense": (np.array([[0.0, 1.0], [np.nan, 2.0]]), r"NaN at row 1, column 0: fill or drop"),
    "inf dense": (np.array([[0.0, np.inf]]), r"infinite value at row 0, column 1"),
    "nan sparse": (sp.csr_matrix(np.array([[0.0, 1.0], [0.0, np.nan]])), r"NaN at row 1, column 1"),
    "beyond float32": (np.array([[1e300, 0.0]]), r"1e\+300 at row 0, column 0, beyond float32.*rescale"),
    "sum beyond float32": (
        sp.csr_matrix((np.array([3e38, 3e38], np.float32), np.array([1, 1]), np.array([0, 2])), shape=(1, 3)),
        r"at row 0, column 1",
    ),
    "one dimension": (np.ones(3), r"2 dimensions.*got 1; give a single row as X\[None, :\]"),
    "three dimensions": (np.ones((2, 2, 2)), r"2 dimensions.*got 3"),
    "complex": (np.ones((2, 2), complex), r"real numbers, got dtype complex128"),
    "text": (np.array([["a", "b"]]), r"real numbers, got dtype <U1"),
    "ragged": ([[1, 2], [3]], r"not a rectangle of numbers"),
    "column out of range": (broken(indices=[0, 5, 2]), r"not a valid CSR matrix: column 5 in a matrix of 3"),
    "negative column": (broken(indices=[0, -1, 2]), r"not a valid CSR matrix: column -1"),
    "falling indptr": (broken(indptr=[0, 2, 1, 3]), r"indptr must rise"),
    "long indptr": (broken(indptr=[0, 1, 2, 9]), r"indptr must rise"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_place_and_the_remedy(case):
    data, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        as_rows(data)


def test_bit_rows():
    bits = np.random.default_rng(0).integers(0, 2, (5, 40))
    packed = np.packbits(bits, axis=1)
    rows = as_rows(packed, bits=True)
    assert rows.shape == (5, 40)
    assert rows.container == "bits"
    with pytest.raises(ValueError, match=r"uint8, got float64: numpy.packbits"):
        as_rows(packed.astype(float), bits=True)


def test_integers_that_float32_cannot_hold_are_noted():
    assert as_rows(np.array([[2**24]])).collision is None
    row, column, value = as_rows(np.array([[0, 2**24 + 1]])).collision
    assert (row, column, value) == (0, 1, 2**24 + 1)
    assert as_rows(sp.csr_matrix(np.array([[0.0, 2.0**24 + 1]]))).collision[:2] == (0, 1)


def test_the_longest_rows():
    n = 70_000
    M = sp.csr_matrix((np.ones(n), np.arange(n)[::-1], [0, n]), shape=(1, n))
    M.has_sorted_indices = False
    check_canonical(as_rows(M))
    assert as_rows(M).data.size == n


@pytest.mark.parametrize("bits", [1, 8, 9, 10, 18, 19, 27, 28, 31])
def test_columns_of_long_rows_are_sorted_whatever_their_number(bits):
    rng = np.random.default_rng(bits)
    columns = rng.choice(2**bits, min(200, 2**bits), replace=False) if bits < 20 else rng.integers(0, 2**bits - 1, 200)
    columns = np.append(np.unique(columns), 2**bits - 1 - (bits == 31))
    columns = np.unique(columns)
    mixed = rng.permutation(columns).astype(np.int64)
    matrix = sp.csr_matrix((np.arange(1.0, len(mixed) + 1), mixed, [0, len(mixed)]), shape=(1, 2**bits - (bits == 31)))
    rows = as_rows(matrix)
    np.testing.assert_array_equal(rows.indices, columns)
    np.testing.assert_array_equal(rows.data, 1 + np.argsort(mixed))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("width", [30, 513, 80_000])
def test_renumbered_rows_are_the_same_rows_in_another_order(width, n_jobs):
    """Of 0 to 70,000 values; below 0, denormal, and as they stand already."""
    rng = np.random.default_rng(width)
    sizes = np.minimum(np.r_[rng.choice([0, 1, 2, 23, 24, 25, 26, 60], 2500), 0, 70_000], width)
    starts = np.r_[0, np.cumsum(sizes)].astype(np.int64)
    columns = np.concatenate([np.sort(rng.choice(width, size, replace=False)) for size in sizes]).astype(np.int32)
    values = rng.choice(np.array([-1, 1e-45, -1e-45, 3.4e38, -3.4e38, 0.5, 2], np.float32), len(columns))
    rows = Rows(starts, columns, values, (len(sizes), width), "csr", True)
    for rank in (rng.permutation(width).astype(np.int32), np.arange(width, dtype=np.int32)):
        found = renumber(rows, rank, n_jobs)
        want = sp.csr_matrix((values, rank[columns], starts), shape=rows.shape)
        want.sort_indices()
        np.testing.assert_array_equal(found.indices, want.indices)
        np.testing.assert_array_equal(found.data.view(np.uint32), want.data.view(np.uint32))
        np.testing.assert_array_equal(found.indptr, starts)
