"""Pairs as a chat that a language model judges, rendered by the template that the model's folder brings.

The template runs in jinja2's sandbox, as it does in `transformers`: it makes a text, and reaches nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any, NoReturn

from tokenizers import Tokenizer

from vicinal.errors import InvalidInput, Unavailable, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.spec import Chat
from vicinal.text.tokens import Text

_SAFE = (3, 1, 6)
_ROLES = ("query", "document")
_FILLERS = ("0", "1 2 3 4")
"""Texts of no common end: what two chats with them share at their ends is the template's."""


def rendered(chat: Chat, pairs: Sequence[Text], prompt: str) -> list[Text]:
    """Each pair as the text that the model reads: a query and a document, after a system message of the prompt.

    Raises:
        InvalidInput: a row is no pair. UnsupportedModel: the template fails.
    """
    for i, pair in enumerate(pairs):
        if isinstance(pair, str):
            raise InvalidInput(f"row {i} is a single text; this model's chat template takes a query and a document")
    return [_render(chat, pair, prompt) for pair in pairs]  # type: ignore[arg-type]  # checked above


def tail(chat: Chat, tokenizer: Tokenizer, prompt: str) -> tuple[int, ...]:
    """The tokens that every chat ends in, whatever the pair: the model answers after them, so that they stay when a
    text is cut."""
    one, other = (
        tokenizer.encode(_render(chat, (filler, filler), prompt), add_special_tokens=False).ids for filler in _FILLERS
    )
    same = 0
    while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
        same += 1
    return tuple(one[len(one) - same :]) if same < min(len(one), len(other)) else ()


def lacks(chat: Chat) -> str:
    """Which of query and document the template does not show, or how it fails; "" where it shows both."""
    try:
        base, *changed = (_render(chat, pair, "") for pair in (("alpha", "bravo"), ("delta", "bravo"), ("alpha", "x")))
    except UnsupportedModel as error:
        return str(error)
    hidden = [role for role, text in zip(_ROLES, changed, strict=True) if text == base]
    return f"it does not show the {' and the '.join(hidden)}" if hidden else ""


def _render(chat: Chat, pair: tuple[str, str], prompt: str) -> str:
    messages = [("system", prompt)] * bool(prompt) + list(zip(_ROLES, pair, strict=True))
    listed = [
        {"role": role, "content": [{"type": "text", "text": text}] if chat.structured else text}
        for role, text in messages
    ]
    given = {"add_generation_prompt": False, **chat.marks, **chat.options}
    template, failure = _compiled(chat.template)
    try:
        return str(template.render(messages=listed, tools=None, documents=None, **given))
    except (failure, TypeError, ValueError, LookupError, AttributeError) as error:
        raise UnsupportedModel(f"the model's chat template fails: {type(error).__name__}: {error}") from error


@lru_cache(maxsize=8)
def _compiled(source: str) -> tuple[Any, type[Exception]]:
    """The template, and what it raises."""
    jinja2: Any = require("chat", "a model with a chat template")
    if tuple(int(part) for part in version("jinja2").split(".")[:3] if part.isdigit()) < _SAFE:
        raise Unavailable(
            f"jinja2 {version('jinja2')} has known ways out of its sandbox, in which chat templates run: "
            "pip install -U 'vicinal[chat]'"
        )
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = as_json
    environment.globals.update(raise_exception=fail, strftime_now=lambda form: datetime.now().strftime(form))
    try:
        return environment.from_string(source), jinja2.TemplateError
    except jinja2.TemplateError as error:
        raise UnsupportedModel(f"the model's chat template is not handled: {error}") from error
