"""`vicinal eval`: how good a model is on a retrieval set or on pairs with scores, and whether another one is better."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import options as o
from vicinal.cli import terminal
from vicinal.cli.mteb import evaluate_on_mteb
from vicinal.cli.rows import NoQuotes

if TYPE_CHECKING:
    from vicinal.evaluation.measuring import Measured, Task
    from vicinal.evaluation.resampling import Interval


def evaluate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Name or id on the hub, or a folder; with --plot, a csv file."),
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder in BEIR form (corpus.jsonl, queries.jsonl, qrels/*.tsv), or a .tsv or .csv file with two "
            "texts and a score; both also compressed (.gz).",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="MODEL", show_default=False, help="Compare with this model on the same data."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            show_default=False,
            help="Which qrels/NAME.tsv of a retrieval set; without it, test, or the only one.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,SCORE",
            show_default=False,
            help="Columns of a table by name, or by number from 1 where there is no header; without it, "
            "sentence1,sentence2,score.",
        ),
    ] = None,
    no_quotes: NoQuotes = False,
    query_prompt: Annotated[
        str | None,
        typer.Option(
            "--query-prompt",
            metavar="TEXT",
            show_default=False,
            help="Put this text before every query; without it, the model's own prompt.",
        ),
    ] = None,
    document_prompt: Annotated[
        str | None,
        typer.Option(
            "--document-prompt",
            metavar="TEXT",
            show_default=False,
            help="Put this text before every document; without it, the model's own prompt.",
        ),
    ] = None,
    truncate_dim: o.TruncateDim = None,
    truncation: o.TruncationOption = o.Truncation.warn,
    dtype: o.DtypeOption = o.Dtype.auto,
    backend: o.BackendOption = o.Backend.auto,
    threads: o.Threads = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            show_default=False,
            help="Draw the metrics of an evaluator's csv file, or of a run's log.csv, over the training steps, and "
            "evaluate nothing.",
        ),
    ] = None,
    mteb: Annotated[
        list[str] | None,
        typer.Option(
            "--mteb",
            metavar="TASK",
            show_default=False,
            help="Run this task of the package mteb instead of DATA, or DATA itself as one, by a path with a slash; "
            "may be given several times.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", show_default=False, help="With --mteb, write results here, in its form."
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Measure a model on labelled data.

    Every number comes with its 95 % interval: where it would lie on other queries or pairs of the same kind. With
    --against also the differences of the two models and p, the probability of a difference as large between models that
    are alike.

    \b
    Examples:
      vicinal eval all-MiniLM-L6-v2 beir/scifact
      vicinal eval all-MiniLM-L6-v2 stsb/test.tsv --against ./my-model --json
      vicinal eval out/eval/similarity_evaluation_dev_results.csv --plot curve.png
      vicinal eval all-MiniLM-L6-v2 --mteb SciFact --mteb STSBenchmark -o results/
      vicinal eval all-MiniLM-L6-v2 --mteb ./my-set -o results/
    """  # fmt: skip
    if plot is not None:
        _check_plot(data, against)
        from vicinal.evaluation.plotting import plot_curves

        plot_curves(model, plot)
        return
    if mteb:
        if data is not None or against is not None:
            raise typer.BadParameter("with --mteb give one model and no data", param_hint="--mteb")
        if columns is not None or query_prompt is not None or document_prompt is not None:
            raise typer.BadParameter("a task of mteb has columns and prompts of its own", param_hint="--mteb")
        wanted = o.ModelOptions(model, dtype, backend, threads, truncate_dim)
        evaluate_on_mteb(
            wanted, mteb, output, as_json, {"truncation": truncation.value}, split=split, quotes=not no_quotes
        )
        return
    if output is not None:
        raise typer.BadParameter("results are written with --mteb alone", param_hint="--output")
    if data is None:
        raise typer.BadParameter("say what to evaluate on: vicinal eval MODEL DATA", param_hint="DATA")
    options = {"truncation": truncation.value}
    if os.path.isdir(data):
        if columns is not None or no_quotes:
            raise typer.BadParameter(
                f"{data} is a folder in BEIR form, which has none", param_hint="--columns, --no-quotes"
            )
        task = _retrieval(data, split, (query_prompt, document_prompt), options)
    else:
        if split is not None or query_prompt is not None or document_prompt is not None:
            raise typer.BadParameter(
                f"{data} is a file of pairs: these are for a folder in BEIR form",
                param_hint="--split, --query-prompt, --document-prompt",
            )
        task = _pairs(data, columns, not no_quotes, options)
    names = [model] if against is None else [model, against]
    found = []
    for name in names:
        with terminal.naming(_Rows()):
            loaded = o.ModelOptions(name, dtype, backend, threads, truncate_dim).load()
            found.append(task.measure(loaded))
    _show(Result(task.described, names, found), as_json)


def _check_plot(data: str | None, against: str | None) -> None:
    if data is not None or against is not None:
        raise typer.BadParameter("with --plot give a csv file alone", param_hint="--plot")


class _Rows(Sequence[str]):
    """What rows are called in messages: by their numbers."""

    def __getitem__(self, row: Any) -> Any:
        return f"row {row}"

    def __len__(self) -> int:
        return sys.maxsize


@dataclass(frozen=True)
class Result:
    """What was found of one model or two."""

    data: str
    names: list[str]
    found: list[Measured]


def _retrieval(
    folder: str, split: str | None, prompts: tuple[str | None, str | None], options: Mapping[str, Any]
) -> Task:
    from vicinal.evaluation import measuring
    from vicinal.evaluation.files import read_beir

    return measuring.retrieval(read_beir(folder, split), *prompts, options, show_progress_bar=sys.stderr.isatty())


def _pairs(path: str, columns: str | None, quotes: bool, options: Mapping[str, Any]) -> Task:
    from vicinal.evaluation import measuring
    from vicinal.evaluation.files import read_pairs

    names = None if columns is None else columns.split(",")
    if names is not None and len(names) != 3:
        raise typer.BadParameter(f"three columns are needed, A,B,SCORE, not {columns!r}", param_hint="--columns")
    return measuring.similarity(read_pairs(path, names, quotes), None, options, show_progress_bar=sys.stderr.isatty())


def _show(result: Result, as_json: bool) -> None:
    first, others = result.found[0], result.found[1:]
    differences = first.minus(others[0]) if others else {}
    if as_json:
        models = [
            {"model": name, "metrics": {metric: i._asdict() for metric, i in found.metrics.items()}}
            for name, found in zip(result.names, result.found, strict=True)
        ]
        compared = {"differences": {name: d._asdict() for name, d in differences.items()}} if others else {}
        typer.echo(json.dumps({"data": result.data, "models": models, **compared}))
        return
    terminal.say(result.data)
    lines = [["metric", *result.names, "difference", "p"]] if others else []
    for metric in first.metrics:
        cells = [_interval(found.metrics[metric]) for found in result.found]
        if others:
            d = differences[metric]
            cells += [f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]", f"{d.p:.4f}"]
        lines.append([metric, *cells])
    if sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line in lines:
        typer.echo(("  " if sys.stdout.isatty() else "\t").join(line).rstrip())


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
