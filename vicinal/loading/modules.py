"""A model's folder to a `Spec`: which modules, with which settings. Parses, and refuses by name; runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vicinal import networks, report
from vicinal.errors import DamagedModel, ModelWarning, UnsupportedModel
from vicinal.loading import lengths, model2vec, other
from vicinal.loading.adapter import CONFIG as ADAPTER
from vicinal.loading.adapter import find_adapter
from vicinal.loading.exported import WEIGHTS, WHERE_NEEDED, Exported, Wish, describe, find_file
from vicinal.loading.folder import SENTENCE_CONFIGS, Folder
from vicinal.loading.overrides import Noted, check_read
from vicinal.loading.own import class_name, options_of, ours, own_module
from vicinal.loading.spec import (
    POOLING_MODES,
    Custom,
    Dense,
    Dropout,
    LayerNorm,
    Module,
    Normalize,
    Pooling,
    Route,
    Spec,
    StaticEmbedding,
    Transformer,
)
from vicinal.loading.tokenizer import VOCABULARIES, TokenizerFile, chat_template, read_tokenizer
from vicinal.loading.weights import Tensor

OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
DENSE_ACTIVATIONS = {
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
EMBEDDING = "feature-extraction"
"""The task of a network, in sentence-transformers' words, that gives token states."""
_UNKNOWN_HERE = ("CLIPModel", "MLMTransformer", "SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding")


@dataclass(frozen=True, eq=False)
class Parts:
    """A model read from its folder.

    Attributes:
        spec: what it is.
        tensors: of every module that has some, by `"{module's folder}/{name}"`.
        tokenizers: by the folder of a route's first module.
        root: the folder that it was read from.
        writers: of modules that write their own folders, by it.
        trusted: whether code that the folder names may be imported.
    """

    spec: Spec
    tensors: Mapping[str, Tensor]
    tokenizers: Mapping[str, TokenizerFile]
    root: Path | None = None
    writers: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    trusted: bool = False


@dataclass
class Reading:
    """What is known while a folder is read."""

    folder: Folder
    overrides: Mapping[str, Any]
    tensors: dict[str, Tensor]
    tokenizers: dict[str, TokenizerFile]
    limits: dict[str, int | None]
    weights: Callable[[Folder, str], dict[str, Tensor]]
    wish: Wish = WEIGHTS
    torch: bool = False
    trusted: bool = False
    configs: list[tuple[Mapping[str, Any], Noted]] = field(default_factory=list)


def read_model(
    folder: Folder,
    weights: Callable[[Folder, str], dict[str, Tensor]],
    config_overrides: Mapping[str, Any],
    wish: Wish = WHERE_NEEDED,
    torch: bool = False,
    trusted: bool = False,
) -> Parts:
    """Read a model's folder.

    Args:
        weights: reads the tensors in a subfolder.
        config_overrides: replace keys of `config.json`.
        wish: which of the folder's files computes its network, if one is to.
        torch: whether torch may run what has no network here.
        trusted: whether code that the folder names may be imported.

    Raises:
        DamagedModel: a file is missing or cannot be read. UnsupportedModel: a module cannot be run here.
        UnsafeModel: a module is code of the folder's own and not trusted, or lies outside it.
    """
    reading = Reading(folder, config_overrides, {}, {}, {}, weights, wish, torch, trusted)
    settings = folder.optional("config_sentence_transformers.json")
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise UnsupportedModel(f"{folder.root} holds a {kind}, not a SentenceTransformer")
    if folder.has("modules.json"):
        routes, default = _routes(reading)
    elif folder.has("config.json") and "model2vec" in str(folder.mapping("config.json").get("model_type")):
        routes, default = {"": _model2vec(reading)}, ""
    else:
        routes, default = {"": _plain(reading)}, ""
    check_read(reading.overrides, reading.configs)
    spec = read_settings(folder, settings, routes, default)
    return Parts(spec, reading.tensors, reading.tokenizers, folder.root, trusted=trusted)


def read_module(
    folder: Folder, kind: str, at: str, weights: Callable[[Folder, str], dict[str, Tensor]],
    config_overrides: Mapping[str, Any],
) -> tuple[Module, Mapping[str, Tensor], TokenizerFile | None, int | None]:  # fmt: skip
    """Read one module: what it is, its tensors by their own names, its tokenizer, and the tokens that it takes.

    Args:
        kind: the module's class, without where it lives.
        at: its folder within `folder`, "" for the root.
    """
    reading = Reading(folder, config_overrides, {}, {}, {}, weights, torch=True)
    module = _READERS[kind](reading, at)
    tensors = {name.removeprefix(f"{at}/"): tensor for name, tensor in reading.tensors.items()}
    return module, tensors, reading.tokenizers.get(at), reading.limits.get(at)


def read_settings(folder: Folder, settings: Mapping[str, Any], routes: dict[str, Route], default: str | None) -> Spec:
    """The settings of config_sentence_transformers.json, checked."""
    prompts, name = settings.get("prompts") or {}, settings.get("default_prompt_name")
    similarity, dims = settings.get("similarity_fn_name") or "cosine", settings.get("truncate_dim")
    where = folder.path("config_sentence_transformers.json")
    if not isinstance(prompts, dict) or not all(isinstance(p, (str, type(None))) for p in prompts.values()):
        raise DamagedModel(f"{where}: prompts must be texts by name")
    if name is not None and not (isinstance(name, str) and name in {*prompts, "query", "document"}):
        raise DamagedModel(f"{where}: default_prompt_name {name!r} is none of its prompts")
    if similarity not in ("cosine", "dot", "euclidean", "manhattan"):
        raise DamagedModel(f"{where}: similarity_fn_name {similarity!r} is not known")
    if dims is not None and (type(dims) is not int or dims < 1):
        raise DamagedModel(f"{where}: truncate_dim must be a positive integer, not {dims!r}")
    stated = {key: prompt or "" for key, prompt in prompts.items()}
    return Spec(routes, default, stated, name, similarity, dims)


def _routes(reading: Reading) -> tuple[dict[str, Route], str | None]:
    """The routes that modules.json describes: one, or those of a router followed by what comes after it."""
    entries = reading.folder.json("modules.json")
    path = reading.folder.path("modules.json")
    if not isinstance(entries, list) or not entries:
        raise DamagedModel(f"{path} must list at least one module")
    try:
        listed = [(str(entry["type"]), str(entry["path"]), options_of(entry)) for entry in entries]
    except (KeyError, TypeError) as error:
        raise DamagedModel(f"{path}: every module needs a type and a path ({error!r} is missing)") from error
    if not ours(listed[0][0]) or class_name(listed[0][0], path) not in ("Router", "Asym"):
        return {"": _route(reading, listed)}, ""
    root = listed[0][1]
    names = [f"{root}/{name}" if root else name for name in ("router_config.json", "config.json")]
    config = reading.folder.optional(*names)
    try:
        types, structure = config["types"], config["structure"]
        branches = {
            task: [(str(types[name]), f"{root}/{name}" if root else str(name), ()) for name in steps]
            for task, steps in structure.items()
        }
        parameters = dict(config.get("parameters") or {})
        if not branches or not all(branches.values()):
            raise ValueError("a route without modules")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedModel(f"{reading.folder.path(names[0])}: not a router's configuration ({error!r})") from error
    if parameters.get("route_mappings"):
        raise UnsupportedModel(f"{reading.folder.path(names[0])}: route_mappings are not handled here")
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(branches), None)
    return {task: _route(reading, [*steps, *listed[1:]]) for task, steps in branches.items()}, default


def _route(reading: Reading, listed: Sequence[tuple[str, str, tuple[str, ...]]]) -> Route:
    modules: list[Module] = []
    folders, path = [], reading.folder.path("modules.json")
    for kind, at, options in listed:
        reading.folder.path(at or ".")  # outside the folder is refused
        folders.append(at.rstrip("/"))
        if ours(kind):
            modules.append(_module(reading, class_name(kind, path), folders[-1]))
        else:
            modules.append(own_module(kind, path, options, reading.trusted, reading.torch))
    if all(isinstance(module, Dropout) for module in modules):
        raise DamagedModel(f"{reading.folder.path('modules.json')} lists no module that makes anything")
    return _checked(Route(tuple(modules), tuple(folders), reading.limits.get(folders[0])), reading.folder)


def _module(reading: Reading, name: str, at: str) -> Module:
    read = _READERS.get(name)
    if read is not None:
        return read(reading, at)
    if name in other.TORCH_ONLY and reading.torch:
        reason = f"{reading.folder.root} has a {name} module, which has no network here"
        return Custom(f"sentence_transformers.models.{name}", reason=reason)
    if name in (*other.TORCH_ONLY, *_UNKNOWN_HERE):
        raise UnsupportedModel(
            f"{reading.folder.root} has a {name} module, which is not handled here; it runs in sentence-transformers"
        )
    raise UnsupportedModel(f"{reading.folder.root} has a module of the unknown type {name!r}")


def _config(reading: Reading, at: str) -> dict[str, Any]:
    return reading.folder.mapping(f"{at}/config.json" if at else "config.json")


def _load(reading: Reading, at: str) -> dict[str, Tensor]:
    """A module's tensors, also put into the model's."""
    found = reading.weights(reading.folder, at)
    reading.tensors.update({f"{at}/{name}": tensor for name, tensor in found.items()})
    return found


def unhandled(sentence: Mapping[str, Any], tasks: tuple[str, ...]) -> str | None:
    """Why a network whose sentence configuration is this does none of these tasks here; None where it does one."""
    if (task := sentence.get("transformer_task", tasks[0])) not in tasks:
        return f"transformer_task {task!r} is not handled here"
    if tasks == (EMBEDDING,) and "message" in (sentence.get("modality_config") or ()):
        return "it reads texts in a chat (modality_config), which is handled here only for scoring pairs"
    return None


def transformer(reading: Reading, at: str, tasks: tuple[str, ...] = (EMBEDDING,)) -> Transformer:
    """Read the network in the subfolder `at`, whose files may state one of these tasks."""
    folder, adapter = reading.folder, find_adapter(reading.folder, at)
    home, there = (folder, at) if adapter is None else (adapter.base, adapter.base_at)
    prefix = f"{there}/" if there else ""
    stated = home.mapping(f"{prefix}config.json")
    config = Noted({**stated, **reading.overrides})
    reading.configs.append((stated, config))
    architecture = str(config.get("model_type"))
    network = networks.find(architecture)
    file = find_file(folder, at, reading.wish, network is not None)
    if network is None and file is not None:
        parsed: Any = describe(config, folder, at)
    else:
        parsed = other.parsed(config, network, home.path(prefix + "config.json"), reading.torch)
    sentence = folder.sentence_config(at)
    if refusal := unhandled(sentence, tasks):
        raise UnsupportedModel(f"{folder.root}: {refusal}; it runs in sentence-transformers")
    own = adapter is None or any(folder.has(f"{at}/{name}" if at else name) for name in VOCABULARIES)
    words = (folder, at) if own else (home, there)
    tokenizer = read_tokenizer(*words, architecture, bool(sentence.get("do_lower_case")))
    reading.tokenizers[at] = tokenizer
    parsed, reading.limits[at] = lengths.of_network(parsed, sentence.get("max_seq_length"), tokenizer, folder)
    if file is not None:
        return Exported(architecture, config, parsed, file=file)
    found = _load(reading, at) if adapter is None else reading.weights(home, there)
    if adapter is not None:
        found = {**found, **adapter.merged(found, network.LEFTOVERS if network else ())}
        reading.tensors.update({f"{at}/{name}": tensor for name, tensor in found.items()})
    if network is not None:
        _unprefix(reading.tensors, found, at, network.ANCHOR)
    return Transformer(architecture, config, parsed)


def _unprefix(tensors: dict[str, Tensor], found: Mapping[str, Tensor], at: str, anchor: str) -> None:
    """Name a network's tensors without what the checkpoint puts before them ("bert.", "0.auto_model.", ...)."""
    holders = sorted((name for name in found if name.endswith(anchor)), key=len)
    prefix = holders[0].removesuffix(anchor) if holders else ""
    if prefix:
        for name in found:
            tensor = tensors.pop(f"{at}/{name}")
            tensors[f"{at}/{name.removeprefix(prefix)}"] = tensor


def _pooling(reading: Reading, at: str) -> Pooling:
    config = _config(reading, at)
    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    where = f"{reading.folder.root / at / 'config.json'}"
    if type(width) is not int or width <= 0:
        raise DamagedModel(f"{where}: embedding_dimension must be a positive integer, not {width!r}")
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in OLD_POOLING.items() if config.get(key)] or ["mean"]
    modes = modes if isinstance(modes, list) and modes else [modes]
    for mode in modes:
        if mode not in POOLING_MODES:
            raise UnsupportedModel(f"{where}: pooling mode {mode!r} is none of {', '.join(POOLING_MODES)}")
    return Pooling(width, tuple(modes), bool(config.get("include_prompt", True)))


def _dense(reading: Reading, at: str) -> Module:
    config, where = _config(reading, at), f"{reading.folder.root / at / 'config.json'}"
    stated = str(config.get("activation_function") or "torch.nn.modules.activation.Tanh")
    names = {path.rpartition(".")[2]: kind for path, kind in DENSE_ACTIVATIONS.items()}
    activation = names.get(stated.rpartition(".")[2])
    of_torch = stated.startswith("torch.nn.")
    if reading.torch and (reading.trusted or of_torch) and not (of_torch and activation):
        reason = f"{where}: the activation {stated!r} is torch's alone"
        return Custom("sentence_transformers.models.Dense", width=config.get("out_features"), reason=reason)
    if not of_torch or activation is None:
        raise UnsupportedModel(f"{where}: the activation {stated!r} is not handled here ({', '.join(names)} are)")
    widths = [config.get("in_features"), config.get("out_features")]
    if not all(type(width) is int and width > 0 for width in widths):
        raise DamagedModel(f"{where}: in_features and out_features must be positive integers, not {widths}")
    source = str(config.get("module_input_name") or "sentence_embedding")
    _load(reading, at)
    return Dense(
        int(config["in_features"]),
        int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=activation,
        residual=bool(config.get("use_residual", False)),
        source=source,
        target=str(config.get("module_output_name") or source),
    )


def _normalize(reading: Reading, at: str) -> Normalize:
    config = reading.folder.optional(f"{at}/config.json") if at else {}
    source = str(config.get("module_input_name") or "sentence_embedding")
    return Normalize(source, str(config.get("module_output_name") or source))


def _dropout(reading: Reading, at: str) -> Dropout:
    return Dropout(float(reading.folder.optional(f"{at}/config.json" if at else "config.json").get("dropout", 0.2)))


def _layer_norm(reading: Reading, at: str) -> LayerNorm:
    _load(reading, at)
    width = _config(reading, at).get("dimension")
    if type(width) is not int or width <= 0:
        raise DamagedModel(f"{reading.folder.root / at / 'config.json'}: dimension must be a positive integer")
    return LayerNorm(width)


def _static(reading: Reading, at: str) -> StaticEmbedding:
    found = _load(reading, at)
    table = model2vec.renamed(reading.tensors, at, found) if "embeddings" in found else found.get("embedding.weight")
    if table is None or table.array.ndim != 2:
        raise DamagedModel(
            f"{reading.folder.root / at}: a static model needs the tensor embedding.weight, or embeddings "
            f"(tokens, width); it has {', '.join(sorted(found)) or 'none'}"
        )
    reading.tokenizers[at] = read_tokenizer(reading.folder, at, None)
    tokens = reading.tokenizers[at].tokenizer.get_vocab_size(with_added_tokens=True)
    if tokens > table.shape[0]:
        raise DamagedModel(
            f"{reading.folder.root / at}: the tokenizer has {tokens} tokens but its table only {table.shape[0]} rows"
        )
    own = reading.folder.optional(f"{at}/{SENTENCE_CONFIGS[0]}" if at else SENTENCE_CONFIGS[0])
    reading.limits[at] = lengths.limit(own.get("max_seq_length"), None, reading.folder)
    return StaticEmbedding(*table.shape)


_READERS: Mapping[str, Callable[[Reading, str], Module]] = {
    **dict.fromkeys(("Transformer", "BERT", "RoBERTa", "DistilBERT", "ALBERT", "CamemBERT", "XLMRoBERTa"), transformer),
    "Pooling": _pooling,
    "Dense": _dense,
    "Normalize": _normalize,
    "LayerNorm": _layer_norm,
    "Dropout": _dropout,
    "StaticEmbedding": _static,
}


def handles(name: str) -> bool:
    """Whether a module has a form here, by its class; routers aside. Dropout does nothing outside training."""
    return name in _READERS or name == "Dropout"


def _model2vec(reading: Reading) -> Route:
    """model2vec's own folder: a table `embeddings`, an option to normalise."""
    config = reading.folder.mapping("config.json")
    module = _static(reading, "")
    modules: tuple[Module, ...] = (module, Normalize()) if config.get("normalize", True) else (module,)
    return Route(modules, ("", "1_Normalize")[: len(modules)], reading.limits[""])


def _plain(reading: Reading) -> Route:
    """A transformer's folder without modules.json: mean pooling, or the last token of a causal model."""
    if not reading.folder.has("config.json") and not reading.folder.has(ADAPTER):
        raise DamagedModel(f"{reading.folder.root} has neither modules.json nor config.json: no model, or incomplete")
    network = transformer(reading, "")
    names = network.config.get("architectures") or [""]
    causal = str(names[0]).endswith("ForCausalLM") and network.config.get("is_causal") is not False
    mode = "lasttoken" if causal else "mean"
    chat = ", its chat template is not" if chat_template(reading.folder, "", reading.tokenizers[""].config) else ""
    report.warn(
        f"{reading.folder.root} has no modules.json, so nothing says how token vectors become a text's: "
        f"{mode} pooling is taken{chat}. If the model was trained otherwise, its vectors are not what they should be.",
        ModelWarning,
    )
    return Route((network, Pooling(network.network.hidden_size, (mode,))), ("", "1_Pooling"),
                 reading.limits[""])  # fmt: skip


def _checked(route: Route, folder: Folder) -> Route:
    """Widths and features must fit from module to module."""
    features: dict[str, int] = {}
    for module, at in zip(route.modules, route.folders, strict=True):
        where = f"{folder.root}, module {at or '.'} ({type(module).__name__})"
        if isinstance(module, Transformer):
            features["token_embeddings"] = module.network.hidden_size
        elif isinstance(module, StaticEmbedding):
            features = {"token_embeddings": module.width, "sentence_embedding": module.width}
        elif isinstance(module, Custom):  # what it makes is known when torch has it
            return route
        else:
            source = getattr(module, "source", "sentence_embedding")
            source = "token_embeddings" if isinstance(module, Pooling) else source
            if source not in features:
                raise DamagedModel(f"{where} reads {source!r}, which no module before it makes")
            expected = getattr(module, "in_features", getattr(module, "width", features[source]))
            if expected != features[source]:
                raise DamagedModel(f"{where} takes {expected} dimensions, but {source} has {features[source]}")
            target = getattr(module, "target", "sentence_embedding")
            width = expected * len(module.modes) if isinstance(module, Pooling) else expected
            features[target] = module.out_features if isinstance(module, Dense) else width
    if "sentence_embedding" not in features:
        raise DamagedModel(f"{folder.root}: no module makes a text's vector (a Pooling is missing)")
    return route


def with_prompts(spec: Spec, given: Mapping[str, str | None], supplied: Mapping[str, str]) -> Spec:
    """The spec's prompts, under those of a well-known family that its files do not state, under the user's own.

    Args:
        given: the constructor's; None is no prompt, "" disables one.
        supplied: what the family needs.
    """
    stated = {name: prompt for name, prompt in spec.prompts.items() if prompt}
    own = {name: prompt or "" for name, prompt in given.items()}
    return replace(spec, prompts={"query": "", "document": "", **spec.prompts, **supplied, **stated, **own})
