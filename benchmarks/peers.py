"""What users would take instead, called as well as we know how to."""

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Ids = npt.NDArray[np.int64]
Rows = sp.csr_matrix | npt.NDArray[np.float32]


def topn_ids(found: sp.csr_matrix, k: int, skip_self: bool = False) -> Ids:
    """Turn a result of sparse_dot_topn into ids, -1 where there are fewer; the row itself left out if asked for."""
    ids = np.full((found.shape[0], k), -1, np.int64)
    for i in range(found.shape[0]):
        a, b = found.indptr[i], found.indptr[i + 1]
        own = found.indices[a:b][np.argsort(-found.data[a:b], kind="stable")]
        own = own[own != i] if skip_self else own
        ids[i, : min(len(own), k)] = own[:k]
    return ids


@dataclass(frozen=True)
class SindiSetting:
    """How SINDI is asked: share of query terms left out, candidates, and whether they are measured again."""

    pruned: float
    candidates: int
    reorder: bool

    def __str__(self) -> str:
        return f"pruned {self.pruned:g}, {self.candidates} candidates{', reordered' if self.reorder else ''}"

    @property
    def name(self) -> str:
        """Say it in a table."""
        return f"SINDI ({self})"


# All that gave recall 1 somewhere: which is the fastest depends on the data, so all are measured.
SINDI_SETTINGS = [
    SindiSetting(0.0, 10, False),
    SindiSetting(0.0, 20, True),
    SindiSetting(0.0, 500, True),
    SindiSetting(0.2, 100, True),
]


class Sindi:
    """SINDI of pyvsag, over rows of unit length.

    Its traps: `dim` is the longest row's number of nonzeros, not of columns; results are (ids,
    distances), whatever its docstring says; where fewer than k rows are found the other ids are rubbish.
    """

    def __init__(self, pyvsag: Any, rows: sp.csr_matrix, queries: sp.csr_matrix, reorder: bool):
        longest = int(max(np.diff(rows.indptr).max(), np.diff(queries.indptr).max()))
        options = {"term_id_limit": rows.shape[1], "window_size": 50_000, "use_reorder": reorder}
        start = time.perf_counter()
        self.index = pyvsag.Index(
            "sindi", json.dumps({"dtype": "sparse", "dim": longest, "metric_type": "ip", "index_param": options})
        )
        self.index.build(
            index_pointers=rows.indptr.astype(np.uint32),
            indices=rows.indices.astype(np.uint32),
            values=rows.data.astype(np.float32),
            ids=np.arange(rows.shape[0], dtype=np.int64),
        )
        self.build_seconds = time.perf_counter() - start
        columns, values = queries.indices.astype(np.uint32), queries.data.astype(np.float32)
        bounds = zip(queries.indptr[:-1], queries.indptr[1:], strict=True)
        self.queries = [(np.array([0, b - a], np.uint32), columns[a:b], values[a:b]) for a, b in bounds]
        self.n_rows = rows.shape[0]

    def search(self, setting: SindiSetting, k: int) -> list[Any]:
        """Ask all queries, one by one (it takes no batches); raw results."""
        how = {"query_prune_ratio": setting.pruned, "term_prune_ratio": 0.0, "n_candidate": setting.candidates}
        parameters = json.dumps({"sindi": how})
        search = self.index.knn_search
        return [search(*query, k, parameters) for query in self.queries]

    def ids(self, results: list[Any], k: int) -> Ids:
        """Raw results as ids, -1 for those that are none."""
        found = (np.asarray(ids).ravel() for ids, _ in results)
        return _padded([own[(own >= 0) & (own < self.n_rows)] for own in found], k)


def _padded(found: list[Any], k: int) -> Ids:
    """Ids of each query as one array, -1 where there are fewer than k."""
    out = np.full((len(found), k), -1, np.int64)
    for i, own in enumerate(found):
        out[i, : len(own)] = own[:k]
    return out


class TopN:
    """sparse_dot_topn: all products, the k best of them."""

    def __init__(self, sparse_dot_topn: Any, rows: sp.csr_matrix, queries: sp.csr_matrix):
        start = time.perf_counter()
        self.columns = rows.T.tocsr()
        self.build_seconds = time.perf_counter() - start
        self.product, self.queries = sparse_dot_topn.sp_matmul_topn, queries

    def search(self, _: str, k: int) -> sp.csr_matrix:
        """Ask all queries at once; it knows no settings."""
        return self.product(self.queries, self.columns, top_n=k, sort=True, n_threads=1)

    def ids(self, found: sp.csr_matrix, k: int) -> Ids:
        """Columns of the result, best first."""
        return topn_ids(found, k)


class PyNNDescent:
    """PyNNDescent with 30 neighbours, prepared; asked in one thread, for in several it crashes on sparse data."""

    def __init__(self, pynndescent: Any, rows: Rows, queries: Rows, metric: str):
        self.queries = queries.copy()  # it sorts its input in place
        self._built(pynndescent, rows[:1000].copy(), metric).query(self.queries[:2], k=2)  # compiles
        start = time.perf_counter()
        self.index = self._built(pynndescent, rows.copy(), metric)
        self.build_seconds = time.perf_counter() - start

    @staticmethod
    def _built(pynndescent: Any, rows: Rows, metric: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            index = pynndescent.NNDescent(rows, metric=metric, n_neighbors=30, random_state=1, n_jobs=2)
            index.prepare()
        return index

    def search(self, epsilon: float, k: int) -> Any:
        """Ask all queries at once."""
        return self.index.query(self.queries, k=k, epsilon=epsilon)

    def ids(self, found: Any, k: int) -> Ids:
        """First of (ids, distances)."""
        return found[0].astype(np.int64)


class Nmslib:
    """HNSW of nmslib: cosine of sparse rows, jaccard of sets (as text), euclidean of dense rows."""

    def __init__(self, nmslib: Any, rows: Rows, queries: Rows, metric: str):
        space, kind = {
            "cosine": ("cosinesimil_sparse_fast", nmslib.DataType.SPARSE_VECTOR),
            "jaccard": ("jaccard_sparse", nmslib.DataType.OBJECT_AS_STRING),
            "euclidean": ("l2", nmslib.DataType.DENSE_VECTOR),
        }[metric]
        if metric == "jaccard":
            rows, queries = _sets_as_text(rows), _sets_as_text(queries)
        elif metric == "cosine":
            rows, queries = rows.sorted_indices(), queries.sorted_indices()
        self.queries = queries
        start = time.perf_counter()
        self.index = nmslib.init(method="hnsw", space=space, data_type=kind)
        self.index.addDataPointBatch(rows)
        self.index.createIndex({"M": 16, "efConstruction": 80, "post": 0, "indexThreadQty": 2})
        self.build_seconds = time.perf_counter() - start

    def search(self, ef: int, k: int) -> Any:
        """Ask all queries at once."""
        self.index.setQueryTimeParams({"efSearch": ef})
        return self.index.knnQueryBatch(self.queries, k=k, num_threads=1)

    def ids(self, found: Any, k: int) -> Ids:
        """First of each query's (ids, distances)."""
        return _padded([ids for ids, _ in found], k)


def _sets_as_text(sets: sp.csr_matrix) -> list[str]:
    bounds = zip(sets.indptr[:-1], sets.indptr[1:], strict=True)
    return [" ".join(map(str, sets.indices[a:b])) for a, b in bounds]


class Seismic:
    """Seismic (the class for more than 65,535 columns), over rows of unit length.

    Its traps: rows' columns must be sorted; column 42 is asked for as "42"; results come back out of
    the queries' order.
    """

    def __init__(self, seismic: Any, rows: sp.csr_matrix, queries: sp.csr_matrix):
        columns, values, indptr = _three_arrays(rows)
        names = [str(i) for i in range(rows.shape[0])]
        start = time.perf_counter()
        dataset = seismic.SeismicDatasetLV()
        dataset.add_documents_by_id(names, columns.astype(np.int64), values, indptr)
        options = {"n_postings": 2000, "centroid_fraction": 0.05, "summary_energy": 0.5, "max_fraction": 6.0}
        self.index = seismic.SeismicIndexLV.build_from_dataset(dataset, **options, num_threads=2)
        self.build_seconds = time.perf_counter() - start
        text, bounds = seismic.get_seismic_string(), list(zip(queries.indptr[:-1], queries.indptr[1:], strict=True))
        columns, values = queries.indices.astype(text), queries.data.astype(np.float32)
        self.queries = {
            "queries_ids": np.arange(queries.shape[0]).astype(text),
            "query_components": [columns[a:b] for a, b in bounds],
            "query_values": [values[a:b] for a, b in bounds],
        }

    def search(self, setting: tuple[int, float], k: int) -> Any:
        """Ask all queries at once; a setting is (query_cut, heap_factor)."""
        cut, factor = setting
        return self.index.batch_search(
            **self.queries, k=k, query_cut=cut, heap_factor=factor, n_knn=0, sorted=True, num_threads=1
        )

    def ids(self, found: Any, k: int) -> Ids:
        """Results put in order by the query's name; a query without any has no name either."""
        own = {int(results[0][0]): [int(row) for _, _, row in results] for results in found if results}
        return _padded([own.get(i, []) for i in range(len(self.queries["queries_ids"]))], k)


class Kannolo:
    """HNSW of kANNolo, by inner product of rows of unit length; at most 65,536 columns."""

    MAX_COLUMNS = 65_536

    def __init__(self, kannolo: Any, rows: sp.csr_matrix, queries: sp.csr_matrix):
        self.queries, (columns, values, indptr) = _three_arrays(queries), _three_arrays(rows)
        start = time.perf_counter()
        self.index = kannolo.SparsePlainHNSW.build_from_arrays(columns, values, indptr, m=16, ef_construction=80)
        self.build_seconds = time.perf_counter() - start

    def search(self, ef: int, k: int) -> Any:
        """Ask all queries at once."""
        return self.index.batch_search(*self.queries, k=k, ef_search=ef, num_threads=1)

    def ids(self, found: Any, k: int) -> Ids:
        """Second of (similarities, ids), which are flat."""
        return np.asarray(found[1]).reshape(-1, k).astype(np.int64)


def _three_arrays(rows: sp.csr_matrix) -> tuple[Any, Any, Any]:
    rows = rows.sorted_indices()
    return rows.indices.astype(np.int32), rows.data.astype(np.float32), rows.indptr.astype(np.int64)


class Hnswlib:
    """hnswlib over dense rows, euclidean: M = 16, ef_construction = 100."""

    def __init__(self, hnswlib: Any, rows: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]):
        self.queries = queries
        start = time.perf_counter()
        self.index = hnswlib.Index(space="l2", dim=rows.shape[1])
        self.index.init_index(max_elements=len(rows), M=16, ef_construction=100, random_seed=1)
        self.index.add_items(rows, num_threads=2)
        self.build_seconds = time.perf_counter() - start

    def search(self, ef: int, k: int) -> Any:
        """Ask all queries at once."""
        self.index.set_ef(ef)
        return self.index.knn_query(self.queries, k=k, num_threads=1)

    def ids(self, found: Any, k: int) -> Ids:
        """First of (ids, distances)."""
        return found[0].astype(np.int64)


class ScipyProduct:
    """Nearest sets by a scipy matrix product and a selection of the k best, in blocks of queries.

    For rows of ones the product counts what two rows share: with their sizes that is jaccard,
    manhattan and euclidean. float32 throughout; the transposed rows are made beforehand.
    """

    def __init__(self, rows: sp.csr_matrix, queries: sp.csr_matrix):
        self.queries, self.transposed = queries, rows.T.tocsr()
        self.sizes, self.query_sizes = (np.diff(x.indptr).astype(np.float32) for x in (rows, queries))

    def variants(self, metric: str, k: int) -> dict[str, Callable[[], Ids]]:
        """Ways to do it, by name."""
        ways: dict[str, Callable[[], Ids]] = {"scipy product, top k of all rows": lambda: self._of_all(metric, k)}
        if metric == "jaccard":
            ways["scipy product, top k of the rows met"] = lambda: self._of_met(k)
        return ways

    def _of_met(self, k: int, block: int = 200) -> Ids:
        """Jaccard, selecting among the stored products only."""
        out = np.full((self.queries.shape[0], k), -1, np.int64)
        for first in range(0, len(out), block):
            shared = self.queries[first : first + block] @ self.transposed
            sizes = np.repeat(self.query_sizes[first : first + block], np.diff(shared.indptr))
            similarity = shared.data / (sizes + self.sizes[shared.indices] - shared.data)
            for i, (a, b) in enumerate(zip(shared.indptr[:-1], shared.indptr[1:], strict=True)):
                nearest = _least(-similarity[None, a:b], min(k, b - a))[0]
                out[first + i, : len(nearest)] = shared.indices[a:b][nearest]
        return out

    def _of_all(self, metric: str, k: int, block: int = 50) -> Ids:
        """Any metric, selecting among all rows."""
        out = np.empty((self.queries.shape[0], k), np.int64)
        for first in range(0, len(out), block):
            shared = (self.queries[first : first + block] @ self.transposed).toarray()
            if metric == "jaccard":
                shared /= shared - (self.sizes + self.query_sizes[first : first + block, None])  # −similarity
            else:  # Σ|x−y| = Σ(x−y)² = |x| + |y| − 2·shared; the root and |query| keep the order
                shared *= -2
                shared += self.sizes
            out[first : first + block] = _least(shared, k)
        return out


def _least(values: npt.NDArray[np.float32], k: int) -> Ids:
    """Places of the k least of each row, in order."""
    width = values.shape[1]
    part = np.argpartition(values, k - 1, axis=1)[:, :k] if 0 < k < width else np.arange(width)[None]
    order = np.argsort(np.take_along_axis(values, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)
