"""Ask for a recall and see what it costs: made-up documents, whole and in short passages, and dense points."""

import time

import numpy as np
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfTransformer

import sparsenn as sn

N_DOCUMENTS, N_POINTS, N_NEW, N_WORDS, N_TOPICS = 20_000, 50_000, 500, 20_000, 200
generator = np.random.default_rng(0)
topics = np.stack([generator.permutation(N_WORDS)[:2000] for _ in range(N_TOPICS)])


def zipfian(size: int, shape: tuple[int, int]) -> np.ndarray:
    """Ranks from 0 to size - 1, rank r about as often as 1 / r."""
    return (size ** generator.random(shape)).astype(np.int64) - 1


def write(n: int, length: int) -> csr_array:
    """Counts of the words of n documents, each of one topic: half of its words are the topic's, half anybody's."""
    own = np.take_along_axis(topics[generator.integers(N_TOPICS, size=n)], zipfian(2000, (n, length)), axis=1)
    words = np.where(generator.random((n, length)) < 0.5, own, zipfian(N_WORDS, (n, length)))
    rows = np.repeat(np.arange(n), length)
    return csr_array((np.ones(words.size), (rows, words.ravel())), shape=(n, N_WORDS))


def show(index: sn.Index, Q: object) -> None:  # noqa: N803
    """What the index found on its sample, and what comes of it for these queries."""
    index.query(Q)  # the first query prepares and calibrates, if that has not been done
    calibration = index.calibration_
    print("  on the sample    recall  predicted")
    for setting in calibration.settings:
        print(f"    {setting.way:16}{setting.recall:.3f}  {setting.cost / 1000:6.1f} µs")
    print(f"    {'exact':16}1.000  {calibration.exact_cost / 1000:6.1f} µs")
    print("  asked for        recall   measured")
    true = index.query(Q, recall=1).distances[:, -1:]
    for recall in (0.8, 0.9, 0.95, 0.99, 1):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            found = index.query(Q, recall=recall)
            seconds.append(time.perf_counter() - start)
        hits = (found.distances <= true + 1e-6).mean()
        print(f"    {recall:<16}{hits:.3f}  {min(seconds) / len(true) * 1e6:6.1f} µs")


weigh = TfidfTransformer(sublinear_tf=True)
documents = weigh.fit_transform(write(N_DOCUMENTS, 80))
index = sn.Index(metric="cosine", n_jobs=1).fit(documents)
print(f"{N_DOCUMENTS:,} documents, asked with new ones:")
show(index, weigh.transform(write(N_NEW, 80)))

passages = weigh.transform(write(2 * N_NEW, 20))
index.calibrate(passages[:N_NEW])
print("\nThe same, asked with short passages, after calibrate() with others of their kind:")
show(index, passages[N_NEW:])

spread = generator.normal(size=(12, 100))  # points near a surface of 12 dimensions
points = np.tanh(generator.normal(size=(N_POINTS + N_NEW, 12)) @ spread)
index = sn.Index(metric="euclidean", method="graph", n_jobs=1).fit(points[:N_POINTS])
print(f"\n{N_POINTS:,} dense points, by a walk along their graph:")
show(index, points[N_POINTS:])
