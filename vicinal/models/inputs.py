"""First modules that read tokens: texts to tokens once, tokens to the features of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vicinal.models.module import Features, InputModule
from vicinal.text.inputs import checked, prompted
from vicinal.text.tokens import Text, Tokens


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
