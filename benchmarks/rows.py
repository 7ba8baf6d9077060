"""The benchmark's table: one row per figure, each beside its goal and, where there is one, a peer of the same run.

Lives here: the row, printing and writing. Does not live here: any measurement.
"""

import json
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

_COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Row:
    """One figure; `goal` like "<= 10" or None, `against` names the peer measured in the same run, or None."""

    name: str
    value: float
    unit: str
    against: str | None = None
    goal: str | None = None
    holds: bool | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "holds", None if self.goal is None else meets(self.value, self.goal))


def meets(value: float, goal: str) -> bool:
    """Return whether a value meets a goal like "<= 10". Raises KeyError, ValueError for any other form."""
    comparison, limit = goal.split()
    return _COMPARE[comparison](value, float(limit))


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share (0..1) of them does not exceed. Raises IndexError on none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    table = Table("figure", "value", "unit", "against", "goal", "holds")
    for row in rows:
        holds = {True: "yes", False: "NO", None: ""}[row.holds]
        table.add_row(row.name, f"{row.value:.4g}", row.unit, row.against or "", row.goal or "", holds)
    Console(width=120).print(table)


def write(rows: Iterable[Row], path: Path) -> None:
    """Write the rows as JSON. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
