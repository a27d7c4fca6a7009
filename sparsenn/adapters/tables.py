"""Whole tables of files, by columns: read, and some rows of them written again."""

import csv
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from sparsenn.adapters.files import CSV_FIELD, _json_records, _open, read_texts

WRITTEN = ".txt, .csv, .tsv, .jsonl or .parquet"


def _kind(path: pathlib.Path) -> str:
    suffixes = [s.lower() for s in path.suffixes if s.lower() not in (".gz", ".bz2", ".xz", ".zst")]
    return suffixes[-1] if suffixes else ""


def read_columns(path: str | pathlib.Path) -> dict[str, list[Any]]:
    """Columns of a file; a file of lines has one, ``text``. Rows are numbered as `read_texts` does.

    Raises
    ------
    ValueError
        An unknown kind of file, or contents that cannot be read.
    """
    path = pathlib.Path(path)
    kind = _kind(path)
    if kind in (".csv", ".tsv"):
        return _csv_columns(path, "\t" if kind == ".tsv" else ",")
    if kind in (".jsonl", ".ndjson"):
        with _open(path) as file:
            records = list(_json_records(path, file))
        names = dict.fromkeys(key for r in records if isinstance(r, dict) for key in r) or {"text": None}
        first = next(iter(names))
        return {n: [r.get(n) if isinstance(r, dict) else r if n == first else None for r in records] for n in names}
    if kind == ".parquet":
        import narwhals as nw

        try:
            frame = nw.read_parquet(str(path), backend="pyarrow")
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path.name} is not a parquet file that can be read ({reason})") from None
        return {name: frame[name].to_list() for name in frame.columns}
    return {"text": list(read_texts(path))}


def _csv_columns(path: pathlib.Path, delimiter: str) -> dict[str, list[Any]]:
    before = csv.field_size_limit(CSV_FIELD)
    try:
        with _open(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = next(reader, [])
            records = [record for record in reader if record]
    except csv.Error as error:
        raise ValueError(f"{path.name}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(before)
    return {name: [r[at] if at < len(r) else "" for r in records] for at, name in enumerate(header)}


def check_writable(path: str | pathlib.Path) -> None:
    """Complain of a file that `write_columns` could not write."""
    if _kind(pathlib.Path(path)) not in (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"):
        raise ValueError(f"{pathlib.Path(path).name}: unknown kind of file to write: give {WRITTEN}")


def write_columns(path: str | pathlib.Path, columns: dict[str, Sequence[Any]]) -> None:
    """Write a table; a file of lines takes one column.

    Raises
    ------
    ValueError
        An unknown kind of file, or more than one column for lines.
    ImportError
        Parquet without pyarrow.
    """
    check_writable(path)
    path = pathlib.Path(path)
    kind = _kind(path)
    if kind == ".parquet":
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise ImportError(f'writing {path.name} needs pyarrow: pip install "sparsenn[files]"') from None
        pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
        return
    if kind == ".txt" and len(columns) != 1:
        raise ValueError(f"{path.name} would have lines of one column, but there are {', '.join(columns)}: write .csv")
    records = zip(*columns.values(), strict=True)
    with path.open("w", encoding="utf-8", errors="replace", newline="" if kind in (".csv", ".tsv") else None) as file:
        if kind in (".csv", ".tsv"):
            writer = csv.writer(file, delimiter="\t" if kind == ".tsv" else ",")
            writer.writerow(columns)
            writer.writerows(records)
        elif kind == ".txt":
            file.writelines(f"{record[0]}\n" for record in records)
        else:
            file.writelines(json.dumps(dict(zip(columns, record, strict=True))) + "\n" for record in records)
