"""The metrics as tables for readers, made from the registry."""

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from sparsenn.metrics.registry import REQUIRED, Metric, Parameter, get, names
from sparsenn.terminal import pad

SPARSE_OR_DENSE = "sparse or dense rows"
PREFACE = """\
# Metrics

<!-- Made from the registry by `python -m sparsenn.cli metrics --markdown`: edit the records, not this file. -->

x is the query and y the indexed row, n the number of columns; among sets, x is the set of columns that are not zero.
Parameters go into `metric_params={...}`, or `sparsenn.metrics.minkowski(p=3)`. A proxy is what finds candidates where a
metric is dear; the metric itself then puts them in order.
"""


def _default(parameter: Parameter) -> str:
    if parameter.default is REQUIRED:
        return "required"
    return "optional" if parameter.default is None else f"{parameter.default:g}"


def _parameters(metric: Metric) -> str:
    shown = (f"{name} ({_default(parameter)})" for name, parameter in metric.parameters.items())
    return ", ".join(shown)


def _rows(metric: Metric) -> str:
    """Say what rows the metric takes, in words."""
    limits = [] if metric.signed else ["no negative values"]
    if not metric.symmetric:
        limits.append("not symmetric")
    return "; ".join([metric.wants(), *limits])


def _proxy(metric: Metric) -> str:
    """Say by what candidates are found, where the metric is dear."""
    return (metric.proxy.__doc__ or "").partition("\n")[0].rstrip(".") if metric.proxy else ""


def metric_lines(width: int) -> Iterator[str]:
    """List all metrics: name and formula, and below it whatever else a user must know."""
    indent = 22
    for name in names():
        metric = get(name)
        formula = textwrap.wrap(metric.formula, width - indent) or [""]
        yield f"{click.style(pad(name, indent - 2), bold=True)}  {formula[0]}"
        notes = [
            _parameters(metric) and f"parameters: {_parameters(metric)}",
            _rows(metric).removeprefix(SPARSE_OR_DENSE).removeprefix("; "),
            metric.aliases and f"also: {', '.join(metric.aliases)}",
        ]
        note = " · ".join(str(part) for part in notes if part)
        for line in formula[1:]:
            yield " " * indent + line
        for line in textwrap.wrap(note, width - indent, break_on_hyphens=False):
            yield " " * indent + click.style(line, dim=True)


def describe(name: str, width: int) -> Iterator[str]:
    """Say all about one metric."""
    metric = get(name)
    fields: list[tuple[str, Any]] = [
        ("formula", metric.formula),
        ("rows", _rows(metric)),
        ("source", metric.source),
        ("aliases", ", ".join(metric.aliases)),
    ]
    fields += [(key, f"{value.about}; {_default(value)}") for key, value in metric.parameters.items()]
    fields.append(("proxy", _proxy(metric)))
    fields.append(("order", "the order of the columns matters" if metric.positional else ""))
    yield click.style(metric.name, bold=True)
    for label, value in fields:
        wrapped = textwrap.wrap(value, width - 18)
        for i, line in enumerate(wrapped):
            yield f"  {click.style(pad(label if i == 0 else '', 14), dim=True)}  {line}"


def markdown() -> str:
    """Render all metrics as a page of documentation."""
    lines = [
        PREFACE,
        "| metric | formula | rows | parameters | aliases | source | proxy |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names():
        metric = get(name)
        cells = [f"`{name}`", metric.formula, _rows(metric), _parameters(metric)]
        cells += [", ".join(f"`{alias}`" for alias in metric.aliases), metric.source, _proxy(metric)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
