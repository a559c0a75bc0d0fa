"""Encoding and scoring in several processes, and encoding beside an event loop."""

from __future__ import annotations

import asyncio
import copy
import functools
import io
import pickle
import queue
import warnings
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal import arguments, report
from vicinal.backends import Choice, available_threads, numerics, torch_device
from vicinal.engine import Engine, Job
from vicinal.errors import InvalidInput, SpaceMismatch, Unavailable, WorkerDied
from vicinal.loading.fingerprint import fingerprint
from vicinal.loading.spec import Pooling, Spec
from vicinal.loading.weights import Tensor, read_safetensors
from vicinal.text.tokens import HalfCharacter, Text
from vicinal.workers import Worker

if TYPE_CHECKING:
    from vicinal.model import Model

_MOST = 5000
"""Texts of a chunk where the caller does not say; a worker has some ten of them, so that none idles at the end."""


class WorkerPool:
    """Processes that each hold a model. Threads may share one; `with` closes it.

    Args:
        model: whose copies they hold, as it is now; its files are mapped again, not copied.
        devices: one process for each.

    Raises:
        Unavailable: a device is not to be had here.
    """

    def __init__(self, model: Model, devices: Sequence[str]) -> None:
        if not devices:
            raise ValueError("a pool needs at least one device")
        for device in devices:
            torch_device(device) if model._by_torch else arguments.same_device(device, "cpu")
        self.devices = tuple(devices)
        self.fingerprint = model.fingerprint
        self._engine, self._weights, self._choice = weakref.ref(model._engine), _weights(model), model._engine.choice
        threads = max(1, model._engine.choice.threads // len(devices))
        payload = _pickled(model, threads)
        self._closed = self._died = False
        self._workers = [Worker() for _ in devices]
        weakref.finalize(self, _kill, self._workers)
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._askers = ThreadPoolExecutor(len(devices), "vicinal-pool")
        try:
            with self._told():
                begun = [
                    self._askers.submit(worker.ask, _begin, payload, device)
                    for worker, device in zip(self._workers, devices, strict=True)
                ]
                for ready in begun:
                    ready.result()
        except BaseException:
            self.close()
            raise
        for worker in self._workers:
            self._free.put(worker)

    def check(self, model: Model) -> None:
        """Whether a model is the one whose copies the processes hold; lengths and prompts travel with each call.

        Raises:
            SpaceMismatch: it has other weights or another tokenizer, or computes in another dtype.
        """
        theirs, choice = self._choice, model._engine.choice
        if numerics(theirs) != numerics(choice):
            raise SpaceMismatch(
                f"the processes of this pool compute at {theirs.dtype} on {theirs.backend}, but {model.name} at "
                f"{choice.dtype} on {choice.backend}: start a pool of this one"
            )
        same = self._engine() is model._engine and not model._by_torch  # weights in torch may have changed since
        if not same and self._weights != _weights(model):
            raise SpaceMismatch(
                f"the processes of this pool hold another model than {model.name}, or {model.name} as it was before: "
                "start a pool of this one"
            )

    def fill(
        self,
        vectors: NDArray[np.float32],
        texts: Sequence[Text],
        job: Job,
        normalize: bool,
        truncation: str,
        progress: bool | None,
        chunk_size: int | None,
        before: int = 0,
        cached: bool = True,
    ) -> None:
        """Compute the vectors of texts, or the scores of pairs, into the rows of an array, chunk by chunk.

        Args:
            before: texts that came earlier, for messages.
            cached: whether the workers ask the model's cache.

        Raises:
            WorkerDied: a process ended; what it was given is not computed.
        """
        size = chunk_size or max(1, min(_MOST, -(-len(texts) // (len(self.devices) * 10))))
        bar = report.bar(len(texts)) if report.shown(progress) else None
        pending: list[tuple[int, Future[_Filled]]] = []
        try:
            with self._told():
                for start in range(0, len(texts), size):
                    part = texts[start : start + size]
                    task = _Task(part, job, vectors.shape[1], normalize, truncation, before + start, cached)
                    pending.append((start, self._submit(task)))
                said: dict[tuple[type[Warning], str], None] = {}
                for start, future in pending:
                    filled = future.result()
                    vectors[start : start + len(filled.vectors)] = filled.vectors
                    said.update(dict.fromkeys(filled.warnings))
                    if bar is not None:
                        bar.update(len(filled.vectors))
        finally:
            for _, future in pending:
                future.cancel()
            if bar is not None:
                bar.close()
        for category, message in said:
            report.warn(message, category)

    def _submit(self, task: _Task) -> Future[_Filled]:
        try:
            return self._askers.submit(self._ask, task)
        except RuntimeError:
            if self._ended():
                raise CancelledError from None
            raise

    def _ask(self, task: _Task) -> _Filled:
        worker = self._free.get()
        try:
            return worker.ask(_fill, task)
        finally:
            self._free.put(worker)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A dead worker, or a closed pool, as an error that says so."""
        if self._ended():
            raise ValueError("this pool is closed; start another")
        try:
            yield
        except (WorkerDied, CancelledError) as error:
            if self._ended() and not self._died:
                raise ValueError("this pool was closed before it gave all results of this call") from None
            self._died = True
            self.close()
            raise WorkerDied(
                "a process of the pool ended before it gave its results (killed, or out of memory?): nothing of this "
                "call is lost but its time; start another pool"
            ) from error

    def _ended(self) -> bool:
        return self._closed

    def close(self) -> None:
        """End the processes; calls under way end with an error."""
        self._closed = True
        self._askers.shutdown(wait=False, cancel_futures=True)
        _kill(self._workers)
        self._askers.shutdown(wait=True)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pooled:
    """What a model has for several processes."""

    def start_multi_process_pool(self, target_devices: Sequence[str] | None = None) -> WorkerPool:
        """Start processes that compute: `encode(..., pool=pool)`, `predict(..., pool=pool)`.

        Args:
            target_devices: a process for each, such as `["cpu", "cpu"]`; None is one for every four processors.
        """
        if target_devices is None:
            target_devices = ["cpu"] * max(1, available_threads() // 4)
        return WorkerPool(self, target_devices)  # type: ignore[arg-type]  # mixed into models

    @staticmethod
    def stop_multi_process_pool(pool: WorkerPool) -> None:
        """End the processes of a pool."""
        pool.close()


class Parallel(Pooled):
    """What a model of vectors has for several processes and for event loops."""

    def encode_multi_process(self, sentences: Any, pool: WorkerPool, *more: Any, **options: Any) -> Any:
        """The older spelling of `encode(sentences, ..., pool=pool)`."""
        names = ("prompt_name", "prompt", "batch_size", "chunk_size", "show_progress_bar", "precision",
                 "normalize_embeddings", "truncate_dim")  # fmt: skip
        placed = dict(zip(names, more, strict=False))
        return self.encode(sentences, pool=pool, **placed, **options)  # type: ignore[attr-defined]

    async def aencode(self, *args: Any, **options: Any) -> Any:
        """`encode` in a thread of its own, so that an event loop goes on meanwhile."""
        call = functools.partial(self.encode, *args, **options)  # type: ignore[attr-defined]
        return await asyncio.get_running_loop().run_in_executor(None, call)


def checked_pool(pool: Any, model: Any) -> WorkerPool:
    """What was given as a model's pool.

    Raises:
        InvalidInput: it is none. SpaceMismatch: it is another model's.
    """
    if not isinstance(pool, WorkerPool):
        raise InvalidInput(f"pool must come from start_multi_process_pool(), not be a {type(pool).__name__}")
    pool.check(model)
    return pool


def _kill(workers: Sequence[Worker]) -> None:
    for worker in workers:
        worker.kill()


def _weights(model: Model) -> str:
    """Names what of a model does not travel with a call: tensors and tokenizers."""
    routes = {
        task: replace(
            route,
            modules=tuple(replace(m, include_prompt=True) if isinstance(m, Pooling) else m for m in route.modules),
            max_length=None,
        )
        for task, route in model.spec.routes.items()
    }
    return fingerprint(Spec(routes, model.spec.default_route), model._engine, model._stamps)


# ---- to a worker ---------------------------------------------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Tensors go as the places of their files, and engines with a worker's share of threads."""

    def __init__(self, file: io.BytesIO, threads: int) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._threads = threads
        self._mapped: dict[Path, dict[str, Tensor]] = {}

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor) and (file := value.file) is not None and file.suffix == ".safetensors":
            if file not in self._mapped:
                self._mapped[file] = {t.name: t for t in read_safetensors(file).values()}
            found = self._mapped[file].get(value.name)
            # The file's own values? A model may hold others under the same name (rows picked, adapters merged).
            if found is not None and found.dtype == value.dtype and np.array_equal(found.array, value.array):
                stat = file.stat()
                return _mapped, (str(file), value.name, stat.st_size, stat.st_mtime_ns)
        if isinstance(value, Engine):
            engine, given = value.__reduce__()
            return engine, tuple(replace(v, threads=self._threads) if isinstance(v, Choice) else v for v in given)
        return NotImplemented


def _pickled(model: Model, threads: int) -> bytes:
    file, alone = io.BytesIO(), copy.copy(model)
    if not model._by_torch:
        alone._torch = alone._seen = None  # the fast form computes
    _Pickler(file, threads).dump(alone)
    return file.getvalue()


@functools.cache
def _file(path: str, size: int, time: int) -> dict[str, Tensor]:
    stat = Path(path).stat()
    if (stat.st_size, stat.st_mtime_ns) != (size, time):
        raise Unavailable(f"{path} has changed since the model was loaded: load it again, then start the pool")
    return read_safetensors(Path(path))


def _mapped(path: str, name: str, size: int, time: int) -> Tensor:
    return _file(path, size, time)[name]


# ---- in a worker ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Task:
    texts: Sequence[Text]
    job: Job
    dims: int
    normalize: bool
    truncation: str
    before: int
    cached: bool


@dataclass(frozen=True)
class _Filled:
    vectors: NDArray[np.float32]
    warnings: tuple[tuple[type[Warning], str], ...]


_models: list[Any] = []


def _begin(payload: bytes, device: str) -> None:
    """Load the model that this process is for."""
    model = pickle.loads(payload)
    if model._by_torch:
        model._engine.take_threads()
        model.to(device)
    _models.append(model)


def _model() -> Any:
    return _models[0]


@functools.cache
def _plain() -> Any:
    """The model without its cache."""
    found = copy.copy(_model())
    found._cache = None
    return found


def _fill(task: _Task) -> _Filled:
    vectors = np.empty((len(task.texts), task.dims), np.float32)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model = _model() if task.cached else _plain()
            model._fill(vectors, task.texts, task.job, task.normalize, task.truncation, False, task.before)
        except HalfCharacter as error:
            raise report.half_character(error.text, task.texts, task.before) from None
    return _Filled(vectors, tuple((w.category, str(w.message)) for w in said))
