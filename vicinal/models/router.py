"""Several ways through a model: one for queries, one for documents, ..."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from vicinal.errors import UnsupportedModel
from vicinal.models.module import Features, InputModule, kept, kind_of, width_of

if TYPE_CHECKING:
    from typing_extensions import Self


class Router(InputModule):
    """Sends a batch through the modules of its task.

    The task is what `encode(..., task=...)`, `encode_query` and `encode_document` say, or the key of
    `{"query": text}`.

    Args:
        sub_modules: the modules of each route, in order.
        default_route: taken when no task is given.
        allow_empty_key: whether the first route is the default where none is named.
        route_mappings: none are handled here.

    Raises:
        ValueError: there are no routes, or one is named that is not there.
    """

    config_file_name: ClassVar[str] = "router_config.json"
    config_keys: ClassVar[Sequence[str]] = ("default_route", "allow_empty_key")
    forward_kwargs: ClassVar[set[str]] = {"task", "modality"}

    def __init__(
        self,
        sub_modules: Mapping[str, Sequence[nn.Module]],
        default_route: str | None = None,
        allow_empty_key: bool = True,
        route_mappings: Mapping[Any, str] | None = None,
    ) -> None:
        super().__init__()
        if not sub_modules or not all(len(modules) for modules in sub_modules.values()):
            raise ValueError("a Router needs routes, each of at least one module: {'query': [...], 'document': [...]}")
        if route_mappings:
            raise UnsupportedModel("Router(route_mappings=...) is not handled here: name the route with task=")
        if default_route is not None and default_route not in sub_modules:
            raise ValueError(f"there is no route {default_route!r}; this Router has {', '.join(sub_modules)}")
        self.sub_modules = nn.ModuleDict({name: nn.Sequential(*modules) for name, modules in sub_modules.items()})
        self.allow_empty_key = allow_empty_key
        first = next(iter(sub_modules)) if allow_empty_key else None
        self.default_route = first if default_route is None else default_route

    @classmethod
    def for_query_document(
        cls,
        query_modules: Sequence[nn.Module],
        document_modules: Sequence[nn.Module],
        default_route: str | None = "document",
        allow_empty_key: bool = True,
    ) -> Self:
        """A Router with a route for queries and one for documents."""
        return cls({"query": query_modules, "document": document_modules}, default_route, allow_empty_key)

    def route(self, task: str | None) -> str:
        """The name of a task's route.

        Raises:
            ValueError: it has none.
        """
        name = self.default_route if task is None else task
        if name is None or name not in self.sub_modules:
            raise ValueError(f"this Router has routes {', '.join(self.sub_modules)}, none for task={task!r}")
        return str(name)

    def forward(self, features: Features, task: str | None = None, **options: Any) -> Features:
        """What the route makes of the features; `features["task"]` names it where `task` does not."""
        task = features.get("task") if task is None else task
        for module in self.sub_modules[self.route(task)]:
            known = getattr(module, "forward_kwargs", ())
            features = module(features, **{k: v for k, v in {"task": task, **options}.items() if k in known})
        return features

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, task: str | None = None, **options: Any
    ) -> Features:
        """What the route's first module makes of the texts, and the task."""
        if task is None and inputs and all(isinstance(row, Mapping) for row in inputs):
            task, inputs = self._keyed(inputs)
        first = self.sub_modules[self.route(task)][0]
        return kept(first.preprocess(inputs, prompt=prompt, **options), task=task)

    def _keyed(self, inputs: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
        keys = {key for row in inputs for key in row}
        if len(keys) != 1 or not all(inputs):
            raise ValueError(f"all rows must go by one route, as in {{'query': text}}; found {sorted(map(str, keys))}")
        key = next(iter(keys))
        return key, [row[key] for row in inputs]

    def get_embedding_dimension(self) -> int | None:
        """Width of what the first route makes."""
        last = next(iter(self.sub_modules.values()))
        return next((width for module in reversed(last) if (width := width_of(module)) is not None), None)

    @property
    def tokenizer(self) -> Any:
        """Of the first route that has one."""
        found = (getattr(route[0], "tokenizer", None) for route in self.sub_modules.values())
        return next((tokenizer for tokenizer in found if tokenizer is not None), None)

    @property
    def max_seq_length(self) -> int | None:
        """Of the first route."""
        return getattr(next(iter(self.sub_modules.values()))[0], "max_seq_length", None)

    @max_seq_length.setter
    def max_seq_length(self, length: int | None) -> None:
        for route in self.sub_modules.values():
            if hasattr(route[0], "max_seq_length"):
                route[0].max_seq_length = length

    def get_config_dict(self) -> dict[str, Any]:
        return {"default_route": self.default_route, "allow_empty_key": self.allow_empty_key}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write every module into a folder of its own, and what leads to them."""
        folders: dict[int, str] = {}
        types, structure = {}, {}
        for task, route in self.sub_modules.items():
            structure[task] = [folders.setdefault(id(m), f"{task}_{i}_{type(m).__name__}") for i, m in enumerate(route)]
            for module, at in zip(route, structure[task], strict=True):
                if at not in types:
                    types[at] = kind_of(module)
                    Path(output_path, at).mkdir(parents=True, exist_ok=True)
                    module.save(str(Path(output_path, at)), safe_serialization=safe_serialization)
        config = {"types": types, "structure": structure, "parameters": self.get_config_dict()}
        Path(output_path, self.config_file_name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def __repr__(self) -> str:
        return str(nn.Module.__repr__(self))


Asym = Router
