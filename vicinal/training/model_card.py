"""What a training tells the model's card: data, losses, settings, the course of it, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from transformers import TrainerCallback

import vicinal
from vicinal.cards import CrossEncoderModelCardData, ModelCardData, SentenceTransformerModelCardData

__all__ = [
    "CrossEncoderModelCardData",
    "ModelCardCallback",
    "SentenceTransformerModelCardData",
    "describe_dataset",
    "generate_model_card",
]

_COUNTED = 100
_SAMPLES = 3
_SHOWN = 200  # signs of a sample's text
_UNTOLD = frozenset(
    (
        "output_dir",
        "logging_dir",
        "logging_strategy",
        "logging_first_step",
        "logging_steps",
        "evaluation_strategy",
        "eval_strategy",
        "eval_steps",
        "eval_delay",
        "save_strategy",
        "save_steps",
        "save_total_limit",
        "metric_for_best_model",
        "greater_is_better",
        "report_to",
        "samples_per_label",
        "show_progress_bar",
        "do_train",
        "do_eval",
        "do_test",
        "run_name",
        "resume_from_checkpoint",
        "hub_token",
        "push_to_hub_token",
    )
)
"""Arguments that say where and when, not how it was trained; and secrets."""
_PACKAGES = ("transformers", "torch", "accelerate", "datasets", "tokenizers")


def generate_model_card(model: Any) -> str:
    """The README.md that a model's card data makes."""
    card: ModelCardData = model.model_card_data
    card.register_model(model)
    return card.render()


class ModelCardCallback(TrainerCallback):
    """Fills `model.model_card_data` while a `transformers.Trainer` works. One training, one callback.

    Args:
        model: whose card it is.
        train_dataset, eval_dataset: a data set, or several by name; None is none.
        loss: what is trained with: a loss, or one for each data set by name.
        default_args: what `args.to_dict()` gives where nothing was set, to tell what was.
    """

    def __init__(
        self,
        model: Any,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Any = None,
        default_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.card: ModelCardData = model.model_card_data
        self.default_args = dict(default_args or {})
        self.started: float | None = None
        card = self.card
        card.add_tags("generated_from_trainer")
        if train_dataset is not None:
            card.train_datasets = _described(train_dataset, card.train_datasets, model, loss)
        if eval_dataset is not None:
            card.eval_datasets = _described(eval_dataset, card.eval_datasets, model, loss)
        if loss is not None:
            card.set_losses(list(loss.values()) if isinstance(loss, Mapping) else [loss])
        if not card.widget and (examples := train_dataset if eval_dataset is None else eval_dataset) is not None:
            card.set_widget_examples(examples)
        hub_id = re.fullmatch(r"[\w.-]+/[\w.-]+", model.name, re.ASCII)
        if card.base_model is None and hub_id and not os.path.exists(model.name):
            card.set_base_model(model.name)
        card.versions = {"Python": platform.python_version(), "vicinal": vicinal.__version__}
        card.versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take down the settings."""
        told = {name: value for name, value in args.to_dict().items() if name not in _UNTOLD}
        self.card.all_hyperparameters = told
        self.card.non_default_hyperparameters = {
            name: value for name, value in told.items() if self.default_args.get(name, value) != value
        }
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Take down the loss of a step."""
        if logs is not None and "loss" in logs:
            self.card.log(state.epoch, state.global_step, {"Training Loss": logs["loss"]})

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Take down the losses on evaluation data; evaluators tell the card by themselves."""
        losses = {
            key.removeprefix("eval_").replace("_", " "): value
            for key, value in (metrics or {}).items()
            if key.startswith("eval_") and key.endswith("loss")
        }
        if "loss" in losses:
            losses = {"Validation Loss": losses.pop("loss"), **losses}
        if losses:
            self.card.log(state.epoch, state.global_step, losses)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take down how long it took, and which step was kept."""
        if self.started is not None:
            self.card.training_seconds = time.monotonic() - self.started
        best = getattr(state, "best_global_step", None)
        if args.load_best_model_at_end and best:
            self.card.set_best_model_step(best)


def _described(dataset: Any, known: list[dict[str, Any]], model: Any, loss: Any) -> list[dict[str, Any]]:
    """Each data set's description, with the names and ids that the card's author gave, in order."""
    named = dataset.items() if isinstance(dataset, Mapping) else [(None, dataset)]
    found = []
    for i, (name, one) in enumerate(named):
        own = loss.get(name) if isinstance(loss, Mapping) else loss
        given = known[i] if i < len(known) else {"name": name or "Unnamed"}
        found.append({**given, **describe_dataset(one, model, own)})
    return found


def describe_dataset(dataset: Any, model: Any = None, loss: Any = None) -> dict[str, Any]:
    """Size, columns, statistics of the first rows, samples and loss of a data set.

    Args:
        dataset: a `datasets.Dataset`; of an iterable one, only the names of its columns are told.
        model: counts tokens.
        loss: what it is trained with.
    """
    found: dict[str, Any] = {"columns": list(dataset.column_names or ())}
    if hasattr(dataset, "__len__"):
        rows = [dataset[i] for i in range(min(len(dataset), _COUNTED))]
        columns = {name: [row[name] for row in rows] for name in found["columns"] if name != "dataset_name"}
        found["size"], found["counted"] = len(dataset), len(rows)
        found["stats"] = {name: _statistics(values, model) for name, values in columns.items() if values}
        found["samples"] = [{name: _shown(row[name]) for name in columns} for row in rows[:_SAMPLES]]
    if loss is not None:
        config = loss.get_config_dict() if hasattr(loss, "get_config_dict") else {}
        found["loss"] = {"name": type(loss).__name__, "config": config}
    return found


def _statistics(values: list[Any], model: Any) -> dict[str, Any]:
    first = values[0]
    kind = type(first).__name__
    if isinstance(first, str):
        mask = {} if model is None else model.tokenize(values)
        if "attention_mask" not in mask:
            return {"Type": "text", "In": "characters", **_range(map(len, values))}
        lengths = mask["attention_mask"].sum(1)
        return {"Type": "text", "In": "tokens", **_range(np.asarray(lengths).tolist())}
    if isinstance(first, (bool, int, float)):
        return {"Type": kind, **_range(values)}
    if isinstance(first, (list, tuple)):
        return {"Type": kind, "In": "items", **_range(map(len, values))}
    return {"Type": kind}


def _range(numbers: Iterable[float]) -> dict[str, Any]:
    found = np.array(list(numbers), np.float64)
    return {"Least": float(found.min()), "Mean": float(found.mean()), "Most": float(found.max())}


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
