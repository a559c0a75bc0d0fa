"""A loaded model's machinery: weights, tokenizers, compiled graphs, and the loop that texts go through.

One engine serves any number of specs and threads. Settings live in the `Spec` that each call brings.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends import Choice, compile_graph
from vicinal.backends.base import Arrays, Bounds, Program
from vicinal.loading.checkpoint import check_unread
from vicinal.loading.exported import Exported
from vicinal.loading.modules import Parts
from vicinal.loading.spec import Normalize, Route, StaticEmbedding
from vicinal.loading.weights import Scope, Tensor
from vicinal.networks.heads import after_tokens, graph
from vicinal.refused import hints
from vicinal.text.pairs import longest_first
from vicinal.text.tokens import ANY_SEGMENTS, Cut, Text, TextTokenizer, Tokens
from vicinal.text.words import WordCache

_PORTION = 4096
"""Texts that are sorted by length together."""
_CHARACTERS = 1 << 24
"""Of texts that are drawn from a stream before their vectors are given."""
_WINDOW = 512
"""Texts that are tokenized together, while those of the window before are computed."""


@dataclass(frozen=True)
class Job:
    """What one call asks for.

    Attributes:
        route: the modules that its texts go through.
        outputs: of the graph, see `networks.heads.graph`.
        bounds: of its batches.
        cut: which text of a pair loses how much.
        tail: the tokens that a text which was cut ends in.
        options: keyword arguments for the torch modules that take them.
    """

    route: Route
    outputs: tuple[str, ...]
    bounds: Bounds
    cut: Cut = longest_first
    tail: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Window:
    """Texts of like length, tokenized.

    Attributes:
        rows: the number that each has in its call.
        tokens: theirs, in the same order.
    """

    rows: NDArray[np.int64]
    tokens: Tokens


def portions(texts: Iterator[Text]) -> Iterator[list[Text]]:
    """Consecutive texts of a stream, as many as are held at once, whatever their length."""
    portion: list[Text] = []
    characters = 0
    for text in texts:
        portion.append(text)
        characters += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if len(portion) == _PORTION or characters >= _CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion


def _sorted(texts: Iterator[Text]) -> Iterator[tuple[NDArray[np.int64], list[Text]]]:
    """Windows of like length, longest first within a portion: little padding, though each is batched by itself."""
    start = 0
    while portion := list(islice(texts, _PORTION)):
        lengths = [len(text) if isinstance(text, str) else len(text[0]) + len(text[1]) for text in portion]
        order = np.argsort(np.negative(lengths), kind="stable")
        for i in range(0, len(portion), _WINDOW):
            rows = order[i : i + _WINDOW]
            yield rows + start, [portion[row] for row in rows]
        start += len(portion)


class Engine:
    """Runs texts through a model's graphs.

    Args:
        parts: the model.
        choice: backend, dtype and threads.
        checked: whether every tensor must be one that the networks read.
    """

    def __init__(self, parts: Parts, choice: Choice, checked: bool = True) -> None:
        self.parts, self.choice, self._checked = parts, choice, checked
        self._weights = Scope(parts.tensors)
        self._programs: dict[tuple[tuple[str, ...], tuple[str, ...]], Program] = {}
        self._tokenizers: dict[str, TextTokenizer] = {}
        self._lock = threading.Lock()
        self._closed = False
        for route in parts.spec.routes.values():
            first, at = route.modules[0], route.folders[0]
            file = parts.tokenizers[at]
            splits = WordCache.fits(file.tokenizer)
            if isinstance(first, StaticEmbedding):
                # Tokenizing is most of a static model's work: a look-up a word pays.
                ids = WordCache(file.tokenizer).ids if splits else None
                tokenizer = TextTokenizer(file.tokenizer, first.tokens, ANY_SEGMENTS, False, file.keep_end, splits, ids)
            else:
                network = first.network  # type: ignore[union-attr]
                rows, types = network.vocab_size, network.type_vocab_size or ANY_SEGMENTS
                skip, framed = first.uncounted, first.chat is None  # type: ignore[union-attr]
                tokenizer = TextTokenizer(file.tokenizer, rows, types, framed, file.keep_end, splits, uncounted=skip)
            self._tokenizers[at] = tokenizer
            self._program(route, (route.output,))
        if checked:
            check_unread(parts.spec, self._weights)

    def tokenizer(self, route: Route) -> TextTokenizer:
        """The tokenizer of a route."""
        return self._tokenizers[route.folders[0]]

    def forwarded(self, task: str | None, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keyword arguments of a call that modules take beside the features: torch modules alone have some.

        Raises:
            TypeError: one that no module takes.
        """
        if options:
            raise TypeError(f"encode() got an unexpected keyword argument {next(iter(options))!r}{hints(options)}")
        return {}

    def prompt_length(self, route: Route, prompt: str) -> int:
        """Tokens of a prompt and the special ones before it."""
        tokenizer = self.tokenizer(route)
        ids = tokenizer([prompt], route.max_length).ids
        return len(ids) - (len(ids) > 0 and int(ids[-1]) in tokenizer.special_ids)

    def _program(self, route: Route, outputs: tuple[str, ...]) -> Program:
        with self._lock:
            self._open()
            found = self._programs.get((route.folders, outputs))
            if found is None:
                found = self._static(route, outputs) or self._compiled(route, outputs)
                self._programs[route.folders, outputs] = found
            return found

    def _compiled(self, route: Route, outputs: tuple[str, ...]) -> Program:
        build, first = graph(route, self._weights, outputs), route.modules[0]
        if not isinstance(first, Exported):
            return compile_graph(build, self.choice)
        from vicinal.backends.files import compile_file

        return compile_file(first, build, self.choice.dtype, self.choice.threads, self.choice.settings)

    def _static(self, route: Route, outputs: tuple[str, ...]) -> Program | None:
        """The short way of a plain static model, None for every other."""
        first, *others = route.modules
        if not isinstance(first, StaticEmbedding) or any(module != Normalize() for module in others):
            return None
        if self.choice.backend != "numpy" or outputs != ("sentence_embedding",):
            return None
        from vicinal.backends.numpy import StaticProgram

        w = self._weights.at(route.folders[0], "/").at("embedding")
        table = w.tensor("weight", first.tokens, first.width)
        return StaticProgram(table, w.find("scale", first.tokens, 1), normalize=bool(others))

    def windows(self, texts: Iterator[Text], job: Job) -> Iterator[Window]:
        """Tokenize texts window by window, one window ahead of the caller, on a thread of its own.

        The iterator is drawn from in the caller's thread. A single window is tokenized in place.
        """
        tokenize, given = self._tokenizers[job.route.folders[0]], (job.route.max_length, job.cut, job.tail)
        few = list(islice(texts, _WINDOW + 1))
        if len(few) <= _WINDOW:  # batches sort them
            if few:
                yield Window(np.arange(len(few)), tokenize(few, *given))
            return
        coming = _sorted(chain(few, texts))
        rows, portion = next(coming)
        after = next(coming, None)
        with ThreadPoolExecutor(1, "vicinal-tokenizer") as ahead:
            current = ahead.submit(tokenize, portion, *given)
            while after is not None:
                following = ahead.submit(tokenize, after[1], *given)
                yield Window(rows, current.result())
                rows, current, after = after[0], following, next(coming, None)
            yield Window(rows, current.result())

    def run(
        self, texts: Iterator[Text], job: Job, program: Program | None = None
    ) -> Iterator[tuple[Window, NDArray[np.int64] | None, Arrays]]:
        """Compute texts window by window, batch by batch.

        Args:
            program: that computes the batches, where it is the call's own.

        Yields:
            (window, None, {}) when a window begins, then (window, rows within it, outputs of these rows) for each of
            its batches, in whatever order they end.
        """
        key = (job.route.folders, job.outputs)
        program = program or self._programs.get(key) or self._program(job.route, job.outputs)
        under_way: deque[tuple[NDArray[np.int64], Any]] = deque()
        try:
            for window in self.windows(texts, job):
                yield window, None, {}
                for rows, feeds in program.batches(window.tokens, job.bounds, program.inputs):
                    while (pending := program.start(feeds, wait=not under_way)) is None:
                        done, running = under_way.popleft()
                        yield window, done, running.result()
                    under_way.append((rows, pending))
                while under_way:
                    done, running = under_way.popleft()
                    yield window, done, running.result()
        finally:
            for _, running in under_way:  # the caller stopped, or a batch failed: every request goes back
                running.abandon()

    def pool(self, route: Route, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, dims) of token states (n, tokens, width), pooled in float32."""
        from vicinal.backends.numpy import NumpyOps

        index = np.arange(states.shape[1], dtype=np.int32)
        feeds = {"states": states, "pool": np.ones(states.shape[:2], bool), "index": index}
        return np.asarray(after_tokens(route, self._behind(route))(NumpyOps(), feeds)["sentence_embedding"])

    def _behind(self, route: Route) -> Scope:
        """The weights of what comes after the token states, as they are now."""
        self._open()
        return self._weights

    def compute(self, route: Route, tokens: Tokens, bounds: Bounds) -> Arrays:
        """What a route makes of tokens that fit into one batch."""
        program = self._program(route, (route.output,))
        ((_, feeds),) = program.batches(tokens, bounds, program.inputs)
        pending = program.start(feeds, wait=True)
        assert pending is not None, "a caller that waits gets its place"
        return pending.result()

    def read_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that the networks read, by `"{module's folder}/{name}"`."""
        self._open()
        return self._weights.read()

    def saved_parts(self) -> Parts:
        """What a saved model consists of: without the tensors that an overridden configuration leaves unread."""
        self._open()
        if self._checked:
            return self.parts
        return replace(self.parts, tensors=dict(self._weights.read()))

    def __reduce__(self) -> tuple[type[Engine], tuple[Parts, Choice, bool]]:
        self._open()
        return Engine, (self.parts, self.choice, self._checked)

    def _open(self) -> None:
        if self._closed:
            raise ValueError("this model is closed; load it again")

    def close(self) -> None:
        """Let go of the graphs and the weights; calls under way end as they would."""
        with self._lock:
            self._closed = True
            self._programs.clear()
            self._weights = Scope({})
            self.parts = replace(self.parts, tensors={})


def prompt_length(engine: Engine, route: Route, prompt: str) -> int:
    """Tokens of a prompt that pooling leaves out: its own and the special ones before it."""
    return engine.prompt_length(route, prompt) if prompt and route.excludes_prompt else 0
