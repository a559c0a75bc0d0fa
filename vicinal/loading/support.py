"""Whether a model runs here, and how, told from its small files: before its weights are fetched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vicinal import networks
from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.exported import SUFFIXES
from vicinal.loading.folder import SENTENCE_CONFIGS
from vicinal.loading.layout import ROUTERS, TRANSFORMERS, Contents, parts, plan
from vicinal.loading.modules import EMBEDDING, class_name, handles, unhandled

_KINDS = ("SentenceTransformer", "CrossEncoder")
_PICKLED = "its weights are pickled: torch reads them, once; a model that is saved has safetensors"


@dataclass(frozen=True)
class Support:
    """Whether a model runs without torch.

    Attributes:
        runs: None where nothing that was looked at says so.
        how: what runs it, or why nothing does.
    """

    runs: bool | None
    how: str


def refuse(contents: Contents, overrides: Mapping[str, Any] | None = None, head: bool | None = None) -> None:
    """Refuse a model that would be refused once it is loaded, from its configuration alone.

    Args:
        contents: of which configuration files are read, no weights.
        overrides: replace keys of `config.json`.
        head: it must have a classification head that runs here.

    Raises:
        UnsupportedModel: no network here runs it. UnsafeModel: it asks for code of its own.
    """
    support = _network(contents, overrides or {}, head)
    if support.runs is False:
        raise UnsupportedModel(f"{contents.place}: {support.how}; it runs in sentence-transformers")


def of_files(contents: Contents, head: bool | None = None) -> Support:
    """Whether a model runs without torch, from all of its files.

    Raises:
        DamagedModel: a configuration cannot be read. UnsafeModel: it asks for code of its own.
    """
    support = _network(contents, {}, head)
    pickled = any(name.endswith((".bin", ".bin.index.json")) for name in plan(contents).weights)
    return Support(False, _PICKLED) if support.runs and pickled else support


def of_listing(config: Mapping[str, Any], names: Collection[str] | None, tags: Collection[str], head: bool) -> Support:
    """Whether a model runs without torch, from what a hub's listing tells: an answer that its files may yet correct.

    Args:
        config: what the listing has of `config.json`.
        names: of its files; None where the listing is silent.
        tags: of the model.
        head: it is to classify.
    """
    weights = [name for name in names or () if name.endswith(".safetensors")]
    if "model2vec" in tags or (config.get("model_type") is None and any("StaticEmbedding" in name for name in weights)):
        support = Support(True, "table")
    elif config.get("model_type") is None:
        return Support(None, "the listing does not tell its architecture")
    else:
        support = of_config({"model_type": config["model_type"]}, head)
    if support.runs and names is not None and not weights:
        return Support(False, _PICKLED)
    return support


def of_config(config: Mapping[str, Any], head: bool | None = None) -> Support:
    """Whether a network here runs what a `config.json` describes; an incomplete one is judged by its `model_type`."""
    architecture = config.get("model_type")
    network = networks.find(str(architecture))
    if network is None:
        custom = " with code of its own" if config.get("auto_map") else ""
        return Support(False, f"model_type {architecture!r}{custom} has no network here")
    if head and networks.classifying(str(architecture)) is None:
        return Support(False, f"the network {architecture!r} has no classification head here")
    how = f"network {architecture}"
    try:
        network.parse(config)
    except UnsupportedModel as error:
        return Support(False, str(error))
    except DamagedModel:  # what is missing is said where the model is loaded, by file
        return Support(True, how)
    return Support(True, how)


def _network(contents: Contents, overrides: Mapping[str, Any], head: bool | None) -> Support:
    """Whether every module has a form here."""
    settings = "config_sentence_transformers.json"
    stated = contents.json(settings) if settings in contents.names else {}
    if not isinstance(stated, dict):
        raise DamagedModel(f"{settings} of {contents.place} is no mapping")
    kind = stated.get("model_type", _KINDS[0])
    if kind not in _KINDS:
        return Support(False, f"it is a {kind}, which is not handled here")
    listed = "modules.json" in contents.names
    how = []
    for folder, type_ in parts(contents):
        name = class_name(type_, contents.place) if "." in type_ else type_
        if name in ROUTERS:
            how.append("router")
        elif name == "LogitScore" and head is not False:
            how.append("logits")
        elif not handles(name):
            return Support(False, f"a {name} module is not handled here")
        elif name == "StaticEmbedding":
            how.append("table")
        elif name in TRANSFORMERS:
            support = _transformer(contents, f"{folder}/" if folder else "", overrides, head, listed)
            if not support.runs:
                return support
            how.append(support.how)
    return Support(True, ", ".join(dict.fromkeys(how)))


def _transformer(
    contents: Contents, prefix: str, overrides: Mapping[str, Any], head: bool | None, listed: bool
) -> Support:
    name = f"{prefix}config.json"
    if name not in contents.names:
        return Support(None, f"{name} is missing")
    config = contents.json(name)
    if not isinstance(config, dict):
        raise DamagedModel(f"{name} of {contents.place} is not a configuration")
    if head is False and (refusal := _sentence(contents, prefix)):
        return Support(False, refusal)
    config = {**config, **overrides}
    if not listed and "model2vec" in str(config.get("model_type")):
        return Support(True, "table")
    support = of_config(config, head)
    file = next((file for file in sorted(contents.names) if file.endswith(tuple(SUFFIXES))), None)
    if not head and file is not None and networks.find(str(config.get("model_type"))) is None:
        return Support(True, f"exported file {file}")
    return support


def _sentence(contents: Contents, prefix: str) -> str | None:
    """What the sentence configuration of an embedding model's network asks for that is not handled."""
    name = next((file for kind in SENTENCE_CONFIGS if (file := prefix + kind) in contents.names), None)
    stated = {} if name is None else contents.json(name)
    if not isinstance(stated, dict):
        raise DamagedModel(f"{name} of {contents.place} is not a configuration")
    return unhandled(stated, (EMBEDDING,))
