"""What a card holds: what its author says, and what a training and evaluators add to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from vicinal.cards import page
from vicinal.cards.results import Result, index, result_of

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Facts:
    """What a card says of the model itself.

    Attributes:
        name: of the model.
        dims: numbers of a vector, or scores a pair.
        max_seq_length: tokens that are read; None is no limit.
        similarity: the name of the similarity function; "" of a scorer.
        modules: a line each.
    """

    name: str
    dims: int
    max_seq_length: int | None
    similarity: str
    modules: tuple[str, ...]


@dataclass
class ModelCardData:
    """A card's content. Set what you know; training and evaluators add what they find.

    Args:
        language: codes such as "en".
        license: such as "apache-2.0".
        model_name: the title; by default from the model's name.
        model_id: "organisation/name" on the hub, as the example of use loads it.
        train_datasets, eval_datasets: a dict each with "name" and, if it is on the hub, "id" ("revision" too).
        task_name: what the model is for, in words.
        tags: for the hub.
        local_files_only: accepted; nothing is asked of the hub.
        generate_widget_examples: take examples from the training data for the hub's widget.

    Raises:
        ValueError: a data set has neither name nor id, or the id is no hub id.
    """

    language: Any = field(default_factory=list)
    license: str | None = None
    model_name: str | None = None
    model_id: str | None = None
    train_datasets: list[dict[str, Any]] = field(default_factory=list)
    eval_datasets: list[dict[str, Any]] = field(default_factory=list)
    task_name: str = ""
    tags: list[str] = field(default_factory=list)
    local_files_only: bool = False
    generate_widget_examples: bool = True

    base_model: str | None = field(default=None, init=False)
    base_model_revision: str | None = field(default=None, init=False)
    non_default_hyperparameters: dict[str, Any] = field(default_factory=dict, init=False)
    all_hyperparameters: dict[str, Any] = field(default_factory=dict, init=False)
    results: dict[tuple[str, str], Result] = field(default_factory=dict, init=False)
    training_logs: list[dict[str, Any]] = field(default_factory=list, init=False)
    widget: list[dict[str, Any]] = field(default_factory=list, init=False)
    citations: dict[str, str] = field(default_factory=dict, init=False)
    best_model_step: int | None = field(default=None, init=False)
    training_seconds: float | None = field(default=None, init=False)
    facts: Facts | None = field(default=None, init=False, repr=False)
    versions: dict[str, str] = field(default_factory=dict, init=False)

    pipeline_tag: ClassVar[str] = "sentence-similarity"
    library_name: ClassVar[str] = "sentence-transformers"
    kind: ClassVar[str] = "SentenceTransformer"

    def __post_init__(self) -> None:
        if isinstance(self.language, str):
            self.language = [self.language]
        if self.model_id is not None:
            self.set_model_id(self.model_id)
        for datasets in (self.train_datasets, self.eval_datasets):
            for dataset in datasets:
                if not isinstance(dataset, Mapping) or not (dataset.get("name") or dataset.get("id")):
                    raise ValueError(f"a data set of a card is a dict with a name or a hub id, not {dataset!r}")

    # ---- set by authors, trainers and evaluators -----------------------------------------------------------------

    def set_model_id(self, model_id: str) -> None:
        """Where the model will be on the hub.

        Raises:
            ValueError: it is no "organisation/name".
        """
        if not _HUB_ID.fullmatch(model_id):
            raise ValueError(f"model_id must be 'organisation/name', not {model_id!r}")
        self.model_id = model_id

    def set_base_model(self, model_id: str, revision: str | None = None) -> None:
        """Which model this one was made from, by its hub id."""
        self.base_model, self.base_model_revision = model_id, revision

    def set_language(self, language: str | Sequence[str]) -> None:
        """Codes such as "en"."""
        self.language = [language] if isinstance(language, str) else list(language)

    def set_license(self, license: str) -> None:
        """Such as "apache-2.0"."""
        self.license = license

    def add_tags(self, tags: str | Sequence[str]) -> None:
        """More tags; one that is there stays where it is."""
        for tag in [tags] if isinstance(tags, str) else tags:
            if tag not in self.tags:
                self.tags.append(tag)

    def set_losses(self, losses: Sequence[Any]) -> None:
        """The losses that were trained with, and those inside them: cited, and tags."""
        todo = list(losses)
        seen: list[Any] = []
        while todo:
            loss = todo.pop(0)
            if any(loss is other for other in seen):
                continue
            seen.append(loss)
            self.add_tags(f"loss:{type(loss).__name__}")
            if citation := getattr(loss, "citation", ""):
                self.citations.setdefault(type(loss).__name__, str(citation).strip())
            if callable(inner := getattr(loss, "loss", None)):
                todo.append(inner)

    def set_best_model_step(self, step: int) -> None:
        """The step whose weights were kept."""
        self.best_model_step = step

    def set_widget_examples(self, dataset: Any) -> None:
        """Texts of the first rows, for the hub's widget: one, and three to compare it with."""
        if self.pipeline_tag != "sentence-similarity" or not self.generate_widget_examples:
            return
        if isinstance(dataset, Mapping):
            dataset = next(iter(dataset.values()))
        if not hasattr(dataset, "__len__"):
            return
        rows = [dataset[i] for i in range(min(len(dataset), 20))]
        texts = [[value for value in row.values() if isinstance(value, str)] for row in rows]
        pool = list(dict.fromkeys(text for row in texts for text in row[1:] or row))
        for row in texts[:5]:
            others = [text for text in [*row[1:], *pool[len(self.widget) * 3 :], *pool] if row and text != row[0]]
            if others:
                self.widget.append({"source_sentence": row[0], "sentences": list(dict.fromkeys(others))[:3]})

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, Any], epoch: float = 0, step: int = 0
    ) -> None:
        """An evaluator's result; it replaces an older one of the same class and name."""
        found = result_of(evaluator, metrics)
        self.results[found.class_name, found.name] = found
        if found.primary is not None and step >= 0:
            self.log(epoch, step, {found.primary: metrics[found.primary]})

    def log(self, epoch: float | None, step: int, values: Mapping[str, Any]) -> None:
        """A line of the table of the training; values of one step stand in one line."""
        if self.training_logs and self.training_logs[-1]["Step"] == step:
            self.training_logs[-1].update(values)
        else:
            self.training_logs.append({"Epoch": epoch, "Step": step, **values})

    def register_model(self, model: Any) -> None:
        """Take down what the card says of the model itself."""
        modules = tuple(str(module) for route in model.spec.routes.values() for module in route.modules)
        scorer = self.pipeline_tag != "sentence-similarity"
        dims = model.num_labels if scorer else model.get_embedding_dimension()
        similarity = "" if scorer else str(model.similarity_fn_name)
        name = model.name if _HUB_ID.fullmatch(model.name) else Path(model.name).name  # nobody's folders are told
        self.facts = Facts(name, dims, model.max_seq_length, similarity, modules)

    # ---- as text -------------------------------------------------------------------------------------------------

    @property
    def says_something(self) -> bool:
        """Whether its author or a training said anything: then it takes the place of the card that is there."""
        fresh = type(self)()
        names = [item.name for item in fields(self) if item.init and item.name != "model_id"] + [
            "base_model",
            "citations",
            "all_hyperparameters",
        ]
        return any(getattr(self, name) != getattr(fresh, name) for name in names)

    @property
    def title(self) -> str:
        """The first heading."""
        if self.model_name:
            return self.model_name
        if self.base_model:
            return f"{self.kind} based on {self.base_model}"
        return self.model_id or (self.facts.name if self.facts else self.kind)

    def to_dict(self) -> dict[str, Any]:
        """The front matter, in the hub's form; what is empty is left out."""
        datasets = [dataset["id"] for dataset in self.train_datasets if dataset.get("id")]
        metrics = list(dict.fromkeys(key for found in self.results.values() for key in found.metrics))
        matter = {
            "language": list(self.language or ()),
            "license": self.license,
            "library_name": self.library_name,
            "tags": list(self.tags),
            "datasets": list(dict.fromkeys(datasets)),
            "metrics": metrics,
            "pipeline_tag": self.pipeline_tag,
            "base_model": self.base_model,
            "widget": self.widget,
            "model-index": index(self.title, list(self.results.values())),
        }
        return {name: value for name, value in matter.items() if value}

    def to_yaml(self, line_break: str | None = None) -> str:
        """The front matter as it stands between the lines of three dashes."""
        import yaml

        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, line_break=line_break)
        return str(text).strip()

    def render(self) -> str:
        """The whole README.md.

        Raises:
            ValueError: no model was registered.
        """
        if self.facts is None:
            raise ValueError("the card knows no model: register_model(model) first")
        return f"---\n{self.to_yaml()}\n---\n\n{page.body(self)}"


@dataclass
class SentenceTransformerModelCardData(ModelCardData):
    """The card of a `SentenceTransformer`. Arguments as `ModelCardData` has them.

    >>> card = SentenceTransformerModelCardData(language="en", license="apache-2.0", model_id="me/my-model")
    >>> print(card.to_yaml())
    language:
    - en
    license: apache-2.0
    library_name: sentence-transformers
    tags:
    - sentence-transformers
    - sentence-similarity
    - feature-extraction
    - dense
    - vicinal
    pipeline_tag: sentence-similarity
    """

    task_name: str = "semantic search, semantic textual similarity, paraphrase mining, classification and clustering"
    tags: list[str] = field(
        default_factory=lambda: [
            "sentence-transformers",
            "sentence-similarity",
            "feature-extraction",
            "dense",
            "vicinal",
        ]
    )


@dataclass
class CrossEncoderModelCardData(ModelCardData):
    """The card of a `CrossEncoder`. Arguments as `ModelCardData` has them."""

    task_name: str = "reranking and the classification of pairs of texts"
    tags: list[str] = field(default_factory=lambda: ["sentence-transformers", "cross-encoder", "reranker", "vicinal"])

    pipeline_tag: ClassVar[str] = "text-ranking"
    kind: ClassVar[str] = "CrossEncoder"
