"""Joins, near-duplicates and linking, beside what people use now.

python benchmarks/bench_join.py [--only sets,texts,exact,dedup,linking,hard] [--quick] [--write]

Sets: all pairs at a Jaccard similarity, against SetSimilaritySearch (exact) and the MinHash LSH of rensa and datasketch
(128 permutations, every candidate verified). What is timed starts from each system's own input: CSR rows, lists of
integers, lists of strings. A system that would take too long (by its candidates, or by a part of the rows) is stopped.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import common
import datasets
import numpy as np
import scipy.sparse as sp
from common import Line

import sparsenn as sn
from sparsenn.adapters import shingles

PARTS = ["sets", "texts", "exact", "dedup", "linking", "hard"]
THRESHOLDS = (0.5, 0.7, 0.9)
PATIENCE = 100  # seconds a peer may take
PERMUTATIONS = 128
RECORDS = {
    "dblp_acm": ("dblp_a", "acm_b", ["title", "authors"], 0.975),
    "abt_buy": ("abt_a", "buy_b", ["name", "description"], 0.90),
    "walmart_amazon": ("walmart_a", "amazon_b", ["title", "modelno", "brand"], 0.70),
    "amazon_google": ("amazon_a", "gp_b", ["title"], 0.58),
}

PEER = """
import sys, time, numpy as np, scipy.sparse as sp
path, system, threshold, permutations = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
X = sp.load_npz(path).tocsr()
n = X.shape[0]
sets = [X.indices[X.indptr[i]:X.indptr[i + 1]].tolist() for i in range(n)]
frozen = [frozenset(s) for s in sets]
def verified(i, j):
    shared = len(frozen[i] & frozen[j])
    return shared >= threshold * (len(frozen[i]) + len(frozen[j]) - shared) - 1e-9
if system == "SetSimilaritySearch":
    from SetSimilaritySearch import all_pairs
    full = [s for s in sets if s]
    start = time.perf_counter()
    found = sum(1 for _ in all_pairs(full, similarity_func_name="jaccard", similarity_threshold=threshold))
elif system == "rensa":
    import rensa
    texts = [list(map(str, s)) for s in sets]
    start = time.perf_counter()
    index = rensa.RMinHashLSH(threshold=threshold, num_perm=permutations, num_bands=BANDS)
    found = 0
    for i in range(n):
        if texts[i]:
            h = rensa.RMinHash(num_perm=permutations, seed=42)
            h.update(texts[i])
            found += sum(verified(i, j) for j in index.query(h))
            index.insert(i, h)
else:
    import datasketch
    items = [[str(v).encode() for v in s] for s in sets]
    start = time.perf_counter()
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=permutations)
    found = 0
    for i in range(n):
        if items[i]:
            h = datasketch.MinHash(num_perm=permutations, seed=1)
            h.update_batch(items[i])
            found += sum(verified(i, j) for j in index.query(h))
            index.insert(i, h)
print(time.perf_counter() - start, found)
"""


def sets_of(name, quick):
    """All rows of a set of sets, as they are."""
    source = datasets.real_file("sets", datasets.SETS[name])
    rows = sp.load_npz(source).tocsr() if source else datasets._generate(name)
    rows = rows.astype(np.float32)
    return (name if source else f"{name} (generated)"), rows[:: max(rows.shape[0] // 3000, 1)] if quick else rows


def texts_of(quick):
    """Reviews, and what to call them."""
    source = datasets.real_file("text", "imdb_100k.parquet")
    if source is None:
        rng = np.random.default_rng(0)
        words = np.array([f"w{i}" for i in range(20_000)])
        drawn = rng.zipf(1.3, (20_000, 100)) % len(words)
        return "texts (generated)", [" ".join(words[row]) for row in drawn]
    import pandas as pd

    texts = pd.read_parquet(source, columns=["text"])["text"].tolist()
    return "imdb_100k", texts[:3000] if quick else texts


def run_peer(path, system, threshold):
    """Seconds and pairs of a peer in a process of its own; None where it takes too long."""
    # rensa is told the bands that datasketch chooses for the threshold, so that both are tuned alike
    from datasketch.lsh import _optimal_param

    bands = next(b for b in range(_optimal_param(threshold, PERMUTATIONS, 0.5, 0.5)[0], 0, -1) if PERMUTATIONS % b == 0)
    command = [sys.executable, "-c", PEER.replace("BANDS", str(bands)), str(path), system, str(threshold)]
    try:
        done = subprocess.run(
            [*command, str(PERMUTATIONS)], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    except subprocess.TimeoutExpired:
        return None
    seconds, found = done.stdout.split()
    return float(seconds), int(found)


def compare(label, rows):
    """Ours and the peers at each threshold. The slow peers run side by side, a core for each."""
    path = common.cache_folder() / f"join-{label.split()[0]}.npz"
    sp.save_npz(path, rows.astype(np.uint8), compressed=False)
    lines = []
    present = np.flatnonzero(np.diff(rows.indptr) > 0)
    for threshold in THRESHOLDS:
        timing = common.in_turns(
            {"sparsenn": lambda t=threshold: sn.similarity_join(rows, threshold=t, n_jobs=2)}, rounds=3
        )["sparsenn"]
        truth = int(np.isin(timing.result.i, present).sum())  # peers leave empty rows out
        times = {"rensa": run_peer(path, "rensa", threshold)} if common.peer("rensa") else {}
        slow = [system for system in ("SetSimilaritySearch", "datasketch") if common.peer(system)]
        with ThreadPoolExecutor(2) as pool:
            times |= zip(slow, pool.map(lambda system, t=threshold: run_peer(path, system, t), slow), strict=True)
        for system, found in times.items():
            at_least = 10 if system == "SetSimilaritySearch" else 1
            task = f"jaccard ≥ {threshold}, {truth:,} pairs"
            if found is None:
                note = f"stopped after {PATIENCE} s: at least"
                lines.append(Line(task, timing.best, "s", system, PATIENCE, at_least=at_least, note=note))
            else:
                note = f"recall 1.0, theirs {found[1] / max(truth, 1):.3f}" if truth else "no pairs"
                lines.append(Line(task, timing.best, "s", system, found[0], at_least=at_least, note=note))
    return lines


def similarity_matrix(rows, metric):
    """All similarities of a sample, by products of matrices."""
    ones = rows.copy()
    ones.data = np.ones_like(ones.data)
    size = np.diff(rows.indptr).astype(float)
    shared = (ones @ ones.T).toarray().astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric == "jaccard":
            return shared / (size[:, None] + size - shared)
        if metric == "dice":
            return 2 * shared / (size[:, None] + size)
        if metric == "overlap":
            return shared / np.minimum(size[:, None], size)
        wide = rows.astype(np.float64)
        if metric == "cosine":
            norms = np.sqrt(np.asarray(wide.multiply(wide).sum(axis=1))).ravel()
            return (wide @ wide.T).toarray() / (norms[:, None] * norms)
        columns, total = wide.tocsc(), np.asarray(wide.sum(axis=1)).ravel()
        both = np.empty((wide.shape[0],) * 2)
        for i in range(wide.shape[0]):
            row = wide[[i]]
            both[i] = np.minimum(columns[:, row.indices].toarray(), row.data).sum(axis=1)
        return both / (total[:, None] + total - both)


def exactness(quick):
    """Joins of samples equal to a naive one, for every data set, metric and threshold."""
    samples = {}
    for name in datasets.SETS:
        label, rows = sets_of(name, quick)
        samples[label] = rows[np.sort(np.random.default_rng(1).permutation(rows.shape[0])[:1500])]
    label, texts = texts_of(True)
    samples[f"{label} (3-grams)"] = sp.csr_matrix(shingles(texts[:1500]))
    for name in datasets.TEXTS:
        data = datasets.load(name)
        samples[f"{data.label} (TF-IDF)"] = data.rows[:1200]
    table = []
    for label, rows in samples.items():
        rows = rows[np.diff(rows.indptr) > 0].astype(np.float32)
        for metric in ("jaccard", "dice", "overlap", "cosine", "weighted_jaccard"):
            S = similarity_matrix(rows, metric)
            wrong = pairs = 0
            for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
                found = sn.similarity_join(rows, metric=metric, threshold=threshold)
                want = np.argwhere(np.triu(threshold - 1e-9 <= S, 1))
                got = np.stack([found.i, found.j], axis=1)
                near = np.abs(S - threshold) < (1e-6 if metric in ("cosine", "weighted_jaccard") else 0)
                wrong += len(({*map(tuple, got)} ^ {*map(tuple, want)}) - {*map(tuple, np.argwhere(near))})
                pairs += len(want)
            table.append([label, metric, rows.shape[0], pairs, wrong])
    return table


def dedup(quick):
    """From texts to a report."""
    label, texts = texts_of(quick)
    folder = common.cache_folder()
    import pandas as pd

    pd.DataFrame({"text": texts}).to_parquet(folder / "dedup.parquet")
    command = [sys.executable, "-m", "sparsenn.cli", "dedup", str(folder / "dedup.parquet"), "--n-jobs", "2"]
    command += ["-o", str(folder / "clean.parquet"), "--report", str(folder / "report.html")]
    seconds = []
    for _ in range(3):  # the first compiles, where nothing is in the cache
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=common.child_environment())
        seconds.append(time.perf_counter() - start)
    found = sn.near_duplicates(texts, 0.8)
    repeats = len(texts) - len(set(texts))
    print(done.stdout)
    note = f"{repeats:,} exact repeats, {found.n_exact:,} equal by words, {len(texts) - len(found.keep):,} removed"
    return label, [Line("sparsenn dedup, texts to report", min(seconds), "s", at_most=60, note=note)]


def records(name, files):
    import pandas as pd

    folder = datasets.real_file("neardup", name)
    return [pd.read_csv(folder / f"{file}.csv.gz", dtype=str, keep_default_na=False) for file in files]


def f1(links, truth):
    right = len(truth & set(zip(links.i.tolist(), links.j.tolist(), strict=True)))
    return 2 * right / (len(links) + len(truth))


def linking():
    """F1 of linking with a threshold from a third of the truth."""
    import pandas as pd

    lines = []
    if datasets.real_file("neardup") is None:
        return lines
    for name, (a, b, on, least) in RECORDS.items():
        A, B = records(name, (a, b))
        truth = pd.read_csv(datasets.real_file("neardup", name, "matches.csv")).to_numpy()
        labelled = np.random.default_rng(0).permutation(len(A))[
            : len(A) // 3
        ]  # a third of the records, and their truth
        known = truth[np.isin(truth[:, 0], labelled)].tolist()
        known += [(i, -1) for i in np.setdiff1d(labelled, truth[:, 0]).tolist()]
        links = sn.link(A, B, on=on, matches=known)
        score = f1(links, set(map(tuple, truth.tolist())))
        lines.append(
            Line(f"{name}, one to one: F1", score, "", note=f"{verdict(score, least)}; threshold {links.threshold:.3f}")
        )
    (A,) = records("cora", ("cora",))
    truth = np.sort(pd.read_csv(datasets.real_file("neardup", "cora", "matches.csv.gz")).to_numpy(), axis=1)
    known = truth[np.random.default_rng(0).permutation(len(truth))[: len(truth) // 3]]
    links = sn.link(A, on=[c for c in A if c != "Entity Id"], matches=known)
    score = f1(links, set(map(tuple, truth.tolist())))
    lines.append(
        Line("cora, within: pair F1", score, "", note=f"{verdict(score, 0.85)}; threshold {links.threshold:.3f}")
    )
    bible = pd.read_parquet(datasets.real_file("neardup", "bible_kjv_asv.parquet"))
    links = sn.link(bible["kjv"].tolist(), bible["asv"].tolist(), k=1, threshold=0.0, one_to_one=False)
    recall = float((links.i == links.j).sum() / len(bible))
    lines.append(Line("kjv to asv: recall@1", recall, "", note=verdict(recall, 0.97)))
    return lines


def verdict(score, least):
    return f"target ≥ {least:g}: {'met' if score >= least else 'MISSED'}"


def hard():
    """Chains, and input that would make too many pairs."""
    n, width = 10_000, 10
    columns = (np.arange(n)[:, None] + np.arange(width)).ravel()
    chain = sp.csr_matrix((np.ones(n * width, np.float32), columns, np.arange(0, n * width + 1, width)))
    table = [
        [f"a chain of {n:,} rows, {rule}: rows kept", str(len(sn.near_duplicates(chain, 0.8, rule=rule).keep))]
        for rule in ("connected", "representative")
    ]
    tries = {"0": (np.eye(4), 0.0), "1": (np.eye(4), 1.0), "1.5": (np.eye(4), 1.5), "NaN": (np.eye(4), np.nan)}
    tries |= {"0.8, empty rows": (np.zeros((4, 3)), 0.8), "0.8, 100,000 equal rows": (np.ones((100_000, 1)), 0.8)}
    for name, (rows, threshold) in tries.items():
        start = time.perf_counter()
        try:
            outcome = f"{len(sn.similarity_join(rows, threshold=threshold).i):,} pairs"
        except ValueError as error:
            outcome = f"ValueError: {error}"
        table.append([f"threshold {name}", f"{outcome} ({time.perf_counter() - start:.2f} s)"])
    return table


def main():
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    about = (
        "2 threads; the best of several runs. rensa (Rust) and datasketch use 128 permutations, bands as datasketch "
        "chooses them, and verify each candidate in Python; they leave empty rows out, as does SetSimilaritySearch. "
        "datasketch and SetSimilaritySearch run at the same time, on a core each."
    )
    if "sets" in options.only:
        for name in datasets.SETS:
            label, rows = sets_of(name, options.quick)
            report.section(f"Joins: {label}", compare(label, rows), about)
    if "texts" in options.only:
        label, texts = texts_of(options.quick)
        start = time.perf_counter()
        rows = sp.csr_matrix(shingles(texts, n_jobs=2))
        seconds = time.perf_counter() - start
        more = f" {len(texts):,} texts became {rows.nnz:,} word 3-grams in {seconds:.1f} s (not in the times)."
        report.section(f"Joins: {label}, word 3-grams", compare(label, rows), about + more)
    if "exact" in options.only:
        table = exactness(options.quick)
        report.table("Joins are exact", ["data", "metric", "rows", "pairs at 6 thresholds", "wrong"], table,
                     "Samples against products of matrices, thresholds .3, .5, .7, .8, .9, .95.")  # fmt: skip
    if "dedup" in options.only:
        label, lines = dedup(options.quick)
        report.section(f"Near-duplicates: {label}", lines, "The whole command, 2 threads, from a Parquet file.")
    if "linking" in options.only:
        report.section(
            "Linking records", linking(), "Threshold from a third of the records, with those that have no match."
        )
    if "hard" in options.only:
        report.table("Joins: chains and bad input", ["what", "outcome"], hard())


if __name__ == "__main__":
    main()
