"""`vicinal train`: fine-tune a model, by a settings file or by options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vicinal.cli import terminal
from vicinal.cli.rows import NoQuotes

_SETTINGS = (".yaml", ".yml", ".json")


def train(
    what: Annotated[
        str,
        typer.Argument(metavar="CONFIG.yaml|MODEL", help="A settings file; or with --data a model to train."),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PATH",
            show_default=False,
            help="Train on this: a .csv, .tsv, .jsonl (also .gz) or .parquet file with a header, a folder that "
            "datasets saved, or a folder in BEIR form.",
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="A,B,...",
            show_default=False,
            help="Columns of texts in the order of the loss's inputs; without it, all but the label's.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            metavar="NAME",
            show_default=False,
            help="Column of labels; without it and --columns, one named label, labels, score or scores.",
        ),
    ] = None,
    no_quotes: NoQuotes = False,
    loss: Annotated[
        str, typer.Option("--loss", metavar="NAME", help="A loss by its name or short name, such as mnr or cosent.")
    ] = "mnr",
    epochs: Annotated[float, typer.Option("--epochs", metavar="N", help="Passes over the data.")] = 1.0,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Rows of a step.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="X", help="At its highest.")] = 2e-5,
    dev: Annotated[
        list[str] | None,
        typer.Option(
            "--dev",
            metavar="PATH",
            show_default=False,
            help="Measure on this while training and keep the best step; may be given several times.",
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            metavar="PATH",
            show_default=False,
            help="Measure on this before and after; may be given several times.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all that is random.")] = 42,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FOLDER", show_default=False, help="Folder of the trained model."),
    ] = None,
) -> None:
    """Fine-tune a model.

    A settings file names model, data sets (with a task or loss each), evaluation data and training arguments; see
    docs/training.md. With --data, the options are all the settings.

    Training data with a text of the evaluation data are refused. The trained model is written with its card; training
    in its folder has log.csv and comparison.csv. Interrupted or killed, give the same command again: it goes on from
    its last checkpoint. At the end a table compares the model before and after, each number with its 95 % interval.

    \b
    Examples:
      vicinal train config.yaml
      vicinal train all-MiniLM-L6-v2 --data pairs.csv --loss mnr --epochs 1 -o my-model
      vicinal train all-MiniLM-L6-v2 --data sts.tsv --loss cosent --dev dev.tsv --test test.tsv -o my-model
    """  # fmt: skip
    from vicinal.extras import require

    require("torch", "vicinal train")
    require("train", "vicinal train")
    from vicinal.recipes import config as c
    from vicinal.recipes.base import table
    from vicinal.recipes.train import train as run

    if Path(what).suffix in _SETTINGS and data is None:
        config = c.read_config(what, {} if output is None else {"output": output})
    else:
        if data is None:
            raise typer.BadParameter(f"{what!r} is no .yaml file: say what to train on", param_hint="--data")
        if output is None:
            raise typer.BadParameter("say where the trained model goes", param_hint="--output")
        quotes: dict[str, Any] = {"quotes": False} if no_quotes else {}
        one = {"path": data, "loss": loss, "columns": columns.split(",") if columns else None, "label": label, **quotes}
        lists = {"dev": dev or [], "test": test or []}
        config = c.parse(
            {
                "model": what,
                "output": output,
                "data": [one],
                "evaluation": {name: [{"path": path, **quotes} for path in paths] for name, paths in lists.items()},
                "training": {
                    "num_train_epochs": epochs,
                    "per_device_train_batch_size": batch_size,
                    "learning_rate": learning_rate,
                },
                "seed": seed,
            },
            "options",
        )
    rows = run(config, terminal.say)
    terminal.say(f"the model is in {config.output}")
    if rows:
        typer.echo(table(rows))
