"""A network that another program exported: which of a folder's files computes it, in place of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vicinal.errors import DamagedModel, Unavailable, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.loading.spec import NetworkConfig, Transformer

Kind = Literal["openvino", "onnx"]
SUFFIXES: Mapping[str, Kind] = {".xml": "openvino", ".onnx": "onnx"}
_USUAL: Mapping[Kind, str] = {"openvino": "openvino_model.xml", "onnx": "model.onnx"}
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")


@dataclass(frozen=True)
class Exported(Transformer):
    """A transformer whose token states a file gives.

    Attributes:
        file: .onnx or .xml.
    """

    file: Path = field(default=Path(), kw_only=True)

    @property
    def kind(self) -> Kind:
        """The backend that runs it."""
        return SUFFIXES[self.file.suffix]

    @property
    def files(self) -> list[Path]:
        """The file, and the weights that lie beside it."""
        beside = [self.file.with_suffix(".bin"), self.file.with_name(f"{self.file.name}_data"),
                  self.file.with_name(f"{self.file.name}.data")]  # fmt: skip
        return [self.file, *(path for path in beside if path.is_file())]


@dataclass(frozen=True)
class Plain:
    """What a `config.json` says of a network that is not known here."""

    vocab_size: int
    type_vocab_size: int
    hidden_size: int
    max_tokens: int | None


@dataclass(frozen=True)
class Wish:
    """What the user says about files.

    Attributes:
        file_name, subfolder: of the file; `subfolder` stands before it.
        export: True computes from the weights, False from a file, None from the weights where the network is known.
        kind: which backend is asked for, None whichever has a file.
    """

    file_name: str | None = None
    subfolder: str | None = None
    export: bool | None = None
    kind: Kind | None = None


WEIGHTS, WHERE_NEEDED = Wish(export=True), Wish()
"""No file; one where the network is not known."""


def wish(kwargs: Mapping[str, Any], backend: str) -> Wish:
    """What `model_kwargs` says about files.

    Raises:
        ValueError: a value of another kind, or two that contradict each other. Unavailable: the backend runs no files.
    """
    name, below, export = (kwargs.get(key) for key in ("file_name", "subfolder", "export"))
    for key, value in (("file_name", name), ("subfolder", below)):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"model_kwargs: {key} must be a text, not {value!r}")
    if export not in (None, True, False):
        raise ValueError(f"model_kwargs: export must be True or False, not {export!r}")
    if export and (name or below):
        raise ValueError("model_kwargs: export=True computes from the weights, file_name and subfolder name a file")
    asked = bool(name or below) or export is False
    if backend not in ("auto", *_USUAL):
        if asked:
            raise Unavailable(f'a file is run by backend="onnx" or "openvino", not by {backend!r}')
        return WEIGHTS
    if name and Path(name).suffix not in SUFFIXES:
        raise ValueError(f"model_kwargs: file_name must end in {' or '.join(SUFFIXES)}, not be {name!r}")
    kind = SUFFIXES[Path(name).suffix] if name else None
    if kind is not None and backend not in ("auto", kind):
        raise Unavailable(f'{name} is run by backend="{kind}", not by {backend!r}')
    return Wish(name, below, export, kind if backend == "auto" else _kind(backend))


def _kind(backend: str) -> Kind:
    return "openvino" if backend == "openvino" else "onnx"


def find_file(folder: Folder, at: str, wish: Wish, known: bool) -> Path | None:
    """The file that computes the network in the subfolder `at`, None for its weights.

    Args:
        known: whether there is a network for it here.

    Raises:
        UnsupportedModel: the file that is asked for is not there; those that are, are listed.
    """
    asked = wish.file_name or wish.subfolder or wish.export is False
    if wish.export or (known and not asked):
        return None
    kinds = [wish.kind] if wish.kind else list(_USUAL)
    tried = [name for kind in kinds for name in _places(wish, kind, at)]
    for name in tried:
        if folder.has(name):
            return folder.path(name)
    if not asked:
        return None
    there = sorted(
        path.relative_to(folder.root).as_posix() for suffix in SUFFIXES for path in folder.root.rglob(f"*{suffix}")
    )
    raise UnsupportedModel(
        f"{folder.root} has no {' or '.join(tried)}; "
        f"{'it has ' + ', '.join(there) if there else 'it has no exported file at all'}. Of a model on the hub, "
        f"`hf download NAME {tried[-1]}` fetches one into the cache. Without file_name, the weights are taken"
    )


def _places(wish: Wish, kind: Kind, at: str) -> list[str]:
    """Where a file may be: as it is named, or in the backend's own folder; in the module's folder, or the model's."""
    name = wish.file_name or _USUAL[kind]
    own = "/".join(part for part in (wish.subfolder, name) if part)
    inner = "/".join(part for part in (wish.subfolder, kind, name) if part)
    heads = [f"{at}/", ""] if at else [""]
    return [head + place for head in heads for place in (own, inner)]


def describe(config: Mapping[str, Any], folder: Folder, at: str) -> NetworkConfig:
    """What must be known of a network that has no place here.

    Raises:
        DamagedModel: the configuration does not say it.
    """

    def whole(*names: str) -> int:
        found = [config[name] for name in names if type(config.get(name)) is int]
        if not found or found[0] < 1:
            raise DamagedModel(f"{folder.root / at / 'config.json'} does not state {' or '.join(names)}")
        return int(found[0])

    types, positions = config.get("type_vocab_size"), config.get("max_position_embeddings")
    return Plain(
        whole("vocab_size"),
        types if type(types) is int and types > 0 else 0,
        whole(*_WIDTHS),
        positions if type(positions) is int and positions > 0 else None,
    )
