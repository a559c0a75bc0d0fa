"""How a model encodes a stream for a folder of shards: in pieces, always the same, and described for the manifest."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal import report
from vicinal.arguments import Truncation
from vicinal.backends import numerics
from vicinal.extras import require
from vicinal.store.vectors.formats import FORMATS, Format
from vicinal.store.vectors.manifest import Settings
from vicinal.text.inputs import prompted
from vicinal.text.tokens import HalfCharacter, Text

if TYPE_CHECKING:
    from vicinal.parallel import WorkerPool
    from vicinal.sentence_transformer import SentenceTransformer

PIECE = 1024
"""Texts that are divided into batches together, from the beginning of their shard: the same in one process or many."""
SHARD_ROWS = 16384
"""Texts of a shard where the caller does not say: minutes of work, 25 MB of 384 dimensions."""


class Encoding:
    """One way to encode a stream in pieces. Later changes of the model's settings do not touch it.

    Arguments are those of `encode_to`.

    Attributes:
        settings: for the manifest.
        at_once: texts that it is best given at a time: a piece, or as many as keep all processes of a pool busy.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        prompt_name: str | None,
        prompt: str | None,
        task: str | None,
        normalize_embeddings: bool,
        truncate_dim: int | None,
        batch_size: int | None,
        batch_tokens: int | None,
        truncation: Truncation,
        format: Format,
        shard_rows: int,
        pool: WorkerPool | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(map(repr, FORMATS))}, not {format!r}")
        if format == "parquet":
            require("parquet", 'format="parquet"')
        if type(shard_rows) is not int or shard_rows < 1:
            raise ValueError(f"shard_rows must be a positive integer, not {shard_rows!r}")
        job, self._dims, self._prompt = model._planned(
            prompt_name, prompt, task, truncate_dim, batch_size, batch_tokens, truncation
        )
        self._job, self._normalize, self._truncation = job, normalize_embeddings, truncation
        self._model = copy.deepcopy(model)
        self._pool = pool
        self.at_once = PIECE if self._pool is None else shard_rows
        # What a cache gives was computed in other batches, and its last bits with it: the shards would not be the same.
        self._model._cache = None
        self._model.truncate_dim = self._dims
        choice = model._engine.choice
        self.settings = Settings(
            model.name, self._model.fingerprint, self._dims, self._prompt, task, normalize_embeddings, choice.backend,
            choice.dtype, numerics(choice), job.bounds.tokens, job.bounds.rows, shard_rows, format,
        )  # fmt: skip

    def __call__(self, texts: list[Text], before: int) -> NDArray[np.float32]:
        """The (n, dims) vectors of texts; `before` came earlier, for messages."""
        vectors = np.empty((len(texts), self._dims), np.float32)
        whole = prompted(texts, self._prompt) if self._prompt else texts
        if self._pool is not None:
            self._pool.fill(
                vectors, whole, self._job, self._normalize, self._truncation, False, PIECE, before, cached=False
            )
            return vectors
        try:
            self._model._fill(vectors, whole, self._job, self._normalize, self._truncation, False, before)
        except HalfCharacter as error:
            raise report.half_character(error.text, whole, before) from None
        return vectors
