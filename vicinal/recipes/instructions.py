"""What goes in front of texts, by task: in training, in measuring, and in the model that comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Prompts = tuple[str | None, str | None]


def prompts_of(instructions: Mapping[str, Any], task: str | None) -> Prompts:
    """What a task has in front of its first column, and of the others; None is nothing.

    >>> prompts_of({"retrieval": "find: ", "nli": "say: "}, "retrieval")
    ('find: ', None)
    >>> prompts_of({"retrieval": "find: ", "nli": "say: "}, "nli")
    ('say: ', 'say: ')
    """
    found = instructions.get(task) if task is not None else None
    if task != "retrieval":
        return found, found
    if isinstance(found, Mapping):
        return found.get("query"), found.get("document")
    return found, None


def training_prompts(
    instructions: Mapping[str, Any], tasks: Mapping[str, str | None], columns: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, str]] | None:
    """As a trainer takes them, by data set and column of texts.

    Args:
        instructions: by task.
        tasks: of each data set.
        columns: of texts, of each data set.
    """
    found: dict[str, dict[str, str]] = {}
    for name, task in tasks.items():
        first, others = prompts_of(instructions, task)
        wanted = zip(columns[name], [first, *[others] * (len(columns[name]) - 1)], strict=True)
        if prompts := {column: prompt for column, prompt in wanted if prompt is not None}:
            found[name] = prompts
    return found or None


def model_prompts(instructions: Mapping[str, Any]) -> dict[str, str]:
    """What a trained model is to know: each task's instruction by the task's name, retrieval's as query and document.

    >>> model_prompts({"retrieval": "find: ", "nli": "say: "})
    {'query': 'find: ', 'nli': 'say: '}
    """
    found: dict[str, str] = {}
    for task in instructions:
        first, others = prompts_of(instructions, task)
        named = {"query": first, "document": others} if task == "retrieval" else {task: first}
        found |= {name: prompt for name, prompt in named.items() if prompt is not None}
    return found
