"""Neighbours of rows of a table: categories one-hot, numbers beside them, missing values left open.

python examples/one_hot_neighbors.py                       (made-up mushrooms)
python examples/one_hot_neighbors.py adult.csv.gz class    (any CSV; does the nearest row have the same class?)
"""

import sys

import numpy as np

import sparsenn as sn
from sparsenn.adapters import TableEncoder


def mushrooms(n: int = 400) -> tuple[dict[str, list], list]:
    generator = np.random.default_rng(0)
    kinds = [{"cap": "red", "gills": "white", "ring": "yes", "size": 12.0},
             {"cap": "brown", "gills": "brown", "ring": "no", "size": 8.0},
             {"cap": "brown", "gills": "white", "ring": "yes", "size": 5.0}]  # fmt: skip
    table: dict[str, list] = {name: [] for name in kinds[0]}
    labels = []
    for _ in range(n):
        kind = int(generator.integers(len(kinds)))
        for name, value in kinds[kind].items():
            other = kinds[int(generator.integers(len(kinds)))][name] if generator.random() < 0.15 else value
            other = other + float(generator.normal()) if name == "size" else other
            table[name].append(None if generator.random() < 0.03 else other)
        labels.append(kind)
    return table, labels


def main(file: str | None = None, label: str = "class") -> None:
    if file:
        import pandas as pd

        frame = pd.read_csv(file, skipinitialspace=True, na_values="?")
        labels = frame.pop(label).tolist()
        table = frame
    else:
        table, labels = mushrooms()
    encoder = TableEncoder()
    rows = encoder.fit_transform(table)
    print(f"{rows.shape[0]:,} rows became {rows.shape[1]} columns, compared by {encoder.metric}")
    index = sn.Index(encoder.metric, n_neighbors=1, method="exact").fit(rows)
    nearest = index.neighbor_graph.indices[:, 0]
    classes = np.array(labels, object)
    print(f"{np.mean(classes == classes[nearest]):.1%} of rows have the class of their nearest other row")
    row = {name: [values[0]] for name, values in dict(table).items()}
    print(f"\nfirst row: { {name: values[0] for name, values in row.items()} }")
    found = index.query(encoder.transform(row), k=3)
    for i, distance in zip(*(part[0] for part in found), strict=True):
        print(f"  {distance:.3f}  row {i}: { {name: values[int(i)] for name, values in dict(table).items()} }")


if __name__ == "__main__":
    main(*sys.argv[1:])
