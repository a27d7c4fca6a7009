import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.preprocessing import OneHotEncoder

import sparsenn as sn
from sparsenn.adapters import HistogramEncoder, MixtureEncoder, SetEncoder, TableEncoder, misfits

BASKETS = [["bread", "milk"], ["milk", "beer", "milk"], [], ["crisps", "beer"]]
TABLE = {
    "cap": ["red", "brown", None, "red"],
    "gills": ["free", "free", "none", "free"],
    "size": [1.0, 3.0, float("nan"), 2.0],
}


def test_sets_are_rows_of_ones():
    encoder = SetEncoder()
    rows = encoder.fit_transform(BASKETS)
    assert encoder.items_ == ["bread", "milk", "beer", "crisps"]
    assert rows.toarray().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert encoder.transform([["beer", "wine"]]).toarray().tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_a_long_table_gives_the_same_sets(make):
    lines = [(f"b{i}", item) for i, items in enumerate(BASKETS) for item in items]
    frame = make({"basket": [a for a, _ in lines], "item": [b for _, b in lines]})
    rows, names = SetEncoder().fit_transform_pairs(frame, row="basket", item="item")
    assert names == ["b0", "b1", "b3"]
    assert (rows != SetEncoder().fit_transform([b for b in BASKETS if b])).nnz == 0
    with pytest.raises(ValueError, match="has no column 'items'; it has: basket, item. Did you mean 'item'?"):
        SetEncoder().fit_transform_pairs(frame, row="basket", item="items")


def test_a_matrix_is_a_set_by_its_columns():
    matrix = sp.csr_matrix(np.array([[3.0, 0, 1], [0, 0, 0]]))
    assert SetEncoder().fit_transform(matrix).toarray().tolist() == [[1, 0, 1], [0, 0, 0]]


def test_unknown_items_count_where_there_is_room():
    encoder = SetEncoder(spare=3)
    index = encoder.index(BASKETS)
    asked = ["milk", "beer", "wine", "gin"]
    found = index.query(encoder.transform([asked]), k=1)
    assert found.distances[0, 0] == pytest.approx(1 - 2 / 4)
    assert SetEncoder().index(BASKETS).query(SetEncoder().fit_transform(BASKETS)[:1], k=1).indices.tolist() == [[0]]


@pytest.mark.parametrize(("data", "message"), [
    ([], "there are no sets"),
    (["bread"], "set 0 is the string 'bread'"),
    ([3], "set 0 must be an iterable of hashable items"),
    ([[["nested"]]], "set 0 must be an iterable of hashable items"),
])  # fmt: skip
def test_bad_sets_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        SetEncoder().fit_transform(data)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_tables_are_one_hot(make):
    frame = make({name: TABLE[name] for name in ("cap", "gills")})
    encoder = TableEncoder()
    rows = encoder.fit_transform(frame)
    assert encoder.columns_ == [("cap", "brown"), ("cap", "red"), ("gills", "free"), ("gills", "none")]
    assert rows.toarray().tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0]]
    assert encoder.metric == "matching"
    assert encoder.transform({"cap": ["blue"], "gills": ["none"]}).toarray().tolist() == [[0, 0, 0, 1]]


def test_one_hot_is_that_of_sklearn():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.choice(list("abcd"), 40) for name in ("x", "y", "z")})
    asked = pd.DataFrame({"x": ["a", "q"], "y": ["b", "c"], "z": ["q", "d"]})
    ours, theirs = TableEncoder(), OneHotEncoder(handle_unknown="ignore")
    assert (ours.fit_transform(frame).toarray() == theirs.fit_transform(frame).toarray()).all()
    assert (ours.transform(asked).toarray() == theirs.transform(asked).toarray()).all()


def gower(a, b, sizes):
    """Sum of Gower's parts of two rows (cap, gills, size)."""
    scaled = [(size - min(sizes)) / (max(sizes) - min(sizes)) for size in (a[2], b[2])]
    return (a[0] != b[0]) + (a[1] != b[1]) + abs(scaled[0] - scaled[1])


def test_numbers_beside_categories_give_gowers_distance():
    rng = np.random.default_rng(1)
    rows = [(rng.choice(["r", "g"]), rng.choice(["x", "y", "z"]), float(rng.random())) for _ in range(20)]
    frame = pd.DataFrame(rows, columns=["cap", "gills", "size"])
    encoder = TableEncoder()
    encoded = encoder.fit_transform(frame)
    assert encoder.metric == "manhattan"
    want = [[gower(a, b, [r[2] for r in rows]) for b in rows] for a in rows]
    np.testing.assert_allclose(sn.pairwise_distances(encoded, metric="manhattan"), want, atol=1e-6)


def test_missing_values_follow_their_rule():
    assert TableEncoder().fit_transform(TABLE).toarray()[2].tolist() == [0, 0, 0, 0.5, 0.5]  # the mean of 0, 1 and .5
    encoder = TableEncoder(["cap"], [], missing="category")
    assert encoder.fit_transform(TABLE).toarray()[2].tolist() == [0, 0, 1]
    assert encoder.columns_[-1] == ("cap", None)
    with pytest.raises(ValueError, match="column 'cap' has a missing value at row 2"):
        TableEncoder(missing="error").fit_transform(TABLE)


def test_columns_of_one_value_and_of_none():
    rows = TableEncoder().fit_transform({"a": [2, 2], "b": [None, None], "c": [True, False]})
    assert rows.toarray().tolist() == [[0, 0.5, 0], [0.5, 0, 0]]


@pytest.mark.parametrize(("options", "data", "message"), [
    ({"missing": "drop"}, TABLE, "missing must be one of"),
    ({"unseen": "drop"}, TABLE, "unseen must be"),
    ({"categorical": ["cap"], "numeric": ["cap"]}, TABLE, "'cap' is in both"),
    ({"numeric": ["gills"]}, TABLE, "column 'gills' does not hold numbers"),
    ({"numeric": ["a"]}, {"a": [1.0, float("inf")]}, "column 'a' has an infinite value at row 1"),
    ({"categorical": ["caps"]}, TABLE, "no column 'caps'"),
    ({}, {"a": [1], "b": [1, 2]}, "same length"),
    ({}, {"a": []}, "no rows"),
    ({}, {}, "no columns"),
    ({}, [1, 2], "a table must be a pandas, polars or pyarrow table"),
])  # fmt: skip
def test_bad_tables_are_named(options, data, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder(**options).fit_transform(data)


def test_unseen_categories_may_be_errors_and_change_nothing():
    encoder = TableEncoder(["cap"], [], unseen="error")
    encoder.fit_transform(TABLE)
    with pytest.raises(ValueError, match="column 'cap' has 'blue' at row 0"):
        encoder.transform({"cap": ["blue"]})
    with pytest.raises(ValueError, match="no column"):
        encoder.fit_transform({"hat": ["blue"]})
    assert encoder.columns_ == [("cap", "brown"), ("cap", "red")]


def test_histograms_are_numpys():
    rng = np.random.default_rng(2)
    samples = [rng.normal(size=n) for n in (5, 50, 0)]
    encoder = HistogramEncoder(bins=7)
    rows = encoder.fit_transform(samples)
    want = [np.histogram(s, encoder.edges_)[0] for s in samples]
    np.testing.assert_array_equal(rows, want)
    assert encoder.transform([[-99.0, 99.0]])[0].tolist() == [1, 0, 0, 0, 0, 0, 1]
    assert HistogramEncoder([0.0, 1.0, 5.0]).fit_transform([[0.5, 2.0, 3.0]]).tolist() == [[1, 2]]
    assert HistogramEncoder(3).fit_transform([[2.0, 2.0]]).sum() == 2


@pytest.mark.parametrize(("bins", "data", "message"), [
    (0, [[1.0]], "bins must be an integer"),
    ([1.0, 1.0], [[1.0]], "edges of bins"),
    (4, [], "no samples"),
    (4, [[]], "all samples are empty"),
    (4, [[1.0], [np.nan]], "sample 1 has a value that is not finite"),
])  # fmt: skip
def test_bad_samples_are_named(bins, data, message):
    with pytest.raises(ValueError, match=message):
        HistogramEncoder(bins).fit_transform(data)


def test_histograms_find_their_neighbours_along_the_bins():
    encoder = HistogramEncoder(bins=10)
    index = encoder.index([[0.0] * 5, [5.0] * 5, [10.0] * 5])
    assert index.query(encoder.transform([[4.0, 4.5]]), k=1).indices.tolist() == [[1]]


@pytest.mark.parametrize(("data", "message"), [
    ([1.0, 2.0], "2 dimensions"),
    ([[1.0, -1.0]], "got -1.0 at row 0, column 1"),
    ([[1.0], [np.nan]], "got nan at row 1, column 0"),
    ([[0.0, 0.0]], "row 0 sums to 0"),
])  # fmt: skip
def test_bad_mixtures_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        MixtureEncoder().fit_transform(data)


def test_misfits_are_said():
    counts = sp.csr_matrix(np.array([[2.0, 1.0]]))
    signed = np.array([[-1.0, 1.0]])
    assert "sees only which columns" in misfits("jaccard", counts)[0]
    assert "values of at least 0" in misfits("hellinger", signed)[0]
    assert "order of the columns" in misfits("wasserstein_1d", counts)[0]
    assert misfits("wasserstein_1d", counts, ordered=True) == misfits("hellinger", counts) == []
    assert "no BM25" in misfits("cosine", counts, made_for="dot")[0]
    with pytest.warns(UserWarning, match="order of the columns"):
        SetEncoder().index(BASKETS, metric="wasserstein_1d")


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array, sp.coo_matrix])
def test_matrices_are_transformed_as_they_were_fitted(make):
    matrix = make(np.array([[3.0, 0, 1], [0, 2, 0]]))
    encoder = SetEncoder(spare=2)
    rows = encoder.fit_transform(matrix)
    assert rows.toarray().tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]]
    assert (encoder.transform(matrix) != rows).nnz == 0
    assert encoder.transform([[2, np.int64(0), 7, "x", 9]]).toarray().tolist() == [[1, 0, 1, 1, 1]]
    assert list(encoder.items_) == [0, 1, 2]
    with pytest.raises(ValueError, match="the matrix has 2 columns, and the fitted one has 3"):
        encoder.transform(make(np.eye(2)))
    lists = SetEncoder()
    lists.fit_transform(BASKETS)
    with pytest.raises(ValueError, match="was fitted to lists of items"):
        lists.transform(matrix)
    stored = sp.csr_matrix(([0.0, 1.0], [0, 1], [0, 2]), shape=(1, 2))
    assert SetEncoder().fit_transform(stored).toarray().tolist() == [[0, 1]]


def test_wide_matrices_need_no_table_of_columns():
    wide = sp.random(10, 2_000_000, 1e-6, format="csr", random_state=0)
    tracemalloc.start()
    try:
        SetEncoder().fit_transform(wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_columns_of_numpy():
    table = {"cap": np.array(["red", "blue"]), "wet": np.array([True, False]), "n": np.array([1, 3])}
    encoder = TableEncoder()
    rows = encoder.fit_transform(table)
    assert encoder.columns_ == [("cap", "blue"), ("cap", "red"), ("wet", False), ("wet", True), ("n", None)]
    assert rows.toarray().tolist() == [[0, 0.5, 0, 0.5, 0], [0.5, 0, 0.5, 0, 1]]
    assert (TableEncoder().fit_transform({name: column.tolist() for name, column in table.items()}) != rows).nnz == 0
    flags = TableEncoder()
    flags.fit_transform({"f": np.array([np.True_, None], object)})
    assert flags.columns_ == [("f", True)]


def test_missing_categories_are_half_a_difference():
    encoder = TableEncoder()
    rows = encoder.fit_transform({"cap": [None, None, "red", "blue"]})
    found = sn.pairwise_distances(rows, metric=encoder.metric)
    assert found[0, 1] == 0
    assert found[0, 2] == found[2, 3] / 2


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame])
def test_lists_are_no_categories(make):
    with pytest.raises(ValueError, match=r"column 'l' has \[1\] at row 0, no category"):
        TableEncoder().fit_transform(make({"c": ["a", "b"], "l": [[1], [2]]}))
    encoder = TableEncoder()
    encoder.fit_transform({"l": ["a"]})
    with pytest.raises(ValueError, match="column 'l' has a value that is no category"):
        encoder.transform({"l": [["a"]]})


def test_scalars_are_no_samples():
    with pytest.raises(ValueError, match=r"sample 0 is 1\.0: give a list of numbers"):
        HistogramEncoder(bins=4).fit_transform([1.0, 2.0, 3.0])


def test_sparse_mixtures():
    matrix = sp.csr_array(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    rows = MixtureEncoder().fit_transform(matrix)
    assert rows.dtype == np.float32
    assert rows.toarray().tolist() == [[0.5, 0.5, 0], [0, 1, 0]]
    for data, message in [([[1.0, -1.0]], "got -1.0 at row 0, column 1"), ([[1.0], [0.0]], "row 1 sums to 0")]:
        with pytest.raises(ValueError, match=message):
            MixtureEncoder().fit_transform(sp.csr_matrix(np.array(data)))


def test_metrics_with_parameters_are_indexed():
    cost = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    index = HistogramEncoder(bins=4).index([[0.0, 1, 4], [2.0, 2.5]], "kantorovich", metric_params={"cost": cost})
    assert index.n_rows == 2
