"""The program: its commands, and what becomes of their errors and warnings."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vicinal
from vicinal.cli import adapt, distil, models, terminal
from vicinal.cli.augment import augment
from vicinal.cli.cache import cache
from vicinal.cli.encode import encode
from vicinal.cli.evaluate import evaluate
from vicinal.cli.golden import golden
from vicinal.cli.index import group as index_group
from vicinal.cli.info import info
from vicinal.cli.pack import pack
from vicinal.cli.search import search
from vicinal.cli.similarity import similarity
from vicinal.cli.train import train
from vicinal.cli.tune import tune
from vicinal.errors import VicinalError, VicinalWarning


class Program(TyperGroup):
    """Every command runs inside `reported`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with reported(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextmanager
def reported(debug: bool) -> Iterator[None]:
    """Inside, failures and warnings become lines on stderr, and exit codes.

    Args:
        debug: let failures through, with their tracebacks.
    """
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # the user's own wishes go first
                warnings.simplefilter("default", VicinalWarning)
            warnings.showwarning = terminal.Warnings(warnings.showwarning)
            yield
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        _settle_output()
        raise typer.Exit(141) from None
    except KeyboardInterrupt:
        terminal.say("interrupted")
        raise typer.Exit(130) from None
    except (VicinalError, OSError) as error:
        _settle_output()
        if debug:
            raise
        terminal.fail(described(error))
        raise typer.Exit(1) from None


def _settle_output() -> None:
    """Write what is still buffered, or let go of it, lest the interpreter try again at its end and fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def described(error: Exception) -> str:
    """What went wrong, to be read behind "error:"."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, VicinalError):
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def _version(wished: bool) -> None:
    if wished:
        typer.echo(f"vicinal {vicinal.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Program, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True
)


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """Sentence embeddings and semantic search.

    Data goes to standard output, everything else to standard error. Exit codes: 0 success, 1 failure (one line says
    which), 2 wrong call, 130 interrupted.
    """


for command in (encode, search, similarity, info, pack, golden, tune, train, augment):
    app.command()(command)
app.command("eval")(evaluate)
app.add_typer(cache, name="cache")
app.add_typer(distil.app, name="distil")
app.add_typer(adapt.app, name="adapt")
app.add_typer(models.app, name="models")
app.add_typer(index_group, name="index")
