"""Adapting a model to texts of a domain without any labels: TSDAE, SimCSE, contrastive tension."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
from torch import nn
from transformers import set_seed

from vicinal.datasets import DenoisingAutoEncoderDataset
from vicinal.errors import UnsupportedModel
from vicinal.evaluation.measuring import Task
from vicinal.losses import (
    ContrastiveTensionLossInBatchNegatives,
    DenoisingAutoEncoderLoss,
    MultipleNegativesRankingLoss,
)
from vicinal.recipes.base import Run
from vicinal.recipes.runs import Outcome, Say, Schedule, enough, recipe, said, train
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.training.trainer import SentenceTransformerTrainer

logger = logging.getLogger("vicinal")

Method = Literal["tsdae", "simcse", "ct"]


class DamagedTexts:
    """A data set of texts and the same with words left out: columns "damaged" and "text".

    Which words, seed, epoch and row decide: so a resumed run sees what it would have seen.
    """

    column_names = ("damaged", "text")

    def __init__(self, texts: Sequence[str], seed: int) -> None:
        self.texts, self.seed, self.epoch = texts, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Other words are left out in each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: Any) -> dict[str, Any]:
        """A row, or some as columns."""
        if isinstance(rows, int):
            return {"damaged": self._damaged(rows), "text": self.texts[rows]}
        places = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        return {"damaged": [self._damaged(i) for i in places], "text": [self.texts[i] for i in places]}

    def _damaged(self, row: int) -> str:
        rng = np.random.default_rng((self.seed, self.epoch, row))
        return DenoisingAutoEncoderDataset.delete(self.texts[row], rng=rng)


def _tsdae(model: SentenceTransformer, texts: Sequence[str], seed: int) -> tuple[Any, Any]:
    return DamagedTexts(texts, seed), DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)


def _simcse(model: SentenceTransformer, texts: Sequence[str], _: int) -> tuple[Any, Any]:
    data = datasets.Dataset.from_dict({"text": list(texts), "again": list(texts)})
    return data, MultipleNegativesRankingLoss(model)


def _tension(model: SentenceTransformer, texts: Sequence[str], _: int) -> tuple[Any, Any]:
    return datasets.Dataset.from_dict({"text": list(texts)}), ContrastiveTensionLossInBatchNegatives(model)


_METHODS: dict[str, Callable[..., tuple[Any, Any]]] = {"tsdae": _tsdae, "simcse": _simcse, "ct": _tension}
SCHEDULES = {
    "tsdae": Schedule(epochs=1, batch_size=8, learning_rate=3e-5, warmup=0),
    "simcse": Schedule(epochs=1, batch_size=64, learning_rate=1e-5),
    "ct": Schedule(epochs=1, batch_size=64, learning_rate=1e-5),
}
"""How each method trains where the caller does not say."""


def adapt(
    model: SentenceTransformer,
    texts: Sequence[str],
    output: str | Path,
    *,
    method: Method = "tsdae",
    schedule: Schedule | None = None,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Train a model on texts alone.

    - "tsdae": from the vector of a text of which words were left out, a decoder must write the whole text
      (Wang et al. 2021, arXiv:2104.06979); pooling by the first token suits it best.
    - "simcse": a text and itself under another dropout are a pair, the others of the batch are not
      (Gao et al. 2021, arXiv:2104.08821); the network must have dropout.
    - "ct": two copies of the model must agree on each text and on no other (Carlsson et al. 2021,
      https://openreview.net/forum?id=Ov_sMNau-PF), with negatives in the batch.

    These are for a base model that was never trained for similarity. One that was often loses by them: look at the
    table before you use what was made.

    Data: 10,000 texts of the domain or more. Cost: an epoch takes some 6 ("simcse", "ct") to 10 ("tsdae") times as
    long as encoding the texts with torch.

    Args:
        model: what to start from; it is left as it is.
        texts: of the domain; equal ones count once.
        output: folder of the new model; a killed run goes on there.
        method: "tsdae", "simcse" or "ct".
        schedule: of the training; None is each method's own.
        tasks: what the model is measured on before and after.
        say: is told how it goes.

    Raises:
        ValueError: there is no such method. InvalidData: too few texts, or one is measured on.
        UnsupportedModel: the method cannot train this model.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, _METHODS))}, not {method!r}")
    prepare, plan = _METHODS[method], schedule or SCHEDULES[method]
    texts = [text for text in dict.fromkeys(texts) if text.strip()]
    enough(texts, 2, "adapt()")
    if method == "simcse":
        _has_dropout(model)
    settings = said(plan, model, texts, recipe=method)

    def make(run: Run) -> SentenceTransformer:
        made = copy.deepcopy(model)
        set_seed(plan.seed)  # of what a decoder begins with
        data, loss = prepare(made, texts, plan.seed)
        train(SentenceTransformerTrainer, made, data, loss, plan, run, say)
        return made

    return recipe(Path(output), settings, {"texts": ([text] for text in texts)}, tasks, lambda _: model, make, say)


def _has_dropout(model: SentenceTransformer) -> None:
    twin = copy.deepcopy(model).trainable()
    if not any(isinstance(part, nn.Dropout) and part.p > 0 for part in twin.modules()):
        raise UnsupportedModel(
            f"{model.name} has no dropout, so that both views of a text are one: SimCSE has nothing to learn from"
        )
