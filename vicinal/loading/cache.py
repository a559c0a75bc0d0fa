"""What was computed about a file and need not be computed again while the file stays as it is."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)


def vicinal_cache() -> Path:
    """Where vicinal keeps what it can compute again.

    `VICINAL_CACHE`, else `vicinal` below `XDG_CACHE_HOME`, else the platform's own place: `~/.cache/vicinal`,
    `~/Library/Caches/vicinal` on macOS, `%LOCALAPPDATA%\\vicinal\\Cache` on Windows.

    Raises:
        RuntimeError: none of the variables is set and there is no home folder.
    """
    if own := os.environ.get("VICINAL_CACHE"):
        return Path(os.path.expanduser(own))
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(os.path.expanduser(xdg), "vicinal")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "vicinal" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "vicinal"


def remember(key: str, path: Path, compute: Callable[[Path], str]) -> str:
    """`compute(path)`, or what it gave before when path, size and modification time are those of then.

    A cache that cannot be read or written is as good as none: the value is computed, and the reason logged at debug.

    Args:
        key: what is computed, with its version: "sha256".
        path: an existing file.
        compute: depends on the file's contents alone.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return remember_files(key, [path], lambda paths: compute(paths[0]))


def remember_files(key: str, paths: Sequence[Path], compute: Callable[[Sequence[Path]], str]) -> str:
    """`compute(paths)` of several files, remembered like `remember` does while none of them changes; order counts."""
    before = _stamps(paths)
    memory = _memory(key, before)
    found = _read(memory, key, before)
    if found is not None:
        return found
    value = compute(paths)
    if _stamps(paths) == before:  # else somebody wrote meanwhile, and the value may be of neither state
        _write(memory, key, before, value)
    return value


def _stamps(paths: Sequence[Path]) -> list[list[str | int]]:
    stats = [(path.resolve(), path.stat()) for path in paths]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def _memory(key: str, stamps: list[list[str | int]]) -> Path | None:
    """The file for this key and these paths, whatever their state, so that a changed file takes its old place."""
    name = hashlib.sha256(json.dumps([key, [stamp[0] for stamp in stamps]]).encode()).hexdigest()
    try:
        return vicinal_cache() / "remembered" / f"{name[:40]}.json"
    except RuntimeError as error:
        logger.debug("nothing is remembered: %s", error)
        return None


def _read(memory: Path | None, key: str, stamps: list[list[str | int]]) -> str | None:
    if memory is None:
        return None
    try:
        entry = json.loads(memory.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.debug("%s is not readable and is computed again: %s", memory, error)
        return None
    if not isinstance(entry, dict) or entry.get("key") != key or entry.get("files") != stamps:
        return None
    value = entry.get("value")
    return value if isinstance(value, str) else None


def _write(memory: Path | None, key: str, stamps: list[list[str | int]], value: str) -> None:
    if memory is None:
        return
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=memory.parent, prefix=memory.stem, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"key": key, "files": stamps, "value": value}, file)
            os.replace(beside, memory)
        except BaseException:
            os.unlink(beside)
            raise
    except OSError as error:
        logger.debug("%s is not writable and nothing is remembered: %s", memory, error)
