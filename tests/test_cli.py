import csv
import gzip
import importlib.util
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import sparsenn as sn
from sparsenn import catalogue
from sparsenn.adapters import files
from sparsenn.adapters.files import read_texts
from sparsenn.cli import main
from sparsenn.terminal import cut, cut_front, display_width, excerpt, glyph, one_line, pad

TEXTS = [
    "wheat and corn were shipped to Odessa",
    "the central bank raised interest rates",
    "grain shipments to the Soviet Union rose again this year",
    "",
    "a café in the old town",
    "coffee exports from Brazil fell",
]


def run(*arguments, width=80):
    return CliRunner().invoke(main, [str(a) for a in arguments], env={"COLUMNS": str(width)})


def hits(*arguments):
    result = run("search", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", "utf-8")
    return path


def write_table(path, kind):
    records = [{"id": i, "body": text or None, "note": "x"} for i, text in enumerate(TEXTS)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)) + "\n\n", "utf-8")
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, ["id", "body", "note"], delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            writer.writerows(records)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_each_kind_of_table_gives_the_same_texts(tmp_path, kind):
    path = tmp_path / f"texts.{kind}"
    write_table(path, kind)
    assert read_texts(path, "body") == TEXTS


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt"])
def test_gzip(tmp_path, kind):
    plain, zipped = tmp_path / f"t.{kind}", tmp_path / f"T.{kind.upper()}.gz"
    if kind == "txt":
        plain.write_text("\n".join(TEXTS), "utf-8")
    else:
        write_table(plain, kind)
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_texts(zipped, None if kind == "txt" else "body") == TEXTS


def test_lines_keep_their_place_and_drop_the_byte_order_mark(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\nthree")
    assert read_texts(path) == ["one", "", "three"]


def test_bytes_that_are_not_utf8_are_replaced(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"caf\xe9 noir\nplain\n")
    assert read_texts(path) == ["caf\ufffd noir", "plain"]


def test_the_only_column_of_text_needs_no_name(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"n": 1, "body": "one"}\n{"n": 2}\n{"n": 3, "body": null}\n')
    assert read_texts(path) == ["one", "", ""]
    path.write_text('"one"\n"two"\n')
    assert read_texts(path) == ["one", "two"]
    table = tmp_path / "t.csv"
    table.write_text('body\n"a, ""b"""\n')
    assert read_texts(table) == ['a, "b"']


def test_a_short_csv_row_is_an_empty_text_and_long_fields_are_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"id,body\n1\n2,{'word ' * 40_000}\n")
    assert [len(text) for text in read_texts(path, "body")] == [0, 200_000]


HALF_A_FILE = gzip.compress(b"body\n" + b"one two\n" * 99, mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("t.xlsx", b"x", [], "t.xlsx: unknown kind of file '.xlsx': give .txt, .csv, .tsv, .jsonl"),
        ("t", b"x", [], "t: unknown kind of file '(no suffix)'"),
        ("t.parquet.gz", b"x", [], "unknown kind of file '.parquet.gz'"),
        ("t.txt", b"", [], "t.txt has no rows: there is nothing to search"),
        ("t.csv", b"", [], "t.csv has no rows"),
        ("t.csv", b"body\n", [], "t.csv has no rows"),
        ("t.txt", b"one\n", ["--column", "body"], "t.txt has lines, no columns: leave out --column body"),
        ("t.csv", b"a,b\n1,2\n", [], "t.csv has several columns: choose the one to search with --column. It has: a, b"),
        ("t.csv", b"body,b\n1,2\n", ["-c", "bdy"], "t.csv has no column 'bdy'; it has: body, b. Did you mean 'body'?"),
        ("t.jsonl", b'{"a": "x"}\n{"a": \n', [], "t.jsonl, line 2: not valid JSON"),
        ("t.jsonl", b"[1]\n", [], "t.jsonl, line 1: expected an object or a string, got a list"),
        ("t.jsonl", b'"x"\n', ["-c", "a"], "t.jsonl has a string on each line, no columns"),
        ("t.txt.gz", b"not zipped", [], "t.txt.gz is not a whole gzip file"),
        (
            "t.csv.gz",
            HALF_A_FILE,
            [],
            "t.csv.gz is not a whole gzip file",
        ),
        ("t.parquet", b"not parquet", [], "t.parquet is not a parquet file that can be read"),
        ("t.txt", b"\n...\n!\n", [], "none of the 3 rows of t.txt has a word in it"),
        ("t.txt", b"one\n", ["--n-jobs", "0"], "n_jobs must not be 0"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, name, content, options, message):
    path = tmp_path / name
    path.write_bytes(content)
    result = run("search", path, "--query", "one", *options)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "cosin"], "unknown metric 'cosin'. Did you mean 'cosine'"),
        (["--metric", "haversine"], "haversine takes dense rows of 2 columns, not vectors of words"),
        (["--metric", "bit_jaccard"], "bit_jaccard takes bit-packed rows"),
        (["--metric", "kantorovich"], "kantorovich needs cost"),
        (["--metric", "minkowski", "--param", "p=zwei"], "'p=zwei' is not NAME=NUMBER"),
        (["--metric", "minkowski", "--param", "p"], "'p' is not NAME=NUMBER"),
        (["--metric", "minkowski", "--param", "p=0"], "minkowski: p must"),
        (["--metric", "minkowski", "--param", "r=2"], "minkowski has no parameter 'r'; it takes p, w"),
        (["-k", "0"], "0 is not in the range x>=1"),
        (["--analyzer", "letters"], "'letters' is not one of 'word', 'char'"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(lines, options, message):
    result = run("search", lines, "--query", "one", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_missing_file_and_missing_query(tmp_path, lines):
    assert "does not exist" in run("search", tmp_path / "none.txt", "-q", "x").stderr
    assert "Missing option" in run("search", lines).stderr


def test_a_parquet_file_without_a_reader_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    write_table(path, "parquet")
    there = importlib.util.find_spec
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda n: None if n in files.PARQUET_READERS else there(n))
    result = run("search", path, "-c", "body", "-q", "grain")
    assert result.exit_code == 1
    assert 'reading t.parquet needs pyarrow: pip install "sparsenn[files]"' in result.stderr


def test_search_finds_the_nearest_text(lines):
    found = hits(lines, "--query", "grain shipments to the soviet union")
    assert found[0]["row"] == 2
    assert found[0]["text"] == TEXTS[2]
    assert [hit["rank"] for hit in found] == list(range(1, len(found) + 1))
    distances = [hit["distance"] for hit in found]
    assert distances == sorted(distances)
    assert 3 not in [hit["row"] for hit in found]


def test_rows_that_share_nothing_are_no_answer(lines):
    assert [hit["row"] for hit in hits(lines, "-q", "Brazil", "-k", 5)] == [5]
    assert len(hits(lines, "-q", "Brazil", "-k", 5, "--metric", "euclidean")) == 5


def test_accents_and_case_do_not_matter(lines):
    assert hits(lines, "-q", "CAFE")[0]["row"] == 4


def test_pieces_of_letters_forgive_misspelling(lines):
    assert hits(lines, "-q", "cofee exprts", "--analyzer", "char")[0]["row"] == 5


def test_a_metric_with_a_parameter(lines):
    found = hits(lines, "-q", "coffee exports", "--metric", "tversky", "--param", "alpha=1", "--param", "beta=0")
    assert found[0]["row"] == 5
    assert found[0]["distance"] == 0


def test_several_queries_and_one_of_unknown_words(lines):
    result = run("search", lines, "-q", "interest rates", "-q", "xyzzy", "-q", "corn")
    assert result.exit_code == 0
    assert result.stdout.index("central bank") < result.stdout.index("no row has a word of this query")
    assert "no row has a word of this query" in result.stdout.split("xyzzy")[1]
    assert "6 texts read and indexed" in result.stderr
    assert "3 queries" in result.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_search_keeps_to_the_width_of_the_terminal(tmp_path, width):
    path = tmp_path / "t.txt"
    path.write_text(
        "\n".join(f"{'before ' * 30}grain {'後 after ' * 30}" for _ in range(4)) + "\n\x1b[31m grain\x1b[0m\n"
    )
    result = run("search", path, "-q", "grain", width=width)
    assert max(map(display_width, result.stdout.splitlines())) <= width
    assert result.stdout.count("grain") == 6
    assert "\x1b" not in result.stdout


def test_hits_are_highlighted_on_a_terminal(lines):
    result = CliRunner().invoke(main, ["search", str(lines), "-q", "Interést on the rates"], color=True)
    assert "\x1b[33m\x1b[1minterest\x1b[0m" in result.stdout
    assert "\x1b[33m\x1b[1mthe\x1b[0m" not in result.stdout


@pytest.mark.parametrize("width", [60, 80, 100])
def test_metrics_lists_all_of_them_within_the_terminal(width):
    result = run("metrics", width=width)
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert listed == sn.metrics.names()
    assert max(map(display_width, result.stdout.splitlines())) <= width


@pytest.mark.parametrize("name", sn.metrics.names())
def test_each_metric_is_described(name):
    result = run("metrics", name)
    record = sn.metrics.get(name)
    told = " ".join(result.stdout.split())
    assert " ".join(record.formula.split()) in told
    assert record.source in told
    assert all(word in told for word in (*record.aliases, *record.parameters))


def test_an_unknown_metric_is_said():
    result = run("metrics", "tverski")
    assert result.exit_code == 2
    assert "unknown metric 'tverski'. Did you mean 'tversky'" in result.stderr


def test_the_page_of_metrics_is_the_registry(root):
    page = (root / "docs" / "metrics.md").read_text("utf-8")
    assert page == catalogue.markdown(), "python -m sparsenn.cli metrics --markdown > docs/metrics.md"
    assert run("metrics", "--markdown").stdout == page


def test_version_and_help():
    assert sn.__version__ in run("--version").stdout
    for command in ("demo", "search", "metrics"):
        assert run(command, "--help").exit_code == 0
        assert command in run("--help").stdout


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [("snow", 4, "snow"), ("snowman", 4, "sno…"), ("雪だるま", 6, "雪だ…"), ("e\u0301t", 2, "e\u0301t")],
)
def test_cut_counts_columns_not_characters(text, width, expected):
    assert cut(text, width) == expected
    assert display_width(pad(text, 9)) == 9


def test_the_end_of_a_name_is_kept():
    assert cut_front("scipy.linalg.inv", 6) == "…g.inv"
    assert cut_front("inv", 6) == "inv"


def test_control_characters_do_not_reach_the_terminal():
    assert one_line("a\x1b[2J\n\tb\u202ec") == "a [2J b c"
    assert glyph("\u0301") == "\u25cc\u0301"
    assert glyph("\U000e0041") == " "


def test_an_excerpt_shows_the_densest_stretch():
    text = "corn " + "filler " * 50 + "corn and wheat " + "filler " * 50
    shown = excerpt(text, 40, lambda word: word in ("corn", "wheat"))
    assert "corn and wheat" in shown
    assert display_width(shown) <= 40


def test_reuters(data_dir):
    found = hits(
        data_dir / "text" / "reuters21578.parquet", "-c", "body", "-q", "grain shipments to the soviet union", "-k", "5"
    )
    assert len(found) == 5
    assert all("Soviet" in hit["text"] for hit in found)
    assert "shipments" in found[0]["text"]
    assert "grain" in found[0]["text"]
