"""What stands between a text's vector and the result: dense layers, normalisation, dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from vicinal.errors import DamagedModel, UnsafeModel
from vicinal.loading import spec
from vicinal.loading.modules import DENSE_ACTIVATIONS
from vicinal.models.module import Features, Module, kept

if TYPE_CHECKING:
    from typing_extensions import Self

TEXT = "sentence_embedding"


class Dense(Module):
    """activation(W x + b), plus x (projected where widths differ) with `use_residual`.

    Args:
        in_features, out_features: widths.
        bias: whether there is b.
        activation_function: tanh where nothing is said; None is the identity.
        init_weight, init_bias: to begin with, instead of random numbers.
        module_input_name, module_output_name: features to read and write; the output is the input's where not given.
        use_residual: whether x is added.
    """

    config_keys: ClassVar[Sequence[str]] = (
        "in_features", "out_features", "bias", "activation_function", "module_input_name", "module_output_name",
        "use_residual",
    )  # fmt: skip

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation_function: Callable[[torch.Tensor], torch.Tensor] | None = nn.Tanh(),  # noqa: B008
        init_weight: torch.Tensor | None = None,
        init_bias: torch.Tensor | None = None,
        module_input_name: str = TEXT,
        module_output_name: str | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = in_features, out_features, bias
        self.activation_function = nn.Identity() if activation_function is None else activation_function
        self.module_input_name = module_input_name
        self.module_output_name = module_output_name or module_input_name
        self.use_residual = use_residual
        self.linear = nn.Linear(in_features, out_features, bias)
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)
        if init_weight is not None:
            self.linear.weight = nn.Parameter(torch.as_tensor(init_weight))
        if init_bias is not None and bias:
            self.linear.bias = nn.Parameter(torch.as_tensor(init_bias))

    def get_embedding_dimension(self) -> int:
        """Width of what it makes."""
        return self.out_features

    def forward(self, features: Features, **options: Any) -> Features:
        x = features[self.module_input_name]
        y = self.activation_function(self.linear(x))
        if self.use_residual:
            y = y + (x if self.in_features == self.out_features else self.residual(x))
        return kept(features, **{self.module_output_name: y})

    def get_config_dict(self) -> dict[str, Any]:
        config = super().get_config_dict()
        kind = type(self.activation_function)
        config["activation_function"] = f"{kind.__module__}.{kind.__qualname__}"
        if not self.use_residual:  # which versions before 5.7 do not know
            del config["use_residual"]
        return config

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", trust_remote_code: bool = False, **options: Any
    ) -> Self:
        config = cls.load_config(model_name_or_path, subfolder, **options)
        if stated := config.get("activation_function"):
            config["activation_function"] = activation(str(stated), trust_remote_code)
        module = cls(**config)
        cls.load_torch_weights(model_name_or_path, subfolder, model=module, **options)
        return module

    def form(self) -> spec.Module:
        kind = type(self.activation_function)
        name = DENSE_ACTIVATIONS.get(f"{kind.__module__}.{kind.__qualname__}")
        if name is None or (name == "gelu" and getattr(self.activation_function, "approximate", "none") != "none"):
            return super().form()
        return spec.Dense(
            self.in_features, self.out_features, self.bias, name, self.use_residual,
            self.module_input_name, self.module_output_name,
        )  # fmt: skip

    @classmethod
    def of(cls, form: spec.Dense) -> Self:
        """A module of this form; its weights come later."""
        path = next(path for path, name in DENSE_ACTIVATIONS.items() if name == form.activation)
        return cls(form.in_features, form.out_features, form.bias, activation(path, False), None, None, form.source,
                   form.target, form.residual)  # fmt: skip


def activation(path: str, trusted: bool) -> nn.Module:
    """An activation by its class's name, of torch.nn; of any other place where its code is trusted.

    Raises:
        UnsafeModel: it is code of another place. DamagedModel: there is no such module.
    """
    home, _, name = path.rpartition(".")
    if not home.startswith("torch.nn") and not trusted:
        raise UnsafeModel(
            f"a Dense module asks for the activation {path!r}, which is code from outside torch.nn: "
            "trust_remote_code=True lets it run"
        )
    if home.startswith("torch.nn"):
        kind = getattr(nn, name, None)
    else:
        import importlib

        kind = getattr(importlib.import_module(home), name, None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise DamagedModel(f"a Dense module asks for the activation {path!r}, which is no torch module")
    return kind()


class Normalize(Module):
    """Scales a feature to length 1 (a zero vector stays zero)."""

    config_keys: ClassVar[Sequence[str]] = ("module_input_name", "module_output_name")

    def __init__(self, module_input_name: str = TEXT, module_output_name: str | None = None) -> None:
        super().__init__()
        self.module_input_name = module_input_name
        self.module_output_name = module_output_name or module_input_name

    def forward(self, features: Features, **options: Any) -> Features:
        unit = nn.functional.normalize(features[self.module_input_name], p=2, dim=-1)
        return kept(features, **{self.module_output_name: unit})

    def form(self) -> spec.Module:
        return spec.Normalize(self.module_input_name, self.module_output_name)


class LayerNorm(Module):
    """Layer normalisation of the text's vector, eps 1e-5."""

    config_keys: ClassVar[Sequence[str]] = ("dimension",)

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.norm = nn.LayerNorm(dimension)

    def get_embedding_dimension(self) -> int:
        """Width of the vector."""
        return self.dimension

    def forward(self, features: Features, **options: Any) -> Features:
        return kept(features, **{TEXT: self.norm(features[TEXT])})

    def form(self) -> spec.Module:
        return spec.LayerNorm(self.dimension)


class Dropout(Module):
    """Zeroes a share of the text's vector while training."""

    config_keys: ClassVar[Sequence[str]] = ("dropout",)

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        self.dropout_layer = nn.Dropout(dropout)

    def forward(self, features: Features, **options: Any) -> Features:
        return kept(features, **{TEXT: self.dropout_layer(features[TEXT])})

    def form(self) -> spec.Module:
        return spec.Dropout(self.dropout)
