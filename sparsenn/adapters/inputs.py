"""Texts and columns from what people hold them in: lists, data frames, Hugging Face datasets."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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
    if is_dataset(data):
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
    if isinstance(data, list | tuple):
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
    if column is not None:
        if column in columns:
            return column
        near = difflib.get_close_matches(str(column), columns, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{what} has no column {column!r}; it has: {', '.join(columns)}.{hint}")
    if len(columns) == 1 or len(textual) == 1:
        return (textual if len(textual) == 1 else columns)[0]
    raise ValueError(f"{what} has several columns: choose the one to search with {how}. It has: {', '.join(columns)}")


def _is_frame(data: Any) -> bool:
    if isinstance(data, list | tuple | set | dict) or type(data).__module__ in ("builtins", "numpy"):
        return False
    from narwhals import dependencies

    return bool(dependencies.is_into_dataframe(data))


def _frame(data: Any) -> Any:
    import narwhals as nw

    if isinstance(data, dict):
        lengths = {name: len(values) for name, values in data.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of a table must have the same length, got {lengths}")
        return data
    try:
        return nw.from_native(data, eager_only=True)
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
    return [list(frame[name]) if isinstance(frame, dict) else frame[name].to_list() for name in names]


def frame_schema(data: Any) -> dict[str, bool]:
    """Columns of a table, and whether they hold numbers (booleans are categories)."""
    frame = _frame(data)
    if isinstance(frame, dict):
        return {name: _are_numbers(values) for name, values in frame.items()}
    return {name: bool(dtype.is_numeric()) for name, dtype in frame.schema.items()}


def _are_numbers(values: Iterable[Any]) -> bool:
    there = [value for value in values if value is not None]
    numbers = all(isinstance(value, int | float) or hasattr(value, "dtype") for value in there)
    return bool(there) and numbers and not any(isinstance(value, bool) for value in there)


def _of_frame(data: Any, column: str | None, id_column: str | None) -> Iterator[tuple[list[Any], list[Any] | None]]:
    import narwhals as nw

    frame = _frame(data)
    textual = [name for name, kind in frame.schema.items() if kind in (nw.String, nw.Categorical, nw.Enum)]
    name = choose_column("the table", column, frame.columns, textual, "column=")
    if id_column is not None:
        choose_column("the table", id_column, frame.columns, (), "")
    for at in range(0, len(frame), BATCH):
        part = frame[at : at + BATCH]
        yield part[name].to_list(), None if id_column is None else part[id_column].to_list()


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
