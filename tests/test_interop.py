"""Neighbours of the ecosystem, for real: the packages of the extra `interop`."""

import pathlib
import re

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness

import sparsenn as sn
from sparsenn.pynndescent import NNDescent, PyNNDescentTransformer
from sparsenn.sklearn import KNeighborsTransformer

pytestmark = pytest.mark.filterwarnings("default")  # the others' own warnings are not ours to hold


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return sp.csr_matrix(X[:400].astype(np.float32)), y[:400]


def run(section, number=0, **names):
    """Run a block of code of docs/sklearn.md as it stands there; return the names that it leaves."""
    page = (pathlib.Path(__file__).parent.parent / "docs" / "sklearn.md").read_text(encoding="utf-8")
    part = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    exec(re.findall(r"```python\n(.*?)```", part, re.DOTALL)[number], names)
    return names


def test_umap_takes_graphs(digits):
    pytest.importorskip("umap", reason='pip install "sparsenn[interop]"')
    X, _ = digits
    names = run("UMAP", X=X)
    assert trustworthiness(X.toarray(), names["embedding"], metric="cosine") > 0.9
    embedding = run("UMAP", 1, X=X, umap=names["umap"])["embedding"]
    assert trustworthiness(X.toarray(), embedding, metric="cosine") > 0.9


def test_umap_searches_by_our_index_when_told(digits, monkeypatch):
    pytest.importorskip("umap", reason='pip install "sparsenn[interop]"')
    import umap.umap_

    monkeypatch.setattr(umap.umap_, "NNDescent", None)  # so that it is put back
    run("UMAP", 2, NNDescent=NNDescent)
    X, _ = digits
    mapper = umap.UMAP(n_epochs=50, random_state=0, init="random", force_approximation_algorithm=True)
    mapper.fit(X[:350])
    assert isinstance(mapper._knn_search_index, NNDescent)
    assert mapper.transform(X[350:]).shape == (50, 2)
    mapper.update(X[350:])
    assert mapper.embedding_.shape == (400, 2)


def test_hdbscan_of_scikit_learn_takes_distances(digits):
    X, y = digits
    labels = run("HDBSCAN", X=X)["labels"]
    found = labels >= 0
    assert found.mean() > 0.3
    same = labels[found][:, None] == labels[found]
    assert (y[found][:, None] == y[found])[same].mean() > 0.8


def test_opentsne_takes_a_graph(digits):
    pytest.importorskip("openTSNE", reason='pip install "sparsenn[interop]"')
    X, _ = digits
    assert trustworthiness(X.toarray(), np.asarray(run("openTSNE", X=X)["embedding"]), metric="cosine") > 0.9


@pytest.mark.parametrize("transformer", [KNeighborsTransformer, PyNNDescentTransformer])
def test_scanpy_takes_a_transformer(digits, transformer):
    scanpy = pytest.importorskip("scanpy", reason='pip install "sparsenn[interop]"')
    X, _ = digits
    cells = scanpy.AnnData(X)
    scanpy.pp.neighbors(cells, transformer=transformer(n_neighbors=10, metric="cosine"), use_rep="X")
    graph = cells.obsp["distances"]
    assert graph.shape == (400, 400)
    true = sn.exact_neighbors(X, k=10, metric="cosine").indices
    found = [np.isin(true[i], graph[[i]].indices).mean() for i in range(400)]
    assert np.mean(found) > 0.98
    assert cells.obsp["connectivities"].nnz > 0


def test_rows_of_a_sparse_encoder():
    """As sentence-transformers' SparseEncoder gives them: three arrays of a torch CSR, int64, columns not in order."""
    torch = pytest.importorskip("torch", reason="the arrays are torch's")
    dense = torch.relu(torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) - 1)
    rows = dense.to_sparse_csr()
    X = sp.csr_array((rows.values().numpy(), rows.col_indices().numpy(), rows.crow_indices().numpy()), shape=rows.shape)
    found = sn.Index("dot").fit(X).query(X, k=3)
    assert np.array_equal(found.indices, sn.exact_neighbors(dense.numpy(), dense.numpy(), k=3, metric="dot").indices)
