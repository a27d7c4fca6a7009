"""Data of the benchmarks: real where it is, generated of the same kind where it is not.

Real data is looked for in ``$SPARSENN_DATA``, else in ``../shared/data`` beside the checkout. What is
missing there is generated: rows of Zipfian columns with the real data's shape, and "(generated)" in
every table. Vectorised rows are kept in ``$SPARSENN_BENCH_CACHE``, else in the temporary directory.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

ROOT = Path(__file__).resolve().parent.parent
N_QUERIES = 2000
QUICK_ROWS, QUICK_QUERIES = 3000, 200

TEXTS = {
    "newsgroups": ("newsgroups20.parquet", "text", {"max_df": 0.5}),
    "imdb": ("imdb_100k.parquet", "text", {}),
    "wordnet": ("wordnet_glosses.parquet", "definition", {}),
}
# Real short queries, and the collections they were asked of.
SHORT = ("scifact", "npl", "cranfield")
SETS = {"gowalla": "gowalla_users.npz", "retail": "retail_88k.npz", "kosarak": "kosarak_first_part.npz"}
# Rows, columns, mean nonzeros, and how flat the head of Zipf's law is: for generated rows.
SHAPES = {
    "newsgroups": (19_997, 92_404, 128, 30),
    "imdb": (100_000, 80_303, 89, 30),
    "wordnet": (107_200, 25_164, 5, 30),
    "gowalla": (29_858, 40_981, 34, 30),
    "retail": (79_630, 16_471, 11, 1),
    "kosarak": (23_722, 17_035, 12, 1),
    "scifact": (6_292, 30_000, 90, 30),
    "npl": (11_522, 7_500, 20, 30),
    "cranfield": (1_624, 7_000, 55, 30),
}
SHORT_QUERIES = {"scifact": 1109, "npl": 93, "cranfield": 225}  # generated: so many, of a few terms each
TOPICS, QUERY_TERMS = 50, 8


@dataclass(frozen=True)
class Data:
    """Rows to index, rows to ask (not among them), and what to call them in a table."""

    label: str
    rows: sp.csr_matrix
    queries: sp.csr_matrix


def data_folder() -> Path | None:
    """Folder of the real data, or None."""
    folder = Path(os.environ.get("SPARSENN_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def real_file(*parts: str) -> Path | None:
    """Path of a file of the real data, or None."""
    folder = data_folder()
    path = folder.joinpath(*parts) if folder else None
    return path if path and path.exists() else None


def cache_folder() -> Path:
    """Folder of vectorised rows."""
    folder = Path(os.environ.get("SPARSENN_BENCH_CACHE", Path(tempfile.gettempdir()) / "sparsenn-benchmarks"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load(name: str, quick: bool = False) -> Data:
    """Rows and 2,000 held-out queries of a data set; `quick` takes a small part of both."""
    source = real_file("text", TEXTS[name][0]) if name in TEXTS else real_file("sets", SETS[name])
    label = name if source else f"{name} (generated)"
    cached = cache_folder() / f"{name}-{'real' if source else 'generated'}.npz"
    if cached.exists():
        matrix = sp.load_npz(cached)
    else:
        matrix = _read(name, source) if source else _generate(name)
        lengths = np.diff(matrix.indptr)
        matrix = matrix[lengths >= (1 if name in TEXTS else 3)]
        sp.save_npz(cached, matrix, compressed=False)
    order = np.random.default_rng(7).permutation(matrix.shape[0])
    held_out, indexed = np.sort(order[:N_QUERIES]), np.sort(order[N_QUERIES:])
    if quick:
        indexed, held_out = indexed[:: max(len(indexed) // QUICK_ROWS, 1)], held_out[:QUICK_QUERIES]
        label += ", small part"
    return Data(label, matrix[indexed], matrix[held_out])


def load_short(name: str, quick: bool = False) -> Data:
    """TF-IDF of a collection of documents, and its own queries of a few terms each; empty ones are left out."""
    corpus, asked = (real_file("retrieval", name, f"{part}.jsonl.gz") for part in ("corpus", "queries"))
    label = name if corpus and asked else f"{name} (generated)"
    rows, queries = _short(corpus, asked) if corpus and asked else _generate_short(name)
    rows, queries = (part[np.diff(part.indptr) > 0] for part in (rows, queries))
    if quick:
        rows, queries, label = rows[:: max(rows.shape[0] // QUICK_ROWS, 1)], queries[:50], f"{label}, small part"
    return Data(label, rows, queries)


def _short(corpus: Path, asked: Path) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents, texts = (pd.read_json(path, lines=True, dtype=False) for path in (corpus, asked))
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32)
    rows = vectorizer.fit_transform(documents["title"] + " " + documents["text"])
    return rows.tocsr(), vectorizer.transform(texts["text"]).tocsr()


def _generate_short(name: str) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Generated rows; a query is a few terms of a row that is left out."""
    from sklearn.preprocessing import normalize

    n, rng = SHORT_QUERIES[name], np.random.default_rng(3)
    rows = _generate(name)
    asked = rows[:n]
    lengths = np.diff(asked.indptr)
    keep = rng.random(asked.nnz) < np.repeat(QUERY_TERMS / np.maximum(lengths, QUERY_TERMS), lengths)
    asked.data *= keep
    asked.eliminate_zeros()
    return rows[n:], normalize(asked)


def saved_rows(name: str, quick: bool) -> Path:
    """File of the indexed rows alone, so that a process can load them without a peak of memory."""
    data = load(name, quick)
    path = cache_folder() / f"{data.label.replace(' ', '_').replace(',', '')}-rows.npz"
    if not path.exists():
        sp.save_npz(path, data.rows, compressed=False)
    return path


def load_digits(quick: bool = False) -> tuple[str, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Dense rows: MNIST's training images, and 1,000 of its test images."""
    source = real_file("dense", "mnist70k.npz")
    if source:
        with np.load(source) as file:
            pixels, is_test = file["X"], file["is_test"].astype(bool)
        rows, queries, label = pixels[~is_test], pixels[is_test][:1000], "mnist"
    else:
        rng = np.random.default_rng(0)
        centres = rng.integers(0, 256, (100, 784))
        pixels = centres[rng.integers(0, 100, 61_000)] + rng.integers(-90, 91, (61_000, 784))
        pixels = np.clip(pixels, 0, 255).astype(np.uint8)
        rows, queries, label = pixels[1000:], pixels[:1000], "mnist (generated)"
    if quick:
        rows, queries, label = rows[::20], queries[:100], f"{label}, small part"
    return label, rows.astype(np.float32), queries.astype(np.float32)


def load_topics() -> tuple[str, npt.NDArray[np.float64]]:
    """Dense distributions: topic shares of 10,000 pages, 8 columns."""
    source = real_file("prob", "wikipedia_lda8_10k.npz")
    if source:
        with np.load(source) as file:
            return "wikipedia topics", file["X"].astype(np.float64)
    return "topics (generated)", np.random.default_rng(0).dirichlet(np.full(8, 0.3), 10_000) * 0.999 + 0.000125


def _read(name: str, source: Path) -> sp.csr_matrix:
    if name in SETS:
        return sp.load_npz(source).astype(np.float32).tocsr()
    import pandas as pd
    from sklearn.feature_extraction.text import TfidfVectorizer

    _, column, options = TEXTS[name]
    texts = pd.read_parquet(source, columns=[column])[column]
    print(f"vectorising {name}: {len(texts):,} texts", flush=True)
    vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, stop_words="english", dtype=np.float32, **options)
    return vectorizer.fit_transform(texts).tocsr()


def _generate(name: str) -> sp.csr_matrix:
    """Zipfian rows; half of a row's columns are drawn from the vocabulary of its topic."""
    n, m, mean, flat = SHAPES[name]
    rng = np.random.default_rng(sum(name.encode()))
    lengths = np.maximum(rng.lognormal(np.log(mean) - 0.18, 0.6, n).astype(np.int64), 1)
    row = np.repeat(np.arange(n, dtype=np.int32), lengths)
    rank = (flat * ((m / flat + 1) ** rng.random(len(row)) - 1)).astype(np.int64)  # P(rank) ~ 1 / (rank + flat)
    topic = rng.integers(0, TOPICS, n)[row] * (rng.random(len(row)) < 0.5)
    column = ((rank + topic * (m // TOPICS)) % m).astype(np.int32)
    counts = sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(n, m))
    counts.sum_duplicates()
    if name in SETS:
        counts.data[:] = 1
        return counts
    from sklearn.feature_extraction.text import TfidfTransformer

    return TfidfTransformer(sublinear_tf=True).fit_transform(counts).astype(np.float32).tocsr()
