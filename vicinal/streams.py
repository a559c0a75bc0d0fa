"""Encoding texts that come one after another: as an iterator of vectors, or into a folder, to be gone on with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal import arguments, report
from vicinal.arguments import Truncation
from vicinal.backends.base import Bounds
from vicinal.engine import Job, portions, prompt_length
from vicinal.parallel import checked_pool
from vicinal.text.inputs import resolve_prompt, stream
from vicinal.text.tokens import HalfCharacter, Text

if TYPE_CHECKING:
    from vicinal.engine import Engine
    from vicinal.loading.spec import Spec
    from vicinal.parallel import WorkerPool
    from vicinal.store.vectors.formats import Format
    from vicinal.store.vectors.reading import ShardedVectors

ENCODED = ("sentence_embedding",)


class Streams:
    """What a model has for more texts than memory holds."""

    _engine: Engine
    _spec: Spec
    _budget: int
    _fill: Any
    _settle: Callable[[], None]

    def encode_iter(
        self,
        texts: Iterable[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        task: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        truncation: Truncation = "warn",
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors of an unbounded iterable of texts, in order, in constant memory.

        Texts are drawn some thousands at a time, in the caller's thread. Arguments are those of `encode`.

        Yields:
            (dims,) float32 for each text.
        """
        job, dims, prefix = self._planned(prompt_name, prompt, task, truncate_dim, batch_size, batch_tokens, truncation)
        return self._stream(stream(texts, prefix, 1024), job, dims, normalize_embeddings, truncation)

    def _planned(
        self, prompt_name: str | None, prompt: str | None, task: str | None, truncate_dim: int | None,
        batch_size: int | None, batch_tokens: int | None, truncation: Truncation,
    ) -> tuple[Job, int, str]:  # fmt: skip
        """What a stream's texts go through, how many dimensions are kept, and the prompt."""
        arguments.batching(batch_size, batch_tokens, truncation)
        self._settle()
        spec = self._spec
        prefix = resolve_prompt(spec, prompt, prompt_name)
        route = spec.route(task)
        skipped = prompt_length(self._engine, route, prefix)
        bounds = Bounds(batch_tokens or self._budget, batch_size, route.max_length, skipped)
        job = Job(route, ENCODED, bounds, options=self._engine.forwarded(task, {}))
        return job, min(arguments.dims(truncate_dim) or spec.truncate_dim or route.width, route.width), prefix

    def _stream(
        self, texts: Iterator[Text], job: Job, dims: int, normalize: bool, truncation: Truncation
    ) -> Iterator[NDArray[np.float32]]:
        done = 0
        for portion in portions(texts):
            vectors = np.empty((len(portion), dims), np.float32)
            try:
                self._fill(vectors, portion, job, normalize, truncation, False, done)
            except HalfCharacter as error:
                raise report.half_character(error.text, portion, done) from None
            yield from vectors
            done += len(portion)

    def encode_to(
        self,
        path: str | os.PathLike[str],
        texts: Iterable[Any],
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        task: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        truncation: Truncation = "warn",
        format: Format = "npy",
        shard_rows: int = 16384,
        source: Any = None,
        show_progress_bar: bool | None = None,
        pool: WorkerPool | None = None,
        device: str | Sequence[str] | None = None,
    ) -> ShardedVectors:
        """Write the vectors of texts into a folder, shard by shard, in constant memory.

        Killed at any instant and called again with the same texts, it compares them with the shards that are finished,
        goes on behind them, and ends with the bytes of an uninterrupted run (on one kind of machine, with the same
        versions and threads); at most one shard is computed twice. A shard that is damaged is computed again. Texts
        that were added at the end are encoded, those before them are not. The model's cache is not asked.

        Args:
            path: a folder: new, empty, or begun by an earlier call. `load_vectors(path)` reads it.
            texts: any iterable of texts or pairs, drawn once, from its beginning.
            prompt_name, prompt, task, normalize_embeddings, truncate_dim, batch_size, batch_tokens, truncation: as in
                `encode`.
            format: of the shards: "npy", or "parquet", with the texts.
            shard_rows: texts of a shard (fewer where they have more than 64 million characters), which are held in
                memory at once.
            source: what the texts are, for the manifest; anything that JSON can hold.
            show_progress_bar: None shows one while the logger "vicinal" is at INFO or DEBUG.
            pool: processes of `start_multi_process_pool` that compute a shard together, in the same batches.
            device: "cpu"; a list of devices starts a process for each, for this call.

        Returns:
            The vectors, as `load_vectors` reads them.

        Raises:
            SourceChanged, SpaceMismatch: the folder was begun with other texts, settings or another model.
            FolderBusy: another process writes into it. InvalidInput: a row is no text; what came before it is kept.
            FileExistsError: the folder holds something else.

        >>> import tempfile
        >>> from vicinal import SentenceTransformer
        >>> model = SentenceTransformer()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.encode_to(folder, (f"text {i}" for i in range(1000)), shard_rows=300).shape
        (1000, 256)
        """
        from vicinal.store.vectors.encoding import Encoding
        from vicinal.store.vectors.reading import load_vectors
        from vicinal.store.vectors.writing import write_vectors

        if isinstance(device, (list, tuple)):
            own = self.start_multi_process_pool(device)  # type: ignore[attr-defined]  # SentenceTransformer's
            with own:
                return self.encode_to(
                    path, texts, prompt_name, prompt, task=task, normalize_embeddings=normalize_embeddings,
                    truncate_dim=truncate_dim, batch_size=batch_size, batch_tokens=batch_tokens, truncation=truncation,
                    format=format, shard_rows=shard_rows, source=source, show_progress_bar=show_progress_bar, pool=own,
                )  # fmt: skip
        if device is not None:
            arguments.same_device(device, self.device)  # type: ignore[attr-defined]
        encoding = Encoding(
            self, prompt_name, prompt, task, normalize_embeddings, truncate_dim, batch_size,  # type: ignore[arg-type]
            batch_tokens, truncation, format, shard_rows, None if pool is None else checked_pool(pool, self),
        )  # fmt: skip
        total = len(texts) if isinstance(texts, Sized) else None
        bar = report.bar(total) if report.shown(show_progress_bar) else None
        try:
            drawn = stream(texts, "", 1024)
            done = (lambda texts: None) if bar is None else bar.update
            write_vectors(Path(path), drawn, encoding.settings, encoding, source, done, encoding.at_once)
        finally:
            if bar is not None:
                bar.close()
        return load_vectors(path)  # type: ignore[return-value]  # a folder
