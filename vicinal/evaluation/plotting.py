"""A picture of how metrics and losses change over training, from the file that an evaluator or a run's log wrote."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vicinal.errors import InvalidData
from vicinal.extras import require
from vicinal.text.files import records

_LOG = ["step", "epoch", "seconds", "name", "value"]
_UNDRAWN = frozenset(("learning_rate", "grad_norm"))
_FORMATS = (".png", ".svg", ".pdf")


class Curve(NamedTuple):
    """A metric over time; a point each."""

    steps: list[float]
    epochs: list[float]
    values: list[float]


def read_curves(path: str | os.PathLike[str]) -> dict[str, Curve]:
    """The curve of each metric: of an evaluator's file (a row a time), or of a run's log.csv (a row a number).

    Raises:
        InvalidData: the file is neither, or has no row.
    """
    (_, header), *rows = [*records(path, ",", csv.QUOTE_MINIMAL)] or [("", [])]
    log = header == _LOG
    if header[:2] != ["epoch", "steps"] and not log:
        raise InvalidData(
            f"{path} is no file of an evaluator, whose first columns are epoch and steps, nor a run's log.csv: it "
            f"begins with {header[:2]}"
        )
    if not rows:
        raise InvalidData(f"{path} has no row yet: there is nothing to draw")
    curves: dict[str, Curve] = {}
    for place, row in rows:
        try:
            if log:
                step, epoch, _, *last = row
                found = [last]
            else:
                epoch, step, *cells = row
                found = [[name, cell] for name, cell in zip(header[2:], cells, strict=True)]
            for name, cell in found:
                point = (float(step), float(epoch), float(cell))
                for values, number in zip(curves.setdefault(name, Curve([], [], [])), point, strict=True):
                    values.append(number)
        except ValueError as error:
            raise InvalidData(f"{place} must be {len(header)} cells, with numbers ({error})") from None
    return curves


def check_picture(picture: str | os.PathLike[str]) -> None:
    """See to it, before the work, that a picture can be drawn.

    Raises:
        MissingExtra: matplotlib is not installed. InvalidData: the name ends in none of .png, .svg, .pdf; or its folder
            is not there.
    """
    at = Path(picture)
    if at.suffix not in _FORMATS:
        raise InvalidData(f"a picture must end in {', '.join(_FORMATS)}, not {at.name!r}")
    if not at.parent.is_dir():
        raise InvalidData(f"{at.parent} is no folder: make it first")
    require("plot", f"drawing {picture}")


def plot_curves(path: str | os.PathLike[str], picture: str | os.PathLike[str], metrics: Sequence[str] = ()) -> None:
    """Draw the metrics of an evaluator's file or a run's log over the training steps, losses in a panel of their own.

    Args:
        path: the file.
        picture: the file to write; its suffix names the format (.png, .svg, .pdf).
        metrics: which to draw; none is all but the learning rate and the norm of the gradient.

    Raises:
        MissingExtra, InvalidData: see `check_picture`, `read_curves`; or the file lacks a metric.
    """
    check_picture(picture)
    curves = read_curves(path)
    if unknown := [name for name in metrics if name not in curves]:
        raise InvalidData(f"{path} has no {unknown[0]!r}; it has {', '.join(curves)}")
    wanted = list(metrics) or [name for name in curves if name not in _UNDRAWN]
    losses = [name for name in wanted if "loss" in name]
    panels = [names for names in (losses, [name for name in wanted if name not in losses]) if names]
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(8, 4 * len(panels) + 1), layout="constrained")
    by_step = any(len({*curve.steps}) > 1 for curve in curves.values())
    for axes, names in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for name in names:
            curve = curves[name]
            axes.plot(curve.steps if by_step else curve.epochs, curve.values, marker="o", label=name)
        axes.set_xlabel("step" if by_step else "epoch")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle(os.path.basename(path).removesuffix(".csv").removesuffix("_results"))
    figure.savefig(picture, dpi=150)
