"""`model.fit(...)`: the older way to train, over DataLoaders of `InputExample`, on the trainer of today."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import TrainerCallback, get_scheduler

from vicinal.datasets import NoDuplicatesDataLoader
from vicinal.errors import InvalidData
from vicinal.training.samplers import BatchSamplers, MultiDatasetBatchSamplers

_SCHEDULERS = {
    "constantlr": "constant",
    "warmupconstant": "constant_with_warmup",
    "warmuplinear": "linear",
    "warmupcosine": "cosine",
    "warmupcosinewithhardrestarts": "cosine_with_restarts",
}


def fit(
    model: Any,
    objectives: list[tuple[Any, Any]],
    trainer_class: type[Any],
    *,
    evaluator: Any,
    epochs: int,
    steps_per_epoch: int | None,
    scheduler: str,
    warmup_steps: int,
    optimizer_class: type[Any] | None,
    optimizer_params: Mapping[str, Any] | None,
    weight_decay: float,
    evaluation_steps: int,
    output_path: Any,
    save_best_model: bool,
    max_grad_norm: float,
    use_amp: bool,
    callback: Callable[[float, int, int], None] | None,
    show_progress_bar: bool,
    checkpoint_path: Any,
    checkpoint_save_steps: int,
    checkpoint_save_total_limit: int,
    resume_from_checkpoint: Any = False,
) -> None:
    """Train a model on the objectives in turn. The arguments are those of `SentenceTransformer.fit`.

    Raises:
        InvalidData: a DataLoader gives something else than `InputExample`. ValueError: no such scheduler.
    """
    if not objectives:
        raise InvalidData("fit() needs train_objectives: [(DataLoader, loss), ...]")
    if scheduler.lower() not in _SCHEDULERS:
        raise ValueError(f"scheduler must be one of {', '.join(_SCHEDULERS)}, not {scheduler!r}")
    loaders = [loader for loader, _ in objectives]
    names = [f"set_{i}" for i in range(len(objectives))]
    sets = {name: rows_of(loader, name) for name, loader in zip(names, loaders, strict=True)}
    losses = {name: loss for name, (_, loss) in zip(names, objectives, strict=True)}
    sizes = {_size(loader) for loader in loaders}
    if len(sizes) > 1:
        raise InvalidData(f"the DataLoaders have several batch sizes ({sorted(sizes)}): give all the same")
    size = sizes.pop()
    steps = steps_per_epoch or min(len(data) // size + bool(len(data) % size) for data in sets.values())
    once = steps * len(objectives)
    distinct = any(isinstance(loader, NoDuplicatesDataLoader) for loader in loaders)
    with tempfile.TemporaryDirectory() as scratch:
        args = trainer_class.arguments_class(
            output_dir=str(checkpoint_path or scratch),
            num_train_epochs=epochs,
            max_steps=once * epochs if steps_per_epoch else -1,
            per_device_train_batch_size=size,
            batch_sampler=BatchSamplers.NO_DUPLICATES if distinct else BatchSamplers.BATCH_SAMPLER,
            multi_dataset_batch_sampler=MultiDatasetBatchSamplers.ROUND_ROBIN,
            eval_strategy="no",
            save_strategy="steps" if checkpoint_path else "no",
            save_steps=checkpoint_save_steps,
            save_total_limit=checkpoint_save_total_limit or None,
            warmup_steps=warmup_steps,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            fp16=use_amp and torch.cuda.is_available(),
            bf16=use_amp and not torch.cuda.is_available(),
            use_cpu=use_amp and not torch.cuda.is_available(),  # where bfloat16 has to be asked for
            disable_tqdm=not show_progress_bar,
            report_to=[],
            logging_strategy="no",
            dataloader_pin_memory=torch.cuda.is_available(),
        )
        single = len(objectives) == 1
        trainer = trainer_class(
            model=model,
            args=args,
            train_dataset=sets[names[0]] if single else sets,
            loss=losses[names[0]] if single else losses,
        )
        total = once * epochs
        optimizer = _optimizer(trainer, optimizer_class, dict(optimizer_params or {"lr": 2e-5}), weight_decay)
        trainer.optimizer = optimizer
        trainer.lr_scheduler = get_scheduler(
            _SCHEDULERS[scheduler.lower()], optimizer, num_warmup_steps=warmup_steps, num_training_steps=total
        )
        keeper = _Evaluating(model, evaluator, evaluation_steps, output_path, save_best_model, callback, once)
        trainer.add_callback(keeper)
        trainer.train(resume_from_checkpoint=resume_from_checkpoint or None)
        if output_path is not None and (evaluator is None or not save_best_model):
            model.save(output_path)


class _Evaluating(TrainerCallback):
    """Evaluates every so many steps and after every epoch, and keeps the best model."""

    def __init__(
        self, model: Any, evaluator: Any, every: int, output_path: Any, keep_best: bool, callback: Any, once: int
    ) -> None:
        self.model, self.evaluator, self.every, self.path = model, evaluator, every, output_path
        self.keep_best, self.callback, self.best, self.once = keep_best, callback, float("-inf"), once

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate within an epoch."""
        step = (state.global_step - 1) % self.once + 1
        if self.every > 0 and step % self.every == 0:
            self._evaluate(int((state.global_step - 1) // self.once), step)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate after an epoch."""
        self._evaluate(round(state.epoch or 0) - 1, -1)

    def _evaluate(self, epoch: int, steps: int) -> None:
        if self.evaluator is None:
            return
        folder = None
        if self.path is not None:
            folder = Path(self.path) / "eval"
            folder.mkdir(parents=True, exist_ok=True)
        found = self.evaluator(self.model, None if folder is None else str(folder), epoch, steps)
        score = found[self.evaluator.primary_metric] if isinstance(found, Mapping) else found
        if self.callback is not None:
            self.callback(score, epoch, steps)
        if score > self.best:
            self.best = score
            if self.path is not None and self.keep_best:
                self.model.save(self.path)


def rows_of(loader: Iterable[Any], name: str) -> Any:
    """The examples of a DataLoader as a data set: a column for each text, and the label where the examples have one."""
    texts: list[list[Any]] = []
    labels: list[Any] = []
    collate = getattr(loader, "collate_fn", None)
    try:
        if collate is not None:
            loader.collate_fn = list  # type: ignore[attr-defined]
        for batch in loader:
            for example in batch:
                if not hasattr(example, "texts"):
                    raise InvalidData(f"{name}: a DataLoader must give InputExample, not {type(example).__name__}")
                texts.append(list(example.texts))
                labels.append(example.label)
    finally:
        if collate is not None:
            loader.collate_fn = collate  # type: ignore[attr-defined]
    if not texts:
        raise InvalidData(f"{name} has no examples")
    widths = {len(row) for row in texts}
    if len(widths) > 1:
        raise InvalidData(f"{name}: examples have {sorted(widths)} texts; each must have as many")
    columns: dict[str, list[Any]] = {f"sentence_{i}": list(column) for i, column in enumerate(zip(*texts, strict=True))}
    if any(label is not None for label in labels):
        columns["label"] = labels
    return datasets.Dataset.from_dict(columns)


def _size(loader: Any) -> int:
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not size:
        raise InvalidData("a DataLoader must say its batch_size")
    return int(size)


def _optimizer(trainer: Any, kind: type[Any] | None, params: dict[str, Any], weight_decay: float) -> Any:
    """An optimizer without weight decay on biases and norms."""
    named = {**dict(trainer.model.named_parameters()), **trainer._own_parameters()}
    no_decay = ("bias", "LayerNorm.bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in named.items() if p.requires_grad and not n.endswith(no_decay)],
         "weight_decay": weight_decay},
        {"params": [p for n, p in named.items() if p.requires_grad and n.endswith(no_decay)], "weight_decay": 0.0},
    ]  # fmt: skip
    optimizer = (kind or torch.optim.AdamW)(groups, **params)
    optimizer.register_step_post_hook(trainer._forget)
    return optimizer
