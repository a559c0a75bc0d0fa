"""`vicinal pack`: a model as a wheel."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vicinal.errors import VicinalError


class PackDtype(str, Enum):
    """Of the packed weights."""

    keep = "keep"
    bfloat16 = "bfloat16"


def pack(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or id on the hub, or a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the wheel goes.")] = Path(
        "dist"
    ),
    model_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ORGANISATION/NAME",
            show_default=False,
            help="What the model is found by once installed; without it, its id on the hub.",
        ),
    ] = None,
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Of the package.")] = "1.0.0",
    dtype: Annotated[
        PackDtype,
        typer.Option(
            "--dtype",
            metavar="keep|bfloat16",
            help="bfloat16 rounds float32 weights: half the size, and vectors that differ a little.",
        ),
    ] = PackDtype.keep,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REVISION", show_default=False, help="Branch, tag or commit on the hub."),
    ] = None,
) -> None:
    """Pack a model as a wheel, for machines without a network.

    pip install puts it where vicinal finds it by name. Prints the path of the wheel.

    \b
    Examples:
      vicinal pack all-MiniLM-L6-v2 -o dist/
      vicinal pack ./my-model --id acme/my-model --version 2.1.0 --dtype bfloat16
    """
    from vicinal.loading import pack as wheels
    from vicinal.loading.locate import locate

    located = locate(model, revision=revision)
    if model_id is None and located.source == "folder":
        raise typer.BadParameter("a folder does not tell the model's id: give organisation/name", param_hint="--id")
    try:
        wheel = wheels.pack(
            located.folder,
            output,
            model_id=model_id or located.name,
            version=version,
            dtype=dtype.value,
            revision=located.revision,
        )
    except VicinalError:
        raise
    except ValueError as error:  # an argument is not what it should be; the message names it
        raise typer.BadParameter(str(error)) from error
    typer.echo(wheel)
