"""A model that reads two texts together and scores the pair."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal import arguments, report, selftest
from vicinal.arguments import NOTHING, Truncation
from vicinal.backends import choose, torch_runs
from vicinal.backends.base import Bounds
from vicinal.cards import CrossEncoderModelCardData
from vicinal.cross_encoder import activations
from vicinal.cross_encoder.fitting import VECTORS_ALONE, Fitting, OfVectorsAlone, refusal
from vicinal.cross_encoder.inputs import older_arguments, read_documents, read_pairs
from vicinal.engine import Job
from vicinal.errors import NonFiniteEmbedding, TruncationWarning
from vicinal.extras import require
from vicinal.loading.classifier import read_classifier
from vicinal.loading.modules import with_prompts
from vicinal.loading.opening import open_model
from vicinal.loading.spec import Route
from vicinal.model import Model
from vicinal.parallel import Pooled, WorkerPool, checked_pool
from vicinal.text.chat import rendered
from vicinal.text.chat import tail as chat_tail
from vicinal.text.inputs import prompted, resolve_prompt
from vicinal.text.pairs import longest_first, second_first
from vicinal.text.tokens import HalfCharacter, Text, padded
from vicinal.torch_form import made

TruncationStrategy = Literal["longest_first", "document_first"]
_CUTS = {"longest_first": longest_first, "document_first": second_first}
_BATCH_TOKENS = 1024
"""Padded tokens of a batch where the caller does not say."""


class CrossEncoder(Fitting, Pooled, Model):  # type: ignore[misc]  # `fit` is called otherwise than that of vectors
    """Scores pairs of texts: slower than comparing two vectors, and better in rank.

    Args:
        model_name_or_path: a hub name ("ms-marco-MiniLM-L6-v2" means "cross-encoder/ms-marco-MiniLM-L6-v2"), a hub id
            or a folder, with a classification head. A base model gets a new head, to be trained.
        num_labels: scores a pair; None is what the model states.
        max_length: tokens of a pair, special tokens counted; None is what the model states.
        activation_fn: what raw scores go through: torch's own ("torch.nn.Sigmoid()"), its name, or a function of the
            (n, labels) array. None is what the model states, else sigmoid for one label and nothing for several.
        processor_kwargs: "model_max_length", and "chat_template" of a model that reads pairs in a chat (such templates
            are Jinja's and need `pip install 'vicinal[chat]'`).
        device, prompts, default_prompt_name, cache_folder, revision, token, local_files_only, model_kwargs,
            config_kwargs, backend, dtype, threads, self_test: as `SentenceTransformer` has them.

    Raises:
        ModelNotFound: no place has the model. DamagedModel, UnsupportedModel, UnsafeModel: it cannot be loaded.
        Unavailable: a wished backend, device or dtype is not to be had here.
    """

    model_card_data_class = CrossEncoderModelCardData

    @older_arguments
    def __init__(
        self,
        model_name_or_path: str | os.PathLike[str],
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
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        model_card_data: Any = None,
        backend: str = "auto",
        dtype: Any = "auto",
        threads: int | None = None,
        num_labels: int | None = None,
        max_length: int | None = None,
        activation_fn: Any = None,
        keep_in_fp32_modules: Sequence[str] | None = None,
        self_test: bool = True,
    ) -> None:
        arguments.no_modules(modules)
        arguments.all_of_one_type(keep_in_fp32_modules)
        changes, processing = dict(config_kwargs or {}), dict(processor_kwargs or {})
        if num_labels is not None:
            changes["num_labels"] = num_labels
        opened = open_model(
            model_name_or_path,
            revision=revision,
            token=token,
            cache_folder=cache_folder,
            local_files_only=local_files_only,
            config_kwargs=changes,
            bare_prefix="cross-encoder",
            reader=partial(read_classifier, chat_template=processing.pop("chat_template", None)),
            head=True,
            torch=torch_runs(backend),
        )
        spec = with_prompts(opened.parts.spec, prompts or {}, {})
        arguments.no_file(model_kwargs or {})
        wished, settings = arguments.model_settings(model_kwargs or {}, dtype)
        self._wish = backend, wished, threads, settings, device
        super().__init__(made(opened.parts, choose(spec, *self._wish), not changes), spec, opened.located)
        self.model_card_data = CrossEncoderModelCardData() if model_card_data is None else model_card_data
        self.trust_remote_code = trust_remote_code
        if (length := arguments.max_length(processing)) is not None:
            self.max_seq_length = length
        if max_length is not None:
            self.max_seq_length = max_length
        self.default_prompt_name = spec.default_prompt_name if default_prompt_name is None else default_prompt_name
        self.activation_fn = activation_fn
        if self_test:
            selftest.probe(self._engine, spec.route(None), self.name)

    def __getattr__(self, name: str) -> Any:
        if name in VECTORS_ALONE:
            raise AttributeError(refusal(name))
        return super().__getattr__(name)

    @property
    def model(self) -> Any:
        """The network of `transformers`."""
        return self.transformers_model

    # ---- settings ----------------------------------------------------------------------------------------------

    @property
    def num_labels(self) -> int:
        """Scores a pair."""
        return self._spec.width

    @property
    def _size(self) -> str:
        return f"labels={self.num_labels}"

    @property
    def activation_fn(self) -> Callable[[Any], Any]:
        """What raw scores go through; assign None for what the model states."""
        return self._activation

    @activation_fn.setter
    def activation_fn(self, function: Any) -> None:
        stated = self._spec.activation or ("Sigmoid" if self.num_labels == 1 else "Identity")
        self._activation = activations.resolve(stated if function is None else function)
        if function is not None:
            known = self._activation if self._activation in activations.KNOWN.values() else function
            self._change(activation=activations.name_of(known))

    default_activation_function = activation_fn

    def get_default_activation_fn(self) -> Callable[[Any], Any]:
        """What is used where `predict` is given none."""
        return self._activation

    @property
    def max_length(self) -> int | None:
        """The older name of `max_seq_length`."""
        return self.max_seq_length

    @max_length.setter
    def max_length(self, length: int | None) -> None:
        self.max_seq_length = length

    # ---- scores ------------------------------------------------------------------------------------------------

    def predict(
        self,
        inputs: Any = NOTHING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: str | Sequence[str] | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        *,
        batch_tokens: int | None = None,
        truncation: Truncation = "warn",
        truncation_strategy: TruncationStrategy = "longest_first",
        sentences: Any = NOTHING,
        activation_fct: Any = None,
        num_workers: int | None = None,
    ) -> Any:
        """Scores of pairs of texts.

        Args:
            inputs: a pair `("query", "document")`, or a list of them; single texts are scored too. (`sentences` is its
                older name.)
            prompt_name, prompt: what goes in front of each pair's first text, or is the system message of a model that
                reads pairs in a chat: by name, or itself, which wins.
            batch_size: at most so many pairs in a batch; None leaves it to `batch_tokens`.
            show_progress_bar: None shows one while the logger "vicinal" is at INFO or DEBUG.
            activation_fn: for this call; `activation_fct` is its older name.
            apply_softmax: over the labels, of a model that has several.
            convert_to_numpy, convert_to_tensor: one array, or one tensor; a list of rows where both are false.
            device: "cpu"; a list of devices starts a process for each, for this call.
            pool: processes from `start_multi_process_pool`, which share the pairs.
            chunk_size: pairs that a process is given at a time.
            batch_tokens: padded tokens of a batch: what bounds the memory, whatever the lengths.
            truncation: what happens when a pair is longer than the model's limit: "warn", "error" or "ignore".
            truncation_strategy: which text is cut: the longer one, token by token, or only the second
                ("document_first"), and the first where it alone is too long. A pair in a chat loses the end of what
                stands last there, before the chat's own end, and takes no other strategy.
            num_workers: accepted, and without effect.

        Returns:
            (n,) float32 for one label, (n, labels) for several; a number, or (labels,), for a single pair.

        Raises:
            InvalidInput: a row is no pair of texts. TextTooLong: with truncation="error".
            NonFiniteEmbedding: a score is nan or infinite.
        """
        given = sentences if inputs is NOTHING else inputs
        if given is NOTHING:
            raise TypeError("predict() needs pairs of texts: predict(inputs)")
        if convert_to_tensor:
            require("torch", "convert_to_tensor=True")
        if isinstance(device, (list, tuple)):
            with self.start_multi_process_pool(device) as own:
                return self.predict(
                    given, prompt_name, prompt, batch_size, show_progress_bar, activation_fn, apply_softmax,
                    convert_to_numpy, convert_to_tensor, None, own, chunk_size, batch_tokens=batch_tokens,
                    truncation=truncation, truncation_strategy=truncation_strategy, activation_fct=activation_fct,
                )  # fmt: skip
        if device is not None:
            arguments.same_device(device, self.device)
        arguments.batching(batch_size, batch_tokens, truncation)
        if truncation_strategy not in _CUTS:
            raise ValueError(
                f"truncation_strategy must be one of {', '.join(map(repr, _CUTS))}, not {truncation_strategy!r}"
            )
        self._settle()
        spec = self._spec
        pairs, single = read_pairs(given)
        route = spec.route(None)
        pairs, tail = self._texts(route, pairs, resolve_prompt(spec, prompt, prompt_name))
        if route.modules[0].chat is not None and truncation_strategy != "longest_first":  # type: ignore[union-attr]
            raise ValueError(
                f"truncation_strategy={truncation_strategy!r}: this model's pairs stand in a chat, which loses the end "
                "of what stands last there; leave it out"
            )
        bounds = Bounds(batch_tokens or _BATCH_TOKENS, batch_size, route.max_length)
        job = Job(route, (route.output,), bounds, _CUTS[truncation_strategy], tail)
        function = activation_fct if activation_fn is None else activation_fn
        activation = self._activation if function is None else activations.resolve(function)
        raw = np.empty((len(pairs), self.num_labels), np.float32)
        if pool is not None:
            arguments.chunks(chunk_size)
            checked_pool(pool, self).fill(raw, pairs, job, False, truncation, show_progress_bar, chunk_size)
            inverse, firsts = arguments.places(list(dict.fromkeys(pairs)), pairs)
            raw = raw[firsts[inverse]]  # equal pairs of two chunks may differ in the last digit: a tie stays one
        else:
            try:
                self._fill(raw, pairs, job, False, truncation, show_progress_bar)
            except HalfCharacter as error:
                raise report.half_character(error.text, pairs) from None
        scores = np.asarray(activation(raw), np.float32).reshape(raw.shape)
        if apply_softmax and self.num_labels > 1:
            scores = activations.softmax(scores)
        if self.num_labels == 1:
            scores = scores[:, 0]
        if convert_to_tensor:
            from vicinal.backends.torch.tensors import to_tensor

            return to_tensor(scores)[0] if single else to_tensor(scores)
        if single:
            return scores[0]
        return scores if convert_to_numpy else list(scores)

    def _texts(self, route: Route, pairs: list[Text], prompt: str) -> tuple[list[Text], tuple[int, ...]]:
        """What is tokenized for pairs, and the tokens that each keeps at its end when it is cut."""
        chat = route.modules[0].chat  # type: ignore[union-attr]
        if chat is None:
            return prompted(pairs, prompt) if prompt else pairs, ()
        return rendered(chat, pairs, prompt), chat_tail(chat, self._engine.tokenizer(route).backend, prompt)

    def tokenize(self, texts: Any, prompt: str | None = None, **options: Any) -> dict[str, NDArray[Any]]:
        """The network's inputs for pairs: input_ids, attention_mask and token_type_ids, (pairs, longest) int64."""
        route = self._spec.route(None)
        if route.modules[0].chat is None:  # type: ignore[union-attr]
            return super().tokenize(texts, prompt, **options)
        rows, tail = self._texts(route, read_pairs(texts)[0], prompt or "")
        return padded(self._engine.tokenizer(route)(rows, route.max_length, tail=tail))

    def _fill(
        self,
        raw: NDArray[np.float32],
        pairs: Sequence[Text],
        job: Job,
        normalize: bool,
        truncation: Truncation,
        progress: bool | None,
        before: int = 0,
    ) -> None:
        """Compute the raw scores of pairs into the rows of an array; equal pairs once.

        Args:
            normalize: scores are as they are.
            before: pairs of the same call that another process was given, for messages.
        """
        unique = list(dict.fromkeys(pairs))
        inverse, firsts = arguments.places(unique, pairs)
        scores = np.empty((len(unique), self.num_labels), np.float32)
        bar = report.bar(len(unique), "Scoring") if report.shown(progress) else None
        cut: list[tuple[int, int]] = []
        limit = job.route.max_length
        for window, rows, arrays in self._engine.run(iter(unique), job):
            if rows is None:
                if limit is not None and truncation != "ignore":
                    cut += report.too_long(window, limit, truncation, firsts, before)
                continue
            batch = arrays[job.route.output]
            if not np.isfinite(batch).all():
                broken = window.rows[rows[~np.isfinite(batch).all(1)]]
                raise NonFiniteEmbedding(report.broken(firsts[broken] + before, self.name))
            scores[window.rows[rows]] = batch
            if bar is not None:
                bar.update(len(rows))
        if bar is not None:
            bar.close()
        if cut:
            report.warn(report.cut(cut, limit), TruncationWarning)
        raw[:] = scores[inverse]

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> WorkerPool:
        """Start processes that score: `predict(..., pool=pool)`.

        Args:
            target_devices: a process for each, such as `["cpu", "cpu"]`; None is one for every four processors.
        """
        twin = copy.copy(self)
        twin._activation = activations.identity  # it is applied here, and may be a function that no other process has
        return super(CrossEncoder, twin).start_multi_process_pool(target_devices)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: Any = None,
        device: str | Sequence[str] | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Documents in order of their score with a query, best first; equal scores keep the documents' order.

        Args:
            top_k: keep so many; None all.
            return_documents: with the documents' texts.
            prompt_name, prompt, batch_size, show_progress_bar, activation_fn, device, pool, chunk_size, options: as
                `predict` has them; scores are numbers, whatever `convert_to_numpy` and `convert_to_tensor` say.

        Returns:
            `{"corpus_id": place in documents, "score": float}` a document, and "text".

        Raises:
            ValueError: the model has several labels, which give no order.
        """
        if self.num_labels != 1:
            raise ValueError(
                f"rank() needs a model with one label; {self.name} has {self.num_labels}: use predict() and choose one"
            )
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise ValueError(f"top_k must be a positive integer or None, not {top_k!r}")
        texts = read_documents(query, documents)
        if not texts:
            return []
        pairs = [(query, text) for text in texts]
        options |= {"convert_to_numpy": True, "convert_to_tensor": False}
        scores = self.predict(
            pairs, prompt_name, prompt, batch_size, show_progress_bar, activation_fn, device=device, pool=pool,
            chunk_size=chunk_size, **options,
        ).tolist()  # fmt: skip
        order = sorted(range(len(texts)), key=lambda i: -scores[i])[:top_k]
        rows: list[dict[str, Any]] = [{"corpus_id": i, "score": scores[i]} for i in order]
        return [{**row, "text": texts[row["corpus_id"]]} for row in rows] if return_documents else rows


for _name in VECTORS_ALONE:
    setattr(CrossEncoder, _name, OfVectorsAlone(_name))
