"""Texts and columns from what people hold them in: lists, data frames, Hugging Face datasets."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH = 1000  # rows of a frame or dataset that are strings of Python at once


@dataclass(frozen=True)
class Source:
    """A stream of texts, with their ids where a column has them.

    Attributes
    ----------
    batches : iterator of (texts, ids)
        To be read once; ids are None where there is no column of them.
    """

    batches: Iterator[tuple[Sequence[Any], Sequence[Any] | None]]


def open_source(data: Any, column: str | None = None, id_column: str | None = None, split: str | None = None) -> Source:
    """Texts of a list, a series, a column of a frame, or of a dataset.

    Parameters
    ----------
    data : iterable of str, series, frame, Dataset, DatasetDict or IterableDataset
    column, id_column : str, optional
        Columns with the texts and their ids; the first may be left out where there is only one of text.
    split : str, optional
        Split of a DatasetDict; may be left out where there is only one.

    Raises
    ------
    ValueError
        A column or split that is not there, or that is needed; the message lists what there is.
    """
    if isinstance(data, str | bytes):
        raise ValueError("texts must be a list or another iterable of strings, not one string: put it in a list")
    if is_dataset(data) and (isinstance(data, dict) or hasattr(data, "select_columns")):  # no column of one
        return Source(_of_dataset(_one_split(data, split), column, id_column))
    if split is not None:
        raise ValueError(f"split={split!r} is for a DatasetDict, got {type(data).__name__}: leave it out")
    if _is_frame(data):
        return Source(_of_frame(data, column, id_column))
    for name, value in (("column", column), ("id_column", id_column)):
        if value is not None:
            raise ValueError(f"{name}={value!r} is for tables and datasets, got {type(data).__name__}: leave it out")
    if not isinstance(data, Iterable):
        raise ValueError(f"texts must be an iterable of strings, a table or a dataset, got {type(data).__name__}")
    return Source(_slices(data))


def _slices(data: Any) -> Iterator[tuple[Sequence[Any], None]]:
    if type(data).__module__.partition(".")[0] == "pyarrow":
        data = data.to_pylist() if not hasattr(data, "chunks") else (v for c in data.chunks for v in c.to_pylist())
    if isinstance(data, list | tuple) or (is_dataset(data) and hasattr(data, "__len__")):
        for at in range(0, len(data), BATCH):
            yield data[at : at + BATCH], None
        return
    batch: list[Any] = []
    for text in data:
        batch.append(text)
        if len(batch) == BATCH:
            yield batch, None
            batch = []
    if batch:
        yield batch, None


def choose_column(what: str, column: str | None, columns: Sequence[str], textual: Sequence[str], how: str) -> str:
    """Pick the column of the text, or say which there are; `how` is how one is chosen."""
    names = [str(name) for name in columns]
    if column is not None:
        if column in columns:
            return column
        near = difflib.get_close_matches(str(column), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what} has no column {column!r}; it has: {', '.join(names)}.{hint}")
    if len(columns) == 1 or len(textual) == 1:
        return (textual if len(textual) == 1 else columns)[0]
    raise ValueError(f"{what} has several columns: choose the one to search with {how}. It has: {', '.join(names)}")


def _is_frame(data: Any) -> bool:
    if isinstance(data, dict):
        return True
    if isinstance(data, list | tuple | set) or type(data).__module__ in ("builtins", "numpy"):
        return False
    from narwhals import dependencies

    return bool(dependencies.is_into_dataframe(data))


def _frame(data: Any) -> Any:
    import narwhals as nw
    from narwhals.exceptions import DuplicateError

    if isinstance(data, dict):
        odd = next((n for n, v in data.items() if isinstance(v, str | bytes) or not hasattr(v, "__len__")), None)
        if odd is not None:
            raise ValueError(f"a dict is a table of columns, and {odd!r} has {data[odd]!r}: give a list of values")
        lengths = {name: len(values) for name, values in data.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of a table must have the same length, got {lengths}")
        return data
    try:
        frame = nw.from_native(data, eager_only=True)
        frame.schema  # noqa: B018  reads the names of the columns
        return frame
    except DuplicateError as error:
        raise ValueError(f"a table must have columns of different names ({' '.join(str(error).split())})") from None
    except TypeError:
        raise ValueError(
            f"a table must be a pandas, polars or pyarrow table or a dict of columns, got {type(data).__name__}"
        ) from None


def frame_columns(data: Any, names: Sequence[str]) -> list[list[Any]]:
    """Columns of a table, or of a dict, as lists.

    Raises
    ------
    ValueError
        No table, or a column that is not there.
    """
    frame = _frame(data)
    columns = list(frame) if isinstance(frame, dict) else frame.columns
    for name in names:
        choose_column("the table", name, columns, (), "")
    return [_values(frame[name]) if isinstance(frame, dict) else frame.get_column(name).to_list() for name in names]


def _values(column: Any) -> list[Any]:
    """A column of a dict as a list."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "biufUO":
        return list(column.tolist())
    return list(column)


def frame_schema(data: Any) -> dict[str, bool]:
    """Columns of a table, and whether they hold numbers (booleans are categories)."""
    frame = _frame(data)
    if isinstance(frame, dict):
        return {name: _are_numbers(values) for name, values in frame.items()}
    return {name: bool(dtype.is_numeric()) for name, dtype in frame.schema.items()}


def _are_numbers(values: Any) -> bool:
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return values.dtype.kind in "iuf"
    there = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float | np.number) for value in there)
    return bool(there) and numbers and not any(isinstance(value, bool) for value in there)


def _of_frame(data: Any, column: str | None, id_column: str | None) -> Iterator[tuple[list[Any], list[Any] | None]]:
    import narwhals as nw

    frame = _frame(data)
    if isinstance(frame, dict):
        columns, n = list(frame), len(next(iter(frame.values()), ()))
        textual = [name for name, values in frame.items() if any(isinstance(value, str) for value in values)]
    else:
        columns, n = frame.columns, len(frame)
        textual = [name for name, kind in frame.schema.items() if kind in (nw.String, nw.Categorical, nw.Enum)]
    wanted = [choose_column("the table", column, columns, textual, "column=")]
    if id_column is not None:
        wanted.append(choose_column("the table", id_column, columns, (), ""))
    for at in range(0, n, BATCH):
        rows = slice(at, at + BATCH)
        part = {name: frame[name][rows] for name in wanted} if isinstance(frame, dict) else frame[rows]
        batch = frame_columns(part, wanted)
        yield batch[0], batch[1] if id_column is not None else None


def is_dataset(data: Any) -> bool:
    """Whether this is something of Hugging Face's `datasets`; it is not imported for that."""
    return type(data).__module__.partition(".")[0] == "datasets"


def _one_split(data: Any, split: str | None) -> Any:
    if not isinstance(data, dict):
        if split is not None:
            raise ValueError(f"split={split!r} is for a DatasetDict, got {type(data).__name__}: leave it out")
        return data
    listed = ", ".join(data)
    if split is None and len(data) > 1:
        raise ValueError(f"the DatasetDict has several splits: choose one with split=. It has: {listed}")
    chosen = next(iter(data)) if split is None else split
    if chosen not in data:
        raise ValueError(f"the DatasetDict has no split {chosen!r}; it has: {listed}")
    return data[chosen]


def _of_dataset(data: Any, column: str | None, id_column: str | None) -> Iterator[tuple[list[Any], list[Any] | None]]:
    """Batches of a dataset, read from Arrow: only a batch is strings of Python at once."""
    features = data.features
    if features is None:  # a stream that does not say what it has
        data = data._resolve_features()
        features = data.features
    textual = [name for name, kind in features.items() if getattr(kind, "dtype", "") in ("string", "large_string")]
    name = choose_column("the dataset", column, list(features), textual, "column=")
    wanted = [name] if id_column is None else [name, id_column]
    if id_column is not None:
        choose_column("the dataset", id_column, list(features), (), "")
    for table in data.select_columns(wanted).with_format("arrow").iter(batch_size=BATCH):
        yield table[name].to_pylist(), None if id_column is None else table[id_column].to_pylist()


def load_dataset(name: Any, *, split: str | None = "train", **options: Any) -> Any:
    """`datasets.load_dataset`, with a message where it is not installed."""
    try:
        import datasets
    except ImportError:
        raise ImportError('loading a dataset by its name needs datasets: pip install "sparsenn[datasets]"') from None
    return datasets.load_dataset(name, split=split, **options)
