"""What users would take instead, called as well as we know how to."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Ids = npt.NDArray[np.int64]


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

    @property
    def name(self) -> str:
        """Say it in a table."""
        return f"SINDI (pruned {self.pruned:g}, {self.candidates} candidates{', reordered' if self.reorder else ''})"


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
        self.index = pyvsag.Index(
            "sindi", json.dumps({"dtype": "sparse", "dim": longest, "metric_type": "ip", "index_param": options})
        )
        self.index.build(
            index_pointers=rows.indptr.astype(np.uint32),
            indices=rows.indices.astype(np.uint32),
            values=rows.data.astype(np.float32),
            ids=np.arange(rows.shape[0], dtype=np.int64),
        )
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
        out = np.full((len(results), k), -1, np.int64)
        for i, (ids, _) in enumerate(results):
            own = np.asarray(ids).ravel()[:k]
            own = own[(own >= 0) & (own < self.n_rows)]
            out[i, : len(own)] = own
        return out


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
