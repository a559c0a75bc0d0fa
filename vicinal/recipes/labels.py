"""Scores of pairs by a cross-encoder, kept as they come, so that a killed run asks for none twice."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import UnsupportedModel
from vicinal.recipes.runs import Say, digest
from vicinal.store.files import atomic

logger = logging.getLogger("vicinal")

_PORTION = 2048
"""Pairs that are scored between two files."""


def teacher_scores(
    teacher: Any, pairs: Sequence[tuple[str, str]], folder: Path, raw: bool = True, say: Say = logger.info
) -> NDArray[np.float32]:
    """A cross-encoder's score of each pair, (n,).

    Args:
        teacher: of one label.
        pairs: of texts.
        folder: where scores are kept, each portion in a file that is named after its pairs and the teacher.
        raw: the number before the activation (a logit), which losses for distillation want; else what `predict` gives.
        say: is told how far it is.

    Raises:
        UnsupportedModel: the teacher gives several labels.
    """
    if teacher.num_labels != 1:
        raise UnsupportedModel(
            f"{teacher.name} gives {teacher.num_labels} labels a pair: a teacher of scores must give one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"activation_fn": "Identity"} if raw else {}
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(pairs), _PORTION):
        portion = list(pairs[start : start + _PORTION])
        texts = digest(text for pair in portion for text in pair)
        name = hashlib.sha256(f"{teacher.fingerprint} {raw} {texts}".encode()).hexdigest()[:24]
        path = folder / f"{name}.npy"
        if not path.exists():
            found = teacher.predict(portion, truncation="ignore", **options)
            with atomic(path) as file:
                np.save(file, np.asarray(found, np.float32), allow_pickle=False)
            say(f"{teacher.name}: scores of {start + len(portion):,} of {len(pairs):,} pairs")
        parts.append(np.load(path, allow_pickle=False))
    return np.concatenate(parts)
