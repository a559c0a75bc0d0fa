"""What a settings file says to measure on, as tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vicinal.errors import InvalidData
from vicinal.evaluation import measuring
from vicinal.evaluation.files import PairSet, RetrievalSet, read_beir
from vicinal.recipes.base import leaks
from vicinal.recipes.config import EvaluationConfig
from vicinal.recipes.instructions import prompts_of
from vicinal.recipes.sources import LABEL, read

_COLUMNS = {"retrieval": 2, "duplicates": 2, "similarity": 2, "triplets": 3, "classification": 1}
_LABELLED = ("duplicates", "similarity", "classification")


def task_of(config: EvaluationConfig, instructions: Mapping[str, Any], seed: int = 0) -> measuring.Task:
    """The task that a config describes.

    Args:
        config: one of `evaluation`.
        instructions: by task, what goes in front of texts; none for a model as it is.
        seed: of the drawing, where there is a limit.

    Raises:
        InvalidData: the data are not of the task's form.
    """
    name = str(config.name)
    queries, documents = prompts_of(instructions, "retrieval")
    if (Path(config.path) / "qrels").is_dir():
        if config.task not in (None, "retrieval"):
            raise InvalidData(f"{config.path} is a retrieval set, not one for {config.task}")
        return measuring.retrieval(read_beir(config.path, config.split), queries, documents)
    data = read(config.path, config.columns, config.label, config.split, config.limit, seed, config.quotes,
                default="test")  # fmt: skip
    columns = [_plain(data[column], column, config.path) for column in data.column_names if column != LABEL]
    labels = data[LABEL][:] if LABEL in data.column_names else None
    kind = config.task or _guessed(len(columns), labels, config.path)
    needs = kind in _LABELLED
    if len(columns) != _COLUMNS[kind] or needs != (labels is not None):
        raise InvalidData(
            f"{config.path}: {kind} needs {_COLUMNS[kind]} columns of texts and {'a' if needs else 'no'} label; there "
            f"are {', '.join(data.column_names)}: choose with columns{' and label' if needs else ''}"
        )
    if kind == "retrieval":
        return measuring.retrieval(_paired(name, *columns), queries, documents)
    prompt, _ = prompts_of(instructions, "nli" if kind == "triplets" else kind)
    if kind == "triplets":
        anchors, positives, negatives = columns
        return measuring.triplets(name, anchors, positives, negatives, prompt)
    if kind == "classification":
        return _classification(config, name, prompt, seed)
    measure = measuring.similarity if kind == "similarity" else measuring.duplicates
    return measure(PairSet(name, list(columns[0]), list(columns[1]), _numbers(labels or [], config.path)), prompt)


def _numbers(labels: Sequence[Any], path: str) -> list[float]:
    if any(isinstance(label, list) for label in labels):
        raise InvalidData(f"{path}: a label must be one number to be measured with, not a list")
    return [float(label) for label in labels]


def _guessed(columns: int, labels: Any, path: str) -> str:
    """The task that the columns say."""
    pairs = "duplicates" if labels is not None and set(map(str, labels)) <= {"0", "1"} else "similarity"
    found = {(1, True): "classification", (2, True): pairs, (2, False): "retrieval", (3, False): "triplets"}
    if (key := (columns, labels is not None)) not in found:
        label = "a label" if key[1] else "no label"
        raise InvalidData(f"{path} has {columns} columns of texts and {label}, which is no task: name the columns")
    return found[key]


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


def _classification(config: EvaluationConfig, name: str, prompt: str | None, seed: int) -> measuring.Task:
    if config.known is None:
        raise InvalidData(
            f"{config.path}: classification needs `known`: a file with the same columns, whose texts make the centre "
            "of each class (the training data may be that)"
        )
    known = _labelled(config.known, config, None, None, 0, "train")
    held_out = _labelled(config.path, config, config.split, config.limit, seed, "test")
    seen = set(leaks(([text] for text in known[0]), held_out[0]))
    kept = [i for i in range(len(known[0])) if i not in seen]
    if not kept:
        raise InvalidData(
            f"{config.known}: every text stands in what is measured on, {config.path}: the centres of the classes must "
            "be made of others"
        )
    told = f" ({len(seen)} texts of {config.known} left out, which stand in it)" if seen else ""
    known = [known[0][i] for i in kept], [known[1][i] for i in kept]
    made = measuring.classification(name, known, held_out, prompt)
    return replace(made, described=f"{made.described}{told}")


def _labelled(
    path: str, config: EvaluationConfig, split: str | None, limit: int | None, seed: int, default: str
) -> tuple[list[str], list[str]]:
    """Texts of a file or folder, and their labels."""
    data = read(path, config.columns, config.label, split, limit, seed, config.quotes, False, default)
    if LABEL not in data.column_names:
        raise InvalidData(f"{path} has no labels: name their column as label")
    (column,) = (name for name in data.column_names if name != LABEL)
    return _plain(data[column], column, path), [str(label) for label in data[LABEL][:]]
