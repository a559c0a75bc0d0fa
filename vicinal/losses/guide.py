"""A second model that a loss asks and does not train, whose tokenizer may be another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vicinal.errors import InvalidData
from vicinal.losses.base import Caching, device_of, trainable
from vicinal.losses.features import Features, count, part, parts, tokens


class Guide:
    """A model held beside a loss, out of reach of its optimizer and of dropout.

    Args:
        given: a SentenceTransformer.
        model: the module that is trained, whose tokenizer made the features.
    """

    def __init__(self, given: Any, model: Any) -> None:
        self.given = given
        self._decoder: Any = None
        self._module: Any = None
        if _same_tokens(given, model):
            self._module = trainable(given)
        elif hasattr(getattr(model, "tokenizer", None), "decode"):
            self._decoder = model.tokenizer
        else:
            raise InvalidData(
                "the guide has another tokenizer than the model, so the texts must be read back from the model's "
                "tokens, which its tokenizer cannot do: use a guide with the same tokenizer"
            )

    def embed(self, column: Features, caching: Caching | None) -> Tensor:
        """The guide's embeddings of a column, (n, e), cut into the loss's mini-batches, on the column's device."""
        cuts = [(0, count(column))] if caching is None else parts(column, caching.rows, caching.tokens)
        with torch.no_grad():
            return torch.cat([self._embed(part(column, *cut)) for cut in cuts]).to(column["input_ids"].device)

    def _embed(self, features: Features) -> Tensor:
        if self._module is None:
            texts = [self._text(ids) for ids in tokens(features)]
            return self.given.encode(texts, prompt="", convert_to_tensor=True, show_progress_bar=False).float()
        device = device_of(self._module)
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()}
        with evaluating(self._module):
            return self._module(moved)["sentence_embedding"]

    def _text(self, ids: list[int]) -> str:
        text: str = self._decoder.decode(ids, skip_special_tokens=True)
        return text


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Dropout off, for as long as it lasts."""
    was = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in was.items():
            part.training = training


def _same_tokens(guide: Any, model: Any) -> bool:
    """Whether the guide reads the model's token ids as they are: the vocabulary is one, and none of them is cut off."""
    theirs, ours = _vocabulary(guide), _vocabulary(model)
    limit, needed = getattr(guide, "max_seq_length", None), getattr(model, "max_seq_length", None)
    return theirs is not None and theirs == ours and (limit is None or (needed is not None and limit >= needed))


def _vocabulary(model: Any) -> dict[str, int] | None:
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not hasattr(tokenizer, "get_vocab"):
        return None
    vocabulary = tokenizer.get_vocab()
    return dict(vocabulary) if hasattr(vocabulary, "items") else {word: i for i, word in enumerate(vocabulary)}
