"""Compare distributions: topics of documents by hellinger, histograms of measurements by wasserstein_1d.

python examples/topic_histograms.py             (made-up shares and samples)
python examples/topic_histograms.py FILE.npz    (an array X of topic shares, a row a document)
"""

import sys

import numpy as np

import sparsenn as sn
from sparsenn.adapters import HistogramEncoder, MixtureEncoder


def main(file: str | None = None) -> None:
    generator = np.random.default_rng(0)
    shares = np.load(file)["X"] if file else generator.dirichlet(np.full(8, 0.3), 600)
    encoder = MixtureEncoder()
    rows = encoder.fit_transform(shares)
    for metric in ("hellinger", "jensen_shannon"):
        index = sn.Index(metric, method="exact").fit(rows)
        indices, distances = index.query(rows[:1], k=4)
        print(f"{metric}: nearest to document 0: " + ", ".join(
            f"{i} ({d:.3f})" for i, d in zip(indices[0], distances[0], strict=True)))  # fmt: skip

    # Two days of measurements are alike where their histograms are, bin by bin along the axis.
    days = [generator.normal(mean, 1.0, 200) for mean in np.linspace(-5, 5, 50)]
    histograms = HistogramEncoder(bins=40)
    index = histograms.index(days)
    indices, distances = index.query(histograms.transform([days[20]]), k=4)
    print("\nwasserstein_1d: days like day 20: " + ", ".join(
        f"{i} ({d:.2f} bins)" for i, d in zip(indices[0], distances[0], strict=True)))  # fmt: skip
    blind = histograms.index(days, metric="hellinger")
    far = blind.query(histograms.transform([days[0]]), k=50)
    same = int((far.distances[0] > 0.99).sum())
    print(f"hellinger, for which bins have no order, finds {same} of 50 days equally far from day 0")
    print(
        "wasserstein_1d tells them apart:", np.unique(index.query(histograms.transform([days[0]]), k=50).distances).size
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
