"""Names an embedding space: two models with one fingerprint give vectors that may be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.loading import adapter
from vicinal.loading.cache import remember_files
from vicinal.loading.exported import Exported
from vicinal.loading.modules import Parts
from vicinal.loading.spec import Dropout, Module, Spec, StaticEmbedding, Transformer
from vicinal.loading.weights import Tensor, plain_table

if TYPE_CHECKING:
    from vicinal.engine import Engine

FORMAT = 1
"""Changes when the same files come to mean other vectors, or this file describes them differently."""


@dataclass(frozen=True)
class Stamps:
    """The weight files of a model as they were when it was loaded: (path, size, modification time in ns)."""

    files: tuple[tuple[Path, int, int], ...]

    @classmethod
    def of(cls, parts: Parts) -> Stamps:
        """The files behind a model's tensors."""
        paths = {tensor.file for tensor in parts.tensors.values() if tensor.file is not None}
        paths |= {path.with_name(adapter.CONFIG) for path in paths if path.name in (adapter.WEIGHTS, adapter.PICKLED)}
        return cls(tuple(_stamp(path) for path in sorted(paths)))

    def hold(self) -> bool:
        """Whether the files are still those."""
        try:
            return bool(self.files) and all(_stamp(file[0]) == file for file in self.files)
        except OSError:
            return False


def _stamp(path: Path) -> tuple[Path, int, int]:
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns


def fingerprint(spec: Spec, engine: Engine, stamps: Stamps | None) -> str:
    """SHA-256, in hex, of all that decides a text's vector but its prompt.

    Args:
        stamps: the digest of the tensors is remembered by these files, while they are as they were loaded.
    """
    tensors = _canonical(spec, engine)
    names = json.dumps([[name, tensor.dtype, tensor.shape] for name, tensor in tensors])
    if stamps is not None and stamps.hold():
        key = f"tensors-{FORMAT}-{hashlib.sha256(names.encode()).hexdigest()}"
        digest = remember_files(key, [path for path, _, _ in stamps.files], lambda _: _digest(tensors))
    else:
        digest = _digest(tensors)
    described: dict[str, Any] = {
        "format": FORMAT,
        "names": names,
        "tensors": digest,
        "dims": min(spec.truncate_dim or spec.width, spec.width),
    }
    for task, route in spec.routes.items():
        tokenizer = engine.parts.tokenizers[route.folders[0]].canonical()
        described[f"route {task}"] = {
            "modules": [_described(module) for module in route.modules if not isinstance(module, Dropout)],
            "max_length": route.max_length,
            "keep_end": engine.parts.tokenizers[route.folders[0]].keep_end,
            "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
        }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Canonical:
    """A tensor as every layout of the same model has it; `bytes` computes them."""

    dtype: str
    shape: tuple[int, ...]
    bytes: Callable[[], memoryview]

    @classmethod
    def of(cls, tensor: Tensor) -> _Canonical:
        return cls(tensor.dtype, tensor.shape, lambda: tensor.array.data)

    @classmethod
    def table(cls, rows: Tensor, scale: Tensor | None) -> _Canonical:
        return cls("F32", rows.shape, lambda: plain_table(rows, scale).array.data)


def _canonical(spec: Spec, engine: Engine) -> Sequence[tuple[str, _Canonical]]:
    """The tensors that the networks read, by names that no file layout changes."""
    named = {}
    for task, route in spec.routes.items():
        kept = [i for i, module in enumerate(route.modules) if not isinstance(module, Dropout)]
        for i, at in enumerate(route.folders[k] for k in kept):
            found = {}
            for name, tensor in engine.read_tensors():
                folder, _, local = name.rpartition("/")
                if folder == at:
                    found[local.replace(".gamma", ".weight").replace(".beta", ".bias")] = tensor
            if isinstance(route.modules[kept[i]], StaticEmbedding):
                rows, scale = found.pop("embedding.weight"), found.pop("embedding.scale", None)
                named[f"{task}/{i}/embedding.weight"] = _Canonical.table(rows, scale)
            named.update({f"{task}/{i}/{local}": _Canonical.of(tensor) for local, tensor in found.items()})
    return sorted(named.items(), key=itemgetter(0))


def _digest(tensors: Sequence[tuple[str, _Canonical]]) -> str:
    sha = hashlib.sha256()
    for _, tensor in tensors:
        sha.update(tensor.bytes())
    return sha.hexdigest()


def _contents(paths: Sequence[Path]) -> str:
    sha = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()


def _described(module: Module) -> list[Any]:
    """A module's settings; of a transformer those that its network reads."""
    if isinstance(module, Exported):
        return [module.kind, remember_files("exported", module.files, _contents)]
    if isinstance(module, Transformer):
        chat = [] if module.chat is None else [asdict(module.chat)]
        return [module.architecture, asdict(module.network), *chat]  # type: ignore[call-overload]
    return [type(module).__name__, asdict(module)]
