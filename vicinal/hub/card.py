"""What a model's card says of it: the block of YAML that heads README.md, and the results in it (`model-index`).

The form is the hub's: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A kind of task: its names, letters alone, and the metric that stands for it, the best first. "main_score" is mteb's.
_COSINE = ("cosine_spearman", "cos_sim_spearman", "spearman_cosine", "spearman")
_KINDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Retrieval": (("retrieval", "informationretrieval"), ("ndcg_at_10", "cosine_ndcg@10", "ndcg@10", "dot_ndcg@10")),
    "Reranking": (("reranking", "crossencoderreranking"), ("map", "ndcg@10")),
    "STS": (("sts", "semanticsimilarity"), _COSINE),
    "Classification": (("classification",), ("accuracy",)),
    "MultilabelClassification": (("multilabelclassification",), ("accuracy",)),
    "Clustering": (("clustering",), ("v_measure",)),
    "PairClassification": (
        ("pairclassification", "binaryclassification"), ("max_ap", "cosine_ap", "cos_sim_ap", "similarity_ap")
    ),
    "BitextMining": (("bitextmining",), ("f1",)),
    "Summarization": (("summarization",), _COSINE),
    "Triplet": (("triplet",), ("cosine_accuracy",)),
}  # fmt: skip
KINDS = tuple(_KINDS)
"""The kinds of tasks whose names in cards are understood."""

_HEAD = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Score:
    """A published result.

    Attributes:
        kind: of the task, one of `KINDS` or the card's own word.
        task: the data set, with its split where that is not "test".
        metric: which of the card's metrics was taken.
        value: times 100 where the card gives shares of 1.
    """

    kind: str
    task: str
    metric: str
    value: float


@dataclass(frozen=True)
class Card:
    """What a card says; what it does not say is empty.

    Attributes:
        flaw: why it, or a part of it, could not be read.
    """

    languages: tuple[str, ...] = ()
    licence: str | None = None
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()
    flaw: str = ""


def kind_of(name: str) -> str | None:
    """The kind of task that a word stands for, None for words that are not known.

    >>> kind_of("information-retrieval"), kind_of("sts")
    ('Retrieval', 'STS')
    """
    letters = re.sub("[^a-z]", "", name.lower())
    return next((kind for kind, (names, _) in _KINDS.items() if letters in names), None)


def mean(scores: Iterable[Score], kind: str | None = None) -> tuple[float, int] | None:
    """The mean of the scores, and of how many; only of a kind of task where one is given. None of none."""
    values = [score.value for score in scores if kind in (None, score.kind)]
    return (math.fsum(values) / len(values), len(values)) if values else None


def parse_card(text: str) -> Card:
    """Read README.md; a card that cannot be read says why in `flaw`."""
    import yaml

    head = _HEAD.match(text)
    if head is None:
        return Card(flaw="its card has no block of YAML between lines of ---")
    try:
        data = yaml.safe_load(head[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Card(flaw=f"the YAML of its card cannot be read: {' '.join(str(error).split())}")
    if not isinstance(data, dict):
        return Card(flaw=f"the YAML of its card is no mapping but a {type(data).__name__}")
    return read_card(data, data.get("model-index"))


def read_card(data: Any, model_index: Any) -> Card:
    """Read a card's mapping, and its results, which the hub's listing has beside it."""
    data = data if isinstance(data, dict) else {}
    scores: dict[tuple[str, str], Score] = {}
    flaw = ""
    try:
        for score in _results(model_index or []):
            scores.setdefault((score.kind, score.task), score)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        flaw = f"the results (model-index) of its card are not as they should be ({type(error).__name__}: {error})"
    licence = data.get("license")
    return Card(
        _words(data.get("language")),
        licence if isinstance(licence, str) else None,
        _words(data.get("base_model")),
        _words(data.get("datasets")),
        tuple(scores.values()),
        flaw,
    )


def _words(stated: Any) -> tuple[str, ...]:
    """A word or a list of words; YAML takes the language `no` for False."""
    listed = stated if isinstance(stated, list) else [] if stated is None else [stated]
    return tuple("no" if word is False else str(word) for word in listed)


def _results(model_index: Any) -> Iterator[Score]:
    for model in model_index:
        for result in model["results"]:
            if (score := _score(result["task"]["type"], result["dataset"], result["metrics"])) is not None:
                yield score


def _score(type_: str, dataset: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> Score | None:
    """The metric that stands for a result, None where it has no number."""
    values = {str(metric["type"]): number for metric in metrics if (number := _number(metric["value"])) is not None}
    kind = kind_of(type_)
    wanted = ("main_score", *(_KINDS[kind][1] if kind else ()))
    metric = next((name for name in wanted if name in values), None)
    if metric is None and kind is None:
        metric = next(iter(values), None)
    if metric is None:
        return None
    split = dataset.get("split")
    name = str(dataset["name"]).removeprefix("MTEB ")
    task = name if split in (None, "test", "Unknown") else f"{name}, {split}"
    share = all(-1 <= value <= 1 for name, value in values.items() if not name.endswith("_threshold"))
    return Score(kind or str(type_), task, metric, values[metric] * (100 if share else 1))


def _number(value: Any) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value):
        value = float(value)
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None
