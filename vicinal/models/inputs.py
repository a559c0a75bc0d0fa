"""First modules that read tokens: texts to tokens once, tokens to the features of a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vicinal.errors import UnsupportedModel
from vicinal.models.module import Features, InputModule, kind_of
from vicinal.text.inputs import checked, prompted
from vicinal.text.pairs import longest_first
from vicinal.text.tokens import Cut, Text, Tokens


class TokenModule(InputModule):
    """A first module whose texts become tokens, so that a model's loop can batch them by length.

    A subclass gives `text_tokenizer()`, a function of texts and a limit; `batch` where it wants other features.
    """

    pads_left = False
    """Whether padding stands before a text."""

    most_rows: int | None = None
    """Rows of a batch at most, of a module whose rows are large whatever their tokens."""

    @property
    def pad_id(self) -> int:
        """What stands where a row has no token."""
        return 0

    @property
    def max_seq_length(self) -> int | None:
        """Tokens that a text may have; None is no limit."""
        return None

    def text_tokenizer(self) -> Any:
        """Turns texts into `Tokens`, as a `TextTokenizer` does: (texts, limit, cut, tail) -> Tokens."""
        raise TypeError(f"{type(self).__name__} has no tokenizer of its own")

    def batch(self, tokens: Tokens, rows: NDArray[np.int64] | None = None) -> Features:
        """The features of some rows: input_ids, attention_mask, token_type_ids (B, T)."""
        starts, lengths = tokens.starts, tokens.lengths
        if rows is not None:
            starts, lengths = starts[rows], lengths[rows]
        width = int(lengths.max(initial=0))
        index = np.arange(width)
        places = index - (width - lengths[:, None]) if self.pads_left else np.broadcast_to(index, (len(starts), width))
        mask = (places >= 0) & (places < lengths[:, None])
        where = (starts[:, None] + places)[mask]
        ids = np.full(mask.shape, self.pad_id, np.int64)
        ids[mask] = tokens.ids[where]
        types = np.zeros(mask.shape, np.int64)
        if tokens.types is not None:
            types[mask] = tokens.types[where]
        arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": types}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> Features:
        """Texts, or pairs of texts, to input_ids, attention_mask and token_type_ids (B, T); cut to max_seq_length.

        With a prompt, also prompt_length: its own tokens and the special ones before it.
        """
        texts: list[Text] = checked(list(inputs), 0)
        tokenize = self.text_tokenizer()
        features = self.batch(tokenize(prompted(texts, prompt) if prompt else texts, self.max_seq_length))
        if prompt:
            alone = tokenize([prompt], self.max_seq_length)
            closes = len(alone.ids) > 0 and int(alone.ids[-1]) in tokenize.special_ids
            features["prompt_length"] = torch.tensor(len(alone.ids) - closes)
        return features


# ---- users' own first modules, which give features at once ----------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Untokenized(Tokens):
    """Texts whose tokens only their module knows; `lengths` are guesses by which batches are made."""

    texts: Sequence[Text] = ()


class TextReader:
    """Batches texts for a first module that has `preprocess` (or `tokenize`) alone."""

    most_rows = None

    def __init__(self, module: Any, options: Mapping[str, Any]) -> None:
        self._module, self._options = module, options

    def __call__(
        self, texts: Sequence[Text], limit: int | None, cut: Cut = longest_first, tail: Sequence[int] = ()
    ) -> Untokenized:
        """The texts, each taken for a token every four characters; the module itself cuts what is too long."""
        sizes = [len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts]
        none = np.zeros(len(sizes), np.int64)
        return Untokenized(np.zeros(0, np.int32), None, none, np.array(sizes, np.int64) // 4 + 1, none, texts=texts)

    def batch(self, tokens: Untokenized, rows: NDArray[np.int64]) -> Features:
        """The features of some rows, as the module makes them."""
        texts = [tokens.texts[row] for row in rows.tolist()]
        made = features_of(self._module, texts, None, self._options)
        if not isinstance(made, Mapping):
            kind = type(self._module).__name__
            raise UnsupportedModel(f"{kind}.preprocess() must return a dict of features, not a {type(made).__name__}")
        return dict(made)

    def prompt_length(self, prompt: str) -> int:
        """Tokens of a prompt and of what stands before it.

        Raises:
            UnsupportedModel: the module does not tell.
        """
        ids = self.batch(self([prompt], None), np.zeros(1, np.int64)).get("input_ids")
        if ids is None:
            raise UnsupportedModel(
                f"pooling leaves the prompt out, but {type(self._module).__name__} gives no input_ids to count it by"
            )
        last = int(ids[0, -1])
        special = getattr(getattr(self._module, "tokenizer", None), "all_special_ids", ())
        return int(ids.shape[1]) - (last in special)


def features_of(module: Any, texts: Sequence[Text], prompt: str | None, options: Mapping[str, Any]) -> Any:
    """What a first module makes of texts; of those that have only the older `tokenize`, that."""
    if hasattr(module, "preprocess"):
        return module.preprocess(list(texts), prompt=prompt, **options)
    if not hasattr(module, "tokenize"):
        raise UnsupportedModel(
            f"{type(module).__name__} is the first module, but does not say how texts become features: "
            "derive it from vicinal.models.InputModule and give it preprocess(inputs)"
        )
    return module.tokenize(prompted(list(texts), prompt) if prompt else list(texts))


@dataclass(frozen=True)
class OwnTokenizer:
    """What a fingerprint asks of the tokenizer of a module that has none of this project's."""

    module: Any
    keep_end = False

    def canonical(self) -> str:
        """The module, and all that its tokenizer tells of itself."""
        tokenizer = getattr(self.module, "tokenizer", None)
        told: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
        text = told.to_str() if hasattr(told, "to_str") else type(told).__qualname__
        return json.dumps([kind_of(self.module), text])
