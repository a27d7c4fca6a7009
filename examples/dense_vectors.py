"""Dense vectors: an embedding of texts by scikit-learn, searched exactly and approximately.

python examples/dense_vectors.py             (digits of scikit-learn)
python examples/dense_vectors.py FILE.npz    (an array X, a row a vector)
"""

import sys

import numpy as np

import sparsenn as sn
from sparsenn.evaluation import recall_at_k


def main(file: str | None = None) -> None:
    if file:
        vectors = np.load(file)["X"].astype(np.float32)
    else:
        from sklearn.datasets import load_digits

        vectors = load_digits().data.astype(np.float32)
    queries, rows = vectors[:100], vectors[100:]
    for metric in ("cosine", "euclidean"):
        index = sn.Index(metric).fit(rows)
        exact = index.query(queries, k=10, recall=1)
        score = recall_at_k(index.query(queries, k=10, recall=0.95), exact)
        print(f"{metric}: {len(rows):,} rows of {rows.shape[1]} columns; asked for recall .95, found {score}")
    graph = sn.Index("euclidean", n_neighbors=10, method="graph").fit(rows)
    print(f"neighbour graph: {graph.plan_.seeds}, recall {graph.estimate_recall().recall:.3f}")

    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = ["a cat on a mat", "a dog and a cat", "stocks fell on monday", "markets and stocks rose", "the cat sat"]
    pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    index = sn.TextIndex(vectorizer=pipeline).fit(texts)
    print("texts by an embedding:", [(hit.text, round(hit.score, 2)) for hit in index.search("my cat", k=2)])


if __name__ == "__main__":
    main(*sys.argv[1:])
