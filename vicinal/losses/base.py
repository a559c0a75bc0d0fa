"""What every loss shares: the model, columns to embeddings, and the two steps that wrappers build upon.

A loss is `compute_loss_from_embeddings(embeddings, targets)` of `embed_columns(columns)`; the first is arithmetic, the
second runs the model, mini-batch by mini-batch if the loss has `caching`. A loss around another (Matryoshka) takes the
other's way of embedding and gives its arithmetic other embeddings, so every wrapper works over every loss.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vicinal.errors import InvalidData
from vicinal.losses.features import Features, count, joined, part, parts
from vicinal.losses.gradcache import recomputed

Value: TypeAlias = Any  # a loss's value: a scalar tensor, or a dict of named ones that are summed
Encode: TypeAlias = Callable[[Any, Features], Tensor]
IDENTITY = nn.Identity()


@dataclass(frozen=True)
class Inputs:
    """What a loss is given.

    Args:
        columns: the texts that it needs.
        more: what any number of further columns are, if it takes them.
        labels: what the label of a row is; None if labels are ignored.
    """

    columns: tuple[str, ...]
    more: str | None = None
    labels: str | None = None

    def __str__(self) -> str:
        return f"({', '.join([*self.columns, *([f'{self.more}_1', '...'] if self.more else [])])})"

    def check(self, loss: str, columns: Sequence[Any], labels: Any) -> None:
        """Raise InvalidData if there are too few or too many columns, or no labels where they are needed."""
        most = None if self.more else len(self.columns)
        if len(columns) < len(self.columns) or (most is not None and len(columns) > most):
            raise InvalidData(
                f"{loss} takes {len(self.columns)} {'or more ' if self.more else ''}"
                f"column{'s' * (len(self.columns) > 1)} of texts, {self}, but got {len(columns)}"
            )
        if self.labels is not None and labels is None:
            raise InvalidData(f"{loss} needs labels ({self.labels}), but got none")


@dataclass(frozen=True)
class Caching:
    """How a loss cuts its batch: `rows` texts or `tokens` tokens embedded at a time, `rows` rows of scores at a
    time."""

    rows: int
    tokens: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for name, value in (("mini_batch_size", self.rows), ("mini_batch_num_tokens", self.tokens)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value}")


class Loss(nn.Module):  # type: ignore[misc]
    """The base of vicinal's losses; `loss([features, features, ...], labels)` is a scalar or a dict of scalars.

    Args:
        model: what to train: a SentenceTransformer, or a module whose call on features returns a dict with
            "sentence_embedding" (n, d).
    """

    inputs: ClassVar[Inputs]
    config: ClassVar[str] = ""
    """The attributes that `get_config_dict` reports, in one string."""
    citation: str = ""
    """BibTeX of where the loss comes from."""
    autocast: ClassVar[bool] = False
    """Whether the arithmetic, too, runs under the trainer's autocast; else it is done in float32."""
    caching: Caching | None = None

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = trainable(model)

    def forward(self, sentence_features: Iterable[Features], labels: Any = None) -> Value:
        """The loss of a batch.

        Args:
            sentence_features: what the model's `tokenize` returned, a dict a column.
            labels: as the loss needs them.

        Raises:
            InvalidData: columns or labels are not what the loss takes.
        """
        columns = list(sentence_features)
        self.check(columns, labels)
        targets = self.targets(columns, labels)
        embeddings = self.embed_columns(columns, self.encode)
        device = embeddings[0].device.type
        if self.autocast or not torch.is_autocast_enabled(device):
            return self.compute_loss_from_embeddings(embeddings, targets)
        with torch.autocast(device, enabled=False):
            return self.compute_loss_from_embeddings(embeddings, targets)

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        """Raise InvalidData if columns or labels are not what the loss takes."""
        self.inputs.check(type(self).__name__, columns, labels)

    def targets(self, columns: Sequence[Features], labels: Any) -> Any:
        """What the embeddings are held against: the labels, unless a loss makes something else."""
        return labels

    def encode(self, model: Any, features: Features) -> Tensor:
        """The embeddings of some texts, (n, d)."""
        return full(model(dict(features))["sentence_embedding"])

    def embed_columns(self, columns: Sequence[Features], encode: Encode) -> list[Tensor]:
        """The embeddings of every column: of one pass where the model leaves padding out, else column by column."""
        packs = getattr(unwrapped(self.model), "packs", None)
        if self.caching is None and len(columns) > 1 and packs is not None and packs(columns[0]):
            whole = joined(columns)
            if whole is not None:
                return list(encode(self.model, whole).split([count(column) for column in columns]))
        return [self.embed(self.model, column, encode) for column in columns]

    def embed(self, model: Any, column: Features, encode: Encode) -> Tensor:
        """The embeddings of one column: at once or, with `caching`, in parts that keep no activations."""
        if self.caching is None:
            return encode(model, column)
        cuts = parts(column, self.caching.rows, self.caching.tokens)
        run = partial(recomputed, partial(encode, model), model=model, device=device_of(model).type)
        shown = tqdm(cuts, desc="Embed mini-batches", disable=not self.caching.progress)
        return torch.cat([run(part(column, start, stop)) for start, stop in shown])

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Value:
        """The loss of embeddings, one (n, d) tensor a column, and what `targets` made of the labels."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_loss_from_embeddings(embeddings, labels)")

    def narrowed(self, targets: Any, dim: int) -> Any:
        """The targets for embeddings that are cut to their first `dim` numbers."""
        return targets

    @property
    def uses_gradient_cache(self) -> bool:
        """Whether the batch is embedded in parts, each run again in the backward pass."""
        return self.caching is not None

    @property
    def chunk(self) -> int | None:
        """How many rows of scores are held at a time; None for all."""
        return None if self.caching is None else self.caching.rows

    @property
    def mini_batch_size(self) -> int | None:
        """How many texts are embedded at a time; None for all."""
        return self.chunk

    @property
    def mini_batch_num_tokens(self) -> int | None:
        """How many tokens are embedded at a time, if that is what counts."""
        return None if self.caching is None else self.caching.tokens

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, as a model card shows them."""
        return {name: described(getattr(self, name)) for name in self.config.split()}


def trainable(model: Any) -> Any:
    """The module behind a model.

    Raises:
        TypeError: there is none.
    """
    module = model.trainable() if hasattr(model, "trainable") else model
    if not isinstance(module, nn.Module):
        raise TypeError(f"a loss needs a model that can be trained, a SentenceTransformer or a Module; got {model!r}")
    return module


def unwrapped(model: Any) -> Any:
    """The module inside what torch.compile, DistributedDataParallel and their like put around it."""
    while (inner := getattr(model, "_orig_mod", None) or getattr(model, "module", None)) is not None:
        model = inner
    return model


def device_of(model: Any) -> Any:
    """Where a module's weights are."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def full(embeddings: Tensor) -> Tensor:
    """Half precision made float32, in which losses are computed."""
    return embeddings.float() if embeddings.dtype in (torch.float16, torch.bfloat16) else embeddings


def summed(parts: Iterable[tuple[float, Value]]) -> Value:
    """The sum of weighted losses; dicts are added key by key."""
    total: Any = None
    for weight, value in parts:
        if isinstance(value, Mapping):
            total = dict(total or {})
            for name, term in value.items():
                total[name] = total[name] + weight * term if name in total else weight * term
        else:
            total = weight * value if total is None else total + weight * value
    return total


def described(value: Any) -> Any:
    """A setting as a card shows it: functions and modules by their names."""
    if isinstance(value, Loss) or (isinstance(value, nn.Module) and hasattr(value, "get_config_dict")):
        return type(value).__name__
    if isinstance(value, nn.Module):
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, partial):
        settings = ", ".join(f"{name}={given!r}" for name, given in value.keywords.items())
        return f"{described(value.func)}({settings})"
    if inspect.isroutine(value):
        owner, _, name = value.__qualname__.rpartition(".")
        return f"{owner}.{name}" if owner.endswith("Metric") else name
    return value
