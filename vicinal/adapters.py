"""Adapters of the package peft (LoRA and its kin) on a model: a few trained numbers beside frozen weights."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.errors import DamagedModel, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.save import save_model
from vicinal.torch_form import TorchForm

if TYPE_CHECKING:
    from vicinal.loading.locate import Located


class Adapters(TorchForm):
    """What a model does with adapters, by the names that `transformers` has for it.

    Each method but `active_adapters` makes the torch modules the truth, as `trainable()` does; the fast form is that of
    the weights with the active adapters added to them, built at the end of a training or by `refresh()`.

    All raise MissingExtra where the package peft is not installed, and UnsupportedModel where the model has no network
    of `transformers`.
    """

    _located: Located

    def add_adapter(self, adapter_config: Any, adapter_name: str | None = None) -> None:
        """Put a fresh adapter in the network, which is frozen but for it, and use it.

        Args:
            adapter_config: a `peft.LoraConfig` or another whose adapter lies in the layers.
            adapter_name: "default" unless given.

        Raises:
            ValueError: there is one of that name. TypeError: it is no `PeftConfig`.
        """
        network = self._with_adapters("add_adapter()")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # of a second one: it is meant
            network.add_adapter(adapter_config, adapter_name)

    def load_adapter(self, peft_model_id: Any = None, adapter_name: str | None = None, **options: Any) -> None:
        """Read an adapter that peft, sentence-transformers or `save_adapter` wrote, and use it.

        Args:
            peft_model_id: its folder, or its name on the hub.
            adapter_name: "default" unless given.
            options: is_trainable=True to train it further; adapter_state_dict with peft_config instead of a folder;
                others as `transformers` has them.

        Raises:
            DamagedModel: its weights are not those that its settings describe, or are of another network; it is not
                added then.
        """
        network = self._with_adapters("load_adapter()")
        from vicinal.backends.torch.auto import quiet

        source = os.fspath(peft_model_id) if isinstance(peft_model_id, os.PathLike) else peft_model_id
        with quiet(require("transformers", "load_adapter()")):
            found = network.load_adapter(source, adapter_name, **options)
        wrong = {
            "missing": found.missing_keys,
            "unknown": found.unexpected_keys,
            "of another shape": found.mismatched_keys,
        }
        if any(wrong.values()):
            network.delete_adapter(adapter_name or "default")
            said = ", ".join(f"{kind} {sorted(map(str, names))[:3]}" for kind, names in wrong.items() if names)
            raise DamagedModel(f"{source or 'the adapter'} does not fit {self.name}: {said}")

    def set_adapter(self, adapter_name: str | list[str]) -> None:
        """Use this adapter, or these, and no other."""
        self._with_adapters("set_adapter()").set_adapter(adapter_name)

    def enable_adapters(self) -> None:
        """Use the active adapters again."""
        self._with_adapters("enable_adapters()").enable_adapters()

    def disable_adapters(self) -> None:
        """Compute as without adapters."""
        self._with_adapters("disable_adapters()").disable_adapters()

    def delete_adapter(self, adapter_names: str | list[str]) -> None:
        """Take adapters out of the network.

        Raises:
            ValueError: there is none of that name.
        """
        self._with_adapters("delete_adapter()").delete_adapter(adapter_names)

    def active_adapters(self) -> list[str]:
        """The names of the adapters in use.

        Raises:
            ValueError: there are none.
        """
        names: list[str] = self._network("active_adapters()").active_adapters()
        return names

    def active_adapter(self) -> str:
        """The name of the adapter in use, the first of several."""
        return self.active_adapters()[0]

    def get_adapter_state_dict(self, adapter_name: str | None = None, state_dict: Any = None) -> dict[str, Any]:
        """The weights of an adapter by name; None is the active one."""
        network = self._network("get_adapter_state_dict()")
        return network.get_adapter_state_dict(adapter_name, state_dict)  # type: ignore[no-any-return]

    def save_adapter(self, path: str | os.PathLike[str], adapter_name: str | None = None) -> None:
        """Write a model's folder with an adapter in place of the weights, which `load_adapter` reads.

        sentence-transformers loads the folder as a model too, where it finds the one that the adapter belongs to.
        `save` writes the whole model instead, the adapter added to its weights.

        Args:
            adapter_name: None is the active one.

        Raises:
            ValueError: there is no such adapter. UnsupportedModel: the model has several routes.
        """
        network = self._network("save_adapter()")
        name = adapter_name or self.active_adapter()
        if name not in getattr(network, "peft_config", {}):
            raise ValueError(f"there is no adapter {name!r}, only {', '.join(getattr(network, 'peft_config', {}))}")
        self._settle()
        if self._spec.only is None:
            raise UnsupportedModel("save_adapter() needs a model of one route: save() writes this one as a whole")
        from vicinal.backends.torch.adapters import write

        def replace_weights(folder: Path) -> None:
            for file in ("config.json", "model.safetensors"):
                (folder / file).unlink()
            write(network, name, folder, self._base)

        save_model(
            Path(path), self._spec, self._torch.saved_parts(), self._located.folder, None, finish=replace_weights
        )

    def has_peft_compatible_model(self) -> bool:
        """Whether it has a network that adapters can be put in."""
        require("transformers", "has_peft_compatible_model()")
        return hasattr(self._modules_().network, "load_adapter")

    def check_peft_compatible_model(self) -> None:
        """Raise UnsupportedModel if it has none."""
        if not self.has_peft_compatible_model():
            raise UnsupportedModel(f"{self.name} has no network of transformers, which adapters are made for")

    @property
    def _base(self) -> str | None:
        """What an adapter says that it belongs to."""
        source = self._located.source
        if self._located.name == "modules":
            return None
        return str(self._located.folder) if source == "folder" else self._located.name

    def _network(self, purpose: str) -> Any:
        require("peft", purpose)
        self.check_peft_compatible_model()
        return self._modules_().network

    def _with_adapters(self, purpose: str) -> Any:
        """The network, about to be changed."""
        self._network(purpose)
        network = self.trainable().network
        network.name_or_path = self._base
        return network
