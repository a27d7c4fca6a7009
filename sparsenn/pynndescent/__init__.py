"""The interface of PyNNDescent 0.7 over `sparsenn.Index`: change the import, keep the code.

>>> from sparsenn.pynndescent import NNDescent                         # in place of: from pynndescent import NNDescent
>>> index = NNDescent([[0.0], [1.0], [5.0]], n_neighbors=2)
>>> index.neighbor_graph[0].tolist()
[[0, 1], [1, 0], [2, 1]]

What PyNNDescent calls otherwise than the rest of this package, and the values that it defines otherwise, are here and
nowhere else. `docs/pynndescent.md` lists every parameter and what it does.
"""

from sparsenn.pynndescent.nndescent import NNDescent
from sparsenn.pynndescent.transformer import PyNNDescentTransformer

__version__ = "0.7.0"  # of PyNNDescent, whose interface this is
__all__ = ["NNDescent", "PyNNDescentTransformer"]
