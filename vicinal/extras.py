"""The one gate to optional dependencies: pyproject.toml lists them, this says what to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from vicinal.errors import MissingExtra

_MODULES = {
    "bm25": "bm25s",
    "mteb": "mteb",
    "faiss": "faiss",
    "ingest": "pypdf",
    "chat": "jinja2",
    "onnx": "onnxruntime",
    "parquet": "pyarrow",
    "peft": "peft",
    "plot": "matplotlib",
    "redis": "redis",
    "torch": "torch",
    "transformers": "transformers",
    "train": "datasets",
    "usearch": "usearch",
    "words": "nltk",
}


def require(extra: str, purpose: str, module: str | None = None) -> ModuleType:
    """Import the module that `extra` brings, or say how to get it.

    Args:
        extra: a name under `[project.optional-dependencies]`.
        purpose: what needs it, to begin the message with.
        module: which one, of an extra that brings several.

    Raises:
        MissingExtra: it is not installed.
    """
    module = module or _MODULES[extra]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingExtra(
            f"{purpose} needs {module}, which is not installed: pip install 'vicinal[{extra}]'"
        ) from None
