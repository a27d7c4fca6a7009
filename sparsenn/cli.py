"""The command line: ``sparsenn demo``, ``search``, ``metrics``, and the commands about pairs."""

import json
import math
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
import numpy as np

from sparsenn import Index, Neighbors, __version__, catalogue
from sparsenn.adapters.files import read_texts
from sparsenn.commands import COMMANDS, parse_params
from sparsenn.metrics import BoundMetric, Metric, get, resolve
from sparsenn.metrics.registry import REQUIRED
from sparsenn.terminal import allow_any_text, excerpt, highlight, row, terminal_width

DIM: dict[str, Any] = {"dim": True}
COMMON = 1 + math.log(3)  # inverse document frequency of a word that every third row has
ANALYZERS: dict[str, dict[str, Any]] = {
    "word": {"token_pattern": r"(?u)\b\w+\b"},
    "char": {"analyzer": "char_wb", "ngram_range": (3, 3)},
}


class Answer(NamedTuple):
    """What one query found: row ids and distances, and whether none of its words is known."""

    query: str
    ids: list[int]
    distances: list[float]
    unknown: bool


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparsenn")
def main() -> None:
    """Nearest neighbours of sparse and text data."""
    allow_any_text()


@main.command()
def demo() -> None:
    """Search text that is on every machine: Unicode names, and docstrings of installed packages."""
    from sparsenn import demo

    demo.run()


@main.command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="The page docs/metrics.md.")
def metrics(name: str | None, markdown: bool) -> None:
    """List the metrics, or say all about the one called NAME."""
    if markdown:
        click.echo(catalogue.markdown(), nl=False)
        return
    try:
        lines = catalogue.describe(name, terminal_width()) if name else catalogue.metric_lines(terminal_width())
        for line in lines:
            click.echo(line)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None


def _metric(name: str, given: Sequence[str]) -> BoundMetric:
    """Check a metric for vectors of words, with its parameters."""
    params = parse_params(given)
    try:
        record = get(name)
        _check_for_text(record, params)
        return resolve(name, params)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--metric") from None


def _check_for_text(record: Metric, params: dict[str, float]) -> None:
    if "csr" not in record.containers:
        raise ValueError(f"{record.name} takes {record.wants()}, not vectors of words: see sparsenn metrics for others")
    for key, parameter in record.parameters.items():
        if parameter.default is REQUIRED and key not in params:
            raise ValueError(f"{record.name} needs {key} ({parameter.about}): use it from Python, with metric_params")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=pathlib.Path))
@click.option(
    "-q", "--query", "queries", multiple=True, required=True, metavar="TEXT", help="What to look for; repeatable."
)
@click.option("-c", "--column", metavar="NAME", help="Column with the text. Not needed where there is only one.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many rows to find.")
@click.option("-m", "--metric", default="cosine", show_default=True, metavar="NAME", help="One of: sparsenn metrics")
@click.option("--param", "params", multiple=True, metavar="NAME=NUMBER", help="Parameter of the metric; repeatable.")
@click.option("--analyzer", type=click.Choice(list(ANALYZERS)), default="word", show_default=True,
              help="Compare whole words, or pieces of 3 letters (forgives misspelling).")  # fmt: skip
@click.option("--n-jobs", type=int, default=None, help="Threads. [default: all processors]")
@click.option("--json", "as_json", is_flag=True, help="Print an object a line: query, rank, row, distance, text.")
def search(
    file: pathlib.Path,
    queries: tuple[str, ...],
    column: str | None,
    k: int,
    metric: str,
    params: tuple[str, ...],
    analyzer: str,
    n_jobs: int | None,
    as_json: bool,
) -> None:
    """Find the texts of FILE nearest to each query, by TF-IDF.

    FILE is .txt (each line is a text), .csv or .tsv with a header, .jsonl, each of them also with .gz,
    or .parquet. Rows are counted from 0, a header not counted. Bytes that are not UTF-8 are shown as
    the replacement character. An empty text keeps its row, and matches nothing.
    """
    chosen = _metric(metric, params)
    start = time.perf_counter()
    try:
        texts = read_texts(file, column)
        vectorizer, rows = _vectors(texts, analyzer, file.name)
        index = Index(metric=chosen, method="exact", n_jobs=n_jobs).fit(rows)
        ready = time.perf_counter()
        answers = _answers(index, vectorizer, rows, queries, k, chosen.metric)
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except MemoryError as error:
        raise click.ClickException(f"not enough memory for {chosen} on these rows ({error}): try cosine") from None
    done = time.perf_counter()
    for answer in answers:
        if as_json:
            _print_json(answer, texts)
        else:
            _print(answer, texts, _matcher(vectorizer, answer.query))
    click.secho(
        f"{len(texts):,} texts read and indexed in {ready - start:.2f} s, "
        f"{len(queries)} {'query' if len(queries) == 1 else 'queries'} in {done - ready:.3f} s",
        dim=True,
        err=True,
    )


def _vectors(texts: Sequence[str], analyzer: str, name: str) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", dtype=np.float32, **ANALYZERS[analyzer])
    try:
        return vectorizer, vectorizer.fit_transform(texts)
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        raise ValueError(
            f"none of the {len(texts):,} rows of {name} has a word in it: is it the right column?"
        ) from None


def _answers(index: Index, vectorizer: Any, rows: Any, queries: Sequence[str], k: int, metric: Metric) -> list[Answer]:
    """Ask each query. Where sharing nothing is the worst there is, rows that share nothing are no answer."""
    vectors = vectorizer.transform(queries)
    found: Neighbors = index.query(vectors, k=min(k, len(index)))
    answers = []
    for query, vector, ids, distances in zip(queries, vectors, *found, strict=True):
        keep = ids >= 0
        if metric.worst is not None:
            keep &= (rows[np.maximum(ids, 0)] @ vector.T).toarray().ravel() > 0
        answers.append(Answer(query, ids[keep].tolist(), distances[keep].tolist(), vector.nnz == 0))
    return answers


def _matcher(vectorizer: Any, query: str) -> Callable[[str], bool]:
    """Tell whether a word, its case and accents aside, is of the query; words of every third row do not count."""
    from sklearn.feature_extraction.text import strip_accents_unicode

    def plain(word: str) -> str:
        return str(strip_accents_unicode(word.lower()))

    def is_common(word: str) -> bool:
        column = vectorizer.vocabulary_.get(word)
        return column is not None and bool(vectorizer.idf_[column] < COMMON)

    words = {plain(word) for word in re.findall(r"\w+", query)}
    words = {word for word in words if not is_common(word)} or words
    return lambda word: plain(word) in words


def _print(answer: Answer, texts: Sequence[str], matches: Callable[[str], bool]) -> None:
    click.secho(answer.query, bold=True)
    if answer.unknown:
        click.echo("  no row has a word of this query" + "\n")
        return
    digits = max(len(f"{max(answer.ids, default=0)}"), 3)
    widths = (4, 8, digits)
    room = terminal_width() - sum(widths) - 8
    click.echo(row(("rank", "distance", "row", "text"), (*widths, room), (DIM,) * 4, ">>><"))
    for rank, (at, distance) in enumerate(zip(answer.ids, answer.distances, strict=True), 1):
        cells = (str(rank), f"{distance:.4f}", str(at))
        text = highlight(excerpt(texts[at], room, matches), matches)
        click.echo(row(cells, widths, ({}, {}, {"fg": "cyan"}), ">>>") + "  " + text)
    click.echo()


def _print_json(answer: Answer, texts: Sequence[str]) -> None:
    for rank, (at, distance) in enumerate(zip(answer.ids, answer.distances, strict=True), 1):
        hit = {"query": answer.query, "rank": rank, "row": at, "distance": distance, "text": texts[at]}
        click.echo(json.dumps(hit))


for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()
