"""Whether a model that was just loaded computes: two probes through its own graph, and its golden vectors."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Bounds
from vicinal.engine import Engine
from vicinal.errors import DamagedModel
from vicinal.loading.folder import Folder
from vicinal.loading.spec import Route, StaticEmbedding
from vicinal.text.tokens import Tokens

if TYPE_CHECKING:
    from vicinal.sentence_transformer import SentenceTransformer

GOLDEN = "golden.json"
_LEAST = {"float32": 0.99999, "float16": 0.9995, "bfloat16": 0.998, "int8": 0.98}
"""Cosine that a vector must have with its golden one, by dtype: below is another model or a broken kernel."""
_TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "How long do I have to return an item?",
    "Die Rechnung ist noch nicht bezahlt. 発注書 № 42, très urgent!",
    "a",
    "Interest rates rose for the third time this year, and banks passed them on to borrowers within days. " * 4,
)


def probe(engine: Engine, route: Route, name: str) -> None:
    """Two tokens of the vocabulary through the graph, one of them twice.

    Raises:
        DamagedModel: a vector is not finite, does not recur, or both tokens have the same one.
    """
    ids = None if route.needs_torch else _two_words(engine, route)
    if ids is None:
        return
    first, second = (_vector(engine, route, [token]) for token in ids)
    again = _vector(engine, route, ids[:1])
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        why = "a vector is not finite: its weights are damaged, or the computation overflows (dtype='float32' tells)"
    elif not np.array_equal(first, again):
        why = "the same token gives other numbers the second time: memory or processor do not hold what they are given"
    elif np.array_equal(first, second):
        why = "two different tokens have the same vector: its weights are damaged, or nothing of the text reaches it"
    else:
        return
    raise DamagedModel(f"{name} fails its self-test: {why}. self_test=False loads it all the same.")


def _two_words(engine: Engine, route: Route) -> list[int] | None:
    """Two tokens that stand for text; None where the vocabulary has fewer."""
    tokenizer = engine.tokenizer(route)
    first = route.modules[0]
    rows = first.tokens if isinstance(first, StaticEmbedding) else first.network.vocab_size  # type: ignore[union-attr]
    found: list[int] = []
    for token in range(rows // 2, rows):  # frequent words stand in the middle, marks at the ends
        if token not in tokenizer.special_ids:
            found.append(token)
        if len(found) == 2:
            return found
    return None


def _vector(engine: Engine, route: Route, ids: Sequence[int]) -> Any:
    lengths = np.array([len(ids)])
    tokens = Tokens(np.array(ids, np.int32), None, np.zeros(1, np.int64), lengths, lengths)
    return engine.compute(route, tokens, Bounds(1, 1))[route.output][0]


def write_golden(model: SentenceTransformer, texts: Sequence[str] = _TEXTS) -> Path:
    """Put golden vectors into a model's folder: from then on every load checks them.

    Args:
        model: at float32, whose vectors they are.

    Raises:
        ValueError: the model computes in another dtype, or its folder is none of the user's own.
    """
    if model.dtype != "float32":
        raise ValueError(f"golden vectors are made at float32, not {model.dtype}: load the model with dtype='float32'")
    if model._located.source != "folder":
        raise ValueError(f"{model.name} is from {model._located.source}: save it into a folder of yours first")
    path = model._located.folder / GOLDEN
    vectors = _vectors(model, texts)
    value = {"format": 1, "fingerprint": model.fingerprint, "texts": list(texts), "vectors": vectors.tolist()}
    beside = path.with_name(f".{GOLDEN}.new")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)
    return path


def _vectors(model: SentenceTransformer, texts: Sequence[str]) -> NDArray[np.float32]:
    """Of the whole width, computed now, whatever a cache has."""
    alone = copy.copy(model)
    alone._cache = None
    alone.truncate_dim = None
    return np.asarray(alone.encode(list(texts), prompt="", truncation="ignore"), np.float32)


def check_golden(model: SentenceTransformer, folder: Folder) -> None:
    """Compare with the golden vectors of the folder.

    Raises:
        DamagedModel: the file cannot be read, or a vector differs by more than the dtype does.
    """
    if not folder.has(GOLDEN):
        return
    stored = folder.mapping(GOLDEN)
    try:
        texts, wanted = [str(text) for text in stored["texts"]], np.asarray(stored["vectors"], np.float32)
        if wanted.ndim != 2 or len(wanted) != len(texts):
            raise ValueError(f"{len(texts)} texts, vectors of shape {wanted.shape}")
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedModel(f"{folder.path(GOLDEN)} holds no golden vectors ({error!r})") from error
    found = _vectors(model, texts)
    if wanted.shape[1] == (kept := model.get_embedding_dimension()):  # of so many they may have been made
        found = found[:, :kept]
    if found.shape != wanted.shape:
        raise DamagedModel(
            f"{model.name} gives vectors of {found.shape[1]} dimensions; its golden ones have {wanted.shape[1]}"
        )
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = (found * wanted).sum(1) / np.maximum(lengths, 1e-30)
    worst = int(cosine.argmin())
    if not cosine[worst] >= _LEAST[model.dtype]:
        raise DamagedModel(
            f"{model.name} at {model.dtype} on {model.backend} gives {texts[worst][:40]!r} a vector whose cosine with "
            f"its golden one is {cosine[worst]:.5f}, below {_LEAST[model.dtype]}: another model, tokenizer or setting "
            f"than {GOLDEN} was made with, or a broken installation. self_test=False loads it all the same."
        )
