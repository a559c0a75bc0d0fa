"""What users give to `encode`: every accepted form becomes a list of texts, or of pairs; a prompt goes in front."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from vicinal import report
from vicinal.errors import InvalidInput, PromptWarning
from vicinal.loading.spec import Spec
from vicinal.text.tokens import Text


def read(
    spec: Spec, inputs: Any, prompt: str | None, prompt_name: str | None, task: str | None
) -> tuple[list[Text], bool, str, str | None]:
    """What one call is to encode.

    Returns:
        The texts, prompted (all strings or all pairs); whether a single one was given bare; the prompt; the task,
        which is the key of `{"query": text}` where a router has a route of that name.

    Raises:
        InvalidInput: something is no text; row and type are named. ValueError: there is no such prompt.
    """
    if isinstance(inputs, np.ndarray):
        inputs = inputs.tolist()
    single = isinstance(inputs, (str, Mapping))
    texts = [inputs] if single else inputs if isinstance(inputs, list) else list(rows_of(inputs))
    kinds = set(map(type, texts))
    if not kinds <= {str}:
        if any(issubclass(kind, Mapping) for kind in kinds):
            texts, task = _unwrapped(texts, spec, task)
        texts = checked(texts, 0)
    if prompt is not None or prompt_name is not None or spec.default_prompt_name is not None:
        prompt = resolve_prompt(spec, prompt, prompt_name)
    return prompted(texts, prompt) if prompt else texts, single, prompt or "", task


def rows_of(inputs: Any) -> Iterator[Any]:
    """The rows of anything that has an order."""
    if hasattr(inputs, "columns") and hasattr(inputs, "iloc"):
        raise InvalidInput("encode takes a list of texts, not a table: give it the column, as in table['text']")
    if isinstance(inputs, (bytes, bytearray, set, frozenset)) or not isinstance(inputs, Iterable):
        advice = ": decode it first" if isinstance(inputs, (bytes, bytearray)) else ""
        advice = ": a set has no order, make it a list" if isinstance(inputs, (set, frozenset)) else advice
        raise InvalidInput(f"encode takes a text or a list of texts, not {name_of(inputs)}{advice}")
    return iter(inputs)


def checked(texts: list[Any], start: int) -> list[Text]:
    """The same rows, every one a string, or every one a pair of strings.

    Args:
        start: the number of the first row, for messages.
    """
    result: list[Text] = []
    for i, text in enumerate(texts, start):
        if isinstance(text, str):
            result.append(str(text))
        elif isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text):
            result.append((str(text[0]), str(text[1])))
        else:
            what = "neither a text nor a pair of texts" if isinstance(text, (tuple, list)) else "not a text"
            raise InvalidInput(f"row {i} is {name_of(text)}, {what}; remove it, or make it one (an empty text is '')")
    if len({isinstance(text, str) for text in result}) > 1:
        first = isinstance(result[0], str)
        row = start + next(i for i, text in enumerate(result) if isinstance(text, str) != first)
        raise InvalidInput(f"row {row} is {'a pair' if first else 'a text'}, row {start} is not: give one kind a call")
    return result


def name_of(value: Any) -> str:
    """What something is, for a message."""
    if isinstance(value, float) and value != value:
        return "nan (a missing value)"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(type(part).__name__ for part in value[:3])
        return f"a {type(value).__name__} of {len(value)} ({inside})"
    return "None" if value is None else f"of type {type(value).__name__}"


def _unwrapped(texts: list[Any], spec: Spec, task: str | None) -> tuple[list[Any], str | None]:
    """`{"text": t}` to t, and `{"query": t}` to t with its route."""
    keys = {key for text in texts if isinstance(text, Mapping) for key in text}
    if keys == {"text"}:
        for i, text in enumerate(texts):
            if isinstance(text, Mapping) and "text" not in text:
                raise InvalidInput(f"row {i} is an empty mapping; it needs the key 'text'")
        return [text["text"] if isinstance(text, Mapping) else text for text in texts], task
    if len(spec.routes) > 1 and len(keys) == 1 and all(isinstance(text, Mapping) and text for text in texts):
        key = next(iter(keys))
        if key in spec.routes:
            return [text[key] for text in texts], key
    raise InvalidInput(
        f"mappings must have the one key 'text'{_or_routes(spec)}; found {', '.join(map(repr, sorted(map(str, keys))))}"
    )


def _or_routes(spec: Spec) -> str:
    return f" or one route for all rows ({', '.join(spec.routes)})" if len(spec.routes) > 1 else ""


def stream(inputs: Iterable[Any], prompt: str, portion: int) -> Iterator[Text]:
    """Check and prompt the texts of an unbounded iterable, drawing `portion` at a time."""
    if isinstance(inputs, (str, Mapping)):
        raise InvalidInput("a stream is an iterable of texts; for a single text use encode")
    rows, start, kind = rows_of(inputs), 0, None
    while drawn := list(islice(rows, portion)):
        texts = checked(drawn, start)
        kind = kind or type(texts[0])
        if type(texts[0]) is not kind:
            one, other = ("a pair", "a text") if kind is str else ("a text", "a pair")
            raise InvalidInput(f"row {start} is {one}, row 0 is {other}: give one kind a call")
        yield from prompted(texts, prompt) if prompt else texts
        start += len(texts)


def prompted(texts: list[Text], prompt: str) -> list[Text]:
    """The prompt before each text, before the first of a pair."""
    return [prompt + text if isinstance(text, str) else (prompt + text[0], text[1]) for text in texts]


def resolve_prompt(spec: Spec, prompt: str | None, prompt_name: str | None) -> str:
    """The text that goes in front: `prompt`, else the one of that name, else the default, else nothing.

    Raises:
        ValueError: there is no prompt of that name; those that there are, are listed.
    """
    if prompt is not None:
        if not isinstance(prompt, str):
            raise InvalidInput(f"prompt must be a text, not {name_of(prompt)}")
        if prompt_name is not None:
            report.warn(f"both prompt and prompt_name={prompt_name!r} given: prompt is used", PromptWarning)
        return prompt
    name = spec.default_prompt_name if prompt_name is None else prompt_name
    if name is None:
        return ""
    if name not in spec.prompts:
        raise ValueError(f"there is no prompt named {name!r}; this model has {', '.join(map(repr, spec.prompts))}")
    return spec.prompts[name]
