"""Weights between files and torch modules. What comes in is copied, so that a mapped file is never written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vicinal.backends.torch.pickled import as_stored
from vicinal.errors import UnsupportedModel
from vicinal.loading.weights import Tensor, write_safetensors


def to_torch(tensor: Tensor) -> Any:
    """A copy of a stored tensor in its own type."""
    if tensor.dtype == "BF16":
        return torch.from_numpy(tensor.array.view("int16").copy()).view(torch.bfloat16)
    return torch.from_numpy(tensor.array.copy())


def state_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Copies of tensors by name, as `load_state_dict` takes them."""
    return {name: to_torch(tensor) for name, tensor in tensors.items()}


def tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict as tensors that can be written and read by networks: views where it lies in main memory.

    A tensor that stands under several names (tied weights) is given under each.
    """
    return {name: as_stored(name, value.cpu()) for name, value in state.items()}


def write_state(folder: Path, module: Any, safe: bool = True) -> None:
    """Write a module's weights as model.safetensors, where it has some.

    Raises:
        UnsupportedModel: another format is asked for.
    """
    if not safe:
        raise UnsupportedModel("safe_serialization=False asks for a pickled file; vicinal writes safetensors only")
    if state := module.state_dict():
        write_safetensors(folder / "model.safetensors", tensors_of(state))
