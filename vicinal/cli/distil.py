"""`vicinal distil`: a smaller or faster model from a larger or slower one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vicinal.cli import recipes as c
from vicinal.cli import rows as r

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True,
    help="Make a smaller or faster model from a larger or slower one.",
)  # fmt: skip


class ScoreLoss(str, Enum):
    """What of a cross-encoder's scores is learned."""

    margin_mse = "margin-mse"
    kl = "kl"


Vectors = Annotated[
    Path | None,
    typer.Option(
        "--vectors", metavar="FOLDER", show_default=False,
        help="Keep the teacher's vectors in this folder, for other runs over the same texts.",
    ),
]  # fmt: skip


@app.command()
def layers(
    model: c.ModelArgument,
    texts: c.Texts,
    output: c.Output,
    keep: Annotated[
        str | None,
        typer.Option(
            "--layers",
            metavar="N|I,J,...",
            show_default=False,
            help="How many of the model's layers the new one has, spread from first to last; or which, from 0.",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student", metavar="MODEL", show_default=False, help="Teach this model instead, of no more dimensions."
        ),
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=1, help="Padded tokens of a step, about.")
    ] = 4096,
    vectors: Vectors = None,
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
) -> None:
    """Teach a model with fewer layers, or another network, the vectors of MODEL.

    Interrupted or killed, give the same command again: it goes on from its last checkpoint.

    \b
    Examples:
      vicinal distil layers all-MiniLM-L6-v2 --layers 3 --texts corpus.txt -o small
      vicinal distil layers all-mpnet-base-v2 --student all-MiniLM-L6-v2 --texts corpus.txt --test stsb.tsv -o small
    """
    c.check_training("vicinal distil")
    from vicinal.recipes.distil import SCHEDULE, distil

    chosen = None if keep is None else _numbers(keep)
    plan = c.Training(epochs, batch_size, learning_rate, seed, bf16, threads)
    learned = c.read_texts(texts, r.Reading(format, column, field, encoding, no_quotes))
    tasks = c.tasks_of(test, not no_quotes)
    other = None if student is None else c.load(student, threads)
    teacher = c.load(model, threads)
    with c.called():
        c.show(
            distil(
                teacher, learned, output, student=other, layers=chosen, schedule=plan.schedule(SCHEDULE),
                batch_tokens=batch_tokens, vectors=vectors, tasks=tasks, say=c.progress,
            )
        )  # fmt: skip


def _numbers(said: str) -> int | list[int]:
    """A count, or places."""
    try:
        places = [int(part) for part in said.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is neither a number nor several as in 0,3,5", param_hint="--layers"
        ) from None
    return places[0] if "," not in said else places


@app.command()
def dims(
    model: c.ModelArgument,
    texts: c.Texts,
    output: c.Output,
    keep: Annotated[int, typer.Option("--dims", metavar="N", min=1, help="Dimensions of the new model.")],
    test: c.Test = None,
    threads: c.Threads = None,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
) -> None:
    """Give MODEL fewer dimensions: the principal axes of its vectors, as a dense layer at its end.

    Nothing is trained; some thousand texts are enough.

    \b
    Examples:
      vicinal distil dims all-MiniLM-L6-v2 --dims 128 --texts corpus.txt -o narrow
      vicinal distil dims all-MiniLM-L6-v2 --dims 128 --texts corpus.tsv --column text --test beir/scifact -o narrow
    """
    c.check_training("vicinal distil")
    from vicinal.recipes.distil import reduce_dimensions

    learned = c.read_texts(texts, r.Reading(format, column, field, encoding, no_quotes))
    tasks = c.tasks_of(test, not no_quotes)
    whole = c.load(model, threads)
    with c.called():
        c.show(reduce_dimensions(whole, learned, keep, output, tasks=tasks, say=c.progress))


@app.command()
def static(
    model: c.ModelArgument,
    texts: c.Texts,
    output: c.Output,
    width: Annotated[int, typer.Option("--dims", metavar="N", min=1, help="Dimensions of the new model.")] = 256,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Of the second, longer stage.")] = 3000,
    vectors: Vectors = None,
    test: c.Test = None,
    threads: c.Threads = None,
    format: r.FormatOption = None,
    column: r.Column = None,
    field: r.Field = "text",
    encoding: r.Encoding = "utf-8",
    no_quotes: r.NoQuotes = False,
) -> None:
    """Make a static model of MODEL: a vector a token and their mean, with no network to run.

    \b
    Examples:
      vicinal distil static all-MiniLM-L6-v2 --texts corpus.txt -o instant
      vicinal distil static all-MiniLM-L6-v2 --dims 128 --steps 1000 --texts corpus.txt --test stsb.tsv -o instant
    """
    c.check_training("vicinal distil")
    from vicinal.recipes.static import distil_static

    learned = c.read_texts(texts, r.Reading(format, column, field, encoding, no_quotes))
    tasks = c.tasks_of(test, not no_quotes)
    teacher = c.load(model, threads)
    with c.called():
        c.show(
            distil_static(
                teacher, learned, output, dims=width, steps=steps, vectors=vectors, tasks=tasks, say=c.progress
            )
        )


@app.command()
def scores(
    model: c.ModelArgument,
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="MODEL", help="A cross-encoder of one label that ranks better.")
    ],
    pairs: Annotated[
        list[str],
        typer.Option(
            "--pairs", metavar="PATH",
            help="Queries with their documents: the first two columns of a .tsv or .csv file without a header, or the "
            'split "train" of a folder in BEIR form, whose documents may be negatives; may be given several times.',
        ),
    ],
    output: c.Output,
    loss: Annotated[
        ScoreLoss, typer.Option("--loss", metavar="margin-mse|kl", help="Learn margins, or the distribution of scores.")
    ] = ScoreLoss.margin_mse,
    negatives: Annotated[int, typer.Option("--negatives", metavar="N", min=1, help="Mined for each query.")] = 4,
    skip: Annotated[
        int, typer.Option("--skip", metavar="N", min=0, help="A query's N nearest other documents are no negatives.")
    ] = 0,
    test: c.Test = None,
    epochs: c.Epochs = None,
    batch_size: c.BatchSize = None,
    learning_rate: c.LearningRate = None,
    seed: c.Seed = 0,
    bf16: c.Bf16 = False,
    threads: c.Threads = None,
    no_quotes: r.NoQuotes = False,
) -> None:  # fmt: skip
    """Teach MODEL the scores that a cross-encoder gives queries with their documents and mined negatives.

    Interrupted or killed, give the same command again: it goes on, and scores nothing twice.

    \b
    Examples:
      vicinal distil scores all-MiniLM-L6-v2 --teacher ms-marco-MiniLM-L6-v2 --pairs beir/scifact -o better
      vicinal distil scores MODEL --teacher JUDGE --pairs pairs.tsv --loss kl --test beir/scifact -o better
    """
    c.check_training("vicinal distil")
    from vicinal.cross_encoder import CrossEncoder
    from vicinal.recipes.reranker import read_pairs
    from vicinal.recipes.scores import SCHEDULE, distil_scores

    plan = c.Training(epochs, batch_size, learning_rate, seed, bf16, threads)
    sources = [read_pairs(place) for place in pairs]
    rows = [pair for told, _ in sources for pair in told]
    corpus = list(dict.fromkeys(passage for _, passages in sources for passage in passages))
    tasks = c.tasks_of(test, not no_quotes)
    judge, student = CrossEncoder(teacher, threads=threads), c.load(model, threads)
    with c.called():
        c.show(
            distil_scores(
                judge, student, rows, output, corpus=corpus, loss=loss.value, negatives=negatives, skip=skip,
                schedule=plan.schedule(SCHEDULE), tasks=tasks, say=c.progress,
            )
        )  # fmt: skip
