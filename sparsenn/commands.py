"""Commands about pairs: ``sparsenn dedup``, ``sparsenn join``, ``sparsenn link``."""

import contextlib
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click
import numpy as np

from sparsenn.adapters import read_texts, shingles
from sparsenn.adapters.tables import check_writable, read_columns, write_columns
from sparsenn.dedup import RULES, Duplicates, near_duplicates
from sparsenn.join import join_blocks, replaced, save_pairs, similarity_join
from sparsenn.linking import link
from sparsenn.metrics import resolve
from sparsenn.report import write_report
from sparsenn.results import Pairs
from sparsenn.terminal import cut, one_line, row, terminal_width

SHOWN = 10  # pairs, or clusters, on the terminal
FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=pathlib.Path)
OUTPUT = click.Path(dir_okay=False, writable=True, path_type=pathlib.Path)
DIM: dict[str, Any] = {"dim": True}


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Errors of the library as errors of the command line."""
    try:
        yield
    except (ValueError, ImportError, OSError) as error:
        raise click.ClickException(str(error)) from None
    except MemoryError as error:
        raise click.ClickException(f"not enough memory ({error}): raise the threshold") from None


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; nothing elsewhere."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=" rows", disable=not sys.stderr.isatty(), leave=False, ncols=terminal_width()) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell


def _write(path: pathlib.Path, columns: dict[str, Any]) -> None:
    with replaced(path) as part:
        write_columns(part, columns)


def parse_params(given: Sequence[str]) -> dict[str, float]:
    """Read ``NAME=NUMBER`` of ``--param``."""
    params = {}
    for item in given:
        key, equals, value = item.partition("=")
        try:
            params[key.strip()] = int(value) if value.strip().lstrip("-").isdigit() else float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"{item!r} is not NAME=NUMBER, e.g. --param p=3", param_hint="--param")
    return params


def _threshold(function: Any) -> Any:
    return click.option("-t", "--threshold", type=click.FloatRange(0, 1), default=0.8, show_default=True,
                        help="Least similarity.")(function)  # fmt: skip


def _of_texts(function: Any) -> Any:
    for option in (
        click.option("--n-jobs", type=int, default=None, help="Threads. [default: all processors]"),
        click.option("--analyzer", type=click.Choice(["word", "char"]), default="word", show_default=True,
                     help="Runs of words, or of characters (for writing without spaces)."),
        click.option("--shingle", type=click.IntRange(min=1), default=3, show_default=True,
                     help="Words, or characters, of a run."),
        click.option("-c", "--column", metavar="NAME", help="Column of the text; not needed where there is only one."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command()
@click.argument("file", type=FILE)
@_threshold
@click.option("-o", "--output", type=OUTPUT, help="Write the rows that are kept, all their columns.")
@click.option("--report", type=OUTPUT, help="Write a page of HTML that shows the clusters.")
@click.option("--against", type=FILE, help="Remove only what is also in this file.")
@click.option("--rule", type=click.Choice(RULES), default=RULES[0], show_default=True,
              help="Rows like the kept one, or all that a chain of pairs leads to.")  # fmt: skip
@click.option("--keep", type=click.Choice(["first", "longest"]), default="first", show_default=True,
              help="Which row of a cluster.")  # fmt: skip
@_of_texts
def dedup(
    file: pathlib.Path,
    threshold: float,
    output: pathlib.Path | None,
    report: pathlib.Path | None,
    against: pathlib.Path | None,
    rule: str,
    keep: str,
    column: str | None,
    shingle: int,
    analyzer: str,
    n_jobs: int | None,
) -> None:
    """Remove near-duplicates of the texts of FILE.

    Exact copies are found first, then all pairs of texts whose sets of runs of words are at least so similar (Jaccard);
    every pair is verified. FILE and the output are .txt, .csv, .tsv, .jsonl or .parquet.
    """
    if against is not None and (rule != RULES[0] or keep != "first"):
        raise click.UsageError("--rule and --keep are about clusters: leave them out with --against")
    if report is not None and against is not None:
        raise click.UsageError("--report shows the clusters of one file: leave it out with --against")
    start = time.perf_counter()
    with _messages(), _progress("comparing") as tell:
        if output is not None:
            check_writable(output)
        texts = read_texts(file, column)
        others = None if against is None else read_texts(against, column)
        found = near_duplicates(
            texts, threshold, against=others, rule=rule, keep=keep, shingle=shingle, analyzer=analyzer,
            n_jobs=n_jobs, progress=tell,
        )  # fmt: skip
    with _messages():
        if report is not None:
            unit = "words" if analyzer == "word" else "characters"
            write_report(report, found, texts, file.name, f"Jaccard of the sets of {shingle} {unit} in a row")
        if output is not None:
            columns = read_columns(file)
            _write(output, {name: [values[i] for i in found.keep] for name, values in columns.items()})
    if isinstance(found, Duplicates):
        _print_clusters(found, texts)
    removed = len(texts) - len(found.keep)
    click.echo(f"{len(texts):,} rows, {removed:,} removed, {len(found.keep):,} kept" + (
        f" ({found.n_exact:,} exact copies, {removed - found.n_exact:,} near-duplicates)"
        if isinstance(found, Duplicates) else ""))  # fmt: skip
    for path in filter(None, (output, report)):
        click.echo(f"written: {path}")
    click.secho(f"{time.perf_counter() - start:.1f} s", dim=True, err=True)


def _print_clusters(found: Duplicates, texts: list[str]) -> None:
    clusters, similarity = found.clusters, found.similarity
    near = [c for c in clusters if not (similarity[c[1:]] >= 1.0).all()]
    if not near:
        return
    digits = max(len(str(len(texts))), 3)
    room = max(terminal_width() - digits - 18, 10)
    click.echo(row(("row", "similarity", "text"), (digits, 10, room), (DIM,) * 3, ">><"))
    for rows in near[:SHOWN]:
        for at, i in enumerate(rows[:4].tolist()):
            score = "kept" if at == 0 else "chain" if np.isnan(similarity[i]) else f"{similarity[i]:.3f}"
            cells = (str(i), score, cut(one_line(texts[i][: 4 * room]), room))
            click.echo(row(cells, (digits, 10, room), ({"fg": "cyan"}, {}, {}), ">><"))
        if len(rows) > 4:
            click.secho(f"  {'':{digits}}  and {len(rows) - 4:,} more", dim=True)
    if len(near) > SHOWN:
        click.secho(f"  {'':{digits}}  and {len(near) - SHOWN:,} more clusters of different texts", dim=True)
    click.echo()


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE, required=False)
@_threshold
@click.option("-m", "--metric", default="jaccard", show_default=True, metavar="NAME", help="Similarity of the sets.")
@click.option("--param", "params", multiple=True, metavar="NAME=NUMBER", help="Parameter of the metric; repeatable.")
@click.option("-o", "--output", type=OUTPUT, help="Write all pairs: row of A, row of B, similarity.")
@click.option("--top", type=click.IntRange(min=1), help="Only so many pairs, the most similar.")
@_of_texts
def join(
    a: pathlib.Path,
    b: pathlib.Path | None,
    threshold: float,
    metric: str,
    params: tuple[str, ...],
    output: pathlib.Path | None,
    top: int | None,
    column: str | None,
    shingle: int,
    analyzer: str,
    n_jobs: int | None,
) -> None:
    """List all pairs of similar texts, of A and B, or within A.

    Texts are sets of runs of words. To a .parquet file pairs are written as they are found.
    """
    given = parse_params(params)
    with _messages(), _progress("joining") as tell:
        chosen = resolve(metric, given)
        if output is not None:
            check_writable(output)
        texts = read_texts(a, column)
        others = [] if b is None else read_texts(b, column)
        rows = shingles(texts + others, shingle, analyzer, n_jobs)
        # a text without any run is like no other, not even another such
        there = np.flatnonzero(np.diff(rows.indptr) > 0)
        mine, theirs = there[there < len(texts)], there[there >= len(texts)]
        sides = (rows[mine], None if b is None else rows[theirs])
        if output is not None and output.suffix.lower() == ".parquet" and top is None:
            blocks = join_blocks(*sides, chosen, threshold, n_jobs=n_jobs, progress=tell)
            total = save_pairs((_numbered(pairs, mine, theirs, len(texts)) for pairs in blocks), output)
            click.echo(f"{total:,} pairs, written: {output}")
            return
        pairs = similarity_join(*sides, chosen, threshold, top=top, n_jobs=n_jobs, progress=tell)
        pairs = _numbered(pairs, mine, theirs, len(texts))
        if output is not None:
            _write(output, {n: c.tolist() for n, c in zip(Pairs._fields, pairs, strict=True)})
    _print_pairs(pairs.i, pairs.j, pairs.similarity, texts, others or texts, ("A", "B") if b else ("row", "row"))
    click.echo(f"{len(pairs.i):,} pairs" + (f", written: {output}" if output else ""))


def _numbered(pairs: Pairs, mine: Any, theirs: Any, n: int) -> Pairs:
    """Pairs with the row numbers of the files."""
    return Pairs(mine[pairs.i], theirs[pairs.j] - n if len(theirs) else mine[pairs.j], pairs.similarity)


def _print_pairs(i: Any, j: Any, scores: Any, texts: Any, others: Any, names: tuple[str, str]) -> None:
    if not len(i):
        return
    best = np.lexsort((j, i, -scores))[:SHOWN]
    digits = max(len(str(max(len(texts), len(others)))), 3)
    room = max((terminal_width() - 2 * digits - 20) // 2, 10)
    widths = (10, digits, room, digits, room)
    click.echo(row(("similarity", names[0], "text", names[1], "text"), widths, (DIM,) * 5, ">><><"))
    for p, q, score in zip(i[best].tolist(), j[best].tolist(), scores[best].tolist(), strict=True):
        cells = (f"{score:.3f}", str(p), one_line(texts[p][:500]), str(q), one_line(others[q][:500]))
        click.echo(row(cells, widths, ({}, {"fg": "cyan"}, {}, {"fg": "cyan"}, {}), ">><><"))
    if len(i) > SHOWN:
        click.secho(f"  and {len(i) - SHOWN:,} more", dim=True)
    click.echo()


@click.command("link")
@click.argument("a", type=FILE)
@click.argument("b", type=FILE, required=False)
@click.option("--on", multiple=True, metavar="COLUMN[=WEIGHT]", help="Column to compare; repeatable. "
              "[default: all columns of text in common]")  # fmt: skip
@click.option("-t", "--threshold", type=click.FloatRange(0, 1), help="Least score. [default: 0.5, or by --matches]")
@click.option("--matches", type=FILE, help="Pairs known to be the same, to choose the threshold: two columns of row "
              "numbers, from 0.")  # fmt: skip
@click.option("-k", type=click.IntRange(min=1), help="With B: candidates of each record. [default: 10]")
@click.option("--many", is_flag=True, help="With B: a record may have several links, not one.")
@click.option("-o", "--output", type=OUTPUT, help="Write the links: row of A, row of B, score.")
@click.option("--n-jobs", type=int, default=None, help="Threads. [default: all processors]")
def link_tables(
    a: pathlib.Path,
    b: pathlib.Path | None,
    on: tuple[str, ...],
    threshold: float | None,
    matches: pathlib.Path | None,
    k: int | None,
    many: bool,
    output: pathlib.Path | None,
    n_jobs: int | None,
) -> None:
    """Link the records of A and B that mean the same thing, or those of A in groups."""
    if b is None and (k is not None or many):
        raise click.UsageError("-k and --many are for two tables: within one all pairs of a group are linked")
    with _messages(), _progress("linking") as tell:
        if output is not None:
            check_writable(output)
        mine = read_columns(a)
        theirs = None if b is None else read_columns(b)
        known = None if matches is None else _read_matches(matches)
        links = link(
            mine, theirs, _weights(on), k=k or 10, threshold=threshold, matches=known, one_to_one=not many,
            n_jobs=n_jobs, progress=tell,
        )  # fmt: skip
        if output is not None:
            _write(output, {"i": links.i.tolist(), "j": links.j.tolist(), "score": links.score.tolist()})
    sides = [mine] if theirs is None else [mine, theirs]
    shown = [o.partition("=")[0] for o in on] or [c for c in mine if c in sides[-1]]
    texts = [[" ".join(map(str, r)) for r in zip(*(t[c] for c in shown), strict=True)] for t in sides]
    _print_pairs(links.i, links.j, links.score, texts[0], texts[-1], ("A", "B") if b else ("row", "row"))
    count = f"{len(links):,} links with a score of at least {links.threshold:.3f}"
    click.echo(count + (f", written: {output}" if output else ""))


def _weights(on: tuple[str, ...]) -> Any:
    """Columns, and their weights where one is given."""
    if not any("=" in item for item in on):
        return list(on) or None
    weights = {}
    for item in on:
        name, _, weight = item.partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"{item!r} is not COLUMN=WEIGHT, e.g. --on title=2", param_hint="--on") from None
    return weights


def _read_matches(path: pathlib.Path) -> Any:
    columns = list(read_columns(path).values())[:2]
    try:
        return np.array([[int(v) for v in column] for column in columns]).T
    except (TypeError, ValueError):
        raise ValueError(f"{path.name} must have two columns of row numbers, with a header") from None


COMMANDS = (dedup, join, link_tables)
