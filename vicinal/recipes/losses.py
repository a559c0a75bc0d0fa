"""Losses by name with arguments, as a settings file has them, and those that suit a task."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicinal import losses, util
from vicinal.errors import InvalidData
from vicinal.losses.contrastive import SiameseDistanceMetric
from vicinal.losses.triplet import TripletDistanceMetric
from vicinal.recipes.settings import check_keys, nearest, plainly
from vicinal.training.samplers import BatchSamplers

ALIASES = {
    "mnr": "MultipleNegativesRankingLoss",
    "mnrl": "MultipleNegativesRankingLoss",
    "cmnr": "CachedMultipleNegativesRankingLoss",
    "cmnrl": "CachedMultipleNegativesRankingLoss",
    "mnsr": "MultipleNegativesSymmetricRankingLoss",
    "gist": "GISTEmbedLoss",
    "cosine": "CosineSimilarityLoss",
    "batchall": "BatchAllTripletLoss",
    "batchhard": "BatchHardTripletLoss",
    "batchsemihard": "BatchSemiHardTripletLoss",
    "tsdae": "DenoisingAutoEncoderLoss",
}
"""Short names, beside each class's name with or without "Loss" at its end, in any case, with or without underscores."""
_CLASSES = {
    name: found
    for name, found in ((name, getattr(losses, name)) for name in losses.__all__)
    if isinstance(found, type) and issubclass(found, losses.Loss) and found is not losses.Loss
}


@dataclass(frozen=True)
class Kind:
    """A task that data teach.

    Attributes:
        plain: the loss of data without labels; None where labels are needed.
        labelled: the loss of data with labels; None where there must be none.
    """

    plain: str | None
    labelled: str | None


KINDS = {
    "retrieval": Kind("MultipleNegativesRankingLoss", None),
    "duplicates": Kind("MultipleNegativesSymmetricRankingLoss", "OnlineContrastiveLoss"),
    "classification": Kind(None, "BatchHardSoftMarginTripletLoss"),
    "similarity": Kind(None, "CoSENTLoss"),
    "nli": Kind("MultipleNegativesRankingLoss", "SoftmaxLoss"),
}


def chosen(task: str, labelled: bool, at: str) -> str:
    """The loss that suits a task.

    Raises:
        InvalidData: the task needs labels and there are none, or the other way round.
    """
    kind = KINDS[task]
    found = kind.labelled if labelled else kind.plain
    if found is None:
        wrong = "has no labels, which it needs: name their column as label" if kind.plain is None else "has labels"
        hint = "" if kind.plain is None else f" ({kind.plain} takes none): remove their column, or name a loss"
        raise InvalidData(f"{at}: data for {task} {wrong}{hint}")
    return found


def loss_class(name: str, at: str) -> type[Any]:
    """A loss's class by any of its names.

    Raises:
        InvalidData: there is none; the nearest is named.
    """
    plain = plainly(name)
    known = {plainly(one): one for one in _CLASSES}
    found = ALIASES.get(plain.removesuffix("loss")) or known.get(plain) or known.get(f"{plain}loss")
    if found is None:
        raise InvalidData(f"{at}: there is no loss {name!r}: {nearest(name, [*_CLASSES, *ALIASES])}")
    return _CLASSES[found]


def build(given: str | Mapping[str, Any], model: Any, classes: int, at: str) -> Any:
    """A loss of a model.

    Args:
        given: its name, or a mapping with `name` and its arguments. An argument that is a loss is given likewise, a
            guide as a model's name, a function (similarity_fct, distance_metric) by its name.
        model: a `SentenceTransformer`.
        classes: how many labels there are, for losses that classify.
        at: what the place is called in messages.

    Raises:
        InvalidData: there is no such loss, it has no such argument, or refuses one.
    """
    options: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
    if "name" not in options:
        raise InvalidData(f"{at} needs the name of a loss: {{name: ..., and its arguments}}")
    kind = loss_class(str(options.pop("name")), at)
    known = [name for name in inspect.signature(kind).parameters if name != "model"]
    check_keys(options, known, f"{at} ({kind.__name__})")
    if "num_labels" in known:
        options.setdefault("num_labels", classes)
        options.setdefault("embedding_dimension", model.get_embedding_dimension())
    for name, value in options.items():
        options[name] = _argument(kind, name, value, model, classes, f"{at}.{name}")
    try:
        return kind(model, **options)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"{at}: {kind.__name__} refuses its arguments: {error}") from error


def _argument(kind: type[Any], name: str, value: Any, model: Any, classes: int, at: str) -> Any:
    if name == "loss":
        return build(value, model, classes, at)
    if name == "guide":
        return type(model)(value)
    if name == "similarity_fct":
        return _function(util, value, at, [one for one in dir(util) if one.endswith(("_sim", "_score"))])
    if name == "distance_metric" and kind is not losses.EmbedDistillLoss:
        home: Any = losses.BatchHardTripletLossDistanceFunction
        if kind in (losses.ContrastiveLoss, losses.OnlineContrastiveLoss):
            home = SiameseDistanceMetric
        elif kind is losses.TripletLoss:
            home = TripletDistanceMetric
        return _function(home, value, at, [one for one in dir(home) if not one.startswith("_")])
    return value


def _function(home: Any, name: Any, at: str, known: list[str]) -> Any:
    found = {plainly(one): one for one in known}.get(plainly(str(name)))
    if found is None:
        raise InvalidData(f"{at}: there is no {name!r}: {nearest(str(name), known)}")
    return getattr(home, found)


def sampler_for(loss: Any) -> BatchSamplers:
    """The batches that suit a loss: triplets of labels need several rows of each, in-batch negatives no text twice."""
    name = type(loss).__name__
    if name.startswith("Batch"):
        return BatchSamplers.GROUP_BY_LABEL
    if isinstance(getattr(loss, "loss", None), losses.Loss):
        return sampler_for(loss.loss)
    in_batch = ("MultipleNegatives", "GISTEmbed", "MegaBatch")
    return BatchSamplers.NO_DUPLICATES if any(part in name for part in in_batch) else BatchSamplers.BATCH_SAMPLER
