"""Fine-tuning by a settings file: one data set or several tasks at once, measured before and after."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import datasets
import torch
import transformers

from vicinal.errors import InvalidData
from vicinal.evaluation import SequentialEvaluator
from vicinal.evaluation.measuring import Measured, Task
from vicinal.recipes import base
from vicinal.recipes.config import DEFAULTS, DataConfig, TrainConfig
from vicinal.recipes.instructions import model_prompts, training_prompts
from vicinal.recipes.losses import build, chosen, sampler_for
from vicinal.recipes.measures import task_of
from vicinal.recipes.sources import LABEL, digest_of, digest_of_files, read, texts_of
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.training.arguments import SentenceTransformerTrainingArguments
from vicinal.training.collator import DATASET, LABELS
from vicinal.training.data import check
from vicinal.training.samplers import BatchSamplers, TemperatureBatchSampler, batches_of
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

    def get_batch_sampler(
        self, dataset: Any, batch_size: int, drop_last: bool, valid_label_columns: Any = None, generator: Any = None,
        seed: int = 0,
    ) -> Any:  # fmt: skip
        """The sampler of this data set."""
        sets: dict[str, Any] = dict(self.train_dataset or {})
        (name,) = (name for name, one in sets.items() if one is dataset)
        options = {"valid_label_columns": valid_label_columns, "generator": generator, "seed": seed}
        return batches_of(self.batches[name], dataset, batch_size, drop_last, **options)

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
        """The weighted loss of a batch; of several data sets each one's own loss is logged beside the sum."""
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
        InvalidData: settings or data are not as they must be. All that is known without training is found before
            anything is written.
    """
    transformers.set_seed(config.seed)  # a loss may begin with random weights
    sets = _sets(config, say)
    model = SentenceTransformer(config.model)
    if config.max_seq_length is not None:
        model.max_seq_length = config.max_seq_length
    # the model counts too: another one may come under the same name
    settings = {
        **{name: value for name, value in dataclasses.asdict(config).items() if name != "output"},
        "digests": {name: digest_of(one) for name, one in sets.data.items()},
        "measured": {
            path: digest_of_files(path)
            for one in (*config.dev, *config.test)
            for path in (one.path, one.known)
            if path is not None
        },
        "fingerprint": model.fingerprint,
    }
    arguments = _arguments(config, sets)
    losses = {str(one.name): _loss_of(one, sets.data[str(one.name)], model) for one in config.data}
    batches = {
        str(one.name): BatchSamplers(one.batch_sampler) if one.batch_sampler else sampler_for(losses[str(one.name)])
        for one in config.data
    }
    _check(sets, losses, batches, arguments.train_batch_size)
    model.refresh()
    with base.running(Path(config.output), settings) as run:
        for one in config.data:
            kind = f", {one.task}" if one.task else ""
            say(f"{one.name}: {len(sets.data[str(one.name)]):,} rows{kind}, {type(losses[str(one.name)]).__name__}")
        for task in sets.before:
            say(f"measured on {task.described}")
        before = base.measured(model, sets.before)
        trainer = _trainer(config, model, arguments, sets, losses, batches, base.RunLog(run.log, say))
        if run.checkpoint is not None:
            say(f"going on from {run.checkpoint.name}")
        with _quiet():
            trainer.train(resume_from_checkpoint=str(run.checkpoint) if run.checkpoint else None)
        after = base.measured(model, sets.after)
        rows = base.compared(sets.before, before, after)
        _tell_card(model, config, trainer, sets.after, after)
        model.prompts = {**model.prompts, **model_prompts(config.instructions)}
        model.save(config.output)
        base.write_comparison(run.folder / "comparison.csv", rows)
        run.done()
    if rows and not config.test:
        say("measured on evaluation.dev, of which the best step was chosen: name a test set for numbers to report")
    return rows


# ---- data and losses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sets:
    """What a run reads.

    Attributes:
        data: to train on, by name.
        before, after: the same tasks; without instructions for the model as it was, with them for the one it becomes.
        dev: what is measured while it trains.
    """

    data: dict[str, datasets.Dataset]
    before: list[Task]
    after: list[Task]
    dev: list[Task]

    def columns(self) -> dict[str, list[str]]:
        """Of texts, by data set."""
        return {name: [column for column in one.column_names if column != LABEL] for name, one in self.data.items()}


def _sets(config: TrainConfig, say: Say) -> _Sets:
    data = {
        str(one.name): read(one.path, one.columns, one.label, one.split, one.limit, config.seed, one.quotes)
        for one in config.data
    }
    measured_on = config.test or config.dev
    after = [task_of(one, config.instructions, config.seed) for one in measured_on]
    before = [task_of(one, {}, config.seed) for one in measured_on] if config.instructions else after
    dev = [task_of(one, config.instructions, config.seed) for one in config.dev] if config.test else after[:]
    return _Sets(_without_leaks(data, [*after, *dev], config.leaks, say), before, after, dev if config.dev else [])


def _without_leaks(
    data: dict[str, datasets.Dataset], tasks: list[Task], wish: str, say: Say
) -> dict[str, datasets.Dataset]:
    if wish == "refuse":
        try:
            base.refuse_leaks({name: texts_of(one) for name, one in data.items()}, tasks)
        except InvalidData as error:
            raise InvalidData(f"{error}; `leaks: drop` (--drop-leaks) leaves them out") from None
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


def _loss_of(one: DataConfig, data: datasets.Dataset, model: Any) -> Any:
    at = f"data {one.name!r}"
    labelled = LABEL in data.column_names
    given = one.loss if one.loss is not None else chosen(str(one.task), labelled, at)
    classes = len(set(data[LABEL][:])) if labelled and isinstance(data[0][LABEL], int) else 0
    return build(given, model, classes, f"{at}, loss")


def _check(sets: _Sets, losses: Mapping[str, Any], batches: Mapping[str, BatchSamplers], batch_size: int) -> None:
    """Find now what the trainer would find when the run's folder is there already."""
    for name, one in sets.data.items():
        check(one, f"data {name!r}", losses[name])
        try:
            batches_of(batches[name], one, batch_size, False, valid_label_columns=LABELS)
        except (ValueError, InvalidData) as error:
            raise InvalidData(f"data {name!r}: {error}") from error


# ---- the trainer --------------------------------------------------------------------------------------------------


def _trainer(
    config: TrainConfig, model: Any, arguments: Any, sets: _Sets, losses: Mapping[str, Any],
    batches: Mapping[str, BatchSamplers], log: base.RunLog,
) -> WeightedTrainer:  # fmt: skip
    dev = [_evaluator(task) for task in sets.dev]
    trainer = WeightedTrainer(
        model=model,
        args=arguments,
        train_dataset=dict(sets.data),
        loss=dict(losses),
        evaluator=SequentialEvaluator(dev, main_score_function=fmean) if dev else None,
        callbacks=[log],
        weights={str(one.name): one.weight for one in config.data},
        batches=batches,
        temperature=config.sampling["temperature"] if isinstance(config.sampling, dict) else None,
    )
    for kind in ("PrinterCallback", "ProgressCallback"):  # the log says it
        for callback in [one for one in trainer.callback_handler.callbacks if type(one).__name__ == kind]:
            trainer.remove_callback(callback)
    return trainer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep `transformers` from saying that a resumed run has other arguments: it takes shares of steps for numbers.

    `base.running` has compared them.
    """
    logger = logging.getLogger("transformers.trainer_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _evaluator(task: Task) -> Any:
    assert task.evaluator is not None
    return task.evaluator


def _arguments(config: TrainConfig, sets: _Sets) -> SentenceTransformerTrainingArguments:
    bf16 = config.dtype == "bfloat16"
    tasks = {str(one.name): one.task for one in config.data}
    options: dict[str, Any] = {
        **DEFAULTS,
        "output_dir": str(base.Run.of(Path(config.output)).checkpoints),
        "seed": config.seed,
        "report_to": base.reports(),
        "logging_steps": 0.05,
        "save_strategy": "steps",
        "save_steps": _OFTEN,
        "save_total_limit": 2,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "multi_dataset_batch_sampler": config.sampling if isinstance(config.sampling, str) else "proportional",
        "prompts": training_prompts(config.instructions, tasks, sets.columns()),
        "bf16": bf16,
        "use_cpu": bf16 and not torch.cuda.is_available(),  # where bfloat16 has to be asked for
    }
    if sets.dev:
        options |= {
            "eval_strategy": "steps",
            "eval_steps": _OFTEN,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_sequential_score",
            "greater_is_better": True,
        }
    given = config.training
    options |= given
    if "warmup_steps" in given and "warmup_ratio" not in given:
        del options["warmup_ratio"]
    if "eval_steps" in given and "save_steps" not in given:
        options["save_steps"] = given["eval_steps"]
    if "eval_strategy" in given and "save_strategy" not in given and sets.dev:
        options["save_strategy"] = given["eval_strategy"]
    try:
        return SentenceTransformerTrainingArguments(**options)
    except ValueError as error:
        raise InvalidData(f"training: {error}") from error


def _tell_card(
    model: Any, config: TrainConfig, trainer: WeightedTrainer, tasks: list[Task], found: list[Measured]
) -> None:
    """The trained model's numbers, under the names that evaluators give them, and what the arguments do not say."""
    for task, numbers in zip(tasks, found, strict=True):
        evaluator = _evaluator(task)
        evaluator.primary_metric = task.primary
        named = evaluator.prefix_name_to_metrics({n: i.value for n, i in numbers.metrics.items()}, evaluator.name)
        evaluator.store_metrics_in_model_card_data(model, named, trainer.state.epoch or 0, trainer.state.global_step)
    if len(config.data) > 1:
        told = {"loss_weights": dict(trainer.weights), "multi_dataset_batch_sampler": config.sampling}
        model.model_card_data.non_default_hyperparameters |= told
        model.model_card_data.all_hyperparameters |= told
