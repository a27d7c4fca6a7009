"""Named arrays in a directory that is always whole: `.npy` files and a manifest, and no pickle.

    news.sn/
        manifest.json         what there is: shape, type, size and checksum of each file, and what the arrays mean
        data-5f0c2a91b3e4/    the files that the manifest names
            base.store.data.npy
            ...

A save writes a new folder of data, syncs it, and then puts the new manifest in the place of the old one: a single
rename, before which the directory holds the old arrays and after which it holds the new ones. A directory that is not
there yet is written beside its place and renamed as a whole. What a crash leaves behind, the next save removes.

Nothing here knows what an index is. A file is read by comparing its header with the one that the manifest implies,
byte by byte; nothing in a file is evaluated, and no name in a manifest leads out of the directory.
"""

import contextlib
import errno
import glob
import json
import mmap as memory
import os
import re
import secrets
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

MAGIC, VERSION = "sparsenn index", 1
MANIFEST, LOCK = "manifest.json", "lock"
WAITS = (0.01, 0.05, 0.2, 0.5, 1.0)  # seconds
CHUNK = 2**22  # bytes read, written and summed at once
SMALL = 2**16  # bytes of an array that is read, not mapped: a map takes a file descriptor and whole pages
DTYPES = frozenset(np.dtype(order + char).str for char in "?bBhHiIlLqQefd" for order in "<>")
NAME, FOLDER, BESIDE = (
    re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*"),
    re.compile(r"data-[0-9a-f]{12}"),
    re.compile(r"-[0-9a-f]{12}"),
)

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Stored:
    """What was saved.

    Attributes
    ----------
    contents : dict
        What the caller gave to say what the arrays mean.
    arrays : dict of str to ndarray
        Read into memory, or mapped: then a page is read when it is touched, and writing to an array changes a private
        copy of the page, never the file.
    library : str
        Version of the library that saved it.
    """

    contents: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    library: str


def save(
    path: str | os.PathLike[str], contents: Mapping[str, Any], arrays: Arrays, library: str, n_threads: int = 1
) -> None:
    """Write arrays and what they mean to a directory; a crash at any moment leaves the old state or the new one.

    Parameters
    ----------
    path : path
        A new directory, an empty one, or one that holds a saved index, which is replaced.
    contents : dict
        What JSON can hold.
    arrays : dict of str to ndarray
        Numbers only. Names are words of ``a-z0-9_`` joined by dots.
    library : str
    n_threads : int, default 1
        Files written at a time.

    Raises
    ------
    ValueError
        If the directory holds something else.
    OSError
        If it cannot be written. What was there before is untouched.
    """
    target = Path(path)
    for name, array in arrays.items():
        if not NAME.fullmatch(name) or array.dtype.str not in DTYPES:
            raise ValueError(f"cannot save an array {name!r} of dtype {array.dtype}: only numbers under plain names")
    _check_target(target)
    needed = sum(array.nbytes for array in arrays.values())
    try:
        if target.is_dir():
            _save_into(target, contents, arrays, library, n_threads)
        else:
            _save_beside(target, contents, arrays, library, n_threads)
    except OSError as error:
        raise type(error)(
            error.errno,
            f"the index was not saved: {error.strerror or error}. It needs {needed / 1e6:,.1f} MB in a directory that "
            "can be written to; what was there before is as it was",
            str(target),
        ) from error


def load(path: str | os.PathLike[str], *, mmap: bool = False, verify: bool | None = None, n_threads: int = 1) -> Stored:
    """Read what `save` wrote.

    Parameters
    ----------
    path : path
    mmap : bool, default False
        Map the files instead of reading them.
    verify : bool, optional
        Compare all checksums. Without it, those of what is read: everything, but with `mmap` only small files; sizes
        and headers of all files are compared in any case.
    n_threads : int, default 1
        Files read at a time.

    Raises
    ------
    FileNotFoundError
        If there is no such directory.
    ValueError
        If it is no saved index, was written by a newer library, or a file is missing, cut short or altered.
    """
    target = Path(path)
    while True:
        manifest = _read_manifest(target)
        folder = target / manifest["folder"]
        try:
            arrays = _each(
                lambda name, stop, folder=folder, files=manifest["files"]: _read(  # type: ignore[misc]
                    folder / f"{name}.npy", files[name], mmap, bool(verify), stop
                ),
                manifest["files"],
                n_threads,
            )
        except ValueError:
            # another process may have saved meanwhile, and removed the files of the manifest that was read
            if _read_manifest(target)["folder"] != manifest["folder"]:
                continue
            raise
        return Stored(manifest["contents"], arrays, manifest["library"])


def verify(path: str | os.PathLike[str]) -> None:
    """Compare every file with its checksum, a piece at a time.

    Raises
    ------
    ValueError
        Names the first file that is missing, cut short or altered.
    """
    target = Path(path)
    manifest = _read_manifest(target)
    for name, entry in manifest["files"].items():
        file = target / manifest["folder"] / f"{name}.npy"
        header = header_of(entry["dtype"], tuple(entry["shape"]))
        with _opened(file, header, entry) as stream:
            total = 0
            while piece := stream.read(CHUNK):
                total = zlib.crc32(piece, total)
        if total != entry["crc32"]:
            _altered(file)


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of the files that a saved index needs."""
    target = Path(path)
    manifest = _read_manifest(target)
    files = [target / MANIFEST, *(target / manifest["folder"] / f"{name}.npy" for name in manifest["files"])]
    return sum(file.stat().st_size for file in files)


def header_of(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Beginning of an `.npy` file (format 1.0) of an array in C order; its length is a multiple of 64."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    length = -(-(10 + len(text) + 1) // 64) * 64
    return b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little") + text.ljust(length - 11).encode("ascii") + b"\n"


def _each(function: Callable[[str, threading.Event], T], names: Iterable[str], n_threads: int) -> dict[str, T]:
    """What a function gives for each name; after an error, or an interrupt, all are told to stop.

    This thread works too, and alone where there can be no others: as the interpreter ends, or at a limit of the system.
    """
    names, stop = list(names), threading.Event()
    left, done, errors = iter(names), dict[str, T](), list[BaseException]()  # of a list: each name once, to any thread

    def work() -> None:
        try:
            while not stop.is_set() and (name := next(left, None)) is not None:
                done[name] = function(name, stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads: list[threading.Thread] = []
    try:
        with contextlib.suppress(RuntimeError):
            for _ in range(min(n_threads, len(names)) - 1):
                threads.append(threading.Thread(target=work))
                threads[-1].start()
        work()
    except BaseException as error:
        errors.append(error)
        stop.set()
    for thread in threads:
        while thread.is_alive():
            try:
                thread.join()
            except BaseException as error:
                errors.append(error)
                stop.set()
    if errors:
        raise errors[0]
    return {name: done[name] for name in names}


def _pieces(data: memoryview, stop: threading.Event) -> Iterator[memoryview]:
    """The data a piece at a time, as long as nobody says to stop."""
    for begin in range(0, len(data), CHUNK):
        if stop.is_set():
            raise InterruptedError(errno.EINTR, "another file could not be read or written")
        yield data[begin : begin + CHUNK]


# writing


def _check_target(target: Path) -> None:
    """Refuse to write over what is no index."""
    if not target.exists():
        if not target.parent.is_dir():
            raise FileNotFoundError(f"cannot save to {target}: there is no directory {target.parent}")
        return
    if not target.is_dir():
        raise ValueError(f"cannot save to {target}: it is a file, and an index is a directory")
    entries = list(target.iterdir())
    strange = [entry.name for entry in entries if not _may_be_ours(entry)]
    if strange or (entries and not _is_ours(target)):
        what = f" ({min(strange)})" if strange else ""
        raise ValueError(
            f"cannot save to {target}: it holds files that are no index{what}; give a new or an empty directory"
        )


def _may_be_ours(entry: Path) -> bool:
    """Whether a save makes things of this name and kind; another one may be removing them meanwhile."""
    if FOLDER.fullmatch(entry.name):
        return not entry.is_file() and not entry.is_symlink()
    return entry.name in (MANIFEST, f"{MANIFEST}.new", LOCK) and not entry.is_dir()


def _only_arrays(folder: Path) -> bool:
    """Whether this is a folder of data, and holds nothing else."""
    if not FOLDER.fullmatch(folder.name) or not folder.is_dir() or folder.is_symlink():
        return False
    return all(file.suffix == ".npy" and file.is_file() for file in folder.iterdir())


def _is_ours(target: Path) -> bool:
    """Whether a save made what a directory holds: its lock is there, which is empty, or its manifest says so."""
    with contextlib.suppress(OSError):
        if (target / LOCK).stat().st_size == 0:
            return True
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("magic") == MAGIC


def _save_beside(target: Path, contents: Mapping[str, Any], arrays: Arrays, library: str, n_threads: int) -> None:
    """Write a directory that is not there yet."""
    _clean_beside(target)
    beside = target.parent / f".{target.name}-{secrets.token_hex(6)}"
    beside.mkdir()
    try:
        # Windows renames no directory in which a file is open
        with _locked(beside) if os.name != "nt" else contextlib.nullcontext():
            manifest = _write_folder(beside, contents, arrays, library, n_threads)
            _write_file(beside / MANIFEST, manifest)
            _sync(beside)
            try:
                beside.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                _check_target(target)
                _save_into(target, contents, arrays, library, n_threads)  # somebody else was first
        _sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _clean_beside(target: Path) -> None:
    """Remove what crashes have left beside a directory: data in folders whose lock nobody holds."""
    if os.name == "nt":
        return
    for entry in target.parent.glob(f".{glob.escape(target.name)}-*"):
        # the lock is taken before there is data
        ours = BESIDE.fullmatch(entry.name[len(target.name) + 1 :]) and (entry / LOCK).is_file()
        if ours and any(entry.glob("data-*")):
            with contextlib.suppress(OSError), _locked(entry, wait=False):
                if all(_only_arrays(held) if held.is_dir() else _may_be_ours(held) for held in entry.iterdir()):
                    shutil.rmtree(entry, ignore_errors=True)


def _save_into(target: Path, contents: Mapping[str, Any], arrays: Arrays, library: str, n_threads: int) -> None:
    """Replace what a directory holds; one writer at a time."""
    with _locked(target):
        _clean(target)
        fresh = target / f"{MANIFEST}.new"
        manifest = b""
        try:
            manifest = _write_folder(target, contents, arrays, library, n_threads)
            _write_file(fresh, manifest)
            _sync(target)
            _put(fresh, target / MANIFEST)
        except BaseException:
            with contextlib.suppress(OSError, ValueError):
                _clean(target)
            raise
        _sync(target)
        _clean(target)


def _put(fresh: Path, place: Path) -> None:
    """Put a file in the place of another; Windows refuses while a reader has that open, which is not long."""
    for wait in WAITS if os.name == "nt" else ():
        try:
            fresh.replace(place)
            return
        except PermissionError:
            time.sleep(wait)
    fresh.replace(place)


def _clean(target: Path) -> None:
    """Remove what the manifest does not name; what cannot be removed (Windows: in use) is left for the next save."""
    named = None
    if (target / MANIFEST).exists():
        try:
            named = _read_manifest(target)["folder"]
        except ValueError:
            return  # damaged, or of a newer library: nobody knows what it names
    for entry in target.iterdir():
        if entry.name != named and _only_arrays(entry):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name == f"{MANIFEST}.new":
            entry.unlink(missing_ok=True)


def _write_folder(target: Path, contents: Mapping[str, Any], arrays: Arrays, library: str, n_threads: int) -> bytes:
    """Write all arrays into a new folder; returns the manifest that names them."""
    folder = target / f"data-{secrets.token_hex(6)}"
    folder.mkdir()
    files = _each(lambda name, stop: _write_array(folder / f"{name}.npy", arrays[name], stop), arrays, n_threads)
    _sync(folder)
    manifest = {
        "magic": MAGIC,
        "version": VERSION,
        "library": library,
        "folder": folder.name,
        "files": files,
        "contents": dict(contents),
    }
    text = json.dumps({**manifest, "crc32": _sum_of(manifest)}, indent=1, allow_nan=False)
    return (text + "\n").encode("utf-8")


def _write_array(file: Path, array: npt.NDArray[Any], stop: threading.Event) -> dict[str, Any]:
    """Write one array; returns its entry of the manifest."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    header = header_of(array.dtype.str, array.shape)
    total = 0
    with file.open("xb", buffering=0) as stream:
        _write_all(stream, header)
        for piece in _pieces(_bytes_of(array), stop):
            total = zlib.crc32(piece, total)
            _write_all(stream, piece)
        os.fsync(stream.fileno())
    size = len(header) + array.nbytes
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": size, "crc32": total}


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """Memory of an array in C order."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat) if array.size else memoryview(b"")


def _write_all(stream: Any, data: Any) -> None:
    """Write all of it: a raw file may take only a part (a full disk says so at the next call)."""
    view = memoryview(data)
    while len(view):
        view = view[stream.write(view) :]


def _write_file(file: Path, data: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Make what a directory lists outlast a crash of the machine; Windows cannot, and need not."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(target: Path, wait: bool = True) -> Iterator[None]:
    """Hold the directory's lock, which ends with the process that has it, however it ends.

    Without `wait`, somebody else's lock is a BlockingIOError.
    """
    with (target / LOCK).open("ab") as stream:
        if os.name == "nt":
            _lock_region(stream.fileno())
        else:
            import fcntl

            fcntl.flock(stream.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            if os.name != "nt":  # closing is not enough: a process forked meanwhile has the file open too
                fcntl.flock(stream.fileno(), fcntl.LOCK_UN)


def _lock_region(handle: int) -> None:
    """Lock a file as Windows does, which by itself waits for ten seconds only."""
    import msvcrt

    while True:
        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise


# reading


def _sum_of(manifest: Mapping[str, Any]) -> int:
    """Checksum of what a manifest says, however it is written."""
    text = json.dumps({k: v for k, v in manifest.items() if k != "crc32"}, sort_keys=True, separators=(",", ":"))
    return zlib.crc32(text.encode("utf-8"))


def _read_manifest(target: Path) -> dict[str, Any]:
    """Read the manifest, and check all that is used of it."""
    file = target / MANIFEST
    if not target.exists():
        raise FileNotFoundError(f"there is no saved index at {target}")
    if not file.exists():
        raise ValueError(f"{target} is no saved index: it has no {MANIFEST}")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("magic") != MAGIC:
        raise ValueError(f"{file} is not the manifest of a saved index, or it is damaged")
    version = manifest.get("version")
    if isinstance(version, int) and version > VERSION and manifest.get("crc32") == _sum_of(manifest):
        raise ValueError(
            f"{file} has format {version}, and this library reads up to {VERSION}: it was saved by sparsenn "
            f"{manifest.get('library')}; install that or a newer one"
        )
    if manifest.get("crc32") != _sum_of(manifest):
        raise ValueError(f"{file} is damaged: it does not agree with its own checksum; take a copy of the index")
    if version != VERSION or not _is_sound(manifest):
        raise ValueError(f"{file} is not a manifest that this library can have written")
    return manifest


def _is_sound(manifest: Mapping[str, Any]) -> bool:
    """Whether the parts of a manifest are what they should be."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not isinstance(manifest.get("contents"), dict):
        return False
    if not isinstance(manifest.get("folder"), str) or not FOLDER.fullmatch(manifest["folder"]):
        return False
    for name, entry in files.items():
        if (
            not NAME.fullmatch(name)
            or not isinstance(entry, dict)
            or set(entry) != {"dtype", "shape", "bytes", "crc32"}
        ):
            return False
        if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
            return False
        if not isinstance(entry["shape"], list) or not all(type(n) is int and n >= 0 for n in entry["shape"]):
            return False
    return isinstance(manifest.get("library"), str)


def _damaged(file: Path, what: str) -> NoReturn:
    raise ValueError(f"{file} is damaged: {what}; take a copy of the index, or save it again")


def _altered(file: Path) -> NoReturn:
    _damaged(file, "its bytes do not agree with the checksum in the manifest")


@contextlib.contextmanager
def _opened(file: Path, header: bytes, entry: Mapping[str, Any]) -> Iterator[Any]:
    """Open a file whose size and header are as they should be, at the first byte of its data."""
    size = len(header) + int(np.prod(entry["shape"], dtype=object)) * np.dtype(entry["dtype"]).itemsize
    try:
        stream = file.open("rb", buffering=0)
    except FileNotFoundError:
        raise ValueError(f"{file} is missing, and {MANIFEST} names it: take a copy of the index") from None
    with stream:
        actual = os.fstat(stream.fileno()).st_size
        if actual != size or entry["bytes"] != size:
            _damaged(file, f"it has {actual:,} bytes, and should have {size:,}")
        if stream.read(len(header)) != header:
            _damaged(file, "its header is not the one of its type and shape")
        yield stream


def _read(
    file: Path, entry: Mapping[str, Any], mmap: bool, everything: bool, stop: threading.Event
) -> npt.NDArray[Any]:
    """Read or map one array."""
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    header = header_of(entry["dtype"], shape)
    with _opened(file, header, entry) as stream:
        if mmap and entry["bytes"] > SMALL and dtype.isnative:
            mapped = memory.mmap(stream.fileno(), 0, access=memory.ACCESS_COPY)  # not read-only: one type of arrays
            array = np.frombuffer(mapped, dtype, offset=len(header)).reshape(shape)
            if everything and _sum_pieces(array, lambda piece: None, stop) != entry["crc32"]:
                _altered(file)
            return array
        array = np.empty(shape, dtype)
        if _sum_pieces(array, stream.readinto, stop) != entry["crc32"]:
            _altered(file)
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _sum_pieces(array: npt.NDArray[Any], fill: Callable[[memoryview], object], stop: threading.Event) -> int:
    """Checksum of an array's bytes, each piece filled before it is summed."""
    total = 0
    for piece in _pieces(_bytes_of(array), stop):
        fill(piece)
        total = zlib.crc32(piece, total)
    return total
