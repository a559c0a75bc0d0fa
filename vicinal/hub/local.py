"""The models on this machine: in the hub cache, in installed packages, and the one that comes with vicinal."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vicinal.errors import ModelNotFound, VicinalError
from vicinal.loading import packages
from vicinal.loading.layout import Contents, on_disk, plan
from vicinal.loading.locate import Source, hub_cache, hub_name
from vicinal.loading.opening import BUNDLED, BUNDLED_NAME
from vicinal.loading.support import Support, of_files

_PREFIX = "models--"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: what it is loaded by.
        source: where it is.
        folder: of its files: in the hub cache of the newest snapshot.
        bytes: that removing it would free.
        last_used: when a file of it was last read or written, in seconds since 1970, as far as the disk notes reading.
        revisions: snapshots in the hub cache.
        missing: what an interrupted download left out.
        support: whether it runs without torch.
    """

    name: str
    source: Source
    folder: Path
    bytes: int
    last_used: float
    revisions: int
    missing: tuple[str, ...]
    support: Support


def local_models(cache_folder: str | os.PathLike[str] | None = None) -> list[LocalModel]:
    """The models of the hub cache, of packages, and the bundled one, each in order of name.

    Args:
        cache_folder: of the hub cache; None is the usual one.
    """
    return [*_cached(hub_cache(cache_folder)), *_packaged(), _model(BUNDLED_NAME, "bundled", BUNDLED, BUNDLED, 1)]


def remove(name: str, cache_folder: str | os.PathLike[str] | None = None) -> int:
    """Delete every snapshot of a model from the hub cache.

    Args:
        name: as it is loaded.
        cache_folder: of the hub cache; None is the usual one.

    Returns:
        The bytes that are free now.

    Raises:
        ModelNotFound: the cache does not have it; a package is removed by pip.
        OSError: a file cannot be deleted.
    """
    cache = hub_cache(cache_folder)
    whole = hub_name(name)
    folder = cache / f"{_PREFIX}{whole.replace('/', '--')}"
    if not folder.is_dir():
        own = next((package for package in _installed() if package.name in (name, whole)), None)
        way = f"; the package {own.distribution} has it: pip uninstall {own.distribution}" if own else ""
        raise ModelNotFound(
            f"there is no {whole} in the hub cache {cache}{way or '; vicinal models list shows what is'}"
        )
    freed, _ = _measured(folder)
    shutil.rmtree(folder)
    if (locks := cache / ".locks" / folder.name).is_dir():  # empty files of huggingface_hub's
        shutil.rmtree(locks)
    return freed


def _cached(cache: Path) -> Iterator[LocalModel]:
    for repository in sorted(cache.glob(f"{_PREFIX}*")):
        snapshots = [path for path in repository.glob("snapshots/*") if path.is_dir()]
        newest = max(snapshots, key=lambda path: path.stat().st_mtime, default=repository)
        name = repository.name.removeprefix(_PREFIX).replace("--", "/")
        yield _model(name, "hub cache", newest, repository, len(snapshots))


def _packaged() -> Iterator[LocalModel]:
    return (_model(package.name, "package", package.folder, package.folder, 1) for package in _installed())


def _installed() -> Iterator[packages.Package]:
    return (package for name in packages.names() for package in packages.installed(name))


def _model(name: str, source: Source, folder: Path, whole: Path, revisions: int) -> LocalModel:
    size, used = _measured(whole)
    missing, support = _judged(on_disk(folder))
    return LocalModel(name, source, folder, size, used, revisions, missing, support)


def _judged(contents: Contents) -> tuple[tuple[str, ...], Support]:
    try:
        missing = plan(contents).missing
        return missing, Support(None, "it is not complete") if missing else of_files(contents)
    except VicinalError as error:  # one that cannot be read is listed all the same
        return (), Support(False, str(error))


def _measured(folder: Path) -> tuple[int, float]:
    """Bytes of the files below a folder, links not counted, and the last time that one was read or written."""
    size, used = 0, 0.0
    for where, _, files in os.walk(folder):
        for file in files:
            stat = os.lstat(os.path.join(where, file))
            if not os.path.islink(os.path.join(where, file)):
                size += stat.st_size
                used = max(used, stat.st_atime, stat.st_mtime)
    return size, used
