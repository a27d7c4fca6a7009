"""Optimal transport between rows as distributions: along the columns, around them, or at a given cost.

Every row is divided by its sum. All of these see the order of the columns, or a matrix indexed by it.
"""

import math
from collections import namedtuple

import numpy as np

from sparsenn._jit import maker
from sparsenn.metrics.embeddings import binned_cdf, centred_cdf, entropic_energy, transport_energy
from sparsenn.metrics.registry import REQUIRED, Metric, Parameter, check_cost, check_positive, register

# Masses of the exact solver are whole multiples of 2⁻⁵⁰: its sums and differences are then exact, so
# that no last 10⁻¹⁷ is left without a place, and a flow of 0 is one.
GRID = 2.0**50
# An arc must save more than this share of the largest cost.
ROUNDING = 1e-13
# Sinkhorn's iteration starts from exact transport if the regularization is under this share of the largest cost.
EXACT_BELOW = 0.05
# The scalings of Sinkhorn's iteration move into the potentials beyond this.
HUGE = 1e50


@maker
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
    """Σ_t |CDF_x(t) − CDF_y(t) − c|, the least over c, which is a weighted median (Rabin, Delon and Gousseau 2011)."""
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


@maker
def spread(levels, widths, whole):
    """Σ widths · |levels − c|, the least over c, where the widths sum to `whole`."""
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


@maker
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


@maker
def costs_between(p, columns1, columns2):
    """Rows and columns of the cost matrix (which starts at p[1]) that two rows need."""
    n = np.int64(p[0])
    cost = np.empty((columns1.shape[0], columns2.shape[0]))
    for i in range(columns1.shape[0]):
        for j in range(columns2.shape[0]):
            cost[i, j] = p[1 + columns1[i] * n + columns2[j]]
    return cost


# The basis of the network simplex: a tree over sources (0 to n − 1), sinks (n to n + m − 1) and a root.
# `flow` is that of a node's arc to its parent; arcs of sources point up, arcs of sinks down, so that no
# direction need be kept. A source below the root sends it nothing. `first`, `after` and `before` link
# the children of a node. The cost of an arc of the tree is potential(sink) − potential(source).
Tree = namedtuple("Tree", "n up first after before flow potential")


@maker
def to_grid(mass, out):
    """Round masses to multiples of 1/GRID, above 0, that still sum to 1; in units of 1/GRID."""
    most = 0
    rest = GRID
    for t in range(mass.shape[0]):
        out[t] = max(math.floor(mass[t] * GRID + 0.5), 1.0)
        rest -= out[t]
        if out[t] > out[most]:
            most = t
    out[most] += rest


@maker
def hang(tree, node, parent, flow):
    """Make `node` the first child of `parent`."""
    tree.up[node] = parent
    tree.flow[node] = flow
    tree.before[node] = -1
    tree.after[node] = tree.first[parent]
    if tree.first[parent] >= 0:
        tree.before[tree.first[parent]] = node
    tree.first[parent] = node


@maker
def unhang(tree, node):
    """Take `node` from its parent."""
    if tree.before[node] >= 0:
        tree.after[tree.before[node]] = tree.after[node]
    else:
        tree.first[tree.up[node]] = tree.after[node]
    if tree.after[node] >= 0:
        tree.before[tree.after[node]] = tree.before[node]


@maker
def shift(tree, top, change):
    """Add `change` to the potentials of `top` and all below."""
    node = top
    while True:
        tree.potential[node] += change
        if tree.first[node] >= 0:
            node = tree.first[node]
            continue
        while node != top and tree.after[node] < 0:
            node = tree.up[node]
        if node == top:
            return
        node = tree.after[node]


@maker
def nearest_sink(cost, i, potentials):
    """Sink j of the least cost_ij − potentials_j."""
    best = math.inf
    sink = 0
    for j in range(cost.shape[1]):
        d = cost[i, j] - potentials[j]
        if d < best:
            best = d
            sink = j
    return sink


@maker
def fill(tree, source, sink, rest, order, done):
    """Send what source and sink have left; the one with nothing left goes below the other.

    Where both are done, the source goes below the root. Then arcs without flow point to the root:
    the tree is strongly feasible (Cunningham 1976), and stays so by the choice of the leaving arc.
    """
    amount = min(rest[source], rest[sink])
    rest[source] -= amount
    rest[sink] -= amount
    child, parent = (sink, source) if rest[sink] == 0.0 else (source, sink)
    hang(tree, child, parent, amount)
    order[done] = child
    done += 1
    if rest[parent] == 0.0:
        hang(tree, source, rest.shape[0], 0.0)
        order[done] = source
        done += 1
    return done


@maker
def first_tree(tree, cost, rest, order):
    """Plant a tree: each source sends to the sink of the least regret, then to the nearest ones left."""
    n, m = cost.shape
    regret = np.full(m, math.inf)
    for i in range(n):
        for j in range(m):
            regret[j] = min(regret[j], cost[i, j])
    done = 0
    for i in range(n):
        j = nearest_sink(cost, i, regret)
        if rest[n + j] > 0.0:
            done = fill(tree, i, n + j, rest, order, done)
    for j in range(m):
        if rest[n + j] == 0.0:
            regret[j] = -math.inf
    for i in range(n):
        while rest[i] > 0.0:
            j = nearest_sink(cost, i, regret)
            done = fill(tree, i, n + j, rest, order, done)
            if rest[n + j] == 0.0:
                regret[j] = -math.inf


@maker
def price(tree, cost, order):
    """Set the potentials that the arcs of a new tree ask for, parents first."""
    n, m = cost.shape
    for k in range(n + m - 1, -1, -1):
        node = order[k]
        parent = tree.up[node]
        if parent == n + m:
            tree.potential[node] = 0.0
        elif node < n:
            tree.potential[node] = tree.potential[parent] - cost[node, parent - n]
        else:
            tree.potential[node] = tree.potential[parent] + cost[parent, node - n]


@maker
def meeting(up, source, sink, seen, stamp):
    """First node above both."""
    while source >= 0:
        seen[source] = stamp
        source = up[source]
    while seen[sink] != stamp:
        sink = up[sink]
    return sink


@maker
def pivot(tree, source, sink, reduced, seen, stamp):
    """Bring the arc from source to sink into the tree; of the arcs that lose flow, the last to block leaves."""
    n, up, flow = tree.n, tree.up, tree.flow
    join = meeting(up, source, sink, seen, stamp)
    amount = math.inf
    leaving = -1
    node = source
    while node != join:
        if node < n and flow[node] < amount:
            amount, leaving = flow[node], node
        node = up[node]
    below, above, change = source, sink, -reduced
    node = sink
    while node != join:
        if node >= n and flow[node] <= amount:
            amount, leaving = flow[node], node
            below, above, change = sink, source, reduced
        node = up[node]
    for end, losing in ((source, True), (sink, False)):
        node = end
        while node != join:
            flow[node] += -amount if (node < n) == losing else amount
            node = up[node]
    # Turn round the path from the new arc down to the leaving one.
    node, parent, carried = below, above, amount
    while True:
        next_node, next_carried = up[node], flow[node]
        unhang(tree, node)
        hang(tree, node, parent, carried)
        if node == leaving:
            break
        node, parent, carried = next_node, node, next_carried
    shift(tree, below, change)


@maker
def optimal_tree(cost, mass1, mass2):
    """Tree of the cheapest flows between two distributions, by the network simplex method."""
    n, m = cost.shape
    rest = np.empty(n + m)
    to_grid(mass1, rest[:n])
    to_grid(mass2, rest[n:])
    links = np.full((6, n + m + 1), -1)
    tree = Tree(n, links[0], links[1], links[2], links[3], np.empty(n + m + 1), np.empty(n + m + 1))
    order, seen = links[4], links[5]
    first_tree(tree, cost, rest, order)
    price(tree, cost, order)
    most = 0.0
    for i in range(n):
        for j in range(m):
            most = max(most, cost[i, j])
    u, v = tree.potential[:n], tree.potential[n : n + m]
    n_pivots = idle = i = 0
    while idle < n:  # until no source in turn has an arc that would save something
        j = nearest_sink(cost, i, v)
        reduced = cost[i, j] - v[j] + u[i]
        if reduced < -ROUNDING * most:
            pivot(tree, i, n + j, reduced, seen, n_pivots)
            n_pivots += 1
            idle = 0
        else:
            idle += 1
        i = i + 1 if i + 1 < n else 0
    return tree


def kantorovich(p, ind1, val1, ind2, val2):
    """Σ plan · cost, the least over plans whose margins are the two rows."""
    columns1, mass1 = support(ind1, val1)
    columns2, mass2 = support(ind2, val2)
    if mass1.shape[0] == 0 or mass2.shape[0] == 0:
        n = np.int64(p[0])
        return 0.0 if mass1.shape[0] == mass2.shape[0] else p[1 + n * n]
    cost = costs_between(p, columns1, columns2)
    tree = optimal_tree(cost, mass1, mass2)
    n, root = tree.n, cost.shape[0] + cost.shape[1]
    work = 0.0
    for node in range(root):
        parent = tree.up[node]
        if parent < root:
            work += tree.flow[node] * (cost[node, parent - n] if node < n else cost[parent, node - n])
    return work / GRID


@maker
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


@maker
def gibbs(cost, f, g, regularization, plan, transposed):
    """exp((f_i + g_j − cost_ij) / reg), both ways round."""
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            plan[i, j] = math.exp((f[i] + g[j] - cost[i, j]) / regularization)
            transposed[j, i] = plan[i, j]


@maker
def weighted_sum(weights, rows, out):
    """Σ_j weights_j · rows_j."""
    out[:] = 0.0
    for j in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            out[i] += weights[j] * rows[j, i]


@maker
def rescale(mass, sums, factors):
    """Set factors to mass / sums; False, and nothing done, if that leaves the range of safe numbers."""
    for i in range(mass.shape[0]):
        if not (mass[i] < HUGE * sums[i] and sums[i] < HUGE * mass[i]):
            return False
    for i in range(mass.shape[0]):
        factors[i] = mass[i] / sums[i]
    return True


@maker
def absorb(cost, f, g, u, v, mass1, mass2, regularization, plan, transposed):
    """Move the scalings into the potentials, and do one iteration there, in logarithms."""
    for j in range(v.shape[0]):
        g[j] += regularization * math.log(v[j])
    soft_minima(cost, g, mass1, regularization, f)
    soft_minima(cost.T, f, mass2, regularization, g)
    gibbs(cost, f, g, regularization, plan, transposed)
    u[:] = 1.0
    v[:] = 1.0


@maker
def cut(plan, mass, missing):
    """Scale the rows of a plan down to their mass; note what they then miss."""
    for i in range(plan.shape[0]):
        s = 0.0
        for j in range(plan.shape[1]):
            s += plan[i, j]
        missing[i] = max(mass[i] - s, 0.0)
        if s > mass[i]:
            for j in range(plan.shape[1]):
                plan[i, j] *= mass[i] / s


@maker
def mend(plan, mass1, mass2):
    """Give a plan its margins: cut what is too much, spread what is missing (Altschuler et al. 2017, algorithm 2)."""
    missing1, missing2 = np.empty(mass1.shape[0]), np.empty(mass2.shape[0])
    cut(plan, mass1, missing1)
    cut(plan.T, mass2, missing2)
    cut(plan, mass1, missing1)
    missing = total(missing1)
    if missing > 0.0:
        for i in range(plan.shape[0]):
            for j in range(plan.shape[1]):
                plan[i, j] += missing1[i] / missing * missing2[j]


@maker
def first_potentials(cost, mass1, mass2, regularization, f, g):
    """Choose potentials that leave a 1 in each row and each column of the kernel.

    Where the entropy weighs little, these are the prices of exact transport, next to which Sinkhorn's
    iteration ends; from elsewhere it would need in the order of max(cost) / regularization rounds.
    """
    n, m = cost.shape
    most = 0.0
    f[:] = math.inf
    g[:] = math.inf
    for i in range(n):
        for j in range(m):
            f[i] = min(f[i], cost[i, j])
            most = max(most, cost[i, j])
    for i in range(n):
        for j in range(m):
            g[j] = min(g[j], cost[i, j] - f[i])
    if regularization < EXACT_BELOW * most:
        tree = optimal_tree(cost, mass1, mass2)
        for i in range(n):
            f[i] = -tree.potential[i]
        for j in range(m):
            g[j] = tree.potential[n + j]


@maker
def entropic_plan(cost, mass1, mass2, regularization, max_iter, tolerance):
    """Plan of Sinkhorn's iteration: margins within the tolerance, or mended if `max_iter` came first.

    Scalings of a kernel, moved into the potentials before they overflow (Schmitzer 2019, Stabilized
    sparse scaling algorithms, section 3.1).
    """
    n, m = cost.shape
    f, g, u, v = np.empty(n), np.empty(m), np.ones(n), np.ones(m)
    sums1, sums2, plan, transposed = np.empty(n), np.empty(m), np.empty((n, m)), np.empty((m, n))
    first_potentials(cost, mass1, mass2, regularization, f, g)
    gibbs(cost, f, g, regularization, plan, transposed)
    converged = False
    for iteration in range(max_iter + 1):
        weighted_sum(v, transposed, sums1)
        if iteration > 0:  # the columns are exact, the rows not yet
            error = 0.0
            for i in range(n):
                error += abs(u[i] * sums1[i] - mass1[i])
            converged = error <= tolerance
        if converged or iteration == max_iter:
            break
        if rescale(mass1, sums1, u):
            weighted_sum(u, plan, sums2)
            if rescale(mass2, sums2, v):
                continue
        absorb(cost, f, g, u, v, mass1, mass2, regularization, plan, transposed)
    for i in range(n):
        for j in range(m):
            plan[i, j] *= u[i] * v[j]
    if not converged:
        mend(plan, mass1, mass2)
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
    work = 0.0
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            work += plan[i, j] * cost[i, j]
    return work


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
        pair_cost=lambda values: 15.0 * values,
        proxy=binned_cdf,
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
        pair_cost=lambda values: 95.0 * values,
        proxy=centred_cdf,
        reference=_circular_wasserstein,
    ),
    Metric(
        name="kantorovich",
        formula="min Σ plan · cost, over plans with margins x/Σx and y/Σy",
        aliases=("wasserstein",),
        source="exact: network simplex with strongly feasible trees (Cunningham 1976)",
        parameters={"cost": _COST},
        pair=kantorovich,
        reflexive=False,
        pack=_pack_cost("kantorovich"),
        positional=True,
        signed=False,
        symmetric=False,
        pair_cost=lambda values: 70.0 * values * values,
        proxy=transport_energy,
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
        reflexive=False,
        pack=_pack_cost("sinkhorn"),
        positional=True,
        signed=False,
        symmetric=False,
        pair_cost=lambda values: 50.0 * values * values,
        proxy=entropic_energy,
        reference=_sinkhorn,
    ),
)
