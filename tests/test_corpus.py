"""What a text index holds while it changes: interrupted, by several threads, and after many turnovers."""

import pickle
import threading

import numpy as np
import pytest

import sparsenn as sn
from sparsenn import storage
from sparsenn.adapters import TextPool
from sparsenn.corpus import Corpus, Ids
from sparsenn.index import Index


def state_of(index):
    return [(i, index.text_of(i)) for i in index.ids], [hit[:2] for hit in index.search("common", k=100)]


CHANGES = {
    "add": lambda index: index.add(["common new"], ids=["n"]),
    "update": lambda index: index.update(["b"], ["common other"]),
    "remove": lambda index: index.remove(["b"]),
}
POINTS = [
    (Index, "add"), (Index, "update"), (Index, "remove"), (TextPool, "extended"), (TextPool, "replaced"),
    (Ids, "grow"), (Corpus, "tidied"),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("owner", "name"), POINTS, ids=lambda point: getattr(point, "__name__", point))
@pytest.mark.parametrize("late", [False, True])
def test_interrupted_changes_leave_texts_with_their_numbers(monkeypatch, change, owner, name, late):
    def made():
        return sn.TextIndex().fit(["common a1", "common b2", "common c3"], ids=["a", "b", "c"])

    index, changed = made(), made()
    CHANGES[change](changed)
    before, after = state_of(index), state_of(changed)
    real = getattr(owner, name)

    def interrupted(self, *args, **options):
        if late:
            real(self, *args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        try:
            CHANGES[change](index)
        except KeyboardInterrupt:
            assert state_of(index) in (before, after)
        else:
            assert state_of(index) == after  # that point is not on the way
    if state_of(index) == before:
        with pytest.raises(ValueError, match="no text with the id 'n'"):
            index.text_of("n")
        CHANGES[change](index)
    index.add(["common z9"], ids=["z"])
    changed.add(["common z9"], ids=["z"])
    assert state_of(index) == state_of(changed)


def test_writers_wait_for_each_other(monkeypatch):
    index = sn.TextIndex().fit(["common start"])
    real, gate, entered = Index.add, threading.Event(), threading.Event()

    def slow(self, rows):
        found = real(self, rows)
        if threading.current_thread().name == "A":
            entered.set()
            gate.wait(30)
        return found

    monkeypatch.setattr(Index, "add", slow)
    got = {}
    threads = [
        threading.Thread(target=lambda name=name: got.update({name: index.add([f"common {name}"])}), name=name)
        for name in "AB"
    ]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    assert {hit.text for hit in index.search("common")} == {"common start", "common A"}  # readers do not wait
    gate.set()
    for thread in threads:
        thread.join()
    for name in "AB":
        assert index.text_of(got[name][0]) == f"common {name}"


def test_readers_see_texts_of_their_rows():
    index = sn.TextIndex().fit([f"common t{i}" for i in range(30)], ids=range(30))
    wrong, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            try:
                hits = index.search("common", k=500, explain=True)
                wrong.extend(hit for hit in hits if int(hit.text.split()[1][1:]) % 1000 != hit.id)
                index.ids  # noqa: B018
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for i in range(30, 90):
        index.add([f"common t{i}"], ids=[i])
        index.update([i], [f"common t{i + 1000}"])
        index.remove([i - 30])
    stop.set()
    thread.join()
    assert wrong == []
    assert index.ids == list(range(60, 90))


def test_a_query_sees_one_moment(monkeypatch):
    index = sn.TextIndex().fit(["common a1", "common b2", "common c3", "common d4"])
    real = Index._query

    def late(self, *args, **options):
        found = real(self, *args, **options)
        monkeypatch.undo()
        index.remove([1, 2])
        index.update([0], ["nothing"])
        return found

    monkeypatch.setattr(Index, "_query", late)
    found = index.search("common", explain=True)
    assert [hit.text for hit in found] == ["common a1", "common b2", "common c3", "common d4"]
    assert all(hit.terms for hit in found)
    assert [hit.id for hit in index.search("common")] == [3]


@pytest.mark.parametrize("own", [False, True])
def test_removed_texts_are_let_go(tmp_path, own):
    def ids(turn):
        return [f"{turn}.{i}" for i in range(40)] if own else None

    index = sn.TextIndex().fit([f"secret0 filler w{i}" for i in range(40)], ids=ids(0))
    for turn in range(1, 8):
        old = index.ids
        index.add([f"secret{turn} filler w{i}" for i in range(40)], ids=ids(turn))
        index.update(index.ids[-5:], [f"updated filler w{i}" for i in range(35, 40)])
        index.remove(old)
        corpus, state = index._now()
        assert len(corpus.texts) <= 80
        assert len(corpus.texts) == corpus.n_held(state)
    index.remove(index.ids[:3])
    index.save(tmp_path / "x")
    stored = storage.load(tmp_path / "x").arrays
    assert b"secret7" in stored["texts.pool"].tobytes()
    assert b"secret6" not in stored["texts.pool"].tobytes()
    assert stored["texts.pool"].tobytes().count(b"filler") == 37
    for again in (sn.TextIndex.load(tmp_path / "x"), pickle.loads(pickle.dumps(index))):
        assert again.ids == index.ids
        assert [again.text_of(i) for i in again.ids] == [index.text_of(i) for i in index.ids]
        assert again.search("filler w38") == index.search("filler w38")
        more = again.add(["filler later"], ids=["later"] if own else None)
        assert again.text_of(more[0]) == "filler later"
    for i in index.ids:
        index.remove([i])
    assert index.search("filler") == []
    assert len(index._now()[0].texts) == 0
    with pytest.raises(ValueError, match="number of no text|^0 is"):
        index.ids_of([0]) if own else index._now()[0].text(0)


def test_updates_keep_ids():
    index = sn.TextIndex("bm25").fit(["aa bb", "bb cc", "cc dd"], ids=["x", "y", "z"])
    index.update(["z", "x"], ["dd dd", "aa cc"])
    assert index.ids == ["x", "y", "z"]
    assert [hit[:2] for hit in index.search("aa")] == [("x", "aa cc")]
    assert index.search("cc", allowed=["z"]) == []
    for ids, texts, message in [
        (["w"], ["aa"], "no text with the id 'w'"),
        (["x", "x"], ["aa", "bb"], "'x' is given twice"),
        (["x"], ["aa", "bb"], "2 texts and 1 ids"),
        ("x", ["aa"], "must be a list of ids"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.update(ids, texts)
    assert index.text_of("x") == "aa cc"


def test_rows_without_texts_are_named():
    index = sn.TextIndex().fit(["aa bb", "bb cc"])
    index.index_.add(np.ones((1, index.index_.n_features)))
    with pytest.raises(ValueError, match=r"add texts by TextIndex\.add"):
        index.search("aa")


@pytest.mark.parametrize("weighting", ["tfidf", "bm25"])
def test_arrays_that_do_not_fit_are_refused(tmp_path, weighting):
    index = sn.TextIndex(weighting).fit([f"common w{i} x{i % 7}" for i in range(50)], ids=[f"i{j}" for j in range(50)])
    index.remove(["i3"])
    index.save(tmp_path / "x")
    stored = storage.load(tmp_path / "x")
    tried = 0
    for name, array in stored.arrays.items():
        if not name.startswith(("texts", "ids", "vectorizer")) or not len(array):
            continue
        others = [array[: len(array) // 2].copy()]
        if "starts" in name or "numbers" in name:
            scaled, falling = array.copy(), array.copy()
            scaled[1:] *= 100_000
            falling[1:3] = falling[2:0:-1]
            others += [scaled, falling, array + 1]
        for other in others:
            storage.save(tmp_path / "y", stored.contents, {**stored.arrays, name: other}, "0")
            with pytest.raises(ValueError, match="damaged|not fit|columns, and"):
                sn.TextIndex.load(tmp_path / "y")
            tried += 1
    assert tried > 15


def test_loading_may_verify_what_is_mapped(tmp_path):
    index = sn.TextIndex().fit([f"common {'w' * 50}{i}" for i in range(3000)])
    index.save(tmp_path / "x")
    file = next((tmp_path / "x").rglob("texts.pool.npy"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert len(sn.TextIndex.load(tmp_path / "x", mmap=True)) == 3000
    with pytest.raises(ValueError, match=r"texts\.pool\.npy is damaged"):
        sn.TextIndex.load(tmp_path / "x", mmap=True, verify=True)


def test_pools_share_what_is_there():
    pool = TextPool(["a", "é"])
    longer = pool.extended(["x"]).extended(["y", ""]).extended(["z"])
    assert [longer[i] for i in range(len(longer))] == ["a", "é", "x", "y", "", "z"]
    other = longer.replaced([1, 5], ["\ud800", "zz"])
    assert [other[i] for i in range(6)] == ["a", "\ud800", "x", "y", "", "zz"]
    taken = other.take([5, 1, 0])
    assert [taken[i] for i in range(3)] == ["zz", "\ud800", "a"]
    again = TextPool.of_arrays(*other.arrays())
    assert [again[i] for i in range(6)] == [other[i] for i in range(6)]
    assert (len(pool), longer[5]) == (2, "z")
    many = TextPool()
    for i in range(100):
        many = many.extended([str(i)])
    assert len(many._chunks) < 10
    assert [many[i] for i in range(100)] == [str(i) for i in range(100)]
