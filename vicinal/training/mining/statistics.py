"""What was mined, told in a table."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from vicinal.similarity.arrays import Doubles
from vicinal.training.mining.layouts import Table
from vicinal.training.mining.limits import Limits

_ROWS: tuple[tuple[str, Callable[[Doubles], float]], ...] = (
    ("Mean", np.mean),
    ("Median", np.median),
    ("Std", lambda scores: float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0),
    ("Min", np.min),
    ("25%", lambda scores: float(np.quantile(scores, 0.25))),
    ("75%", lambda scores: float(np.quantile(scores, 0.75))),
    ("Max", np.max),
)


def say(text: str) -> None:
    """To standard error, so that a program's own output stays its own."""
    print(text, file=sys.stderr)  # noqa: T201


def describe(positives: Doubles, table: Table, skipped: dict[str, tuple[int, int]], limits: Limits, rows: int) -> str:
    """Scores of positives and negatives, what each threshold removed, and what was not found.

    Args:
        positives: scores of the pairs.
        skipped: by threshold, how many candidates it removed, and of how many.
        rows: of the data set that came out.
    """
    columns = (positives, table.negatives, table.differences)
    lines = [_line("", "Positive", "Negative", "Difference")]
    lines.append(_line("Count", f"{len(positives):,}", f"{len(table.negatives):,}", ""))
    for name, function in _ROWS:
        lines.append(_line(name, *(f"{function(scores):.4f}" if len(scores) else "-" for scores in columns)))
    for name, value in limits.thresholds.items():
        count, total = skipped[name]
        if count:
            lines.append(f"{name}={value} removed {count:,} of {total:,} candidates ({count / total:.2%}).")
    if (missing := table.possible - rows) > 0:
        ways = ["range_max", *(["range_min"] if limits.range_min else []), *limits.thresholds]
        lines.append(
            f"{missing:,} of {table.possible:,} rows ({missing / table.possible:.2%}) lack negatives: "
            f"other values of {', '.join(ways)} would find more."
        )
    return "\n".join(lines)


def _line(*cells: str) -> str:
    return "{:<6} {:>14} {:>14} {:>14}".format(*cells).rstrip()
