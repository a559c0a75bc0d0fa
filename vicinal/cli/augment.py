"""`vicinal augment`: a bi-encoder learns from few labelled pairs, and from many that a cross-encoder labels."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from vicinal.cli import recipes as c
from vicinal.cli import rows as r


class Sampling(str, Enum):
    """Which pairs are labelled."""

    random = "random"
    bm25 = "bm25"
    semantic = "semantic"
    both = "bm25+semantic"


def augment(
    model: c.ModelArgument,
    output: c.Output,
    gold: Annotated[
        str | None,
        typer.Option(
            "--gold", metavar="FILE", show_default=False,
            help="Pairs with scores that people gave: a .tsv or .csv file with columns sentence1, sentence2, score.",
        ),
    ] = None,
    highest: Annotated[
        float, typer.Option("--highest", metavar="X", help="The score of two texts that mean the same.")
    ] = 1.0,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--texts", metavar="FILE", show_default=False,
            help="More sentences to pair: files, folders, or - for stdin; may be given several times.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="MODEL", show_default=False,
            help="A cross-encoder that was trained elsewhere; without it one is trained on the gold pairs.",
        ),
    ] = None,
    teacher_base: Annotated[
        str | None,
        typer.Option(
            "--teacher-base", metavar="MODEL", show_default=False,
            help="What the cross-encoder is trained from; without it MODEL's own network.",
        ),
    ] = None,
    sampling: Annotated[
        Sampling,
        typer.Option(
            "--sampling", metavar="random|bm25|semantic|bm25+semantic", help="Which pairs of sentences are labelled."
        ),
    ] = Sampling.both,
    per_sentence: Annotated[
        int, typer.Option("--per-sentence", metavar="N", min=1, help="Pairs of each sentence.")
    ] = 5,
    strata: Annotated[
        int,
        typer.Option(
            "--strata", metavar="N", min=1, help="Keep as many pairs of each of N parts of the range of scores."
        ),
    ] = 10,
    silver: Annotated[
        int | None,
        typer.Option(
            "--silver", metavar="N", min=1, show_default=False,
            help="Labelled pairs that are kept, at most; without it half of them, or all where --strata is 1.",
        ),
    ] = None,
    blend: Annotated[
        bool,
        typer.Option(
            "--blend/--no-blend",
            help="With --gold, label by cross-encoder and bi-encoder together, as fits a fifth of the pairs best.",
        ),
    ] = True,
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
    """Train MODEL on few labelled pairs, and on many more that a cross-encoder labels (Augmented SBERT).

    With --gold the cross-encoder is trained on these, labels pairs of their sentences and of --texts, and MODEL learns
    both; the table's "before" is MODEL trained on the gold pairs alone. With --teacher it is that one.
    Interrupted or killed, give the same command again: it goes on, and labels nothing twice.

    \b
    Examples:
      vicinal augment all-MiniLM-L6-v2 --gold gold.tsv --highest 5 --texts sentences.txt --test stsb/test.tsv -o mine
      vicinal augment all-MiniLM-L6-v2 --teacher stsb-roberta-base --texts sentences.txt --sampling semantic -o mine
    """
    c.check_training("vicinal augment")
    from dataclasses import replace

    from vicinal.cross_encoder import CrossEncoder
    from vicinal.evaluation.files import read_pairs
    from vicinal.recipes import augment as recipe

    if not highest > 0:
        raise typer.BadParameter(f"it must be above 0, not {highest}", param_hint="--highest")
    plan = c.Training(epochs, batch_size, learning_rate, seed, bf16, threads)
    known = None if gold is None else read_pairs(gold, None, not no_quotes)
    pairs = (
        []
        if known is None
        else [
            recipe.Scored(a, b, score / highest)
            for a, b, score in zip(known.sentences1, known.sentences2, known.scores, strict=True)
        ]
    )
    sentences = c.read_texts(texts, r.Reading(format, column, field, encoding, no_quotes)) if texts else []
    tasks = c.tasks_of(test, not no_quotes)
    judge = None if teacher is None else CrossEncoder(teacher, threads=threads)
    student = c.load(model, threads)
    with c.called():
        c.show(
            recipe.augment(
                student, output, gold=pairs, sentences=sentences, teacher=judge, teacher_base=teacher_base,
                sampling=sampling.value, per_sentence=per_sentence, strata=strata, silver=silver, blend=blend,
                schedule=plan.schedule(recipe.SCHEDULE),
                teacher_schedule=replace(recipe.TEACHER_SCHEDULE, seed=seed, bf16=bf16, threads=threads),
                tasks=tasks, say=c.progress,
            )
        )  # fmt: skip
