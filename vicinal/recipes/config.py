"""What a training run is told: the YAML file of `vicinal train` as frozen dataclasses."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from vicinal.errors import DataNotFound, InvalidData
from vicinal.recipes.settings import check_keys, fitting, mapping, settings
from vicinal.training.arguments import SentenceTransformerTrainingArguments

TaskName = Literal["retrieval", "duplicates", "classification", "similarity", "nli"]


@dataclass(frozen=True)
class DataConfig:
    """A data set to train on.

    Attributes:
        path: a .csv, .tsv, .jsonl (also .gz) or .parquet file; a folder that `datasets` saved; a BEIR-form folder.
        name: what it is called; None for the name of the file or folder.
        task: what it teaches, which chooses the loss where none is named, and the instruction.
        columns: with texts, in the order of the loss's inputs; None for all but the label's.
        label: the column of labels.
        split: of a folder; None for "train".
        limit: so many rows at the most, drawn at random.
        quotes: whether fields of csv and tsv may be in quotation marks.
        loss: a loss by its name or short name, or {name: ..., and its arguments}.
        weight: what its loss is multiplied with.
        batch_sampler: how its rows become batches; None for what suits the loss.
    """

    path: str
    name: str | None = None
    task: TaskName | None = None
    columns: list[str] | None = None
    label: str | None = None
    split: str | None = None
    limit: int | None = None
    quotes: bool = True
    loss: str | dict[str, Any] | None = None
    weight: float = 1.0
    batch_sampler: Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed", "group_by_label"] | None = None


@dataclass(frozen=True)
class EvaluationConfig:
    """Data to measure on.

    Attributes:
        path: a BEIR-form folder, or a file or folder as for training.
        name: what it is called; None for the name of the file or folder.
        task: "retrieval" (a BEIR-form folder, or pairs of a query and its document), "duplicates" (two texts and 0 or
            1), "similarity" (two texts and a score), "triplets" (three texts) or "classification" (a text and a
            label); None for what the columns say.
        columns, label, split, limit, quotes: as for training; the split of a folder is "test" here.
        known: for classification: a file with the same columns, or a folder whose split "train" is taken: its texts
            make the centre of each class, but those that are measured on.
    """

    path: str
    name: str | None = None
    task: Literal["retrieval", "duplicates", "similarity", "triplets", "classification"] | None = None
    columns: list[str] | None = None
    label: str | None = None
    split: str | None = None
    limit: int | None = None
    quotes: bool = True
    known: str | None = None


@dataclass(frozen=True)
class Evaluations:
    """What a run is measured on.

    Attributes:
        dev: at each evaluation while it trains; the step with the best mean of their primary metrics is kept.
        test: before and after. Without any, before and after are measured on `dev`, of which the best was chosen.
    """

    dev: list[Any] = field(default_factory=list)
    test: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Attributes:
        model: a name or folder.
        output: the folder of the trained model; the run keeps its own files in `training` in it.
        data: what to train on.
        evaluation: what to measure on: a list is `test`.
        sampling: how data sets take turns: "proportional" (to their sizes), "round_robin" (one batch each, until one
            is through), or {temperature: T}: by the size to the power of 1/T, 1 is proportional, more is more even.
        instructions: by task, what goes in front of its texts: of "retrieval" in front of the queries, or {query: ...,
            document: ...}; else in front of all texts.
        training: arguments by the names of `SentenceTransformerTrainingArguments`, over `DEFAULTS`.
        dtype: of the products while it trains: "float32", or "bfloat16" (autocast; weights stay float32).
        leaks: "refuse" training rows with a text of the evaluation data, or "drop" them.
        max_seq_length: tokens of a text that are read.
        seed: of all that is random.
    """

    model: str
    output: str
    data: list[Any]
    evaluation: Any = field(default_factory=list)
    sampling: str | dict[str, float] = "proportional"
    instructions: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    dtype: Literal["float32", "bfloat16"] = "float32"
    leaks: Literal["refuse", "drop"] = "refuse"
    max_seq_length: int | None = None
    seed: int = 42

    @property
    def dev(self) -> list[EvaluationConfig]:
        """What is measured while it trains."""
        return typing.cast(Evaluations, self.evaluation).dev

    @property
    def test(self) -> list[EvaluationConfig]:
        """What is measured before and after."""
        return typing.cast(Evaluations, self.evaluation).test


def read_config(path: str | Path, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """The settings of a YAML (or JSON) file.

    Args:
        path: of the file. Paths in it are seen from where the program runs.
        changes: top-level settings that replace the file's; of `training` argument by argument.

    Raises:
        DataNotFound: there is no file. InvalidData: it is no YAML, or a setting is not as it must be.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise DataNotFound(f"there is no settings file {path}") from None
    except UnicodeDecodeError as error:
        raise InvalidData(f"{path} is not UTF-8: {error}") from None
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidData(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    found, new = mapping(given, str(path)), dict(changes or {})
    if new.get("training"):
        new["training"] = {**mapping(found.get("training", {}), f"{path}.training"), **new["training"]}
    return parse({**found, **new}, str(path))


def parse(given: Mapping[str, Any], at: str = "settings") -> TrainConfig:
    """Settings, checked; see `TrainConfig`.

    Raises:
        InvalidData: a key is unknown or missing, or a value not as it must be.
    """
    top = settings(TrainConfig, given, at)
    if not top.data:
        raise InvalidData(f"{at}.data has no data set")
    data = [settings(DataConfig, one, f"{at}.data[{i}]") for i, one in enumerate(top.data)]
    data = _named(data, f"{at}.data")
    for i, one in enumerate(data):
        _check_data(one, f"{at}.data[{i}]")
    both = {"test": top.evaluation} if isinstance(top.evaluation, list) else top.evaluation
    lists = settings(Evaluations, both, f"{at}.evaluation")
    parts = {
        name: [settings(EvaluationConfig, one, f"{at}.evaluation.{name}[{i}]") for i, one in enumerate(found)]
        for name, found in (("dev", lists.dev), ("test", lists.test))
    }
    evaluation = Evaluations(**{name: _named(found, f"{at}.evaluation.{name}") for name, found in parts.items()})
    _check_instructions(top.instructions, f"{at}.instructions")
    if top.max_seq_length is not None and top.max_seq_length < 1:
        raise InvalidData(f"{at}.max_seq_length must be 1 or more, not {top.max_seq_length}")
    _check_sampling(top.sampling, f"{at}.sampling")
    if not 0 <= top.seed < 1 << 32:
        raise InvalidData(f"{at}.seed must be from 0 to below 2**32, not {top.seed}")
    training = arguments(top.training, f"{at}.training")
    for name in ("num_train_epochs", "learning_rate", "per_device_train_batch_size"):
        if not 0 < training.get(name, 1) < math.inf:
            raise InvalidData(f"{at}.training.{name} must be above 0, not {training[name]}")
    return dataclasses.replace(top, data=data, evaluation=evaluation, training=training)


def _check_data(data: DataConfig, at: str) -> None:
    if data.task is None and data.loss is None:
        raise InvalidData(f"{at} needs a task ({', '.join(typing.get_args(TaskName))}) or a loss")
    if not 0 < data.weight < math.inf:
        raise InvalidData(f"{at}.weight must be above 0, not {data.weight}")
    if data.limit is not None and data.limit < 1:
        raise InvalidData(f"{at}.limit must be 1 or more, not {data.limit}")


def _check_instructions(instructions: Mapping[str, Any], at: str) -> None:
    check_keys(instructions, typing.get_args(TaskName), at)
    for task, one in instructions.items():
        if task == "retrieval" and isinstance(one, Mapping):
            check_keys(one, ("query", "document"), f"{at}.{task}")
            fitting(one, dict[str, str], f"{at}.{task}")
        else:
            fitting(one, str, f"{at}.{task}")


def _check_sampling(sampling: str | dict[str, float], at: str) -> None:
    if isinstance(sampling, str):
        fitting(sampling, Literal["proportional", "round_robin"], at)
        return
    check_keys(sampling, ["temperature"], at)
    if not sampling.get("temperature", 0) > 0:
        raise InvalidData(f"{at}.temperature must be above 0, not {sampling.get('temperature')!r}")


def _named(configs: list[Any], at: str) -> list[Any]:
    """Configs with a name each, no two alike."""
    found: list[Any] = []
    for config in configs:
        name = config.name or Path(config.path).resolve().name.split(".")[0]
        if not config.name:
            same, count = name, 2
            while any(name == other.name for other in [*found, *configs]):
                name, count = f"{same}-{count}", count + 1
        elif any(name == other.name for other in found):
            raise InvalidData(f"{at} has two named {name!r}")
        found.append(dataclasses.replace(config, name=name))
    return found


DEFAULTS = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 16,
    "learning_rate": 2e-5,
    "warmup_ratio": 0.1,
}
"""Training arguments where the settings say nothing; all others are those of `transformers`."""

RESERVED = {
    "output_dir": "it is `output`",
    "bf16": "it is `dtype`",
    "seed": "it is `seed`",
    "prompts": "it is `instructions`",
    "batch_sampler": "it belongs to each data set",
    "multi_dataset_batch_sampler": "it is `sampling`",
    "resume_from_checkpoint": "a killed run goes on by itself when the command is given again",
    "metric_for_best_model": "it is the mean of the primary metrics of evaluation.dev",
}
"""Training arguments that have another place here."""


def arguments(given: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Training arguments, checked by name and by the plain types among them.

    Raises:
        InvalidData: there is none of that name, it has another place, or a value is of another type.
    """
    fields = {one.name for one in dataclasses.fields(SentenceTransformerTrainingArguments) if one.init}
    check_keys(given, sorted(fields), at)
    hints = typing.get_type_hints(SentenceTransformerTrainingArguments)
    found = {}
    for name, value in given.items():
        if name in RESERVED:
            raise InvalidData(f"{at}.{name} is not set here: {RESERVED[name]}")
        found[name] = fitting(value, hints[name], f"{at}.{name}") if _plain(hints[name]) else value
    return found


def _plain(hint: Any) -> bool:
    """Whether a type is made of numbers, texts and true or false alone."""
    return all(part in (int, float, bool, str, type(None)) for part in (typing.get_args(hint) or (hint,)))
