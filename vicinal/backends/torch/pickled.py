"""Reads `pytorch_model.bin`: tensors alone, through torch's restricted unpickler, never code."""

from __future__ import annotations

import pickle
from pathlib import Path

from vicinal.errors import DamagedModel, MissingExtra, UnsafeModel
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
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise DamagedModel(f"{path} cannot be read ({error}): truncated or damaged. Get it again.") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise DamagedModel(f"{path} is no checkpoint: it must hold tensors by name")
    return {name: _tensor(torch, name, value, path) for name, value in state.items()}


def _tensor(torch: object, name: str, value: object, path: Path) -> Tensor:
    """A torch tensor's memory as ours; bfloat16 by its bits."""
    value = value.detach().contiguous()  # type: ignore[attr-defined]
    if value.dtype == torch.bfloat16:  # type: ignore[attr-defined]
        return Tensor(name, "BF16", value.view(torch.uint16).numpy(), path)  # type: ignore[attr-defined]
    return Tensor(name, Tensor.of(name, value.numpy()).dtype, value.numpy(), path)  # type: ignore[attr-defined]
