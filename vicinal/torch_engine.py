"""The machinery of a model that runs in torch: the same loop, over the modules that training changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vicinal import report
from vicinal.backends import Choice
from vicinal.backends.base import Arrays, Bounds, Program
from vicinal.engine import Engine, Job, Window
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.classifier import Nothing
from vicinal.loading.modules import Parts
from vicinal.loading.spec import Route, Spec
from vicinal.loading.weights import Scope, Tensor
from vicinal.models.inputs import TextReader, TokenModule
from vicinal.models.packing import Packing
from vicinal.models.trainable import Trainable, contents, forms, taken, tensors_at
from vicinal.models.transformer import Transformer
from vicinal.networks.heads import graph
from vicinal.text.batches import plan
from vicinal.text.tokens import Text, TextTokenizer, Tokens


class TorchEngine(Engine):
    """Runs texts through torch modules, whose parameters may change between calls.

    Args:
        source: a model that was read, or modules.
        choice: device, dtype and threads.
        settings: of a model that was built from modules.
        root: the folder that they came from.
    """

    def __init__(
        self,
        source: Parts | Trainable,
        choice: Choice,
        settings: Spec | None = None,
        root: Path | None = None,
    ) -> None:
        self.choice, self._checked, self._root = choice, True, root
        self._lock, self._closed, self._warned = Lock(), False, False
        self._programs, self._tokenizers = {}, {}
        self._under_way = 0
        self._training: list[Any] = []
        if isinstance(source, Parts):
            self.module = Trainable.of(source, choice.dtype, **choice.settings)
            settings, self._root = source.spec, source.root
        else:
            self.module = source
        assert settings is not None, "modules alone do not say how their vectors are used"
        if choice.device != "cpu" and "device_map" not in choice.settings:
            self.module.to(choice.device)
        self._most = 1 << 30  # tokens of a batch, less once the device ran out of memory
        self.parts = contents(self.module, settings, self._root, weights=False)

    def settle(self, settings: Spec) -> Spec:
        """The settings with the modules as they are now."""
        routes = forms(self.module)
        if settings.routes != routes:
            settings = replace(settings, routes=routes)
            if settings.default_route not in routes:
                settings = replace(settings, default_route=next(iter(routes)))
            self.parts = contents(self.module, settings, self._root, weights=False)
        return settings

    def first(self, route: Route) -> Any:
        """The first module of a route."""
        return self._way(route)[0]

    def _way(self, route: Route) -> list[Any]:
        at = route.folders[0]
        return self.module.ways()[at.rpartition("_")[0]]

    def tokenizer(self, route: Route) -> TextTokenizer:
        first = self.first(route)
        if not isinstance(first, TokenModule):
            raise UnsupportedModel(_untokenized(first))
        found: TextTokenizer = first.text_tokenizer()
        return found

    def forwarded(self, task: str | None, options: Mapping[str, Any]) -> Mapping[str, Any]:
        known = self.module.options()
        return super().forwarded(task, {name: v for name, v in options.items() if name not in known}) or {
            "task": task, **options,
        }  # fmt: skip

    def prompt_length(self, route: Route, prompt: str) -> int:
        first = self.first(route)
        if isinstance(first, TokenModule):
            return super().prompt_length(route, prompt)
        return TextReader(first, {}).prompt_length(prompt)

    def windows(self, texts: Iterator[Text], job: Job) -> Iterator[Window]:
        at, first = job.route.folders[0], self.first(job.route)
        reader: Any = first.text_tokenizer() if isinstance(first, TokenModule) else TextReader(first, {})
        self._tokenizers[at] = reader
        return super().windows(texts, job)

    def run(
        self, texts: Iterator[Text], job: Job, program: Program | None = None
    ) -> Iterator[tuple[Window, NDArray[np.int64] | None, Arrays]]:
        first = self.first(job.route)
        if "token_embeddings" in job.outputs and not isinstance(first, TokenModule):
            raise UnsupportedModel(_untokenized(first))
        self._open()
        program = program or TorchProgram(self, job.route, job.outputs, job.options)  # it has the call's options
        with self._evaluating():
            yield from super().run(texts, job, program)

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """No dropout, until the last call that is under way ends; modules in training go on with it then."""
        with self._lock:
            self._under_way += 1
            self._training += [module for module in self.module.modules() if module.training]
            self.module.eval()
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                if not self._under_way:
                    for module in self._training:
                        module.training = True
                    self._training.clear()

    def _behind(self, route: Route) -> Scope:
        self._open()
        behind: dict[str, Tensor] = {}
        for part, at in zip(self._way(route)[1:], route.folders[1:], strict=True):
            behind |= tensors_at(part, at)
        return Scope(behind)

    def compute(self, route: Route, tokens: Tokens, bounds: Bounds) -> Arrays:
        program = TorchProgram(self, route, (route.output,))
        with self._evaluating():
            ((_, feeds),) = program.batches(tokens, bounds, program.inputs)
            return program.start(feeds, wait=True).result()

    def read_tensors(self) -> Iterator[tuple[str, Tensor]]:
        self._open()
        parts = contents(self.module, self.parts.spec, self._root)
        if any(route.needs_torch for route in parts.spec.routes.values()):
            yield from parts.tensors.items()
            return
        weights = Scope(parts.tensors)
        for route in parts.spec.routes.values():
            graph(route, weights, (route.output,))(Nothing(), defaultdict(Nothing))
        yield from weights.read()

    def saved_parts(self) -> Parts:
        self._open()
        return contents(self.module, self.parts.spec, self._root)

    def __reduce__(self) -> Any:
        self._open()
        return TorchEngine, (self.module, self.choice, self.parts.spec, self._root)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._programs.clear()
            self.parts = replace(self.parts, tensors={})

    def take_threads(self) -> None:
        """Give torch, in all of this process, as many threads as the engine was told."""
        torch.set_num_threads(self.choice.threads)

    def smaller(self, tokens: int) -> None:
        """The device ran out of memory with so many tokens: halve what a batch may have, and say so once."""
        self._most = max(1, tokens // 2)
        if not self._warned:
            self._warned = True
            report.warn(
                f"{self.choice.device} ran out of memory with {tokens} tokens in a batch; from now on a batch has at "
                f"most {self._most}",
                ResourceWarning,
            )

    @property
    def most(self) -> int:
        """Tokens that a batch may have."""
        return self._most


def _untokenized(first: Any) -> str:
    return (
        f"{type(first).__name__} gives features, but no tokens to tell apart: for this derive it from "
        "vicinal.models.inputs.TokenModule"
    )


def _fewer(*bounds: int | None) -> int | None:
    """The smallest bound of those that are one."""
    return min((bound for bound in bounds if bound is not None), default=None)


class TorchProgram:
    """A route's modules as what the engine runs."""

    inputs: frozenset[str] = frozenset()

    def __init__(
        self,
        engine: TorchEngine,
        route: Route,
        outputs: tuple[str, ...],
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._engine, self._route, self._outputs = engine, route, outputs
        self._modules = engine._way(route)
        self._options = [taken(module, options) for module in self._modules]
        first = self._modules[0]
        self._first: Any = first if isinstance(first, TokenModule) else TextReader(first, self._options[0])

    def batches(self, tokens: Tokens, bounds: Bounds, needs: frozenset[str]) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """Batches of like length, as the first module wants them."""
        first, most = self._first, min(bounds.tokens, self._engine.most)
        for rows, _ in plan(tokens.lengths, most, _fewer(bounds.rows, first.most_rows), bounds.limit):
            features = first.batch(tokens, rows)
            if bounds.prompt:
                features["prompt_length"] = bounds.prompt
            yield rows, features

    def start(self, feeds: Any, wait: bool) -> _Done:
        return _Done(self._run(feeds), self._outputs)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _run(self, feeds: dict[str, Any]) -> dict[str, Any]:
        try:
            device = self._engine.module.device
            features = {k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in feeds.items()}
            if device.type == "cuda" and isinstance(self._first, Transformer) and self._first.packs(feeds, device):
                # laid out here: to look at the mask there would wait for every batch before
                features["packing"] = Packing.of(feeds["attention_mask"]).to(device)
            for module, options in zip(self._modules, self._options, strict=True):
                features = module(features, **options)
            return {name: self._made(features, name) for name in self._outputs}
        except torch.cuda.OutOfMemoryError:
            rows = len(feeds.get("input_ids", ()))
            if rows < 2 or any(getattr(value, "ndim", 0) and len(value) != rows for value in feeds.values()):
                raise
            self._engine.smaller(feeds["input_ids"].numel())
        torch.cuda.empty_cache()
        halves = [
            self._run({k: v[part] if getattr(v, "ndim", 0) else v for k, v in feeds.items()})
            for part in (slice(None, rows // 2), slice(rows // 2, None))
        ]
        return {name: torch.cat([half[name] for half in halves]) for name in self._outputs}

    def _made(self, features: Mapping[str, Any], name: str) -> Any:
        """What the modules made, of the width that they say."""
        if name not in features:
            raise DamagedModel(f"no module makes {name!r}: they end with {', '.join(features)} (is a Pooling missing?)")
        made, route = features[name], self._route
        if name == route.output and made.shape[-1] != route.width:
            last = type(self._modules[-1]).__name__
            raise DamagedModel(
                f"the modules make {made.shape[-1]} dimensions, but say {route.width}: the one that decides (the last "
                f"is {last}) must tell its width by get_embedding_dimension()"
            )
        return made


@dataclass(eq=False)
class _Done:
    """A batch that was handed to the device."""

    features: dict[str, Any]
    outputs: tuple[str, ...]

    def result(self) -> Arrays:
        return {name: self.features[name].float().cpu().numpy() for name in self.outputs}

    def abandon(self) -> None:
        self.features.clear()
