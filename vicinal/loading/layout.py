"""Which files make a model: what is fetched, packed and looked for, and what is left where it is."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vicinal.errors import DamagedModel, UnsafeModel
from vicinal.loading.folder import Folder

# The last part of the `type` in modules.json. A name in none of these groups is somebody's own module: its weights are
# taken where there are some, but not asked for.
TRANSFORMERS = frozenset(
    (
        "Transformer",
        "MLMTransformer",
        "BERT",
        "RoBERTa",
        "DistilBERT",
        "ALBERT",
        "CamemBERT",
        "XLMRoBERTa",
        "XLNet",
        "T5",
    )
)
ROUTERS = frozenset({"Router", "Asym"})
_CONFIGURED = TRANSFORMERS | {"Pooling", "Dense"}
_WEIGHTED = TRANSFORMERS | frozenset(
    ("Dense", "StaticEmbedding", "WordEmbeddings", "LayerNorm", "WeightedLayerPooling", "LSTM", "CNN", "CLIPModel")
)
_TOKENIZED = TRANSFORMERS | {"StaticEmbedding"}

# In order of preference: one file, or an index that names its shards.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
)
_ROOTS = ("modules.json", "config.json", "adapter_config.json")
_CONFIG = re.compile(r"(adapter_)?config\.json")
_VOCABULARY = re.compile(r"tokenizer\.json|tekken\.json|.*vocab.*\.(txt|json)|.*\.(model|spm|codes)")
_SMALL = re.compile(
    r".*\.(json|jinja|model|spm|codes)|.*(vocab|merges).*\.txt|README\.md|(LICENSE|NOTICE)(\.(md|txt))?"
)
_TRAINING = re.compile(r"trainer_state\.json|.*_results\.json|data_config\.json|.*\.index\.json|vicinal_model\.json")


@dataclass(frozen=True)
class Contents:
    """The files of a model, wherever they lie.

    Attributes:
        names: relative to the model's folder, with forward slashes.
        read: gives the bytes of one of them, by name.
        place: the folder or repository, for messages.
    """

    names: frozenset[str]
    read: Callable[[str], bytes]
    place: str

    def json(self, name: str) -> Any:
        """The parsed file.

        Raises:
            DamagedModel: it is not JSON.
        """
        content = self.read(name)
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DamagedModel(f"{name} of {self.place} is not readable as JSON: {error}. Fetch it again.") from error


@dataclass(frozen=True)
class Plan:
    """What a model is made of.

    Attributes:
        small: configuration, vocabulary, card and licence, in order of name.
        weights: in order of name. Whoever copies a model copies these last, so that weights stand for completeness.
        missing: what cannot be done without and is not there.
    """

    small: tuple[str, ...]
    weights: tuple[str, ...]
    missing: tuple[str, ...]


def on_disk(folder: Path) -> Contents:
    """The files below a folder; a link that leads nowhere is not a file."""
    names = set()
    for where, _, files in os.walk(folder):
        names |= {Path(where, file).relative_to(folder).as_posix() for file in files if Path(where, file).is_file()}
    return Contents(frozenset(names), lambda name: Folder(folder).path(name).read_bytes(), str(folder))


def plan(contents: Contents) -> Plan:
    """Sort a model's files into those that are needed and those that are not.

    Raises:
        DamagedModel: modules.json, a router's configuration or an index of weights cannot be read.
        UnsafeModel: one of them names a file outside the model's folder.
    """
    if contents.names.isdisjoint(_ROOTS):
        return Plan((), (), ("modules.json or config.json",))
    found_parts = [(folder, type_.rpartition(".")[2]) for folder, type_ in parts(contents)]
    small = {name for folder in {"", *dict(found_parts)} for name in _small(contents, folder)}
    weights: set[str] = set()
    missing = []
    for folder, kind in found_parts:
        found = _weights(contents, folder)
        weights |= found
        missing += sorted(found - contents.names)
        if kind in _WEIGHTED and not found:
            missing.append(f"{_join(folder, 'model.safetensors')} or {_join(folder, 'pytorch_model.bin')}")
        if kind in _CONFIGURED and not any(_matches(_CONFIG, name, folder) for name in contents.names):
            missing.append(_join(folder, "config.json"))
        if kind in _TOKENIZED and not any(_matches(_VOCABULARY, name, folder) for name in contents.names):
            missing.append(f"{_join(folder, 'tokenizer.json')} or another vocabulary")
    return Plan(tuple(sorted(small)), tuple(sorted(weights & contents.names)), tuple(missing))


def parts(contents: Contents) -> Iterator[tuple[str, str]]:
    """(folder, type as the files spell it) of every module, those of routers included.

    Raises:
        DamagedModel: modules.json or a router's configuration cannot be read.
        UnsafeModel: one of them names a place outside the model's folder.
    """
    if "modules.json" not in contents.names:
        yield "", "Transformer"
        return
    modules = contents.json("modules.json")
    if not isinstance(modules, list) or not all(isinstance(m, dict) and {"path", "type"} <= m.keys() for m in modules):
        raise DamagedModel(f"modules.json of {contents.place} is no list of modules with path and type")
    for module in modules:
        yield from _routed(contents, _inside(module["path"], "modules.json", contents), module["type"])


def _routed(contents: Contents, folder: str, type_: object) -> Iterator[tuple[str, str]]:
    yield folder, str(type_)
    if str(type_).rpartition(".")[2] in ROUTERS:
        names = (_join(folder, "router_config.json"), _join(folder, "config.json"))
        name = next((name for name in names if name in contents.names), None)
        config = contents.json(name) if name else None
        if name is None or not isinstance(config, dict) or not isinstance(config.get("types"), dict):
            raise DamagedModel(f"{names[0]} of {contents.place} is missing, or does not say which modules it routes to")
        for path, below in config["types"].items():
            if path in ("", "."):  # a router in its own place would never end
                raise DamagedModel(f"{name} of {contents.place} names {path!r} as the folder of a module")
            yield from _routed(contents, _join(folder, _inside(path, name, contents)), below)


def _weights(contents: Contents, folder: str) -> set[str]:
    """The best of the weights that a module's folder has: one file, or an index with the shards that it names."""
    best = next((name for name in _WEIGHTS if _join(folder, name) in contents.names), None)
    if best is None:
        return set()
    name = _join(folder, best)
    if not best.endswith(".index.json"):
        return {name}
    shards = contents.json(name)
    shards = shards.get("weight_map") if isinstance(shards, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise DamagedModel(f"{name} of {contents.place} has no weight_map, which names the files of the weights")
    return {name} | {_join(folder, _inside(shard, name, contents)) for shard in set(shards.values())}


def _small(contents: Contents, folder: str) -> Iterator[str]:
    return (name for name in contents.names if _matches(_SMALL, name, folder) and not _matches(_TRAINING, name, folder))


def _matches(pattern: re.Pattern[str], name: str, folder: str) -> bool:
    where, _, file = name.rpartition("/")
    return where == folder and pattern.fullmatch(file) is not None


def _inside(path: object, source: str, contents: Contents) -> str:
    """A path as modules.json and its like give it, refused where it leads out of the model's folder."""
    if not isinstance(path, str):
        raise DamagedModel(f"{source} of {contents.place} has {path!r} where the name of a file or folder belongs")
    windows = PureWindowsPath(path)
    if windows.anchor or ".." in windows.parts:
        raise UnsafeModel(f"{source} of {contents.place} names {path!r}, which lies outside the model's folder")
    return "/".join(PurePosixPath(path).parts)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
