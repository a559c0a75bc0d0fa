"""`vicinal eval --mteb`: the tasks of a benchmark, by its own package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vicinal.cli.tables import table

if TYPE_CHECKING:
    from vicinal.cli.options import ModelOptions


def evaluate_on_mteb(
    model: ModelOptions, tasks: list[str], output: Path | None, as_json: bool, options: dict[str, Any]
) -> None:
    """Run tasks, and print the main score of every split and subset."""
    from vicinal.evaluation.mteb import evaluate_mteb
    from vicinal.extras import require

    require("mteb", "--mteb")  # before the model is loaded
    results = evaluate_mteb(model.load(), tasks, output, **options)
    if as_json:
        typer.echo(json.dumps([result.to_dict() for result in results]))
        return
    rows = [
        [result.task_name, split, scores["hf_subset"], f"{scores['main_score']:.4f}"]
        for result in results
        for split, subsets in result.scores.items()
        for scores in subsets
    ]
    table(["task", "split", "subset", "score"], rows)
