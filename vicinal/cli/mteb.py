"""`vicinal eval --mteb`: the tasks of a benchmark, by its own package."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vicinal.cli.tables import table

if TYPE_CHECKING:
    from vicinal.cli.options import ModelOptions


def evaluate_on_mteb(
    model: ModelOptions,
    tasks: list[str],
    output: Path | None,
    as_json: bool,
    options: dict[str, Any],
    *,
    split: str | None = None,
    quotes: bool = True,
) -> None:
    """Run tasks, and print the main score of every split and subset.

    Args:
        tasks: mteb's names; or paths, which have a slash or end like a table does.
        split, quotes: of what is at a path.
    """
    from vicinal.evaluation.mteb import evaluate_mteb
    from vicinal.evaluation.mteb_tasks import local_task
    from vicinal.extras import require

    require("mteb", "--mteb")  # before the model is loaded
    wanted = [local_task(task, split=split, quotes=quotes) if _is_path(task) else task for task in tasks]
    results = evaluate_mteb(model.load(), wanted, output, **options)
    if as_json:
        typer.echo(f"[{', '.join(result.model_dump_json() for result in results)}]")  # knows dates, and NaN as null
        return
    rows = [
        [result.task_name, split, scores["hf_subset"], f"{scores['main_score']:.4f}"]
        for result in results
        for split, subsets in result.scores.items()
        for scores in subsets
    ]
    table(["task", "split", "subset", "score"], rows)


def _is_path(task: str) -> bool:
    return "/" in task or os.sep in task or task.removesuffix(".gz").endswith((".tsv", ".csv"))
