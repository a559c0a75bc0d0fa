"""A network of `transformers` as a model's first module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from vicinal import networks
from vicinal.backends.torch.auto import OPTIONS, auto_model, checkpoint_tensors
from vicinal.errors import UnsupportedModel
from vicinal.loading import spec
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.modules import read_module
from vicinal.loading.other import other_network
from vicinal.loading.save import write_module
from vicinal.models.inputs import TokenModule
from vicinal.models.module import Features, kept, older, opened
from vicinal.models.packing import Packing, fits, packed_inputs, prepare, register
from vicinal.models.vocabulary import Vocabulary
from vicinal.text.tokens import ANY_SEGMENTS, TextTokenizer

if TYPE_CHECKING:
    from typing_extensions import Self

    from vicinal.loading.tokenizer import TokenizerFile
    from vicinal.loading.weights import Tensor

_OLD = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "tokenizer_kwargs": "processor_kwargs",
        "config_args": "config_kwargs", "cache_dir": "cache_folder"}  # fmt: skip
_READ = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")


register()


class Transformer(TokenModule):
    """Token states of a network that `transformers` has: adds token_embeddings (B, T, width).

    Args:
        model_name_or_path: a hub name or a folder: a checkpoint, or a saved model whose first module it is.
        model_kwargs: dtype (or torch_dtype), attn_implementation, device_map.
        processor_kwargs: model_max_length.
        config_kwargs: replace keys of `config.json`; output_hidden_states=True adds all_layer_embeddings.
        max_seq_length: tokens that a text may have, special ones counted; None is what the files state.
        do_lower_case: whether texts are lower-cased first.
        tokenizer_name_or_path: where the tokenizer is, if elsewhere.
        cache_folder, revision, token, local_files_only, trust_remote_code, subfolder: of the hub, as everywhere.

    Attributes:
        auto_model: the network, a module of `transformers`.
        tokenizer: of `transformers`, made when it is first asked for; from then on it is the one that is used.

    Raises:
        ModelNotFound, DamagedModel, UnsupportedModel, UnsafeModel: as for `SentenceTransformer`.
    """

    def __init__(
        self,
        model_name_or_path: str,
        *,
        transformer_task: str = "feature-extraction",
        model_kwargs: Mapping[str, Any] | None = None,
        processor_kwargs: Mapping[str, Any] | None = None,
        config_kwargs: Mapping[str, Any] | None = None,
        backend: str = "torch",
        max_seq_length: int | None = None,
        do_lower_case: bool = False,
        tokenizer_name_or_path: str | None = None,
        subfolder: str = "",
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        known = ("cache_folder", "revision", "token", "local_files_only")
        hub: dict[str, Any] = {key: options.pop(key) for key in known if key in options}
        renamed = older(_OLD, options, "Transformer")
        hub.update({key: value for key, value in renamed.items() if key == "cache_folder"})
        model_kwargs = dict(model_kwargs or renamed.get("model_kwargs") or {})
        trust_remote_code = bool(model_kwargs.pop("trust_remote_code", trust_remote_code))
        processor = dict(processor_kwargs or renamed.get("processor_kwargs") or {})
        _only(transformer_task, backend, model_kwargs, processor)
        folder = opened(model_name_or_path, **hub)
        form, tensors, file, limit = read_module(
            folder, "Transformer", subfolder, read_weights, config_kwargs or renamed.get("config_kwargs") or {}
        )
        assert isinstance(form, spec.Transformer)
        if tokenizer_name_or_path is not None:
            elsewhere = opened(tokenizer_name_or_path, **hub)
            file = read_module(elsewhere, "Transformer", "", lambda *_: {}, {})[2]
        assert file is not None
        file = replace(file, lower=True) if do_lower_case else file
        self._set_up(form, tensors, file, folder.root, trust_remote_code, model_kwargs)
        stated = processor.get("model_max_length", max_seq_length)
        self.max_seq_length = limit if stated is None else stated

    @classmethod
    def of(
        cls,
        form: spec.Transformer,
        tensors: Mapping[str, Tensor],
        file: TokenizerFile,
        limit: int | None,
        root: Path | None = None,
        trust_remote_code: bool = False,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> Self:
        """The module from a model that was already read."""
        module = cls.__new__(cls)
        module._set_up(form, tensors, file, root, trust_remote_code, model_kwargs or {})
        module.max_seq_length = limit
        return module

    def _set_up(
        self, form: spec.Transformer, tensors: Mapping[str, Tensor], file: TokenizerFile, root: Path | None,
        trusted: bool, model_kwargs: Mapping[str, Any],
    ) -> None:  # fmt: skip
        nn.Module.__init__(self)
        options = dict(model_kwargs)
        dtypes = [options.pop(key, None) for key in ("dtype", "torch_dtype")]
        dtype = next((dtype for dtype in dtypes if dtype not in (None, "auto")), "float32")
        self.model = auto_model(form.config, tensors, dtype, root=root, trust_remote_code=trusted, **options)
        prepare(self.model)
        self._vocabulary = Vocabulary(file, form.config)
        self._stated = dict(form.config)

    # ---- the network -------------------------------------------------------------------------------------------

    @property
    def auto_model(self) -> Any:
        """The network."""
        return self.model

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module would put a module of this name beside the property, which then hid it.
        super().__setattr__("model" if name == "auto_model" else name, value)

    @property
    def config(self) -> Any:
        """The network's configuration."""
        return self.model.config

    def get_embedding_dimension(self) -> int:
        """Width of a token state."""
        return _hidden_size(self.model.config)

    def _network(self) -> Any:
        """The network itself, where adapters are around it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _arguments(self) -> list[str]:
        """Features that the network reads."""
        names = inspect.signature(self._network().forward).parameters
        return [name for name in _READ if name in names]

    def forward(self, features: Features, **options: Any) -> Features:
        """Adds token_embeddings (B, T, width), and all_layer_embeddings where the configuration asks for them."""
        given = {name: features[name] for name in self._arguments() if name in features}
        if options or not self.packs(features):
            return kept(features, **self._states(self.model(**given, **options, return_dict=True)))
        packing = features.get("packing") or Packing.of(given["attention_mask"])
        config = self.model.config
        given = packed_inputs(given, packing, config.model_type, config.pad_token_id)
        return kept(features, **self._states(self.model(**given, return_dict=True), packing.unpack))

    def packs(self, features: Features, device: Any = None) -> bool:
        """Whether it leaves the padding of these features out, on the device where they are or will be."""
        mask = features.get("attention_mask")
        return mask is not None and "inputs_embeds" not in features and fits(self.model, device or mask.device)

    def _states(self, found: Any, back: Callable[[Any], Any] = lambda states: states) -> Features:
        """The features that a network's answer holds."""
        made: Features = {"token_embeddings": back(found[0])}
        if getattr(self.model.config, "output_hidden_states", False):
            made["all_layer_embeddings"] = tuple(back(states) for states in found.hidden_states)
        return made

    # ---- texts -------------------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of `transformers`. Tokens that are added to it count."""
        return self._vocabulary.tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._vocabulary.tokenizer = tokenizer

    @property
    def max_seq_length(self) -> int | None:
        """Tokens that a text may have, special ones counted; None is no limit."""
        return self._vocabulary.limit

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        self._vocabulary.limit = length

    @property
    def do_lower_case(self) -> bool:
        """Whether texts are lower-cased first."""
        return self._vocabulary.file.lower

    @property
    def pad_id(self) -> int:
        return self._vocabulary.pad_id

    def text_tokenizer(self) -> TextTokenizer:
        config = self.model.config
        types = getattr(config, "type_vocab_size", 0) if "token_type_ids" in self._arguments() else ANY_SEGMENTS
        return self._vocabulary.text_tokenizer(self.model.get_input_embeddings().weight.shape[0], types or ANY_SEGMENTS)

    # ---- as data -----------------------------------------------------------------------------------------------

    def form(self) -> spec.Module:
        """What it is now: a changed vocabulary or number of layers counts."""
        config = self._described()
        network = networks.find(str(config.get("model_type")))
        if network is not None:
            try:
                return spec.Transformer(str(config["model_type"]), config, network.parse(config))
            except UnsupportedModel as error:
                return spec.Transformer(str(config["model_type"]), config, other_network(config, str(error)))
        reason = f"model_type {config.get('model_type')!r} has no network here"
        return spec.Transformer(str(config.get("model_type")), config, other_network(config, reason))

    def _described(self) -> dict[str, Any]:
        """The configuration as a checkpoint has it: what the files stated, under what was changed since."""
        now = self.model.config.to_dict()
        vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        changed = {key: value for key, value in now.items() if key in self._stated and key != "dtype"}
        changed.pop("torch_dtype", None)
        changed.pop("use_cache", None)
        return {**self._stated, **changed, "vocab_size": vocabulary}

    def tensors(self) -> dict[str, Tensor]:
        """The present weights, by the names that checkpoints have."""
        return checkpoint_tensors(self.model)

    def tokenizer_file(self) -> TokenizerFile:
        """What the tokenizer is now."""
        return self._vocabulary.current()

    def get_config_dict(self) -> dict[str, Any]:
        return {"max_seq_length": self.max_seq_length, "do_lower_case": self.do_lower_case,
                "architecture": type(self.model).__name__}  # fmt: skip

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write weights, configuration and tokenizer into a folder."""
        if not safe_serialization:
            raise UnsupportedModel("safe_serialization=False asks for a pickled file; vicinal writes safetensors only")
        write_module(Path(output_path), self.form(), self.tensors(), self.tokenizer_file(), self.max_seq_length)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:
        """Read it from a folder, or from the hub."""
        for name in ("init_defaults", "module_classes"):
            options.pop(name, None)
        return cls(model_name_or_path, subfolder=subfolder, **options)


def _only(task: str, backend: str, model_kwargs: Mapping[str, Any], processor: Mapping[str, Any]) -> None:
    """What is asked for must be understood.

    Raises:
        UnsupportedModel, ValueError: it is not.
    """
    if task != "feature-extraction":
        raise UnsupportedModel(f"transformer_task={task!r}: models.Transformer gives token states (feature-extraction)")
    if backend != "torch":
        raise UnsupportedModel(f"models.Transformer is a torch module; backend={backend!r} is for SentenceTransformer")
    if unknown := sorted(set(model_kwargs) - {"dtype", "torch_dtype", *OPTIONS}):
        raise ValueError(f"model_kwargs: {', '.join(unknown)} is not understood; dtype, {', '.join(OPTIONS)} are")
    if unknown := sorted(set(processor) - {"model_max_length"}):
        raise ValueError(f"processor_kwargs: {', '.join(unknown)} is not understood; model_max_length is")


def _hidden_size(config: Any) -> int:
    for name in ("hidden_size", "d_model", "dim", "n_embd", "hidden_dim"):
        if type(size := getattr(config, name, None)) is int:
            return size
    raise UnsupportedModel(f"the width of {type(config).__name__}'s token states is not known")
