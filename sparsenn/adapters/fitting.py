"""Which metric fits which rows, and warnings where it does not; the base of what makes rows."""

import warnings
from typing import Any

import numpy as np

from sparsenn.index import Index
from sparsenn.metrics import BoundMetric, resolve


def misfits(metric: Any, rows: Any, *, ordered: bool = False, made_for: str | None = None) -> list[str]:
    """Say what is odd about a metric for rows.

    Parameters
    ----------
    metric : str or metric
    rows : sparse matrix or array
    ordered : bool, default False
        Whether the order of the columns means something (bins of a histogram).
    made_for : str, optional
        The only metric that the weights make sense with (BM25: dot).

    Returns
    -------
    list of str
        Empty where the metric fits.
    """
    bound: BoundMetric = resolve(metric)
    record = bound.metric
    values = rows.data if hasattr(rows, "nnz") else np.asarray(rows)
    found = []
    if made_for is not None and record.name != made_for:
        found.append(f"these weights are made for the metric {made_for!r}: under {record.name} they are no BM25")
    if values.size and not record.signed and values.min() < 0:
        found.append(f"{record.name} is for values of at least 0, and the rows have negative ones: cosine takes both")
    if values.size and record.presence and ((values != 0) & (values != 1)).any():
        found.append(
            f"{record.name} sees only which columns a row has: counts and weights other than 1 are ignored "
            "(weighted_jaccard compares counts)"
        )
    if record.positional and bound.function is None and not ordered:
        found.append(
            f"{record.name} measures along the order of the columns, which means nothing for terms and categories: "
            "hellinger compares distributions without an order"
        )
    return found


def warn_of_misfits(metric: Any, rows: Any, *, stacklevel: int = 3, **about: Any) -> None:
    """Warn of what `misfits` finds."""
    for message in misfits(metric, rows, **about):
        warnings.warn(message, UserWarning, stacklevel=stacklevel)


class Adapter:
    """What makes rows from something else, and knows the metric that fits them."""

    ordered = False

    @property
    def metric(self) -> str:
        """The metric that fits the rows."""
        raise NotImplementedError

    def fit_transform(self, data: Any) -> Any:
        """Learn from the data, and return its rows."""
        raise NotImplementedError

    def index(self, data: Any, metric: Any = None, **options: Any) -> Index:
        """Rows of the data in a fitted index.

        Parameters
        ----------
        data
            As `fit_transform` takes it.
        metric : str or metric, optional
            The one that fits if not given; a warning says why another does not.
        **options
            Of `sparsenn.Index`.

        Returns
        -------
        Index
        """
        rows = self.fit_transform(data)
        chosen = self.metric if metric is None else metric
        bound = resolve(chosen, options.get("metric_params"))
        warn_of_misfits(bound, rows, ordered=self.ordered, stacklevel=3)
        return Index(chosen, **options).fit(rows)
