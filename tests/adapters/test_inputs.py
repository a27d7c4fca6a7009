import bz2
import gzip
import lzma

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import sparsenn as sn
from sparsenn.adapters import TextPool, open_source, read_texts
from sparsenn.adapters.files import read_with_ids
from sparsenn.adapters.inputs import BATCH

TEXTS = ["a cat", "a dog", None, "a bird in the hand"]
TABLE = {"text": TEXTS, "n": [3, 1, 4, 1], "name": ["c", "d", "x", "b"]}
datasets.disable_progress_bars()


def read(*arguments, **options):
    batches = list(open_source(*arguments, **options).batches)
    texts = [text for batch, _ in batches for text in batch]
    ids = [own for _, own_ids in batches for own in own_ids or ()]
    return texts, ids


@pytest.mark.parametrize("make", [list, tuple, iter, pd.Series, pl.Series, pa.array, lambda t: pa.chunked_array([t]),
                                  lambda t: np.array(t, object)])  # fmt: skip
def test_lists_and_series(make):
    texts = [None if pd.isna(text) else str(text) for text in read(make(TEXTS))[0]]
    assert texts == TEXTS


MAKERS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
    "dataset": datasets.Dataset.from_dict,
    "stream": lambda table: datasets.Dataset.from_dict(table).to_iterable_dataset(),
    "dict of one": lambda table: datasets.DatasetDict({"train": datasets.Dataset.from_dict(table)}),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_tables_and_datasets(kind):
    texts, ids = read(MAKERS[kind](TABLE), "text", "n")
    assert [None if pd.isna(text) else text for text in texts] == TEXTS
    assert ids == TABLE["n"]
    with pytest.raises(ValueError, match=r"has no column 'txt'; it has: text, n, name\. Did you mean 'text'\?"):
        read(MAKERS[kind](TABLE), "txt")
    with pytest.raises(ValueError, match="has no column 'key'"):
        read(MAKERS[kind](TABLE), "text", "key")
    with pytest.raises(ValueError, match="has several columns: choose the one to search with column="):
        read(MAKERS[kind](TABLE))
    assert read(MAKERS[kind]({"text": ["x"], "n": [1]}))[0] == ["x"]


def test_splits():
    both = datasets.DatasetDict({s: datasets.Dataset.from_dict({"text": [s]}) for s in ("train", "test")})
    assert read(both, split="test")[0] == ["test"]
    with pytest.raises(ValueError, match="several splits: choose one with split=. It has: train, test"):
        read(both)
    with pytest.raises(ValueError, match="no split 'dev'; it has: train, test"):
        read(both, split="dev")
    with pytest.raises(ValueError, match="is for a DatasetDict, got Dataset"):
        read(both["train"], split="train")
    with pytest.raises(ValueError, match="is for a DatasetDict, got list"):
        read(["x"], split="train")


@pytest.mark.parametrize(("data", "options", "message"), [
    ("one text", {}, "not one string"),
    (["x"], {"column": "text"}, "column='text' is for tables and datasets, got list"),
    (3, {}, "texts must be an iterable of strings, a table or a dataset, got int"),
])  # fmt: skip
def test_bad_sources_are_named(data, options, message):
    with pytest.raises(ValueError, match=message):
        read(data, **options)


def test_a_dataset_is_read_in_batches():
    stream = datasets.Dataset.from_dict({"text": ["x"] * (2 * BATCH + 1)}).to_iterable_dataset()
    assert [len(batch) for batch, _ in open_source(stream).batches] == [BATCH, BATCH, 1]


def test_a_dataset_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pd.DataFrame({"text": ["one cat", "two dogs"], "key": ["a", "b"]}).to_parquet(tmp_path / "part.parquet")
    options = {"data_files": str(tmp_path / "part.parquet"), "cache_dir": str(tmp_path / "cache")}
    for streaming in (False, True):
        index = sn.TextIndex.from_dataset(
            "parquet", "text", id_column="key", load_options={**options, "streaming": streaming}
        )
        assert [hit.id for hit in index.search("dogs")] == ["b"]
    with pytest.raises(ValueError, match="load_options are for a dataset given by its name"):
        sn.TextIndex.from_dataset(datasets.Dataset.from_dict(TABLE), "text", load_options={"streaming": True})


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files(tmp_path, suffix, compress):
    path = tmp_path / f"t.txt{suffix}"
    path.write_bytes(compress(b"one\ntwo \xff three\n"))
    assert read_texts(path) == ["one", "two \ufffd three"]  # broken UTF-8 does not hide the rest
    path.write_bytes(b"not compressed")
    with pytest.raises(ValueError, match="is not a whole"):
        read_texts(path)


def test_an_index_of_a_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"key,text\nx,a cat\ny,a \xff\xfe broken dog\n")
    index = sn.TextIndex.from_file(path, "text", id_column="key")
    assert [hit.id for hit in index.search("dog")] == ["y"]
    with pytest.raises(ValueError, match="no column 'body'"):
        sn.TextIndex.from_file(path, "body")


def test_a_pool_holds_texts():
    pool = TextPool(["a", "", "é\ud800"])
    pool.extend([])
    pool.extend(["later"])
    assert [pool[i] for i in range(len(pool))] == ["a", "", "é\ud800", "later"]
    again = TextPool.of_arrays(*pool.arrays())
    assert [again[i] for i in range(len(again))] == ["a", "", "é\ud800", "later"]
    for i in (-1, 4):
        with pytest.raises(IndexError, match="there are 4 texts"):
            pool[i]
    assert len(TextPool.of_arrays(*TextPool().arrays())) == 0


@pytest.mark.parametrize("kind", ["dataset", "stream"])
def test_columns_of_datasets(kind):
    column = MAKERS[kind](TABLE)["text"]
    assert type(column).__name__.endswith("Column")
    assert read(column)[0] == TEXTS
    long = datasets.Dataset.from_dict({"text": ["x"] * (BATCH + 1)})["text"]
    assert [len(batch) for batch, _ in open_source(long).batches] == [BATCH, 1]
    assert len(sn.TextIndex().fit(column)) == 4


def test_a_dict_is_a_table():
    assert read(TABLE, "text", "n") == (TEXTS, TABLE["n"])
    assert read({"text": np.array(["a", "b"]), "n": [1, 2]})[0] == ["a", "b"]
    with pytest.raises(ValueError, match="no column 'txt'; it has: text, n, name"):
        read(TABLE, "txt")
    with pytest.raises(ValueError, match="same length"):
        read({"a": ["x"], "b": ["x", "y"]}, "a")


def test_names_of_columns_may_be_numbers_but_not_twice():
    frame = pd.DataFrame([["a cat", "x"], ["a dog", "y"]])
    assert read(frame, 0, 1) == (["a cat", "a dog"], ["x", "y"])
    with pytest.raises(ValueError, match="choose the one to search with column=. It has: 0, 1"):
        read(frame)
    with pytest.raises(ValueError, match="no column 'text'; it has: 0, 1"):
        read(frame, "text")
    frame.columns = ["text", "text"]
    with pytest.raises(ValueError, match="columns of different names"):
        read(frame, "text")


def test_ids_of_a_file_are_read_with_its_texts(tmp_path, monkeypatch):
    frame = pd.DataFrame({"text": ["a cat", None], "key": ["x", "y"], "n": [1.5, float("nan")]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"text": "a cat", "key": "x", "n": 1.5}\n{"text": NaN, "key": "y", "n": NaN}\n')
    for kind in ("csv", "parquet", "jsonl"):
        path = tmp_path / f"t.{kind}"
        assert read_with_ids(path, "text", "key") == (["a cat", ""], ["x", "y"])
        assert read_texts(path, "n") == ["1.5", ""]
        with pytest.raises(ValueError, match="no column 'kay'"):
            read_with_ids(path, "text", "kay")
    (tmp_path / "t.txt").write_text("one\n")
    with pytest.raises(ValueError, match="leave out id_column key"):
        read_with_ids(tmp_path / "t.txt", None, "key")
    opened = []
    monkeypatch.setattr("sparsenn.adapters.files._open", lambda path: opened.append(path) or path.open())
    assert sn.TextIndex.from_file(tmp_path / "t.csv", "text", id_column="key").ids == ["x", "y"]
    assert len(opened) == 1
