"""The demonstration: real text that is on every machine, searched and printed. Nothing is downloaded."""

import contextlib
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from sparsenn import Index, Neighbors, __version__
from sparsenn.docstrings import Docstring, load_docstrings
from sparsenn.terminal import allow_any_text, cut_front, glyph, row, terminal_width

MISSPELT = (
    "snowmn",
    "umbrela with rain",
    "interobang",
    "hot bevrage",
    "skull and crosbones",
    "sigma capital grek",
    "peace simbol",
    "sleping face",
)
QUESTIONS = (
    "how do I invert a matrix",
    "sort a list and keep it sorted",
    "fast fourier transform of a real signal",
    "standard deviation ignoring nan",
    "copy a whole directory tree",
    "area under the roc curve",
    "wrap a paragraph of text",
    "wait for a thread to finish",
)
TYPOS = 2000
STEP_WIDTH, BOLD, DIM, CYAN = 44, {"bold": True}, {"dim": True}, {"fg": "cyan"}


@dataclass(frozen=True)
class Corpus:
    """Texts as vectors: the vectoriser, and the index of its rows."""

    vectorizer: Any
    index: Index

    def ask(self, texts: Sequence[str], k: int) -> Neighbors:
        """Find the k nearest rows of each text."""
        return self.index.query(self.vectorizer.transform(texts), k=k)


class Step:
    """A line of the log: what was done, how much of it, and how long it took."""

    def __init__(self, about: str):
        self.about = about
        self.amount = ""

    @classmethod
    @contextlib.contextmanager
    def of(cls, about: str) -> Iterator["Step"]:
        """Time a block, then print its line."""
        step, start = cls(about), time.perf_counter()
        yield step
        cells = (step.about, step.amount, f"{time.perf_counter() - start:.2f} s")
        click.echo(row(cells, (STEP_WIDTH, 22, 8), (DIM, DIM, DIM), "<>>"))


def bar(items: Iterable[Any], about: str, total: int | None = None) -> Iterable[Any]:
    """Progress on stderr, where that is a terminal."""
    from tqdm import tqdm

    progress: Iterable[Any] = tqdm(
        items, desc=f"  {about}", total=total, leave=False, disable=None, file=sys.stderr, ncols=terminal_width()
    )
    return progress


def unicode_names(chars: Iterable[str] | None = None) -> tuple[list[str], list[str]]:
    """Characters that have a name, and their names."""
    every = map(chr, range(sys.maxunicode + 1)) if chars is None else chars
    named = [(char, name) for char in every if (name := unicodedata.name(char, ""))]
    return [char for char, _ in named], [name for _, name in named]


def index_texts(texts: Sequence[str], about: str, n_neighbors: int = 5, **options: Any) -> Corpus:
    """TF-IDF vectors of the texts under cosine; `options` are the vectoriser's."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
    rows = vectorizer.fit_transform(bar(texts, about, len(texts)))
    return Corpus(vectorizer, Index(metric="cosine", n_neighbors=n_neighbors, method="exact").fit(rows))


def index_names(names: Sequence[str]) -> Corpus:
    """Names by their pieces of three letters, so that a slip of the keyboard costs a few of them."""
    return index_texts(names, "names", analyzer="char_wb", ngram_range=(3, 3))


def index_questions(docstrings: Sequence[Docstring]) -> Corpus:
    """Summaries by pieces of 3 to 5 letters, so that "invert" finds "inverse"."""
    texts = [f"{d.words} {d.summary}" for d in docstrings]
    return index_texts(texts, "summaries", analyzer="char_wb", ngram_range=(3, 5))


def index_docstrings(docstrings: Sequence[Docstring]) -> Corpus:
    """Whole docstrings by their words."""
    return index_texts([d.text for d in docstrings], "docstrings", stop_words="english")


def drop_a_letter(names: Sequence[str], seed: int = 0) -> list[str]:
    """Each name with one character gone."""
    generator = np.random.default_rng(seed)
    places = [int(generator.integers(len(name))) for name in names]
    return [name[:at] + name[at + 1 :] for name, at in zip(names, places, strict=True)]


def similar_pairs(docstrings: Sequence[Docstring], graph: Neighbors, across: bool) -> list[tuple[int, int, float]]:
    """Pairs of functions of different names that say nearly the same, nearest first, each function once.

    Across packages, or within one. Pairs of one name count as taken: that they agree is no news.
    """
    k = graph.indices.shape[1]
    i, j, distances = np.repeat(np.arange(len(docstrings)), k), graph.indices.ravel(), graph.distances.ravel()
    packages = np.array([d.package for d in docstrings])
    wanted = (j >= 0) & ((packages[i] != packages[j]) == across)
    long_enough: npt.NDArray[np.bool_] = np.array([len(d.text) >= 300 for d in docstrings])
    wanted &= long_enough[i] & long_enough[j]
    taken: set[int] = set()
    pairs = []
    for at in np.flatnonzero(wanted)[np.argsort(distances[wanted], kind="stable")]:
        one, other = sorted((int(i[at]), int(j[at])))
        if one in taken or other in taken:
            continue
        taken |= {one, other}
        if docstrings[one].words != docstrings[other].words:
            pairs.append((one, other, float(distances[at])))
    return pairs


def show_names(chars: Sequence[str], names: Sequence[str], typed: Sequence[str], found: Neighbors) -> None:
    """Table of misspelt names and what was found."""
    widths = (22, 2, terminal_width() - 42, 8)
    click.echo("\n" + row(("you type", "", "the nearest names", "distance"), widths, (DIM,) * 4, "<<<>"))
    for text, ids, distances in zip(typed, *found, strict=True):
        for rank, (at, distance) in enumerate(zip(ids, distances, strict=True)):
            cells = (text if rank == 0 else "", glyph(chars[at]), names[at], f"{distance:.2f}")
            click.echo(row(cells, widths, (BOLD, CYAN, CYAN if rank == 0 else {}, DIM), "<<<>"))


def show_answers(docstrings: Sequence[Docstring], asked: Sequence[str], found: Neighbors) -> None:
    """Table of questions, the functions that answer them, and what those say."""
    widths = (31, terminal_width() - 49, 8)
    click.echo("\n" + row(("you ask, and find", "which says", "distance"), widths, (DIM,) * 3, "<<>"))
    for text, ids, distances in zip(asked, *found, strict=True):
        click.echo("  " + click.style(text, bold=True))
        for rank, (at, distance) in enumerate(zip(ids, distances, strict=True)):
            d = docstrings[at]
            cells = ("  " + cut_front(d.name, widths[0] - 2), d.summary, f"{distance:.2f}")
            click.echo(row(cells, widths, (CYAN if rank == 0 else {}, {}, DIM), "<<>"))


def show_pairs(docstrings: Sequence[Docstring], pairs: Sequence[tuple[int, int, float]], title: str) -> None:
    """Table of functions that say nearly the same."""
    side = (terminal_width() - 14) // 2
    widths = (side, side, 8)
    heading = (2 * side + 2, 8)
    click.echo("\n" + row((title, "distance"), heading, (DIM,) * 2, "<>"))
    for one, other, distance in pairs:
        cells = (cut_front(docstrings[one].name, side), cut_front(docstrings[other].name, side), f"{distance:.3f}")
        click.echo(row(cells, widths, (CYAN, CYAN, DIM), "<<>"))


def names_part() -> tuple[int, int]:
    """The names of characters; return how many rows and queries."""
    click.secho("\n1  The names of all Unicode characters, misspelt", bold=True)
    with Step.of("reading the names") as step:
        chars, names = unicode_names()
        step.amount = f"{len(names):,} names"
    with Step.of("pieces of three letters, TF-IDF, index") as step:
        corpus = index_names(names)
        step.amount = f"{corpus.index.n_features:,} pieces"
    with Step.of("the first query (compiled, if not yet)") as step:
        corpus.ask(MISSPELT[:1], 1)
        step.amount = "1 query"
    ids = np.random.default_rng(0).choice(len(names), min(TYPOS, len(names)), replace=False)
    typos = drop_a_letter([names[i] for i in ids])
    with Step.of("names with a letter dropped, found again") as step:
        parts = [corpus.ask(typos[at : at + 200], 1).indices for at in bar(range(0, len(typos), 200), "typos")]
        right = np.concatenate(parts)[:, 0] == ids
        step.amount = f"{right.mean():.0%} of {len(typos):,} first"
    show_names(chars, names, MISSPELT, corpus.ask(MISSPELT, 2))
    return len(names), 1 + len(typos) + len(MISSPELT)


def docstrings_part() -> tuple[int, int]:
    """The docstrings of installed packages; return how many rows and queries."""
    click.secho("\n2  The docstrings of Python, numpy, scipy and scikit-learn", bold=True)
    with Step.of("reading the docstrings") as step:
        docstrings, cached = load_docstrings(progress=lambda files: bar(files, "source files"))
        step.about += " (from the last run)" if cached else " from their source"
        step.amount = f"{len(docstrings):,} docstrings"
    with Step.of("summaries: pieces of words, TF-IDF, index") as step:
        corpus = index_questions(docstrings)
        step.amount = f"{corpus.index.n_features:,} pieces"
    with Step.of("questions") as step:
        found = corpus.ask(QUESTIONS, 2)
        step.amount = f"{len(QUESTIONS)} queries"
    show_answers(docstrings, QUESTIONS, found)
    click.echo()
    with Step.of("whole docstrings: words, TF-IDF, index") as step:
        corpus = index_docstrings(docstrings)
        step.amount = f"{corpus.index.n_features:,} words"
    with Step.of("each docstring's 5 nearest others") as step:
        graph = corpus.index.neighbor_graph
        step.amount = f"{graph.indices.size:,} neighbours"
    show_pairs(docstrings, similar_pairs(docstrings, graph, True)[:6], "nearly the same text, in two packages")
    show_pairs(docstrings, similar_pairs(docstrings, graph, False)[:6], "nearly the same text, in one package")
    return len(docstrings), len(QUESTIONS) + len(docstrings)


def run() -> None:
    """Run the demonstration."""
    start = time.perf_counter()
    allow_any_text()
    click.secho(f"sparsenn {__version__}: exact nearest neighbours of sparse and text data", bold=True)
    counts = np.array([names_part(), docstrings_part()]).sum(axis=0)
    seconds = time.perf_counter() - start
    click.echo(f"\n{counts[0]:,} texts indexed and {counts[1]:,} queries answered, all exactly, in {seconds:.1f} s.")
    click.echo('Your own file: sparsenn search FILE --query "some words"')
