"""Optimal transport between rows as distributions: along the columns, around them, or at a given cost.

Every row is divided by its sum. All of these see the order of the columns, or a matrix indexed by it.
"""

import math

import numpy as np

from sparsenn._jit import kernel
from sparsenn.metrics.registry import REQUIRED, Metric, Parameter, check_cost, check_positive, register

# Masses of the exact solver are whole multiples of 2⁻⁵⁰: its sums and differences are then exact, so
# that it never looks for a place for a last 10⁻¹⁷, and ends.
GRID = 2.0**50
# The scalings of Sinkhorn's iteration move into the potentials beyond this.
HUGE = 1e50


@kernel
def total(values):
    """Σa in float64."""
    s = 0.0
    for t in range(values.shape[0]):
        s += np.float64(values[t])
    return s


def wasserstein_1d(p, ind1, val1, ind2, val2):
    """Σ_t |CDF_x(t) − CDF_y(t)|."""
    mass1, mass2 = total(val1), total(val2)
    if mass1 == 0.0 or mass2 == 0.0:
        return 0.0 if mass1 == mass2 else max(p[0] - 1.0, 0.0)
    below1 = below2 = work = 0.0
    previous = np.int64(0)
    i = j = 0
    while i < ind1.shape[0] or j < ind2.shape[0]:
        first = i < ind1.shape[0] and (j == ind2.shape[0] or ind1[i] <= ind2[j])
        second = j < ind2.shape[0] and (i == ind1.shape[0] or ind2[j] <= ind1[i])
        column = np.int64(ind1[i]) if first else np.int64(ind2[j])
        work += abs(below1 / mass1 - below2 / mass2) * (column - previous)
        previous = column
        if first:
            below1 += np.float64(val1[i])
            i += 1
        if second:
            below2 += np.float64(val2[j])
            j += 1
    return work


def circular_wasserstein(p, ind1, val1, ind2, val2):
    """min_c Σ_t |CDF_x(t) − CDF_y(t) − c|: c is a weighted median (Rabin, Delon and Gousseau 2011)."""
    mass1, mass2 = total(val1), total(val2)
    if mass1 == 0.0 or mass2 == 0.0:
        return 0.0 if mass1 == mass2 else math.floor(p[0] / 2.0)
    levels = np.empty(ind1.shape[0] + ind2.shape[0] + 1)
    widths = np.empty(levels.shape[0])
    below1 = below2 = 0.0
    n = i = j = 0
    previous = np.int64(0)
    while i < ind1.shape[0] or j < ind2.shape[0]:
        first = i < ind1.shape[0] and (j == ind2.shape[0] or ind1[i] <= ind2[j])
        second = j < ind2.shape[0] and (i == ind1.shape[0] or ind2[j] <= ind1[i])
        column = np.int64(ind1[i]) if first else np.int64(ind2[j])
        levels[n] = below1 / mass1 - below2 / mass2
        widths[n] = column - previous
        previous = column
        n += 1
        if first:
            below1 += np.float64(val1[i])
            i += 1
        if second:
            below2 += np.float64(val2[j])
            j += 1
    levels[n] = 0.0
    widths[n] = p[0] - previous
    return spread(levels[: n + 1], widths[: n + 1], p[0])


@kernel
def spread(levels, widths, whole):
    """min_c Σ widths · |levels − c|, where the widths sum to `whole`."""
    order = np.argsort(levels)
    passed = 0.0
    median = 0.0
    for t in range(order.shape[0]):
        passed += widths[order[t]]
        median = levels[order[t]]
        if 2.0 * passed >= whole:
            break
    work = 0.0
    for t in range(levels.shape[0]):
        work += widths[t] * abs(levels[t] - median)
    return work


@kernel
def support(indices, values):
    """Columns with mass, and their shares of it."""
    whole = total(values)
    columns = np.empty(values.shape[0], np.int64)
    mass = np.empty(values.shape[0])
    n = 0
    for t in range(values.shape[0]):
        if values[t] > 0.0:
            columns[n] = indices[t]
            mass[n] = np.float64(values[t]) / whole
            n += 1
    return columns[:n], mass[:n]


@kernel
def costs_between(p, columns1, columns2):
    """Rows and columns of the cost matrix (which starts at p[1]) that two rows need."""
    n = np.int64(p[0])
    cost = np.empty((columns1.shape[0], columns2.shape[0]))
    for i in range(columns1.shape[0]):
        for j in range(columns2.shape[0]):
            cost[i, j] = p[1 + columns1[i] * n + columns2[j]]
    return cost


@kernel
def to_grid(mass):
    """Round masses to multiples of 1/GRID that still sum to 1, in place; in units of 1/GRID."""
    most = 0
    rest = GRID
    for t in range(mass.shape[0]):
        mass[t] = math.floor(mass[t] * GRID + 0.5)
        rest -= mass[t]
        if mass[t] > mass[most]:
            most = t
    mass[most] += rest


@kernel
def start(cost, supply, demand, flow, u, v):
    """Set potentials u_i + v_j ≤ cost_ij, and send what can go where they are equal."""
    n, m = cost.shape
    v[:] = cost[0]
    for i in range(1, n):
        for j in range(m):
            v[j] = min(v[j], cost[i, j])
    for i in range(n):
        u[i] = math.inf
        for j in range(m):
            u[i] = min(u[i], cost[i, j] - v[j])
        for j in range(m):
            if cost[i, j] - v[j] == u[i] and demand[j] > 0.0:
                amount = min(supply[i], demand[j])
                flow[j, i] = amount
                supply[i] -= amount
                demand[j] -= amount


@kernel
def augment(source, sink, flow, parent, via, supply, demand):
    """Send what the path from `source` to `sink` can take; tell whether that emptied an arc of it."""
    amount = min(supply[source], demand[sink])
    j = sink
    while parent[j] != source:
        back = via[parent[j]]
        amount = min(amount, flow[back, parent[j]])
        j = back
    emptied = False
    j = sink
    while parent[j] != source:
        back = via[parent[j]]
        flow[j, parent[j]] += amount
        flow[back, parent[j]] -= amount
        emptied |= flow[back, parent[j]] == 0.0
        j = back
    flow[j, source] += amount
    supply[source] -= amount
    demand[sink] -= amount
    return emptied


@kernel
def ship(source, cost, supply, demand, flow, u, v, distance, parent, reach, via, open_sinks):
    """Send mass of `source` along shortest paths (Dijkstra on reduced costs), then mend the potentials.

    The search goes on behind a sink that is filled: its paths stay shortest, until one of their arcs
    that carried flow backwards is empty. `open_sinks` lists the sinks not yet settled, those
    behind are settled; via[i] is the sink that source i was reached from.
    """
    n, m = cost.shape
    via[:] = -1
    reach[source] = 0.0
    via[source] = m
    for j in range(m):
        distance[j] = cost[source, j] - u[source] - v[j]
        parent[j] = source
        open_sinks[j] = j
    n_open = m
    length = 0.0
    while True:
        best = 0
        for t in range(1, n_open):
            if distance[open_sinks[t]] < distance[open_sinks[best]]:
                best = t
        sink = open_sinks[best]
        n_open -= 1
        open_sinks[best] = open_sinks[n_open]
        open_sinks[n_open] = sink
        length = distance[sink]
        if demand[sink] > 0.0:
            emptied = augment(source, sink, flow, parent, via, supply, demand)
            if emptied or supply[source] == 0.0:
                break
        for i in range(n):
            if flow[sink, i] > 0.0 and via[i] < 0:
                via[i] = sink
                reach[i] = length
                for t in range(n_open):
                    j = open_sinks[t]
                    d = length + (cost[i, j] - u[i] - v[j])
                    if d < distance[j]:
                        distance[j] = d
                        parent[j] = i
    for t in range(n_open, m):
        v[open_sinks[t]] += distance[open_sinks[t]] - length
    for i in range(n):
        if via[i] >= 0:
            u[i] += length - reach[i]


@kernel
def solve(cost, supply, demand):
    """Least Σ flow · cost, by successive shortest paths with potentials; empties `supply` and `demand`."""
    n, m = cost.shape
    flow = np.zeros((m, n))
    u, v, distance, reach = np.empty(n), np.empty(m), np.empty(m), np.empty(n)
    parent, via, open_sinks = np.empty(m, np.int64), np.empty(n, np.int64), np.empty(m, np.int64)
    start(cost, supply, demand, flow, u, v)
    for i in range(n):
        while supply[i] > 0.0:
            ship(i, cost, supply, demand, flow, u, v, distance, parent, reach, via, open_sinks)
    work = 0.0
    for j in range(m):
        for i in range(n):
            work += flow[j, i] * cost[i, j]
    return work


def kantorovich(p, ind1, val1, ind2, val2):
    """min Σ plan · cost over plans whose margins are the two rows."""
    columns1, mass1 = support(ind1, val1)
    columns2, mass2 = support(ind2, val2)
    if mass1.shape[0] == 0 or mass2.shape[0] == 0:
        n = np.int64(p[0])
        return 0.0 if mass1.shape[0] == mass2.shape[0] else p[1 + n * n]
    cost = costs_between(p, columns1, columns2)
    if mass1.shape[0] == 1 or mass2.shape[0] == 1:  # there is one plan
        work = 0.0
        for i in range(mass1.shape[0]):
            for j in range(mass2.shape[0]):
                work += mass1[i] * mass2[j] * cost[i, j]
        return work
    to_grid(mass1)
    to_grid(mass2)
    return solve(cost, mass1, mass2) / GRID


@kernel
def soft_minima(cost, potentials, mass, regularization, out):
    """out_i = reg · (ln mass_i − ln Σ_j exp((potential_j − cost_ij) / reg))."""
    for i in range(cost.shape[0]):
        top = -math.inf
        for j in range(cost.shape[1]):
            top = max(top, potentials[j] - cost[i, j])
        s = 0.0
        for j in range(cost.shape[1]):
            s += math.exp((potentials[j] - cost[i, j] - top) / regularization)
        out[i] = regularization * (math.log(mass[i]) - math.log(s)) - top


@kernel
def gibbs(cost, f, g, regularization, plan, transposed):
    """exp((f_i + g_j − cost_ij) / reg), both ways round."""
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            plan[i, j] = math.exp((f[i] + g[j] - cost[i, j]) / regularization)
            transposed[j, i] = plan[i, j]


@kernel
def weighted_sum(weights, rows, out):
    """Σ_j weights_j · rows_j."""
    out[:] = 0.0
    for j in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            out[i] += weights[j] * rows[j, i]


@kernel
def rescale(mass, sums, factors):
    """factors = mass / sums; False, and nothing done, if that leaves the range of safe numbers."""
    for i in range(mass.shape[0]):
        if not (mass[i] < HUGE * sums[i] and sums[i] < HUGE * mass[i]):
            return False
    for i in range(mass.shape[0]):
        factors[i] = mass[i] / sums[i]
    return True


@kernel
def absorb(cost, f, g, u, v, mass1, mass2, regularization, plan, transposed):
    """Move the scalings into the potentials, and do one iteration there, in logarithms."""
    for j in range(v.shape[0]):
        g[j] += regularization * math.log(v[j])
    soft_minima(cost, g, mass1, regularization, f)
    soft_minima(cost.T, f, mass2, regularization, g)
    gibbs(cost, f, g, regularization, plan, transposed)
    u[:] = 1.0
    v[:] = 1.0


@kernel
def entropic_plan(cost, mass1, mass2, regularization, max_iter, tolerance):
    """Plan of Sinkhorn's iteration; its columns sum to `mass2`, its rows to `mass1` within the tolerance.

    Scalings of a kernel, which are moved into potentials before they overflow (Schmitzer 2019,
    Stabilized sparse scaling algorithms, section 3.1). It starts from potentials that leave a 1 in each
    row and each column of the kernel, however small the regularization.
    """
    n, m = cost.shape
    f, g, u, v = np.empty(n), np.empty(m), np.ones(n), np.ones(m)
    sums1, sums2, plan, transposed = np.empty(n), np.empty(m), np.empty((n, m)), np.empty((m, n))
    for i in range(n):
        f[i] = cost[i].min()
    for j in range(m):
        g[j] = (cost[:, j] - f).min()
    gibbs(cost, f, g, regularization, plan, transposed)
    for iteration in range(max_iter):
        weighted_sum(v, transposed, sums1)
        if iteration > 0:
            error = 0.0
            for i in range(n):
                error += abs(u[i] * sums1[i] - mass1[i])
            if error <= tolerance:
                break
        if rescale(mass1, sums1, u):
            weighted_sum(u, plan, sums2)
            if rescale(mass2, sums2, v):
                continue
        absorb(cost, f, g, u, v, mass1, mass2, regularization, plan, transposed)
    for i in range(n):
        for j in range(m):
            plan[i, j] *= u[i] * v[j]
    return plan


def sinkhorn(p, ind1, val1, ind2, val2):
    """Σ plan · cost of the plan that minimises Σ plan · cost + reg · Σ plan ln plan."""
    columns1, mass1 = support(ind1, val1)
    columns2, mass2 = support(ind2, val2)
    options = p[1 + np.int64(p[0]) * np.int64(p[0]) :]  # max(cost), regularization, max_iter, tolerance
    if mass1.shape[0] == 0 or mass2.shape[0] == 0:
        return 0.0 if mass1.shape[0] == mass2.shape[0] else options[0]
    cost = costs_between(p, columns1, columns2)
    plan = entropic_plan(cost, mass1, mass2, options[1], np.int64(options[2]), options[3])
    return (plan * cost).sum()


def _check_count(value):
    return check_positive(value) or (None if value == int(value) else "must be a whole number")


def _pack_cost(name):
    def pack(params, n_features):
        cost = np.asarray(params["cost"], np.float64)
        if cost.shape != (n_features, n_features):
            raise ValueError(
                f"{name}: cost is {cost.shape[0]}x{cost.shape[1]}, but the rows have {n_features} columns: "
                "it needs one row and one column for each"
            )
        rest = [float(value) for key, value in params.items() if key != "cost"]
        return np.concatenate([cost.ravel(), [cost.max(initial=0.0)], rest])

    return pack


def _unit(x, y, far):
    """Both rows divided by their sums, or the distance by rule where one is empty."""
    if x.any() and y.any():
        return x / x.sum(), y / y.sum(), None
    return None, None, (far if x.any() != y.any() else 0.0)


def _wasserstein_1d(x, y):
    from scipy.stats import wasserstein_distance

    p, q, by_rule = _unit(x, y, len(x) - 1.0)
    columns = np.arange(len(x))
    return float(wasserstein_distance(columns, columns, p, q)) if by_rule is None else by_rule


def _circular_wasserstein(x, y):
    p, q, by_rule = _unit(x, y, float(len(x) // 2))
    if by_rule is not None:
        return by_rule
    return min(float(np.abs(np.cumsum(np.roll(p - q, r))).sum()) for r in range(len(x)))


def _kantorovich(x, y, cost):
    from scipy.optimize import linprog

    cost = np.asarray(cost, np.float64)
    p, q, by_rule = _unit(x, y, float(cost.max()))
    if by_rule is not None:
        return by_rule
    n = len(x)
    margins = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
    solved = linprog(cost.ravel(), A_eq=margins[1:], b_eq=np.concatenate([p, q])[1:], method="highs")
    return float(solved.fun)


def _sinkhorn(x, y, cost, regularization=1.0, max_iter=None, tolerance=None):
    from scipy.special import logsumexp

    cost = np.asarray(cost, np.float64)
    p, q, by_rule = _unit(x, y, float(cost.max()))
    if by_rule is not None:
        return by_rule
    scaled = -cost[np.ix_(p > 0, q > 0)] / regularization
    p, q = p[p > 0], q[q > 0]
    g = np.zeros(len(q))
    for _ in range(100_000):
        f = np.log(p) - logsumexp(scaled + g, axis=1)
        before, g = g, np.log(q) - logsumexp(scaled + f[:, None], axis=0)
        if np.abs(g - before).max() < 1e-13:
            break
    return float((np.exp(scaled + f[:, None] + g) * -scaled).sum() * regularization)


_COST = Parameter(REQUIRED, check_cost, "what moving mass costs: a square matrix, from column i of x to column j of y")

register(
    Metric(
        name="wasserstein_1d",
        formula="Σ_t |CDF_x(t) − CDF_y(t)|, of x/Σx and y/Σy along the columns",
        aliases=("wasserstein-1d", "kantorovich_1d", "kantorovich-1d"),
        source="as scipy.stats.wasserstein_distance with columns one apart",
        pair=wasserstein_1d,
        positional=True,
        signed=False,
        reference=_wasserstein_1d,
    ),
    Metric(
        name="circular_wasserstein",
        formula="min_c Σ_t |CDF_x(t) − CDF_y(t) − c|, of x/Σx and y/Σy around the columns",
        aliases=("circular_kantorovich",),
        source="Rabin, Delon and Gousseau 2011, Transportation distances on the circle",
        pair=circular_wasserstein,
        positional=True,
        signed=False,
        reference=_circular_wasserstein,
    ),
    Metric(
        name="kantorovich",
        formula="min Σ plan · cost, over plans with margins x/Σx and y/Σy",
        aliases=("wasserstein",),
        source="exact, by successive shortest paths (Edmonds and Karp 1972)",
        parameters={"cost": _COST},
        pair=kantorovich,
        pack=_pack_cost("kantorovich"),
        positional=True,
        signed=False,
        symmetric=False,
        reference=_kantorovich,
    ),
    Metric(
        name="sinkhorn",
        formula="Σ plan · cost of the plan that minimises Σ plan · cost + regularization · Σ plan ln plan",
        source="Cuturi 2013, Sinkhorn distances; not debiased",
        parameters={
            "cost": _COST,
            "regularization": Parameter(1.0, check_positive, "weight of the entropy, above 0"),
            "max_iter": Parameter(1000, _check_count, "iterations at most"),
            "tolerance": Parameter(1e-9, check_positive, "sum of the margin's errors to stop at"),
        },
        pair=sinkhorn,
        pack=_pack_cost("sinkhorn"),
        positional=True,
        signed=False,
        symmetric=False,
        reference=_sinkhorn,
    ),
)
