"""Cells and tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(head: list[str], rows: list[list[str]]) -> str:
    """Formats a table from its cells."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def score_cell(row: Mapping[str, Any] | None, measure: Mapping[str, Any]) -> str:
    """Formats the number of a measure in a row, with its standard error if that is known; nothing if the row has
    none."""
    name, digits = measure["name"], measure["digits"]
    if row is None or name not in row:
        return ""
    return number(row[name], row.get(f"{name}_stderr"), digits)


def number(value: float, error: float | None, digits: int) -> str:
    """Formats a number, with its standard error if that is known."""
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def at_temperature(factor: float) -> str:
    """Describes at which temperatures samples were drawn: those of the schedules, times a factor."""
    return "at the schedules' temperatures" if factor == 1 else f"at {factor:g} times the schedules' temperatures"
