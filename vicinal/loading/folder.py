"""A model's folder: files are read inside it and nowhere else, and what cannot be read is said by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from vicinal.errors import DamagedModel, UnsafeModel, UnsupportedModel

_LARGEST_JSON = 1 << 28
# Of versions 1 to 6, in the order in which they are looked for.
SENTENCE_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


class Folder:
    """Reads files below `root`. Links may lead within it; in a hub cache, also to that model's blobs.

    Args:
        root: the folder.
        other: finds the folder of another model, by its name and revision.
    """

    def __init__(self, root: Path, other: Callable[[str, str | None], Folder] | None = None) -> None:
        self.root, self._other = root, other
        real = root.resolve()
        self._allowed = [real]
        if real.parent.name == "snapshots":  # models--org--name/snapshots/<commit>, files link to ../../blobs
            self._allowed.append(real.parent.parent / "blobs")
            self._allowed.append(real.parent.parent.parent / "blobs")  # which may link on to the cache's shared store

    def path(self, name: str) -> Path:
        """Where `name` is, whether or not it is there.

        Raises:
            UnsafeModel: that is outside the folder.
        """
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
            raise UnsafeModel(f"the model at {self.root} names the file {name!r}, which is not inside its folder")
        path = self.root / pure
        try:
            real = path.resolve()
            path.exists()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            raise UnsafeModel(
                f"the model at {self.root} names a file that cannot be: {name[:80]!r} ({error})"
            ) from None
        if not any(real.is_relative_to(allowed) for allowed in self._allowed):
            raise UnsafeModel(f"{path} is a link to {real}, outside the model's folder; copy the file into the folder")
        return path

    def other(self, name: str, revision: str | None) -> Folder:
        """The folder of another model, which this one is made from.

        Raises:
            UnsupportedModel: this folder is read on its own. ModelNotFound: there is no such model.
        """
        if self._other is None:
            raise UnsupportedModel(f"{self.root} is made from the model {name!r}, which is not looked for here")
        return self._other(name, revision)

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return self.path(name).is_file()

    def text(self, name: str) -> str:
        """A file's text.

        Raises:
            DamagedModel: it is absent, too large, or no UTF-8.
        """
        path = self.path(name)
        try:
            if path.exists() and not path.is_file():
                raise DamagedModel(f"{path} is no regular file")
            size = path.stat().st_size
            if size > _LARGEST_JSON:
                raise DamagedModel(f"{path} has {size:,} bytes; no configuration or vocabulary is that large")
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise DamagedModel(f"{path} is missing: the model's folder is incomplete, or is no model") from None
        except UnicodeDecodeError as error:
            raise DamagedModel(f"{path} is not UTF-8 text ({error}): damaged, or not what its name says") from error
        except OSError as error:
            raise DamagedModel(f"{path} cannot be read: {error}") from error

    def json(self, name: str) -> Any:
        """A JSON file.

        Raises:
            DamagedModel: as `text`, or it is no JSON.
        """
        try:
            return json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            if isinstance(error, DamagedModel):
                raise
            raise DamagedModel(f"{self.path(name)} is not valid JSON ({error}): damaged or half-written") from error

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON file that holds an object."""
        value = self.json(name)
        if not isinstance(value, dict):
            raise DamagedModel(f"{self.path(name)} must hold a JSON object, not {type(value).__name__}")
        return value

    def optional(self, *names: str) -> dict[str, Any]:
        """The first of these JSON objects that is there, else {}."""
        return next((self.mapping(name) for name in names if self.has(name)), {})

    def sentence_config(self, at: str) -> dict[str, Any]:
        """What sentence-transformers states of the network in the subfolder `at` ("" for the root), else {}."""
        return self.optional(*(f"{at}/{name}" if at else name for name in SENTENCE_CONFIGS))
