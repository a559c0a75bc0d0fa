"""Reads `pytorch_model.bin`: tensors alone, through torch's restricted unpickler, never code."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

from vicinal.errors import DamagedModel, MissingExtra, UnsafeModel, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.weights import Tensor


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint that torch wrote.

    Raises:
        MissingExtra: torch is not installed. UnsafeModel: the file holds more than tensors.
        DamagedModel: it cannot be read.
    """
    try:
        torch = require("torch", f"{path} is a pickled checkpoint; reading it without running code")
    except MissingExtra as error:
        raise MissingExtra(f"{error}. Or get the model with model.safetensors, which needs nothing.") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        raise UnsafeModel(
            f"{path} holds more than tensors, and reading it would run code of its own; it is refused ({error})"
        ) from error
    except Exception as error:
        raise DamagedModel(f"{path} cannot be read ({error}): truncated or damaged. Get it again.") from error
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DamagedModel(f"{path} is no checkpoint: it must hold tensors by name")
    return {name: as_stored(name, value, path) for name, value in state.items()}


def as_stored(name: str, value: Any, path: Path | None = None) -> Tensor:
    """A torch tensor's memory as ours; bfloat16 by its bits.

    Args:
        path: where it came from, for messages.

    Raises:
        UnsupportedModel: it is of a type that no file of ours has.
    """
    import torch

    try:
        value = value.detach().contiguous()
        if value.dtype == torch.bfloat16:
            return Tensor(name, "BF16", value.view(torch.uint16).numpy(), path)
        return replace(Tensor.of(name, value.numpy()), file=path)
    except (TypeError, KeyError, RuntimeError, NotImplementedError) as error:
        kind = f"{value.dtype}, {value.layout}"
        raise UnsupportedModel(
            f"{path or 'a model'}: tensor {name} ({kind}) is of a kind that is not read here"
        ) from error
