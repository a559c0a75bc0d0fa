"""What commands that make models share: their options, their texts, and what they measure on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vicinal.cli import readers, terminal
from vicinal.cli import rows as r
from vicinal.errors import VicinalError

if TYPE_CHECKING:
    from vicinal.evaluation.measuring import Task
    from vicinal.recipes.runs import Outcome, Schedule
    from vicinal.sentence_transformer import SentenceTransformer

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="Name or id on the hub, or a folder.")]
Texts = Annotated[
    list[str],
    typer.Option(
        "--texts", metavar="FILE",
        help="Texts to learn from: files, folders, or - for stdin; may be given several times."
    ),
]  # fmt: skip
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FOLDER", help="The new model's folder; a killed run goes on there."),
]
Test = Annotated[
    list[str] | None,
    typer.Option(
        "--test", metavar="PATH", show_default=False,
        help="Measure before and after on this: a folder in BEIR form, or a .tsv or .csv file with columns sentence1, "
        "sentence2, score; both also compressed (.gz); may be given several times. Its texts may not be trained on.",
    ),
]  # fmt: skip
Epochs = Annotated[
    float | None,
    typer.Option(
        "--epochs", metavar="N", show_default=False, help="Passes over the data; without it the recipe's own."
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size", metavar="N", min=1, show_default=False, help="Rows of a step; without it the recipe's own."
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate", metavar="X", show_default=False, help="At its highest; without it the recipe's own."
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of all that is random.")]
Bf16 = Annotated[
    bool, typer.Option("--bf16", help="Train in bfloat16, which processors that have it do about twice as fast.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, show_default=False, help="Processor threads; all without it."),
]


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as the command line says."""

    epochs: float | None
    batch_size: int | None
    learning_rate: float | None
    seed: int
    bf16: bool
    threads: int | None

    def schedule(self, own: Schedule) -> Schedule:
        """A recipe's own schedule, with what was asked for."""
        asked = {name: value for name, value in vars(self).items() if value is not None}
        return replace(own, **asked)


def check_training(purpose: str) -> None:
    """See to it that what training needs is installed.

    Raises:
        MissingExtra: it is not.
    """
    from vicinal.extras import require

    require("torch", purpose)
    require("train", purpose)


@contextmanager
def called() -> Iterator[None]:
    """Inside, an argument that a recipe refuses is a wrong call."""
    try:
        yield
    except VicinalError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def read_texts(inputs: Sequence[str], reading: r.Reading) -> list[str]:
    """Different texts that are not blank, in their order."""
    names = r.files(inputs)
    reading.check(names)
    return list(dict.fromkeys(row.text for row in readers.read(names, reading) if row.text.strip()))


def tasks_of(paths: Sequence[str] | None, quotes: bool) -> list[Task]:
    """What to measure on."""
    from vicinal.evaluation import measuring
    from vicinal.evaluation.files import read_beir, read_pairs

    options = {"truncation": "ignore"}
    return [
        measuring.retrieval(read_beir(path), options=options)
        if os.path.isdir(path)
        else measuring.similarity(read_pairs(path, None, quotes), options=options)
        for path in paths or ()
    ]


def load(name: str, threads: int | None) -> SentenceTransformer:
    """A model to teach or to learn from."""
    from vicinal.sentence_transformer import SentenceTransformer

    return SentenceTransformer(name, threads=threads)


def show(outcome: Outcome) -> None:
    """Where the model is, and the table."""
    from vicinal.recipes.base import table

    terminal.say(f"the model is in {outcome.folder}")
    if outcome.rows:
        typer.echo(table(outcome.rows))


def progress(line: str) -> None:
    """How a recipe goes, but for its table, which goes to standard output."""
    if not line.startswith("| "):
        terminal.say(line)
