"""A way to run a model, kept in a small file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vicinal import report
from vicinal.errors import DamagedModel, ModelWarning


@dataclass(frozen=True)
class Candidate:
    """A way to run a model."""

    backend: str
    dtype: str
    batch_tokens: int
    threads: int | None = None


def write_profile(path: Path, chosen: Candidate, facts: Mapping[str, Any]) -> None:
    """Keep a choice: `SentenceTransformer(..., profile=path)` loads it.

    Args:
        facts: what was measured, for people to read.
    """
    value = {"format": 1, "processor": processor(), "candidate": asdict(chosen), **facts}
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def read_profile(path: str | os.PathLike[str], given: Mapping[str, Any]) -> Candidate:
    """The way that a file states.

    Args:
        given: the constructor's own backend, dtype and threads, which must be left to the profile.

    Raises:
        DamagedModel: it is no profile. ValueError: the constructor states a way of its own.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        chosen = Candidate(**value["candidate"])
        if value["format"] != 1 or type(chosen.batch_tokens) is not int or chosen.batch_tokens < 1:
            raise ValueError(f"format {value['format']!r}, batch_tokens {chosen.batch_tokens!r}")
        made_on = str(value["processor"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedModel(f"{path} is no profile ({error!r}): make one with `vicinal tune`") from error
    if stated := [name for name, value in given.items() if value not in (None, "auto")]:
        raise ValueError(f"{', '.join(stated)} and profile= were both given; the profile states them")
    if made_on != processor():
        report.warn(
            f"{path} was measured on {made_on}; this is {processor()}: another way may be faster here", ModelWarning
        )
    return chosen


def processor() -> str:
    """What computes here."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
