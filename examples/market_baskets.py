"""Baskets that are alike: made-up shoppers with tastes, compared as sets and as amounts."""

import numpy as np
from scipy.sparse import csr_array

import sparsenn as sn

GOODS = ["bread", "butter", "milk", "coffee", "tea", "sugar", "apples", "pears"]
GOODS += ["rice", "beans", "pasta", "tomatoes", "cheese", "wine", "beer", "crisps"]
TASTES = {"breakfast": (0, 1, 2, 3, 5), "dinner": (8, 9, 10, 11, 12, 13), "party": (13, 14, 15), "fruit": (4, 6, 7)}

generator = np.random.default_rng(0)
baskets = np.zeros((5000, len(GOODS)))
for basket in baskets:
    for taste in generator.choice(list(TASTES), size=2, replace=False):
        wanted = [item for item in TASTES[taste] if generator.random() < 0.7]
        basket[wanted] += generator.integers(1, 4, size=len(wanted))
X = csr_array(baskets)


def show(basket: np.ndarray) -> str:
    return ", ".join(f"{int(basket[item])} {GOODS[item]}" for item in np.flatnonzero(basket))


mine = np.zeros((1, len(GOODS)))
mine[0, [13, 14, 15, 12]] = 2, 3, 1, 1
print(f"mine: {show(mine[0])}")

for metric, params in (("jaccard", None), ("weighted_jaccard", None), ("tversky", {"alpha": 1.0, "beta": 0.1})):
    index = sn.Index(metric=metric, metric_params=params).fit(X)
    indices, distances = index.query(mine, k=3)
    print(f"\n{metric}:")
    for i, distance in zip(indices[0], distances[0], strict=True):
        print(f"  {distance:.2f}  {show(baskets[i])}")

within = sn.Index(metric="jaccard").fit(X).query_radius(mine, radius=0.25)
print(f"\n{len(within.indices)} of {len(baskets)} baskets hold nearly the same goods (jaccard at most 0.25)")
