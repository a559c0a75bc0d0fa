"""Small functions that users know from `util`."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vicinal.errors import ModelNotFound
from vicinal.loading.folder import Folder
from vicinal.loading.locate import locate

__all__ = ["LoggingHandler", "batch_to_device", "fullname", "get_device_name", "http_get", "import_from_string",
           "is_accelerate_available", "is_datasets_available", "is_sentence_transformer_model",
           "is_training_available"]  # fmt: skip


class LoggingHandler(logging.Handler):
    """Writes log lines between progress bars: `logging.basicConfig(handlers=[LoggingHandler()])`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        from tqdm.auto import tqdm

        try:
            tqdm.write(self.format(record))
        except (OSError, ValueError, TypeError):
            self.handleError(record)


def batch_to_device(batch: dict[str, Any], target_device: Any) -> dict[str, Any]:
    """The batch itself, its tensors moved to a device."""
    for name, value in batch.items():
        if hasattr(value, "to"):
            batch[name] = value.to(target_device)
    return batch


def get_device_name() -> str:
    """Where torch would compute: "cuda", "mps" or "cpu", which it is without torch."""
    if find_spec("torch") is None:
        return "cpu"
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def is_sentence_transformer_model(
    model_name_or_path: str | os.PathLike[str],
    token: str | bool | None = None,
    cache_folder: str | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> bool:
    """Whether a name or folder leads to a model with `modules.json`; the arguments are `SentenceTransformer`'s."""
    if Path(model_name_or_path).is_dir():
        return Folder(Path(model_name_or_path)).has("modules.json")
    try:
        found = locate(model_name_or_path, revision=revision, token=token, cache_folder=cache_folder,
                       local_files_only=local_files_only)  # fmt: skip
    except ModelNotFound:
        return False
    return Folder(found.folder).has("modules.json")


def fullname(obj: Any) -> str:
    """The full name of an object's class.

    >>> fullname(Path()).rpartition(".")[2] in ("PosixPath", "WindowsPath")
    True
    """
    kind = type(obj)
    return kind.__qualname__ if kind.__module__ in (None, "builtins") else f"{kind.__module__}.{kind.__qualname__}"


def import_from_string(dotted_path: str) -> Any:
    """What a full name stands for; its module is imported.

    >>> import_from_string("math.pi") > 3
    True

    Raises:
        ImportError: there is no such module, or nothing of that name in it.
    """
    home, _, name = dotted_path.rpartition(".")
    if not home:
        raise ImportError(f"{dotted_path!r} is no full name: 'module.name' is one")
    try:
        return getattr(importlib.import_module(home), name)
    except AttributeError:
        raise ImportError(f"module {home!r} has no {name!r}") from None


def http_get(url: str, path: str | os.PathLike[str]) -> None:
    """Fetch a file; what is there stays as it is until all of it has come.

    Raises:
        OSError: it cannot be fetched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}_part")
    try:
        with urllib.request.urlopen(url) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def is_accelerate_available() -> bool:
    """Whether accelerate is installed."""
    return find_spec("accelerate") is not None


def is_datasets_available() -> bool:
    """Whether datasets is installed."""
    return find_spec("datasets") is not None


def is_training_available() -> bool:
    """Whether what training needs is installed."""
    return is_accelerate_available() and is_datasets_available()
