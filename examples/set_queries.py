"""Which baskets hold what I have? Sets under jaccard, containment and overlap.

python examples/set_queries.py              (a few made-up baskets)
python examples/set_queries.py FILE.npz     (a sparse matrix saved by scipy, a row a basket)
"""

import sys
import time

import scipy.sparse as sp

import sparsenn as sn
from sparsenn.adapters import SetEncoder

BASKETS = [["bread", "butter", "milk"], ["bread", "cheese", "wine"], ["beer", "crisps"], ["milk", "tea", "sugar"],
           ["bread", "butter", "milk", "tea", "sugar"], ["wine", "cheese"], ["beer"]]  # fmt: skip


def main(file: str | None = None) -> None:
    encoder = SetEncoder(spare=8)
    rows = SetEncoder().fit_transform(sp.load_npz(file)) if file else encoder.fit_transform(BASKETS)
    query = rows[0] if file else encoder.transform([["bread", "milk", "honey"]])
    what = "basket 0" if file else "bread, milk and honey"
    for metric, about in (("jaccard", "alike as a whole"), ("containment", "hold the most of it"),
                          ("overlap", "the smaller of both is in the other")):  # fmt: skip
        start = time.perf_counter()
        index = sn.Index(metric).fit(rows)
        indices, distances = index.query(query, k=3)
        print(f"\n{metric} ({about}), {what}:")
        for i, distance in zip(indices[0], distances[0], strict=True):
            items = rows[int(i)].indices.tolist() if file else BASKETS[int(i)]
            print(f"  {distance:.2f}  basket {i}: {', '.join(map(str, items[:8]))}")
    print(f"\n{rows.shape[0]:,} baskets, the last metric indexed and asked in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
