"""Folders of tiny random models, written file by file: no writer of vicinal's own takes part."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Arrays = dict[str, NDArray[Any]]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (
    *SPECIAL,
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *("red", "green", "apple", "tax", "law", "the", "query", ":", "-", ".", "##ing"),
)

# Primes wherever the architecture allows, so that no wrong axis broadcasts.
WIDTH, HEADS, LAYERS, INNER, POSITIONS, TYPES = 22, 2, 2, 31, 41, 3

CONFIG: Mapping[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": len(VOCABULARY),
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "hidden_act": "gelu",
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": TYPES,
    "layer_norm_eps": 1e-3,
}
POOLING: Mapping[str, Any] = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}


def bert_tensors(seed: int = 0, layers: int = LAYERS) -> Arrays:
    """Weights of the BERT that CONFIG describes, spread so that norms, masks and activations matter."""
    rng = np.random.default_rng(seed)

    def spread(*shape: int) -> NDArray[np.float32]:
        return (rng.standard_normal(shape) * 1.5 / shape[-1] ** 0.5).astype(np.float32)

    tensors: Arrays = {}
    tables = {"word": len(VOCABULARY), "position": POSITIONS, "token_type": TYPES}
    for name, rows in tables.items():
        tensors[f"embeddings.{name}_embeddings.weight"] = spread(rows, WIDTH) * 4
    norms = ["embeddings.LayerNorm"]
    for i in range(layers):
        at = f"encoder.layer.{i}"
        for name, rows, columns in (
            *((f"attention.self.{part}", WIDTH, WIDTH) for part in ("query", "key", "value")),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", INNER, WIDTH),
            ("output.dense", WIDTH, INNER),
        ):
            tensors[f"{at}.{name}.weight"] = spread(rows, columns)
            tensors[f"{at}.{name}.bias"] = spread(rows)
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for name in norms:
        tensors[f"{name}.weight"] = (1 + 0.3 * rng.standard_normal(WIDTH)).astype(np.float32)
        tensors[f"{name}.bias"] = spread(WIDTH)
    return tensors


def wordpiece(vocabulary: Sequence[str] = VOCABULARY) -> dict[str, Any]:
    """A tokenizer.json as BERT's."""
    ids = {token: i for i, token in enumerate(vocabulary)}
    cls, sep = ids["[CLS]"], ids["[SEP]"]

    def special(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    single = [special("[CLS]", 0), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": ids[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for token in SPECIAL
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [cls], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [sep], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    }  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """A JSON file, its folder made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def modules(*entries: tuple[str, str]) -> list[dict[str, Any]]:
    """What modules.json says of (class, path)s."""
    return [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(entries)
    ]


BERT_MODULES = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))


def write_bert(
    folder: Path,
    *,
    tensors: Arrays | None = None,
    config: Mapping[str, Any] | None = None,
    pooling: Mapping[str, Any] = POOLING,
    listed: Sequence[tuple[str, str]] = BERT_MODULES,
    sentence: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """A folder as sentence-transformers saves one: a BERT, pooling, normalisation.

    Args:
        config: replaces keys of CONFIG.
        sentence, settings: the whole of sentence_bert_config.json and config_sentence_transformers.json.
    """
    write_json(folder / "config.json", {**CONFIG, **(config or {})})
    write_json(folder / "tokenizer.json", wordpiece())
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    write_json(folder / "modules.json", modules(*listed))
    write_json(folder / "1_Pooling/config.json", pooling)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 17} if sentence is None else sentence)
    if settings is not None:
        write_json(folder / "config_sentence_transformers.json", settings)
    save_file(bert_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def write_static(folder: Path, width: int = 13, seed: int = 0, normalize: bool = True) -> Path:
    """A folder with a table of one vector a token."""
    table = np.random.default_rng(seed).standard_normal((len(VOCABULARY), width)).astype(np.float32)
    listed = [("StaticEmbedding", "")] + [("Normalize", "1_Normalize")] * normalize
    write_json(folder / "tokenizer.json", wordpiece())
    write_json(folder / "modules.json", modules(*listed))
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    return folder
