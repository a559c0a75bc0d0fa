"""A folder that scores texts or pairs: a network with a classification head."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vicinal import networks, report
from vicinal.errors import DamagedModel, ModelWarning, UnsupportedModel
from vicinal.loading import reranker
from vicinal.loading.adapter import home
from vicinal.loading.folder import Folder
from vicinal.loading.modules import EMBEDDING, Parts, Reading, read_settings, transformer
from vicinal.loading.overrides import check_read
from vicinal.loading.own import class_name
from vicinal.loading.spec import Classifier, Route, Transformer
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.blocks import Keys

TASK = "sequence-classification"


def read_classifier(
    folder: Folder,
    weights: Callable[[Folder, str], dict[str, Tensor]],
    overrides: Mapping[str, Any],
    *,
    chat_template: str | None = None,
) -> Parts:
    """Read a cross-encoder's folder, in the layout of `transformers` or of sentence-transformers.

    A base model without a head gets a new one, of one label, and says so; a causal language model scores by logits.

    Args:
        chat_template: replaces the folder's own.

    Raises:
        DamagedModel: a file is missing or cannot be read. UnsupportedModel: its network has no head here.
    """
    settings = folder.optional("config_sentence_transformers.json")
    kind = settings.get("model_type", "CrossEncoder")
    if kind not in ("CrossEncoder", "SentenceTransformer"):
        raise UnsupportedModel(f"{folder.root} holds a {kind}, not a CrossEncoder")
    reading = Reading(folder, _labels_in(overrides), {}, {}, {}, weights)
    at, score_at = _modules(folder)
    stated, there = home(folder, at)
    config = stated.mapping(f"{there}/config.json" if there else "config.json")
    listed = folder.has("modules.json")
    if score_at is not None or (not listed and _made_for(config, "ForCausalLM")):
        route = reranker.read_route(reading, at, score_at, chat_template)
        own = route.modules[0].config  # type: ignore[union-attr]
        spec = replace(read_settings(folder, settings, {"": route}, ""), activation=_activation(own, settings))
        return Parts(spec, reading.tensors, reading.tokenizers)
    if not _made_for(config, "ForSequenceClassification") and not {"num_labels", "id2label"} & set(overrides):
        reading.overrides = {**reading.overrides, **_labels_in({"num_labels": 1})}
    body = transformer(reading, at, tasks=(TASK, EMBEDDING))
    body = replace(body, chat=reranker.read_chat(reading, at, body, chat_template, needed=False))
    found = networks.classifying(body.architecture)
    if found is None:
        raise UnsupportedModel(
            f"{folder.root}: the network {body.architecture!r} has no classification head here; "
            "it runs in sentence-transformers"
        )
    head = Classifier(body.architecture, _labels(body.config, folder), found.parse_head(body.config))
    if "num_labels" in overrides:
        _same_labels(reading.tensors, head, at, folder)
    _complete(reading.tensors, body, head, at, folder)
    route = Route((body, head), (at, at), reading.limits[at])
    spec = replace(read_settings(folder, settings, {"": route}, ""), activation=_activation(body.config, settings))
    check_read(reading.overrides, reading.configs)
    return Parts(spec, reading.tensors, reading.tokenizers)


def _made_for(config: Mapping[str, Any], purpose: str) -> bool:
    """Whether a `config.json` is of one of the classes that end so."""
    return any(str(name).endswith(purpose) for name in Keys(config).sequence("architectures") or ())


def _modules(folder: Folder) -> tuple[str, str | None]:
    """Where the network's files are, and those of a LogitScore where there is one."""
    if not folder.has("modules.json"):
        return "", None
    path = folder.path("modules.json")
    entries = folder.json("modules.json")
    try:
        listed = [(class_name(str(entry["type"]), path), str(entry["path"])) for entry in entries]
    except (KeyError, TypeError) as error:
        raise DamagedModel(f"{path}: every module needs a type and a path ({error!r} is missing)") from error
    others = [name for name, _ in listed[1:] if name not in ("Pooling", "Normalize", "Dropout")]
    by_logit = len(listed) == 2 and listed[1][0] == "LogitScore"
    if not listed or listed[0][0] not in ("Transformer", "BERT") or (others and not by_logit):
        names = ", ".join(name for name, _ in listed) or "nothing"
        raise UnsupportedModel(
            f"{path} lists {names}; a cross-encoder here is a Transformer with its own head, or one with a LogitScore"
        )
    for _, place in listed:
        folder.path(place or ".")
    return listed[0][1].rstrip("/"), listed[1][1].rstrip("/") if by_logit else None


def _labels_in(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`num_labels` as a configuration has it."""
    overrides = dict(overrides)
    count = overrides.pop("num_labels", None)
    if count is None:
        return overrides
    if type(count) is not int or count < 1:
        raise ValueError(f"num_labels must be a positive integer, not {count!r}")
    labels = {str(i): f"LABEL_{i}" for i in range(count)}
    return {**overrides, "id2label": labels, "label2id": {name: int(i) for i, name in labels.items()}}


def _labels(config: Mapping[str, Any], folder: Folder) -> int:
    """How many scores a text has; two where nothing says."""
    stated = config.get("id2label") or config.get("num_labels", 2)
    count = len(stated) if isinstance(stated, (dict, list)) else stated
    if type(count) is not int or count < 1:
        raise DamagedModel(f"{folder.root / 'config.json'}: num_labels must be a positive integer, not {count!r}")
    return count


def _activation(config: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """The dotted name that the folder states, in any version's place for it."""
    own = config.get("sentence_transformers")
    stated = settings.get("activation_fn") or (own.get("activation_fn") if isinstance(own, dict) else None)
    stated = stated or config.get("sbert_ce_default_activation_function")
    return None if stated is None else str(stated)


def _same_labels(tensors: Mapping[str, Tensor], head: Classifier, at: str, folder: Folder) -> None:
    """Refuse a number of labels that the head in the folder does not have."""
    for name, shape in head_shapes(head).items():
        there = tensors.get(f"{at}/{name}")
        if there is not None and there.shape != shape and there.shape[1:] == shape[1:] and shape[0] == head.labels:
            raise UnsupportedModel(
                f"num_labels={head.labels}: {folder.root} has a head of {there.shape[0]} labels; leave num_labels out, "
                "or begin with the base model, which gets a new head"
            )


def _complete(tensors: dict[str, Tensor], body: Transformer, head: Classifier, at: str, folder: Folder) -> None:
    """Give a base model's network a new head, as `transformers` begins it: normal weights, biases of zero.

    Draws from NumPy's global generator, so that `numpy.random.seed` (or a trainer's seed) decides it.
    """
    prefix = f"{at}/"
    missing = {name: shape for name, shape in head_shapes(head).items() if prefix + name not in tensors}
    if not missing or _made_for(body.config, "ForSequenceClassification"):
        return  # what is missing all the same is said where it is read
    spread = body.config.get("initializer_range", 0.02)
    for name, shape in missing.items():
        drawn = np.random.normal(0, spread, shape) if name.endswith("weight") and len(shape) > 1 else np.zeros(shape)
        if name.endswith("norm.weight"):
            drawn = np.ones(shape)
        tensors[prefix + name] = Tensor.of(name, drawn.astype(np.float32))
    report.warn(
        f"{folder.root} has no classification head: {', '.join(missing)} are new, and its scores mean nothing until "
        "the model is trained",
        ModelWarning,
    )


def head_shapes(head: Classifier) -> dict[str, tuple[int, ...]]:
    """The tensors that a head reads, with their shapes."""
    seen = _Seen()
    found = networks.classifying(head.architecture)
    assert found is not None, "a classifier is made only where its network has a head"
    found.classify(Nothing(), seen, head, Nothing(), defaultdict(Nothing))
    return seen.shapes


class _Seen(Scope):
    """Notes what is asked for."""

    def __init__(self, prefix: str = "", shapes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__({}, prefix)
        self.shapes = {} if shapes is None else shapes

    def at(self, name: str, separator: str = ".") -> _Seen:
        return _Seen(f"{self._prefix}{name}{separator}", self.shapes)

    def tensor(self, name: str, *shape: int) -> Any:
        self.shapes[self._prefix + name] = shape
        return Nothing()

    def find(self, name: str, *shape: int) -> Any:
        return None


class Nothing:
    """Primitives and handles that compute nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self

    def __add__(self, other: Any) -> Nothing:
        return self

    __sub__ = __mul__ = __truediv__ = __radd__ = __add__


def saved_names(parts: Parts) -> dict[str, Tensor]:
    """Tensors of a cross-encoder by the names that `transformers` gives them."""
    body, head = next(iter(parts.spec.routes.values())).modules
    assert isinstance(body, Transformer)
    found = networks.classifying(body.architecture)
    assert found is not None, "a network that has logits has a classification head, too"
    outside = found.HEAD if isinstance(head, Classifier) else ("lm_head.",)
    prefix = found.PREFIX.format(model_type=body.architecture)
    named = {}
    for name, tensor in parts.tensors.items():
        local = name.rpartition("/")[2]
        named[local if local.startswith(outside) else prefix + local] = tensor
    return named
