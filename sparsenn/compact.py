"""Rows kept small, for work that measures rows all over memory.

A row out of cache costs what its bytes cost to fetch. Graphs are made with small forms of the rows, near enough to tell
which rows are worth measuring again as they are:

* sparse rows: column and value packed into one 32-bit word (half the bytes);
* dense rows under a metric of inner products: a *sketch*, signed bytes along the rows' principal axes;
* other dense rows: whole numbers of one or two bytes on an even grid, summed in float32.

Dense rows of whole numbers up to 255 have one more, of bytes whose inner products are exact (`exact_form`).

Whether a form of dense rows will do is measured on a sample of rows against exact search; where a graph of most of them
was made before, on a sample of the others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sparsenn import traversal
from sparsenn._jit import entry
from sparsenn.blockwise import list_rows, nearest_blockwise
from sparsenn.distance import Compiled, Space, Store, take
from sparsenn.exact import ExactEngine, one_blas_thread
from sparsenn.filters import NO_FILTER
from sparsenn.metrics.formulas import same
from sparsenn.parallel import map_blocks
from sparsenn.rerank import nearest_listed
from sparsenn.termwise import open_workspace

SAMPLE = 50  # rows by which forms, and graphs, are judged
CLEAR = 0.995  # of the nearest of those rows, that must be among the nearest by a form
SPARE, MOST = 5, 2.5  # edges beyond those, and how many times as many edges as asked for a form may need
FINE = 2.0**-9  # a step of the grid, as a share of the values' spread, up to which two bytes are enough
FINE_WORD = 2.0**-6  # the same for packed values, as a share of their median
FEWEST_BITS, WORD = 6, 32  # of a packed value; a word
PARTS = 64  # sketches have a multiple of so many bytes: a cache line
KEPT = 0.9  # of the rows' variance that a sketch must keep
SHARE = 16  # times as much as the sketches that are kept beside them do rows take
REACH = 4.0  # standard deviations that a byte spans
SURVEYED, BLOCK_ROWS = 2**16, 1024  # values looked at before all are; rows projected at once
FEWEST_ROWS = 1024  # that axes and the step of bytes come from
WIDEST_WHOLE = 2**31 // 255**2  # columns of which sums of products of bytes stay below 2^31
WORTH_FORM = 2**20  # values of all rows together from which dense ones are made small


@dataclass(frozen=True)
class Form:
    """Rows as a graph measures them: rows of `x`, one at a time, against rows of `z` under `metric`.

    `shrink` makes `z` of `x`; None where they are the same. `edges`: how many of the nearest by this form hold the
    truly nearest.
    blur: how many times as many as asked for these are.
    """

    name: str
    metric: Compiled
    x: Store
    z: Store
    shrink: Callable[[Store], Store] | None = None
    edges: int = 0
    blur: float = 1.0
    express: Callable[[Store], Store] | None = None  # queries as rows of `x`; None where they are as they come
    basis: "Basis | None" = None  # of a sketch

    def reordered(self, order: npt.NDArray[np.int64]) -> "Form":
        """Return the form with its rows in another order."""
        x = take(self.x, order)
        return replace(self, x=x, z=self.shrink(x) if self.shrink else x)


@entry
def _survey(values):
    """Least and largest value, and whether all are whole numbers."""
    low, high, whole = values[0], values[0], True
    for t in range(values.shape[0]):
        low, high = min(low, values[t]), max(high, values[t])
        whole &= values[t] == np.floor(values[t])
    return low, high, whole


@entry
def _encode(values, low, scale, codes):
    """Write the numbers of the grid that are nearest to `values`."""
    for t in range(values.shape[0]):
        codes[t] = np.uint16((values[t] - low) / scale + np.float32(0.5))


@entry
def _pack(indices, values, shift, low, step, words):
    """Write a column and the number of a value's step into each word."""
    for t in range(values.shape[0]):
        code = np.uint32((values[t] - low) / step + np.float32(0.5))
        words[t] = (np.uint32(indices[t]) << shift) | code


class Code(NamedTuple):
    """How values are kept: the type of a code, the grid's step, and its least value."""

    kind: str
    step: float
    low: float


def code_for(values: npt.NDArray[np.float32]) -> Code:
    """Choose how values of dense rows are kept.

    One byte or two where that loses nothing, as of images, counts and ratings; two where the grid is
    fine beside the spread of the values; otherwise the values as they are.
    """
    if not values.size:
        return Code("float32", 1.0, 0.0)
    low, high, whole = _survey(values)
    if whole and high - low <= 65535:
        return Code("uint8" if high - low <= 255 else "uint16", 1.0, float(low))
    step = (float(high) - float(low)) / 65535
    some = values[np.linspace(0, values.size - 1, min(SURVEYED, values.size)).astype(np.int64)]
    tenth, last = np.quantile(some, [0.1, 0.9])
    spread = float(last) - float(tenth)  # not the deviation, which a few large values would make
    if 0 < step <= FINE * spread:
        return Code("uint16", step, float(low))
    return Code("float32", 1.0, 0.0)


def whole_rows(metric: Compiled, store: Store) -> Form:
    """Rows as they are."""
    return Form("whole rows", metric, store, store)


@entry
def _encode_whole(values, start, stop, codes):
    """Write rows [start, stop) of whole numbers from 0 to 255 as bytes; False where there are others."""
    m, width = values.shape[1], codes.shape[1]
    for i in range(start, stop):
        bits, broken = np.int32(0), np.int32(0)
        for t in range(np.uint64(m)):
            code = np.int32(min(max(values[i, t], np.float32(-1)), np.float32(256)))
            bits |= code
            broken |= np.int32(np.float32(code) != values[i, t])
            codes[i, t] = np.uint8(code)
        if broken or bits & ~np.int32(255):
            return False
        for t in range(m, width):
            codes[i, t] = 0
    return True


def exact_form(space: Space, metric: Compiled, store: Store, n_jobs: int | None) -> Form:
    """Rows as they are; dense ones of whole numbers up to 255 as bytes, under a metric of inner products.

    Sums of such numbers are the same in any order, so distances are those of the rows as they are, to the last bit, for
    a quarter of the memory to fetch.
    """
    record, form = space.bound.metric, whole_rows(metric, store)
    n, m = len(store.indptr) - 1, len(store.indices)
    if not space.inner_product or space.container != "dense" or store.data.size < WORTH_FORM or m > WIDEST_WHOLE:
        return form
    values, width = store.data.reshape(n, m), -(-m // PARTS) * PARTS
    if not _encode_whole(values, 0, 1, np.empty((1, width), np.uint8)):
        return form
    codes = np.empty((n, width), np.uint8)
    if not all(map_blocks(lambda a, b: _encode_whole(values, a, b, codes), n, n_jobs, 1024)):
        return form
    words = codes.reshape(-1).view(np.float32)
    x = Store(np.arange(n + 1) * (width // 4), np.arange(width // 4, dtype=np.int32), words, store.stats)
    small = metric._replace(
        measure=traversal.inner_bytes(width, signed=False),
        settle=traversal.finish(record.finish, record.additive, record.factor),
        refine=0,
    )
    return Form("whole numbers as bytes", small, x, x)


def packed(space: Space, metric: Compiled, store: Store) -> Form:
    """Sparse rows as words of a column and a value; as they are where a word is too small for both."""
    form = whole_rows(metric, store)
    step = traversal.shared_step(space.bound.metric)
    bits = WORD - max(int(space.n_features - 1).bit_length(), 1)
    if step is None or bits < 1 or not store.data.size:
        return form
    low, high, whole = (float(v) for v in _survey(store.data))
    largest = 2.0**bits - 1
    if whole and high - low <= largest:  # of whole numbers nothing is lost
        width = 1.0
    else:
        low = min(low, 0.0)  # small values stay apart from 0
        width = (high - low) / largest
        some = store.data[np.linspace(0, store.data.size - 1, min(SURVEYED, store.data.size)).astype(np.int64)]
        if bits < FEWEST_BITS or not np.isfinite(width) or width > FINE_WORD * float(np.median(np.abs(some))):
            return form
    params = np.append(metric.params, [32.0 - (32 - bits), largest, width, low])

    def shrink(x: Store) -> Store:
        words = np.empty(x.data.size, np.uint32)
        _pack(x.indices, x.data, np.uint32(bits), np.float32(low), np.float32(width), words)
        return x._replace(indices=words.view(np.int32), data=words.view(np.float32))

    small = metric._replace(measure=traversal.gather(step, packed=True), refine=0, params=params)
    return Form("packed words", small, store, shrink(store), shrink)


def coded(space: Space, metric: Compiled, store: Store, code: Code | None = None) -> Form:
    """Dense rows measured as whole numbers of one or two bytes, or as they are, in float32."""
    term = space.dense_term
    if term is None:
        return whole_rows(metric, store)
    kind, step, low = code or code_for(store.data)

    def shrink(x: Store) -> Store:
        if kind == "float32":
            return x
        codes = np.empty(-(-x.data.size // 4) * 4, kind)
        _encode(x.data, np.float32(low), np.float32(step), codes)
        return x._replace(data=codes.view(np.float32))  # compiled code sees one type of rows; the loop knows better

    params = np.append(metric.params, [step, low])
    small = metric._replace(measure=traversal.sweep(term, kind), refine=0, params=params)
    return Form(f"values as {kind}", small, store, shrink(store), None if kind == "float32" else shrink)


def sketched(space: Space, metric: Compiled, store: Store, seed: np.uint64, n_jobs: int | None) -> Iterator[Form]:
    """Dense rows as signed bytes along their principal axes, turned at random within these: coarser ones first.

    Inner products keep what the axes hold. Turning (as in ITQ, Gong and Lazebnik 2011) makes all bytes matter alike.
    """
    n, m = len(store.indptr) - 1, len(store.indices)
    matrix = store.data.reshape(n, m)
    rng = np.random.default_rng(int(seed))
    some = matrix[np.sort(rng.choice(n, min(n, max(2 * min(m, 1024), FEWEST_ROWS)), replace=False))]
    record = space.bound.metric
    # sums of squared differences stay when all rows are moved; else there may be room for one more statistic
    factor = record.factor if record.additive and record.finish is same else 0.0
    centred = not factor and len(record.statistics) < 2
    mean = some.mean(axis=0, dtype=np.float64) if centred or factor else np.zeros(m)
    some = some - mean.astype(np.float32)
    total = float((some * some).sum(dtype=np.float64))
    width = PARTS if m <= PARTS else 2 * PARTS  # rows that fewer bytes could tell apart are rare
    while total > 0 and width <= -(-m // PARTS) * PARTS:
        axes = _axes(some, min(width, m), rng)
        turned = some @ axes
        if float((turned**2).sum()) >= KEPT * total:
            step = max(REACH * float(turned.std()) / 127, 1e-30)
            yield _sketch(record, metric, store, Basis(mean, axes, step, width, centred, factor), n_jobs)
        width *= 2 if 2 * width <= m else max(-(-m // PARTS) * PARTS, 2 * width) // width


def _axes(some: npt.NDArray[np.float32], width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Principal axes by subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4), turned at random."""
    m = some.shape[1]
    turn = np.linalg.qr(rng.normal(size=(width, width)).astype(np.float32))[0]
    if width == m:
        return turn
    axes = np.linalg.qr(rng.normal(size=(m, width)).astype(np.float32))[0]
    for _ in range(2):
        axes = np.linalg.qr(some.T @ (some @ axes))[0]
    return np.ascontiguousarray(axes @ turn)


def _sketch(record: Any, metric: Compiled, store: Store, basis: "Basis", n_jobs: int | None) -> Form:
    """Project all rows and round them to bytes."""
    with one_blas_thread:
        x = express_by(basis)(store, n_jobs)
    return sketch_form(record, metric, basis, x)


class Basis(NamedTuple):
    """What a sketch is made by: the rows' mean, the axes, a byte's step, and bytes.

    What products of rows less their mean lack is `centred`, a second statistic; or taken off the first, `factor` times.
    """

    mean: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float32]
    step: float
    width: int
    centred: bool
    factor: float = 0.0


def express_by(basis: Basis) -> Callable[..., Store]:
    """Make the function that projects rows and rounds them to bytes."""
    mean, axes, step, width, centred, factor = basis
    m = len(mean)
    shift, offset, narrow = (mean @ axes).astype(np.float32), mean @ mean / 2, mean.astype(np.float32)

    def express(rows: Store, jobs: int | None = 1) -> Store:
        n = len(rows.indptr) - 1
        matrix, codes, offsets = rows.data.reshape(n, m), np.zeros((n, width), np.int8), np.zeros(n)

        def project(begin: int, end: int) -> None:
            for a in range(begin * BLOCK_ROWS, min(end * BLOCK_ROWS, n), BLOCK_ROWS):  # the same for any threads
                part = matrix[a : a + BLOCK_ROWS]
                turned = part @ axes
                turned -= shift
                turned *= np.float32(1 / step)
                np.clip(np.rint(turned, out=turned), -127, 127, out=turned)
                codes[a : a + len(part), : axes.shape[1]] = turned
                if centred or factor:  # x·y = (x − μ)·(y − μ) + (x·μ − μ²/2) + (y·μ − μ²/2)
                    offsets[a : a + len(part)] = part @ narrow - offset

        map_blocks(project, -(-n // BLOCK_ROWS), jobs, 1)
        stats = rows.stats
        if factor:
            stats = stats - factor * offsets
        elif centred:
            stats = np.stack([stats[0], offsets])
        words = codes.reshape(-1).view(np.float32)
        return Store(np.arange(n + 1) * (width // 4), np.arange(width // 4, dtype=np.int32), words, stats)

    return express


def sketch_form(record: Any, metric: Compiled, basis: Basis, x: Store) -> Form:
    """Sketches as a form of the rows."""
    small = metric._replace(
        measure=traversal.inner_bytes(basis.width),
        settle=traversal.finish(record.finish, record.additive, record.factor, scaled=True, centred=basis.centred),
        refine=0,
        params=np.append(metric.params, basis.step * basis.step),
    )
    return Form(f"sketches of {basis.width} bytes", small, x, x, express=express_by(basis), basis=basis)


class Learnt(NamedTuple):
    """What making a graph of some rows told.

    How they were made small (`name`, `basis` and sketches `x`, where there are any); of how many rows that was learnt,
    or how many of these are left, and whether they are all that there are (`own`); how many candidates took part, and
    the recall that was measured.
    """

    k: int
    own: bool
    n_rows: int
    name: str
    basis: Basis | None
    x: Store | None
    edges: int
    blur: float
    width: int
    recall: float | None


def kept_small(form: Form, values_per_row: float) -> bool:
    """Whether sketches may be kept beside the rows: they take little, and are much work to make."""
    return form.basis is not None and SHARE * form.basis.width <= 4 * values_per_row


def form_again(
    learnt: Learnt,
    space: Space,
    metric: Compiled,
    store: Store,
    places: npt.NDArray[np.int64] | None,
    n_jobs: int | None,
) -> Form | None:
    """Make dense rows small as others were before; `places`: of each of them among those, -1 for none.

    None where no form was found, or it is not one of these rows.
    """
    if not learnt.edges or (learnt.basis is not None and len(learnt.basis.mean) != len(store.indices)):
        return None
    if learnt.basis is None:
        form = coded(space, metric, store)
        return replace(form, edges=learnt.edges, blur=learnt.blur) if form.name == learnt.name else None
    express = express_by(learnt.basis)
    with one_blas_thread:
        if learnt.x is None:
            x = express(store, n_jobs)
        elif places is None:
            x = learnt.x
        else:
            new = np.flatnonzero(places < 0)
            x = _spliced(learnt.x, places, new, express(take(store, new), n_jobs))
    form = sketch_form(space.bound.metric, metric, learnt.basis, x)
    return replace(form, edges=learnt.edges, blur=learnt.blur)


def _spliced(old: Store, places: npt.NDArray[np.int64], new: npt.NDArray[np.int64], others: Store) -> Store:
    """Rows that stand at `places` of the old ones, and the `new` ones."""
    n, width = len(places), len(old.indices)
    words, stats = old.data.reshape(-1, width)[places], np.ascontiguousarray(old.stats[:, places])
    words[new], stats[:, new] = others.data.reshape(-1, width), others.stats
    return Store(np.arange(n + 1) * width, old.indices, words.reshape(-1), stats)


class Truth(NamedTuple):
    """Sampled rows, their exact nearest neighbours, and the distance of the last of those."""

    rows: npt.NDArray[np.int64]
    k: int
    reach: npt.NDArray[np.float32]


def truth_of(
    engine: ExactEngine, k: int, seed: np.uint64, n_jobs: int | None, among: npt.NDArray[np.int64] | None = None
) -> Truth:
    """Exact neighbours of some rows, of all or `among` these."""
    n = engine.n_rows
    among = np.arange(n) if among is None else among
    rows = among[np.sort(np.random.default_rng(int(seed)).choice(len(among), min(SAMPLE, len(among)), replace=False))]
    k = min(k, n - 1)
    if k < 1:
        return Truth(rows, 0, np.zeros(len(rows), np.float32))
    far = engine.nearest_of(rows, k, n_jobs).distances[:, -1]
    return Truth(rows, k, (far + np.float32(1e-6) * np.abs(far)).astype(np.float32))


def nearest_by(
    form: Form, rows: npt.NDArray[np.int64], most: int, n: int, n_features: int, n_jobs: int | None
) -> npt.NDArray[np.int64]:
    """The nearest by a form of some rows, themselves among them: `most` and one."""
    m, own = len(rows), take(form.x, rows)
    ids, near = np.empty((m, most + 1), np.int64), np.empty((m, most + 1), np.float32)
    listing = list_rows(NO_FILTER, n, m)

    def search(a: int, b: int) -> None:
        ws = open_workspace(0, n_features, NO_FILTER)
        nearest_blockwise(form.metric, own, form.z, listing, ws, a, b, False, ids, near)

    map_blocks(search, m, n_jobs, -(-m // 2))
    return ids


def distances_to(
    exact: Compiled, y: Store, n_features: int, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """True distances of rows to listed ones, in the order of the lists; infinity for themselves."""
    m = len(rows)
    found = np.empty(ids.shape, np.float32)
    all_ = np.arange(max(len(y.indptr) - 1, m))
    for c in range(ids.shape[1]):  # one at a time, so that they stay in order
        room = np.empty((m, 1), np.int64)
        nearest_listed(exact, y, y, n_features, rows, ids[:, c : c + 1], all_, all_, 0, m, room, found[:, c : c + 1])
    found[ids == rows[:, None]] = np.inf
    return found


def recall_of(truth: Truth, distances: npt.NDArray[np.float32]) -> float:
    """Share of the nearest among rows at these true distances."""
    if truth.k < 1:
        return 1.0
    hits = np.minimum((distances <= truth.reach[:, None]).sum(axis=1), truth.k)
    return float(hits.mean()) / truth.k


def edges_for(form: Form, truth: Truth, exact: Compiled, y: Store, n_features: int, n_jobs: int | None) -> int:
    """How many of the nearest by a form hold the truly nearest of the sampled rows; 0 where they would be too many."""
    n = len(y.indptr) - 1
    most = min(int(MOST * truth.k) + SPARE, n - 1)
    if truth.k < 1:
        return 1
    ids = nearest_by(form, truth.rows, most, n, n_features, n_jobs)
    found = distances_to(exact, y, n_features, truth.rows, ids)
    hits = np.minimum(np.cumsum(found <= truth.reach[:, None], axis=1), truth.k).mean(axis=0) / truth.k
    enough = int(np.argmax(hits >= CLEAR))
    return enough if hits[enough] >= CLEAR else 0
