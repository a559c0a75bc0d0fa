"""Models on labelled data: how sure each number is, and whether one model is better than another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import BaseEvaluator, EncodingEvaluator, check_lengths
from vicinal.evaluation.embedding_similarity import EmbeddingSimilarityEvaluator
from vicinal.evaluation.information_retrieval import InformationRetrievalEvaluator
from vicinal.evaluation.resampling import (
    Difference,
    Doubles,
    Interval,
    Statistic,
    mean_difference,
    mean_interval,
    statistic_difference,
    statistic_interval,
)
from vicinal.evaluation.triplet import TripletEvaluator

if TYPE_CHECKING:
    from vicinal.evaluation.files import PairSet, RetrievalSet


@dataclass(frozen=True)
class Measured:
    """One model's metrics, and how they compare with another's on the same data.

    Attributes:
        metrics: by name, with their intervals.
        minus: given another model's `Measured`, the difference of each metric from it.
        raw: what `minus` reads of the other.
    """

    metrics: Mapping[str, Interval]
    minus: Callable[[Measured], Mapping[str, Difference]]
    raw: Any


@dataclass(frozen=True)
class Task:
    """What models are measured on.

    Attributes:
        name: short.
        described: with how much data there is.
        primary: the metric that counts where one must be chosen.
        measure: of a model.
        evaluator: the same as an evaluator, for a trainer; None where there is none.
        texts: those that a model measured here must not have been trained on: of a retrieval set the queries, since
            its documents are there to be searched; else all.
    """

    name: str
    described: str
    primary: str
    measure: Callable[[Any], Measured]
    evaluator: BaseEvaluator | None = None
    texts: Sequence[str] = field(default=(), repr=False)


def of_means(values: Mapping[str, Doubles]) -> Measured:
    """Metrics that are means over (n,) queries, pairs, ...: the values of each, by metric."""

    def minus(other: Measured) -> Mapping[str, Difference]:
        return {name: mean_difference(numbers, other.raw[name]) for name, numbers in values.items()}

    return Measured({name: mean_interval(numbers) for name, numbers in values.items()}, minus, values)


def of_statistics(statistics: Mapping[str, Statistic], n: int) -> Measured:
    """Metrics that are other statistics of n rows, such as a correlation."""

    def minus(other: Measured) -> Mapping[str, Difference]:
        return {name: statistic_difference(of, other.raw[name], n) for name, of in statistics.items()}

    return Measured({name: statistic_interval(of, n) for name, of in statistics.items()}, minus, statistics)


def retrieval(
    data: RetrievalSet,
    query_prompt: str | None = None,
    corpus_prompt: str | None = None,
    options: Mapping[str, Any] | None = None,
    show_progress_bar: bool = False,
) -> Task:
    """A retrieval set: nDCG@10 and the others of `InformationRetrievalEvaluator`.

    Args:
        data: queries, documents, judgments.
        query_prompt, corpus_prompt: in front of every text; None for the model's own.
        options: more that `encode` is given.
        show_progress_bar: while texts are encoded.
    """
    evaluator = InformationRetrievalEvaluator(
        data.queries,
        data.corpus,
        data.relevant,
        name=_plain(data.name),
        show_progress_bar=show_progress_bar,
        query_prompt=query_prompt,
        corpus_prompt=corpus_prompt,
    )
    _free_batches(evaluator, options)

    def measure(model: Any) -> Measured:
        (ranking,) = evaluator.rank(model).values()
        found = evaluator.query_metrics(ranking)
        return of_means({f"{metric}@{k}": numbers for (metric, k), numbers in found.items()})

    described = f"{data.name}: {len(data.relevant):,} queries, {len(data.corpus):,} documents"
    return Task(data.name, described, "ndcg@10", measure, evaluator, list(data.queries.values()))


def similarity(
    data: PairSet, prompt: str | None = None, options: Mapping[str, Any] | None = None, show_progress_bar: bool = False
) -> Task:
    """Pairs with a score: Spearman's and Pearson's correlation of the model's similarity with it."""
    evaluator = EmbeddingSimilarityEvaluator(
        data.sentences1, data.sentences2, data.scores, name=_plain(data.name), show_progress_bar=show_progress_bar
    )
    _free_batches(evaluator, _with_prompt(prompt, options))
    gold, n = np.asarray(data.scores), len(data.scores)

    def measure(model: Any) -> Measured:
        (predicted,) = evaluator.predicted_scores(model).values()
        return of_statistics(
            {
                "spearman": lambda rows: m.spearman(gold[rows], predicted[rows]),
                "pearson": lambda rows: m.pearson(gold[rows], predicted[rows]),
            },
            n,
        )

    texts = [*data.sentences1, *data.sentences2]
    return Task(data.name, f"{data.name}: {n:,} pairs", "spearman", measure, evaluator, texts)


def triplets(
    name: str, anchors: Sequence[str], positives: Sequence[str], negatives: Sequence[str], prompt: str | None = None
) -> Task:
    """Triplets: the share whose anchor is nearer to the positive than to the negative."""
    evaluator = TripletEvaluator(anchors, positives, negatives, name=_plain(name))
    _free_batches(evaluator, _with_prompt(prompt, None))

    def measure(model: Any) -> Measured:
        return of_means({"accuracy": next(iter(evaluator.hits(model).values())).astype(np.float64)})

    texts = [*anchors, *positives, *negatives]
    return Task(name, f"{name}: {len(anchors):,} triplets", "accuracy", measure, evaluator, texts)


def classification(
    name: str, known: tuple[Sequence[str], Sequence[Any]], held_out: tuple[Sequence[str], Sequence[Any]],
    prompt: str | None = None,
) -> Task:  # fmt: skip
    """Texts with a label each: the share whose nearest class centre is their own class's.

    Args:
        name: of the task.
        known: texts and labels, of which the centre of each class is the mean vector. May be training data.
        held_out: texts and labels that are classified.
        prompt: in front of every text.
    """
    evaluator = ClassCentreEvaluator(known, held_out, name=_plain(name))
    _free_batches(evaluator, _with_prompt(prompt, None))
    described = f"{name}: {len(held_out[0]):,} texts, {len(evaluator.classes)} classes"

    def measure(model: Any) -> Measured:
        return of_means({"accuracy": evaluator.hits(model).astype(np.float64)})

    return Task(name, described, "accuracy", measure, evaluator, held_out[0])


class ClassCentreEvaluator(EncodingEvaluator):
    """Accuracy of the nearest class centre (Rocchio): which class's mean vector has the greatest cosine similarity.

    Metric: `accuracy`.

    Args:
        known: texts and their labels, which make the centres.
        held_out: texts and their labels.
        name: stands before the metric's name.

    Raises:
        InvalidData: texts and labels differ in number, there are none, or a held-out label is unknown.
    """

    csv_headers = ("epoch", "steps", "accuracy")

    def __init__(
        self, known: tuple[Sequence[str], Sequence[Any]], held_out: tuple[Sequence[str], Sequence[Any]], name: str = ""
    ) -> None:
        super().__init__()
        self.known, self.held_out, self.name = known, held_out, name
        check_lengths(**{"texts with known labels": known[0], "known labels": known[1]})
        check_lengths(**{"held-out texts": held_out[0], "held-out labels": held_out[1]})
        self.classes, self._of = np.unique(np.asarray(known[1]), return_inverse=True)
        places = {label: i for i, label in enumerate(self.classes.tolist())}
        self._wanted = np.array([places.get(label, -1) for label in np.asarray(held_out[1]).tolist()])
        if (strange := np.flatnonzero(self._wanted < 0)).size:
            raise InvalidData(
                f"the held-out label {held_out[1][strange[0]]!r} stands on no text with a known label "
                f"({strange.size} such texts): its class has no centre"
            )
        self.primary_metric = "accuracy"
        self.csv_file = f"class_centres{f'_{name}' if name else ''}_results.csv"

    def hits(self, model: Any) -> Any:
        """Whether each held-out text is given its own class, (texts,)."""
        vectors = np.asarray(self.embed_inputs(model, [*self.known[0], *self.held_out[0]]), np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        centres = np.zeros((len(self.classes), vectors.shape[1]), np.float32)
        np.add.at(centres, self._of, vectors[: len(self._of)])
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
        return (vectors[len(self._of) :] @ centres.T).argmax(axis=1) == self._wanted

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The accuracy."""
        self.primary_metric = "accuracy"
        run = self._begin(output_path, epoch, steps)
        accuracy = float(self.hits(model).mean())
        return self._finish(run, model, {"accuracy": accuracy}, [accuracy])


def _with_prompt(prompt: str | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(options or {}), **({} if prompt is None else {"prompt": prompt})}


def _free_batches(evaluator: EncodingEvaluator, options: Mapping[str, Any] | None) -> None:
    evaluator.encode_options = {"batch_size": None, **(options or {})}  # batches as suit the backend


def _plain(name: str) -> str:
    """A name that can stand in a file's name."""
    return name.replace("/", "-")
