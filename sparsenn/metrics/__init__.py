"""All metrics: one record each, and ways to name and parametrise them.

Every metric is also a function of this module that takes its parameters:

>>> import sparsenn.metrics
>>> sparsenn.metrics.minkowski(p=3)
minkowski(p=3, w=None)
"""

from collections.abc import Callable  # noqa: I001
from typing import Any

# The order of these imports is the order of the documentation.
from sparsenn.metrics import differences, angles, sets, divergences, transport, bits  # noqa: F401
from sparsenn.metrics.registry import BoundMetric, Metric, Parameter, bind, get, names, register, resolve

__all__ = ["BoundMetric", "Metric", "Parameter", "bind", "get", "names", "register", "resolve"]


def __getattr__(name: str) -> Callable[..., BoundMetric]:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        record = get(name)
    except ValueError as unknown:
        raise AttributeError(str(unknown)) from None

    def with_parameters(**params: Any) -> BoundMetric:
        return bind(record, params)

    with_parameters.__name__ = with_parameters.__qualname__ = record.name
    with_parameters.__doc__ = f"{record.formula}. Parameters: {', '.join(record.parameters) or 'none'}."
    return with_parameters


def __dir__() -> list[str]:
    return sorted({*globals(), *names()})
