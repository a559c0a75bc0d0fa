"""Smaller models from larger ones: fewer layers, another network, fewer dimensions.

`distil_scores` (a cross-encoder into a bi-encoder) and `distil_static` (a model without a network) have files of their
own.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vicinal.errors import InvalidData, UnsupportedModel
from vicinal.evaluation.measuring import Task
from vicinal.losses import EmbedDistillLoss
from vicinal.models import Dense, Normalize
from vicinal.recipes.base import Run
from vicinal.recipes.runs import Outcome, Say, Schedule, enough, recipe, said, train
from vicinal.recipes.teaching import LengthBatches, TaughtRows
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.similarity import pairwise_cos_sim
from vicinal.training.trainer import SentenceTransformerTrainer

logger = logging.getLogger("vicinal")

SCHEDULE = Schedule(epochs=3, batch_size=128, learning_rate=3e-4, warmup=0.05, bf16=False)
"""How a student is trained where the caller does not say."""
_PROBE = ("red", "The tax on green apples was raised again.", "how do I reset my password?")
_SAMPLE = 20_000
"""Texts whose vectors decide on the axes that are kept."""


def distil(
    teacher: SentenceTransformer,
    texts: Sequence[str],
    output: str | Path,
    *,
    student: SentenceTransformer | None = None,
    layers: int | Sequence[int] | None = None,
    schedule: Schedule = SCHEDULE,
    batch_tokens: int = 4096,
    vectors: str | Path | None = None,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """Teach a smaller model the vectors of a larger one.

    The student is some of the teacher's layers, or a model of the caller's; of every text its vector is turned towards
    the teacher's (1 - cosine, for vectors of unit length half the squared error). The teacher's vectors are computed
    once, by its fast form, and kept in the run's folder; batches hold texts of about one length.

    Data: texts alone, of the kinds that will be encoded, 100,000 or more; long ones among them where long ones matter.
    Cost: the teacher's encoding, and some 3 times the student's encoding for each epoch, at torch's speed. Measured
    gains: docs/recipes.md. Source: Reimers and Gurevych 2020, arXiv:2004.09813 (embedding MSE); the layers are chosen
    as Sanh et al. 2019, arXiv:1910.01108, do.

    Args:
        teacher: the larger model.
        texts: to learn on; equal ones count once.
        output: folder of the new model; a killed run goes on there.
        student: what is taught. One of fewer dimensions learns the teacher's principal axes.
        layers: which of the teacher's layers (from 0) the student has; or how many, spread from the first to the last.
        schedule: of the training.
        batch_tokens: padded tokens of a batch, about.
        vectors: a folder for the teacher's vectors, which other runs can use too; None keeps them for this run alone.
        tasks: what teacher ("before") and student ("after") are measured on.
        say: is told how it goes.

    Returns:
        The folder, and the table of teacher and student.

    Raises:
        ValueError: not just one of `student` and `layers` is given, or the student has more dimensions.
        InvalidData: too few texts; one is measured on; or the folder cannot be used.
        UnsupportedModel: the teacher has no layers to choose from.
    """
    if (student is None) == (layers is None):
        raise ValueError("give either student=, a model to teach, or layers=, which of the teacher's it has")
    texts = list(dict.fromkeys(texts))
    enough(texts, 2, "distil()")
    made = keep_layers(teacher, layers) if student is None else copy.deepcopy(student)
    width, wanted = teacher.get_embedding_dimension(), made.get_embedding_dimension()
    if wanted > width:
        raise ValueError(f"the student has {wanted} dimensions and the teacher {width}: it cannot have more")
    settings = said(schedule, teacher, texts, recipe="distil", student=made.fingerprint, batch_tokens=batch_tokens)

    def make(run: Run) -> SentenceTransformer:
        say(f"teacher: vectors of {len(texts):,} texts")
        at = run.checkpoints / "teacher" if vectors is None else Path(vectors)
        targets: Any = teacher.encode_to(at, texts, normalize_embeddings=True, truncation="ignore")
        if wanted < width:
            targets = Projected(targets, principal_axes(targets[: min(_SAMPLE, len(texts))], wanted))
        without_dropout(made.trainable())
        sampler = partial(_batches, tokens=batch_tokens, limit=made.max_seq_length)
        train(
            SentenceTransformerTrainer, made, TaughtRows(texts, targets), EmbedDistillLoss(made, "cosine"), schedule,
            run, say, batch_sampler=sampler,
        )  # fmt: skip
        return made

    return recipe(Path(output), settings, {"texts": ([text] for text in texts)}, tasks, lambda _: teacher, make, say)


def _batches(dataset: Any, batch_size: int, drop_last: bool, **options: Any) -> LengthBatches:
    known = ("seed", "tokens", "limit")
    return LengthBatches(dataset, batch_size, **{name: options[name] for name in known})


# ---- fewer layers --------------------------------------------------------------------------------------------------


def spread(count: int, total: int) -> list[int]:
    """`count` of `total` layers at even distances, the first and the last among them.

    >>> spread(3, 6), spread(3, 12), spread(1, 6)
    ([0, 2, 5], [0, 5, 11], [5])
    """
    if not 1 <= count <= total:
        raise ValueError(f"a model of {total} layers can keep 1 to {total} of them, not {count}")
    if count == 1:
        return [total - 1]
    return [i * (total - 1) // (count - 1) for i in range(count)]


def keep_layers(model: SentenceTransformer, layers: int | Sequence[int] | None) -> SentenceTransformer:
    """A copy of a model with some of its network's layers; the rest of it is as it was.

    Args:
        layers: their numbers, rising, from 0; or how many, see `spread`.

    Raises:
        ValueError: there are no such layers. UnsupportedModel: the network has none, or is not itself without them.
    """
    twin = copy.deepcopy(model)
    network = twin.trainable().network
    if network is None:
        raise UnsupportedModel(f"{model.name} has no network of layers to choose from")
    total = int(getattr(network.config, "num_hidden_layers", 0))
    places = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if len(places) != 1:
        raise UnsupportedModel(f"{model.name}: a {type(network).__name__} is not known to be {total} layers in a row")
    chosen = spread(layers, total) if isinstance(layers, int) else list(layers or ())
    if not chosen or sorted(set(chosen)) != chosen or not 0 <= chosen[0] <= chosen[-1] < total:
        raise ValueError(f"layers must be different numbers from 0 to {total - 1}, rising, not {chosen}")
    parent, name, child = places[0]
    setattr(parent, name, nn.ModuleList([child[i] for i in chosen]))
    config = network.config
    if kinds := getattr(config, "layer_types", None):
        config.layer_types = [kinds[i] for i in chosen]
    config.num_hidden_layers = len(chosen)
    twin.eval()
    slow = twin.encode(_PROBE, truncation="ignore")
    if float(pairwise_cos_sim(slow, twin.refresh().encode(_PROBE, truncation="ignore")).min()) < 0.99:
        raise UnsupportedModel(
            f"{model.name}: layers {chosen} of a {type(network).__name__} give other vectors once they are saved, so "
            "that what a layer does depends on its place; keep all layers, or teach a student of your own"
        )
    return twin


def without_dropout(module: nn.Module) -> None:
    """Let nothing be dropped while a student learns a teacher's vectors: noise has nothing to teach here."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0


# ---- fewer dimensions ----------------------------------------------------------------------------------------------


def principal_axes(vectors: Any, dims: int) -> NDArray[np.float32]:
    """(d, dims): the directions that keep most of the dot products among (n, d) vectors, the greatest first.

    These are the eigenvectors of the vectors' second moments about 0, not about their mean: similarity is measured
    from 0.
    """
    x = np.asarray(vectors, np.float64)
    _, axes = np.linalg.eigh(x.T @ x)
    return np.ascontiguousarray(axes[:, ::-1][:, :dims], np.float32)


class Projected:
    """Vectors on some axes, of unit length; rows are computed when they are asked for."""

    def __init__(self, vectors: Any, axes: NDArray[np.float32]) -> None:
        self.vectors, self.axes = vectors, axes

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        found = np.asarray(self.vectors[rows]) @ self.axes
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        return np.asarray(found / np.maximum(length, 1e-12), dtype=np.float32)


def reduce_dimensions(
    model: SentenceTransformer,
    texts: Sequence[str],
    dims: int,
    output: str | Path,
    *,
    tasks: Sequence[Task] = (),
    say: Say = logger.info,
) -> Outcome:
    """A model whose vectors have fewer dimensions: the principal axes of its vectors, as a Dense module at its end.

    Nothing is trained. Data: some thousand texts of the kinds that will be encoded; up to 20,000 are used. Cost: their
    encoding. A model that ends by scaling to unit length does so again behind the new module. Source: Jolliffe 2002,
    "Principal Component Analysis"; about 0 rather than the mean, see `principal_axes`.

    Args:
        model: any model of vectors.
        texts: to find the axes on; there must be more than `dims`.
        dims: how many dimensions the new model has.
        output: its folder.
        tasks: what both models are measured on.
        say: is told how it goes.

    Raises:
        ValueError: `dims` is not below the model's. InvalidData: too few texts, or one is measured on.
    """
    width = model.get_embedding_dimension()
    if not 0 < dims < width:
        raise ValueError(f"dims must be from 1 to {width - 1}, below the model's own, not {dims!r}")
    texts = list(dict.fromkeys(texts))[:_SAMPLE]
    if len(texts) <= dims:
        raise InvalidData(f"{dims} axes need more than {dims} different texts, but there are {len(texts)}")
    settings = said(Schedule(), model, texts, recipe="reduce_dimensions", dims=dims)

    def make(run: Run) -> SentenceTransformer:
        axes = principal_axes(model.encode(texts, truncation="ignore"), dims)
        modules = list(copy.deepcopy(model).trainable())
        weight = torch.from_numpy(axes.T.copy())
        dense = Dense(width, dims, bias=False, activation_function=None, init_weight=weight)
        ends = [Normalize()] if isinstance(modules[-1], Normalize) else []
        made = SentenceTransformer(
            modules=[*modules, dense, *ends], prompts=model.prompts, similarity_fn_name=model.similarity_fn_name,
            default_prompt_name=model.default_prompt_name,
        )  # fmt: skip
        made.save(run.checkpoints / "model")
        return SentenceTransformer(str(run.checkpoints / "model"))

    rows = {"texts": ([text] for text in texts)}
    return recipe(Path(output), settings, rows, tasks, lambda _: model, make, say)
