"""What a user holds: a model that turns texts into vectors."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal import arguments, report, selftest
from vicinal.arguments import NOTHING, TRUNCATIONS, OutputValue, Precision, Truncation
from vicinal.backends import choose, torch_runs
from vicinal.backends.base import Bounds
from vicinal.cards import SentenceTransformerModelCardData
from vicinal.chunked import Long, encode_long
from vicinal.engine import Job, prompt_length
from vicinal.errors import NonFiniteEmbedding, PromptWarning, TruncationWarning, ZeroVectorWarning
from vicinal.extras import require
from vicinal.loading.exported import wish
from vicinal.loading.folder import Folder
from vicinal.loading.modules import read_model, with_prompts
from vicinal.loading.opening import open_model
from vicinal.model import Model
from vicinal.parallel import Parallel, checked_pool
from vicinal.similarity import SimilarityFunction
from vicinal.streams import ENCODED, Streams
from vicinal.text.inputs import read
from vicinal.text.tokens import HalfCharacter, Text, everything
from vicinal.torch_form import built, made

if TYPE_CHECKING:
    from vicinal.store.cache import EmbeddingCache

logger = logging.getLogger("vicinal")

_ROLE_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}
_BATCH_TOKENS = {"openvino": 1024, "onnx": 1024, "numpy": 8192, "torch": 2048}
"""Padded tokens of a batch where the caller does not say: what kept the backends busiest (docs/benchmarks.md)."""
_GPU_TOKENS = 1 << 16


class SentenceTransformer(Streams, Parallel, Model):
    """A model that turns texts into vectors whose nearness is nearness of meaning.

    Args:
        model_name_or_path: a hub name ("all-MiniLM-L6-v2"), a hub id ("BAAI/bge-small-en-v1.5") or a folder. Without
            one, the small static model that comes with vicinal.
        device: None or "cpu"; "cuda", "cuda:1", "mps" run on torch.
        prompts: by name, over those of the model; "" disables one.
        default_prompt_name: the prompt of a plain `encode`.
        cache_folder: of the hub; also from the environment (SENTENCE_TRANSFORMERS_HOME, HF_HUB_CACHE, HF_HOME).
        trust_remote_code: import modules that the folder names and that are neither sentence-transformers' nor defined
            by the program already, and networks with code of their own; they run in torch.
        revision, token, local_files_only: as the hub has them. HF_HUB_OFFLINE=1 keeps every model off the network.
        model_kwargs: "dtype"; "file_name", "subfolder" and "export", of a file in the folder that computes the network;
            "provider" and "provider_options" of onnx, "ov_config" of openvino (docs/backends.md).
        processor_kwargs: {"model_max_length": ...} is understood; `tokenizer_kwargs` is its older name.
        config_kwargs: replace keys of the model's config.json; one that nothing reads is an error.
        backend: "auto" (openvino, or numpy for a static model), "openvino", "onnx" or "numpy".
        dtype: of the computation: "auto" is bfloat16 where processor and backend have it, else float32; or
            "float32", "bfloat16", "int8".
        threads: processor threads; None for all that the process may use (also from VICINAL_THREADS).
        similarity_fn_name: "cosine", "dot", "euclidean" or "manhattan".
        truncate_dim: keep so many leading dimensions.
        model_card_data: what the README.md of a saved model says (docs/cards.md).
        self_test: send two tokens through the model, and compare with the golden vectors of its folder if it has some.
        modules: torch modules (`vicinal.models`) to build a model from, instead of a name.
        profile: a file that `vicinal tune` wrote, which states backend, dtype, threads and batch budget.
        cache: where vectors are kept and looked up: the path of an SQLite file, a redis:// URL, a `SQLiteCache` or
            `RedisCache`, or any object with `get_many` and `put_many` (docs/caching.md).

    Raises:
        ModelNotFound: no place has the model; every place and every way to get it is listed.
        DamagedModel, UnsupportedModel, UnsafeModel: it cannot be loaded as it should be.
        Unavailable: a wished backend, device or dtype is not to be had here.

    >>> model = SentenceTransformer()
    >>> model.encode(["a red apple", "a green apple", "tax law"]).shape
    (3, 256)
    """

    model_card_data_class = SentenceTransformerModelCardData
    SUPPORTED_SIMILARITY_FN_NAMES = tuple(SimilarityFunction.possible_values())

    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        modules: Any = None,
        device: str | None = None,
        prompts: Mapping[str, str | None] | None = None,
        default_prompt_name: str | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        trust_remote_code: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        use_auth_token: str | bool | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: Any = None,
        backend: str = "auto",
        dtype: Any = "auto",
        threads: int | None = None,
        similarity_fn_name: str | SimilarityFunction | None = None,
        truncate_dim: int | None = None,
        self_test: bool = True,
        profile: str | os.PathLike[str] | None = None,
        cache: Any = None,
    ) -> None:
        budget = None
        if profile is not None:
            from vicinal.profiles import read_profile

            way = read_profile(profile, {"backend": backend, "dtype": dtype, "threads": threads})
            backend, dtype, threads, budget = way.backend, way.dtype, way.threads, way.batch_tokens
        wished, settings = arguments.model_settings(model_kwargs or {}, dtype)
        self._wish = backend, wished, threads, settings, device
        if modules is not None:
            opened, engine = built(modules)
        else:
            reading = {"wish": wish(model_kwargs or {}, backend), "trusted": trust_remote_code}
            opened = open_model(
                model_name_or_path,
                revision=revision,
                token=use_auth_token if token is None else token,
                cache_folder=cache_folder,
                local_files_only=local_files_only,
                config_kwargs=config_kwargs or {},
                reader=partial(read_model, torch=torch_runs(backend), **reading),  # type: ignore[arg-type]
                torch=torch_runs(backend),
            )
            engine = made(opened.parts, choose(opened.parts.spec, *self._wish), not config_kwargs)
        spec = with_prompts(opened.parts.spec, prompts or {}, opened.supplied)
        super().__init__(engine, spec, opened.located)
        if modules is not None:
            self.refresh()
        self._settle()
        choice = self._engine.choice
        self._budget = budget or (_GPU_TOKENS if choice.device != "cpu" else _BATCH_TOKENS[choice.backend])
        self.model_card_data = SentenceTransformerModelCardData() if model_card_data is None else model_card_data
        self.trust_remote_code = trust_remote_code
        self._supplied = {name: prompt for name, prompt in opened.supplied.items() if name not in (prompts or {})}
        if (length := arguments.max_length({**(tokenizer_kwargs or {}), **(processor_kwargs or {})})) is not None:
            self.max_seq_length = length
        self.default_prompt_name = spec.default_prompt_name if default_prompt_name is None else default_prompt_name
        self.similarity_fn_name = similarity_fn_name or spec.similarity_fn_name
        self.truncate_dim = spec.truncate_dim if truncate_dim is None else truncate_dim
        self._cache: EmbeddingCache | None = None
        if cache is not None:
            self.cache = cache
        if self_test:
            for route in self._spec.routes.values():
                selftest.probe(self._engine, route, self.name)
            selftest.check_golden(self, Folder(opened.located.folder))

    @property
    def cache(self) -> EmbeddingCache | None:
        """Where vectors are kept and looked up, None for nowhere; `model.cache.stats()` tells what it did.

        Takes what `cache=` takes, and another model's cache.
        """
        return self._cache

    @cache.setter
    def cache(self, cache: Any) -> None:
        from vicinal.store.cache import EmbeddingCache

        self._cache = EmbeddingCache.of(cache)

    def close(self) -> None:
        """Let go of the graphs and the weights, those of copies too, and of the cache; `with` does it by itself."""
        super().close()
        if self._cache is not None:
            self._cache.close()

    # ---- texts to vectors --------------------------------------------------------------------------------------

    def encode(
        self,
        inputs: Any = NOTHING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        output_value: OutputValue = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | Sequence[str] | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        *,
        task: str | None = None,
        batch_tokens: int | None = None,
        deterministic: bool = False,
        truncation: Truncation = "warn",
        out: NDArray[np.float32] | None = None,
        sentences: Any = NOTHING,
        **options: Any,
    ) -> Any:
        """Vectors of texts.

        Args:
            inputs: a text; or a list, tuple, array, Series or generator of texts. Pairs `[(a, b), ...]` become one
                vector a pair. (`sentences` is its older name.)
            prompt_name, prompt: what goes in front of every text: by name, or itself, which wins.
            batch_size: at most so many texts in a batch; None leaves it to `batch_tokens`.
            show_progress_bar: None shows one while the logger "vicinal" is at INFO or DEBUG.
            output_value: "token_embeddings" for a (tokens, width) array a text, None for a dict of everything.
            precision: of the result: "int8", "uint8" (ranges of these very texts), "binary", "ubinary" (a bit a
                dimension, packed).
            convert_to_numpy, convert_to_tensor: one array, or one tensor; a list of arrays where both are false.
            normalize_embeddings: scale to length 1.
            truncate_dim: keep so many leading dimensions (before normalising).
            device: "cpu"; a list of devices starts a process for each, for this call.
            pool: processes from `start_multi_process_pool`, which share the texts.
            chunk_size: texts that a process is given at a time.
            task: the route of a model that has several.
            batch_tokens: padded tokens of a batch: what bounds the memory, whatever the lengths.
            deterministic: a text's vector is the same to the last bit whatever it is encoded with, on one machine and
                version: every text is computed alone, and the cache is not asked. Short texts take several times as
                long.
            truncation: what happens when a text is longer than the model's limit and loses its end.
            out: (n, dims) float32 array or memory map to fill and return.
            options: for torch modules that name them in `forward_kwargs`.

        Returns:
            (n, dims) float32; (dims,) for a bare text.

        Raises:
            InvalidInput: a row is no text. TextTooLong: with truncation="error"; `out` may be filled in part.
            NonFiniteEmbedding: a vector holds nan or infinity.
        """
        if inputs is NOTHING and sentences is NOTHING:
            raise TypeError("encode() needs texts: encode(inputs)")
        if convert_to_tensor:
            require("torch", "convert_to_tensor=True")
        if isinstance(device, (list, tuple)):
            with self.start_multi_process_pool(device) as own:
                return self.encode(
                    inputs, prompt_name, prompt, batch_size, show_progress_bar, output_value, precision,
                    convert_to_numpy, convert_to_tensor, None, normalize_embeddings, truncate_dim, own, chunk_size,
                    task=task, batch_tokens=batch_tokens, deterministic=deterministic, truncation=truncation, out=out,
                    sentences=sentences, **options,
                )  # fmt: skip
        if device is not None:
            arguments.same_device(device, self.device)
        if batch_size is not None or batch_tokens is not None or truncation not in TRUNCATIONS:
            arguments.batching(batch_size, batch_tokens, truncation)
        if deterministic:
            batch_size = 1
        if self._torch is not None:
            self._settle()
        spec = self._spec
        texts, single, prefix, task = read(spec, sentences if inputs is NOTHING else inputs, prompt, prompt_name, task)
        route = spec.only or spec.route(task)
        skipped = prompt_length(self._engine, route, prefix) if prefix else 0
        job = Job(route, ENCODED, Bounds(batch_tokens or self._budget, batch_size, route.max_length, skipped))
        if options or self._torch is not None:
            job = replace(job, options=self._engine.forwarded(task, options))
        if truncate_dim is not None:
            arguments.dims(truncate_dim)
        dims = min(truncate_dim or spec.truncate_dim or route.width, route.width)
        if output_value != "sentence_embedding":
            arguments.states_only(out, precision, convert_to_tensor, normalize_embeddings, pool)
            job = replace(job, outputs=("token_embeddings", *ENCODED))
            try:
                return self._states(texts, job, output_value, single, truncation, dims)
            except HalfCharacter as error:
                raise report.half_character(error.text, texts) from None
        if out is None:
            vectors = np.empty((len(texts), dims), np.float32)
        else:
            vectors = arguments.fillable(out, (len(texts), dims), precision)
        if pool is not None:
            arguments.chunks(chunk_size)
            checked_pool(pool, self).fill(
                vectors, texts, job, normalize_embeddings, truncation, show_progress_bar, chunk_size,
                cached=not deterministic,
            )  # fmt: skip
        elif texts:
            try:
                self._fill(
                    vectors, texts, job, normalize_embeddings, truncation, show_progress_bar, cached=not deterministic
                )
            except HalfCharacter as error:
                raise report.half_character(error.text, texts) from None
        if precision != "float32":
            vectors = arguments.quantized(vectors, precision, single)
        if convert_to_tensor:
            from vicinal.backends.torch.tensors import to_tensor

            tensor = to_tensor(vectors)
            return tensor[0] if single else tensor
        if single:
            return vectors[0]
        return vectors if convert_to_numpy else list(vectors)

    def _fill(
        self,
        vectors: NDArray[np.float32],
        texts: Sequence[Text],
        job: Job,
        normalize: bool,
        truncation: Truncation,
        progress: bool | None,
        before: int = 0,
        cached: bool = True,
    ) -> None:
        """Compute the vectors of texts into the rows of an array; equal texts once.

        Args:
            before: rows of the same stream that came earlier, for messages.
            cached: whether the cache is asked.
        """
        places, unique = None, texts
        if len(texts) > 1 and len(seen := dict.fromkeys(texts)) < len(texts):
            unique = list(seen)
            inverse, places = arguments.places(unique, texts)
        cut: list[tuple[int, int]] = []
        zero: list[int] = []
        wished = logger.getEffectiveLevel() in report.TALKATIVE if progress is None else progress
        bar = report.bar(len(unique)) if wished else None
        dims, limit = vectors.shape[1], job.route.max_length
        if self._cache is None or not cached or self._engine is self._torch:  # changing weights have no space
            found = self._engine.run(iter(unique), job)
        else:
            found = self._cache.run(self._engine, self._space, unique, job)
        for window, rows, arrays in found:
            if rows is None:  # a window begins
                if limit is not None and truncation != "ignore" and (window.tokens.full > limit).any():
                    cut += report.too_long(window, limit, truncation, places, before)
                continue
            batch = arrays["sentence_embedding"][:, :dims]
            rows = window.rows[rows] if places is None else places[window.rows[rows]]
            lengths = np.sqrt(np.einsum("ij,ij->i", batch, batch))
            if not np.isfinite(lengths).all():
                raise NonFiniteEmbedding(report.broken(rows[~np.isfinite(lengths)] + before, self.name))
            if not lengths.all():
                zero += (rows[lengths == 0] + before).tolist()
            if normalize:
                batch /= np.maximum(lengths, 1e-12)[:, None]
            vectors[rows] = batch
            if bar is not None:
                bar.update(len(rows))
        if bar is not None:
            bar.close()
        if places is not None:
            copies = np.flatnonzero(places[inverse] != np.arange(len(texts)))
            vectors[copies] = vectors[places[inverse[copies]]]
        if cut:
            report.warn(report.cut(cut, limit, report.WHOLE), TruncationWarning)
        if zero:
            report.warn(report.zero(sorted(zero)), ZeroVectorWarning)

    def encode_query(self, inputs: Any = NOTHING, prompt_name: str | None = None, prompt: str | None = None,
                     *more: Any, **options: Any) -> Any:  # fmt: skip
        """`encode` with the model's prompt for queries, and its route for them where it has several."""
        if prompt_name is None and prompt is None:
            prompt_name = self._prompt_for("query")
        return self.encode(inputs, prompt_name, prompt, *more, **{"task": "query", **options})

    def encode_document(self, inputs: Any = NOTHING, prompt_name: str | None = None, prompt: str | None = None,
                        *more: Any, long: Long = "truncate", **options: Any) -> Any:  # fmt: skip
        """`encode` with the prompt for documents ("document", "passage" or "corpus"), and the route for them.

        Args:
            long: what becomes of texts beyond the model's limit. "truncate": their end is cut, see `truncation`.
                "chunk-mean": (n, dims), the mean of their chunks' vectors. "chunks" and "late" give `ChunkedVectors`,
                see `vicinal.chunked.encode_long` for these three and their options.
        """
        if prompt_name is None and prompt is None:
            prompt_name = self._prompt_for("document")
        if long != "truncate":
            return encode_long(self, inputs, prompt_name, prompt, *more, long=long, **{"task": "document", **options})
        return self.encode(inputs, prompt_name, prompt, *more, **{"task": "document", **options})

    def _prompt_for(self, role: str) -> str | None:
        """The name of the prompt for queries or for documents, None where there is none."""
        prompts, names = self._spec.prompts, _ROLE_PROMPTS[role]
        name = next((name for name in names if prompts.get(name)), next((n for n in names if n in prompts), None))
        if name is not None and self._supplied.pop(name, None) == prompts[name]:
            report.warn(
                f"{self.name} was trained with the prompt {prompts[name]!r} for every {name}, which its files do not "
                f"state; it is put in front. prompts={{{name!r}: ...}} sets another, '' none.",
                PromptWarning,
            )
        return name

    def _states(
        self, texts: Sequence[Text], job: Job, output_value: str | None, single: bool, truncation: Truncation, dims: int
    ) -> list[Any] | dict[str, NDArray[Any]] | NDArray[Any]:
        """Token vectors of each text, or everything that the graph makes of it; padding is cut."""
        if output_value not in ("token_embeddings", None):
            raise ValueError(
                f"output_value must be 'sentence_embedding', 'token_embeddings' or None, not {output_value!r}"
            )
        results: list[Any] = [None] * len(texts)
        cut: list[tuple[int, int]] = []
        limit = job.route.max_length
        for window, rows, arrays in self._engine.run(iter(texts), job):
            if rows is None:
                if limit is not None and truncation != "ignore":
                    cut += report.too_long(window, limit, truncation)
                continue
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise NonFiniteEmbedding(report.broken(window.rows[rows], self.name))
            arrays["sentence_embedding"] = arrays["sentence_embedding"][:, :dims]
            for i, row in enumerate(rows.tolist()):
                item = everything(window.tokens, row, i, arrays)
                results[window.rows[row]] = item if output_value is None else item[output_value]
        if cut:
            report.warn(report.cut(cut, limit, report.WHOLE), TruncationWarning)
        return results[0] if single else results

    # ---- comparing ---------------------------------------------------------------------------------------------

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores of every row with every row by the model's similarity function: (n, m)."""
        return SimilarityFunction.to_similarity_fn(self.similarity_fn_name)(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores of each row with the same row of the other: (n,)."""
        return SimilarityFunction.to_similarity_pairwise_fn(self.similarity_fn_name)(embeddings1, embeddings2)
