"""A state as named arrays and a description that JSON can hold, and back.

What took work for its size is kept: rows, the neighbour graph, the links of the search, calibrations. A whole snapshot
has inverted lists, heads and small forms of rows too, so that an index that is loaded answers at once. A metric is kept
by its name and parameters: what it compiles is found again.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from sparsenn import traversal
from sparsenn.answers import Answers, Calibration
from sparsenn.building import Recipe, held_rows, make_answers, make_engine, original_rows, proxy_sample
from sparsenn.compact import Basis, Form, sketch_form
from sparsenn.distance import Space, Store
from sparsenn.exact import ExactEngine
from sparsenn.graph import Links
from sparsenn.metrics.registry import BoundMetric
from sparsenn.names import names_of
from sparsenn.patterns import Patterns
from sparsenn.planning import Plan
from sparsenn.postings import Postings
from sparsenn.proxies import ProxyEngine, has_proxy
from sparsenn.results import Neighbors
from sparsenn.rows import Rows
from sparsenn.search import Heads, Searcher, Setting
from sparsenn.soundness import (
    check_degrees,
    check_engine,
    check_held,
    check_rows,
    check_search,
    check_state,
    check_walk,
)
from sparsenn.state import Segment, State

KINDS = (Store, Postings, Patterns, Heads, Links, Neighbors, Basis, Rows, Plan, Setting, Calibration)
NAMED = {kind.__name__: kind for kind in KINDS}
MADE_AGAIN = {"space", "columns", "learnt", "_marked", "_spare"}  # of an engine


class Packer:
    """Values as what JSON can hold; arrays go to `arrays` under names, each piece of memory once."""

    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self._known: dict[Any, str] = {}

    def put(self, name: str, value: Any) -> Any:
        """Describe a value; its arrays are called `name` and so on."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, np.ndarray):
            return self._put_array(name, value)
        kind = type(value).__name__
        if NAMED.get(kind) is type(value):
            fields = value._asdict() if isinstance(value, tuple) else _fields(value)
            return {"kind": kind, "of": {f: self.put(f"{name}.{_plain(f)}", v) for f, v in fields.items()}}
        if isinstance(value, Mapping):
            return {"dict": {str(key): self.put(f"{name}.{_plain(key)}", v) for key, v in value.items()}}
        if isinstance(value, tuple | list):
            return {"list": [self.put(f"{name}.{number}", v) for number, v in enumerate(value)]}
        raise TypeError(f"a saved index cannot hold {name}, {type(value).__name__}")

    def _put_array(self, name: str, array: npt.NDArray[Any]) -> dict[str, str]:
        memory = (array.__array_interface__["data"][0], array.shape, array.itemsize, array.strides)
        known = self._known.get(memory) if array.size else None
        if known is None:
            self.arrays[name] = array
            self._known[memory] = known = name
        return {"array": known, "dtype": array.dtype.str}


def _plain(name: Any) -> str:
    return str(name).strip("_").lower()


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def unpack(described: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The value that `Packer.put` described."""
    if not isinstance(described, dict):
        return described
    if "float" in described:
        return float(described["float"])
    if "array" in described:
        array = arrays[described["array"]].view(described["dtype"])
        return array if array.flags.writeable else array.copy()  # one type of arrays
    if "dict" in described:
        return {key: unpack(value, arrays) for key, value in described["dict"].items()}
    if "list" in described:
        return tuple(unpack(value, arrays) for value in described["list"])
    return NAMED[described["kind"]](**{key: unpack(value, arrays) for key, value in described["of"].items()})


def pack_state(state: State, packer: Packer, *, whole: bool) -> dict[str, Any]:
    """Describe a state; `whole`: with everything that has been prepared."""
    space, bound = state.space, state.space.bound
    projection = space.projection
    described: dict[str, Any] = {
        "fitted": packer.put("metric.fitted", bound.params),
        "container": space.container,
        "n_features": space.n_features,
        "mean": None if projection is None else packer.put("metric.mean", projection[0]),
        "kind": state.kind,
        "next_number": state.next_number,
        "plan": packer.put("plan", state.plan),
        "graph": packer.put("graph", state.graph),
        "given": packer.put("given", state.given),
        "segments": [
            _pack_segment(segment, packer, "base" if not number else f"added{number}", whole)
            for number, segment in enumerate(state.segments)
        ],
        "answers": _pack_answers(state.answers, packer, whole),
    }
    return described


def _pack_segment(segment: Segment, packer: Packer, name: str, whole: bool) -> dict[str, Any]:
    if whole:
        known = dict(vars(segment.engine))  # a copy: queries may add to it meanwhile
        held = {key: value for key, value in known.items() if key not in MADE_AGAIN}
        engine = {"whole": packer.put(name, held)}
    else:
        rank = packer.put(f"{name}.rank", segment.engine.rank)
        engine = {"rows": packer.put(name, held_rows(segment.engine)), "rank": rank}
    names = segment.names
    return {
        "engine": engine,
        "numbers": packer.put(f"{name}.numbers", segment.numbers),
        "live": packer.put(f"{name}.live", segment.live),
        "names": None if names is None else [names.kind, packer.put(f"{name}.names", names.parts())],
    }


def _pack_answers(answers: Answers, packer: Packer, whole: bool) -> dict[str, Any]:
    with answers._lock:
        made = answers._searcher is not None or answers._prepared is not None
        searcher, walk, last = answers.searcher if made else None, answers._walk, answers.last
        calibrations = list(answers._calibrations.values())
        learnt = answers._learnt
    if searcher is not None and searcher.links is not None:
        walk = searcher.order, searcher.links
    return {
        "seed": int(answers._seed),
        "cost": packer.put("cost", answers.exact_cost),
        "calibrations": packer.put("calibrations", calibrations),
        "last": None if last is None else last.k,
        "learnt": packer.put("learnt", learnt),
        "searcher": _pack_searcher(searcher, packer) if whole and searcher is not None else None,
        "walk": None if walk is None or (whole and searcher is not None) else _pack_walk(*walk, packer),
    }


def _pack_walk(order: npt.NDArray[np.int64], links: Links, packer: Packer) -> dict[str, Any]:
    """Describe links without the places that are not used, and their order, if it is not that of the rows."""
    width = links.ids.shape[1]
    used = np.arange(width) < links.degrees[:, None]
    as_they_are = np.array_equal(order, np.arange(len(order)))
    return {
        "order": None if as_they_are else packer.put("walk.order", order),
        "width": width,
        "links": packer.put("walk", links._replace(ids=links.ids[used])),
    }


def _unpack_walk(described: Any, arrays: Any, n: int) -> tuple[npt.NDArray[np.int64], Links]:
    links: Links = unpack(described["links"], arrays)
    order = np.arange(n, dtype=np.int64) if described["order"] is None else unpack(described["order"], arrays)
    width = int(described["width"])
    check_degrees(n, width, links)
    ids = np.zeros((n, width), np.int32)
    ids[np.arange(width) < links.degrees[:, None]] = links.ids
    links = links._replace(ids=ids)
    check_walk(n, order, links)
    return order, links


def _pack_searcher(searcher: Searcher, packer: Packer) -> dict[str, Any]:
    form = searcher.form
    return {
        "form": form.name,
        "edges": form.edges,
        "blur": form.blur,
        "params": packer.put("form.params", form.metric.params),
        "x": packer.put("form.x", form.x),
        "z": packer.put("form.z", form.z),
        "basis": packer.put("form.basis", form.basis),
        "order": packer.put("order", searcher.order),
        "heads": packer.put("heads", searcher.heads),
        "links": packer.put("links", searcher.links),
    }


def unpack_state(
    described: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    bound: BoundMetric,
    recipe: Recipe,
    check: bool = False,
) -> State:
    """The state that `pack_state` described, of rows under the metric `bound`.

    `check`: compare what points into arrays with their sizes, before compiled code follows it.
    """
    fitted = dataclasses.replace(bound, params=unpack(described["fitted"], arrays))
    projection = None
    if described["mean"] is not None:
        assert fitted.metric.project is not None
        projection = (unpack(described["mean"], arrays), fitted.metric.project(fitted.params))
    space = Space.prepared(fitted, described["container"], described["n_features"], projection)
    recipe = dataclasses.replace(recipe, seed=np.uint64(described["answers"]["seed"]))
    plan, graph = unpack(described["plan"], arrays), unpack(described["graph"], arrays)
    segments = []
    for number, part in enumerate(described["segments"]):
        engine, proxies = _unpack_engine(part["engine"], arrays, space, recipe, base=number == 0, check=check)
        answers = None
        if number == 0:
            answers = _unpack_answers(described["answers"], arrays, engine, plan, graph, proxies, recipe)
            if check and described["answers"]["searcher"] is not None:
                searcher = described["answers"]["searcher"]
                check_search(engine, searcher["form"], **_parts_of(searcher, arrays))
        named = part["names"]
        segments.append(
            Segment(
                engine,
                unpack(part["numbers"], arrays),
                None if named is None else names_of(named[0], unpack(named[1], arrays)),
                unpack(part["live"], arrays),
                answers,
            )
        )
    given = unpack(described["given"], arrays)
    state = State(tuple(segments), plan, graph, given, described["next_number"], described["kind"])
    if check:
        check_state(state)
    return state


def _unpack_engine(
    described: Any, arrays: Any, space: Space, recipe: Recipe, *, base: bool, check: bool
) -> tuple[ExactEngine, Any]:
    """An engine, and with the base that of its proxy."""
    if "rows" in described:
        rows, rank = unpack(described["rows"], arrays), unpack(described.get("rank"), arrays)
        # compiled code is about to follow them
        check_rows("rows", rows, rows.shape[0], space.n_features, space.container)
        check_rows("rows", rows, rows.shape[0], rows.shape[1], rows.container)
        if rank is None:
            rows = rows.copy()  # the engine takes them over, and may write to them
        else:
            check_held(rows, rank, space)
        if base:
            return make_engine(space, rows, recipe, rank)
        return ExactEngine(space, rows, recipe.n_jobs(), rank is not None, rank), None  # small parts have no lists
    engine = ExactEngine.__new__(ExactEngine)
    vars(engine).update(unpack(described["whole"], arrays), space=space, learnt=None, _marked={}, _spare=[])
    if check:
        check_engine(engine)
    if not base or not has_proxy(space) or recipe.method == "exact":
        return engine, None
    rows = original_rows(engine)
    return engine, (ProxyEngine(space, rows, recipe.n_jobs(), engine), proxy_sample(rows, recipe.seed))


def _unpack_answers(
    described: Any, arrays: Any, engine: ExactEngine, plan: Plan, graph: Any, proxies: Any, recipe: Recipe
) -> Answers:
    answers = make_answers(engine, plan, graph, proxies, recipe, cost=unpack(described["cost"], arrays))
    answers._calibrations = {c.k: c for c in unpack(described["calibrations"], arrays)}
    answers.last = answers._calibrations.get(described["last"])
    answers._learnt = unpack(described["learnt"], arrays)
    if described.get("walk") is not None:
        answers._walk = _unpack_walk(described["walk"], arrays, engine.n_rows)
    if described["searcher"] is not None:
        answers._prepared = lambda: _unpack_searcher(described["searcher"], arrays, engine, recipe.seed)
    return answers


def _parts_of(described: Any, arrays: Any) -> dict[str, Any]:
    """What a searcher is made of."""
    return {key: unpack(described[key], arrays) for key in ("x", "z", "params", "basis", "order", "heads", "links")}


def _unpack_searcher(described: Any, arrays: Any, engine: ExactEngine, seed: np.uint64) -> Searcher:
    parts = _parts_of(described, arrays)
    metric, record = engine.own()[1], engine.space.bound.metric
    name = described["form"]
    if parts["basis"] is not None:
        form = sketch_form(record, metric, parts["basis"], parts["x"])
    else:
        if name == "packed words":
            measure = traversal.gather(traversal.shared_step(record), packed=True)  # type: ignore[no-untyped-call]
            metric = metric._replace(measure=measure, refine=0, params=parts["params"])
        elif name.startswith("values as "):
            kind = name.removeprefix("values as ")
            measure = traversal.sweep(engine.space.dense_term, kind)  # type: ignore[no-untyped-call]
            metric = metric._replace(measure=measure, refine=0, params=parts["params"])
        form = Form(name, metric, parts["x"], parts["z"])
    form = dataclasses.replace(form, edges=described["edges"], blur=described["blur"])
    return Searcher(engine, form, parts["order"], parts["heads"], parts["links"], seed)
