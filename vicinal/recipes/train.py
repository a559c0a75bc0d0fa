"""Fine-tuning by a settings file: one data set or several tasks at once, measured before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import datasets
import torch

from vicinal.errors import InvalidData
from vicinal.evaluation import SequentialEvaluator
from vicinal.evaluation.measuring import Task
from vicinal.extras import require
from vicinal.recipes import base
from vicinal.recipes.config import DataConfig, TrainConfig
from vicinal.recipes.losses import KINDS, build, chosen, sampler_for
from vicinal.recipes.measures import task_of
from vicinal.recipes.settings import check_keys
from vicinal.recipes.sources import LABEL, digest_of, read, texts_of
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.training.arguments import SentenceTransformerTrainingArguments
from vicinal.training.collator import DATASET
from vicinal.training.samplers import BatchSamplers, TemperatureBatchSampler
from vicinal.training.trainer import SentenceTransformerTrainer

Say = Callable[[str], None]
_OFTEN = 0.2
"""How much of a run lies between two checkpoints, and between two evaluations, where nothing else is said."""


class WeightedTrainer(SentenceTransformerTrainer):
    """The trainer, with a weight and a way to make batches for each data set.

    Args:
        weights: what the loss of each data set is multiplied with.
        batches: the sampler of each data set.
        temperature: of `TemperatureBatchSampler`; None for the sampler that the arguments name.
    """

    def __init__(
        self, *args: Any, weights: Mapping[str, float], batches: Mapping[str, BatchSamplers],
        temperature: float | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.weights, self.batches, self.temperature = weights, batches, temperature
        super().__init__(*args, **options)

    def get_batch_sampler(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """The sampler of this data set."""
        sets: dict[str, Any] = dict(self.train_dataset or {})
        name = next((name for name, one in sets.items() if one is dataset), None)
        if name is None:
            return super().get_batch_sampler(dataset, *args, **options)
        before = self.args.batch_sampler
        self.args.batch_sampler = self.batches[name]
        try:
            return super().get_batch_sampler(dataset, *args, **options)
        finally:
            self.args.batch_sampler = before

    def get_multi_dataset_batch_sampler(
        self, dataset: Any, batch_samplers: list[Any], generator: Any = None, seed: int = 0
    ) -> Any:
        """By temperature, where there is one."""
        if self.temperature is None:
            return super().get_multi_dataset_batch_sampler(dataset, batch_samplers, generator, seed)
        return TemperatureBatchSampler(
            dataset, batch_samplers=batch_samplers, generator=generator, seed=seed, temperature=self.temperature
        )

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted loss of a batch; beside the sum, each data set's own loss is logged."""
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        value = found[0] if return_outputs else found
        name = inputs[DATASET]
        if model.training and len(self.weights) > 1:
            self._parts["train"][f"loss_{name}"].append(value.detach())
        value = value * self.weights[name]
        return (value, found[1]) if return_outputs else value


def train(config: TrainConfig, say: Say = lambda line: None) -> list[base.Compared]:
    """Train a model as the settings say, and measure it before and after.

    The model is written to `config.output` with its card; `training` in it has log.csv and comparison.csv. A killed run
    goes on from its last checkpoint when it is called again with the same settings and data.

    Args:
        config: from `read_config` or `parse`.
        say: takes lines for people.

    Returns:
        The primary metric of each task of `evaluation`, before and after; empty where there are none.

    Raises:
        InvalidData: settings or data are not as they must be; known before anything is trained.
    """
    data = {str(one.name): _columns_of(one, config.seed) for one in config.data}
    measured_on = config.test or config.dev
    before_tasks = [task_of(one, None, config.seed) for one in measured_on]
    after_tasks = [task_of(one, config.instructions, config.seed) for one in measured_on]
    dev_tasks = [task_of(one, config.instructions, config.seed) for one in config.dev]
    data = _without_leaks(data, [*after_tasks, *dev_tasks], config.leaks, say)
    settings = {**_json(config), "digests": {name: digest_of(one) for name, one in data.items()}}
    model = SentenceTransformer(config.model)
    if config.max_seq_length is not None:
        model.max_seq_length = config.max_seq_length
    _add_adapter(model, config)
    losses = {str(one.name): _loss_of(one, data[str(one.name)], model) for one in config.data}
    model.refresh()
    with base.running(Path(config.output), settings) as run:
        for one in config.data:
            kind = f", {one.task}" if one.task else ""
            say(f"{one.name}: {len(data[str(one.name)]):,} rows{kind}, {type(losses[str(one.name)]).__name__}")
        for task in before_tasks:
            say(f"measured on {task.described}")
        before = base.measured(model, before_tasks)
        trainer = _trainer(config, model, data, losses, dev_tasks, run, say)
        if run.checkpoint is not None:
            say(f"going on from {run.checkpoint.name}")
        trainer.train(resume_from_checkpoint=str(run.checkpoint) if run.checkpoint else None)
        after = base.measured(model, after_tasks)
        rows = base.compared(before_tasks, before, after)
        for task, numbers in zip(after_tasks, after, strict=True):
            _tell_card(model, task, numbers, trainer)
        model.prompts = {**model.prompts, **_prompts_of(config)}
        model.save(config.output)
        base.write_comparison(run.folder / "comparison.csv", rows)
        run.done()
    if rows and not config.test:
        say("measured on evaluation.dev, of which the best step was chosen: name a test set for numbers to report")
    return rows


def _trainer(
    config: TrainConfig, model: Any, data: Mapping[str, Any], losses: Mapping[str, Any], dev: list[Task],
    run: base.Run, say: Say,
) -> WeightedTrainer:  # fmt: skip
    log = base.RunLog(run.folder / "log.csv", say)
    temperature = config.sampling["temperature"] if isinstance(config.sampling, dict) else None
    samplers = {
        str(one.name): BatchSamplers(one.batch_sampler) if one.batch_sampler else sampler_for(losses[str(one.name)])
        for one in config.data
    }
    trainer = WeightedTrainer(
        model=model,
        args=_arguments(config, run, bool(dev)),
        train_dataset=dict(data),
        loss=dict(losses),
        evaluator=SequentialEvaluator([_evaluator(task) for task in dev], main_score_function=fmean) if dev else None,
        callbacks=[log],
        weights={str(one.name): one.weight for one in config.data},
        batches=samplers,
        temperature=temperature,
    )
    for kind in ("PrinterCallback", "ProgressCallback"):  # the log says it
        for callback in [one for one in trainer.callback_handler.callbacks if type(one).__name__ == kind]:
            trainer.remove_callback(callback)
    return trainer


def _evaluator(task: Task) -> Any:
    assert task.evaluator is not None
    return task.evaluator


def _arguments(config: TrainConfig, run: base.Run, evaluated: bool) -> SentenceTransformerTrainingArguments:
    options: dict[str, Any] = {
        "output_dir": str(run.checkpoints),
        "seed": config.seed,
        "report_to": base.reports(),
        "logging_steps": 0.05,
        "save_strategy": "steps",
        "save_steps": _OFTEN,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "multi_dataset_batch_sampler": config.sampling if isinstance(config.sampling, str) else "proportional",
        "prompts": _training_prompts(config),
    }
    if evaluated:
        options |= {
            "eval_strategy": "steps",
            "eval_steps": _OFTEN,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_sequential_score",
            "greater_is_better": True,
        }
    options |= config.training
    if "eval_steps" in config.training and "save_steps" not in config.training:
        options["save_steps"] = config.training["eval_steps"]
    if "eval_strategy" in config.training and "save_strategy" not in config.training and evaluated:
        options["save_strategy"] = config.training["eval_strategy"]
    try:
        return SentenceTransformerTrainingArguments(**options)
    except ValueError as error:
        raise InvalidData(f"training: {error}") from error


# ---- instructions -------------------------------------------------------------------------------------------------


def _training_prompts(config: TrainConfig) -> dict[str, Any] | None:
    """By data set, and where only the queries have one by column."""
    found: dict[str, Any] = {}
    for one in config.data:
        instruction = config.instructions.get(one.task) if one.task else None
        if instruction is None:
            continue
        if isinstance(instruction, str) and KINDS[str(one.task)].queries_only:
            instruction = {(one.columns or ["query"])[0]: instruction}
        found[str(one.name)] = instruction
    return found or None


def _prompts_of(config: TrainConfig) -> dict[str, str]:
    """What the trained model is to know: each task's instruction by its name, that of retrieval for queries too."""
    texts = {
        task: one if isinstance(one, str) else str(next(iter(one.values())))
        for task, one in config.instructions.items()
    }
    return {**texts, **({"query": texts["retrieval"]} if "retrieval" in texts else {})}


# ---- data and losses ----------------------------------------------------------------------------------------------


def _columns_of(one: DataConfig, seed: int) -> datasets.Dataset:
    return read(one.path, one.columns, one.label, one.split, one.limit, seed, one.quotes)


def _loss_of(one: DataConfig, data: datasets.Dataset, model: Any) -> Any:
    at = f"data {one.name!r}"
    labelled = LABEL in data.column_names
    given = one.loss if one.loss is not None else chosen(str(one.task), labelled, at)
    classes = len(set(data[LABEL][:])) if labelled and isinstance(data[0][LABEL], int) else 0
    return build(given, model, classes, f"{at}, loss")


def _without_leaks(
    data: dict[str, datasets.Dataset], tasks: list[Task], wish: str, say: Say
) -> dict[str, datasets.Dataset]:
    if wish == "refuse":
        base.refuse_leaks({name: texts_of(one) for name, one in data.items()}, tasks)
        return data
    held_out = [text for task in tasks for text in task.texts]
    found = {}
    for name, one in data.items():
        bad = set(base.leaks(texts_of(one), held_out))
        if bad:
            say(f"{name}: {len(bad):,} rows are left out, whose texts stand in the evaluation data")
            one = one.select([i for i in range(len(one)) if i not in bad])
            if not len(one):
                raise InvalidData(f"data {name!r} has no rows but those of the evaluation data")
        found[name] = one
    return found


def _add_adapter(model: Any, config: TrainConfig) -> None:
    if config.lora is None:
        return
    peft = require("peft", "lora", "peft")
    known = {one.name for one in dataclasses.fields(peft.LoraConfig)}
    check_keys(config.lora, sorted(known), "lora")
    model.add_adapter(peft.LoraConfig(**config.lora))


def _tell_card(model: Any, task: Task, numbers: Any, trainer: Any) -> None:
    """The numbers of the trained model, under the names that the task's evaluator gives them."""
    evaluator = _evaluator(task)
    evaluator.primary_metric = task.primary
    named = evaluator.prefix_name_to_metrics({n: i.value for n, i in numbers.metrics.items()}, evaluator.name)
    evaluator.store_metrics_in_model_card_data(model, named, trainer.state.epoch or 0, trainer.state.global_step)


def _json(config: TrainConfig) -> dict[str, Any]:
    """The settings that make a run what it is."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name != "output"}
