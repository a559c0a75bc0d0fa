"""One model, looked at closely, and several side by side: from its small files, here or on the hub."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vicinal.errors import DamagedModel, ModelNotFound, VicinalError
from vicinal.hub.asking import ask, model_info
from vicinal.hub.card import Card, Score, mean, parse_card
from vicinal.hub.known import find_known
from vicinal.loading import hub
from vicinal.loading.folder import SENTENCE_CONFIGS
from vicinal.loading.hub import Wanted
from vicinal.loading.layout import TRANSFORMERS, Contents, on_disk, parts, plan
from vicinal.loading.locate import Located, hub_name, locate
from vicinal.loading.modules import OLD_POOLING
from vicinal.loading.opening import BUNDLED, BUNDLED_NAME
from vicinal.loading.support import Support, of_files
from vicinal.loading.weights import Tensor, read_safetensors

_TABLES = ("embedding.weight", "embeddings")
_WIDTHS = ("hidden_size", "d_model", "dim", "n_embd")


@dataclass(frozen=True)
class Details:
    """What is known of a model; None where its files do not tell.

    Attributes:
        name: its id on the hub, or its folder.
        source: where its files were read: "folder", "hub cache", "package", "bundled" or "hub".
        revision: the commit.
        bytes: of the files that it needs.
        dims: of its vectors, None of a reranker's.
        max_tokens: that a text may have.
        prompts: what stands before its texts, by name.
        similarity: what its vectors are compared by.
        support: whether it runs here without torch.
    """

    name: str
    source: str
    revision: str | None
    bytes: int
    dims: int | None
    max_tokens: int | None
    prompts: Mapping[str, str]
    similarity: str | None
    support: Support
    card: Card


def show(name: str, revision: str | None = None, token: str | bool | None = None) -> Details:
    """Look at a model: at its files where this machine has them, else on the hub, of whose weights nothing is fetched.

    Args:
        name: a folder, or an id on the hub.
        revision: branch, tag or commit.
        token: of the hub; None is the saved one, where there is one.

    Raises:
        ModelNotFound: no place has it, or the hub cannot be asked; the reason is in one line.
    """
    try:
        bundled = Located(BUNDLED, BUNDLED_NAME, "bundled") if name == BUNDLED_NAME else None
        found = bundled or locate(name, revision=revision, local_files_only=True)
    except ModelNotFound:
        if os.path.isabs(name) or name.startswith("."):
            raise
        return _on_hub(Wanted(hub_name(name), revision or "main", token))
    contents = on_disk(found.folder)
    sizes = {name: (found.folder / name).stat().st_size for name in contents.names}
    details = _details(found.name, found.source, found.revision, contents, sizes)
    if details.dims is None and details.support.how == "table":  # whose width its weights alone tell
        details = replace(details, dims=_table_width(found.folder, plan(contents).weights))
    return details


def _table_width(folder: Path, weights: Sequence[str]) -> int | None:
    """Columns of a static model's table, from the head of its file."""
    tensors: dict[str, Tensor] = {}
    for name in weights:
        tensors |= read_safetensors(folder / name) if name.endswith(".safetensors") else {}
    return next((tensors[name].shape[1] for name in _TABLES if name in tensors and len(tensors[name].shape) == 2), None)


def _on_hub(wanted: Wanted) -> Details:
    info = model_info(wanted)
    sizes = {
        file["rfilename"]: file.get("size") or 0
        for file in info["siblings"]
        if isinstance(file, dict) and isinstance(file.get("rfilename"), str)
    }
    commit = str(info.get("sha") or wanted.revision)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())

        def read(name: str) -> bytes:
            fetch = hub.client(wanted.token).hf_hub_download
            path = ask(wanted, lambda: fetch(wanted.repo_id, name, revision=commit, cache_dir=folder), ModelNotFound)
            return Path(path).read_bytes()

        contents = Contents(frozenset(sizes), read, str(wanted))
        return _details(wanted.repo_id, "hub", commit, contents, sizes)


def _details(name: str, source: str, revision: str | None, contents: Contents, sizes: Mapping[str, int]) -> Details:
    files = plan(contents)
    settings = _optional(contents, "config_sentence_transformers.json")
    prompts = settings.get("prompts")
    dims, max_tokens = _shape(contents)
    known = find_known(name) if source != "folder" else None
    if dims is None and known is not None:
        dims, max_tokens = known.dims, max_tokens or known.max_tokens
    readme = contents.read("README.md").decode("utf-8", "replace") if "README.md" in contents.names else None
    return Details(
        name,
        source,
        revision,
        sum(sizes[file] for file in (*files.small, *files.weights)),
        dims,
        max_tokens,
        {
            str(key): text
            for key, text in (prompts if isinstance(prompts, dict) else {}).items()
            if isinstance(text, str)
        },
        str(settings["similarity_fn_name"]) if settings.get("similarity_fn_name") else None,
        _support(contents),
        Card(flaw="it has no card (README.md)") if readme is None else parse_card(readme),
    )


def _support(contents: Contents) -> Support:
    try:
        return of_files(contents)
    except ModelNotFound:
        raise
    except VicinalError as error:  # what cannot be loaded is shown all the same
        return Support(False, str(error))


def _shape(contents: Contents) -> tuple[int | None, int | None]:
    """Dimensions of the vectors, None where only the weights tell or there are none, and tokens of a text."""
    width = tokens = dims = None
    for folder, type_ in parts(contents):
        kind, at = type_.rpartition(".")[2], f"{folder}/" if folder else ""
        config = _optional(contents, f"{at}config.json")
        if kind in TRANSFORMERS:
            width = next((config[key] for key in _WIDTHS if type(config.get(key)) is int), None)
            tokens = _tokens(contents, at, config)
            vectors = "modules.json" in contents.names or not _classifies(config)
            dims = width if vectors else None
        elif kind == "Pooling" and width is not None:
            modes = config.get("pooling_mode") or [key for key in OLD_POOLING if config.get(key)]
            dims = width * (len(modes) if isinstance(modes, list) and modes else 1)
        elif kind == "Dense" and type(config.get("out_features")) is int:
            dims = config["out_features"]
    return dims, tokens


def _classifies(config: Mapping[str, Any]) -> bool:
    names = config.get("architectures")
    return isinstance(names, list) and bool(names) and str(names[0]).endswith("ForSequenceClassification")


def _tokens(contents: Contents, at: str, config: Mapping[str, Any]) -> int | None:
    """The least of what the files say."""
    sentence = next((_optional(contents, at + name) for name in SENTENCE_CONFIGS if at + name in contents.names), {})
    own = _optional(contents, f"{at}tokenizer_config.json").get("model_max_length")
    stated = [sentence.get("max_seq_length") or own, config.get("max_position_embeddings")]
    return min((value for value in stated if type(value) is int and 0 < value < 1 << 30), default=None)


def _optional(contents: Contents, name: str) -> dict[str, Any]:
    if name not in contents.names:
        return {}
    found = contents.json(name)
    if not isinstance(found, dict):
        raise DamagedModel(f"{name} of {contents.place} is no mapping")
    return found


@dataclass(frozen=True)
class Comparison:
    """Models side by side, on what all of them report.

    Attributes:
        models: in the order given.
        tasks: (kind, task) that every card has, with each model's score.
        means: by kind, each model's mean over those tasks, and their number.
    """

    models: tuple[Details, ...]
    tasks: Mapping[tuple[str, str], tuple[Score, ...]]
    means: Mapping[str, tuple[tuple[float, ...], int]]


def compare(models: Sequence[Details]) -> Comparison:
    """Put models side by side; tasks that one of them does not report are left out, so that means are of the same."""
    scores = [{(score.kind, score.task): score for score in model.card.scores} for model in models]
    common = [key for key in scores[0] if all(key in others for others in scores[1:])]
    tasks = {key: tuple(one[key] for one in scores) for key in sorted(common)}
    means = {}
    for kind in dict.fromkeys(kind for kind, _ in tasks):
        rows = [row for (own, _), row in tasks.items() if own == kind]
        columns = [mean(column) for column in zip(*rows, strict=True)]
        means[kind] = (tuple(found[0] for found in columns if found is not None), len(rows))
    return Comparison(tuple(models), tasks, means)
