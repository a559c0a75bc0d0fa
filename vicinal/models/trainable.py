"""A model's modules in order, as one torch module: what losses, trainers and optimizers work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vicinal.backends.torch import adapters
from vicinal.backends.torch.auto import as_dtype
from vicinal.backends.torch.weights import state_of, tensors_of
from vicinal.errors import UnsupportedModel
from vicinal.loading import spec
from vicinal.loading.modules import Parts
from vicinal.loading.own import ours
from vicinal.loading.tokenizer import TokenizerFile
from vicinal.loading.weights import Tensor
from vicinal.models.classifier import LogitScorer, PairScorer, SequenceClassifier
from vicinal.models.heads import Dense, Dropout, LayerNorm, Normalize
from vicinal.models.inputs import OwnTokenizer, features_of
from vicinal.models.module import Features, custom, width_of
from vicinal.models.own import read_own, write_own
from vicinal.models.pooling import Pooling
from vicinal.models.router import Router
from vicinal.models.static import StaticEmbedding
from vicinal.models.transformer import Transformer


def taken(module: nn.Module, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a module takes."""
    known = getattr(module, "forward_kwargs", ())
    return {name: value for name, value in options.items() if name in known}


class Trainable(nn.Sequential):  # type: ignore[misc]
    """The modules of a model; called on the features of a batch it adds theirs, "sentence_embedding" (B, dims) at last.

    `module[0]` is the first module, `module[0].auto_model` its network. Parameters are named as in
    sentence-transformers: `0.model.embeddings...`.
    """

    def forward(self, features: Features, **options: Any) -> Features:
        """Features with all that the modules make of them."""
        task = options.pop("task", None) or features.get("task")
        for module in self:
            features = module(features, **taken(module, {"task": task, **options}))
        return features

    def options(self) -> set[str]:
        """Names of the keyword arguments that modules take beside the features."""
        return {name for module in self.modules() for name in getattr(module, "forward_kwargs", ())}

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> Features:
        """What the first module makes of texts."""
        made: Features = features_of(self[0], inputs, prompt, options)
        return made

    tokenize = preprocess

    def packs(self, features: Features) -> bool:
        """Whether padding of these features costs nothing and no text sees another, so that columns may be joined."""
        ours = all(type(module).__module__.startswith("vicinal.models.") for module in self)
        return ours and isinstance(self[0], Transformer) and self[0].packs(features)

    @property
    def tokenizer(self) -> Any:
        """The first module's."""
        return self[0].tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """The first module's limit."""
        return getattr(self[0], "max_seq_length", None)

    @property
    def num_labels(self) -> int | None:
        """Scores of a pair; None for a model of vectors."""
        return getattr(self[0], "num_labels", None)

    @property
    def config(self) -> Any:
        """Of the network of `transformers`, None where there is none."""
        return getattr(self.network, "config", None)

    @property
    def network(self) -> Any:
        """The network of `transformers`, None where there is none."""
        return next((module.model for module in self.modules() if isinstance(module, Transformer)), None)

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> Any:
        """Of the weights."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    def get_embedding_dimension(self) -> int | None:
        """Dimensions of the text's vector."""
        widths = (width_of(module) for module in reversed(list(self)))
        return next((width for width in widths if width is not None), None)

    get_sentence_embedding_dimension = get_embedding_dimension

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **how: Any
    ) -> None:
        """Compute activations anew in the backward pass instead of keeping them.

        Args:
            activation_checkpointing_kwargs: for torch's `checkpoint`.
            how: which layers, and where what is kept lies (`every_n_layers`, `offload`), where `transformers` has them.

        Raises:
            UnsupportedModel: no module can.
        """
        for network in self._networks():
            if hasattr(network, "activation_checkpointing_enable"):
                network.activation_checkpointing_enable(activation_checkpointing_kwargs, **how)
            else:  # an older transformers knows the older name alone
                network.gradient_checkpointing_enable(activation_checkpointing_kwargs, **how)

    def activation_checkpointing_disable(self) -> None:
        """Keep activations again."""
        for network in self._networks():
            getattr(network, "activation_checkpointing_disable", network.gradient_checkpointing_disable)()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **how: Any
    ) -> None:
        """The older name of `activation_checkpointing_enable`."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **how)

    gradient_checkpointing_disable = activation_checkpointing_disable

    def _networks(self) -> list[Any]:
        networks = [module.model for module in self.modules() if isinstance(module, Transformer)]
        if not networks:
            raise UnsupportedModel("gradient checkpointing needs a network of transformers; this model has none")
        return networks

    # ---- ways through it -----------------------------------------------------------------------------------------

    def ways(self) -> dict[str, list[nn.Module]]:
        """The modules of each task's route, the one route named ""."""
        first, *rest = list(self)
        if isinstance(first, Router):
            return {task: [*route, *rest] for task, route in first.sub_modules.items()}
        return {"": [first, *rest]}

    def version(self) -> tuple[object, ...]:
        """Changes whenever a weight is replaced, or written to as optimizers and `load_state_dict` do, when adapters
        change, and when a module's settings do.

        What is written through `weight.data` is hidden from torch's own count, and from this.
        """
        tensors = [*self.parameters(), *self.buffers()]
        written = sum(tensor._version for tensor in tensors)
        places = sum(id(tensor) + tensor.data_ptr() for tensor in tensors)
        return (len(tensors), written, places, *adapters.state(self), forms(self))

    @classmethod
    def of(cls, parts: Parts, dtype: str = "float32", **options: Any) -> Trainable:
        """The torch modules of a model that was read, with copies of its weights, in evaluation mode.

        Args:
            options: attn_implementation, device_map: of the networks.

        Raises:
            UnsafeModel: a module is code of the model's own, and it is not trusted.
        """
        made: dict[str, nn.Module] = {}
        routes: dict[str, list[nn.Module]] = {}
        for task, route in parts.spec.routes.items():
            routes[task] = []
            for form, at in zip(route.modules, route.folders, strict=True):
                if isinstance(form, (spec.Classifier, spec.LogitScore)):
                    continue  # the network's own module has it
                if at not in made:
                    made[at] = _made(form, at, parts, route, {"dtype": dtype, **options})
                routes[task].append(made[at])
        if parts.spec.only is not None:
            modules = next(iter(routes.values()))
        else:
            modules = [Router(routes, parts.spec.default_route, parts.spec.default_route is not None)]
        module = cls(*modules)
        if dtype != "float32":
            module.to(as_dtype(dtype))
        module.eval()
        return module


def _made(form: spec.Module, at: str, parts: Parts, route: spec.Route, options: Mapping[str, Any]) -> nn.Module:
    names = (name.rpartition("/") for name in parts.tensors)
    tensors = {local: parts.tensors[f"{folder}/{local}"] for folder, _, local in names if folder == at}
    if isinstance(form, spec.Transformer):
        root = None if parts.root is None else parts.root / at
        given = (form, tensors, parts.tokenizers[at], route.max_length, root, parts.trusted, options)
        last = route.modules[-1]
        if isinstance(last, spec.LogitScore):
            return LogitScorer.scoring(last, *given)
        return (SequenceClassifier if isinstance(last, spec.Classifier) else Transformer).of(*given)
    if isinstance(form, spec.StaticEmbedding):
        return StaticEmbedding.of(tensors, parts.tokenizers[at], route.max_length)
    if isinstance(form, spec.Custom):
        return read_own(form, at, parts.root, parts.trusted)
    module = _plain(form)
    if tensors:
        module.load_state_dict(state_of(tensors))
    return module


def _plain(form: spec.Module) -> nn.Module:
    if isinstance(form, spec.Pooling):
        return Pooling(form.width, list(form.modes), form.include_prompt)
    if isinstance(form, spec.Dense):
        return Dense.of(form)
    if isinstance(form, spec.LayerNorm):
        return LayerNorm(form.width)
    if isinstance(form, spec.Dropout):
        return Dropout(form.rate)
    assert isinstance(form, spec.Normalize)
    return Normalize(form.source, form.target)


# ---- back to data ------------------------------------------------------------------------------------------------


def forms(module: Trainable) -> dict[str, spec.Route]:
    """What the modules are now, route by route; folders are numbers."""
    routes = {}
    if isinstance(module[0], Router) and type(module[0]).forward is not Router.forward:
        raise UnsupportedModel(f"{type(module[0]).__name__} must leave Router's forward() as it is: override route()")
    for task, modules in module.ways().items():
        names = _names(task, len(modules))
        limit = getattr(modules[0], "max_seq_length", None)
        found = [_form(m) for m in modules]
        if isinstance(modules[0], PairScorer):
            found, names = [*found[:1], modules[0].head(), *found[1:]], (names[0], *names)
        routes[task] = spec.Route(tuple(found), names, limit)
    return routes


def _names(task: str, count: int) -> tuple[str, ...]:
    return tuple(f"{task}_{i}" if task else str(i) for i in range(count))


def _form(module: nn.Module) -> spec.Module:
    """What a module is; of a class of the user's own, whatever it is derived from, what it says of itself."""
    told = getattr(type(module), "form", None)
    if told is not None and (ours(type(module).__module__) or not ours(told.__module__)):
        return module.form()  # type: ignore[no-any-return]
    return custom(module)


def contents(module: Trainable, settings: spec.Spec, root: Path | None, weights: bool = True) -> Parts:
    """The model as data: present weights (views in main memory, copies of a GPU's), tokenizers, settings.

    Args:
        weights: whether they are wanted.
    """
    routes = forms(module)
    tensors: dict[str, Tensor] = {}
    tokenizers: dict[str, TokenizerFile] = {}
    writers = {}
    for task, modules in module.ways().items():
        for part, at in zip(modules, _names(task, len(modules)), strict=True):
            if hasattr(part, "tokenizer_file"):
                tokenizers[at] = part.tokenizer_file()
            elif part is modules[0]:
                tokenizers[at] = OwnTokenizer(part)  # type: ignore[assignment]  # what a fingerprint asks of one
            if isinstance(_form(part), spec.Custom):
                writers[at] = _writer(part)
            if weights:
                tensors.update(tensors_at(part, at))
    default = settings.default_route
    default = "" if "" in routes else default if default in routes else next(iter(routes))
    return Parts(_with_routes(settings, routes, default), tensors, tokenizers, root, writers)


def _with_routes(settings: spec.Spec, routes: Mapping[str, spec.Route], default: str | None) -> spec.Spec:
    from dataclasses import replace

    return replace(settings, routes=routes, default_route=default)


def tensors_at(part: nn.Module, at: str) -> dict[str, Tensor]:
    """The present weights of a module, named as those of a folder."""
    own = part.tensors() if hasattr(part, "tensors") else tensors_of(part.state_dict())
    return {f"{at}/{name}": tensor for name, tensor in own.items()}


def _writer(part: Any) -> Any:
    return lambda folder: write_own(part, folder)
