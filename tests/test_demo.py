import json
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner

import sparsenn as sn
from sparsenn import demo, docstrings
from sparsenn.cli import main
from sparsenn.docstrings import Docstring, cache_dir, load_docstrings, public_name, read_docstrings
from sparsenn.terminal import display_width

SYMBOLS = [chr(code) for code in range(0x2000, 0x2800)]
LONG = "Return what this function is documented to return, in so many words that it is kept."


@pytest.fixture(scope="module")
def symbols():
    chars, names = demo.unicode_names(SYMBOLS)
    return chars, names, demo.index_names(names)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "pack"
    (folder / "inner" / "tests").mkdir(parents=True)
    (folder / "__init__.py").write_text(f'"""{LONG} Pack."""\n')
    (folder / "inner" / "_hidden.py").write_text(
        f'def shown(x):\n    """{LONG}"""\n\ndef _own(x):\n    """{LONG}"""\n\ndef short():\n    """Short."""\n\n'
        f'class Thing:\n    """{LONG} Thing."""\n    def method(self):\n        """{LONG} Method."""\n\n'
        f'add_newdoc("compiled", """compiled(x)\n\n{LONG}""")\n'
    )
    (folder / "inner" / "tests" / "test_x.py").write_text(f'def tested():\n    """{LONG}"""\n')
    (folder / "broken.py").write_text("def broken(:\n")
    (folder / "latin.py").write_bytes(b'"""caf\xe9"""\n')
    return folder


def test_every_named_character_has_its_name():
    chars, names = demo.unicode_names(SYMBOLS)
    assert names[chars.index("\u2603")] == "SNOWMAN"
    assert names == [unicodedata.name(char) for char in chars]
    assert len(chars) == sum(bool(unicodedata.name(char, "")) for char in SYMBOLS)


def test_snowmn_finds_the_snowman(symbols):
    chars, _, corpus = symbols
    indices, distances = corpus.ask(["snowmn"], 3)
    assert chars[indices[0, 0]] == "☃"
    assert 0 < distances[0, 0] < 0.5


def test_names_with_a_letter_dropped_are_found(symbols):
    _, names, corpus = symbols
    typos = demo.drop_a_letter(names)
    assert all(len(typo) == len(name) - 1 for typo, name in zip(typos, names, strict=True))
    assert typos == demo.drop_a_letter(names)
    assert (corpus.ask(typos, 1).indices[:, 0] == np.arange(len(names))).mean() > 0.8


def test_docstrings_of_a_package(package):
    found = {d.name: d for d in read_docstrings([("pack", package)])}
    expected = {"pack", "pack.inner.shown", "pack.inner.Thing", "pack.inner.Thing.method", "pack.inner.compiled"}
    assert set(found) == expected
    assert found["pack.inner.compiled"].summary == LONG
    assert found["pack.inner.shown"] == Docstring("pack", "pack.inner.shown", LONG)


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        (["numpy", "linalg", "_linalg"], ["inv"], "numpy.linalg.inv"),
        (["numpy", "lib", "_nanfunctions_impl"], ["nanstd"], "numpy.nanstd"),
        (["numpy", "_core", "fromnumeric"], ["sort"], "numpy.sort"),
        (["shutil"], ["copytree"], "shutil.copytree"),
        (["_pydecimal"], ["Decimal"], ""),
        (["scipy", "_private"], [], ""),
        (["email", "message"], ["Message", "_get"], ""),
    ],
)
def test_public_names(module, name, expected):
    assert public_name(module, name) == expected


def test_the_cache_is_used_and_made_again_when_broken(package, tmp_path):
    roots, cache = [("pack", package)], tmp_path / "deep" / "cache.json"
    first, cached = load_docstrings(roots, cache)
    assert not cached
    assert load_docstrings(roots, cache) == (first, True)
    for broken in (b"", b"[", b"{}", b"[]", b"[1, 2]", b'[["a", "b"]]', b'[["a", "b", 3]]', b"\xff"):
        cache.write_bytes(broken)
        assert load_docstrings(roots, cache) == (first, False)
        assert json.loads(cache.read_text()) == [list(d) for d in first]
    assert [path.name for path in cache.parent.iterdir()] == ["cache.json"]


def test_a_cache_that_cannot_be_written_does_no_harm(package, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    found, cached = load_docstrings([("pack", package)], blocked / "cache.json")
    assert len(found) == 5
    assert not cached


def test_the_cache_folder_honours_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == tmp_path / "local" / "sparsenn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "sparsenn"
    assert docstrings.cache_file().parent == cache_dir()
    assert docstrings.cache_file() == docstrings.cache_file()


def test_similar_pairs_are_nearest_first_and_use_each_function_once():
    texts = [LONG * 4 + tail for tail in ("", " One.", " Two words.", " Three words more.", " Four other words there.")]
    found = [Docstring(f"p{i % 2}", f"p{i % 2}.f{i}", text) for i, text in enumerate(texts)]
    graph = demo.index_docstrings(found).index.neighbor_graph
    for across in (True, False):
        pairs = demo.similar_pairs(found, graph, across)
        used = [i for one, other, _ in pairs for i in (one, other)]
        assert pairs
        assert len(set(used)) == len(used)
        assert [p[2] for p in pairs] == sorted(p[2] for p in pairs)
        assert all((found[one].package != found[other].package) == across for one, other, _ in pairs)


def test_the_whole_demonstration_on_little_data(monkeypatch, package):
    few = demo.unicode_names(SYMBOLS)
    several = read_docstrings([("pack", package)])
    several += [Docstring("other", f"other.f{i}", f"{LONG * 4} {i}") for i in range(4)]
    monkeypatch.setattr(demo, "unicode_names", lambda: few)
    monkeypatch.setattr(demo, "load_docstrings", lambda progress: (several, False))
    result = CliRunner().invoke(main, ["demo"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert "☃   SNOWMAN" in result.stdout
    for question in (*demo.MISSPELT, *demo.QUESTIONS):
        assert question in result.stdout
    assert f"{len(few[0]) + len(several):,} texts indexed" in result.stdout
    assert max(map(display_width, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


def test_the_questions_are_answered_by_the_installed_packages(tmp_path):
    roots = [(name, folder) for name, folder in docstrings.installed() if name == "numpy"]
    found, _ = load_docstrings(roots, tmp_path / "cache.json")
    corpus = demo.index_questions(found)
    first = [
        found[i].name for i in corpus.ask(["how do I invert a matrix", "standard deviation ignoring nan"], 1)[0][:, 0]
    ]
    assert first == ["numpy.linalg.inv", "numpy.nanstd"]
    assert isinstance(corpus.index, sn.Index)
