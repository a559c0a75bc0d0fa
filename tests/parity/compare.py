"""Compares a folder as vicinal reads it with the same folder in sentence-transformers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.networks.rotary_reference import model
from vicinal import SentenceTransformer

CLOSE = 3e-5
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}

Made = Mapping[str, Any]


def weights(config: Made, prefix: str = "", dtype: str = "float32", kind: str = "AutoModel") -> dict[str, Any]:
    """Random tensors for a configuration that `transformers` knows, of its class `kind`."""
    import torch

    made = model(config, 3, kind).to(getattr(torch, dtype)).state_dict()
    return {prefix + name: tensor.contiguous() for name, tensor in made.items()}


def named(tensors: Mapping[str, Any], names: Callable[[Any], Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in names({k: v.numpy() for k, v in tensors.items()}).items()}


def peer(folder: Path, side: str | None = None) -> Any:
    """The folder in sentence-transformers, which pads on a side."""
    from sentence_transformers import SentenceTransformer as Peer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = Peer(str(folder), device="cpu", model_kwargs={"dtype": "float32", "attn_implementation": "eager"})
    if side:
        loaded.tokenizer.padding_side = side
    return loaded


def ours(folder: Path, backend: str = "openvino", **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(folder), backend=backend, dtype="float32", **options)


def near(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= CLOSE * np.abs(wanted).max()


def same_ranking(rows: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], k: int) -> None:
    """The first k of a ranking, given all of the peer's; documents of nearly one score may stand in any order."""
    scores = {row["corpus_id"]: row["score"] for row in wanted}
    close = CLOSE * max(map(abs, scores.values()))
    assert len(rows) == k
    for row, other in zip(rows, wanted, strict=False):
        assert abs(row["score"] - other["score"]) <= 2 * close
        assert abs(row["score"] - scores[row["corpus_id"]]) <= 2 * close


def same_ids(found: SentenceTransformer, wanted: Any, texts: Sequence[str]) -> None:
    """The ids that the peer's tokenizer gives each text by itself."""
    limit = found.max_seq_length
    for text in texts:
        ids = wanted.tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        assert found.tokenize([text])["input_ids"][0].tolist() == ids, repr(text)


def alike(
    folder: Path, texts: Sequence[str], sides: Sequence[str] = ("right", "left"), **options: Any
) -> SentenceTransformer:
    """Ids, vectors, a text that is cut and the limit, on both backends; the peer pads on these sides."""
    found, wanted = ours(folder, **options), peer(folder)
    same_ids(found, wanted, texts)
    for side in sides:
        wanted.tokenizer.padding_side = side
        near(found.encode(texts), wanted.encode(texts, batch_size=11))
    cut = ["words without an end " * 60]
    near(found.encode(cut, truncation="ignore"), wanted.encode(cut))
    few = texts[::9]
    near(ours(folder, "numpy", **options).encode(few), wanted.encode(few))
    assert found.max_seq_length == wanted.max_seq_length
    return found
