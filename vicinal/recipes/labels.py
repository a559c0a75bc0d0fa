"""Scores of pairs by a cross-encoder, kept as they come, so that a killed run asks for none twice."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.cross_encoder.activations import identity, sigmoid
from vicinal.errors import InvalidData, UnsupportedModel
from vicinal.recipes.runs import Say, digest
from vicinal.store.files import atomic

logger = logging.getLogger("vicinal")

_ROUNDING = 1e-4
_PORTION = 2048
"""Pairs that are scored between two files."""


def teacher_scores(
    teacher: Any, pairs: Sequence[tuple[str, str]], folder: Path, say: Say = logger.info
) -> NDArray[np.float32]:
    """A cross-encoder's score of each pair before its activation (a logit), (n,).

    Args:
        teacher: of one label.
        pairs: of texts.
        folder: where scores are kept, each portion in a file that is named after its pairs and the teacher.
        say: is told how far it is.

    Raises:
        UnsupportedModel: the teacher gives several labels.
    """
    if teacher.num_labels != 1:
        raise UnsupportedModel(
            f"{teacher.name} gives {teacher.num_labels} labels a pair: a teacher of scores must give one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(pairs), _PORTION):
        portion = list(pairs[start : start + _PORTION])
        texts = digest(text for pair in portion for text in pair)
        name = hashlib.sha256(f"{teacher.fingerprint} {texts}".encode()).hexdigest()[:24]
        path = folder / f"{name}.npy"
        if not path.exists():
            found = teacher.predict(portion, truncation="ignore", activation_fn="Identity")
            with atomic(path) as file:
                np.save(file, np.asarray(found, np.float32), allow_pickle=False)
            say(f"{teacher.name}: scores of {start + len(portion):,} of {len(pairs):,} pairs")
        parts.append(np.load(path, allow_pickle=False))
    return np.concatenate(parts)


def as_labels(teacher: Any, raw: NDArray[np.float32], say: Say = logger.info) -> NDArray[np.float64]:
    """Scores before the activation as labels from 0 to 1: by the teacher's activation, or a sigmoid where it has none.

    Raises:
        InvalidData: its activation gives other numbers.
    """
    function = teacher.activation_fn
    if function is identity:
        say(f"{teacher.name} gives logits: labels are their sigmoid")
        function = sigmoid
    found = np.asarray(function(raw[:, None]), np.float64)[:, 0]
    if len(found) and not (found.min() >= -_ROUNDING and found.max() <= 1 + _ROUNDING):
        raise InvalidData(
            f"{teacher.name} gives scores from {found.min():.2f} to {found.max():.2f}, and labels must be from 0 to 1: "
            'set its activation_fn to "Sigmoid", or to a function that ends there'
        )
    return found.clip(0, 1)
