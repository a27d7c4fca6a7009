"""Saving: what is written is whole or not there; what is read is what was written, or an error names the file."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sparsenn import storage

ARRAYS = {
    "rows.data": np.random.default_rng(0).random(40_000, np.float32),
    "rows.indptr": np.arange(30_000, dtype=np.int64).reshape(3, -1),
    "order": np.arange(5, dtype=np.uint16)[::-1],
    "marks": np.zeros((0, 3), np.int32),
    "one": np.array(2.5),
    "live": np.array([True, False]),
}


def same(arrays, others):
    assert set(arrays) == set(others)
    for name in arrays:
        assert arrays[name].dtype == others[name].dtype
        np.testing.assert_array_equal(arrays[name], others[name])


def version(n):
    """Arrays that say which save they are from."""
    return {"a": np.full(30_000, n), "b": np.full((200, 70), n, np.float32)}


def version_of(path, **how):
    """Number of the save that a directory holds; it must be one, and whole."""
    stored = storage.load(path, **how)
    same(stored.arrays, version(stored.contents["n"]))
    return stored.contents["n"]


def leftovers(folder):
    """Files that no manifest names."""
    return sorted(p.name for p in folder.iterdir() if p.name not in ("manifest.json", "lock"))


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("verify", [None, True])
def test_what_is_read_is_what_was_written(tmp_path, mmap, verify):
    storage.save(tmp_path / "x.sn", {"text": "é", "list": [1, None, 2.5]}, ARRAYS, "0.1")
    stored = storage.load(tmp_path / "x.sn", mmap=mmap, verify=verify)
    same(stored.arrays, ARRAYS)
    assert stored.contents == {"text": "é", "list": [1, None, 2.5]}
    assert stored.library == "0.1"
    assert storage.size_of(tmp_path / "x.sn") >= sum(a.nbytes for a in ARRAYS.values())
    storage.verify(tmp_path / "x.sn")


def test_files_are_npy_files_and_nothing_is_pickled(tmp_path):
    storage.save(tmp_path / "x.sn", {}, ARRAYS, "0.1")
    files = list((tmp_path / "x.sn").rglob("*.npy"))
    assert len(files) == len(ARRAYS)
    for file in files:
        np.testing.assert_array_equal(np.load(file, allow_pickle=False), ARRAYS[file.stem])
        assert file.stat().st_size < ARRAYS[file.stem].nbytes + 200
    assert "import pickle" not in Path(storage.__file__).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="only numbers under plain names"):
        storage.save(tmp_path / "y.sn", {}, {"a": np.array(["x", None], object)}, "0.1")
    with pytest.raises(ValueError, match="only numbers under plain names"):
        storage.save(tmp_path / "y.sn", {}, {"../a": np.zeros(3)}, "0.1")
    assert not (tmp_path / "y.sn").exists()


def test_mapped_arrays_may_be_written_to_but_the_file_stays(tmp_path):
    storage.save(tmp_path / "x.sn", {}, ARRAYS, "0.1")
    mapped = storage.load(tmp_path / "x.sn", mmap=True).arrays["rows.data"]
    assert mapped.flags.writeable  # of one type with arrays in memory: nothing is compiled again
    assert mapped.flags.aligned
    mapped[:] = 0
    same(storage.load(tmp_path / "x.sn", verify=True).arrays, ARRAYS)


def test_a_save_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "x.sn"
    path.mkdir()
    for n in range(3):
        storage.save(path, {"n": n}, version(n), "0.1")
        assert version_of(path, verify=True) == n
        assert len(leftovers(path)) == 1
    assert leftovers(tmp_path) == ["x.sn"]
    before = storage.load(path, mmap=True)
    storage.save(path, {"n": 9}, version(9), "0.1")
    same(before.arrays, version(2))  # a reader keeps what it has mapped


def test_what_is_no_index_is_not_written_over(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    with pytest.raises(ValueError, match="it holds files that are no index"):
        storage.save(tmp_path / "photos", {}, ARRAYS, "0.1")
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match="it is a file, and an index is a directory"):
        storage.save(tmp_path / "file", {}, ARRAYS, "0.1")
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        storage.save(tmp_path / "none" / "x.sn", {}, ARRAYS, "0.1")
    with pytest.raises(FileNotFoundError, match="there is no saved index"):
        storage.load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is no saved index: it has no manifest.json"):
        storage.load(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"


FOLDER = f"data-{'0' * 12}"


@pytest.mark.parametrize(
    "files",
    [
        {"data-2024/thesis.txt": "x"},
        {"data-2024/thesis.txt": "x", "lock": ""},
        {f"{FOLDER}/a.npy": "x"},  # as a save names them, but neither lock nor manifest says whose
        {f"{FOLDER}/a.npy": "x", "manifest.json": '{"name": "my web app"}'},
        {f"{FOLDER}/a.npy": "x", "lock": "123", "manifest.json": "{"},
        {"manifest.json": '{"name": "my web app"}', "index.html": "hi"},
        {"manifest.json": '{"magic": "sparsenn index"}', "notes.txt": "hi"},
        {"manifest.json/a": "x", "lock": ""},
        {FOLDER: "x", "lock": ""},
    ],
)
def test_a_users_directory_is_left_as_it_is(tmp_path, files):
    path = tmp_path / "mine"
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    with pytest.raises(ValueError, match="it holds files that are no index"):
        storage.save(path, {}, ARRAYS, "0.1")
    assert {p.relative_to(path).as_posix(): p.read_text() for p in path.rglob("*") if p.is_file()} == files


def test_what_a_user_puts_into_an_index_stays(tmp_path):
    path = tmp_path / "x.sn"
    storage.save(path, {"n": 1}, version(1), "0.1")
    (path / "manifest.json").write_text("{")  # damaged, but the lock is ours
    (path / FOLDER).mkdir()
    (path / FOLDER / "thesis.txt").write_text("x")
    (path / "lock").touch()
    storage.save(path, {"n": 2}, version(2), "0.1")
    assert version_of(path, verify=True) == 2
    assert (path / FOLDER / "thesis.txt").read_text() == "x"
    assert len(leftovers(path)) == 2  # the old arrays are gone


def test_every_flipped_bit_is_found_and_its_file_named(tmp_path):
    path = tmp_path / "x.sn"
    storage.save(path, {"n": 1}, ARRAYS, "0.1")
    rng = np.random.default_rng(0)
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != "lock"):
        whole = file.read_bytes()
        for place in {0, len(whole) - 1, *rng.integers(0, len(whole), 6).tolist()}:
            data = bytearray(whole)
            data[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(data)
            for check in (storage.load, storage.verify, lambda p: storage.load(p, mmap=True, verify=True)):
                with pytest.raises(ValueError, match=file.name):
                    check(path)
        file.write_bytes(whole)
    storage.verify(path)


@pytest.mark.parametrize("mmap", [False, True])
def test_files_cut_short_missing_or_too_long(tmp_path, mmap):
    path = tmp_path / "x.sn"
    storage.save(path, {"n": 1}, ARRAYS, "0.1")
    for file in sorted(p for p in path.rglob("*.npy")):
        whole = file.read_bytes()
        for data in (whole[:-1], whole + b"\0", b""):
            file.write_bytes(data)
            with pytest.raises(ValueError, match=rf"{file.name} is damaged: it has {len(data):,} bytes"):
                storage.load(path, mmap=mmap)
        file.unlink()
        with pytest.raises(ValueError, match=f"{file.name} is missing"):
            storage.load(path, mmap=mmap)
        file.write_bytes(b"\x94" + whole[1:])
        with pytest.raises(ValueError, match=f"{file.name} is damaged: its header"):
            storage.load(path, mmap=mmap)
        file.write_bytes(whole)
    same(storage.load(path, mmap=mmap).arrays, ARRAYS)


def rewritten(path, change):
    """A manifest that somebody has edited, with a checksum that agrees."""
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    manifest["crc32"] = storage._sum_of(manifest)
    file.write_text(json.dumps(manifest))


def test_a_manifest_from_the_future(tmp_path):
    storage.save(tmp_path / "x.sn", {}, ARRAYS, "0.1")
    rewritten(tmp_path / "x.sn", lambda m: m.update(version=99, library="7.0", files="in another form"))
    with pytest.raises(ValueError, match=r"manifest.json has format 99, and this library reads up to 1.*sparsenn 7.0"):
        storage.load(tmp_path / "x.sn")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(folder="../elsewhere"),
        lambda m: m.update(folder="/etc"),
        lambda m: m["files"].update({"../../evil": m["files"]["one"]}),
        lambda m: m["files"]["one"].update(dtype="|O8"),
        lambda m: m["files"]["one"].update(dtype="<f3"),
        lambda m: m["files"]["one"].update(dtype="<M8"),
        lambda m: m["files"]["one"].update(shape=[-1]),
        lambda m: m["files"]["one"].update(shape="()"),
        lambda m: m.update(contents=[]),
        lambda m: m.update(version="1"),
        lambda m: m.pop("files"),
    ],
)
def test_a_crafted_manifest_is_refused(tmp_path, change):
    storage.save(tmp_path / "x.sn", {}, ARRAYS, "0.1")
    rewritten(tmp_path / "x.sn", change)
    with pytest.raises(ValueError, match=r"manifest.json"):
        storage.load(tmp_path / "x.sn")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "{}", '{"magic": "other"}', "\0\xff"])
def test_a_manifest_that_is_none(tmp_path, text):
    storage.save(tmp_path / "x.sn", {}, ARRAYS, "0.1")
    (tmp_path / "x.sn" / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest.json"):
        storage.load(tmp_path / "x.sn")


ALONE = """
import importlib.util, os, sys
import numpy as np
spec = importlib.util.spec_from_file_location("storage", {file!r})  # the file alone: it needs nothing of the package
storage = sys.modules["storage"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(storage)
"""
CHILD = (
    ALONE
    + """
def version(n):
    return {{"a": np.full(30_000, n), "b": np.full((200, 70), n, np.float32)}}

path, first, last, calls, threads = sys.argv[1], *map(int, sys.argv[2:6])
left = [calls]
def dying(function):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)  # as kill -9: nothing is cleaned up
        return function(*arguments, **options)
    return call
if calls:
    for name in ("mkdir", "open", "rename", "replace", "unlink", "rmdir", "chmod"):
        setattr(storage.Path, name, dying(getattr(storage.Path, name))) if hasattr(storage.Path, name) else None
    os.fsync = dying(os.fsync)
    storage._write_all = dying(storage._write_all)
    storage.shutil.rmtree = dying(storage.shutil.rmtree)
print("ready", flush=True)
for n in range(first, last):
    storage.save(path, {{"n": n}}, version(n), "0.1", threads)
"""
)


def start(path, first, last, calls=0, threads=1, **how):
    numbers = [str(number) for number in (first, last, calls, threads)]
    command = [sys.executable, "-c", CHILD.format(file=storage.__file__), str(path), *numbers]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


@pytest.mark.parametrize(("there", "threads"), [(False, 1), (True, 1), (True, 2)])
def test_a_crash_at_any_step_of_a_save_leaves_the_old_or_the_new(tmp_path, there, threads):
    """The process dies before each of the calls that a save makes, one after another."""
    seen, steps = set(), 0
    for batch in range(0, 200, 8):
        paths = [tmp_path / f"{batch + i}.sn" for i in range(8)]
        if there:
            for path in paths:
                storage.save(path, {"n": 1}, version(1), "0.1")
        children = [start(path, 2, 3, batch + i + 1, threads) for i, path in enumerate(paths)]
        codes = [(child.communicate(), child.returncode)[1] for child in children]
        for path, code in zip(paths, codes, strict=True):
            assert code in (0, 9)
            if path.exists() or there:
                seen.add(version_of(path, verify=True))
                assert seen <= ({1, 2} if there else {2})
            storage.save(path, {"n": 3}, version(3), "0.1")  # and the next one clears up
            assert version_of(path) == 3
            assert len(leftovers(path)) == 1
            assert not list(tmp_path.glob(f".{path.name}-*/data-*"))
        steps += sum(code == 9 for code in codes)
        if 0 in codes:
            break
    assert steps > 10
    assert 2 in seen
    assert not there or 1 in seen


@pytest.mark.skipif(os.name == "nt", reason="what a crash left beside stays there")
def test_only_what_nobody_holds_is_removed_beside_a_new_directory(tmp_path):
    held, left, other = (tmp_path / f".x.sn-{c * 12}" for c in "abg")
    for folder in (held, left, other):
        (folder / f"data-{'0' * 12}").mkdir(parents=True)
        (folder / "lock").touch()
    with storage._locked(held):
        storage.save(tmp_path / "x.sn", {"n": 1}, version(1), "0.1")
    assert leftovers(tmp_path) == [held.name, other.name, "x.sn"]
    assert version_of(tmp_path / "x.sn", verify=True) == 1


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_kill_9_at_random_moments(tmp_path):
    path = tmp_path / "x.sn"
    storage.save(path, {"n": 0}, version(0), "0.1")
    rng, last = np.random.default_rng(0), 0
    for _ in range(8):
        child = start(path, last + 1, last + 100_000)
        assert child.stdout.readline() == "ready\n"
        time.sleep(float(rng.random()) * 0.05)
        child.kill()
        child.communicate()
        found = version_of(path, verify=True)
        assert found >= last
        last = found
    assert last > 0


def test_two_writers_and_readers_at_once(tmp_path):
    path = tmp_path / "x.sn"  # the two also race to be the first
    children = [start(path, 1000 * c, 1000 * c + 25) for c in (1, 2)]
    reads = 0
    while any(child.poll() is None for child in children):
        if path.exists():
            reads += version_of(path, mmap=reads % 2 == 0) >= 1000
    assert [child.returncode for child in children] == [0, 0], [child.stderr.read() for child in children]
    for child in children:
        child.communicate()
    assert reads > 0
    assert version_of(path, verify=True) in (1024, 2024)
    assert leftovers(tmp_path) == ["x.sn"]
    assert len(leftovers(path)) == 1


def test_two_threads_save_to_one_place(tmp_path):
    errors = []

    def write(n):
        try:
            for i in range(8):
                storage.save(tmp_path / "x.sn", {"n": n + i}, version(n + i), "0.1")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert version_of(tmp_path / "x.sn", verify=True) in (17, 27)
    (tmp_path / "like").mkdir()
    assert (tmp_path / "x.sn").stat().st_mode == (tmp_path / "like").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_forked_during_a_save_does_not_keep_the_lock(tmp_path):
    with storage._locked(tmp_path):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(write)
            os.read(read, 1)  # until the other end is closed
            os._exit(0)
    try:
        with storage._locked(tmp_path, wait=False):
            pass
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


class Full:
    """A disk that takes so many bytes."""

    def __init__(self, monkeypatch, room):
        self.room, self.write = room, storage._write_all
        monkeypatch.setattr(storage, "_write_all", self)

    def __call__(self, stream, data):
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        self.write(stream, data)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("room", [0, 100, 240_200, 290_000])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, room, threads):
    storage.save(tmp_path / "old.sn", {"n": 1}, version(1), "0.1")
    for name in ("old.sn", "new.sn"):
        with monkeypatch.context() as patch:
            Full(patch, room)
            with pytest.raises(OSError, match=r"the index was not saved: No space left.*needs 0.3 MB") as caught:
                storage.save(tmp_path / name, {"n": 2}, version(2), "0.1", threads)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(tmp_path / name)
    assert version_of(tmp_path / "old.sn", verify=True) == 1
    assert len(leftovers(tmp_path / "old.sn")) == 1
    assert leftovers(tmp_path) == ["old.sn"]


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if not mount or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root on Linux")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_file_system_that_is_full(small_disk):
    path = small_disk / "x.sn"
    storage.save(path, {"n": 1}, version(1), "0.1")
    for n in range(2, 40):  # there is room for two, and each save removes the one before
        storage.save(path, {"n": n}, version(n), "0.1")
    large = {"a": np.zeros(2**18, np.float32)}
    for target in (path, small_disk / "y.sn"):
        with pytest.raises(OSError, match="No space left"):
            storage.save(target, {"n": 0}, large, "0.1")
    assert version_of(path, verify=True) == 39
    assert leftovers(small_disk) == ["x.sn"]
    assert len(leftovers(path)) == 1
    storage.save(path, {"n": 40}, version(40), "0.1")
    assert version_of(path) == 40


READ_ONLY = (
    ALONE
    + """
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
for path in sys.argv[1:]:
    try:
        storage.save(path, {{}}, {{"a": np.zeros(3)}}, "0.1")
    except PermissionError as error:
        print(error.filename, error.strerror)
    else:
        print("saved")
print(storage.load(sys.argv[1], mmap=True, verify=True).contents["n"])
"""
)


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_read_only_directory(tmp_path):
    path = tmp_path / "x.sn"
    storage.save(path, {"n": 1}, version(1), "0.1")
    for folder in (path, tmp_path):
        folder.chmod(0o555)
    for folder in list(tmp_path.parents)[:-1]:  # another user must come as far as here
        if not folder.stat().st_mode & 0o001 and folder.stat().st_uid == os.geteuid() and os.geteuid() == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    try:
        code = READ_ONLY.format(file=storage.__file__)
        command = [sys.executable, "-B", "-c", code, str(path), str(tmp_path / "new.sn")]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    finally:
        for folder in (path, tmp_path):
            folder.chmod(0o755)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    for line, name in zip(lines, ("x.sn", "new.sn"), strict=False):
        assert line.startswith(f"{tmp_path / name} the index was not saved: Permission denied")
    assert lines[2] == "1"
    assert version_of(path, verify=True) == 1
    assert leftovers(tmp_path) == ["x.sn"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_save_that_is_interrupted_cleans_up(tmp_path, monkeypatch, threads):
    storage.save(tmp_path / "x.sn", {"n": 1}, version(1), "0.1")
    write, calls = storage._write_all, []

    def interrupted(stream, data):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(stream, data)

    for name in ("x.sn", "y.sn"):
        calls.clear()
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(storage, "_write_all", interrupted)
            storage.save(tmp_path / name, {"n": 2}, version(2), "0.1", threads)
    assert version_of(tmp_path / "x.sn", verify=True) == 1
    assert leftovers(tmp_path) == ["x.sn"]
    assert len(leftovers(tmp_path / "x.sn")) == 1


def test_threads_stop_after_an_error_and_one_is_enough(tmp_path, monkeypatch):
    many = {f"a{n}": np.full(9, n) for n in range(40)}
    storage.save(tmp_path / "x.sn", {}, many, "0.1", 4)
    for threads in (1, 3):
        found = storage.load(tmp_path / "x.sn", n_threads=threads).arrays
        assert list(found) == list(many)
        assert all(np.array_equal(found[name], many[name]) for name in many)
    begun, missing = [], next(tmp_path.glob("x.sn/data-*/a3.npy"))
    missing.unlink()
    read = storage._read
    monkeypatch.setattr(storage, "_read", lambda file, *more: (begun.append(file), read(file, *more))[1])
    with pytest.raises(ValueError, match=r"a3\.npy is missing"):
        storage.load(tmp_path / "x.sn", n_threads=2)
    assert len(begun) < len(many)

    def none(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    storage.save(tmp_path / "x.sn", {}, many, "0.1", 4)
    assert len(storage.load(tmp_path / "x.sn", n_threads=4).arrays) == len(many)
