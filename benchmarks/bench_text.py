"""Texts to answers: BM25 and TF-IDF beside bm25s and scikit-learn, vectorising, explanations, a stream.

python benchmarks/bench_text.py [--only retrieval,vectorise,explain,stream] [--quick] [--write]

Retrieval: both sides tokenise alike (lower case, words of two or more characters, no stop words) and use Lucene's
BM25 with k1 = 1.5 and b = 0.75, k = 10, one thread. From texts to arrays of ids and scores: `TextIndex.query` beside
`bm25s.tokenize` and `retrieve` with its numba backend, all queries at once and one at a time. Memory of the stream is
the peak of a process above what it had loaded and compiled, beside what its finished index holds.
"""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import datasets as data
import numpy as np
from common import Line, in_turns, peer

PARTS = ["retrieval", "vectorise", "explain", "stream"]
COLLECTIONS = ("scifact", "npl", "cranfield")
K, ALONE = 10, 100  # hits; queries asked one at a time
SENTENCES = 1_000_000
RESULTS, TEXTS = 1000, 3000  # explained; indexed for it


def read_collection(name, quick):
    """Ids and texts of documents and queries, and judgements; generated where there is no real one."""
    from sparsenn.evaluation import read_qrels

    corpus, asked, judged = (
        data.real_file("retrieval", name, f"{part}") for part in ("corpus.jsonl.gz", "queries.jsonl.gz", "qrels.tsv")
    )
    if not (corpus and asked and judged):
        return generated_collection(name)
    documents, queries = (
        [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] for path in (corpus, asked)
    )
    qrels = {q: {d: 1.0 for d, gain in gains.items() if gain > 0} for q, gains in read_qrels(judged).items()}
    texts = [f"{document.get('title') or ''} {document['text']}" for document in documents]
    keys, questions = [q["_id"] for q in queries], [q["text"] for q in queries]
    if quick:
        keys, questions = keys[:50], questions[:50]
        qrels = {q: gains for q, gains in qrels.items() if q in set(keys)}
    return name, [document["_id"] for document in documents], texts, keys, questions, qrels


def generated_collection(name):
    """Zipfian words; a query is a few words of the one document that is relevant."""
    texts = generated_texts(1000, 60, seed=len(name))
    rng = np.random.default_rng(1)
    chosen = rng.integers(0, len(texts), 50)
    queries = [" ".join(rng.choice(texts[i].split(), 5)) for i in chosen]
    keys, ids = [f"q{i}" for i in range(50)], [f"d{i}" for i in range(len(texts))]
    return f"{name} (generated)", ids, texts, keys, queries, {
        key: {f"d{i}": 1.0} for key, i in zip(keys, chosen, strict=True)
    }  # fmt: skip


def generated_texts(n, length, seed=0):
    """Texts of Zipfian words."""
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{int(i)}" for i in rng.zipf(1.2, length) % 50_000) for _ in range(n)]


def bench_collection(name, quick):
    """NDCG and time per query of one collection."""
    import sparsenn as sn
    from sparsenn.evaluation import ndcg

    label, ids, texts, keys, queries, qrels = read_collection(name, quick)
    lines = []
    index = sn.TextIndex("bm25", n_jobs=1).fit(texts, ids=ids)

    def judge(lists):
        return ndcg(dict(zip(keys, lists, strict=True)), qrels, K)

    ours = judge([[hit.id for hit in hits] for hits in index.search(queries, k=K)])
    bm25s = peer("bm25s")
    if bm25s:
        lines += compare_bm25s(bm25s, index, texts, ids, queries, ours, judge)
    lines.append(compare_tfidf(texts, ids, queries, judge))
    return f"{label}: {len(texts):,} documents, {len(queries):,} queries", lines


def compare_bm25s(bm25s, index, texts, ids, queries, ours, judge):
    """Lines of BM25."""

    def tokens(some):
        return bm25s.tokenize(some, stopwords=None, show_progress=False, return_ids=False)

    def theirs_of(some):
        return engine.retrieve(tokens(some), k=K, n_threads=1, show_progress=False)

    engine = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numba")
    engine.index(tokens(texts), show_progress=False)
    found = judge([[ids[i] for i in row] for row in theirs_of(queries)[0]])
    worse = max(found.value - ours.value, 0.0)
    note = f"95 % interval {ours.low:.3f} to {ours.high:.3f}"
    lines = [
        Line("BM25, nDCG@10", ours.value, "", "bm25s", found.value, note=note),
        Line("BM25, nDCG@10 below bm25s", worse, "", at_most=0.002),
    ]
    some = queries[:: max(len(queries) // ALONE, 1)]
    tasks = {
        "BM25, a query of all at once": (
            len(queries), lambda: index.query(queries, k=K), lambda: theirs_of(queries)),
        "BM25, a query by itself": (
            len(some), lambda: [index.query(q, k=K) for q in some], lambda: [theirs_of([q]) for q in some]),
    }  # fmt: skip
    for task, (n, mine, other) in tasks.items():
        times = in_turns({"ours": mine, "theirs": other})
        ratio = [times[side].best / n * 1e6 for side in ("ours", "theirs")]
        lines.append(
            Line(task, ratio[0], "µs", "bm25s, numba", ratio[1], at_most=1.0, note="from text to ids and scores")
        )
    as_hits = in_turns({
        "ours": lambda: index.search(queries, k=K),
        "theirs": lambda: engine.retrieve(tokens(queries), corpus=texts, k=K, n_threads=1, show_progress=False),
    })  # fmt: skip
    ratio = [as_hits[side].best / len(queries) * 1e6 for side in ("ours", "theirs")]
    lines.append(Line("BM25, a query of all at once, as hits", *ratio[:1], "µs", "bm25s, corpus=", ratio[1],
                      note="ids, texts and scores as Python objects"))  # fmt: skip
    return lines


def compare_tfidf(texts, ids, queries, judge):
    """Line of TF-IDF cosine against scikit-learn's."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    import sparsenn as sn

    ours = judge([[hit.id for hit in hits] for hits in sn.TextIndex("tfidf").fit(texts, ids=ids).search(queries, k=K)])
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    rows = vectorizer.fit_transform(texts)
    lists = []
    for vector in vectorizer.transform(queries):
        scores = (rows @ vector.T).toarray().ravel()
        order = np.argsort(-scores, kind="stable")[:K]
        lists.append([ids[i] for i in order if scores[i] > 0])
    theirs = judge(lists)
    return Line("TF-IDF, nDCG@10", ours.value, "", "scikit-learn, all cosines", theirs.value,
                note="equal" if abs(ours.value - theirs.value) < 1e-4 else "not equal")  # fmt: skip


def long_texts(quick):
    """imdb's reviews, or generated ones."""
    path = data.real_file("text", "imdb_100k.parquet")
    if not path:
        return "imdb (generated)", generated_texts(2000 if quick else 100_000, 230)
    import pandas as pd

    texts = pd.read_parquet(path, columns=["text"])["text"].tolist()
    return "imdb", texts[:: 25 if quick else 1]


def bench_vectorise(report):
    """Vectorising, and vectorising plus fitting, beside scikit-learn's vectoriser."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    import sparsenn as sn
    from sparsenn.adapters import TextVectorizer, Tfidf

    label, texts = long_texts(report.quick)
    plain = Tfidf(sublinear_tf=False)
    systems = {
        "sklearn": lambda: TfidfVectorizer(dtype=np.float32).fit_transform(texts),
        "1": lambda: TextVectorizer(plain, n_jobs=1).fit_transform(texts),
        "2": lambda: TextVectorizer(plain, n_jobs=2).fit_transform(texts),
        "index": lambda: sn.TextIndex(plain, n_jobs=2).fit(texts),
    }
    times = in_turns(systems, rounds=2)
    ours, theirs = times["1"].result, times["sklearn"].result
    theirs.sort_indices()
    same = ours.shape == theirs.shape and (ours.indices == theirs.indices).all()
    same = same and np.allclose(ours.data, theirs.data, rtol=1e-5)
    base = times["sklearn"].best
    note = f"{ours.shape[1]:,} terms; the matrices are {'equal' if same else 'NOT EQUAL'} within float32"
    name = "scikit-learn, TfidfVectorizer"
    report.section(
        f"Texts to rows and to an index: {label}, {len(texts):,} texts",
        [
            Line("vectorise, 1 thread", times["1"].best, "s", name, base, at_most=1.0, note=note),
            Line("vectorise, 2 threads", times["2"].best, "s", name, base, at_most=1.0),
            Line("texts to a queryable TextIndex, 2 threads", times["index"].best, "s", name, base, at_most=1.3,
                 note="vectorised, indexed, texts kept"),
        ],
        "Seconds of wall time. scikit-learn's vectoriser has no threads.",
    )  # fmt: skip


def bench_explain(report):
    """The largest gap between a score and its contributions, over random results of every metric of shared terms."""
    import warnings

    import sparsenn as sn

    label, texts = long_texts(report.quick)
    texts = texts[: min(TEXTS, len(texts))]
    lines = []
    for name in sn.metrics.names():
        record = sn.metrics.get(name)
        if record.pair is not None or "csr" not in record.containers or record.project is not None:
            continue
        if name == "seuclidean":  # columns that vary: it needs all variances above 0
            continue
        params = {key: value for key, value in record.example.items() if np.ndim(value) == 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weighting = "tfidf" if record.step is not None and not record.presence else "counts"
            index = sn.TextIndex(weighting, metric=name, metric_params=params or None, min_df=2).fit(texts)
        rng = np.random.default_rng(0)
        chosen = rng.choice(len(texts), RESULTS // K, replace=False)
        gap = 0.0
        seen = 0
        for hits in index.search([texts[i] for i in chosen], k=K, explain=True):
            for hit in hits:
                size = max(1.0, abs(hit.score), hit.distance**2 if record.invert else abs(hit.distance))
                gap = max(gap, abs(sum(share for _, share in hit.terms) - hit.score) / size)
                seen += 1
        lines.append(Line(name, gap * 1e6, "millionths", at_most=10, note=f"{seen:,} results, {weighting}"))
    report.section(
        f"Explanations: {label}, {len(texts):,} texts",
        lines,
        "Largest |sum of contributions − score|, of the score where that is above 1 (of the surrogate that it comes "
        "from, for metrics without a worst distance).",
    )


def bench_stream(report):
    """Peak memory of an index made from a streaming dataset."""
    n = 20_000 if report.quick else SENTENCES
    with tempfile.TemporaryDirectory() as folder:
        path, label = write_sentences(Path(folder), n)
        command = [sys.executable, str(Path(__file__).resolve()), "--child", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env=common.child_environment(HF_HOME=folder))
    if done.returncode:
        print(f"the stream could not be measured: {done.stderr.strip().splitlines()[-1]}")
        return
    figures = json.loads(done.stdout.splitlines()[-1])
    peak, held = figures["peak"] / 1e6, figures["held"] / 1e6
    note = f"peak {peak:,.0f} MB above the start, index {held:,.0f} MB of which texts {figures['texts'] / 1e6:,.0f} MB"
    report.section(
        f"A stream: {figures['n']:,} sentences of {label} from a Hugging Face streaming dataset",
        [
            Line("peak memory / finished index", peak / held, "", at_most=2.0, note=note),
            Line("time to index", figures["seconds"], "s", note=f"{figures['columns']:,} terms"),
        ],
    )


def write_sentences(folder, n):
    """A parquet file of n sentences."""
    import re

    import pyarrow as pa
    import pyarrow.parquet as pq

    label, texts = long_texts(False)
    sentences = []
    for text in texts:
        sentences += [part for part in re.split(r"(?<=[.!?])\s+", text) if len(part) > 10]
        if len(sentences) >= n:
            break
    path = folder / "sentences.parquet"
    pq.write_table(pa.table({"text": sentences[:n]}), path, row_group_size=10_000)
    return path, label


def child(path):
    """Index the stream in a process of its own, and print its memory."""
    import gc
    import time

    here = Path(__file__).resolve().parent  # which has a datasets.py of its own
    sys.path = [entry for entry in sys.path if Path(entry).resolve() != here]
    del sys.modules["datasets"]
    import datasets

    import sparsenn as sn

    def open_stream():
        return datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)

    sn.TextIndex(n_jobs=2).fit(open_stream().take(200), column="text").search("a movie")
    gc.collect()
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # Linux: set the mark back to what is in use now

    def peak():
        line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    before, start = peak(), time.perf_counter()
    index = sn.TextIndex(n_jobs=2).fit(open_stream(), column="text")
    seconds = time.perf_counter() - start
    used = peak() - before
    figures = {"peak": used, "held": index.nbytes, "texts": index._now()[0].texts.nbytes, "seconds": seconds}
    print(json.dumps({**figures, "n": len(index), "columns": index.index_.n_features}))


def main():
    """Run the parts asked for."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
        return
    options = common.parse(common.arguments(__doc__, PARTS), PARTS)
    report = common.Report(__file__, options)
    if "retrieval" in options.only:
        for name in COLLECTIONS:
            title, lines = bench_collection(name, options.quick)
            report.section(f"Retrieval: {title}", lines, f"One thread, k = {K}, no stop words.")
    for part, bench in (("vectorise", bench_vectorise), ("explain", bench_explain), ("stream", bench_stream)):
        if part in options.only:
            bench(report)


if __name__ == "__main__":
    main()
