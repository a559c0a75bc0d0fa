"""What users give to a cross-encoder: pairs in every accepted form, and arguments by their older names."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from vicinal.errors import InvalidInput
from vicinal.text.inputs import checked, name_of, rows_of
from vicinal.text.tokens import Text

Init = TypeVar("Init", bound=Callable[..., None])

_OLDER = {
    "model_name": "model_name_or_path",
    "automodel_args": "model_kwargs",
    "tokenizer_args": "processor_kwargs",
    "tokenizer_kwargs": "processor_kwargs",
    "config_args": "config_kwargs",
    "cache_dir": "cache_folder",
    "default_activation_function": "activation_fn",
}
_BY_PLACE = ("num_labels", "max_length", "activation_fn", "device")


def older_arguments(init: Init) -> Init:
    """Accept the constructor's older spellings, with a DeprecationWarning that gives today's."""

    @functools.wraps(init)
    def accepting(self: Any, *args: Any, **options: Any) -> None:
        if len(args) > 1 + len(_BY_PLACE):
            raise TypeError(f"CrossEncoder takes at most {1 + len(_BY_PLACE)} arguments by place, not {len(args)}")
        found = dict(zip(_BY_PLACE, args[1:], strict=False))
        found |= {_OLDER[name]: options.pop(name) for name in _OLDER if name in options}
        if found:
            warnings.warn(f"give CrossEncoder {', '.join(found)} by these names", DeprecationWarning, 2)
        if twice := sorted(found.keys() & options.keys()):
            raise TypeError(f"CrossEncoder got {', '.join(twice)} twice, under an older name or place too")
        if (dropout := options.pop("classifier_dropout", None)) is not None:
            changes = options.get("config_kwargs") or found.get("config_kwargs") or {}
            options["config_kwargs"] = {**changes, "classifier_dropout": dropout}
            found.pop("config_kwargs", None)
        init(self, *args[:1], **{**options, **found})

    return accepting  # type: ignore[return-value]  # takes what `init` takes, and more


def read_pairs(inputs: Any) -> tuple[list[Text], bool]:
    """The pairs of one call, or its single texts, and whether one was given bare.

    Raises:
        InvalidInput: a row is neither; it is named.
    """
    if isinstance(inputs, np.ndarray):
        inputs = inputs.tolist()
    if isinstance(inputs, str):
        return [inputs], True
    if isinstance(inputs, Mapping):
        raise InvalidInput("predict takes a pair ('query', 'document') or a list of pairs, not a mapping")
    rows = inputs if isinstance(inputs, (list, tuple)) else list(rows_of(inputs))
    if len(rows) and isinstance(rows[0], str):
        if len(rows) != 2:
            raise InvalidInput(
                f"predict takes a pair of two texts or a list of pairs, not {name_of(rows)}: to score single texts "
                "give a list of one-text calls, to score one text against many use rank()"
            )
        return checked([tuple(rows)], 0), True
    return checked(list(rows), 0), False


def read_documents(query: Any, documents: Iterable[Any]) -> list[str]:
    """The texts to rank.

    Raises:
        InvalidInput: the query or a document is no text.
    """
    if not isinstance(query, str):
        raise InvalidInput(f"the query must be a text, not {name_of(query)}")
    if isinstance(documents, (str, Mapping)):
        raise InvalidInput(f"documents must be a list of texts, not {name_of(documents)}")
    texts = [str(text) if isinstance(text, str) else text for text in rows_of(documents)]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"document {i} is {name_of(text)}, not a text")
    return texts
