"""A tokenizer in two forms that are one: the fast one that texts go through, and that of `transformers` for users."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vicinal.backends.torch.auto import quiet
from vicinal.extras import require
from vicinal.loading.folder import Folder
from vicinal.loading.tokenizer import TokenizerFile, read_tokenizer
from vicinal.text.tokens import TextTokenizer
from vicinal.text.words import WordCache

_NO_LIMIT = int(1e30)
"""How `transformers` says that there is none."""
_LARGEST = 1 << 30


class Vocabulary:
    """The tokenizer of a module.

    The one of `transformers` is made when it is first asked for; from then on it is the truth: tokens that are added
    to it, its side and its limit count.

    Args:
        file: what the tokenizer is.
        config: the network's `config.json`, which says of which class it is.
        framed: whether special tokens are put around a text; a chat has its own.
    """

    def __init__(self, file: TokenizerFile, config: Mapping[str, Any], framed: bool = True) -> None:
        self.file, self._framed = file, framed
        self._config = {key: config[key] for key in ("model_type", "pad_token_id") if key in config}
        self._limit: int | None = None
        self._theirs: Any = None
        self._fast: tuple[Any, TextTokenizer] | None = None

    @property
    def limit(self) -> int | None:
        """Tokens that a text may have."""
        if self._theirs is None:
            return self._limit
        length = self._theirs.model_max_length
        return None if length is None or length > _LARGEST else int(length)

    @limit.setter
    def limit(self, length: int | None) -> None:
        self._limit = length
        if self._theirs is not None:
            self._theirs.model_max_length = _NO_LIMIT if length is None else length

    @property
    def tokenizer(self) -> Any:
        """That of `transformers`."""
        if self._theirs is None:
            tokenizer = self._made()
            tokenizer.model_max_length = _NO_LIMIT if self._limit is None else self._limit
            self._theirs = tokenizer
        return self._theirs

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise TypeError(f"tokenizer must be a fast one of transformers, not {type(tokenizer).__name__}")
        self._theirs, self._fast = tokenizer, None

    def _made(self) -> Any:
        transformers = require("transformers", "a model's tokenizer")
        with tempfile.TemporaryDirectory() as folder, quiet(transformers):
            root = Path(folder)
            (root / "tokenizer.json").write_text(self.file.canonical(), encoding="utf-8")
            (root / "tokenizer_config.json").write_text(json.dumps(dict(self.file.config)), encoding="utf-8")
            (root / "config.json").write_text(json.dumps(self._config), encoding="utf-8")
            return transformers.AutoTokenizer.from_pretrained(folder)

    def current(self) -> TokenizerFile:
        """What the tokenizer is now."""
        if self._theirs is None or self._stamp() == self._untouched():
            return self.file
        with tempfile.TemporaryDirectory() as folder:
            self._theirs.save_pretrained(folder)
            return read_tokenizer(Folder(Path(folder)), "", self._config.get("model_type"), self.file.lower)

    @property
    def pad_id(self) -> int:
        """What stands for no token."""
        if self._theirs is not None and self._theirs.pad_token_id is not None:
            return int(self._theirs.pad_token_id)
        stated = self.file.config.get("pad_token")
        name = stated.get("content") if isinstance(stated, dict) else stated
        found = self.file.tokenizer.token_to_id(name) if isinstance(name, str) else None
        fallback = self._config.get("pad_token_id")
        return found if found is not None else fallback if type(fallback) is int and fallback >= 0 else 0

    def _stamp(self) -> tuple[Any, ...]:
        """Changes when the tokenizer does."""
        if self._theirs is None:
            return (None,)
        return (id(self._theirs), len(self._theirs), self._theirs.truncation_side)

    def _untouched(self) -> tuple[Any, ...]:
        side = "left" if self.file.keep_end else "right"
        return (id(self._theirs), self.file.tokenizer.get_vocab_size(), side)

    def text_tokenizer(self, rows: int, types: int) -> TextTokenizer:
        """The fast one.

        Args:
            rows, types: tokens and segments that the network has embeddings for.
        """
        stamp = (*self._stamp(), rows, types)
        if self._fast is None or self._fast[0] != stamp:
            if self._theirs is None or self._stamp() == self._untouched():
                tokenizer, keep_end = self.file.tokenizer, self.file.keep_end
            else:
                tokenizer = Tokenizer.from_str(self._theirs.backend_tokenizer.to_str())
                tokenizer.no_truncation()
                tokenizer.no_padding()
                keep_end = self._theirs.truncation_side == "left"
            made = TextTokenizer(tokenizer, rows, types, self._framed, keep_end, WordCache.fits(tokenizer))
            self._fast = (stamp, made)
        return self._fast[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_fast": None}
