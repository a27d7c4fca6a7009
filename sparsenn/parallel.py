"""Blocks of rows on a pool of threads. The compiled loops release the GIL."""

import functools
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")


RLock: Any = type(threading.RLock())


class ForkLock(RLock):  # type: ignore[misc]
    """A lock that a thread may take again, and that a forked process finds open, whoever held it.

    Taken and given back without a line of Python in which an interrupt could land.
    """

    def __init__(self) -> None:
        super().__init__()
        _locks.add(self)


_locks: "weakref.WeakSet[ForkLock]" = weakref.WeakSet()


def _open_all() -> None:
    for lock in _locks:
        lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_open_all)


class cached(Generic[T]):  # noqa: N801
    """A property that is computed once and kept, as `functools.cached_property`, without a lock.

    That of Python 3.11 has one for all instances, which a forked process may find held. Two threads may both compute.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self._name, self.__doc__ = function, function.__name__, function.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value: T = self._function(instance)
        instance.__dict__[self._name] = value
        return value


@functools.cache
def _processors() -> int:
    """Processors that this process may use, asked for once: it takes microseconds."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def count_jobs(n_jobs: int | None) -> int:
    """Number of threads: None and -1 mean all processors this process may use, -2 all but one.

    Raises
    ------
    ValueError
        If `n_jobs` is 0 or not an integer.
    """
    if n_jobs is not None and (isinstance(n_jobs, bool) or not hasattr(n_jobs, "__index__")):
        raise ValueError(f"n_jobs must be an integer or None, got {n_jobs!r}")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: give the number of threads, or None for all processors")
    if n_jobs is not None and n_jobs > 0:
        return int(n_jobs)
    processors = _processors()
    if n_jobs is None:
        return processors
    return max(processors + 1 + int(n_jobs), 1)


def map_blocks(
    function: Callable[[int, int], T],
    n: int,
    n_jobs: int | None,
    smallest: int = 64,
    tick: Callable[[int], object] | None = None,
) -> list[T]:
    """Call ``function(start, stop)`` over blocks of ``range(n)``; results in order.

    Several blocks a thread even out rows of different cost, as many for each thread; blocks are the same size but for
    one, and of at least half of `smallest`. `tick` is told how many of the n are done after each block.
    """
    if n == 0:
        return []
    jobs = count_jobs(n_jobs)
    parts = min(8 * jobs if jobs > 1 else 1 if tick is None else 16, -(-n // smallest))
    parts -= parts % jobs if parts > jobs else 0
    ends = [n * part // parts for part in range(parts + 1)]

    def block(start: int, stop: int) -> T:
        result = function(start, stop)
        if tick is not None:
            tick(stop - start)
        return result

    if parts == 1 or jobs == 1:
        return [block(a, b) for a, b in itertools.pairwise(ends)]
    with ThreadPoolExecutor(min(jobs, parts)) as pool:
        return list(pool.map(block, ends[:-1], ends[1:]))


def map_queue(function: Callable[[S], T], queue: deque[S], n_jobs: int | None) -> Iterator[T]:
    """Call a function on each item of a queue, to whose end the taker of a result may add; results in order.

    No more results are held than there are threads, and one.
    """
    jobs = count_jobs(n_jobs)
    if jobs == 1:
        while queue:
            yield function(queue.popleft())
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            while queue or waiting:
                while queue and len(waiting) <= jobs:
                    waiting.append(pool.submit(function, queue.popleft()))
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def map_stream(function: Callable[[S], T], items: Iterable[S], n_jobs: int | None) -> Iterator[T]:
    """Call a function on each item of a stream; results in order. No more items are read than threads can take."""
    jobs = count_jobs(n_jobs)
    if jobs == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
