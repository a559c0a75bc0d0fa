"""Modules of users' own in a model's folder: found by name, read, written with their code."""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

from torch import nn

from vicinal.errors import UnsafeModel, UnsupportedModel
from vicinal.extras import require
from vicinal.loading.own import DEFINED, ours
from vicinal.loading.spec import Custom

_BROUGHT = "transformers_modules"
"""The package that code of a model's folder is imported into."""


def read_own(form: Custom, at: str, root: Path | None, trusted: bool) -> nn.Module:
    """A module that reads itself from its folder.

    Args:
        at: its folder within `root`.
        trusted: whether code that the folder names may be imported.

    Raises:
        UnsafeModel: it is code of another place, neither defined yet nor trusted. UnsupportedModel: it cannot be found
            or read.
    """
    if root is None:
        raise UnsupportedModel(f"a {form.kind} module can only be read from its folder")
    kind = _class(form.kind, at, root, trusted)
    if not hasattr(kind, "load"):
        raise UnsupportedModel(f"{form.kind} has no load(): derive it from vicinal.models.Module")
    if _takes(kind.load, "subfolder"):
        more = {"trust_remote_code": trusted} if _takes(kind.load, "trust_remote_code") else {}
        module = kind.load(str(root), subfolder=at, **more)
    else:  # as before version 5 of sentence-transformers
        module = kind.load(str(root / at))
    if form.options:
        module.forward_kwargs = {*getattr(module, "forward_kwargs", ()), *form.options}
        module.listed_kwargs = form.options
    return module


def _takes(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def _class(kind: str, at: str, root: Path, trusted: bool) -> Any:
    """A module's class by its full name."""
    home, _, name = kind.rpartition(".")
    if ours(kind):
        return getattr(importlib.import_module("vicinal.models"), name)
    if kind in DEFINED:
        return DEFINED[kind]
    if not trusted:
        raise UnsafeModel(f"{root} asks for {kind!r}, which is other code: trust_remote_code=True runs it")
    for place in (root / at, root):
        if (place / f"{home}.py").is_file():
            require("transformers", kind)
            dynamic: Any = importlib.import_module("transformers.dynamic_module_utils")
            return dynamic.get_class_from_dynamic_module(kind, str(place))
    try:
        return getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError) as error:
        raise UnsupportedModel(
            f"{root} asks for the module {kind!r}: {error}. Its file must lie in the model's folder, or be importable."
        ) from error


def own_kind(kind: type) -> str:
    """A class by the name that a folder which brings its code has for it.

    >>> own_kind(type("Mine", (), {"__module__": "transformers_modules.a1b2.modeling_mine"}))
    'modeling_mine.Mine'
    """
    home = kind.__module__
    return f"{home.rpartition('.')[2] if home.startswith(_BROUGHT) else home}.{kind.__qualname__}"


def write_own(module: Any, folder: Path) -> None:
    """Write a module's folder, with the code that it was brought with.

    Raises:
        UnsupportedModel: it cannot write itself.
    """
    kind = type(module)
    if not hasattr(module, "save"):
        raise UnsupportedModel(f"a {kind.__name__} cannot be saved: derive it from vicinal.models.Module")
    module.save(str(folder))
    if kind.__module__.startswith(_BROUGHT):
        file = Path(str(sys.modules[kind.__module__].__file__))
        dynamic: Any = importlib.import_module("transformers.dynamic_module_utils")
        for code in (file, *map(Path, dynamic.get_relative_import_files(str(file)))):
            shutil.copyfile(code, folder / code.name)
