"""Trainers on `transformers.Trainer`: its loop, precision, checkpoints, loggers; our data, losses and evaluators."""

from __future__ import annotations

import inspect
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader
from transformers import Trainer

from vicinal import report
from vicinal.backends.openvino import has_bfloat16
from vicinal.backends.torch import adapters
from vicinal.backends.torch.weights import state_of, tensors_of
from vicinal.errors import InvalidData, TrainingWarning, Unavailable, UnsupportedModel
from vicinal.evaluation import SequentialEvaluator
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.folder import Folder
from vicinal.loading.weights import write_safetensors
from vicinal.losses import CoSENTLoss
from vicinal.losses.base import Loss
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.training.arguments import SentenceTransformerTrainingArguments
from vicinal.training.collator import DATASET, LABELS, SentenceTransformerDataCollator, columns_of
from vicinal.training.data import Rows, Stream, as_sets, check
from vicinal.training.model_card import ModelCardCallback
from vicinal.training.samplers import (
    MultiDatasetBatchSamplers,
    ProportionalBatchSampler,
    RoundRobinBatchSampler,
    SteadyBatchSampler,
    batches_of,
)

_LOSS_WEIGHTS = "loss"
"""Folder of a checkpoint that holds what a loss learns itself."""


class SentenceTransformerTrainer(Trainer):
    """Trains a model on one or several data sets.

    Args:
        model: what to train. While it is being trained torch computes its vectors; at the end the fast form is built.
        args: what the run does; None is the defaults, into "tmp_trainer".
        train_dataset: of `datasets`: a Dataset, an IterableDataset, a DatasetDict, or a dict of data sets. Columns
            named label, labels, score or scores hold labels; all others, in their order, are what the loss is given.
        eval_dataset: likewise, for the loss on held-out data.
        loss: a loss, a function of the model that makes one, or a dict of them by data set; None is CoSENTLoss.
        evaluator: one, or a list, run at each evaluation.
        model_init: makes the model anew, for a search over hyperparameters.
        data_collator, callbacks, optimizers, optimizer_cls_and_kwargs, compute_metrics, preprocess_logits_for_metrics:
            as `transformers.Trainer` has them.
        processing_class: the tokenizer, which `tokenizer` is the older name of; the model has its own.

    Raises:
        InvalidData: the data cannot be given to the loss. It is looked at before the first step.
        Unavailable: fsdp was asked for, where it would not be used.
    """

    args: Any
    eval_dataset: Any
    model_class: ClassVar[type[Any]] = SentenceTransformer
    arguments_class: ClassVar[type[Any]] = SentenceTransformerTrainingArguments
    collator_class: ClassVar[type[Any]] = SentenceTransformerDataCollator

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Any = None,
        evaluator: Any = None,
        data_collator: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., Any] | None = None,
        compute_metrics: Any = None,
        callbacks: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: Any = None,
        preprocess_logits_for_metrics: Any = None,
        tokenizer: Any = None,
    ) -> None:
        args = self.arguments_class(output_dir="tmp_trainer") if args is None else args
        if not isinstance(args, SentenceTransformerTrainingArguments):
            raise TypeError(f"args must be {self.arguments_class.__name__}, not {type(args).__name__}")
        where: dict[str, Any] = {
            "use_cpu": args.use_cpu,
            "ddp_backend": args.ddp_backend,
        }  # making arguments decides on the processes
        defaults = {**type(args)(output_dir="x", **where).to_dict(), "use_cpu": False, "ddp_backend": None}
        self._model_init, self._given_loss = model_init, loss
        if model is None and model_init is None:
            raise ValueError(f"{type(self).__name__} needs a model, or model_init")
        model = self._made(None) if model is None else model
        if not isinstance(model, self.model_class):
            raise TypeError(f"model must be a {self.model_class.__name__}, not {type(model).__name__}")
        self._hold(model)
        train_dataset, eval_dataset = as_sets(train_dataset), as_sets(eval_dataset)
        self._check(train_dataset, "train_dataset")
        self._check(eval_dataset, "eval_dataset")
        self.evaluator: Any = SequentialEvaluator(evaluator) if isinstance(evaluator, list) else evaluator
        self._parts: dict[str, dict[str, list[Any]]] = {"train": defaultdict(list), "eval": defaultdict(list)}
        if args.eval_strategy != "no" and eval_dataset is None and evaluator is not None:
            eval_dataset = Rows({})
        super().__init__(
            model=None if model_init is not None else self.encoder.trainable(),
            args=args,
            data_collator=data_collator or self._collator(args),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class or tokenizer,
            model_init=None if model_init is None else self._init_model,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        if args.fsdp and not self.is_fsdp_enabled:  # accelerate leaves it out and says nothing
            raise Unavailable("fsdp= shards a model over several GPUs, and this is no such run: leave it out; several "
                              "processes on CPUs train by DDP")  # fmt: skip
        if args.bf16 and args.device.type == "cpu" and not has_bfloat16():
            report.warn("this processor computes bfloat16 in software, many times slower than float32: leave bf16 out",
                        TrainingWarning)  # fmt: skip
        self.can_return_loss, self.model_accepts_loss_kwargs = True, False
        self.add_model_card_callback(defaults)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Let the model's card be told of the data, the losses, the arguments and the numbers of this run."""
        held_out = None if isinstance(self.eval_dataset, Rows) else self.eval_dataset
        self.add_callback(ModelCardCallback(self.encoder, self.train_dataset, held_out, self.loss, default_args_dict))

    # ---- model and losses --------------------------------------------------------------------------------------

    def _hold(self, model: Any) -> None:
        """Take a model, and make the losses for it."""
        self.encoder = model
        given = self._given_loss
        if given is None:
            given = self.get_default_loss(model)
        self.loss: Any = (
            {name: self.prepare_loss(one, model) for name, one in given.items()}
            if isinstance(given, Mapping)
            else self.prepare_loss(given, model)
        )

    def _init_model(self, trial: Any = None) -> Any:
        self._hold(self._made(trial))
        self.data_collator = self._collator(self.args)
        return self.encoder.trainable()

    def _made(self, trial: Any) -> Any:
        """A model by `model_init`, which may want to know the trial."""
        return self._model_init(trial) if _takes_one(self._model_init) else self._model_init()  # type: ignore[misc]

    def get_default_loss(self, model: Any) -> Any:
        """The loss where none is given."""
        return CoSENTLoss(model)

    def prepare_loss(self, loss: Any, model: Any) -> Any:
        """A loss; a function of the model makes one."""
        return loss if isinstance(loss, nn.Module) else loss(model)

    @property
    def losses(self) -> list[Any]:
        """All losses."""
        return list(self.loss.values()) if isinstance(self.loss, dict) else [self.loss]

    def _collator(self, args: Any) -> Any:
        preprocess = self.encoder.trainable().preprocess
        return self.collator_class(preprocess, router_mapping=args.router_mapping, prompts=args.prompts)

    def _check(self, data: Any, name: str) -> None:
        if data is None:
            return
        if isinstance(data, dict):
            for key, one in data.items():
                if isinstance(self.loss, dict) and key not in self.loss:
                    raise InvalidData(f"{name} {key!r} has no loss; there are losses for {', '.join(self.loss)}")
                check(one, f"{name} {key!r}", self.loss[key] if isinstance(self.loss, dict) else self.loss)
            return
        if isinstance(self.loss, dict):
            raise InvalidData(f"losses by data set ({', '.join(self.loss)}) need {name} as a dict of data sets")
        check(data, name, self.loss)

    # ---- batches -----------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        """The training batches."""
        if self.train_dataset is None:
            raise ValueError("training needs a train_dataset")
        return self._loader(self.train_dataset, self._train_batch_size, training=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The evaluation batches."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        data = {data: self.eval_dataset[data]} if isinstance(data, str) else data
        return self._loader(data, self.args.eval_batch_size, training=False)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """Batches of held-out data."""
        return self._loader(test_dataset, self.args.eval_batch_size, training=False)

    def _loader(self, data: Any, size: int, training: bool) -> Any:
        args = self.args
        options: dict[str, Any] = {
            "collate_fn": self.data_collator,
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory and args.device.type != "cpu",
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
        }
        sets = data if isinstance(data, dict) else {None: data}
        if any(not hasattr(one, "__len__") for one in sets.values()):
            if len(sets) > 1:
                raise UnsupportedModel("several streams (IterableDataset) cannot be mixed: interleave_datasets them")
            ((name, stream),) = sets.items()
            drop = args.dataloader_drop_last
            return self.accelerator.prepare(
                DataLoader(Stream(stream, name), batch_size=size, drop_last=drop, **options)
            )
        rows = data if isinstance(data, Rows) else Rows(sets)
        if not len(rows):
            return DataLoader(rows, collate_fn=list)
        generator = torch.Generator().manual_seed(args.seed)
        samplers = [
            self.get_batch_sampler(one, size, args.dataloader_drop_last, LABELS, generator, args.seed)
            for one in sets.values()
        ]
        sampler = samplers[0]
        if len(sets) > 1:
            joined = ConcatDataset(list(sets.values()))
            sampler = self.get_multi_dataset_batch_sampler(joined, samplers, generator, args.seed)
        if training:
            sampler = SteadyBatchSampler(sampler, rows, size, args.dataloader_drop_last)
        self.accelerator.even_batches = False  # the samplers decide what a batch is
        return self.accelerator.prepare(DataLoader(rows, batch_sampler=sampler, **options))

    def get_batch_sampler(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: Sequence[str] | None = None,
        generator: Any = None,
        seed: int = 0,
    ) -> Any:
        """How the rows of one data set become batches."""
        options = {"valid_label_columns": valid_label_columns, "generator": generator, "seed": seed}
        return batches_of(self.args.batch_sampler, dataset, batch_size, drop_last, **options)

    def get_multi_dataset_batch_sampler(
        self, dataset: Any, batch_samplers: list[Any], generator: Any = None, seed: int = 0
    ) -> Any:
        """How the batches of several data sets follow each other."""
        kind = self.args.multi_dataset_batch_sampler
        if kind is MultiDatasetBatchSamplers.ROUND_ROBIN:
            kind = RoundRobinBatchSampler
        elif kind is MultiDatasetBatchSamplers.PROPORTIONAL:
            kind = ProportionalBatchSampler
        return kind(dataset, batch_samplers=batch_samplers, generator=generator, seed=seed)

    # ---- steps -------------------------------------------------------------------------------------------------

    def collect_features(self, inputs: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any]:
        """A batch as the features of each column, and the labels."""
        return columns_of(inputs), inputs.get("label")

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of a batch."""
        loss = self.loss[inputs[DATASET]] if isinstance(self.loss, dict) else self.loss
        if getattr(loss, "model", model) is not model:
            loss = self.override_model_in_loss(loss, model)
        value = self._value(loss, inputs)
        if isinstance(value, Mapping):
            seen = self._parts["train" if model.training else "eval"]
            for name, term in value.items():
                seen[name].append(term.detach())
            value = sum(value.values())
        return (value, {}) if return_outputs else value

    def _value(self, loss: Any, inputs: Any) -> Any:
        features, labels = self.collect_features(inputs)
        return loss(features, labels)

    def override_model_in_loss(self, loss: Any, model: Any) -> Any:
        """Let a loss run the model as the trainer wrapped it (DistributedDataParallel, compile)."""
        for name, child in list(loss.named_children()):
            if name == "model":
                loss.model = model
            elif isinstance(child, Loss) or hasattr(child, "model"):
                self.override_model_in_loss(child, model)
        return loss

    def training_step(self, *args: Any, **options: Any) -> Any:
        """One batch, forward and backward."""
        found = super().training_step(*args, **options)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            for parameter in self._own_parameters().values():  # outside the wrapped model, so nobody averages them
                if parameter.grad is not None:
                    torch.distributed.all_reduce(parameter.grad, op=torch.distributed.ReduceOp.SUM)
                    parameter.grad /= self.args.world_size
        return found

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """The loss of a held-out batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            value = self.compute_loss(model, inputs)
        return value.detach().mean(), None, None

    def _own_parameters(self) -> dict[str, Any]:
        """What the losses learn beside the model."""
        of_model = {id(parameter) for parameter in self.encoder.trainable().parameters()}
        found = {}
        for i, loss in enumerate(self.losses):
            for name, parameter in loss.named_parameters():
                if id(parameter) not in of_model:
                    found[f"{i}.{name}"] = parameter
        return found

    def create_optimizer(self, model: Any = None) -> Any:
        """An optimizer of the model's and the losses' parameters, with the rates of `learning_rate_mapping`."""
        for loss in self.losses:
            loss.to(self.args.device)
        holder = nn.ModuleList([self.model if model is None else model, *self.losses])
        optimizer = super().create_optimizer(holder)
        rates = self.args.learning_rate_mapping
        names = {id(parameter): name for name, parameter in holder.named_parameters()}
        for pattern, rate in rates.items():
            _split(optimizer, pattern, rate, names)
        optimizer.register_step_post_hook(self._forget)
        return optimizer

    def _forget(self, *_: Any) -> None:
        """Drop the gradients of what the losses learn: the loop drops those of the model alone."""
        for parameter in self._own_parameters().values():
            parameter.grad = None

    # ---- evaluation --------------------------------------------------------------------------------------------

    def evaluation_loop(self, *args: Any, **options: Any) -> Any:
        """The loss on held-out data, then the evaluator's numbers: once, where there are several data sets."""
        found: Any = super().evaluation_loop(*args, **options)
        prefix = options.get("metric_key_prefix", "eval")
        first = f"eval_{next(iter(self.eval_dataset))}" if isinstance(self.eval_dataset, dict) else "eval"
        if self.evaluator is None or prefix not in ("eval", first):
            return found
        folder = os.path.join(str(self.args.output_dir), "eval")
        os.makedirs(folder, exist_ok=True)
        numbers = self.evaluator(self.encoder, folder, self.state.epoch or 0, self.state.global_step)
        if not isinstance(numbers, Mapping):
            numbers = {"evaluator": numbers}
        for name, value in numbers.items():
            found.metrics[f"eval_{name}"] = float(value)
        return found

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log, with the mean of each part of a loss that has several."""
        kind = "eval" if any(key.startswith("eval_") for key in logs) else "train"
        for name, values in self._parts[kind].items():
            logs[f"eval_{name}" if kind == "eval" else name] = round(torch.stack(values).mean().item(), 6)
        if "loss" in logs or kind == "eval":
            self._parts[kind].clear()
        super().log(logs, *args, **options)

    # ---- keeping -----------------------------------------------------------------------------------------------

    def train(self, *args: Any, **options: Any) -> Any:
        """Train; the model's fast form is built at the end, also of a run that is interrupted."""
        try:
            return super().train(*args, **options)
        finally:
            self.encoder.trainable().eval()
            self.encoder.refresh()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        self.encoder.save(folder)
        if adapters.carries(self.encoder.trainable()):
            adapters.keep(self.encoder.trainable(), folder)
        if own := self._own_parameters():
            (folder / _LOSS_WEIGHTS).mkdir(exist_ok=True)
            write_safetensors(folder / _LOSS_WEIGHTS / "model.safetensors", tensors_of(own))
        torch.save(self.args, folder / "training_args.bin")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._load_folder(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._load_folder(Path(str(self.state.best_model_checkpoint)))

    def _load_folder(self, folder: Path) -> None:
        """Put a checkpoint's weights into the model that is being trained."""
        if adapters.carries(self.encoder.trainable()):
            adapters.restore(self.encoder.trainable(), folder)
        else:
            self._load_model(folder)
        own = self._own_parameters()
        if own:
            state = state_of(read_weights(Folder(folder), _LOSS_WEIGHTS))
            with torch.no_grad():
                for name, parameter in own.items():
                    parameter.copy_(state[name])

    def _load_model(self, folder: Path) -> None:
        saved = self.model_class(str(folder), backend="torch", self_test=False)
        state = saved.trainable().state_dict()
        found = self.encoder.trainable().load_state_dict(state, strict=False)
        missing = [name for name in found.missing_keys if "pooler." not in name]
        if missing or found.unexpected_keys:
            raise InvalidData(
                f"{folder} is a checkpoint of another model: missing {missing[:3]}, unknown {found.unexpected_keys[:3]}"
            )


def _split(optimizer: Any, pattern: str, rate: float, names: Mapping[int, str]) -> None:
    """Give the parameters whose name fits a group of their own."""
    matched = False
    for group in list(optimizer.param_groups):
        fitting = [p for p in group["params"] if re.search(pattern, names[id(p)])]
        if fitting:
            matched = True
            group["params"] = [p for p in group["params"] if not re.search(pattern, names[id(p)])]
            optimizer.add_param_group({**group, "params": fitting, "lr": rate})
    if not matched:
        raise ValueError(f"learning_rate_mapping: no parameter's name fits {pattern!r}")


def _takes_one(function: Any) -> bool:
    return len(inspect.signature(function).parameters) > 0
