"""A picture of how metrics change over training, from the file that an evaluator wrote."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Sequence

from vicinal.errors import InvalidData
from vicinal.extras import require
from vicinal.text.files import records


def read_curves(path: str | os.PathLike[str]) -> tuple[list[tuple[int, int]], dict[str, list[float]]]:
    """Epoch and steps of each row, and the values of each metric.

    Raises:
        InvalidData: the file is not one that an evaluator wrote, or has no row.
    """
    (_, header), *rows = [*records(path, ",", csv.QUOTE_MINIMAL)] or [("", [])]
    if header[:2] != ["epoch", "steps"]:
        raise InvalidData(
            f"{path} is no file of an evaluator: its first columns must be epoch and steps, not {header[:2]}"
        )
    if not rows:
        raise InvalidData(f"{path} has no row yet: there is nothing to draw")
    when: list[tuple[int, int]] = []
    values: dict[str, list[float]] = {name: [] for name in header[2:]}
    for place, row in rows:
        try:
            epoch, steps, *numbers = map(float, row)
            when.append((int(epoch), int(steps)))
            for name, number in zip(values, numbers, strict=True):
                values[name].append(number)
        except ValueError as error:
            raise InvalidData(f"{place} must be {len(header)} numbers ({error})") from None
    return when, values


def plot_curves(path: str | os.PathLike[str], picture: str | os.PathLike[str], metrics: Sequence[str] = ()) -> None:
    """Draw the metrics of an evaluator's file over the training steps.

    Args:
        path: the file.
        picture: the file to write; its suffix names the format (.png, .svg, .pdf).
        metrics: which to draw; none is all.

    Raises:
        MissingExtra: matplotlib is not installed. InvalidData: the file is not an evaluator's, or lacks a metric.
    """
    when, values = read_curves(path)
    if unknown := [name for name in metrics if name not in values]:
        raise InvalidData(f"{path} has no column {unknown[0]!r}; it has {', '.join(values)}")
    require("plot", f"drawing {picture}")
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    by_step = len({steps for _, steps in when}) > 1
    for name in metrics or values:
        axes.plot([steps if by_step else epoch for epoch, steps in when], values[name], marker="o", label=name)
    axes.set_xlabel("step" if by_step else "epoch")
    axes.set_title(os.path.basename(path).removesuffix("_results.csv"))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(picture, dpi=150)
