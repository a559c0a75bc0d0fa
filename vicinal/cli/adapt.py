"""`vicinal adapt`: a model for texts that nobody labelled."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vicinal.cli import recipes as c
from vicinal.cli import rows as r

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True,
    help="Adapt a model to texts that nobody labelled.",
)  # fmt: skip


class Method(str, Enum):
    """How texts alone train a model."""

    tsdae = "tsdae"
    simcse = "simcse"
    ct = "ct"


@app.command()
def queries(
    model: c.ModelArgument,
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="MODEL", help="A cross-encoder of one label that ranks better.")
    ],
    passages: Annotated[
        list[str],
        typer.Option(
            "--passages", metavar="PATH",
            help="A folder in BEIR form, whose documents and titles are taken; or files of texts; may be given several "
            "times.",
        ),
    ],
    output: c.Output,
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator", metavar="MODEL", show_default=False,
            help="A sequence-to-sequence model that writes queries; without it they are taken from the passages: "
            "titles, headings, key sentences and spans.",
        ),
    ] = None,
    per_passage: Annotated[
        int, typer.Option("--per-passage", metavar="N", min=1, help="Queries of each passage, at most.")
    ] = 3,
    keep: Annotated[
        float, typer.Option("--keep", metavar="SHARE", help="Of the queries, the best by the teacher's score.")
    ] = 0.7,
    negatives: Annotated[int, typer.Option("--negatives", metavar="N", min=1, help="Mined for each query.")] = 1,
    test: c.Test = None,
    epochs: c.Epochs = None,
    batch_size: c.BatchSize = None,
    learning_rate: c.LearningRate = None,
    seed: c.Seed = 0,
    bf16: c.Bf16 = False,
    threads: c.Threads = None,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
) -> None:  # fmt: skip
    """Make queries for passages that have none, let a cross-encoder score them, and train MODEL on its margins (GPL).

    Interrupted or killed, give the same command again: it goes on, and writes and scores nothing twice.

    \b
    Examples:
      vicinal adapt queries all-MiniLM-L6-v2 --teacher ms-marco-MiniLM-L6-v2 --passages beir/scifact -o mine
      vicinal adapt queries MODEL --teacher JUDGE --generator docT5query --passages docs/ --test beir/mine -o mine
    """
    c.check_training("vicinal adapt")
    from vicinal.cross_encoder import CrossEncoder
    from vicinal.recipes.queries import adapt_without_labels
    from vicinal.recipes.scores import SCHEDULE

    plan = c.Training(epochs, batch_size, learning_rate, seed, bf16, threads)
    texts, titles = _passages(passages, r.Reading(format, column, field, encoding, no_quotes))
    tasks = c.tasks_of(test, not no_quotes)
    judge, student = CrossEncoder(teacher, threads=threads), c.load(model, threads)
    with c.called():
        c.show(
            adapt_without_labels(
                student, texts, judge, output, titles=titles, generator=generator, per_passage=per_passage, keep=keep,
                negatives=negatives, schedule=plan.schedule(SCHEDULE), tasks=tasks, say=c.progress,
            )
        )  # fmt: skip


def _passages(places: list[str], reading: r.Reading) -> tuple[list[str], list[str]]:
    """Texts and their titles, "" where there is none."""
    from vicinal.evaluation.files import read_corpus

    named: dict[str, str] = {}
    for place in places:
        if any((Path(place) / name).exists() for name in ("corpus.jsonl", "corpus.jsonl.gz")):
            for title, text in read_corpus(place):
                named.setdefault(text, title)
        else:
            for text in c.read_texts([place], reading):
                named.setdefault(text, "")
    return list(named), list(named.values())


@app.command()
def texts(
    model: c.ModelArgument,
    texts: c.Texts,
    output: c.Output,
    method: Annotated[
        Method,
        typer.Option(
            "--method", metavar="tsdae|simcse|ct",
            help="Write texts from vectors of damaged ones; tell texts apart under dropout; contrastive tension.",
        ),
    ] = Method.tsdae,
    test: c.Test = None,
    epochs: c.Epochs = None,
    batch_size: c.BatchSize = None,
    learning_rate: c.LearningRate = None,
    seed: c.Seed = 0,
    bf16: c.Bf16 = False,
    threads: c.Threads = None,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
) -> None:  # fmt: skip
    """Train MODEL on texts alone: TSDAE, SimCSE or contrastive tension.

    For a base model that was never trained for similarity; one that was often loses by it, as the table shows.
    Interrupted or killed, give the same command again: it goes on from its last checkpoint.

    \b
    Examples:
      vicinal adapt texts bert-base-uncased --texts corpus.txt --test stsb/test.tsv -o mine
      vicinal adapt texts bert-base-uncased --method simcse --texts corpus.txt --epochs 1 -o mine
    """
    c.check_training("vicinal adapt")
    from vicinal.recipes.unsupervised import SCHEDULES, adapt

    plan = c.Training(epochs, batch_size, learning_rate, seed, bf16, threads)
    learned = c.read_texts(texts, r.Reading(format, column, field, encoding, no_quotes))
    tasks = c.tasks_of(test, not no_quotes)
    base = c.load(model, threads)
    with c.called():
        c.show(
            adapt(
                base, learned, output, method=method.value, schedule=plan.schedule(SCHEDULES[method.value]),
                tasks=tasks, say=c.progress,
            )
        )  # fmt: skip
