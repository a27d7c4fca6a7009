"""Reading texts from files: one text a row, whatever the file is.

Text files are UTF-8, with or without a byte order mark; bytes that are not UTF-8 become U+FFFD, so
that one broken line does not hide the others. A missing value is an empty text: it keeps its row.
"""

import bz2
import csv
import gzip
import importlib.util
import io
import json
import lzma
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TextIO, cast

from sparsenn.adapters.inputs import choose_column

CSV_FIELD = 2**31 - 1  # characters; the csv module stops at 131,072 unless told
PARQUET_READERS: tuple[Literal["pyarrow", "polars"], ...] = ("pyarrow", "polars")
TYPES = ".txt, .csv, .tsv, .jsonl (each also with .gz, .bz2 or .xz) or .parquet"
Read = tuple[list[str], list[str] | None]  # texts, and ids where they were asked for
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_texts(path: str | pathlib.Path, column: str | None = None) -> list[str]:
    """Read the texts of a file, one a row.

    Parameters
    ----------
    path : str or Path
        A ``.txt`` file (each line is a text), ``.csv`` or ``.tsv`` (the first line names the columns),
        ``.jsonl`` (a line is a string or an object), each of them also with ``.gz``, ``.bz2`` or ``.xz``, or
        ``.parquet``.
    column : str, optional
        The column with the text. It may be left out where there is only one of text.

    Returns
    -------
    list of str
        Row ids are places in this list, from 0. Missing values are empty texts.

    Raises
    ------
    ValueError
        An unknown kind of file, a column that is not there, no rows, contents that cannot be read.
    ImportError
        A parquet file and nothing installed that reads it.
    """
    return read_with_ids(path, column)[0]


def read_with_ids(
    path: str | pathlib.Path, column: str | None = None, id_column: str | None = None
) -> tuple[list[str], list[str] | None]:
    """The same, with the texts of another column; the file is read once."""
    path = pathlib.Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    zipped = bool(suffixes) and suffixes[-1] in OPENERS
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    reader = READERS.get(kind[0] if kind else "")
    if reader is None or (zipped and reader is _parquet):
        raise ValueError(f"{path.name}: unknown kind of file {''.join(suffixes[-2:]) or '(no suffix)'!r}: give {TYPES}")
    try:
        texts, ids = reader(path, column, id_column)
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        kind_of_zip = suffixes[-1].replace(".gz", "gzip").lstrip(".")
        raise ValueError(
            f"{path.name} is not a whole {kind_of_zip} file ({error}): fetch or compress it again"
        ) from None
    except OSError as error:
        if suffixes[-1] != ".bz2" or "data stream" not in str(error):
            raise
        raise ValueError(f"{path.name} is not a whole bz2 file ({error}): fetch or compress it again") from None
    if not texts:
        raise ValueError(f"{path.name} has no rows: there is nothing to search")
    return texts, ids


def _open(path: pathlib.Path) -> TextIO:
    opener = OPENERS.get(path.suffix.lower())
    if opener is not None:
        return io.TextIOWrapper(cast("Any", opener(path, "rb")), encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace")


def _choose(path: pathlib.Path, column: str | None, columns: Sequence[str], textual: Sequence[str]) -> str:
    """Pick the column of the text, or say which there are."""
    return choose_column(path.name, column, columns, textual, "--column")


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _none_of(path: pathlib.Path, what: str, column: str | None, id_column: str | None) -> None:
    """Complain of a column of what has none."""
    for option, name in (("--column", column), ("id_column", id_column)):
        if name is not None:
            raise ValueError(f"{path.name} has {what}, no columns: leave out {option} {name}")


def _lines(path: pathlib.Path, column: str | None, id_column: str | None) -> Read:
    _none_of(path, "lines", column, id_column)
    with _open(path) as file:
        return [line.rstrip("\r\n") for line in file], None


def _csv(path: pathlib.Path, column: str | None, id_column: str | None) -> Read:
    delimiter = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]] else ","
    before = csv.field_size_limit(CSV_FIELD)
    try:
        with _open(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            return _records(path, column, id_column, reader)
    finally:
        csv.field_size_limit(before)


def _records(path: pathlib.Path, column: str | None, id_column: str | None, reader: Any) -> Read:
    try:
        header = next(reader, None)
        if header is None:
            return [], None
        at = header.index(_choose(path, column, header, ()))
        own = -1 if id_column is None else header.index(_choose(path, id_column, header, ()))
        texts, ids = [], []
        for record in reader:
            if record:
                texts.append(record[at] if at < len(record) else "")
                if own >= 0:
                    ids.append(record[own] if own < len(record) else "")
        return texts, ids if own >= 0 else None
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {reader.line_num}: not valid CSV ({error})") from None


def _jsonl(path: pathlib.Path, column: str | None, id_column: str | None) -> Read:
    with _open(path) as file:
        records = list(_json_records(path, file))
    if all(isinstance(record, str) for record in records):
        if records:
            _none_of(path, "a string on each line", column, id_column)
        return records, None
    columns = list(dict.fromkeys(key for record in records if isinstance(record, dict) for key in record))
    textual = [c for c in columns if any(isinstance(r, dict) and isinstance(r.get(c), str) for r in records)]
    texts = _fields(records, _choose(path, column, columns, textual))
    return texts, None if id_column is None else _fields(records, _choose(path, id_column, columns, ()))


def _fields(records: list[Any], name: str) -> list[str]:
    return [_text(record.get(name)) if isinstance(record, dict) else record for record in records]


def _json_records(path: pathlib.Path, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path.name}, line {number}: not valid JSON ({error})") from None
        if not isinstance(record, dict | str):
            kind = type(record).__name__
            raise ValueError(f"{path.name}, line {number}: expected an object or a string, got a {kind}")
        yield record


def _parquet(path: pathlib.Path, column: str | None, id_column: str | None) -> Read:
    backend = next((name for name in PARQUET_READERS if importlib.util.find_spec(name)), None)
    if backend is None:
        raise ImportError(f'reading {path.name} needs pyarrow: pip install "sparsenn[files]"')
    import narwhals as nw

    try:
        frame = nw.read_parquet(str(path), backend=backend)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path.name} is not a parquet file that can be read ({reason})") from None
    columns = frame.columns
    textual = [name for name in columns if frame.schema[name] in (nw.String, nw.Categorical, nw.Enum)]
    wanted = [_choose(path, column, columns, textual)]
    wanted += [] if id_column is None else [_choose(path, id_column, columns, ())]
    texts, *ids = ([_text(value) for value in frame[name].to_list()] for name in wanted)
    return texts, ids[0] if ids else None


READERS = {
    ".txt": _lines,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
