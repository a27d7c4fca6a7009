"""From a metric's scalar formulas to compiled loops over rows, each behind an address.

This is the only place that walks the values of rows. Everything above calls a loop by its address,
so the searches are compiled once for all metrics and all containers, and a further metric costs the
compilation of its own few lines. The loops take pointers:

=============  ====================================================================================
``measure``    one row (its slices, and scattered into the workspace `w`) against a list of rows
``finish``     statistics and shared sums of a block -> surrogate distances
``refine``     two rows side by side, for pairs too near for statistics
``accumulate`` one posting list into the accumulator; ``harvest``: the last one, and the sums back out;
               ``tally``: a packed list, in float32
``sums``       Σ s(p, a) over one row; ``transform`` rewrites one row; ``correct``, ``impact`` one number
=============  ====================================================================================

Row ids and columns go as unsigned integers: with signed ones numba tests each index for being
negative, which costs 40 % of a posting (1.06 against 0.63 ns).
"""

import numpy as np
from numba import carray
from numba.core import types

from sparsenn._jit import callback, kernel, maker, prefetch
from sparsenn.metrics.registry import Metric

F64, F32 = types.CPointer(types.float64), types.CPointer(types.float32)
I64, U32 = types.CPointer(types.int64), types.CPointer(types.uint32)
n64, f64 = types.int64, types.float64

MEASURE = types.void(F64, n64, U32, F32, n64, F32, I64, I64, U32, F32, U32, n64, F64)
FINISH = types.void(F64, n64, F64, F64, n64, F64, F64, n64)
REFINE = f64(F64, n64, U32, F32, n64, U32, F32, n64, f64, f64, f64, f64)
ACCUMULATE = types.void(F64, n64, f64, U32, F32, n64, F64)
SUMS = f64(F64, n64, F32, n64)
TRANSFORM = types.void(F64, n64, U32, F32, n64)
CORRECT = f64(F64, n64, f64)
IMPACT = f64(F64, n64, f64, f64, f64)
TALLY = types.void(F64, n64, f64, U32, n64, F32, n64, f64)
HARVEST = n64(F64, n64, f64, U32, F32, n64, F64, f64, U32, F64, n64)

ONE, TWO = np.uint64(1), np.uint64(2)
AHEAD = 6  # rows of look-ahead for the prefetch: 4 to 6 were best (355 -> 110 ns a cold row)
AHEAD_BYTES = 2560  # the same for rows of bytes
AHEAD_VALUES = 1024  # the same for dense rows, in values: at least 2 rows, at most AHEAD


def _key(what, *parts):
    """Name a loop after the formulas in it; formulas are module-level functions of distinct names."""
    return ".".join(
        [what, *(f"{f.__module__.rpartition('.')[2]}_{f.__name__}" if callable(f) else str(f) for f in parts)]
    )


@kernel
def _plain_column(indices, t, shift):
    return indices[t]


@kernel
def _plain_value(indices, data, t, mask, step, low):
    return np.float64(data[t])


@kernel
def _packed_column(words, t, shift):
    return words[t] >> shift


@kernel
def _packed_value(words, data, t, mask, step, low):
    return np.float32(np.int32(words[t] & mask)) * step + low


def gather(step, packed=False):
    """Σ step over the columns of each listed row, the first row scattered into `w`.

    Of packed rows (a column and a value in one 32-bit word) the last four parameters say how to read a word.
    """
    formula = kernel(step)
    column, value = (_packed_column, _packed_value) if packed else (_plain_column, _plain_value)
    wide = np.float32 if packed else np.float64

    def loop(p, n_p, x_indices, x_values, n_x, w, starts, stops, indices, data, rows, m, out):
        p_ = carray(p, (n_p,))
        w_ = carray(w, (1,))
        starts_, stops_ = carray(starts, (1,)), carray(stops, (1,))
        indices_, data_ = carray(indices, (1,)), carray(data, (1,))
        rows_, out_ = carray(rows, (m,)), carray(out, (m,))
        shift, mask = np.uint32(0), np.uint32(0)
        scale, low = np.float32(0), np.float32(0)
        if packed:
            shift, mask = np.uint32(p_[n_p - 4]), np.uint32(p_[n_p - 3])
            scale, low = np.float32(p_[n_p - 2]), np.float32(p_[n_p - 1])
        for i in range(m):
            if i + 2 * AHEAD < m:
                prefetch(starts_, np.int64(rows_[i + 2 * AHEAD]))
            if i + AHEAD < m:
                ahead = np.uint64(rows_[i + AHEAD])
                for z in range(starts_[ahead], stops_[ahead], 16):
                    prefetch(indices_, z)
                    if not packed:
                        prefetch(data_, z)
            row = np.uint64(rows_[i])
            t, end = np.uint64(starts_[row]), np.uint64(stops_[row])
            shared, other = wide(0), wide(0)  # two sums, for the next addition need not wait for the last: 77 -> 58 ns
            while t + TWO <= end:
                a, b = column(indices_, t, shift), column(indices_, t + ONE, shift)
                shared += formula(p_, wide(w_[a]), value(indices_, data_, t, mask, scale, low))
                other += formula(p_, wide(w_[b]), value(indices_, data_, t + ONE, mask, scale, low))
                t += TWO
            if t < end:
                a = column(indices_, t, shift)
                shared += formula(p_, wide(w_[a]), value(indices_, data_, t, mask, scale, low))
            out_[i] = shared + other

    return callback(loop, MEASURE, _key("gather", step, "packed" if packed else "plain"))


def inner_bytes(width, signed=True):
    """Inner products of rows of `width` bytes, exact while they stay below 2^31.

    The width is a constant, so that LLVM may leave no loop over it.
    """
    kind = np.int8 if signed else np.uint8
    distance = min(max(AHEAD_BYTES // width, 2), AHEAD)

    def loop(p, n_p, x_indices, x_values, n_x, w, starts, stops, indices, data, rows, m, out):
        x, data_ = carray(x_values, (width,), kind), carray(data, (1,), kind)
        rows_, out_ = carray(rows, (m,)), carray(out, (m,))
        for i in range(m):
            if i + distance < m:
                ahead = np.int64(rows_[i + distance]) * width
                for z in range(ahead, ahead + width, 64):
                    prefetch(data_, z)
            begin = np.uint64(rows_[i]) * np.uint64(width)
            total = np.int32(0)
            for t in range(np.uint64(width)):  # unsigned, as all indices here
                # numba widens to 64 bits, and LLVM's multiply-and-add of 16 bits is lost, unless each step is narrowed
                total = np.int32(total + np.int32(np.int32(x[t]) * np.int32(data_[begin + t])))
            out_[i] = total

    arguments = list(MEASURE.args)
    arguments[3] = arguments[9] = types.voidptr
    return callback(loop, types.void(*arguments), f"inner_bytes.{width}.{kind.__name__}")


@kernel
def _stored(code, scale, low):
    return code


@kernel
def _scaled(code, scale, low):
    return np.float32(code) * scale + low


# How dense rows are kept: the type of a value, and what it stands for. Sums of compact rows are taken in float32.
CODES = {"float32": (types.float32, _stored), "uint8": (types.uint8, _scaled), "uint16": (types.uint16, _scaled)}


def sweep(term, code=None):
    """Σ term over all columns of dense rows; of compact ones, the last two parameters are scale and offset."""
    formula = kernel(term)
    kind, decode = CODES[code or "float32"]
    wide = np.float64 if code is None else np.float32
    line = 512 // kind.bitwidth

    def loop(p, n_p, x_indices, x_values, n_x, w, starts, stops, indices, data, rows, m, out):
        p_ = carray(p, (n_p,))
        x = carray(x_values, (n_x,))
        data_ = carray(data, (1,))
        rows_, out_ = carray(rows, (m,)), carray(out, (m,))
        scale, low = np.float32(p_[n_p - 2]), np.float32(p_[n_p - 1])
        distance = min(max(AHEAD_VALUES // n_x, 2), AHEAD)
        for i in range(m):
            if i + distance < m:
                ahead = np.int64(rows_[i + distance]) * n_x
                for z in range(ahead, ahead + n_x, line):
                    prefetch(data_, z)
            begin = np.uint64(rows_[i]) * np.uint64(n_x)
            total = wide(0)
            for t in range(np.uint64(n_x)):
                total += formula(p_, wide(x[t]), wide(decode(data_[begin + t], scale, low)))
            out_[i] = total

    signature = MEASURE
    if code is not None:
        arguments = list(MEASURE.args)
        arguments[9] = types.CPointer(kind)
        signature = types.void(*arguments)
    return callback(loop, signature, _key("sweep", term, code or "exact"), reorder=True)


def pairs(pair, key, dense, keep=True):
    """``pair`` of the first row with each listed row; dense rows share one array of column numbers."""
    formula = maker(pair) if keep else pair

    def loop(p, n_p, x_indices, x_values, n_x, w, starts, stops, indices, data, rows, m, out):
        p_ = carray(p, (n_p,))
        x_indices_, x_values_ = carray(x_indices, (n_x,)), carray(x_values, (n_x,))
        starts_, stops_ = carray(starts, (1,)), carray(stops, (1,))
        rows_, out_ = carray(rows, (m,)), carray(out, (m,))
        for i in range(m):
            row = np.uint64(rows_[i])
            a, b = starts_[row], stops_[row]
            y_indices = carray(indices, (b,))[(0 if dense else a) : (b - a if dense else b)]
            y_values = carray(data, (b,))[a:b]
            out_[i] = formula(p_, x_indices_, x_values_, y_indices, y_values)

    return callback(loop, MEASURE, f"pairs.{key}.{'dense' if dense else 'csr'}", keep=keep)


def finish(formula, additive, factor=1.0, scaled=False, centred=False):
    """Surrogates of a block of rows; `additive` formulas want the total instead of the shared sum.

    For inner products of bytes: the last parameter is the scale of `scaled` ones, and the second statistics are what
    the products of `centred` rows lack.
    """
    inner = kernel(formula)

    def loop(p, n_p, x, y, stride, shared, out, n):
        p_ = carray(p, (n_p,))
        x_ = carray(x, (2,))
        first = (x_[0], x_[1])
        y_, shared_, out_ = carray(y, (stride + n,)), carray(shared, (n,)), carray(out, (n,))
        for i in range(n):
            second = (y_[i], y_[stride + i])
            s = shared_[i]
            if scaled:
                s *= p_[n_p - 1]
            if centred:
                s += first[1] + second[1]
            if additive:
                s = first[0] + second[0] - factor * s
            out_[i] = inner(p_, first, second, s)

    return callback(loop, FINISH, _key("finish", formula, additive, factor, scaled, centred))


def refine(term, formula):
    """The pairwise form: Σ term over the union of two sorted rows."""
    inner, finished = kernel(term), kernel(formula)

    def loop(p, n_p, x_indices, x_values, n_x, y_indices, y_values, n_y, x0, x1, y0, y1):
        p_ = carray(p, (n_p,))
        a, b = carray(x_indices, (n_x,)), carray(y_indices, (n_y,))
        u, v = carray(x_values, (n_x,)), carray(y_values, (n_y,))
        i = 0
        j = 0
        total = 0.0
        while i < n_x or j < n_y:
            if j == n_y or (i < n_x and a[i] < b[j]):
                total += inner(p_, np.float64(u[i]), 0.0)
                i += 1
            elif i == n_x or b[j] < a[i]:
                total += inner(p_, 0.0, np.float64(v[j]))
                j += 1
            else:
                total += inner(p_, np.float64(u[i]), np.float64(v[j]))
                i += 1
                j += 1
        return finished(p_, (x0, x1), (y0, y1), total)

    return callback(loop, REFINE, _key("refine", term, formula))


def accumulate(step, presence):
    """Add step(v, value) of a posting list to the accumulator. Set metrics never load the values."""
    formula = kernel(step)

    def loop(p, n_p, v, ids, values, n, accumulator):
        p_ = carray(p, (n_p,))
        ids_, values_, sums_ = carray(ids, (n,)), carray(values, (n,)), carray(accumulator, (1,))
        for s in range(n):
            sums_[ids_[s]] += formula(p_, v, 1.0 if presence else np.float64(values_[s]))

    return callback(loop, ACCUMULATE, _key("accumulate", step, presence))


def tally(step, presence):
    """The same in float32, of a list of words: a row above, the number of its value's step below."""
    formula = kernel(step)

    def loop(p, n_p, v, words, n, accumulator, shift, scale):
        p_ = carray(p, (n_p,))
        words_, sums_ = carray(words, (n,)), carray(accumulator, (1,))
        bits, mask = np.uint32(shift), np.uint32((1 << shift) - 1)
        for s in range(np.uint64(n)):
            word = words_[s]
            value = 1.0 if presence else np.float64(np.int32(word & mask)) * scale
            sums_[word >> bits] += np.float32(formula(p_, v, value))

    return callback(loop, TALLY, _key("tally", step, presence))


def harvest(step, presence):
    """Add the last posting list of a query: clear the sums it completes, and list the rows of those above `least`."""
    formula = kernel(step)

    def loop(p, n_p, v, ids, values, n, accumulator, least, rows, shared, m):
        p_ = carray(p, (n_p,))
        ids_, values_, sums_ = carray(ids, (n,)), carray(values, (n,)), carray(accumulator, (1,))
        rows_, shared_ = carray(rows, (1,)), carray(shared, (1,))
        found = np.uint64(m)
        for s in range(np.uint64(n)):
            row = ids_[s]
            total = sums_[row] + formula(p_, v, 1.0 if presence else np.float64(values_[s]))
            sums_[row] = 0.0
            if total > least:  # few are: two stores less for the others (2.4 -> 1.9 ns of glosses' postings)
                rows_[found] = row
                shared_[found] = total
                found += np.uint64(1)
        return np.int64(found)

    return callback(loop, HARVEST, _key("harvest", step, presence))


def sums(formula, squares=False):
    """Σ formula over the values of a row, or Σ formula²."""
    inner = kernel(formula)

    def loop(p, n_p, values, n):
        p_, values_ = carray(p, (n_p,)), carray(values, (n,))
        total = 0.0
        for t in range(n):
            s = inner(p_, np.float64(values_[t]))
            total += s * s if squares else s
        return total

    return callback(loop, SUMS, _key("sums", formula, squares), reorder=True)


def transform(formula):
    """Rewrite the values of one row."""
    inner = maker(formula)

    def loop(p, n_p, indices, values, n):
        inner(carray(p, (n_p,)), carray(indices, (n,)), carray(values, (n,)))

    return callback(loop, TRANSFORM, _key("transform", formula))


def correct(formula):
    """One number: surrogate to distance, or back."""
    inner = kernel(formula)

    def loop(p, n_p, s):
        return inner(carray(p, (n_p,)), s)

    return callback(loop, CORRECT, _key("correct", formula))


def impact(formula):
    """One number: how near a shared value brings a row."""
    inner = kernel(formula)

    def loop(p, n_p, b, y0, y1):
        return inner(carray(p, (n_p,)), b, (y0, y1))

    return callback(loop, IMPACT, _key("impact", formula))


def shared_step(metric: Metric):
    """Return the metric's step, or the one that follows from its term: f(a, 0) + f(0, b) − f(a, b)."""
    if metric.step is not None or metric.term is None:
        return metric.step
    term = kernel(metric.term)

    def step(p, a, b):
        return term(p, a, 0.0) + term(p, 0.0, b) - term(p, a, b) if (a != 0.0 and b != 0.0) else 0.0

    step.__module__ = metric.term.__module__
    step.__name__ = step.__qualname__ = f"shared_{metric.term.__name__}"
    return step


def user_pair(function, n_params, dense):
    """Give a user's compiled function the arguments of a `pair` formula."""
    if n_params > 4:
        raise ValueError(f"a metric function takes at most 4 parameters besides its rows, got {n_params}")

    def two_rows(p, ind1, val1, ind2, val2):
        if n_params == 0:
            return float(function(val1, val2))
        if n_params == 1:
            return float(function(val1, val2, p[1]))
        if n_params == 2:
            return float(function(val1, val2, p[1], p[2]))
        if n_params == 3:
            return float(function(val1, val2, p[1], p[2], p[3]))
        return float(function(val1, val2, p[1], p[2], p[3], p[4]))

    def four_arrays(p, columns1, val1, columns2, val2):
        ind1, ind2 = columns1.view(np.int32), columns2.view(np.int32)  # signed, so that differences do not wrap
        if n_params == 0:
            return float(function(ind1, val1, ind2, val2))
        if n_params == 1:
            return float(function(ind1, val1, ind2, val2, p[1]))
        if n_params == 2:
            return float(function(ind1, val1, ind2, val2, p[1], p[2]))
        if n_params == 3:
            return float(function(ind1, val1, ind2, val2, p[1], p[2], p[3]))
        return float(function(ind1, val1, ind2, val2, p[1], p[2], p[3], p[4]))

    return maker(two_rows if dense else four_arrays)
