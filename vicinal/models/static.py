"""One vector a token, averaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from vicinal.backends.torch.weights import tensors_of, to_torch
from vicinal.extras import require
from vicinal.loading import spec
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.modules import read_module
from vicinal.loading.save import write_module
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.loading.weights import plain_table
from vicinal.models.inputs import TokenModule
from vicinal.models.module import Features, kept, opened
from vicinal.text.pairs import ranges
from vicinal.text.tokens import ANY_SEGMENTS, TextTokenizer, Tokens
from vicinal.text.words import WordCache

if TYPE_CHECKING:
    from typing_extensions import Self

    from vicinal.loading.weights import Tensor


class StaticEmbedding(TokenModule):
    """A vector a token, averaged over the text's tokens: no network.

    Args:
        tokenizer: of `tokenizers`, or a fast one of `transformers`.
        embedding_weights: (tokens, width); random numbers where it is not given.
        embedding_dim: the width of those.
        base_model: what it was made from, for the model card.

    Raises:
        ValueError: neither weights nor a width; or a tokenizer that is not fast.
    """

    def __init__(
        self,
        tokenizer: Any,
        embedding_weights: NDArray[Any] | torch.Tensor | None = None,
        embedding_dim: int | None = None,
        base_model: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        tokenizer = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not isinstance(tokenizer, Tokenizer):
            raise ValueError(f"StaticEmbedding needs a fast tokenizer (tokenizers), not {type(tokenizer).__name__}")
        raw = tokenizer.to_str()
        file = TokenizerFile(raw, Tokenizer.from_str(raw))
        if embedding_weights is None and embedding_dim is None:
            raise ValueError("StaticEmbedding needs embedding_weights (tokens, width), or embedding_dim")
        if embedding_weights is None:
            rows = tokenizer.get_vocab_size()
            self._set_up(file, nn.EmbeddingBag(rows, embedding_dim), base_model)
        else:
            table = torch.as_tensor(embedding_weights)
            self._set_up(file, nn.EmbeddingBag.from_pretrained(table, freeze=False), base_model)

    def _set_up(self, file: TokenizerFile, table: nn.EmbeddingBag, base_model: str | None) -> None:
        self._file, self.embedding, self.base_model = file, table, base_model
        self._limit: int | None = None
        self._fast: TextTokenizer | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], file: TokenizerFile, limit: int | None = None) -> Self:
        """The module from a model that was already read."""
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        table = to_torch(plain_table(tensors["embedding.weight"], tensors.get("embedding.scale")))
        module._set_up(file, nn.EmbeddingBag.from_pretrained(table, freeze=False), None)
        module._limit = limit
        return module

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; it is not changed."""
        return self._file.tokenizer

    @property
    def num_embeddings(self) -> int:
        """Tokens that have a vector."""
        return int(self.embedding.num_embeddings)

    @property
    def embedding_dim(self) -> int:
        """Width of a vector."""
        return int(self.embedding.embedding_dim)

    def get_embedding_dimension(self) -> int:
        """The same."""
        return self.embedding_dim

    @property
    def max_seq_length(self) -> int | None:
        """Tokens that a text may have; None is no limit."""
        return self._limit

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        self._limit = length

    def text_tokenizer(self) -> TextTokenizer:
        if self._fast is None:
            tokenizer = self._file.tokenizer
            splits = WordCache.fits(tokenizer)
            ids = WordCache(tokenizer).ids if splits else None
            self._fast = TextTokenizer(
                tokenizer, self.num_embeddings, ANY_SEGMENTS, False, self._file.keep_end, splits, ids
            )
        return self._fast

    def batch(self, tokens: Tokens, rows: NDArray[np.int64] | None = None) -> Features:
        """The ids of all rows, one after the other, and where each begins."""
        starts, lengths = tokens.starts, tokens.lengths
        if rows is not None:
            starts, lengths = starts[rows], lengths[rows]
        ids = tokens.ids[ranges(starts, lengths)].astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "offsets": torch.from_numpy(np.cumsum(lengths) - lengths)}

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds sentence_embedding (B, width); of padded ids (B, T) also token_embeddings."""
        ids = features["input_ids"]
        if "offsets" in features:
            return kept(features, sentence_embedding=self.embedding(ids, features["offsets"]))
        states = nn.functional.embedding(ids, self.embedding.weight)
        mask = features["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return kept(features, token_embeddings=states, sentence_embedding=mean)

    # ---- from elsewhere ----------------------------------------------------------------------------------------

    @classmethod
    def from_model2vec(cls, model_id_or_path: str) -> Self:
        """The table of a model2vec model, on disk or on the hub; model2vec itself is not needed."""
        return cls._read(model_id_or_path, "")

    @classmethod
    def from_distillation(
        cls,
        model_name: str,
        vocabulary: list[str] | None = None,
        device: str | None = None,
        pca_dims: int | None = 256,
        apply_zipf: bool = True,
        sif_coefficient: float | None = 1e-4,
        token_remove_pattern: str | None = r"\[unused\d+\]",
        quantize_to: str = "float32",
        use_subword: bool = True,
        **options: Any,
    ) -> Self:
        """A table distilled from a transformer by model2vec, whose `distill` has these arguments.

        Raises:
            MissingExtra: model2vec is not installed. TypeError: its `distill` does not know an argument.
        """
        import inspect

        distill = require("model2vec", "StaticEmbedding.from_distillation").distill
        given = {
            "vocabulary": vocabulary, "device": device, "pca_dims": pca_dims, "apply_zipf": apply_zipf,
            "sif_coefficient": sif_coefficient, "token_remove_pattern": token_remove_pattern,
            "quantize_to": quantize_to, "use_subword": use_subword, **options,
        }  # fmt: skip
        known = inspect.signature(distill).parameters
        defaults = {"apply_zipf": True, "use_subword": True}
        arguments = {name: value for name, value in given.items() if name in known}
        refused = [name for name, value in given.items() if name not in known and value != defaults.get(name)]
        if refused:
            raise TypeError(f"model2vec's distill here takes no {', '.join(refused)}")
        model = distill(model_name=model_name, **arguments)
        table = np.asarray(model.embedding)
        if (mapping := getattr(model, "token_mapping", None)) is not None:
            table = table[np.asarray(mapping)]
        if (weights := getattr(model, "weights", None)) is not None:
            table = table * np.asarray(weights, np.float32)[:, None]
        return cls(model.tokenizer, np.ascontiguousarray(table, np.float32), base_model=model_name)

    # ---- as data -----------------------------------------------------------------------------------------------

    def form(self) -> spec.Module:
        return spec.StaticEmbedding(self.num_embeddings, self.embedding_dim)

    def tensors(self) -> dict[str, Tensor]:
        """The present table."""
        return tensors_of({"embedding.weight": self.embedding.weight})

    def tokenizer_file(self) -> TokenizerFile:
        """What the tokenizer is."""
        return self._file

    def get_config_dict(self) -> dict[str, Any]:
        return {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write table and tokenizer into a folder."""
        write_module(Path(output_path), self.form(), self.tensors(), self._file, self._limit)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:
        """Read it from a folder, or from the hub."""
        return cls._read(model_name_or_path, subfolder, **options)

    @classmethod
    def _read(cls, name: str, at: str, **options: Any) -> Self:
        _, tensors, file, limit = read_module(opened(name, **options), "StaticEmbedding", at, read_weights, {})
        assert file is not None
        return cls.of(tensors, file, limit)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fast": None}
