"""What a settings file says to measure on, as tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vicinal.errors import InvalidData
from vicinal.evaluation import measuring
from vicinal.evaluation.files import PairSet, RetrievalSet, read_beir
from vicinal.recipes.config import EvaluationConfig
from vicinal.recipes.sources import LABEL, read


def task_of(config: EvaluationConfig, instructions: Mapping[str, Any] | None = None, seed: int = 0) -> measuring.Task:
    """The task that a config describes.

    Args:
        config: one of `evaluation`.
        instructions: by task, what goes in front of texts; None for a model as it is.
        seed: of the drawing, where there is a limit.

    Raises:
        InvalidData: the data are not of the task's form.
    """
    name = str(config.name)
    if (Path(config.path) / "qrels").is_dir():
        if config.task not in (None, "retrieval"):
            raise InvalidData(f"{config.path} is a retrieval set, not one for {config.task}")
        return _retrieval(read_beir(config.path, config.split), instructions)
    data = read(config.path, config.columns, config.label, config.split or _part(config.path), config.limit, seed,
                config.quotes)  # fmt: skip
    texts = [column for column in data.column_names if column != LABEL]
    columns: Sequence[Sequence[str]] = [_plain(data[column], column, config.path) for column in texts]
    labels = data[LABEL][:] if LABEL in data.column_names else None
    kind = config.task or _guessed(len(columns), labels, config.path)
    wanted = {"retrieval": 2, "similarity": 2, "triplets": 3, "classification": 1}[kind]
    needs = kind in ("similarity", "classification")
    if len(columns) != wanted or (needs and labels is None):
        raise InvalidData(
            f"{config.path}: {kind} needs {wanted} columns of texts{' and a label' if needs else ''}; there are "
            f"{', '.join(data.column_names)}: name them with columns{' and label' if needs else ''}"
        )
    prompt = _instruction(instructions, kind)
    if kind == "retrieval":
        return _retrieval(_paired(name, *columns), instructions)
    if kind == "similarity":
        return measuring.similarity(PairSet(name, list(columns[0]), list(columns[1]), list(labels or [])), prompt)
    if kind == "triplets":
        anchors, positives, negatives = columns
        return measuring.triplets(name, anchors, positives, negatives, _instruction(instructions, "nli"))
    return _classification(config, name, prompt)


def _retrieval(data: RetrievalSet, instructions: Mapping[str, Any] | None) -> measuring.Task:
    return measuring.retrieval(data, _instruction(instructions, "retrieval"), None)


def _instruction(instructions: Mapping[str, Any] | None, task: str) -> str | None:
    found = (instructions or {}).get(task)
    return str(next(iter(found.values()))) if isinstance(found, Mapping) else found


def _part(path: str) -> str | None:
    return "test" if Path(path).is_dir() else None


def _guessed(columns: int, labels: Any, path: str) -> str:
    """The task that data without one are for."""
    found = {(2, True): "similarity", (3, False): "triplets"}.get((columns, labels is not None))
    if found is None:
        raise InvalidData(
            f"{path} can be measured on in several ways: say task: retrieval (pairs of a query and its document) or "
            "classification (a text and a label), or name the columns"
        )
    return found


def _plain(values: Any, column: str, path: str) -> list[str]:
    texts: list[str] = values[:]
    if any(not isinstance(text, str) for text in texts):
        raise InvalidData(f"{path}: {column!r} must hold texts, not lists")
    return texts


def _paired(name: str, queries: Sequence[str], documents: Sequence[str]) -> RetrievalSet:
    """Pairs as a retrieval set: every document of the file is searched; equal queries share their documents."""
    query_ids = {text: f"q{i}" for i, text in enumerate(dict.fromkeys(queries))}
    document_ids = {text: f"d{i}" for i, text in enumerate(dict.fromkeys(documents))}
    relevant: dict[str, dict[str, float]] = {}
    for query, document in zip(queries, documents, strict=True):
        relevant.setdefault(query_ids[query], {})[document_ids[document]] = 1.0
    return RetrievalSet(
        name, {i: text for text, i in query_ids.items()}, {i: text for text, i in document_ids.items()}, relevant
    )


def _classification(config: EvaluationConfig, name: str, prompt: str | None) -> measuring.Task:
    if config.known is None:
        raise InvalidData(
            f"{config.path}: classification needs known: a file with the same columns, whose texts make the centre of "
            "each class (the training data may be that)"
        )
    parts = []
    for path in (config.known, config.path):
        data = read(path, config.columns, config.label, config.split or _part(path), None, 0, config.quotes,
                    numbered=False)  # fmt: skip
        if LABEL not in data.column_names:
            raise InvalidData(f"{path} has no labels: name their column as label")
        (column,) = (name for name in data.column_names if name != LABEL)
        parts.append((_plain(data[column], column, path), [str(label) for label in data[LABEL][:]]))
    known, held_out = parts
    return measuring.classification(name, known, held_out, prompt)
