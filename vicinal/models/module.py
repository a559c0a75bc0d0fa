"""What every module of a model is: an nn.Module over the features of a batch, with a folder of its own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from vicinal.backends.torch.weights import state_of, write_state
from vicinal.errors import DamagedModel
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.folder import Folder
from vicinal.loading.locate import locate
from vicinal.loading.own import DEFINED, ours
from vicinal.loading.spec import Custom
from vicinal.loading.spec import Module as Form
from vicinal.models.own import own_kind

if TYPE_CHECKING:
    from typing_extensions import Self

Features = dict[str, Any]
"""What a batch is made of: input_ids, attention_mask, token_type_ids (B, T); token_embeddings (B, T, width);
sentence_embedding (B, dims); and what users' own modules add."""

_OLD_NAMES = ("get_sentence_embedding_dimension", "get_word_embedding_dimension")


class Module(nn.Module):  # type: ignore[misc]
    """The base of every module, users' own included.

    A subclass gives `forward(features)`, which returns the features with its own added, names the constructor
    arguments that its folder keeps in `config_keys`, and, where it has a width, `get_embedding_dimension()`.

    Attributes:
        config_file_name: of the settings in its folder.
        config_keys: constructor arguments, which are attributes too, that the settings hold.
        config_key_renames: older spellings of them.
        save_in_root: whether a first module is saved in the model's folder itself.
        forward_kwargs: names of keyword arguments that `forward` takes beside the features.
    """

    config_file_name: ClassVar[str] = "config.json"
    config_keys: ClassVar[Sequence[str]] = ()
    config_key_renames: ClassVar[Mapping[str, str]] = {}
    save_in_root: bool = False
    forward_kwargs: ClassVar[set[str]] = set()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not ours(cls.__module__):
            DEFINED[f"{cls.__module__}.{cls.__qualname__}"] = cls

    def forward(self, features: Features, **options: Any) -> Features:
        """The features with this module's own added."""
        raise TypeError(
            f"{type(self).__name__} must say what it does: def forward(self, features): ... return features"
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Its settings, as its folder keeps them."""
        return {key: getattr(self, key) for key in self.config_keys}

    # ---- in a folder -------------------------------------------------------------------------------------------

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write settings and weights into a folder."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization)

    def save_config(self, output_path: str, filename: str | None = None) -> None:
        """Write the settings."""
        path = Path(output_path, filename or self.config_file_name)
        path.write_text(json.dumps(self.get_config_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def save_torch_weights(self, output_path: str, safe_serialization: bool = True) -> None:
        """Write the weights as safetensors, where there are some.

        Raises:
            UnsupportedModel: safe_serialization=False asks for a pickle, which is not written.
        """
        write_state(Path(output_path), self, safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> Self:
        """Read a module from its folder.

        Args:
            model_name_or_path: a model's folder, or its name on the hub.
            subfolder: of the module within it, "1_Pooling".
            options: token, cache_folder, revision, local_files_only.
        """
        module = cls(**cls.load_config(model_name_or_path, subfolder, **options))
        if module.state_dict():
            cls.load_torch_weights(model_name_or_path, subfolder, model=module, **options)
        return module

    @classmethod
    def load_config(
        cls, model_name_or_path: str, subfolder: str = "", config_filename: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """The settings of a folder under their present names, {} where it has none."""
        name = _within(subfolder, config_filename or cls.config_file_name)
        config = opened(model_name_or_path, **options).optional(name)
        for old, new in cls.config_key_renames.items():
            if old in config:
                value = config.pop(old)
                config.setdefault(new, value)
        return config

    @classmethod
    def load_torch_weights(
        cls, model_name_or_path: str, subfolder: str = "", model: Self | None = None, **options: Any
    ) -> Any:
        """The weights of a folder by name, or `model` once it has them.

        Raises:
            DamagedModel: they are not those of `model`; the names are listed.
        """
        state = state_of(read_weights(opened(model_name_or_path, **options), subfolder))
        if model is None:
            return state
        missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
        if missing or unexpected:
            raise DamagedModel(
                f"the weights of {cls.__name__} in {model_name_or_path}/{subfolder} are not those that its settings "
                f"describe: missing {sorted(missing)}, unknown {sorted(unexpected)}"
            )
        return model

    @staticmethod
    def load_file_path(model_name_or_path: str, filename: str, subfolder: str = "", **options: Any) -> str | None:
        """Where a file of a module's folder is, None where it is not there."""
        folder = opened(model_name_or_path, **options)
        name = _within(subfolder, filename)
        return str(folder.path(name)) if folder.has(name) else None

    @staticmethod
    def load_dir_path(model_name_or_path: str, subfolder: str = "", **options: Any) -> str:
        """Where a module's folder is."""
        return str(opened(model_name_or_path, **options).path(subfolder or "."))

    # ---- as data -----------------------------------------------------------------------------------------------

    def form(self) -> Form:
        """What this module is, as data; `Custom` where no network but torch can run it."""
        return custom(self)

    def __getattr__(self, name: str) -> Any:
        if name in _OLD_NAMES and hasattr(type(self), "get_embedding_dimension"):
            return self.get_embedding_dimension
        return super().__getattr__(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.get_config_dict()})"


class InputModule(Module):
    """The base of a first module, which turns texts into features.

    A subclass gives `preprocess(inputs, prompt=None, **options)`, which returns a dict of tensors (or, as older code
    has it, `tokenize(texts)`).
    """

    save_in_root: bool = True
    tokenizer: Any

    @property
    def modalities(self) -> list[str]:
        """The kinds of input that it reads."""
        return ["text"]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **options: Any) -> Features:
        """Texts to features.

        Args:
            inputs: texts, or pairs of texts.
            prompt: goes in front of each.
        """
        if type(self).tokenize is InputModule.tokenize:
            raise TypeError(f"{type(self).__name__} must say how texts become features: def preprocess(self, inputs)")
        return self.tokenize([prompt + text for text in inputs] if prompt else list(inputs), **options)

    def tokenize(self, texts: Sequence[Any], **options: Any) -> Features:
        """The older name of `preprocess`."""
        return self.preprocess(texts, **options)

    def save_tokenizer(self, output_path: str, **options: Any) -> None:
        """Write the tokenizer into a folder, where it can do so itself."""
        tokenizer = getattr(self, "tokenizer", None)
        if tokenizer is not None and hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(output_path, **options)
        elif tokenizer is not None and hasattr(tokenizer, "save"):
            tokenizer.save(str(Path(output_path, "tokenizer.json")), **options)


def opened(name: str, **options: Any) -> Folder:
    """The folder of a model, or of one of its modules, on disk or on the hub."""
    if Path(name).is_dir():
        return Folder(Path(name))
    offline = bool(options.get("local_files_only"))
    revision, token, cache = (options.get(key) for key in ("revision", "token", "cache_folder"))
    return Folder(locate(name, revision=revision, token=token, cache_folder=cache, local_files_only=offline).folder)


def _within(subfolder: str, name: str) -> str:
    return f"{subfolder}/{name}" if subfolder else name


def kind_of(module: nn.Module) -> str:
    """The module's class as modules.json spells it: ours by the name that sentence-transformers knows."""
    kind = type(module)
    own = kind.__module__.startswith("vicinal.")
    return f"sentence_transformers.models.{kind.__qualname__}" if own else own_kind(kind)


def custom(module: nn.Module) -> Custom:
    """A module that torch alone runs, as data."""
    settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    return Custom(
        kind_of(module),
        json.dumps(settings, sort_keys=True, default=repr),
        width_of(module),
        f"a {type(module).__name__} module has no network but torch's",
        getattr(module, "listed_kwargs", ()),
    )


def width_of(module: nn.Module) -> int | None:
    """The width of what a module makes, where it says so, under whichever name."""
    for name in ("get_embedding_dimension", *_OLD_NAMES):
        if callable(method := getattr(module, name, None)):
            width = method()
            return None if width is None else int(width)
    return None


def older(names: Mapping[str, str], given: dict[str, Any], where: str) -> dict[str, Any]:
    """Keyword arguments under their present names; the older ones are told.

    Args:
        names: older spelling to present one.

    Raises:
        TypeError: a name is not known, or given in both spellings.
    """
    renamed = {}
    for name, value in given.items():
        if name not in names:
            raise TypeError(f"{where}() got an unexpected keyword argument {name!r}")
        warnings.warn(f"{where}: {name} is called {names[name]} now", DeprecationWarning, stacklevel=3)
        renamed[names[name]] = value
    return renamed


def kept(features: Features, **made: Any) -> Features:
    """The features with others added; the given dict stays as it is."""
    return {**features, **made}


Tensor = torch.Tensor
