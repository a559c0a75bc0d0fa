"""`vicinal train`: fine-tune a model, by a settings file or by options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vicinal.cli import terminal
from vicinal.cli.rows import NoQuotes

if TYPE_CHECKING:
    from vicinal.recipes.config import TrainConfig

_SETTINGS = (".yaml", ".yml", ".json")
_ARGUMENTS = {
    "epochs": "num_train_epochs",
    "max_steps": "max_steps",
    "batch_size": "per_device_train_batch_size",
    "learning_rate": "learning_rate",
}
"""Options that are training arguments under another name."""
_EVALUATED = ("retrieval", "duplicates", "classification", "similarity")
"""Tasks that are measured under the name under which they are trained."""


class Task(str, Enum):
    """What data teach."""

    retrieval = "retrieval"
    duplicates = "duplicates"
    classification = "classification"
    similarity = "similarity"
    nli = "nli"


class Dtype(str, Enum):
    """What a training computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def _option(metavar: str, text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, show_default=False, help=text, **more)


_Paths = list[str] | None


def train(
    what: Annotated[
        str, typer.Argument(metavar="CONFIG.yaml|MODEL", help="A settings file; or, with --data, a model to train.")
    ],
    data: Annotated[
        str | None,
        _option(
            "PATH",
            "Train on this: a .csv, .tsv, .jsonl (also .gz) or .parquet file with a header, a folder that "
            "datasets saved, or a folder in BEIR form.",
            "--data",
        ),
    ] = None,
    task: Annotated[
        Task | None,
        _option(
            "NAME",
            "What the data teach, which chooses the loss: retrieval (query, answer), duplicates (two texts, "
            "perhaps with 0 or 1), classification (text, class), similarity (two texts, score), nli (anchor, "
            "entailment, contradiction; or two texts and a label).",
            "--task",
        ),
    ] = None,
    loss: Annotated[
        str | None, _option("NAME", "The loss, by its name or short name, such as mnr or cosent.", "--loss")
    ] = None,
    columns: Annotated[
        str | None,
        _option(
            "A,B,...",
            "Columns of texts in the order of the loss's inputs; without it, all but the label's.",
            "--columns",
        ),
    ] = None,
    label: Annotated[
        str | None,
        _option(
            "NAME", "Column of labels; without it and --columns, one named label, labels, score or scores.", "--label"
        ),
    ] = None,
    no_quotes: NoQuotes = False,
    dev: Annotated[
        _Paths,
        _option("PATH", "Measure on this while training and keep the best step; may be given several times.", "--dev"),
    ] = None,
    test: Annotated[
        _Paths, _option("PATH", "Measure on this before and after; may be given several times.", "--test")
    ] = None,
    drop_leaks: Annotated[
        bool,
        typer.Option(
            "--drop-leaks",
            help="Leave out training rows that have a text of the evaluation data, instead of refusing them.",
        ),
    ] = False,
    epochs: Annotated[float | None, _option("N", "Passes over the data; 1 where nothing is said.", "--epochs")] = None,
    max_steps: Annotated[int | None, _option("N", "So many steps, whatever --epochs.", "--max-steps", min=1)] = None,
    batch_size: Annotated[int | None, _option("N", "Rows of a step; else 16.", "--batch-size", min=1)] = None,
    learning_rate: Annotated[
        float | None, _option("X", "At its highest, after a tenth of the steps; else 2e-5.", "--learning-rate")
    ] = None,
    max_seq_length: Annotated[
        int | None, _option("N", "Tokens of a text that are read; else the model's.", "--max-seq-length", min=1)
    ] = None,
    dtype: Annotated[
        Dtype | None,
        _option(
            "NAME",
            "bfloat16 computes products in it, faster where the processor has it; else float32. Weights stay float32.",
            "--dtype",
        ),
    ] = None,
    seed: Annotated[int | None, _option("N", "Of all that is random; else 42.", "--seed")] = None,
    plot: Annotated[
        str | None, _option("FILE.png", "Draw the losses and metrics over the steps at the end.", "--plot")
    ] = None,
    output: Annotated[str | None, _option("FOLDER", "Folder of the trained model.", "--output", "-o")] = None,
) -> None:
    """Fine-tune a model.

    A settings file names model, data sets (each with a task or loss), evaluation data and training arguments; see
    docs/multi-task.md. With --data, options say it all. Beside a file, those from --epochs on replace what it says.

    Training data with a text of the evaluation data are refused. The trained model is written with its card; training
    in its folder has log.csv and comparison.csv. Interrupted or killed, give the same command again: it goes on from
    its last checkpoint. At the end a table compares the model before and after, each number with its 95 % interval.

    \b
    Examples:
      vicinal train config.yaml
      vicinal train config.yaml --seed 1 -o my-model-1
      vicinal train all-MiniLM-L6-v2 --data faq.csv --task retrieval --test held-out.csv -o my-model
      vicinal train all-MiniLM-L6-v2 --data sts.tsv --loss cosent --dev dev.tsv --test test.tsv -o my-model
    """  # fmt: skip
    from vicinal.extras import require

    require("torch", "vicinal train")
    require("train", "vicinal train")
    from vicinal.evaluation.plotting import check_picture, plot_curves
    from vicinal.recipes import base
    from vicinal.recipes.train import train as run

    if plot is not None:
        check_picture(plot)
    given = {"epochs": epochs, "max_steps": max_steps, "batch_size": batch_size, "learning_rate": learning_rate}
    changes = {
        "output": output,
        "max_seq_length": max_seq_length,
        "dtype": None if dtype is None else dtype.value,
        "seed": seed,
        "training": {_ARGUMENTS[name]: value for name, value in given.items() if value is not None} or None,
    }
    of_data = {"--data": data, "--task": task, "--loss": loss, "--columns": columns, "--label": label, "--dev": dev,
               "--test": test, "--no-quotes": no_quotes, "--drop-leaks": drop_leaks}  # fmt: skip
    config = _config(what, of_data, {name: value for name, value in changes.items() if value is not None})
    rows = run(config, terminal.say)
    terminal.say(f"the model is in {config.output}")
    if plot is not None:
        plot_curves(base.Run.of(Path(config.output)).log, plot)
        terminal.say(f"the curves are in {plot}")
    if rows:
        typer.echo(base.table(rows))


def _config(what: str, of_data: dict[str, Any], changes: dict[str, Any]) -> TrainConfig:
    """The settings: of the file, with `changes`; or of the options alone."""
    from vicinal.recipes.config import parse, read_config

    if Path(what).suffix in _SETTINGS:
        if beside := [name for name, value in of_data.items() if value]:
            raise typer.BadParameter(f"{what} says what to train on: write it there", param_hint=beside[0])
        return read_config(what, changes)
    if of_data["--data"] is None:
        raise typer.BadParameter(f"{what!r} is no .yaml file: say what to train on", param_hint="--data")
    if of_data["--task"] is None and of_data["--loss"] is None:
        raise typer.BadParameter("say what the data teach, or name a loss", param_hint="--task")
    if "output" not in changes:
        raise typer.BadParameter("say where the trained model goes", param_hint="--output")
    columns, task = of_data["--columns"], of_data["--task"] and of_data["--task"].value
    form = {
        "columns": columns.split(",") if columns else None,
        "label": of_data["--label"],
        "quotes": not of_data["--no-quotes"],
    }
    measured = {**form, "task": task if task in _EVALUATED else None}
    if task == "classification":
        measured["known"] = of_data["--data"]
    lists = {name: of_data[f"--{name}"] or [] for name in ("dev", "test")}
    settings = {
        "model": what,
        "data": [{"path": of_data["--data"], "task": task, "loss": of_data["--loss"], **form}],
        "evaluation": {name: [{"path": path, **measured} for path in paths] for name, paths in lists.items()},
        "leaks": "drop" if of_data["--drop-leaks"] else "refuse",
    }
    return parse({**settings, **changes}, "options")
