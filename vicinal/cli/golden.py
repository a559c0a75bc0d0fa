"""`vicinal golden`: write vectors into a model's folder that every load of it is checked against."""

from __future__ import annotations

from typing import Annotated

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal


def golden(
    model: Annotated[str, typer.Argument(metavar="FOLDER", help="The model's folder.")],
    threads: o.Threads = None,
) -> None:
    """Write golden vectors into a model's folder.

    From then on every load of the folder encodes a few texts and compares: another model, tokenizer or setting in its
    place, or an installation that computes wrongly, is an error instead of bad results.

    \b
    Examples:
      vicinal golden ./my-model
    """
    from vicinal.selftest import write_golden

    path = write_golden(o.ModelOptions(model, o.Dtype.float32, o.Backend.auto, threads).load())
    terminal.say(f"wrote {path}")
