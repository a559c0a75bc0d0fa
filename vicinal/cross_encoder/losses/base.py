"""What the losses of a cross-encoder share: columns of texts to pairs, pairs to logits, in parts if need be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vicinal.errors import InvalidData
from vicinal.losses.base import IDENTITY, Inputs, described, device_of, trainable, unwrapped
from vicinal.losses.gradcache import recomputed

Pairs = list[tuple[str, str]]


class PairLoss(nn.Module):  # type: ignore[misc]
    """The base of the losses; `loss([queries, documents, ...], labels)` is a scalar.

    Args:
        model: what to train: a CrossEncoder.
        activation_fn: applied to logits first; None for none.
        one_label: whether the model must have one.

    Raises:
        TypeError: the model cannot be trained on pairs.
        ValueError: it has several labels where one is needed.
    """

    inputs: ClassVar[Inputs]
    config: ClassVar[str] = "activation_fn"
    """The attributes that `get_config_dict` reports, in one string."""
    citation: str = ""
    """BibTeX of where the loss comes from."""
    uses_gradient_cache = False
    """Whether pairs are scored in parts, each run again in the backward pass."""
    show_progress_bar = False

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, one_label: bool = True) -> None:
        super().__init__()
        self.model = trainable(model)
        self.activation_fn = IDENTITY if activation_fn is None else activation_fn
        labels = getattr(self.model, "num_labels", None)
        if labels is None or not hasattr(self.model, "preprocess"):
            raise TypeError(f"{type(self).__name__} needs a CrossEncoder, not a {type(self.model).__name__}")
        if one_label and labels != 1:
            raise ValueError(
                f"{type(self).__name__} needs a model with 1 label, but this one has {labels}: "
                "CrossEncoder(..., num_labels=1)"
            )

    def forward(
        self, inputs: Sequence[Any], labels: Any = None, prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The loss of a batch.

        Args:
            inputs: columns of texts; a list of documents a query where the loss ranks lists.
            labels: as the loss needs them.
            prompt, task: for the model's `preprocess`.

        Raises:
            InvalidData: columns or labels are not what the loss takes.
        """
        self.inputs.check(type(self).__name__, inputs, labels)
        rows = {len(column) for column in inputs}
        if len(rows) != 1 or not rows.pop():
            raise InvalidData(f"columns must have equally many rows, and some, but have {[len(c) for c in inputs]}")
        return self.loss(inputs, labels, {"prompt": prompt, "task": task})

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of columns that were checked."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(inputs, labels, options)")

    def logits(self, pairs: Pairs, options: dict[str, Any], rows: int | None = None) -> Tensor:
        """What the model says of each pair, (pairs, labels), `rows` pairs of about one length at a time; None for
        all."""
        rows = len(pairs) if rows is None else rows
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        cuts = range(0, len(pairs), rows)
        parts = []
        for start in tqdm(cuts, desc="Predict mini-batches", disable=not self.show_progress_bar):
            features = self.features([pairs[i] for i in order[start : start + rows]], options)
            parts.append(self._run(features))
        found = torch.cat(parts)
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        return found[back.to(found.device)]

    def features(self, pairs: Pairs, options: dict[str, Any]) -> dict[str, Any]:
        """What the model's tokenizer makes of pairs, beside its weights."""
        given = {name: value for name, value in options.items() if value is not None}
        features, device = unwrapped(self.model).preprocess(pairs, **given), device_of(self.model)
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in features.items()}

    def _run(self, features: dict[str, Any]) -> Tensor:
        if not self.uses_gradient_cache:
            return self._score(features)
        return recomputed(partial(self._score), features, model=self.model, device=device_of(self.model).type)

    def _score(self, features: dict[str, Any]) -> Tensor:
        """Logits, (pairs, labels)."""
        out = self.model(dict(features))
        logits = out["scores"] if isinstance(out, dict) else out
        logits = logits.unsqueeze(1) if logits.ndim == 1 else logits
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, as a model card shows them."""
        return {name: described(getattr(self, name)) for name in self.config.split()}


def zipped(inputs: Sequence[Any]) -> Pairs:
    """Two columns as pairs."""
    first, second = inputs
    return list(zip(first, second, strict=True))
