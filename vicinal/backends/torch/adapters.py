"""Adapters of the package peft inside a network of `transformers`: what they make of its weights, and their files.

An adapter (LoRA and its kin: Hu et al. 2021, arXiv:2106.09685) is a few trained numbers beside frozen weights. peft
puts it in the network's own layers; here such a network is made a plain one again, for all that knows no adapters.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from vicinal.backends.torch.weights import state_of, tensors_of
from vicinal.errors import InvalidData
from vicinal.loading.checkpoint import read_weights
from vicinal.loading.folder import Folder
from vicinal.loading.weights import write_safetensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter."""
_PREFIX = "base_model.model."
"""In front of every name in them."""
_TRAINED = "trained"
"""Folder of a checkpoint that holds what is being trained, where that is not the whole network."""


def layers(network: Any) -> Iterator[tuple[str, Any]]:
    """The layers that peft has put in a network, the outermost of nested ones, by name."""
    if "peft" not in sys.modules:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    inside = None
    for name, module in network.named_modules():
        if inside is not None and name.startswith(inside):
            continue
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            inside = f"{name}."
            yield name, module


def carries(network: Any) -> bool:
    """Whether peft has changed a network's layers."""
    return next(layers(network), None) is not None


def state(network: Any) -> tuple[object, ...]:
    """Which adapters of a network are in use; () where it has none."""
    found = next(layers(network), None)
    return () if found is None else (*found[1].active_adapters, bool(found[1].disable_adapters))


def merged(network: Any) -> Any:
    """The network as it computes now, without adapters: a copy with the active ones added to its weights.

    A network that has none is itself returned.
    """
    if not carries(network):
        return network
    twin = copy.deepcopy(network)
    for name, layer in list(layers(twin)):
        used = not layer.disable_adapters
        if hasattr(layer, "unload_and_optionally_merge_module"):
            plain = layer.unload_and_optionally_merge_module(merge=used, safe_merge=False, adapter_names=None)
        else:
            if used:
                layer.merge()
            plain = layer.get_base_layer()
        home, _, own = name.rpartition(".")
        setattr(twin.get_submodule(home), own, plain)
    return twin


def write(network: Any, name: str, folder: Path, base: str | None) -> None:
    """Write an adapter's two files, as peft has them.

    Args:
        base: the model that it belongs to, by its name on the hub or its folder.
    """
    from peft import get_peft_model_state_dict

    config = copy.deepcopy(network.peft_config[name])
    config.base_model_name_or_path, config.inference_mode = base, True
    found = get_peft_model_state_dict(network, adapter_name=name)
    write_safetensors(folder / WEIGHTS, tensors_of({f"{_PREFIX}{key}": value for key, value in found.items()}))
    config.save_pretrained(str(folder))


def keep(module: Any, folder: Path) -> None:
    """Write what is being trained of a model with adapters into a checkpoint."""
    (folder / _TRAINED).mkdir(exist_ok=True)
    write_safetensors(folder / _TRAINED / "model.safetensors", tensors_of(_trained(module)))


def restore(module: Any, folder: Path) -> None:
    """Put what `keep` wrote back into the model, whose other weights training left as they were.

    Raises:
        InvalidData: other weights are being trained now. DamagedModel: there are none.
    """
    own, kept = _trained(module), state_of(read_weights(Folder(folder), _TRAINED))
    if own.keys() != kept.keys():
        raise InvalidData(
            f"{folder} is a checkpoint of other adapters: missing {sorted(own.keys() - kept.keys())[:3]}, unknown "
            f"{sorted(kept.keys() - own.keys())[:3]}; add the same ones before you resume"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(kept[name])


def _trained(module: Any) -> dict[str, Any]:
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
