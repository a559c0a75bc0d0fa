"""A folder that holds an adapter in place of weights: a few trained numbers that are added to another model's.

The files are those of the package peft. Of its kinds LoRA is read (Hu et al. 2021, arXiv:2106.09685: W + s B A), which
is a matrix product for each layer; neither peft nor torch is needed.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.loading.folder import Folder
from vicinal.loading.own import class_name
from vicinal.loading.weights import Tensor, read_safetensors

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_PREFIX = "base_model.model."
_LOW = re.compile(r"(.+)\.lora_(?:(embedding)_)?([AB])(?:\.weight)?")
_REFUSED = ("use_dora", "lora_bias", "layer_replication", "target_parameters", "trainable_token_indices", "use_qalora")
"""Settings that make of LoRA something that is not handled."""
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of init_lora_weights that leave the other model's weights as they are."""


@dataclass(frozen=True)
class Adapter:
    """An adapter, and the model that it belongs to.

    Attributes:
        folder, at: where its files are.
        config: its settings.
        base, base_at: where the network that it belongs to is.
    """

    folder: Folder
    at: str
    config: Mapping[str, Any]
    base: Folder
    base_at: str

    def merged(self, tensors: Mapping[str, Tensor], leftovers: tuple[str, ...]) -> dict[str, Tensor]:
        """The network's tensors that it changes, by their names, in float32.

        Args:
            tensors: of the network, as its checkpoint names them.
            leftovers: patterns of tensors that nothing reads: where the checkpoint lacks one, so does the answer.

        Raises:
            DamagedModel: it does not belong to these. UnsupportedModel: it holds more than LoRA.
        """
        low: dict[str, dict[str, Tensor]] = {}
        changed: dict[str, Tensor] = {}
        for stored, tensor in self._read().items():
            name = stored.removeprefix(_PREFIX).replace(".base_layer.", ".")
            if (found := _LOW.fullmatch(name)) is not None:
                low.setdefault(found[1], {})[f"{found[2] or ''}{found[3]}"] = tensor
            elif "lora_" in name or "modules_to_save." in name:
                raise UnsupportedModel(f"{tensor.file}: tensor {stored} is more than LoRA has, and not handled here")
            elif (at := self._place(name, tensors, leftovers)) is not None:  # trained as a whole: a bias, a head
                changed[at] = tensor
        for name, pair in low.items():
            if (at := self._place(f"{name}.weight", tensors, leftovers)) is not None:
                changed[at] = self._added(name, changed.get(at, tensors[at]), pair)
        for name, tensor in changed.items():
            if tensor.shape != tensors[name].shape:
                raise self._other(f"{name} {list(tensor.shape)}, where that model has {list(tensors[name].shape)}")
        return changed

    def _read(self) -> dict[str, Tensor]:
        prefix = f"{self.at}/" if self.at else ""
        if self.folder.has(prefix + WEIGHTS):
            return read_safetensors(self.folder.path(prefix + WEIGHTS))
        if self.folder.has(prefix + PICKLED):
            from vicinal.backends.torch.pickled import read_pickled

            return read_pickled(self.folder.path(prefix + PICKLED))
        raise DamagedModel(f"{self.folder.root / self.at} has {CONFIG}, but no {WEIGHTS}: the folder is incomplete")

    def _added(self, name: str, weight: Tensor, pair: Mapping[str, Tensor]) -> Tensor:
        """A layer's weights with s B A added."""
        kind = "embedding" if "embeddingA" in pair else ""
        try:
            a, b = (_double(pair[f"{kind}{side}"]) for side in "AB")
        except KeyError:
            raise DamagedModel(f"{self.folder.root / self.at / WEIGHTS}: of {name} one half is missing") from None
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1]:
            raise UnsupportedModel(
                f"{self.folder.root / self.at / WEIGHTS}: {name} has halves of shapes {list(a.shape)} and "
                f"{list(b.shape)}; only linear layers and embeddings are handled here"
            )
        more = self._scale(name, len(a)) * (b @ a)
        more = more.T if kind or self.config.get("fan_in_fan_out") else more
        if more.shape != weight.shape:
            raise self._other(f"{name} {list(more.shape)}, where that model has {list(weight.shape)}")
        return Tensor(weight.name, "F32", (_double(weight) + more).astype(np.float32), next(iter(pair.values())).file)

    def _scale(self, name: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) (rank-stabilised: Kalajdzievski 2023, arXiv:2312.03732)."""
        alpha = self.config.get("lora_alpha", 8)
        for pattern, own in (self.config.get("alpha_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", name):
                alpha = own
                break
        return float(alpha) / (rank**0.5 if self.config.get("use_rslora") else rank)

    def _place(self, name: str, tensors: Mapping[str, Tensor], leftovers: tuple[str, ...]) -> str | None:
        """The tensor that the adapter means: either may have a prefix that the other lacks ("bert.")."""
        if name in tensors:
            return name
        fitting = [one for one in tensors if one.endswith(f".{name}") or name.endswith(f".{one}")]
        if not fitting and any(fnmatch.fnmatchcase(name, pattern) for pattern in leftovers):
            return None
        if not fitting:
            raise self._other(f"{name}, which that model does not have")
        return max(fitting, key=len)

    def _other(self, what: str) -> DamagedModel:
        return DamagedModel(
            f"{self.folder.root / self.at}: the adapter is not one of {self.base.root}: it changes {what}. "
            f"{CONFIG} names the model that it belongs to"
        )


def find_adapter(folder: Folder, at: str) -> Adapter | None:
    """The adapter in the subfolder `at`; None where it has a network of its own, or none.

    Raises:
        UnsupportedModel: it is of another kind than LoRA. ModelNotFound: the model that it belongs to is not found.
        UnsafeModel: that is a folder, which a model from elsewhere must not name.
    """
    prefix = f"{at}/" if at else ""
    if folder.has(f"{prefix}config.json") or not folder.has(prefix + CONFIG):
        return None
    config, where = folder.mapping(prefix + CONFIG), folder.path(prefix + CONFIG)
    kind, name, revision = config.get("peft_type"), config.get("base_model_name_or_path"), config.get("revision")
    if kind != "LORA":
        raise UnsupportedModel(
            f"{where}: an adapter of the kind {kind!r} is not added to weights here, only LoRA: load the model that it "
            "belongs to, and load_adapter() it (pip install 'vicinal[peft]')"
        )
    if more := [key for key in _REFUSED if config.get(key)]:
        raise UnsupportedModel(f"{where}: LoRA with {', '.join(more)} is not handled here")
    if (start := config.get("init_lora_weights", True)) not in _STARTS:
        raise UnsupportedModel(f"{where}: LoRA that began with init_lora_weights={start!r} changes other weights too")
    if not isinstance(name, str) or not name or not isinstance(revision, (str, type(None))):
        raise DamagedModel(f"{where} does not say which model it belongs to (base_model_name_or_path is {name!r})")
    base = folder.other(name, revision)
    return Adapter(folder, at, config, base, _network_of(base))


def home(folder: Folder, at: str) -> tuple[Folder, str]:
    """Where the network in `at` has its configuration: there, or in the model that an adapter belongs to."""
    adapter = find_adapter(folder, at)
    return (folder, at) if adapter is None else (adapter.base, adapter.base_at)


def _network_of(base: Folder) -> str:
    """The subfolder of a model that has its network."""
    if not base.has("modules.json"):
        return ""
    listed = base.json("modules.json")
    first = listed[0] if isinstance(listed, list) and listed else {}
    path = first.get("path") if isinstance(first, dict) else None
    if not isinstance(path, str) or class_name(str(first.get("type")), base.path("modules.json")) != "Transformer":
        raise UnsupportedModel(f"{base.root}: the first module is no Transformer, which an adapter belongs to")
    return path.rstrip("/")


def _double(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.numeric().astype(np.float64)
