"""The scalar formulas of every metric against its reference, without any traversal of the package."""

import functools
import math
import pathlib

import numba
import numpy as np
import pytest

from sparsenn import metrics
from sparsenn.metrics.registry import REQUIRED

N = 12
NAMES = metrics.names()
COST = np.random.default_rng(3).random((N, N)) * 2
compiled = functools.cache(numba.njit(error_model="numpy"))


def having(condition):
    """Parametrise a test by the names of the metrics of which `condition` holds."""
    return pytest.mark.parametrize("name", [name for name in NAMES if condition(metrics.get(name))])


def parameters(record):
    """Parameters of an example: those of the record, or made for N columns."""
    made = {"cost": COST, "V": np.linspace(0.5, 2.0, N), "VI": np.eye(N) + COST @ COST.T}
    return dict(record.example) | {key: made[key] for key in record.parameters if key in made}


def rows_for(record):
    """Rows of all kinds: dense, half empty, sparse, a single column, empty, alike and apart."""
    rng = np.random.default_rng(0)
    if record.containers == ("bits",):
        rows = rng.integers(0, 256, (6, N)) * (rng.random((6, N)) < 0.6)
        return np.concatenate([rows, rows[:1], 0 * rows[:1], 0 * rows[:1] + 255]).astype(np.uint8)
    n = record.n_columns or N
    if record.n_columns:
        return (rng.random((8, n)) - 0.5).astype(np.float32)
    rows = rng.random((7, n)) * (rng.random((7, n)) < np.array([[1], [1], [0.5], [0.5], [0.5], [0.2], [0.2]]))
    rows = np.concatenate(
        [rows, rows[2:3], 3 * rows[3:4], np.eye(n)[:1], np.eye(n)[-1:], 0 * rows[:2], 0 * rows[:1] + 1]
    )
    if record.signed:
        rows[1:8] *= rng.choice([-1, 1], (7, n))
        rows[7] = rows[2]
    return rows.astype(np.float32)


def prepared(record, p, row):
    """Columns and values of one row, as the formulas are given them."""
    if record.project is not None:
        row = row.astype(np.float64) @ record.project(parameters(record))
    indices = np.flatnonzero(row).astype(np.uint32)
    values = row[indices].copy()
    if record.presence:
        values = (values != 0).astype(np.float32)
    if record.transform is not None:
        record.transform(p, indices, values)
    return indices, values


def statistics(record, p, values, n):
    """What `finish` is given of a row."""
    sums = np.zeros((2, 1))
    for which, formula in enumerate(record.statistics):
        sums[which] = math.fsum(formula(p, float(a)) for a in values)
    if record.summarise is not None:
        sums = np.resize(record.summarise(sums, n), (2, 1))
    return float(sums[0, 0]), float(sums[1, 0])


def step_of(record):
    """Return the step, given or following from the term."""
    f = record.term
    return record.step or (lambda p, a, b: f(p, a, 0.0) + f(p, 0.0, b) - f(p, a, b) if a != 0 and b != 0 else 0.0)


def distances(record, x, y):
    """Distances of two rows by every form that the record has."""
    n = len(x)
    p = metrics.bind(record, parameters(record)).pack(n)
    if record.pair is not None:
        if record.containers == ("bits",):
            p[0], none = 8 * n, np.zeros(0, np.uint32)
            return [compiled(record.pair)(p, none, x.view(np.float32), none, y.view(np.float32))]
        everything = np.arange(n, dtype=np.uint32)
        stored_zeros = compiled(record.pair)(p, everything, x, everything, y)
        return [compiled(record.pair)(p, *prepared(record, p, x), *prepared(record, p, y)), stored_zeros]
    (ind1, val1), (ind2, val2) = prepared(record, p, x), prepared(record, p, y)
    s, t = statistics(record, p, val1, n), statistics(record, p, val2, n)
    u, v = np.zeros(n), np.zeros(n)
    u[ind1], v[ind2] = val1, val2
    step = step_of(record)
    shared = math.fsum(step(p, float(a), float(b)) for a, b in zip(u, v, strict=True))
    forms = [s[0] + t[0] - record.factor * shared if record.additive else shared]
    if record.additive:
        forms.append(math.fsum(record.term(p, float(a), float(b)) for a, b in zip(u, v, strict=True)))
    surrogates = [record.finish(p, s, t, form) for form in forms]
    return [record.correct(p, value) if record.correct else value for value in surrogates]


@having(lambda record: True)
def test_formulas_agree_with_the_reference(name):
    record = metrics.get(name)
    rows = rows_for(record)
    for i, x in enumerate(rows):
        for y in rows[i % 2 :: 2]:
            want = record.reference(x.astype(np.float64), y.astype(np.float64), **parameters(record))
            for got in distances(record, x, y):
                assert got == pytest.approx(want, rel=2e-6, abs=2e-6), (x, y)


@having(lambda record: record.symmetric and record.reference is not None)
def test_a_symmetric_metric_is_symmetric(name):
    record = metrics.get(name)
    rows = rows_for(record)
    for x, y in zip(rows, rows[3:], strict=False):
        assert distances(record, x, y) == pytest.approx(distances(record, y, x), rel=1e-12, abs=1e-8)


@having(lambda record: record.worst is not None)
def test_rows_that_share_nothing_are_at_the_worst_distance(name):
    record = metrics.get(name)
    rows = np.abs(rows_for(record))
    for x in rows:
        for y in rows:
            apart = not (x * y).any() and x.any() and y.any()
            for got in distances(record, x, y):
                got, worst = np.float32(got), np.float32(record.worst)  # as they are returned
                assert got == worst if apart else got <= worst


@having(lambda record: record.additive)
def test_a_step_is_what_a_shared_column_saves(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    for a, b in value_pairs(record):
        saved = record.term(p, a, 0.0) + record.term(p, 0.0, b) - record.term(p, a, b)
        assert record.factor * step_of(record)(p, a, b) == pytest.approx(saved, rel=1e-9, abs=1e-14)
        assert record.statistics[0](p, a) == pytest.approx(record.term(p, a, 0.0), rel=1e-12)
        assert record.term(p, a, a) == 0


@having(lambda record: record.norm is not None or record.mass is not None)
def test_the_bounds_of_a_step_hold(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    step = step_of(record)
    for a, b in value_pairs(record):
        if record.norm is not None:
            assert step(p, a, b) <= record.norm(p, a) * record.norm(p, b) * (1 + 1e-12)
        if record.mass is not None:
            assert step(p, a, b) <= min(record.mass(p, a), record.mass(p, b)) * (1 + 1e-12)


def value_pairs(record):
    """Pairs of values that rows of this metric may have in one column."""
    rng = np.random.default_rng(1)
    a, b = 10.0 ** rng.uniform(-7, 0, (2, 300))
    b[:30] = a[:30]
    b[30:60] = a[30:60] * (1 + 1e-5)
    if record.presence:
        a[:], b[:] = 1, 1
    if record.signed and not record.presence:
        a *= rng.choice([-1, 1], 300)
    return list(zip(a.tolist(), b.tolist(), strict=True))


@having(lambda record: record.finish is not None)
def test_finish_falls_as_more_is_shared(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    rows = [prepared(record, p, row)[1] for row in np.abs(rows_for(record))]
    for left in rows:
        for right in rows[::2]:
            x, y = statistics(record, p, left, N), statistics(record, p, right, N)
            shared = np.linspace(0, most_shared(record, p, left, right), 25)
            if record.presence:
                shared = np.arange(max(len(left) + len(right) - N, 0), min(len(left), len(right)) + 1)
            arguments = x[0] + y[0] - record.factor * shared if record.additive else shared
            surrogates = np.array([record.finish(p, x, y, float(s)) for s in arguments])
            assert (surrogates[1:] <= surrogates[:-1] + 1e-12).all()


def many_rows(record, p):
    """Values and statistics of rows of many lengths and sizes, none empty."""
    rng = np.random.default_rng(5)
    for n in rng.integers(1, N, 60):
        row = np.zeros(N, np.float32)
        row[rng.choice(N, n, replace=False)] = 10.0 ** rng.uniform(-2, 1, n)
        values = prepared(record, p, row)[1]
        yield values, statistics(record, p, values, N)


@having(lambda record: record.impact is not None)
def test_impact_orders_the_rows_of_a_column_as_finish_does(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    rows = [(float(values[0]), y) for values, y in many_rows(record, p)]
    rows.sort(key=lambda row: -record.impact(p, *row))
    for values, x in list(many_rows(record, p))[::6]:
        step = step_of(record)
        surrogates = np.array([record.finish(p, x, y, step(p, float(values[-1]), b)) for b, y in rows])
        assert (surrogates[1:] >= surrogates[:-1] - 1e-12).all()


@having(lambda record: record.worst is not None)
def test_the_nearest_row_for_a_sum_has_extreme_statistics(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    rows = list(many_rows(record, p))
    stats = np.array([y for _, y in rows])
    ends = [tuple(stats.min(axis=0)), tuple(stats.max(axis=0))]
    for left, x in rows[::6]:
        for right, y in rows:
            for shared in np.linspace(0, most_shared(record, p, left, right), 8):
                least = [(max(end[0], shared), end[1]) if record.mass else end for end in ends]
                f = [
                    record.finish(p, x, row, x[0] + row[0] - record.factor * shared if record.additive else shared)
                    for row in (y, *least)
                ]
                assert min(f[1:]) <= f[0] + 1e-12


def most_shared(record, p, left, right):
    """Bound of the shared sum of two rows, as pruning computes it."""
    if record.norm is not None:
        return math.sqrt(math.prod(sum(record.norm(p, float(a)) ** 2 for a in row) for row in (left, right)))
    bound = record.mass or record.statistics[0]
    return min(sum(bound(p, float(a)) for a in row) for row in (left, right))


@having(lambda record: record.correct is not None)
def test_invert_undoes_correct(name):
    record = metrics.get(name)
    p = metrics.bind(record, parameters(record)).pack(N)
    for d in np.linspace(0, 0.8, 9):
        assert record.correct(p, record.invert(p, d)) == pytest.approx(d, abs=1e-12)
    surrogates = [record.invert(p, d) for d in np.linspace(0, 0.8, 9)]
    assert surrogates == sorted(surrogates)


@having(lambda record: True)
def test_a_record_is_whole(name):
    record = metrics.get(name)
    assert record.formula
    assert record.reference is not None
    assert (record.pair is None) == (record.finish is not None)
    assert record.pair or record.step or record.term
    assert (record.correct is None) == (record.invert is None)
    assert len(record.statistics) <= 2
    assert record.norm is None or record.mass is None
    assert all(parameter.about for parameter in record.parameters.values())


# Empty rows, ties and variants that the references alone do not pin


def distance(name, x, y, **params):
    """Distance by the reference, in float64."""
    return metrics.get(name).reference(np.asarray(x, float), np.asarray(y, float), **params)


def test_identical_rows_of_russellrao_and_kulsinski_are_not_at_zero():
    x = np.float32([1, 1, 0, 0])
    assert distances(metrics.get("russellrao"), x, x) == [0.5]
    assert distances(metrics.get("kulsinski"), x, x) == [0.5]


def test_an_empty_row_is_as_far_by_symmetric_kl_as_rows_can_be():
    record = metrics.get("symmetric_kl")
    a, b, empty = np.eye(3, N, dtype=np.float32)
    empty[:] = 0
    assert distances(record, a, empty)[0] == pytest.approx(distances(record, a, b)[0], rel=1e-12)
    rows = np.random.default_rng(0).dirichlet(np.full(N, 0.05), 40).astype(np.float32)
    assert max(max(distances(record, x, y)) for x, y in zip(rows, rows[1:], strict=False)) <= distances(record, a, b)[0]


def test_disjoint_rows_tie_exactly_by_jensen_shannon():
    rng = np.random.default_rng(0)
    rows = rng.random((20, 2, N)).astype(np.float32)
    rows[:, 0, ::2] = rows[:, 1, 1::2] = 0
    record = metrics.get("jensen_shannon")
    assert {d for x, y in rows for d in distances(record, x, y)} == {math.sqrt(math.log(2))}


def test_transport_along_the_columns_is_transport_at_the_cost_of_their_distance():
    columns = np.arange(N)
    apart = np.abs(columns[:, None] - columns).astype(float)
    rng = np.random.default_rng(0)
    for x, y in rng.random((10, 2, N)).astype(np.float32):
        line = transport("wasserstein_1d", x, y)
        circle = transport("circular_wasserstein", x, y)
        assert transport("kantorovich", x, y, cost=apart) == pytest.approx(line, rel=1e-12)
        assert transport("kantorovich", x, y, cost=np.minimum(apart, N - apart)) == pytest.approx(circle, rel=1e-12)


def transport(name, x, y, **params):
    """Distance by the compiled pair formula."""
    record = metrics.get(name)
    columns = np.arange(len(x), dtype=np.uint32)
    p = metrics.bind(record, params).pack(len(x))
    return compiled(record.pair)(p, columns, x, columns, y)


def test_kantorovich_with_ties_and_masses_of_all_sizes():
    rng = np.random.default_rng(0)
    n = 7
    for kind in range(40):
        cost = rng.integers(0, 3, (n, n)).astype(float)
        x, y = rng.integers(0, 3, (2, n)) * 10.0 ** (rng.integers(-6, 0, (2, n)) if kind % 2 else 0)
        want = distance("kantorovich", x, y, cost=cost)
        assert transport("kantorovich", np.float32(x), np.float32(y), cost=cost) == pytest.approx(want, abs=1e-7)


def test_kantorovich_of_identical_rows_is_exactly_zero():
    x = np.random.default_rng(0).random(60).astype(np.float32)
    cost = 1.0 - np.eye(60)
    assert transport("kantorovich", x, x, cost=cost) == 0
    assert transport("kantorovich", x, x, cost=0 * cost) == 0


@pytest.mark.parametrize("regularization", [1e-1, 1e-2, 1e-4, 1e-9])
def test_sinkhorn_tends_to_kantorovich(regularization):
    x, y = np.random.default_rng(0).random((2, N)).astype(np.float32)
    exact = transport("kantorovich", x, y, cost=COST)
    got = transport("sinkhorn", x, y, cost=COST, regularization=regularization)
    assert exact - 1e-7 <= got <= exact + regularization * math.log(N * N)


def test_sinkhorn_that_is_stopped_still_moves_all_the_mass():
    x, y = np.random.default_rng(0).random((2, N)).astype(np.float32)
    ones = np.ones((N, N))
    assert transport("sinkhorn", x, y, cost=ones, max_iter=1) == pytest.approx(1)
    exact = transport("kantorovich", x, y, cost=COST)
    assert transport("sinkhorn", x, y, cost=COST, regularization=0.2, max_iter=1) >= exact - 1e-12


# Names and parameters


@having(lambda record: True)
def test_names_and_aliases_lead_to_the_record(name):
    record = metrics.get(name)
    assert record.name == name
    assert all(metrics.get(alias) is record for alias in record.aliases)
    assert metrics.resolve(record.name, parameters(record)).metric is record


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("jensenshannon", "jensen_shannon"),
        ("jensen-shannon", "jensen_shannon"),
        ("symmetric-kl", "symmetric_kl"),
        ("symmetric_kullback_liebler", "symmetric_kl"),
        ("wasserstein", "kantorovich"),
        ("wasserstein-1d", "wasserstein_1d"),
        ("kantorovich-1d", "wasserstein_1d"),
        ("kantorovich_1d", "wasserstein_1d"),
        ("circular_kantorovich", "circular_wasserstein"),
        ("cityblock", "manhattan"),
        ("taxicab", "manhattan"),
        ("linfty", "chebyshev"),
        ("spearmanr", "spearman"),
        ("inner_product", "dot"),
    ],
)
def test_spellings_of_scipy_and_pynndescent(spelling, name):
    assert metrics.get(spelling).name == name


@pytest.mark.parametrize(("wrong", "near"), [("euclidian", "euclidean"), ("Cosine", "cosine"), ("jacard", "jaccard")])
def test_an_unknown_name_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"unknown metric '{wrong}'. Did you mean .*'{near}'"):
        metrics.get(wrong)
    with pytest.raises(ValueError, match="unknown metric 'xyzzyx'. sparsenn.metrics.names"):
        metrics.get("xyzzyx")


@having(lambda record: True)
def test_an_unknown_parameter_is_an_error(name):
    with pytest.raises(ValueError, match=f"{name} has no parameter 'nonsense'; it takes "):
        metrics.bind(metrics.get(name), parameters(metrics.get(name)) | {"nonsense": 1})


@having(lambda record: record.parameters)
def test_a_bad_value_of_a_parameter_is_named(name):
    record = metrics.get(name)
    for key, parameter in record.parameters.items():
        for bad in ("three", [[1.0, 2.0]], np.nan):
            with pytest.raises(ValueError, match=f"{name}: {key} must be "):
                metrics.bind(record, parameters(record) | {key: bad})
        if parameter.default is REQUIRED:
            with pytest.raises(ValueError, match=f"{name} needs the parameter '{key}'"):
                metrics.bind(record, {k: v for k, v in parameters(record).items() if k != key})


@pytest.mark.parametrize(
    ("name", "key", "value", "complaint"),
    [
        ("tversky", "alpha", -1.0, "at least 0, got -1.0"),
        ("sinkhorn", "regularization", 0.0, "above 0, got 0.0"),
        ("sinkhorn", "max_iter", 2.5, "a whole number, got 2.5"),
        ("kantorovich", "cost", -np.eye(N), "no negative numbers, got <array 12x12>"),
        ("kantorovich", "cost", np.ones((2, 3)), "a square matrix .*, got <array 2x3>"),
        ("minkowski", "p", 0.5, "at least 1"),
    ],
)
def test_the_range_of_a_parameter_is_told(name, key, value, complaint):
    record = metrics.get(name)
    with pytest.raises(ValueError, match=f"{name}: {key} must (be|have) {complaint}"):
        metrics.bind(record, parameters(record) | {key: value})


@pytest.mark.parametrize("name", ["kantorovich", "sinkhorn"])
def test_a_cost_matrix_fits_the_columns(name):
    bound = metrics.bind(metrics.get(name), {"cost": COST})
    with pytest.raises(ValueError, match=f"{name}: cost is 12x12, but the rows have 5 columns"):
        bound.pack(5)
    assert bound.pack(N)[0] == N
    assert (bound.pack(N)[1 : 1 + N * N] == COST.ravel()).all()


def test_the_module_makes_metrics_with_parameters():
    bound = metrics.minkowski(p=3)
    assert (bound.metric.name, bound.params["p"]) == ("minkowski", 3)
    assert repr(bound) == "minkowski(p=3, w=None)"
    assert metrics.resolve(bound) is bound
    assert set(NAMES) <= set(dir(metrics))
    with pytest.raises(AttributeError, match="euclidean"):
        _ = metrics.euclidian


@having(lambda record: True)
def test_no_file_hides_a_metric(name):
    folder = pathlib.Path(metrics.__file__).parent
    assert not (folder / f"{name}.py").exists()
    assert getattr(metrics, name).__name__ == name
