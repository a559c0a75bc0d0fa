"""Writes a model's folder in the layout that sentence-transformers of versions 2 to 6 reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import vicinal
from vicinal.errors import UnsupportedModel
from vicinal.loading.classifier import TASK, saved_names
from vicinal.loading.exported import Exported
from vicinal.loading.folder import Folder
from vicinal.loading.modules import DENSE_ACTIVATIONS, OLD_POOLING, Parts
from vicinal.loading.reranker import TASK as LOGIT_TASK
from vicinal.loading.spec import (
    Classifier,
    Custom,
    Dense,
    Dropout,
    LayerNorm,
    LogitScore,
    Module,
    Normalize,
    Pooling,
    Route,
    Spec,
    StaticEmbedding,
    Transformer,
)
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.loading.weights import Tensor, plain_table, write_safetensors

# Files of an older model that are not carried over into the folder that replaces it.
_STALE = re.compile(
    r"(adapter_)?model[\w.-]*\.safetensors(\.index\.json)?|(pytorch_model|adapter_model)[\w.-]*\.bin(\.index\.json)?"
    r"|tf_model\.h5|flax_model\.msgpack|(tokenizer|config|modules|router_config|adapter_config|added_tokens)\.json"
    r"|(tokenizer_config|special_tokens_map|generation_config|vocab|vicinal_model|golden)\.json|(vocab|merges)\.txt"
    r"|config_sentence_transformers\.json|sentence_[\w-]+_config\.json|chat_template\.jinja"
    r"|spiece\.model|sentencepiece\.bpe\.model|README\.md"
)
_EXPORTS = ("onnx", "openvino")


def save_model(
    path: Path,
    spec: Spec,
    parts: Parts,
    source: Path,
    card: tuple[str, bool] | None,
    finish: Callable[[Path], None] | None = None,
) -> None:
    """Write the folder beside `path`, then put it in its place. Other files that stand there are not touched: then
    each file is put in its place by itself, `modules.json` last.

    Args:
        source: the folder that the model was loaded from.
        card: a card's text, and whether the README.md of `source` stays instead where there is one; None writes none.
        finish: changes the new folder before it is put in its place.

    Raises:
        NotADirectoryError: `path` is a file. UnsupportedModel: the network is a file that another program exported.
    """
    for route in spec.routes.values():
        if isinstance(route.modules[0], Exported):
            raise UnsupportedModel(
                f"this model's network is {route.modules[0].file}, which has no weights to save: copy its folder, or "
                "load it without file_name"
            )
    path = path.expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a model is saved as a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    new.mkdir()
    try:
        _write(new, spec, parts)
        if card is not None:
            _write_card(new / "README.md", source, *card)
        if finish is not None:
            finish(new)
        _swap(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    """Put a folder in the place of another, which stays whole until the last moment."""
    if not path.exists():
        new.rename(path)
        return
    modules = _old_modules(path)
    stale = [old for old in path.iterdir() if old.name in modules or (old.is_file() and _STALE.fullmatch(old.name))]
    if len(stale) < len(list(path.iterdir())) or os.path.samefile(path, os.curdir) or os.path.ismount(path):
        return _replace_files(new, path, stale)
    moved = path.parent / f".{path.name}.old.{uuid.uuid4().hex}"
    try:
        path.rename(moved)
        new.rename(path)
    except BaseException:
        if moved.exists():
            moved.rename(path)
        raise
    shutil.rmtree(moved, ignore_errors=True)


def _replace_files(new: Path, path: Path, stale: list[Path]) -> None:
    """Where other things stand in the folder too, or it must stay itself: file by file, modules.json last."""
    files = sorted((file for file in new.rglob("*") if file.is_file()), key=lambda file: file.name == "modules.json")
    kept = set()
    for file in files:
        target = path / file.relative_to(new)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
        kept.add(target)
    for old in stale:
        for file in [old] if old.is_file() else sorted(old.rglob("*"), reverse=True):
            if file.is_file() and file not in kept:
                file.unlink()


def _old_modules(path: Path) -> set[str]:
    """The folders of the model that is replaced: of its modules, and what was exported from its weights."""
    try:
        entries = json.loads((path / "modules.json").read_text(encoding="utf-8"))
        listed = {str(entry["path"]).split("/")[0] for entry in entries} - {"", ".", ".."}
    except (OSError, ValueError, TypeError, KeyError):  # none, or none that says so: nothing of it is known
        return set()
    return {*listed, *_EXPORTS}


def _write(root: Path, spec: Spec, parts: Parts) -> None:
    listed = []
    if spec.only is not None:
        for i, module in enumerate(spec.only.modules):
            if isinstance(module, Classifier):
                continue  # in its network's own folder
            kind = _kind(module)
            at = "" if i == 0 else f"{i}_{kind.rpartition('.')[2]}"
            _write_module(root / at, module, spec.only, i, parts)
            listed.append((kind, at, getattr(module, "options", ())))
        modules = [_entry(i, *entry) for i, entry in enumerate(listed)]
    else:
        modules = [_entry(0, "sentence_transformers.models.Router", "")]
        _write_router(root, spec, parts)
    _json(root / "modules.json", modules)
    settings: dict[str, Any] = {
        "__version__": {"vicinal": vicinal.__version__},
        "prompts": dict(spec.prompts),
        "default_prompt_name": spec.default_prompt_name,
    }
    if spec.only is not None and spec.only.output == "scores":
        settings |= {"model_type": "CrossEncoder", "activation_fn": spec.activation}
    else:
        settings |= {"model_type": "SentenceTransformer", "similarity_fn_name": spec.similarity_fn_name}
    if spec.truncate_dim is not None:
        settings["truncate_dim"] = spec.truncate_dim
    _json(root / "config_sentence_transformers.json", settings)


_TYPES: dict[type[Any], str] = {
    kind: f"sentence_transformers.models.{kind.__name__}"
    for kind in (Transformer, StaticEmbedding, Pooling, Dense, LayerNorm, Normalize, Dropout)
}
_TYPES[LogitScore] = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"


def _kind(module: Module) -> str:
    """A module's class as modules.json spells it."""
    return module.kind if isinstance(module, Custom) else _TYPES[type(module)]


def _entry(i: int, kind: str, at: str, options: Sequence[str] = ()) -> dict[str, Any]:
    entry = {"idx": i, "name": str(i), "path": at, "type": kind}
    return {**entry, "kwargs": list(options)} if options else entry


def _scoring(module: Transformer, route: Route) -> dict[str, Any]:
    """What sentence-transformers has to know of a network that scores."""
    by_logit = isinstance(route.modules[-1], LogitScore)
    logits = {"method": "forward", "method_output_name": "logits"}
    stated: dict[str, Any] = {
        "transformer_task": LOGIT_TASK if by_logit else TASK,
        "modality_config": {"text": logits},
        "module_output_name": "causal_logits" if by_logit else "scores",
    }
    if module.chat is not None:
        form = "structured" if module.chat.structured else "flat"
        stated["modality_config"]["message"] = {**logits, "format": form}
        if module.chat.options:
            stated["processing_kwargs"] = {"chat_template": dict(module.chat.options)}
    return stated


def _write_router(root: Path, spec: Spec, parts: Parts) -> None:
    """Each route whole, in folders of its own."""
    types, structure = {}, {}
    for task, route in spec.routes.items():
        kinds = [_kind(module) for module in route.modules]
        structure[task] = [f"{task}_{i}_{kind.rpartition('.')[2]}" for i, kind in enumerate(kinds)]
        for i, (module, at) in enumerate(zip(route.modules, structure[task], strict=True)):
            types[at] = _kind(module)
            _write_module(root / at, module, route, i, parts)
    parameters = {"default_route": spec.default_route, "allow_empty_key": spec.default_route is not None}
    _json(root / "router_config.json", {"types": types, "structure": structure, "parameters": parameters})


def _write_module(folder: Path, module: Module, route: Route, i: int, parts: Parts) -> None:
    at = route.folders[i]
    if at in parts.writers:
        folder.mkdir(parents=True, exist_ok=True)
        return parts.writers[at](folder)
    tensors = {}
    if not isinstance(module, (Pooling, Normalize, Dropout, LogitScore)):
        found = ((n.rpartition("/"), tensor) for n, tensor in parts.tensors.items())
        tensors = {name[2]: tensor for name, tensor in found if name[0] == at}
    scores = route.output == "scores"
    if scores and isinstance(module, Transformer):
        tensors = saved_names(parts)
    tokenizer = parts.tokenizers[at] if isinstance(module, (Transformer, StaticEmbedding)) else None
    scoring = _scoring(module, route) if scores and isinstance(module, Transformer) else {}
    write_module(folder, module, tensors, tokenizer, route.max_length, scoring)


def write_module(
    folder: Path,
    module: Module,
    tensors: Mapping[str, Tensor],
    tokenizer: TokenizerFile | None,
    max_length: int | None,
    scoring: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write one module's folder.

    Args:
        tensors: by the names that the file has.
        tokenizer: of a first module.
        scoring: what the configuration says of a network that scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(module)
    if config:
        _json(folder / "config.json", config)
    if isinstance(module, StaticEmbedding):
        tensors = {"embedding.weight": plain_table(tensors["embedding.weight"], tensors.get("embedding.scale"))}
    if tensors:
        write_safetensors(folder / "model.safetensors", tensors)
    if tokenizer is None:
        return
    (folder / "tokenizer.json").write_text(tokenizer.canonical(), encoding="utf-8")
    if isinstance(module, StaticEmbedding) and max_length is not None:
        _json(folder / "sentence_bert_config.json", {"max_seq_length": max_length})
    if isinstance(module, Transformer):
        limit = {} if max_length is None else {"model_max_length": max_length}
        _json(folder / "tokenizer_config.json", {**tokenizer.config, **limit})
        sentence = {"max_seq_length": max_length, "do_lower_case": tokenizer.lower}
        _json(folder / "sentence_bert_config.json", {**sentence, **scoring})
        if module.chat is not None:
            (folder / "chat_template.jinja").write_text(module.chat.template, encoding="utf-8")


def _config(module: Module) -> dict[str, Any]:
    """A module's config.json, in the oldest spelling that says it all."""
    if isinstance(module, Transformer):
        return dict(module.config)
    if isinstance(module, Pooling):
        old = {key: mode in module.modes for key, mode in OLD_POOLING.items()}
        if tuple(mode for mode in OLD_POOLING.values() if mode in module.modes) == module.modes:
            return {"word_embedding_dimension": module.width, **old, "include_prompt": module.include_prompt}
        modes = list(module.modes)  # in an order that the old keys cannot tell
        return {"embedding_dimension": module.width, "pooling_mode": modes, "include_prompt": module.include_prompt}
    if isinstance(module, Dense):
        activation = next(path for path, kind in DENSE_ACTIVATIONS.items() if kind == module.activation)
        config: dict[str, Any] = {
            "in_features": module.in_features,
            "out_features": module.out_features,
            "bias": module.bias,
            "activation_function": activation,
        }
        if module.residual:
            config["use_residual"] = True
        if (module.source, module.target) != ("sentence_embedding", "sentence_embedding"):
            config.update(module_input_name=module.source, module_output_name=module.target)
        return config
    if isinstance(module, LogitScore):
        return {"true_token_id": module.true_token, "false_token_id": module.false_token,
                "module_input_name": "causal_logits"}  # fmt: skip
    if isinstance(module, LayerNorm):
        return {"dimension": module.width}
    if isinstance(module, Dropout):
        return {"dropout": module.rate}
    if isinstance(module, Normalize):
        return {"module_input_name": module.source, "module_output_name": module.target}
    return {}


def _write_card(path: Path, source: Path, text: str, keep: bool) -> None:
    if keep and (own := Folder(source)).has("README.md"):
        shutil.copyfile(own.path("README.md"), path)
    else:
        path.write_text(text, encoding="utf-8")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
