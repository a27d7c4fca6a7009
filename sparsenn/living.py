"""What changes an index, and what keeps it: rows that come and go under their ids, files and pickles."""

import os
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sparsenn import storage, updates
from sparsenn.building import Recipe
from sparsenn.metrics import resolve
from sparsenn.names import Names, make_names, read_keys, shown
from sparsenn.parallel import ForkLock, count_jobs
from sparsenn.snapshot import Packer, pack_state, unpack, unpack_state
from sparsenn.state import State

KEPT = (  # options of the constructor that are saved
    *("n_neighbors", "method", "random_state", "n_jobs", "seeds", "n_trees", "leaf_size", "max_candidates", "n_iters"),
    *("delta", "alpha", "expected_queries", "verbose"),
)


class Living:
    """An index as something that changes and lasts; `sparsenn.Index` is one."""

    metric: Any
    metric_params: Any
    init_graph: Any
    n_jobs: int | None
    _state: State | None
    _stored: Callable[[], State] | None  # what `load` found, until it is needed
    _lock: ForkLock  # of whoever changes the index; readers need none

    def _recipe(self) -> Recipe:
        """What the constructor was given."""
        raise NotImplementedError

    def _now(self) -> State:
        """What the index holds: read once by each call."""
        state = self._state
        if state is not None:
            return state
        with self._lock:
            if self._state is None and self._stored is not None:
                self._state, self._stored = self._stored(), None
            if self._state is None:
                raise ValueError("this index has no rows yet: call fit(X) first")
            return self._state

    def ids_of(self, indices: Any) -> npt.NDArray[Any]:
        """Translate the ``indices`` of a result to the ids that were given to the rows.

        Integer ids stand in results as they are. Of rows with texts as ids, results have their numbers (the first row
        fitted is 0; a number is never used again), and this gives the texts.

        Parameters
        ----------
        indices : array of int, any shape

        Returns
        -------
        ndarray
            The same shape; texts as dtype object, None for -1.

        Raises
        ------
        ValueError
            If a number is that of no row.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> index = sn.Index("euclidean").fit(np.array([[0.0], [5.0]]), ids=["near", "far"])
        >>> index.ids_of(index.query([[1.0]], k=3).indices).tolist()
        [['near', 'far', None]]
        """
        numbers = np.asarray(indices)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise ValueError(f"indices must be integers, as they stand in results, got {numbers.dtype}")
        return self._now().names_of(numbers.astype(np.int64))

    def add(self, X: Any, *, ids: Any = None, new_columns: bool = False) -> npt.NDArray[Any]:  # noqa: N803
        """Add rows. The next query finds them, and indexes them first.

        They are searched exactly beside the rows that were fitted, until they are a third as many: then all become
        one index again, whose neighbour graph begins with its former edges and what a search found for each new row.
        What the metric has learnt of the fitted rows (variances, covariances) stays as it is.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_new, n_columns)
        ids : array of int or list of str, shape (n_new,), optional
            Ids of the rows, which no other row has. Needed where `fit` was given ids, refused where it was not.
        new_columns : bool, default False
            Let `X` have more columns than the index, as after a vocabulary has grown at its end: rows that are there
            get zeros in them. Then everything is indexed again, and queries must have the new columns too.

        Returns
        -------
        ndarray
            Ids of the new rows.

        Raises
        ------
        ValueError
            Bad data, a wrong number of columns, an id that a row has. The index stays as it was.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> index = sn.Index("euclidean").fit(np.array([[0.0], [5.0]]))
        >>> index.add(np.array([[1.0]])).tolist()
        [2]
        >>> index.query([[1.0]], k=2).indices.tolist()
        [[2, 0]]
        """
        with self._lock:
            state, recipe = self._now(), self._recipe()
            state, rows = self._read_more(state, X, new_columns, recipe)
            names = self._read_new_ids(state, ids, len(rows))
            new, numbers = updates.add(state, rows, names, recipe)
            added = numbers if names is None else names.read(np.arange(len(names)))
            self._state = new
        return added

    def _read_more(self, state: State, X: Any, new_columns: bool, recipe: Recipe) -> tuple[State, Any]:  # noqa: N803
        """Rows to add, and the state that they fit, which has more columns if they do."""
        if not new_columns:
            try:
                return state, state.space.read(X, "X")
            except ValueError as error:
                if "columns, but the index has" not in str(error):
                    raise
                raise ValueError(f"{error}, or say new_columns=True if there are new ones at the end") from None
        shape = X.shape if hasattr(X, "shape") else np.shape(X)
        if len(shape) == 2 and shape[1] > state.space.n_features:
            rows = state.space.widened(shape[1]).read(X, "X")
            return updates.widen(state, shape[1], recipe), rows
        return state, state.space.read(X, "X")

    def _read_new_ids(self, state: State, ids: Any, n: int) -> Names | None:
        """Ids for new rows, checked."""
        if state.kind == "number":
            if ids is not None:
                raise ValueError("this index numbers its rows: leave ids out, or give them to fit already")
            return None
        if ids is None:
            raise ValueError("the rows of this index have ids of their own: give add(X, ids=...) as well")
        names = make_names(ids, n)
        if names.kind != state.kind and n:
            raise ValueError(f"ids are {names.kind}, but those of the index are {state.kind}: an index has one kind")
        every = names.read(np.arange(n))
        for segment in state.segments:
            places = segment.find_names(every if state.kind == "int" else every.tolist())
            if (places >= 0).any():
                at = int(np.argmax(places >= 0))
                raise ValueError(
                    f"ids has {shown(every[at])} at place {at}, which a row has: use update to change that row"
                )
        return names if n else None

    def remove(self, ids: Any) -> None:
        """Remove rows. The next query does not find them.

        They are left out of what is found until they are a fifth of all; then everything is indexed again without them.

        Parameters
        ----------
        ids : array of int, or list of str
            Ids of rows that are there.

        Raises
        ------
        ValueError
            If an id is that of no row, or stands twice. The index stays as it was.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> index = sn.Index("euclidean").fit(np.array([[0.0], [5.0], [6.0]]))
        >>> index.remove([1])
        >>> index.query([[5.0]], k=2).indices.tolist()
        [[2, 0]]
        """
        with self._lock:
            state, ids = self._now(), read_keys(ids)
            places = _each_once(state.locate(ids), ids)
            new = updates.remove(state, places, self._recipe())
            self._state = new

    def update(self, ids: Any, X: Any) -> None:  # noqa: N803
        """Give rows other values. They keep their ids, and the next query finds them as they are now.

        Parameters
        ----------
        ids : array of int, or list of str
            Ids of rows that are there.
        X : array-like or sparse matrix, shape (len(ids), n_columns)

        Raises
        ------
        ValueError
            Bad data, an id of no row, or one that stands twice. The index stays as it was.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> index = sn.Index("euclidean").fit(np.array([[0.0], [5.0]]))
        >>> index.update([0], np.array([[7.0]]))
        >>> index.query([[7.0]], k=2).indices.tolist()
        [[0, 1]]
        """
        with self._lock:
            state, ids = self._now(), read_keys(ids)
            places = _each_once(state.locate(ids), ids)
            rows = state.space.read(X, "X")
            if len(rows) != len(places[0]):
                raise ValueError(f"X has {len(rows)} rows, but there are {len(places[0])} ids: give a row for each")
            new = updates.change(state, places, rows, self._recipe())
            self._state = new

    def save(self, path: str | os.PathLike[str], *, compact: bool = True) -> None:
        """Save the index to a directory, as `.npy` files and a manifest.

        Queries and changes may go on meanwhile; saved is what there was when the call began. A crash at any moment
        leaves the directory as it was or as it is after the call. `init_graph` is not saved.

        Parameters
        ----------
        path : path
            A new directory, an empty one, or one that holds a saved index, which is replaced.
        compact : bool, default True
            Save the rows, the graph, the links of the search and what calibrations told. The rest is made when the
            index that is loaded is first used, by each process for itself: about a second for 100,000 documents. False
            saves all that has been prepared (after a query, or `calibrate`, that is all a query needs): two to three
            times the room, but an index that answers at once, and of which processes that map it share everything.

        Raises
        ------
        ValueError
            If the directory holds something else; if the metric is a function of your own, which a file cannot hold.
        OSError
            If it cannot be written. What was there before is untouched.

        Examples
        --------
        >>> import numpy as np, sparsenn as sn
        >>> sn.Index("euclidean").fit(np.array([[0.0], [5.0]])).save("points.sn")            # doctest: +SKIP
        >>> sn.Index.load("points.sn", mmap=True).query([[1.0]], k=1)                        # doctest: +SKIP
        """
        from sparsenn import __version__

        storage.save(path, *self._described(whole=not compact), __version__, count_jobs(self.n_jobs))

    def _described(self, whole: bool, state: State | None = None) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `save` writes: the contents of a manifest, and arrays; `state`: what there was at some moment."""
        bound = resolve(self.metric, self.metric_params)
        if bound.function is not None:
            raise ValueError(
                f"the metric {bound.metric.name!r} is a function of your own, which a file cannot hold without pickle: "
                "use a named metric, or pickle the index"
            )
        packer = Packer()
        options = {name: packer.put(f"options.{name}", getattr(self, name)) for name in KEPT}
        metric = {"name": bound.metric.name, "params": packer.put("metric.params", bound.params)}
        described = {
            "options": options,
            "metric": metric,
            "state": pack_state(state or self._now(), packer, whole=whole),
        }
        return described, packer.arrays

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False, verify: bool | None = None) -> Self:
        """Load an index that was saved.

        Parameters
        ----------
        path : path
        mmap : bool, default False
            Map the files into memory instead of reading them: opens in milliseconds whatever the size, reads pages as
            they are needed, and processes that map the same index share them. Changes stay in memory until `save`.
        verify : bool, optional
            Compare every file with its checksum, and whether the arrays fit together. If not given: everything that
            is read. With `mmap` these are only the manifest, the small files, and the sizes and headers of all; say
            True to have all of it read once. What a compact save left out is made when it is first needed, and whether
            its arrays fit is compared then, but with True at once.

        Returns
        -------
        Index

        Raises
        ------
        FileNotFoundError
            If there is no such directory.
        ValueError
            If it is no saved index, was saved by a newer library, or a file is missing, cut short or altered; the
            message names the file.
        """
        stored = storage.load(path, mmap=mmap, verify=verify, n_threads=1 if mmap else count_jobs(None))
        check = bool(verify) or (verify is None and not mmap)
        return cls._restored(stored.contents, stored.arrays, path, check, at_once=bool(verify))

    @classmethod
    def _restored(
        cls,
        contents: Any,
        arrays: dict[str, npt.NDArray[Any]],
        path: str | os.PathLike[str],
        check: bool,
        at_once: bool = False,
    ) -> Self:
        """Make the index that `_described` told of; `check`: whether its arrays fit together.

        What a compact save left out is made, and then its arrays are checked, when it is needed, or `at_once`.
        """
        if "text_index" in contents:
            raise ValueError(f"{path} holds a text index: load it with sparsenn.TextIndex.load")
        try:
            metric = contents["metric"]
            params = unpack(metric["params"], arrays)
            options = {name: unpack(contents["options"][name], arrays) for name in KEPT}
            made: Any = cls
            index: Self = made(metric["name"], params or None, **options)
            described = contents["state"]
            whole = "whole" in described["segments"][0]["engine"]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"the manifest in {path} does not describe an index: {error!r}") from None
        index._keep(described, arrays, check)
        if check and (whole or at_once):
            index._now()
        return index

    def _keep(self, described: Any, arrays: dict[str, npt.NDArray[Any]], check: bool = False) -> None:
        """Hold a saved state, which becomes arrays and compiled loops when it is first needed."""

        def made() -> State:
            try:
                bound = resolve(self.metric, self.metric_params)
                return unpack_state(described, arrays, bound, self._recipe(), check)
            except (KeyError, TypeError, AttributeError, IndexError) as error:
                raise ValueError(f"the saved index is not whole: {error!r}") from error

        self._stored = made

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle holds: the options, the rows, the graph and links; the rest is made again."""
        bound = resolve(self.metric, self.metric_params)
        named = bound.function is None
        kept: dict[str, Any] = {name: getattr(self, name) for name in KEPT}
        kept["metric"] = bound.metric.name if named else self.metric
        kept["metric_params"] = (dict(bound.params) or None) if named else self.metric_params
        if self._state is None and self._stored is None:
            return {"options": {**kept, "init_graph": self.init_graph}}
        packer = Packer()
        described = pack_state(self._now(), packer, whole=False)
        return {"options": kept, "state": described, "arrays": packer.arrays}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Take up what a pickle holds."""
        self.__init__(**kept["options"])  # type: ignore[misc]
        if "state" in kept:
            self._keep(kept["state"], kept["arrays"])


def _each_once(places: list[npt.NDArray[np.int64]], ids: Any) -> list[npt.NDArray[np.int64]]:
    """Places of rows, none of them twice."""
    for own in places:
        own = np.sort(own[own >= 0])
        again = own[1:][own[1:] == own[:-1]]
        if again.size:
            first = next(i for part in places for i in np.flatnonzero(part == again[0]) if (part == again[0]).sum() > 1)
            raise ValueError(f"ids has {shown(list(ids)[first])} twice: give each id once")
    return places
